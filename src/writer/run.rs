//! The writer's thread: take what waits, work it out, write and sync, publish, answer.
//!
//! Between write and publication there is one group. A failed write is never tried again: its group
//! is told that the outcome is unknown, and the store is dropped, reopened and verified (`reopen`).

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use crate::calendar::Day;
use crate::clock::Clock;
use crate::counter::{CounterName, Definition, Existence, Millis, RequestId};
use crate::current_day::{CurrentDay, Look};
use crate::invariant::Broken;
use crate::metrics::Metrics;
use crate::storage::{
    Batch, Bucket, Committed, ReadError, Reader, SharedLog, StorageOptions, Store, StoreState,
};

use super::away::Away;
use super::fold::Fold;
use super::group::{Group, Rules};
use super::ledger::{EntryState, Index, Ledger, LedgerEntry};
use super::lookups::{Memory, StoreLookups};
use super::minutes::Minutes;
use super::options::StartError;
use super::queue::{Intake, Reply, ReplyTo};
use super::reopen::{Failed, Relapse};
use super::space::SpaceWatch;
use super::table::Table;
use super::tries::Tries;
use super::upkeep::Upkeep;
use super::{Cause, Failure, Mode};

/// How long the writer sleeps at most when nothing comes.
const IDLE: Duration = Duration::from_millis(250);

/// 2020-01-01 in days since 1970: counterd did not exist before, so a clock that shows less is not set.
const EARLIEST_DAY: i32 = 18_262;
const DAY_MS: Millis = 86_400_000;

/// How many keys are read into memory at a time after a start: between two groups, and when nothing waits.
const FILLED_WHEN_BUSY: usize = 1000;
const FILLED_WHEN_IDLE: usize = 20_000;

/// The writer.
pub(super) struct Writer {
    pub(super) links: Links,
    pub(super) handle: Handle,
    pub(super) books: Books,
    pub(super) progress: Progress,
    /// What the group under way will be answered.
    pub(super) replies: Vec<(ReplyTo, Reply)>,
}

/// What the writer shares with readers, runtimes and metrics.
pub(super) struct Links {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) days: Arc<CurrentDay>,
    pub(super) mode: Arc<Mode>,
    pub(super) table: Arc<Table>,
    pub(super) intake: Arc<Intake>,
    pub(super) metrics: Arc<Metrics>,
    /// How often other instances were found to have worked through days.
    pub(super) done_elsewhere: Arc<AtomicU64>,
}

/// The store, and how it is opened again.
pub(super) struct Handle {
    pub(super) storage: StorageOptions,
    pub(super) reader: Reader,
    /// `None` while the store is being reopened.
    pub(super) store: Option<Store>,
    /// The shared log while its view is made anew; `None` else.
    pub(super) log: Option<SharedLog>,
    /// Why the Redis of the shared log refused the last group; `None` where it did not.
    pub(super) refused: Option<String>,
    pub(super) failed: Option<Failed>,
    pub(super) relapse: Option<Relapse>,
    pub(super) space: SpaceWatch,
}

/// The account of every counter, and what is written next.
pub(super) struct Books {
    pub(super) rules: Rules,
    pub(super) configured: Vec<(CounterName, Definition)>,
    pub(super) ledger: Ledger,
    pub(super) memory: Memory,
    pub(super) minutes: Minutes,
    pub(super) batch: Batch,
}

/// How far the writer has come.
pub(super) struct Progress {
    /// Whether the counters of the configuration are in the store that is open.
    pub(super) settled: bool,
    pub(super) upkeep: Upkeep,
    /// The absence before this start, until it is noted.
    pub(super) away: Option<Away>,
    /// The last group that was begun. A group that came to nothing keeps its number: what it touched
    /// carries it.
    pub(super) last_group: u64,
    /// The time of the last group in a shared log, below which no later one lies; the minimum without one.
    pub(super) cell_ms: Millis,
    /// The highest day on disk.
    pub(super) stored_day: Option<Day>,
    pub(super) zone: String,
    pub(super) zone_stored: bool,
    /// Since when the group under way is tried, where that is not its first try.
    pub(super) tried_since: Option<Instant>,
    /// How long the synced writes of this turn took.
    pub(super) synced: Duration,
}

impl Writer {
    /// Publishes the whole ledger to readers.
    pub(super) fn publish_all(&mut self) {
        self.progress.last_group += 1;
        let there = |entry: &LedgerEntry| entry.state.existence != Existence::Absent;
        let (table, ledger, group) = (
            &self.links.table,
            &self.books.ledger,
            self.progress.last_group,
        );
        table.retain(|name| ledger.named(name).is_some_and(there));
        if let Some(store) = &self.handle.store {
            table.set_epoch(store.epoch());
        }
        let epoch = table.epoch();
        for entry in ledger.iter() {
            table.stage(group, entry.reading(epoch));
        }
        table.publish(group, ledger.revision);
        self.tell_counts();
    }

