//! Reading days back: closed ones from history, those that are over but not closed yet, and the one
//! that is being counted, from the day records.
//!
//! What a compaction has not dropped yet is not shown for that: days before the retention are left
//! out here.

use std::ops::ControlFlow;

use crate::calendar::{Calendar, Day};
use crate::counter::{ClosedDay, CounterName, Event, Kind, Reset};
use crate::storage::expiry::{Daily, Horizons};
use crate::storage::{Family, ReadError, Reader, Tables, keys, value};
use crate::writer::away_ms;

use super::progress;

/// A day of a counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastDay {
    /// Which day.
    pub day: Day,
    /// Whether it is over and in history. What is not may still change, or was not moved there yet.
    pub closed: bool,
    /// What happened in it; none when the record cannot be read.
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
    let closed = progress::closed_through(tables)?;
    let mut days = Vec::new();
    let mut end = keys::history(name, to);
    end.push(0);
    tables.scan(
        Family::History,
        &keys::history(name, from),
        Some(&end),
        |key, bytes| {
            if let Some((_, day)) = keys::history_entry(key) {
                days.push(PastDay {
                    day,
                    closed: true,
                    content: value::decode_closed_day(bytes).ok(),
                });
            }
            ControlFlow::Continue(())
        },
    )?;
    let known = days.last().map(|last: &PastDay| last.day);
    // A close under way has moved some of a day, so that history may be ahead of what it says.
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
        // To the first record at all from there on, so that years without any cost nothing.
        next = None;
        tables.scan(
            Family::Days,
            &keys::day_prefix(from.days()),
            None,
            |key, _| {
                next = keys::leading_day(key).and_then(|day| Day::from_days(day).ok());
                ControlFlow::Break(())
            },
        )?;
        let Some(day) = next.filter(|&day| day <= to) else {
            break;
        };
        if tables
            .get(Family::Days, &keys::day_record(day, name))?
            .is_some()
        {
            days.push(day);
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
    let key = keys::day_record(day, name);
    let Some(bytes) = tables.get(Family::Days, &key)? else {
        return Ok(None);
    };
    let Ok((record, nature)) = value::decode_day_record(&bytes) else {
        return Ok(None);
    };
    let mut end = key.clone();
    end.push(u8::MAX);
    let mut events: Vec<Event> = Vec::new();
    tables.scan(Family::Days, &key, Some(&end), |key, bytes| {
        if let Some((_, Some(_))) = keys::day_entry(key) {
            events.extend(value::decode_event(bytes));
        }
        ControlFlow::Continue(())
    })?;
    let (kind, reset) = match nature {
        Some(nature) => nature,
        None => match tables.get(Family::Definitions, &keys::counter(name))? {
            Some(bytes) => value::decode_counter(&bytes)
                .map_or((Kind::Gauge, Reset::Never), |(definition, _)| {
                    (definition.kind, definition.reset)
                }),
            None => (Kind::Gauge, Reset::Never),
        },
    };
    Ok(Some(ClosedDay {
        kind,
        reset,
        starts_at: calendar.start_of(day),
        ends_at: calendar.end_of(day),
        away_ms: away_ms(tables, day)?,
        record,
        events,
    }))
}

/// The first and the last closed day of which there is any record; none when there is none. Looks at
/// all of history, and tells `between` as [`Reader::each`] does.
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
    let mut widen = |key: &[u8], _: &[u8]| {
        if let Some((_, day)) = keys::history_entry(key)
            && day >= first_kept
        {
            let (first, last) = range.get_or_insert((day, day));
            *first = day.min(*first);
            *last = day.max(*last);
        }
    };
    reader.each(Family::History, &mut widen, between)?;
    Ok(range)
}
