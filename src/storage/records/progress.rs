//! How far the past was worked through: days closed and exported, and rows that a database refused.

use std::ops::ControlFlow;

use super::horizons;
use crate::calendar::Day;
use crate::counter::CounterName;
use crate::storage::Family;
use crate::storage::batch::Batch;
use crate::storage::error::ReadError;
use crate::storage::fixed::{Fixed, whole};
use crate::storage::keys;
use crate::storage::tables::Tables;

const CLOSED_KEY: &[u8] = b"closed";
const EXPORT_KEY: &[u8] = b"export|cursor";
const WAITS_KEY: &[u8] = b"export|waits";
const ASIDE_PREFIX: &[u8] = b"export|aside|";

const VERSION: u8 = 1;

/// Longest reason that is kept, in bytes.
const LONGEST_REASON: usize = 500;

/// How far the export to a database has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportCursor {
    /// Which database it was: the identity in a row of ours there.
    pub database: u128,
    /// All closed days up to this one are there, or were set aside.
    pub through: Option<Day>,
}

/// A row of a closed day that a database refused. It is set aside with the reason, so that the rest
/// of the day goes on and nobody has to look into old logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aside {
    /// Of which day.
    pub day: Day,
    /// Of which counter.
    pub counter: CounterName,
    /// Why.
    pub reason: String,
}

impl Batch {
    /// Whether a key of `meta` is of a record that says how far days were worked through.
    pub(in crate::storage) fn is_of_days(key: &[u8]) -> bool {
        let begins = |prefix: &&[u8]| key.starts_with(prefix);
        key == CLOSED_KEY
            || [EXPORT_KEY, WAITS_KEY, ASIDE_PREFIX].iter().any(begins)
            || horizons::is_of_days(key)
    }
}

impl ExportCursor {
    fn decode(bytes: &[u8]) -> Option<Self> {
        whole(bytes.strip_prefix(&[VERSION])?, |bytes| {
            Some(Self {
                database: u128::take(bytes)?,
                through: if bytes.is_empty() {
                    None
                } else {
                    Some(take_day(bytes)?)
                },
            })
        })
    }
}

fn take_day(bytes: &mut &[u8]) -> Option<Day> {
    Day::from_days(i32::take(bytes)?).ok()
}

fn aside(day: Day, counter: &CounterName) -> Vec<u8> {
    [ASIDE_PREFIX, &keys::day_record(day, counter)].concat()
}

impl Batch {
    /// Puts the last day that is closed.
    pub(crate) fn put_closed_through(&mut self, day: Day) {
        let bytes = [&[VERSION][..], &day.days().to_be_bytes()].concat();
        self.put(Family::Meta, CLOSED_KEY, &bytes);
    }

    /// Puts how far the export has got.
    pub(crate) fn put_export_cursor(&mut self, cursor: &ExportCursor) {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&cursor.database.to_be_bytes());
        if let Some(day) = cursor.through {
            bytes.extend_from_slice(&day.days().to_be_bytes());
        }
        self.put(Family::Meta, EXPORT_KEY, &bytes);
    }

    /// Puts since when, in milliseconds of store time, the day after `exported` waits to be exported.
    pub(crate) fn put_waits_since(&mut self, exported: Option<Day>, since: i64) {
        let day = exported.map_or(i32::MIN, Day::days);
        let bytes = [&[VERSION][..], &day.to_be_bytes(), &since.to_be_bytes()].concat();
        self.put(Family::Meta, WAITS_KEY, &bytes);
    }

    /// Puts a row that was set aside. A long reason is cut.
    pub(crate) fn put_aside(&mut self, row: &Aside) {
        let end = row.reason.floor_char_boundary(LONGEST_REASON);
        let reason = row.reason.get(..end).unwrap_or_default();
        let bytes = [&[VERSION], reason.as_bytes()].concat();
        self.put(Family::Meta, &aside(row.day, &row.counter), &bytes);
    }

    /// Deletes a row that was set aside.
    pub(crate) fn delete_aside(&mut self, day: Day, counter: &CounterName) {
        self.delete(Family::Meta, &aside(day, counter));
    }
}

