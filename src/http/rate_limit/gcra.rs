//! The generic cell rate algorithm (ITU-T I.371, the virtual scheduling form): pure arithmetic on the one
//! number that is kept of a key.
//!
//! A key has a bucket of `burst` operations, which fills by one each `interval`. What is kept is the instant at
//! which the bucket will be whole again. An instant that has passed says nothing: a key that is not kept and a key
//! whose bucket is whole are the same.
//!
//! Instants and spans are nanoseconds of boot time. Kept out: who has which key, and where buckets are kept.

use super::rate::Rate;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// A limit of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gcra {
    /// How long one operation takes to come back. Rounded up: a rate is never exceeded, and missed by less than a
    /// nanosecond for each operation.
    interval: u64,
    /// Operations that a whole bucket holds.
    burst: u64,
}

/// What a request asks of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    /// How many operations it has.
    pub(super) operations: u64,
    /// How many of them it has paid already.
    pub(super) paid: u64,
}

impl Ask {
    /// Asks for that many operations, of which none is paid yet.
    pub(super) fn of(operations: u64) -> Self {
        Self {
            operations,
            paid: 0,
        }
    }
}

impl Gcra {
    pub(super) fn new(rate: Rate, burst: u32) -> Self {
        let span = u64::from(rate.seconds()) * NANOS_PER_SECOND;
        Self {
            interval: span.div_ceil(u64::from(rate.count())),
            burst: burst.into(),
        }
    }

    /// Returns a limit that allows `times` as much.
    pub(super) fn wider(self, times: u64) -> Self {
        Self {
            interval: self.interval.div_ceil(times),
            burst: self.burst.saturating_mul(times),
        }
    }

    /// Takes what is asked out of the bucket that will be whole at `whole_at`, and returns the instant at which it will
    /// be whole then. What does not fit into any bucket needs a whole one, and is paid for in full: the
    /// bucket is that much longer empty.
    ///
    /// # Errors
    /// When there is not enough in it, with the nanoseconds until there is. Nothing is taken then.
    pub(super) fn take(self, whole_at: u64, now: u64, ask: Ask) -> Result<u64, u64> {
        let begin = whole_at.max(now);
        let needed = ask.operations.min(self.burst).saturating_sub(ask.paid);
        let until = begin.saturating_add(self.lasting(needed));
        let latest = now.saturating_add(self.lasting(self.burst));
        if until > latest {
            return Err(until - latest);
        }
        let charged = ask.operations.saturating_sub(ask.paid);
        Ok(begin.saturating_add(self.lasting(charged)))
    }

    /// Puts back what was taken for so many operations, and returns the instant at which the bucket will be whole.
    pub(super) fn give_back(self, whole_at: u64, operations: u64) -> u64 {
        whole_at.saturating_sub(self.lasting(operations))
    }

    /// Returns the latest instant at which a bucket may be whole out of which so many operations are taken now.
    pub(super) fn whole_by(self, now: u64, operations: u64) -> u64 {
        now.saturating_add(self.lasting(operations.max(self.burst)))
    }

    /// Returns how many operations are in the bucket.
    pub(super) fn left(self, whole_at: u64, now: u64) -> u64 {
        let missing = whole_at.saturating_sub(now).div_ceil(self.interval.max(1));
        self.burst.saturating_sub(missing)
    }

    fn lasting(self, operations: u64) -> u64 {
        self.interval.saturating_mul(operations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = NANOS_PER_SECOND;

    fn gcra(rate: &str, burst: u32) -> Gcra {
        Gcra::new(rate.parse().unwrap(), burst)
    }

    #[test]
    fn a_whole_bucket_holds_its_burst_and_fills_by_one_each_interval() {
        let gcra = gcra("10/s", 3);
        let mut whole_at = 0;
        let now = 5 * SECOND;
        for left in [2, 1, 0] {
            whole_at = gcra.take(whole_at, now, Ask::of(1)).unwrap();
            assert_eq!(gcra.left(whole_at, now), left);
        }
        assert_eq!(gcra.take(whole_at, now, Ask::of(1)), Err(SECOND / 10));
        let later = now + SECOND / 10;
        assert_eq!(gcra.take(whole_at, later - 1, Ask::of(1)), Err(1));
        assert!(gcra.take(whole_at, later, Ask::of(1)).is_ok());
        assert_eq!(gcra.left(whole_at, now + SECOND), 3);
    }

    #[test]
    fn more_than_a_burst_needs_a_whole_bucket_and_is_paid_in_full() {
        let gcra = gcra("10/s", 5);
        let now = SECOND;
        let whole_at = gcra.take(0, now, Ask::of(100)).unwrap();
        assert_eq!(whole_at, now + 10 * SECOND);
        assert_eq!(gcra.left(whole_at, now), 0);
        // One operation comes in when all but the last four are paid back.
        let wait = 10 * SECOND - 4 * SECOND / 10;
        assert_eq!(gcra.take(whole_at, now, Ask::of(1)), Err(wait));
        // The next large one waits for all of it.
        assert_eq!(gcra.take(whole_at, now, Ask::of(6)), Err(10 * SECOND));
        assert!(gcra.take(whole_at, whole_at, Ask::of(6)).is_ok());
    }

    #[test]
    fn what_was_paid_before_is_not_paid_twice() {
        let gcra = gcra("10/s", 5);
        let head = gcra.take(0, SECOND, Ask::of(1)).unwrap();
        for operations in [1, 2, 5, 6, 1000] {
            let ask = Ask {
                operations,
                paid: 1,
            };
            let rest = gcra.take(head, SECOND, ask).unwrap();
            assert!(rest <= gcra.whole_by(SECOND, operations));
            assert_eq!(rest, gcra.take(0, SECOND, Ask::of(operations)).unwrap());
            assert_eq!(gcra.give_back(rest, operations - 1), head);
        }
    }

    #[test]
    fn no_rate_and_no_burst_overflows() {
        for (rate, burst) in [("1/h", Rate::MAX), ("1000000/s", 1)] {
            let gcra = gcra(rate, burst);
            for gcra in [gcra, gcra.wider(16)] {
                let whole_at = gcra.take(0, 0, Ask::of(u64::from(burst))).unwrap();
                assert!(whole_at > 0 && whole_at < u64::MAX / 4);
                assert!(gcra.left(u64::MAX, 0) < u64::from(burst) * 16);
            }
        }
    }
}
