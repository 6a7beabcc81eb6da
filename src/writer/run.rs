//! The writer's thread: take what waits, work it out, write and sync, publish, answer.
//!
//! Between write and publication there is one group. A failed write is never tried again: its group
//! is told that the outcome is unknown, and the store is dropped, reopened and verified (`reopen`).

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::calendar::Day;
use crate::clock::Clock;
use crate::counter::{CounterName, Definition, Millis, RequestId};
use crate::current_day::{self, CurrentDay, Look};
use crate::metrics::Metrics;
use crate::storage::expiry::Horizons;
use crate::storage::keys::{self, Bucket};
use crate::storage::value::{self, State};
use crate::storage::{Batch, DataDirLock, Family, ReadError, Reader, StorageOptions, Store};

use super::group::{Fold, Group, Rules};
use super::ledger::{self, Index, Ledger, Life};
use super::lookups::{Recent, StoreLookups};
use super::options::{StartError, WriterOptions};
use super::queue::{Intake, Reply, ReplyTo, Submission};
use super::reopen::Failed;
use super::space::SpaceWatch;
use super::table::Table;
use super::upkeep::Upkeep;
use super::{Cause, Failure, Mode};

/// After so many operands on one counter its whole value is put, so that reads stay cheap.
const MAX_MERGES: u16 = 256;

/// A span of store time in which idempotency records share a bucket.
const BUCKET_MS: i64 = 24 * 3_600_000;

/// How long the writer sleeps at most when nothing comes.
const IDLE: Duration = Duration::from_millis(250);

/// The key in `meta` of the zone in force.
const ZONE_KEY: &[u8] = b"zone";

/// The key in `meta` of the horizon of idempotency records.
const IDEMPOTENCY_HORIZON_KEY: &[u8] = b"horizon|idempotency";

/// A running writer and what others share with it.
pub struct Running {
    /// Where changes are put.
    pub intake: Arc<Intake>,
    /// What readers see.
    pub table: Arc<Table>,
    /// Whether writes are served.
    pub mode: Arc<Mode>,
    /// The one current day.
    pub day: Arc<CurrentDay>,
    /// Reads of the store for other threads.
    pub reader: Reader,
    /// What compaction may drop, and what it did.
    pub horizons: Arc<Horizons>,
    thread: JoinHandle<()>,
}

impl Running {
    /// Opens the store, loads it, brings the counters of the configuration in, and starts the
    /// writer's thread.
    ///
    /// # Errors
    /// When the store cannot be opened or read, or contradicts the configuration.
    pub fn start(options: WriterOptions) -> Result<Self, StartError> {
        let (runtimes, queue) = (options.runtimes, options.queue);
        let intake = Intake::new(runtimes, queue);
        let mut writer = Writer::open(options, Arc::clone(&intake))?;
        writer.begin()?;
        let table = Arc::clone(&writer.table);
        let mode = Arc::clone(&writer.mode);
        let day = Arc::clone(&writer.days);
        let horizons = Arc::clone(&writer.horizons);
        let reader = writer.reader.clone();
        let thread = std::thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || writer.run())?;
        Ok(Self {
            intake,
            table,
            mode,
            day,
            reader,
            horizons,
            thread,
        })
    }

    /// The store's epoch.
    pub fn epoch(&self) -> u64 {
        self.table.epoch()
    }

    /// Takes no more requests, waits until those taken are written and answered, and closes the
    /// store.
    pub fn stop(self) {
        self.intake.close();
        if self.thread.join().is_err() {
            tracing::error!("the writer's thread panicked; what was acknowledged is on disk");
        }
    }
}

/// The writer.
pub(super) struct Writer {
    pub(super) storage: StorageOptions,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) days: Arc<CurrentDay>,
    pub(super) mode: Arc<Mode>,
    pub(super) table: Arc<Table>,
    pub(super) intake: Arc<Intake>,
    pub(super) reader: Reader,
    pub(super) horizons: Arc<Horizons>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) rules: Rules,
    pub(super) configured: Vec<(CounterName, Definition)>,
    /// None while the store is being reopened.
    pub(super) store: Option<Store>,
    pub(super) failed: Option<Failed>,
    pub(super) ledger: Ledger,
    pub(super) recent: Recent,
    pub(super) space: SpaceWatch,
    pub(super) upkeep: Upkeep,
    /// The last group that was begun. A group that came to nothing keeps its number: what it touched
    /// carries it.
    pub(super) last_group: u64,
    /// The highest day on disk.
    pub(super) stored_day: Option<Day>,
    zone: String,
    zone_stored: bool,
    store_time: StoreTime,
    day_start: (Option<Day>, Millis),
    batch: Batch,
    replies: Vec<(ReplyTo, Reply)>,
}

