//! A new database of all that can still be read of one with rotten tables.
//!
//! RocksDB has no way to take one table out of a family, so that everything else is written anew. What
//! is in a rotten block is lost: of counters their names are told, and each is quarantined, so that it
//! answers `corrupt_record` until it is repaired, and never a value that it did not have.

use std::ops::ControlFlow;

use rocksdb::WriteBatch;

use super::create::directories;
use super::error::{OpenError, RecoverError};
use super::family::Family;
use super::keys;
use super::paths::Paths;
use super::schema::{DbAccess, Schema};
use super::tables::Tables;
use crate::counter::CounterName;

/// How much is written at a time, in bytes.
const AT_ONCE: usize = 1024 * 1024;

/// Makes a database at `target` of what can be read of `tables`. Returns it, and the counters whose value
/// was lost.
pub(super) fn salvage(
    tables: &Tables,
    target: &Paths,
    schema: &Schema,
) -> Result<(Tables, Vec<CounterName>), RecoverError> {
    let failed = |error| OpenError::from_rocksdb(&target.db, error);
    directories(target)?;
    let made = Tables::open(&target.db, schema, DbAccess::Make).map_err(failed)?;
    let mut lost = Vec::new();
    for family in Family::ALL {
        let handle = made.handle(family)?;
        let mut batch = WriteBatch::default();
        let mut written = Ok(());
        let gaps = tables.scan_past_rot(family, &[], None, |key, value| {
            batch.put_cf(handle, key, value);
            if batch.size_in_bytes() >= AT_ONCE {
                written = made.db.write(std::mem::take(&mut batch));
            }
            match written {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        })?;
        written.map_err(failed)?;
        if family == Family::Counters {
            tables.unread(family, &gaps, keys::counter, |name, value| {
                batch.put_cf(
                    handle,
                    keys::counter(&name),
                    value.as_deref().unwrap_or_default(),
                );
                lost.extend(value.is_err().then_some(name));
            })?;
        }
        made.db.write(batch).map_err(failed)?;
    }
    Ok((made, lost))
}
