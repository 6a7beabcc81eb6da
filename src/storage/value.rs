//! The values on disk, other than those of the merge family: a version byte, then the record.
//!
//! Records are laid out by bincode (version 2, its standard configuration, frozen): integers of
//! variable length, options and enums as a number. The order of fields and the numbers of words in
//! this file are the format; what is retired stays reserved. The meta record is laid out by hand.
//!
//! Where version 2 has an enum of two words, version 1 had a `bool`, which is the same byte: so one
//! layout reads both, and a third word is a third number. A program of format 1 knows neither, and
//! refuses a store that holds them.
//!
//! What does not read back whole, to the last byte, is [`Undecodable`].

use std::ops::RangeInclusive;

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::de::Decoder;
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{Decode, Encode};

use super::fixed::{Fixed, whole};
use crate::calendar::Day;
use crate::counter::{Definition, Gone, Kind, Millis, OnBound, Outcome, Reset, Seconds, TimeLine};
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

/// An enum whose words have numbers on disk. The numbers are the format.
trait Numbered: Sized {
    /// Returns the number of the word.
    fn number(&self) -> u32;

    /// Returns the word of a number; `Err` for one of a later version.
    fn of_number(number: u32) -> Result<Self, DecodeError>;
}

/// Lays an enum out as the number of its word.
macro_rules! stored_enum {
    ($live:ident { $($number:literal $word:ident),+ $(,)? }) => {
        impl $crate::storage::value::Numbered for $live {
            fn number(&self) -> u32 {
                match self { $(Self::$word => $number),+ }
            }

            fn of_number(number: u32) -> Result<Self, DecodeError> {
                match number {
                    $($number => Ok(Self::$word),)+
                    _ => Err(DecodeError::Other("a word of a later version")),
                }
            }
        }

        impl Encode for $live {
            fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
                $crate::storage::value::Numbered::number(self).encode(encoder)
            }
        }

        impl<C> Decode<C> for $live {
            fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
                $crate::storage::value::Numbered::of_number(u32::decode(decoder)?)
            }
        }
    };
}

/// Lays a struct out field by field. The order and the types of the fields are the format. Fields after `else` have
/// no place in it: they read back as said there.
macro_rules! stored_struct {
    ($live:ident { $($field:ident: $type:ty),+ $(,)? } $(else { $($unstored:ident: $value:expr),+ })?) => {
        impl Encode for $live {
            fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
                $(<$type as Encode>::encode(&self.$field, encoder)?;)+
                Ok(())
            }
        }

        impl<C> Decode<C> for $live {
            fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
                Ok(Self {
                    $($field: <$type as Decode<C>>::decode(decoder)?,)+
                    $($($unstored: $value,)+)?
                })
            }
        }
    };
}

stored_enum!(Kind { 0 Gauge, 1 Sum, 2 Unique, 3 Presence });
stored_enum!(Reset { 0 Never, 1 Daily });
stored_enum!(OnBound { 0 Refuse, 1 Clamp });

impl Encode for Seconds {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.0.encode(encoder)
    }
}

impl<C> Decode<C> for Seconds {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        u32::decode(decoder).map(Self)
    }
}

/// The numbers of kinds that have a window: those of the kinds without, and so much more.
const WINDOWED: u32 = 4;

impl Encode for Definition {
    /// What lapses says how at its end; it begins with a number that earlier versions do not know.
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let Self {
            kind,
            reset,
            min,
            max,
            on_bound,
            expires_at,
            description,
            window,
            grain,
            ttl,
        } = self;
        let number = kind.number();
        let window = window.zip(*grain);
        let windowed = if window.is_some() { WINDOWED } else { 0 };
        (
            number + windowed,
            reset,
            min,
            max,
            on_bound,
            expires_at,
            description,
        )
            .encode(encoder)?;
        if let Some(window) = window {
            window.encode(encoder)?;
        }
        if let Some(ttl) = ttl {
            ttl.encode(encoder)?;
        }
        Ok(())
    }
}