/// Time during which the store was open, summed over its life.
struct StoreTime {
    before: i64,
    boot_at_open: i64,
}

impl StoreTime {
    fn now(&self, boot_ms: i64) -> i64 {
        self.before
            .saturating_add(boot_ms.saturating_sub(self.boot_at_open).max(0))
    }

    fn bucket(&self, boot_ms: i64) -> Bucket {
        Bucket::try_from(self.now(boot_ms).div_euclid(BUCKET_MS)).unwrap_or(Bucket::MAX)
    }
}

impl Writer {
    fn open(options: WriterOptions, intake: Arc<Intake>) -> Result<Self, StartError> {
        let WriterOptions {
            storage,
            clock,
            calendar,
            zone_is_written,
            max_clock_jump_ms,
            max_away_ms,
            auto_create,
            max_counters,
            gone_for_ms,
            configured,
            recent_users,
            min_free,
            runtimes: _,
            queue: _,
            metrics,
        } = options;
        let horizons = Arc::new(Horizons::default());
        let reader = Reader::default();
        let lock = DataDirLock::take(&storage.data_dir)?;
        let store = Store::open(&lock, &storage, &horizons, &reader, clock.wall_ms())?;
        let tables = store.tables();
        let stored = stored_state(&store)?;
        let zone = calendar.zone_name().to_owned();
        let stored_zone = tables.get(Family::Meta, ZONE_KEY)?;
        let stored_zone = stored_zone.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        if let Some(stored) = &stored_zone
            && *stored != zone
            && !zone_is_written
        {
            return Err(StartError::ZoneChanged {
                stored: stored.clone(),
                found: zone,
            });
        }
        if let Some(bytes) = tables.get(Family::Meta, IDEMPOTENCY_HORIZON_KEY)?
            && let Ok(bytes) = <[u8; 4]>::try_from(&bytes[..])
        {
            horizons.publish_idempotency(Bucket::from_be_bytes(bytes));
        }
        let ledger = Ledger::load(tables, stored.as_ref())?;
        let days = CurrentDay::new(current_day::Options {
            calendar,
            clock: Arc::clone(&clock),
            highest_stored: stored.map(|state| state.highest_day),
            last_commit_ms: stored.map(|state| state.wall_ms),
            max_clock_jump_ms,
            max_away_ms,
        });
        let store_time = StoreTime {
            before: stored.map_or(0, |state| state.store_time),
            boot_at_open: clock.boot_ms(),
        };
        let space = SpaceWatch::new(&storage, min_free)?;
        Ok(Self {
            storage,
            days: Arc::new(days),
            mode: Arc::default(),
            table: Arc::default(),
            intake,
            reader,
            horizons,
            metrics,
            rules: Rules {
                auto_create,
                max_counters,
                gone_for_ms,
            },
            configured,
            store: Some(store),
            failed: None,
            ledger,
            recent: Recent::new(recent_users),
            space,
            upkeep: Upkeep::new(clock.boot_ms()),
            last_group: 0,
            stored_day: stored.map(|state| state.highest_day),
            zone_stored: stored_zone.as_ref() == Some(&zone),
            zone,
            store_time,
            day_start: (None, 0),
            batch: Batch::new(),
            replies: Vec::new(),
            clock,
        })
    }

    /// What happens before the first request: publish what is on disk, and bring the counters of
    /// the configuration in.
    fn begin(&mut self) -> Result<(), StartError> {
        for (name, definition) in &self.configured {
            let index = self.ledger.add(name.clone());
            if let Some(entry) = self.ledger.entry_mut(index) {
                entry.configured = true;
                let stored = &entry.state.definition;
                if entry.state.life == Life::Live && !stored.may_become(definition) {
                    return Err(StartError::DefinitionConflict {
                        name: name.clone(),
                        wanted: (definition.kind, definition.reset),
                        stored: (stored.kind, stored.reset),
                    });
                }
            }
        }
        self.publish_all();
        let look = self.look();
        self.watch_space(look.wall_ms);
        if self.mode.refuses().is_none() {
            self.maintain(look, true);
        }
        Ok(())
    }