impl Tables {
    /// Returns the last day that is closed; `None` when none was yet.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn closed_through(&self) -> Result<Option<Day>, ReadError> {
        let bytes = self.get(Family::Meta, CLOSED_KEY)?;
        Ok(bytes.and_then(|bytes| whole(bytes.strip_prefix(&[VERSION])?, take_day)))
    }

    /// Returns how far the export has got; `None` before the first one.
    pub(crate) fn export_cursor(&self) -> Result<Option<ExportCursor>, ReadError> {
        let bytes = self.get(Family::Meta, EXPORT_KEY)?;
        Ok(bytes.and_then(|bytes| ExportCursor::decode(&bytes)))
    }

    /// Returns since when, in milliseconds of store time, the day after `exported` waits to be
    /// exported; `None` when that was not noted yet.
    pub(crate) fn waits_since(&self, exported: Option<Day>) -> Result<Option<i64>, ReadError> {
        let bytes = self.get(Family::Meta, WAITS_KEY)?;
        Ok(bytes.and_then(|bytes| {
            let pair = |bytes: &mut &[u8]| Some((i32::take(bytes)?, i64::take(bytes)?));
            let (day, since) = whole(bytes.strip_prefix(&[VERSION])?, pair)?;
            (day == exported.map_or(i32::MIN, Day::days)).then_some(since)
        }))
    }

    /// Returns all rows that are set aside, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn set_aside(&self) -> Result<Vec<Aside>, ReadError> {
        let mut found = Vec::new();
        self.scan(Family::Meta, ASIDE_PREFIX, None, |key, value| {
            let Some(rest) = key.strip_prefix(ASIDE_PREFIX) else {
                return ControlFlow::Break(());
            };
            let row = || {
                Some(Aside {
                    day: Day::from_days(keys::leading_day(rest)?).ok()?,
                    counter: keys::counter_name(rest.get(4..)?)?,
                    reason: String::from_utf8_lossy(value.strip_prefix(&[VERSION])?).into_owned(),
                })
            };
            found.extend(row());
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::batch::Change;

    fn only(batch: &Batch) -> (Vec<u8>, Vec<u8>) {
        let mut changes = batch.changes();
        let (Some((Family::Meta, key, Change::Put(value))), None) =
            (changes.next(), changes.next())
        else {
            panic!("not one record of meta")
        };
        (key.to_vec(), value.to_vec())
    }

    fn day() -> Day {
        Day::from_days(20781).unwrap()
    }

    #[test]
    fn records_are_these_bytes() {
        let mut batch = Batch::new();
        batch.put_closed_through(day());
        assert_eq!(only(&batch), (b"closed".to_vec(), vec![1, 0, 0, 81, 45]));
        let cursor = ExportCursor {
            database: 258,
            through: Some(day()),
        };
        batch.clear();
        batch.put_export_cursor(&cursor);
        let bytes = b"\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x02\0\0\x51\x2d";
        assert_eq!(only(&batch), (b"export|cursor".to_vec(), bytes.to_vec()));
        assert_eq!(ExportCursor::decode(bytes), Some(cursor));
        let none = ExportCursor {
            through: None,
            ..cursor
        };
        assert_eq!(ExportCursor::decode(&bytes[..17]), Some(none));
        assert_eq!(ExportCursor::decode(&bytes[..16]), None);
        batch.clear();
        batch.put_aside(&Aside {
            day: day(),
            counter: CounterName::parse("ab").unwrap(),
            reason: "no".to_owned(),
        });
        let key = b"export|aside|\x80\x00\x51\x2d\x02ab";
        assert_eq!(only(&batch), (key.to_vec(), b"\x01no".to_vec()));
    }

    #[test]
    fn what_says_how_far_days_are_is_told_from_what_each_group_stores() {
        for of_days in [CLOSED_KEY, EXPORT_KEY, b"export|aside|x", b"horizon|dedup"] {
            assert!(Batch::is_of_days(of_days), "{of_days:?}");
        }
        for other in [&b"state"[..], b"horizon|windows", b"horizon|idempotency"] {
            assert!(!Batch::is_of_days(other), "{other:?}");
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        for before in ["", "x"] {
            let mut batch = Batch::new();
            batch.put_aside(&Aside {
                day: day(),
                counter: CounterName::parse("ab").unwrap(),
                reason: before.to_owned() + &"ü".repeat(400),
            });
            let (_, value) = only(&batch);
            assert!(value.len() > 490 && value.len() <= 501, "{}", value.len());
            assert!(std::str::from_utf8(&value[1..]).is_ok());
        }
    }
}