impl<C> Decode<C> for Definition {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let number = u32::decode(decoder)?;
        let windowed = number >= WINDOWED;
        let number = number - if windowed { WINDOWED } else { 0 };
        let kind = Kind::of_number(number)?;
        let mut definition = Self {
            kind,
            reset: Decode::decode(decoder)?,
            min: Decode::decode(decoder)?,
            max: Decode::decode(decoder)?,
            on_bound: Decode::decode(decoder)?,
            expires_at: Decode::decode(decoder)?,
            description: Decode::decode(decoder)?,
            ..Self::default()
        };
        if windowed {
            definition.window = Some(Decode::decode(decoder)?);
            definition.grain = Some(Decode::decode(decoder)?);
        }
        if kind == Kind::Presence {
            definition.ttl = Some(Decode::decode(decoder)?);
        }
        Ok(definition)
    }
}

stored_struct!(Gone {
    expired: bool,
    final_value: i64,
    at: i64,
});

impl Encode for Day {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.days().encode(encoder)
    }
}

impl<C> Decode<C> for Day {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::from_days(i32::decode(decoder)?).map_err(|_| DecodeError::Other("no day"))
    }
}

/// Encodes a counter of `definitions`: its definition, and how it went if it is gone.
pub fn encode_counter(definition: &Definition, gone: Option<&Gone>) -> Result<Vec<u8>, Broken> {
    encode_as(DEFINED_VERSION, (definition, gone))
}

/// Decodes a counter of `definitions`.
///
/// # Errors
/// When it is not one.
pub fn decode_counter(bytes: &[u8]) -> Result<(Definition, Option<Gone>), Undecodable> {
    let (definition, gone): (Definition, _) = decode_defined(bytes)?;
    Ok((definition.complete().map_err(|_| Undecodable)?, gone))
}

/// Encodes what is kept under an idempotency key.
pub fn encode_kept(fingerprint: u128, outcome: &Outcome) -> Result<Vec<u8>, Broken> {
    encode_as(DEFINED_VERSION, (fingerprint, outcome))
}

/// Decodes what is kept under an idempotency key.
///
/// # Errors
/// When it is not that.
pub fn decode_kept(bytes: &[u8]) -> Result<Kept, Undecodable> {
    let (fingerprint, outcome) = decode_defined(bytes)?;
    Ok(Kept {
        fingerprint,
        outcome,
    })
}

/// Returns the version of records of the family `windows` that count until an instant of that time.
pub(super) fn version_of(time_line: TimeLine) -> u8 {
    match time_line {
        TimeLine::Wall => 1,
        TimeLine::Store => 2,
    }
}

/// Returns the time of a record of the family `windows` with that version; `None` when there is none such.
pub(super) fn time_line_of(version: u8) -> Option<TimeLine> {
    let lines = [TimeLine::Wall, TimeLine::Store];
    lines.into_iter().find(|&line| version_of(line) == version)
}

/// Reads until when a record of the family `windows` counts, and in which time; `None` when it is no such
/// record. The instant is the first eight bytes after the version.
pub fn counts_until(bytes: &[u8]) -> Option<(TimeLine, Millis)> {
    let (version, mut fields) = bytes.split_first()?;
    Some((time_line_of(*version)?, Millis::take(&mut fields)?))
}

fn encode(record: impl Encode) -> Result<Vec<u8>, Broken> {
    encode_as(VERSION, record)
}

fn encode_as(version: u8, record: impl Encode) -> Result<Vec<u8>, Broken> {
    let mut bytes = vec![version];
    // Writing into a Vec fails for no record of this file: none of their encoders fails.
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

mod day;
mod outcome;

pub use day::{
    decode_closed_day, decode_day_record, decode_event, decode_sample, encode_closed_day,
    encode_day_record, encode_event, encode_sample, keep_unreadable_day,
};

#[cfg(test)]
mod tests;
