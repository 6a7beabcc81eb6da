//! What leaves a counter by time alone: a window that slides, leases that end.
//!
//! Time is cut into **grains** of equal length, numbered from 1970 on. Whatever counts is noted under the
//! grain in which it leaves, so the value is the sum of what has not left, and a grain that passes is one
//! subtraction, however many users leave in it.
//!
//! Kept out: who the users are (`storage` holds a row for each), clocks, and what a counter says (`seen`).

use std::sync::Arc;

use super::lapse::MAX_GRAINS;
use super::{Lapse, Millis, Moment, SessionId, TimeLine};

/// The number of a grain: instants divided by its length, rounded down.
pub type Grain = i64;

/// Slots in one chunk. A clone shares chunks; a change copies the one that it touches.
const CHUNK: usize = 64;

/// How much leaves in each of the grains to come. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grains {
    /// The length of a grain.
    grain_ms: Millis,
    /// The grain under way. What leaves in it or before it has left.
    now: Grain,
    /// How many grains lie ahead at most.
    ahead: u32,
    /// The sum of all slots.
    total: i64,
    /// The slot of a grain is at its number modulo `ahead`.
    chunks: Vec<Arc<[i64; CHUNK]>>,
}

impl Grains {
    /// Makes an empty one at `now`. What is added later leaves within `ahead` grains (1 to [`MAX_GRAINS`]).
    pub fn new(grain_ms: Millis, ahead: u32, now: Grain) -> Self {
        let (grain_ms, ahead) = (grain_ms.max(1), ahead.clamp(1, MAX_GRAINS));
        let chunks = (ahead as usize).div_ceil(CHUNK);
        // They share one until the first change of each.
        let empty = Arc::new([0; CHUNK]);
        Self {
            grain_ms,
            now,
            ahead,
            total: 0,
            chunks: vec![empty; chunks],
        }
    }

    /// Returns the grain that an instant lies in.
    pub fn grain_of(&self, at: Millis) -> Grain {
        at.div_euclid(self.grain_ms)
    }

    /// Returns the instant at which a grain begins.
    pub fn start_of(&self, grain: Grain) -> Millis {
        grain.saturating_mul(self.grain_ms)
    }

    /// Returns the grain under way.
    pub fn now(&self) -> Grain {
        self.now
    }

    /// Returns the sum of what has not left in the grain under way.
    pub fn total(&self) -> i64 {
        self.total
    }

    /// Returns the sum of what will not have left in `grain`; that of the grain under way for an earlier one.
    pub fn total_in(&self, grain: Grain) -> i64 {
        let left = self.passed(grain).map(|passed| self.amount(passed));
        self.total.wrapping_sub(left.fold(0, i64::wrapping_add))
    }

    /// Returns the next grain, after `grain` and the one under way, in which something leaves; `None` where
    /// nothing is left.
    pub fn next_after(&self, grain: Grain) -> Option<Grain> {
        let from = grain.max(self.now);
        let mut grains = from + 1..=self.now + Grain::from(self.ahead);
        grains.find(|&grain| self.amount(grain) != 0)
    }

    /// Goes on to `grain`, and forgets what has left by then. Never goes back.
    pub fn advance(&mut self, grain: Grain) {
        for passed in self.passed(grain) {
            let left = self.amount(passed);
            if left != 0 {
                self.change(passed, left.wrapping_neg());
            }
        }
        self.now = self.now.max(grain);
    }

    /// Adds what leaves in `grain`; returns whether that lies ahead. Else nothing is added.
    #[must_use]
    pub fn add(&mut self, grain: Grain, amount: i64) -> bool {
        let lies_ahead = grain > self.now && grain - self.now <= Grain::from(self.ahead);
        if lies_ahead {
            self.change(grain, amount);
        }
        lies_ahead
    }

    /// The grains with a slot that have passed once it is `grain`.
    fn passed(&self, grain: Grain) -> std::ops::RangeInclusive<Grain> {
        self.now + 1..=grain.min(self.now.saturating_add(self.ahead.into()))
    }

    fn place(&self, grain: Grain) -> (usize, usize) {
        let at = grain.rem_euclid(self.ahead.into()) as usize;
        (at / CHUNK, at % CHUNK)
    }

