//! The way past a damaged log: what can still be read becomes the store, as a new epoch.
//!
//! It works on a copy beside the store (tables are linked, not copied) and puts the copy in the
//! store's place at the very end, in one step; the damaged store is kept under another name. What
//! the log holds up to its first damage is one consistent point of the store's life. Only where the
//! tables are already past that point are the damaged records left out instead.
//!
//! Tables with rotten blocks are set aside: the store is then written anew of all that can be read.
//!
//! Kept out: backups. A missing table, or one that cannot even be opened, cannot be made up for here.

use std::fmt;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::acked::{self, AckedReading};
use super::batch::Batch;
use super::create::{directories, remove, seal, stamp, write_and_flush};
use super::error::{OpenCause, OpenError, ReadError};
use super::family::Family;
use super::file_error::FileError;
use super::files;
use super::keys;
use super::lineage::Lineage;
use super::lock::DataDirLock;
use super::merge;
use super::open::{self, Opening, StorageOptions};
use super::owner;
use super::paths::Paths;
use super::reserve::{Reserve, Space};
use super::rot::RottenTable;
use super::salvage::{SalvageError, room_needed, salvage};
use super::schema::{DbAccess, Schema};
use super::tables::Tables;
use super::value::{self, StoreState};
use crate::calendar::Day;
use crate::counter::{CounterName, Outcome};

/// Room for what an opening writes besides copies of the logs, in bytes.
const WORKING_BYTES: u64 = 32 * 1024 * 1024;

/// Why a store was not recovered. Its directory is as it was, but for the reserve, which may have
/// been freed.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The store opens; recovering would only start a new epoch.
    #[error("the store in {} is sound; nothing was changed", data_dir.display())]
    Sound {
        /// The data directory.
        data_dir: PathBuf,
    },
    /// There is no store to recover.
    #[error("there is no store in {}; restore a backup", data_dir.display())]
    NoStore {
        /// The data directory.
        data_dir: PathBuf,
    },
    /// The store cannot be judged now, or was written by another version of the program.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A store that is written anew needs about as much room as the old one.
    #[error(
        "the disk of {} lacks {}: setting rotten tables aside writes the store anew, which needs about {}, \
         and {} are free; nothing was changed: make room there, and run it again",
        data_dir.display(),
        ByteSize(needed.saturating_sub(*available)).display().iec(),
        ByteSize(*needed).display().iec(),
        ByteSize(*available).display().iec()
    )]
    NoRoom {
        /// The data directory.
        data_dir: PathBuf,
        /// What the new store may take, in bytes.
        needed: u64,
        /// What the disk has without the reserve, in bytes.
        available: u64,
    },
    /// Not only the log is damaged.
    #[error("{} is damaged beyond its log: {detail}; restore a backup", db_dir.display())]
    BeyondTheLog {
        /// RocksDB's directory.
        db_dir: PathBuf,
        /// What RocksDB said; it names the file.
        detail: String,
    },
}

impl From<FileError> for RecoverError {
    fn from(error: FileError) -> Self {
        Self::Open(error.into())
    }
}

/// What a reading of a store found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// The sequence number it reached.
    pub sequence: u64,
    /// Keys in each family, in the order of [`Family::ALL`].
    pub keys: [u64; Family::ALL.len()],
    /// The highest revision or generation in any record.
    pub revision: u64,
    highest_day: Option<Day>,
    highest_bucket: Option<u32>,
    state: Option<StoreState>,
}

/// What was done, and what was given up for it.
#[derive(Debug)]
pub struct RecoverReport {
    /// Why the store did not open; `None` when it was sound and recovered all the same.
    pub refusal: Option<String>,
    /// The sequence number up to which it was acknowledged; `None` when `ACKED` could not be read.
    pub acknowledged: Option<u64>,
    /// All that could still be read, whatever its order; `None` when that was nothing.
    pub before: Option<Tally>,
    /// What the recovered store holds.
    pub after: Tally,
    /// Damaged records were left out and later ones kept, because tables were past the damage. A
    /// group may be there in part.
    pub left_out: bool,
    /// Tables that could not be read whole. What could be read of them is in the recovered store.
    pub aside: Vec<RottenTable>,
    /// Counters whose value was lost with them: each is quarantined until it is repaired.
    pub lost: Vec<CounterName>,
    /// The epoch of the damaged store; `None` when nothing said.
    pub old_epoch: Option<u64>,
    /// The epoch from now on.
    pub epoch: u64,
    /// Where the damaged store is kept.
    pub kept: PathBuf,
}

