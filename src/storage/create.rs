//! A new store, made whole beside its place and then renamed into it.
//!
//! So a crash in the first start leaves no half of a store, only a directory that the next start
//! deletes.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rocksdb::WriteOptions;

use super::acked::{Acked, Mark};
use super::batch::Batch;
use super::error::{OpenError, ReadError};
use super::family::Family;
use super::file_error::FileError;
use super::files::{self, sync_dir};
use super::lineage::Lineage;
use super::paths::Paths;
use super::schema::{DbAccess, FORMAT_VERSION, MERGE_VERSION, META_EPOCH, META_VERSIONS, Schema};
use super::store::to_rocksdb;
use super::tables::Tables;

/// Makes an empty store of `epoch` at `paths`, where there is none.
pub(super) fn create(paths: &Paths, schema: &Schema, epoch: u64) -> Result<(), OpenError> {
    let building = Paths::at(paths.data_dir.clone(), paths.building.clone());
    remove(&building.store)?;
    directories(&building)?;
    let tables = Tables::open(&building.db, schema, DbAccess::Make)
        .map_err(|error| OpenError::from_rocksdb(&building.db, error))?;
    let mut batch = Batch::new();
    stamp(&mut batch, epoch, &Lineage::born(epoch));
    write_and_flush(&tables, &batch).map_err(|error| OpenError::from_read(&building.db, error))?;
    let sequence = tables.sequence();
    drop(tables);
    seal(&building, epoch, sequence)?;
    fs::rename(&building.store, &paths.store).map_err(FileError::new("rename", &building.store))?;
    sync_dir(&paths.data_dir)?;
    Ok(())
}

/// Makes the directories of a store, where nothing stands, for their owner alone.
pub(super) fn directories(of: &Paths) -> Result<(), FileError> {
    for dir in [&of.store, &of.db] {
        DirBuilder::new()
            .mode(0o700)
            .create(dir)
            .map_err(FileError::new("create", dir))?;
    }
    Ok(())
}

/// Puts the records that say what the store is.
pub(super) fn stamp(batch: &mut Batch, epoch: u64, lineage: &Lineage) {
    lineage.put(batch);
    stamp_versions(batch);
    batch.put(Family::Meta, META_EPOCH, &epoch.to_be_bytes());
}

/// Puts the record that says in which format the store is.
pub(super) fn stamp_versions(batch: &mut Batch) {
    let versions = [FORMAT_VERSION.to_be_bytes(), MERGE_VERSION.to_be_bytes()].concat();
    batch.put(Family::Meta, META_VERSIONS, &versions);
}

/// Writes a batch to a database that no `Store` owns yet, and flushes every family.
pub(super) fn write_and_flush(tables: &Tables, batch: &Batch) -> Result<(), ReadError> {
    write_synced(tables, batch)?;
    Ok(tables.flush()?)
}

/// Writes a batch to a database that no `Store` owns yet, and syncs it.
pub(super) fn write_synced(tables: &Tables, batch: &Batch) -> Result<(), ReadError> {
    let mut options = WriteOptions::default();
    options.set_sync(true);
    let batch = to_rocksdb(tables, batch)?;
    Ok(tables.db().write_opt(batch, &options)?)
}

/// Writes `ACKED` for a store whose database is closed and holds everything in tables, and syncs
/// the store's directories.
pub(super) fn seal(paths: &Paths, epoch: u64, sequence: u64) -> Result<(), OpenError> {
    let live = files::live(&paths.db)?;
    let mark = Mark {
        format: FORMAT_VERSION,
        merge: MERGE_VERSION,
        epoch,
        sequence,
        wal: live.wal,
        manifest: live.manifest,
    };
    files::sync_file(&files::manifest_path(&paths.db, live.manifest.number))?;
    match fs::remove_file(&paths.acked) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(FileError::new("remove", &paths.acked)(error).into()),
    }
    Acked::create(&paths.acked, mark)?;
    sync_dir(&paths.db)?;
    sync_dir(&paths.store)?;
    Ok(())
}

/// Removes a directory with all that is in it. Without a directory it does nothing.
pub(super) fn remove(dir: &Path) -> Result<(), FileError> {
    match fs::remove_dir_all(dir) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(FileError::new("remove", dir)(error)),
    }
}
