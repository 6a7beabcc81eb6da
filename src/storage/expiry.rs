//! Which records a compaction may drop. A filter compares the day or bucket in a key with a published
//! horizon; it reads no clock. It keeps and counts a record that it cannot read.
//!
//! Reads never rely on a filter having run.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use rocksdb::CompactionDecision;

use super::family::Family;
use super::keys::{self, Bucket};
use super::value;
use crate::counter::{Millis, TimeLine};
use crate::seeded::bug;

/// Families whose records end with a local day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Daily {
    /// [`Family::Days`]: until the day is in history.
    Days,
    /// [`Family::Dedup`].
    Dedup,
    /// [`Family::Samples`].
    Samples,
    /// [`Family::History`].
    History,
}

impl Daily {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Days, Self::Dedup, Self::Samples, Self::History];

    /// Returns the family.
    pub const fn family(self) -> Family {
        match self {
            Self::Days => Family::Days,
            Self::Dedup => Family::Dedup,
            Self::Samples => Family::Samples,
            Self::History => Family::History,
        }
    }
}

/// Families whose records expire by the day or bucket in their key.
pub(super) const EXPIRING: [Family; 5] = [
    Family::Days,
    Family::Dedup,
    Family::Samples,
    Family::History,
    Family::Idempotency,
];

/// Reads the day or bucket from a record's key, as it sorts; `None` when it cannot be read.
fn age_in(family: Family, key: &[u8]) -> Option<u32> {
    let age = if family.is_partitioned() {
        key.first_chunk()
    } else {
        key.last_chunk()
    };
    age.copied().map(u32::from_be_bytes)
}

/// The bounds below which a record may be dropped, each stored in `meta` before it is published
/// here, and what the filters did. All start at the minimum: nothing is dropped.
#[derive(Debug)]
pub struct Horizons {
    /// As days and buckets sort, in the order of [`Family::ALL`].
    ages: [AtomicU32; Family::ALL.len()],
    /// Until when what counts for a while has left: in wall time, and in store time.
    windows: AtomicI64,
    leases: AtomicI64,
    /// Records dropped by a filter.
    pub dropped: AtomicU64,
    /// Records kept because their key could not be read.
    pub undecodable: AtomicU64,
}

impl Default for Horizons {
    fn default() -> Self {
        Self {
            ages: Default::default(),
            windows: AtomicI64::new(Millis::MIN),
            leases: AtomicI64::new(Millis::MIN),
            dropped: AtomicU64::new(0),
            undecodable: AtomicU64::new(0),
        }
    }
}

impl Horizons {
    /// Takes every horizon back to its minimum, before a handle is opened whose store may be older.
    pub fn forget(&self) {
        for age in &self.ages {
            age.store(0, Ordering::Release);
        }
        self.windows.store(Millis::MIN, Ordering::Release);
        self.leases.store(Millis::MIN, Ordering::Release);
    }

    /// Returns the bucket below which idempotency records may go.
    pub fn idempotency(&self) -> Bucket {
        self.age(Family::Idempotency)
    }

    /// Publishes the horizon of idempotency records. It must be on disk before.
    pub fn publish_idempotency(&self, bucket: Bucket) {
        self.raise(Family::Idempotency, bucket);
    }

    /// Returns the day below which records of a family may go.
    pub fn day(&self, daily: Daily) -> i32 {
        keys::unsortable(self.first_kept(daily.family()))
    }

    /// Publishes the horizon of a family. It must be on disk before.
    pub fn publish(&self, daily: Daily, day: i32) {
        let day = u32::from_be_bytes(keys::day_prefix(day));
        self.raise(daily.family(), day);
    }

    /// Returns the instant before which what is in windows has left them.
    pub fn windows(&self) -> Millis {
        self.windows.load(Ordering::Acquire)
    }

    /// Publishes the instant before which what is in windows has left them. It must be on disk before.
    pub(crate) fn publish_windows(&self, at: Millis) {
        self.windows.fetch_max(at, Ordering::AcqRel);
    }

    /// Publishes the store time before which leases have ended. It must be on disk before.
    pub(crate) fn publish_leases(&self, store_ms: Millis) {
        // An hour late: what a log had in a tail that `recover` cuts off may have been dropped already, and the
        // store time before that tail must still find all of its leases.
        let late = store_ms.saturating_sub(60 * 60 * 1000);
        self.leases.fetch_max(late, Ordering::AcqRel);
    }

    /// Returns the first day or bucket of a family that has not expired, as it stands in a key.
    pub(super) fn first_kept(&self, family: Family) -> [u8; 4] {
        self.age(family).to_be_bytes()
    }