impl RecoverReport {
    /// Acknowledged operations that the recovered store lacks; `None` when nothing says how many:
    /// `ACKED` could not be read, or records were left out in the middle.
    pub fn given_up(&self) -> Option<u64> {
        let acknowledged = self.acknowledged.filter(|_| !self.left_out)?;
        Some(acknowledged.saturating_sub(self.after.sequence))
    }
}

impl fmt::Display for RecoverReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = |number: Option<u64>| match number {
            Some(number) => number.to_string(),
            None => "unknown".to_owned(),
        };
        writeln!(
            out,
            "found:         {}",
            self.refusal.as_deref().unwrap_or("a sound store")
        )?;
        writeln!(out, "acknowledged:  up to {}", known(self.acknowledged))?;
        writeln!(out, "recovered:     up to {}", self.after.sequence)?;
        match self.given_up() {
            Some(count) => writeln!(out, "given up:      {count} operations")?,
            None if self.left_out => writeln!(
                out,
                "given up:      every damaged group; later ones are kept, and one may be there in part"
            )?,
            None => writeln!(out, "given up:      unknown")?,
        }
        for table in &self.aside {
            writeln!(out, "set aside:     {table}")?;
        }
        for name in &self.lost {
            writeln!(
                out,
                "lost:          the value of {name}: `counterd repair` sets one"
            )?;
        }
        writeln!(
            out,
            "keys:          {:<12} {:>12} {:>12}",
            "family", "readable", "recovered"
        )?;
        let before = self
            .before
            .map(|tally| tally.keys.map(Some))
            .unwrap_or_default();
        for ((family, before), after) in Family::ALL.iter().zip(before).zip(self.after.keys) {
            writeln!(
                out,
                "               {:<12} {:>12} {after:>12}",
                family.name(),
                known(before)
            )?;
        }
        writeln!(
            out,
            "epoch:         {} (was {})",
            self.epoch,
            known(self.old_epoch)
        )?;
        writeln!(
            out,
            "next revision: {}",
            self.after.revision.saturating_add(1)
        )?;
        write!(out, "damaged store: kept in {}", self.kept.display())
    }
}

