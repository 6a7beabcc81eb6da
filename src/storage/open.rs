//! The checked opening: nothing is changed on disk until the store is known to hold everything
//! that was acknowledged.
//!
//! RocksDB alone tolerates a torn tail of its log, as it must after a power cut, and so also a log
//! that lost acknowledged writes. `ACKED` tells the two apart: the files that it names must not
//! have shrunk, and a reading without a change on disk must reach the sequence number it holds.
//! Only then is the store opened for writing.
//!
//! [`look`] makes the same check alone, and [`read_through`] reads every record, of a store that nobody has open.
//!
//! Kept out: what the records mean, and getting past damage (`recover`).

use std::cmp::Ordering;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::acked::{self, Acked, Mark};
use super::batch::Batch;
use super::error::{OpenCause, OpenError, RECOVER, ReadError};
use super::family::Family;
use super::file_error::FileError;
use super::files::{self, Live};
use super::held::HeldDir;
use super::lineage::{Lineage, next_epoch};
use super::lock::DataDirLock;
use super::paths::{MIGRATING, MOVED, MOVING, NEW, Paths};
use super::reserve::{Reserve, wal_limit};
use super::rot::RottenTable;
use super::schema::{DbAccess, FORMAT_VERSION, MERGE_VERSION, OLDEST_FORMAT, Schema};
use super::shared_log::LogAddress;
use super::store::Store;
use super::tables::{Reader, Tables};
use super::{backup, create};

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
    /// Where the log is that several instances share; `None` where the store has a log of its own.
    pub shared: Option<LogAddress>,
}

#[cfg(test)]
impl StorageOptions {
    /// The options of a small store.
    pub(crate) fn small(data_dir: &Path) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
            memory: 16 << 20,
            reserve: Some(24 << 20),
            shared: None,
        }
    }
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

impl Store {
    /// Opens the store in the directory that `lock` holds. `reader` reads from it from then on. Where there is
    /// none it makes an empty one at `new_at`, milliseconds since 1970, which is its epoch; `None`: it makes none.
    ///
    /// # Errors
    /// When the store would not hold all that was acknowledged, or cannot be opened; nothing on
    /// disk is changed then.
    pub fn open(
        lock: &DataDirLock,
        options: &StorageOptions,
        reader: &Reader,
        new_at: Option<i64>,
    ) -> Result<Self, OpenError> {
        let opening = Opening::new(lock, options, reader)?;
        match new_at {
            Some(now_ms) if !is_there(&opening.paths)? => {
                let epoch = next_epoch(now_ms, 0);
                create::create(&opening.paths, &opening.schema, epoch)?;
            }
            Some(_) => {}
            None => expect_there(&opening.paths)?,
        }
        opening.open()
    }

