//! Looking into a store that nobody has open, to say whether it would open.
//!
//! Kept out: opening for writing (`open`), and the way past damage (`recover`).

use std::sync::Arc;

use super::error::OpenError;
use super::lock::DataDirLock;
use super::open::{self, Paths, StorageOptions};
use super::reserve::{Reserve, wal_limit};
use super::schema::Schema;

/// What a sound store says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sound {
    /// Which history it is on: milliseconds since 1970 at its start.
    pub epoch: u64,
    /// RocksDB's sequence number that an opening would give.
    pub sequence: u64,
}

/// Judges the store in the directory that `lock` holds as an opening would, and changes nothing on
/// disk. Tables are not read through.
///
/// # Errors
/// What an opening would be refused with.
pub fn verify(lock: &DataDirLock, options: &StorageOptions) -> Result<Sound, OpenError> {
    let paths = Paths::new(lock.data_dir());
    let reserve = Reserve::new(lock.data_dir(), options.reserve)?;
    let schema = Schema::new(options.memory, wal_limit(reserve.bytes()), Arc::default());
    let checked = open::check(&paths, &schema)?;
    Ok(Sound {
        epoch: checked.mark.epoch,
        sequence: checked.sequence,
    })
}
