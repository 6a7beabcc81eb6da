//! What a group writes: the counters it changed, users, keys, events, and the meta record.

use crate::counter::Definition;
use crate::storage::expiry::Horizons;
use crate::storage::keys::{self, Bucket};
use crate::storage::merge::Operand;
use crate::storage::schema::META_ZONE;
use crate::storage::value::{self, State};
use crate::storage::{Batch, Family};

use super::group::Group;
use super::ledger::{self, Index, Life};
use super::run::Writer;

/// After so many operands on one counter its whole value is put, so that reads stay cheap.
const MAX_MERGES: u16 = 256;

/// A span of store time in which idempotency records share a bucket.
const BUCKET_MS: i64 = 24 * 3_600_000;

/// Time during which the store was open, summed over its life.
pub(super) struct StoreTime {
    pub(super) before: i64,
    pub(super) boot_at_open: i64,
}

impl StoreTime {
    pub(super) fn now(&self, boot_ms: i64) -> i64 {
        self.before
            .saturating_add(boot_ms.saturating_sub(self.boot_at_open).max(0))
    }

    pub(super) fn bucket(&self, boot_ms: i64) -> Bucket {
        Bucket::try_from(self.now(boot_ms).div_euclid(BUCKET_MS)).unwrap_or(Bucket::MAX)
    }
}

impl Writer {
    /// Puts the group into the batch; gives the counters that changed.
    pub(super) fn fill(&mut self, group: &mut Group) -> Vec<Index> {
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
        let bucket = group.bucket;
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
        group.minutes.put(batch, ledger, group.day);
        if !self.zone_stored {
            batch.put(Family::Meta, META_ZONE, self.zone.as_bytes());
        }
        let horizon = bucket.saturating_sub(1);
        if horizon > self.horizons.idempotency() {
            Horizons::put_idempotency(batch, horizon);
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
        let operand = Operand {
            delta: state.delta,
            revision: state.revision,
            changed_at: state.changed_at,
        };
        batch.merge(Family::Counters, &key, &operand.encode());
        state.merges += 1;
    }
    if let Some((day, record)) = &state.day {
        let key = keys::day_record(*day, &entry.name);
        let Definition { kind, reset, .. } = *state.definition;
        batch.put(
            Family::Days,
            &key,
            &value::encode_day_record(record, kind, reset),
        );
    }
    state.delta = 0;
    state.dirty = false;
    state.whole = false;
    state.redefined = false;
}
