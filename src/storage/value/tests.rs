//! The bytes on disk, pinned.

use super::*;
use crate::counter::{
    Applied, ClosedDay, DayRecord, Effect, Event, EventKind, LeaseChange, Refusal, Seconds,
};

fn day() -> Day {
    Day::from_days(20781).unwrap()
}

fn definition() -> Definition {
    Definition {
        kind: Kind::Unique,
        reset: Reset::Daily,
        min: -1,
        max: 300,
        on_bound: OnBound::Clamp,
        expires_at: Some(1000),
        description: Some("ab".to_owned()),
        ..Definition::default()
    }
}

#[test]
fn the_meta_record_is_these_bytes() {
    let state = StoreState {
        revision: 258,
        highest_day: day(),
        store_time: 3,
        wall_ms: 4,
    };
    let bytes = b"\x01\
        \x00\x00\x00\x00\x00\x00\x01\x02\
        \x00\x00\x51\x2d\
        \x00\x00\x00\x00\x00\x00\x00\x03\
        \x00\x00\x00\x00\x00\x00\x00\x04";
    assert_eq!(state.encode(), bytes);
    assert_eq!(StoreState::decode(bytes), Ok(state));
    assert_eq!(StoreState::decode(&bytes[1..]), Err(Undecodable));
    assert_eq!(StoreState::decode(b"\x02"), Err(Undecodable));
}

#[test]
fn a_counter_is_these_bytes() {
    let gone = Gone {
        expired: true,
        final_value: -2,
        at: 5,
    };
    // version; unique; daily; min -1, max 300 (zigzag, 300 as 251 and two bytes); clamp;
    // expires_at some 1000; description some "ab"; gone some, expired, -2, 5.
    let bytes: &[u8] =
        b"\x02\x02\x01\x01\xfb\x58\x02\x01\x01\xfb\xd0\x07\x01\x02ab\x01\x01\x03\x0a";
    assert_eq!(encode_counter(&definition(), Some(&gone)).unwrap(), bytes);
    assert_eq!(decode_counter(bytes), Ok((definition(), Some(gone))));
    // Version 1 had a `bool` for "daily" and one for "clamp".
    let first: &[u8] =
        b"\x01\x02\x01\x01\xfb\x58\x02\x01\x01\xfb\xd0\x07\x01\x02ab\x01\x01\x03\x0a";
    assert_eq!(decode_counter(first), Ok((definition(), Some(gone))));
    let plain = Definition {
        reset: Reset::Never,
        on_bound: OnBound::Refuse,
        ..definition()
    };
    let first: &[u8] = b"\x01\x02\x00\x01\xfb\x58\x02\x00\x01\xfb\xd0\x07\x01\x02ab\x00";
    assert_eq!(decode_counter(first), Ok((plain, None)));
    // A third word for when it resets, and a third version, are of a later program.
    for (at, byte) in [(0, 3), (2, 2), (7, 2)] {
        let mut later = bytes.to_vec();
        later[at] = byte;
        assert_eq!(decode_counter(&later), Err(Undecodable), "{at}");
    }
    assert_eq!(decode_counter(&bytes[..bytes.len() - 1]), Err(Undecodable));
    let mut longer = bytes.to_vec();
    longer.push(0);
    assert_eq!(decode_counter(&longer), Err(Undecodable));
}

#[test]
fn a_day_record_is_these_bytes() {
    let mut record = DayRecord::begin(1, 10, 7);
    record.count(2, 3, 11);
    record.events = 4;
    // version 3; the record; unique; daily.
    let bytes: &[u8] = b"\x03\x02\x06\x06\x16\x02\x14\x02\x00\x01\x07\x01\x04\x02\x01";
    let nature = (Kind::Unique, Reset::Daily);
    assert_eq!(
        encode_day_record(&record, nature.0, nature.1).unwrap(),
        bytes
    );
    assert_eq!(decode_day_record(bytes), Ok((record, Some(nature))));
    // Version 2 had a `bool` for "daily"; version 1 did not say of what it was.
    let second: &[u8] = b"\x02\x02\x06\x06\x16\x02\x14\x02\x00\x01\x07\x01\x04\x02\x01";
    assert_eq!(decode_day_record(second), Ok((record, Some(nature))));
    let first: &[u8] = b"\x01\x02\x06\x06\x16\x02\x14\x02\x00\x01\x07\x01\x04";
    assert_eq!(decode_day_record(first), Ok((record, None)));
    // With leases that ended: version 4, and how many at its end.
    let with_leases = DayRecord {
        expired: 300,
        ..record
    };
    let fourth = [b"\x04", &bytes[1..], b"\xfb\x2c\x01"].concat();
    let encoded = encode_day_record(&with_leases, nature.0, nature.1);
    assert_eq!(encoded.unwrap(), fourth);
    assert_eq!(decode_day_record(&fourth), Ok((with_leases, Some(nature))));
    assert_eq!(decode_day_record(b"\x01\x02"), Err(Undecodable));
}

