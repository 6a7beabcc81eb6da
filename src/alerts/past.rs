//! The past of a counter, as the store has it: its minutes, and what counterd did to it.

use std::collections::BTreeSet;
use std::ops::Range;

use super::course::{Course, MINUTE_MS, Minute, MinuteValue};
use super::known::{ExplainedBy, KnownChange, KnownChanges};
use crate::calendar::{Calendar, Day};
use crate::counter::{CounterName, Millis, Reset};
use crate::lifecycle;
use crate::storage::{ReadError, Reader, Tables};

/// How many days before a span its value in force is looked for.
const DAYS_BEFORE: usize = 2;

/// Where the past of counters is read from. `None` means that it cannot be read now.
pub trait CounterPast {
    /// Returns the minutes of a counter.
    fn course(&self, name: &CounterName, reset: Reset, minutes: Range<Minute>) -> Option<Course>;

    /// Returns what counterd did to a counter from an instant on, up to and with the day that is counted now.
    fn known(&self, name: &CounterName, from: Millis, today: Day) -> Option<KnownChanges>;

    /// Returns whether the server was up at all before a minute.
    fn was_up_before(&self, minute: Minute) -> Option<bool>;

    /// Returns how many events the day of a counter has.
    fn events(&self, name: &CounterName, day: Day) -> Option<u32>;
}

/// The past in the store.
pub struct StoredPast<'a> {
    /// Reads of the store.
    pub reader: &'a Reader,
    /// The calendar in force.
    pub calendar: &'a Calendar,
}

impl CounterPast for StoredPast<'_> {
    fn course(&self, name: &CounterName, reset: Reset, minutes: Range<Minute>) -> Option<Course> {
        let read = self
            .reader
            .with(|tables| course(tables, self.calendar, name, reset, minutes));
        logged(read, name)
    }

    fn known(&self, name: &CounterName, from: Millis, today: Day) -> Option<KnownChanges> {
        let read = self.reader.with(|tables| {
            let from = self.calendar.day_of(from);
            let days = lifecycle::days_of(tables, self.calendar, name, from, today)?;
            let contents = days.into_iter().filter_map(|day| day.content);
            let events = contents.flat_map(|content| content.events);
            let mut known: Vec<KnownChange> = events.map(|event| KnownChange::of(&event)).collect();
            known.retain(|change| change.by != ExplainedBy::Creation);
            known.sort_by_key(|change| change.at);
            Ok(KnownChanges(known))
        });
        logged(read, name)
    }

    fn was_up_before(&self, minute: Minute) -> Option<bool> {
        let read = self.reader.with(|tables| {
            let day = self.calendar.day_of(minute.saturating_mul(MINUTE_MS));
            let first = tables.first_sampled_day(Day::MIN)?;
            let mut found = first.is_some_and(|first| first < day);
            if !found {
                tables.uptime_minutes(day, |up| found |= Minute::from(up) < minute)?;
            }
            Ok(found)
        });
        read.ok()
    }

    fn events(&self, name: &CounterName, day: Day) -> Option<u32> {
        let read = self.reader.with(|tables| tables.day_record(day, name));
        let record = logged(read, name)?;
        Some(
            record
                .and_then(Result::ok)
                .map_or(0, |record| record.events),
        )
    }
}

fn logged<T>(read: Result<T, ReadError>, name: &CounterName) -> Option<T> {
    match read {
        Ok(read) => Some(read),
        Err(ReadError::Closed) => None,
        Err(error) => {
            tracing::debug!(%error, counter = %name, "the past of a counter cannot be read");
            None
        }
    }
}

/// Reads the minutes of a counter: the values at their ends where it changed, and in between the value in force.
/// A minute in which the server was away has none.
fn course(
    tables: &Tables,
    calendar: &Calendar,
    name: &CounterName,
    reset: Reset,
    minutes: Range<Minute>,
) -> Result<Course, ReadError> {
    let day_of = |minute: Minute| calendar.day_of(minute.saturating_mul(MINUTE_MS));
    let (first, last) = (day_of(minutes.start), day_of(minutes.end));
    let mut changes: Vec<(Minute, Option<i64>)> = Vec::new();
    let mut present = BTreeSet::new();
    let mut before = None;
    let mut day = first;
    while day <= last {
        let start = calendar.start_of(day).div_euclid(MINUTE_MS);
        if reset == Reset::Daily && minutes.contains(&start) {
            changes.push((start, Some(0)));
        }
        tables.samples(day, name, |minute, value| {
            let minute = Minute::from(minute);
            if minute < minutes.start {
                before = Some(value);
            } else if minute < minutes.end {
                changes.push((minute, value));
            }
        })?;
        tables.uptime_minutes(day, |minute| {
            present.extend(Some(Minute::from(minute)).filter(|minute| minutes.contains(minute)));
        })?;
        if day == Day::MAX {
            break;
        }
        day = day.next();
    }
    changes.sort_by_key(|(minute, _)| *minute);
    let mut value = match (before, reset) {
        (Some(value), _) => value,
        // It began its day with 0.
        (None, Reset::Daily) => Some(0),
        (None, Reset::Never) => earlier(tables, name, first)?,
    };
    let mut changes = changes.into_iter().peekable();
    let all = minutes.clone().map(|minute| {
        let mut changed = false;
        while let Some((_, next)) = changes.next_if(|(at, _)| *at <= minute) {
            value = next;
            changed = true;
        }
        MinuteValue {
            value: value.filter(|_| present.contains(&minute)),
            changed,
        }
    });
    let all = all.collect();
    Ok(Course::new(minutes.start, all))
}

/// Finds the value in force before a day: the last sample of the days before it.
fn earlier(tables: &Tables, name: &CounterName, day: Day) -> Result<Option<i64>, ReadError> {
    let mut before = day;
    for _ in 0..DAYS_BEFORE {
        before = before.previous();
        let mut last = None;
        tables.samples(before, name, |_, value| last = Some(value))?;
        if let Some(last) = last {
            return Ok(last);
        }
    }
    Ok(None)
}