    /// Returns how much leaves in a grain that lies ahead.
    pub fn amount(&self, grain: Grain) -> i64 {
        let (chunk, at) = self.place(grain);
        let slot = self.chunks.get(chunk).and_then(|chunk| chunk.get(at));
        slot.copied().unwrap_or(0)
    }

    fn change(&mut self, grain: Grain, by: i64) {
        let (chunk, at) = self.place(grain);
        if let Some(chunk) = self.chunks.get_mut(chunk)
            && let Some(slot) = Arc::make_mut(chunk).get_mut(at)
        {
            *slot = slot.wrapping_add(by);
            self.total = self.total.wrapping_add(by);
        }
    }
}

/// Until when a user counts, in a window or by a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Until that instant of the counter's time, in milliseconds.
    pub until: Millis,
    /// How much: 1 in a window, the weight of a lease.
    pub weight: u32,
    /// Which log-in renewed a lease last; `None` where it was not said.
    pub session: Option<SessionId>,
}

/// What leaves a counter by time alone: how much in each grain, and how many leases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// How it leaves.
    pub lapse: Lapse,
    /// What the value loses in each grain.
    pub amounts: Grains,
    /// How many leases end in each grain; `None` for a window.
    pub leases: Option<Grains>,
    /// Until then, in store time, some who are here may not have had a chance to renew their leases.
    pub settles_at: Millis,
}

/// What a counter says of what leaves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lapsing {
    /// It looks back from `to`, the end of the grain under way, to `from`.
    Window {
        /// How it leaves.
        lapse: Lapse,
        /// The first instant that counts, in milliseconds since 1970 UTC.
        from: Millis,
        /// The first instant that lies ahead.
        to: Millis,
    },
    /// It has leases.
    Leases {
        /// How many are live.
        count: i64,
        /// Whether the server began so lately that some of them may not have been renewed in vain.
        settling: bool,
    },
}

impl Leaving {
    /// Makes one from which nothing leaves, as of an instant of its time.
    pub fn new(lapse: Lapse, at: Millis) -> Self {
        let grain_ms = lapse.grain_ms();
        let empty = Grains::new(grain_ms, lapse.ahead(), at.div_euclid(grain_ms));
        Self {
            lapse,
            leases: (lapse.runs_in == TimeLine::Store).then(|| empty.clone()),
            amounts: empty,
            settles_at: Millis::MIN,
        }
    }

    /// Goes on to an instant of its time; returns how many leases ended by then.
    pub fn advance(&mut self, at: Millis) -> i64 {
        let grain = self.amounts.grain_of(at);
        self.amounts.advance(grain);
        let Some(leases) = &mut self.leases else {
            return 0;
        };
        let before = leases.total();
        leases.advance(grain);
        before.wrapping_sub(leases.total())
    }

    /// Adds what leaves in `grain`; returns whether that lies ahead. Else nothing is added.
    #[must_use]
    pub fn add(&mut self, grain: Grain, amount: i64, leases: i64) -> bool {
        let of_leases = self.leases.as_mut();
        of_leases.is_none_or(|places| places.add(grain, leases)) && self.amounts.add(grain, amount)
    }

    /// Returns the value at a moment: what has not left by then.
    pub fn total_at(&self, moment: &Moment) -> i64 {
        self.total_by(self.lapse.time(moment))
    }

    /// Returns the value at an instant of its time.
    pub fn total_by(&self, at: Millis) -> i64 {
        self.amounts.total_in(self.amounts.grain_of(at))
    }

    /// Whether something has left by a moment that was there at the last change.
    pub fn has_moved(&self, moment: &Moment) -> bool {
        let grain = self.amounts.grain_of(self.lapse.time(moment));
        let mut all = self.leases.iter().chain([&self.amounts]);
        all.any(|grains| grains.total_in(grain) != grains.total())
    }

    /// Whether it settled after a start of the server, and has done so by a moment.
    pub fn has_settled(&self, moment: &Moment) -> bool {
        (Millis::MIN + 1..=self.lapse.time(moment)).contains(&self.settles_at)
    }

    /// Returns the value with which a day began, before it goes on to a moment of that day. Of leases that is the
    /// one last known: store time has no days.
    pub fn opening(&self, day_start: Millis) -> i64 {
        match self.lapse.runs_in {
            TimeLine::Wall => self.total_by(day_start),
            TimeLine::Store => self.amounts.total(),
        }
    }