/// Recovers the store in the directory that `lock` holds. `now_ms` is milliseconds since 1970; the
/// new epoch is that, or one more than the old. A sound store is left alone unless `even_if_sound`.
///
/// # Errors
/// When there is nothing to recover, or not only the log is damaged; the store is as it was.
pub fn recover(
    lock: &DataDirLock,
    options: &StorageOptions,
    now_ms: i64,
    even_if_sound: bool,
) -> Result<RecoverReport, RecoverError> {
    let Opening {
        paths,
        reserve,
        schema,
    } = Opening::offline(lock, options)?;
    let schema = schema.at_rest();
    if !paths.store.is_dir() {
        return Err(RecoverError::NoStore {
            data_dir: paths.data_dir,
        });
    }
    let refusal = judge(&paths, &schema, even_if_sound)?;
    make_room(&paths, &reserve)?;
    let working = Paths::at(
        paths.data_dir.clone(),
        paths.data_dir.join("store.recovering"),
    );
    let before = readable(&paths, &working, &schema)?;
    let (mut tables, left_out) = consistent(&paths, &working, &schema)?;
    let mut after = tally(&tables).map_err(|error| beyond(&paths, error))?;
    let acked = match acked::read(&paths.acked)? {
        AckedReading::Valid { mark, .. } => Some(mark),
        AckedReading::Damaged | AckedReading::Missing => None,
    };
    let stored = tables.epoch().map_err(|error| beyond(&paths, error))?;
    let old_epoch = acked
        .map(|mark| mark.epoch)
        .max((stored > 0).then_some(stored));
    let epoch = u64::try_from(now_ms)
        .unwrap_or(0)
        .max(old_epoch.unwrap_or(0) + 1);
    let aside = schema.rot().tables();
    let (mut working, mut lost) = (working, Vec::new());
    if !aside.is_empty() {
        let salvaged = Paths::at(
            paths.data_dir.clone(),
            paths.data_dir.join("store.salvaging"),
        );
        if let Err(error) = room_for_another(&paths, &working, &reserve) {
            drop(tables);
            remove(&working.store)?;
            return Err(error);
        }
        let made = salvage(&tables, &salvaged, &schema);
        drop(tables);
        remove(&working.store)?;
        (tables, lost) = made.map_err(|error| match error {
            SalvageError::File(error) => error.into(),
            SalvageError::Read(error) => beyond(&paths, error),
        })?;
        working = salvaged;
    }
    begin_epoch(&paths, &tables, &mut after, (old_epoch, epoch), now_ms)
        .map_err(|error| beyond(&paths, error))?;
    let sequence = tables.sequence();
    drop(tables);
    seal(&working, epoch, sequence)?;
    sync_all(&working.db)?;
    // The copy must open by the rules that refused the store, before it takes its place.
    open::check(&working, &schema, open::Depth::Counters)?;
    owner::give_back(&paths.data_dir)?;
    let kept = swap(&paths, &working, epoch)?;
    Ok(RecoverReport {
        refusal,
        acknowledged: acked.map(|mark| mark.sequence),
        before,
        after,
        left_out,
        aside,
        lost,
        old_epoch,
        epoch,
        kept,
    })
}

/// Returns why the store does not open; `None` when it opens, and is to be recovered all the same.
fn judge(
    paths: &Paths,
    schema: &Schema,
    even_if_sound: bool,
) -> Result<Option<String>, RecoverError> {
    match open::check(paths, schema, open::Depth::Counters) {
        Ok(_) => {
            let rotten = rotten(paths, schema)?;
            if rotten.is_some() || even_if_sound {
                return Ok(rotten);
            }
            Err(RecoverError::Sound {
                data_dir: paths.data_dir.clone(),
            })
        }
        Err(error) => match error.cause() {
            OpenCause::Damage => Ok(Some(error.finding())),
            OpenCause::Transient | OpenCause::Locked | OpenCause::Unsupported => Err(error.into()),
        },
    }
}

/// Says which tables cannot be read whole; `None` when every record can.
fn rotten(paths: &Paths, schema: &Schema) -> Result<Option<String>, RecoverError> {
    let tables = open::read_only(&paths.db, schema)?;
    tally(&tables).map_err(|error| beyond(paths, error))?;
    let found: Vec<String> = schema
        .rot()
        .tables()
        .iter()
        .map(ToString::to_string)
        .collect();
    Ok((!found.is_empty()).then(|| found.join("; ")))
}

/// Counts everything that can be read, in whatever order it was written, in a copy that is then removed.
fn readable(
    paths: &Paths,
    working: &Paths,
    schema: &Schema,
) -> Result<Option<Tally>, RecoverError> {
    copy(paths, working)?;
    let tally = Tables::open(&working.db, schema, DbAccess::WriteWithoutDamaged)
        .ok()
        .and_then(|tables| tally(&tables).ok());
    remove(&working.store)?;
    Ok(tally)
}

/// Opens a copy at the last consistent point; returns whether damaged records had to be left out.
fn consistent(
    paths: &Paths,
    working: &Paths,
    schema: &Schema,
) -> Result<(Tables, bool), RecoverError> {
    copy(paths, working)?;
    if let Ok(tables) = Tables::open(&working.db, schema, DbAccess::WriteToPointInTime) {
        return Ok((tables, false));
    }
    copy(paths, working)?;
    // With no log at all there is nothing to leave out: the tables are the consistent point.
    let left_out = !files::wals(&working.db)?.is_empty();
    match Tables::open(&working.db, schema, DbAccess::WriteWithoutDamaged) {
        Ok(tables) => Ok((tables, left_out)),
        Err(error) => {
            remove(&working.store)?;
            Err(RecoverError::BeyondTheLog {
                db_dir: paths.db.clone(),
                detail: error.into_string().replace("store.recovering", "store"),
            })
        }
    }
}

