//! One commit group's writes, as plain data.
//!
//! A batch knows no store: it can be filled before, compared with what a reopened store holds, and
//! cleared and filled again without allocating. [`super::Store::commit`] turns it into RocksDB's.

use super::family::Family;
use crate::invariant::Broken;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChangeKind {
    Put,
    Merge,
    Delete,
}

#[derive(Debug, Clone, Copy)]
struct BatchEntry {
    family: Family,
    kind: ChangeKind,
    key_end: usize,
    value_end: usize,
}

/// A change of one record in a [`Batch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<'a> {
    /// The record's value becomes this.
    Put(&'a [u8]),
    /// The merge operator folds this into the record's value.
    Merge(&'a [u8]),
    /// The record goes.
    Delete,
}

/// Writes that become visible and durable together, in the order in which they were added.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    entries: Vec<BatchEntry>,
    bytes: Vec<u8>,
    /// A record that could not be made: the batch is not to be written.
    broken: Option<Broken>,
}

impl Batch {
    /// Makes an empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the value of `key`.
    pub(super) fn put(&mut self, family: Family, key: &[u8], value: &[u8]) {
        self.push(family, ChangeKind::Put, key, value);
    }

    /// Sets the value of `key` to a record that was encoded. A batch that lacks one is never written.
    pub(super) fn put_record(
        &mut self,
        family: Family,
        key: &[u8],
        record: Result<Vec<u8>, Broken>,
    ) {
        match record {
            Ok(record) => self.put(family, key, &record),
            Err(broken) => self.broken = Some(broken),
        }
    }

    /// Checks that the batch holds every record that was put into it.
    pub(super) fn check_whole(&self) -> Result<(), Broken> {
        self.broken.clone().map_or(Ok(()), Err)
    }

    /// Adds an operand to `key`; only for [`Family::Counters`], which alone has a merge operator.
    pub(super) fn merge(&mut self, family: Family, key: &[u8], operand: &[u8]) {
        self.push(family, ChangeKind::Merge, key, operand);
    }

    /// Removes `key`.
    pub(super) fn delete(&mut self, family: Family, key: &[u8]) {
        self.push(family, ChangeKind::Delete, key, &[]);
    }

    fn push(&mut self, family: Family, kind: ChangeKind, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.entries.push(BatchEntry {
            family,
            kind,
            key_end,
            value_end: self.bytes.len(),
        });
    }

    /// Adds all changes of another batch behind its own.
    pub(super) fn append(&mut self, other: &Self) {
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes);
        self.entries
            .extend(other.entries.iter().map(|entry| BatchEntry {
                key_end: begin + entry.key_end,
                value_end: begin + entry.value_end,
                ..*entry
            }));
    }

    /// Returns how many changes it holds. A commit moves the store's sequence number by as many.
    pub fn count(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Whether it holds no change.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the bytes of its keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets the changes and keeps the memory.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.bytes.clear();
        self.broken = None;
    }

    /// Splits off the changes of one family, to plant a bug.
    #[cfg(feature = "mutants")]
    pub(crate) fn split(&self, family: Family) -> (Self, Self) {
        let (mut rest, mut of_family) = (Self::new(), Self::new());
        for (at, key, change) in self.changes() {
            let part = if at == family {
                &mut of_family
            } else {
                &mut rest
            };
            match change {
                Change::Put(value) => part.put(at, key, value),
                Change::Merge(operand) => part.merge(at, key, operand),
                Change::Delete => part.delete(at, key),
            }
        }
        (rest, of_family)
    }

    /// Lists the changes in order: family, key, change.
    pub(super) fn changes(&self) -> impl Iterator<Item = (Family, &[u8], Change<'_>)> {
        let mut start = 0;
        self.entries.iter().map(move |entry| {
            let key = self.bytes.get(start..entry.key_end).unwrap_or_default();
            let value = self
                .bytes
                .get(entry.key_end..entry.value_end)
                .unwrap_or_default();
            start = entry.value_end;
            let change = match entry.kind {
                ChangeKind::Put => Change::Put(value),
                ChangeKind::Merge => Change::Merge(value),
                ChangeKind::Delete => Change::Delete,
            };
            (entry.family, key, change)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_come_back_in_order_and_clearing_forgets_them() {
        let mut batch = Batch::new();
        batch.put(Family::Meta, b"a", b"1");
        batch.merge(Family::Counters, b"", b"op");
        batch.delete(Family::Dedup, b"gone");
        batch.put(Family::Days, b"day", b"");
        let changes: Vec<_> = batch.changes().collect();
        assert_eq!(
            changes,
            [
                (Family::Meta, &b"a"[..], Change::Put(&b"1"[..])),
                (Family::Counters, &b""[..], Change::Merge(&b"op"[..])),
                (Family::Dedup, &b"gone"[..], Change::Delete),
                (Family::Days, &b"day"[..], Change::Put(&b""[..])),
            ]
        );
        assert_eq!((batch.count(), batch.bytes()), (4, 11));
        let mut both = batch.clone();
        both.append(&batch);
        let twice: Vec<_> = both.changes().collect();
        assert_eq!(twice, [&changes[..], &changes].concat());
        batch.clear();
        assert!(batch.is_empty());
        batch.put(Family::Meta, b"k", b"v");
        assert_eq!(
            batch.changes().next(),
            Some((Family::Meta, &b"k"[..], Change::Put(&b"v"[..])))
        );
    }
}
