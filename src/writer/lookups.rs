//! Who was counted and what was answered before: in memory for the recent, else on disk.
//!
//! Exactness never rests on a hash alone: what is found in memory was compared byte for byte.

use std::collections::HashSet;

use crate::calendar::Day;
use crate::counter::{CounterName, DayRecord, Generation, UserId};
use crate::storage::keys::{self, Bucket};
use crate::storage::{Family, ReadError, Tables, value};

use super::filter::Filter;
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

    /// Forgets all: the store is on another history.
    pub(super) fn clear(&mut self) {
        self.newer.clear();
        self.older.clear();
    }
}

/// What is kept in memory of users and keys.
pub(super) struct Memory {
    recent: Recent,
    users: Filter,
    keys: Filter,
    day: i32,
    bucket: Bucket,
    key: Vec<u8>,
}

impl Memory {
    /// Holds at most `recent_users` users, and denies what is not on disk of this day and bucket.
    pub(super) fn new(recent_users: usize, day: i32, bucket: Bucket) -> Self {
        Self {
            recent: Recent::new(recent_users),
            users: Filter::new(Family::Dedup, keys::day_prefix(day).to_vec()),
            keys: Filter::new(Family::Idempotency, oldest_good(bucket)),
            day,
            bucket,
            key: Vec::new(),
        }
    }

    /// Follows the day and the bucket. In a day or bucket that only now begins nothing is on disk.
    pub(super) fn follow(&mut self, day: i32, bucket: Bucket) {
        if day != self.day {
            let (never, today) = (keys::day_prefix(keys::NEVER), keys::day_prefix(day));
            self.users.restart(never.to_vec(), Some(today.to_vec()));
            self.day = day;
        }
        if bucket != self.bucket {
            self.keys
                .restart(oldest_good(bucket), Some(bucket.to_be_bytes().to_vec()));
            self.bucket = bucket;
        }
    }

    /// Forgets all: the store was reopened, and may hold anything of this day and bucket.
    pub(super) fn restart(&mut self, day: i32, bucket: Bucket) {
        self.recent.clear();
        self.users.restart(keys::day_prefix(day).to_vec(), None);
        self.keys.restart(oldest_good(bucket), None);
        self.day = day;
        self.bucket = bucket;
    }

    /// Takes in some more of what is on disk; says whether there is still more.
    pub(super) fn fill(&mut self, tables: &Tables, limit: usize) -> Result<bool, ReadError> {
        if self.users.is_filling() {
            self.users.fill(tables, limit)?;
        } else if self.keys.is_filling() {
            self.keys.fill(tables, limit)?;
        }
        Ok(self.users.is_filling() || self.keys.is_filling())
    }

    /// Takes in a user who is now counted on disk.
    pub(super) fn counted(&mut self, day: i32, generation: Generation, user: &UserId) {
        keys::dedup_into(&mut self.key, day, generation, user.as_str());
        self.recent.insert(&self.key);
        self.users.insert(&self.key);
    }

    /// Takes in an idempotency key that is now on disk.
    pub(super) fn kept(&mut self, bucket: Bucket, client_key: &str) {
        keys::idempotency_into(&mut self.key, bucket, client_key);
        self.keys.insert(&self.key);
    }
}

fn oldest_good(bucket: Bucket) -> Vec<u8> {
    bucket.saturating_sub(1).to_be_bytes().to_vec()
}

/// Look-ups against the store.
pub(super) struct StoreLookups<'a> {
    pub(super) tables: &'a Tables,
    pub(super) memory: &'a mut Memory,
}

impl Lookups for StoreLookups<'_> {
    fn counted(&mut self, day: i32, generation: Generation, user: &str) -> Result<bool, ReadError> {
        let Memory {
            recent, users, key, ..
        } = &mut *self.memory;
        keys::dedup_into(key, day, generation, user);
        // First what costs one cache line and settles almost every new user.
        if users.denies(key) {
            return Ok(false);
        }
        if recent.contains(key) {
            return Ok(true);
        }
        let counted = self.tables.get(Family::Dedup, key)?.is_some();
        if counted {
            recent.insert(key);
        }
        Ok(counted)
    }

    fn kept(&mut self, client_key: &str) -> Result<Kept, ReadError> {
        let Memory {
            keys: filter,
            key,
            bucket,
            ..
        } = &mut *self.memory;
        // What was kept in the bucket before is still good.
        for bucket in [Some(*bucket), bucket.checked_sub(1)].into_iter().flatten() {
            keys::idempotency_into(key, bucket, client_key);
            if filter.denies(key) {
                continue;
            }
            if let Some(bytes) = self.tables.get(Family::Idempotency, key)? {
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
        let bytes = self
            .tables
            .get(Family::Days, &keys::day_record(day, counter))?;
        let record = bytes
            .map(|bytes| value::decode_day_record(&bytes).map(|(record, _)| record))
            .transpose();
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
