//! Making a backup: freeze, read, copy what is new, verify, and only then publish it.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use rocksdb::checkpoint::Checkpoint as RocksCheckpoint;
use rocksdb::properties;
use xxhash_rust::xxh3::Xxh3;

use super::BackupError;
use super::manifest::{FamilyRows, LAYOUT, Manifest, hex};
use super::origin::StoreOrigin;
use super::pool::{self, Pool, VERIFY};
use crate::counter::Millis;
use crate::storage::create::remove;
use crate::storage::error::ReadError;
use crate::storage::family::Family;
use crate::storage::file_error::FileError;
use crate::storage::files;
use crate::storage::open::StorageOptions;
use crate::storage::pace::{Pace, Watch};
use crate::storage::reserve::wal_limit;
use crate::storage::schema::{DbAccess, Schema};
use crate::storage::tables::{Reader, Tables};

/// What reading a copy may take for RocksDB's cache, in bytes: it is read once, from end to end.
const READING_MEMORY: u64 = 16 * 1024 * 1024;

/// Records between two looks at the time.
const LOOK_EVERY: u64 = 4096;

/// The name of the frozen files' directory in the data directory. RocksDB prepares it under that name and `.tmp`.
const CHECKPOINT: &str = "checkpoint";

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
    let before = pool::list_in(&pool.dir)?;
    if !options.another_store {
        ours.alone_among(&options.dir, &before)?;
    }
    let backup = pool::free_number(&options.dir, &before)?;
    let checkpoint = Checkpoint::take(reader, &storage.data_dir)?;
    let mut manifest = Manifest {
        backup,
        made_at_ms: now_ms,
        ..read_through(&checkpoint.dir, "records read", &mut pace)?
    };
    copy_new(&checkpoint, &pool, &mut manifest, &mut pace)?;
    if options.verify {
        verify(&pool, &manifest, &mut pace)?;
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
    Schema::new(READING_MEMORY, wal_limit(0), &Reader::default())
}

/// Refuses a directory inside the data directory: the backup would be lost with the store.
fn keep_out(dir: &Path, data_dir: &Path) -> Result<(), BackupError> {
    // Of a directory that is to be made, what is there of its path tells where it will be.
    let there = dir.ancestors().find(|path| path.exists());
    let there = there.unwrap_or(Path::new("."));
    let real = |path: &Path| path.canonicalize().map_err(FileError::new("look at", path));
    let data_dir = real(data_dir)?;
    if real(there)?.starts_with(&data_dir) {
        return Err(BackupError::Refused(format!(
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
fn verify(pool: &Pool, manifest: &Manifest, pace: &mut Pace<'_>) -> Result<(), BackupError> {
    let dir = pool.dir.make_dir(VERIFY, true)?;
    let outcome = pool
        .take_out(manifest, &dir, true, pace)
        .and_then(|()| compare(manifest, dir.path(), pace));
    let removed = remove(dir.path());
    outcome?;
    Ok(removed?)
}

/// Reads a restored database through and claims that it is the one that was backed up.
pub(super) fn compare(
    manifest: &Manifest,
    db_dir: &Path,
    pace: &mut Pace<'_>,
) -> Result<(), BackupError> {
    let damaged = |what| BackupError::damaged(db_dir, what);
    let found = read_through(db_dir, "records verified", pace);
    let found = found.map_err(|error| match error {
        BackupError::Read(ReadError::RocksDb(error)) => damaged(format!("cannot be read: {error}")),
        other => other,
    })?;
    match manifest.differs(&found) {
        None => Ok(()),
        Some(what) => Err(damaged(format!("is not what was backed up: {what}"))),
    }
}

/// Opens the database in `db_dir` for reading and reads all of it, with checksums verified. Returns a manifest
/// of what it holds, which says nothing of a backup yet.
fn read_through(
    db_dir: &Path,
    what: &'static str,
    pace: &mut Pace<'_>,
) -> Result<Manifest, BackupError> {
    let tables = Tables::open(db_dir, &reading_schema(), DbAccess::Read)?;
    let (format, merge) = tables.versions()?;
    let state = tables.state()?;
    let (rows, hash) = records(&tables, what, pace)?;
    Ok(Manifest {
        layout: LAYOUT,
        backup: 0,
        counterd: env!("CARGO_PKG_VERSION").to_owned(),
        made_at_ms: 0,
        verified: false,
        format,
        merge,
        epoch: tables.epoch()?,
        lineage: tables.lineage()?,
        revision: state.map_or(0, |state| state.revision),
        highest_day: state.map(|state| state.highest_day),
        zone: tables.zone()?,
        committed_at_ms: state.map(|state| state.wall_ms),
        rows,
        rows_xxh3_128: hex(hash),
        new_bytes: 0,
        files: Vec::new(),
    })
}

/// Counts the records of each family. Returns with them the xxh3-128 over family, key and value of every
/// record, each with its length before it, in order.
fn records(
    tables: &Tables,
    what: &'static str,
    pace: &mut Pace<'_>,
) -> Result<(FamilyRows, u128), BackupError> {
    let estimate = |&family| tables.property(family, properties::ESTIMATE_NUM_KEYS);
    let mut part = pace.begin(what, Family::ALL.iter().map(estimate).sum())?;
    let mut hash = Xxh3::new();
    let mut rows = FamilyRows::new();
    for family in Family::ALL {
        let (mut count, mut ended) = (0, Ok(()));
        add(&mut hash, family.as_str().as_bytes());
        tables.scan(family, &[], None, |key, value| {
            add(&mut hash, key);
            add(&mut hash, value);
            count += 1;
            if count % LOOK_EVERY == 0 {
                ended = part.add(LOOK_EVERY);
            }
            match ended {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        })?;
        ended?;
        rows.insert(family.as_str().to_owned(), count);
    }
    Ok((rows, hash.digest128()))
}

fn add(hash: &mut Xxh3, bytes: &[u8]) {
    hash.update(&(bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}

/// The store's files as they are at one moment: hard links beside the store, which cost no space and stay as they
/// are whatever is written meanwhile. Only the log's end and the manifest are copied. Removed when dropped.
struct Checkpoint {
    dir: PathBuf,
}

impl Checkpoint {
    /// Freezes the store that `reader` reads. Waits for a flush, while writes go on.
    fn take(reader: &Reader, data_dir: &Path) -> Result<Self, BackupError> {
        remove_leftover(data_dir)?;
        // From here on it is removed whatever happens.
        let checkpoint = Self {
            dir: data_dir.join(CHECKPOINT),
        };
        reader.with(|tables| {
            let frozen = RocksCheckpoint::new(&tables.db)?;
            Ok(frozen.create_checkpoint(&checkpoint.dir)?)
        })?;
        Ok(checkpoint)
    }
}

impl Drop for Checkpoint {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.dir) {
            tracing::warn!(%error, "what a backup froze could not be removed; the next start does it");
        }
    }
}

/// Removes what a backup that was cut off left in the data directory.
pub(in crate::storage) fn remove_leftover(data_dir: &Path) -> Result<(), FileError> {
    let dir = data_dir.join(CHECKPOINT);
    remove(&dir)?;
    remove(&dir.with_extension("tmp"))
}
