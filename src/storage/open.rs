//! The checked opening: nothing is changed on disk until the store is known to hold everything
//! that was acknowledged.
//!
//! RocksDB alone tolerates a torn tail of its log, as it must after a power cut, and so also a log
//! that lost acknowledged writes. `ACKED` tells the two apart: the files that it names must not
//! have shrunk, and a reading without a change on disk must reach the sequence number it holds.
//! Only then is the store opened for writing.
//!
//! Kept out: what the records mean, and getting past damage (`recover`).

use std::cmp::Ordering;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::acked::{self, Acked, AckedReading, Mark};
use super::backup;
use super::batch::Batch;
use super::create;
use super::error::{OpenError, ReadError};
use super::expiry::Horizons;
use super::family::Family;
use super::file_error::FileError;
use super::files::{self, Live};
use super::lineage::Lineage;
use super::lock::DataDirLock;
use super::paths::{NEW, Paths};
use super::reserve::{Reserve, wal_limit};
use super::schema::{DbAccess, FORMAT_VERSION, MERGE_VERSION, OLDEST_FORMAT, Schema};
use super::store::Store;
use super::store_place::StorePlace;
use super::tables::{Reader, Tables};

/// What an opening writes besides the tables it makes of the logs, in bytes; rather more than was
/// seen.
const OPENING_BYTES: u64 = 4 * 1024 * 1024;

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct StorageOptions {
    /// The directory that holds `lock`, `reserve` and `store/`.
    pub data_dir: PathBuf,
    /// What RocksDB's cache and memtables may take together, in bytes.
    pub memory: u64,
    /// Length of the reserve file in bytes; `None`: as the file system suggests.
    pub reserve: Option<u64>,
}

/// What a store that is opened again after a failed write must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expectation {
    /// The sequence number that readers have seen.
    pub published_sequence: u64,
    /// The count of the batch whose commit failed; `None` when no batch was in flight.
    pub unknown_count: Option<u64>,
    /// The epoch of the store that failed.
    pub epoch: u64,
}

/// What became of the batch whose commit failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Landed {
    /// It is not in the store.
    Absent,
    /// It is in the store, whole.
    Present,
    /// The store is of a greater epoch (it was restored or recovered): judged by `ACKED` alone, so
    /// nothing in memory can be kept.
    NewEpoch,
}

/// A store that was checked and may be opened for writing. It is open for reading.
pub(super) struct Checked {
    pub(super) mark: Mark,
    pub(super) sequence: u64,
    pub(super) tables: Tables,
}

impl Store {
    /// Opens the store in the directory that `lock` holds, or makes an empty one where there is
    /// none. `reader` reads from it from then on. `now_ms`, milliseconds since 1970, is the epoch
    /// of a new store.
    ///
    /// # Errors
    /// When the store would not hold all that was acknowledged, or cannot be opened; nothing on
    /// disk is changed then.
    pub fn open(
        lock: &DataDirLock,
        options: &StorageOptions,
        horizons: &Arc<Horizons>,
        reader: &Reader,
        now_ms: i64,
    ) -> Result<Self, OpenError> {
        let opening = Opening::new(lock, options, horizons, reader)?;
        if !is_there(&opening.paths)? {
            let epoch = create::next_epoch(now_ms, 0);
            create::create(&opening.paths, &opening.schema, epoch)?;
        }
        let checked = opening.check()?;
        opening.finish(checked)
    }

    /// Opens the store in the locked directory, as [`Store::open`], and makes none.
    ///
    /// # Errors
    /// As [`Store::open`], and [`OpenError::Missing`] where there is no store.
    pub fn open_existing(
        lock: &DataDirLock,
        options: &StorageOptions,
        horizons: &Arc<Horizons>,
        reader: &Reader,
    ) -> Result<Self, OpenError> {
        let opening = Opening::new(lock, options, horizons, reader)?;
        expect_there(&opening.paths)?;
        let checked = opening.check()?;
        opening.finish(checked)
    }

