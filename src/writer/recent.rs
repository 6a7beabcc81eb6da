//! What was looked up lately: a bounded memory of keys, compared byte for byte.

use std::collections::HashMap;
use std::hash::BuildHasher as _;

use super::secret_hash::SecretHash;

/// How many parts [`Recent`] has: a power of two, and so many that no part takes long to grow or to drop.
const RECENT_PARTS: usize = 256;

/// Users known to be counted and durable: a bounded set, so that most repeated calls never reach
/// the disk. The set is cut into parts by hash. When the newer half of a part is full, its older half is
/// dropped. One large set would hold up a commit for 100 ms whenever it grows.
pub(super) struct Recent<V> {
    parts: Box<[RecentPart<V>]>,
    hasher: SecretHash,
    /// The most users in one half of a part.
    half: usize,
}

struct RecentPart<V> {
    newer: HashMap<Box<[u8]>, V, SecretHash>,
    older: HashMap<Box<[u8]>, V, SecretHash>,
}

impl<V> RecentPart<V> {
    fn new(hasher: SecretHash) -> Self {
        Self {
            newer: HashMap::with_hasher(hasher),
            older: HashMap::with_hasher(hasher),
        }
    }
}

impl<V> Recent<V> {
    /// Makes a set of about `capacity` users at most; with a capacity of 0 it stays empty.
    pub(super) fn new(capacity: usize) -> Self {
        let hasher = SecretHash::new();
        let parts = (0..RECENT_PARTS).map(|_| RecentPart::new(hasher));
        Self {
            parts: parts.collect(),
            hasher,
            half: (capacity / 2).div_ceil(RECENT_PARTS),
        }
    }

    /// Returns the place of the only part that can hold `key`.
    fn part_of(&self, key: &[u8]) -> usize {
        // Not the bits by which the maps of a part choose their places.
        (self.hasher.hash_one(key) >> 48) as usize % RECENT_PARTS
    }

    /// Returns what is known of a user; `None` for one who is not among the recent.
    pub(super) fn get(&self, key: &[u8]) -> Option<&V> {
        let part = self.parts.get(self.part_of(key))?;
        part.newer.get(key).or_else(|| part.older.get(key))
    }

    pub(super) fn insert(&mut self, key: &[u8], value: V) {
        let at = self.part_of(key);
        let Some(part) = self.parts.get_mut(at).filter(|_| self.half > 0) else {
            return;
        };
        if part.newer.len() >= self.half && !part.newer.contains_key(key) {
            let newer = HashMap::with_hasher(self.hasher);
            part.older = std::mem::replace(&mut part.newer, newer);
        }
        part.newer.insert(key.into(), value);
    }

    /// Empties the set.
    pub(super) fn clear(&mut self) {
        for part in &mut self.parts {
            *part = RecentPart::new(self.hasher);
        }
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
        let held = |recent: &Recent<()>, numbers: Range<usize>| {
            numbers
                .filter(|number| recent.get(&number.to_be_bytes()).is_some())
                .count()
        };
        let last = 100 * capacity;
        for number in 0..last {
            recent.insert(&number.to_be_bytes(), ());
            assert!(recent.get(&number.to_be_bytes()).is_some());
        }
        assert!(held(&recent, 0..last) <= capacity);
        // Each part keeps what came last: of the youngest users nearly all are there.
        assert!(held(&recent, last - capacity / 8..last) > capacity / 10);
        assert_eq!(held(&recent, 0..last / 2), 0);
        let mut none = Recent::new(0);
        none.insert(b"a", ());
        assert!(none.get(b"a").is_none());
    }
}
