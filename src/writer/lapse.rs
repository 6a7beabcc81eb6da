//! Operations on windows and presence: what is counted now leaves again by time alone.
//!
//! Each amount, and each user's seat, has one place: the grain in which it leaves. A user who is seen again moves
//! to a later place. What leaves is one subtraction for a grain, however many users leave in it.

use crate::counter::{
    Applied, Direction, Effect, Existence, Generation, Grain, Kind, Lapse, LeaseChange, Leaving,
    MAX_WEIGHT, Moment, Operation, Refusal, Seat, TimeLine, UserId, judge_move,
};
use crate::invariant::{Broken, invariant};
use crate::seeded::bug;
use crate::storage::LeavingAt;

use super::fold::{Fold, day_record};
use super::group::{Group, Lookups, Sight, Stop};
use super::ledger::{EntryState, Index};

/// An amount, and how many leases, that leave in a grain.
type Place = (Grain, i64, i64);

/// What an operation moves.
struct Slide {
    /// What it is to the client.
    effect: Effect,
    /// By how much the value moves; 0 for a user who is inside and seen again.
    delta: i64,
    /// What changes of what leaves.
    places: [Option<Place>; 2],
    /// The user's seat from now on, which is `None` for one who leaves; nothing for a `sum`.
    sight: Option<Option<Seat>>,
}

/// What time alone did to a counter.
pub(super) struct Passed {
    /// The value with which the present day began, if nothing else changed it since.
    pub(super) opening: i64,
    /// How many leases ended.
    pub(super) ended: u64,
}

/// What an operation on a window or a presence does.
enum Slid {
    /// It moves this.
    Moves(Slide),
    /// It changes nothing. Of a lease also where it stands.
    Nothing(Effect, Option<Seat>),
}

