//! The records of the store, one file for each concern: how each is added to a [`Batch`] and how it
//! is read from [`Tables`]. Nothing outside `storage` makes or takes apart a key or a value.
//!
//! Kept out: the bytes themselves (`keys`, `value`, `merge`), and what the records mean to those who
//! count (`writer`) and to those who work through the past (`lifecycle`, `export`).
//!
//! [`Batch`]: super::batch::Batch
//! [`Tables`]: super::tables::Tables

mod alerts;
mod counters;
mod days;
mod horizons;
mod leaving;
mod lookups;
mod meta;
mod minutes;
mod peaks;
mod progress;

pub use alerts::{AlertRecord, NoticeRecord, SilenceRecord};
pub use counters::{Damaged, Defined};
pub use days::{DayPart, Recorded};
pub use leaving::{LeavingAt, SeatKey, SeatRecord};
pub use lookups::{LookedUp, RequestKey, UserKey};
pub use progress::{Aside, ExportCursor};

/// Where the reading of a family goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(Vec<u8>);

impl Cursor {
    /// Whether `key` lies before it, so that reading from here does not come to that key.
    pub(crate) fn is_after(&self, key: &[u8]) -> bool {
        key < self.0.as_slice()
    }

    /// Whether `key` begins with it.
    pub(crate) fn begins(&self, key: &[u8]) -> bool {
        key.starts_with(&self.0)
    }

    #[cfg(test)]
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}
