//! Moving all counts from a store on disk to a shared log, and back: the same records under the same keys, on the same
//! epoch, for nothing is lost. Every record is compared before anybody counts on with them.
//!
//! What was moved is not to be counted on with: a store that was moved to a log gets another name, and a log whose counts
//! were moved to a directory says so.
//!
//! Kept out: how Redis is asked (`shared_log`).

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rocksdb::WriteBatch;

use super::create::{begin_epoch, directories, put_in_place, remove};
use super::error::{OpenError, ReadError};
use super::family::Family;
use super::file_error::FileError;
use super::held::HeldDir;
use super::lineage::{LineageId, META_LINEAGE};
use super::lock::DataDirLock;
use super::open::{self, Opening, Sound, StorageOptions};
use super::pace::{Ended, Pace, Watch};
use super::paths::{MIGRATING, MOVED, MOVING, Paths};
use super::schema::{DbAccess, META_EPOCH, META_VERSIONS};
use super::shared_log::{LogAddress, LogRelocation};
use super::shared_log_error::SharedLogError;
use super::tables::Tables;
use super::value::StoreState;
use super::{acked, owner};
use crate::counter::Millis;

/// The name of a store that is served.
const STORE: &str = "store";

/// Records that are written or compared at once.
const PIECE: usize = 1000;

/// About so many bytes of them at most.
const PIECE_BYTES: usize = 1 << 20;

/// How long to wait at most for disks and replicas to have everything, and between two tries.
const SETTLE: Duration = Duration::from_mins(10);
const PAUSE: Duration = Duration::from_millis(100);

/// A record: key and value.
type Entry = (Vec<u8>, Vec<u8>);

/// What is done with some records of one family.
type Visit<'a> = &'a mut dyn FnMut(Family, &[Entry]) -> Result<(), MigrateError>;

/// What was moved.
#[derive(Debug)]
pub struct Migrated {
    /// What all keys of the log begin with.
    pub log: String,
    /// The data directory.
    pub data_dir: PathBuf,
    /// Which store it is.
    pub lineage: LineageId,
    /// Which history it is on: the same as before.
    pub epoch: u64,
    /// Where it stands; `None` where nothing was counted yet.
    pub state: Option<StoreState>,
    /// Records of each family, all of them compared.
    pub records: BTreeMap<Family, u64>,
    /// Where the store is kept that was moved to a log.
    pub kept: Option<PathBuf>,
}

/// Why the counts were not moved.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// What was asked cannot be done with what is there.
    #[error("{0}")]
    Refused(String),
    /// The store on disk.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The shared log.
    #[error(transparent)]
    Log(#[from] SharedLogError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A record cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Nobody waits for it any more.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// A record is another one, or is not there.
    #[error(
        "the comparison found a difference: the record {key} of {family} is not the same in the store and in the shared log; the \
         counts stay where they were; run it again"
    )]
    Differs {
        /// The family.
        family: &'static str,
        /// The key, with escapes.
        key: String,
    },
    /// There are more or fewer records.
    #[error(
        "the comparison found a difference: of {family} there are {store} records in the store and {log} in the shared log; the \
         counts stay where they were; run it again"
    )]
    Count {
        /// The family.
        family: &'static str,
        /// In the store.
        store: u64,
        /// In the log.
        log: u64,
    },
}

/// Whether there is a store to be moved in a data directory.
pub fn is_there(data_dir: &Path) -> bool {
    let paths = Paths::new(data_dir);
    paths.store.exists() || paths.beside(MOVING).store.exists()
}

/// Moves the store in the directory that `lock` holds to a shared log, where there is none. `now_ms` is milliseconds since
/// 1970, and goes into the name that the store gets.
///
/// # Errors
/// When nothing was moved: the store is as it was. What was written of the log is begun anew by the next try. Where nobody
/// knows whether there is a log by now, the store has a name under which it is not served, and the next try finds out.
pub fn to_log(
    lock: &DataDirLock,
    options: &StorageOptions,
    address: LogAddress,
    now_ms: Millis,
    watch: Watch<'_>,
) -> Result<Migrated, MigrateError> {
    let paths = Paths::new(lock.data_dir());
    let dir = HeldDir::open(&paths.data_dir)?;
    let kept = format!("{MOVED}{now_ms}");
    let moving = paths.beside(MOVING);
    if moving.store.is_dir() && !paths.store.exists() {
        let epoch = acked::epoch_in(&moving.acked);
        let was_made = |epoch| LogRelocation::was_made(address.clone(), epoch);
        if epoch.map(was_made).transpose()? == Some(true) {
            rename(&dir, MOVING, &kept)?;
            return Err(MigrateError::Refused(
                "the counts were moved by an earlier run, which was broken off before the store got its name; it has it now: say \
                 storage.engine = \"redis\", and start the server"
                    .to_owned(),
            ));
        }
        rename(&dir, MOVING, STORE)?;
    }
    let copied = open::look(lock, options, |store| {
        copy_in(store, &paths, address, watch)
    })?;
    let (log, mut migrated) = copied?;
    // From now on it is not served, for the log may be.
    rename(&dir, STORE, MOVING)?;
    if let Err(error) = log.finish_in(&dir) {
        let nothing_was_done = matches!(
            error,
            SharedLogError::Refused(_) | SharedLogError::RedisRefused { .. }
        );
        if nothing_was_done {
            rename(&dir, MOVING, STORE)?;
        }
        return Err(error.into());
    }
    rename(&dir, MOVING, &kept)?;
    migrated.kept = Some(paths.data_dir.join(kept));
    Ok(migrated)
}

