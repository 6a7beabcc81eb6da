//! Shows a time as HTTP's `Date` header, such as `Sun, 06 Nov 1994 08:49:37 GMT`.
//!
//! hyper asks for it at every turn of a connection, whether or not the header is sent. The crate of
//! this name that it uses otherwise panics before 1970 and after 9999, which a wrong clock can show;
//! this one says the nearest time that the header can say. It has what hyper calls, and nothing else.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

const DAY: u64 = 86_400;

/// The last second of the year 9999.
const LAST: u64 = 253_402_300_799;

const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

const MONTHS: [(&str, u64); 12] = [
    ("Jan", 31),
    ("Feb", 28),
    ("Mar", 31),
    ("Apr", 30),
    ("May", 31),
    ("Jun", 30),
    ("Jul", 31),
    ("Aug", 31),
    ("Sep", 30),
    ("Oct", 31),
    ("Nov", 30),
    ("Dec", 31),
];

/// A time as the header says it, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpDate(u64);

impl From<SystemTime> for HttpDate {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(since.as_secs().min(LAST))
    }
}

impl fmt::Display for HttpDate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.0 / DAY, self.0 % DAY);
        let weekday = WEEKDAYS[(days % 7) as usize];
        let (year, day_of_year) = year_and_day(days);
        let (month, day) = month_and_day(year, day_of_year);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(
            out,
            "{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT"
        )
    }
}

/// The year that a day since 1970 is in, and which day of it that is, from 0 on.
fn year_and_day(days: u64) -> (u64, u64) {
    let begins = |year: u64| {
        let years = year - 1;
        years * 365 + years / 4 - years / 100 + years / 400
    };
    let day = days + begins(1970);
    // Too late by one year at most, for a year has 365 days and a bit.
    let year = day / 365 + 1;
    let year = (1..=year).rev().find(|year| begins(*year) <= day);
    let year = year.unwrap_or(1970);
    (year, day - begins(year))
}

fn month_and_day(year: u64, day_of_year: u64) -> (&'static str, u64) {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut day = day_of_year;
    for (name, length) in MONTHS {
        let length = length + u64::from(is_leap && name == "Feb");
        if day < length {
            return (name, day + 1);
        }
        day -= length;
    }
    ("Dec", 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn shown(seconds: u64) -> String {
        HttpDate::from(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
    }

    #[test]
    fn a_date_is_shown_as_the_header_wants_it() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_795_521_600, "Tue, 24 Nov 2026 12:00:00 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (LAST, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(shown(seconds), text);
        }
    }

    #[test]
    fn a_time_that_the_header_cannot_say_is_the_nearest_that_it_can() {
        assert_eq!(shown(LAST + 1), shown(LAST));
        let before = HttpDate::from(UNIX_EPOCH - Duration::from_secs(1));
        assert_eq!(before.to_string(), shown(0));
    }
}
