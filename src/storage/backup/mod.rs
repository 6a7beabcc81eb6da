//! Backups: whole copies of the store in a directory elsewhere, taken while it is being written to.
//!
//! A checkpoint freezes the store's files by hard links, in a moment; from then on the live store is
//! not involved any more. Its files are copied under the hash of their content, so that the next
//! backup writes only those that are new, and a manifest lists them, with what the store holds. The
//! manifest is written last, once the copy was opened and read through: a backup that was cut off
//! has none.
//!
//! Every byte of a backup is covered by a hash: files by the one in their name, which the manifest
//! repeats, the manifest by the one in its last line.
//!
//! RocksDB's own backup engine is not used: as bound here it reports no progress and cannot be
//! stopped, it writes to a directory that is only to be looked at or restored from, it leaves its
//! own list of files without a checksum, and it needs the checkpoint open for writing.
//!
//! - `manifest`: the record of one backup.
//! - `origin`: of which store a backup is.
//! - `pool`: the directory of backups: files by content, manifests, what no one needs any more.
//! - `make`, `restore`: the two ways.
//!
//! Kept out: who asks, and any clock.

mod make;
mod manifest;
mod origin;
mod pool;
mod restore;

use std::path::{Path, PathBuf};

use self::manifest::LAYOUT;
use super::error::{OpenError, ReadError};
use super::file_error::FileError;
use super::pace::Ended;

pub(super) use make::remove_leftover;
pub use make::{BackupOptions, Made, make};
pub use manifest::{FamilyRows, Listed, Manifest, Summary};
pub use pool::list;
pub use restore::{Restore, Restored, restore};

/// Why there is no backup, or nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It cannot be done, or is not meant. The text says why, and what to do.
    #[error("{0}")]
    Refused(String),
    /// Something of a backup is not as it was written.
    #[error(
        "the backup is damaged: {} {what}; nothing was changed: restore another backup, or delete that file and \
         back up again, which writes anew what is missing",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Written by another version of the program.
    #[error(
        "{} has backup layout version {found}, this counterd knows {LAYOUT}; use the version of counterd \
         that wrote it",
        path.display()
    )]
    Unsupported {
        /// The manifest.
        path: PathBuf,
        /// The version found.
        found: u32,
    },
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The copy does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// Whoever asked does not want it any more.
    #[error(transparent)]
    Ended(#[from] Ended),
}

impl BackupError {
    fn damaged(path: &Path, what: impl Into<String>) -> Self {
        let (path, what) = (path.to_owned(), what.into());
        Self::Damaged { path, what }
    }
}

#[cfg(test)]
mod tests;
