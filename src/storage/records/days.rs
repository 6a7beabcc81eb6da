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
use crate::storage::rot::Gap;
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

impl Open {
    fn new(name: CounterName, record: &[u8]) -> Self {
        Self {
            name,
            record: record.to_vec(),
            events: Vec::new(),
        }
    }
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
        let record = value::encode_day_record(record, kind, reset);
        self.put_record(Family::Days, &keys::day_record(day, name), record);
    }

    /// Puts the event with that index of a counter's day.
    pub(crate) fn put_event(&mut self, day: Day, name: &CounterName, index: u8, event: &Event) {
        let record = value::encode_event(event);
        self.put_record(Family::Days, &keys::event(day, name, index), record);
    }

    /// Puts a closed day of a counter.
    pub(crate) fn put_closed_day(&mut self, day: Day, name: &CounterName, closed: &ClosedDay) {
        let record = value::encode_closed_day(closed);
        self.put_record(Family::History, &keys::history(name, day), record);
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
        let gaps = self.scan_past_rot(Family::Days, &from, Some(&end), |key, bytes| {
            if let (Some(day), Some((name, index))) = (day_in(key), keys::day_entry(key)) {
                let part = match index {
                    None => DayPart::Record(value::decode_day_record(bytes).map(|read| read.0)),
                    Some(index) => DayPart::Event(index, value::decode_event(bytes)),
                };
                visit(day, name, part);
            }
            ControlFlow::Continue(())
        })?;
        if gaps.is_empty() {
            return Ok(());
        }
        for day in days_back(*days.start(), *days.end()) {
            let key = |name: &CounterName| keys::day_record(day, name);
            self.unread(Family::Days, &gaps, key, |name, bytes| {
                let record = bytes.and_then(|bytes| Ok(value::decode_day_record(&bytes)?.0));
                visit(day, name, DayPart::Record(record));
            })?;
        }
        Ok(())
    }

    /// Returns what is recorded of a counter's day: `None` when nothing is, `Err(bytes)` when the
    /// record cannot be read.
    pub(crate) fn recorded(
        &self,
        day: Day,
        name: &CounterName,
    ) -> Result<Option<Result<Recorded, Vec<u8>>>, ReadError> {
        let start = keys::day_record(day, name);
        if self
            .get(Family::Days, &start)
            .is_err_and(|error| error.is_rot())
        {
            return Ok(Some(Err(Vec::new())));
        }
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
        mut visit: impl FnMut(CounterName, Result<Recorded, Vec<u8>>) -> ControlFlow<()>,
    ) -> Result<Option<Cursor>, ReadError> {
        let first = keys::day_prefix(day.days());
        let from = from.map_or(&first[..], |Cursor(from)| from);
        let (next, gaps) = self.recorded_from(from, day, &mut visit)?;
        // Records in a gap come after the rest of the page, all at once.
        let mut found = Vec::new();
        let key = |name: &CounterName| keys::day_record(day, name);
        self.unread(Family::Days, &gaps, key, |name, bytes| {
            found.push((name, bytes))
        })?;
        for (name, bytes) in found {
            let _ = match bytes {
                Err(Undecodable) => visit(name, Err(Vec::new())),
                Ok(record) => self.complete(Open::new(name, &record), &mut visit)?,
            };
        }
        Ok(next)
    }

    fn recorded_from(
        &self,
        from: &[u8],
        day: Day,
        mut visit: impl FnMut(CounterName, Result<Recorded, Vec<u8>>) -> ControlFlow<()>,
    ) -> Result<(Option<Cursor>, Vec<Gap>), ReadError> {
        let [_, end] = bounds(&(day..=day));
        let mut open: Option<Open> = None;
        let mut next = None;
        let mut failed = Ok(());
        let gaps = self.scan_past_rot(Family::Days, from, Some(&end), |key, bytes| {
            match keys::day_entry(key) {
                None => {
                    tracing::error!(%day, "a key of the family days cannot be read; it is left out")
                }
                Some((name, Some(_))) => add_event(&mut open, &name, bytes),
                Some((name, None)) => {
                    let done = open.take().map(|done| self.complete(done, &mut visit));
                    match done.transpose() {
                        Ok(None | Some(ControlFlow::Continue(()))) => {}
                        Ok(Some(ControlFlow::Break(()))) => {
                            next = Some(Cursor(key.to_vec()));
                            return ControlFlow::Break(());
                        }
                        Err(error) => {
                            failed = Err(error);
                            return ControlFlow::Break(());
                        }
                    }
                    open = Some(Open::new(name, bytes));
                }
            }
            ControlFlow::Continue(())
        })?;
        failed?;
        if let Some(last) = open {
            let _ = self.complete(last, &mut visit)?;
        }
        Ok((next, gaps))
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
            // Version 1 did not store them; the definition tells them, if it is still there.
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

    /// Returns the first day from `from` on in a family whose keys begin with the day: also one that
    /// cannot be read.
    pub(super) fn first_day(&self, family: Family, from: Day) -> Result<Option<Day>, ReadError> {
        let mut found = None;
        let start = keys::day_prefix(from.days());
        let gaps = self.scan_past_rot(family, &start, None, |key, _| {
            found = day_in(key);
            ControlFlow::Break(())
        })?;
        let unread = gaps.first().and_then(|gap| self.day_behind(family, gap));
        Ok(found.into_iter().chain(unread).min())
    }

    /// Returns the first day that a gap may hold: where its table begins, or where the gap begins if that
    /// is later.
    fn day_behind(&self, family: Family, gap: &Gap) -> Option<Day> {
        let begins = self.rot.begin_of(family, &gap.from);
        day_in(begins.as_deref().unwrap_or(&gap.from)).max(day_in(&gap.from))
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
        let mut found = Vec::new();
        let gaps = self.scan_past_rot(Family::History, &start, Some(&end), |key, bytes| {
            if let Some((_, day)) = keys::history_entry(key) {
                found.push((day, value::decode_closed_day(bytes)));
            }
            ControlFlow::Continue(())
        })?;
        let closed = self.closed_through()?.filter(|_| !gaps.is_empty());
        for day in closed
            .into_iter()
            .flat_map(|closed| days_back(*days.start(), closed.min(*days.end())))
        {
            let key = keys::history(name, day);
            if let Some(bytes) = self.in_a_gap(Family::History, &gaps, &key)? {
                found.push((
                    day,
                    bytes.and_then(|bytes| value::decode_closed_day(&bytes)),
                ));
            }
        }
        found.sort_by_key(|&(day, _)| day);
        found
            .into_iter()
            .for_each(|(day, closed)| visit(day, closed));
        Ok(())
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
        Ok(self.number(&keys::away(day))?.unwrap_or(0))
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

/// Lists the days from `last` back to `first`, at most as many as may be looked up one by one.
fn days_back(first: Day, last: Day) -> impl Iterator<Item = Day> {
    const MOST: usize = 4000;
    std::iter::successors(Some(last), |day| Some(day.previous()))
        .take_while(move |&day| day >= first)
        .take(MOST)
}

fn day_in(key: &[u8]) -> Option<Day> {
    Day::from_days(keys::leading_day(key)?).ok()
}

/// Returns the first key of those days, and the first key above them.
fn bounds(days: &RangeInclusive<Day>) -> [[u8; 4]; 2] {
    let above = days.end().days().saturating_add(1);
    [
        keys::day_prefix(days.start().days()),
        keys::day_prefix(above),
    ]
}
