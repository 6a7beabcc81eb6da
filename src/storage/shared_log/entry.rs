//! The bytes of one group in the log: a version, then each change of it. Records are whole values, so that an entry that
//! is taken in twice changes nothing.
//!
//! ```text
//! version u8 | (family u8 | kind u8 (0 put, 1 delete) | length of the key u32 | length of the value u32 | key | value)*
//! ```

use crate::invariant::{Broken, invariant};
use crate::storage::Family;
use crate::storage::batch::{Batch, Change};
use crate::storage::fixed::Fixed;
use crate::storage::shared_log_error::SharedLogError;

const VERSION: u8 = 1;
const PUT: u8 = 0;
const DELETE: u8 = 1;

/// Encodes a group.
///
/// # Errors
/// When it holds a merge operand.
pub(super) fn encode(batch: &Batch) -> Result<Vec<u8>, Broken> {
    let mut bytes = Vec::with_capacity(1 + batch.bytes() + 10 * batch.count() as usize);
    bytes.push(VERSION);
    for (family, key, change) in batch.changes() {
        let (kind, value) = match change {
            Change::Put(value) => (PUT, value),
            Change::Delete => (DELETE, &[][..]),
            Change::Merge(_) => {
                invariant!(false, "a merge operand in a group of a shared log")?;
                continue;
            }
        };
        bytes.extend_from_slice(&[family as u8, kind]);
        for part in [key, value] {
            bytes.extend_from_slice(&(part.len() as u32).to_be_bytes());
        }
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value);
    }
    Ok(bytes)
}

/// Decodes a group.
///
/// # Errors
/// When it is none of this version, whole to its last byte.
pub(super) fn decode(bytes: &[u8]) -> Result<Batch, SharedLogError> {
    read(bytes).ok_or(SharedLogError::Unreadable("an entry of the log"))
}

fn read(bytes: &[u8]) -> Option<Batch> {
    let mut rest = bytes.strip_prefix(&[VERSION])?;
    let mut batch = Batch::new();
    while let Some((&[family, kind], after)) = rest.split_first_chunk() {
        rest = after;
        let family = *Family::ALL.get(usize::from(family))?;
        let (key, value) = (u32::take(&mut rest)?, u32::take(&mut rest)?);
        let (key, after) = rest.split_at_checked(key as usize)?;
        let (value, after) = after.split_at_checked(value as usize)?;
        rest = after;
        match kind {
            PUT => batch.put(family, key, value),
            DELETE if value.is_empty() => batch.delete(family, key),
            _ => return None,
        }
    }
    rest.is_empty().then_some(batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_comes_back_and_none_that_is_cut_does() {
        let mut batch = Batch::new();
        batch.put(Family::Counters, b"\x01a", b"value");
        batch.delete(Family::Dedup, b"gone");
        batch.put(Family::Meta, b"empty", b"");
        let bytes = encode(&batch).unwrap();
        let read = decode(&bytes).unwrap();
        assert!(read.changes().eq(batch.changes()));
        for cut in (0..bytes.len()).filter(|cut| ![1, 18, 32].contains(cut)) {
            assert!(decode(&bytes[..cut]).is_err(), "{cut}");
        }
        assert!(decode(b"\x02").is_err());
        assert!(decode(b"\x01\xff\0\0\0\0\0\0\0\0\0").is_err());
        assert!(decode(b"\x01\0\x02\0\0\0\0\0\0\0\0").is_err());
    }

    #[test]
    #[should_panic(expected = "a merge operand in a group of a shared log")]
    fn a_merge_operand_is_a_broken_invariant() {
        let mut batch = Batch::new();
        batch.merge(Family::Counters, b"\x01a", b"operand");
        let _ = encode(&batch);
    }
}