    /// Whether the record under `key` has expired; `None` when its day or bucket cannot be read.
    pub(super) fn has_expired(&self, family: Family, key: &[u8]) -> Option<bool> {
        let late = u32::from(bug("horizon_off_by_one"));
        let age = age_in(family, key)?;
        Some(age < self.age(family).saturating_add(late))
    }

    fn age(&self, family: Family) -> u32 {
        let age = self.ages.get(family as usize);
        age.map_or(0, |age| age.load(Ordering::Acquire))
    }

    fn raise(&self, family: Family, to: u32) {
        if let Some(age) = self.ages.get(family as usize) {
            age.fetch_max(to, Ordering::AcqRel);
        }
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

/// Makes the filter of a family whose keys have a day or bucket.
pub(super) fn filter(
    horizons: &Arc<Horizons>,
    family: Family,
) -> impl FnMut(u32, &[u8], &[u8]) -> CompactionDecision + Send + use<> {
    let horizons = Arc::clone(horizons);
    move |_level, key, _value| horizons.judge(horizons.has_expired(family, key))
}

/// Makes the filter of the family `windows`, whose values say until when they count.
pub(super) fn windows_filter(
    horizons: &Arc<Horizons>,
) -> impl FnMut(u32, &[u8], &[u8]) -> CompactionDecision + Send + use<> {
    let horizons = Arc::clone(horizons);
    move |_level, _key, value| {
        let expired = value::counts_until(value).map(|(time_line, until)| {
            let horizon = match time_line {
                TimeLine::Wall => &horizons.windows,
                TimeLine::Store => &horizons.leases,
            };
            until <= horizon.load(Ordering::Acquire)
        });
        horizons.judge(expired)
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
        assert!(!removed(&filter(&horizons, Family::Idempotency)(
            0,
            b"\0\0\0\0k",
            b""
        )));
        for daily in Daily::ALL {
            let day = keys::day_prefix(i32::MIN);
            assert!(!removed(&filter(&horizons, daily.family())(0, &day, b"")));
        }
    }

    #[test]
    fn a_day_below_the_horizon_goes_and_the_horizon_itself_stays() {
        for daily in Daily::ALL {
            let horizons = Arc::new(Horizons::default());
            horizons.publish(daily, 100);
            let mut judge = filter(&horizons, daily.family());
            let mut gone = |day: i32| removed(&judge(0, &keys::day_prefix(day), b""));
            assert_eq!(
                (gone(99), gone(100), gone(101)),
                (true, false, false),
                "{daily:?}"
            );
        }
    }

    #[test]
    fn what_is_below_the_horizon_goes_and_the_rest_stays() {
        let horizons = Arc::new(Horizons::default());
        horizons.publish_idempotency(7);
        let mut judge = filter(&horizons, Family::Idempotency);
        assert!(removed(&judge(0, b"\0\0\0\x06k", b"")));
        assert!(!removed(&judge(0, b"\0\0\0\x07k", b"")));
        horizons.publish_idempotency(3);
        assert_eq!(horizons.idempotency(), 7, "a horizon never goes back");
        assert_eq!(horizons.dropped.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn what_has_left_its_window_goes_and_what_a_later_version_wrote_stays() {
        let horizons = Arc::new(Horizons::default());
        let mut filter = windows_filter(&horizons);
        let until = |at: i64| [&[1][..], &at.to_be_bytes(), b"more"].concat();
        assert!(!removed(&filter(0, b"", &until(i64::MIN + 1))));
        horizons.publish_windows(7);
        assert!(removed(&filter(0, b"", &until(7))));
        assert!(!removed(&filter(0, b"", &until(8))));
        let lease = b"\x02\0\0\0\0\0\0\0\x05\0\0\0\x01";
        assert!(!removed(&filter(0, b"", lease)));
        horizons.publish_leases(3_600_004);
        assert!(!removed(&filter(0, b"", lease)));
        horizons.publish_leases(3_600_005);
        assert!(removed(&filter(0, b"", lease)));
        assert!(!removed(&filter(0, b"", b"\x03\0\0\0\0\0\0\0\0")));
        assert!(!removed(&filter(0, b"", b"\x01\0")));
        assert_eq!(horizons.undecodable.load(Ordering::Relaxed), 2);
        horizons.forget();
        assert!(!removed(&filter(0, b"", &until(7))));
    }

    #[test]
    fn what_cannot_be_read_is_kept_and_counted() {
        let horizons = Arc::new(Horizons::default());
        horizons.publish_idempotency(7);
        assert!(!removed(&filter(&horizons, Family::Idempotency)(
            0, b"\0\0", b""
        )));
        assert_eq!(horizons.undecodable.load(Ordering::Relaxed), 1);
    }
}