impl<L: Lookups> Fold<'_, L> {
    /// Applies an operation to a counter that lapses. `before` is what an answer says of it as it stands.
    pub(super) fn apply_slide(
        &mut self,
        index: Index,
        lapse: Lapse,
        operation: &Operation,
        before: Applied,
    ) -> Result<Applied, Stop> {
        let value = before.current_value;
        let (effect, delta, places, sight) =
            match self.judge_slide(index, lapse, operation, value)? {
                Slid::Nothing(effect, seat) => {
                    return Ok(Applied {
                        effect,
                        lease: self.lease_change(lapse, 0, seat.as_ref()),
                        ..before
                    });
                }
                Slid::Moves(slide) => (slide.effect, slide.delta, slide.places, slide.sight),
            };
        let lease = self.lease_change(lapse, delta, sight.as_ref().and_then(Option::as_ref));
        let generation = self.state(index)?.generation;
        if let Some((seat, user)) = sight.zip(operation.user_id.as_ref()) {
            self.group.see(generation, lapse.runs_in, user, seat);
        }
        self.group.counted += 1;
        let now = self.group.now;
        let (revision, state) = self.change(index)?;
        let moved = value.checked_add(delta);
        state.value = moved
            .ok_or_else(|| Broken::found(format_args!("{value} moved by {delta} is no value")))?;
        state.delta = state.delta.wrapping_add(delta);
        state.leave(places)?;
        let (_, record) = day_record(&mut state.day)?;
        if delta != 0 || effect == Effect::Counted {
            record.count(delta, state.value, now);
        }
        Ok(Applied {
            current_value: state.value,
            effect,
            applied: delta.saturating_abs(),
            revision,
            lease,
            ..before
        })
    }

    /// Judges an operation on a counter that lapses, whose value is `value`.
    fn judge_slide(
        &mut self,
        index: Index,
        lapse: Lapse,
        operation: &Operation,
        value: i64,
    ) -> Result<Slid, Stop> {
        match (lapse.runs_in, self.state(index)?.definition.kind) {
            (TimeLine::Store, _) => self.judge_lease(index, lapse, operation, value),
            (TimeLine::Wall, kind) if operation.action.is_of_leases() => {
                let wanted = operation.action.as_str();
                Err(Refusal::WrongKind { kind, wanted }.into())
            }
            (TimeLine::Wall, Kind::Unique) => self.judge_sight(index, lapse, operation, value),
            (TimeLine::Wall, _) => {
                let definition = &self.state(index)?.definition;
                let direction = operation.action.direction();
                let delta = judge_move(definition, value, direction, operation.amount)?;
                if delta == 0 {
                    return Ok(Slid::Nothing(Effect::Clamped, None));
                }
                let leaves = lapse.until(self.group.latest).div_euclid(lapse.grain_ms());
                Ok(Slid::Moves(Slide {
                    effect: Effect::Counted,
                    delta,
                    places: [Some((leaves, delta, 0)), None],
                    sight: None,
                }))
            }
        }
    }

    /// Judges an operation on a `unique` with a window.
    fn judge_sight(
        &mut self,
        index: Index,
        lapse: Lapse,
        operation: &Operation,
        value: i64,
    ) -> Result<Slid, Stop> {
        let user = operation.user_id.as_ref().ok_or(Refusal::MissingUserId)?;
        if operation.amount != 1 {
            return Err(Refusal::UniqueCountsOne.into());
        }
        let until = lapse.until(self.group.latest);
        let leaves = until.div_euclid(lapse.grain_ms());
        let inside = self.live_seat(index, lapse, user)?;
        let place = inside.map(|seat| seat.until.div_euclid(lapse.grain_ms()));
        let leave = place.map(|grain| (grain, -1, 0));
        let (effect, weight, session) = (Effect::Counted, 1, None);
        let seat = Seat {
            until,
            weight,
            session,
        };
        Ok(match (operation.action.direction(), place) {
            (Direction::Increment, Some(grain)) if grain == leaves => {
                Slid::Nothing(Effect::Duplicate, None)
            }
            (Direction::Increment, Some(_)) => Slid::Moves(Slide {
                effect,
                delta: 0,
                places: [leave, Some((leaves, 1, 0))],
                sight: Some(Some(seat)),
            }),
            (direction @ Direction::Increment, None) => {
                match judge_move(&self.state(index)?.definition, value, direction, 1)? {
                    0 => Slid::Nothing(Effect::Clamped, None),
                    delta => Slid::Moves(Slide {
                        effect,
                        delta,
                        places: [None, Some((leaves, delta, 0))],
                        sight: Some(Some(seat)),
                    }),
                }
            }
            (Direction::Decrement, Some(_)) => Slid::Moves(Slide {
                effect,
                delta: -1,
                places: [leave, None],
                sight: Some(None),
            }),
            (Direction::Decrement, None) => Slid::Nothing(Effect::NotInside, None),
        })
    }

    /// Judges a heartbeat or a leave.
    fn judge_lease(
        &mut self,
        index: Index,
        lapse: Lapse,
        operation: &Operation,
        value: i64,
    ) -> Result<Slid, Stop> {
        let user = operation.user_id.as_ref().ok_or(Refusal::MissingUserId)?;
        let there = self.live_seat(index, lapse, user)?;
        let place = |seat: &Seat, sign: i64| {
            let grain = seat.until.div_euclid(lapse.grain_ms());
            Some((grain, sign * i64::from(seat.weight), sign))
        };
        let session = &operation.session;
        if operation.action.direction() == Direction::Decrement {
            let other = |seat: &Seat| session.is_some() && *session != seat.session;
            return Ok(match there {
                // A late log-out does not end a newer session.
                Some(seat) if other(&seat) => Slid::Nothing(Effect::NotInside, Some(seat)),
                None => Slid::Nothing(Effect::NotInside, None),
                Some(seat) => Slid::Moves(Slide {
                    effect: Effect::Counted,
                    delta: -i64::from(seat.weight),
                    places: [place(&seat, -1), None],
                    sight: Some(None),
                }),
            });
        }
        let until = lapse.until(self.group.store_ms);
        // A renewal never shortens a lease, whatever the ttl was when it began.
        let shorten = bug("lease_renewed_shorter");
        let until = there
            .as_ref()
            .filter(|_| !shorten)
            .map_or(until, |seat| seat.until.max(until));
        let before = there.as_ref().map_or(0, |seat| i64::from(seat.weight));
        let delta = self.judge_weight(index, value, before, operation.amount)?;
        if delta == 0 && there.is_none() && operation.amount > 0 {
            return Ok(Slid::Nothing(Effect::Clamped, there));
        }
        let seat = Seat {
            until,
            // Between what it was and what is asked, which both fit.
            weight: u32::try_from(before + delta).unwrap_or(0),
            session: session.clone(),
        };
        let effect = match &there {
            Some(before) if *before == seat => {
                return Ok(Slid::Nothing(Effect::Renewed, there));
            }
            Some(_) => Effect::Renewed,
            None => Effect::Counted,
        };
        let leaves = there.as_ref().and_then(|seat| place(seat, -1));
        Ok(Slid::Moves(Slide {
            effect,
            delta,
            places: [leaves, place(&seat, 1)],
            sight: Some(Some(seat)),
        }))
    }

    /// Works out by how much the value moves when a lease of one weight gets another, within the bounds.
    fn judge_weight(&self, index: Index, value: i64, from: i64, to: i64) -> Result<i64, Stop> {
        if to > MAX_WEIGHT {
            return Err(Refusal::TooHeavy.into());
        }
        let (direction, amount) = match to - from {
            0 => return Ok(0),
            up @ 1.. => (Direction::Increment, up),
            down => (Direction::Decrement, -down),
        };
        let definition = &self.state(index)?.definition;
        Ok(judge_move(definition, value, direction, amount)?)
    }

    /// Finds a user's seat that still counts.
    fn live_seat(
        &mut self,
        index: Index,
        lapse: Lapse,
        user: &UserId,
    ) -> Result<Option<Seat>, Stop> {
        let generation = self.state(index)?.generation;
        let grain = |at: i64| at.div_euclid(lapse.grain_ms());
        let now = grain(lapse.time(&self.group.moment()));
        let seat = match self.group.seat(generation, user) {
            Some(seat) => seat.cloned(),
            None => match self.lookups.seat(generation, user.as_str()) {
                Err(error) if error.is_rot() => return Err(Refusal::UnreadableUser.into()),
                seat => seat?.map_err(|_| Refusal::UnreadableUser)?,
            },
        };
        // Who has left counts no more, whatever is still stored. None lasts longer than there are grains.
        let counts = now + 1..=now + Grain::from(lapse.ahead());
        Ok(seat.filter(|seat| counts.contains(&grain(seat.until))))
    }

    /// Gives what an answer says of a lease; `None` on a window.
    fn lease_change(
        &self,
        lapse: Lapse,
        change: i64,
        seat: Option<&Seat>,
    ) -> Option<Box<LeaseChange>> {
        let ends_in = |seat: &Seat| seat.until.saturating_sub(self.group.store_ms);
        (lapse.runs_in == TimeLine::Store).then(|| {
            let expires_at = seat.map(|seat| self.group.now.saturating_add(ends_in(seat)));
            Box::new(LeaseChange { change, expires_at })
        })
    }

    /// Has the look-ups follow the counters that lapse.
    pub(super) fn follow_seats(&mut self) {
        let (ledger, moment) = (&*self.ledger, self.group.moment());
        let with_seats = ledger.lapsing.iter().filter_map(|&index| {
            let state = &ledger.entry(index)?.state;
            let seats = state.existence == Existence::Live && state.definition.kind != Kind::Sum;
            let lapse = state.definition.lapse().filter(|_| seats)?;
            Some((state.generation, lapse))
        });
        self.lookups
            .follow_seats(&mut with_seats.into_iter(), &moment);
    }

    /// Moves every counter from which something has left since it last changed.
    pub(super) fn slide_all(&mut self) -> Result<(), Stop> {
        let (ledger, moment) = (&*self.ledger, self.group.moment());
        let moved = ledger.lapsing.iter().copied().filter(|&index| {
            let state = ledger.entry(index).map(|entry| &entry.state);
            state.is_some_and(|state| state.existence == Existence::Live && state.has_slid(&moment))
        });
        let moved: Vec<Index> = moved.collect();
        for index in moved {
            self.change(index)?;
        }
        Ok(())
    }
}