    pub(super) fn tell_counts(&self) {
        let gauge = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let (state, ledger) = (&self.links.metrics.state, &self.books.ledger);
        state.live_counters.set(gauge(ledger.live));
        state.quarantined_counters.set(gauge(ledger.corrupt));
    }

    pub(super) fn run(mut self) {
        self.links.intake.serve_from_this_thread();
        let mut submissions = Vec::new();
        loop {
            // Read before the queue, so that requests from before the close are still taken.
            let closing = self.links.intake.is_closed();
            self.links.intake.take(&mut submissions);
            let begun = Instant::now();
            self.links.mode.disk().begin();
            // Read before the time is observed, so that upkeep never works by an older time.
            let due = self.progress.upkeep.is_due(self.links.clock.boot_ms());
            if due {
                self.compare_clocks();
            }
            let mut look = self.observe_time();
            if self.handle.store.is_none() {
                if self.is_shared() {
                    // Now: a try may wait for Redis.
                    self.refuse(&mut submissions, Cause::StoreFailed);
                }
                self.try_reopen(look);
                // The store may have been counted into a later day.
                look = self.observe_time();
            }
            look = self.follow(look);
            self.watch_log(look, due);
            look = self.look_again(look);
            if due {
                self.tick(look);
                look = self.look_again(look);
            }
            look = self.settle(look);
            self.write_prepared(look);
            look = self.look_again(look);
            let goes_on = if !submissions.is_empty() {
                self.group(&mut submissions, look);
                self.fill_memory(FILLED_WHEN_BUSY);
                true
            } else if closing && !self.links.intake.has_prepared() {
                break;
            } else {
                self.prune_users(look) || self.fill_memory(FILLED_WHEN_IDLE)
            };
            let synced = std::mem::take(&mut self.progress.synced);
            let own = begun.elapsed().saturating_sub(synced);
            self.links.metrics.commits.turned(own);
            if !goes_on {
                self.links.mode.disk().end();
                self.links.intake.wait(self.idle_time());
            }
        }
        let mode = Arc::clone(&self.links.mode);
        self.end();
        mode.disk().end();
    }

    /// Reads some more users and keys from disk into memory; returns whether there are still more.
    fn fill_memory(&mut self, limit: usize) -> bool {
        let Some(store) = &self.handle.store else {
            return false;
        };
        match self.books.memory.fill(store.tables(), limit) {
            Ok(more) => more,
            Err(error) => {
                self.fail(&error, None);
                false
            }
        }
    }

    fn idle_time(&self) -> Duration {
        self.handle
            .failed
            .as_ref()
            .map_or(IDLE, |failed| failed.wait(Instant::now()).min(IDLE))
    }

    fn end(mut self) {
        // The last group says until when the server was there.
        let look = self.observe_time();
        if self.handle.store.is_some() && self.links.mode.refuses().is_none() {
            let group = self.new_group(look);
            self.books.batch.clear();
            // Where others go on, they say until when.
            let _ = self.write_batch(group);
        }
        if let Some(store) = self.handle.store
            && let Err(error) = store.close()
        {
            tracing::error!(%error, "the store did not close cleanly; nothing acknowledged is lost");
        }
    }

    /// Looks at the time, for everything that happens until the next look, and raises or clears the cause
    /// `clock` by what it sees.
    pub(super) fn observe_time(&self) -> Look {
        let mut look = self.links.days.look();
        if look.wall_ms < self.progress.cell_ms {
            look.wall_ms = self.progress.cell_ms;
            look.latest_ms = look.latest_ms.max(look.wall_ms);
        }
        if look.clock_fault && self.was_born_too_early(look.wall_ms) {
            look = self.links.days.accept();
            tracing::warn!(day = %look.day, "the store began while the clock was not set, and nothing was counted: the clock is believed");
        }
        if look.clock_fault {
            if self.links.mode.raise(Cause::Clock, look.wall_ms) {
                self.links.metrics.state.clock_jumps.inc();
            }
        } else if self.links.mode.stands(Cause::Clock) {
            self.links.mode.clear(Cause::Clock);
        }
        look
    }

