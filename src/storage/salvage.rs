//! A new database of all that can still be read of one with rotten tables.
//!
//! RocksDB has no way to take one table out of a family, so that everything else is written anew. What
//! is in a rotten block is lost: of counters their names are told, and each is quarantined, so that it
//! answers `corrupt_record` until it is repaired, and never a value that it did not have.

use std::ops::ControlFlow;

use rocksdb::WriteBatch;

use super::create::{directories, remove};
use super::error::ReadError;
use super::family::Family;
use super::file_error::FileError;
use super::files;
use super::keys;
use super::paths::Paths;
use super::schema::{DbAccess, Schema};
use super::tables::Tables;
use crate::counter::CounterName;

/// How much is written at a time, in bytes.
const AT_ONCE: usize = 1024 * 1024;

/// Why nothing was salvaged.
#[derive(Debug, thiserror::Error)]
pub(super) enum SalvageError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<rocksdb::Error> for SalvageError {
    fn from(error: rocksdb::Error) -> Self {
        Self::Read(error.into())
    }
}

/// What a new database of all that is in `working` may take, in bytes: about as much again.
pub(super) fn room_needed(working: &Paths) -> Result<u64, FileError> {
    let list = || FileError::new("list", &working.db);
    let mut needed = 0;
    for entry in std::fs::read_dir(&working.db).map_err(list())? {
        let size = files::size_of(&entry.map_err(list())?.path())?;
        needed += size.unwrap_or(0);
    }
    Ok(needed)
}

/// Makes a database at `target` of what can be read of `tables`. Gives it, and the counters whose value
/// was lost.
pub(super) fn salvage(
    tables: &Tables,
    target: &Paths,
    schema: &Schema,
) -> Result<(Tables, Vec<CounterName>), SalvageError> {
    remove(&target.store)?;
    directories(target)?;
    let made = Tables::open(&target.db, schema, DbAccess::Make)?;
    let mut lost = Vec::new();
    for family in Family::ALL {
        let handle = made.handle(family)?;
        let mut batch = WriteBatch::default();
        let mut written = Ok(());
        let gaps = tables.scan_past_rot(family, &[], None, |key, value| {
            batch.put_cf(handle, key, value);
            if batch.size_in_bytes() < AT_ONCE {
                return ControlFlow::Continue(());
            }
            written = made.db().write(std::mem::take(&mut batch));
            match written {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        })?;
        written?;
        if family == Family::Counters {
            tables.unread(family, &gaps, keys::counter, |name, value| {
                batch.put_cf(
                    handle,
                    keys::counter(&name),
                    value.as_deref().unwrap_or_default(),
                );
                lost.extend(value.is_none().then_some(name));
            })?;
        }
        made.db().write(batch)?;
    }
    Ok((made, lost))
}
