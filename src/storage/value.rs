//! The values on disk, other than those of the merge family: a version byte, then the record.
//!
//! Records are laid out by bincode (version 2, its standard configuration, frozen): integers of
//! variable length, options and enums as a number. The order of fields and variants in this file is
//! the format; what is retired stays reserved. The meta record is laid out by hand.
//!
//! A struct is named after the version that it came with. Where version 2 has an enum of two words,
//! version 1 had a `bool`, which is the same byte: so one struct reads both, and a third word is a
//! third number. A program of format 1 knows neither, and refuses a store that holds them.
//!
//! What does not read back whole, to the last byte, is [`Undecodable`].

use std::ops::RangeInclusive;

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::{Decode, Encode};

use self::each::EachV1;
use super::fixed::{Fixed, whole};
use crate::calendar::Day;
use crate::counter::{Applied, Definition, Effect, Gone, Kind, Millis, OnBound, Outcome, Reset};
use crate::invariant::{Broken, invariant};

/// No record may ask for more memory than this when it is read, in bytes.
const MAX_RECORD: usize = 1024 * 1024;

const VERSION: u8 = 1;

/// The version of records that say of what definition they are.
const DEFINED_VERSION: u8 = 2;

const CONFIG: Configuration<LittleEndian, Varint, Limit<MAX_RECORD>> =
    bincode::config::standard().with_limit::<MAX_RECORD>();

/// A stored record that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record is of an unknown version or damaged")]
pub struct Undecodable;

/// What every commit group stores of the whole: the key `state` of the family `meta`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreState {
    /// The revision of the last change.
    pub revision: u64,
    /// The highest local day that was counted in.
    pub highest_day: Day,
    /// Time during which the store was open, summed over its life, in milliseconds.
    pub store_time: i64,
    /// The wall clock at the commit, milliseconds since 1970.
    pub wall_ms: i64,
}

impl StoreState {
    /// Its key in `meta`.
    pub const KEY: &'static [u8] = b"state";

    /// Encodes it.
    pub fn encode(&self) -> Vec<u8> {
        [
            &[VERSION][..],
            &self.revision.to_be_bytes(),
            &self.highest_day.days().to_be_bytes(),
            &self.store_time.to_be_bytes(),
            &self.wall_ms.to_be_bytes(),
        ]
        .concat()
    }

    /// Decodes it.
    ///
    /// # Errors
    /// When it is not one.
    pub fn decode(bytes: &[u8]) -> Result<Self, Undecodable> {
        let read = |bytes: &mut &[u8]| {
            Some(Self {
                revision: u64::take(bytes)?,
                highest_day: Day::from_days(i32::take(bytes)?).ok()?,
                store_time: i64::take(bytes)?,
                wall_ms: i64::take(bytes)?,
            })
        };
        let fields = bytes.strip_prefix(&[VERSION]).ok_or(Undecodable)?;
        whole(fields, read).ok_or(Undecodable)
    }
}

/// What is kept under an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// xxh3-128 of the request.
    pub fingerprint: u128,
    /// What it was answered.
    pub outcome: Outcome,
}

/// Makes an enum on disk of one in memory. The order of its words is the format.
macro_rules! stored_enum {
    ($stored:ident of $live:ident { $($word:ident),+ $(,)? }) => {
        #[derive(Encode, Decode)]
        enum $stored { $($word),+ }

        impl From<$live> for $stored {
            fn from(live: $live) -> Self {
                match live { $($live::$word => Self::$word),+ }
            }
        }

        impl From<$stored> for $live {
            fn from(stored: $stored) -> Self {
                match stored { $($stored::$word => Self::$word),+ }
            }
        }
    };
}

/// Makes a struct on disk of one in memory. The order of its fields is the format.
macro_rules! stored_struct {
    ($stored:ident of $live:ident { $($field:ident: $type:ty),+ $(,)? }) => {
        #[derive(Encode, Decode)]
        struct $stored { $($field: $type),+ }

        impl From<$live> for $stored {
            fn from($live { $($field),+ }: $live) -> Self {
                Self { $($field: $field.into()),+ }
            }
        }

        impl From<$stored> for $live {
            fn from($stored { $($field),+ }: $stored) -> Self {
                Self { $($field: $field.into()),+ }
            }
        }
    };
}

