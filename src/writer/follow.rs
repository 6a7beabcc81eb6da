//! Taking in what other instances appended to a shared log, and taking back a group that was judged by less.
//!
//! Both come down to reading counters anew from the view, which holds exactly what the log says.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::counter::CounterName;
use crate::current_day::{CurrentDay, Look};
use crate::storage::{
    Batch, CommitError, Committed, FollowedChange, LogAddress, ReadError, SharedLogError, Store,
    StoreState,
};

use super::group::{Group, bucket_at};
use super::ledger::Index;
use super::run::{Books, Handle, Writer};
use super::{Cause, Failure};

/// Compares the clock of this machine with that of the Redis of a shared log there.
pub(super) fn compare_clocks(store: &Store, log: &LogAddress, days: &CurrentDay) {
    if let Some(time) = store.redis_time() {
        let most = i64::try_from(log.max_clock_skew.as_millis()).unwrap_or(i64::MAX);
        days.compare_with_redis(time.now_ms(), most.saturating_add(time.error_ms()));
    }
}

/// What groups of other instances say that the ledger does not know yet. It learns it once for all of them.
#[derive(Default)]
struct News {
    /// Counters of which anything may be another.
    counters: BTreeSet<CounterName>,
    /// Counters that have not changed since their value at the end of a minute was noted.
    sampled: BTreeSet<CounterName>,
    /// Whether days were worked through.
    days: bool,
    /// Where the store stands with the last group.
    state: Option<StoreState>,
}

impl Writer {
    /// Whether other instances write as well.
    pub(super) fn is_shared(&self) -> bool {
        self.handle.storage.shared.is_some()
    }

    /// Compares the clock of this machine with that of Redis: one that is wrong would move the time of all.
    pub(super) fn compare_clocks(&self) {
        let Handle { store, storage, .. } = &self.handle;
        if let (Some(store), Some(log)) = (store, &storage.shared) {
            compare_clocks(store, log, &self.links.days);
        }
    }

    /// Waits until what answers rest on is durable, where other instances may have appended it.
    pub(super) fn confirm(&mut self) {
        match self.handle.store.as_mut().map(Store::confirm) {
            Some(Ok(Committed::Yes | Committed::Behind)) | None => {}
            Some(Ok(Committed::Refused(error))) => {
                self.refused(&error);
                self.replace_replies(&Failure::ReadOnly(Cause::StoreFailed));
            }
            Some(Err(error)) => {
                self.fail(&error, None);
                self.replace_replies(&Failure::OutcomeUnknown);
            }
        }
    }

    /// Notes that Redis refused a group, which is in no log then, and refuses writes until it takes one.
    pub(super) fn refused(&mut self, error: &SharedLogError) {
        let error = error.to_string();
        if self.handle.refused.as_ref() != Some(&error) {
            tracing::error!(%error, "nothing was counted; it is tried again every second");
        }
        self.handle.refused = Some(error);
        let now = self.links.clock.wall_ms();
        self.links.mode.raise(Cause::StoreFailed, now);
    }

    /// Looks at the time again where others append too: what was appended meanwhile may be of a later one.
    pub(super) fn look_again(&self, look: Look) -> Look {
        if self.is_shared() {
            self.observe_time()
        } else {
            look
        }
    }

    /// Takes in what others appended, and publishes it. Returns the time by which the next group is judged.
    pub(super) fn follow(&mut self, look: Look) -> Look {
        if !self.is_shared() {
            return look;
        }
        self.take_in(&[], look)
    }

    /// Refuses writes while others may have counted what is not known here, and takes them again when it is known and Redis
    /// takes them, which one group finds out where it is `due`. The view stays: it lacks nothing but what comes.
    pub(super) fn watch_log(&mut self, look: Look, due: bool) {
        let Some(store) = self.handle.store.as_ref().filter(|_| self.is_shared()) else {
            return;
        };
        let mode = Arc::clone(&self.links.mode);
        if let Some(late) = store.late() {
            if mode.raise(Cause::StoreFailed, look.wall_ms) {
                tracing::error!(
                    ?late,
                    "the shared log in Redis cannot be read; it is tried again and again"
                );
            }
            return;
        }
        let refuses = |&cause: &Cause| cause != Cause::StoreFailed && mode.stands(cause);
        if self.handle.refused.is_some() && due && !Cause::ALL.iter().any(refuses) {
            self.maintain(look, true);
        }
        if self.handle.store.is_some()
            && self.handle.refused.is_none()
            && mode.stands(Cause::StoreFailed)
        {
            mode.clear(Cause::StoreFailed);
        }
    }

    /// Takes in what others appended, reads these counters anew as well, and publishes it all.
    fn take_in(&mut self, names: &[CounterName], look: Look) -> Look {
        match self.take_in_all(names) {
            Ok(false) => look,
            Ok(true) => self.observe_time(),
            Err(error) => {
                self.fail(&error, None);
                look
            }
        }
    }

