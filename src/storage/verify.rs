//! Looking into a store that nobody has open, to say whether it would open and what it holds.
//!
//! [`read_through`] reads every record as well, and says which tables are rotten.
//!
//! Kept out: opening for writing (`open`), and the way past damage (`recover`).

use std::ops::ControlFlow;
use std::sync::Arc;

use super::error::OpenError;
use super::expiry::Horizons;
use super::family::Family;
use super::lineage::Lineage;
use super::lock::DataDirLock;
use super::open::{self, Opening, StorageOptions};
use super::rot::RottenTable;
use super::tables::Reader;

/// A store that is sound, open for reading.
pub struct Sound<'a> {
    /// RocksDB's sequence number that an opening would give.
    pub sequence: u64,
    /// Which history it is on: milliseconds since 1970 at its start.
    pub epoch: u64,
    /// Which store it is. Of a store that an earlier version made, the id is the one that the next opening
    /// gives it.
    pub lineage: Lineage,
    /// Reads it.
    pub reader: Reader,
    /// The horizons that are stored in it.
    pub horizons: &'a Horizons,
}

/// Judges the store in the directory that `lock` holds as an opening would, and calls `read` with it if it is
/// sound. Changes nothing on disk. Tables are not read through.
///
/// # Errors
/// What an opening would be refused with.
pub fn look<T>(
    lock: &DataDirLock,
    options: &StorageOptions,
    read: impl FnOnce(&Sound<'_>) -> T,
) -> Result<T, OpenError> {
    let opening = Opening::offline(lock, options)?;
    let checked = opening.check()?;
    let tables = Arc::new(checked.tables);
    let horizons = &opening.schema.horizons;
    let lineage = horizons
        .load(&tables)
        .and_then(|()| tables.lineage())
        .map_err(|error| OpenError::from_read(&opening.paths.db, error))?;
    let epoch = checked.mark.epoch;
    let reader = Reader::default();
    reader.attach(&tables);
    Ok(read(&Sound {
        sequence: checked.sequence,
        epoch,
        lineage: lineage.unwrap_or_else(|| Lineage::of_older(&opening.paths, epoch)),
        reader,
        horizons,
    }))
}

/// Reads every record of the store in the directory that `lock` holds, and changes nothing on disk.
/// Returns the tables that cannot be read whole.
///
/// # Errors
/// When not even its log and its list of tables can be read.
pub fn read_through(
    lock: &DataDirLock,
    options: &StorageOptions,
) -> Result<Vec<RottenTable>, OpenError> {
    let opening = Opening::offline(lock, options)?;
    let tables = open::read_only(&opening.paths.db, &opening.schema)?;
    for family in Family::ALL {
        tables
            .scan_past_rot(family, &[], None, |_, _| ControlFlow::Continue(()))
            .map_err(|error| OpenError::from_read(&opening.paths.db, error))?;
    }
    Ok(opening.schema.rot.tables())
}
