//! Making compaction drop now what has expired, in short steps: each rewrites what lies in the range
//! of one table, so that nobody waits long, a closing of the store least of all.
//!
//! Kept out: what has expired. The horizons say that, and they are moved by others.

use std::ops::ControlFlow;

use rocksdb::{BottommostLevelCompaction, CompactOptions, Range, properties};

use super::error::ReadError;
use super::expiry::{Daily, Horizons};
use super::family::Family;
use super::keys;
use super::pace::{Ended, Pace, Watch};
use super::tables::{Reader, Tables};

/// A compaction that RocksDB had begun on its own before a horizon moved keeps what lay below it: then
/// another pass is needed, but not for ever.
const MOST_PASSES: usize = 3;

/// What a compaction of one family gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    /// The family.
    pub family: Family,
    /// Bytes of its tables before.
    pub before: u64,
    /// Bytes of its tables after.
    pub after: u64,
}

/// Why it was not done to its end. What was dropped until then is gone all the same.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    /// The store cannot be read now.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Whoever asked does not want it any more.
    #[error(transparent)]
    Ended(#[from] Ended),
}

/// A family whose records expire, and up to where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expiring {
    Daily(Daily),
    Idempotency,
}

impl Expiring {
    const ALL: [Self; 5] = [
        Self::Daily(Daily::Days),
        Self::Daily(Daily::Dedup),
        Self::Daily(Daily::Samples),
        Self::Daily(Daily::History),
        Self::Idempotency,
    ];

    const fn family(self) -> Family {
        match self {
            Self::Daily(daily) => daily.family(),
            Self::Idempotency => Family::Idempotency,
        }
    }

    /// Returns the first key that has not expired; `None` where keys do not begin with a day or bucket.
    fn end(self, horizons: &Horizons) -> Option<[u8; 4]> {
        match self {
            Self::Daily(Daily::History) => None,
            Self::Daily(daily @ (Daily::Days | Daily::Dedup | Daily::Samples)) => {
                Some(keys::day_prefix(horizons.day(daily)))
            }
            Self::Idempotency => Some(horizons.idempotency().to_be_bytes()),
        }
    }
}

/// Estimates how many bytes of a family have expired and wait for compaction; `None` for a family whose
/// keys do not begin with a day or bucket, where only reading all of it would tell.
pub fn expired_bytes(tables: &Tables, horizons: &Horizons, family: Family) -> Option<u64> {
    let expiring = Expiring::ALL
        .into_iter()
        .find(|one| one.family() == family)?;
    let end = expiring.end(horizons)?;
    let handle = tables.handle(family).ok()?;
    let sizes = tables
        .db()
        .get_approximate_sizes_cf(handle, &[Range::new(&[], &end)]);
    sizes.first().copied()
}

/// Drops what has expired.
///
/// # Errors
/// When it was not done to its end.
pub fn compact(
    reader: &Reader,
    horizons: &Horizons,
    watch: Watch<'_>,
) -> Result<Vec<Compacted>, CompactError> {
    let mut pace = Pace::new(watch);
    // Compaction drops nothing that is in memory only.
    reader.with(Tables::flush_all)?;
    let mut before = Vec::new();
    for expiring in Expiring::ALL {
        let family = expiring.family();
        before.push((
            family,
            reader.with(|tables| Ok(table_bytes(tables, family)))?,
        ));
    }
    for _ in 0..MOST_PASSES {
        if !one_pass(reader, horizons, &mut pace)? {
            break;
        }
    }
    let after = |(family, before)| {
        reader.with(|tables| {
            let after = table_bytes(tables, family);
            Ok(Compacted {
                family,
                before,
                after,
            })
        })
    };
    let compacted: Result<Vec<_>, ReadError> = before.into_iter().map(after).collect();
    Ok(compacted?)
}

/// Drops what has expired of one family and lies in tables. Where the day does not come first in the
/// key it does nothing: there everything would be rewritten for the little that has expired.
///
/// # Errors
/// When the store cannot be read.
pub fn compact_ended(reader: &Reader, horizons: &Horizons, daily: Daily) -> Result<(), ReadError> {
    let expiring = Expiring::Daily(daily);
    if expiring.end(horizons).is_none() || reader.rot().holds(daily.family()) {
        return Ok(());
    }
    for (start, end) in reader.with(|tables| ranges(tables, horizons, expiring))? {
        reader.with(|tables| {
            if has_expired(tables, horizons, expiring, &start, &end)? {
                compact_range(tables, expiring.family(), &start, &end)?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Compacts every range with something to drop in it; says whether there was one.
fn one_pass(
    reader: &Reader,
    horizons: &Horizons,
    pace: &mut Pace<'_>,
) -> Result<bool, CompactError> {
    let mut steps = Vec::new();
    for expiring in Expiring::ALL {
        // A compaction that meets a rotten block would end all writes.
        if reader.rot().holds(expiring.family()) {
            continue;
        }
        let ranges = reader.with(|tables| ranges(tables, horizons, expiring))?;
        steps.extend(ranges.into_iter().map(|range| (expiring, range)));
    }
    let total = steps.len() as u64;
    let mut any = false;
    for (done, (expiring, (start, end))) in steps.into_iter().enumerate() {
        pace.at("tables compacted", done as u64, total)?;
        any |= reader.with(|tables| {
            let some = has_expired(tables, horizons, expiring, &start, &end)?;
            if some {
                compact_range(tables, expiring.family(), &start, &end)?;
            }
            Ok(some)
        })?;
    }
    Ok(any)
}

fn table_bytes(tables: &Tables, family: Family) -> u64 {
    tables.property(family, properties::LIVE_SST_FILES_SIZE)
}

type KeyRange = (Vec<u8>, Vec<u8>);

/// The ranges, table by table, in which there may be something that has expired.
fn ranges(
    tables: &Tables,
    horizons: &Horizons,
    expiring: Expiring,
) -> Result<Vec<KeyRange>, ReadError> {
    let end = expiring.end(horizons);
    let mut ranges: Vec<KeyRange> = tables
        .db()
        .live_files()?
        .into_iter()
        .filter(|file| file.column_family_name == expiring.family().name())
        .filter_map(|file| Some((file.start_key?, file.end_key?)))
        .filter(|(start, _)| end.is_none_or(|end| start[..] < end[..]))
        .collect();
    ranges.sort();
    ranges.dedup();
    Ok(ranges)
}

/// Whether a range holds anything to drop. Rewriting it for nothing would cost as much as writing it did.
fn has_expired(
    tables: &Tables,
    horizons: &Horizons,
    expiring: Expiring,
    start: &[u8],
    end: &[u8],
) -> Result<bool, ReadError> {
    let expired = |key: &[u8]| match expiring {
        Expiring::Daily(daily) => daily
            .day_in(key)
            .is_some_and(|day| day < horizons.day(daily)),
        Expiring::Idempotency => {
            keys::leading_bucket(key).is_some_and(|bucket| bucket < horizons.idempotency())
        }
    };
    let mut end = end.to_vec();
    end.push(0);
    let mut found = false;
    tables.scan(expiring.family(), start, Some(&end), |key, _| {
        found = expired(key);
        // Where keys begin with the day, the keys after this one have not expired either.
        if found || expiring.end(horizons).is_some() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    Ok(found)
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
        .db()
        .compact_range_cf_opt(handle, Some(start), Some(end), &options);
    Ok(())
}
