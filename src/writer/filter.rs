//! Which records of a family are certainly not on disk: what spares a new user, or a new
//! idempotency key, a look-up in RocksDB.
//!
//! A blocked Bloom filter (Putze, Sanders, Singler, "Cache-, hash- and space-efficient Bloom
//! filters", 2007): all bits of a key lie in one cache line. It never denies a key that was put in;
//! for the few that it does not deny, the disk decides. Strangers choose the keys, so the hash has a
//! secret seed: they cannot look for keys that all look present.
//!
//! After a start the filter is filled from disk a little at a time, in the order of keys; until it
//! has come past a key, it denies nothing about it.

use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::storage::{Cursor, Gap, LookedUp, ReadError, Tables};

use super::secret_hash::secret_seed;

/// Bits for each key: with six of them set, about one in a hundred absent keys is not denied.
const BITS_A_KEY: usize = 12;

/// How many bits a key sets within its block.
const BITS_SET: u32 = 6;

/// The first part holds so many keys; each further one eight times as many as the one before, since
/// a key that is denied was looked for in all of them.
const FIRST_PART: usize = 1 << 16;
const GROWTH: u32 = 3;

/// There may be many windows, most of them small; and none takes much more than it needs (3 MiB).
const FIRST_PART_OF_WINDOW: usize = 1 << 10;
const LARGEST_PART_OF_WINDOW: usize = 1 << 21;

/// No part holds more (24 MiB), so that growing never takes long.
const LARGEST_PART: usize = 1 << 24;

/// One cache line.
type Block = [u64; 8];

/// A filter of fixed capacity.
struct Part {
    blocks: Box<[Block]>,
    room: usize,
}

/// Knows which keys are certainly not on disk.
pub(super) struct Filter {
    what: LookedUp,
    seed: u64,
    /// The first part holds so many keys, and no part more than the largest.
    first_part: usize,
    largest_part: usize,
    parts: Vec<Part>,
    /// All keys on disk below this are in the filter; `None`: all keys.
    filled_to: Option<Cursor>,
    /// All keys on disk that begin with this are in the filter: when it was chosen there were none.
    empty_prefix: Option<Cursor>,
    /// Keys that may be on disk and could not be read.
    gaps: Vec<Gap>,
}

impl Part {
    fn new(capacity: usize) -> Self {
        let blocks = (capacity * BITS_A_KEY).div_ceil(512).max(1);
        Self {
            blocks: vec![Block::default(); blocks].into_boxed_slice(),
            room: capacity,
        }
    }

    /// The block by the upper half of the hash, the bits by the lower: nine bits choose one of 512.
    fn place(&self, hash: u128) -> usize {
        let wide = u128::from((hash >> 64) as u64) * self.blocks.len() as u128;
        (wide >> 64) as usize
    }

    fn insert(&mut self, hash: u128) {
        self.room = self.room.saturating_sub(1);
        let place = self.place(hash);
        let Some(block) = self.blocks.get_mut(place) else {
            return;
        };
        for (word, bit) in bits(hash) {
            if let Some(word) = block.get_mut(word) {
                *word |= bit;
            }
        }
    }

    fn may_hold(&self, hash: u128) -> bool {
        let Some(block) = self.blocks.get(self.place(hash)) else {
            return true;
        };
        bits(hash).all(|(word, bit)| block.get(word).is_none_or(|word| word & bit != 0))
    }
}

fn bits(hash: u128) -> impl Iterator<Item = (usize, u64)> {
    let low = hash as u64;
    (0..BITS_SET).map(move |i| {
        let at = (low >> (9 * i)) & 511;
        ((at >> 6) as usize, 1 << (at & 63))
    })
}

