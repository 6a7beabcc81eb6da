//! What is kept of a batch whose operations were judged each by itself.

use bincode::{Decode, Encode};

use super::{AppliedV1, KindV1, Undecodable};
use crate::counter::{Applied, Refusal};

/// One operation's answer.
#[derive(Encode, Decode)]
pub(super) enum EachV1 {
    Applied(AppliedV1),
    UnknownCounter,
    TooManyCounters {
        max: u64,
    },
    Deleted {
        final_value: i64,
        at: i64,
    },
    Expired {
        final_value: i64,
        at: i64,
    },
    /// Only a decrement is refused by the kind.
    NoDecrement {
        kind: KindV1,
    },
    MissingUserId,
    UniqueCountsOne,
    BelowMinimum {
        current: i64,
        minimum: i64,
    },
    AboveMaximum {
        current: i64,
        maximum: i64,
    },
    Corrupt,
    UnreadableUser,
}

impl From<&Result<Applied, Refusal>> for EachV1 {
    fn from(each: &Result<Applied, Refusal>) -> Self {
        let refusal = match each {
            Ok(applied) => return Self::Applied(applied.into()),
            Err(refusal) => refusal,
        };
        match *refusal {
            Refusal::UnknownCounter => Self::UnknownCounter,
            Refusal::TooManyCounters { max } => Self::TooManyCounters { max },
            Refusal::Deleted { final_value, at } => Self::Deleted { final_value, at },
            Refusal::Expired { final_value, at } => Self::Expired { final_value, at },
            Refusal::WrongKind { kind, wanted: _ } => Self::NoDecrement { kind: kind.into() },
            Refusal::MissingUserId => Self::MissingUserId,
            Refusal::UniqueCountsOne => Self::UniqueCountsOne,
            Refusal::BelowMinimum { current, minimum } => Self::BelowMinimum { current, minimum },
            Refusal::AboveMaximum { current, maximum } => Self::AboveMaximum { current, maximum },
            Refusal::UnreadableUser => Self::UnreadableUser,
            Refusal::Corrupt
            // An increment or decrement is never refused for one of these reasons.
            | Refusal::DefinitionConflict { .. }
            | Refusal::DefinedInConfig
            | Refusal::ExpiresInPast
            | Refusal::NotCorrupt
            | Refusal::Batch(_) => Self::Corrupt,
        }
    }
}

impl EachV1 {
    pub(super) fn decode(self) -> Result<Result<Applied, Refusal>, Undecodable> {
        Ok(Err(match self {
            Self::Applied(applied) => return Applied::try_from(applied).map(Ok),
            Self::UnknownCounter => Refusal::UnknownCounter,
            Self::TooManyCounters { max } => Refusal::TooManyCounters { max },
            Self::Deleted { final_value, at } => Refusal::Deleted { final_value, at },
            Self::Expired { final_value, at } => Refusal::Expired { final_value, at },
            Self::NoDecrement { kind } => Refusal::WrongKind {
                kind: kind.into(),
                wanted: "decrement",
            },
            Self::MissingUserId => Refusal::MissingUserId,
            Self::UniqueCountsOne => Refusal::UniqueCountsOne,
            Self::BelowMinimum { current, minimum } => Refusal::BelowMinimum { current, minimum },
            Self::AboveMaximum { current, maximum } => Refusal::AboveMaximum { current, maximum },
            Self::Corrupt => Refusal::Corrupt,
            Self::UnreadableUser => Refusal::UnreadableUser,
        }))
    }
}