    /// The whole ledger becomes what readers see.
    pub(super) fn publish_all(&mut self) {
        self.last_group += 1;
        self.table.retain(|name| self.ledger.find(name).is_some());
        for entry in self.ledger.iter() {
            self.table.stage(self.last_group, entry.reading());
        }
        if let Some(store) = &self.store {
            self.table.set_epoch(store.epoch());
        }
        self.table.publish(self.last_group, self.ledger.revision);
        self.tell_counts();
    }

    fn tell_counts(&self) {
        let gauge = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics
            .state
            .live_counters
            .set(gauge(self.ledger.live));
        self.metrics
            .state
            .quarantined_counters
            .set(gauge(self.ledger.corrupt));
    }

    fn run(mut self) {
        self.intake.serve_from_this_thread();
        let mut submissions = Vec::new();
        loop {
            // Asked before the queue is looked at: what came in before it closed is still taken.
            let closing = self.intake.is_closed();
            let any = self.intake.take(&mut submissions);
            // Before the look, so that what is done now is done by a time that is no older.
            let due = self.upkeep.is_due(self.clock.boot_ms());
            let look = self.look();
            if self.store.is_none() {
                self.try_reopen(look);
            }
            if due {
                self.tick(look);
            }
            if any {
                self.group(&mut submissions, look);
            } else if closing {
                break;
            } else if !self.prune_users(look) {
                self.intake.wait(self.idle_time());
            }
        }
        self.end();
    }

    fn idle_time(&self) -> Duration {
        self.failed
            .as_ref()
            .map_or(IDLE, |failed| failed.wait(Instant::now()).min(IDLE))
    }

    fn end(self) {
        if let Some(store) = self.store
            && let Err(error) = store.close()
        {
            tracing::error!(%error, "the store did not close cleanly; nothing acknowledged is lost");
        }
    }

    /// One look at the time, for everything that happens until the next.
    fn look(&self) -> Look {
        let look = self.days.look();
        if look.clock_fault {
            if self.mode.raise(Cause::Clock, look.wall_ms) {
                self.metrics.state.clock_jumps.inc();
            }
        } else if self.mode.stands(Cause::Clock) {
            self.mode.clear(Cause::Clock);
        }
        look
    }

    /// What is due about once a second.
    fn tick(&mut self, look: Look) {
        self.watch_space(look.wall_ms);
        let Some(store) = &mut self.store else { return };
        match store.tick() {
            Ok(tick) => {
                if self.mode.refuses().is_none() {
                    self.maintain(look, tick.group_due);
                } else if tick.group_due {
                    self.upkeep.group_due = true;
                }
            }
            Err(error) => self.fail(&error, None),
        }
    }

    /// Writes what no client asked for: counters of the configuration, expiries, forgotten names, a
    /// new day or bucket; or the meta record alone when `forced`.
    fn maintain(&mut self, look: Look, forced: bool) {
        let mut group = self.new_group(look);
        let worked = self.with_fold(&mut group, |fold, upkeep, configured| {
            upkeep.work_out(fold, configured)
        });
        match worked {
            Some(Ok(())) => {}
            Some(Err(error)) => return self.fail(&error, None),
            None => return,
        }
        let bucket = self.store_time.bucket(self.clock.boot_ms());
        let new_horizon = bucket.saturating_sub(1) > self.horizons.idempotency();
        let forced = forced
            || self.upkeep.group_due
            || self.stored_day != Some(group.day)
            || new_horizon
            || !self.zone_stored;
        self.upkeep.group_due = false;
        if forced || !group.is_empty(&self.ledger) {
            self.write(group);
        }
        if new_horizon && self.store.is_some() {
            self.drop_buckets(bucket.saturating_sub(1));
        }
    }

    fn drop_buckets(&mut self, below: Bucket) {
        self.horizons.publish_idempotency(below);
        let end = below.to_be_bytes();
        if let Some(store) = &mut self.store
            && let Err(error) = store.drop_whole_files(Family::Idempotency, &end)
        {
            self.fail(&error, None);
        }
    }

    /// Deletes some users of a generation that ended; says whether there may be more.
    fn prune_users(&mut self, look: Look) -> bool {
        if self.mode.refuses().is_some() {
            return false;
        }
        let (Some(store), Some(&generation)) = (&self.store, self.ledger.ended.first()) else {
            return false;
        };
        self.batch.clear();
        match self
            .upkeep
            .prune(store.tables(), generation, &mut self.batch)
        {
            Ok(true) => {
                self.ledger.ended.remove(&generation);
                self.batch
                    .delete(Family::Meta, &ledger::ended_key(generation));
            }
            Ok(false) => {}
            Err(error) => {
                self.fail(&error, None);
                return false;
            }
        }
        let group = self.new_group(look);
        self.write_batch(group);
        self.store.is_some()
    }