stored_enum!(KindV1 of Kind { Gauge, Sum, Unique });
stored_enum!(ResetV2 of Reset { Never, Daily });
stored_enum!(OnBoundV2 of OnBound { Refuse, Clamp });

stored_struct!(DefinitionV2 of Definition {
    kind: KindV1,
    reset: ResetV2,
    min: i64,
    max: i64,
    on_bound: OnBoundV2,
    expires_at: Option<i64>,
    description: Option<String>,
});

stored_struct!(GoneV1 of Gone {
    expired: bool,
    final_value: i64,
    at: i64,
});

#[derive(Encode, Decode)]
struct CounterV2 {
    definition: DefinitionV2,
    gone: Option<GoneV1>,
}

#[derive(Encode, Decode)]
struct AppliedV1 {
    current_value: i64,
    /// 0 duplicate, 1 counted, 2 clamped to nothing, for which earlier versions wrote 0.
    effect: u8,
    applied: i64,
    revision: u64,
    period: Option<i32>,
    created: bool,
}

#[derive(Encode, Decode)]
enum OutcomeV2 {
    Applied(AppliedV1),
    Batch(Vec<AppliedV1>),
    Set {
        previous_value: i64,
        current_value: i64,
        revision: u64,
        period: Option<i32>,
    },
    Defined {
        definition: DefinitionV2,
        started: bool,
        revision: u64,
    },
    Deleted {
        final_value: i64,
        revision: u64,
    },
    Each(Vec<EachV1>),
}

#[derive(Encode, Decode)]
struct KeptV2 {
    fingerprint: u128,
    outcome: OutcomeV2,
}

/// Encodes a counter of `definitions`: its definition, and how it went if it is gone.
pub fn encode_counter(definition: &Definition, gone: Option<&Gone>) -> Result<Vec<u8>, Broken> {
    let definition = definition.clone().into();
    let gone = gone.copied().map(GoneV1::from);
    encode_as(DEFINED_VERSION, CounterV2 { definition, gone })
}

/// Decodes a counter of `definitions`.
///
/// # Errors
/// When it is not one.
pub fn decode_counter(bytes: &[u8]) -> Result<(Definition, Option<Gone>), Undecodable> {
    let CounterV2 { definition, gone } = decode_defined(bytes)?;
    let definition = Definition::from(definition);
    definition.check().map_err(|_| Undecodable)?;
    Ok((definition, gone.map(Gone::from)))
}

/// Encodes what is kept under an idempotency key.
pub fn encode_kept(fingerprint: u128, outcome: &Outcome) -> Result<Vec<u8>, Broken> {
    let outcome = outcome.into();
    encode_as(
        DEFINED_VERSION,
        KeptV2 {
            fingerprint,
            outcome,
        },
    )
}

/// Decodes what is kept under an idempotency key.
///
/// # Errors
/// When it is not that.
pub fn decode_kept(bytes: &[u8]) -> Result<Kept, Undecodable> {
    let KeptV2 {
        fingerprint,
        outcome,
    } = decode_defined(bytes)?;
    Ok(Kept {
        fingerprint,
        outcome: outcome.try_into()?,
    })
}

/// Reads until when, in milliseconds since 1970, a record of the family `windows` counts; `None` when it
/// is no such record. The time is the first eight bytes after the version.
pub fn counts_until(bytes: &[u8]) -> Option<Millis> {
    Millis::take(&mut bytes.strip_prefix(&[VERSION])?)
}

fn encode(record: impl Encode) -> Result<Vec<u8>, Broken> {
    encode_as(VERSION, record)
}

fn encode_as(version: u8, record: impl Encode) -> Result<Vec<u8>, Broken> {
    let mut bytes = vec![version];
    // Writing into a Vec fails for no record of this file: none has a custom encoder.
    let written = bincode::encode_into_std_write(record, &mut bytes, CONFIG);
    invariant!(written.is_ok(), "a record cannot be encoded: {written:?}")?;
    Ok(bytes)
}

fn decode<T: Decode<()>>(bytes: &[u8]) -> Result<T, Undecodable> {
    decode_as(VERSION..=VERSION, bytes)
}

