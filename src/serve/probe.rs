//! What `/metrics` asks of the parts when it is read.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rocksdb::properties;

use crate::metrics::{FilterDecision, Metrics, ReadOnlyCause, StoreFigure, StoreSample};
use crate::rounds::RoundStatus;
use crate::storage::compact::expired_bytes;
use crate::storage::expiry::Horizons;
use crate::storage::{Family, Reader, Tables};
use crate::writer::{Cause, Running};

/// Lets the metrics ask that writer.
pub(super) fn attach(metrics: &Metrics, running: &Running) {
    let probed = running.clone();
    metrics.set_store_probe(Box::new(move |samples: &mut Vec<StoreSample>| {
        store_figures(&probed.reader, &probed.horizons, samples);
    }));
    let running = running.clone();
    metrics.before_scrape(move |metrics| {
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        metrics
            .commits
            .queued_operations
            .set(i64::try_from(running.intake.depth()).unwrap_or(i64::MAX));
        let state = &metrics.state;
        state.revision.set(gauge(running.table.revision()));
        state.epoch.set(gauge(running.table.epoch()));
        state.day.set(i64::from(running.day.look().day.days()));
        state.clock_behind.set(seconds(running.day.behind_ms()));
        state
            .disk_wait
            .set(running.mode.disk().lasts().as_secs_f64());
        let standing = Cause::ALL
            .into_iter()
            .filter(|&cause| running.mode.stands(cause));
        state.set_read_only(&standing.map(label).collect::<Vec<_>>());
        state.set_filtered(
            FilterDecision::Dropped,
            running.horizons.dropped.load(Ordering::Relaxed),
        );
        state.set_filtered(
            FilterDecision::Undecodable,
            running.horizons.undecodable.load(Ordering::Relaxed),
        );
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

fn label(cause: Cause) -> ReadOnlyCause {
    match cause {
        Cause::NoStore => ReadOnlyCause::NoStore,
        Cause::StoreFailed => ReadOnlyCause::StoreFailed,
        Cause::Clock => ReadOnlyCause::Clock,
        Cause::Space => ReadOnlyCause::Space,
        Cause::Operator => ReadOnlyCause::Operator,
    }
}

/// RocksDB's figures; none while the store is being reopened.
fn store_figures(reader: &Reader, horizons: &Horizons, samples: &mut Vec<StoreSample>) {
    let read = reader.with(|tables| {
        whole_store(tables, samples);
        for family in Family::ALL {
            one_family(tables, family, samples);
            samples.extend(
                expired_bytes(tables, horizons, family).map(|value| StoreSample {
                    figure: StoreFigure::Expired,
                    family: Some(family.name()),
                    value,
                }),
            );
        }
        Ok(())
    });
    if read.is_err() {
        samples.clear();
    }
    // Known whether or not the store is open.
    let rotten = reader.rot().tables();
    samples.extend(Family::ALL.map(|family| StoreSample {
        figure: StoreFigure::RottenTables,
        family: Some(family.name()),
        value: rotten.iter().filter(|table| table.family == family).count() as u64,
    }));
}

fn whole_store(tables: &Tables, samples: &mut Vec<StoreSample>) {
    let sum = |name: &properties::PropName| {
        Family::ALL
            .into_iter()
            .map(|family| tables.property(family, name))
            .sum::<u64>()
    };
    let figures = [
        (StoreFigure::BlockCache, tables.cache_bytes()),
        (StoreFigure::Memtables, tables.memtable_bytes()),
        (
            StoreFigure::TableReaders,
            sum(properties::ESTIMATE_TABLE_READERS_MEM),
        ),
        (
            StoreFigure::PendingCompaction,
            sum(properties::ESTIMATE_PENDING_COMPACTION_BYTES),
        ),
        (
            StoreFigure::RunningCompactions,
            tables.property(Family::Meta, properties::NUM_RUNNING_COMPACTIONS),
        ),
        (
            StoreFigure::RunningFlushes,
            tables.property(Family::Meta, properties::NUM_RUNNING_FLUSHES),
        ),
        (StoreFigure::BackgroundErrors, tables.background_errors()),
    ];
    samples.extend(figures.map(|(figure, value)| StoreSample {
        figure,
        family: None,
        value,
    }));
    samples.extend(tables.wal_bytes().map(|value| StoreSample {
        figure: StoreFigure::Wal,
        family: None,
        value,
    }));
}

fn one_family(tables: &Tables, family: Family, samples: &mut Vec<StoreSample>) {
    let figures = [
        (StoreFigure::Tables, properties::TOTAL_SST_FILES_SIZE),
        (StoreFigure::EstimatedKeys, properties::ESTIMATE_NUM_KEYS),
    ];
    samples.extend(figures.map(|(figure, property)| StoreSample {
        figure,
        family: Some(family.name()),
        value: tables.property(family, property),
    }));
}