    /// Whether the store began on a machine whose clock was not set yet, which it is now, and nothing was
    /// counted since: no day is at stake.
    fn was_born_too_early(&self, wall_ms: Millis) -> bool {
        let untouched = |entry: &LedgerEntry| {
            let EntryState {
                value,
                revision,
                generation,
                ..
            } = entry.state;
            value == 0 && revision == generation
        };
        self.progress
            .stored_day
            .is_some_and(|day| day.days() < EARLIEST_DAY)
            && wall_ms >= i64::from(EARLIEST_DAY) * DAY_MS
            && self.books.ledger.iter().all(untouched)
    }

    /// Does what is due about once a second.
    fn tick(&mut self, look: Look) {
        // Without a store there is nothing to watch: a mount point without its volume, say, must not get a
        // reserve file.
        let Some(store) = &mut self.handle.store else {
            return;
        };
        match store.tick() {
            Ok(group_due) => {
                self.watch_space(look.wall_ms);
                if self.links.mode.refuses().is_none() {
                    self.maintain(look, group_due);
                    let look = self.look_again(look);
                    // Here too, or it would wait for as long as requests never cease.
                    self.prune_users(look);
                } else if group_due {
                    self.progress.upkeep.group_due = true;
                }
            }
            Err(error) => self.fail(&error, None),
        }
    }

    /// Defines the counters of the configuration before any request. Otherwise a first increment would
    /// create a counter of another kind under their names.
    pub(super) fn settle(&mut self, mut look: Look) -> Look {
        let tries = Tries::begin();
        while !self.progress.settled
            && self.handle.store.is_some()
            && self.links.mode.refuses().is_none()
            && !self.is_too_late(&tries)
        {
            self.maintain(look, false);
            look = self.look_again(look);
        }
        look
    }

    /// Writes what no client asked for: counters of the configuration, expiries, forgotten names, a
    /// new day or bucket; or the meta record alone when `forced`.
    pub(super) fn maintain(&mut self, look: Look, forced: bool) {
        let mut group = self.new_group(look);
        let worked = self.with_fold(&mut group, |fold, upkeep, configured| {
            upkeep.work_out(fold, configured)
        });
        match worked {
            Some(Ok(())) => {}
            Some(Err(error)) => return self.fail(&error, None),
            None => return,
        }
        let bucket = group.bucket;
        let new_horizon = bucket.saturating_sub(1) > self.handle.reader.horizons.idempotency();
        let forced = forced
            || self.progress.upkeep.group_due
            || self.progress.stored_day != Some(group.today.day)
            || new_horizon
            || !self.progress.zone_stored;
        self.progress.upkeep.group_due = false;
        if forced || !group.is_empty(&self.books.ledger) {
            self.books.batch.clear();
            if let Err(behind) = self.write_batch(group) {
                // The next turn does it, by what others appended.
                self.take_back(&behind, look);
                return;
            }
        }
        self.progress.settled = self.handle.store.is_some();
        self.progress.upkeep.has_defined |= self.progress.settled && self.is_shared();
        if new_horizon && self.handle.store.is_some() {
            self.drop_buckets(bucket.saturating_sub(1));
        }
    }

    fn drop_buckets(&mut self, below: Bucket) {
        self.handle.reader.horizons.publish_idempotency(below);
        if let Some(store) = &mut self.handle.store
            && let Err(error) = store.drop_buckets(below)
        {
            self.fail(&error, None);
        }
    }

    pub(super) fn new_group(&mut self, look: Look) -> Group {
        self.progress.last_group += 1;
        let mut group = Group::new(
            self.progress.last_group,
            &look,
            self.links.days.local_day(look.day),
            self.links.days.store_ms(),
        );
        group.minutes = self.books.minutes.passed(
            &mut self.books.ledger,
            self.progress.stored_day,
            look.wall_ms,
        );
        group
    }

    pub(super) fn with_fold<T>(
        &mut self,
        group: &mut Group,
        work: impl FnOnce(
            &mut Fold<'_, StoreLookups<'_>>,
            &mut Upkeep,
            &[(CounterName, Definition)],
        ) -> T,
    ) -> Option<T> {
        let tables = self.handle.store.as_ref()?.tables();
        let Books {
            rules,
            configured,
            ledger,
            memory,
            ..
        } = &mut self.books;
        memory.follow(group.today.day, group.bucket);
        let mut lookups = StoreLookups { tables, memory };
        let mut fold = Fold {
            ledger,
            group,
            lookups: &mut lookups,
            rules,
            days: &self.links.days,
            undo: None,
        };
        Some(work(&mut fold, &mut self.progress.upkeep, configured))
    }

