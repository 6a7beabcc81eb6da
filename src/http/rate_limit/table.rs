//! A fixed table of buckets, shared by all runtimes: nothing is allocated after it is made.
//!
//! A key is a keyed hash of 128 bits, by a seed of this process alone: nobody outside can choose keys that fall
//! together, and of two keys one stands for the other with a chance of 2^-128. That is enough for a limit,
//! which is no count of users.
//!
//! A key may lie in either of two sets of a few slots each. A slot whose bucket is whole carries nothing and is
//! free; so keys go by time alone, and nobody has to clear the table.
//!
//! Kept out: what is written into a slot (`gcra`), and what a client gets that finds none.

use std::hash::{BuildHasher, RandomState};

use parking_lot::Mutex;

/// Slots of a set. With two sets for each key nearly all keys find a slot until nine tenths are busy.
const SLOTS: usize = 8;

/// A set in this many is counted for [`Table::busy`].
const SAMPLE: usize = 8;

/// What a bucket is found by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(u64, u64);

#[derive(Default)]
struct Set {
    /// When each slot's bucket is whole, in nanoseconds of boot time; a slot whose instant has passed is free.
    whole_at: [u64; SLOTS],
    keys: [Key; SLOTS],
}

/// The table.
pub(super) struct Table {
    sets: Box<[Mutex<Set>]>,
    seeds: [RandomState; 2],
}

impl Set {
    /// Returns the slot of that key; `None` without one.
    fn find(&mut self, key: Key) -> Option<&mut u64> {
        let place = self.keys.iter().position(|known| *known == key)?;
        self.whole_at.get_mut(place)
    }

    fn free(&self, now: u64) -> usize {
        self.whole_at.iter().filter(|at| **at <= now).count()
    }

    /// Gives a free slot to the key; `None` when all are busy.
    fn claim(&mut self, key: Key, now: u64) -> Option<&mut u64> {
        let place = self.whole_at.iter().position(|at| *at <= now)?;
        *self.keys.get_mut(place)? = key;
        let whole_at = self.whole_at.get_mut(place)?;
        *whole_at = 0;
        Some(whole_at)
    }
}

impl Table {
    /// Makes a table for that many keys, all of it in memory from now on.
    pub(super) fn new(max_keys: usize) -> Self {
        let sets = max_keys.div_ceil(SLOTS).max(2);
        Self {
            sets: (0..sets).map(|_| Mutex::default()).collect(),
            seeds: [RandomState::new(), RandomState::new()],
        }
    }

    /// Returns the key of that identity among those of its kind.
    pub(super) fn key(&self, kind: u8, identity: &[u8]) -> Key {
        let [first, second] = &self.seeds;
        let identity = (kind, identity);
        Key(first.hash_one(identity), second.hash_one(identity))
    }

    /// Lets `change` see and change the instant at which the key's bucket is whole. Returns `None`, without calling it,
    /// when the key has no slot and none is free.
    pub(super) fn update<R>(
        &self,
        key: Key,
        now: u64,
        change: impl FnOnce(&mut u64) -> R,
    ) -> Option<R> {
        let count = self.sets.len();
        let place = |hash: u64| (hash % count as u64) as usize;
        let first = place(key.0);
        let mut second = place(key.1);
        if second == first {
            second = (first + 1) % count;
        }
        let (first_set, second_set) = (self.sets.get(first)?, self.sets.get(second)?);
        let mut set = first_set.lock();
        if let Some(whole_at) = set.find(key) {
            return Some(change(whole_at));
        }
        // Both are held in the order of their places, so that no two runtimes wait for each other.
        let (mut set, mut other) = if first < second {
            (set, second_set.lock())
        } else {
            drop(set);
            let other = second_set.lock();
            (first_set.lock(), other)
        };
        if let Some(whole_at) = set.find(key) {
            return Some(change(whole_at));
        }
        if let Some(whole_at) = other.find(key) {
            return Some(change(whole_at));
        }
        let roomier = if other.free(now) > set.free(now) {
            &mut other
        } else {
            &mut set
        };
        roomier.claim(key, now).map(change)
    }

    /// Returns how many slots there are.
    pub(super) fn slots(&self) -> usize {
        self.sets.len() * SLOTS
    }

    /// Returns about how many keys have a bucket that is not whole.
    pub(super) fn busy(&self, now: u64) -> usize {
        let looked_at = self.sets.iter().step_by(SAMPLE);
        let sets = looked_at.len();
        let busy: usize = looked_at.map(|set| SLOTS - set.lock().free(now)).sum();
        busy * self.sets.len() / sets.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_takes_25_bytes() {
        assert_eq!(size_of::<Mutex<Set>>(), 25 * SLOTS);
    }

    fn fill(table: &Table, from: u32, keys: u32, until: u64) -> u32 {
        let taken = (from..from + keys).filter(|number| {
            let key = table.key(0, &number.to_be_bytes());
            table.update(key, 0, |at| *at = until).is_some()
        });
        u32::try_from(taken.count()).unwrap()
    }

    fn see(table: &Table, number: u32, now: u64) -> Option<u64> {
        let key = table.key(0, &number.to_be_bytes());
        table.update(key, now, |at| *at)
    }

    #[test]
    fn a_key_keeps_its_bucket_and_kinds_are_apart() {
        let table = Table::new(1024);
        assert_eq!(fill(&table, 0, 512, 100), 512);
        for number in 0..512 {
            assert_eq!(see(&table, number, 50), Some(100), "{number}");
        }
        let other = table.key(1, &7u32.to_be_bytes());
        assert_eq!(table.update(other, 50, |at| *at), Some(0));
    }

    #[test]
    fn it_is_nearly_full_before_a_key_finds_no_slot() {
        let table = Table::new(1 << 16);
        let most = u32::try_from(table.slots()).unwrap();
        assert_eq!(fill(&table, 0, most * 3 / 5, 100), most * 3 / 5);
        let held = fill(&table, most, most, 100) + most * 3 / 5;
        assert!(held > most * 9 / 10 && held <= most, "{held} of {most}");
        // Nobody who has a slot loses it.
        for number in 0..most * 3 / 5 {
            assert_eq!(see(&table, number, 99), Some(100));
        }
    }

    #[test]
    fn slots_come_free_by_time_alone() {
        let table = Table::new(1024);
        fill(&table, 0, 4096, 100);
        assert!(table.busy(99) > 900);
        assert_eq!(table.busy(100), 0);
        let again = (10_000..10_512).filter(|number| see(&table, *number, 100).is_some());
        assert_eq!(again.count(), 512);
    }

    #[test]
    fn threads_that_meet_on_the_same_keys_lose_nothing_and_wait_for_none() {
        let table = Table::new(64);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..20_000u32 {
                        let key = table.key(0, &(round % 16).to_be_bytes());
                        table.update(key, 0, |at| *at += 1).unwrap();
                    }
                });
            }
        });
        let sum: u64 = (0..16).filter_map(|number| see(&table, number, 0)).sum();
        assert_eq!(sum, 80_000);
    }
}
