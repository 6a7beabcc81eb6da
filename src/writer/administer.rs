//! What administrators and time ask of a counter: reset, adjust, define, delete, repair, expire.

use std::sync::Arc;

use crate::counter::{
    Adjustment, CounterName, DayRecord, Definition, Event, EventKind, Existence, Gone, Millis,
    Outcome, Refusal, RequestId, judge_adjustment, within_bounds,
};
use crate::invariant::{Broken, invariant};

use super::fold::{Fold, day_record};
use super::group::{Lookups, Stop};
use super::ledger::{EntryState, Index};

impl<L: Lookups> Fold<'_, L> {
    pub(super) fn reset(
        &mut self,
        counter: &CounterName,
        request_id: &RequestId,
    ) -> Result<Outcome, Stop> {
        let index = self.locate(counter)?.ok_or(Refusal::UnknownCounter)?;
        let previous_value = self.seen(index)?.value;
        let moment = self.group.moment();
        self.end_generation(index)?;
        let (revision, state) = self.change(index)?;
        state.generation = revision;
        state.begin_leaving(&moment);
        day_record(&mut state.day)?.1.start_generation(revision);
        self.set_value(index, 0)?;
        self.event(index, EventKind::Reset, previous_value, 0, None, request_id)?;
        self.set_outcome(index, previous_value, revision)
    }

    pub(super) fn adjust(
        &mut self,
        counter: &CounterName,
        adjustment: Adjustment,
        reason: &str,
        request_id: &RequestId,
    ) -> Result<Outcome, Stop> {
        let index = self.locate(counter)?.ok_or(Refusal::UnknownCounter)?;
        let previous_value = self.seen(index)?.value;
        let definition = &self.state(index)?.definition;
        let value = judge_adjustment(definition, previous_value, adjustment)?;
        let (revision, _) = self.change(index)?;
        self.set_value(index, value)?;
        self.event(
            index,
            EventKind::Adjust,
            previous_value,
            value,
            Some(reason),
            request_id,
        )?;
        self.set_outcome(index, previous_value, revision)
    }

    pub(super) fn repair(
        &mut self,
        counter: &CounterName,
        value: i64,
        reason: Option<&str>,
        request_id: &RequestId,
    ) -> Result<Outcome, Stop> {
        let index = self.ledger.find(counter).ok_or(Refusal::UnknownCounter)?;
        if self.state(index)?.existence != Existence::Corrupt {
            return Err(Refusal::NotCorrupt.into());
        }
        let definition = Arc::clone(&self.state(index)?.definition);
        let value = within_bounds(&definition, 0, value.into())?;
        if definition.lapse().is_some() {
            // Nobody can say when it would leave.
            if value != 0 {
                let (kind, wanted) = (definition.kind, "repair to a value but 0");
                return Err(Refusal::WrongKind { kind, wanted }.into());
            }
            self.ledger.lapsing.insert(index);
        }
        let moment = self.group.moment();
        let (day, now) = (self.group.today.day, self.group.now);
        let goes_on = self.state(index)?.day.is_some_and(|(of, _)| of == day);
        let (revision, state) = self.change(index)?;
        state.existence = Existence::Live;
        state.redefined = true;
        state.generation = revision;
        state.begin_leaving(&moment);
        match &mut state.day {
            Some((_, record)) if goes_on => record.start_generation(revision),
            begun => *begun = Some((day, DayRecord::begin(value, now, revision))),
        }
        self.set_value(index, value)?;
        invariant!(self.ledger.corrupt > 0, "{counter} is corrupt, and none is")?;
        self.ledger.corrupt -= 1;
        self.note_expiry(index, &definition);
        self.event(index, EventKind::Repair, 0, value, reason, request_id)?;
        self.set_outcome(index, 0, revision)
    }

    /// Puts a whole definition, as a client asks.
    pub(super) fn define(
        &mut self,
        counter: CounterName,
        definition: Definition,
        request_id: &RequestId,
    ) -> Result<Outcome, Stop> {
        if self.is_configured(&counter) {
            return Err(Refusal::DefinedInConfig.into());
        }
        if definition.expired_at(self.group.now) {
            return Err(Refusal::ExpiresInPast.into());
        }
        self.put_definition(counter, definition, true, request_id)
    }

    /// Puts a whole definition: of a live counter, or to start one. The quota holds for clients.
    pub(super) fn put_definition(
        &mut self,
        counter: CounterName,
        definition: Definition,
        quota: bool,
        request_id: &RequestId,
    ) -> Result<Outcome, Stop> {
        let found = match self.locate(&counter) {
            Ok(found) => found,
            Err(Stop::Refused(Refusal::Gone(_))) => None,
            Err(stop) => return Err(stop),
        };
        let definition_put = Box::new(definition.clone());
        let (revision, previous) = match found {
            None => {
                if let Some(index) = self.ledger.find(&counter) {
                    self.record_expiry(index)?;
                }
                if quota {
                    self.room_for_one(self.rules.max_counters)?;
                }
                let index = self.start(counter, definition, request_id)?;
                (self.state(index)?.revision, None)
            }
            Some(index) => {
                let before = Arc::clone(&self.state(index)?.definition);
                if !before.may_become(&definition) {
                    let Definition { kind, reset, .. } = *before;
                    return Err(Refusal::DefinitionConflict { kind, reset }.into());
                }
                self.forget_expiry(index, before.expires_at)?;
                self.note_expiry(index, &definition);
                let (revision, state) = self.change(index)?;
                if let Some((leaving, lapse)) = state.leaving.as_mut().zip(definition.lapse()) {
                    leaving.lapse = lapse;
                }
                state.definition = Arc::new(definition);
                state.redefined = true;
                (revision, Some(Box::new(Definition::clone(&before))))
            }
        };
        Ok(Outcome::Defined {
            definition: definition_put,
            started: previous.is_none(),
            revision,
            previous,
        })
    }

    pub(super) fn delete(
        &mut self,
        counter: &CounterName,
        request_id: &RequestId,
    ) -> Result<Outcome, Stop> {
        if self.is_configured(counter) {
            return Err(Refusal::DefinedInConfig.into());
        }
        let index = self.locate(counter)?.ok_or(Refusal::UnknownCounter)?;
        let final_value = self.seen(index)?.value;
        let gone = Gone {
            expired: false,
            final_value,
            at: self.group.now,
        };
        let revision = self.end_life(index, gone)?;
        self.event(index, EventKind::Delete, final_value, 0, None, request_id)?;
        Ok(Outcome::Deleted {
            final_value,
            revision,
        })
    }

    /// Records that a counter's time is over, if it is and nothing recorded it yet.
    pub(super) fn record_expiry(&mut self, index: Index) -> Result<(), Stop> {
        if self.state(index)?.existence != Existence::Live {
            return Ok(());
        }
        let Some(gone) = self.seen(index)?.over else {
            return Ok(());
        };
        self.end_life(index, gone)?;
        let event = Event {
            kind: EventKind::Expiry,
            at: gone.at,
            before: gone.final_value,
            after: 0,
            reason: None,
            request_id: None,
        };
        self.push_event(index, event)
    }

    pub(super) fn end_life(&mut self, index: Index, gone: Gone) -> Result<u64, Stop> {
        let expires_at = self.state(index)?.definition.expires_at;
        self.end_generation(index)?;
        let (revision, state) = self.change(index)?;
        state.existence = Existence::Gone(gone);
        state.leaving = None;
        state.redefined = true;
        invariant!(
            self.ledger.live > 0,
            "a live counter ends, and none is live"
        )?;
        self.ledger.live -= 1;
        self.forget_expiry(index, expires_at)?;
        self.ledger.gone.insert((gone.at, index));
        Ok(revision)
    }

    /// Notes the end of a live counter in the ledger's calendar.
    fn note_expiry(&mut self, index: Index, definition: &Definition) {
        let end = definition.expires_at.map(|at| (at, index));
        self.ledger.expiries.extend(end);
    }

    /// Takes the end of a live counter out of the ledger's calendar.
    fn forget_expiry(&mut self, index: Index, expires_at: Option<Millis>) -> Result<(), Broken> {
        let known = expires_at.is_none_or(|at| self.ledger.expiries.remove(&(at, index)));
        invariant!(
            known,
            "the end of the counter at place {index} was not noted"
        )
    }

    pub(super) fn end_generation(&mut self, index: Index) -> Result<(), Stop> {
        let state = self.state(index)?;
        let ended = state.keeps_users_for_good().then_some(state.generation);
        self.group.ended.extend(ended);
        Ok(())
    }

    /// Starts a counter (anew).
    pub(super) fn start(
        &mut self,
        counter: CounterName,
        definition: Definition,
        request_id: &RequestId,
    ) -> Result<Index, Stop> {
        let index = self.ledger.add(counter);
        if let Existence::Gone(gone) = self.state(index)?.existence {
            self.ledger.gone.remove(&(gone.at, index));
        }
        self.note_expiry(index, &definition);
        self.note_for_undo(index)?;
        let (day, now) = (self.group.today.day, self.group.now);
        let entry = self.ledger.at_mut(index)?;
        let record = match entry.state.day {
            Some((of, record)) if of == day => Some(record),
            // A counter of this name may have been here today, and forgotten since.
            Some(_) | None => self.lookups.day_record(day, &entry.name)?,
        };
        let record = record.unwrap_or_else(|| DayRecord::begin(0, now, 0));
        entry.state = EntryState {
            existence: Existence::Live,
            period: definition.reset.period_on(day),
            definition: Arc::new(definition),
            day: Some((day, record)),
            changed_at: now,
            redefined: true,
            ..EntryState::absent()
        };
        self.ledger.live += 1;
        let moment = self.group.moment();
        if self.state(index)?.definition.lapse().is_some() {
            self.ledger.lapsing.insert(index);
        }
        let (revision, state) = self.change(index)?;
        state.generation = revision;
        state.begin_leaving(&moment);
        let (_, record) = day_record(&mut state.day)?;
        if record.generation == 0 {
            record.generation = revision;
        } else {
            record.start_generation(revision);
        }
        self.set_value(index, 0)?;
        self.event(index, EventKind::Creation, 0, 0, None, request_id)?;
        Ok(index)
    }

    pub(super) fn is_configured(&self, counter: &CounterName) -> bool {
        let entry = self.ledger.named(counter);
        entry.is_some_and(|entry| entry.configured)
    }
}
