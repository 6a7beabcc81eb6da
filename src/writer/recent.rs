//! What was looked up or written lately: a bounded memory of records, whose keys are compared byte for byte.

use std::hash::BuildHasher as _;

use hashbrown::HashTable;

use super::secret_hash::SecretHash;

/// How many parts [`Recent`] has: so many that no part takes long to grow or to thin out. One large table would
/// hold up a commit for 100 ms whenever it grows.
const PARTS: usize = 256;

/// A full part forgets one of so many records.
const FORGETS_ONE_OF: u64 = 8;

/// A part gives back what replaced records leave unused once that is half of so many bytes or more.
const LEAST_BYTES: usize = 4096;

/// The bytes of a record's two lengths.
const HEAD: usize = 2;

/// Records under their keys, as they are on disk, so that most repeated calls never reach it.
///
/// A record takes about 13 bytes more than its key and value; one with a key or a value of more than 255 bytes is not
/// remembered. A full part forgets by chance: those who renew leases come in turns, and in a memory that forgets
/// the oldest first they would find nothing.
pub(super) struct Recent {
    parts: Box<[Part]>,
    hash: SecretHash,
    /// The most records in one part.
    most: usize,
}

#[derive(Default)]
struct Part {
    /// Where the record of each key begins.
    places: HashTable<u32>,
    /// Records one after the other: lengths of key and value, key, value.
    bytes: Vec<u8>,
    /// How many of the bytes belong to no record any more.
    unused: usize,
    /// How often it forgot.
    forgot: u64,
}

/// A record in the bytes of a part.
struct Record<'a> {
    key: &'a [u8],
    value: &'a [u8],
}

impl<'a> Record<'a> {
    fn at(bytes: &'a [u8], place: u32) -> Option<Self> {
        let (head, rest) = bytes.get(place as usize..)?.split_first_chunk()?;
        let [key_len, value_len]: [u8; HEAD] = *head;
        let (key, rest) = rest.split_at_checked(key_len.into())?;
        let value = rest.get(..value_len.into())?;
        Some(Self { key, value })
    }

    fn len(&self) -> usize {
        HEAD + self.key.len() + self.value.len()
    }

    /// Appends it; `None` where a length does not fit.
    fn append(&self, bytes: &mut Vec<u8>) -> Option<u32> {
        let place = u32::try_from(bytes.len()).ok()?;
        let key_len = u8::try_from(self.key.len()).ok()?;
        let value_len = u8::try_from(self.value.len()).ok()?;
        if bytes.capacity() - bytes.len() < self.len() {
            // Not twice as many: a part that is nearly full would never use the rest.
            bytes.reserve_exact(bytes.len() / 8 + self.len());
        }
        bytes.extend_from_slice(&[key_len, value_len]);
        bytes.extend_from_slice(self.key);
        bytes.extend_from_slice(self.value);
        Some(place)
    }
}

impl Recent {
    /// Makes a memory of about `capacity` records at most; with a capacity of 0 it stays empty.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            parts: (0..PARTS).map(|_| Part::default()).collect(),
            hash: SecretHash::new(),
            most: capacity.div_ceil(PARTS),
        }
    }

    /// Returns the value under `key`; `None` for one that is not remembered.
    pub(super) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        let hash = self.hash.hash_one(key);
        let part = self.parts.get(part_of(hash))?;
        let record = |place: &u32| Record::at(&part.bytes, *place);
        let is_key = |place: &u32| record(place).is_some_and(|record| record.key == key);
        let place = part.places.find(hash, is_key)?;
        Some(record(place)?.value)
    }

    /// Remembers `value` under `key`, in place of what was there.
    pub(super) fn insert(&mut self, key: &[u8], value: &[u8]) {
        let (hash, most) = (self.hash.hash_one(key), self.most);
        let Some(part) = self.parts.get_mut(part_of(hash)).filter(|_| most > 0) else {
            return;
        };
        let record = Record { key, value };
        if part.overwrite(hash, &record) {
            return;
        }
        if part.places.len() >= most {
            part.forget_some(self.hash, most);
        } else if part.unused >= part.bytes.len().max(LEAST_BYTES) / 2 {
            part.keep(self.hash, |_| true);
        }
        part.add(self.hash, hash, &record);
    }

    /// Empties it.
    pub(super) fn clear(&mut self) {
        self.parts.fill_with(Part::default);
    }
}

/// Returns the number of the only part that can hold a key: by bits of its hash that the part's table does not use.
fn part_of(hash: u64) -> usize {
    (hash >> 40) as usize % PARTS
}

