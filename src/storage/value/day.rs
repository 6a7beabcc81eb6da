//! Days on disk: the record of a day that is being counted, its events, the closed day that history
//! keeps, and the values at the ends of minutes.

use bincode::de::Decoder;
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{Decode, Encode};

use super::{
    DEFINED_VERSION, Undecodable, VERSION, decode, decode_as, decode_defined, encode, encode_as,
};
use crate::counter::{ClosedDay, DayRecord, Event, EventKind, Extreme, Kind, Reset};
use crate::invariant::Broken;

/// The version of day records, which name the kind of counter since version 2.
const DAY_RECORD_VERSION: u8 = 3;

/// The versions of day records and of closed days that end with how many leases expired.
const LEASES_VERSION: u8 = 4;
const CLOSED_LEASES_VERSION: u8 = 3;

stored_struct!(Extreme {
    value: i64,
    at: i64
});

// What expired stands at the end of the records that need it.
stored_struct!(DayRecord {
    opening: i64,
    last: i64,
    peak: Extreme,
    low: Extreme,
    increments: u128,
    decrements: u128,
    operations: u64,
    generation: u64,
    generations: u32,
    events: u32,
} else { expired: 0 });

stored_enum!(EventKind { 0 Creation, 1 Reset, 2 Adjust, 3 Delete, 4 Expiry, 5 Repair });

stored_struct!(Event {
    kind: EventKind,
    at: i64,
    before: i64,
    after: i64,
    reason: Option<String>,
    request_id: Option<String>,
});

stored_struct!(ClosedDay {
    kind: Kind,
    reset: Reset,
    starts_at: i64,
    ends_at: i64,
    away_ms: i64,
    record: DayRecord,
    events: Vec<Event>,
});

/// Encodes the day record of a counter of that kind and reset.
pub fn encode_day_record(record: &DayRecord, kind: Kind, reset: Reset) -> Result<Vec<u8>, Broken> {
    match record.expired {
        0 => encode_as(DAY_RECORD_VERSION, (record, kind, reset)),
        expired => encode_as(LEASES_VERSION, (record, kind, reset, expired)),
    }
}

/// Decodes a day record, with the kind and reset of its counter; `None` for these in version 1, where
/// the counter's definition tells them.
///
/// # Errors
/// When it is not one.
pub fn decode_day_record(bytes: &[u8]) -> Result<(DayRecord, Option<(Kind, Reset)>), Undecodable> {
    if bytes.first() == Some(&VERSION) {
        return Ok((decode(bytes)?, None));
    }
    if bytes.first() == Some(&LEASES_VERSION) {
        let (record, kind, reset, expired) = decode_as(LEASES_VERSION..=LEASES_VERSION, bytes)?;
        return Ok((DayRecord { expired, ..record }, Some((kind, reset))));
    }
    let (record, kind, reset) = decode_as(2..=DAY_RECORD_VERSION, bytes)?;
    Ok((record, Some((kind, reset))))
}

/// Encodes an event of a day record.
pub fn encode_event(event: &Event) -> Result<Vec<u8>, Broken> {
    encode(event)
}

/// Decodes an event of a day record.
///
/// # Errors
/// When it is not one.
pub fn decode_event(bytes: &[u8]) -> Result<Event, Undecodable> {
    decode(bytes)
}

/// Encodes a closed day.
pub fn encode_closed_day(day: &ClosedDay) -> Result<Vec<u8>, Broken> {
    match day.record.expired {
        0 => encode_as(DEFINED_VERSION, day),
        expired => encode_as(CLOSED_LEASES_VERSION, (day, expired)),
    }
}

/// Stands in history before the bytes of a day record that cannot be read.
const UNREADABLE: u8 = 255;

/// Makes a record for history of a day record that cannot be read. It keeps the bytes, and decodes as
/// [`Undecodable`].
pub fn keep_unreadable_day(record: &[u8]) -> Vec<u8> {
    [&[UNREADABLE], record].concat()
}

/// Decodes a closed day.
///
/// # Errors
/// When it is not one.
pub fn decode_closed_day(bytes: &[u8]) -> Result<ClosedDay, Undecodable> {
    if bytes.first() == Some(&CLOSED_LEASES_VERSION) {
        let versions = CLOSED_LEASES_VERSION..=CLOSED_LEASES_VERSION;
        let (mut day, expired): (ClosedDay, u64) = decode_as(versions, bytes)?;
        day.record.expired = expired;
        return Ok(day);
    }
    decode_defined(bytes)
}

/// Encodes the value at the end of a minute; `None` when the counter had gone by then.
pub fn encode_sample(value: Option<i64>) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    if let Some(value) = value {
        bytes.extend_from_slice(&value.to_be_bytes());
    }
    bytes
}

/// Decodes the value at the end of a minute.
///
/// # Errors
/// When it is not one.
pub fn decode_sample(bytes: &[u8]) -> Result<Option<i64>, Undecodable> {
    match bytes {
        [VERSION] => Ok(None),
        [VERSION, value @ ..] => value
            .try_into()
            .map(|value| Some(i64::from_be_bytes(value)))
            .map_err(|_| Undecodable),
        _ => Err(Undecodable),
    }
}