    /// Says of what the value at a moment is made.
    pub fn lapsing(&self, moment: &Moment) -> Lapsing {
        let at = self.lapse.time(moment);
        let grain = self.amounts.grain_of(at).max(self.amounts.now());
        match &self.leases {
            None => {
                let to = self.amounts.start_of(grain + 1);
                Lapsing::Window {
                    lapse: self.lapse,
                    from: to.saturating_sub(self.lapse.span.millis()),
                    to,
                }
            }
            Some(leases) => Lapsing::Leases {
                count: leases.total_in(grain),
                settling: at < self.settles_at,
            },
        }
    }

    /// Returns the wall time at which what it says changes next by time alone; `None` where nothing is left
    /// to change.
    pub fn until(&self, moment: &Moment, now: Millis) -> Option<Millis> {
        let at = self.lapse.time(moment);
        let grain = self.amounts.grain_of(at);
        // A lease of weight 0 ends too.
        let all = self.leases.iter().chain([&self.amounts]);
        let next = all.filter_map(|grains| grains.next_after(grain)).min();
        let next = next.map(|grain| self.amounts.start_of(grain));
        let settles = Some(self.settles_at).filter(|&settles_at| at < settles_at);
        let next = next.into_iter().chain(settles).min()?;
        Some(match self.lapse.runs_in {
            TimeLine::Wall => next,
            TimeLine::Store => now.saturating_add(next.saturating_sub(at)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares with a list of everything that was added, counted anew at each question.
    #[test]
    fn it_equals_a_list_of_all_that_was_added() {
        let mut random = 1_u64;
        let mut draw = |below: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (random >> 33) % below
        };
        for ahead in [1, 2, 60, 64, 65, 600] {
            let mut grains = Grains::new(1000, ahead, 5);
            let mut all: Vec<(Grain, i64)> = Vec::new();
            let mut now = 5;
            for _ in 0..3000 {
                match draw(4) {
                    0 => {
                        let far = if draw(50) == 0 {
                            3 * u64::from(ahead)
                        } else {
                            3
                        };
                        now += Grain::try_from(draw(far)).unwrap();
                        grains.advance(now);
                        grains.advance(now - 2);
                    }
                    1 if !all.is_empty() => {
                        let at = usize::try_from(draw(all.len() as u64)).unwrap();
                        let (grain, amount) = all.swap_remove(at);
                        assert_eq!(grains.add(grain, -amount), grain > now);
                    }
                    _ => {
                        let grain = now + Grain::try_from(draw(u64::from(ahead) + 2)).unwrap();
                        let amount = i64::try_from(1 + draw(9)).unwrap();
                        let lies_ahead = grain > now && grain <= now + Grain::from(ahead);
                        assert_eq!(grains.add(grain, amount), lies_ahead);
                        if lies_ahead {
                            all.push((grain, amount));
                        }
                    }
                }
                let in_grain = |asked: Grain| -> i64 {
                    let stays = all.iter().filter(|(grain, _)| *grain > asked);
                    stays.map(|(_, amount)| amount).sum()
                };
                assert_eq!(grains.total(), in_grain(now));
                let asked = now + Grain::try_from(draw(2 * u64::from(ahead) + 2)).unwrap() - 1;
                assert_eq!(grains.total_in(asked), in_grain(asked.max(now)));
                let next = all.iter().map(|(grain, _)| *grain);
                let next = next.filter(|&grain| grain > asked.max(now)).min();
                assert_eq!(grains.next_after(asked), next);
                let slots = now + 1..=now + Grain::from(ahead);
                let sum: i64 = slots.map(|grain| grains.amount(grain)).sum();
                assert_eq!(sum, grains.total());
            }
        }
    }

    #[test]
    fn a_copy_keeps_what_it_had() {
        let mut grains = Grains::new(1000, 600, 0);
        assert!(grains.add(1, 7));
        let copy = grains.clone();
        assert!(grains.add(1, 1));
        grains.advance(2);
        assert_eq!((grains.total(), copy.total(), copy.amount(1)), (0, 7, 7));
    }
}
