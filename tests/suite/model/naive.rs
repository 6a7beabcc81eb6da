//! A naive counter store: maps and loops, no cleverness, to be checked against the documentation by
//! eye. It is told the time and answers what the real one must answer.
//!
//! Kept out: disks, threads, groups. Every request is carried out at once; a batch works on a copy.

use std::collections::{BTreeMap, BTreeSet};

use counterd::calendar::Day;
use counterd::counter::{
    Action, Adjustment, Applied, CounterName, DEFAULT_MAX, DayRecord, Definition, Effect, Event,
    EventKind, Gone, Kind, OnBound, Operation, Outcome, Refusal, Reset,
};
use counterd::writer::{Answer, Cause, Command, Failure, Request};

use super::record::{begin_day, reach, start_generation};

pub const HOUR: i64 = 3_600_000;
/// Days begin at 04:00 UTC.
const DAY_START: i64 = 4 * HOUR;
pub const GONE_FOR: i64 = 10 * HOUR;
pub const MAX_COUNTERS: usize = 12;
pub const MAX_JUMP: i64 = 48 * HOUR;
pub const MAX_AWAY: i64 = 90 * 24 * HOUR;

#[derive(Clone, Debug, PartialEq)]
pub struct Counter {
    pub definition: Definition,
    pub gone: Option<Gone>,
    pub value: i64,
    pub period: Option<Day>,
    pub generation: u64,
    pub revision: u64,
    pub changed_at: i64,
}

/// What lies under a key: fingerprint, outcome, and in which 24 hours of store time it was put there.
pub type Kept = (u128, Outcome, i64);

#[derive(Clone, Default)]
pub struct Model {
    pub wall: i64,
    pub boot: i64,
    /// Wall minus boot clock at the last accepted look; none before the first.
    accepted: Option<i64>,
    pub clock_fault: bool,
    /// How far forward of that it may be: further right after a start.
    jump_forward: i64,
    /// Whether the counters of the configuration were put since the start.
    settled: bool,
    pub today: Option<Day>,
    pub revision: u64,
    pub counters: BTreeMap<CounterName, Counter>,
    pub users: BTreeSet<(Option<Day>, u64, String)>,
    pub kept: BTreeMap<String, Kept>,
    pub days: BTreeMap<(Day, CounterName), (DayRecord, Vec<Event>)>,
    pub configured: Vec<(CounterName, Definition)>,
    /// Wall clock and store time of the last change.
    last_commit: Option<(i64, i64)>,
    opened_at: i64,
    stored_time: i64,
    upkeep_at: i64,
}

fn day_of(wall: i64) -> Day {
    Day::from_days(i32::try_from((wall - DAY_START).div_euclid(24 * HOUR)).unwrap()).unwrap()
}

pub fn start_of(day: Day) -> i64 {
    i64::from(day.days()) * 24 * HOUR + DAY_START
}

impl Model {
    pub fn new(wall: i64, boot: i64) -> Self {
        Self {
            wall,
            boot,
            ..Self::default()
        }
    }

    pub fn today(&self) -> Day {
        self.today.unwrap()
    }

    pub fn store_time(&self) -> i64 {
        self.stored_time + (self.boot - self.opened_at).max(0)
    }

    pub fn bucket(&self) -> i64 {
        self.store_time().div_euclid(24 * HOUR)
    }

    fn starts_with_clock_fault(&self) -> bool {
        let wrong = |last| self.wall > last + MAX_AWAY || self.wall < last - MAX_JUMP;
        self.last_commit.is_some_and(|(last, _)| wrong(last))
    }

    /// Whether a live counter has another kind or reset than the configuration gives it. Under a
    /// clock that is not believed nothing expires.
    pub fn conflicts(&self, configured: &[(CounterName, Definition)]) -> bool {
        configured.iter().any(|(name, wanted)| {
            self.counters.get(name).is_some_and(|counter| {
                let is = &counter.definition;
                let over = !self.starts_with_clock_fault() && is.expired_at(self.wall);
                let live = counter.gone.is_none() && !over;
                live && (is.kind, is.reset) != (wanted.kind, wanted.reset)
            })
        })
    }

    /// The server starts; `boot` and `wall` are set.
    pub fn start(&mut self, configured: Vec<(CounterName, Definition)>) {
        self.configured = configured;
        self.clock_fault = self.starts_with_clock_fault();
        self.accepted = Some(match self.last_commit {
            Some((last, _)) if self.clock_fault => last - self.boot,
            Some(_) | None => self.wall - self.boot,
        });
        self.stored_time = self.last_commit.map_or(0, |(_, store_time)| store_time);
        self.opened_at = self.boot;
        self.upkeep_at = self.boot + 1000;
        self.settled = false;
        self.jump_forward = if self.clock_fault { MAX_AWAY } else { MAX_JUMP };
        if !self.clock_fault {
            self.today = Some(day_of(self.wall).max(self.today.unwrap_or(Day::MIN)));
            self.upkeep();
            self.last_commit = Some((self.wall, self.store_time()));
        }
    }

