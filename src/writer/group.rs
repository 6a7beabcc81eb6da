//! The fold of one commit group: each request's exact result, in order, against the ledger.
//!
//! The group remembers what it changed, so that one batch writes it all. What is refused leaves
//! nothing behind: a single request is judged before it changes anything, and a batch keeps a
//! journal to take itself back whole.
//!
//! Kept out: disks (look-ups come through [`Lookups`]), clocks (the group has one time and one day),
//! and answers (`run`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::calendar::Day;
use crate::counter::{
    Adjustment, Applied, CounterName, DayRecord, Definition, Direction, Event, EventKind,
    Generation, Gone, Kind, MAX_EVENTS, Millis, Operation, Outcome, Refusal, RequestId, UserId,
    judge_adjustment, judge_move,
};
use crate::current_day::CurrentDay;
use crate::storage::{ReadError, keys};

use super::ledger::{EntryState, Index, Ledger, Life};
use super::{Answer, Command, Failure, IdempotencyKey, Request};

/// What is on disk and not in the ledger.
pub(super) trait Lookups {
    /// Whether a user was counted before this group.
    fn counted(&mut self, day: i32, generation: Generation, user: &str) -> Result<bool, ReadError>;

    /// What is kept under an idempotency key from before this group: its fingerprint and outcome.
    fn kept(&mut self, key: &str) -> Result<Kept, ReadError>;

    /// The record of a counter's day from before this group.
    fn day_record(&mut self, day: Day, counter: &CounterName)
    -> Result<Option<DayRecord>, ReadError>;
}

/// What lies under an idempotency key.
pub(super) enum Kept {
    /// Nothing.
    Nothing,
    /// An answer.
    Outcome { fingerprint: u128, outcome: Outcome },
    /// A record that cannot be read.
    Corrupt,
}

/// What the configuration says about counters.
pub(super) struct Rules {
    /// Whether a first increment creates.
    pub(super) auto_create: bool,
    /// Quota of live counters.
    pub(super) max_counters: u64,
    /// How long a gone counter answers 410, in milliseconds.
    pub(super) gone_for_ms: i64,
}

/// One commit group.
pub(super) struct Group {
    /// Its serial number.
    pub(super) number: u64,
    /// The local day of everything in it.
    pub(super) day: Day,
    /// When that day began.
    pub(super) day_start: Millis,
    /// The time of everything in it.
    pub(super) now: Millis,
    /// Counters it looked at for a change, each once.
    pub(super) touched: Vec<Index>,
    /// Users it counts for the first time, in order.
    pub(super) users: Vec<(i32, Generation, UserId)>,
    user_set: HashMap<Generation, HashSet<UserId>>,
    /// Outcomes kept under keys, in order.
    pub(super) kept: Vec<(Box<str>, u128, Outcome)>,
    kept_index: HashMap<Box<str>, usize>,
    /// Events of day records, with their index in the day.
    pub(super) events: Vec<(Index, u8, Event)>,
    /// Generations whose users are to be deleted from now on.
    pub(super) ended: Vec<Generation>,
    /// Names to take out once the group is on disk.
    pub(super) forgotten: Vec<Index>,
    /// Increments and decrements that counted.
    pub(super) counted: u64,
    batches: u64,
}

impl Group {
    pub(super) fn new(number: u64, now: Millis, day: Day, day_start: Millis) -> Self {
        Self {
            number,
            day,
            day_start,
            now,
            touched: Vec::new(),
            users: Vec::new(),
            user_set: HashMap::new(),
            kept: Vec::new(),
            kept_index: HashMap::new(),
            events: Vec::new(),
            ended: Vec::new(),
            forgotten: Vec::new(),
            counted: 0,
            batches: 0,
        }
    }

    /// Whether it changes nothing, so that nothing has to be written.
    pub(super) fn is_empty(&self, ledger: &Ledger) -> bool {
        self.kept.is_empty()
            && self.forgotten.is_empty()
            && !self
                .touched
                .iter()
                .any(|&i| ledger.entry(i).is_some_and(|e| e.state.dirty))
    }
}

/// Why a request was not carried out.
pub(super) enum Stop {
    /// By existence or rules.
    Refused(Refusal),
    /// The disk cannot be read: nothing more can be judged.
    Unreadable(ReadError),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        Self::Unreadable(error)
    }
}

