//! When everything in the log was last known here, for all who ask: the writer, which takes it in, and readers, which have
//! to be told while that is long ago, whatever the writer waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::clock::Clock;
use crate::counter::Millis;

/// When everything in the log was last known here.
pub struct Confirmed {
    clock: Arc<dyn Clock>,
    max_lag_ms: i64,
    /// By the boot clock.
    at_ms: AtomicI64,
}

impl Confirmed {
    /// Makes one for which that is now, and may be `max_lag` ago.
    pub fn new(clock: Arc<dyn Clock>, max_lag: Duration) -> Self {
        Self {
            at_ms: AtomicI64::new(clock.boot_ms()),
            max_lag_ms: i64::try_from(max_lag.as_millis()).unwrap_or(i64::MAX),
            clock,
        }
    }

    /// Returns the time to be noted for a look at the log that begins now.
    pub(super) fn now_ms(&self) -> i64 {
        self.clock.boot_ms()
    }

    /// Notes that everything is known that was in the log at that time.
    pub(super) fn note(&self, at_ms: i64) {
        self.at_ms.fetch_max(at_ms, Ordering::AcqRel);
    }

    /// Returns how long ago that was, where it is too long: others may have counted what is not known here.
    pub fn late(&self) -> Option<Duration> {
        self.late_ms()
            .map(|late_ms| Duration::from_millis(u64::try_from(late_ms).unwrap_or(0)))
    }

    /// Returns since when that is so, in milliseconds since 1970.
    pub fn stale_since(&self) -> Option<Millis> {
        self.late_ms()
            .map(|late_ms| self.clock.wall_ms().saturating_sub(late_ms))
    }

    fn late_ms(&self) -> Option<i64> {
        let at_ms = self.at_ms.load(Ordering::Acquire);
        let ago_ms = self.clock.boot_ms().saturating_sub(at_ms);
        (ago_ms > self.max_lag_ms).then_some(ago_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn what_was_not_confirmed_for_too_long_is_stale_since_then_until_it_is_again() {
        let clock = Arc::new(ManualClock::new(1_000_000));
        let confirmed = Confirmed::new(clock.clone(), Duration::from_secs(2));
        clock.advance(2000);
        assert_eq!(confirmed.late(), None);
        let asked = confirmed.now_ms();
        clock.advance(1);
        assert_eq!(confirmed.late(), Some(Duration::from_millis(2001)));
        assert_eq!(confirmed.stale_since(), Some(1_000_000));
        // As of when it was asked, whenever the answer came.
        confirmed.note(asked);
        assert_eq!(confirmed.stale_since(), None);
        clock.advance(2000);
        assert_eq!(confirmed.stale_since(), Some(1_002_000));
        // An answer that comes out of turn takes nothing back.
        confirmed.note(asked - 1000);
        assert_eq!(confirmed.stale_since(), Some(1_002_000));
    }
}
