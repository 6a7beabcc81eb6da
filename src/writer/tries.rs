//! The tries to append one group to a log that other instances append to as well: how large the next one is, and when.

use std::time::{Duration, Instant};

/// After so many groups that others were ahead of, each further one is half as large, and is tried after a pause.
const PATIENT_TRIES: u32 = 3;

/// The longest pause: so that two instances do not try in step.
const LONGEST_PAUSE: Duration = Duration::from_millis(2);

/// The tries to append one group.
pub(super) struct Tries {
    begun: Instant,
    lost: u32,
}

impl Tries {
    /// Begins now.
    pub(super) fn begin() -> Self {
        Self {
            begun: Instant::now(),
            lost: 0,
        }
    }

    /// Returns when the first one began.
    pub(super) fn begun(&self) -> Instant {
        self.begun
    }

    /// Notes one for which others were ahead.
    pub(super) fn lose(&mut self) {
        self.lost += 1;
    }

    /// Returns how many of those that wait are in the next group.
    pub(super) fn size(&self, waiting: usize) -> usize {
        (waiting >> self.impatience().min(16)).max(1).min(waiting)
    }

    /// Returns how long to wait before the next try; `drawn` is any number.
    pub(super) fn pause(&self, drawn: u64) -> Duration {
        if self.impatience() == 0 {
            return Duration::ZERO;
        }
        let longest = LONGEST_PAUSE.as_micros() as u64;
        Duration::from_micros(drawn % longest)
    }

    fn impatience(&self) -> u32 {
        self.lost.saturating_sub(PATIENT_TRIES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_is_too_late_again_and_again_becomes_smaller_and_pauses_a_little() {
        let mut tries = Tries::begin();
        let sizes: Vec<_> = (0..8)
            .map(|lost| {
                tries.lost = lost;
                tries.size(100)
            })
            .collect();
        assert_eq!(sizes, [100, 100, 100, 100, 50, 25, 12, 6]);
        assert!(tries.pause(u64::MAX) < LONGEST_PAUSE);
        tries.lost = u32::MAX;
        assert_eq!((tries.size(100), tries.size(1)), (1, 1));
        tries.lost = PATIENT_TRIES;
        assert_eq!(tries.pause(u64::MAX), Duration::ZERO);
    }
}
