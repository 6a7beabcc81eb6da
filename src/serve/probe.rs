//! What `/metrics` asks of the parts when it is read.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use rocksdb::properties;

use crate::metrics::{FilterDecision, Metrics, StoreFigure, StoreSample};
use crate::rounds::RoundStatus;
use crate::storage::compact::expired_bytes;
use crate::storage::expiry::Horizons;
use crate::storage::{Family, Reader, Tables};
use crate::writer::Running;

/// Lets the metrics ask that writer.
pub(super) fn attach(metrics: &Metrics, running: &Running) {
    let probed = running.clone();
    metrics.set_store_probe(Box::new(move |samples: &mut Vec<StoreSample>| {
        store_figures(&probed.reader, &probed.horizons, samples);
    }));
    let running = running.clone();
    metrics.before_scrape(move |metrics| {
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let queued = &metrics.commits.queued_operations;
        queued.set(i64::try_from(running.intake.depth()).unwrap_or(i64::MAX));
        let state = &metrics.state;
        state.revision.set(gauge(running.table.revision()));
        state.epoch.set(gauge(running.table.epoch()));
        state.day.set(i64::from(running.day.look().day.days()));
        state.clock_behind.set(seconds(running.day.behind_ms()));
        let disk_wait = running.mode.disk().lasts();
        state.disk_wait.set(disk_wait.as_secs_f64());
        state.set_read_only(|cause| running.mode.stands(cause));
        let dropped = running.horizons.dropped.load(Relaxed);
        state.set_filtered(FilterDecision::Dropped, dropped);
        let undecodable = running.horizons.undecodable.load(Relaxed);
        state.set_filtered(FilterDecision::Undecodable, undecodable);
    });
}

/// Lets the metrics ask how the copy stands that is kept up to date in these rounds.
pub(super) fn attach_rounds(metrics: &Metrics, running: &Running, status: &Arc<RoundStatus>) {
    let (table, status) = (Arc::clone(&running.table), Arc::clone(status));
    metrics.before_scrape(move |_| status.measure(table.revision()));
}

#[allow(
    clippy::cast_precision_loss,
    reason = "milliseconds of any clock are far below 2^53"
)]
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1e3
}

/// Adds RocksDB's figures; while the store is being reopened only what is known without it.
fn store_figures(reader: &Reader, horizons: &Horizons, samples: &mut Vec<StoreSample>) {
    let read = reader.with(|tables| {
        whole_store(tables, samples);
        for family in Family::ALL {
            one_family(tables, horizons, family, samples);
        }
        Ok(())
    });
    if read.is_err() {
        samples.clear();
    }
    let rotten = reader.rot().tables();
    for family in Family::ALL {
        let of_family = rotten.iter().filter(|table| table.family == family);
        samples.push(StoreSample {
            figure: StoreFigure::RottenTables,
            family: Some(family.name()),
            value: of_family.count() as u64,
        });
    }
}

fn whole_store(tables: &Tables, samples: &mut Vec<StoreSample>) {
    let mut add = |figure, value| {
        samples.push(StoreSample {
            figure,
            family: None,
            value,
        });
    };
    let of_all = |name: &properties::PropName| -> u64 {
        let figures = Family::ALL.map(|family| tables.property(family, name));
        figures.into_iter().sum()
    };
    // RocksDB tells these of the whole store, whichever family is asked.
    let of_any = |name: &properties::PropName| tables.property(Family::Meta, name);
    add(StoreFigure::BlockCache, tables.cache_bytes());
    add(StoreFigure::Memtables, tables.memtable_bytes());
    let readers = of_all(properties::ESTIMATE_TABLE_READERS_MEM);
    add(StoreFigure::TableReaders, readers);
    let pending = of_all(properties::ESTIMATE_PENDING_COMPACTION_BYTES);
    add(StoreFigure::PendingCompaction, pending);
    let compactions = of_any(properties::NUM_RUNNING_COMPACTIONS);
    add(StoreFigure::RunningCompactions, compactions);
    let flushes = of_any(properties::NUM_RUNNING_FLUSHES);
    add(StoreFigure::RunningFlushes, flushes);
    add(StoreFigure::BackgroundErrors, tables.background_errors());
    if let Some(bytes) = tables.wal_bytes() {
        add(StoreFigure::Wal, bytes);
    }
}

fn one_family(
    tables: &Tables,
    horizons: &Horizons,
    family: Family,
    samples: &mut Vec<StoreSample>,
) {
    let mut add = |figure, value| {
        samples.push(StoreSample {
            figure,
            family: Some(family.name()),
            value,
        });
    };
    let bytes = tables.property(family, properties::TOTAL_SST_FILES_SIZE);
    add(StoreFigure::Tables, bytes);
    let keys = tables.property(family, properties::ESTIMATE_NUM_KEYS);
    add(StoreFigure::EstimatedKeys, keys);
    if let Some(bytes) = expired_bytes(tables, horizons, family) {
        add(StoreFigure::Expired, bytes);
    }
}
