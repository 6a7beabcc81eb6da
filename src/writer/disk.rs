//! Whether the writer waits for the disk, and for how long: a disk that hangs refuses nothing, so nothing
//! else would tell.
//!
//! The writer notes when each of its turns begins, and that it rests. Whoever asks compares that with the
//! time; the writer itself cannot, for it hangs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Stands for "the writer rests": no turn begins at that time.
const RESTS: u64 = u64::MAX;

/// Since when the writer's turn lasts.
#[derive(Debug)]
pub struct DiskWait {
    /// From when times are counted.
    origin: Instant,
    slow_after: Duration,
    /// When the turn began, in milliseconds from `origin`, or [`RESTS`].
    began: AtomicU64,
}

impl DiskWait {
    /// The writer rests. A turn that lasts `slow_after` waits for a slow disk: all else that a turn does
    /// takes milliseconds.
    pub fn new(slow_after: Duration) -> Self {
        Self {
            origin: Instant::now(),
            slow_after,
            began: AtomicU64::new(RESTS),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(RESTS)
    }

    /// A turn begins, or the next one.
    pub(super) fn begin(&self) {
        self.began.store(self.now(), Ordering::Relaxed);
    }

    /// The turn has ended, and no other begins.
    pub(super) fn end(&self) {
        self.began.store(RESTS, Ordering::Relaxed);
    }

    /// For how long the writer's turn has lasted; nothing while it rests.
    pub fn lasts(&self) -> Duration {
        match self.began.load(Ordering::Relaxed) {
            RESTS => Duration::ZERO,
            began => Duration::from_millis(self.now().saturating_sub(began)),
        }
    }

    /// For how long the writer has waited for a slow disk; `None` while it does not.
    pub fn slow(&self) -> Option<Duration> {
        Some(self.lasts()).filter(|&lasts| lasts >= self.slow_after && !lasts.is_zero())
    }
}

/// Tells in the log of a disk that has become slow, and once that is over.
#[derive(Debug, Default)]
pub struct SlowDisk {
    /// How long the wait had lasted when it was last looked at.
    told: Option<Duration>,
}

impl SlowDisk {
    /// Looks once; to be called a few times a second, by a thread that asks nothing of the disk.
    pub fn look(&mut self, disk: &DiskWait) {
        let slow = disk.slow();
        match (self.told, slow) {
            (None, Some(lasts)) => tracing::error!(
                waited_ms = lasts.as_millis(),
                "the disk is slow: writes wait for it, reads are served"
            ),
            (Some(told), None) => tracing::warn!(
                waited_ms = told.as_millis(),
                "the disk answers again: what waited is written"
            ),
            (Some(_), Some(_)) | (None, None) => {}
        }
        // A shorter wait is another one, of a disk that is still slow.
        self.told = slow.map(|lasts| lasts.max(self.told.unwrap_or_default()));
    }
}
