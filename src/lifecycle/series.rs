//! The series of a counter: what its value was in each span of the last hours or days. It is made of the values at the
//! ends of minutes. A span in which the server was away has no values; a span in which nothing changed has the value that
//! was in force.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::calendar::{Calendar, Day};
use crate::counter::instant::serialize_at;
use crate::counter::{CounterName, EventKind, Millis, Reset};
use crate::storage::expiry::{Daily, Horizons};
use crate::storage::{ReadError, Tables};

use super::history;

const MINUTE_MS: i64 = 60_000;

/// How long a change may take to get into the samples.
const SETTLED_MS: i64 = 2 * MINUTE_MS;

/// Which series is asked for, and what the counter is now.
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
    /// Now.
    pub now: Millis,
    /// The instant that lies in the last span; not after now.
    pub until: Millis,
    /// The day that is counted now.
    pub today: Day,
    /// How far back from `until` the range goes.
    pub range_ms: i64,
    /// The length of a span; a whole number of minutes. Spans begin at its multiples since 1970.
    pub step_ms: i64,
}

/// A span of a series. Its values are `None` when the server was away, or nothing is known of that time.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Point {
    /// The instant at which it begins.
    #[serde(serialize_with = "serialize_at")]
    pub at: Millis,
    /// The value at its end.
    pub last: Option<i64>,
    /// The lowest value at its begin and at the ends of its minutes.
    pub min: Option<i64>,
    /// The highest value at these instants.
    pub max: Option<i64>,
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
    let first = (request.until - request.range_ms).div_euclid(step) * step;
    let last = request.until.div_euclid(step) * step;
    let under_way = request.now.div_euclid(step) * step;
    let source = Source {
        tables,
        calendar,
        request,
        first,
        kept_from: Day::clamped(i64::from(horizons.day(Daily::Samples))),
    };
    let changes = source.changes()?;
    let present = source.presence()?;
    let settled = request.changed_at < request.now - SETTLED_MS;
    let minute = minute_of(request.changed_at);
    let sampled = changes.last_sample.is_some_and(|at| at >= minute);
    // Where a later minute has a record, this minute's value has one too, if the counter is followed.
    let noted = present.range(minute + MINUTE_MS..).next().is_some();
    let is_followed = !settled || !noted || request.changed_at < first || sampled;
    let mut value = changes.before;
    let mut changes = changes.within.into_iter().peekable();
    let mut points = Vec::new();
    for at in (first..=last).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
        let end = at + step;
        let mut point = Point::begin(at, value);
        while let Some((_, next)) = changes.next_if(|&(when, _)| when < end) {
            value = next;
            next.into_iter().for_each(|next| point.reach(next));
        }
        if at == under_way {
            point.reach(request.value);
        }
        let is_known = value.is_some() && present.range(at..end).next().is_some();
        if !is_followed || !is_known && at != under_way {
            point = Point::begin(at, None);
        }
        points.push(point);
    }
    Ok((points, is_followed))
}

impl Point {
    /// Begins a span with the value in force.
    fn begin(at: Millis, value: Option<i64>) -> Self {
        let (last, min, max) = (value, value, value);
        Self { at, last, min, max }
    }

    fn reach(&mut self, value: i64) {
        self.last = Some(value);
        self.min = Some(self.min.map_or(value, |min| min.min(value)));
        self.max = self.max.max(Some(value));
    }
}

/// Returns the begin of the minute that an instant lies in.
fn minute_of(at: Millis) -> Millis {
    at.div_euclid(MINUTE_MS) * MINUTE_MS
}

/// Where a series is read from.
struct Source<'a> {
    tables: &'a Tables,
    calendar: &'a Calendar,
    request: &'a SeriesRequest,
    /// The begin of the range.
    first: Millis,
    /// The first day whose samples are kept.
    kept_from: Day,
}

/// Changes of the value, as far as they are known.
#[derive(Default)]
struct Changes {
    /// The value before the range; `None` when the counter had no value then, or it is not known.
    before: Option<i64>,
    /// What it became, by the begin of the minute at whose end it was that.
    within: Vec<(Millis, Option<i64>)>,
    /// The begin of the minute of the last sample.
    last_sample: Option<Millis>,
}

