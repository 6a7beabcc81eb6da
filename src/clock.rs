//! Where all time comes from: one [`Clock`] that is passed in, so that tests move time themselves.
//!
//! What the time means (local days, jumps of the wall clock) is not decided here.

use std::sync::atomic::{AtomicI64, Ordering};

use rustix::time::{ClockId, clock_gettime};

/// A source of time. Shared as `Arc<dyn Clock>`; reading it takes no lock.
pub trait Clock: Send + Sync {
    /// Returns milliseconds since 1970-01-01T00:00:00Z, as the machine believes; may jump either way.
    fn wall_ms(&self) -> i64;

    /// Returns milliseconds since the machine started, time asleep included; never goes back while the
    /// machine runs and starts anew when it restarts.
    fn boot_ms(&self) -> i64;

    /// Returns the same in nanoseconds, as finely as the clock tells it.
    fn boot_ns(&self) -> u64 {
        u64::try_from(self.boot_ms()).map_or(0, |ms| ms.saturating_mul(1_000_000))
    }

    /// Returns milliseconds since some fixed instant, for "was that a moment ago?" only: cheaper than the
    /// others, but it moves in steps of some milliseconds and may stand still while the machine
    /// sleeps.
    fn tick_ms(&self) -> i64 {
        self.boot_ms()
    }
}

/// The machine's clocks: `CLOCK_REALTIME` and `CLOCK_BOOTTIME`.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall_ms(&self) -> i64 {
        read_ms(ClockId::Realtime)
    }

    fn boot_ms(&self) -> i64 {
        read_ms(ClockId::Boottime)
    }

    fn boot_ns(&self) -> u64 {
        let t = clock_gettime(ClockId::Boottime);
        // Neither is negative: the clock begins at 0.
        (t.tv_sec as u64)
            .saturating_mul(1_000_000_000)
            .saturating_add(t.tv_nsec as u64)
    }

    fn tick_ms(&self) -> i64 {
        read_ms(ClockId::MonotonicCoarse)
    }
}

fn read_ms(id: ClockId) -> i64 {
    let t = clock_gettime(id);
    // Rounded down also before 1970, where tv_sec is negative and tv_nsec is not.
    t.tv_sec * 1000 + t.tv_nsec / 1_000_000
}

/// A clock that stands still until it is moved.
///
/// The two readings are independent atomics: a reader that runs while another thread moves the
/// clock may see one of them moved and the other not yet, as with the machine's clocks.
#[derive(Debug)]
pub struct ManualClock {
    wall: AtomicI64,
    boot: AtomicI64,
}

impl ManualClock {
    /// Makes a clock whose wall time is `wall_ms` on a machine that has been up for one second.
    pub fn new(wall_ms: i64) -> Self {
        Self {
            wall: AtomicI64::new(wall_ms),
            boot: AtomicI64::new(1000),
        }
    }

    /// Lets time pass: both readings move by `ms`.
    pub fn advance(&self, ms: i64) {
        self.boot.fetch_add(ms, Ordering::SeqCst);
        self.wall.fetch_add(ms, Ordering::SeqCst);
    }

    /// Sets the clock as somebody would: the wall time moves, the boot time does not.
    pub fn set_wall(&self, wall_ms: i64) {
        self.wall.store(wall_ms, Ordering::SeqCst);
    }

    /// Moves the clock by `ms` as somebody would: the wall time moves, the boot time does not.
    pub fn shift_wall(&self, ms: i64) {
        self.wall.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall_ms(&self) -> i64 {
        self.wall.load(Ordering::SeqCst)
    }

    fn boot_ms(&self) -> i64 {
        self.boot.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_is_in_milliseconds_since_1970() {
        let std_ms = i64::try_from(
            std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap_or_default()
                .as_millis(),
        )
        .unwrap_or_default();
        let ours = SystemClock.wall_ms();
        assert!(
            (ours - std_ms).abs() < 60_000,
            "{ours} is not near {std_ms}"
        );
    }

    #[test]
    fn the_boot_clock_does_not_go_back() {
        let first = SystemClock.boot_ms();
        let second = SystemClock.boot_ms();
        assert!(first > 0 && second >= first, "{first} then {second}");
    }

    #[test]
    fn the_manual_clock_moves_only_as_told() {
        let clock = ManualClock::new(5_000);
        clock.advance(10);
        assert_eq!((clock.wall_ms(), clock.boot_ms()), (5_010, 1_010));
        clock.set_wall(7);
        assert_eq!((clock.wall_ms(), clock.boot_ms()), (7, 1_010));
        clock.shift_wall(-9);
        assert_eq!((clock.wall_ms(), clock.boot_ms()), (-2, 1_010));
    }
}
