//! Stores that are made whole beside their place, and then put into it: a new one, a recovered one, a
//! restored one.
//!
//! So a crash leaves no half of a store in the place, only a directory that the next run deletes.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rocksdb::WriteOptions;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::acked::{Acked, Mark};
use super::batch::Batch;
use super::error::{OpenError, ReadError};
use super::family::Family;
use super::file_error::{FileError, if_there};
use super::files::{self, sync_dir};
use super::lineage::Lineage;
use super::paths::{NEW, Paths};
use super::schema::{DbAccess, FORMAT_VERSION, MERGE_VERSION, META_EPOCH, META_VERSIONS, Schema};
use super::store::to_rocksdb;
use super::tables::Tables;
use super::value::StoreState;

/// Makes an empty store of `epoch` at `paths`, where there is none.
pub(super) fn create(paths: &Paths, schema: &Schema, epoch: u64) -> Result<(), OpenError> {
    let new = paths.beside(NEW);
    directories(&new)?;
    let tables = Tables::open(&new.db, schema, DbAccess::Make)?;
    begin_epoch(&new, tables, epoch, &Lineage::born(epoch), None)?;
    put_in_place(paths, &new, epoch)?;
    Ok(())
}

/// Makes the directories of a store anew, for their owner alone.
pub(super) fn directories(of: &Paths) -> Result<(), FileError> {
    remove(&of.store)?;
    for dir in [&of.store, &of.db] {
        DirBuilder::new()
            .mode(0o700)
            .create(dir)
            .map_err(FileError::new("create", dir))?;
    }
    Ok(())
}

/// Finishes a store that is not in its place: it begins `epoch`, everything is moved into tables and synced,
/// and `ACKED` is written.
pub(super) fn begin_epoch(
    at: &Paths,
    tables: Tables,
    epoch: u64,
    lineage: &Lineage,
    state: Option<&StoreState>,
) -> Result<(), OpenError> {
    let mut batch = Batch::new();
    lineage.put(&mut batch);
    stamp_versions(&mut batch);
    batch.put(Family::Meta, META_EPOCH, &epoch.to_be_bytes());
    if let Some(state) = state {
        batch.put_state(state);
    }
    write_synced(&tables, &batch)
        .and_then(|()| tables.flush_all())
        .map_err(|error| OpenError::from_read(&at.db, error))?;
    let sequence = tables.sequence();
    drop(tables);
    files::sync_all(&at.db)?;
    let mark = Mark {
        turn: 0,
        format: FORMAT_VERSION,
        merge: MERGE_VERSION,
        epoch,
        sequence,
        live: files::live(&at.db)?,
    };
    Acked::create(&at.acked, mark)?;
    Ok(sync_dir(&at.store)?)
}

/// Puts the record that says in which format the store is.
pub(super) fn stamp_versions(batch: &mut Batch) {
    let versions = [FORMAT_VERSION.to_be_bytes(), MERGE_VERSION.to_be_bytes()].concat();
    batch.put(Family::Meta, META_VERSIONS, &versions);
}

/// Writes a batch to a database that no `Store` owns yet, and syncs it.
pub(super) fn write_synced(tables: &Tables, batch: &Batch) -> Result<(), ReadError> {
    let mut options = WriteOptions::default();
    options.set_sync(true);
    let batch = to_rocksdb(tables, batch)?;
    Ok(tables.db.write_opt(batch, &options)?)
}

/// Puts a finished store of `epoch` in its place. Returns where the store is kept that was there; `None` when
/// none was.
pub(super) fn put_in_place(
    paths: &Paths,
    made: &Paths,
    epoch: u64,
) -> Result<Option<PathBuf>, FileError> {
    if paths.store.symlink_metadata().is_err() {
        rename(&made.store, &paths.store)?;
        sync_dir(&paths.data_dir)?;
        return Ok(None);
    }
    let kept = paths.replaced_by(epoch).store;
    // The new store first gets the name that the old one is to have: if this is cut off anywhere, neither
    // store has a name that a later run deletes.
    rename(&made.store, &kept)?;
    match renameat_with(CWD, &kept, CWD, &paths.store, RenameFlags::EXCHANGE) {
        Ok(()) => {}
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            // Where the file system cannot exchange names there is a moment without a store; an
            // opening in it finds the remains and refuses to start empty.
            rename(&kept, &made.store)?;
            rename(&paths.store, &kept)?;
            rename(&made.store, &paths.store)?;
        }
        Err(errno) => {
            rename(&kept, &made.store)?;
            return Err(FileError::new("exchange", &paths.store)(errno));
        }
    }
    sync_dir(&paths.data_dir)?;
    Ok(Some(kept))
}

fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    fs::rename(from, to).map_err(FileError::new("rename", from))
}

/// Removes a directory with all that is in it. Without a directory it does nothing.
pub(super) fn remove(dir: &Path) -> Result<(), FileError> {
    let removed = fs::remove_dir_all(dir).map_err(FileError::new("remove", dir));
    if_there(removed).map(drop)
}