impl Source<'_> {
    fn changes(&self) -> Result<Changes, ReadError> {
        let (first, request) = (self.first, self.request);
        let mut changes = Changes::default();
        let mut earliest: Option<(Millis, Day)> = None;
        // The last sample before the range: it may say that there was no value, or be unreadable.
        let mut sample_before = None;
        let mut day = self.first_day();
        loop {
            let start = self.calendar.start_of(day);
            if request.reset == Reset::Daily && start >= first {
                changes.within.push((start, Some(0)));
            }
            self.samples(day, |at, value| {
                earliest.get_or_insert((at, day));
                changes.last_sample = changes.last_sample.max(Some(at));
                if at < first {
                    sample_before = Some(value);
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
        changes.before = match sample_before {
            Some(value) => value,
            None => self.earlier()?,
        };
        self.forget_before_creation(&mut changes, earliest)?;
        Ok(changes)
    }

    /// Returns the first day of the range whose samples are kept.
    fn first_day(&self) -> Day {
        let first = self.calendar.day_of(self.first);
        first.max(self.kept_from).min(self.request.today)
    }

    /// Removes values from before the counter was created.
    fn forget_before_creation(
        &self,
        changes: &mut Changes,
        earliest: Option<(Millis, Day)>,
    ) -> Result<(), ReadError> {
        let request = self.request;
        // A counter without a sample may have been created a moment ago.
        let (at, day) = earliest.unwrap_or((request.now, request.today));
        let found = history::days_of(self.tables, self.calendar, &request.name, day, day)?;
        let Some(content) = found.into_iter().find_map(|past| past.content) else {
            return Ok(());
        };
        let opening = content.record.opening;
        let created = content
            .events
            .first()
            .filter(|event| event.kind == EventKind::Creation && opening == 0);
        match created {
            Some(created) if created.at >= self.first => {
                changes.before = None;
                let minute = minute_of(created.at);
                changes.within.retain(|&(at, _)| at >= minute);
            }
            // The counter was there when the day began, before its first sample.
            None if changes.before.is_none()
                && earliest.is_some()
                && at >= self.first
                && request.reset == Reset::Never =>
            {
                changes.before = Some(opening);
            }
            Some(_) | None => {}
        }
        Ok(())
    }

    /// Finds the value in force before the first day of the range; `None` when it is not known.
    fn earlier(&self) -> Result<Option<i64>, ReadError> {
        let request = self.request;
        // A daily counter that has no sample in a day before the range began it with 0.
        if request.reset == Reset::Daily {
            return Ok(Some(0));
        }
        let oldest = self.tables.first_sampled_day(self.kept_from)?;
        let first_day = self.first_day();
        let mut day = first_day;
        while oldest.is_some_and(|oldest| day > oldest) {
            day = day.previous();
            let mut last = None;
            self.samples(day, |_, value| last = Some(value))?;
            if let Some(last) = last {
                return Ok(last);
            }
        }
        // There is no sample: unless it changed within the range, it did not change while samples are kept.
        let unchanged = request.changed_at < self.calendar.start_of(first_day);
        Ok(unchanged.then_some(request.value))
    }

    /// Calls `visit` with the samples of the counter in a day, in order: the begin of the minute, and the value
    /// at its end.
    fn samples(
        &self,
        day: Day,
        mut visit: impl FnMut(Millis, Option<i64>),
    ) -> Result<(), ReadError> {
        let name = &self.request.name;
        self.tables
            .samples(day, name, |minute, value| match minute {
                // The begin of the day cannot be read.
                0 => visit(self.calendar.start_of(day), value),
                minute => visit(i64::from(minute) * MINUTE_MS, value),
            })
    }

    /// Returns the begins of the minutes from the range on in which the server was up.
    fn presence(&self) -> Result<BTreeSet<Millis>, ReadError> {
        let mut minutes = BTreeSet::new();
        // While the calendar was behind, a day took minutes of other days; so all days from there on are read.
        let mut day = self.calendar.day_of(self.first).max(self.kept_from);
        loop {
            self.tables.uptime_minutes(day, |minute| {
                minutes.insert(i64::from(minute) * MINUTE_MS);
            })?;
            match self.tables.first_sampled_day(day.next())? {
                Some(next) if next > day => day = next,
                Some(_) | None => return Ok(minutes),
            }
        }
    }
}
