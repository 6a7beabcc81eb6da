//! The keys on disk: fixed-width big-endian first, one variable tail. A day's or bucket's records
//! are neighbours, so that they can be dropped as whole files.
//!
//! ```text
//! definitions, counters   len(name) u8 | name
//! days                    day | len(name) u8 | name            the day record
//!                         day | len(name) u8 | name | index u8  its events, in order
//! dedup                   day | generation u64 | user id
//! idempotency             bucket u32 | key
//! ```
//! A day is `i32 ^ 0x8000_0000` in four bytes, so that days before 1970 sort before those after.

use crate::calendar::Day;
use crate::counter::{CounterName, Generation};

/// A number of 24-hour spans of store time: where an idempotency record lies.
pub type Bucket = u32;

/// The day of dedup records of a counter that never resets: above every horizon.
pub const NEVER: i32 = i32::MAX;

/// The first byte after a length-prefixed name's record: where its events are.
const MAX_NAME: usize = CounterName::MAX_LEN;

fn sortable(day: i32) -> [u8; 4] {
    (day.cast_unsigned() ^ 0x8000_0000).to_be_bytes()
}

/// Key of a counter in `definitions` and `counters`.
pub fn counter(name: &CounterName) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + name.as_str().len());
    push_name(&mut key, name);
    key
}

/// The name in a key of `definitions` or `counters`; none if it is not one.
pub fn counter_name(key: &[u8]) -> Option<CounterName> {
    let (name, rest) = split_name(key)?;
    rest.is_empty().then_some(name)
}

/// Key of a counter's day record.
pub fn day_record(day: Day, name: &CounterName) -> Vec<u8> {
    let mut key = Vec::with_capacity(6 + name.as_str().len());
    key.extend_from_slice(&sortable(day.days()));
    push_name(&mut key, name);
    key
}

/// Key of the event with that index (below [`crate::counter::MAX_EVENTS`]) of a counter's day.
pub fn event(day: Day, name: &CounterName, index: u8) -> Vec<u8> {
    let mut key = day_record(day, name);
    key.push(index);
    key
}

/// The prefix of all records of a day in `days` and `dedup`.
pub fn day_prefix(day: i32) -> [u8; 4] {
    sortable(day)
}

/// The day that a key of `days` or `dedup` begins with; none if it is too short.
pub fn leading_day(key: &[u8]) -> Option<i32> {
    let bytes: [u8; 4] = key.get(..4)?.try_into().ok()?;
    Some((u32::from_be_bytes(bytes) ^ 0x8000_0000).cast_signed())
}

/// The counter and event index (none for the record itself) of a key of `days`.
pub fn day_entry(key: &[u8]) -> Option<(CounterName, Option<u8>)> {
    let (name, rest) = split_name(key.get(4..)?)?;
    match rest {
        [] => Some((name, None)),
        [index] => Some((name, Some(*index))),
        _ => None,
    }
}

/// Writes the key of a counted user into `key`, which is emptied first.
pub fn dedup_into(key: &mut Vec<u8>, day: i32, generation: Generation, user_id: &str) {
    key.clear();
    key.extend_from_slice(&sortable(day));
    key.extend_from_slice(&generation.to_be_bytes());
    key.extend_from_slice(user_id.as_bytes());
}

/// The prefix of all users of one generation in one day.
pub fn dedup_prefix(day: i32, generation: Generation) -> Vec<u8> {
    let mut key = Vec::with_capacity(12);
    dedup_into(&mut key, day, generation, "");
    key
}

/// The generation in a key of `dedup`; none if it is too short.
pub fn dedup_generation(key: &[u8]) -> Option<Generation> {
    Some(u64::from_be_bytes(key.get(4..12)?.try_into().ok()?))
}

/// Writes the key of an idempotency record into `key`, which is emptied first.
pub fn idempotency_into(key: &mut Vec<u8>, bucket: Bucket, client_key: &str) {
    key.clear();
    key.extend_from_slice(&bucket.to_be_bytes());
    key.extend_from_slice(client_key.as_bytes());
}

/// The bucket that a key of `idempotency` begins with; none if it is too short.
pub fn leading_bucket(key: &[u8]) -> Option<Bucket> {
    Some(u32::from_be_bytes(key.get(..4)?.try_into().ok()?))
}

fn push_name(key: &mut Vec<u8>, name: &CounterName) {
    // A name has at most 100 bytes, so its length fits.
    key.push(u8::try_from(name.as_str().len()).unwrap_or(u8::MAX));
    key.extend_from_slice(name.as_str().as_bytes());
}

fn split_name(bytes: &[u8]) -> Option<(CounterName, &[u8])> {
    let (&len, rest) = bytes.split_first()?;
    let len = usize::from(len);
    if len > MAX_NAME {
        return None;
    }
    let (name, rest) = rest.split_at_checked(len)?;
    let name = CounterName::parse(std::str::from_utf8(name).ok()?).ok()?;
    Some((name, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> CounterName {
        CounterName::parse(text).unwrap()
    }

    #[test]
    fn keys_are_these_bytes() {
        assert_eq!(counter(&name("ab")), b"\x02ab");
        // 2026-11-24 is day 20781 = 0x512d.
        assert_eq!(
            day_record(Day::from_days(20781).unwrap(), &name("ab")),
            b"\x80\x00\x51\x2d\x02ab"
        );
        assert_eq!(
            event(Day::from_days(20781).unwrap(), &name("ab"), 7),
            b"\x80\x00\x51\x2d\x02ab\x07"
        );
        let mut key = vec![9];
        dedup_into(&mut key, 20781, 258, "u1");
        assert_eq!(key, b"\x80\x00\x51\x2d\x00\x00\x00\x00\x00\x00\x01\x02u1");
        dedup_into(&mut key, NEVER, 1, "");
        assert_eq!(key, b"\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x01");
        idempotency_into(&mut key, 3, "k-1");
        assert_eq!(key, b"\x00\x00\x00\x03k-1");
    }

    #[test]
    fn keys_read_back_and_days_sort() {
        assert_eq!(counter_name(b"\x02ab"), Some(name("ab")));
        assert_eq!(counter_name(b"\x02abc"), None);
        assert_eq!(counter_name(b"\x09ab"), None);
        assert_eq!(counter_name(b""), None);
        assert_eq!(
            day_entry(b"\x80\x00\x51\x2d\x02ab\x07"),
            Some((name("ab"), Some(7)))
        );
        assert_eq!(leading_day(&day_prefix(-5)), Some(-5));
        assert!(day_prefix(-5) < day_prefix(0) && day_prefix(0) < day_prefix(NEVER));
        assert_eq!(dedup_generation(&dedup_prefix(4, 99)), Some(99));
        assert_eq!(leading_bucket(b"\x00\x00\x01\x00k"), Some(256));
        assert_eq!(leading_bucket(b"\x00"), None);
    }
}
