//! Dates and times as the logs write them. By hand, because a request line is made on the hot path
//! and differs from the one before in little but its milliseconds.

use std::io::Write;

const MS_PER_SECOND: i64 = 1_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// 9999-12-31T23:59:59.999Z, the last instant of RFC 3339.
const LAST_MS: i64 = 253_402_300_799_999;

/// Year, month and day of month of the proleptic Gregorian calendar, from days since 1970-01-01.
/// Exact for years 0 to 9999; days outside are taken as the nearest within.
pub(super) fn civil(day: i64) -> (i64, i64, i64) {
    // Counted in years that begin in March, so that the leap day is a year's last.
    let since_march_0000 = day.clamp(-719_528, 2_932_896) + 719_468;
    let era = since_march_0000.div_euclid(146_097);
    let day_of_era = since_march_0000.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_month)
}

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
        let (year, month, day) = civil(second / SECONDS_PER_DAY);
        let of_day = second % SECONDS_PER_DAY;
        let (hour, minute, sec) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
        self.second = second;
        self.text.clear();
        // Appending to a Vec does not fail.
        let _ = write!(
            self.text,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{sec:02}."
        );
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

    #[test]
    fn every_day_follows_the_one_before() {
        let mut before = civil(-719_528);
        assert_eq!(before, (0, 1, 1));
        for day in -719_527..=2_932_896 {
            let (year, month, of_month) = civil(day);
            let next_of_month = (year, month) == (before.0, before.1) && of_month == before.2 + 1;
            let first_of_month = of_month == 1
                && before.2 >= 28
                && (year * 12 + month) == (before.0 * 12 + before.1 + 1);
            assert!(next_of_month || first_of_month, "{before:?} {day}");
            before = (year, month, of_month);
        }
        assert_eq!(before, (9999, 12, 31));
    }
}
