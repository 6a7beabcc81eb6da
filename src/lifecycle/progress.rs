//! How far the past was worked through: records of the family `meta`.

use crate::calendar::Day;
use crate::storage::value::Undecodable;
use crate::storage::{Batch, Family, ReadError, Tables};

/// Up to which day all days are closed.
const CLOSED_KEY: &[u8] = b"closed";

/// How far a database has got.
const EXPORT_KEY: &[u8] = b"export|cursor";

const VERSION: u8 = 1;

/// The last day that is closed; none when none was yet.
///
/// # Errors
/// When the store cannot be read.
pub fn closed_through(tables: &Tables) -> Result<Option<Day>, ReadError> {
    let bytes = tables.get(Family::Meta, CLOSED_KEY)?;
    Ok(bytes.and_then(|bytes| match &bytes[..] {
        [VERSION, rest @ ..] => {
            let days = rest.try_into().map(i32::from_be_bytes).ok()?;
            Day::from_days(days).ok()
        }
        _ => None,
    }))
}

pub(super) fn put_closed_through(batch: &mut Batch, day: Day) {
    let [a, b, c, d] = day.days().to_be_bytes();
    batch.put(Family::Meta, CLOSED_KEY, &[VERSION, a, b, c, d]);
}

/// How far the export to a database has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportCursor {
    /// Which database it was: the identity in a row of ours there.
    pub database: u128,
    /// All closed days up to this one are there, or were set aside.
    pub through: Option<Day>,
}

impl ExportCursor {
    /// The stored one; none before the first export.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn read(tables: &Tables) -> Result<Option<Self>, ReadError> {
        let bytes = tables.get(Family::Meta, EXPORT_KEY)?;
        Ok(bytes.and_then(|bytes| Self::decode(&bytes).ok()))
    }

    /// Adds it to a batch.
    pub fn put(&self, batch: &mut Batch) {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.database.to_be_bytes());
        if let Some(day) = self.through {
            bytes.extend_from_slice(&day.days().to_be_bytes());
        }
        batch.put(Family::Meta, EXPORT_KEY, &bytes);
    }

    fn decode(bytes: &[u8]) -> Result<Self, Undecodable> {
        let read = || {
            let (&version, rest) = bytes.split_first()?;
            let (database, rest) = rest.split_first_chunk()?;
            let through = match rest {
                [] => None,
                day => Some(Day::from_days(i32::from_be_bytes(day.try_into().ok()?)).ok()?),
            };
            (version == VERSION).then_some(Self {
                database: u128::from_be_bytes(*database),
                through,
            })
        };
        read().ok_or(Undecodable)
    }
}

/// Since when the next day waits to be exported.
const WAITS_KEY: &[u8] = b"export|waits";

/// Since when (in store time, milliseconds) the day after `exported` waits to be exported; none when
/// that was not noted yet.
pub(super) fn waits_since(
    tables: &Tables,
    exported: Option<Day>,
) -> Result<Option<i64>, ReadError> {
    let bytes = tables.get(Family::Meta, WAITS_KEY)?;
    Ok(bytes.and_then(|bytes| {
        let (day, since) = bytes.strip_prefix(&[VERSION])?.split_first_chunk()?;
        let same = i32::from_be_bytes(*day) == exported.map_or(i32::MIN, Day::days);
        let since = since.try_into().map(i64::from_be_bytes).ok()?;
        same.then_some(since)
    }))
}

/// Adds to a batch that the day after `exported` waits since then.
pub(super) fn put_waits_since(batch: &mut Batch, exported: Option<Day>, since: i64) {
    let day = exported.map_or(i32::MIN, Day::days);
    let bytes = [&[VERSION][..], &day.to_be_bytes(), &since.to_be_bytes()].concat();
    batch.put(Family::Meta, WAITS_KEY, &bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_these_bytes() {
        let mut batch = Batch::new();
        let day = Day::from_days(20781).unwrap();
        put_closed_through(&mut batch, day);
        let cursor = ExportCursor {
            database: 258,
            through: Some(day),
        };
        cursor.put(&mut batch);
        let values: Vec<_> = batch
            .changes()
            .map(|(_, key, change)| (key.to_vec(), format!("{change:?}")))
            .collect();
        assert_eq!(
            values[0],
            (b"closed".to_vec(), "Put([1, 0, 0, 81, 45])".to_owned())
        );
        let bytes = b"\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x02\0\0\x51\x2d";
        assert_eq!(
            values[1],
            (b"export|cursor".to_vec(), format!("Put({:?})", &bytes[..]))
        );
        assert_eq!(ExportCursor::decode(bytes), Ok(cursor));
        assert_eq!(
            ExportCursor::decode(&bytes[..17]),
            Ok(ExportCursor {
                through: None,
                ..cursor
            })
        );
        assert_eq!(ExportCursor::decode(&bytes[..16]), Err(Undecodable));
    }
}
