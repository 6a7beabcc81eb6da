//! The merge operator of the family `counters`: a pure fold of wrapping sums, the latest time and
//! the latest revision. Bounds, clamps and duplicates are the writer's; they were decided before.
//!
//! It is total: a malformed operand or a missing base makes that one record a quarantined value that
//! keeps the bytes, because a merge that fails makes a RocksDB read-only for good. It reads no clock
//! and cannot panic.
//!
//! ```text
//! value       0x01 | value i64 | period i32 | generation u64 | revision u64 | changed_at i64
//! operand     0x02 | delta i64 | revision u64 | changed_at i64
//! quarantined 0x03 | (len u32 | bytes)*    the base (empty when there was none), then the operands
//! ```
//! All numbers big-endian; `period` is `i32::MIN` for a counter that never resets.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rocksdb::MergeOperands;

use super::fixed::{Fixed, joined, whole};
use crate::calendar::Day;
use crate::counter::{Generation, Millis, Revision};
use crate::seeded::bug;

/// Names this operator in the store: another name means other arithmetic.
pub const NAME: &str = "counterd.sum.v1";

const VALUE: u8 = 1;
const OPERAND: u8 = 2;
const QUARANTINED: u8 = 3;
const NO_PERIOD: i32 = i32::MIN;

/// A counter's whole value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CounterValue {
    /// The value.
    pub value: i64,
    /// The local day it belongs to; `None` for a counter that never resets.
    pub period: Option<Day>,
    /// The generation it belongs to.
    pub generation: Generation,
    /// The revision of its last change.
    pub revision: Revision,
    /// When it last changed.
    pub changed_at: Millis,
}

/// A change to a counter's value within its period and generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operand {
    /// What is added.
    pub delta: i64,
    /// The revision after it.
    pub revision: Revision,
    /// When.
    pub changed_at: Millis,
}

/// What a record of the family `counters` holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A readable value.
    Value(CounterValue),
    /// Bytes that could not be read; the counter answers `corrupt_record` until it is repaired.
    Quarantined(Vec<u8>),
}

impl CounterValue {
    /// Returns the bytes on disk.
    pub fn encode(&self) -> [u8; 37] {
        joined(&[
            &[VALUE],
            &self.value.to_be_bytes(),
            &self.period.map_or(NO_PERIOD, Day::days).to_be_bytes(),
            &self.generation.to_be_bytes(),
            &self.revision.to_be_bytes(),
            &self.changed_at.to_be_bytes(),
        ])
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        whole(bytes.strip_prefix(&[VALUE])?, |bytes| {
            Some(Self {
                value: i64::take(bytes)?,
                period: match i32::take(bytes)? {
                    NO_PERIOD => None,
                    days => Some(Day::from_days(days).ok()?),
                },
                generation: u64::take(bytes)?,
                revision: u64::take(bytes)?,
                changed_at: i64::take(bytes)?,
            })
        })
    }

    fn apply(&mut self, operand: &Operand) {
        self.value = self.value.wrapping_add(operand.delta);
        self.revision = self.revision.max(operand.revision);
        self.changed_at = self.changed_at.max(operand.changed_at);
    }
}

impl Operand {
    /// Returns the bytes on disk.
    pub fn encode(&self) -> [u8; 25] {
        joined(&[
            &[OPERAND],
            &self.delta.to_be_bytes(),
            &self.revision.to_be_bytes(),
            &self.changed_at.to_be_bytes(),
        ])
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        whole(bytes.strip_prefix(&[OPERAND])?, |bytes| {
            Some(Self {
                delta: i64::take(bytes)?,
                revision: u64::take(bytes)?,
                changed_at: i64::take(bytes)?,
            })
        })
    }

    fn join(self, later: Self) -> Self {
        Self {
            delta: self.delta.wrapping_add(later.delta),
            revision: self.revision.max(later.revision),
            changed_at: self.changed_at.max(later.changed_at),
        }
    }
}