    /// Adds the group to the batch, writes and syncs it, publishes it, then answers.
    ///
    /// # Errors
    /// The group, where others appended to the shared log before, or its Redis refuses: it was not written, and nobody was
    /// answered.
    pub(super) fn write_batch(&mut self, mut group: Group) -> Result<(), Box<Group>> {
        let filled = self.note_absence(&group);
        let changed = match filled.and_then(|()| Ok(self.fill(&mut group)?)) {
            Ok(changed) => changed,
            Err(error) => {
                self.give_up(&error);
                return Ok(());
            }
        };
        self.before_commit(&group, &changed);
        let started = Instant::now();
        if self.is_shared() {
            self.links.metrics.shared_log.appends.inc();
        }
        let count = self.books.batch.count();
        match self.commit() {
            Ok(Committed::Yes) => self.handle.refused = None,
            Ok(Committed::Behind) => {
                self.handle.refused = None;
                self.links.metrics.shared_log.conflicts.inc();
                return Err(Box::new(group));
            }
            Ok(Committed::Refused(error)) => {
                self.refused(&error);
                return Err(Box::new(group));
            }
            Err(error) => {
                self.fail(&error, Some(count));
                self.replace_replies(&Failure::OutcomeUnknown);
                self.answer();
                return Ok(());
            }
        }
        let operations = usize::try_from(group.counted).unwrap_or(usize::MAX);
        let took = started.elapsed();
        self.progress.synced += took;
        let commits = &self.links.metrics.commits;
        commits.synced(operations, took, group.now);
        self.progress.stored_day = Some(group.today.day);
        self.progress.zone_stored = true;
        self.progress.away = None;
        if self.is_shared() {
            self.progress.cell_ms = self.progress.cell_ms.max(group.now);
            let since = self.progress.tried_since.unwrap_or(started);
            self.links.metrics.shared_log.appended(since.elapsed());
        }
        self.publish(&group, &changed);
        for &index in &changed {
            self.books.minutes.follow(&mut self.books.ledger, index);
        }
        for (day, generation, user) in &group.users {
            self.books.memory.counted(*day, *generation, user);
        }
        for sight in std::mem::take(&mut group.sights) {
            self.books.memory.saw(sight);
        }
        for key in group.kept.keys() {
            self.books.memory.kept(group.bucket, key);
        }
        if !self.books.ledger.lapsing.is_empty() {
            let horizons = &self.handle.reader.horizons;
            horizons.publish_windows(group.slid_to());
            horizons.publish_leases(group.store_ms);
        }
        self.books.ledger.ended.extend(&group.ended);
        self.forget_or_fail(&group);
        self.answer();
        Ok(())
    }

    fn note_absence(&mut self, group: &Group) -> Result<(), ReadError> {
        let (Some(away), Some(store)) = (&self.progress.away, &self.handle.store) else {
            return Ok(());
        };
        let now = (group.today.day, group.now, self.links.clock.boot_ms());
        away.put(
            &mut self.books.batch,
            store.tables(),
            self.links.days.calendar(),
            now,
        )
    }

    /// Lets readers see what the group changed.
    pub(super) fn publish(&mut self, group: &Group, changed: &[Index]) {
        let (table, ledger) = (&self.links.table, &self.books.ledger);
        let epoch = table.epoch();
        // `fill` found each of them a moment ago.
        for entry in changed.iter().filter_map(|&index| ledger.entry(index)) {
            table.stage(group.number, entry.reading(epoch));
        }
        table.publish(group.number, ledger.revision);
        self.tell_counts();
    }

    pub(super) fn forget_or_fail(&mut self, group: &Group) {
        if let Err(broken) = self.forget(group) {
            self.fail(&broken, None);
        }
    }

    /// Takes out names that were forgotten, and places that a refused batch made.
    fn forget(&mut self, group: &Group) -> Result<(), Broken> {
        let Books {
            ledger, minutes, ..
        } = &mut self.books;
        for &index in &group.forgotten {
            self.links.table.forget(&ledger.at(index)?.name);
            minutes.leave(index);
            ledger.remove(index);
        }
        for &index in &group.touched {
            if ledger.at(index)?.state.existence == Existence::Absent {
                minutes.leave(index);
                ledger.remove(index);
            }
        }
        Ok(())
    }

    /// Returns the name under which the server's own changes stand in events.
    pub(super) fn own_request() -> RequestId {
        RequestId::Given("counterd".into())
    }
}

/// Reads where the store stands; `None` in a new one.
pub(super) fn stored_state(store: &Store) -> Result<Option<StoreState>, StartError> {
    let state = store.tables().stored_state()?.transpose();
    state.map_err(|_| StartError::State)
}
