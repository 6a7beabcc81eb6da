//! Restoring: the backup becomes the store, as a new epoch, once every byte of it was checked.

use std::path::{Path, PathBuf};

use super::BackupError;
use super::make::{compare, reading_schema};
use super::manifest::Manifest;
use super::origin::{self, StoreOrigin};
use super::pool::{self, Pool, manifest_name};
use crate::counter::Millis;
use crate::storage::create::{begin_epoch, put_in_place, remove};
use crate::storage::error::OpenError;
use crate::storage::held::HeldDir;
use crate::storage::lineage::{Lineage, next_epoch};
use crate::storage::lock::DataDirLock;
use crate::storage::pace::{Pace, Watch};
use crate::storage::paths::{Paths, RESTORING};
use crate::storage::schema::DbAccess;
use crate::storage::tables::Tables;
use crate::storage::{acked, files, open, owner};

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

/// Finds the backup that is meant; returns the others that can be read, too, newest first.
///
/// # Errors
/// When there is none, or its manifest is damaged or another version's.
fn choose(pool: &Pool, wanted: &Restore) -> Result<(Manifest, Vec<Manifest>), BackupError> {
    let mut listed = pool::list_in(&pool.dir)?;
    let at = match wanted.backup {
        Some(id) => listed.iter().position(|listed| listed.id == id),
        None => listed.len().checked_sub(1),
    };
    let Some(at) = at else {
        let known: Vec<_> = listed.iter().map(|listed| listed.id.to_string()).collect();
        let dir = wanted.dir.display();
        return Err(BackupError::Refused(match wanted.backup {
            Some(id) if known.is_empty() => format!("{dir} holds no backup {id}"),
            Some(id) => format!("{dir} holds no backup {id}; there are {}", known.join(", ")),
            None => format!("{dir} holds no backup"),
        }));
    };
    let chosen = listed.remove(at);
    let manifest = chosen.manifest?;
    let path = wanted.dir.join(manifest_name(chosen.id));
    open::check_versions(&path, manifest.format, manifest.merge)?;
    let others = listed.into_iter().rev();
    let others = others.filter_map(|listed| listed.manifest.ok());
    Ok((manifest, others.collect()))
}

/// Refuses a backup of another store than the one that is there. Where none is there, all backups must
/// be of one store, or somebody has to say which is meant.
fn refuse_anothers(
    wanted: &Restore,
    manifest: &Manifest,
    others: &[Manifest],
    present: Option<&StoreOrigin>,
) -> Result<(), BackupError> {
    let theirs = StoreOrigin::of(manifest);
    match present {
        _ if wanted.another_store => Ok(()),
        Some(ours) if ours.is(&theirs) => Ok(()),
        Some(ours) => {
            let own = others.iter().find(|other| ours.is(&StoreOrigin::of(other)));
            let remedy = match own {
                Some(own) => format!("restore this store's own backup with --backup {}", own.backup),
                None => "there is no backup of this store here, as far as can be told (one that cannot be read \
                         is known by its epoch alone)"
                    .to_owned(),
            };
            Err(BackupError::Refused(format!(
                "{}; the store that is there is {ours}; nothing was changed: {remedy}, or say --another-store \
                 to restore it all the same",
                origin::told(manifest)
            )))
        }
        None => match origin::stranger(&theirs, others.iter()) {
            Some(other) if wanted.backup.is_none() => {
                let dir = wanted.dir.display();
                Err(BackupError::Refused(format!(
                    "{dir} holds backups of several stores: {}; {}; nothing was changed: say which with \
                     --backup NUMBER (`counterd backup {dir} --list` shows them)",
                    origin::told(manifest),
                    origin::told(other)
                )))
            }
            Some(_) | None => Ok(()),
        },
    }
}

/// Returns which store the restored one is, with the epochs that it has had: as its own tables know, as the
/// store knows that it replaces where that is the same, and as later backups know.
fn lineage_of(
    own: Option<Lineage>,
    paths: &Paths,
    manifest: &Manifest,
    others: &[Manifest],
    present: Option<StoreOrigin>,
) -> Lineage {
    let backup = StoreOrigin::of(manifest);
    let present = present.filter(|present| present.is(&backup));
    let others = others.iter().map(StoreOrigin::of);
    let mut kin = present.iter().cloned().chain(others);
    let id = || kin.find_map(|kin| kin.lineage().filter(|_| kin.is(&backup)));
    let mut lineage = own
        .or_else(id)
        .unwrap_or_else(|| Lineage::of_older(paths, manifest.epoch));
    for epoch in present.into_iter().flat_map(|present| present.epochs) {
        lineage.add(epoch);
    }
    lineage
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
        return Err(BackupError::Refused(format!(
            "there is a store in {} already; nothing was changed: with --replace it is set aside and kept",
            paths.data_dir.display()
        )));
    }
    let present = StoreOrigin::at(&paths, &reading_schema());
    refuse_anothers(wanted, &manifest, &others, present.as_ref())?;
    let epoch = next_epoch(now_ms, last_epoch(&paths)?.max(manifest.epoch));
    let lineage = |own| {
        let mut lineage = lineage_of(own, &paths, &manifest, &others, present);
        lineage.add(epoch);
        lineage
    };
    let working = paths.beside(RESTORING);
    remove(&working.store)?;
    if let Err(error) = build(&pool, &manifest, &working, epoch, lineage, watch) {
        remove(&working.store)?;
        return Err(error);
    }
    owner::give_back(&paths.data_dir)?;
    let kept = put_in_place(&paths, &working, epoch)?;
    Ok(Restored {
        manifest,
        epoch,
        kept,
    })
}

/// Finds the greatest epoch that anything in the data directory tells of.
fn last_epoch(paths: &Paths) -> Result<u64, BackupError> {
    // What cannot be read is to be replaced for that.
    let mut last = acked::epoch_in(&paths.acked).unwrap_or(0);
    for entry in files::entries(&paths.data_dir)? {
        let name = entry.file_name();
        let epoch = name.to_str().and_then(Paths::epoch_that_replaced);
        last = last.max(epoch.unwrap_or(0));
    }
    Ok(last)
}

/// Makes a whole store of the backup, which opens by the ordinary rules.
fn build(
    pool: &Pool,
    manifest: &Manifest,
    working: &Paths,
    epoch: u64,
    lineage: impl FnOnce(Option<Lineage>) -> Lineage,
    watch: Watch<'_>,
) -> Result<(), BackupError> {
    let mut pace = Pace::new(watch);
    let db = HeldDir::open_or_make(&working.db)?;
    pool.take_out(manifest, &db, false, &mut pace)?;
    compare(manifest, &working.db, &mut pace)?;
    let schema = reading_schema();
    let tables = Tables::open(&working.db, &schema, DbAccess::Write)?;
    let own = tables.lineage();
    let own = own.map_err(|error| OpenError::from_read(&working.db, error))?;
    begin_epoch(working, tables, epoch, &lineage(own), None)?;
    open::check(working, &schema)?;
    Ok(())
}