/// Gives a store another name, for good.
fn rename(dir: &HeldDir, from: &str, to: &str) -> Result<(), FileError> {
    dir.rename_to_free(from, to)?;
    dir.sync()
}

fn copy_in(
    store: &Sound,
    paths: &Paths,
    address: LogAddress,
    watch: Watch<'_>,
) -> Result<(LogRelocation, Migrated), MigrateError> {
    let mut pace = Pace::new(watch);
    let state = store.reader.with(Tables::state)?;
    let revision = state.map_or(0, |state| state.revision);
    let mut log = LogRelocation::begin_in(address, &store.lineage, revision)?;
    let copied = store.reader.with(|tables| {
        Ok(write_in(tables, &mut log, &mut pace)
            .and_then(|()| settle(&mut log, &mut pace))
            .and_then(|()| compare(tables, &mut log, &mut pace)))
    })?;
    let records = copied?;
    let migrated = Migrated {
        log: log.tag().to_owned(),
        data_dir: paths.data_dir.clone(),
        lineage: store.lineage.id,
        epoch: store.epoch,
        state,
        records,
        kept: None,
    };
    Ok((log, migrated))
}

fn write_in(
    tables: &Tables,
    log: &mut LogRelocation,
    pace: &mut Pace<'_>,
) -> Result<(), MigrateError> {
    let of = |family| tables.property(family, rocksdb::properties::ESTIMATE_NUM_KEYS);
    let about = Family::ALL.into_iter().map(of).sum();
    let mut part = pace.begin("records written", about)?;
    let lineage = log.lineage().encode();
    log.write(Family::Meta, &[(META_LINEAGE.to_vec(), lineage)])?;
    each_piece(tables, &mut |family, records| {
        log.write(family, records)?;
        Ok(part.add(records.len() as u64)?)
    })
}

/// Waits until Redis has everything where `redis.ack` wants a group: replicas may be far behind.
fn settle(log: &mut LogRelocation, pace: &mut Pace<'_>) -> Result<(), MigrateError> {
    let (begun, mut told) = (Instant::now(), 0);
    let mut part = pace.begin("seconds waited for disks and replicas", SETTLE.as_secs())?;
    loop {
        let late = match log.settle() {
            Ok(()) => return Ok(()),
            Err(late @ (SharedLogError::NotDurable { .. } | SharedLogError::Replicas { .. })) => {
                late
            }
            Err(error) => return Err(error.into()),
        };
        if begun.elapsed() >= SETTLE {
            return Err(late.into());
        }
        let waited = begun.elapsed().as_secs();
        part.add(waited - told)?;
        told = waited;
        // Redis says at once that a replica is missing, and nobody says when it is back.
        thread::sleep(PAUSE);
    }
}

