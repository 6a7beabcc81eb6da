//! TTL by compaction: which records a compaction may drop. The decision compares the day or bucket
//! in the key with a published horizon; it reads no clock. What cannot be read is kept and counted.
//!
//! Reads never rely on a filter having run.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

use rocksdb::CompactionDecision;

use super::keys::{self, Bucket};
use crate::seeded::bug;

/// The bounds below which a record may be dropped, each stored in `meta` before it is published
/// here, and what the filters did. All start at the minimum: nothing is dropped.
#[derive(Debug)]
pub struct Horizons {
    idempotency: AtomicU32,
    days: AtomicI32,
    dedup: AtomicI32,
    /// Records dropped by a filter.
    pub dropped: AtomicU64,
    /// Records kept because their key could not be read.
    pub undecodable: AtomicU64,
}

impl Default for Horizons {
    fn default() -> Self {
        Self {
            idempotency: AtomicU32::new(Bucket::MIN),
            days: AtomicI32::new(i32::MIN),
            dedup: AtomicI32::new(i32::MIN),
            dropped: AtomicU64::new(0),
            undecodable: AtomicU64::new(0),
        }
    }
}

impl Horizons {
    /// Buckets of idempotency records below this may go.
    pub fn idempotency(&self) -> Bucket {
        self.idempotency.load(Ordering::Acquire)
    }

    /// Publishes the horizon of idempotency records. It must be on disk before.
    pub fn publish_idempotency(&self, bucket: Bucket) {
        self.idempotency.fetch_max(bucket, Ordering::AcqRel);
    }

    fn judge(&self, expired: Option<bool>) -> CompactionDecision {
        match expired {
            Some(true) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                CompactionDecision::Remove
            }
            Some(false) => CompactionDecision::Keep,
            None => {
                self.undecodable.fetch_add(1, Ordering::Relaxed);
                CompactionDecision::Keep
            }
        }
    }
}

/// The filter of the family `idempotency`.
pub fn idempotency_filter(
    horizons: &Arc<Horizons>,
) -> impl FnMut(u32, &[u8], &[u8]) -> CompactionDecision + Send + use<> {
    let horizons = Arc::clone(horizons);
    move |_level, key, _value| {
        let late = Bucket::from(bug("horizon_off_by_one"));
        let bound = horizons.idempotency.load(Ordering::Acquire) + late;
        horizons.judge(keys::leading_bucket(key).map(|bucket| bucket < bound))
    }
}

/// The filter of the family `days`.
pub fn days_filter(
    horizons: &Arc<Horizons>,
) -> impl FnMut(u32, &[u8], &[u8]) -> CompactionDecision + Send + use<> {
    let horizons = Arc::clone(horizons);
    move |_level, key, _value| {
        let bound = horizons.days.load(Ordering::Acquire);
        horizons.judge(keys::leading_day(key).map(|day| day < bound))
    }
}

/// The filter of the family `dedup`.
pub fn dedup_filter(
    horizons: &Arc<Horizons>,
) -> impl FnMut(u32, &[u8], &[u8]) -> CompactionDecision + Send + use<> {
    let horizons = Arc::clone(horizons);
    move |_level, key, _value| {
        let bound = horizons.dedup.load(Ordering::Acquire);
        horizons.judge(keys::leading_day(key).map(|day| day < bound))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn removed(decision: &CompactionDecision) -> bool {
        matches!(decision, CompactionDecision::Remove)
    }

    #[test]
    fn nothing_goes_before_a_horizon_is_published() {
        let horizons = Arc::new(Horizons::default());
        assert!(!removed(&idempotency_filter(&horizons)(
            0,
            b"\0\0\0\0k",
            b""
        )));
        assert!(!removed(&days_filter(&horizons)(
            0,
            &keys::day_prefix(i32::MIN),
            b""
        )));
        assert!(!removed(&dedup_filter(&horizons)(
            0,
            &keys::day_prefix(-1),
            b""
        )));
    }

    #[test]
    fn what_is_below_the_horizon_goes_and_the_rest_stays() {
        let horizons = Arc::new(Horizons::default());
        horizons.publish_idempotency(7);
        let mut filter = idempotency_filter(&horizons);
        assert!(removed(&filter(0, b"\0\0\0\x06k", b"")));
        assert!(!removed(&filter(0, b"\0\0\0\x07k", b"")));
        horizons.publish_idempotency(3);
        assert_eq!(horizons.idempotency(), 7, "a horizon never goes back");
        assert_eq!(horizons.dropped.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn what_cannot_be_read_is_kept_and_counted() {
        let horizons = Arc::new(Horizons::default());
        horizons.publish_idempotency(7);
        assert!(!removed(&idempotency_filter(&horizons)(0, b"\0\0", b"")));
        assert_eq!(horizons.undecodable.load(Ordering::Relaxed), 1);
    }
}
