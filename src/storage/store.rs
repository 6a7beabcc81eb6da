//! The live store: one writer's handle.
//!
//! A commit is one synced write, recorded in `ACKED` before it returns. Any error ends the handle:
//! whether the group is on disk is known only after it was dropped and opened again.
//!
//! Kept out: what is written, and when to reopen (`writer`).

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rocksdb::{ErrorKind, FlushOptions, WriteBatch, WriteOptions};

use super::acked::{Acked, Mark};
use super::batch::{Batch, Change};
use super::error::{CommitError, ReadError};
use super::family::Family;
use super::files::{self, Live};
use super::held::HeldDir;
use super::keys;
use super::lock::DataDirLock;
use super::shared_log::{Appended, RedisTime, SharedLog};
use super::shared_log_error::SharedLogError;
use super::tables::{Reader, Tables};
use crate::calendar::Day;
use crate::invariant::{Broken, invariant};

/// About so many bytes of what other instances appended are written at once.
const FOLLOWED_AT_ONCE: usize = 1 << 20;

/// How often a commit that waits for a flush looks again.
const STALL_POLL: Duration = Duration::from_millis(1);

/// So many closed days leave a shared log at once.
const DROPPED_AT_ONCE: usize = 1000;

/// What became of a batch.
#[derive(Debug)]
pub enum Committed {
    /// It is durable.
    Yes,
    /// Other instances appended to the shared log before, so it was not written: take in what they appended
    /// ([`Store::follow`]) and work it out again.
    Behind,
    /// The Redis of the shared log refused, so it was not written; the store still holds all that was.
    Refused(SharedLogError),
}

/// An open store. It belongs to one thread, the writer's; others read through a [`Reader`].
pub struct Store {
    tables: Arc<Tables>,
    pub(super) acked: Acked,
    reader: Reader,
    /// The data directory and the store's, as they were when it was opened.
    place: [HeldDir; 2],
    write_options: WriteOptions,
    pub(super) poisoned: bool,
    synced_sequence: u64,
    /// How often commits waited a moment for flushes.
    pub(super) waits: u64,
    /// The log that other instances append to as well; `None` where the store has its own.
    log: Option<SharedLog>,
    _lock: DataDirLock,
}

impl Store {
    pub(super) fn new(
        lock: DataDirLock,
        place: [HeldDir; 2],
        tables: Tables,
        acked: Acked,
        reader: Reader,
    ) -> Self {
        let tables = Arc::new(tables);
        reader.attach(&tables);
        let mut write_options = WriteOptions::default();
        write_options.set_sync(true);
        write_options.set_no_slowdown(true);
        Self {
            synced_sequence: acked.mark().sequence,
            tables,
            acked,
            reader,
            place,
            write_options,
            poisoned: false,
            waits: 0,
            log: None,
            _lock: lock,
        }
    }

    /// Returns which history the store is on: milliseconds since 1970 at its start.
    pub fn epoch(&self) -> u64 {
        self.acked.mark().epoch
    }

    /// Returns the sequence number up to which everything is durable and may be acknowledged.
    pub fn sequence(&self) -> u64 {
        self.acked.mark().sequence
    }

    /// Returns what the store holds, with the last commit.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Writes `batch` and syncs it, then records it as acknowledged. An empty batch does nothing.
    /// Waits while flushes do not keep up, but not for one that failed. With a shared log it is appended there first,
    /// unless others have appended since: this is the one place where engines differ.
    ///
    /// # Errors
    /// After any error nobody may be told that the batch was written, or that it was not; the
    /// store takes no further write.
    pub fn commit(&mut self, batch: &Batch) -> Result<Committed, CommitError> {
        self.guarded(|store| {
            batch.check_whole()?;
            if batch.is_empty() {
                return Ok(Committed::Yes);
            }
            if let Some(log) = &mut store.log {
                match log.append(batch)? {
                    Appended::Yes => {}
                    Appended::Behind => return Ok(Committed::Behind),
                    Appended::Refused(error) => return Ok(Committed::Refused(error)),
                }
            }
            store.write(batch)?;
            Ok(Committed::Yes)
        })
    }

