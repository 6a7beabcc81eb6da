//! Taking in what other instances appended to a shared log, and taking back a group that was judged by less.
//!
//! Both come down to reading counters anew from the view, which holds exactly what the log says.

use crate::counter::{CounterName, Millis};
use crate::current_day::Look;
use crate::storage::{Batch, CommitError, FollowedChange, ReadError, Store, StoreState};

use super::Failure;
use super::group::{Group, bucket_at};
use super::ledger::Index;
use super::run::Writer;

impl Writer {
    /// Whether other instances write as well.
    pub(super) fn is_shared(&self) -> bool {
        self.handle.storage.shared.is_some()
    }

    /// Waits until what answers rest on is durable, where other instances may have appended it.
    pub(super) fn confirm(&mut self) {
        let confirmed = self.handle.store.as_mut().map(Store::confirm);
        if let Some(Err(error)) = confirmed {
            self.fail(&error, None);
            self.replace_replies(&Failure::OutcomeUnknown);
        }
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
        let mut changed = Vec::new();
        let mut last = None;
        while let Some(store) = &mut self.handle.store
            && let Some(batch) = store.follow()?
        {
            last = self.learn(&batch, &mut changed)?.or(last);
        }
        if let Some(state) = &last {
            self.come_to(state)?;
        }
        self.read_anew(names, &mut changed)?;
        changed.sort_unstable();
        changed.dedup();
        if last.is_some() || !changed.is_empty() {
            self.publish_others(&changed);
        }
        Ok(last.is_some())
    }

    /// Brings memory and ledger to one group of another instance, which the view holds. Returns where the store stands with it.
    fn learn(
        &mut self,
        batch: &Batch,
        changed: &mut Vec<Index>,
    ) -> Result<Option<StoreState>, ReadError> {
        let state = batch.state();
        if let Some(state) = &state {
            // Before the users: the memory of a day begins empty.
            let bucket = bucket_at(state.store_time);
            self.books.memory.follow(state.highest_day, bucket);
            self.books.ledger.revision = state.revision;
            self.progress.stored_day = Some(state.highest_day);
            self.links.days.at_least(state.highest_day, Millis::MIN);
        }
        let mut names = Vec::new();
        for told in batch.told() {
            match told {
                FollowedChange::Counter(name) => names.push(name),
                FollowedChange::User(key) => self.books.memory.counted_elsewhere(key),
                FollowedChange::Request(key) => self.books.memory.kept_elsewhere(key),
                FollowedChange::Seat(generation, key, record) => {
                    self.books.memory.saw_elsewhere(generation, key, record);
                }
            }
        }
        names.sort_unstable();
        names.dedup();
        self.read_anew(&names, changed)?;
        Ok(state)
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
        let days = &self.links.days;
        days.at_least(state.highest_day, horizons.windows());
        days.store_opened(state.store_time);
        self.progress.cell_ms = self.progress.cell_ms.max(state.wall_ms);
        self.progress.away = None;
        Ok(())
    }

    /// Reads counters from the view; adds their places to `changed`.
    fn read_anew(
        &mut self,
        names: &[CounterName],
        changed: &mut Vec<Index>,
    ) -> Result<(), ReadError> {
        let Some(store) = &self.handle.store else {
            return Ok(());
        };
        let moment = self.links.days.moment();
        let slid_to = self.handle.reader.horizons.windows();
        for name in names {
            let read = self
                .books
                .ledger
                .read_anew(store.tables(), name, &moment, slid_to)?;
            changed.push(read);
        }
        Ok(())
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
                self.books.minutes.leave(index);
                // One of the configuration keeps its place, which says so.
                if !entry.configured {
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
