//! What came of a request to change a counter.

use super::{Definition, Kind, Millis, Reset, Revision};
use crate::calendar::Day;

/// An operation that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The counter's value after it.
    pub current_value: i64,
    /// What it did.
    pub effect: Effect,
    /// How much of it was applied, without sign.
    pub applied: i64,
    /// The revision of the counter's last change.
    pub revision: Revision,
    /// The local day that the value belongs to; `None` for `reset = never`.
    pub period: Option<Day>,
    /// Whether it created the counter.
    pub created: bool,
    /// What it did to a lease; `None` on a counter without leases.
    pub lease: Option<Box<LeaseChange>>,
}

/// What a heartbeat or a leave did to its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseChange {
    /// The change of the value, with its sign.
    pub change: i64,
    /// When the lease ends unless it is renewed, if the server stays up; `None` where there is none.
    pub expires_at: Option<Millis>,
}

/// What an accepted operation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It changed the value.
    Counted,
    /// Its user was counted before in this period: it changed nothing.
    Duplicate,
    /// The value stands at the bound: it changed nothing.
    Clamped,
    /// Its user has no place in the window, or no lease of that session, to be ended: it changed nothing.
    NotInside,
    /// It renewed a lease that was there, and may have changed its weight.
    Renewed,
}

impl Effect {
    /// Whether it changed anything: the field `counted` of an answer.
    pub fn counted(self) -> bool {
        match self {
            Self::Counted => true,
            Self::Duplicate | Self::Clamped | Self::NotInside | Self::Renewed => false,
        }
    }
}

/// What a successful change answers; also what an idempotency key keeps. Operations are shown by hand, the
/// others as they are.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(untagged)]
pub enum Outcome {
    /// An increment or decrement.
    #[serde(skip)]
    Applied(Applied),
    /// All operations of a batch, in order.
    #[serde(skip)]
    Batch(Box<[Applied]>),
    /// All operations of a batch, in order, each accepted or refused by itself.
    #[serde(skip)]
    Each(Box<[Result<Applied, Refusal>]>),
    /// A reset, an adjustment or a repair.
    Set {
        /// The value after.
        current_value: i64,
        /// The value before.
        previous_value: i64,
        /// Its revision.
        revision: Revision,
        /// The local day that the value belongs to.
        period: Option<Day>,
    },
    /// A definition was put.
    Defined {
        /// As it now stands.
        definition: Box<Definition>,
        /// Whether this started the counter (anew).
        #[serde(skip)]
        started: bool,
        /// Its revision.
        revision: Revision,
        /// The definition that a live counter had before; not kept for replays.
        #[serde(skip)]
        previous: Option<Box<Definition>>,
    },
    /// A counter was deleted.
    Deleted {
        /// The value it had.
        final_value: i64,
        /// Its revision.
        revision: Revision,
    },
}

/// How a counter that is no longer there went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone {
    /// Whether its time was over, rather than an administrator deleting it.
    pub expired: bool,
    /// The value it had.
    pub final_value: i64,
    /// When.
    pub at: Millis,
}

/// Why a request changed nothing, by existence or rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody defined or wrote this name.
    UnknownCounter,
    /// The quota of live counters is reached.
    TooManyCounters {
        /// The quota, `counters.max`.
        max: u64,
    },
    /// It was deleted, or it expired.
    Gone(Gone),
    /// The counter's kind does not do this.
    WrongKind {
        /// The counter's kind.
        kind: Kind,
        /// What was asked: `decrement`, `adjust`.
        wanted: &'static str,
    },
    /// A `unique` counter needs a user id.
    MissingUserId,
    /// A `unique` counter takes the value 1 only.
    UniqueCountsOne,
    /// A lease weighs no more than [`super::MAX_WEIGHT`].
    TooHeavy,
    /// The value would fall below the minimum.
    BelowMinimum {
        /// The value now.
        current: i64,
        /// The bound.
        minimum: i64,
    },
    /// The value would rise above the maximum.
    AboveMaximum {
        /// The value now.
        current: i64,
        /// The bound.
        maximum: i64,
    },
    /// Kind and reset of a live counter do not change.
    DefinitionConflict {
        /// What it is.
        kind: Kind,
        /// When it starts over.
        reset: Reset,
    },
    /// A counter of the configuration is not changed or deleted by a call.
    DefinedInConfig,
    /// The definition's `expires_at` is not in the future.
    ExpiresInPast,
    /// Whether the user was counted lies in a part of the store that cannot be read.
    UnreadableUser,
    /// There is nothing to repair about this counter.
    NotCorrupt,
    /// What is stored of this counter cannot be read: `counterd repair` shows it.
    Corrupt,
    /// Operations of a batch were refused, each judged after the accepted ones before it.
    Batch(Box<[(u32, Refusal)]>),
}