    fn take_in_all(&mut self, names: &[CounterName]) -> Result<bool, CommitError> {
        let mut news = News::default();
        news.counters.extend(names.iter().cloned());
        while let Some(store) = &mut self.handle.store {
            let groups = store.follow()?;
            if groups.is_empty() {
                break;
            }
            for group in &groups {
                self.learn(group, &mut news);
            }
        }
        if let Some(state) = &news.state {
            self.come_to(state)?;
        }
        let changed = self.read_anew(&news.counters)?;
        if news.state.is_some() || !changed.is_empty() {
            self.publish_others(&changed);
        }
        let Books {
            ledger, minutes, ..
        } = &mut self.books;
        for name in &news.sampled {
            minutes.sampled_elsewhere(ledger, name);
        }
        if news.days {
            self.days_done_elsewhere();
        }
        Ok(news.state.is_some())
    }

    /// Lets what was prepared before be worked out again: another instance closed, exported or let go of days.
    pub(super) fn days_done_elsewhere(&self) {
        // After the view has it: who reads the number first, and the view then, never takes old records for new ones.
        self.links.done_elsewhere.fetch_add(1, Ordering::Release);
    }

    /// Brings the memory to one group of another instance, which the view holds, and notes what else there is to learn.
    fn learn(&mut self, group: &Batch, news: &mut News) {
        if let Some(state) = group.state() {
            // Before the users: the memory of a day begins empty.
            let bucket = bucket_at(state.store_time);
            self.books.memory.follow(state.highest_day, bucket);
            news.state = Some(state);
        }
        let mut changed = BTreeSet::new();
        for told in group.told() {
            match told {
                FollowedChange::Counter(name) => {
                    changed.insert(name);
                }
                FollowedChange::Sample(name) => {
                    news.sampled.insert(name);
                }
                FollowedChange::Days => news.days = true,
                FollowedChange::User(key) => self.books.memory.counted_elsewhere(key),
                FollowedChange::Request(key) => self.books.memory.kept_elsewhere(key),
                FollowedChange::Seat(generation, key, record) => {
                    self.books.memory.saw_elsewhere(generation, key, record);
                }
            }
        }
        // What a group notes of minutes is from before it.
        news.sampled.retain(|name| !changed.contains(name));
        news.counters.append(&mut changed);
    }

    /// Brings what is not of one counter to where the store stands.
    fn come_to(&mut self, state: &StoreState) -> Result<(), ReadError> {
        let Some(store) = &self.handle.store else {
            return Ok(());
        };
        let tables = store.tables();
        let horizons = &self.handle.reader.horizons;
        horizons.load(tables)?;
        self.books.ledger.ended = tables.ended_generations()?.into_iter().collect();
        self.books.ledger.revision = state.revision;
        self.progress.stored_day = Some(state.highest_day);
        self.books.minutes.come_to(state.wall_ms);
        let days = &self.links.days;
        days.at_least(state.highest_day, horizons.windows().max(state.wall_ms));
        days.store_opened(state.store_time);
        self.progress.cell_ms = self.progress.cell_ms.max(state.wall_ms);
        self.progress.away = None;
        Ok(())
    }

    /// Reads counters from the view; returns their places.
    fn read_anew(&mut self, names: &BTreeSet<CounterName>) -> Result<Vec<Index>, ReadError> {
        let Some(store) = &self.handle.store else {
            return Ok(Vec::new());
        };
        let (tables, ledger) = (store.tables(), &mut self.books.ledger);
        let moment = self.links.days.moment();
        let slid_to = self.handle.reader.horizons.windows();
        let table = &self.links.table;
        let read = |name: &CounterName| {
            let published = || table.read(name.as_str());
            ledger.read_anew(tables, name, (&moment, slid_to), published)
        };
        names.iter().map(read).collect()
    }

    fn publish_others(&mut self, changed: &[Index]) {
        self.progress.last_group += 1;
        let number = self.progress.last_group;
        let (table, ledger) = (&self.links.table, &mut self.books.ledger);
        let epoch = table.epoch();
        for &index in changed {
            let Some(entry) = ledger.entry(index) else {
                continue;
            };
            if entry.is_absent() {
                table.forget(&entry.name);
                // One of the configuration keeps its place, which says so.
                if !entry.configured {
                    self.books.minutes.leave(index);
                    ledger.remove(index);
                }
            } else {
                table.stage(number, entry.reading(epoch));
                self.books.minutes.follow(ledger, index);
            }
        }
        table.publish(number, ledger.revision);
        self.tell_counts();
    }

    /// Takes a group back that was not appended, so that the ledger is what the view says; then takes in what others
    /// appended.
    pub(super) fn take_back(&mut self, group: &Group, look: Look) -> Look {
        self.replies.clear();
        self.books
            .minutes
            .take_back(&mut self.books.ledger, &group.minutes);
        let ledger = &self.books.ledger;
        let indices = group.touched.iter().chain(&group.forgotten);
        let names: Vec<_> = indices
            .filter_map(|&index| Some(ledger.entry(index)?.name.clone()))
            .collect();
        self.books.ledger.revision = self.links.table.revision();
        self.progress.upkeep.prune_from = None;
        self.take_in(&names, look)
    }
}
