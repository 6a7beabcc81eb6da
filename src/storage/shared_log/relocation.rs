//! Moving all records of a store on disk into a shared log, and those of a shared log out to a store.
//!
//! In: the records are written first, and the cell, without which there is no log, last. Until then a key says that a store
//! is being moved in, so that nobody takes what is there for a log; whoever begins anew takes it over. Out: nothing but the
//! record of which logs the store held is written before all of it was read and compared; then the cell says where its
//! counts are, so that nobody appends any more. Both need that no instance is up, and out also that nothing was appended.
//!
//! Kept out: the store on disk, and comparing (`migrate`).

use std::collections::BTreeMap;
use std::time::Instant;

use super::ack::Durability;
use super::link::Script;
use super::log_mark::{LogMark, LogPlace, id_text};
use super::{LogAddress, SharedLog, elsewhere, pulse};
use crate::storage::Family;
use crate::storage::fixed::Fixed;
use crate::storage::held::HeldDir;
use crate::storage::lineage::{Lineage, META_LINEAGE, random_id};
use crate::storage::schema::{FORMAT_VERSION, MERGE_VERSION};
use crate::storage::shared_log_error::SharedLogError;
use crate::storage::value::StoreState;

/// The first byte of [`HeldLogs`].
const VERSION: u8 = 1;

/// So many logs are remembered: older ones nobody comes back from.
const MAX_LOGS: usize = 64;

/// Which logs a store took in before it was moved on, and up to where: by it an instance that followed an earlier one knows
/// that nothing of it is lost.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct HeldLogs(Vec<(u128, u64)>);

impl HeldLogs {
    /// Its key in the family `meta`.
    pub(super) const KEY: &[u8] = b"shared_logs";

    /// Returns up to where that log was taken in; 0 where nothing of it was.
    pub(super) fn position(&self, log_id: u128) -> u64 {
        let log = self.0.iter().find(|(id, _)| *id == log_id);
        log.map_or(0, |(_, position)| *position)
    }

    fn add(&mut self, log_id: u128, position: u64) {
        self.0.retain(|(id, _)| *id != log_id);
        self.0.push((log_id, position));
        let surplus = self.0.len().saturating_sub(MAX_LOGS);
        self.0.drain(..surplus);
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        for (id, position) in &self.0 {
            bytes.extend_from_slice(&id.to_be_bytes());
            bytes.extend_from_slice(&position.to_be_bytes());
        }
        bytes
    }

    /// Reads what was encoded; `None` where it is something else.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(&[VERSION])?;
        let mut logs = Vec::new();
        while !rest.is_empty() {
            logs.push((u128::take(&mut rest)?, u64::take(&mut rest)?));
        }
        Some(Self(logs))
    }
}

/// A shared log that a store is moved into, or out of.
pub(in crate::storage) struct LogRelocation {
    log: SharedLog,
    write: Script,
    /// Where the log ended when a move out began.
    end: LogPlace,
}

impl LogRelocation {
    fn new(log: SharedLog) -> Self {
        Self {
            log,
            write: Script::new(include_str!("move_write.lua")),
            end: LogPlace::default(),
        }
    }

    /// Begins to move a store of that revision in, where there is no log. What is there of an attempt that was broken off is
    /// removed.
    ///
    /// # Errors
    /// When there is a log, when Redis would lose what is acknowledged, or cannot be asked.
    pub(in crate::storage) fn begin_in(
        address: LogAddress,
        lineage: &Lineage,
        revision: u64,
    ) -> Result<Self, SharedLogError> {
        let mut log = SharedLog::alone(address);
        let limit = log.link.limit();
        log.durability = Some(log.look_at_redis(limit)?);
        log.log_id = random_id();
        log.lineage = lineage.clone();
        let script = Script::new(include_str!("move_in.lua"));
        let mut call = script.call(&[
            log.keys.cell(),
            log.keys.moving(),
            log.keys.hashes(),
            log.keys.log(),
            log.keys.instances(),
            log.keys.hash(Family::Meta, &[]),
        ]);
        call.arg(id_text(log.log_id));
        elsewhere::check(&mut log.link, limit, &log.keys.cell())?;
        match &*log.link.insist::<String>(limit, &script, &call)? {
            "begun" => {}
            "parts" => return Err(SharedLogError::Parts(log.keys.cell())),
            _ => return Err(log.is_taken(limit, revision)?),
        }
        let mut keys: Vec<String> = log.hashes()?.into_iter().map(|(_, hash)| hash).collect();
        // Last: it names the others.
        keys.push(log.keys.hashes());
        let clear = Script::new(include_str!("move_clear.lua"));
        for key in keys {
            let mut call = clear.call(&[log.keys.moving(), key]);
            call.arg(id_text(log.log_id));
            // One that began meanwhile may have written already. Sent once: a late one would remove what this one writes.
            match log.link.call(log.link.limit(), &clear, &call)? {
                1u8 => {}
                _ => return Err(overtaken()),
            }
        }
        Ok(Self::new(log))
    }

