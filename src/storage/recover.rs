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

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;

use bytesize::ByteSize;
use rocksdb::WriteBatch;

use super::create::{begin_epoch, directories, put_in_place, remove};
pub use super::error::RecoverError;
use super::error::{OpenCause, OpenError, ReadError};
use super::family::Family;
use super::file_error::FileError;
use super::lineage::{Lineage, next_epoch};
use super::lock::DataDirLock;
use super::open::{Opening, StorageOptions};
use super::paths::{Paths, RECOVERING, SALVAGING};
use super::reserve::Reserve;
use super::rot::RottenTable;
use super::schema::{DbAccess, Schema};
use super::tables::Tables;
use super::value::StoreState;
use super::{acked, files, keys, merge, open, owner, value};
use crate::calendar::Day;
use crate::counter::{CounterName, Millis, Outcome, TimeLine};

/// Room for what an opening writes besides copies of the logs, in bytes.
const WORKING_BYTES: u64 = 32 * 1024 * 1024;

/// How much of a store that is written anew goes into one write, in bytes.
const AT_ONCE: usize = 1024 * 1024;

/// What a reading of a store found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// The sequence number it reached.
    pub sequence: u64,
    /// Keys in each family that has some.
    pub keys: BTreeMap<Family, u64>,
    /// The highest revision or generation in any record.
    pub revision: u64,
    highest_day: Option<Day>,
    highest_bucket: Option<u32>,
    /// The store time at which the last lease ends.
    last_lease: Millis,
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
    /// Counts the acknowledged operations that the recovered store lacks; `None` when nothing says how
    /// many: `ACKED` could not be read, or records were left out in the middle.
    pub fn given_up(&self) -> Option<u64> {
        let acknowledged = self.acknowledged.filter(|_| !self.left_out)?;
        Some(acknowledged.saturating_sub(self.after.sequence))
    }
}

impl fmt::Display for RecoverReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = |number: Option<u64>| number.map_or("unknown".to_owned(), |n| n.to_string());
        let refusal = self.refusal.as_deref().unwrap_or("a sound store");
        let given_up = match self.given_up() {
            Some(count) => format!("{count} operations"),
            None if self.left_out => {
                "every damaged group; later ones are kept, and one may be there in part".to_owned()
            }
            None => "unknown".to_owned(),
        };
        writeln!(
            out,
            "found:         {refusal}\n\
             acknowledged:  up to {}\n\
             recovered:     up to {}\n\
             given up:      {given_up}",
            known(self.acknowledged),
            self.after.sequence
        )?;
        for table in &self.aside {
            writeln!(out, "set aside:     {table}")?;
        }
        for name in &self.lost {
            writeln!(
                out,
                "lost:          the value of {name}: `counterd repair` sets one"
            )?;
        }
        writeln!(out, "keys:          family           readable    recovered")?;
        for family in Family::ALL {
            let of = |tally: &Tally| tally.keys.get(&family).copied().unwrap_or(0);
            let (before, after) = (known(self.before.as_ref().map(of)), of(&self.after));
            let family = family.as_str();
            writeln!(out, "               {family:<12} {before:>12} {after:>12}")?;
        }
        write!(
            out,
            "epoch:         {} (was {})\n\
             next revision: {}\n\
             damaged store: kept in {}",
            self.epoch,
            known(self.old_epoch),
            self.after.revision.saturating_add(1),
            self.kept.display()
        )
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
        mut schema,
        ..
    } = Opening::offline(lock, options)?;
    schema.at_rest = true;
    if !paths.store.is_dir() {
        return Err(RecoverError::Refused(format!(
            "there is no store in {}; restore a backup",
            paths.data_dir.display()
        )));
    }
    let refusal = judge(&paths, &schema, even_if_sound)?;
    let logs = files::wal_bytes(&paths.db)?;
    reserve.free_for(logs.saturating_mul(2).saturating_add(WORKING_BYTES))?;
    let mut working = paths.beside(RECOVERING);
    let before = readable(&paths, &working, &schema)?;
    let (mut tables, left_out) = consistent(&paths, &working, &schema)?;
    let after = tally(&tables)?;
    let acked = acked::read(&paths.acked)?.ok();
    let stored = tables.epoch()?;
    let old_epoch = acked
        .map(|mark| mark.epoch)
        .max((stored > 0).then_some(stored));
    let epoch = next_epoch(now_ms, old_epoch.unwrap_or(0));
    let aside = schema.rot.tables();
    let mut lost = Vec::new();
    if !aside.is_empty() {
        let anew = paths.beside(SALVAGING);
        let made = room_for_another(&paths, &working, &reserve)
            .and_then(|()| salvage(&tables, &anew, &schema));
        drop(tables);
        remove(&working.store)?;
        (tables, lost) = made?;
        working = anew;
    }
    // The same store, on a new epoch.
    let known = tables.lineage()?;
    let mut lineage = known.unwrap_or_else(|| Lineage::of_older(&paths, old_epoch.unwrap_or(0)));
    lineage.add(epoch);
    let resumed = after.resumed(now_ms);
    begin_epoch(&working, tables, epoch, &lineage, resumed.as_ref())?;
    // The copy must open by the rules that refused the store, before it takes its place.
    open::check(&working, &schema)?;
    owner::give_back(&paths.data_dir)?;
    put_in_place(&paths, &working, epoch)?;
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
        kept: paths.replaced_by(epoch).store,
    })
}

