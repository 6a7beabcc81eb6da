//! Reading days back: closed ones from history, those that are over but not closed yet, and the one
//! that is being counted, from the day records.
//!
//! What a compaction has not dropped yet is not shown for that: days before the retention are left
//! out here.

use crate::calendar::{Calendar, Day};
use crate::counter::{ClosedDay, CounterName};
use crate::storage::expiry::{Daily, Horizons};
use crate::storage::{ReadError, Reader, Recorded, Tables};

/// A day of a counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastDay {
    /// Which day.
    pub day: Day,
    /// Whether it is over and in history. What is not may still change, or was not moved there yet.
    pub closed: bool,
    /// What happened in it; `None` when the record cannot be read.
    pub content: Option<ClosedDay>,
}

/// The first day that is kept in history.
pub fn kept_from(horizons: &Horizons) -> Day {
    Day::clamped(i64::from(horizons.day(Daily::History)))
}

/// The days `from` to `to`, both included, in which a counter changed, newest first. Days that are
/// not closed come with what their record says now.
///
/// # Errors
/// When the store cannot be read.
pub fn days_of(
    tables: &Tables,
    calendar: &Calendar,
    name: &CounterName,
    from: Day,
    to: Day,
) -> Result<Vec<PastDay>, ReadError> {
    let closed = tables.closed_through()?;
    let mut days = Vec::new();
    tables.history(name, from..=to, |day, content| {
        days.push(PastDay {
            day,
            closed: true,
            content: content.ok(),
        });
    })?;
    let known = days.last().map(|last: &PastDay| last.day);
    // A close under way has moved a part of its day, so history may be ahead of the last closed day.
    let first_open = closed.max(known).map_or(from, Day::next).max(from);
    for day in open_days(tables, name, first_open, to)? {
        days.push(PastDay {
            day,
            closed: false,
            content: open_day(tables, calendar, name, day)?,
        });
    }
    days.reverse();
    Ok(days)
}

/// The days from `from` to `to` of which there is a day record of that name.
fn open_days(
    tables: &Tables,
    name: &CounterName,
    from: Day,
    to: Day,
) -> Result<Vec<Day>, ReadError> {
    let mut days = Vec::new();
    let mut next = Some(from);
    while let Some(from) = next.filter(|&day| day <= to) {
        // Straight to the next day that has a record, so that years without records cost nothing.
        let Some(day) = tables.first_recorded_day(from)?.filter(|&day| day <= to) else {
            break;
        };
        match tables.day_record(day, name) {
            Ok(None) => {}
            Ok(Some(_)) => days.push(day),
            Err(error) if error.is_rot() => days.push(day),
            Err(error) => return Err(error),
        }
        next = Some(day.next()).filter(|&next| next > day);
    }
    Ok(days)
}

/// What the record of a day that is not closed says now.
pub(super) fn open_day(
    tables: &Tables,
    calendar: &Calendar,
    name: &CounterName,
    day: Day,
) -> Result<Option<ClosedDay>, ReadError> {
    let Some(Ok(recorded)) = tables.recorded(day, name)? else {
        return Ok(None);
    };
    let away_ms = tables.away_ms(day)?;
    Ok(Some(closed_day(recorded, calendar, day, away_ms)))
}

/// Makes of what is recorded of a day what history keeps of it.
pub(super) fn closed_day(
    recorded: Recorded,
    calendar: &Calendar,
    day: Day,
    away_ms: i64,
) -> ClosedDay {
    let Recorded {
        record,
        kind,
        reset,
        events,
    } = recorded;
    ClosedDay {
        kind,
        reset,
        starts_at: calendar.start_of(day),
        ends_at: calendar.end_of(day),
        away_ms,
        record,
        events,
    }
}

/// Returns the first and the last closed day of which there is any record; `None` when there is none. Reads
/// all of history.
///
/// # Errors
/// When the store cannot be read.
pub fn kept_days(reader: &Reader, horizons: &Horizons) -> Result<Option<(Day, Day)>, ReadError> {
    kept_range(reader, horizons, &mut |_, _| Ok(()))
}

/// Returns what [`kept_days`] returns, and tells `between` as [`Reader::count`] does.
///
/// # Errors
/// When the store cannot be read, or `between` says so.
pub fn kept_range<E: From<ReadError>>(
    reader: &Reader,
    horizons: &Horizons,
    between: &mut dyn FnMut(u64, u64) -> Result<(), E>,
) -> Result<Option<(Day, Day)>, E> {
    let first_kept = kept_from(horizons);
    let mut range: Option<(Day, Day)> = None;
    let widen = |day: Day| {
        if day >= first_kept {
            let (first, last) = range.get_or_insert((day, day));
            *first = day.min(*first);
            *last = day.max(*last);
        }
    };
    reader.each_closed_day(widen, between)?;
    Ok(range)
}