impl Record {
    /// Reads a record. Bytes that are no value become [`Record::Quarantined`].
    pub fn decode(bytes: &[u8]) -> Self {
        match CounterValue::decode(bytes) {
            Some(value) => Self::Value(value),
            None => Self::Quarantined(bytes.to_vec()),
        }
    }
}

/// Folds operands, oldest first, into a base. When it cannot read one of them, it quarantines all.
pub fn fold(base: Option<&[u8]>, operands: &[&[u8]]) -> Vec<u8> {
    if let Some(mut value) = base.and_then(CounterValue::decode) {
        let mut whole = true;
        let dropped = usize::from(bug("merge_drops_operand") && operands.len() > 1);
        for operand in operands.iter().skip(dropped) {
            match Operand::decode(operand) {
                Some(operand) => value.apply(&operand),
                None => whole = false,
            }
        }
        if whole {
            return value.encode().to_vec();
        }
    }
    quarantine(base, operands)
}

/// Joins operands, oldest first, into one; `None` when one of them is malformed. They stay apart then,
/// until the fold meets a base.
pub fn join<'a>(operands: impl Iterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let mut joined: Option<Operand> = None;
    for operand in operands {
        let operand = Operand::decode(operand)?;
        joined = Some(joined.map_or(operand, |earlier| earlier.join(operand)));
    }
    joined.map(|operand| operand.encode().to_vec())
}

fn quarantine(base: Option<&[u8]>, operands: &[&[u8]]) -> Vec<u8> {
    let mut kept;
    match base {
        Some(earlier) if earlier.first() == Some(&QUARANTINED) => kept = earlier.to_vec(),
        Some(_) | None => {
            kept = vec![QUARANTINED];
            keep(&mut kept, base.unwrap_or(&[]));
        }
    }
    for operand in operands {
        keep(&mut kept, operand);
    }
    kept
}

fn keep(kept: &mut Vec<u8>, bytes: &[u8]) {
    kept.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    kept.extend_from_slice(bytes);
}

/// Folds for RocksDB. It never returns `None`, which would be a failed merge.
pub fn full_merge(_key: &[u8], base: Option<&[u8]>, operands: &MergeOperands) -> Option<Vec<u8>> {
    Some(or_quarantine(
        base,
        &operands.iter().collect::<Vec<_>>(),
        fold,
    ))
}

/// Folds, and quarantines the base and the operands where the fold panics: a panic must not cross into
/// C++, and a merge that fails makes all of RocksDB read-only.
fn or_quarantine(
    base: Option<&[u8]>,
    operands: &[&[u8]],
    fold: impl FnOnce(Option<&[u8]>, &[&[u8]]) -> Vec<u8>,
) -> Vec<u8> {
    catch_unwind(AssertUnwindSafe(|| fold(base, operands)))
        .unwrap_or_else(|_| quarantine(base, operands))
}

