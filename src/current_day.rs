//! The one current day that readers and the writer share, and the watch over the wall clock.
//!
//! Whoever looks first after a boundary advances the day for all; it never goes back. Every look
//! compares how far the wall clock has moved with how far the boot clock has: a difference over the
//! limit since the last accepted look is a jump, under which no day advances.
//!
//! What follows from a jump (the mode) and where the highest day is stored is not decided here.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::calendar::{Calendar, Day, LocalDay};
use crate::clock::Clock;
use crate::counter::Moment;

/// How long an accepted look vouches for the wall clocks near it, so that not every look has to read
/// the boot clock: far below any limit on jumps.
const VOUCHED_MS: i64 = 1000;

/// What [`CurrentDay`] is made from.
pub struct CurrentDayOptions {
    /// The calendar in force.
    pub calendar: Calendar,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// `calendar.max_clock_jump` in milliseconds.
    pub max_clock_jump_ms: i64,
    /// `calendar.max_away` in milliseconds: how long after the last commit a start is still taken
    /// for an absence and not for a wrong clock.
    pub max_away_ms: i64,
}

/// One look at the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// The current day: the highest that any look has returned.
    pub day: Day,
    /// The wall clock, milliseconds since 1970 UTC. Before the start of `day` while the calendar is
    /// behind; not to be trusted under `clock_fault`.
    pub wall_ms: i64,
    /// The wall clock has jumped: nothing may be written, closed, expired or pruned by it.
    pub clock_fault: bool,
}

/// The shared current day. Looking takes no lock, except by who finds that something changed.
pub struct CurrentDay {
    options: CurrentDayOptions,
    /// Day, the instant at which to look closer, and both flags, in one word: no reader sees the day
    /// of one moment with the boundary of another.
    state: AtomicU64,
    /// Wall clock and tick of the last accepted look.
    vouched_wall: AtomicI64,
    vouched_tick: AtomicI64,
    /// Below and above these offsets (wall minus boot clock) the wall clock has jumped.
    lowest: AtomicI64,
    highest: AtomicI64,
    /// The bounds of the current day, for [`CurrentDay::local_day`]; packed like `state`.
    start: AtomicU64,
    end: AtomicU64,
    /// Held by whoever changes one of the above.
    change: Mutex<()>,
}

impl CurrentDay {
    /// Takes the first look and accepts it: without a store nothing speaks against the clock.
    pub fn new(options: CurrentDayOptions) -> CurrentDay {
        let current = CurrentDay {
            state: AtomicU64::new(0),
            vouched_wall: AtomicI64::new(0),
            vouched_tick: AtomicI64::new(0),
            lowest: AtomicI64::new(i64::MIN),
            highest: AtomicI64::new(i64::MAX),
            start: AtomicU64::new(0),
            end: AtomicU64::new(0),
            change: Mutex::new(()),
            options,
        };
        current.begin(None, None);
        current
    }

    /// Begins anew, as of a store that was opened. The current day is never below `highest_stored`. The
    /// first look is accepted unless the last commit, in milliseconds since 1970 UTC, says that the wall
    /// clock is wrong: more than `max_away` later, or more than `max_clock_jump` earlier than the commit.
    /// Both are `None` for a new store. No day that was looked up without a store binds anyone.
    pub fn begin(&self, highest_stored: Option<Day>, last_commit_ms: Option<i64>) {
        let _change = self.change.lock();
        let (wall_ms, boot_ms) = (self.options.clock.wall_ms(), self.options.clock.boot_ms());
        let offset = wall_ms.saturating_sub(boot_ms);
        let (lowest, highest) = match last_commit_ms {
            // The boot clock may have restarted since the commit, but no time has run backwards.
            Some(last) => (
                last.saturating_sub(boot_ms)
                    .saturating_sub(self.options.max_clock_jump_ms),
                last.saturating_sub(boot_ms)
                    .saturating_add(self.options.max_away_ms),
            ),
            None => (i64::MIN, i64::MAX),
        };
        let fault = offset < lowest || offset > highest;
        let today = self.options.calendar.day_of(wall_ms);
        let day = match highest_stored {
            Some(stored) if fault => stored,
            Some(stored) => stored.max(today),
            None => today,
        };
        if fault {
            self.vouched_wall.store(wall_ms, Ordering::Relaxed);
            self.vouched_tick
                .store(self.options.clock.tick_ms(), Ordering::Relaxed);
            self.lowest.store(lowest, Ordering::Relaxed);
            self.highest.store(highest, Ordering::Relaxed);
            self.settle(day, wall_ms, true);
            tracing::error!(
                wall_ms,
                last_commit_ms,
                "the wall clock is too far from the last commit to be trusted; set it right, or \
                 accept it with `counterd mode normal --accept-clock`"
            );
        } else {
            self.take(day, wall_ms, offset);
            report_behind(false, self.state());
        }
    }