impl Part {
    /// Writes over the value of a record of the same length; returns `false` where there is none. One of another
    /// length is taken out.
    fn overwrite(&mut self, hash: u64, record: &Record) -> bool {
        let there = |place: u32| Record::at(&self.bytes, place);
        let is_key = |place: &u32| there(*place).is_some_and(|there| there.key == record.key);
        let Ok(found) = self.places.find_entry(hash, is_key) else {
            return false;
        };
        let begin = *found.get();
        let len = there(begin).map_or(0, |there| there.len());
        let end = begin as usize + len;
        let value = self.bytes.get_mut(end - record.value.len().min(len)..end);
        match value.filter(|_| len == record.len()) {
            Some(value) => {
                value.copy_from_slice(record.value);
                true
            }
            None => {
                self.unused += len;
                found.remove();
                false
            }
        }
    }

    fn add(&mut self, secret: SecretHash, hash: u64, record: &Record) {
        let Some(place) = record.append(&mut self.bytes) else {
            return;
        };
        let hash_of = |place: &u32| {
            let record = Record::at(&self.bytes, *place);
            record.map_or(0, |record| secret.hash_one(record.key))
        };
        self.places.insert_unique(hash, place, hash_of);
    }

    /// Forgets some records, so that fewer than `most` are left.
    fn forget_some(&mut self, secret: SecretHash, most: usize) {
        self.forgot += 1;
        let salt = self.forgot;
        self.keep(secret, |hash| {
            // Others each time: the uppermost bits of a product depend on all bits of the hash (Knuth, "The Art of
            // Computer Programming", volume 3, 6.4: multiplicative hashing).
            let mixed = (hash ^ salt).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            mixed > u64::MAX / FORGETS_ONE_OF
        });
        if self.places.len() >= most {
            *self = Self::default();
        }
    }

    /// Forgets the records whose hash is not to be kept, and gives back unused bytes.
    fn keep(&mut self, secret: SecretHash, keeps: impl Fn(u64) -> bool) {
        let mut kept = Vec::with_capacity(self.bytes.len() - self.unused);
        self.places.retain(|place| {
            let record = Record::at(&self.bytes, *place);
            let record = record.filter(|record| keeps(secret.hash_one(record.key)));
            let moved = record.and_then(|record| record.append(&mut kept));
            moved.inspect(|moved| *place = *moved).is_some()
        });
        self.bytes = kept;
        self.unused = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn what_is_remembered_is_what_was_put_last() {
        let mut recent = Recent::new(10_000);
        let mut model = HashMap::new();
        let mut number = 1_u64;
        let mut next = |below: u64| {
            number = number.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
            (number >> 33) % below
        };
        let mut found = 0;
        for step in 0..300_000 {
            let key = next(20_000).to_string().into_bytes();
            if let Some(value) = recent.get(&key) {
                assert_eq!(model.get(&key).map(Vec::as_slice), Some(value), "{step}");
                found += 1;
            }
            // Of many lengths, so that records are taken out and bytes are given back.
            let value = vec![step as u8; usize::try_from(next(3) * next(30)).unwrap()];
            recent.insert(&key, &value);
            assert_eq!(recent.get(&key), Some(value.as_slice()));
            model.insert(key, value);
        }
        assert!(found > 100_000, "{found}");
        let kept = |part: &Part| (part.places.len(), part.unused, part.bytes.len());
        for (records, unused, bytes) in recent.parts.iter().map(kept) {
            assert!(records <= recent.most, "{records}");
            assert!(
                unused <= bytes.max(LEAST_BYTES) / 2 + 100,
                "{unused} of {bytes}"
            );
        }
    }

    #[test]
    fn who_comes_in_turns_is_mostly_found() {
        let mut recent = Recent::new(20_000);
        let mut found = 0;
        for turn in 0..10 {
            for number in 0..30_000_u32 {
                let key = number.to_be_bytes();
                found += u32::from(turn > 0 && recent.get(&key).is_some());
                recent.insert(&key, b"");
            }
        }
        // In one that forgets the oldest first it would be nobody.
        assert!(found > 9 * 30_000 / 4, "{found}");
    }

    #[test]
    fn the_smallest_remember_the_last_and_one_of_nothing_none() {
        let mut recent = Recent::new(1);
        for number in 0..10_000_u32 {
            recent.insert(&number.to_be_bytes(), b"a");
            assert_eq!(recent.get(&number.to_be_bytes()), Some(&b"a"[..]));
        }
        assert!(recent.parts.iter().all(|part| part.places.len() <= 1));
        recent.clear();
        assert_eq!(recent.get(&9999_u32.to_be_bytes()), None);
        let mut none = Recent::new(0);
        none.insert(b"a", b"");
        assert_eq!(none.get(b"a"), None);
    }
}