/// Moves the counts of a shared log to a data directory without a store.
///
/// # Errors
/// When nothing was moved: the log is as it was. What was written of the store is begun anew by the next try.
pub fn from_log(
    data_dir: &Path,
    known: &Path,
    options: &StorageOptions,
    address: LogAddress,
    watch: Watch<'_>,
) -> Result<Migrated, MigrateError> {
    let is_new = !data_dir.exists();
    let lock = DataDirLock::take_patiently(data_dir)?;
    if is_new {
        owner::give_as_parent(data_dir)?;
    }
    let Opening { paths, schema, .. } = Opening::offline(&lock, options)?;
    if paths.store.symlink_metadata().is_ok() {
        return Err(MigrateError::Refused(format!(
            "there is a store in {} already; nothing was changed: name a directory without one",
            paths.data_dir.display()
        )));
    }
    let data_dir = std::path::absolute(data_dir).map_err(FileError::new("find", data_dir))?;
    let to = data_dir.to_string_lossy().into_owned();
    let held = HeldDir::open(&paths.data_dir)?;
    let working = paths.beside(MIGRATING);
    let mut pace = Pace::new(watch);
    let known = known.exists().then(|| HeldDir::open(known)).transpose()?;
    let begun = LogRelocation::begin_out(address, &held, known.as_ref(), &to)?;
    let (mut log, was_moved) = (begun.relocation, begun.was_moved);
    let lineage = log.lineage().clone();
    if !was_moved {
        directories(&working)?;
        let tables = Tables::open(&working.db, &schema, DbAccess::Make)?;
        write_out(&mut log, &tables, &working, &mut pace)?;
        begin_epoch(&working, tables, lineage.epoch(), &lineage, None)?;
    }
    // As an opening would, and from disk.
    let (_, tables) = open::check(&working, &schema)?;
    let records = compare(&tables, &mut log, &mut pace)?;
    let migrated = Migrated {
        log: log.tag().to_owned(),
        data_dir: paths.data_dir.clone(),
        lineage: lineage.id,
        epoch: lineage.epoch(),
        state: tables.state()?,
        records,
        kept: None,
    };
    drop(tables);
    log.finish_out(&to)?;
    owner::give_back(&paths.data_dir)?;
    put_in_place(&paths, &working, lineage.epoch())?;
    // Of an instance that had this directory.
    remove(&Paths::view(&paths.data_dir).store)?;
    Ok(migrated)
}

fn write_out(
    log: &mut LogRelocation,
    tables: &Tables,
    working: &Paths,
    pace: &mut Pace<'_>,
) -> Result<(), MigrateError> {
    let total = log.counts()?.values().sum();
    let mut part = pace.begin("records written", total)?;
    log.each_page(|family, records| {
        let handle = tables.handle(family)?;
        let mut batch = WriteBatch::default();
        for (key, value) in records {
            batch.put_cf(handle, key, value);
        }
        let written = tables.db.write(batch);
        written.map_err(|error| OpenError::from_rocksdb(&working.db, None, error))?;
        Ok(part.add(records.len() as u64)?)
    })
}

/// Compares every record of a store with that in the log, and how many there are. Returns how many.
fn compare(
    tables: &Tables,
    log: &mut LogRelocation,
    pace: &mut Pace<'_>,
) -> Result<BTreeMap<Family, u64>, MigrateError> {
    let mut counts = BTreeMap::new();
    let mut part = pace.begin("records compared", log.counts()?.values().sum())?;
    let lineage = log.lineage().encode();
    let mut judge = |family: Family, records: &[Entry]| {
        let found = log.values(family, records)?;
        let mut found = found.into_iter();
        for (key, value) in records {
            if found.next().flatten().as_ref() != Some(value) {
                let (family, key) = (family.as_str(), key.escape_ascii().to_string());
                return Err(MigrateError::Differs { family, key });
            }
        }
        *counts.entry(family).or_insert(0) += records.len() as u64;
        Ok(part.add(records.len() as u64)?)
    };
    judge(Family::Meta, &[(META_LINEAGE.to_vec(), lineage)])?;
    each_piece(tables, &mut judge)?;
    let there = log.counts()?;
    for family in Family::ALL {
        let of = |counts: &BTreeMap<Family, u64>| counts.get(&family).copied().unwrap_or(0);
        let (store, log) = (of(&counts), of(&there));
        if store != log {
            let family = family.as_str();
            return Err(MigrateError::Count { family, store, log });
        }
    }
    Ok(counts)
}

/// Calls `visit` with every record that a shared log has too, in pieces of one family and one day or bucket. Which store it
/// is comes apart, for an older one has no record of it.
fn each_piece(tables: &Tables, visit: Visit<'_>) -> Result<(), MigrateError> {
    for family in Family::ALL {
        let (mut piece, mut bytes, mut visited) = (Vec::<Entry>::new(), 0, Ok(()));
        tables.scan(family, &[], None, |key, value| {
            if family == Family::Meta && [META_VERSIONS, META_EPOCH, META_LINEAGE].contains(&key) {
                return ControlFlow::Continue(());
            }
            let is_another = |(last, _): &Entry| {
                family.is_partitioned() && last.first_chunk::<4>() != key.first_chunk::<4>()
            };
            let is_full = piece.len() >= PIECE || bytes >= PIECE_BYTES;
            if is_full || piece.last().is_some_and(is_another) {
                visited = visit(family, &piece);
                piece.clear();
                bytes = 0;
            }
            if visited.is_err() {
                return ControlFlow::Break(());
            }
            bytes += key.len() + value.len();
            piece.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })?;
        visited?;
        if !piece.is_empty() {
            visit(family, &piece)?;
        }
    }
    Ok(())
}