    /// Returns the current day and the time, and advances the day if its end has passed.
    ///
    /// Costs little more than one clock reading; cheap enough for every read and every commit group.
    pub fn look(&self) -> Look {
        let state = self.state();
        let wall_ms = self.options.clock.wall_ms();
        let nothing_changed = if state.fault {
            self.jumped(wall_ms.saturating_sub(self.options.clock.boot_ms()))
        } else {
            let since = |now: i64, then: &AtomicI64| now.wrapping_sub(then.load(Ordering::Relaxed));
            // Also a little back: another thread may have looked after our reading.
            (-VOUCHED_MS..=2 * VOUCHED_MS).contains(&since(wall_ms, &self.vouched_wall))
                && since(self.options.clock.tick_ms(), &self.vouched_tick) <= VOUCHED_MS
                && wall_ms < state.look_closer_ms
        };
        if nothing_changed {
            state.look(wall_ms)
        } else {
            self.look_closer(false)
        }
    }

    /// Accepts the clock, as an operator says that it is right: the present look holds whatever the jump,
    /// and the day advances to where the clock is. It never goes back.
    pub fn accept(&self) -> Look {
        self.look_closer(true)
    }

    /// Advances the current day to `day` if it is before that: a store that was opened has counts of it.
    pub fn at_least(&self, day: Day) {
        let _change = self.change.lock();
        let before = self.state();
        if day > before.day {
            self.settle(day, self.options.clock.wall_ms(), before.fault);
            report_behind(before.behind, self.state());
        }
    }

    /// Returns how long until the clock reaches the start of the current day, in milliseconds; 0 unless the
    /// clock was set back or the zone changed. Meanwhile counting goes on in the current day.
    pub fn behind_ms(&self) -> i64 {
        let look = self.look();
        if self.state().behind {
            let start_ms = self.options.calendar.start_of(look.day);
            start_ms.saturating_sub(look.wall_ms).max(0)
        } else {
            0
        }
    }

    /// Returns the current moment, for what counters say at it.
    pub fn moment(&self) -> Moment {
        let look = self.look();
        Moment {
            today: self.local_day(look.day),
            now: (!look.clock_fault).then_some(look.wall_ms),
        }
    }

    /// Returns the bounds of `day`. Those of the current day cost two loads.
    pub fn local_day(&self, day: Day) -> LocalDay {
        let bound = |place: &AtomicU64| DayState::unpack(place.load(Ordering::Acquire));
        let (start, end) = (bound(&self.start), bound(&self.end));
        if (start.day, end.day) == (day, day) {
            LocalDay {
                day,
                start: start.look_closer_ms,
                end: (day < Day::MAX).then_some(end.look_closer_ms),
            }
        } else {
            self.options.calendar.local_day(day)
        }
    }

    /// Returns the calendar in force.
    pub fn calendar(&self) -> &Calendar {
        &self.options.calendar
    }

    fn state(&self) -> DayState {
        DayState::unpack(self.state.load(Ordering::Acquire))
    }

    #[cold]
    fn look_closer(&self, accept: bool) -> Look {
        let _change = self.change.lock();
        // Read under the lock: looks are accepted in the order of their readings.
        let (wall_ms, boot_ms) = (self.options.clock.wall_ms(), self.options.clock.boot_ms());
        let offset = wall_ms.saturating_sub(boot_ms);
        let before = self.state();
        if !accept && self.jumped(offset) {
            if !before.fault {
                self.settle(before.day, wall_ms, true);
                let accepted = self
                    .lowest
                    .load(Ordering::Relaxed)
                    .saturating_add(self.options.max_clock_jump_ms);
                tracing::error!(
                    moved_ms = offset.saturating_sub(accepted),
                    limit_ms = self.options.max_clock_jump_ms,
                    "the wall clock jumped; set it right, or accept it with \
                     `counterd mode normal --accept-clock`"
                );
            }
        } else {
            let day = before.day.max(self.options.calendar.day_of(wall_ms));
            self.take(day, wall_ms, offset);
            if before.fault {
                tracing::info!(accepted = accept, "the wall clock is trusted again");
            }
        }
        let after = self.state();
        report_behind(before.behind, after);
        after.look(wall_ms)
    }