/// The state before a batch.
struct Journal {
    entries: Vec<(Index, EntryState)>,
    live: u64,
    revision: u64,
    users: usize,
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
    journal: Option<Journal>,
}

impl<'a, L: Lookups> Fold<'a, L> {
    pub(super) fn new(
        ledger: &'a mut Ledger,
        group: &'a mut Group,
        lookups: &'a mut L,
        rules: &'a Rules,
        days: &'a CurrentDay,
    ) -> Self {
        Self {
            ledger,
            group,
            lookups,
            rules,
            days,
            journal: None,
        }
    }

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
                Kept::Nothing => {}
                Kept::Outcome {
                    fingerprint,
                    outcome,
                } if fingerprint == key.fingerprint => {
                    return Ok(Ok(Answer {
                        outcome,
                        replayed: true,
                    }));
                }
                Kept::Outcome { .. } => return Ok(Err(Failure::KeyReused)),
                Kept::Corrupt => return Ok(Err(Failure::KeyCorrupt)),
            }
        }
        match self.command(command, &request_id) {
            Ok(outcome) => {
                if let Some(key) = key {
                    self.keep(*key, outcome.clone());
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

    fn kept(&mut self, key: &IdempotencyKey) -> Result<Kept, ReadError> {
        match self
            .group
            .kept_index
            .get(&key.key)
            .and_then(|&at| self.group.kept.get(at))
        {
            Some((_, fingerprint, outcome)) => Ok(Kept::Outcome {
                fingerprint: *fingerprint,
                outcome: outcome.clone(),
            }),
            None => self.lookups.kept(&key.key),
        }
    }

    fn keep(&mut self, key: IdempotencyKey, outcome: Outcome) {
        self.group
            .kept_index
            .insert(key.key.clone(), self.group.kept.len());
        self.group.kept.push((key.key, key.fingerprint, outcome));
    }

    fn command(&mut self, command: Command, request_id: &RequestId) -> Result<Outcome, Stop> {
        match command {
            Command::Apply(operation) => Ok(Outcome::Applied(self.apply(&operation, request_id)?)),
            Command::Batch(operations) => self.batch(&operations, request_id),
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
        let day = self.group.day;
        let state = self.state(index)?;
        let value = state.value_on(day);
        let unchanged = Applied {
            current_value: value,
            counted: false,
            applied: 0,
            revision: state.revision,
            period: state.period_on(day),
            created,
        };
        let mut new_user = None;
        if state.definition.kind == Kind::Unique && operation.direction == Direction::Increment {
            let user = operation.user_id.as_ref().ok_or(Refusal::MissingUserId)?;
            if operation.amount != 1 {
                return Err(Refusal::UniqueCountsOne.into());
            }
            let key_day = state.period_on(day).map_or(keys::NEVER, Day::days);
            let generation = state.generation;
            if self.is_counted(key_day, generation, user)? {
                return Ok(unchanged);
            }
            new_user = Some((key_day, generation, user));
        }
        let definition = &self.state(index)?.definition;
        let delta = judge_move(definition, value, operation.direction, operation.amount)?;
        if delta == 0 {
            return Ok(unchanged);
        }
        if let Some((key_day, generation, user)) = new_user {
            self.group
                .user_set
                .entry(generation)
                .or_default()
                .insert(user.clone());
            self.group.users.push((key_day, generation, user.clone()));
        }
        self.group.counted += 1;
        let now = self.group.now;
        let (revision, state) = self.change(index)?;
        state.value = value.wrapping_add(delta);
        state.delta = state.delta.wrapping_add(delta);
        let current_value = state.value;
        if let Some((_, record)) = &mut state.day {
            record.count(delta, current_value, now);
        }
        // A delta is at most i64::MAX in size: it came from an amount.
        let applied = delta.saturating_abs();
        Ok(Applied {
            current_value,
            counted: true,
            applied,
            revision,
            ..unchanged
        })
    }

    fn is_counted(
        &mut self,
        day: i32,
        generation: Generation,
        user: &UserId,
    ) -> Result<bool, Stop> {
        if self
            .group
            .user_set
            .get(&generation)
            .is_some_and(|users| users.contains(user))
        {
            return Ok(true);
        }
        Ok(self.lookups.counted(day, generation, user.as_str())?)
    }

    fn batch(&mut self, operations: &[Operation], request_id: &RequestId) -> Result<Outcome, Stop> {
        self.group.batches += 1;
        self.journal = Some(Journal {
            entries: Vec::new(),
            live: self.ledger.live,
            revision: self.ledger.revision,
            users: self.group.users.len(),
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
        let journal = self.journal.take();
        if refused.is_empty() {
            return Ok(Outcome::Batch(results.into_boxed_slice()));
        }
        if let Some(journal) = journal {
            self.take_back(journal);
        }
        Err(Refusal::Batch(refused.into_boxed_slice()).into())
    }

    fn take_back(&mut self, journal: Journal) {
        for (_, generation, user) in self.group.users.drain(journal.users..) {
            if let Some(users) = self.group.user_set.get_mut(&generation) {
                users.remove(&user);
            }
        }
        self.group.events.truncate(journal.events);
        self.group.counted = journal.counted;
        self.ledger.live = journal.live;
        self.ledger.revision = journal.revision;
        for (index, state) in journal.entries {
            if let Life::Gone(gone) = state.life {
                self.ledger.gone.insert((gone.at, index));
            }
            if let Some(entry) = self.ledger.entry_mut(index) {
                entry.state = state;
            }
        }
    }

    fn reset(&mut self, counter: &CounterName, request_id: &RequestId) -> Result<Outcome, Stop> {
        let index = self.locate(counter)?.ok_or(Refusal::UnknownCounter)?;
        let previous_value = self.state(index)?.value_on(self.group.day);
        self.end_generation(index)?;
        let (revision, state) = self.change(index)?;
        state.generation = revision;
        if let Some((_, record)) = &mut state.day {
            record.start_generation(revision);
        }
        self.set_value(index, 0)?;
        self.event(index, EventKind::Reset, previous_value, 0, None, request_id)?;
        self.set_outcome(index, previous_value, revision)
    }

    fn adjust(
        &mut self,
        counter: &CounterName,
        adjustment: Adjustment,
        reason: &str,
        request_id: &RequestId,
    ) -> Result<Outcome, Stop> {
        let index = self.locate(counter)?.ok_or(Refusal::UnknownCounter)?;
        let state = self.state(index)?;
        let previous_value = state.value_on(self.group.day);
        let value = judge_adjustment(&state.definition, previous_value, adjustment)?;
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

    fn repair(
        &mut self,
        counter: &CounterName,
        value: i64,
        reason: Option<&str>,
        request_id: &RequestId,
    ) -> Result<Outcome, Stop> {
        let index = self.ledger.find(counter).ok_or(Refusal::UnknownCounter)?;
        if self.state(index)?.life != Life::Corrupt {
            return Err(Refusal::NotCorrupt.into());
        }
        let definition = Arc::clone(&self.state(index)?.definition);
        if value < definition.min {
            return Err(Refusal::BelowMinimum {
                current: 0,
                minimum: definition.min,
            }
            .into());
        }
        if value > definition.max {
            return Err(Refusal::AboveMaximum {
                current: 0,
                maximum: definition.max,
            }
            .into());
        }
        let (day, now) = (self.group.day, self.group.now);
        let (revision, state) = self.change(index)?;
        state.life = Life::Live;
        state.redefined = true;
        state.generation = revision;
        state.day = Some((day, DayRecord::begin(value, now, revision)));
        self.set_value(index, value)?;
        self.ledger.corrupt = self.ledger.corrupt.saturating_sub(1);
        if let Some(at) = definition.expires_at {
            self.ledger.expiries.insert((at, index));
        }
        self.event(index, EventKind::Repair, 0, value, reason, request_id)?;
        self.set_outcome(index, 0, revision)
    }

    /// Puts a whole definition, as a client asks.
    fn define(
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
            Err(Stop::Refused(Refusal::Deleted { .. } | Refusal::Expired { .. })) => None,
            Err(stop) => return Err(stop),
        };
        let definition_put = Box::new(definition.clone());
        let Some(index) = found else {
            if let Some(index) = self.ledger.find(&counter) {
                self.record_expiry(index)?;
            }
            if quota && self.ledger.live >= self.rules.max_counters {
                return Err(Refusal::TooManyCounters {
                    max: self.rules.max_counters,
                }
                .into());
            }
            let index = self.start(counter, definition, request_id)?;
            let revision = self.state(index)?.revision;
            let outcome = Outcome::Defined {
                definition: definition_put,
                started: true,
                revision,
                previous: None,
            };
            return Ok(outcome);
        };
        let before = Arc::clone(&self.state(index)?.definition);
        if !before.may_become(&definition) {
            let Definition { kind, reset, .. } = *before;
            return Err(Refusal::DefinitionConflict { kind, reset }.into());
        }
        if let Some(at) = before.expires_at {
            self.ledger.expiries.remove(&(at, index));
        }
        if let Some(at) = definition.expires_at {
            self.ledger.expiries.insert((at, index));
        }
        let (revision, state) = self.change(index)?;
        state.definition = Arc::new(definition);
        state.redefined = true;
        Ok(Outcome::Defined {
            definition: definition_put,
            started: false,
            revision,
            previous: Some(Box::new(Definition::clone(&before))),
        })
    }

    fn delete(&mut self, counter: &CounterName, request_id: &RequestId) -> Result<Outcome, Stop> {
        if self.is_configured(counter) {
            return Err(Refusal::DefinedInConfig.into());
        }
        let index = self.locate(counter)?.ok_or(Refusal::UnknownCounter)?;
        let final_value = self.state(index)?.value_on(self.group.day);
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
        let state = self.state(index)?;
        if state.life != Life::Live || !state.definition.expired_at(self.group.now) {
            return Ok(());
        }
        let at = state.definition.expires_at.unwrap_or(self.group.now);
        let final_value = state.final_value(self.days.calendar().day_of(at));
        self.end_life(
            index,
            Gone {
                expired: true,
                final_value,
                at,
            },
        )?;
        let event = Event {
            kind: EventKind::Expiry,
            at,
            before: final_value,
            after: 0,
            reason: None,
            request_id: None,
        };
        self.push_event(index, event)
    }

    fn end_life(&mut self, index: Index, gone: Gone) -> Result<u64, Stop> {
        let expires_at = self.state(index)?.definition.expires_at;
        self.end_generation(index)?;
        let (revision, state) = self.change(index)?;
        state.life = Life::Gone(gone);
        state.redefined = true;
        self.ledger.live = self.ledger.live.saturating_sub(1);
        if let Some(at) = expires_at {
            self.ledger.expiries.remove(&(at, index));
        }
        self.ledger.gone.insert((gone.at, index));
        Ok(revision)
    }

    fn end_generation(&mut self, index: Index) -> Result<(), Stop> {
        let state = self.state(index)?;
        if state.keeps_users_for_good() {
            let generation = state.generation;
            self.group.ended.push(generation);
        }
        Ok(())
    }

    /// The place of a counter that counts; none where a first increment may create one.
    fn locate(&self, name: &CounterName) -> Result<Option<Index>, Stop> {
        let Some(index) = self.ledger.find(name) else {
            return Ok(None);
        };
        let Some(entry) = self.ledger.entry(index) else {
            return Ok(None);
        };
        let state = &entry.state;
        match state.life {
            Life::Absent => Ok(None),
            Life::Corrupt => Err(Refusal::Corrupt.into()),
            Life::Gone(gone) => {
                let forgotten = gone.at.saturating_add(self.rules.gone_for_ms) <= self.group.now;
                if forgotten && !entry.configured {
                    Ok(None)
                } else {
                    Err(gone.refusal().into())
                }
            }
            Life::Live => match state.definition.expires_at {
                Some(at) if at <= self.group.now => {
                    let final_value = state.final_value(self.days.calendar().day_of(at));
                    Err(Refusal::Expired { final_value, at }.into())
                }
                Some(_) | None => Ok(Some(index)),
            },
        }
    }

    /// Creates what a first increment of an unknown name creates, if that increment will be taken.
    fn create_by(&mut self, operation: &Operation, request_id: &RequestId) -> Result<Index, Stop> {
        if operation.direction == Direction::Decrement || !self.rules.auto_create {
            return Err(Refusal::UnknownCounter.into());
        }
        if self.ledger.live >= self.rules.max_counters {
            return Err(Refusal::TooManyCounters {
                max: self.rules.max_counters,
            }
            .into());
        }
        let definition = Definition::default();
        judge_move(&definition, 0, operation.direction, operation.amount)?;
        self.start(operation.counter.clone(), definition, request_id)
    }

    /// Starts a counter (anew).
    fn start(
        &mut self,
        counter: CounterName,
        definition: Definition,
        request_id: &RequestId,
    ) -> Result<Index, Stop> {
        let index = self.ledger.add(counter);
        if let Life::Gone(gone) = self.state(index)?.life {
            self.ledger.gone.remove(&(gone.at, index));
        }
        if let Some(at) = definition.expires_at {
            self.ledger.expiries.insert((at, index));
        }
        self.journal(index);
        let (day, now) = (self.group.day, self.group.now);
        if let Some(entry) = self.ledger.entry_mut(index) {
            let state = &mut entry.state;
            let record = match state.day {
                Some((of, record)) if of == day => Some(record),
                // The name may have been here today, and forgotten.
                Some(_) | None => self.lookups.day_record(day, &entry.name)?,
            };
            let record = record.unwrap_or_else(|| DayRecord::begin(0, now, 0));
            *state = EntryState {
                life: Life::Live,
                definition: Arc::new(definition),
                day: Some((day, record)),
                changed_at: now,
                redefined: true,
                ..EntryState::absent()
            };
            state.period = state.period_on(day);
        }
        self.ledger.live += 1;
        let (revision, state) = self.change(index)?;
        state.generation = revision;
        if let Some((_, record)) = &mut state.day {
            if record.generation == 0 {
                record.generation = revision;
            } else {
                record.start_generation(revision);
            }
        }
        self.set_value(index, 0)?;
        self.event(index, EventKind::Creation, 0, 0, None, request_id)?;
        Ok(index)
    }

    fn is_configured(&self, counter: &CounterName) -> bool {
        let entry = self
            .ledger
            .find(counter)
            .and_then(|index| self.ledger.entry(index));
        entry.is_some_and(|entry| entry.configured)
    }

    /// Begins a change: a revision, the group's time, the period and the day's record.
    fn change(&mut self, index: Index) -> Result<(u64, &mut EntryState), Stop> {
        self.journal(index);
        let revision = self.ledger.revision + 1;
        self.ledger.revision = revision;
        let Group {
            number,
            day,
            day_start,
            now,
            touched,
            ..
        } = &mut *self.group;
        let (day, now) = (*day, *now);
        let Some(entry) = self.ledger.entry_mut(index) else {
            return Err(Refusal::UnknownCounter.into());
        };
        if entry.touched != *number {
            entry.touched = *number;
            touched.push(index);
        }
        let state = &mut entry.state;
        state.dirty = true;
        state.revision = revision;
        state.changed_at = state.changed_at.max(now);
        if state.period != state.period_on(day) {
            state.period = state.period_on(day);
            state.value = 0;
            state.delta = 0;
            state.whole = true;
        }
        if state.day.is_none_or(|(of, _)| of != day) {
            state.day = Some((
                day,
                DayRecord::begin(state.value, *day_start, state.generation),
            ));
        }
        Ok((revision, state))
    }

    /// Notes a counter's state before the first change by the batch under way.
    fn journal(&mut self, index: Index) {
        let Some(journal) = &mut self.journal else {
            return;
        };
        // Batches are told apart by group and number within it.
        let serial = self.group.number << 20 | self.group.batches;
        if let Some(entry) = self.ledger.entry_mut(index)
            && entry.journaled != serial
        {
            entry.journaled = serial;
            journal.entries.push((index, entry.state.clone()));
        }
    }

    fn set_value(&mut self, index: Index, value: i64) -> Result<(), Stop> {
        let now = self.group.now;
        let Some(entry) = self.ledger.entry_mut(index) else {
            return Err(Refusal::UnknownCounter.into());
        };
        entry.state.value = value;
        entry.state.delta = 0;
        entry.state.whole = true;
        if let Some((_, record)) = &mut entry.state.day {
            record.reach(value, now);
        }
        Ok(())
    }

    fn set_outcome(
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

    fn event(
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

    fn push_event(&mut self, index: Index, event: Event) -> Result<(), Stop> {
        let Some(entry) = self.ledger.entry_mut(index) else {
            return Err(Refusal::UnknownCounter.into());
        };
        if let Some((_, record)) = &mut entry.state.day {
            if record.events < MAX_EVENTS
                && let Ok(number) = u8::try_from(record.events)
            {
                self.group.events.push((index, number, event));
            }
            record.events = record.events.saturating_add(1);
        }
        Ok(())
    }

    fn state(&self, index: Index) -> Result<&EntryState, Stop> {
        let entry = self.ledger.entry(index).ok_or(Refusal::UnknownCounter)?;
        Ok(&entry.state)
    }
}