fn beyond(paths: &Paths, error: ReadError) -> RecoverError {
    RecoverError::BeyondTheLog {
        db_dir: paths.db.clone(),
        detail: error.to_string(),
    }
}

/// Copies RocksDB's files, tables as links to the same file: RocksDB never writes to a table twice.
fn copy(from: &Paths, to: &Paths) -> Result<(), FileError> {
    remove(&to.store)?;
    directories(to)?;
    for entry in fs::read_dir(&from.db).map_err(FileError::new("list", &from.db))? {
        let entry = entry.map_err(FileError::new("list", &from.db))?;
        let name = entry.file_name();
        let (source, target) = (entry.path(), to.db.join(&name));
        let name = name.to_string_lossy();
        if name == "LOCK" || name.starts_with("LOG") {
            continue;
        }
        if name.ends_with(".sst") && fs::hard_link(&source, &target).is_ok() {
            continue;
        }
        fs::copy(&source, &target).map_err(FileError::new("copy", source))?;
    }
    Ok(())
}

/// Reads every record of every family.
fn tally(tables: &Tables) -> Result<Tally, ReadError> {
    let mut tally = Tally {
        sequence: tables.sequence(),
        keys: [0; Family::ALL.len()],
        revision: 0,
        highest_day: None,
        highest_bucket: None,
        state: None,
    };
    for (at, family) in Family::ALL.into_iter().enumerate() {
        let mut count = 0;
        tables.scan_past_rot(family, &[], None, |key, value| {
            count += 1;
            tally.add(family, key, value);
            ControlFlow::Continue(())
        })?;
        if let Some(slot) = tally.keys.get_mut(at) {
            *slot = count;
        }
    }
    Ok(tally)
}

impl Tally {
    fn add(&mut self, family: Family, key: &[u8], value: &[u8]) {
        let revision = match family {
            Family::Meta if key == StoreState::KEY => {
                self.state = StoreState::decode(value).ok();
                self.state.map(|state| state.revision)
            }
            Family::Counters => match merge::Record::decode(value) {
                merge::Record::Value(value) => {
                    self.highest_day = self.highest_day.max(value.period);
                    Some(value.revision.max(value.generation))
                }
                merge::Record::Quarantined(_) => None,
            },
            Family::Days => {
                let day = keys::leading_day(key).and_then(|day| Day::from_days(day).ok());
                self.highest_day = self.highest_day.max(day);
                value::decode_day_record(value)
                    .ok()
                    .map(|(record, _)| record.generation)
            }
            Family::Dedup => keys::dedup_generation(key),
            Family::Idempotency => {
                self.highest_bucket = self.highest_bucket.max(keys::leading_bucket(key));
                value::decode_kept(value)
                    .ok()
                    .map(|kept| revision_of(&kept.outcome))
            }
            Family::History => value::decode_closed_day(value)
                .ok()
                .map(|day| day.record.generation),
            Family::Meta | Family::Definitions | Family::Samples | Family::Windows => None,
        };
        self.revision = self.revision.max(revision.unwrap_or(0));
    }

    /// Makes the record from which counting goes on: above every revision, day and bucket found.
    fn resumed(&self, now_ms: i64) -> Option<StoreState> {
        let bucket_ms = i64::from(self.highest_bucket.unwrap_or(0)) * 24 * 60 * 60 * 1000;
        let state = self.state.or_else(|| {
            let highest_day = self.highest_day?;
            Some(StoreState {
                revision: 0,
                highest_day,
                store_time: 0,
                wall_ms: now_ms,
            })
        })?;
        Some(StoreState {
            revision: state.revision.max(self.revision),
            highest_day: state
                .highest_day
                .max(self.highest_day.unwrap_or(state.highest_day)),
            store_time: state.store_time.max(bucket_ms),
            wall_ms: state.wall_ms,
        })
    }
}