    fn jumped(&self, offset: i64) -> bool {
        offset < self.lowest.load(Ordering::Relaxed)
            || offset > self.highest.load(Ordering::Relaxed)
    }

    /// Accepts a look: later ones are judged by its offset.
    fn take(&self, day: Day, wall_ms: i64, offset: i64) {
        let limit = self.options.max_clock_jump_ms;
        self.vouched_wall.store(wall_ms, Ordering::Relaxed);
        self.vouched_tick
            .store(self.options.clock.tick_ms(), Ordering::Relaxed);
        self.lowest
            .store(offset.saturating_sub(limit), Ordering::Relaxed);
        self.highest
            .store(offset.saturating_add(limit), Ordering::Relaxed);
        self.settle(day, wall_ms, false);
    }

    /// Publishes the day with the instant of its next change.
    fn settle(&self, day: Day, wall_ms: i64, fault: bool) {
        let start_ms = self.options.calendar.start_of(day);
        let end_ms = self.options.calendar.end_of(day);
        let behind = !fault && wall_ms < start_ms;
        let bound = |look_closer_ms| DayState {
            day,
            look_closer_ms,
            fault: false,
            behind: false,
        };
        self.start.store(bound(start_ms).pack(), Ordering::Release);
        self.end.store(bound(end_ms).pack(), Ordering::Release);
        let state = DayState {
            day,
            look_closer_ms: if behind { start_ms } else { end_ms },
            fault,
            behind,
        };
        self.state.store(state.pack(), Ordering::Release);
    }
}

/// Says once each way that counting goes on in a day that the clock has not reached.
fn report_behind(was_behind: bool, now: DayState) {
    if now.behind && !was_behind {
        tracing::error!(
            day = %now.day,
            "the clock is before the current day; counting goes on in that day until the calendar \
             catches up"
        );
    } else if was_behind && !now.behind && !now.fault {
        tracing::info!(day = %now.day, "the calendar has caught up with the current day");
    }
}

/// What [`CurrentDay`] packs into one word: two flags, 22 bits of day, 39 of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct DayState {
    day: Day,
    /// A whole second, since days begin on whole seconds; `i64::MAX` where no day follows.
    look_closer_ms: i64,
    fault: bool,
    behind: bool,
}

const SECOND_BITS: u32 = 39;
const DAY_BITS: u32 = 22;
const NO_SECOND: u64 = (1 << SECOND_BITS) - 1;
/// Seconds are counted from here: two days before the first day, which begins earlier in some zones.
const FIRST_SECOND: i64 = (Day::MIN.days() as i64 - 2) * 86_400;
const FAULT: u64 = 1 << 63;
const BEHIND: u64 = 1 << 62;

const _: () = assert!((Day::MAX.days() - Day::MIN.days()) < (1 << DAY_BITS));
const _: () = assert!((Day::MAX.days() as i64 + 2) * 86_400 - FIRST_SECOND < NO_SECOND as i64);
const _: () = assert!(1u64 << (SECOND_BITS + DAY_BITS) < BEHIND);

impl DayState {
    fn look(self, wall_ms: i64) -> Look {
        Look {
            day: self.day,
            wall_ms,
            clock_fault: self.fault,
        }
    }

    fn pack(self) -> u64 {
        let second = self
            .look_closer_ms
            .div_euclid(1000)
            .saturating_sub(FIRST_SECOND);
        let second = u64::try_from(second).unwrap_or(0).min(NO_SECOND);
        let day = u64::from(self.day.days().abs_diff(Day::MIN.days()));
        let flag = |set: bool, bit: u64| if set { bit } else { 0 };
        second | day << SECOND_BITS | flag(self.fault, FAULT) | flag(self.behind, BEHIND)
    }

    fn unpack(word: u64) -> DayState {
        let second = word & NO_SECOND;
        let days = (word >> SECOND_BITS) & ((1 << DAY_BITS) - 1);
        DayState {
            day: Day::clamped(days as i64 + i64::from(Day::MIN.days())),
            look_closer_ms: if second == NO_SECOND {
                i64::MAX
            } else {
                (second as i64 + FIRST_SECOND) * 1000
            },
            fault: word & FAULT != 0,
            behind: word & BEHIND != 0,
        }
    }
}

#[cfg(test)]
mod tests;
