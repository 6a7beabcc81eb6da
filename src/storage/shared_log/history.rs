//! Which log this is, and whether it still holds what was acknowledged.
//!
//! Each group has a name, its instance and that instance's number of it, and is appended behind the group of one name: so
//! the name of a group stands for the whole log up to it. A log that lost its end and grew again has other names there. An
//! instance knows up to where the log was certainly acknowledged, by its own waits and by what the groups of others say, and
//! keeps that in the data directory ([`LogMark`]). Where the log does not hold that place any more, acknowledged groups are
//! lost: nobody appends then until an operator begins a new epoch, or `redis.on_loss` says to go on.
//!
//! What was only followed may go without a loss: nobody was told that it counts.

use std::time::Instant;

use redis::Value;

use super::log_mark::{LogMark, LogPlace, id_text, parse_id};
use super::relocation::HeldLogs;
use super::{Entry, OnLoss, RawEntries, Script, SharedLog, elsewhere};
use crate::storage::Family;
use crate::storage::held::HeldDir;
use crate::storage::lineage::{Lineage, META_LINEAGE, next_epoch};
use crate::storage::schema::{FORMAT_VERSION, MERGE_VERSION};
use crate::storage::shared_log_error::SharedLogError;

/// What the cell says of the log.
pub(super) struct LogState {
    pub(super) epoch: u64,
    /// Which log of the store.
    pub(super) log_id: u128,
    /// Where it ends.
    pub(super) end: LogPlace,
    /// Where it ended, and where it must have, as an instance noticed.
    pub(super) lost: Option<(u64, u64)>,
    /// The data directory that its counts were moved to.
    pub(super) moved: Option<String>,
    /// Whether it tells which keys there must be: one of an earlier version does not.
    pub(super) tells_keys: bool,
    /// Whether groups were appended since it began, so that all of its keys must be there.
    has_groups: bool,
}

impl LogState {
    /// Reads `end had`, as the cell keeps it.
    fn lost(text: &str) -> Option<(u64, u64)> {
        let (found, had) = text.split_once(' ')?;
        Some((found.parse().ok()?, had.parse().ok()?))
    }
}

impl SharedLog {
    /// Makes the cell where there is nothing.
    pub(super) fn create(&mut self, limit: Instant, now_ms: i64) -> Result<(), SharedLogError> {
        let epoch = next_epoch(now_ms, 0);
        let script = Script::new(include_str!("create.lua"));
        let mut call = script.call(&[
            self.keys.cell(),
            self.keys.hashes(),
            self.keys.log(),
            self.keys.instances(),
            self.keys.hash(Family::Meta, &[]),
            self.keys.moving(),
        ]);
        call.arg(FORMAT_VERSION).arg(MERGE_VERSION).arg(epoch);
        call.arg(META_LINEAGE).arg(Lineage::born(epoch).encode());
        match self.link.insist::<u8>(limit, &script, &call)? {
            0 => Err(SharedLogError::Parts(self.keys.cell())),
            2 => Err(SharedLogError::MovingIn(self.keys.moving())),
            _ => Ok(()),
        }
    }

    /// Reads what the cell says; `None` where there is no cell.
    ///
    /// # Errors
    /// When its counts were moved elsewhere, or are being moved in.
    pub(super) fn state(&mut self, limit: Instant) -> Result<Option<LogState>, SharedLogError> {
        let state = self.cell_state(limit)?;
        if let Some(to) = state.as_ref().and_then(|state| state.moved.clone()) {
            return Err(SharedLogError::MovedOut { to });
        }
        if state.is_none() {
            let mut call = redis::cmd("EXISTS");
            let moving = self.keys.moving();
            if self.link.ask(limit, call.arg(&moving))? {
                return Err(SharedLogError::MovingIn(moving));
            }
        }
        Ok(state)
    }

