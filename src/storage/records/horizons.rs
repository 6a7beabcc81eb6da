//! Horizons on disk: the bounds below which records may be dropped.

use crate::calendar::Day;
use crate::counter::Millis;
use crate::invariant::invariant;
use crate::storage::Family;
use crate::storage::batch::Batch;
use crate::storage::error::{CommitError, ReadError};
use crate::storage::expiry::{Daily, Horizons};
use crate::storage::keys::{self, Bucket};
use crate::storage::store::Store;
use crate::storage::tables::Tables;

/// Key in `meta` of the instant before which what is in windows has left them.
const WINDOWS: &[u8] = b"horizon|windows";

/// Key in `meta` of the bucket below which outcomes may go.
const IDEMPOTENCY: &[u8] = b"horizon|idempotency";

const fn key(daily: Daily) -> &'static [u8] {
    match daily {
        Daily::Days => b"horizon|days",
        Daily::Dedup => b"horizon|dedup",
        Daily::Samples => b"horizon|samples",
        Daily::History => b"horizon|history",
    }
}

/// Whether a key of `meta` is of a bound that is a day.
pub(super) fn is_of_days(found: &[u8]) -> bool {
    Daily::ALL.into_iter().any(|daily| key(daily) == found)
}

impl Batch {
    /// Puts the day below which records of that family may go.
    pub(crate) fn put_horizon(&mut self, daily: Daily, day: Day) {
        self.put(Family::Meta, key(daily), &day.days().to_be_bytes());
    }

    /// Puts the time that windows have slid to: what has left them by then may go.
    pub(crate) fn put_windows_horizon(&mut self, at: Millis) {
        self.put(Family::Meta, WINDOWS, &at.to_be_bytes());
    }

    /// Puts the bucket below which outcomes may go.
    pub(crate) fn put_idempotency_horizon(&mut self, bucket: Bucket) {
        self.put(Family::Meta, IDEMPOTENCY, &bucket.to_be_bytes());
    }
}

impl Horizons {
    /// Publishes what is stored. A record that cannot be read publishes nothing.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) fn load(&self, tables: &Tables) -> Result<(), ReadError> {
        if let Some(bucket) = tables.number(IDEMPOTENCY)? {
            self.publish_idempotency(bucket);
        }
        for daily in Daily::ALL {
            if let Some(day) = tables.number(key(daily))? {
                self.publish(daily, day);
            }
        }
        if let Some(at) = tables.number(WINDOWS)? {
            self.publish_windows(at);
        }
        if let Some(state) = tables.state()? {
            self.publish_leases(state.store_time);
        }
        Ok(())
    }
}

impl Store {
    /// Drops the files of a family that hold only days below `day`, which must be its stored horizon or
    /// below it.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub(crate) fn drop_days(&mut self, daily: Daily, day: Day) -> Result<(), CommitError> {
        let stored: Option<i32> = self.tables().number(key(daily))?;
        invariant!(
            stored.is_some_and(|stored| day.days() <= stored),
            "{daily:?} below {day} would go, where the stored horizon is {stored:?}"
        )?;
        if daily == Daily::History {
            self.drop_history_of_log(day)?;
        }
        self.drop_whole_files(daily.family(), &keys::day_prefix(day.days()))
    }

    /// Drops the files that hold only outcomes of buckets below `bucket`, which must be the stored
    /// horizon or below it.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub(crate) fn drop_buckets(&mut self, bucket: Bucket) -> Result<(), CommitError> {
        let stored: Option<Bucket> = self.tables().number(IDEMPOTENCY)?;
        invariant!(
            stored.is_some_and(|stored| bucket <= stored),
            "outcomes below bucket {bucket} would go, where the stored horizon is {stored:?}"
        )?;
        self.drop_whole_files(Family::Idempotency, &bucket.to_be_bytes())
    }
}
