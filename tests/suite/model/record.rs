//! The model's last part: what every change does to a counter and to its day.

use counterd::counter::{CounterName, DayRecord, Event, EventKind, Extreme, Outcome, Reset};

use super::naive::{Counter, Model, start_of};

impl Model {
    pub fn is_configured(&self, name: &CounterName) -> bool {
        self.configured.iter().any(|(known, _)| known == name)
    }

    pub fn of(&mut self, name: &CounterName) -> &mut Counter {
        self.counters.get_mut(name).unwrap()
    }

    pub fn day(&mut self, name: &CounterName) -> &mut DayRecord {
        let today = self.today();
        &mut self.days.get_mut(&(today, name.clone())).unwrap().0
    }

    /// Every change: a revision, the time, the period, the day's record.
    pub fn change(&mut self, name: &CounterName) -> u64 {
        self.revision += 1;
        let (today, now, revision) = (self.today(), self.wall, self.revision);
        let counter = self.of(name);
        counter.revision = revision;
        counter.changed_at = counter.changed_at.max(now);
        if counter.definition.reset == Reset::Daily && counter.period != Some(today) {
            counter.period = Some(today);
            counter.value = 0;
        }
        let (opening, generation) = (counter.value, counter.generation);
        let begin = || (begin_day(opening, start_of(today), generation), Vec::new());
        self.days.entry((today, name.clone())).or_insert_with(begin);
        revision
    }

    pub fn set(&mut self, name: &CounterName, value: i64) {
        self.of(name).value = value;
        let now = self.wall;
        reach(self.day(name), value, now);
    }

    pub fn set_outcome(&mut self, name: &CounterName, previous_value: i64) -> Outcome {
        let Counter {
            value,
            revision,
            period,
            ..
        } = *self.of(name);
        Outcome::Set {
            previous_value,
            current_value: value,
            revision,
            period,
        }
    }

    pub fn event(
        &mut self,
        name: &CounterName,
        kind: EventKind,
        before: i64,
        after: i64,
        reason: Option<&str>,
        request: &str,
    ) {
        let at = self.wall;
        let (reason, request_id) = (reason.map(str::to_owned), Some(request.to_owned()));
        self.push_event(
            name,
            Event {
                kind,
                at,
                before,
                after,
                reason,
                request_id,
            },
        );
    }

    pub fn push_event(&mut self, name: &CounterName, event: Event) {
        let today = self.today();
        let (day, events) = self.days.get_mut(&(today, name.clone())).unwrap();
        if day.events < 100 {
            events.push(event);
        }
        day.events += 1;
    }
}

pub fn begin_day(opening: i64, at: i64, generation: u64) -> DayRecord {
    let first = Extreme { value: opening, at };
    DayRecord {
        opening,
        last: opening,
        peak: first,
        low: first,
        increments: 0,
        decrements: 0,
        operations: 0,
        generation,
        generations: 1,
        events: 0,
        expired: 0,
    }
}

pub fn start_generation(day: &mut DayRecord, generation: u64) {
    if day.generation != generation {
        day.generation = generation;
        day.generations += 1;
    }
}

pub fn reach(day: &mut DayRecord, value: i64, at: i64) {
    day.last = value;
    if value > day.peak.value {
        day.peak = Extreme { value, at };
    }
    if value < day.low.value {
        day.low = Extreme { value, at };
    }
}
