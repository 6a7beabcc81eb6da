//! Who was counted and what was answered before: in memory for the recent, else on disk.
//!
//! Exactness never rests on a hash alone: what is found in memory was compared byte for byte.

use std::collections::HashSet;

use crate::calendar::Day;
use crate::counter::{CounterName, DayRecord, Generation, UserId};
use crate::storage::keys::{self, Bucket};
use crate::storage::{Family, ReadError, Tables, value};

use super::group::{Kept, Lookups};

/// Users known to be counted and durable: a bounded set, so that most repeated calls never reach
/// the disk. When the newer half is full, the older half is dropped.
pub(super) struct Recent {
    newer: HashSet<Box<[u8]>>,
    older: HashSet<Box<[u8]>>,
    half: usize,
}

impl Recent {
    /// Holds at most `capacity` users.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            newer: HashSet::new(),
            older: HashSet::new(),
            half: capacity / 2,
        }
    }

    fn contains(&self, key: &[u8]) -> bool {
        self.newer.contains(key) || self.older.contains(key)
    }

    fn insert(&mut self, key: &[u8]) {
        if self.half == 0 {
            return;
        }
        if self.newer.len() >= self.half {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(key.into());
    }

    /// Takes in a user whose record is on disk.
    pub(super) fn remember(&mut self, day: i32, generation: Generation, user: &UserId) {
        let mut key = Vec::new();
        keys::dedup_into(&mut key, day, generation, user.as_str());
        self.insert(&key);
    }

    /// Forgets all: the store is on another history.
    pub(super) fn clear(&mut self) {
        self.newer.clear();
        self.older.clear();
    }
}

/// Look-ups against the store.
pub(super) struct StoreLookups<'a> {
    pub(super) tables: &'a Tables,
    pub(super) recent: &'a mut Recent,
    /// The bucket of keys written now; those of the one before are still good.
    pub(super) bucket: Bucket,
    pub(super) key: Vec<u8>,
}

impl Lookups for StoreLookups<'_> {
    fn counted(&mut self, day: i32, generation: Generation, user: &str) -> Result<bool, ReadError> {
        keys::dedup_into(&mut self.key, day, generation, user);
        if self.recent.contains(&self.key) {
            return Ok(true);
        }
        let counted = self.tables.get(Family::Dedup, &self.key)?.is_some();
        if counted {
            self.recent.insert(&self.key);
        }
        Ok(counted)
    }

    fn kept(&mut self, key: &str) -> Result<Kept, ReadError> {
        for bucket in [Some(self.bucket), self.bucket.checked_sub(1)]
            .into_iter()
            .flatten()
        {
            keys::idempotency_into(&mut self.key, bucket, key);
            if let Some(bytes) = self.tables.get(Family::Idempotency, &self.key)? {
                return Ok(match value::decode_kept(&bytes) {
                    Ok(value::Kept {
                        fingerprint,
                        outcome,
                    }) => Kept::Outcome {
                        fingerprint,
                        outcome,
                    },
                    Err(_) => {
                        tracing::error!(bucket, "an idempotency record cannot be read; it is kept");
                        Kept::Corrupt
                    }
                });
            }
        }
        Ok(Kept::Nothing)
    }

    fn day_record(
        &mut self,
        day: Day,
        counter: &CounterName,
    ) -> Result<Option<DayRecord>, ReadError> {
        let bytes = self.tables.get(Family::Days, &keys::day_record(day, counter))?;
        let record = bytes.map(|bytes| value::decode_day_record(&bytes)).transpose();
        Ok(record.unwrap_or_else(|_| {
            tracing::error!(%counter, %day, "the day record cannot be read; it begins anew");
            None
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recent_are_bounded_and_the_oldest_go_first() {
        let mut recent = Recent::new(4);
        for user in [b"a", b"b", b"c", b"d", b"e"] {
            recent.insert(user);
        }
        assert!(!recent.contains(b"a") && !recent.contains(b"b"));
        assert!(recent.contains(b"c") && recent.contains(b"d") && recent.contains(b"e"));
        let mut none = Recent::new(0);
        none.insert(b"a");
        assert!(!none.contains(b"a"));
    }
}