#[test]
fn a_closed_day_is_these_bytes() {
    let closed = ClosedDay {
        kind: Kind::Sum,
        reset: Reset::Never,
        starts_at: 1,
        ends_at: 2,
        away_ms: 3,
        record: DayRecord::begin(1, 10, 7),
        events: vec![Event {
            kind: EventKind::Delete,
            at: 1,
            before: 2,
            after: 0,
            reason: None,
            request_id: None,
        }],
    };
    // version; sum; never; begin, end, away; the record; one event.
    let bytes: &[u8] = b"\x02\x01\x00\x02\x04\x06\
        \x02\x02\x02\x14\x02\x14\x00\x00\x00\x07\x01\x00\
        \x01\x03\x02\x04\x00\x00\x00";
    let mut with_leases = closed.clone();
    with_leases.record.expired = 7;
    let third = [b"\x03", &bytes[1..], b"\x07"].concat();
    assert_eq!(encode_closed_day(&with_leases).unwrap(), third);
    assert_eq!(decode_closed_day(&third), Ok(with_leases));
    assert_eq!(encode_closed_day(&closed).unwrap(), bytes);
    assert_eq!(decode_closed_day(bytes), Ok(closed.clone()));
    // Version 1 had a `bool` for "daily".
    let first = [b"\x01", &bytes[1..]].concat();
    assert_eq!(decode_closed_day(&first), Ok(closed));
    assert_eq!(decode_closed_day(&bytes[..9]), Err(Undecodable));
    let kept = keep_unreadable_day(b"\x09?");
    assert_eq!(kept, b"\xff\x09?");
    assert_eq!(decode_closed_day(&kept), Err(Undecodable));
}

#[test]
fn the_value_at_the_end_of_a_minute_is_these_bytes() {
    let bytes = [1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe];
    assert_eq!(encode_sample(Some(-2)), bytes);
    assert_eq!(decode_sample(&bytes), Ok(Some(-2)));
    assert_eq!(encode_sample(None), [1]);
    assert_eq!(decode_sample(&[1]), Ok(None));
    assert_eq!(decode_sample(&bytes[..8]), Err(Undecodable));
    assert_eq!(decode_sample(&[2; 9]), Err(Undecodable));
}

#[test]
fn an_event_is_these_bytes() {
    let event = Event {
        kind: EventKind::Adjust,
        at: 1,
        before: 2,
        after: 3,
        reason: Some("x".to_owned()),
        request_id: None,
    };
    let bytes: &[u8] = b"\x01\x02\x02\x04\x06\x01\x01x\x00";
    assert_eq!(encode_event(&event).unwrap(), bytes);
    assert_eq!(decode_event(bytes), Ok(event));
}

