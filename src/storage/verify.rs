//! Looking into a store that nobody has open, to say whether it would open.
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
use super::open::{Opening, StorageOptions};
use super::rot::RottenTable;
use super::tables::Reader;

/// What a sound store says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sound {
    /// Which history it is on: milliseconds since 1970 at its start.
    pub epoch: u64,
    /// RocksDB's sequence number that an opening would give.
    pub sequence: u64,
}

/// Calls `read` with a reader of the store in the directory that `lock` holds, and the horizons in it,
/// once it was judged as an opening would; nothing is changed on disk.
///
/// # Errors
/// What an opening would be refused with.
pub fn look<T>(
    lock: &DataDirLock,
    options: &StorageOptions,
    read: impl FnOnce(&Reader, &Horizons) -> T,
) -> Result<T, OpenError> {
    let opening = Opening::offline(lock, options)?;
    opening.check()?;
    let tables = Arc::new(opening.read_only()?);
    let horizons = opening.schema.horizons();
    horizons
        .load(&tables)
        .map_err(|error| OpenError::from_read(&opening.paths.db, error))?;
    let reader = Reader::default();
    reader.attach(&tables);
    Ok(read(&reader, horizons))
}

/// Judges the store in the directory that `lock` holds as an opening would, and changes nothing on
/// disk. Tables are not read through.
///
/// # Errors
/// What an opening would be refused with.
pub fn verify(lock: &DataDirLock, options: &StorageOptions) -> Result<Sound, OpenError> {
    let checked = Opening::offline(lock, options)?.check()?;
    Ok(Sound {
        epoch: checked.mark.epoch,
        sequence: checked.sequence,
    })
}

/// Reads every record of the store in the directory that `lock` holds, and changes nothing on disk.
/// Gives the tables that cannot be read whole.
///
/// # Errors
/// When not even its log and its list of tables can be read.
pub fn read_through(
    lock: &DataDirLock,
    options: &StorageOptions,
) -> Result<Vec<RottenTable>, OpenError> {
    let opening = Opening::offline(lock, options)?;
    let tables = opening.read_only()?;
    for family in Family::ALL {
        tables
            .scan_past_rot(family, &[], None, |_, _| ControlFlow::Continue(()))
            .map_err(|error| OpenError::from_read(&opening.paths.db, error))?;
    }
    Ok(opening.schema.rot().tables())
}

/// Reads which store is in the directory that `lock` holds, and changes nothing on disk. Of a store that
/// an earlier version made, it is the id that the next opening gives it.
///
/// # Errors
/// What an opening would be refused with.
pub fn lineage(lock: &DataDirLock, options: &StorageOptions) -> Result<Lineage, OpenError> {
    let opening = Opening::offline(lock, options)?;
    let checked = opening.check()?;
    let known = opening
        .read_only()?
        .lineage()
        .map_err(|error| OpenError::from_read(&opening.paths.db, error))?;
    Ok(known.unwrap_or_else(|| Lineage::of_older(&opening.paths, checked.mark.epoch)))
}
