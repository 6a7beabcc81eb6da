//! Outcomes of requests on disk, as they are kept under idempotency keys.

use bincode::de::Decoder;
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{Decode, Encode};

use super::Numbered as _;
use crate::counter::{Applied, Effect, Gone, LeaseChange, Outcome, Refusal};

// Earlier versions wrote 0 for what was clamped to nothing, too.
stored_enum!(Effect { 0 Duplicate, 1 Counted, 2 Clamped, 3 NotInside, 4 Renewed });

/// The numbers of effects on a lease: those of the effects, and so much more.
const OF_LEASE: u32 = 8;

impl Encode for Applied {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let Self {
            current_value,
            effect,
            applied,
            revision,
            period,
            created,
            lease,
        } = self;
        current_value.encode(encoder)?;
        let of_lease = if lease.is_some() { OF_LEASE } else { 0 };
        (effect.number() + of_lease).encode(encoder)?;
        (applied, revision, period, created).encode(encoder)?;
        match lease {
            None => Ok(()),
            Some(lease) => (lease.change, lease.expires_at).encode(encoder),
        }
    }
}

impl<C> Decode<C> for Applied {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let current_value = Decode::decode(decoder)?;
        let number = u32::decode(decoder)?;
        let of_lease = number >= OF_LEASE;
        let mut applied = Self {
            current_value,
            effect: Effect::of_number(number - if of_lease { OF_LEASE } else { 0 })?,
            applied: Decode::decode(decoder)?,
            revision: Decode::decode(decoder)?,
            period: Decode::decode(decoder)?,
            created: Decode::decode(decoder)?,
            lease: None,
        };
        if of_lease {
            applied.lease = Some(Box::new(LeaseChange {
                change: Decode::decode(decoder)?,
                expires_at: Decode::decode(decoder)?,
            }));
        }
        Ok(applied)
    }
}

impl Encode for Outcome {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        match self {
            Self::Applied(applied) => (0u32, applied).encode(encoder),
            Self::Batch(all) => (1u32, all).encode(encoder),
            Self::Set {
                previous_value,
                current_value,
                revision,
                period,
            } => (2u32, previous_value, current_value, revision, period).encode(encoder),
            Self::Defined {
                definition,
                started,
                revision,
                previous: _,
            } => (3u32, definition, started, revision).encode(encoder),
            Self::Deleted {
                final_value,
                revision,
            } => (4u32, final_value, revision).encode(encoder),
            Self::Each(all) => {
                let all: Vec<_> = all.iter().map(Each).collect();
                (5u32, all).encode(encoder)
            }
        }
    }
}

impl<C> Decode<C> for Outcome {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Ok(match u32::decode(decoder)? {
            0 => Self::Applied(Decode::decode(decoder)?),
            1 => Self::Batch(Decode::decode(decoder)?),
            2 => Self::Set {
                previous_value: Decode::decode(decoder)?,
                current_value: Decode::decode(decoder)?,
                revision: Decode::decode(decoder)?,
                period: Decode::decode(decoder)?,
            },
            3 => Self::Defined {
                definition: Decode::decode(decoder)?,
                started: Decode::decode(decoder)?,
                revision: Decode::decode(decoder)?,
                previous: None,
            },
            4 => Self::Deleted {
                final_value: Decode::decode(decoder)?,
                revision: Decode::decode(decoder)?,
            },
            5 => {
                let all: Vec<Each<_>> = Decode::decode(decoder)?;
                Self::Each(all.into_iter().map(|Each(each)| each).collect())
            }
            _ => return Err(DecodeError::Other("an outcome of a later version")),
        })
    }
}

/// What one operation was answered, of a batch whose operations were judged each by itself.
struct Each<T>(T);

impl Encode for Each<&Result<Applied, Refusal>> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let refusal = match self.0 {
            Ok(applied) => return (0u32, applied).encode(encoder),
            Err(refusal) => refusal,
        };
        match refusal {
            Refusal::UnknownCounter => 1u32.encode(encoder),
            Refusal::TooManyCounters { max } => (2u32, max).encode(encoder),
            Refusal::Gone(gone) => {
                let place = if gone.expired { 4u32 } else { 3 };
                (place, gone.final_value, gone.at).encode(encoder)
            }
            Refusal::WrongKind { kind, wanted } => match *wanted {
                "heartbeat" => (12u32, kind).encode(encoder),
                "leave" => (13u32, kind).encode(encoder),
                _ => (5u32, kind).encode(encoder),
            },
            Refusal::MissingUserId => 6u32.encode(encoder),
            Refusal::UniqueCountsOne => 7u32.encode(encoder),
            Refusal::BelowMinimum { current, minimum } => (8u32, current, minimum).encode(encoder),
            Refusal::AboveMaximum { current, maximum } => (9u32, current, maximum).encode(encoder),
            Refusal::UnreadableUser => 11u32.encode(encoder),
            Refusal::TooHeavy => 14u32.encode(encoder),
            Refusal::Corrupt
            // An increment or decrement is never refused for one of these reasons.
            | Refusal::DefinitionConflict { .. }
            | Refusal::DefinedInConfig
            | Refusal::ExpiresInPast
            | Refusal::NotCorrupt
            | Refusal::Batch(_) => 10u32.encode(encoder),
        }
    }
}

impl<C> Decode<C> for Each<Result<Applied, Refusal>> {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Ok(Self(Err(match u32::decode(decoder)? {
            0 => return Ok(Self(Ok(Decode::decode(decoder)?))),
            1 => Refusal::UnknownCounter,
            2 => Refusal::TooManyCounters {
                max: Decode::decode(decoder)?,
            },
            place @ (3 | 4) => Refusal::Gone(Gone {
                expired: place == 4,
                final_value: Decode::decode(decoder)?,
                at: Decode::decode(decoder)?,
            }),
            place @ (5 | 12 | 13) => Refusal::WrongKind {
                kind: Decode::decode(decoder)?,
                wanted: match place {
                    12 => "heartbeat",
                    13 => "leave",
                    _ => "decrement",
                },
            },
            6 => Refusal::MissingUserId,
            7 => Refusal::UniqueCountsOne,
            8 => Refusal::BelowMinimum {
                current: Decode::decode(decoder)?,
                minimum: Decode::decode(decoder)?,
            },
            9 => Refusal::AboveMaximum {
                current: Decode::decode(decoder)?,
                maximum: Decode::decode(decoder)?,
            },
            10 => Refusal::Corrupt,
            11 => Refusal::UnreadableUser,
            14 => Refusal::TooHeavy,
            _ => return Err(DecodeError::Other("a refusal of a later version")),
        })))
    }
}
