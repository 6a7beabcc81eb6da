//! The values on disk, other than those of the merge family: a version byte, then the record.
//!
//! Records are laid out by bincode (version 2, its standard configuration, frozen): integers of
//! variable length, options and enums as a number. The order of fields and variants in this file is
//! the format; what is retired stays reserved. The meta record is laid out by hand.
//!
//! What does not read back whole, to the last byte, is [`Undecodable`].

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::{Decode, Encode};

use crate::calendar::Day;
use crate::counter::{
    Applied, DayRecord, Definition, Event, EventKind, Extreme, Gone, Kind, OnBound, Outcome, Reset,
};

/// No record may ask for more memory than this when it is read, in bytes.
const MAX_RECORD: usize = 1024 * 1024;

const VERSION: u8 = 1;

const CONFIG: Configuration<LittleEndian, Varint, Limit<MAX_RECORD>> =
    bincode::config::standard().with_limit::<MAX_RECORD>();

/// A stored record that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record is of an unknown version or damaged")]
pub struct Undecodable;

/// What every commit group stores of the whole: the key `state` of the family `meta`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// The revision of the last change.
    pub revision: u64,
    /// The highest local day that was counted in.
    pub highest_day: Day,
    /// Time during which the store was open, summed over its life, in milliseconds.
    pub store_time: i64,
    /// The wall clock at the commit, milliseconds since 1970.
    pub wall_ms: i64,
}

impl State {
    /// Its key in `meta`.
    pub const KEY: &'static [u8] = b"state";

