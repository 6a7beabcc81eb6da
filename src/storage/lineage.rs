//! Which store this is: a random id that it is born with and keeps, whatever becomes of its files.
//!
//! A backup, a restore and a recovery keep the id and begin a new epoch. Copies of the store elsewhere
//! (the mirror, the database, backups) carry the id, so that no other store takes them over unasked.
//!
//! Kept out: whose a copy is (`copies`, `backup`).

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::acked;
use super::batch::Batch;
use super::error::ReadError;
use super::family::Family;
use super::paths::Paths;
use super::tables::{Reader, Tables};
use crate::invariant::invariant;

/// Key in [`Family::Meta`] of the lineage: a version byte, the id (16 bytes), then the epochs of the
/// store, oldest first (8 bytes each); all numbers big-endian.
pub(super) const META_LINEAGE: &[u8] = b"store.lineage";

const VERSION: u8 = 1;

/// Most epochs that are remembered: each is a restore or a recovery.
const MAX_EPOCHS: usize = 256;

/// The id of a store and of what descends from it by backups and recoveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct LineageId(u128);

impl From<LineageId> for String {
    fn from(id: LineageId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for LineageId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map_err(|()| "no id of a store")
    }
}

impl LineageId {
    fn random() -> Self {
        Self(random_id())
    }

    fn of_epoch(epoch: u64) -> Self {
        Self(xxh3_128(
            format!("counterd store of epoch {epoch}").as_bytes(),
        ))
    }
}

/// Returns a number that nobody else has.
pub(super) fn random_id() -> u128 {
    // Keyed by the operating system's random numbers.
    let random = RandomState::new();
    let (high, low) = (random.hash_one(0), random.hash_one(1));
    u128::from(high) << 64 | u128::from(low)
}

/// Returns the epoch that begins at `now_ms`, milliseconds since 1970, after the epoch `last`.
pub(super) fn next_epoch(now_ms: i64, last: u64) -> u64 {
    let now = u64::try_from(now_ms).unwrap_or(0);
    now.max(last.saturating_add(1))
}

impl fmt::Display for LineageId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.0;
        let (first, last) = (id >> 96, id & 0xffff_ffff_ffff);
        let [second, third, fourth] = [80, 64, 48].map(|from| id >> from & 0xffff);
        write!(
            out,
            "{first:08x}-{second:04x}-{third:04x}-{fourth:04x}-{last:012x}"
        )
    }
}

impl FromStr for LineageId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let id = u128::from_str_radix(&text.replace('-', ""), 16).map(Self);
        // Only one text for each id, so that texts can be compared.
        id.ok().filter(|id| id.to_string() == text).ok_or(())
    }
}

/// Which store this is, and the epochs that it has had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lineage {
    /// Its id.
    pub id: LineageId,
    /// Its epochs that are known, oldest first; the last is the present one.
    pub(super) epochs: Vec<u64>,
}

impl Lineage {
    /// Makes the lineage of a new store that begins with that epoch.
    pub fn born(epoch: u64) -> Self {
        Self::with_id(LineageId::random(), [epoch])
    }

    /// Makes the lineage of that id and those epochs.
    pub(super) fn with_id(id: LineageId, epochs: impl IntoIterator<Item = u64>) -> Self {
        let mut lineage = Self {
            id,
            epochs: Vec::new(),
        };
        epochs.into_iter().for_each(|epoch| lineage.add(epoch));
        lineage
    }

    /// Makes the lineage of a store that an earlier version made, or of its backup. The id is made of the
    /// epoch, so that both get the same. The store has had that epoch, and those of the stores beside it
    /// that a restore or a recovery set aside.
    pub(super) fn of_older(paths: &Paths, epoch: u64) -> Self {
        let mut epochs = vec![epoch];
        while let Some(&before) = epochs.last()
            && let Some(earlier) = acked::epoch_in(&paths.replaced_by(before).acked)
            && !epochs.contains(&earlier)
        {
            epochs.push(earlier);
        }
        epochs.reverse();
        Self::with_id(LineageId::of_epoch(epoch), epochs)
    }

    /// Begins an epoch.
    pub(super) fn add(&mut self, epoch: u64) {
        if epoch > 0 && !self.has(epoch) {
            self.epochs.push(epoch);
        }
        let surplus = self.epochs.len().saturating_sub(MAX_EPOCHS);
        self.epochs.drain(..surplus);
    }

    /// Returns the present epoch; 0 where none is known.
    pub(super) fn epoch(&self) -> u64 {
        self.epochs.last().copied().unwrap_or(0)
    }

    /// Whether the store has ever been on that epoch, as far as is known.
    pub fn has(&self, epoch: u64) -> bool {
        self.epochs.contains(&epoch)
    }

    pub(super) fn put(&self, batch: &mut Batch) {
        batch.put(Family::Meta, META_LINEAGE, &self.encode());
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.id.0.to_be_bytes());
        for epoch in &self.epochs {
            bytes.extend_from_slice(&epoch.to_be_bytes());
        }
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (id, epochs) = bytes.strip_prefix(&[VERSION])?.split_first_chunk::<16>()?;
        let (epochs, rest) = epochs.as_chunks::<8>();
        rest.is_empty().then(|| Self {
            id: LineageId(u128::from_be_bytes(*id)),
            epochs: epochs
                .iter()
                .map(|&epoch| u64::from_be_bytes(epoch))
                .collect(),
        })
    }
}

impl Tables {
    /// Reads which store this is; `None` in one that an earlier version made and this one never opened.
    ///
    /// # Errors
    /// When RocksDB cannot read it.
    pub fn lineage(&self) -> Result<Option<Lineage>, ReadError> {
        let bytes = self.get(Family::Meta, META_LINEAGE)?;
        Ok(bytes.and_then(|bytes| Lineage::decode(&bytes)))
    }
}

impl Reader {
    /// Reads which store this is.
    ///
    /// # Errors
    /// [`ReadError::Closed`] while no store is open, or when RocksDB cannot read it.
    pub fn lineage(&self) -> Result<Lineage, ReadError> {
        let lineage = self.with(Tables::lineage)?;
        // Opening gives an id to a store without one.
        invariant!(lineage.is_some(), "the open store has no id")?;
        lineage.ok_or(ReadError::Closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_is_laid_out_as_documented() {
        let bytes = b"\x01\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff\
            \0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x09";
        let lineage = Lineage::decode(bytes).unwrap();
        assert_eq!(
            lineage.id.to_string(),
            "00112233-4455-6677-8899-aabbccddeeff"
        );
        assert_eq!(lineage.id.to_string().parse(), Ok(lineage.id));
        assert_eq!(lineage.epochs, [5, 9]);
        let mut batch = Batch::new();
        lineage.put(&mut batch);
        assert_eq!(batch.count(), 1);
        for bad in [&bytes[..16], &bytes[..18], b"\x02", b""] {
            assert_eq!(Lineage::decode(bad), None);
        }
    }

    #[test]
    fn an_id_is_another_each_time_and_epochs_are_bounded() {
        assert_ne!(Lineage::born(1).id, Lineage::born(1).id);
        let mut lineage = Lineage::born(1);
        for epoch in 0..1000 {
            lineage.add(epoch);
            lineage.add(epoch);
        }
        assert_eq!(lineage.epochs.len(), MAX_EPOCHS);
        assert!(lineage.has(999) && !lineage.has(1));
    }
}