#[test]
fn what_is_kept_under_a_key_reads_back() {
    let applied = Applied {
        current_value: 5,
        effect: Effect::Counted,
        applied: 5,
        revision: 6,
        period: Some(day()),
        created: true,
        lease: None,
    };
    let renewed = Applied {
        effect: Effect::Renewed,
        lease: Some(Box::new(LeaseChange {
            change: -3,
            expires_at: Some(77),
        })),
        ..applied.clone()
    };
    let left = Applied {
        effect: Effect::NotInside,
        lease: Some(Box::new(LeaseChange {
            change: 0,
            expires_at: None,
        })),
        ..applied.clone()
    };
    let windowed = Definition {
        reset: Reset::Never,
        window: Some(Seconds(3600)),
        grain: Some(Seconds(60)),
        ..definition()
    };
    let presence = Definition {
        kind: Kind::Presence,
        ttl: Some(Seconds(90)),
        ..Definition::default()
    };
    let defined = [windowed, presence].map(|definition| Outcome::Defined {
        definition: Box::new(definition),
        started: true,
        revision: 9,
        previous: None,
    });
    let [windowed, presence] = defined;
    let outcomes = [
        Outcome::Applied(applied.clone()),
        Outcome::Batch(
            [
                applied.clone(),
                Applied {
                    period: None,
                    ..applied.clone()
                },
            ]
            .into(),
        ),
        Outcome::Each(
            [
                Ok(applied),
                Err(Refusal::UnknownCounter),
                Err(Refusal::TooManyCounters { max: 3 }),
                Err(Refusal::Gone(Gone {
                    expired: false,
                    final_value: 4,
                    at: 5,
                })),
                Err(Refusal::Gone(Gone {
                    expired: true,
                    final_value: -4,
                    at: 6,
                })),
                Err(Refusal::WrongKind {
                    kind: Kind::Unique,
                    wanted: "decrement",
                }),
                Err(Refusal::MissingUserId),
                Err(Refusal::UniqueCountsOne),
                Err(Refusal::BelowMinimum {
                    current: 1,
                    minimum: 0,
                }),
                Err(Refusal::AboveMaximum {
                    current: 1,
                    maximum: 2,
                }),
                Err(Refusal::Corrupt),
                Err(Refusal::UnreadableUser),
            ]
            .into(),
        ),
        Outcome::Set {
            previous_value: 1,
            current_value: 0,
            revision: 9,
            period: Some(day()),
        },
        Outcome::Defined {
            definition: Box::new(definition()),
            started: true,
            revision: 3,
            previous: None,
        },
        Outcome::Deleted {
            final_value: 8,
            revision: 2,
        },
    ];
    let outcomes = outcomes.into_iter().chain([
        windowed,
        presence,
        Outcome::Each(
            [
                Ok(renewed),
                Ok(left),
                Err(Refusal::TooHeavy),
                Err(Refusal::WrongKind {
                    kind: Kind::Gauge,
                    wanted: "heartbeat",
                }),
                Err(Refusal::WrongKind {
                    kind: Kind::Presence,
                    wanted: "leave",
                }),
            ]
            .into(),
        ),
    ]);
    // After the version and the fingerprint: the number of the outcome, then its fields.
    let layouts: [&[u8]; 9] = [
        b"\x00\x0a\x01\x0a\x06\x01\xfb\x5a\xa2\x01",
        b"\x01\x02\x0a\x01\x0a\x06\x01\xfb\x5a\xa2\x01\x0a\x01\x0a\x06\x00\x01",
        b"\x05\x0c\x00\x0a\x01\x0a\x06\x01\xfb\x5a\xa2\x01\x01\x02\x03\x03\x08\x0a\x04\x07\x0c\
          \x05\x02\x06\x07\x08\x02\x00\x09\x02\x04\x0a\x0b",
        b"\x02\x02\x00\x09\x01\xfb\x5a\xa2",
        b"\x03\x02\x01\x01\xfb\x58\x02\x01\x01\xfb\xd0\x07\x01\x02ab\x01\x03",
        b"\x04\x10\x02",
        b"\x03\x06\x00\x01\xfb\x58\x02\x01\x01\xfb\xd0\x07\x01\x02ab\xfb\x10\x0e\x3c\x01\x09",
        b"\x03\x03\x00\x00\xfd\xfe\xff\xff\xff\xff\xff\x3f\x00\x00\x00\x00\x5a\x01\x09",
        b"\x05\x05\x00\x0a\x0c\x0a\x06\x01\xfb\x5a\xa2\x01\x05\x01\x9a\
          \x00\x0a\x0b\x0a\x06\x01\xfb\x5a\xa2\x01\x00\x00\x0e\x0c\x00\x0d\x03",
    ];
    for (outcome, layout) in outcomes.into_iter().zip(layouts) {
        let bytes = encode_kept(77, &outcome).unwrap();
        assert_eq!(bytes, [&b"\x02\x4d"[..], layout].concat(), "{outcome:?}");
        assert_eq!(
            decode_kept(&bytes),
            Ok(Kept {
                fingerprint: 77,
                outcome
            })
        );
    }
    // Version 1: 77; defined; a definition with a `bool` for "daily" and one for "clamp"; started; 3.
    let first: &[u8] =
        b"\x01\x4d\x03\x02\x01\x01\xfb\x58\x02\x01\x01\xfb\xd0\x07\x01\x02ab\x01\x03";
    let defined = Kept {
        fingerprint: 77,
        outcome: Outcome::Defined {
            definition: Box::new(definition()),
            started: true,
            revision: 3,
            previous: None,
        },
    };
    assert_eq!(decode_kept(first), Ok(defined));
}