    /// The writer looks at the clock, and does what is due.
    pub fn look(&mut self) {
        let offset = self.wall - self.boot;
        let moved = offset - self.accepted.unwrap();
        self.clock_fault = moved < -MAX_JUMP || moved > self.jump_forward;
        if !self.clock_fault {
            self.accept();
        }
        if self.boot >= self.upkeep_at {
            self.upkeep_at = self.boot + 1000;
            if !self.clock_fault {
                self.upkeep();
            }
        }
    }

    pub fn accept(&mut self) {
        self.clock_fault = false;
        self.jump_forward = MAX_JUMP;
        self.accepted = Some(self.wall - self.boot);
        self.today = Some(self.today().max(day_of(self.wall)));
    }

    fn upkeep(&mut self) {
        self.settled = true;
        for (name, definition) in self.configured.clone() {
            let wanted = match self.counters.get(&name) {
                None => true,
                Some(counter) if counter.gone.is_some() => !definition.expired_at(self.wall),
                // One that is over is recorded, not changed.
                Some(counter) if counter.definition.expired_at(self.wall) => {
                    counter.definition != definition && !definition.expired_at(self.wall)
                }
                Some(counter) => counter.definition != definition,
            };
            if wanted {
                self.put(&name, &definition, "counterd");
            }
        }
        let mut over: Vec<(i64, CounterName)> = Vec::new();
        for (name, counter) in &self.counters {
            if counter.gone.is_none() && counter.definition.expired_at(self.wall) {
                over.push((counter.definition.expires_at.unwrap(), name.clone()));
            }
        }
        over.sort();
        for (_, name) in over {
            self.record_expiry(&name);
        }
        let forgotten = |name: &CounterName, counter: &Counter| {
            let long_ago = counter
                .gone
                .is_some_and(|gone| gone.at + GONE_FOR <= self.wall);
            long_ago && !self.configured.iter().any(|(known, _)| known == name)
        };
        let gone: Vec<_> = self
            .counters
            .iter()
            .filter(|(n, c)| forgotten(n, c))
            .map(|(n, _)| n.clone())
            .collect();
        for name in gone {
            self.counters.remove(&name);
        }
    }

    pub fn ask(&mut self, request: &Request) -> Result<Answer, Failure> {
        if self.clock_fault {
            return Err(Failure::ReadOnly(Cause::Clock));
        }
        if !self.settled {
            // The counters of the configuration come before any request.
            self.upkeep();
        }
        if let Some(key) = &request.key
            && let Some((fingerprint, outcome, bucket)) = self.kept.get(&*key.key)
            && self.bucket() - bucket <= 1
        {
            if *fingerprint != key.fingerprint {
                return Err(Failure::KeyReused);
            }
            return Ok(Answer {
                outcome: outcome.clone(),
                replayed: true,
            });
        }
        let before = self.revision;
        let outcome = self
            .command(&request.command, &request.request_id.to_string())
            .map_err(Failure::Refused)?;
        if let Some(key) = &request.key {
            let mut kept = outcome.clone();
            if let Outcome::Defined { previous, .. } = &mut kept {
                *previous = None;
            }
            self.kept
                .insert(key.key.to_string(), (key.fingerprint, kept, self.bucket()));
        }
        if self.revision != before || request.key.is_some() {
            self.last_commit = Some((self.wall, self.store_time()));
        }
        Ok(Answer {
            outcome,
            replayed: false,
        })
    }