impl Filter {
    /// Makes a filter that is to be filled with the keys on disk from `start` on; `None`: there is none yet.
    pub(super) fn new(what: LookedUp, start: Option<Cursor>) -> Self {
        let (first_part, largest_part) = match what {
            LookedUp::Users | LookedUp::Requests => (FIRST_PART, LARGEST_PART),
            LookedUp::Seats(_) => (FIRST_PART_OF_WINDOW, LARGEST_PART_OF_WINDOW),
        };
        Self {
            what,
            seed: secret_seed(),
            first_part,
            largest_part,
            parts: vec![Part::new(first_part)],
            filled_to: start,
            empty_prefix: None,
            gaps: Vec::new(),
        }
    }

    /// Starts over for keys from `start` on. No key on disk begins with `empty_prefix`.
    pub(super) fn restart(&mut self, start: Cursor, empty_prefix: Option<Cursor>) {
        *self = Self {
            empty_prefix,
            ..Self::new(self.what, Some(start))
        };
    }

    /// Whether `key` is certainly not on disk.
    pub(super) fn denies(&self, key: &[u8]) -> bool {
        let complete = match &self.filled_to {
            None => true,
            Some(to) => {
                to.is_after(key)
                    || self
                        .empty_prefix
                        .as_ref()
                        .is_some_and(|prefix| prefix.begins(key))
            }
        };
        complete && !self.gaps.iter().any(|gap| gap.holds(key)) && !self.may_hold(key)
    }

    /// Whether `key` may have been put in.
    fn may_hold(&self, key: &[u8]) -> bool {
        let hash = xxh3_128_with_seed(key, self.seed);
        self.parts.iter().rev().any(|part| part.may_hold(hash))
    }

    /// Adds a key that is, or is about to be, on disk, unless it is there already.
    pub(super) fn insert_once(&mut self, key: &[u8]) {
        if !self.may_hold(key) {
            self.insert(key);
        }
    }

    /// Adds a key that is, or is about to be, on disk.
    pub(super) fn insert(&mut self, key: &[u8]) {
        let hash = xxh3_128_with_seed(key, self.seed);
        let next = match self.parts.last_mut() {
            Some(part) if part.room > 0 => return part.insert(hash),
            Some(_) | None => self.next_part(),
        };
        let mut part = Part::new(next);
        part.insert(hash);
        self.parts.push(part);
    }

    fn next_part(&self) -> usize {
        let grown = u32::try_from(self.parts.len()).unwrap_or(u32::MAX).min(4);
        (self.first_part << (GROWTH * grown)).min(self.largest_part)
    }

    /// Whether there are more keys on disk to be read.
    pub(super) fn is_filling(&self) -> bool {
        self.filled_to.is_some()
    }

    /// Reads up to `limit` further keys from disk.
    pub(super) fn fill(&mut self, tables: &Tables, limit: usize) -> Result<(), ReadError> {
        let Some(from) = self.filled_to.take() else {
            return Ok(());
        };
        match tables.keys_of(self.what, &from, limit, |key| self.insert(key)) {
            Ok((next, gaps)) => {
                self.filled_to = next;
                self.gaps.extend(gaps);
                Ok(())
            }
            Err(error) => {
                self.filled_to = Some(from);
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled() -> Filter {
        Filter::new(LookedUp::Users, None)
    }

    #[test]
    fn what_was_put_in_is_never_denied_and_little_else_is_let_through() {
        let mut filter = filled();
        let count = 200_000_u32;
        for number in 0..count {
            filter.insert(&number.to_be_bytes());
        }
        assert!((0..count).all(|number| !filter.denies(&number.to_be_bytes())));
        let through = (count..2 * count)
            .filter(|n| !filter.denies(&n.to_be_bytes()))
            .count();
        assert!(
            through < 200_000 / 25,
            "{through} of 200000 absent keys were not denied"
        );
    }

    #[test]
    fn nothing_is_denied_that_the_filling_has_not_passed() {
        let mut filter = filled();
        filter.filled_to = Some(Cursor::of_bytes(b"m"));
        filter.empty_prefix = Some(Cursor::of_bytes(b"x"));
        assert!(filter.denies(b"a"));
        assert!(!filter.denies(b"m"));
        assert!(filter.denies(b"xyz"));
        assert!(!filter.denies(b"y"));
    }
}
