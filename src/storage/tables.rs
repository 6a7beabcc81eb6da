//! Reading: records by key and by range, and RocksDB's own figures.
//!
//! [`Tables`] is an open database. [`Reader`] is a handle for other threads that does not keep it
//! open: a store that failed must close before it can be reopened.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use parking_lot::RwLock;
use rocksdb::{
    Cache, ColumnFamily, DB, DBPinnableSlice, DBRawIteratorWithThreadMode, ReadOptions,
    WriteBufferManager, properties,
};

use super::error::{OpenError, ReadError};
use super::expiry::Horizons;
use super::family::Family;
use super::files;
use super::rot::Rot;
use super::schema::{DbAccess, Schema};
use crate::invariant::Broken;

/// Records that [`Reader::each`] reads while it holds the tables.
const PAGE: usize = 20_000;

/// A walk through the records of a family.
pub(super) type Records<'a> = DBRawIteratorWithThreadMode<'a, DB>;

/// An open database: reads, and the figures that RocksDB keeps of itself.
pub struct Tables {
    pub(super) db: DB,
    cache: Cache,
    write_buffers: WriteBufferManager,
    pub(super) rot: Arc<Rot>,
    pub(super) is_writable: bool,
}

impl Tables {
    /// Opens the database in `db_dir`.
    pub(super) fn open(
        db_dir: &Path,
        schema: &Schema,
        access: DbAccess,
    ) -> Result<Self, OpenError> {
        Self::try_open(db_dir, schema, access)
            .map_err(|error| OpenError::from_rocksdb(db_dir, None, error))
    }

    /// Opens the database in `db_dir`; says what RocksDB says when it does not open.
    pub(super) fn try_open(
        db_dir: &Path,
        schema: &Schema,
        access: DbAccess,
    ) -> Result<Self, rocksdb::Error> {
        let (options, families) = (schema.database(access)?, schema.families()?);
        let is_writable = access != DbAccess::Read;
        let db = if is_writable {
            DB::open_cf_descriptors(&options, db_dir, families)
        } else {
            DB::open_cf_descriptors_read_only(&options, db_dir, families, false)
        }?;
        Ok(Self {
            db,
            cache: schema.cache.clone(),
            write_buffers: schema.write_buffers.clone(),
            rot: Arc::clone(&schema.rot),
            is_writable,
        })
    }

    pub(super) fn handle(&self, family: Family) -> Result<&ColumnFamily, ReadError> {
        let handle = self.db.cf_handle(family.as_str());
        // Every way of opening names all families.
        handle.ok_or_else(|| {
            Broken::found(format_args!("the family {} is not open", family.as_str())).into()
        })
    }

    /// Returns the value of `key` without copying it; `None` where there is no such record.
    ///
    /// # Errors
    /// When RocksDB cannot read it.
    pub(super) fn get(
        &self,
        family: Family,
        key: &[u8],
    ) -> Result<Option<DBPinnableSlice<'_>>, ReadError> {
        self.db
            .get_pinned_cf(self.handle(family)?, key)
            .map_err(|error| self.failed(family, error))
    }

    /// Calls `visit` with every record from `start` on (the first one when empty), in order of
    /// keys, until `end` (exclusive; `None`: the last one) or until `visit` breaks. Reads one
    /// state of the family, whatever is written meanwhile, and leaves the cache alone.
    ///
    /// # Errors
    /// When RocksDB cannot read on.
    pub(super) fn scan(
        &self,
        family: Family,
        start: &[u8],
        end: Option<&[u8]>,
        mut visit: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let mut records = self.records(family, end)?;
        records.seek(start);
        while let Some((key, value)) = records.item() {
            if visit(key, value).is_break() {
                return Ok(());
            }
            records.next();
        }
        records.status().map_err(|error| self.failed(family, error))
    }

    /// Walks through a family up to `end` (exclusive; `None`: the last record).
    pub(super) fn records(
        &self,
        family: Family,
        end: Option<&[u8]>,
    ) -> Result<Records<'_>, ReadError> {
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        options.set_verify_checksums(true);
        if let Some(end) = end {
            options.set_iterate_upper_bound(end);
        }
        Ok(self.db.raw_iterator_cf_opt(self.handle(family)?, options))
    }

    /// Returns RocksDB's sequence number: the operations written so far.
    pub fn sequence(&self) -> u64 {
        self.db.latest_sequence_number()
    }

    /// Returns how many flushes and compactions failed since the store was opened.
    pub fn background_errors(&self) -> u64 {
        let errors = self.db.property_int_value(properties::BACKGROUND_ERRORS);
        errors.ok().flatten().unwrap_or(0)
    }

    /// Returns a property of one family, such as those in [`rocksdb::properties`]; 0 when it has no such
    /// property.
    pub fn property(&self, family: Family, name: impl rocksdb::CStrLike) -> u64 {
        self.handle(family)
            .ok()
            .and_then(|handle| self.db.property_int_value_cf(handle, name).ok().flatten())
            .unwrap_or(0)
    }

    /// Returns the bytes in the block cache, with those of memtables that are charged to it.
    pub fn cache_bytes(&self) -> u64 {
        self.cache.get_usage() as u64
    }

    /// Returns the bytes of the logs on disk; `None` when the directory cannot be read.
    pub fn wal_bytes(&self) -> Option<u64> {
        files::wal_bytes(self.db.path()).ok()
    }

    /// Returns the bytes in memtables.
    pub fn memtable_bytes(&self) -> u64 {
        self.write_buffers.get_usage() as u64
    }
}