    /// Opens a store again after a failed commit, once the failed handle was dropped. It must hold
    /// what was published, or that and the batch in flight, or be of a greater epoch; that the
    /// values agree too is the caller's to check.
    ///
    /// # Errors
    /// As [`Store::open`], and [`OpenError::Unexpected`] when it holds anything else.
    pub fn reopen(
        lock: &DataDirLock,
        options: &StorageOptions,
        horizons: &Arc<Horizons>,
        reader: &Reader,
        expectation: &Expectation,
    ) -> Result<(Self, Landed), OpenError> {
        let opening = Opening::new(lock, options, horizons, reader)?;
        expect_there(&opening.paths)?;
        // Values that cannot be read any more are still in memory; the writer judges them.
        let checked = check_log(&opening.paths, &opening.schema)?;
        let landed = judge(&opening.paths, &checked, expectation)?;
        Ok((opening.finish(checked)?, landed))
    }
}

/// What every opening needs.
pub(super) struct Opening {
    pub(super) paths: Paths,
    pub(super) reserve: Reserve,
    pub(super) schema: Schema,
    lock: DataDirLock,
    reader: Reader,
}

impl Opening {
    fn new(
        lock: &DataDirLock,
        options: &StorageOptions,
        horizons: &Arc<Horizons>,
        reader: &Reader,
    ) -> Result<Self, OpenError> {
        // Compactions may begin while the store opens: they drop nothing by another handle's bounds.
        horizons.forget();
        let reserve = Reserve::new(lock.data_dir(), options.reserve)?;
        let wal_limit = wal_limit(reserve.bytes());
        let (horizons, rot) = (Arc::clone(horizons), Arc::clone(reader.rot()));
        Ok(Self {
            paths: Paths::new(lock.data_dir()),
            schema: Schema::new(options.memory, wal_limit, horizons, rot),
            reserve,
            lock: lock.clone(),
            reader: reader.clone(),
        })
    }

    /// Prepares a look at a store, or work on it, while nobody serves it.
    pub(super) fn offline(lock: &DataDirLock, options: &StorageOptions) -> Result<Self, OpenError> {
        Self::new(lock, options, &Arc::default(), &Reader::default())
    }

    /// Checks that the store holds everything that was acknowledged, and what a start reads of it.
    pub(super) fn check(&self) -> Result<Checked, OpenError> {
        check(&self.paths, &self.schema)
    }

    /// Opens what was checked for writing, and records where it stands.
    fn finish(self, checked: Checked) -> Result<Store, OpenError> {
        let Self { paths, schema, .. } = &self;
        let Checked {
            mark,
            sequence,
            tables,
        } = checked;
        drop(tables);
        let place = StorePlace::of(paths)?;
        let reserve_freed = make_room(paths, &self.reserve)?;
        create::remove(&paths.beside(NEW).store)?;
        backup::remove_leftover(&paths.data_dir)?;
        let for_writing = || {
            Tables::open(&paths.db, schema, DbAccess::Write)
                .map_err(|error| OpenError::from_rocksdb(&paths.db, error))
        };
        let tables = match for_writing() {
            // Space that was freed a moment ago is not always there at once.
            Err(OpenError::Failed { .. }) if reserve_freed => for_writing(),
            outcome => outcome,
        }?;
        let failed = |detail| OpenError::Failed {
            dir: paths.db.clone(),
            detail,
        };
        let opened = tables.sequence();
        if opened != sequence {
            return Err(failed(format!(
                "read up to {sequence}, but opened for writing up to {opened}"
            )));
        }
        raise(paths, &tables, mark.epoch)
            .and_then(|()| schema.horizons.load(&tables))
            .map_err(|error| failed(error.to_string()))?;
        let live = files::live(&paths.db)?;
        files::sync_file(&files::manifest_path(&paths.db, live.manifest.number))?;
        let mut acked = Acked::resume(&paths.acked, mark)?;
        acked.write(Mark {
            format: FORMAT_VERSION,
            sequence: tables.sequence(),
            live,
            ..mark
        })?;
        acked.sync()?;
        Ok(Store::new(self.lock, place, tables, acked, self.reader))
    }
}

fn expect_there(paths: &Paths) -> Result<(), OpenError> {
    if is_there(paths)? {
        return Ok(());
    }
    Err(OpenError::Missing {
        path: paths.store.clone(),
    })
}

fn judge(paths: &Paths, checked: &Checked, expectation: &Expectation) -> Result<Landed, OpenError> {
    let &Expectation {
        published_sequence,
        unknown_count,
        epoch,
    } = expectation;
    let more = checked.sequence.checked_sub(published_sequence);
    match (checked.mark.epoch.cmp(&epoch), more) {
        (Ordering::Greater, _) => Ok(Landed::NewEpoch),
        (Ordering::Equal, Some(0)) => Ok(Landed::Absent),
        (Ordering::Equal, Some(_)) if more == unknown_count => Ok(Landed::Present),
        (Ordering::Equal | Ordering::Less, _) => Err(OpenError::Unexpected {
            dir: paths.db.clone(),
            found: checked.sequence,
            published: published_sequence,
            unknown: unknown_count,
        }),
    }
}

