//! RocksDB's own figures, told before `/metrics` is read.
//!
//! Which figures there are is decided here, and what they are outside.

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::table::{metrics, put};

macro_rules! figures {
    ($( $figure:ident = $name:literal $(in $unit:ident)?, $help:literal; )+) => {
        /// A figure of RocksDB's.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum StoreFigure {
            $( #[doc = $help] $figure, )+
        }

        impl StoreFigure {
            /// Every figure, in the order of the page.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$figure),+];

            const fn describe(self) -> (&'static str, Option<Unit>, &'static str) {
                match self {
                    $( Self::$figure => ($name, metrics!(@unit $($unit)?), $help), )+
                }
            }
        }
    };
}

figures! {
    BlockCache = "store_block_cache" in Bytes, "RocksDB: block cache in use.";
    Memtables = "store_memtables" in Bytes, "RocksDB: memtables.";
    TableReaders = "store_table_readers" in Bytes, "RocksDB: table readers outside the block cache.";
    PendingCompaction = "store_pending_compaction" in Bytes,
        "RocksDB: what compaction has yet to rewrite, estimated.";
    RunningCompactions = "store_running_compactions", "RocksDB: compactions running.";
    RunningFlushes = "store_running_flushes", "RocksDB: flushes running.";
    Wal = "store_wal" in Bytes, "RocksDB: write-ahead logs on disk.";
    Tables = "store_tables" in Bytes, "RocksDB: table files on disk, by column family.";
    Expired = "store_expired" in Bytes,
        "RocksDB: what has expired and waits for compaction, about, by column family.";
    BackgroundErrors = "store_background_errors",
        "RocksDB: background errors since the store was opened.";
    RottenTables = "store_rotten_tables", "Tables that cannot be read whole, by column family.";
    EstimatedKeys = "store_estimated_keys", "RocksDB: keys, estimated, by column family.";
}

/// Is told a figure, the column family or `None` for the whole store, and the value in the figure's unit.
/// A family is a `&'static str`, so that it comes from the program, never from a request.
pub type TellFigure<'a> = &'a mut dyn FnMut(StoreFigure, Option<&'static str>, u64);

/// The figures that were told last.
#[derive(Clone, Debug, Default)]
pub struct StoreFigures(Arc<Mutex<BTreeMap<StoreFigure, Vec<FamilyValue>>>>);

type FamilyValue = (Option<&'static str>, u64);

impl StoreFigures {
    /// Takes over the figures that `probe` tells; while the store is closed there is next to nothing to tell. It must
    /// not wait for the writer.
    pub fn take(&self, probe: impl FnOnce(TellFigure<'_>)) {
        let mut told: BTreeMap<StoreFigure, Vec<FamilyValue>> = BTreeMap::new();
        probe(&mut |figure, family, value| told.entry(figure).or_default().push((family, value)));
        *self.0.lock() = told;
    }
}

impl Collector for StoreFigures {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        self.0.lock().iter().try_for_each(|(figure, values)| {
            let series = values.iter().map(|&(family, value)| {
                let labels = family.map(|family| ("family", family));
                let labels: Vec<_> = labels.into_iter().collect();
                (labels, ConstGauge::new(value))
            });
            put(&mut encoder, figure.describe(), series)
        })
    }
}
