//! The close of a day: its records, as the counting left them, become records of history. Each page
//! of them is one batch; the last one also says that the day is closed. A close that was cut off
//! begins the day again and writes the same once more.

use std::ops::ControlFlow;

use crate::calendar::{Calendar, Day};
use crate::counter::{ClosedDay, CounterName, DayRecord, Event, Kind, Reset};
use crate::storage::{Batch, Family, ReadError, Tables, keys, value};
use crate::writer::away_ms;

use super::progress;

/// How much one batch takes, so that no client waits long behind it.
const RECORDS_AT_ONCE: usize = 256;
const BYTES_AT_ONCE: usize = 256 * 1024;

/// A part of a day, ready to be written.
pub(super) struct Page {
    pub(super) batch: Batch,
    /// Records in it.
    pub(super) records: u64,
    /// Where the next page begins; none after the last.
    pub(super) next: Option<Vec<u8>>,
}

/// The first day above `closed` in which something changed.
pub(super) fn next_day(tables: &Tables, closed: Option<Day>) -> Result<Option<Day>, ReadError> {
    let start = closed.map_or([0; 4], |day| keys::day_prefix(day.next().days()));
    let mut found = None;
    tables.scan(Family::Days, &start, None, |key, _| {
        found = keys::leading_day(key).and_then(|day| Day::from_days(day).ok());
        ControlFlow::Break(())
    })?;
    Ok(found)
}

/// A record, and what it is of, if it says so.
type Recorded = (DayRecord, Option<(Kind, Reset)>);

/// A record whose events are still being collected.
struct Open {
    name: CounterName,
    record: Result<Recorded, Vec<u8>>,
    events: Vec<Event>,
}

/// The next part of `day`, from the key `from` on (its first one when none).
pub(super) fn page(
    tables: &Tables,
    calendar: &Calendar,
    day: Day,
    from: Option<&[u8]>,
) -> Result<Page, ReadError> {
    let first = keys::day_prefix(day.days());
    let end = keys::day_prefix(day.days().saturating_add(1));
    let mut closer = Closer {
        tables,
        day,
        starts_at: calendar.start_of(day),
        ends_at: calendar.end_of(day),
        away_ms: away_ms(tables, day)?,
        page: Page {
            batch: Batch::new(),
            records: 0,
            next: None,
        },
    };
    let mut open: Option<Open> = None;
    let mut failed = Ok(());
    tables.scan(
        Family::Days,
        from.unwrap_or(&first),
        Some(&end),
        |key, bytes| {
            match keys::day_entry(key) {
                None => tracing::error!(%day, "a key of the family days cannot be read; it is left out of history"),
                Some((name, Some(_))) => add_event(&mut open, &name, bytes),
                Some((name, None)) => {
                    if let Err(error) = open.take().map_or(Ok(()), |done| closer.close(done)) {
                        failed = Err(error);
                        return ControlFlow::Break(());
                    }
                    if closer.is_full() {
                        closer.page.next = Some(key.to_vec());
                        return ControlFlow::Break(());
                    }
                    open = Some(Open {
                        name,
                        record: value::decode_day_record(bytes).map_err(|_| bytes.to_vec()),
                        events: Vec::new(),
                    });
                }
            }
            ControlFlow::Continue(())
        },
    )?;
    failed?;
    if let Some(done) = open {
        closer.close(done)?;
    }
    let mut page = closer.page;
    if page.next.is_none() {
        progress::put_closed_through(&mut page.batch, day);
        page.batch.delete(Family::Meta, &keys::away(day));
    }
    Ok(page)
}

fn add_event(open: &mut Option<Open>, name: &CounterName, bytes: &[u8]) {
    match (open, value::decode_event(bytes)) {
        (Some(open), Ok(event)) if open.name == *name => open.events.push(event),
        (Some(_) | None, Ok(_)) => {
            tracing::error!(counter = %name, "an event has no day record; it is left out of history");
        }
        (_, Err(_)) => {
            tracing::error!(counter = %name, "an event cannot be read; it is left out of history");
        }
    }
}

struct Closer<'a> {
    tables: &'a Tables,
    day: Day,
    starts_at: i64,
    ends_at: i64,
    away_ms: i64,
    page: Page,
}

impl Closer<'_> {
    fn is_full(&self) -> bool {
        self.page.records >= RECORDS_AT_ONCE as u64 || self.page.batch.bytes() >= BYTES_AT_ONCE
    }

    fn close(&mut self, open: Open) -> Result<(), ReadError> {
        let Open {
            name,
            record,
            events,
        } = open;
        let key = keys::history(&name, self.day);
        self.page.records += 1;
        let (record, nature) = match record {
            Ok(read) => read,
            Err(bytes) => {
                tracing::error!(counter = %name, day = %self.day, "the day record cannot be read; history keeps its bytes");
                let kept = value::keep_unreadable_day(&bytes);
                self.page.batch.put(Family::History, &key, &kept);
                return Ok(());
            }
        };
        let (kind, reset) = match nature {
            Some(nature) => nature,
            None => self.defined_as(&name)?,
        };
        let closed = ClosedDay {
            kind,
            reset,
            starts_at: self.starts_at,
            ends_at: self.ends_at,
            away_ms: self.away_ms,
            record,
            events,
        };
        let bytes = value::encode_closed_day(&closed);
        self.page.batch.put(Family::History, &key, &bytes);
        Ok(())
    }

    /// What the counter is now, for records that do not say what it was.
    fn defined_as(&self, name: &CounterName) -> Result<(Kind, Reset), ReadError> {
        let bytes = self.tables.get(Family::Definitions, &keys::counter(name))?;
        let definition = bytes.and_then(|bytes| value::decode_counter(&bytes).ok());
        Ok(
            definition.map_or((Kind::Gauge, Reset::Never), |(definition, _)| {
                (definition.kind, definition.reset)
            }),
        )
    }
}