    /// Takes in groups that other instances appended, in one write, and returns them; none when it has all of them.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn follow(&mut self) -> Result<Vec<Batch>, CommitError> {
        self.guarded(|store| {
            let (mut all, mut groups) = (Batch::new(), Vec::new());
            let Some(log) = &mut store.log else {
                return Ok(groups);
            };
            while all.bytes() < FOLLOWED_AT_ONCE
                && let Some(entry) = log.next()?
            {
                log.took(&entry);
                all.append(&entry.batch);
                groups.push(entry.batch);
            }
            if !groups.is_empty() {
                store.write(&all)?;
            }
            Ok(groups)
        })
    }

    /// Waits until everything that it holds is durable, also what other instances appended. Without a shared log it always is.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn confirm(&mut self) -> Result<Committed, CommitError> {
        self.guarded(
            |store| match store.log.as_mut().map_or(Ok(()), SharedLog::confirm) {
                Ok(()) => Ok(Committed::Yes),
                Err(error @ SharedLogError::RedisRefused { .. }) => Ok(Committed::Refused(error)),
                Err(error) => Err(error.into()),
            },
        )
    }

    /// Returns how long ago all of a shared log was known last, where that is longer than `redis.max_lag`; `None` where the
    /// store has its own.
    pub fn late(&self) -> Option<Duration> {
        self.log.as_ref().and_then(SharedLog::late)
    }

    /// Returns what time it was in the Redis of a shared log when that was last asked; `None` where the store has its own.
    pub fn redis_time(&self) -> Option<RedisTime> {
        self.log.as_ref().and_then(SharedLog::time)
    }

    /// Gives up the handle and keeps the shared log; `None` where the store has its own.
    pub fn into_log(mut self) -> Option<SharedLog> {
        let mut log = self.log.take()?;
        log.stop_following();
        Some(log)
    }

    pub(super) fn following(mut self, log: SharedLog) -> Self {
        self.log = Some(log);
        self
    }

    pub(super) fn never_sync(&mut self) {
        self.write_options.set_sync(false);
    }

    /// Writes what a shared log holds.
    pub(super) fn take_in(&mut self, batch: &Batch) -> Result<(), CommitError> {
        self.guarded(|store| store.write(batch))
    }

    /// Does some work unless an earlier failure ended the handle. A failure of the work ends it.
    fn guarded<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, CommitError>,
    ) -> Result<T, CommitError> {
        if self.poisoned {
            return Err(CommitError::Poisoned);
        }
        let outcome = work(self);
        self.poisoned |= outcome.is_err();
        outcome
    }

    fn write(&mut self, batch: &Batch) -> Result<(), CommitError> {
        let (before, expected) = (self.sequence(), self.sequence() + batch.count());
        invariant!(
            self.synced_sequence <= before,
            "ACKED was synced at {}, past the acknowledged {before}",
            self.synced_sequence
        )?;
        loop {
            let batch = to_rocksdb(&self.tables, batch)?;
            match self.tables.db.write_opt(batch, &self.write_options) {
                Ok(()) => break,
                // RocksDB held the write back before it wrote a byte, so this repeats nothing.
                Err(error) if error.kind() == ErrorKind::Incomplete => self.wait_for_flush()?,
                Err(error) => return Err(self.failed(error)),
            }
        }
        let found = self.tables.sequence();
        if found != expected {
            return Err(CommitError::Sequence { found, expected });
        }
        Ok(self.acked.advance(found)?)
    }

    /// Waits a moment for flushes to make room. RocksDB left to itself would wait for as long as a
    /// disk is full, and nobody would get an answer.
    fn wait_for_flush(&mut self) -> Result<(), CommitError> {
        self.look_for_background_errors()?;
        self.waits += 1;
        thread::sleep(STALL_POLL);
        Ok(())
    }

    fn look_for_background_errors(&self) -> Result<(), CommitError> {
        let errors = self.tables.background_errors();
        if errors == 0 {
            return Ok(());
        }
        let detail = self.tables.background_failure();
        Err(CommitError::Background { errors, detail })
    }

    /// Records how long the live log and manifest are, so that their loss is seen even where the sequence
    /// number would not tell; checks for failures in the background, and that the directory is still
    /// where it was opened. To be called about once a second. Returns whether RocksDB began a new log: then a
    /// group is to be committed now, with the meta record alone if nothing waits. Until a group is in the new
    /// log, the loss of the old one's tail could go unseen.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn tick(&mut self) -> Result<bool, CommitError> {
        self.guarded(Self::record_files)
    }

    fn record_files(&mut self) -> Result<bool, CommitError> {
        // RocksDB goes on writing to the files that it has open wherever their directory is moved, and makes
        // new ones by the old name: nothing more may be acknowledged there.
        for dir in &self.place {
            if !dir.is_in_place()? {
                let path = dir.path().to_owned();
                return Err(CommitError::Moved { path });
            }
        }
        self.look_for_background_errors()?;
        self.tables.forget_rotten();
        self.record_log()?;
        let live = files::live(self.tables.db.path())?;
        let log_is_new = live.wal.number != self.acked.mark().live.wal.number;
        self.record(live)?;
        Ok(log_is_new)
    }

    fn record_log(&mut self) -> Result<(), CommitError> {
        let [data_dir, _] = &self.place;
        match &mut self.log {
            Some(log) => Ok(log.record(data_dir)?),
            None => Ok(()),
        }
    }

    fn record(&mut self, live: Live) -> Result<(), CommitError> {
        let mark = self.acked.mark();
        if live == mark.live && mark.sequence == self.synced_sequence {
            return Ok(());
        }
        let db_dir = self.tables.db.path();
        if live.wal != mark.live.wal {
            files::sync_file(&files::wal_path(db_dir, live.wal.number))?;
        }
        if live.manifest != mark.live.manifest {
            files::sync_file(&files::manifest_path(db_dir, live.manifest.number))?;
        }
        invariant!(
            mark.sequence >= self.synced_sequence,
            "{} would be recorded as acknowledged, after {}",
            mark.sequence,
            self.synced_sequence
        )?;
        self.acked.write(Mark { live, ..mark })?;
        self.acked.sync()?;
        self.synced_sequence = mark.sequence;
        Ok(())
    }

    /// Drops whole files of a partitioned family whose keys all lie below `end`, the bare prefix
    /// of the first day or bucket that stays. What shares a file with later keys, and what is not
    /// yet compacted, is left to the compaction filter. Other families are left alone.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn drop_whole_files(&mut self, family: Family, end: &[u8]) -> Result<(), CommitError> {
        self.guarded(|store| {
            if !family.is_partitioned() {
                return Ok(());
            }
            let handle = store.tables.handle(family)?;
            let dropped = store
                .tables
                .db
                .delete_file_in_range_cf(handle, &[][..], end);
            dropped.map_err(|error| store.failed(error))?;
            if let Some(log) = &mut store.log {
                log.drop_before(family, end);
            }
            Ok(())
        })
    }

    /// Removes closed days before `day` from the shared log, where there is one: it has no filter. Ends with the first
    /// records that Redis does not remove in time, since the writer waits: what stays goes once an instance that read the whole log
    /// anew does this.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub(super) fn drop_history_of_log(&mut self, day: Day) -> Result<(), CommitError> {
        self.guarded(|store| {
            let Some(log) = &mut store.log else {
                return Ok(());
            };
            let (mut over, mut after) = (Vec::new(), None);
            while let Some(name) = store.tables.next_in_history(after.as_ref())? {
                let days = Day::MIN..=day;
                store.tables.history(&name, days, |of, _| {
                    if of < day {
                        over.push(keys::history(&name, of));
                    }
                })?;
                if over.len() >= DROPPED_AT_ONCE {
                    if !log.drop_records(Family::History, &over) {
                        return Ok(());
                    }
                    over.clear();
                }
                after = Some(name);
            }
            log.drop_records(Family::History, &over);
            Ok(())
        })
    }

    /// Moves everything from the log into tables.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn flush(&mut self) -> Result<(), CommitError> {
        self.guarded(|store| store.tables.flush().map_err(|error| store.failed(error)))
    }

    /// Closes the store with nothing left to replay. Dropping it instead loses nothing either.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn close(mut self) -> Result<(), CommitError> {
        self.record_log()?;
        if let Some(log) = self.log.take() {
            log.close();
        }
        self.flush()?;
        let live = files::live(self.tables.db.path())?;
        self.record(live)
    }

    /// Turns what RocksDB said into a [`CommitError`]; it may tell of a rotten table, which is noted.
    fn failed(&self, error: rocksdb::Error) -> CommitError {
        self.tables.note(None, &error);
        CommitError::Write(error)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.reader.detach();
    }
}

