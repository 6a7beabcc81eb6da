//! Making a backup: freeze, read, copy what is new, verify, and only then publish it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::BackupError;
use super::checkpoint::Checkpoint;
use super::contents::read_through;
use super::manifest::Manifest;
use super::origin::StoreOrigin;
use super::pool::{self, Pool};
use crate::counter::Millis;
use crate::storage::create::remove;
use crate::storage::error::ReadError;
use crate::storage::file_error::FileError;
use crate::storage::files;
use crate::storage::held::HeldDir;
use crate::storage::open::StorageOptions;
use crate::storage::pace::{Pace, Watch};
use crate::storage::reserve::wal_limit;
use crate::storage::schema::Schema;
use crate::storage::tables::Reader;

/// What reading a copy may take for RocksDB's cache, in bytes: it is read once, from end to end.
const READING_MEMORY: u64 = 16 * 1024 * 1024;

/// How a backup is made.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BackupOptions {
    /// The directory of backups; made where it is not there.
    pub dir: PathBuf,
    /// How many backups of this store stay; `None`: all.
    pub keep: Option<u32>,
    /// Whether it is opened and read through once it is written.
    pub verify: bool,
    /// Whether backups of another store may be in the directory.
    pub another_store: bool,
}

/// What was made.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct Made {
    /// The backup.
    pub manifest: Manifest,
    /// Older backups that were removed.
    pub removed: Vec<u32>,
    /// A warning about the directory; `None` where nothing is wrong with it.
    pub warning: Option<String>,
}

/// Backs up the store that `reader` reads, in its data directory. The live store is held for a
/// moment only, whatever the backup takes.
///
/// # Errors
/// When there is no new backup; those that were there stay, unless only their removal failed.
pub fn make(
    reader: &Reader,
    storage: &StorageOptions,
    options: &BackupOptions,
    now_ms: Millis,
    watch: Watch<'_>,
) -> Result<Made, BackupError> {
    keep_out(&options.dir, &storage.data_dir)?;
    let ours = StoreOrigin::from(reader.lineage()?);
    let (pool, warning) = Pool::for_writing(&options.dir)?;
    let mut pace = Pace::new(watch);
    let before = pool.list()?;
    if !options.another_store {
        ours.alone_among(&options.dir, &before)?;
    }
    let backup = pool::free_number(&options.dir, &before)?;
    let checkpoint = Checkpoint::take(reader, &storage.data_dir)?;
    let schema = reading_schema();
    let mut manifest = Manifest {
        backup,
        made_at_ms: now_ms,
        ..read_through(&checkpoint.dir, &schema, "records read", &mut pace)?
    };
    copy_new(&checkpoint, &pool, &mut manifest, &mut pace)?;
    if options.verify {
        verify(&pool, &manifest, &schema, &mut pace)?;
        manifest.verified = true;
    }
    pool.publish(&manifest)?;
    let removed = pool.prune(options.keep, &ours)?;
    Ok(Made {
        manifest,
        removed,
        warning,
    })
}

pub(super) fn reading_schema() -> Schema {
    Schema::new(READING_MEMORY, wal_limit(0), Arc::default(), Arc::default())
}

/// Refuses a directory inside the data directory: the backup would be lost with the store.
fn keep_out(dir: &Path, data_dir: &Path) -> Result<(), BackupError> {
    // Of a directory that is to be made, what is there of its path tells where it will be.
    let there = dir.ancestors().find(|path| path.exists());
    let there = there.unwrap_or(Path::new("."));
    let there = there
        .canonicalize()
        .map_err(FileError::new("look at", there))?;
    let data_dir = data_dir
        .canonicalize()
        .map_err(FileError::new("look at", data_dir))?;
    if there.starts_with(&data_dir) {
        return Err(BackupError::Unfit(format!(
            "{} lies in the data directory {}: a backup there is lost with the store; choose a directory \
             elsewhere, best on another disk",
            dir.display(),
            data_dir.display()
        )));
    }
    Ok(())
}

fn copy_new(
    checkpoint: &Checkpoint,
    pool: &Pool,
    manifest: &mut Manifest,
    pace: &mut Pace<'_>,
) -> Result<(), BackupError> {
    let files = files::of_database(&checkpoint.dir)?;
    let size = |path: &PathBuf| path.metadata().map_or(0, |there| there.len());
    let mut part = pace.begin("bytes backed up", files.iter().map(size).sum())?;
    for source in files {
        let (file, new) = pool.add(&source, &mut part)?;
        if new {
            manifest.new_bytes += file.size;
        }
        manifest.files.push(file);
    }
    manifest.files.sort();
    Ok(())
}

/// Restores the backup beside the others and claims that it holds what its manifest says.
fn verify(
    pool: &Pool,
    manifest: &Manifest,
    schema: &Schema,
    pace: &mut Pace<'_>,
) -> Result<(), BackupError> {
    let dir = pool.make_verify_dir()?;
    let outcome = take_out(pool, manifest, &dir, true, pace)
        .and_then(|()| compare(manifest, dir.path(), schema, pace));
    let removed = remove(dir.path());
    outcome?;
    Ok(removed?)
}

/// Puts all files of a backup into a directory, checking every byte.
pub(super) fn take_out(
    pool: &Pool,
    manifest: &Manifest,
    dir: &HeldDir,
    link: bool,
    pace: &mut Pace<'_>,
) -> Result<(), BackupError> {
    let what = if link {
        "bytes verified"
    } else {
        "bytes restored"
    };
    let mut part = pace.begin(what, manifest.bytes())?;
    for file in &manifest.files {
        pool.take_out(file, dir, link, &mut part)?;
    }
    Ok(())
}

/// Reads a restored database through and claims that it is the one that was backed up.
pub(super) fn compare(
    manifest: &Manifest,
    db_dir: &Path,
    schema: &Schema,
    pace: &mut Pace<'_>,
) -> Result<(), BackupError> {
    let damaged = |what| BackupError::Damaged {
        path: db_dir.to_owned(),
        what,
    };
    let found = read_through(db_dir, schema, "records verified", pace);
    let found = found.map_err(|error| match error {
        BackupError::Read(ReadError::RocksDb(error)) => damaged(format!("cannot be read: {error}")),
        other => other,
    })?;
    match manifest.differs(&found) {
        None => Ok(()),
        Some(what) => Err(damaged(format!("is not what was backed up: {what}"))),
    }
}