    /// Opens a store again after a failed commit, once the failed handle was dropped. It must hold
    /// what was published, or that and the batch in flight, or be of a greater epoch; that the
    /// values agree too is the caller's to check.
    ///
    /// # Errors
    /// As [`Store::open`], and when it holds anything else.
    pub fn reopen(
        lock: &DataDirLock,
        options: &StorageOptions,
        reader: &Reader,
        expectation: &Expectation,
    ) -> Result<(Self, Landed), OpenError> {
        let opening = Opening::new(lock, options, reader)?;
        expect_there(&opening.paths)?;
        // Values that cannot be read any more are still in memory; the writer judges them.
        let (mark, tables) = check_log(&opening.paths, &opening.schema)?;
        let landed = judge(&opening.paths, &mark, tables.sequence(), expectation)?;
        Ok((opening.finish(mark, tables)?, landed))
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
    pub(super) fn new(
        lock: &DataDirLock,
        options: &StorageOptions,
        reader: &Reader,
    ) -> Result<Self, OpenError> {
        // Compactions may begin while the store opens: they drop nothing by another handle's bounds.
        reader.horizons.forget();
        let reserve = Reserve::new(lock.data_dir(), options.reserve)?;
        let wal_limit = wal_limit(reserve.bytes());
        Ok(Self {
            paths: Paths::new(lock.data_dir()),
            schema: Schema::new(options.memory, wal_limit, reader),
            reserve,
            lock: lock.clone(),
            reader: reader.clone(),
        })
    }

    /// Prepares a look at a store, or work on it, while nobody serves it.
    pub(super) fn offline(lock: &DataDirLock, options: &StorageOptions) -> Result<Self, OpenError> {
        Self::new(lock, options, &Reader::default())
    }

    /// Checks what is there, and opens it.
    pub(super) fn open(self) -> Result<Store, OpenError> {
        let (mark, tables) = check(&self.paths, &self.schema)?;
        self.finish(mark, tables)
    }

    /// Opens what was checked, and is open for reading, for writing, and records where it stands.
    fn finish(self, mark: Mark, checked: Tables) -> Result<Store, OpenError> {
        let Self { paths, schema, .. } = &self;
        let sequence = checked.sequence();
        drop(checked);
        let place = [
            HeldDir::open(&paths.data_dir)?,
            HeldDir::open(&paths.store)?,
        ];
        let reserve_freed = make_room(paths, &self.reserve)?;
        create::remove(&paths.beside(NEW).store)?;
        backup::remove_leftover(&paths.data_dir)?;
        let for_writing = || Tables::open(&paths.db, schema, DbAccess::Write);
        let tables = match for_writing() {
            // Space that was freed a moment ago is not always there at once.
            Err(error) if reserve_freed && error.cause == OpenCause::Transient => for_writing(),
            outcome => outcome,
        }?;
        let opened = tables.sequence();
        if opened != sequence {
            let detail = format!("read up to {sequence}, but opened for writing up to {opened}");
            return Err(OpenError::failed(&paths.db, &detail));
        }
        raise(paths, &tables, mark.epoch)
            .and_then(|()| schema.horizons.load(&tables))
            .map_err(|error| OpenError::failed(&paths.db, &error.to_string()))?;
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

fn damage(text: String) -> OpenError {
    OpenError::new(OpenCause::Damage, text)
}

fn expect_there(paths: &Paths) -> Result<(), OpenError> {
    if is_there(paths)? {
        return Ok(());
    }
    Err(OpenError::missing(&paths.store))
}

fn judge(
    paths: &Paths,
    mark: &Mark,
    sequence: u64,
    expectation: &Expectation,
) -> Result<Landed, OpenError> {
    let (published, unknown) = (expectation.published_sequence, expectation.unknown_count);
    let more = sequence.checked_sub(published);
    match (mark.epoch.cmp(&expectation.epoch), more) {
        (Ordering::Greater, _) => Ok(Landed::NewEpoch),
        (Ordering::Equal, Some(0)) => Ok(Landed::Absent),
        (Ordering::Equal, Some(_)) if more == unknown => Ok(Landed::Present),
        (Ordering::Equal | Ordering::Less, _) => {
            let in_flight = unknown.map(|count| format!(" and a group of {count} was in flight"));
            Err(damage(format!(
                "{}: reopened at {sequence}, but {published} were published{}; nothing was changed: restart \
                 counterd to judge the store by its own record of what was acknowledged",
                paths.db.display(),
                in_flight.unwrap_or_default()
            )))
        }
    }
}

/// Checks that a start would make a store in a data directory without one, as far as the directory tells.
///
/// # Errors
/// When the remains of a store are there, or the directory cannot be read.
pub fn refuse_remains(data_dir: &Path) -> Result<(), OpenError> {
    if !data_dir.exists() {
        return Ok(());
    }
    is_there(&Paths::new(data_dir)).map(drop)
}

/// Whether there is a store. Returns `Err` when something else stands in its place, or when only the
/// remains of a store are found.
fn is_there(paths: &Paths) -> Result<bool, OpenError> {
    if paths.store.is_dir() {
        return Ok(true);
    }
    if files::size_of(&paths.store)?.is_some() {
        return Err(damage(format!(
            "{} is not a directory; move it away, or point storage.data_dir elsewhere",
            paths.store.display()
        )));
    }
    for entry in files::entries(&paths.data_dir)? {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name == MIGRATING {
            return Err(damage(format!(
                "there is no store/, but {} is there: `counterd migrate` was broken off; nothing was changed: run it again",
                entry.path().display()
            )));
        }
        if name == MOVING {
            return Err(damage(format!(
                "there is no store/, but {} is there: `counterd migrate` was broken off at its end; nothing was changed: run it \
                 again, which finds out whether the counts are in the shared log",
                entry.path().display()
            )));
        }
        if name.starts_with(MOVED) {
            return Err(damage(format!(
                "there is no store/, but {} is there: its counts were moved to a shared log with `counterd migrate`, and are counted \
                 on there; nothing was changed: say storage.engine = \"redis\", or move them back with `counterd migrate`",
                entry.path().display()
            )));
        }
        if name.starts_with("store.") && name != NEW {
            return Err(damage(format!(
                "there is no store/, but {} is there, so this is not a first start; nothing was changed: \
                 rename it to store/ if it is the store, or move it away to start empty",
                entry.path().display()
            )));
        }
    }
    Ok(false)
}

/// Checks as [`check_log`] does, and reads the records of the counters, too, which a start cannot do without.
pub(super) fn check(paths: &Paths, schema: &Schema) -> Result<(Mark, Tables), OpenError> {
    let (mark, tables) = check_log(paths, schema)?;
    check_counters(&tables).map_err(|error| OpenError::from_read(&paths.db, error))?;
    Ok((mark, tables))
}

/// Checks that the store holds everything that was acknowledged, changing nothing on disk. Returns what `ACKED`
/// says, and the database, open for reading.
fn check_log(paths: &Paths, schema: &Schema) -> Result<(Mark, Tables), OpenError> {
    let mark = acked::read(&paths.acked)?.map_err(|what| {
        damage(format!(
            "{} is {what}, so nothing says which writes were acknowledged; nothing was changed: restore \
             a backup, or run `counterd recover`, which says what it finds and starts a new epoch",
            paths.acked.display()
        ))
    })?;
    check_versions(&paths.acked, mark.format, mark.merge)?;
    check_files(&paths.db, &mark)?;
    let tables = Tables::try_open(&paths.db, schema, DbAccess::Read).map_err(|error| {
        // Where RocksDB misses all logs, it does not say which.
        let log = files::wal_path(&paths.db, mark.live.wal.number);
        let gone = (!log.exists()).then_some(&*log);
        OpenError::from_rocksdb(&paths.db, gone, error)
    })?;
    let refused = |error| OpenError::from_read(&paths.db, error);
    let (format, merge) = tables.versions().map_err(refused)?;
    check_versions(&paths.db, format, merge)?;
    let store = tables.epoch().map_err(refused)?;
    if store != mark.epoch {
        return Err(damage(format!(
            "{} belongs to epoch {}, the store beside it to epoch {store}; nothing was changed: put \
             the file and the store that belong together back, or restore a backup{RECOVER}",
            paths.acked.display(),
            mark.epoch
        )));
    }
    let sequence = tables.sequence();
    if sequence < mark.sequence {
        return Err(lost(paths, &mark, sequence)?);
    }
    Ok((mark, tables))
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

/// Makes the error for a log that replays to less than was acknowledged.
fn lost(paths: &Paths, mark: &Mark, replayed: u64) -> Result<OpenError, FileError> {
    let wals = files::wals(&paths.db)?;
    if wals
        .last()
        .is_none_or(|newest| newest.number < mark.live.wal.number)
    {
        let log = files::wal_path(&paths.db, mark.live.wal.number);
        let detail = "is missing (the log of acknowledged writes)";
        return Ok(OpenError::damaged(&log, detail, true));
    }
    let logs: Vec<_> = wals
        .iter()
        .map(|wal| format!("{:06}.log", wal.number))
        .collect();
    Ok(damage(format!(
        "{}: acknowledged up to {}, the log replays to {replayed}: {} operations \
         missing; the damage is in {}, or a later log is gone; nothing was changed: put the \
         log back or restore a backup{RECOVER}",
        paths.db.display(),
        mark.sequence,
        mark.sequence.saturating_sub(replayed),
        logs.join(" or ")
    )))
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
    let text = format!(
        "{} says {what} version {found}, this counterd knows {known}; nothing was changed: use the \
         version of counterd that wrote the store",
        path.display()
    );
    Err(OpenError::new(OpenCause::Unsupported, text))
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
    if !batch.is_empty() {
        create::write_synced(tables, &batch)?;
    }
    if format != FORMAT_VERSION {
        let to = FORMAT_VERSION;
        tracing::info!(from = format, to, "the store's format is raised");
    }
    Ok(())
}

/// Checks that the files that `ACKED` names are there, unless they became obsolete, and have not shrunk.
fn check_files(db_dir: &Path, mark: &Mark) -> Result<(), OpenError> {
    let Live { wal, manifest } = mark.live;
    let Some(number) = files::current_manifest(db_dir)? else {
        let detail = "is missing, or does not name the manifest, the list of tables and logs";
        let path = db_dir.join(files::CURRENT);
        return Err(OpenError::damaged(&path, detail, false));
    };
    let path = files::manifest_path(db_dir, number);
    let Some(size) = files::size_of(&path)? else {
        let detail = "is missing (the list of tables and logs)";
        return Err(OpenError::damaged(&path, detail, false));
    };
    if (number, size) < (manifest.number, manifest.size) {
        let detail = format!(
            "is {size} bytes long, but MANIFEST-{:06} was {} bytes when it was last synced",
            manifest.number, manifest.size
        );
        return Err(OpenError::damaged(&path, &detail, false));
    }
    let path = files::wal_path(db_dir, wal.number);
    match files::size_of(&path)? {
        Some(size) if size < wal.size => {
            let was = wal.size;
            let detail =
                format!("is {size} bytes long, but was {was} bytes when it was last synced");
            Err(OpenError::damaged(&path, &detail, true))
        }
        // A log that is gone may be obsolete; the sequence number tells.
        Some(_) | None => Ok(()),
    }
}

/// Makes room for tables of the logs, by freeing the reserve if necessary; returns whether it did.
/// Without room nothing is tried: each opening that runs out of space in the middle leaves files
/// that take more of it.
fn make_room(paths: &Paths, reserve: &Reserve) -> Result<bool, OpenError> {
    let needed = files::wal_bytes(&paths.db)?.saturating_add(OPENING_BYTES);
    let (freed, available) = reserve.free_for(needed)?;
    if available < needed {
        let text = format!(
            "{}: opening needs {needed} bytes, the disk has {available}, without the reserve; free some \
             space and it goes on",
            paths.data_dir.display()
        );
        return Err(OpenError::new(OpenCause::Transient, text));
    }
    Ok(freed)
}

/// A store that is sound, open for reading.
pub struct Sound {
    /// RocksDB's sequence number that an opening would give.
    pub sequence: u64,
    /// Which history it is on: milliseconds since 1970 at its start.
    pub epoch: u64,
    /// Which store it is. Of a store that an earlier version made, the id is the one that the next opening
    /// gives it.
    pub lineage: Lineage,
    /// Reads it.
    pub reader: Reader,
}

/// Judges the store in the directory that `lock` holds as an opening would, and calls `read` with it if it is
/// sound. Changes nothing on disk. Tables are not read through.
///
/// # Errors
/// What an opening would be refused with.
pub fn look<T>(
    lock: &DataDirLock,
    options: &StorageOptions,
    read: impl FnOnce(&Sound) -> T,
) -> Result<T, OpenError> {
    let opening = Opening::offline(lock, options)?;
    let (mark, tables) = check(&opening.paths, &opening.schema)?;
    let tables = Arc::new(tables);
    let reader = opening.reader;
    let lineage = reader
        .horizons
        .load(&tables)
        .and_then(|()| tables.lineage())
        .map_err(|error| OpenError::from_read(&opening.paths.db, error))?;
    let epoch = mark.epoch;
    reader.attach(&tables);
    Ok(read(&Sound {
        sequence: tables.sequence(),
        epoch,
        lineage: lineage.unwrap_or_else(|| Lineage::of_older(&opening.paths, epoch)),
        reader,
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
    let tables = Tables::open(&opening.paths.db, &opening.schema, DbAccess::Read)?;
    tables
        .scan_all(|_, _, _| {})
        .map_err(|error| OpenError::from_read(&opening.paths.db, error))?;
    Ok(opening.schema.rot.tables())
}