    fn new_group(&mut self, look: Look) -> Group {
        if self.day_start.0 != Some(look.day) {
            self.day_start = (Some(look.day), self.days.calendar().start_of(look.day));
        }
        self.last_group += 1;
        Group::new(self.last_group, look.wall_ms, look.day, self.day_start.1)
    }

    fn with_fold<T>(
        &mut self,
        group: &mut Group,
        work: impl FnOnce(
            &mut Fold<'_, StoreLookups<'_>>,
            &mut Upkeep,
            &[(CounterName, Definition)],
        ) -> T,
    ) -> Option<T> {
        let bucket = self.store_time.bucket(self.clock.boot_ms());
        let store = self.store.as_ref()?;
        let mut lookups = StoreLookups {
            tables: store.tables(),
            recent: &mut self.recent,
            bucket,
            key: Vec::new(),
        };
        let mut fold = Fold::new(
            &mut self.ledger,
            group,
            &mut lookups,
            &self.rules,
            &self.days,
        );
        Some(work(&mut fold, &mut self.upkeep, &self.configured))
    }

    /// Works out, writes, publishes and answers everything that waits.
    fn group(&mut self, submissions: &mut Vec<Submission>, look: Look) {
        if let Some(cause) = self.mode.refuses() {
            return self.refuse(submissions, cause);
        }
        let mut group = self.new_group(look);
        let mut replies = std::mem::take(&mut self.replies);
        let worked = self.with_fold(&mut group, |fold, _, _| -> Result<(), ReadError> {
            for Submission { request, reply_to } in submissions.drain(..) {
                match fold.request(request) {
                    Ok(reply) => replies.push((reply_to, reply)),
                    Err(error) => {
                        replies.push((reply_to, Err(Failure::ReadOnly(Cause::StoreFailed))));
                        return Err(error);
                    }
                }
            }
            Ok(())
        });
        self.replies = replies;
        match worked {
            Some(Ok(())) if group.is_empty(&self.ledger) => {
                self.forget(&group);
                self.answer();
            }
            Some(Ok(())) => self.write(group),
            // Nothing of the group was written, and nothing of it will be.
            Some(Err(error)) => {
                self.fail(&error, None);
                self.replace_replies(&Failure::ReadOnly(Cause::StoreFailed));
                self.refuse(submissions, Cause::StoreFailed);
            }
            None => self.refuse(submissions, Cause::StoreFailed),
        }
    }

    fn refuse(&mut self, submissions: &mut Vec<Submission>, cause: Cause) {
        let refusals = submissions.drain(..);
        self.replies
            .extend(refusals.map(|s| (s.reply_to, Err(Failure::ReadOnly(cause)))));
        self.answer();
    }

    fn replace_replies(&mut self, failure: &Failure) {
        for (_, reply) in &mut self.replies {
            *reply = Err(failure.clone());
        }
    }

    fn answer(&mut self) {
        self.intake.answer(&mut self.replies);
    }

    fn write(&mut self, group: Group) {
        self.batch.clear();
        self.write_batch(group);
    }

    /// Adds the group to the batch, writes and syncs it, publishes it, then answers.
    fn write_batch(&mut self, mut group: Group) {
        let changed = self.fill(&mut group);
        let operations = self.replies.len();
        let started = Instant::now();
        let Some(store) = &mut self.store else { return };
        let count = self.batch.count();
        if let Err(error) = store.commit(&self.batch) {
            self.fail(&error, Some(count));
            self.replace_replies(&Failure::OutcomeUnknown);
            return self.answer();
        }
        self.metrics
            .commits
            .synced(operations, started.elapsed(), group.now);
        self.stored_day = Some(group.day);
        self.zone_stored = true;
        for index in changed {
            if let Some(entry) = self.ledger.entry(index) {
                self.table.stage(group.number, entry.reading());
            }
        }
        self.table.publish(group.number, self.ledger.revision);
        self.tell_counts();
        for (day, generation, user) in &group.users {
            self.recent.remember(*day, *generation, user);
        }
        self.ledger.ended.extend(&group.ended);
        self.forget(&group);
        self.answer();
    }

    /// Takes out names that were forgotten, and places that a refused batch made.
    fn forget(&mut self, group: &Group) {
        for &index in &group.forgotten {
            if let Some(entry) = self.ledger.entry(index) {
                self.table.forget(&entry.name);
                self.ledger.remove(index);
            }
        }
        for &index in &group.touched {
            if self
                .ledger
                .entry(index)
                .is_some_and(|entry| entry.state.life == Life::Absent)
            {
                self.ledger.remove(index);
            }
        }
    }

