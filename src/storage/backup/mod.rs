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
//! - `checkpoint`: the frozen files.
//! - `contents`: what a store holds, in numbers and one hash.
//! - `manifest`: the record of one backup.
//! - `origin`: of which store a backup is.
//! - `pool`: the directory of backups: files by content, manifests, what no one needs any more.
//! - `make`, `restore`: the two ways.
//!
//! Kept out: who asks, and any clock.

mod checkpoint;
mod contents;
mod make;
mod manifest;
mod origin;
mod pool;
mod restore;

use std::path::PathBuf;

use super::error::{OpenError, ReadError};
use super::file_error::FileError;
use super::pace::Ended;

pub(super) use checkpoint::remove_leftover;
pub use contents::FamilyRows;
pub use make::{BackupOptions, Made, make};
pub use manifest::{Listed, Manifest, Summary};
pub use origin::StoreOrigin;
pub use pool::list;
pub use restore::{Restore, Restored, restore};

/// Why there is no backup, or nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Backups in the data directory would be lost with it.
    #[error(
        "{} lies in the data directory {}: a backup there is lost with the store; choose a directory \
         elsewhere, best on another disk",
        dir.display(), data_dir.display()
    )]
    InsideDataDir {
        /// Where the backup was to be.
        dir: PathBuf,
        /// The data directory.
        data_dir: PathBuf,
    },
    /// The directory is for something else.
    #[error(
        "{} is no directory of backups: it holds {found}; no backup was made: choose a new or an empty \
         directory",
        dir.display()
    )]
    Strangers {
        /// The directory.
        dir: PathBuf,
        /// What is in it.
        found: String,
    },
    /// Anybody could replace a backup there.
    #[error(
        "anyone may write to {dir}, and so could replace a backup; no backup was made: `chmod go-w` it, or \
         choose another directory"
    )]
    OpenToAll {
        /// The directory, with its mode.
        dir: String,
    },
    /// Somebody else made the directory of files.
    #[error(
        "{} belongs to another user (uid {owner}), who could replace a backup; no backup was made: move it \
         away, or choose another directory",
        dir.display()
    )]
    Foreign {
        /// The directory of files.
        dir: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// A backup never takes the place of another.
    #[error("no number is left after that of {}; move that file away, or choose another directory", path.display())]
    NoNumber {
        /// The manifest with the highest number.
        path: PathBuf,
    },
    /// Backups of another store are in the directory.
    #[error(
        "{} is in use for another store: {theirs}; this store is {ours}; no backup was made: choose a \
         directory for this store alone, or say --another-store to keep the backups of both there",
        dir.display()
    )]
    OthersThere {
        /// The directory.
        dir: PathBuf,
        /// The newest backup of another store.
        theirs: String,
        /// This store.
        ours: StoreOrigin,
    },
    /// The backup is of another store than the one that is to be replaced.
    #[error(
        "{theirs}; the store that is there is {ours}; nothing was changed: {}, or say --another-store to \
         restore it all the same",
        match own {
            Some(own) => format!("restore this store's own backup with --backup {own}"),
            None => "there is no backup of this store here, as far as can be told (one that cannot be read is \
                     known by its epoch alone)".to_owned(),
        }
    )]
    AnotherStores {
        /// The backup.
        theirs: String,
        /// The store that is there.
        ours: StoreOrigin,
        /// The newest backup of that store.
        own: Option<u32>,
    },
    /// No store is there that could tell which backup is meant.
    #[error(
        "{} holds backups of several stores: {newest}; {other}; nothing was changed: say which with \
         --backup NUMBER (`counterd backup {} --list` shows them)",
        dir.display(), dir.display()
    )]
    SeveralStores {
        /// The directory.
        dir: PathBuf,
        /// The newest backup.
        newest: String,
        /// The newest of another store.
        other: String,
    },
    /// Another one is at work there.
    #[error("another backup or restore is at work in {}; try again when it is done", dir.display())]
    Busy {
        /// The directory.
        dir: PathBuf,
    },
    /// There is no such backup.
    #[error("{} holds no backup{}{}", dir.display(), match wanted { Some(id) => format!(" {id}"), None => String::new() }, there(known))]
    None {
        /// The directory.
        dir: PathBuf,
        /// Which was asked for; none: the newest.
        wanted: Option<u32>,
        /// Those that are there.
        known: Vec<u32>,
    },
    /// Something of a backup is not as it was written.
    #[error("the backup is damaged: {} {what}; nothing was changed: {}", path.display(), remedy(path))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Written by another version of the program.
    #[error(
        "{} has {what} version {found}, this counterd knows {known}; use the version of counterd that \
         wrote it",
        path.display()
    )]
    Unsupported {
        /// The manifest.
        path: PathBuf,
        /// Which version.
        what: &'static str,
        /// The version found.
        found: u32,
        /// The version this program reads.
        known: u32,
    },
    /// A restore does not overwrite a store unasked.
    #[error(
        "there is a store in {} already; nothing was changed: with --replace it is set aside and kept",
        data_dir.display()
    )]
    StoreThere {
        /// The data directory.
        data_dir: PathBuf,
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

fn there(known: &[u32]) -> String {
    if known.is_empty() {
        return String::new();
    }
    let known: Vec<_> = known.iter().map(u32::to_string).collect();
    format!("; there are {}", known.join(", "))
}

fn remedy(path: &std::path::Path) -> &'static str {
    if path.extension().is_some_and(|end| end == "json") {
        "restore another backup, or delete that file and back up again"
    } else {
        "restore another backup, or delete that file and back up again, which writes it anew"
    }
}

#[cfg(test)]
mod tests;