/// Whether there is a store. Returns `Err` when something else stands in its place, or when only the
/// remains of a store are found.
fn is_there(paths: &Paths) -> Result<bool, OpenError> {
    if paths.store.is_dir() {
        return Ok(true);
    }
    if files::size_of(&paths.store)?.is_some() {
        return Err(OpenError::NotADirectory {
            path: paths.store.clone(),
        });
    }
    for entry in files::entries(&paths.data_dir)? {
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b"store.") && name != NEW {
            let remains = entry.path();
            return Err(OpenError::Remains { remains });
        }
    }
    Ok(false)
}

/// Checks as [`check_log`] does, and reads the records of the counters, too, which a start cannot do without.
pub(super) fn check(paths: &Paths, schema: &Schema) -> Result<Checked, OpenError> {
    let checked = check_log(paths, schema)?;
    check_counters(&checked.tables).map_err(|error| OpenError::from_read(&paths.db, error))?;
    Ok(checked)
}

/// Checks that the store holds everything that was acknowledged, changing nothing on disk.
fn check_log(paths: &Paths, schema: &Schema) -> Result<Checked, OpenError> {
    let what = match acked::read(&paths.acked)? {
        AckedReading::Valid(mark) => return check_against(paths, schema, mark),
        AckedReading::Damaged => "damaged (no slot has a valid checksum)",
        AckedReading::Missing => "missing",
    };
    Err(OpenError::Acked {
        path: paths.acked.clone(),
        what,
    })
}

fn check_against(paths: &Paths, schema: &Schema, mark: Mark) -> Result<Checked, OpenError> {
    check_versions(&paths.acked, mark.format, mark.merge)?;
    check_files(&paths.db, &mark)?;
    let tables = read_only(&paths.db, schema).map_err(|error| name_the_log(error, paths, &mark))?;
    let refused = |error| OpenError::from_read(&paths.db, error);
    let (format, merge) = tables.versions().map_err(refused)?;
    check_versions(&paths.db, format, merge)?;
    let store = tables.epoch().map_err(refused)?;
    if store != mark.epoch {
        return Err(OpenError::OtherEpoch {
            path: paths.acked.clone(),
            acked: mark.epoch,
            store,
        });
    }
    let sequence = tables.sequence();
    if sequence < mark.sequence {
        return Err(lost(paths, &mark, sequence)?);
    }
    Ok(Checked {
        mark,
        sequence,
        tables,
    })
}

/// Reads the records that a start needs. A counter whose value lies in a rotten block is no reason to
/// refuse when a later value of it can be read.
fn check_counters(tables: &Tables) -> Result<(), ReadError> {
    tables.scan(Family::Meta, &[], None, |_, _| ControlFlow::Continue(()))?;
    let mut names = Vec::new();
    tables.scan(Family::Definitions, &[], None, |key, _| {
        names.push(key.to_vec());
        ControlFlow::Continue(())
    })?;
    let unread = |_: &[u8], _: &[u8]| ControlFlow::Continue(());
    let gaps = tables.scan_past_rot(Family::Counters, &[], None, unread)?;
    for name in names
        .iter()
        .filter(|name| gaps.iter().any(|gap| gap.holds(name)))
    {
        tables.get(Family::Counters, name)?;
    }
    Ok(())
}

/// Adds the log's name where RocksDB misses all logs, and so does not say which.
fn name_the_log(mut error: OpenError, paths: &Paths, mark: &Mark) -> OpenError {
    let log = files::wal_path(&paths.db, mark.live.wal.number);
    if let OpenError::Damaged {
        path,
        recoverable: true,
        ..
    } = &mut error
        && *path == paths.db
        && !log.exists()
    {
        *path = log;
    }
    error
}

