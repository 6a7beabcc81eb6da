//! Converts values for the database, and back.

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime};

use crate::calendar::Day;
use crate::counter::Millis;

/// 1970-01-01, counted in days of the common era.
const DAY_0: i32 = 719_163;

/// Converts a revision or an epoch for the database; neither gets near the limit.
pub(super) fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Converts a revision, an epoch or a count of the database; a negative one, which counterd never writes, is 0.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// Converts a day for the database.
pub(super) fn date(day: Day) -> NaiveDate {
    NaiveDate::from_num_days_from_ce_opt(day.days().saturating_add(DAY_0)).unwrap_or_default()
}

/// Converts a date of the database.
pub(super) fn day(date: NaiveDate) -> Day {
    Day::clamped(i64::from(date.num_days_from_ce()) - i64::from(DAY_0))
}

/// Converts an instant for the database, whose columns hold UTC without saying so.
pub(super) fn timestamp(at: Millis) -> NaiveDateTime {
    DateTime::from_timestamp_millis(at)
        .unwrap_or_default()
        .naive_utc()
}

/// Returns one column of the rows.
pub(super) fn column<'r, R, T>(rows: &'r [R], of: impl Fn(&'r R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}

/// Splits the rows of a statement that was refused into halves; `Err` holds the only row, if there is one.
pub(super) fn halves<T>(mut rows: Vec<T>) -> Result<[Vec<T>; 2], Option<T>> {
    if rows.len() < 2 {
        return Err(rows.pop());
    }
    let second = rows.split_off(rows.len() / 2);
    Ok([rows, second])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_lose_no_row() {
        assert_eq!(halves(vec![1, 2, 3]), Ok([vec![1], vec![2, 3]]));
        assert_eq!(halves(vec![1]), Err(Some(1)));
        assert_eq!(halves::<u8>(vec![]), Err(None));
    }

    #[test]
    fn days_are_the_same_dates_and_come_back() {
        for text in [
            "1969-12-31",
            "1970-01-01",
            "2026-11-24",
            "0001-01-01",
            "9999-12-31",
        ] {
            let ours: Day = text.parse().unwrap();
            assert_eq!(date(ours).to_string(), text);
            assert_eq!(day(date(ours)), ours);
        }
    }
}