/// Reads for other threads than the writer's. Cheap to clone; it survives a reopen, during which it
/// answers [`ReadError::Closed`]. It reads what is committed, which at any moment may be a group
/// further than what was published.
#[derive(Clone, Default)]
pub struct Reader {
    slot: Arc<RwLock<Option<Arc<Tables>>>>,
    /// The tables of the store that were found rotten so far.
    pub rot: Arc<Rot>,
    /// What compaction may drop, and what it did.
    pub horizons: Arc<Horizons>,
}

impl Reader {
    /// Calls `read` with the open tables. Closing the store waits for it, so it is to be short.
    ///
    /// # Errors
    /// [`ReadError::Closed`] while no store is open, else what `read` returns.
    pub fn with<T>(
        &self,
        read: impl FnOnce(&Tables) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let Some(slot) = self.slot.try_read() else {
            return Err(ReadError::Closed);
        };
        match slot.as_ref() {
            Some(tables) => read(tables),
            None => Err(ReadError::Closed),
        }
    }

    /// Returns how many records of a family can be read. `between` is told now and then how many were counted,
    /// and of about how many.
    ///
    /// # Errors
    /// When the tables cannot be read, or `between` says so.
    pub fn count<E: From<ReadError>>(
        &self,
        family: Family,
        between: &mut dyn FnMut(u64, u64) -> Result<(), E>,
    ) -> Result<u64, E> {
        self.each(family, &mut |_, _| {}, between)
    }

    /// Calls `visit` with every record of a family, holding the tables for a page of records at a time,
    /// and `between` as [`Reader::count`] does. Returns how many there are.
    pub(super) fn each<E: From<ReadError>>(
        &self,
        family: Family,
        visit: &mut dyn FnMut(&[u8], &[u8]),
        between: &mut dyn FnMut(u64, u64) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut rows = 0;
        let mut start = Vec::new();
        loop {
            let estimate = self.with(|tables| {
                let mut left = PAGE;
                let mut next = None;
                tables.scan_past_rot(family, &start, None, |key, value| {
                    if left == 0 {
                        next = Some(key.to_vec());
                        return ControlFlow::Break(());
                    }
                    left -= 1;
                    rows += 1;
                    visit(key, value);
                    ControlFlow::Continue(())
                })?;
                start = next.unwrap_or_default();
                Ok(tables.property(family, properties::ESTIMATE_NUM_KEYS))
            })?;
            if start.is_empty() {
                return Ok(rows);
            }
            between(rows, estimate)?;
        }
    }

    pub(super) fn attach(&self, tables: &Arc<Tables>) {
        *self.slot.write() = Some(Arc::clone(tables));
    }

    pub(super) fn detach(&self) {
        *self.slot.write() = None;
    }
}
