//! Who was counted and what was answered before: in memory for the recent, else on disk.
//!
//! Exactness never rests on a hash alone: what is found in memory was compared byte for byte.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use crate::calendar::Day;
use crate::counter::{CounterName, DayRecord, Generation, UserId};
use crate::storage::keys::{self, Bucket};
use crate::storage::{Family, ReadError, Tables, value};

use super::filter::Filter;
use super::group::{Kept, Lookups};

/// How many parts [`Recent`] has: a power of two, and so many that no part takes long to grow or to drop.
const RECENT_PARTS: usize = 256;

/// Users known to be counted and durable: a bounded set, so that most repeated calls never reach
/// the disk. The set is cut into parts by hash. When the newer half of a part is full, its older half is
/// dropped. One large set would hold up a commit for 100 ms whenever it grows.
pub(super) struct Recent {
    parts: Box<[RecentPart]>,
    hasher: RandomState,
    /// The most users in one half of a part.
    half: usize,
}

#[derive(Clone, Default)]
struct RecentPart {
    newer: HashSet<Box<[u8]>>,
    older: HashSet<Box<[u8]>>,
}

impl Recent {
    /// Holds about `capacity` users at most. None with a capacity of 0.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            parts: vec![RecentPart::default(); RECENT_PARTS].into_boxed_slice(),
            hasher: RandomState::new(),
            half: (capacity / 2).div_ceil(RECENT_PARTS),
        }
    }

    /// The place of the part that holds `key` if any does.
    fn part_of(&self, key: &[u8]) -> usize {
        self.hasher.hash_one(key) as usize % RECENT_PARTS
    }

    fn contains(&self, key: &[u8]) -> bool {
        self.parts
            .get(self.part_of(key))
            .is_some_and(|part| part.newer.contains(key) || part.older.contains(key))
    }

    fn insert(&mut self, key: &[u8]) {
        let at = self.part_of(key);
        let Some(part) = self.parts.get_mut(at).filter(|_| self.half > 0) else {
            return;
        };
        if part.newer.len() >= self.half {
            part.older = std::mem::take(&mut part.newer);
        }
        part.newer.insert(key.into());
    }

    /// Forgets all: the store is on another history.
    pub(super) fn clear(&mut self) {
        self.parts.fill(RecentPart::default());
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
    use std::ops::Range;

    use super::*;

    #[test]
    fn the_recent_are_bounded_and_the_oldest_go_first() {
        let capacity = 4 * RECENT_PARTS;
        let mut recent = Recent::new(capacity);
        let held = |recent: &Recent, numbers: Range<usize>| {
            numbers
                .filter(|number| recent.contains(&number.to_be_bytes()))
                .count()
        };
        let last = 100 * capacity;
        for number in 0..last {
            recent.insert(&number.to_be_bytes());
            assert!(recent.contains(&number.to_be_bytes()));
        }
        assert!(held(&recent, 0..last) <= capacity);
        // Each part keeps what came last: of the youngest users nearly all are there.
        assert!(held(&recent, last - capacity / 8..last) > capacity / 10);
        assert_eq!(held(&recent, 0..last / 2), 0);
        let mut none = Recent::new(0);
        none.insert(b"a");
        assert!(!none.contains(b"a"));
    }
}
