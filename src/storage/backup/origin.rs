//! Of which store a backup is, and whether that is the store that it is made beside or restored over.
//!
//! Kept out: what is done with another store's; `make` and `restore` refuse it unless they are told.

use std::fmt;
use std::path::Path;

use super::BackupError;
use super::manifest::{Listed, Manifest};
use crate::counter::rfc3339;
use crate::storage::lineage::{Lineage, LineageId};
use crate::storage::paths::Paths;
use crate::storage::schema::{DbAccess, Schema};
use crate::storage::tables::Tables;
use crate::storage::{acked, files};

/// What is known of which store something is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoreOrigin {
    /// Its id; `None` where an earlier version wrote it, or it cannot be read.
    id: Option<LineageId>,
    /// Its epochs that are known, oldest first.
    pub(super) epochs: Vec<u64>,
}

impl From<Lineage> for StoreOrigin {
    fn from(lineage: Lineage) -> Self {
        Self {
            id: Some(lineage.id),
            epochs: lineage.epochs,
        }
    }
}

impl fmt::Display for StoreOrigin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let epoch = self.epochs.last().copied().unwrap_or(0);
        match self.id {
            Some(id) => write!(out, "{id} (epoch {epoch})"),
            None => write!(out, "of epoch {epoch} (its id is not known)"),
        }
    }
}

impl StoreOrigin {
    /// Returns what a backup says of its store.
    pub(super) fn of(manifest: &Manifest) -> Self {
        match &manifest.lineage {
            Some(lineage) => lineage.clone().into(),
            None => Self {
                id: None,
                epochs: vec![manifest.epoch],
            },
        }
    }

    /// Returns what the store in a data directory says of itself, while nobody has it open; `None` where
    /// there is no store, or nothing of it can be read.
    pub(super) fn at(paths: &Paths, schema: &Schema) -> Option<Self> {
        // Without a list of its files RocksDB would begin a new database there.
        if let Ok(Some(_)) = files::current_manifest(&paths.db)
            && let Ok(tables) = Tables::open(&paths.db, schema, DbAccess::Read)
            && let Ok(Some(lineage)) = tables.lineage()
        {
            return Some(lineage.into());
        }
        acked::epoch_in(&paths.acked).map(|epoch| Self {
            id: None,
            epochs: Lineage::of_older(paths, epoch).epochs,
        })
    }

    /// Whether both are the same store. Where one has no id, an epoch that both have had tells: an epoch
    /// is the millisecond at which it began.
    pub(super) fn is(&self, other: &Self) -> bool {
        match (self.id, other.id) {
            (Some(ours), Some(theirs)) => ours == theirs,
            (Some(_) | None, None) | (None, Some(_)) => {
                self.epochs.iter().any(|epoch| other.epochs.contains(epoch))
            }
        }
    }

    /// Returns the lineage; `None` where the id is not known.
    pub(super) fn lineage(&self) -> Option<Lineage> {
        let epochs = self.epochs.iter().copied();
        self.id.map(|id| Lineage::with_id(id, epochs))
    }

    /// Refuses a directory that holds a backup of another store than this.
    pub(super) fn alone_among(&self, dir: &Path, listed: &[Listed]) -> Result<(), BackupError> {
        let newest_first = listed.iter().rev();
        let readable = newest_first.filter_map(|listed| listed.manifest.as_ref().ok());
        let Some(theirs) = stranger(self, readable) else {
            return Ok(());
        };
        Err(BackupError::Refused(format!(
            "{} is in use for another store: {}; this store is {self}; no backup was made: choose a directory \
             for this store alone, or say --another-store to keep the backups of both there",
            dir.display(),
            told(theirs)
        )))
    }
}

/// Finds a backup of another store.
pub(super) fn stranger<'a>(
    store: &StoreOrigin,
    mut manifests: impl Iterator<Item = &'a Manifest>,
) -> Option<&'a Manifest> {
    manifests.find(|manifest| !store.is(&StoreOrigin::of(manifest)))
}

/// Describes a backup for a refusal.
pub(super) fn told(manifest: &Manifest) -> String {
    let zone = manifest
        .zone
        .as_deref()
        .map(|zone| format!(", zone {zone}"));
    format!(
        "backup {} of {}{} is of the store {}",
        manifest.backup,
        rfc3339(manifest.made_at_ms),
        zone.unwrap_or_default(),
        StoreOrigin::of(manifest),
    )
}