/// Returns why the store does not open; `None` when it opens, and is to be recovered all the same.
fn judge(
    paths: &Paths,
    schema: &Schema,
    even_if_sound: bool,
) -> Result<Option<String>, RecoverError> {
    match open::check(paths, schema) {
        Ok((_, tables)) => {
            // Whatever reads a rotten table notes it.
            tally(&tables)?;
            let rotten = schema.rot.tables();
            let rotten: Vec<String> = rotten.iter().map(ToString::to_string).collect();
            if rotten.is_empty() && !even_if_sound {
                return Err(RecoverError::Refused(format!(
                    "the store in {} is sound; nothing was changed",
                    paths.data_dir.display()
                )));
            }
            Ok((!rotten.is_empty()).then(|| rotten.join("; ")))
        }
        Err(error) if error.cause == OpenCause::Damage => Ok(Some(error.finding().to_owned())),
        Err(error) => Err(error.into()),
    }
}

/// Counts everything that can be read, in whatever order it was written; `None` when that is nothing.
fn readable(
    paths: &Paths,
    working: &Paths,
    schema: &Schema,
) -> Result<Option<Tally>, RecoverError> {
    copy(paths, working)?;
    let tables = Tables::try_open(&working.db, schema, DbAccess::WriteWithoutDamaged);
    Ok(tables.ok().and_then(|tables| tally(&tables).ok()))
}

/// Opens a copy at the last consistent point; returns whether damaged records had to be left out.
fn consistent(
    paths: &Paths,
    working: &Paths,
    schema: &Schema,
) -> Result<(Tables, bool), RecoverError> {
    copy(paths, working)?;
    if let Ok(tables) = Tables::try_open(&working.db, schema, DbAccess::WriteToPointInTime) {
        return Ok((tables, false));
    }
    copy(paths, working)?;
    // With no log at all there is nothing to leave out: the tables are the consistent point.
    let left_out = !files::wals(&working.db)?.is_empty();
    match Tables::try_open(&working.db, schema, DbAccess::WriteWithoutDamaged) {
        Ok(tables) => Ok((tables, left_out)),
        Err(error) => {
            remove(&working.store)?;
            let detail = error.into_string().replace(RECOVERING, "store");
            Err(RecoverError::BeyondTheLog(detail))
        }
    }
}

/// Copies RocksDB's files, tables as links to the same file: RocksDB never writes to a table twice.
fn copy(from: &Paths, to: &Paths) -> Result<(), FileError> {
    directories(to)?;
    for source in files::of_database(&from.db)? {
        let target = to.db.join(source.file_name().unwrap_or_default());
        let is_table = source.extension().is_some_and(|end| end == "sst");
        if !is_table || fs::hard_link(&source, &target).is_err() {
            fs::copy(&source, &target).map_err(FileError::new("copy", source))?;
        }
    }
    Ok(())
}

