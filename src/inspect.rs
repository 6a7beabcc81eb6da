//! What a data directory holds, told from an open store: for `counterd inspect`.
//!
//! It reads in pages, so that a server's store is never held open for long, and changes nothing.

use std::collections::BTreeMap;

use rocksdb::properties;
use serde::{Deserialize, Serialize};

use crate::calendar::Day;
use crate::counter::Millis;
use crate::lifecycle::kept_range;
use crate::storage::compact::expired_bytes;
use crate::storage::expiry::{Daily, Horizons};
use crate::storage::pace::{Pace, Watch};
use crate::storage::{Defined, Family, ReadError, Reader, Tables, Undecodable};

/// What a data directory holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    /// Version of families, keys and values.
    pub format: u32,
    /// Version of the merge operator.
    pub merge: u32,
    /// Which history the store is on: milliseconds since 1970 at its start.
    pub epoch: u64,
    /// The zone that days are counted in; none before the first change.
    pub zone: Option<String>,
    /// The revision of the last change.
    pub revision: u64,
    /// The highest day that was counted in; none in a store that never counted.
    pub highest_day: Option<Day>,
    /// When the last group was committed, milliseconds since 1970.
    pub committed_at_ms: Option<Millis>,
    /// Time during which the store was open, summed over its life, in milliseconds.
    pub store_time_ms: i64,
    /// The last day that is closed.
    pub closed_through: Option<Day>,
    /// The first and the last day in history.
    pub history: Option<(Day, Day)>,
    /// How far the export to a database has got.
    pub export: Option<ExportView>,
    /// The first day that is kept, in each family whose records end with a day; a family is absent
    /// while nothing of it may go.
    pub kept_from: BTreeMap<String, Day>,
    /// The first span of 24 hours of store time whose idempotency keys are kept.
    pub idempotency_kept_from: u32,
    /// Counters, by kind and what became of them.
    pub counters: Vec<CounterGroup>,
    /// Definitions that cannot be read.
    pub unreadable_definitions: u64,
    /// Bytes of the logs on disk.
    pub log_bytes: u64,
    /// Whether records were counted one by one; else RocksDB estimates them.
    pub counted: bool,
    /// Each family.
    pub families: Vec<FamilyView>,
}

/// How far the export to a database has got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportView {
    /// The database's identity, in hexadecimal.
    pub database: String,
    /// The last day that is there.
    pub through: Option<Day>,
}

/// Counters of one kind that had one fate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterGroup {
    /// `gauge`, `sum` or `unique`.
    pub kind: String,
    /// `live`, `expired` or `deleted`.
    pub life: String,
    /// How many.
    pub count: u64,
}

/// What is in one family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FamilyView {
    /// Its name.
    pub family: String,
    /// Records.
    pub rows: u64,
    /// Bytes of its tables.
    pub bytes: u64,
    /// Bytes, about, of what has expired and waits for compaction; none where nothing tells.
    pub expired_bytes: Option<u64>,
}

/// Looks at a store; with `count` every record is counted, else most families are estimated.
///
/// # Errors
/// When it cannot be read, or `watch` ends it.
pub fn inspect(reader: &Reader, count: bool, watch: Watch<'_>) -> Result<Inspection, ReadError> {
    let mut pace = Pace::new(watch);
    let mut between = |rows, estimate| {
        let told = pace.at("records read", rows, estimate);
        told.map_err(ReadError::from)
    };
    let mut inspection = reader.with(|tables| at_a_glance(tables, &reader.horizons, count))?;
    definitions(reader, &mut inspection, &mut between)?;
    if count {
        for (family, view) in Family::ALL.into_iter().zip(&mut inspection.families) {
            view.rows = reader.count(family, &mut between)?;
        }
    }
    inspection.history = kept_range(reader, &mut between)?;
    Ok(inspection)
}

fn at_a_glance(
    tables: &Tables,
    horizons: &Horizons,
    counted: bool,
) -> Result<Inspection, ReadError> {
    let (format, merge) = tables.versions()?;
    let state = tables.state()?;
    let export = tables.export_cursor()?.map(|cursor| ExportView {
        database: format!("{:032x}", cursor.database),
        through: cursor.through,
    });
    let kept_from = Daily::ALL.into_iter().filter_map(|daily| {
        let day = Day::from_days(horizons.day(daily)).ok()?;
        Some((daily.family().as_str().to_owned(), day))
    });
    let family = |family: Family| FamilyView {
        family: family.as_str().to_owned(),
        rows: tables.property(family, properties::ESTIMATE_NUM_KEYS),
        bytes: tables.property(family, properties::LIVE_SST_FILES_SIZE),
        expired_bytes: expired_bytes(tables, horizons, family),
    };
    Ok(Inspection {
        format,
        merge,
        epoch: tables.epoch()?,
        zone: tables.zone()?,
        revision: state.map_or(0, |state| state.revision),
        highest_day: state.map(|state| state.highest_day),
        committed_at_ms: state.map(|state| state.wall_ms),
        store_time_ms: state.map_or(0, |state| state.store_time),
        closed_through: tables.closed_through()?,
        history: None,
        export,
        kept_from: kept_from.collect(),
        idempotency_kept_from: horizons.idempotency(),
        counters: Vec::new(),
        unreadable_definitions: 0,
        log_bytes: tables.wal_bytes().unwrap_or(0),
        counted,
        families: Family::ALL.map(family).into(),
    })
}

fn definitions(
    reader: &Reader,
    inspection: &mut Inspection,
    between: &mut dyn FnMut(u64, u64) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut unreadable = 0;
    let visit = |defined: Result<Defined, Undecodable>| {
        let Ok((definition, gone)) = defined else {
            unreadable += 1;
            return;
        };
        let life = match gone {
            None => "live",
            Some(gone) if gone.expired => "expired",
            Some(_) => "deleted",
        };
        *counts.entry((definition.kind.as_str(), life)).or_default() += 1;
    };
    reader.each_definition(visit, between)?;
    inspection.unreadable_definitions = unreadable;
    inspection.counters = counts
        .into_iter()
        .map(|((kind, life), count)| CounterGroup {
            kind: kind.to_owned(),
            life: life.to_owned(),
            count,
        })
        .collect();
    Ok(())
}