/// Makes the error for a log that replays to less than was acknowledged.
fn lost(paths: &Paths, mark: &Mark, replayed: u64) -> Result<OpenError, FileError> {
    let wals = files::wals(&paths.db)?;
    if wals
        .last()
        .is_none_or(|newest| newest.number < mark.live.wal.number)
    {
        return Ok(OpenError::Damaged {
            path: files::wal_path(&paths.db, mark.live.wal.number),
            detail: "is missing (the log of acknowledged writes)".to_owned(),
            recoverable: true,
        });
    }
    let logs: Vec<_> = wals
        .iter()
        .map(|wal| format!("{:06}.log", wal.number))
        .collect();
    Ok(OpenError::Lost {
        dir: paths.db.clone(),
        acknowledged: mark.sequence,
        replayed,
        logs: logs.join(" or "),
    })
}

/// Refuses a store whose format or merge operator this program does not read.
pub(super) fn check_versions(path: &Path, format: u32, merge: u32) -> Result<(), OpenError> {
    let (what, found, known) = if !(OLDEST_FORMAT..=FORMAT_VERSION).contains(&format) {
        ("format", format, FORMAT_VERSION)
    } else if merge != MERGE_VERSION {
        ("merge operator", merge, MERGE_VERSION)
    } else {
        return Ok(());
    };
    Err(OpenError::Unsupported {
        path: path.to_owned(),
        what,
        found,
        known,
    })
}

/// Raises a store of an earlier version to this program's: its format, and the id that it is given. Its
/// records stay as they are, since they are read in every version; what is written from now on would be
/// damage to an earlier program, which therefore has to refuse the store. `ACKED` follows: a program that
/// finds one of the two raised and the other not refuses, or raises the other.
fn raise(paths: &Paths, tables: &Tables, epoch: u64) -> Result<(), ReadError> {
    let mut batch = Batch::new();
    let (format, _) = tables.versions()?;
    if format != FORMAT_VERSION {
        create::stamp_versions(&mut batch);
    }
    if tables.lineage()?.is_none() {
        Lineage::of_older(paths, epoch).put(&mut batch);
    }
    if batch.is_empty() {
        return Ok(());
    }
    create::write_synced(tables, &batch)?;
    if format != FORMAT_VERSION {
        let to = FORMAT_VERSION;
        tracing::info!(from = format, to, "the store's format is raised");
    }
    Ok(())
}

/// Checks that the files that `ACKED` names are there, unless they became obsolete, and have not shrunk.
fn check_files(db_dir: &Path, mark: &Mark) -> Result<(), OpenError> {
    let Live { wal, manifest } = mark.live;
    let refused = |path, detail: String, recoverable| OpenError::Damaged {
        path,
        detail,
        recoverable,
    };
    let Some(number) = files::current_manifest(db_dir)? else {
        let detail = "is missing, or does not name the manifest, the list of tables and logs";
        let path = db_dir.join(files::CURRENT);
        return Err(refused(path, detail.to_owned(), false));
    };
    let path = files::manifest_path(db_dir, number);
    let Some(size) = files::size_of(&path)? else {
        let detail = "is missing (the list of tables and logs)";
        return Err(refused(path, detail.to_owned(), false));
    };
    if (number, size) < (manifest.number, manifest.size) {
        let detail = format!(
            "is {size} bytes long, but MANIFEST-{:06} was {} bytes when it was last synced",
            manifest.number, manifest.size
        );
        return Err(refused(path, detail, false));
    }
    let path = files::wal_path(db_dir, wal.number);
    match files::size_of(&path)? {
        Some(size) if size < wal.size => {
            let detail = format!(
                "is {size} bytes long, but was {} bytes when it was last synced",
                wal.size
            );
            Err(refused(path, detail, true))
        }
        // A log that is gone may be obsolete; the sequence number tells.
        Some(_) | None => Ok(()),
    }
}

/// Opens a database for reading, with every check; changes nothing on disk.
pub(super) fn read_only(db_dir: &Path, schema: &Schema) -> Result<Tables, OpenError> {
    Tables::open(db_dir, schema, DbAccess::Read)
        .map_err(|error| OpenError::from_rocksdb(db_dir, error))
}

/// Makes room for tables of the logs, by freeing the reserve if necessary; returns whether it did.
/// Without room nothing is tried: each opening that runs out of space in the middle leaves files
/// that take more of it.
fn make_room(paths: &Paths, reserve: &Reserve) -> Result<bool, OpenError> {
    let needed = files::wal_bytes(&paths.db)?.saturating_add(OPENING_BYTES);
    let (freed, available) = reserve.free_for(needed)?;
    if available < needed {
        let dir = paths.data_dir.clone();
        return Err(OpenError::NoSpace {
            dir,
            needed,
            available,
        });
    }
    Ok(freed)
}
