//! Days on disk: the record of a day that is being counted, its events, the closed day that history
//! keeps, and the values at the ends of minutes.

use bincode::{Decode, Encode};

use super::{
    DEFINED_VERSION, KindV1, ResetV2, Undecodable, VERSION, decode, decode_as, decode_defined,
    encode, encode_as,
};
use crate::counter::{ClosedDay, DayRecord, Event, EventKind, Extreme, Kind, Reset};
use crate::invariant::Broken;

/// The version of day records, which name the kind of counter since version 2.
const DAY_RECORD_VERSION: u8 = 3;

stored_struct!(ExtremeV1 of Extreme { value: i64, at: i64 });

stored_struct!(DayRecordV1 of DayRecord {
    opening: i64,
    last: i64,
    peak: ExtremeV1,
    low: ExtremeV1,
    increments: u128,
    decrements: u128,
    operations: u64,
    generation: u64,
    generations: u32,
    events: u32,
});

#[derive(Encode, Decode)]
struct DayRecordV3 {
    record: DayRecordV1,
    kind: KindV1,
    reset: ResetV2,
}

stored_enum!(EventKindV1 of EventKind { Creation, Reset, Adjust, Delete, Expiry, Repair });

stored_struct!(EventV1 of Event {
    kind: EventKindV1,
    at: i64,
    before: i64,
    after: i64,
    reason: Option<String>,
    request_id: Option<String>,
});

#[derive(Encode, Decode)]
struct ClosedDayV2 {
    kind: KindV1,
    reset: ResetV2,
    starts_at: i64,
    ends_at: i64,
    away_ms: i64,
    record: DayRecordV1,
    events: Vec<EventV1>,
}

/// Encodes the day record of a counter of that kind and reset.
pub fn encode_day_record(record: &DayRecord, kind: Kind, reset: Reset) -> Result<Vec<u8>, Broken> {
    encode_as(
        DAY_RECORD_VERSION,
        DayRecordV3 {
            record: (*record).into(),
            kind: kind.into(),
            reset: reset.into(),
        },
    )
}

/// Decodes a day record, with the kind and reset of its counter; `None` for these in version 1, where
/// the counter's definition tells them.
///
/// # Errors
/// When it is not one.
pub fn decode_day_record(bytes: &[u8]) -> Result<(DayRecord, Option<(Kind, Reset)>), Undecodable> {
    if bytes.first() == Some(&VERSION) {
        return Ok((decode::<DayRecordV1>(bytes)?.into(), None));
    }
    let stored: DayRecordV3 = decode_as(2..=DAY_RECORD_VERSION, bytes)?;
    Ok((
        stored.record.into(),
        Some((stored.kind.into(), stored.reset.into())),
    ))
}

/// Encodes an event of a day record.
pub fn encode_event(event: &Event) -> Result<Vec<u8>, Broken> {
    encode(EventV1::from(event.clone()))
}

/// Decodes an event of a day record.
///
/// # Errors
/// When it is not one.
pub fn decode_event(bytes: &[u8]) -> Result<Event, Undecodable> {
    Ok(decode::<EventV1>(bytes)?.into())
}

/// Encodes a closed day.
pub fn encode_closed_day(day: &ClosedDay) -> Result<Vec<u8>, Broken> {
    encode_as(
        DEFINED_VERSION,
        ClosedDayV2 {
            kind: day.kind.into(),
            reset: day.reset.into(),
            starts_at: day.starts_at,
            ends_at: day.ends_at,
            away_ms: day.away_ms,
            record: day.record.into(),
            events: day.events.iter().cloned().map(EventV1::from).collect(),
        },
    )
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
    let stored: ClosedDayV2 = decode_defined(bytes)?;
    Ok(ClosedDay {
        kind: stored.kind.into(),
        reset: stored.reset.into(),
        starts_at: stored.starts_at,
        ends_at: stored.ends_at,
        away_ms: stored.away_ms,
        record: stored.record.into(),
        events: stored.events.into_iter().map(Event::from).collect(),
    })
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
