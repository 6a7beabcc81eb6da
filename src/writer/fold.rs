//! The fold of one commit group: each request's exact result, in order, against the ledger.
//!
//! What is refused leaves nothing behind: a single request is judged before it changes anything, and
//! a batch keeps what it needs to take itself back whole. What administrators ask is in `administer`.
//!
//! Kept out: disks (look-ups come through [`Lookups`]), clocks (the group has one time and one day),
//! and answers (`run`).

use crate::calendar::Day;
use crate::counter::{
    Action, Applied, CounterName, DayRecord, Definition, Direction, Effect, Event, EventKind,
    Existence, Generation, Kind, MAX_EVENTS, Moment, Operation, Outcome, Refusal, RequestId, Seen,
    UserId, judge_move,
};
use crate::current_day::CurrentDay;
use crate::invariant::{Broken, invariant};
use crate::seeded::bug;
use crate::storage::ReadError;

use super::group::{Group, KeptAnswer, Lookups, Rules, Stop};
use super::ledger::{EntryState, Index, Ledger};
use super::{Answer, Command, Failure, IdempotencyKey, Request};

/// One place in this many of `counters.max` is not given to first increments, so that clients who
/// make up names never keep an administrator from defining a counter.
const KEPT_SHARE: u64 = 20;

/// Bits for the number of a batch within its group.
const BATCH_BITS: u32 = 20;

/// The state before a batch, to take it back.
pub(super) struct Undo {
    entries: Vec<(Index, EntryState)>,
    live: u64,
    revision: u64,
    users: usize,
    sights: usize,
    events: usize,
    counted: u64,
}

/// Works requests out.
pub(super) struct Fold<'a, L> {
    pub(super) ledger: &'a mut Ledger,
    pub(super) group: &'a mut Group,
    pub(super) lookups: &'a mut L,
    pub(super) rules: &'a Rules,
    pub(super) days: &'a CurrentDay,
    /// `None` while no batch is under way.
    pub(super) undo: Option<Undo>,
}