impl Tables {
    /// Moves everything from the log into tables.
    ///
    /// # Errors
    /// When RocksDB cannot write them. The writer notices that by itself.
    pub fn flush_all(&self) -> Result<(), ReadError> {
        Ok(self.flush()?)
    }

    pub(super) fn flush(&self) -> Result<(), rocksdb::Error> {
        let families = Family::ALL.into_iter();
        let handles: Vec<_> = families
            .filter_map(|family| self.handle(family).ok())
            .collect();
        self.db.flush_cfs_opt(&handles, &FlushOptions::default())
    }
}

/// Makes RocksDB's form of a batch.
pub(super) fn to_rocksdb(tables: &Tables, batch: &Batch) -> Result<WriteBatch, ReadError> {
    let mut handles = [None; Family::ALL.len()];
    let mut converted =
        WriteBatch::with_capacity_bytes(batch.bytes() + 16 * batch.count() as usize);
    for (family, key, change) in batch.changes() {
        let slot = handles
            .get_mut(family as usize)
            .ok_or_else(|| Broken::found(format_args!("the family {family:?} has no slot")))?;
        let handle = match *slot {
            Some(handle) => handle,
            None => *slot.insert(tables.handle(family)?),
        };
        match change {
            Change::Put(value) => converted.put_cf(handle, key, value),
            Change::Merge(_) if family != Family::Counters => {
                invariant!(
                    false,
                    "a merge in the family {}, which has none",
                    family.as_str()
                )?;
            }
            Change::Merge(operand) => converted.merge_cf(handle, key, operand),
            Change::Delete => converted.delete_cf(handle, key),
        }
    }
    Ok(converted)
}
