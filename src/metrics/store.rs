//! RocksDB's own figures, asked for when `/metrics` is read.
//!
//! The closure that asks comes from outside; which figures there are is decided here.

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::table::metrics;

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

/// Tells the figures for the page; while the store is closed there is next to nothing to tell.
pub type StoreProbe = Box<dyn Fn(TellFigure<'_>) + Send + Sync>;

#[derive(Clone, Default)]
pub(super) struct Store(pub(super) Arc<Mutex<Option<StoreProbe>>>);

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Collector for Store {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let mut told: BTreeMap<StoreFigure, Vec<_>> = BTreeMap::new();
        if let Some(probe) = &*self.0.lock() {
            probe(&mut |figure, family, value| {
                told.entry(figure).or_default().push((family, value))
            });
        }
        for (figure, values) in told {
            let (name, unit, help) = figure.describe();
            let mut metric =
                encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
            for (family, value) in values {
                match family {
                    Some(family) => metric
                        .encode_family(&[("family", family)])?
                        .encode_gauge(&value)?,
                    None => metric.encode_gauge(&value)?,
                }
            }
        }
        Ok(())
    }
}
