//! RocksDB's own figures, asked for when `/metrics` is read.
//!
//! The closure that asks comes from outside; which figures there are is decided here.

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use std::sync::Arc;

/// A figure of RocksDB's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreFigure {
    /// Bytes in use of the block cache.
    BlockCache,
    /// Bytes of all memtables.
    Memtables,
    /// Bytes of table readers outside the block cache.
    TableReaders,
    /// Bytes that compaction has yet to rewrite.
    PendingCompaction,
    /// Compactions running now.
    RunningCompactions,
    /// Flushes running now.
    RunningFlushes,
    /// Bytes of the write-ahead logs on disk.
    Wal,
    /// Bytes of the table files of one column family.
    Tables,
    /// Bytes of one column family that have expired and wait for compaction.
    Expired,
    /// Background errors since the store was opened.
    BackgroundErrors,
    /// Tables of one column family that cannot be read whole.
    RottenTables,
    /// Estimated keys of one column family.
    EstimatedKeys,
}

impl StoreFigure {
    /// Every figure, in the order of the page.
    pub const ALL: [Self; 12] = [
        Self::BlockCache,
        Self::Memtables,
        Self::TableReaders,
        Self::PendingCompaction,
        Self::RunningCompactions,
        Self::RunningFlushes,
        Self::Wal,
        Self::Tables,
        Self::Expired,
        Self::BackgroundErrors,
        Self::RottenTables,
        Self::EstimatedKeys,
    ];

    const fn describe(self) -> (&'static str, Option<Unit>, &'static str) {
        match self {
            Self::BlockCache => (
                "store_block_cache",
                Some(Unit::Bytes),
                "RocksDB: block cache in use.",
            ),
            Self::Memtables => ("store_memtables", Some(Unit::Bytes), "RocksDB: memtables."),
            Self::TableReaders => (
                "store_table_readers",
                Some(Unit::Bytes),
                "RocksDB: table readers outside the block cache.",
            ),
            Self::PendingCompaction => (
                "store_pending_compaction",
                Some(Unit::Bytes),
                "RocksDB: what compaction has yet to rewrite, estimated.",
            ),
            Self::RunningCompactions => (
                "store_running_compactions",
                None,
                "RocksDB: compactions running.",
            ),
            Self::RunningFlushes => ("store_running_flushes", None, "RocksDB: flushes running."),
            Self::Wal => (
                "store_wal",
                Some(Unit::Bytes),
                "RocksDB: write-ahead logs on disk.",
            ),
            Self::Tables => (
                "store_tables",
                Some(Unit::Bytes),
                "RocksDB: table files on disk, by column family.",
            ),
            Self::Expired => (
                "store_expired",
                Some(Unit::Bytes),
                "RocksDB: what has expired and waits for compaction, about, by column family.",
            ),
            Self::BackgroundErrors => (
                "store_background_errors",
                None,
                "RocksDB: background errors since the store was opened.",
            ),
            Self::RottenTables => (
                "store_rotten_tables",
                None,
                "Tables that cannot be read whole, by column family.",
            ),
            Self::EstimatedKeys => (
                "store_estimated_keys",
                None,
                "RocksDB: keys, estimated, by column family.",
            ),
        }
    }
}

/// One figure, of the whole store or of one column family.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StoreSample {
    /// Which figure.
    pub figure: StoreFigure,
    /// The column family; `None` for the whole store. A `&'static str`, so that it comes from the
    /// program, never from a request.
    pub family: Option<&'static str>,
    /// The figure's value, in the figure's unit.
    pub value: u64,
}

/// Adds the figures at hand; none while the store is closed.
pub type StoreProbe = Box<dyn Fn(&mut Vec<StoreSample>) + Send + Sync>;

#[derive(Clone, Default)]
pub(super) struct Store(Arc<Mutex<Option<StoreProbe>>>);

impl Store {
    pub(super) fn set_probe(&self, probe: StoreProbe) {
        *self.0.lock() = Some(probe);
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Collector for Store {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let mut samples = Vec::new();
        if let Some(probe) = &*self.0.lock() {
            probe(&mut samples);
        }
        for figure in StoreFigure::ALL {
            let of_figure: Vec<&StoreSample> = samples
                .iter()
                .filter(|sample| sample.figure == figure)
                .collect();
            if of_figure.is_empty() {
                continue;
            }
            let (name, unit, help) = figure.describe();
            let mut family =
                encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
            for sample in of_figure {
                match sample.family {
                    Some(label) => family
                        .encode_family(&[("family", label)])?
                        .encode_gauge(&sample.value)?,
                    None => family.encode_gauge(&sample.value)?,
                }
            }
        }
        Ok(())
    }
}
