//! What a group writes: the counters it changed, users, keys, events, and the meta record.

use crate::calendar::Day;
use crate::counter::Existence;
use crate::invariant::{Broken, invariant};
use crate::storage::{Batch, Operand, StoreState};

use super::group::Group;
use super::ledger::{self, Index};
use super::run::{Books, Writer};

/// After so many operands on one counter its whole value is put, so that reads stay cheap.
const MAX_MERGES: u16 = 256;

impl Writer {
    /// Puts the group into the batch; returns the counters that changed.
    ///
    /// # Errors
    /// When the group does not follow what was published.
    pub(super) fn fill(&mut self, group: &mut Group) -> Result<Vec<Index>, Broken> {
        let (table, stored_day) = (&self.links.table, self.progress.stored_day);
        invariant!(
            group.number > table.last_group() && self.books.ledger.revision >= table.revision(),
            "group {} up to revision {} would be published after group {} up to revision {}",
            group.number,
            self.books.ledger.revision,
            table.last_group(),
            table.revision()
        )?;
        invariant!(
            stored_day <= Some(group.today.day),
            "a group would count into {}, after {stored_day:?}",
            group.today.day
        )?;
        // A shared log holds whole values: what is taken in twice must change nothing.
        let max_merges = if self.is_shared() { 0 } else { MAX_MERGES };
        let Books { ledger, batch, .. } = &mut self.books;
        let mut changed = Vec::with_capacity(group.touched.len());
        for &index in &group.touched {
            let entry = ledger.at_mut(index)?;
            if !entry.state.dirty {
                continue;
            }
            changed.push(index);
            put_counter(batch, entry, group.today.day, max_merges)?;
        }
        for (period, generation, user) in &group.users {
            batch.put_user(*period, *generation, user.as_str());
        }
        for sight in &group.sights {
            let (generation, user) = (sight.generation, sight.user.as_str());
            batch.put_seat(generation, sight.time_line, user, sight.seat.as_ref());
        }
        if !ledger.lapsing.is_empty() && self.handle.reader.horizons.windows() < group.slid_to() {
            batch.put_windows_horizon(group.slid_to());
        }
        let bucket = group.bucket;
        for (client_key, (fingerprint, outcome)) in &group.kept {
            batch.put_kept(bucket, client_key, *fingerprint, outcome);
        }
        for (index, number, event) in &group.events {
            let name = &ledger.at(*index)?.name;
            batch.put_event(group.today.day, name, *number, event);
        }
        for generation in &group.ended {
            batch.put_ended(*generation);
        }
        for &index in &group.forgotten {
            batch.forget_counter(&ledger.at(index)?.name);
        }
        group.minutes.put(batch, ledger, group.today.day);
        if !self.progress.zone_stored {
            batch.put_zone(&self.progress.zone);
        }
        let horizon = bucket.saturating_sub(1);
        if horizon > self.handle.reader.horizons.idempotency() {
            batch.put_idempotency_horizon(horizon);
        }
        let state = StoreState {
            revision: ledger.revision,
            highest_day: group.today.day,
            store_time: group.store_ms,
            wall_ms: group.now,
        };
        batch.put_state(&state);
        Ok(changed)
    }
}

/// Puts what the group made of one counter: its definition, its value, its day.
fn put_counter(
    batch: &mut Batch,
    entry: &mut ledger::LedgerEntry,
    today: Day,
    max_merges: u16,
) -> Result<(), Broken> {
    let name = &entry.name;
    let state = &mut entry.state;
    invariant!(
        matches!(state.day, Some((day, _)) if day == today),
        "{name} changed on {today}, and its day record is {:?}",
        state.day
    )?;
    if state.redefined {
        let gone = match &state.existence {
            Existence::Gone(gone) => Some(gone),
            Existence::Live | Existence::Absent | Existence::Corrupt => None,
        };
        batch.put_definition(name, &state.definition, gone);
    }
    if state.whole || state.merges >= max_merges {
        batch.put_value(name, &state.stored_value());
        state.merges = 0;
    } else {
        let operand = Operand {
            delta: state.delta,
            revision: state.revision,
            changed_at: state.changed_at,
        };
        batch.change_value(name, &operand);
        state.merges += 1;
    }
    for (time_line, leaving) in state.take_changed_grains() {
        batch.put_leaving(state.generation, time_line, &leaving);
    }
    if let Some((day, record)) = &state.day {
        let nature = (state.definition.kind, state.definition.reset);
        batch.put_day_record(*day, name, record, nature);
    }
    state.delta = 0;
    state.dirty = false;
    state.whole = false;
    state.redefined = false;
    Ok(())
}