fn decode_defined<T: Decode<()>>(bytes: &[u8]) -> Result<T, Undecodable> {
    decode_as(VERSION..=DEFINED_VERSION, bytes)
}

fn decode_as<T: Decode<()>>(versions: RangeInclusive<u8>, bytes: &[u8]) -> Result<T, Undecodable> {
    let (found, rest) = bytes.split_first().ok_or(Undecodable)?;
    if !versions.contains(found) {
        return Err(Undecodable);
    }
    let (record, consumed) = bincode::decode_from_slice(rest, CONFIG).map_err(|_| Undecodable)?;
    if consumed == rest.len() {
        Ok(record)
    } else {
        Err(Undecodable)
    }
}

impl From<&Applied> for AppliedV1 {
    fn from(applied: &Applied) -> Self {
        Self {
            current_value: applied.current_value,
            effect: match applied.effect {
                Effect::Duplicate => 0,
                Effect::Counted => 1,
                Effect::Clamped => 2,
            },
            applied: applied.applied,
            revision: applied.revision,
            period: applied.period.map(Day::days),
            created: applied.created,
        }
    }
}

impl TryFrom<AppliedV1> for Applied {
    type Error = Undecodable;

    fn try_from(stored: AppliedV1) -> Result<Self, Undecodable> {
        Ok(Self {
            current_value: stored.current_value,
            effect: match stored.effect {
                0 => Effect::Duplicate,
                1 => Effect::Counted,
                2 => Effect::Clamped,
                _ => return Err(Undecodable),
            },
            applied: stored.applied,
            revision: stored.revision,
            period: period(stored.period)?,
            created: stored.created,
        })
    }
}

impl From<&Outcome> for OutcomeV2 {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Applied(applied) => Self::Applied(applied.into()),
            Outcome::Batch(all) => Self::Batch(all.iter().map(AppliedV1::from).collect()),
            Outcome::Each(all) => Self::Each(all.iter().map(EachV1::from).collect()),
            &Outcome::Set {
                previous_value,
                current_value,
                revision,
                period,
            } => Self::Set {
                previous_value,
                current_value,
                revision,
                period: period.map(Day::days),
            },
            Outcome::Defined {
                definition,
                started,
                revision,
                previous: _,
            } => Self::Defined {
                definition: definition.as_ref().clone().into(),
                started: *started,
                revision: *revision,
            },
            &Outcome::Deleted {
                final_value,
                revision,
            } => Self::Deleted {
                final_value,
                revision,
            },
        }
    }
}

impl TryFrom<OutcomeV2> for Outcome {
    type Error = Undecodable;

    fn try_from(stored: OutcomeV2) -> Result<Self, Undecodable> {
        Ok(match stored {
            OutcomeV2::Applied(applied) => Self::Applied(applied.try_into()?),
            OutcomeV2::Batch(all) => Self::Batch(
                all.into_iter()
                    .map(Applied::try_from)
                    .collect::<Result<_, _>>()?,
            ),
            OutcomeV2::Each(all) => Self::Each(
                all.into_iter()
                    .map(EachV1::decode)
                    .collect::<Result<_, _>>()?,
            ),
            OutcomeV2::Set {
                previous_value,
                current_value,
                revision,
                period: stored,
            } => Self::Set {
                previous_value,
                current_value,
                revision,
                period: period(stored)?,
            },
            OutcomeV2::Defined {
                definition,
                started,
                revision,
            } => Self::Defined {
                definition: Box::new(definition.into()),
                started,
                revision,
                previous: None,
            },
            OutcomeV2::Deleted {
                final_value,
                revision,
            } => Self::Deleted {
                final_value,
                revision,
            },
        })
    }
}

fn period(days: Option<i32>) -> Result<Option<Day>, Undecodable> {
    days.map(Day::from_days)
        .transpose()
        .map_err(|_| Undecodable)
}

mod day;
mod each;

pub use day::{
    decode_closed_day, decode_day_record, decode_event, decode_sample, encode_closed_day,
    encode_day_record, encode_event, encode_sample, keep_unreadable_day,
};

#[cfg(test)]
mod tests;
