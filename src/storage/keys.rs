//! The keys on disk: fixed-width big-endian first, one variable tail. A day's or bucket's records
//! are neighbours, so that they can be dropped as whole files.
//!
//! ```text
//! definitions, counters   len(name) u8 | name
//! days                    day | len(name) u8 | name            the day record
//!                         day | len(name) u8 | name | index u8  its events, in order
//! dedup                   day | generation u64 | user id
//! idempotency             bucket u32 | key
//! history                 len(name) u8 | name | day            a closed day
//! samples                 day | len(name) u8 | name | minute u32
//!                         day | 0 u8 | minute u32              the server was up
//! windows                 generation u64 | 0 u8 | until i64    how much leaves at that instant
//!                         generation u64 | 1 u8 | user id      a seat: until when a user counts
//! meta                    "away|" | day                        how long it was not
//! ```
//! A day is `i32 ^ 0x8000_0000` in four bytes, so that days before 1970 sort before those after.

use super::fixed::joined;
use crate::calendar::Day;
use crate::counter::{CounterName, Generation, Millis};

/// Numbers the 24-hour spans of store time; an idempotency record lies in one of them.
pub type Bucket = u32;

/// Stands for the day of users of a counter that never resets: above every horizon.
pub(super) const NEVER: i32 = i32::MAX;

/// The kinds of records in `windows`.
const LEAVING: u8 = 0;
const SEAT: u8 = 1;

/// Returns the prefix of all records of a day in `days`, `dedup` and `samples`.
pub fn day_prefix(day: i32) -> [u8; 4] {
    (day.cast_unsigned() ^ 0x8000_0000).to_be_bytes()
}

/// Reads a day as it stands in a key.
pub(super) fn unsortable(bytes: [u8; 4]) -> i32 {
    (u32::from_be_bytes(bytes) ^ 0x8000_0000).cast_signed()
}

/// Returns the key of a counter in `definitions` and `counters`.
pub fn counter(name: &CounterName) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + name.as_str().len());
    push_name(&mut key, name);
    key
}

/// Reads the name from a key of `definitions` or `counters`; `None` when it is no such key.
pub fn counter_name(key: &[u8]) -> Option<CounterName> {
    let (name, rest) = split_name(key)?;
    rest.is_empty().then_some(name)
}

/// Returns the key of a counter's day record.
pub fn day_record(day: Day, name: &CounterName) -> Vec<u8> {
    let mut key = Vec::with_capacity(6 + name.as_str().len());
    key.extend_from_slice(&day_prefix(day.days()));
    push_name(&mut key, name);
    key
}

/// Returns the key of the event with that index (below [`crate::counter::MAX_EVENTS`]) of a counter's day.
pub fn event(day: Day, name: &CounterName, index: u8) -> Vec<u8> {
    let mut key = day_record(day, name);
    key.push(index);
    key
}

/// Reads the day that a key of `days`, `dedup` or `samples` begins with; `None` when it is too short.
pub fn leading_day(key: &[u8]) -> Option<i32> {
    key.first_chunk().copied().map(unsortable)
}

/// Reads the counter and the event's index (`None` for the record itself) from a key of `days`.
pub fn day_entry(key: &[u8]) -> Option<(CounterName, Option<u8>)> {
    let (name, rest) = split_name(key.get(4..)?)?;
    match rest {
        [] => Some((name, None)),
        [index] => Some((name, Some(*index))),
        _ => None,
    }
}

/// Writes the key of a counted user into `key`, which is emptied first.
pub fn dedup_into(key: &mut Vec<u8>, day: i32, generation: Generation, user_id: &[u8]) {
    key.clear();
    key.extend_from_slice(&day_prefix(day));
    key.extend_from_slice(&generation.to_be_bytes());
    key.extend_from_slice(user_id);
}

/// Returns the day that users of a period are kept under; above every horizon when it is `None`.
pub fn dedup_day(period: Option<Day>) -> i32 {
    period.map_or(NEVER, Day::days)
}

/// Reads the generation from a key of `dedup`; `None` when it is too short.
pub fn dedup_generation(key: &[u8]) -> Option<Generation> {
    Some(u64::from_be_bytes(key.get(4..12)?.try_into().ok()?))
}

/// Writes the key of an idempotency record into `key`, which is emptied first.
pub fn idempotency_into(key: &mut Vec<u8>, bucket: Bucket, client_key: &str) {
    key.clear();
    key.extend_from_slice(&bucket.to_be_bytes());
    key.extend_from_slice(client_key.as_bytes());
}

/// Returns the key of a counter's closed day in `history`.
pub fn history(name: &CounterName, day: Day) -> Vec<u8> {
    let mut key = counter(name);
    key.extend_from_slice(&day_prefix(day.days()));
    key
}

/// Reads the counter and the day from a key of `history`; `None` when it is no such key.
pub fn history_entry(key: &[u8]) -> Option<(CounterName, Day)> {
    let (name, rest) = split_name(key)?;
    let day: [u8; 4] = rest.try_into().ok()?;
    Some((name, Day::from_days(unsortable(day)).ok()?))
}

/// Returns the key of the value that a counter had at the end of a minute (minutes since 1970).
pub fn sample(day: Day, name: &CounterName, minute: u32) -> Vec<u8> {
    let mut key = day_record(day, name);
    key.extend_from_slice(&minute.to_be_bytes());
    key
}

