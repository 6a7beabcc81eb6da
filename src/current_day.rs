//! The one current day that readers and the writer share, and the watch over the wall clock.
//!
//! Whoever looks first after a boundary advances the day for all; it never goes back. Every look
//! compares how far the wall clock has moved with how far the boot clock has: a difference over the
//! limit since the last accepted look is a jump, under which no day advances. Where several instances count by one
//! time, each compares its wall clock with that of Redis as well.
//!
//! What follows from a jump (the mode) and where the highest day is stored is not decided here.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::calendar::{Calendar, Day, LocalDay};
use crate::clock::Clock;
use crate::counter::{Millis, Moment};

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

/// What a store knows of the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredTime {
    /// The highest local day that was counted in.
    pub highest_day: Day,
    /// The wall clock at the last commit, in milliseconds since 1970 UTC.
    pub last_commit_ms: Millis,
    /// The latest wall time that windows have slid to, in milliseconds since 1970 UTC; the minimum for none yet.
    pub slid_to: Millis,
    /// Time during which it was open, summed over its life, in milliseconds.
    pub store_ms: Millis,
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
    /// The time that windows have slid to: the latest wall clock of any accepted look.
    pub latest_ms: Millis,
}

/// The shared current day. Looking takes no lock, except by who finds that something changed.
pub struct CurrentDay {
    options: CurrentDayOptions,
    /// Replaced as a whole: no reader sees the day of one moment with the boundary of another.
    state: ArcSwap<DayState>,
    /// The latest wall clock of any accepted look, in whole seconds: no grain of a window is shorter.
    latest: AtomicI64,
    /// Held by whoever replaces it.
    change: Mutex<()>,
}

/// The current day, and by what looks at the time are judged.
#[derive(Debug, Clone, Copy)]
struct DayState {
    day: LocalDay,
    /// The wall clock has jumped.
    fault: bool,
    /// The wall clock is before the day.
    behind: bool,
    /// Wall clock and tick of the last accepted look.
    vouched_wall: i64,
    vouched_tick: i64,
    /// Below and above these offsets (wall minus boot clock) the wall clock has jumped.
    lowest: i64,
    highest: i64,
    /// The clock of Redis, where the wall clock has to agree with it.
    of_redis: Option<OtherClock>,
    store_time: StoreTime,
}

/// A clock by which the wall clock is judged.
#[derive(Debug, Clone, Copy)]
struct OtherClock {
    /// What it shows more than the boot clock.
    offset: i64,
    /// How far from it the wall clock may be.
    limit_ms: i64,
}

/// Time during which the store was open, summed over its life.
#[derive(Debug, Clone, Copy)]
enum StoreTime {
    /// The store is not open: so much it was.
    Stands(Millis),
    /// The store is open; to be added to the boot clock.
    Runs(Millis),
}

impl StoreTime {
    fn at(self, boot_ms: i64) -> Millis {
        match self {
            Self::Stands(store_ms) => store_ms,
            Self::Runs(offset) => boot_ms.saturating_add(offset),
        }
    }
}

impl CurrentDay {
    /// Takes the first look and accepts it: without a store nothing speaks against the clock.
    pub fn new(options: CurrentDayOptions) -> CurrentDay {
        let before_any_look = DayState {
            day: options.calendar.local_day(Day::MIN),
            fault: false,
            behind: false,
            vouched_wall: 0,
            vouched_tick: 0,
            lowest: i64::MIN,
            highest: i64::MAX,
            of_redis: None,
            store_time: StoreTime::Stands(0),
        };
        let current = CurrentDay {
            options,
            state: ArcSwap::from_pointee(before_any_look),
            latest: AtomicI64::new(Millis::MIN / 1000),
            change: Mutex::new(()),
        };
        current.take_first_look(None);
        current
    }

    /// Begins anew, as of a store that was opened; `None` for a new one. The current day is never below that of
    /// the store. The first look is accepted unless the last commit says that the wall clock is wrong: more
    /// than `max_away` later, or more than `max_clock_jump` earlier than the commit. No time that was looked
    /// up without a store binds anyone.
    pub fn begin(&self, stored: Option<StoredTime>) {
        self.take_first_look(stored.as_ref());
        let store_ms = stored.map_or(0, |stored| stored.store_ms);
        let boot_ms = self.options.clock.boot_ms();
        self.set_store_time(|_| StoreTime::Runs(store_ms.saturating_sub(boot_ms)));
    }

    /// Has store time run on from now: the store is open. It never goes back, nor below `at_least`.
    pub fn store_opened(&self, at_least: Millis) {
        let boot_ms = self.options.clock.boot_ms();
        self.set_store_time(|before| {
            StoreTime::Runs(before.at(boot_ms).max(at_least).saturating_sub(boot_ms))
        });
    }

    /// Has store time stand from now on: the store is not open.
    pub fn store_closed(&self) {
        let boot_ms = self.options.clock.boot_ms();
        self.set_store_time(|before| StoreTime::Stands(before.at(boot_ms)));
    }

