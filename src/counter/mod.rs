//! What a counter is and how it moves: names, definitions, operations, their outcomes, and the
//! record of a day. Pure values and arithmetic.
//!
//! Kept out: clocks, disks, sockets. Whoever calls passes the time and the day in.

mod copied;
mod day_record;
mod definition;
mod identity;
mod operation;
mod outcome;
mod seen;

pub use copied::{CopiedPage, CopiedValue, CopiedValues};
pub use day_record::{ClosedDay, DayRecord, Event, EventKind, Extreme, MAX_EVENTS};
pub use definition::{
    DEFAULT_MAX, Definition, DefinitionFault, Kind, MAX_DESCRIPTION, OnBound, Reset,
};
pub use identity::{CounterName, NameFault, RequestId, UserId, UserIdFault};
pub use operation::{Adjustment, Direction, Operation, judge_adjustment, judge_move};
pub use outcome::{Applied, Effect, Gone, Outcome, Refusal};
pub use seen::{Existence, Moment, Seen, Stored};

/// The number of a committed change: one sequence for the whole store, starting at 1.
pub type Revision = u64;

/// The revision at which a counter started anew (created, reset); names one life of one counter.
pub type Generation = u64;

/// Milliseconds since 1970-01-01T00:00:00Z.
pub type Millis = i64;

/// Writes an instant as it is shown everywhere, such as `2026-11-24T10:30:00.000Z`.
pub fn rfc3339(at: Millis) -> String {
    chrono::DateTime::from_timestamp_millis(at)
        .unwrap_or_default()
        .to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// Writes an instant as [`rfc3339`] does, and `None` as `null`.
pub(crate) fn serialize_instant<S: serde::Serializer>(
    at: &Option<Millis>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serde::Serialize::serialize(&at.map(rfc3339), serializer)
}

/// Reads an instant from such a text; `None` when it is not one.
pub fn parse_rfc3339(text: &str) -> Option<Millis> {
    let at = chrono::DateTime::parse_from_rfc3339(text).ok()?;
    let at = at.timestamp_millis();
    // Instants of other years cannot be written in this form.
    let year = chrono::Datelike::year(&chrono::DateTime::from_timestamp_millis(at)?);
    (1..=9999).contains(&year).then_some(at)
}