/// Reads the counter from a key of `samples`; `None` for the record that the server was up.
pub fn sampled_counter(key: &[u8]) -> Option<CounterName> {
    split_name(key.get(4..)?).map(|(name, _)| name)
}

/// Returns the key of the record that the server was up in a minute (minutes since 1970).
pub fn uptime_minute(day: Day, minute: u32) -> [u8; 9] {
    let [a, b, c, d] = day_prefix(day.days());
    let [e, f, g, h] = minute.to_be_bytes();
    [a, b, c, d, 0, e, f, g, h]
}

/// Reads the minute at the end of a key of `samples`; `None` when it is too short.
pub fn trailing_minute(key: &[u8]) -> Option<u32> {
    key.last_chunk().copied().map(u32::from_be_bytes)
}

/// Returns the prefix of what leaves a generation by time alone.
pub fn leaving_prefix(generation: Generation) -> [u8; 9] {
    joined(&[&generation.to_be_bytes(), &[LEAVING]])
}

/// Returns the key of how much of a generation leaves at an instant of its time (milliseconds, not before 0).
pub fn leaving(generation: Generation, until: Millis) -> [u8; 17] {
    joined(&[&leaving_prefix(generation), &until.to_be_bytes()])
}

/// Reads the generation from a key of `windows`; `None` when it is too short.
pub fn windows_generation(key: &[u8]) -> Option<Generation> {
    key.first_chunk().copied().map(u64::from_be_bytes)
}

/// Whether a key of `windows` is that of a seat.
pub fn is_seat(key: &[u8]) -> bool {
    key.get(8) == Some(&SEAT)
}

/// Writes the key of a user's seat into `key`, which is emptied first.
pub fn seat_into(key: &mut Vec<u8>, generation: Generation, user_id: &[u8]) {
    key.clear();
    key.extend_from_slice(&generation.to_be_bytes());
    key.push(SEAT);
    key.extend_from_slice(user_id);
}

/// Returns the first key after the seats of a generation.
pub fn after_seats(generation: Generation) -> [u8; 9] {
    joined(&[&generation.to_be_bytes(), &[SEAT + 1]])
}

/// The prefix in `meta` of how long the server was away in a day.
pub const AWAY_PREFIX: &[u8] = b"away|";

/// Returns the key in `meta` of how long the server was away in a day.
pub fn away(day: Day) -> Vec<u8> {
    [AWAY_PREFIX, &day_prefix(day.days())].concat()
}

/// Reads the bucket that a key of `idempotency` begins with; `None` when it is too short.
pub fn leading_bucket(key: &[u8]) -> Option<Bucket> {
    Some(u32::from_be_bytes(key.get(..4)?.try_into().ok()?))
}

fn push_name(key: &mut Vec<u8>, name: &CounterName) {
    const { assert!(CounterName::MAX_LEN <= u8::MAX as usize) };
    key.push(name.as_str().len() as u8);
    key.extend_from_slice(name.as_str().as_bytes());
}

fn split_name(bytes: &[u8]) -> Option<(CounterName, &[u8])> {
    let (&len, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(len))?;
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
        dedup_into(&mut key, 20781, 258, b"u1");
        assert_eq!(key, b"\x80\x00\x51\x2d\x00\x00\x00\x00\x00\x00\x01\x02u1");
        dedup_into(&mut key, dedup_day(None), 1, b"");
        assert_eq!(key, b"\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x01");
        let day = Day::from_days(20781).unwrap();
        assert_eq!(history(&name("ab"), day), b"\x02ab\x80\x00\x51\x2d");
        assert_eq!(
            sample(day, &name("ab"), 258),
            b"\x80\x00\x51\x2d\x02ab\x00\x00\x01\x02"
        );
        assert_eq!(
            uptime_minute(day, 258),
            *b"\x80\x00\x51\x2d\x00\x00\x00\x01\x02"
        );
        assert_eq!(away(day), b"away|\x80\x00\x51\x2d");
        idempotency_into(&mut key, 3, "k-1");
        assert_eq!(key, b"\x00\x00\x00\x03k-1");
        seat_into(&mut key, 258, b"u1");
        assert_eq!(key, b"\0\0\0\0\0\0\x01\x02\x01u1");
        assert_eq!(
            leaving(258, 3),
            *b"\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\0\x03"
        );
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
        let mut key = Vec::new();
        dedup_into(&mut key, 4, 99, b"");
        assert_eq!(dedup_generation(&key), Some(99));
        let day = Day::from_days(20781).unwrap();
        let key = history(&name("ab"), day);
        assert_eq!(history_entry(&key), Some((name("ab"), day)));
        assert_eq!(history_entry(&key[..key.len() - 1]), None);
        assert_eq!(history_entry(&key).unwrap().1.days(), 20781);
        assert_eq!(trailing_minute(&uptime_minute(day, 7)), Some(7));
        assert_eq!(
            sampled_counter(&sample(day, &name("ab"), 258)),
            Some(name("ab"))
        );
        assert_eq!(sampled_counter(&uptime_minute(day, 7)), None);
        assert_eq!(leading_bucket(b"\x00\x00\x01\x00k"), Some(256));
        assert_eq!(leading_bucket(b"\x00"), None);
    }
}
