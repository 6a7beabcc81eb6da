//! What a counter is and how it moves: names, definitions, operations, their outcomes, and the
//! record of a day. Pure values and arithmetic.
//!
//! Kept out: clocks, disks, sockets. Whoever calls passes the time and the day in.

mod copied;
mod day_record;
mod definition;
mod grains;
mod identity;
pub(crate) mod instant;
mod lapse;
mod moment;
mod operation;
mod outcome;
mod pattern;
mod seen;

pub use copied::{CopiedPage, CopiedValue, CopiedValues};
pub use day_record::{ClosedDay, DayRecord, Event, EventKind, Extreme, MAX_EVENTS};
pub use definition::{DEFAULT_MAX, Definition, DefinitionFault, Kind, OnBound, Reset};
pub(crate) use definition::{FieldForm, definition_fields};
pub use grains::{Grain, Lapsing, Leaving, Seat};
pub use identity::{CounterName, IdFault, NameFault, RequestId, SessionId, UserId};
pub use instant::{parse_rfc3339, rfc3339};
pub use lapse::{Lapse, LapseFault, Seconds, TimeLine};
pub use moment::Moment;
pub use operation::{
    Action, Adjustment, Direction, MAX_WEIGHT, Operation, judge_adjustment, judge_move,
    within_bounds,
};
pub use outcome::{Applied, Effect, Gone, LeaseChange, Outcome, Refusal};
pub use pattern::{CountedNames, CounterPattern};
pub use seen::{Existence, Seen, Stored};

/// The number of a committed change: one sequence for the whole store, starting at 1.
pub type Revision = u64;

/// The revision at which a counter started anew (created, reset); names one life of one counter.
pub type Generation = u64;

/// Milliseconds since 1970-01-01T00:00:00Z.
pub type Millis = i64;
