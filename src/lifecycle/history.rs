//! Reading days back: closed days from history; days that are over but not closed, and the one that is being counted,
//! from the day records.
//!
//! Days before the retention are left out, also where a compaction has not dropped them yet.

use crate::calendar::{Calendar, Day};
use crate::counter::{ClosedDay, CounterName};
use crate::storage::expiry::{Daily, Horizons};
use crate::storage::{ReadError, Reader, Recorded, Tables};

/// A day of a counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastDay {
    /// Which day.
    pub day: Day,
    /// Whether it is over and in history. Another day may still change, or was not moved there yet.
    pub closed: bool,
    /// What happened in it; `None` when the record cannot be read.
    pub content: Option<ClosedDay>,
}

/// Returns the first day that is kept in history.
pub fn kept_from(horizons: &Horizons) -> Day {
    Day::clamped(i64::from(horizons.day(Daily::History)))
}

/// Returns the days `from` to `to`, both included, in which a counter changed, newest first. Days that are not
/// closed come with what their record says now.
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
    let mut next = Some(first_open);
    while let Some(from) = next.filter(|&day| day <= to) {
        // Straight to the next day that has a record, so that years without records cost nothing.
        let Some(day) = tables.first_recorded_day(from)?.filter(|&day| day <= to) else {
            break;
        };
        if let Some(recorded) = tables.recorded(day, name)? {
            let away_ms = tables.away_ms(day)?;
            let content = recorded.map(|recorded| closed_day(recorded, calendar, day, away_ms));
            days.push(PastDay {
                day,
                closed: false,
                content: content.ok(),
            });
        }
        next = Some(day.next()).filter(|&next| next > day);
    }
    days.reverse();
    Ok(days)
}

/// Makes what history keeps of a day out of what is recorded of it.
pub(super) fn closed_day(
    recorded: Recorded,
    calendar: &Calendar,
    day: Day,
    away_ms: i64,
) -> ClosedDay {
    ClosedDay {
        kind: recorded.kind,
        reset: recorded.reset,
        starts_at: calendar.start_of(day),
        ends_at: calendar.end_of(day),
        away_ms,
        record: recorded.record,
        events: recorded.events,
    }
}

/// Returns the first and the last closed day of which there is any record; `None` when there is none. Reads
/// all of history.
///
/// # Errors
/// When the store cannot be read.
pub fn kept_days(reader: &Reader) -> Result<Option<(Day, Day)>, ReadError> {
    kept_range(reader, &mut |_, _| Ok(()))
}

/// Returns what [`kept_days`] returns, and tells `between` as [`Reader::count`] does.
///
/// # Errors
/// When the store cannot be read, or `between` says so.
pub fn kept_range<E: From<ReadError>>(
    reader: &Reader,
    between: &mut dyn FnMut(u64, u64) -> Result<(), E>,
) -> Result<Option<(Day, Day)>, E> {
    let first_kept = kept_from(&reader.horizons);
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