impl Group {
    /// Returns the seat that the group gave a user, which is `None` for one whom it took out; `None` where it
    /// did neither.
    fn seat(&self, generation: Generation, user: &UserId) -> Option<Option<&Seat>> {
        let seats = self.seats.get(&generation)?;
        seats.get(user).map(Option::as_ref)
    }

    /// Notes a user's seat from now on.
    pub(super) fn see(
        &mut self,
        generation: Generation,
        time_line: TimeLine,
        user: &UserId,
        seat: Option<Seat>,
    ) {
        let seats = self.seats.entry(generation).or_default();
        let before = seats.insert(user.clone(), seat.clone());
        self.sights.push(Sight {
            generation,
            time_line,
            user: user.clone(),
            seat,
            before,
        });
    }

    /// Forgets what was seen since there were `count` sights.
    pub(super) fn unsee(&mut self, count: usize) {
        for sight in self.sights.drain(count..).rev() {
            let seats = self.seats.entry(sight.generation).or_default();
            match sight.before {
                Some(before) => seats.insert(sight.user, before),
                None => seats.remove(&sight.user),
            };
        }
    }
}

impl EntryState {
    /// Moves amounts between the grains in which they leave.
    pub(super) fn leave(&mut self, places: [Option<Place>; 2]) -> Result<(), Broken> {
        let Some(leaving) = &mut self.leaving else {
            return Err(Broken::found(format_args!(
                "a counter that lapses, without its amounts"
            )));
        };
        for (grain, amount, leases) in places.into_iter().flatten() {
            let added = leaving.add(grain, amount, leases);
            invariant!(added, "grain {grain} is not within its window")?;
            if !self.grains.contains(&grain) {
                self.grains.push(grain);
            }
        }
        invariant!(
            leaving.amounts.total() == self.value,
            "{} is still to leave, and the counter says {}",
            leaving.amounts.total(),
            self.value
        )
    }

