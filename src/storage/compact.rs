//! Making compaction drop now what has expired, in short steps: each rewrites what lies in the range
//! of one table, so that nobody waits long, a closing of the store least of all.
//!
//! Kept out: what has expired. The horizons say that, and they are moved by others.

use std::ops::ControlFlow;

use rocksdb::{BottommostLevelCompaction, CompactOptions, Range, properties};
use serde::{Deserialize, Serialize};

use super::error::ReadError;
use super::expiry::{Daily, EXPIRING, Horizons};
use super::family::Family;
use super::pace::{Pace, Watch};
use super::tables::{Reader, Tables};

/// A compaction that RocksDB had begun on its own before a horizon moved keeps what lay below it: then
/// another pass is needed, but not for ever.
const MOST_PASSES: usize = 3;

/// What a compaction of one family gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compacted {
    /// The family.
    pub family: Family,
    /// Bytes of its tables before.
    pub before: u64,
    /// Bytes of its tables after.
    pub after: u64,
}

/// Returns the first key that has not expired; `None` where keys do not begin with a day or bucket.
fn end(family: Family, horizons: &Horizons) -> Option<[u8; 4]> {
    let is_sorted = family.is_partitioned();
    is_sorted.then(|| horizons.first_kept(family))
}

/// Estimates how many bytes of a family have expired and wait for compaction; `None` for a family whose
/// keys do not begin with a day or bucket, where only reading all of it would tell.
pub fn expired_bytes(tables: &Tables, horizons: &Horizons, family: Family) -> Option<u64> {
    let end = end(family, horizons)?;
    let handle = tables.handle(family).ok()?;
    let sizes = tables
        .db
        .get_approximate_sizes_cf(handle, &[Range::new(&[], &end)]);
    sizes.first().copied()
}

/// Drops what has expired.
///
/// # Errors
/// When it was not done to its end. What was dropped until then is gone all the same.
pub fn compact(reader: &Reader, watch: Watch<'_>) -> Result<Vec<Compacted>, ReadError> {
    let mut pace = Pace::new(watch);
    // Compaction drops nothing that is in memory only.
    reader.with(Tables::flush_all)?;
    let bytes = |family| {
        let bytes = properties::LIVE_SST_FILES_SIZE;
        reader.with(|tables| Ok(tables.property(family, bytes)))
    };
    let mut compacted = Vec::new();
    for family in EXPIRING {
        let before = bytes(family)?;
        compacted.push(Compacted {
            family,
            before,
            after: before,
        });
    }
    for _ in 0..MOST_PASSES {
        if !one_pass(reader, &mut pace)? {
            break;
        }
    }
    for one in &mut compacted {
        one.after = bytes(one.family)?;
    }
    Ok(compacted)
}

/// Drops what has expired of one family and lies in tables. Where the day does not come first in the
/// key it does nothing: there everything would be rewritten for the little that has expired.
///
/// # Errors
/// When the store cannot be read.
pub fn compact_ended(reader: &Reader, daily: Daily) -> Result<(), ReadError> {
    let family = daily.family();
    if family.is_partitioned() {
        for range in ranges(reader, family)? {
            compact_expired(reader, family, &range)?;
        }
    }
    Ok(())
}

/// Compacts every range with something to drop in it; returns whether there was one.
fn one_pass(reader: &Reader, pace: &mut Pace<'_>) -> Result<bool, ReadError> {
    let mut steps = Vec::new();
    for family in EXPIRING {
        let ranges = ranges(reader, family)?;
        steps.extend(ranges.into_iter().map(|range| (family, range)));
    }
    let mut part = pace.begin("tables compacted", steps.len() as u64)?;
    let mut any = false;
    for (family, range) in steps {
        any |= compact_expired(reader, family, &range)?;
        part.add(1)?;
    }
    Ok(any)
}

type KeyRange = (Vec<u8>, Vec<u8>);

/// Lists the ranges, table by table, in which something may have expired. A family with a rotten table has
/// none: a compaction that meets the rotten block would end all writes.
fn ranges(reader: &Reader, family: Family) -> Result<Vec<KeyRange>, ReadError> {
    if reader.rot.holds(family) {
        return Ok(Vec::new());
    }
    let end = end(family, &reader.horizons);
    let live = reader.with(|tables| Ok(tables.db.live_files()?))?;
    let mut ranges: Vec<KeyRange> = live
        .into_iter()
        .filter(|file| file.column_family_name == family.as_str())
        .filter_map(|file| Some((file.start_key?, file.end_key?)))
        .filter(|(start, _)| end.is_none_or(|end| start[..] < end[..]))
        .collect();
    ranges.sort();
    ranges.dedup();
    Ok(ranges)
}

/// Compacts a range if something in it has expired; returns whether something has. Rewriting it for nothing
/// would cost as much as writing it did.
fn compact_expired(
    reader: &Reader,
    family: Family,
    (start, end): &KeyRange,
) -> Result<bool, ReadError> {
    let behind = [&end[..], &[0]].concat();
    reader.with(|tables| {
        let mut found = false;
        tables.scan(family, start, Some(&behind), |key, _| {
            found = reader.horizons.has_expired(family, key) == Some(true);
            // Where keys begin with the day, the keys after this one have not expired either.
            if found || family.is_partitioned() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        if found {
            compact_range(tables, family, start, end)?;
        }
        Ok(found)
    })
}

pub(super) fn compact_range(
    tables: &Tables,
    family: Family,
    start: &[u8],
    end: &[u8],
) -> Result<(), ReadError> {
    let mut options = CompactOptions::default();
    options.set_exclusive_manual_compaction(false);
    options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
    let handle = tables.handle(family)?;
    tables
        .db
        .compact_range_cf_opt(handle, Some(start), Some(end), &options);
    Ok(())
}