    /// Reads what the cell says, whatever that is; `None` where there is no cell.
    pub(super) fn cell_state(
        &mut self,
        limit: Instant,
    ) -> Result<Option<LogState>, SharedLogError> {
        let mut call = redis::cmd("HMGET");
        call.arg(self.keys.cell()).arg("format").arg("merge");
        call.arg("epoch").arg("position").arg("tail");
        call.arg("lost").arg("log").arg("moved").arg("begun");
        let said: Vec<Option<String>> = self.link.ask(limit, &call)?;
        let [
            Some(format),
            Some(merge),
            Some(epoch),
            Some(position),
            Some(tail),
            lost,
            log,
            moved,
            begun,
        ] = &said[..]
        else {
            return Ok(None);
        };
        if (&**format, &**merge) != (&*FORMAT_VERSION.to_string(), &*MERGE_VERSION.to_string()) {
            let found = format!("{format} with merge operator {merge}");
            return Err(SharedLogError::Format(found));
        }
        let number = |text: &str| {
            text.parse()
                .map_err(|_| SharedLogError::Unreadable("the cell"))
        };
        Ok(Some(LogState {
            epoch: number(epoch)?,
            log_id: log.as_deref().map_or(0, parse_id),
            end: LogPlace {
                position: number(position)?,
                tail: tail.clone(),
            },
            lost: lost.as_deref().and_then(LogState::lost),
            moved: moved.clone(),
            tells_keys: begun.is_some(),
            has_groups: begun.as_ref().is_some_and(|begun| begun != position),
        }))
    }

    /// Reads which log it is.
    pub(super) fn lineage_there(&mut self, limit: Instant) -> Result<Lineage, SharedLogError> {
        let mut call = redis::cmd("HGET");
        call.arg(self.keys.hash(Family::Meta, META_LINEAGE))
            .arg(META_LINEAGE);
        let bytes: Option<Vec<u8>> = self.link.ask(limit, &call)?;
        let lineage = bytes.and_then(|bytes| Lineage::decode(&bytes));
        lineage.ok_or(SharedLogError::Unreadable("its lineage"))
    }

    /// Reads how much of earlier logs of the store is in this one.
    pub(super) fn held_logs(&mut self, limit: Instant) -> Result<HeldLogs, SharedLogError> {
        let mut call = redis::cmd("HGET");
        call.arg(self.keys.hash(Family::Meta, HeldLogs::KEY))
            .arg(HeldLogs::KEY);
        let bytes: Option<Vec<u8>> = self.link.ask(limit, &call)?;
        let held = bytes.map_or(Some(HeldLogs::default()), |bytes| HeldLogs::decode(&bytes));
        held.ok_or(SharedLogError::Unreadable("which logs it held before"))
    }

    /// Returns where the log ends, once it is certain that it holds what was acknowledged. Changes nothing in Redis.
    ///
    /// # Errors
    /// [`SharedLogError::Lost`] when it does not, [`SharedLogError::Epoch`] when it is another log, [`SharedLogError::Torn`]
    /// when its cell is not where the other keys are, [`SharedLogError::Elsewhere`] when none is where they belong.
    pub(super) fn check(&mut self, limit: Instant) -> Result<LogPlace, SharedLogError> {
        let had = self.acknowledged.position;
        let Some(state) = self.state(limit)? else {
            return Err(match self.is_torn(limit)? {
                true => SharedLogError::Torn(self.keys.cell()),
                false => SharedLogError::Lost { found: 0, had },
            });
        };
        let LogState {
            epoch,
            log_id,
            end,
            lost,
            has_groups,
            ..
        } = state;
        if epoch != self.epoch() {
            let there = self.lineage_there(limit)?;
            if !there.has(self.epoch()) {
                return Err(SharedLogError::Epoch {
                    found: epoch,
                    expected: self.epoch(),
                });
            }
            let from = self.epoch();
            tracing::warn!(
                from,
                to = epoch,
                "the shared log is on a new epoch, after a loss that was accepted"
            );
            self.goes_on(there, log_id, end.clone());
        }
        if let Some((found, had)) = lost {
            return Err(SharedLogError::Lost { found, had });
        }
        if log_id != self.log_id {
            // Made of a store on disk, which says how much of the log it had taken in that was followed here.
            let there = self.lineage_there(limit)?;
            let found = self.held_logs(limit)?.position(self.log_id);
            if there.id != self.lineage.id || found < had {
                return Err(SharedLogError::Lost { found, had });
            }
            self.goes_on(there, log_id, end.clone());
        }
        if has_groups && let Some(key) = self.missing_key(limit)? {
            return Err(SharedLogError::Torn(key));
        }
        let (acknowledged, followed) = (self.acknowledged.clone(), self.at.clone());
        if !self.holds(limit, &end, &acknowledged)? {
            let found = end.position;
            return Err(SharedLogError::Lost { found, had });
        }
        if !self.holds(limit, &end, &followed)? {
            let (from, to) = (acknowledged.position, followed.position);
            tracing::warn!(
                from,
                to,
                "groups that nobody is known to have acknowledged are no more in the shared log"
            );
        }
        Ok(end)
    }