    /// The bytes on disk.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(29);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.revision.to_be_bytes());
        bytes.extend_from_slice(&self.highest_day.days().to_be_bytes());
        bytes.extend_from_slice(&self.store_time.to_be_bytes());
        bytes.extend_from_slice(&self.wall_ms.to_be_bytes());
        bytes
    }

    /// Reads it back.
    ///
    /// # Errors
    /// When it is not one.
    pub fn decode(bytes: &[u8]) -> Result<Self, Undecodable> {
        let read = || {
            let (&version, rest) = bytes.split_first()?;
            let (revision, rest) = rest.split_first_chunk()?;
            let (day, rest) = rest.split_first_chunk()?;
            let (store_time, rest) = rest.split_first_chunk()?;
            let (wall_ms, rest) = rest.split_first_chunk()?;
            (version == VERSION && rest.is_empty()).then_some(())?;
            Some(Self {
                revision: u64::from_be_bytes(*revision),
                highest_day: Day::from_days(i32::from_be_bytes(*day)).ok()?,
                store_time: i64::from_be_bytes(*store_time),
                wall_ms: i64::from_be_bytes(*wall_ms),
            })
        };
        read().ok_or(Undecodable)
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

#[derive(Encode, Decode)]
enum KindV1 {
    Gauge,
    Sum,
    Unique,
}

#[derive(Encode, Decode)]
struct DefinitionV1 {
    kind: KindV1,
    daily: bool,
    min: i64,
    max: i64,
    clamp: bool,
    expires_at: Option<i64>,
    description: Option<String>,
}

#[derive(Encode, Decode)]
struct GoneV1 {
    expired: bool,
    final_value: i64,
    at: i64,
}

#[derive(Encode, Decode)]
struct CounterV1 {
    definition: DefinitionV1,
    gone: Option<GoneV1>,
}

#[derive(Encode, Decode)]
struct DayRecordV1 {
    opening: i64,
    last: i64,
    peak: i64,
    peak_at: i64,
    low: i64,
    low_at: i64,
    increments: u128,
    decrements: u128,
    operations: u64,
    generation: u64,
    generations: u32,
    events: u32,
}

#[derive(Encode, Decode)]
enum EventKindV1 {
    Creation,
    Reset,
    Adjust,
    Delete,
    Expiry,
    Repair,
}

#[derive(Encode, Decode)]
struct EventV1 {
    kind: EventKindV1,
    at: i64,
    before: i64,
    after: i64,
    reason: Option<String>,
    request_id: Option<String>,
}

#[derive(Encode, Decode)]
struct AppliedV1 {
    current_value: i64,
    counted: bool,
    applied: i64,
    revision: u64,
    period: Option<i32>,
    created: bool,
}

#[derive(Encode, Decode)]
enum OutcomeV1 {
    Applied(AppliedV1),
    Batch(Vec<AppliedV1>),
    Set {
        previous_value: i64,
        current_value: i64,
        revision: u64,
        period: Option<i32>,
    },
    Defined {
        definition: DefinitionV1,
        started: bool,
        revision: u64,
    },
    Deleted {
        final_value: i64,
        revision: u64,
    },
}

#[derive(Encode, Decode)]
struct KeptV1 {
    fingerprint: u128,
    outcome: OutcomeV1,
}

/// Bytes of a counter in `definitions`.
pub fn encode_counter(definition: &Definition, gone: Option<&Gone>) -> Vec<u8> {
    let gone = gone.map(
        |&Gone {
             expired,
             final_value,
             at,
         }| GoneV1 {
            expired,
            final_value,
            at,
        },
    );
    encode(CounterV1 {
        definition: definition.into(),
        gone,
    })
}

/// Reads a counter of `definitions`.
///
/// # Errors
/// When it is not one.
pub fn decode_counter(bytes: &[u8]) -> Result<(Definition, Option<Gone>), Undecodable> {
    let CounterV1 { definition, gone } = decode(bytes)?;
    let gone = gone.map(
        |GoneV1 {
             expired,
             final_value,
             at,
         }| Gone {
            expired,
            final_value,
            at,
        },
    );
    let definition = Definition::from(definition);
    definition.check().map_err(|_| Undecodable)?;
    Ok((definition, gone))
}

/// Bytes of a day record.
pub fn encode_day_record(record: &DayRecord) -> Vec<u8> {
    encode(DayRecordV1 {
        opening: record.opening,
        last: record.last,
        peak: record.peak.value,
        peak_at: record.peak.at,
        low: record.low.value,
        low_at: record.low.at,
        increments: record.increments,
        decrements: record.decrements,
        operations: record.operations,
        generation: record.generation,
        generations: record.generations,
        events: record.events,
    })
}

/// Reads a day record.
///
/// # Errors
/// When it is not one.
pub fn decode_day_record(bytes: &[u8]) -> Result<DayRecord, Undecodable> {
    let stored: DayRecordV1 = decode(bytes)?;
    Ok(DayRecord {
        opening: stored.opening,
        last: stored.last,
        peak: Extreme {
            value: stored.peak,
            at: stored.peak_at,
        },
        low: Extreme {
            value: stored.low,
            at: stored.low_at,
        },
        increments: stored.increments,
        decrements: stored.decrements,
        operations: stored.operations,
        generation: stored.generation,
        generations: stored.generations,
        events: stored.events,
    })
}

/// Bytes of an event of a day record.
pub fn encode_event(event: &Event) -> Vec<u8> {
    encode(EventV1 {
        kind: match event.kind {
            EventKind::Creation => EventKindV1::Creation,
            EventKind::Reset => EventKindV1::Reset,
            EventKind::Adjust => EventKindV1::Adjust,
            EventKind::Delete => EventKindV1::Delete,
            EventKind::Expiry => EventKindV1::Expiry,
            EventKind::Repair => EventKindV1::Repair,
        },
        at: event.at,
        before: event.before,
        after: event.after,
        reason: event.reason.clone(),
        request_id: event.request_id.clone(),
    })
}

/// Reads an event of a day record.
///
/// # Errors
/// When it is not one.
pub fn decode_event(bytes: &[u8]) -> Result<Event, Undecodable> {
    let stored: EventV1 = decode(bytes)?;
    Ok(Event {
        kind: match stored.kind {
            EventKindV1::Creation => EventKind::Creation,
            EventKindV1::Reset => EventKind::Reset,
            EventKindV1::Adjust => EventKind::Adjust,
            EventKindV1::Delete => EventKind::Delete,
            EventKindV1::Expiry => EventKind::Expiry,
            EventKindV1::Repair => EventKind::Repair,
        },
        at: stored.at,
        before: stored.before,
        after: stored.after,
        reason: stored.reason,
        request_id: stored.request_id,
    })
}

/// Bytes of what is kept under an idempotency key.
pub fn encode_kept(fingerprint: u128, outcome: &Outcome) -> Vec<u8> {
    encode(KeptV1 {
        fingerprint,
        outcome: outcome.into(),
    })
}

/// Reads what is kept under an idempotency key.
///
/// # Errors
/// When it is not that.
pub fn decode_kept(bytes: &[u8]) -> Result<Kept, Undecodable> {
    let KeptV1 {
        fingerprint,
        outcome,
    } = decode(bytes)?;
    Ok(Kept {
        fingerprint,
        outcome: outcome.try_into()?,
    })
}

fn encode(record: impl Encode) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    // Writing into a Vec fails for no record of this file: none has a custom encoder.
    let written = bincode::encode_into_std_write(record, &mut bytes, CONFIG);
    debug_assert!(written.is_ok());
    bytes
}

