//! Dates and times as the logs write them. By hand, because a request line is made on the hot path
//! and differs from the one before in little but its milliseconds.

use std::io::Write;

use crate::calendar::Day;

const MS_PER_SECOND: i64 = 1_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// 9999-12-31T23:59:59.999Z, the last instant of RFC 3339.
const LAST_MS: i64 = 253_402_300_799_999;

/// Writes instants as RFC 3339 in UTC with milliseconds, remembering the last second.
#[derive(Debug)]
pub(super) struct Stamp {
    second: i64,
    text: Vec<u8>,
}

impl Stamp {
    pub(super) const fn new() -> Self {
        Self {
            second: i64::MIN,
            text: Vec::new(),
        }
    }

    /// Appends `at_ms`, milliseconds since 1970. What lies outside 1970 to 9999 is written as the
    /// nearest instant within.
    pub(super) fn append(&mut self, at_ms: i64, out: &mut Vec<u8>) {
        let at_ms = at_ms.clamp(0, LAST_MS);
        let second = at_ms / MS_PER_SECOND;
        if second != self.second {
            self.remember(second);
        }
        out.extend_from_slice(&self.text);
        let ms = (at_ms % MS_PER_SECOND) as u16;
        let digit = |n: u16| b'0' + (n % 10) as u8;
        out.extend_from_slice(&[digit(ms / 100), digit(ms / 10), digit(ms), b'Z']);
    }

    #[cold]
    fn remember(&mut self, second: i64) {
        let day = Day::clamped(second / SECONDS_PER_DAY);
        let of_day = second % SECONDS_PER_DAY;
        let (hour, minute, sec) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
        self.second = second;
        self.text.clear();
        // Appending to a Vec does not fail.
        let _ = write!(self.text, "{day}T{hour:02}:{minute:02}:{sec:02}.");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn stamp(at_ms: i64) -> String {
        let mut out = Vec::new();
        Stamp::new().append(at_ms, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn instants_are_rfc_3339_in_utc() {
        assert_eq!(stamp(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(stamp(951_782_399_999), "2000-02-28T23:59:59.999Z");
        assert_eq!(stamp(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(stamp(1_795_515_000_007), "2026-11-24T10:10:00.007Z");
        assert_eq!(stamp(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn what_rfc_3339_cannot_say_is_the_nearest_it_can() {
        assert_eq!(stamp(i64::MIN), "1970-01-01T00:00:00.000Z");
        assert_eq!(stamp(i64::MAX), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn a_remembered_second_is_used_for_itself_only() {
        let mut stamp = Stamp::new();
        let mut out = Vec::new();
        for at_ms in [1_999, 2_000, 1_000, 61_000] {
            stamp.append(at_ms, &mut out);
            out.push(b' ');
        }
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "1970-01-01T00:00:01.999Z 1970-01-01T00:00:02.000Z \
             1970-01-01T00:00:01.000Z 1970-01-01T00:01:01.000Z "
        );
    }
}
