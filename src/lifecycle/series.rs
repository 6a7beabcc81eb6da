//! The series of a counter: what its value was in each span of the last hours or days, made of the
//! values at the ends of minutes. A span in which the server was away has no values; one in which
//! nothing changed has the value that was in force.

use std::collections::BTreeSet;

use crate::calendar::{Calendar, Day};
use crate::counter::{CounterName, EventKind, Millis, Reset};
use crate::storage::expiry::{Daily, Horizons};
use crate::storage::{ReadError, Tables};

use super::history;

const MINUTE_MS: i64 = 60_000;

/// A change is in the samples at the latest so long after it was made.
const SETTLED_MS: i64 = 2 * MINUTE_MS;

/// What is asked, and what the counter is now.
#[derive(Clone, Debug)]
pub struct SeriesRequest {
    /// The counter.
    pub name: CounterName,
    /// How it resets.
    pub reset: Reset,
    /// Its value now.
    pub value: i64,
    /// When it changed last.
    pub changed_at: Millis,
    /// Now: the last span is the one that it lies in.
    pub now: Millis,
    /// The day that is counted now.
    pub today: Day,
    /// How far back.
    pub range_ms: i64,
    /// The length of a span; a whole number of minutes. Spans begin at its multiples since 1970.
    pub step_ms: i64,
}

/// A span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Where it begins.
    pub at: Millis,
    /// The values in it; `None` when the server was away, or nothing is known of that time.
    pub values: Option<SpanValues>,
}

/// The values of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanValues {
    /// At its end.
    pub last: i64,
    /// The lowest at its begin and at the ends of its minutes.
    pub min: i64,
    /// The highest, likewise.
    pub max: i64,
}

/// Returns the spans of the range, oldest first, and whether the counter is followed: otherwise no span
/// has values.
///
/// # Errors
/// When the store cannot be read.
pub fn series(
    tables: &Tables,
    calendar: &Calendar,
    horizons: &Horizons,
    request: &SeriesRequest,
) -> Result<(Vec<Point>, bool), ReadError> {
    let step = request.step_ms.max(MINUTE_MS);
    let first = (request.now - request.range_ms).div_euclid(step) * step;
    let last = request.now.div_euclid(step) * step;
    let kept_from = Day::clamped(i64::from(horizons.day(Daily::Samples)));
    let changes = Changes::read(tables, calendar, request, first, kept_from)?;
    let present = presence(tables, calendar, first, kept_from)?;
    let settled = request.changed_at < request.now - SETTLED_MS;
    let minute = request.changed_at.div_euclid(MINUTE_MS) * MINUTE_MS;
    let sampled = changes.last_sample.is_some_and(|at| at >= minute);
    // Where a later minute has a record, this minute's value has one too, if the counter is followed.
    let noted = present.range(minute + MINUTE_MS..).next().is_some();
    if settled && noted && request.changed_at >= first && !sampled {
        let points = spans(first, last, step).map(|at| Point { at, values: None });
        return Ok((points.collect(), false));
    }
    let mut value = changes.before;
    let mut changes = changes.within.into_iter().peekable();
    let mut points = Vec::new();
    for at in spans(first, last, step) {
        let end = at + step;
        let mut seen: Option<SpanValues> = value.map(SpanValues::of);
        while let Some((_, next)) = changes.next_if(|&(when, _)| when < end) {
            value = next;
            if let Some(next) = next {
                seen = Some(seen.map_or(SpanValues::of(next), |seen| seen.then(next)));
            }
        }
        if at == last {
            seen = Some(seen.map_or(SpanValues::of(request.value), |seen| {
                seen.then(request.value)
            }));
        }
        let there = at == last || present.range(at..end).next().is_some();
        points.push(Point {
            at,
            values: seen.filter(|_| there && (value.is_some() || at == last)),
        });
    }
    Ok((points, true))
}

impl SpanValues {
    fn of(value: i64) -> Self {
        Self {
            last: value,
            min: value,
            max: value,
        }
    }

    fn then(self, value: i64) -> Self {
        Self {
            last: value,
            min: self.min.min(value),
            max: self.max.max(value),
        }
    }
}

fn spans(first: Millis, last: Millis, step: i64) -> impl Iterator<Item = Millis> {
    (0..=(last - first).div_euclid(step).max(0)).map(move |number| first + number * step)
}

/// Changes of the value, as far as they are known.
struct Changes {
    /// The value before the range; `None` when the counter had no value then, or it is not known.
    before: Option<i64>,
    /// Whether the last sample before the range says that there was no value, or cannot be read.
    lost: bool,
    /// What it became, by the begin of the minute at whose end it was that.
    within: Vec<(Millis, Option<i64>)>,
    /// The begin of the minute of the last sample.
    last_sample: Option<Millis>,
}

