//! Whose a copy of the store is: the mirror in Redis, the rows in PostgreSQL.
//!
//! A copy carries the id of the store that writes it. A copy of an earlier version carries epochs alone; it
//! belongs to the store that had them.
//!
//! Kept out: how a copy is asked and written (`mirror`, `export`), and backups (`backup`).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::lineage::{Lineage, LineageId};
use crate::calendar::Day;

/// What a copy says of the store that wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyMark {
    /// The id of the store; `None` in a copy of an earlier version, and in an empty one.
    pub lineage: Option<LineageId>,
    /// The epoch of the store; 0 where the copy does not say.
    pub epoch: u64,
    /// Whether the copy holds no values.
    pub is_empty: bool,
}

/// The store that a copy belongs to, where that is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OtherStore {
    /// The store of that id.
    Known(LineageId),
    /// A store that an earlier version of counterd wrote from, on that epoch.
    OfEpoch(u64),
}

impl fmt::Display for OtherStore {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(id) => write!(out, "{id}"),
            Self::OfEpoch(epoch) => write!(
                out,
                "of epoch {epoch} (an earlier version wrote it, without an id)"
            ),
        }
    }
}

/// Which store a copy belongs to, compared with the one that asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CopyOwner {
    /// Nobody's: the copy holds nothing yet.
    Nobody,
    /// This store's.
    Ours,
    /// Another store's.
    Other(OtherStore),
}

impl Lineage {
    /// Decides by its mark whose a copy is; `None` where only the epochs of its values tell.
    pub fn owner_by_mark(&self, mark: &CopyMark) -> Option<CopyOwner> {
        match (mark.lineage, mark.is_empty, mark.epoch) {
            (Some(id), _, _) if id == self.id => Some(CopyOwner::Ours),
            (Some(id), _, _) => Some(CopyOwner::Other(OtherStore::Known(id))),
            (None, true, _) => Some(CopyOwner::Nobody),
            (None, false, 0) => None,
            (None, false, epoch) => Some(self.owner_by_epochs([epoch])),
        }
    }

    /// Decides by the epochs of its values whose a copy is.
    pub fn owner_by_epochs(&self, epochs: impl IntoIterator<Item = u64>) -> CopyOwner {
        let mut owner = CopyOwner::Nobody;
        for epoch in epochs.into_iter().filter(|&epoch| epoch > 0) {
            if self.has(epoch) {
                return CopyOwner::Ours;
            }
            owner = CopyOwner::Other(OtherStore::OfEpoch(epoch));
        }
        owner
    }
}

impl CopyOwner {
    /// Checks that the copy is not another store's than `ours`.
    ///
    /// # Errors
    /// [`CopyConflict::OtherStore`] when it is.
    pub fn is_not_of_another(self, ours: LineageId) -> Result<(), CopyConflict> {
        match self {
            Self::Other(theirs) => Err(CopyConflict::OtherStore { ours, theirs }),
            Self::Nobody | Self::Ours => Ok(()),
        }
    }
}

/// What a copy holds, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyContents {
    /// Whose it is.
    pub owner: CopyOwner,
    /// Counters in it.
    pub names: u64,
    /// The revision it has come to.
    pub revision: u64,
    /// The last closed day in it; `None` where it holds none.
    pub through: Option<Day>,
}

/// Why a store writes nothing more to a copy. The text goes on with what else can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CopyConflict {
    /// The copy was written by a store that is ahead of this one.
    #[error(
        "epoch {theirs}, which is later than this store's, {ours}: this is an older store, and it writes nothing there. Write from the later store, or"
    )]
    LaterEpoch {
        /// This store's epoch.
        ours: u64,
        /// The highest in the copy.
        theirs: u64,
    },
    /// The copy was written by a copy of this store that is ahead of it.
    #[error(
        "revision {theirs} of this store's epoch, and this store has come to {ours} only: this is an older copy of the store; what is there stays. Write from the other copy, restore a backup of this store as a new epoch, or"
    )]
    Ahead {
        /// What this store has come to.
        ours: u64,
        /// The highest in the copy.
        theirs: u64,
    },
    /// The copy is another store's.
    #[error(
        "another store, {theirs}; this store is {ours}, and it writes nothing there. Replace them by this store's, see `counterd adopt`, or"
    )]
    OtherStore {
        /// This store.
        ours: LineageId,
        /// The store that the copy belongs to.
        theirs: OtherStore,
    },
}

impl CopyConflict {
    /// Checks that a copy of the epoch `theirs` is not of a later one than `ours`.
    ///
    /// # Errors
    /// [`CopyConflict::LaterEpoch`] when it is.
    pub fn no_later(ours: u64, theirs: u64) -> Result<(), Self> {
        if theirs > ours {
            return Err(Self::LaterEpoch { ours, theirs });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_belongs_to_the_store_whose_id_or_epochs_it_carries() {
        let mut ours = Lineage::born(5);
        ours.add(9);
        let other = Lineage::born(5).id;
        let by = |lineage, epoch, is_empty| {
            ours.owner_by_mark(&CopyMark {
                lineage,
                epoch,
                is_empty,
            })
        };
        let of_epoch = |epoch| CopyOwner::Other(OtherStore::OfEpoch(epoch));
        let known = Some(CopyOwner::Other(OtherStore::Known(other)));
        // The id alone decides where there is one.
        assert_eq!(by(Some(ours.id), 7, false), Some(CopyOwner::Ours));
        assert_eq!(by(Some(other), 5, true), known);
        // Else the epochs.
        assert_eq!(by(None, 7, true), Some(CopyOwner::Nobody));
        assert_eq!(by(None, 5, false), Some(CopyOwner::Ours));
        assert_eq!(by(None, 7, false), Some(of_epoch(7)));
        assert_eq!(by(None, 0, false), None);
        assert_eq!(ours.owner_by_epochs([7, 9, 8]), CopyOwner::Ours);
        assert_eq!(ours.owner_by_epochs([0, 7]), of_epoch(7));
        assert_eq!(ours.owner_by_epochs([0]), CopyOwner::Nobody);
    }
}
