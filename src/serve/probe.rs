//! What `/metrics` asks of the parts when it is read.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rocksdb::properties;

use crate::metrics::{FilterDecision, Metrics, StoreFigure, TellFigure};
use crate::rounds::RoundStatus;
use crate::storage::compact::expired_bytes;
use crate::storage::expiry::Horizons;
use crate::storage::{Family, Reader, Tables};
use crate::writer::Running;

/// Lets the metrics ask that writer.
pub(super) fn attach(metrics: &Metrics, running: &Running) {
    let running = running.clone();
    metrics.before_scrape(move |metrics| {
        let probe = |tell: TellFigure<'_>| store_figures(&running.reader, tell);
        metrics.store.take(probe);
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let queued = &metrics.commits.queued_operations;
        queued.set(i64::try_from(running.intake.depth()).unwrap_or(i64::MAX));
        let state = &metrics.state;
        state.revision.set(gauge(running.table.revision()));
        state.epoch.set(gauge(running.table.epoch()));
        state.day.set(i64::from(running.day.look().day.days()));
        let behind = Duration::from_millis(running.day.behind_ms().unsigned_abs());
        state.clock_behind.set(behind.as_secs_f64());
        if let Some(ahead_ms) = running.day.ahead_of_redis_ms() {
            metrics.shared_log.clock_is_ahead(ahead_ms);
        }
        let disk_wait = running.mode.disk().lasts();
        state.disk_wait.set(disk_wait.as_secs_f64());
        state.set_read_only(|cause| running.mode.stands(cause));
        let dropped = running.reader.horizons.dropped.load(Relaxed);
        state.set_filtered(FilterDecision::Dropped, dropped);
        let undecodable = running.reader.horizons.undecodable.load(Relaxed);
        state.set_filtered(FilterDecision::Undecodable, undecodable);
    });
}

/// Lets the metrics ask how the copy stands that is kept up to date in these rounds.
pub(super) fn attach_rounds(metrics: &Metrics, running: &Running, status: &Arc<RoundStatus>) {
    let (table, status) = (Arc::clone(&running.table), Arc::clone(status));
    metrics.before_scrape(move |_| status.measure(table.revision()));
}

/// Tells RocksDB's figures; while the store is being reopened only what is known without it.
fn store_figures(reader: &Reader, tell: TellFigure<'_>) {
    let _ = reader.with(|tables| {
        whole_store(tables, tell);
        for family in Family::ALL {
            one_family(tables, &reader.horizons, family, tell);
        }
        Ok(())
    });
    let rotten = reader.rot.tables();
    for family in Family::ALL {
        let of_family = rotten.iter().filter(|table| table.family == family);
        let count = of_family.count() as u64;
        tell(StoreFigure::RottenTables, Some(family.as_str()), count);
    }
}

fn whole_store(tables: &Tables, tell: TellFigure<'_>) {
    let of_all = |name: &properties::PropName| -> u64 {
        let figures = Family::ALL.iter();
        figures.map(|&family| tables.property(family, name)).sum()
    };
    // RocksDB tells these of the whole store, whichever family is asked.
    let of_any = |name: &properties::PropName| tables.property(Family::Meta, name);
    let mut tell = |figure, value| tell(figure, None, value);
    tell(StoreFigure::BlockCache, tables.cache_bytes());
    tell(StoreFigure::Memtables, tables.memtable_bytes());
    let readers = of_all(properties::ESTIMATE_TABLE_READERS_MEM);
    tell(StoreFigure::TableReaders, readers);
    let pending = of_all(properties::ESTIMATE_PENDING_COMPACTION_BYTES);
    tell(StoreFigure::PendingCompaction, pending);
    let compactions = of_any(properties::NUM_RUNNING_COMPACTIONS);
    tell(StoreFigure::RunningCompactions, compactions);
    let flushes = of_any(properties::NUM_RUNNING_FLUSHES);
    tell(StoreFigure::RunningFlushes, flushes);
    tell(StoreFigure::BackgroundErrors, tables.background_errors());
    if let Some(bytes) = tables.wal_bytes() {
        tell(StoreFigure::Wal, bytes);
    }
}

fn one_family(tables: &Tables, horizons: &Horizons, family: Family, tell: TellFigure<'_>) {
    let mut tell = |figure, value| tell(figure, Some(family.as_str()), value);
    let bytes = tables.property(family, properties::TOTAL_SST_FILES_SIZE);
    tell(StoreFigure::Tables, bytes);
    let keys = tables.property(family, properties::ESTIMATE_NUM_KEYS);
    tell(StoreFigure::EstimatedKeys, keys);
    if let Some(bytes) = expired_bytes(tables, horizons, family) {
        tell(StoreFigure::Expired, bytes);
    }
}