    /// Puts the group into the batch; gives the counters that changed.
    fn fill(&mut self, group: &mut Group) -> Vec<Index> {
        let Self { ledger, batch, .. } = self;
        let mut changed = Vec::with_capacity(group.touched.len());
        for &index in &group.touched {
            let Some(entry) = ledger.entry_mut(index) else {
                continue;
            };
            if !entry.state.dirty {
                continue;
            }
            changed.push(index);
            put_counter(batch, entry);
        }
        for (day, generation, user) in &group.users {
            let mut key = Vec::with_capacity(12 + user.as_str().len());
            keys::dedup_into(&mut key, *day, *generation, user.as_str());
            batch.put(Family::Dedup, &key, &[]);
        }
        let boot_ms = self.clock.boot_ms();
        let bucket = self.store_time.bucket(boot_ms);
        for (client_key, fingerprint, outcome) in &group.kept {
            let mut key = Vec::with_capacity(4 + client_key.len());
            keys::idempotency_into(&mut key, bucket, client_key);
            batch.put(
                Family::Idempotency,
                &key,
                &value::encode_kept(*fingerprint, outcome),
            );
        }
        for (index, number, event) in &group.events {
            if let Some(entry) = ledger.entry(*index) {
                let key = keys::event(group.day, &entry.name, *number);
                batch.put(Family::Days, &key, &value::encode_event(event));
            }
        }
        for generation in &group.ended {
            batch.put(Family::Meta, &ledger::ended_key(*generation), &[]);
        }
        for &index in &group.forgotten {
            if let Some(entry) = ledger.entry(index) {
                let key = keys::counter(&entry.name);
                batch.delete(Family::Definitions, &key);
                batch.delete(Family::Counters, &key);
            }
        }
        if !self.zone_stored {
            batch.put(Family::Meta, ZONE_KEY, self.zone.as_bytes());
        }
        let horizon = bucket.saturating_sub(1);
        if horizon > self.horizons.idempotency() {
            batch.put(
                Family::Meta,
                IDEMPOTENCY_HORIZON_KEY,
                &horizon.to_be_bytes(),
            );
        }
        let state = State {
            revision: ledger.revision,
            highest_day: group.day,
            store_time: self.store_time.now(boot_ms),
            wall_ms: group.now,
        };
        batch.put(Family::Meta, State::KEY, &state.encode());
        changed
    }

    /// Store time goes on from what the reopened store says.
    pub(super) fn restart_store_time(&mut self, stored: Option<&State>) {
        self.store_time = StoreTime {
            before: stored.map_or(0, |state| state.store_time),
            boot_at_open: self.clock.boot_ms(),
        };
    }

    /// Names a request that nobody sent: what the server does by itself.
    pub(super) fn own_request() -> RequestId {
        RequestId::Given("counterd".into())
    }
}

/// Puts what the group made of one counter: its definition, its value, its day.
fn put_counter(batch: &mut Batch, entry: &mut ledger::Entry) {
    let key = keys::counter(&entry.name);
    let state = &mut entry.state;
    if state.redefined {
        let gone = match &state.life {
            Life::Gone(gone) => Some(gone),
            Life::Live | Life::Absent | Life::Corrupt => None,
        };
        batch.put(
            Family::Definitions,
            &key,
            &value::encode_counter(&state.definition, gone),
        );
    }
    if state.whole || state.merges >= MAX_MERGES {
        batch.put(Family::Counters, &key, &state.stored_value().encode());
        state.merges = 0;
    } else {
        let operand = crate::storage::merge::Operand {
            delta: state.delta,
            revision: state.revision,
            changed_at: state.changed_at,
        };
        batch.merge(Family::Counters, &key, &operand.encode());
        state.merges += 1;
    }
    if let Some((day, record)) = &state.day {
        let key = keys::day_record(*day, &entry.name);
        batch.put(Family::Days, &key, &value::encode_day_record(record));
    }
    state.delta = 0;
    state.dirty = false;
    state.whole = false;
    state.redefined = false;
}

/// Where the store stands; none in a new one.
pub(super) fn stored_state(store: &Store) -> Result<Option<State>, StartError> {
    match store.tables().get(Family::Meta, State::KEY)? {
        None => Ok(None),
        Some(bytes) => State::decode(&bytes)
            .map(Some)
            .map_err(|_| StartError::State),
    }
}