    fn command(&mut self, command: &Command, request: &str) -> Result<Outcome, Refusal> {
        match command {
            Command::Apply(operation) => self.apply(operation, request).map(Outcome::Applied),
            Command::Batch(operations) => {
                let mut copy = self.clone();
                let (mut results, mut refused) = (Vec::new(), Vec::new());
                for (at, operation) in operations.iter().enumerate() {
                    match copy.apply(operation, request) {
                        Ok(applied) => results.push(applied),
                        Err(refusal) => refused.push((u32::try_from(at).unwrap(), refusal)),
                    }
                }
                if !refused.is_empty() {
                    return Err(Refusal::Batch(refused.into()));
                }
                *self = copy;
                Ok(Outcome::Batch(results.into()))
            }
            Command::Each(operations) => {
                let judged = operations
                    .iter()
                    .map(|operation| self.apply(operation, request));
                Ok(Outcome::Each(judged.collect()))
            }
            Command::Reset { counter } => {
                let previous = self.current(counter)?;
                let revision = self.change(counter);
                self.of(counter).generation = revision;
                start_generation(self.day(counter), revision);
                self.set(counter, 0);
                self.event(counter, EventKind::Reset, previous, 0, None, request);
                Ok(self.set_outcome(counter, previous))
            }
            Command::Adjust {
                counter,
                adjustment,
                reason,
            } => {
                let previous = self.current(counter)?;
                let Definition { kind, min, max, .. } = self.of(counter).definition;
                if kind == Kind::Unique {
                    return Err(Refusal::WrongKind {
                        kind,
                        wanted: "adjust",
                    });
                }
                let target = match adjustment {
                    Adjustment::To(value) => i128::from(*value),
                    Adjustment::By(delta) => i128::from(previous) + i128::from(*delta),
                };
                if target < i128::from(min) {
                    return Err(Refusal::BelowMinimum {
                        current: previous,
                        minimum: min,
                    });
                }
                if target > i128::from(max) {
                    return Err(Refusal::AboveMaximum {
                        current: previous,
                        maximum: max,
                    });
                }
                let target = i64::try_from(target).unwrap();
                self.change(counter);
                self.set(counter, target);
                self.event(
                    counter,
                    EventKind::Adjust,
                    previous,
                    target,
                    Some(reason),
                    request,
                );
                Ok(self.set_outcome(counter, previous))
            }
            Command::Define {
                counter,
                definition,
            } => self.define(counter, definition, request),
            Command::Delete { counter } => {
                if self.is_configured(counter) {
                    return Err(Refusal::DefinedInConfig);
                }
                let final_value = self.current(counter)?;
                let revision = self.change(counter);
                let at = self.wall;
                self.of(counter).gone = Some(Gone {
                    expired: false,
                    final_value,
                    at,
                });
                self.event(counter, EventKind::Delete, final_value, 0, None, request);
                Ok(Outcome::Deleted {
                    final_value,
                    revision,
                })
            }
            Command::Repair { counter, .. } => match self.counters.contains_key(counter) {
                true => Err(Refusal::NotCorrupt),
                false => Err(Refusal::UnknownCounter),
            },
        }
    }

    fn apply(&mut self, operation: &Operation, request: &str) -> Result<Applied, Refusal> {
        let Operation {
            counter,
            action,
            amount,
            user_id,
            ..
        } = operation;
        let up = *action == Action::Increment;
        let created = match self.current(counter) {
            Err(Refusal::UnknownCounter) if up => {
                self.room_for_one()?;
                if *amount > DEFAULT_MAX {
                    return Err(Refusal::AboveMaximum {
                        current: 0,
                        maximum: DEFAULT_MAX,
                    });
                }
                self.create(counter, &Definition::default(), request);
                true
            }
            found => {
                found?;
                false
            }
        };
        let value = self.current(counter)?;
        let today = self.today();
        let Counter {
            definition,
            generation,
            revision,
            ..
        } = self.of(counter).clone();
        let Definition {
            kind,
            reset,
            min,
            max,
            on_bound,
            ..
        } = definition;
        let period = (reset == Reset::Daily).then_some(today);
        let unchanged = |effect| Applied {
            current_value: value,
            effect,
            applied: 0,
            revision,
            period,
            created,
            lease: None,
        };
        let mut user = None;
        if kind == Kind::Unique && up {
            let id = user_id.as_ref().ok_or(Refusal::MissingUserId)?;
            if *amount != 1 {
                return Err(Refusal::UniqueCountsOne);
            }
            user = Some((period, generation, id.as_str().to_owned()));
            if self.users.contains(user.as_ref().unwrap()) {
                return Ok(unchanged(Effect::Duplicate));
            }
        }
        if !up && kind != Kind::Gauge {
            return Err(Refusal::WrongKind {
                kind,
                wanted: "decrement",
            });
        }
        let signed = if up {
            i128::from(*amount)
        } else {
            -i128::from(*amount)
        };
        let mut target = i128::from(value) + signed;
        if up && target > i128::from(max) {
            if on_bound == OnBound::Refuse {
                return Err(Refusal::AboveMaximum {
                    current: value,
                    maximum: max,
                });
            }
            target = i128::from(max.max(value));
        }
        if !up && target < i128::from(min) {
            if on_bound == OnBound::Refuse {
                return Err(Refusal::BelowMinimum {
                    current: value,
                    minimum: min,
                });
            }
            target = i128::from(min.min(value));
        }
        let target = i64::try_from(target).unwrap();
        if target == value {
            return Ok(unchanged(Effect::Clamped));
        }
        self.users.extend(user);
        let revision = self.change(counter);
        self.of(counter).value = target;
        let now = self.wall;
        let day = self.day(counter);
        let size = u128::from(target.abs_diff(value));
        if up {
            day.increments += size;
        } else {
            day.decrements += size;
        }
        day.operations += 1;
        reach(day, target, now);
        let applied = i64::try_from(size).unwrap_or(i64::MAX);
        Ok(Applied {
            current_value: target,
            applied,
            revision,
            ..unchanged(Effect::Counted)
        })
    }

