//! Days: the record of each counter's day with its events, closed days, and how long the server was
//! away in a day.

use std::ops::{ControlFlow, RangeInclusive};

use crate::calendar::Day;
use crate::counter::{ClosedDay, CounterName, DayRecord, Event, Kind, Reset};
use crate::storage::Family;
use crate::storage::batch::Batch;
use crate::storage::error::ReadError;
use crate::storage::keys;
use crate::storage::records::Cursor;
use crate::storage::tables::{Reader, Tables};
use crate::storage::value::{self, Undecodable};

/// What is recorded of a counter's day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The figures.
    pub record: DayRecord,
    /// What kind of counter it is.
    pub kind: Kind,
    /// When that starts over.
    pub reset: Reset,
    /// What happened to it beside counting, in order.
    pub events: Vec<Event>,
}

/// One record of the family `days`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DayPart {
    /// The figures.
    Record(Result<DayRecord, Undecodable>),
    /// The event of that index.
    Event(u8, Result<Event, Undecodable>),
}

/// A counter's day whose events are still being collected.
struct Open {
    name: CounterName,
    record: Vec<u8>,
    events: Vec<Event>,
}

impl Batch {
    /// Puts the record of a counter's day.
    pub fn put_day_record(
        &mut self,
        day: Day,
        name: &CounterName,
        record: &DayRecord,
        (kind, reset): (Kind, Reset),
    ) {
        let bytes = value::encode_day_record(record, kind, reset);
        self.put(Family::Days, &keys::day_record(day, name), &bytes);
    }

    /// Puts the event with that index of a counter's day.
    pub(crate) fn put_event(&mut self, day: Day, name: &CounterName, index: u8, event: &Event) {
        let bytes = value::encode_event(event);
        self.put(Family::Days, &keys::event(day, name, index), &bytes);
    }

    /// Puts a closed day of a counter.
    pub(crate) fn put_closed_day(&mut self, day: Day, name: &CounterName, closed: &ClosedDay) {
        let bytes = value::encode_closed_day(closed);
        self.put(Family::History, &keys::history(name, day), &bytes);
    }

    /// Puts a closed day whose record cannot be read: history keeps its bytes.
    pub(crate) fn put_unreadable_day(&mut self, day: Day, name: &CounterName, record: &[u8]) {
        let bytes = value::keep_unreadable_day(record);
        self.put(Family::History, &keys::history(name, day), &bytes);
    }

    /// Puts for how many milliseconds of a day the server was away.
    pub(crate) fn put_away(&mut self, day: Day, ms: i64) {
        self.put(Family::Meta, &keys::away(day), &ms.to_be_bytes());
    }

    /// Deletes how long the server was away in a day.
    pub(crate) fn delete_away(&mut self, day: Day) {
        self.delete(Family::Meta, &keys::away(day));
    }
}

impl Tables {
    /// Returns the record of a counter's day.
    pub(crate) fn day_record(
        &self,
        day: Day,
        name: &CounterName,
    ) -> Result<Option<Result<DayRecord, Undecodable>>, ReadError> {
        let bytes = self.get(Family::Days, &keys::day_record(day, name))?;
        Ok(bytes.map(|bytes| value::decode_day_record(&bytes).map(|(record, _)| record)))
    }

    /// Calls `visit` with all that is recorded of the days in `days`.
    ///
    /// # Errors
    /// When RocksDB cannot read on.
    pub fn day_parts(
        &self,
        days: RangeInclusive<Day>,
        mut visit: impl FnMut(Day, CounterName, DayPart),
    ) -> Result<(), ReadError> {
        let [from, end] = bounds(&days);
        self.scan(Family::Days, &from, Some(&end), |key, bytes| {
            if let (Some(day), Some((name, index))) = (day_in(key), keys::day_entry(key)) {
                let part = match index {
                    None => DayPart::Record(value::decode_day_record(bytes).map(|read| read.0)),
                    Some(index) => DayPart::Event(index, value::decode_event(bytes)),
                };
                visit(day, name, part);
            }
            ControlFlow::Continue(())
        })
    }

    /// Returns what is recorded of a counter's day: `None` when nothing is, `Err(bytes)` when the
    /// record cannot be read.
    pub(crate) fn recorded(
        &self,
        day: Day,
        name: &CounterName,
    ) -> Result<Option<Result<Recorded, Vec<u8>>>, ReadError> {
        let start = keys::day_record(day, name);
        let mut found = None;
        self.recorded_from(&start, day, |of, recorded| {
            found = (of == *name).then_some(recorded);
            ControlFlow::Break(())
        })?;
        Ok(found)
    }

    /// Calls `visit` with what is recorded of each counter's day, `Err(bytes)` when a record cannot be
    /// read, from `from` on (the first for `None`) until it breaks. Returns where to go on then;
    /// `None` after the last counter. Keys and events that cannot be read are logged and left out.
    pub(crate) fn recorded_in(
        &self,
        day: Day,
        from: Option<&Cursor>,
        visit: impl FnMut(CounterName, Result<Recorded, Vec<u8>>) -> ControlFlow<()>,
    ) -> Result<Option<Cursor>, ReadError> {
        match from {
            Some(Cursor(from)) => self.recorded_from(from, day, visit),
            None => self.recorded_from(&keys::day_prefix(day.days()), day, visit),
        }
    }