/// Reads every record of every family.
fn tally(tables: &Tables) -> Result<Tally, ReadError> {
    let mut tally = Tally {
        sequence: tables.sequence(),
        ..Tally::default()
    };
    tables.scan_all(|family, key, value| tally.add(family, key, value))?;
    Ok(tally)
}

impl Tally {
    fn add(&mut self, family: Family, key: &[u8], value: &[u8]) {
        *self.keys.entry(family).or_default() += 1;
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
            Family::Windows => {
                if let Some((TimeLine::Store, until)) = value::counts_until(value) {
                    self.last_lease = self.last_lease.max(until);
                }
                keys::windows_generation(key)
            }
            Family::Meta | Family::Definitions | Family::Samples => None,
        };
        self.revision = self.revision.max(revision.unwrap_or(0));
    }

    /// Makes the record from which counting goes on: above every revision, day and bucket found.
    fn resumed(&self, now_ms: i64) -> Option<StoreState> {
        let bucket_ms = i64::from(self.highest_bucket.unwrap_or(0)) * 24 * 60 * 60 * 1000;
        let state = self.state;
        Some(StoreState {
            revision: self.revision,
            highest_day: state.map(|state| state.highest_day).max(self.highest_day)?,
            // Without the record nobody knows how long leases would have lasted: they have ended, and heal.
            store_time: state
                .map_or(self.last_lease, |state| state.store_time)
                .max(bucket_ms),
            wall_ms: state.map_or(now_ms, |state| state.wall_ms),
        })
    }
}

fn revision_of(outcome: &Outcome) -> u64 {
    match outcome {
        Outcome::Applied(applied) => applied.revision,
        Outcome::Batch(all) => all.iter().map(|one| one.revision).max().unwrap_or(0),
        Outcome::Each(all) => {
            let counted = all.iter().flatten().map(|one| one.revision);
            counted.max().unwrap_or(0)
        }
        Outcome::Set { revision, .. }
        | Outcome::Defined { revision, .. }
        | Outcome::Deleted { revision, .. } => *revision,
    }
}

/// Sees to it that there is room for a store of all that is in the working copy, which takes about as much
/// again, by freeing the reserve if it must.
fn room_for_another(paths: &Paths, working: &Paths, reserve: &Reserve) -> Result<(), RecoverError> {
    let mut needed = WORKING_BYTES;
    for file in files::of_database(&working.db)? {
        needed += files::size_of(&file)?.unwrap_or(0);
    }
    let (_, available) = reserve.free_for(needed)?;
    if available >= needed {
        return Ok(());
    }
    let size = |bytes| ByteSize(bytes).display().iec();
    Err(RecoverError::Refused(format!(
        "the disk of {} lacks {}: setting rotten tables aside writes the store anew, which needs about {}, \
         and {} are free; nothing was changed: make room there, and run it again",
        paths.data_dir.display(),
        size(needed - available),
        size(needed),
        size(available)
    )))
}

/// Makes a database at `target` of what can be read of `tables`. Returns it, and the counters whose value was
/// lost: each is quarantined, so that it answers `corrupt_record` until it is repaired, and never a value that
/// it did not have. RocksDB has no way to take one table out of a family, so everything else is written anew.
fn salvage(
    tables: &Tables,
    target: &Paths,
    schema: &Schema,
) -> Result<(Tables, Vec<CounterName>), RecoverError> {
    let failed = |error| OpenError::from_rocksdb(&target.db, None, error);
    directories(target)?;
    let made = Tables::open(&target.db, schema, DbAccess::Make)?;
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
        if family == Family::Windows {
            for (name, generation) in tables.lapsing_in(&gaps)? {
                // It cannot be read, so a start says that of the whole counter.
                batch.put_cf(handle, keys::leaving(generation, 0), b"");
                lost.push(name);
            }
        }
        made.db.write(batch).map_err(failed)?;
    }
    Ok((made, lost))
}
