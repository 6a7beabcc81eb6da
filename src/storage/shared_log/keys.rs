//! The names of a cell's keys in Redis, and where a record lies.
//!
//! All of them have one hash tag, so that a Redis Cluster keeps them in one slot.

use crate::storage::Family;

/// Names the keys of one cell.
#[derive(Clone, Debug)]
pub(super) struct CellKeys {
    tag: String,
}

impl CellKeys {
    /// Names the keys of the cell of that number, under a prefix.
    pub(super) fn new(prefix: &str, number: u16) -> Self {
        Self {
            tag: format!("{{{prefix}counterd:{number}}}"),
        }
    }

    /// Returns the key of what the cell is and how far it is.
    pub(super) fn cell(&self) -> String {
        format!("{}:cell", self.tag)
    }

    /// Returns the key of the log.
    pub(super) fn log(&self) -> String {
        format!("{}:log", self.tag)
    }

    /// Returns the key of the last group of each instance.
    pub(super) fn instances(&self) -> String {
        format!("{}:instances", self.tag)
    }

    /// Returns the key of who does the chores.
    pub(super) fn lease(&self) -> String {
        format!("{}:lease", self.tag)
    }

    /// Returns the key of when each instance was last up.
    pub(super) fn up(&self) -> String {
        format!("{}:up", self.tag)
    }

    /// Returns the key of which store is being moved in.
    pub(super) fn moving(&self) -> String {
        format!("{}:moving", self.tag)
    }

    /// Returns what all keys begin with.
    pub(super) fn tag(&self) -> &str {
        &self.tag
    }

    /// Returns the key of the set of all hashes that hold records.
    pub(super) fn hashes(&self) -> String {
        format!("{}:hashes", self.tag)
    }

    /// Returns the key of the hash that holds a record: one for each family, or for each day or bucket of it.
    pub(super) fn hash(&self, family: Family, key: &[u8]) -> String {
        let word = family.as_str();
        match key.first_chunk::<4>() {
            Some(part) if family.is_partitioned() => {
                format!("{}:{word}:{:08x}", self.tag, u32::from_be_bytes(*part))
            }
            Some(_) | None => format!("{}:{word}", self.tag),
        }
    }

    /// Reads the family from the key of a hash; `None` where it is no hash of this cell.
    pub(super) fn family(&self, hash: &str) -> Option<Family> {
        let rest = hash.strip_prefix(&self.tag)?.strip_prefix(':')?;
        Family::of_word(rest.split_once(':').map_or(rest, |(word, _)| word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_lies_in_the_hash_of_its_family_and_day_and_the_hash_names_the_family() {
        let keys = CellKeys::new("game:", 3);
        assert_eq!(
            keys.hash(Family::Counters, b"\x02ab"),
            "{game:counterd:3}:counters"
        );
        let days = keys.hash(Family::Days, b"\x80\x00\x51\x2d\x02ab");
        assert_eq!(days, "{game:counterd:3}:days:8000512d");
        assert_eq!(keys.family(&days), Some(Family::Days));
        assert_eq!(
            keys.family(&keys.hash(Family::Meta, b"state")),
            Some(Family::Meta)
        );
        assert_eq!(keys.family("{game:counterd:4}:days:8000512d"), None);
        assert_eq!(keys.family(&keys.log()), None);
        assert_eq!(keys.family(&keys.up()), None);
    }
}
