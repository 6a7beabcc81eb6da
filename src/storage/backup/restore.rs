//! Restoring: the backup becomes the store, as a new epoch, once every byte of it was checked.

use std::fs;
use std::path::{Path, PathBuf};

use super::BackupError;
use super::make::{compare, reading_schema, take_out};
use super::manifest::{Listed, Manifest};
use super::origin::{self, StoreOrigin};
use super::pool::{Pool, manifest_name};
use crate::counter::Millis;
use crate::storage::acked;
use crate::storage::batch::Batch;
use crate::storage::create::{remove, seal, stamp, write_and_flush};
use crate::storage::error::OpenError;
use crate::storage::file_error::FileError;
use crate::storage::files::sync_dir;
use crate::storage::held::HeldDir;
use crate::storage::lineage::Lineage;
use crate::storage::lock::DataDirLock;
use crate::storage::open;
use crate::storage::owner;
use crate::storage::pace::{Pace, Watch};
use crate::storage::paths::Paths;
use crate::storage::recover::{swap, sync_all};
use crate::storage::schema::{DbAccess, Schema};
use crate::storage::tables::Tables;

/// Where the store is built; a start that finds it in place of a store refuses to begin empty.
const WORKING: &str = "store.restoring";

/// What is restored.
#[derive(Debug, Clone)]
pub struct Restore {
    /// The directory of backups.
    pub dir: PathBuf,
    /// Which; none: the newest.
    pub backup: Option<u32>,
    /// Whether a store that is there is set aside.
    pub replace: bool,
    /// Whether it may be of another store than the one that is there.
    pub another_store: bool,
}

/// What was restored.
#[derive(Debug)]
pub struct Restored {
    /// The backup.
    pub manifest: Manifest,
    /// The epoch from now on.
    pub epoch: u64,
    /// Where the store is kept that was there before.
    pub kept: Option<PathBuf>,
}

/// The backup that is meant, and the others beside it.
///
/// # Errors
/// When there is none, or its manifest is damaged or another version's.
fn choose(pool: &Pool, wanted: &Restore) -> Result<(Manifest, Vec<Listed>), BackupError> {
    let mut listed = pool.list()?;
    let known = listed.iter().map(|listed| listed.id).collect();
    let at = match wanted.backup {
        Some(id) => listed.iter().position(|listed| listed.id == id),
        None => listed.len().checked_sub(1),
    };
    let Some(at) = at else {
        return Err(BackupError::None {
            dir: wanted.dir.clone(),
            wanted: wanted.backup,
            known,
        });
    };
    let chosen = listed.remove(at);
    let manifest = chosen.manifest?;
    match open::unread(manifest.format, manifest.merge) {
        None => Ok((manifest, listed)),
        Some((what, found, known)) => Err(BackupError::Unsupported {
            path: wanted.dir.join(manifest_name(chosen.id)),
            what,
            found,
            known,
        }),
    }
}

/// Refuses a backup of another store than the one that is there. Where none is there, all backups must
/// be of one store, or somebody has to say which is meant.
fn refuse_anothers(
    wanted: &Restore,
    manifest: &Manifest,
    others: &[Listed],
    present: Option<&StoreOrigin>,
) -> Result<(), BackupError> {
    let theirs = StoreOrigin::of(manifest);
    match present {
        _ if wanted.another_store => Ok(()),
        Some(ours) if ours.is(&theirs) => Ok(()),
        Some(ours) => {
            let mut own = others.iter().rev().filter_map(origin::readable);
            Err(BackupError::AnotherStores {
                theirs: origin::told(manifest),
                ours: ours.clone(),
                own: own
                    .find(|other| ours.is(&StoreOrigin::of(other)))
                    .map(|other| other.backup),
            })
        }
        None => match origin::stranger(&theirs, others) {
            Some(other) if wanted.backup.is_none() => Err(BackupError::SeveralStores {
                dir: wanted.dir.clone(),
                newest: origin::told(manifest),
                other: origin::told(other),
            }),
            Some(_) | None => Ok(()),
        },
    }
}

/// What the restored store is to be called, and the epochs that it has had besides its backup's: as the
/// store knows that it replaces, where that is the same, and as later backups know.
fn kin(manifest: &Manifest, others: &[Listed], present: Option<StoreOrigin>) -> Kin {
    let backup = StoreOrigin::of(manifest);
    let present = present.filter(|present| present.is(&backup));
    let later = others.iter().rev().filter_map(origin::readable);
    let mut known = present.iter().cloned().chain(later.map(StoreOrigin::of));
    Kin {
        lineage: known.find_map(|known| known.lineage().filter(|_| known.is(&backup))),
        epochs: present.map_or(Vec::new(), |present| present.epochs().to_vec()),
    }
}

