//! The highest value that a counter has had, since it was created or since it is kept: that of its closed days, which
//! the close of each day brings up to date, and those of the days that are not closed.

use serde::Serialize;

use super::history;
use crate::calendar::{Calendar, Day};
use crate::counter::instant::serialize_at;
use crate::counter::{CounterName, Event, EventKind, Extreme, Millis};
use crate::storage::{Batch, ReadError, Tables};

/// The highest value of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PeakEver {
    /// The value.
    pub value: i64,
    /// When it was first reached.
    #[serde(serialize_with = "serialize_at")]
    pub at: Millis,
    /// The local day of that.
    pub date: Day,
}

impl PeakEver {
    fn new((peak, date): (Extreme, Day)) -> Self {
        let Extreme { value, at } = peak;
        Self { value, at, date }
    }
}

/// Returns the highest value that a counter has had; `None` for a counter that never changed.
///
/// # Errors
/// When the store cannot be read.
pub fn peak_ever(
    tables: &Tables,
    calendar: &Calendar,
    name: &CounterName,
    today: Day,
) -> Result<Option<PeakEver>, ReadError> {
    let closed = tables.closed_through()?;
    let from = closed.map_or(Day::MIN, Day::next);
    let mut found = of_closed_days(tables, name, tables.peak(name)?)?;
    for past in history::days_of(tables, calendar, name, from, today)? {
        let peak = past.content.map(|content| (content.record.peak, past.day));
        found = higher(found, peak);
    }
    Ok(found.map(PeakEver::new))
}

/// What a day that is being closed means for a counter's highest value.
pub(super) struct Reached {
    name: CounterName,
    day: Day,
    /// `None` where the counter was gone when the day ended.
    peak: Option<Extreme>,
}

impl Reached {
    pub(super) fn new(name: &CounterName, day: Day, peak: Extreme, events: &[Event]) -> Self {
        Self {
            name: name.clone(),
            day,
            peak: (!ends_gone(events)).then_some(peak),
        }
    }

    /// Adds what it changes to the batch that closes the day.
    pub(super) fn note(&self, tables: &Tables, batch: &mut Batch) -> Result<(), ReadError> {
        let Some(peak) = self.peak else {
            batch.delete_peak(&self.name);
            return Ok(());
        };
        let recorded = tables.peak(&self.name)?;
        let before = of_closed_days(tables, &self.name, recorded)?;
        let highest = higher(before, Some((peak, self.day)));
        if let Some((peak, day)) = highest.filter(|_| highest != recorded) {
            batch.put_peak(&self.name, peak, day);
        }
        Ok(())
    }
}

/// Whether a counter was gone when the day of these events ended.
fn ends_gone(events: &[Event]) -> bool {
    let last = events.last();
    last.is_some_and(|last| matches!(last.kind, EventKind::Delete | EventKind::Expiry))
}

/// Returns the highest value of the closed days: what is recorded, or, where nothing is, what history has since the counter
/// was last gone at the end of a day.
fn of_closed_days(
    tables: &Tables,
    name: &CounterName,
    recorded: Option<(Extreme, Day)>,
) -> Result<Option<(Extreme, Day)>, ReadError> {
    if recorded.is_some() {
        return Ok(recorded);
    }
    let mut found = None;
    tables.history(name, Day::MIN..=Day::MAX, |day, content| {
        let Ok(content) = content else { return };
        found = match ends_gone(&content.events) {
            true => None,
            false => higher(found, Some((content.record.peak, day))),
        };
    })?;
    Ok(found)
}

/// Returns the higher of both, the first of equal ones.
fn higher(first: Option<(Extreme, Day)>, second: Option<(Extreme, Day)>) -> Option<(Extreme, Day)> {
    match (first, second) {
        (Some(first), Some(second)) if second.0.value > first.0.value => Some(second),
        (first, second) => first.or(second),
    }
}
