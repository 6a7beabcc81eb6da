//! The one owner of every change. Handlers put requests on a bounded queue; the writer thread takes
//! what waits, works out each one's exact result in order, writes one synced batch, publishes to
//! readers, then answers.
//!
//! Kept out: HTTP, configuration files, and the layout of what is stored (`storage`).

mod administer;
mod agreement;
mod away;
mod copied;
mod disk;
mod filter;
mod fold;
mod follow;
mod group;
mod lapse;
mod ledger;
mod lookups;
mod minutes;
mod mode;
mod options;
mod planted;
mod prepared;
mod queue;
mod recent;
mod record;
mod reopen;
mod requests;
mod run;
mod running;
mod seats;
mod secret_hash;
mod space;
mod table;
mod tries;
mod upkeep;

pub use agreement::Wanted;
pub use copied::{Round, Through};
pub use disk::{DiskWait, SlowDisk};
pub use mode::{Cause, Mode, ModeState};
pub use options::{StartError, WriterOptions};
pub use prepared::PreparedBatch;
pub use queue::{Intake, Port, Ticket};
pub use running::{Absent, Running};
pub use table::{Reading, Table};

use crate::counter::{Adjustment, CounterName, Definition, Operation, Outcome, Refusal, RequestId};

/// What a client may ask the writer to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// One increment or decrement.
    Apply(Operation),
    /// Increments and decrements, all or nothing, in order.
    Batch(Box<[Operation]>),
    /// Increments and decrements, in order, each accepted or refused by itself; one commit group.
    Each(Box<[Operation]>),
    /// Value to 0, a new generation.
    Reset {
        /// Which counter.
        counter: CounterName,
    },
    /// A correction of a `gauge` or `sum`.
    Adjust {
        /// Which counter.
        counter: CounterName,
        /// To what, or by how much.
        adjustment: Adjustment,
        /// Why, in the administrator's words.
        reason: Box<str>,
    },
    /// The whole definition of a counter; starts it when it is not live.
    Define {
        /// Which counter.
        counter: CounterName,
        /// All of it.
        definition: Box<Definition>,
    },
    /// The counter is gone from now on.
    Delete {
        /// Which counter.
        counter: CounterName,
    },
    /// Gives a counter whose record cannot be read a value.
    Repair {
        /// Which counter.
        counter: CounterName,
        /// Its value from now on.
        value: i64,
        /// Why, in the operator's words.
        reason: Option<Box<str>>,
    },
}

impl Command {
    /// How many operations it takes in the queue.
    pub fn weight(&self) -> usize {
        match self {
            Self::Batch(operations) | Self::Each(operations) => operations.len().max(1),
            Self::Apply(_)
            | Self::Reset { .. }
            | Self::Adjust { .. }
            | Self::Define { .. }
            | Self::Delete { .. }
            | Self::Repair { .. } => 1,
        }
    }
}

/// What makes a retry safe: the client's key, bound to what it asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// 1 to 255 printable ASCII characters, as the client sent them.
    pub key: Box<str>,
    /// xxh3-128 of method, path and the parsed request without its token.
    pub fingerprint: u128,
}

/// A change on its way to the writer.
#[derive(Clone, Debug)]
pub struct Request {
    /// What to change.
    pub command: Command,
    /// The client's idempotency key.
    pub key: Option<Box<IdempotencyKey>>,
    /// Names the request in events.
    pub request_id: RequestId,
}

/// A change that was made, or was made before under the same key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What came of it.
    pub outcome: Outcome,
    /// Whether this is an earlier answer given again.
    pub replayed: bool,
}

/// Why a request has no outcome. Nothing of it was counted, with one exception:
/// [`Failure::OutcomeUnknown`]. The texts are for logs and commands; what clients are told is made in `http`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// By existence or rules.
    #[error("it is refused: {0:?}")]
    Refused(Refusal),
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// What is stored under the idempotency key cannot be read.
    #[error("what is stored under the idempotency key cannot be read")]
    KeyCorrupt,
    /// Writes are refused for now.
    #[error("writes are refused (cause {}): {}", .0.as_str(), .0.remedy())]
    ReadOnly(Cause),
    /// The queue is full.
    #[error("the queue is full; try again")]
    Overloaded,
    /// Other instances that share the log were first.
    #[error("other instances were first; work it out again")]
    Overtaken,
    /// The server is ending.
    #[error("the server is ending")]
    Closing,
    /// The write failed in the middle: it may have been counted, once, or not.
    #[error("the write failed; look again once the store is open")]
    OutcomeUnknown,
}

#[cfg(test)]
mod tests;