    /// Whether an earlier move made a log of the store of that epoch. Waits until that is where an acknowledged group has to be.
    ///
    /// # Errors
    /// When it is not in time; when Redis would lose what is acknowledged, cannot be asked, or holds something else.
    pub(in crate::storage) fn was_made(
        address: LogAddress,
        epoch: u64,
    ) -> Result<bool, SharedLogError> {
        let mut log = SharedLog::alone(address);
        let limit = log.link.limit();
        let state = log.cell_state(limit)?;
        let Some(state) = state.filter(|state| state.epoch == epoch) else {
            return Ok(false);
        };
        log.durability = Some(log.look_at_redis(limit)?);
        log.log_id = state.log_id;
        make(&mut log, epoch)?;
        Ok(true)
    }

    /// Writes some records of one family, all of one day or bucket.
    ///
    /// # Errors
    /// When Redis refuses or does not answer, and when another move in began meanwhile.
    pub(in crate::storage) fn write(
        &mut self,
        family: Family,
        records: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<(), SharedLogError> {
        let Some((first, _)) = records.first() else {
            return Ok(());
        };
        let log = &mut self.log;
        let mut call = self.write.call(&[
            log.keys.moving(),
            log.keys.hashes(),
            log.keys.hash(family, first),
        ]);
        call.arg(id_text(log.log_id));
        for (key, value) in records {
            call.arg(key).arg(value);
        }
        match log.link.insist(log.link.limit(), &self.write, &call)? {
            1u8 => Ok(()),
            _ => Err(overtaken()),
        }
    }

    /// Waits until all that was written is where an acknowledged group has to be: what is compared then is not lost with a
    /// primary before there is a log.
    ///
    /// # Errors
    /// When it is not in time, or too few replicas are there: asked again, it goes on waiting. When Redis cannot be asked or
    /// another move in began meanwhile.
    pub(in crate::storage) fn settle(&mut self) -> Result<(), SharedLogError> {
        let log = &mut self.log;
        let limit = log.link.limit();
        let durability = log
            .durability
            .insert(Durability::look(&mut log.link, limit)?);
        let hash = log.keys.hash(Family::Meta, META_LINEAGE);
        let keys = [log.keys.moving(), log.keys.hashes(), hash];
        let mut call = self.write.call(&keys);
        call.arg(id_text(log.log_id));
        call.arg(META_LINEAGE).arg(log.lineage.encode());
        match durability.insist(&mut log.link, limit, &self.write, &call)? {
            1u8 => Ok(()),
            _ => Err(overtaken()),
        }
    }

    /// Makes a log of what was written, and waits until that is where an acknowledged group has to be. Notes in the
    /// data directory `dir` that it knows this log.
    ///
    /// # Errors
    /// When Redis cannot be asked or another move in began meanwhile.
    pub(in crate::storage) fn finish_in(mut self, dir: &HeldDir) -> Result<(), SharedLogError> {
        let epoch = self.log.epoch();
        make(&mut self.log, epoch)?;
        self.log.record(dir)
    }

    /// Begins to move the counts of a log out to the data directory `dir`, whose absolute path is `to`. It must hold all that
    /// was acknowledged as far as that directory knows, and `known`, which may be that of an instance.
    ///
    /// # Errors
    /// When there is no log, it lost what was acknowledged, an instance is up, or Redis cannot be asked or would lose what is
    /// acknowledged; when the counts were moved to another directory before.
    pub(in crate::storage) fn begin_out(
        address: LogAddress,
        dir: &HeldDir,
        known: Option<&HeldDir>,
        to: &str,
    ) -> Result<OutBegun, SharedLogError> {
        let marks = [Some(dir), known].into_iter().flatten();
        let marks: Result<Vec<_>, _> = marks
            .map(|dir| LogMark::read(dir, &address.prefix))
            .collect();
        let marks: Vec<_> = marks?.into_iter().flatten().collect();
        let mut log = SharedLog::alone(address);
        let limit = log.link.limit();
        let state = log.cell_state(limit)?;
        let was_moved = state.as_ref().and_then(|state| state.moved.as_deref()) == Some(to);
        let state = match state.filter(|_| was_moved) {
            Some(state) => Some(state),
            // Refuses what was moved elsewhere, or is being moved in.
            None => log.state(limit)?,
        };
        let Some(state) = state else {
            let cell = log.keys.cell();
            return Err(SharedLogError::Refused(format!(
                "there is no shared log under {cell}"
            )));
        };
        log.durability = Some(log.look_at_redis(limit)?);
        let there = log.lineage_there(limit)?;
        (log.lineage, log.log_id) = (there.clone(), state.log_id);
        if !was_moved {
            // Also without any: an instance may have told a loss.
            log.check(limit)?;
            for mark in marks {
                log.take_over(mark);
                log.check(limit)?;
            }
            (log.lineage, log.log_id) = (there, state.log_id);
        }
        let mut this = Self::new(log);
        this.end = state.end;
        if !was_moved {
            let (mut held, log_id) = (this.log.held_logs(limit)?, this.log.log_id);
            held.add(log_id, this.end.position);
            let meta = this.log.keys.hash(Family::Meta, HeldLogs::KEY);
            this.set_if_at_rest(&meta, HeldLogs::KEY, &held.encode())?;
        }
        Ok(OutBegun {
            relocation: this,
            was_moved,
        })
    }

    /// Calls `visit` with all records, page by page: one may come twice.
    ///
    /// # Errors
    /// When Redis cannot be asked, or holds something else; what `visit` returns.
    pub(in crate::storage) fn each_page<E: From<SharedLogError>>(
        &mut self,
        visit: impl FnMut(Family, &super::RawRecords) -> Result<(), E>,
    ) -> Result<(), E> {
        self.log.each_page(visit)
    }

    /// Says in the cell that its counts are in that directory, if nothing was appended since the move began.
    ///
    /// # Errors
    /// When something was, or an instance is up; when Redis cannot be asked.
    pub(in crate::storage) fn finish_out(mut self, to: &str) -> Result<(), SharedLogError> {
        let cell = self.log.keys.cell();
        self.set_if_at_rest(&cell, b"moved", to.as_bytes())
    }

    /// Returns which store it is.
    pub(in crate::storage) fn lineage(&self) -> &Lineage {
        &self.log.lineage
    }

    /// Returns what all keys of the log begin with.
    pub(in crate::storage) fn tag(&self) -> &str {
        self.log.keys.tag()
    }

    /// Returns how many records there are of each family.
    ///
    /// # Errors
    /// When Redis cannot be asked, or holds something else.
    pub(in crate::storage) fn counts(&mut self) -> Result<BTreeMap<Family, u64>, SharedLogError> {
        let mut counts = BTreeMap::new();
        for (family, hash) in self.log.hashes()? {
            *counts.entry(family).or_default() += self.log.length(&hash)?;
        }
        Ok(counts)
    }

    /// Reads the values of some keys of a family, all of one day or bucket; `None` where there is no such record.
    ///
    /// # Errors
    /// When Redis cannot be asked.
    pub(in crate::storage) fn values(
        &mut self,
        family: Family,
        records: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<Vec<Option<Vec<u8>>>, SharedLogError> {
        let Some((first, _)) = records.first() else {
            return Ok(Vec::new());
        };
        let hash = self.log.keys.hash(family, first);
        let keys = records.iter().map(|(key, _)| &**key);
        self.log.values(&hash, keys)
    }

    /// Sets a field, if the log ends where it did and no instance is up, and waits until that is where an acknowledged group
    /// has to be: a primary that takes over must not lack it.
    fn set_if_at_rest(
        &mut self,
        hash: &str,
        field: &[u8],
        value: &[u8],
    ) -> Result<(), SharedLogError> {
        let log = &mut self.log;
        let script = Script::new(include_str!("move_out.lua"));
        let mut call = script.call(&[log.keys.cell(), log.keys.up(), hash.to_owned()]);
        call.arg(log.epoch())
            .arg(self.end.position)
            .arg(&self.end.tail);
        call.arg(pulse::LASTS.as_millis() as u64);
        call.arg(field).arg(value);
        let limit = log.link.limit();
        let durability = super::looked_at(&mut log.durability)?;
        let answer: String = durability.insist(&mut log.link, limit, &script, &call)?;
        let refused = match &*answer {
            "set" => return Ok(()),
            "up" => {
                "an instance is up, or was a moment ago: stop all of them, and wait eight seconds after one that was killed"
            }
            _ => "the shared log changed meanwhile: stop all instances, and run it again",
        };
        Err(SharedLogError::Refused(refused.to_owned()))
    }
}

/// A move out that was begun.
pub(in crate::storage) struct OutBegun {
    /// The log.
    pub(in crate::storage) relocation: LogRelocation,
    /// Whether the cell says already that its counts are in this directory: an earlier move was broken off at its very end.
    pub(in crate::storage) was_moved: bool,
}

impl SharedLog {
    /// Returns why nothing can be moved in where a log is. `revision` is that of the store.
    fn is_taken(
        &mut self,
        limit: Instant,
        revision: u64,
    ) -> Result<SharedLogError, SharedLogError> {
        let what = match self.cell_state(limit)? {
            Some(state) if state.moved.is_some() => {
                let to = state.moved.unwrap_or_default();
                format!("whose counts were moved to {to}")
            }
            Some(state) if self.lineage_there(limit)?.id == self.lineage.id => {
                let there = self.revision_there(limit)?;
                let which = match state.end.position {
                    0 => {
                        "nothing was counted there since it was made of the store, so the store may be moved anew"
                    }
                    _ => "it was counted on there, so somebody has to decide which of both goes on",
                };
                format!(
                    "of this very store, at revision {there}, and the store is at revision {revision}: {which}"
                )
            }
            Some(state) => format!("of another store, on epoch {}", state.epoch),
            None => "of another version".to_owned(),
        };
        let (cell, tag) = (self.keys.cell(), self.keys.tag());
        Ok(SharedLogError::Refused(format!(
            "there is a shared log under {cell}, {what}; nothing was changed: choose another redis.prefix, or, once nothing there \
             is needed, remove all its keys, `redis-cli --scan --pattern '{tag}:*' | xargs redis-cli UNLINK`"
        )))
    }

    /// Reads up to which revision the log counted.
    fn revision_there(&mut self, limit: Instant) -> Result<u64, SharedLogError> {
        let mut call = redis::cmd("HGET");
        call.arg(self.keys.hash(Family::Meta, StoreState::KEY))
            .arg(StoreState::KEY);
        let bytes: Option<Vec<u8>> = self.link.ask(limit, &call)?;
        let state = bytes.map(|bytes| StoreState::decode(&bytes));
        let unread = |_| SharedLogError::Unreadable("how far it counted");
        let state = state.transpose().map_err(unread)?;
        Ok(state.map_or(0, |state| state.revision))
    }
}

/// Makes the cell, where it is not made yet.
fn make(log: &mut SharedLog, epoch: u64) -> Result<(), SharedLogError> {
    let script = Script::new(include_str!("move_end.lua"));
    let mut call = script.call(&[log.keys.moving(), log.keys.cell()]);
    call.arg(id_text(log.log_id));
    call.arg(FORMAT_VERSION).arg(MERGE_VERSION).arg(epoch);
    let limit = log.link.limit();
    let durability = super::looked_at(&mut log.durability)?;
    match durability.insist(&mut log.link, limit, &script, &call)? {
        1u8 => Ok(()),
        _ => Err(overtaken()),
    }
}

fn overtaken() -> SharedLogError {
    SharedLogError::Refused(
        "another move into the same place began meanwhile, or somebody removed its keys; nothing counts there yet".to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logs_that_a_store_held_are_these_bytes_and_the_last_of_each_counts() {
        let mut held = HeldLogs::default();
        held.add(0, 7);
        held.add(258, 9);
        held.add(0, 8);
        let bytes = b"\x01\
            \0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\x09\
            \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x08";
        assert_eq!(held.encode(), bytes);
        assert_eq!(HeldLogs::decode(bytes), Some(held));
        assert_eq!(HeldLogs::decode(&bytes[..30]), None);
        let held = HeldLogs::decode(bytes).unwrap();
        assert_eq!([0, 258, 3].map(|id| held.position(id)), [8, 9, 0]);
        let mut held = HeldLogs::default();
        (1..=100).for_each(|id| held.add(id, 1));
        assert_eq!((held.0.len(), held.position(36)), (MAX_LOGS, 0));
    }
}