impl Changes {
    fn read(
        tables: &Tables,
        calendar: &Calendar,
        request: &SeriesRequest,
        first: Millis,
        kept_from: Day,
    ) -> Result<Self, ReadError> {
        let first_day = calendar.day_of(first).max(kept_from).min(request.today);
        let mut changes = Self {
            before: None,
            lost: false,
            within: Vec::new(),
            last_sample: None,
        };
        let mut earliest: Option<(Millis, Day)> = None;
        let mut day = first_day;
        loop {
            if request.reset == Reset::Daily && calendar.start_of(day) >= first {
                changes.within.push((calendar.start_of(day), Some(0)));
            }
            samples(tables, calendar, &request.name, day, |at, value| {
                earliest.get_or_insert((at, day));
                changes.last_sample = changes.last_sample.max(Some(at));
                if at < first {
                    changes.before = value;
                    changes.lost = value.is_none();
                } else {
                    changes.within.push((at, value));
                }
            })?;
            if day >= request.today {
                break;
            }
            day = day.next();
        }
        changes.within.sort_by_key(|&(at, _)| at);
        if changes.before.is_none() && !changes.lost {
            changes.before = earlier(tables, calendar, request, first_day, kept_from)?;
        }
        changes.forget_before_creation(tables, calendar, request, earliest, first)?;
        Ok(changes)
    }

    /// Removes values from before the counter was created.
    fn forget_before_creation(
        &mut self,
        tables: &Tables,
        calendar: &Calendar,
        request: &SeriesRequest,
        earliest: Option<(Millis, Day)>,
        first: Millis,
    ) -> Result<(), ReadError> {
        // A counter without a sample may have been created a moment ago.
        let (at, day) = earliest.unwrap_or((request.now, request.today));
        let found = history::days_of(tables, calendar, &request.name, day, day)?;
        let Some(content) = found.into_iter().find_map(|past| past.content) else {
            return Ok(());
        };
        let created = content
            .events
            .first()
            .filter(|event| event.kind == EventKind::Creation && content.record.opening == 0)
            .map(|event| event.at);
        match created {
            Some(created) if created >= first => {
                self.before = None;
                let minute = created.div_euclid(MINUTE_MS) * MINUTE_MS;
                self.within.retain(|&(at, _)| at >= minute);
            }
            // The counter was there when the day began, before its first sample.
            None if self.before.is_none()
                && earliest.is_some()
                && at >= first
                && request.reset == Reset::Never =>
            {
                self.before = Some(content.record.opening);
            }
            Some(_) | None => {}
        }
        Ok(())
    }
}

/// Finds the value in force before the first day of the range; `None` when it is not known.
fn earlier(
    tables: &Tables,
    calendar: &Calendar,
    request: &SeriesRequest,
    first_day: Day,
    kept_from: Day,
) -> Result<Option<i64>, ReadError> {
    // A daily counter that has no sample in a day before the range began it with 0.
    if request.reset == Reset::Daily {
        return Ok(Some(0));
    }
    let oldest = tables.first_sampled_day(kept_from)?;
    let mut day = first_day;
    while oldest.is_some_and(|oldest| day > oldest) {
        day = day.previous();
        let mut last = None;
        samples(tables, calendar, &request.name, day, |_, value| {
            last = Some(value)
        })?;
        if let Some(last) = last {
            return Ok(last);
        }
    }
    // There is no sample: unless it changed within the range, it did not change while samples are kept.
    let unchanged = request.changed_at < calendar.start_of(first_day);
    Ok(unchanged.then_some(request.value))
}

/// Calls `visit` with the samples of a counter in a day, in order: the begin of the minute, and the value
/// at its end.
fn samples(
    tables: &Tables,
    calendar: &Calendar,
    name: &CounterName,
    day: Day,
    mut visit: impl FnMut(Millis, Option<i64>),
) -> Result<(), ReadError> {
    tables.samples(day, name, |minute, value| match minute {
        // The begin of the day cannot be read.
        0 => visit(calendar.start_of(day), value),
        minute => visit(i64::from(minute) * MINUTE_MS, value),
    })
}

/// Returns the begins of the minutes from `first` on in which the server was up.
fn presence(
    tables: &Tables,
    calendar: &Calendar,
    first: Millis,
    kept_from: Day,
) -> Result<BTreeSet<Millis>, ReadError> {
    let mut minutes = BTreeSet::new();
    // While the calendar was behind, a day took minutes of other days; so all days from there on are read.
    let mut day = calendar.day_of(first).max(kept_from);
    loop {
        tables.uptime_minutes(day, |minute| {
            minutes.insert(i64::from(minute) * MINUTE_MS);
        })?;
        match tables.first_sampled_day(day.next())? {
            Some(next) if next > day => day = next,
            Some(_) | None => return Ok(minutes),
        }
    }
}
