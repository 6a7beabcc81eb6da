//! RocksDB's options, and the versions of what is in a store.
//!
//! Every way of opening (reading, writing, recovering) takes its options from here: a store that
//! tracked its logs crashes a reader that has the tracking off, and a family opened without its
//! merge operator cannot be read.
//!
//! Kept out: the layout of keys and values (`keys`, `value`).

use std::sync::Arc;

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode,
    DEFAULT_COLUMN_FAMILY_NAME, Options, WriteBufferManager,
};

use super::expiry::{self, Horizons};
use super::family::Family;
use super::merge;
use super::rot::Rot;
use super::tables::Reader;

/// Version of families, keys and values, as this program writes them. A store of a later version is
/// refused; one of an earlier version is raised to this one when it is opened for writing.
pub const FORMAT_VERSION: u32 = 3;

/// The earliest version of families, keys and values that this program reads.
pub const OLDEST_FORMAT: u32 = 1;

/// Version of the merge operator: its operands and how they fold. A store of another version is
/// refused, because operands that wait in it would fold otherwise.
pub const MERGE_VERSION: u32 = 1;

/// Key in [`Family::Meta`] of the format and merge-operator version, 4 bytes each, big-endian.
pub const META_VERSIONS: &[u8] = b"store.versions";

/// Key in [`Family::Meta`] of the epoch, 8 bytes, big-endian.
pub const META_EPOCH: &[u8] = b"store.epoch";

/// Key in [`Family::Meta`] of the zone that days are counted in.
pub const META_ZONE: &[u8] = b"zone";

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const LEVEL_ZERO_STOP: i32 = 36;
const DAY_SECONDS: u64 = 24 * 60 * 60;

/// How a database is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DbAccess {
    /// It is made, with its families. Never where a store may be, for RocksDB takes a missing `CURRENT`
    /// as leave to delete the tables.
    Make,
    /// For reading; nothing on disk is changed. The log must be whole.
    Read,
    /// For writing. The log is read up to the first torn record, and every closed log must be there and
    /// whole. The only way that serves.
    Write,
    /// For writing, on a copy: the log is read up to the first damaged record or missing log. Each log
    /// still names its predecessor, else a log that is missing would be a hole in the middle.
    WriteToPointInTime,
    /// For writing, on a copy, when a table is ahead of the damaged log: damaged records are left out.
    WriteWithoutDamaged,
}

/// What all options of one store share: the memory that may be used and what RocksDB calls back.
pub struct Schema {
    /// What blocks, filters, indexes and memtables are charged to.
    pub(super) cache: Cache,
    /// Counts the memory of memtables.
    pub(super) write_buffers: WriteBufferManager,
    /// What the compaction filters go by.
    pub(super) horizons: Arc<Horizons>,
    wal_limit: u64,
    /// Where rotten tables are noted.
    pub(super) rot: Arc<Rot>,
    /// Whether RocksDB compacts nothing by itself.
    pub(super) at_rest: bool,
}

impl Schema {
    /// Makes the options of a store. `memory` is what RocksDB's cache and memtables may take together, in
    /// bytes; `wal_limit` is the length of all logs together from which RocksDB flushes. RocksDB does not
    /// compact the families of the rotten tables that `reader` knows.
    pub fn new(memory: u64, wal_limit: u64, reader: &Reader) -> Self {
        let memory = usize::try_from(memory).unwrap_or(usize::MAX);
        let cache = Cache::new_hyper_clock_cache(memory, 0);
        let write_buffers = WriteBufferManager::new_write_buffer_manager_with_cache(
            (memory / 3).clamp(MIB, 64 * MIB),
            false,
            cache.clone(),
        );
        Self {
            cache,
            write_buffers,
            horizons: Arc::clone(&reader.horizons),
            wal_limit,
            rot: Arc::clone(&reader.rot),
            at_rest: false,
        }
    }

    /// Returns the options of the database.
    ///
    /// # Errors
    /// When this RocksDB does not know an option; a fault of the build.
    pub fn database(&self, access: DbAccess) -> Result<Options, rocksdb::Error> {
        let (chained, tracked, recovery) = match access {
            DbAccess::Make | DbAccess::Read | DbAccess::Write => {
                (true, true, DBRecoveryMode::PointInTime)
            }
            DbAccess::WriteToPointInTime => (true, false, DBRecoveryMode::PointInTime),
            DbAccess::WriteWithoutDamaged => (false, false, DBRecoveryMode::SkipAnyCorruptedRecord),
        };
        // First, on fresh options: the result has forgotten which caches it must outlive.
        let mut options = Options::default()
            .get_options_from_string(format!("track_and_verify_wals={chained}"))?;
        options.set_track_and_verify_wals_in_manifest(tracked);
        options.set_wal_recovery_mode(recovery);
        options.create_if_missing(access == DbAccess::Make);
        options.create_missing_column_families(access == DbAccess::Make);
        options.set_paranoid_checks(true);
        // It makes an error of the log final at once; otherwise RocksDB resumes by itself, and may apply
        // half a batch. Every write is synced, so it costs nothing.
        options.set_manual_wal_flush(true);
        // A flush leaves all families at one point of the log.
        options.set_atomic_flush(true);
        options.set_recycle_log_file_num(0);
        options.set_wal_bytes_per_sync(0);
        options.set_bytes_per_sync(MIB as u64);
        options.set_max_total_wal_size(self.wal_limit);
        options.set_max_background_jobs(2);
        options.set_max_open_files(-1);
        options.set_max_log_file_size(8 * MIB);
        options.set_keep_log_file_num(5);
        options.set_write_buffer_manager(&self.write_buffers);
        Ok(options)
    }

