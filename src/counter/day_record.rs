//! What is kept of a counter's local day, kept up to date with every change.

use super::{Generation, Kind, Millis, Reset};

/// How many events of a day are kept whole; further ones are counted.
pub const MAX_EVENTS: u32 = 100;

/// A value and when it was first reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extreme {
    /// The value.
    pub value: i64,
    /// When it was first reached.
    pub at: Millis,
}

/// A counter's day, without its events (they stand in records of their own).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayRecord {
    /// The value the day began with.
    pub opening: i64,
    /// The value after the last change.
    pub last: i64,
    /// The highest value, the opening one considered.
    pub peak: Extreme,
    /// The lowest value, the opening one considered.
    pub low: Extreme,
    /// Sum of what increments added.
    pub increments: u128,
    /// Sum of what decrements took, without sign.
    pub decrements: u128,
    /// Increments and decrements that counted.
    pub operations: u64,
    /// The generation in force at the last change.
    pub generation: Generation,
    /// How many generations the day saw.
    pub generations: u32,
    /// How many events the day saw; the first [`MAX_EVENTS`] are kept.
    pub events: u32,
    /// How many leases ended by time alone.
    pub expired: u64,
}

impl DayRecord {
    /// Begins a day with `opening`, the value in force since `at`.
    pub fn begin(opening: i64, at: Millis, generation: Generation) -> Self {
        let extreme = Extreme { value: opening, at };
        Self {
            opening,
            last: opening,
            peak: extreme,
            low: extreme,
            increments: 0,
            decrements: 0,
            operations: 0,
            generation,
            generations: 1,
            events: 0,
            expired: 0,
        }
    }

    /// Takes in an operation that changed the value by `delta` to `value`.
    pub fn count(&mut self, delta: i64, value: i64, at: Millis) {
        let size = u128::from(delta.unsigned_abs());
        if delta >= 0 {
            self.increments = self.increments.saturating_add(size);
        } else {
            self.decrements = self.decrements.saturating_add(size);
        }
        self.operations = self.operations.saturating_add(1);
        self.reach(value, at);
    }

    /// Takes in that the value became `value` by something else than an operation.
    pub fn reach(&mut self, value: i64, at: Millis) {
        self.last = value;
        if value > self.peak.value {
            self.peak = Extreme { value, at };
        }
        if value < self.low.value {
            self.low = Extreme { value, at };
        }
    }

    /// Takes in that the counter started anew.
    pub fn start_generation(&mut self, generation: Generation) {
        if self.generation != generation {
            self.generation = generation;
            self.generations = self.generations.saturating_add(1);
        }
    }
}

words! {
    /// What happened to a counter, other than being counted.
    EventKind {
        /// It came to be.
        Creation = "creation",
        /// An administrator set it to 0.
        Reset = "reset",
        /// An administrator corrected it.
        Adjust = "adjust",
        /// An administrator deleted it.
        Delete = "delete",
        /// Its time was over.
        Expiry = "expiry",
        /// An administrator gave it a value after damage.
        Repair = "repair",
    }
}

/// One event of a day record.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// When.
    #[serde(serialize_with = "super::instant::serialize_at")]
    pub at: Millis,
    /// The value before.
    pub before: i64,
    /// The value after.
    pub after: i64,
    /// Why, in the administrator's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Which request asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// A counter's finished day, as history keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedDay {
    /// What kind of counter it was at the end of the day.
    pub kind: Kind,
    /// How that counter resets.
    pub reset: Reset,
    /// The first instant of the day.
    pub starts_at: Millis,
    /// The first instant after it.
    pub ends_at: Millis,
    /// For how long of the day the server was away, in milliseconds.
    pub away_ms: i64,
    /// What happened in it.
    pub record: DayRecord,
    /// The first [`MAX_EVENTS`] events, in order.
    pub events: Vec<Event>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_remembers_first_peak_first_low_and_sums() {
        let mut day = DayRecord::begin(5, 100, 1);
        day.count(3, 8, 110);
        day.count(-6, 2, 120);
        day.count(6, 8, 130);
        assert_eq!(day.peak, Extreme { value: 8, at: 110 });
        assert_eq!(day.low, Extreme { value: 2, at: 120 });
        assert_eq!(
            (
                day.opening,
                day.last,
                day.increments,
                day.decrements,
                day.operations
            ),
            (5, 8, 9, 6, 3)
        );
    }

    #[test]
    fn a_reset_is_a_low_and_a_generation_but_no_operation() {
        let mut day = DayRecord::begin(5, 100, 1);
        day.start_generation(9);
        day.reach(0, 150);
        assert_eq!(day.low, Extreme { value: 0, at: 150 });
        assert_eq!(
            (day.generations, day.generation, day.operations, day.last),
            (2, 9, 0, 0)
        );
    }
}
