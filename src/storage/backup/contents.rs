//! What a store holds, in numbers and one hash, by reading every record of it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use rocksdb::properties;
use xxhash_rust::xxh3::Xxh3;

use super::BackupError;
use crate::storage::error::ReadError;
use crate::storage::family::Family;
use crate::storage::lineage::Lineage;
use crate::storage::open;
use crate::storage::pace::Pace;
use crate::storage::schema::Schema;
use crate::storage::tables::Tables;
use crate::storage::value::StoreState;

/// Records between two looks at the time.
const LOOK_EVERY: u64 = 4096;

/// Records in each family, by its name.
pub type FamilyRows = BTreeMap<String, u64>;

/// What a store holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) format: u32,
    pub(super) merge: u32,
    pub(super) epoch: u64,
    pub(super) lineage: Option<Lineage>,
    pub(super) state: Option<StoreState>,
    pub(super) zone: Option<String>,
    pub(super) rows: FamilyRows,
    /// xxh3-128 over family, key and value of every record, each with its length before it, in
    /// order.
    pub(super) hash: u128,
}

impl Contents {
    /// Opens the database in `db_dir` for reading and reads all of it, with checksums verified.
    pub(super) fn of(
        db_dir: &Path,
        schema: &Schema,
        what: &'static str,
        pace: &mut Pace<'_>,
    ) -> Result<Self, BackupError> {
        let tables = open::read_only(db_dir, schema)?;
        let (format, merge) = tables.versions()?;
        let (rows, hash) = read_through(&tables, what, pace)?;
        Ok(Self {
            format,
            merge,
            epoch: tables.epoch()?,
            lineage: tables.lineage()?,
            state: tables.state()?,
            zone: tables.zone()?,
            rows,
            hash,
        })
    }
}

fn read_through(
    tables: &Tables,
    what: &'static str,
    pace: &mut Pace<'_>,
) -> Result<(FamilyRows, u128), BackupError> {
    let estimate = |family| tables.property(family, properties::ESTIMATE_NUM_KEYS);
    let total = Family::ALL.into_iter().map(estimate).sum();
    pace.at(what, 0, total)?;
    let mut hash = Xxh3::new();
    let mut rows = FamilyRows::new();
    let mut done = 0;
    for family in Family::ALL {
        let begun = done;
        let mut ended = Ok(());
        add(&mut hash, family.name().as_bytes());
        tables.scan(family, &[], None, |key, value| {
            add(&mut hash, key);
            add(&mut hash, value);
            done += 1;
            if done % LOOK_EVERY == 0 {
                ended = pace.at(what, done, total);
            }
            if ended.is_err() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        ended?;
        rows.insert(family.name().to_owned(), done - begun);
    }
    Ok((rows, hash.digest128()))
}

fn add(hash: &mut Xxh3, bytes: &[u8]) {
    hash.update(&(bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}

/// What is wrong with a copy that cannot be read.
pub(super) fn unreadable(db_dir: &Path, error: BackupError) -> BackupError {
    match error {
        BackupError::Read(ReadError::RocksDb(error)) => BackupError::Damaged {
            path: db_dir.to_owned(),
            what: format!("cannot be read: {error}"),
        },
        other => other,
    }
}