/// Joins operands for RocksDB, which knows no base yet; `None` leaves them apart.
pub fn partial_merge(
    _key: &[u8],
    _base: Option<&[u8]>,
    operands: &MergeOperands,
) -> Option<Vec<u8>> {
    catch_unwind(AssertUnwindSafe(|| join(operands.iter())))
        .ok()
        .flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn base() -> CounterValue {
        CounterValue {
            value: 258,
            period: Some(Day::from_days(20781).unwrap()),
            generation: 3,
            revision: 4,
            changed_at: 5,
        }
    }

    #[test]
    fn values_and_operands_are_these_bytes() {
        assert_eq!(
            base().encode(),
            *b"\x01\
               \x00\x00\x00\x00\x00\x00\x01\x02\
               \x00\x00\x51\x2d\
               \x00\x00\x00\x00\x00\x00\x00\x03\
               \x00\x00\x00\x00\x00\x00\x00\x04\
               \x00\x00\x00\x00\x00\x00\x00\x05"
        );
        assert_eq!(
            Operand {
                delta: -1,
                revision: 2,
                changed_at: 3
            }
            .encode(),
            *b"\x02\
               \xff\xff\xff\xff\xff\xff\xff\xff\
               \x00\x00\x00\x00\x00\x00\x00\x02\
               \x00\x00\x00\x00\x00\x00\x00\x03"
        );
        let never = CounterValue {
            period: None,
            ..base()
        };
        assert_eq!(Record::decode(&never.encode()), Record::Value(never));
        assert_eq!(Record::decode(&base().encode()), Record::Value(base()));
    }

    #[test]
    fn what_cannot_be_read_is_kept_and_quarantined() {
        let operand = Operand {
            delta: 1,
            revision: 9,
            changed_at: 9,
        }
        .encode();
        for base in [
            None,
            Some(&b""[..]),
            Some(&b"\x01short"[..]),
            Some(&operand[..]),
        ] {
            let folded = fold(base, &[&operand[..]]);
            assert_eq!(folded[0], QUARANTINED);
            assert!(folded.ends_with(&operand));
            assert!(matches!(Record::decode(&folded), Record::Quarantined(_)));
            let again = fold(Some(&folded), &[&operand[..]]);
            assert!(again.starts_with(&folded) && again.len() == folded.len() + 4 + operand.len());
        }
        let damaged = &operand[1..];
        let folded = fold(Some(&base().encode()), &[&operand[..], damaged]);
        assert_eq!(folded[0], QUARANTINED);
        assert!(
            folded.windows(37).any(|bytes| bytes == base().encode()),
            "the base is kept"
        );
        assert_eq!(join([&operand[..], damaged].into_iter()), None);
    }

    #[test]
    fn a_fold_that_panics_keeps_the_base_and_every_operand() {
        let base = base().encode();
        let operands = [&b"one"[..], b"three"];
        let kept = or_quarantine(Some(&base), &operands, |_, _| panic!("a fault of the fold"));
        assert_eq!(kept, quarantine(Some(&base), &operands));
        for bytes in [&base[..], b"one", b"three"] {
            assert!(kept.windows(bytes.len()).any(|part| part == bytes));
        }
        assert!(matches!(Record::decode(&kept), Record::Quarantined(_)));
    }

    proptest! {
        #[test]
        fn any_grouping_gives_the_same(
            steps in prop::collection::vec((any::<i64>(), 1u64..1000, 0i64..1000), 1..12),
            cuts in prop::collection::vec(any::<bool>(), 12),
        ) {
            let operands: Vec<Vec<u8>> = steps
                .iter()
                .map(|&(delta, revision, changed_at)| Operand { delta, revision, changed_at }.encode().to_vec())
                .collect();
            let whole = fold(Some(&base().encode()), &operands.iter().map(Vec::as_slice).collect::<Vec<_>>());
            let mut groups: Vec<Vec<&[u8]>> = vec![vec![]];
            for (operand, cut) in operands.iter().zip(&cuts) {
                if *cut && !groups.last().unwrap().is_empty() {
                    groups.push(vec![]);
                }
                groups.last_mut().unwrap().push(operand);
            }
            let joined: Vec<Vec<u8>> = groups.into_iter().map(|group| join(group.into_iter()).unwrap()).collect();
            prop_assert_eq!(&fold(Some(&base().encode()), &joined.iter().map(Vec::as_slice).collect::<Vec<_>>()), &whole);
            let mut stepwise = base().encode().to_vec();
            for operand in &joined {
                stepwise = fold(Some(&stepwise), &[operand.as_slice()]);
            }
            prop_assert_eq!(&stepwise, &whole);
        }

        #[test]
        fn the_fold_is_total(base in prop::option::of(prop::collection::vec(any::<u8>(), 0..60)),
                             operands in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..5)) {
            let folded = fold(base.as_deref(), &operands.iter().map(Vec::as_slice).collect::<Vec<_>>());
            prop_assert!(!folded.is_empty());
        }
    }
}