    /// Begins a life in which nothing is to leave.
    pub(super) fn begin_leaving(&mut self, moment: &Moment) {
        let lapse = self.definition.lapse();
        let leaving = lapse.map(|lapse| Leaving::new(lapse, lapse.time(moment)));
        self.leaving = leaving.map(Box::new);
        self.grains.clear();
    }

    /// Lets what has left by a moment go; `None` for a counter from which nothing does.
    pub(super) fn slide(&mut self, moment: &Moment) -> Option<Passed> {
        let leaving = self.leaving.as_mut()?;
        let opening = leaving.opening(moment.today.start);
        let ended = leaving.advance(leaving.lapse.time(moment));
        let total = leaving.amounts.total();
        self.delta = self.delta.wrapping_add(total.wrapping_sub(self.value));
        self.value = total;
        let ended = u64::try_from(ended).unwrap_or(0);
        Some(Passed { opening, ended })
    }

    fn has_slid(&self, moment: &Moment) -> bool {
        let leaving = self.leaving.as_ref();
        leaving.is_some_and(|leaving| {
            leaving.amounts.total() != self.value || leaving.has_moved(moment)
        })
    }

    /// Gives what the group changed of what leaves, with its time, and forgets that it did.
    pub(super) fn take_changed_grains(&mut self) -> Vec<(TimeLine, LeavingAt)> {
        let grains = std::mem::take(&mut self.grains);
        let Some(leaving) = &self.leaving else {
            return Vec::new();
        };
        let at = |grain: Grain| LeavingAt {
            until: leaving.amounts.start_of(grain),
            amount: leaving.amounts.amount(grain),
            leases: leaving
                .leases
                .as_ref()
                .map_or(0, |leases| leases.amount(grain)),
        };
        let changed = grains.into_iter();
        changed
            .map(|grain| (leaving.lapse.runs_in, at(grain)))
            .collect()
    }
}