struct Kin {
    lineage: Option<Lineage>,
    epochs: Vec<u64>,
}

/// Restores a backup to a data directory that no server has open. `now_ms` is milliseconds since
/// 1970; the new epoch is that, or one more than any before.
///
/// # Errors
/// When it was not restored; what was there is as it was.
pub fn restore(
    data_dir: &Path,
    wanted: &Restore,
    now_ms: Millis,
    watch: Watch<'_>,
) -> Result<Restored, BackupError> {
    let pool = Pool::for_reading(&wanted.dir)?;
    let (manifest, others) = choose(&pool, wanted)?;
    let is_new = !data_dir.exists();
    let lock = DataDirLock::take_patiently(data_dir)?;
    if is_new {
        owner::give_as_parent(data_dir)?;
    }
    let paths = Paths::new(lock.data_dir());
    if paths.store.symlink_metadata().is_ok() && !wanted.replace {
        return Err(BackupError::StoreThere {
            data_dir: paths.data_dir,
        });
    }
    let present = StoreOrigin::at(&paths, &reading_schema());
    refuse_anothers(wanted, &manifest, &others, present.as_ref())?;
    let kin = kin(&manifest, &others, present);
    let working = Paths::at(paths.data_dir.clone(), paths.data_dir.join(WORKING));
    remove(&working.store)?;
    let before = last_epoch(&paths)?.max(manifest.epoch);
    let epoch = u64::try_from(now_ms)
        .unwrap_or(0)
        .max(before.saturating_add(1));
    let built = build(&pool, &manifest, &working, (kin, epoch), Pace::new(watch));
    if let Err(error) = built {
        remove(&working.store)?;
        return Err(error);
    }
    owner::give_back(&paths.data_dir)?;
    let kept = if paths.store.symlink_metadata().is_ok() {
        Some(swap(&paths, &working, epoch)?)
    } else {
        fs::rename(&working.store, &paths.store)
            .map_err(FileError::new("rename", &working.store))?;
        sync_dir(&paths.data_dir)?;
        None
    };
    Ok(Restored {
        manifest,
        epoch,
        kept,
    })
}

/// The greatest epoch that anything in the data directory tells of.
fn last_epoch(paths: &Paths) -> Result<u64, BackupError> {
    // What cannot be read is to be replaced for that.
    let mut last = acked::epoch_in(&paths.acked).unwrap_or(0);
    let list = || FileError::new("list", &paths.data_dir);
    for entry in fs::read_dir(&paths.data_dir).map_err(list())? {
        let name = entry.map_err(list())?.file_name();
        let epoch = name
            .to_str()
            .and_then(|name| name.strip_prefix("store.before-")?.parse().ok());
        last = last.max(epoch.unwrap_or(0));
    }
    Ok(last)
}

/// Makes a whole store of the backup, which opens by the ordinary rules.
fn build(
    pool: &Pool,
    manifest: &Manifest,
    working: &Paths,
    (kin, epoch): (Kin, u64),
    mut pace: Pace<'_>,
) -> Result<(), BackupError> {
    let db = HeldDir::open_or_make(&working.db)?;
    take_out(pool, manifest, &db, false, &mut pace)?;
    let schema = reading_schema();
    compare(manifest, &working.db, &schema, &mut pace)?;
    let sequence = begin_epoch(manifest, working, &schema, (kin, epoch))?;
    seal(working, epoch, sequence)?;
    sync_all(&working.db)?;
    open::check(working, &schema, open::Depth::Counters)?;
    Ok(())
}

fn begin_epoch(
    manifest: &Manifest,
    working: &Paths,
    schema: &Schema,
    (kin, epoch): (Kin, u64),
) -> Result<u64, OpenError> {
    let refused = |error| OpenError::from_rocksdb(&working.db, error);
    let tables = Tables::open(&working.db, schema, DbAccess::Write).map_err(refused)?;
    let refused = |error| OpenError::from_read(&working.db, error);
    // The same store, on a new epoch.
    let known = tables.lineage().map_err(refused)?.or(kin.lineage);
    let mut lineage = known.unwrap_or_else(|| Lineage::of_older(working, manifest.epoch));
    let epochs = kin.epochs.into_iter().chain([epoch]);
    epochs.for_each(|epoch| lineage.add(epoch));
    let mut batch = Batch::new();
    stamp(&mut batch, epoch, &lineage);
    write_and_flush(&tables, &batch).map_err(refused)?;
    Ok(tables.sequence())
}