    fn recorded_from(
        &self,
        from: &[u8],
        day: Day,
        mut visit: impl FnMut(CounterName, Result<Recorded, Vec<u8>>) -> ControlFlow<()>,
    ) -> Result<Option<Cursor>, ReadError> {
        let [_, end] = bounds(&(day..=day));
        let mut open: Option<Open> = None;
        let mut next = None;
        let mut failed = Ok(());
        self.scan(Family::Days, from, Some(&end), |key, bytes| {
            match keys::day_entry(key) {
                None => {
                    tracing::error!(%day, "a key of the family days cannot be read; it is left out")
                }
                Some((name, Some(_))) => add_event(&mut open, &name, bytes),
                Some((name, None)) => {
                    if let Some(done) = open.take() {
                        match self.complete(done, &mut visit) {
                            Ok(ControlFlow::Continue(())) => {}
                            Ok(ControlFlow::Break(())) => {
                                next = Some(Cursor(key.to_vec()));
                                return ControlFlow::Break(());
                            }
                            Err(error) => {
                                failed = Err(error);
                                return ControlFlow::Break(());
                            }
                        }
                    }
                    open = Some(Open {
                        name,
                        record: bytes.to_vec(),
                        events: Vec::new(),
                    });
                }
            }
            ControlFlow::Continue(())
        })?;
        failed?;
        if let Some(last) = open {
            let _ = self.complete(last, &mut visit)?;
        }
        Ok(next)
    }

    fn complete(
        &self,
        open: Open,
        visit: &mut impl FnMut(CounterName, Result<Recorded, Vec<u8>>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, ReadError> {
        let Open {
            name,
            record,
            events,
        } = open;
        let Ok((record, nature)) = value::decode_day_record(&record) else {
            return Ok(visit(name, Err(record)));
        };
        let (kind, reset) = match nature {
            Some(nature) => nature,
            // The first version did not say; the definition does, as long as there is one.
            None => self
                .definition(&name)?
                .map_or((Kind::Gauge, Reset::Never), |of| (of.kind, of.reset)),
        };
        let recorded = Recorded {
            record,
            kind,
            reset,
            events,
        };
        Ok(visit(name, Ok(recorded)))
    }

    /// Returns the first day from `from` on of which any counter has a record.
    pub(crate) fn first_recorded_day(&self, from: Day) -> Result<Option<Day>, ReadError> {
        self.first_day(Family::Days, from)
    }

    /// Returns the first day from `from` on in a family whose keys begin with the day.
    pub(super) fn first_day(&self, family: Family, from: Day) -> Result<Option<Day>, ReadError> {
        let mut found = None;
        self.scan(family, &keys::day_prefix(from.days()), None, |key, _| {
            found = day_in(key);
            ControlFlow::Break(())
        })?;
        Ok(found)
    }

    /// Calls `visit` with the closed days of a counter in `days`, oldest first.
    ///
    /// # Errors
    /// When RocksDB cannot read on.
    pub fn history(
        &self,
        name: &CounterName,
        days: RangeInclusive<Day>,
        mut visit: impl FnMut(Day, Result<ClosedDay, Undecodable>),
    ) -> Result<(), ReadError> {
        let start = keys::history(name, *days.start());
        let mut end = keys::history(name, *days.end());
        end.push(0);
        self.scan(Family::History, &start, Some(&end), |key, bytes| {
            if let Some((_, day)) = keys::history_entry(key) {
                visit(day, value::decode_closed_day(bytes));
            }
            ControlFlow::Continue(())
        })
    }

    /// Returns the first counter after `after` (of all, for `None`) that has a closed day.
    ///
    /// # Errors
    /// When RocksDB cannot read on.
    pub fn next_in_history(
        &self,
        after: Option<&CounterName>,
    ) -> Result<Option<CounterName>, ReadError> {
        self.first_name(Family::History, after, |key| {
            keys::history_entry(key).map(|(name, _)| name)
        })
    }

    /// Returns for how many milliseconds of a day the server was away so far.
    pub(crate) fn away_ms(&self, day: Day) -> Result<i64, ReadError> {
        let bytes = self.get(Family::Meta, &keys::away(day))?;
        let bytes = bytes.and_then(|bytes| bytes[..].try_into().ok());
        Ok(bytes.map_or(0, i64::from_be_bytes))
    }
}

impl Reader {
    /// Calls `visit` with the day of every closed day, and `between` as [`Reader::count`] does.
    pub(crate) fn each_closed_day<E: From<ReadError>>(
        &self,
        mut visit: impl FnMut(Day),
        between: &mut dyn FnMut(u64, u64) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut visit = |key: &[u8], _: &[u8]| {
            if let Some((_, day)) = keys::history_entry(key) {
                visit(day);
            }
        };
        self.each(Family::History, &mut visit, between)
    }
}

fn add_event(open: &mut Option<Open>, name: &CounterName, bytes: &[u8]) {
    match (open, value::decode_event(bytes)) {
        (Some(open), Ok(event)) if open.name == *name => open.events.push(event),
        (Some(_) | None, Ok(_)) => {
            tracing::error!(counter = %name, "an event has no day record; it is left out");
        }
        (_, Err(_)) => {
            tracing::error!(counter = %name, "an event cannot be read; it is left out");
        }
    }
}

fn day_in(key: &[u8]) -> Option<Day> {
    Day::from_days(keys::leading_day(key)?).ok()
}

/// The first key of those days, and the first above them.
fn bounds(days: &RangeInclusive<Day>) -> [[u8; 4]; 2] {
    let above = days.end().days().saturating_add(1);
    [
        keys::day_prefix(days.start().days()),
        keys::day_prefix(above),
    ]
}