    fn set_store_time(&self, to: impl FnOnce(StoreTime) -> StoreTime) {
        let _change = self.change.lock();
        let before = self.state();
        let store_time = to(before.store_time);
        self.state.store(Arc::new(DayState {
            store_time,
            ..before
        }));
    }

    /// Compares the wall clock with that of Redis, which shows `redis_ms` now: from now on it is not trusted while it is
    /// further from it than `limit_ms`.
    pub fn compare_with_redis(&self, redis_ms: Millis, limit_ms: i64) {
        let _change = self.change.lock();
        let offset = redis_ms.saturating_sub(self.options.clock.boot_ms());
        let before = self.state();
        self.state.store(Arc::new(DayState {
            of_redis: Some(OtherClock { offset, limit_ms }),
            ..before
        }));
    }

    /// Returns how much later the wall clock is than that of Redis, in milliseconds; `None` where they were not compared.
    pub fn ahead_of_redis_ms(&self) -> Option<i64> {
        let redis = self.state.load().of_redis?;
        let (wall_ms, boot_ms) = (self.options.clock.wall_ms(), self.options.clock.boot_ms());
        Some(wall_ms.saturating_sub(boot_ms).saturating_sub(redis.offset))
    }

    /// Returns the time during which the store was open, summed over its life, in milliseconds.
    pub fn store_ms(&self) -> Millis {
        self.state
            .load()
            .store_time
            .at(self.options.clock.boot_ms())
    }

