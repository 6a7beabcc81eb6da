//! What a store holds, in numbers and one hash, by reading every record of it.

use std::ops::ControlFlow;
use std::path::Path;

use rocksdb::properties;
use xxhash_rust::xxh3::Xxh3;

use super::BackupError;
use super::manifest::{FamilyRows, LAYOUT, Manifest, hex};
use crate::storage::family::Family;
use crate::storage::open;
use crate::storage::pace::Pace;
use crate::storage::schema::Schema;
use crate::storage::tables::Tables;

/// Records between two looks at the time.
const LOOK_EVERY: u64 = 4096;

/// Opens the database in `db_dir` for reading and reads all of it, with checksums verified. Returns a manifest
/// of what it holds, which says nothing of a backup yet.
pub(super) fn read_through(
    db_dir: &Path,
    schema: &Schema,
    what: &'static str,
    pace: &mut Pace<'_>,
) -> Result<Manifest, BackupError> {
    let tables = open::read_only(db_dir, schema)?;
    let (format, merge) = tables.versions()?;
    let state = tables.state()?;
    let (rows, hash) = records(&tables, what, pace)?;
    Ok(Manifest {
        layout: LAYOUT,
        backup: 0,
        counterd: env!("CARGO_PKG_VERSION").to_owned(),
        made_at_ms: 0,
        verified: false,
        format,
        merge,
        epoch: tables.epoch()?,
        lineage: tables.lineage()?,
        revision: state.map_or(0, |state| state.revision),
        highest_day: state.map(|state| state.highest_day),
        zone: tables.zone()?,
        committed_at_ms: state.map(|state| state.wall_ms),
        rows,
        rows_xxh3_128: hex(hash),
        new_bytes: 0,
        files: Vec::new(),
    })
}

/// Counts the records of each family. Returns with them the xxh3-128 over family, key and value of every
/// record, each with its length before it, in order.
fn records(
    tables: &Tables,
    what: &'static str,
    pace: &mut Pace<'_>,
) -> Result<(FamilyRows, u128), BackupError> {
    let estimate = |family| tables.property(family, properties::ESTIMATE_NUM_KEYS);
    let mut part = pace.begin(what, Family::ALL.into_iter().map(estimate).sum())?;
    let mut hash = Xxh3::new();
    let mut rows = FamilyRows::new();
    for family in Family::ALL {
        let (mut count, mut ended) = (0, Ok(()));
        add(&mut hash, family.name().as_bytes());
        tables.scan(family, &[], None, |key, value| {
            add(&mut hash, key);
            add(&mut hash, value);
            count += 1;
            if count % LOOK_EVERY == 0 {
                ended = part.add(LOOK_EVERY);
            }
            match ended {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        })?;
        ended?;
        rows.insert(family.name().to_owned(), count);
    }
    Ok((rows, hash.digest128()))
}

fn add(hash: &mut Xxh3, bytes: &[u8]) {
    hash.update(&(bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}