    /// Returns every family with its options.
    ///
    /// # Errors
    /// When this RocksDB does not know an option; a fault of the build.
    pub fn families(&self) -> Result<Vec<ColumnFamilyDescriptor>, rocksdb::Error> {
        let default = self.plain(MIB)?;
        let mut families = vec![ColumnFamilyDescriptor::new(
            DEFAULT_COLUMN_FAMILY_NAME,
            default,
        )];
        for family in Family::ALL {
            let options = self.family(family)?;
            families.push(ColumnFamilyDescriptor::new(family.as_str(), options));
        }
        Ok(families)
    }

    fn family(&self, family: Family) -> Result<Options, rocksdb::Error> {
        let mut options = self.particular(family)?;
        // Writes are stopped when compaction falls far behind, never only slowed: a slowed write
        // waits inside RocksDB, where a failure in the background cannot end the wait.
        options.set_level_zero_slowdown_writes_trigger(LEVEL_ZERO_STOP);
        options.set_level_zero_stop_writes_trigger(LEVEL_ZERO_STOP);
        options.set_soft_pending_compaction_bytes_limit(0);
        options.set_disable_auto_compactions(self.at_rest || self.rot.holds(family));
        Ok(options)
    }

    fn particular(&self, family: Family) -> Result<Options, rocksdb::Error> {
        Ok(match family {
            Family::Meta => self.plain(MIB)?,
            Family::Definitions => self.plain(4 * MIB)?,
            Family::Counters => {
                let mut options = self.plain(4 * MIB)?;
                options.set_merge_operator(merge::NAME, merge::full_merge, merge::partial_merge);
                options
            }
            Family::Days | Family::Samples => self.expiring(self.plain(4 * MIB)?, family),
            Family::Dedup | Family::Idempotency => self.expiring(self.looked_up(16 * MIB)?, family),
            Family::History => {
                let mut options = self.plain(4 * MIB)?;
                options.set_compression_type(DBCompressionType::Zstd);
                options.set_block_based_table_factory(&self.table(16 * KIB));
                self.expiring(options, family)
            }
            Family::Windows => {
                let mut options = self.looked_up(4 * MIB)?;
                // Whoever is not in it is mostly not looked for, and nearly all others stand in the last level.
                options.set_optimize_filters_for_hits(true);
                options.set_compaction_filter("windows", expiry::windows_filter(&self.horizons));
                options
            }
        })
    }

    /// Adds what a family needs whose records end with a day or bucket.
    fn expiring(&self, mut options: Options, family: Family) -> Options {
        let filter = expiry::filter(&self.horizons, family);
        options.set_compaction_filter(family.as_str(), filter);
        options.set_periodic_compaction_seconds(7 * DAY_SECONDS);
        options
    }

    /// Returns the options of a family of moderate size that is mostly scanned, which the others begin with.
    fn plain(&self, write_buffer: usize) -> Result<Options, rocksdb::Error> {
        // Blocks of deleted tables leave the cache. Otherwise they fill it up to its bound, since counters
        // that change all the time are compacted all the time. RocksDB's authors mean to make 300 the default
        // (include/rocksdb/options.h). It comes first: whatever was set before is lost.
        let mut options =
            Options::default().get_options_from_string("uncache_aggressiveness=300")?;
        options.set_write_buffer_size(write_buffer);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_block_based_table_factory(&self.table(4 * KIB));
        Ok(options)
    }

    /// Returns the options of a family of many small records that are looked up by their whole key, most
    /// of them in vain.
    fn looked_up(&self, write_buffer: usize) -> Result<Options, rocksdb::Error> {
        let mut options = self.plain(write_buffer)?;
        options.set_max_write_buffer_number(3);
        options.set_target_file_size_base(32 * MIB as u64);
        options.set_level_compaction_dynamic_level_bytes(true);
        options.set_bottommost_compression_type(DBCompressionType::Zstd);
        options.set_periodic_compaction_seconds(7 * DAY_SECONDS);
        // One does not work without the other.
        options.set_memtable_prefix_bloom_ratio(0.05);
        options.set_memtable_whole_key_filtering(true);
        Ok(options)
    }

    fn table(&self, block: usize) -> BlockBasedOptions {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&self.cache);
        table.set_block_size(block);
        // One Bloom filter a file: with partitions, looking up an absent key takes 2 to 3 times as long,
        // and building a Ribbon filter takes about 100 MB more at its peak.
        table.set_bloom_filter(10.0, false);
        table.set_whole_key_filtering(true);
        table.set_cache_index_and_filter_blocks(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        table
    }
}