fn decode<T: Decode<()>>(bytes: &[u8]) -> Result<T, Undecodable> {
    let (&VERSION, rest) = bytes.split_first().ok_or(Undecodable)? else {
        return Err(Undecodable);
    };
    let (record, consumed) = bincode::decode_from_slice(rest, CONFIG).map_err(|_| Undecodable)?;
    if consumed == rest.len() {
        Ok(record)
    } else {
        Err(Undecodable)
    }
}

impl From<&Definition> for DefinitionV1 {
    fn from(definition: &Definition) -> Self {
        Self {
            kind: match definition.kind {
                Kind::Gauge => KindV1::Gauge,
                Kind::Sum => KindV1::Sum,
                Kind::Unique => KindV1::Unique,
            },
            daily: definition.reset == Reset::Daily,
            min: definition.min,
            max: definition.max,
            clamp: definition.on_bound == OnBound::Clamp,
            expires_at: definition.expires_at,
            description: definition.description.clone(),
        }
    }
}

impl From<DefinitionV1> for Definition {
    fn from(stored: DefinitionV1) -> Self {
        Self {
            kind: match stored.kind {
                KindV1::Gauge => Kind::Gauge,
                KindV1::Sum => Kind::Sum,
                KindV1::Unique => Kind::Unique,
            },
            reset: if stored.daily {
                Reset::Daily
            } else {
                Reset::Never
            },
            min: stored.min,
            max: stored.max,
            on_bound: if stored.clamp {
                OnBound::Clamp
            } else {
                OnBound::Refuse
            },
            expires_at: stored.expires_at,
            description: stored.description,
        }
    }
}

impl From<&Applied> for AppliedV1 {
    fn from(applied: &Applied) -> Self {
        Self {
            current_value: applied.current_value,
            counted: applied.counted,
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
            counted: stored.counted,
            applied: stored.applied,
            revision: stored.revision,
            period: period(stored.period)?,
            created: stored.created,
        })
    }
}

impl From<&Outcome> for OutcomeV1 {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Applied(applied) => Self::Applied(applied.into()),
            Outcome::Batch(all) => Self::Batch(all.iter().map(AppliedV1::from).collect()),
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
                definition: definition.as_ref().into(),
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

impl TryFrom<OutcomeV1> for Outcome {
    type Error = Undecodable;

    fn try_from(stored: OutcomeV1) -> Result<Self, Undecodable> {
        Ok(match stored {
            OutcomeV1::Applied(applied) => Self::Applied(applied.try_into()?),
            OutcomeV1::Batch(all) => Self::Batch(
                all.into_iter()
                    .map(Applied::try_from)
                    .collect::<Result<_, _>>()?,
            ),
            OutcomeV1::Set {
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
            OutcomeV1::Defined {
                definition,
                started,
                revision,
            } => Self::Defined {
                definition: Box::new(definition.into()),
                started,
                revision,
                previous: None,
            },
            OutcomeV1::Deleted {
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

#[cfg(test)]
mod tests;