    fn define(
        &mut self,
        name: &CounterName,
        definition: &Definition,
        request: &str,
    ) -> Result<Outcome, Refusal> {
        if self.is_configured(name) {
            return Err(Refusal::DefinedInConfig);
        }
        if definition.expired_at(self.wall) {
            return Err(Refusal::ExpiresInPast);
        }
        match self.current(name) {
            Ok(_) => {
                let Definition { kind, reset, .. } = self.of(name).definition;
                if (kind, reset) != (definition.kind, definition.reset) {
                    return Err(Refusal::DefinitionConflict { kind, reset });
                }
            }
            Err(Refusal::Gone(Gone { expired: true, .. })) => {
                self.record_expiry(name);
                self.room_for_one()?;
            }
            Err(_) => self.room_for_one()?,
        }
        Ok(self.put(name, definition, request))
    }

    /// Puts a definition, whatever there is, of a kind that fits.
    fn put(&mut self, name: &CounterName, definition: &Definition, request: &str) -> Outcome {
        let previous = match self.current(name) {
            Ok(_) => {
                let previous = self.of(name).definition.clone();
                self.change(name);
                self.of(name).definition = definition.clone();
                Some(Box::new(previous))
            }
            Err(_) => {
                self.record_expiry(name);
                self.create(name, definition, request);
                None
            }
        };
        Outcome::Defined {
            definition: Box::new(definition.clone()),
            started: previous.is_none(),
            revision: self.of(name).revision,
            previous,
        }
    }

    fn create(&mut self, name: &CounterName, definition: &Definition, request: &str) {
        let revision = self.revision + 1;
        let counter = Counter {
            definition: definition.clone(),
            gone: None,
            value: 0,
            period: (definition.reset == Reset::Daily).then_some(self.today()),
            generation: revision,
            revision,
            changed_at: self.wall,
        };
        self.counters.insert(name.clone(), counter);
        let (today, now) = (self.today(), self.wall);
        let begin = || (begin_day(0, now, revision), Vec::new());
        let (day, _) = self.days.entry((today, name.clone())).or_insert_with(begin);
        start_generation(day, revision);
        self.change(name);
        self.set(name, 0);
        self.event(name, EventKind::Creation, 0, 0, None, request);
    }

    /// Once a counter's time is over, and nothing says so yet.
    fn record_expiry(&mut self, name: &CounterName) {
        let Some(counter) = self.counters.get(name) else {
            return;
        };
        if counter.gone.is_some() || !counter.definition.expired_at(self.wall) {
            return;
        }
        let gone = self.end_of_time(counter);
        let (at, final_value) = (gone.at, gone.final_value);
        self.change(name);
        self.of(name).gone = Some(gone);
        let event = Event {
            kind: EventKind::Expiry,
            at,
            before: final_value,
            after: 0,
            reason: None,
            request_id: None,
        };
        self.push_event(name, event);
    }

    fn end_of_time(&self, counter: &Counter) -> Gone {
        let at = counter.definition.expires_at.unwrap();
        let then = counter.period.is_none_or(|period| period >= day_of(at));
        Gone {
            expired: true,
            final_value: if then { counter.value } else { 0 },
            at,
        }
    }

    /// The value now, or why there is none.
    fn current(&self, name: &CounterName) -> Result<i64, Refusal> {
        let counter = self.counters.get(name).ok_or(Refusal::UnknownCounter)?;
        if let Some(gone) = counter.gone {
            let forgotten = gone.at + GONE_FOR <= self.wall && !self.is_configured(name);
            return Err(if forgotten {
                Refusal::UnknownCounter
            } else {
                Refusal::Gone(gone)
            });
        }
        if counter.definition.expired_at(self.wall) {
            return Err(Refusal::Gone(self.end_of_time(counter)));
        }
        let ended = counter.period.is_some_and(|period| period != self.today());
        Ok(if ended { 0 } else { counter.value })
    }

    fn room_for_one(&self) -> Result<(), Refusal> {
        let live = self
            .counters
            .values()
            .filter(|counter| counter.gone.is_none() && !counter.definition.expired_at(self.wall))
            .count();
        if live >= MAX_COUNTERS {
            Err(Refusal::TooManyCounters {
                max: MAX_COUNTERS as u64,
            })
        } else {
            Ok(())
        }
    }
}