    /// Returns a key beside the cell that must be there and is not, in a Cluster; `None` where all are.
    fn missing_key(&mut self, limit: Instant) -> Result<Option<String>, SharedLogError> {
        if !self.link.is_cluster() {
            return Ok(None);
        }
        // One by one: their slot may be being moved.
        for key in [self.keys.log(), self.keys.instances(), self.keys.hashes()] {
            if !self
                .link
                .ask::<bool>(limit, redis::cmd("EXISTS").arg(&key))?
            {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    /// Whether other keys are there than the cell, which is not, in a Cluster.
    fn is_torn(&mut self, limit: Instant) -> Result<bool, SharedLogError> {
        if !self.link.is_cluster() {
            return Ok(false);
        }
        // One by one: their slot may be being moved.
        for key in [self.keys.log(), self.keys.instances(), self.keys.hashes()] {
            if self.link.ask(limit, redis::cmd("EXISTS").arg(key))? {
                return Ok(true);
            }
        }
        elsewhere::check(&mut self.link, limit, &self.keys.cell())?;
        Ok(false)
    }

    /// Whether a log that ends there holds that place.
    fn holds(
        &mut self,
        limit: Instant,
        end: &LogPlace,
        place: &LogPlace,
    ) -> Result<bool, SharedLogError> {
        // Every log has its beginning, whatever that is called; which log it is was asked before.
        if place.position == 0 {
            return Ok(true);
        }
        if end.position <= place.position {
            return Ok(end == place);
        }
        let next = format!("{}-0", place.position + 1);
        let mut call = redis::cmd("XRANGE");
        call.arg(self.keys.log()).arg(&next).arg(&next);
        let entries: RawEntries = self.link.ask(limit, &call)?;
        if let Some(entry) = entries.into_iter().next() {
            return Ok(Entry::read(entry)?.before == place.tail);
        }
        // Trimmed since. Redis keeps the number of each instance's last group for long, and it only goes forward.
        let own = self.own.as_ref();
        let own = own.and_then(|own| Some((own.position, own.tail.split_once(' ')?)));
        let Some((position, (instance, sequence))) = own else {
            return Ok(true);
        };
        let mut call = redis::cmd("HMGET");
        call.arg(self.keys.instances())
            .arg(instance)
            .arg("forgotten");
        let (last, forgotten): (Option<String>, Option<String>) = self.link.ask(limit, &call)?;
        let number = |text: &str| text.parse::<u64>().ok();
        let Some(last) = last else {
            return Ok(forgotten.as_deref().and_then(number) >= Some(position));
        };
        let last = last.split_once(' ').and_then(|(last, _)| number(last));
        Ok(last >= number(sequence))
    }

    /// Does what `redis.on_loss` says after a loss, and returns where the log ends then. In Redis it is noted, so that nobody
    /// appends meanwhile.
    ///
    /// # Errors
    /// The loss, where nobody is to go on; when Redis cannot be asked.
    pub(super) fn after_loss(
        &mut self,
        limit: Instant,
        found: u64,
        had: u64,
    ) -> Result<LogPlace, SharedLogError> {
        let script = Script::new(include_str!("lost.lua"));
        let mut call = script.call(&[self.keys.cell()]);
        call.arg(self.epoch()).arg(found).arg(had);
        let _: Value = self.link.insist(limit, &script, &call)?;
        let lost = SharedLogError::Lost { found, had };
        let on_loss = self.link.address().on_loss;
        match on_loss {
            // Keys that a Cluster has at another node, where nobody is sent, look as if all were gone.
            OnLoss::Continue if found == 0 && self.link.is_cluster() => Err(lost),
            OnLoss::Continue if self.missing_key(limit)?.is_some() => Err(lost),
            OnLoss::Stop => Err(lost),
            OnLoss::Continue => {
                tracing::error!(error = %lost, "redis.on_loss says to go on: a new epoch begins");
                self.begin_epoch(limit, 0)
            }
        }
    }

    /// Begins the epoch of `now_ms`, milliseconds since 1970, or the one after the present one, and returns where the log ends
    /// then.
    ///
    /// # Errors
    /// When Redis cannot be asked.
    pub(super) fn begin_epoch(
        &mut self,
        limit: Instant,
        now_ms: i64,
    ) -> Result<LogPlace, SharedLogError> {
        let found = self.state(limit)?.map(|state| state.epoch);
        if found.is_some_and(|found| found != self.epoch()) {
            // Another instance was first.
            return self.check(limit);
        }
        let mut lineage = self.lineage.clone();
        let epoch = next_epoch(now_ms, self.epoch());
        lineage.add(epoch);
        let script = Script::new(include_str!("epoch.lua"));
        let mut keys = vec![
            self.keys.cell(),
            self.keys.log(),
            self.keys.hashes(),
            self.keys.hash(Family::Meta, &[]),
        ];
        keys.extend(self.hashes()?.into_iter().map(|(_, hash)| hash));
        let mut call = script.call(&keys);
        call.arg(found.map_or_else(String::new, |found| found.to_string()));
        call.arg(epoch).arg(FORMAT_VERSION).arg(MERGE_VERSION);
        call.arg(META_LINEAGE).arg(lineage.encode());
        let _: Value = self.link.insist(limit, &script, &call)?;
        // By this call, or by another instance that was first.
        let there = self.lineage_there(limit)?;
        let Some(state) = self.state(limit)?.filter(|state| there.has(state.epoch)) else {
            return Err(SharedLogError::Diverged);
        };
        self.goes_on(there, state.log_id, state.end.clone());
        Ok(state.end)
    }

    /// Follows another epoch of the log, or another log of the store, which is taken as it is.
    fn goes_on(&mut self, lineage: Lineage, log_id: u128, end: LogPlace) {
        self.lineage = lineage;
        self.log_id = log_id;
        self.acknowledged = end.clone();
        self.at = end;
        self.followed.clear();
        self.own = None;
    }

    /// Notes that the view has a group of another instance.
    pub(in crate::storage) fn took(&mut self, entry: &Entry) {
        self.at = LogPlace {
            position: entry.position,
            tail: entry.name.clone(),
        };
        self.followed.push_back(self.at.clone());
        while let Some(place) = self
            .followed
            .pop_front_if(|place| place.position <= entry.acknowledged)
        {
            self.acknowledged = place;
        }
    }

    /// Notes that all that the view has is acknowledged, or may be.
    pub(super) fn note_acknowledged(&mut self) {
        self.acknowledged = self.at.clone();
        self.followed.clear();
    }

    /// Records how much was acknowledged in the data directory, where that is news.
    ///
    /// # Errors
    /// When the disk fails.
    pub(in crate::storage) fn record(&mut self, dir: &HeldDir) -> Result<(), SharedLogError> {
        let mark = LogMark {
            prefix: self.link.address().prefix.clone(),
            lineage: self.lineage.clone(),
            log: id_text(self.log_id),
            acknowledged: self.acknowledged.clone(),
            own: self.own.as_ref().map(|own| own.tail.clone()),
            own_position: self.own.as_ref().map_or(0, |own| own.position),
        };
        if self.recorded.as_ref() != Some(&mark) {
            mark.write(dir)?;
            self.recorded = Some(mark);
        }
        Ok(())
    }
}