    fn take_first_look(&self, stored: Option<&StoredTime>) {
        let _change = self.change.lock();
        let slid_to = stored.map_or(Millis::MIN, |stored| stored.slid_to);
        self.latest
            .store(slid_to.div_euclid(1000), Ordering::Release);
        let highest_stored = stored.map(|stored| stored.highest_day);
        let last_commit_ms = stored.map(|stored| stored.last_commit_ms);
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
        let far = self.state().far_from_redis(offset);
        let fault = offset < lowest || offset > highest || far.is_some();
        let right_ms = far.map_or(wall_ms, |redis| redis.offset.saturating_add(boot_ms));
        let today = self.options.calendar.day_of(right_ms);
        let day = match highest_stored {
            Some(stored) if fault => stored,
            Some(stored) => stored.max(today),
            None => today,
        };
        if fault {
            self.vouch(day, wall_ms, lowest, highest, fault);
        }
        if let Some(redis) = far {
            redis.report(offset);
        } else if fault {
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

    /// Returns the boot clock, in nanoseconds since the machine started.
    pub fn boot_ns(&self) -> u64 {
        self.options.clock.boot_ns()
    }

    /// Returns the current day and the time, and advances the day if its end has passed.
    ///
    /// Costs little more than one clock reading; cheap enough for every read and every commit group.
    pub fn look(&self) -> Look {
        let state = self.state.load();
        let wall_ms = self.options.clock.wall_ms();
        let nothing_changed = if state.fault {
            state.jumped(wall_ms.saturating_sub(self.options.clock.boot_ms()))
        } else {
            // Also a little back: another thread may have looked after our reading.
            (-VOUCHED_MS..=2 * VOUCHED_MS).contains(&wall_ms.wrapping_sub(state.vouched_wall))
                && self
                    .options
                    .clock
                    .tick_ms()
                    .wrapping_sub(state.vouched_tick)
                    <= VOUCHED_MS
                && wall_ms < state.look_closer_ms()
        };
        if nothing_changed {
            self.seen(&state, wall_ms)
        } else {
            self.look_closer(false)
        }
    }

    /// Accepts the clock, as an operator says that it is right: the present look holds whatever the jump,
    /// and the day advances to where the clock is. It never goes back.
    pub fn accept(&self) -> Look {
        self.look_closer(true)
    }

    /// Advances the current day to `day` if it is before that: a store that was opened has counts of it. Its
    /// windows had slid to `slid_to`.
    pub fn at_least(&self, day: Day, slid_to: Millis) {
        let _change = self.change.lock();
        let latest = slid_to.div_euclid(1000);
        self.latest.fetch_max(latest, Ordering::AcqRel);
        let before = self.state();
        if day > before.day.day {
            self.settle(day, self.options.clock.wall_ms(), before);
            report_behind(before.behind, self.state());
        }
    }

    /// Returns how long until the clock reaches the start of the current day, in milliseconds; 0 unless the
    /// clock was set back or the zone changed. Meanwhile counting goes on in the current day.
    pub fn behind_ms(&self) -> i64 {
        let look = self.look();
        let state = self.state();
        if state.behind {
            state.day.start.saturating_sub(look.wall_ms).max(0)
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
            latest: look.latest_ms,
            store_ms: self.store_ms(),
        }
    }

    /// Returns milliseconds since the machine started, by the same clock.
    pub fn boot_ms(&self) -> i64 {
        self.options.clock.boot_ms()
    }

    /// Returns `day` with its bounds. Those of the current day need not be worked out.
    pub fn local_day(&self, day: Day) -> LocalDay {
        let current = self.state.load().day;
        if current.day == day {
            current
        } else {
            self.options.calendar.local_day(day)
        }
    }

    /// Returns the calendar in force.
    pub fn calendar(&self) -> &Calendar {
        &self.options.calendar
    }

    fn state(&self) -> DayState {
        **self.state.load()
    }

    #[cold]
    fn look_closer(&self, accept: bool) -> Look {
        let _change = self.change.lock();
        // Read under the lock: looks are accepted in the order of their readings.
        let (wall_ms, boot_ms) = (self.options.clock.wall_ms(), self.options.clock.boot_ms());
        let offset = wall_ms.saturating_sub(boot_ms);
        let before = self.state();
        let far = before.far_from_redis(offset);
        if far.is_some() || !accept && before.jumped(offset) {
            if !before.fault {
                let fault = true;
                self.settle(before.day.day, wall_ms, DayState { fault, ..before });
                let limit_ms = self.options.max_clock_jump_ms;
                let accepted = before.lowest.saturating_add(limit_ms);
                match far {
                    Some(redis) => redis.report(offset),
                    None => tracing::error!(
                        moved_ms = offset.saturating_sub(accepted),
                        limit_ms,
                        "the wall clock jumped; set it right, or accept it with \
                         `counterd mode normal --accept-clock`"
                    ),
                }
            }
        } else {
            let day = before.day.day.max(self.options.calendar.day_of(wall_ms));
            self.take(day, wall_ms, offset);
            if before.fault {
                tracing::info!(accepted = accept, "the wall clock is trusted again");
            }
        }
        let after = self.state();
        report_behind(before.behind, after);
        self.seen(&after, wall_ms)
    }

    /// Gives what a look at the wall clock has seen.
    #[inline]
    fn seen(&self, state: &DayState, wall_ms: i64) -> Look {
        Look {
            day: state.day.day,
            wall_ms,
            clock_fault: state.fault,
            latest_ms: self.latest(wall_ms, state.fault),
        }
    }

    /// Notes the wall clock of a look unless there is a fault; returns the latest that was noted.
    #[inline]
    fn latest(&self, wall_ms: i64, fault: bool) -> Millis {
        let latest = self.latest.load(Ordering::Acquire);
        let second = wall_ms.div_euclid(1000);
        if fault || second < latest {
            return latest.saturating_mul(1000);
        }
        // Once a second: a look costs no write.
        if second > latest {
            self.latest.fetch_max(second, Ordering::AcqRel);
        }
        wall_ms
    }

    /// Accepts a look: later ones are judged by its offset.
    fn take(&self, day: Day, wall_ms: i64, offset: i64) {
        let limit = self.options.max_clock_jump_ms;
        let (lowest, highest) = (offset.saturating_sub(limit), offset.saturating_add(limit));
        self.vouch(day, wall_ms, lowest, highest, false);
    }

    /// Publishes the day of a look, by which later ones are judged, and by these offsets.
    fn vouch(&self, day: Day, wall_ms: i64, lowest: i64, highest: i64, fault: bool) {
        let state = DayState {
            fault,
            vouched_wall: wall_ms,
            vouched_tick: self.options.clock.tick_ms(),
            lowest,
            highest,
            ..self.state()
        };
        self.settle(day, wall_ms, state);
    }

    /// Publishes the day; the rest stays as in `state`.
    fn settle(&self, day: Day, wall_ms: i64, state: DayState) {
        let day = self.options.calendar.local_day(day);
        let behind = !state.fault && wall_ms < day.start;
        let state = DayState {
            day,
            behind,
            ..state
        };
        self.state.store(Arc::new(state));
    }
}

impl DayState {
    /// Returns the instant at which to look closer.
    fn look_closer_ms(&self) -> i64 {
        if self.behind {
            self.day.start
        } else {
            self.day.end.unwrap_or(i64::MAX)
        }
    }

    fn jumped(&self, offset: i64) -> bool {
        offset < self.lowest || offset > self.highest || self.far_from_redis(offset).is_some()
    }

    /// Returns the clock of Redis where the wall clock is too far from it.
    fn far_from_redis(&self, offset: i64) -> Option<OtherClock> {
        let is_far = |redis: &OtherClock| {
            offset.saturating_sub(redis.offset).saturating_abs() > redis.limit_ms
        };
        self.of_redis.filter(is_far)
    }
}

impl OtherClock {
    /// Says that the wall clock is too far from it.
    fn report(&self, offset: i64) {
        tracing::error!(
            ahead_ms = offset.saturating_sub(self.offset),
            limit_ms = self.limit_ms,
            "the wall clock is too far from that of Redis, by which all instances count; set it right"
        );
    }
}

/// Says once each way that counting goes on in a day that the clock has not reached.
fn report_behind(was_behind: bool, now: DayState) {
    if now.behind && !was_behind {
        tracing::error!(
            day = %now.day.day,
            "the clock is before the current day; counting goes on in that day until the calendar \
             catches up"
        );
    } else if was_behind && !now.behind && !now.fault {
        tracing::info!(day = %now.day.day, "the calendar has caught up with the current day");
    }
}

#[cfg(test)]
mod tests;