fn revision_of(outcome: &Outcome) -> u64 {
    match outcome {
        Outcome::Applied(applied) => applied.revision,
        Outcome::Batch(all) => all
            .iter()
            .map(|applied| applied.revision)
            .max()
            .unwrap_or(0),
        Outcome::Each(all) => all
            .iter()
            .flatten()
            .map(|applied| applied.revision)
            .max()
            .unwrap_or(0),
        Outcome::Set { revision, .. }
        | Outcome::Defined { revision, .. }
        | Outcome::Deleted { revision, .. } => *revision,
    }
}

fn begin_epoch(
    paths: &Paths,
    tables: &Tables,
    after: &mut Tally,
    (old_epoch, epoch): (Option<u64>, u64),
    now_ms: i64,
) -> Result<(), ReadError> {
    let mut batch = Batch::new();
    // The same store, on a new epoch.
    let known = tables.lineage()?;
    let mut lineage = known.unwrap_or_else(|| Lineage::of_older(paths, old_epoch.unwrap_or(0)));
    lineage.add(epoch);
    stamp(&mut batch, epoch, &lineage);
    if let Some(state) = after.resumed(now_ms) {
        after.revision = state.revision;
        batch.put_state(&state);
    }
    write_and_flush(tables, &batch)
}

pub(super) fn sync_all(dir: &Path) -> Result<(), FileError> {
    for entry in fs::read_dir(dir).map_err(FileError::new("list", dir))? {
        let entry = entry.map_err(FileError::new("list", dir))?;
        files::sync_file(&entry.path())?;
    }
    files::sync_dir(dir)
}

/// Frees the reserve when the disk has less room than the copies may take.
fn make_room(paths: &Paths, reserve: &Reserve) -> Result<(), FileError> {
    let logs: u64 = files::wals(&paths.db)?.iter().map(|wal| wal.size).sum();
    let needed = logs.saturating_mul(2).saturating_add(WORKING_BYTES);
    if Space::of(&paths.data_dir)?.available < needed {
        reserve.free()?;
    }
    Ok(())
}

/// Sees to it that there is room for a store of all that is in the working copy, by freeing the reserve if
/// it must.
fn room_for_another(paths: &Paths, working: &Paths, reserve: &Reserve) -> Result<(), RecoverError> {
    let needed = room_needed(working)?.saturating_add(WORKING_BYTES);
    if Space::of(&paths.data_dir)?.available < needed {
        reserve.free()?;
    }
    let available = Space::of(&paths.data_dir)?.available;
    if available >= needed {
        return Ok(());
    }
    Err(RecoverError::NoRoom {
        data_dir: paths.data_dir.clone(),
        needed,
        available,
    })
}

/// Puts the recovered copy in the store's place and gives the damaged store its own name.
pub(super) fn swap(paths: &Paths, working: &Paths, epoch: u64) -> Result<PathBuf, FileError> {
    let kept = paths.data_dir.join(format!("store.before-{epoch}"));
    // The copy first gets the name that the damaged store is to have: if this is cut off anywhere, neither
    // store has a name that a later recovery deletes.
    rename(&working.store, &kept)?;
    match renameat_with(CWD, &kept, CWD, &paths.store, RenameFlags::EXCHANGE) {
        Ok(()) => {}
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            // Where the file system cannot exchange names there is a moment without a store; an
            // opening in it finds the remains and refuses to start empty.
            rename(&kept, &working.store)?;
            rename(&paths.store, &kept)?;
            rename(&working.store, &paths.store)?;
        }
        Err(errno) => {
            rename(&kept, &working.store)?;
            return Err(FileError::new("exchange", &paths.store)(io::Error::from(
                errno,
            )));
        }
    }
    files::sync_dir(&paths.data_dir)?;
    Ok(kept)
}

fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    fs::rename(from, to).map_err(FileError::new("rename", from))
}