impl<L: Lookups> Fold<'_, L> {
    /// Works out one request.
    pub(super) fn request(
        &mut self,
        request: Request,
    ) -> Result<Result<Answer, Failure>, ReadError> {
        let Request {
            command,
            key,
            request_id,
        } = request;
        if let Some(key) = &key {
            match self.kept(key)? {
                KeptAnswer::Nothing => {}
                KeptAnswer::Outcome {
                    fingerprint,
                    outcome,
                } if fingerprint == key.fingerprint => {
                    return Ok(Ok(Answer {
                        outcome,
                        replayed: true,
                    }));
                }
                KeptAnswer::Outcome { .. } => return Ok(Err(Failure::KeyReused)),
                KeptAnswer::Corrupt => return Ok(Err(Failure::KeyCorrupt)),
            }
        }
        match self.command(command, &request_id) {
            Ok(outcome) => {
                if let Some(key) = key.filter(|_| !bug("replay_not_stored")) {
                    let kept = (key.fingerprint, outcome.clone());
                    self.group.kept.insert(key.key, kept);
                }
                Ok(Ok(Answer {
                    outcome,
                    replayed: false,
                }))
            }
            Err(Stop::Refused(refusal)) => Ok(Err(Failure::Refused(refusal))),
            Err(Stop::Unreadable(error)) => Err(error),
        }
    }

    fn kept(&mut self, key: &IdempotencyKey) -> Result<KeptAnswer, ReadError> {
        match self.group.kept.get(&key.key) {
            Some((fingerprint, outcome)) => Ok(KeptAnswer::Outcome {
                fingerprint: *fingerprint,
                outcome: outcome.clone(),
            }),
            None => self.lookups.kept(&key.key),
        }
    }

    fn command(&mut self, command: Command, request_id: &RequestId) -> Result<Outcome, Stop> {
        match command {
            Command::Apply(operation) => Ok(Outcome::Applied(self.apply(&operation, request_id)?)),
            Command::Batch(operations) => self.batch(&operations, request_id),
            Command::Each(operations) => self.each(&operations, request_id),
            Command::Reset { counter } => self.reset(&counter, request_id),
            Command::Adjust {
                counter,
                adjustment,
                reason,
            } => self.adjust(&counter, adjustment, &reason, request_id),
            Command::Define {
                counter,
                definition,
            } => self.define(counter, *definition, request_id),
            Command::Delete { counter } => self.delete(&counter, request_id),
            Command::Repair {
                counter,
                value,
                reason,
            } => self.repair(&counter, value, reason.as_deref(), request_id),
        }
    }

    fn apply(&mut self, operation: &Operation, request_id: &RequestId) -> Result<Applied, Stop> {
        let (index, created) = match self.locate(&operation.counter)? {
            Some(index) => (index, false),
            None => (self.create_by(operation, request_id)?, true),
        };
        let moment = if bug("period_at_reply") {
            self.days.moment()
        } else {
            self.group.moment()
        };
        let Seen {
            value,
            period,
            revision,
            ..
        } = self.says(self.state(index)?, &moment)?;
        let unchanged = |effect| Applied {
            current_value: value,
            effect,
            applied: 0,
            revision,
            period,
            created,
            lease: None,
        };
        let state = self.state(index)?;
        if let Some(leaving) = &state.leaving {
            let lapse = leaving.lapse;
            return self.apply_slide(index, lapse, operation, unchanged(Effect::Counted));
        }
        let (kind, generation) = (state.definition.kind, state.generation);
        let (action, amount) = (operation.action, operation.amount);
        if action.is_of_leases() {
            let wanted = action.as_str();
            return Err(Refusal::WrongKind { kind, wanted }.into());
        }
        let direction = action.direction();
        let mut new_user = None;
        if kind == Kind::Unique && direction == Direction::Increment {
            let user = operation.user_id.as_ref().ok_or(Refusal::MissingUserId)?;
            if amount != 1 {
                return Err(Refusal::UniqueCountsOne.into());
            }
            if self.is_counted(period, generation, user)? {
                return Ok(unchanged(Effect::Duplicate));
            }
            new_user = Some((period, generation, user));
        }
        let delta = judge_move(&self.state(index)?.definition, value, direction, amount)?;
        if delta == 0 {
            return Ok(unchanged(Effect::Clamped));
        }
        let moved = value
            .checked_add(delta)
            .ok_or_else(|| Broken::found(format_args!("{value} moved by {delta} is no value")))?;
        invariant!(
            delta.unsigned_abs() <= amount.unsigned_abs(),
            "the value moves by {delta}, though {amount} was asked"
        )?;
        if let Some((period, generation, user)) = new_user {
            self.group
                .user_set
                .entry(generation)
                .or_default()
                .insert(user.clone());
            self.group.users.push((period, generation, user.clone()));
        }
        self.group.counted += 1;
        let now = self.group.now;
        let (revision, state) = self.change(index)?;
        state.value = moved;
        state.delta = state.delta.wrapping_add(delta);
        let current_value = state.value;
        let (_, record) = day_record(&mut state.day)?;
        record.count(delta, current_value, now);
        Ok(Applied {
            current_value,
            applied: delta.saturating_abs(),
            revision,
            ..unchanged(Effect::Counted)
        })
    }

    fn is_counted(
        &mut self,
        period: Option<Day>,
        generation: Generation,
        user: &UserId,
    ) -> Result<bool, Stop> {
        if !bug("misses_group_in_flight")
            && self
                .group
                .user_set
                .get(&generation)
                .is_some_and(|users| users.contains(user))
        {
            return Ok(true);
        }
        match self.lookups.counted(period, generation, user.as_str()) {
            Err(error) if error.is_rot() => Err(Refusal::UnreadableUser.into()),
            counted => Ok(counted?),
        }
    }

    fn batch(&mut self, operations: &[Operation], request_id: &RequestId) -> Result<Outcome, Stop> {
        self.group.batches += 1;
        invariant!(
            self.group.batches < 1 << BATCH_BITS,
            "a group of {} batches: they cannot be told apart",
            self.group.batches
        )?;
        self.undo = Some(Undo {
            entries: Vec::new(),
            live: self.ledger.live,
            revision: self.ledger.revision,
            users: self.group.users.len(),
            sights: self.group.sights.len(),
            events: self.group.events.len(),
            counted: self.group.counted,
        });
        let mut results = Vec::with_capacity(operations.len());
        let mut refused = Vec::new();
        for (index, operation) in (0u32..).zip(operations) {
            match self.apply(operation, request_id) {
                Ok(applied) => results.push(applied),
                Err(Stop::Refused(refusal)) => refused.push((index, refusal)),
                Err(unreadable @ Stop::Unreadable(_)) => return Err(unreadable),
            }
        }
        let undo = self
            .undo
            .take()
            .ok_or_else(|| Broken::found(format_args!("the state before the batch is lost")))?;
        if refused.is_empty() {
            return Ok(Outcome::Batch(results.into_boxed_slice()));
        }
        if !bug("batch_keeps_prefix") {
            self.take_back(undo)?;
        }
        Err(Refusal::Batch(refused.into_boxed_slice()).into())
    }

    /// Applies operations one by one. A refused one changes nothing, and the others go on.
    fn each(&mut self, operations: &[Operation], request_id: &RequestId) -> Result<Outcome, Stop> {
        let mut results = Vec::with_capacity(operations.len());
        for operation in operations {
            match self.apply(operation, request_id) {
                Ok(applied) => results.push(Ok(applied)),
                Err(Stop::Refused(refusal)) => results.push(Err(refusal)),
                Err(unreadable @ Stop::Unreadable(_)) => return Err(unreadable),
            }
        }
        Ok(Outcome::Each(results.into_boxed_slice()))
    }

    fn take_back(&mut self, undo: Undo) -> Result<(), Broken> {
        invariant!(
            undo.revision <= self.ledger.revision && undo.users <= self.group.users.len(),
            "the batch began at revision {}, and the ledger is at {}",
            undo.revision,
            self.ledger.revision
        )?;
        for (_, generation, user) in self.group.users.drain(undo.users..) {
            if let Some(users) = self.group.user_set.get_mut(&generation) {
                users.remove(&user);
            }
        }
        self.group.unsee(undo.sights);
        self.group.events.truncate(undo.events);
        self.group.counted = undo.counted;
        self.ledger.live = undo.live;
        self.ledger.revision = undo.revision;
        for (index, state) in undo.entries {
            if let Existence::Gone(gone) = state.existence {
                self.ledger.gone.insert((gone.at, index));
            }
            let place = &mut self.ledger.at_mut(index)?.state;
            let refused = std::mem::replace(place, state);
            if bug("window_keeps_refused") {
                place.leaving = refused.leaving;
            }
        }
        Ok(())
    }

    /// Finds a counter that counts; `None` where a first increment may create it.
    pub(super) fn locate(&self, name: &CounterName) -> Result<Option<Index>, Stop> {
        let Some(index) = self.ledger.find(name) else {
            return Ok(None);
        };
        let entry = self.ledger.at(index)?;
        if entry.state.existence == Existence::Absent {
            return Ok(None);
        }
        let Some(gone) = self.says(&entry.state, &self.group.moment())?.over else {
            return Ok(Some(index));
        };
        let forgotten = matches!(entry.state.existence, Existence::Gone(_))
            && gone.at.saturating_add(self.rules.gone_for_ms) <= self.group.now;
        if forgotten && !entry.configured {
            Ok(None)
        } else {
            Err(Refusal::Gone(gone).into())
        }
    }

    /// Returns what the counter says at the moment of the group.
    pub(super) fn seen(&self, index: Index) -> Result<Seen, Stop> {
        self.says(self.state(index)?, &self.group.moment())
    }

    // Inlined, so that each caller works out the fields that it uses and copies none of the others.
    #[inline(always)]
    fn says(&self, state: &EntryState, moment: &Moment) -> Result<Seen, Stop> {
        let seen = state.seen(moment, self.days.calendar());
        Ok(seen.ok_or(Refusal::Corrupt)?)
    }

    /// Creates what a first increment of an unknown name creates, if that increment will be taken.
    fn create_by(&mut self, operation: &Operation, request_id: &RequestId) -> Result<Index, Stop> {
        if operation.action != Action::Increment || !self.rules.auto_create {
            return Err(Refusal::UnknownCounter.into());
        }
        // The last places are kept for the configuration and administrators.
        self.room_for_one(self.rules.max_counters - self.rules.max_counters / KEPT_SHARE)?;
        let definition = Definition::default();
        judge_move(&definition, 0, Direction::Increment, operation.amount)?;
        self.start(operation.counter.clone(), definition, request_id)
    }

    /// Whether there are fewer than `max`. Counters whose time is over take no place, recorded or not.
    pub(super) fn room_for_one(&self, max: u64) -> Result<(), Stop> {
        let live = self.ledger.live;
        let over = || {
            let over = self.ledger.expiries.range(..=(self.group.now, Index::MAX));
            over.count() as u64
        };
        if live >= max && live.saturating_sub(over()) >= max {
            return Err(Refusal::TooManyCounters { max }.into());
        }
        Ok(())
    }

    /// Begins a change: a revision, the group's time, the period and the day's record.
    pub(super) fn change(&mut self, index: Index) -> Result<(u64, &mut EntryState), Stop> {
        self.note_for_undo(index)?;
        let revision = self.ledger.revision + 1;
        self.ledger.revision = revision;
        let group = &mut *self.group;
        let (today, now) = (group.today, group.now);
        let day = today.day;
        let entry = self.ledger.at_mut(index)?;
        if entry.touched != group.number {
            entry.touched = group.number;
            group.touched.push(index);
        }
        let state = &mut entry.state;
        state.dirty = true;
        state.revision = revision;
        state.changed_at = state.changed_at.max(now);
        let lapses = state.leaving.is_some();
        let slid = lapses.then(|| state.slide(&group.moment())).flatten();
        let period = state.definition.reset.period_on(day);
        if state.period != period {
            state.period = period;
            state.value = 0;
            state.delta = 0;
            state.whole = true;
        }
        if state.day.is_none_or(|(of, _)| of != day) {
            state.day = Some((
                day,
                DayRecord::begin(
                    slid.as_ref().map_or(state.value, |slid| slid.opening),
                    today.start,
                    state.generation,
                ),
            ));
        }
        if let (Some(slid), Some((_, record))) = (slid, &mut state.day) {
            record.reach(state.value, now);
            record.expired = record.expired.saturating_add(slid.ended);
        }
        Ok((revision, state))
    }

    /// Notes a counter's state before the first change by the batch under way.
    pub(super) fn note_for_undo(&mut self, index: Index) -> Result<(), Stop> {
        let Some(undo) = &mut self.undo else {
            return Ok(());
        };
        // A batch is named by its group and its number within the group.
        let serial = self.group.number << BATCH_BITS | self.group.batches;
        let entry = self.ledger.at_mut(index)?;
        if entry.noted_for_undo != serial {
            entry.noted_for_undo = serial;
            undo.entries.push((index, entry.state.clone()));
        }
        Ok(())
    }

    pub(super) fn set_value(&mut self, index: Index, value: i64) -> Result<(), Stop> {
        let now = self.group.now;
        let entry = self.ledger.at_mut(index)?;
        entry.state.value = value;
        entry.state.delta = 0;
        entry.state.whole = true;
        let (_, record) = day_record(&mut entry.state.day)?;
        record.reach(value, now);
        Ok(())
    }

    pub(super) fn set_outcome(
        &self,
        index: Index,
        previous_value: i64,
        revision: u64,
    ) -> Result<Outcome, Stop> {
        let state = self.state(index)?;
        Ok(Outcome::Set {
            previous_value,
            current_value: state.value,
            revision,
            period: state.period,
        })
    }

    pub(super) fn event(
        &mut self,
        index: Index,
        kind: EventKind,
        before: i64,
        after: i64,
        reason: Option<&str>,
        request_id: &RequestId,
    ) -> Result<(), Stop> {
        let event = Event {
            kind,
            at: self.group.now,
            before,
            after,
            reason: reason.map(str::to_owned),
            request_id: Some(request_id.to_string()),
        };
        self.push_event(index, event)
    }

    pub(super) fn push_event(&mut self, index: Index, event: Event) -> Result<(), Stop> {
        let entry = self.ledger.at_mut(index)?;
        let (_, record) = day_record(&mut entry.state.day)?;
        if record.events < MAX_EVENTS
            && let Ok(number) = u8::try_from(record.events)
        {
            self.group.events.push((index, number, event));
        }
        record.events = record.events.saturating_add(1);
        Ok(())
    }

    pub(super) fn state(&self, index: Index) -> Result<&EntryState, Stop> {
        Ok(&self.ledger.at(index)?.state)
    }
}

/// Returns the day record of a counter that is being changed; every change begins one.
pub(super) fn day_record(
    day: &mut Option<(Day, DayRecord)>,
) -> Result<&mut (Day, DayRecord), Broken> {
    day.as_mut()
        .ok_or_else(|| Broken::found(format_args!("a counter changed without a day record")))
}
