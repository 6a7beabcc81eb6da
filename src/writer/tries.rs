//! The tries to append one group to a log that other instances append to as well: how large the next one is.

use std::time::Instant;

/// After so many groups that others were ahead of, each further one is half as large.
const PATIENT_TRIES: u32 = 3;

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
        let halvings = self.lost.saturating_sub(PATIENT_TRIES).min(16);
        (waiting >> halvings).max(1).min(waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_is_too_late_again_and_again_becomes_smaller() {
        let mut tries = Tries::begin();
        let sizes: Vec<_> = (0..8)
            .map(|lost| {
                tries.lost = lost;
                tries.size(100)
            })
            .collect();
        assert_eq!(sizes, [100, 100, 100, 100, 50, 25, 12, 6]);
        tries.lost = u32::MAX;
        assert_eq!((tries.size(100), tries.size(1)), (1, 1));
    }
}
