//! Why a store did not open or was not recovered, why a commit failed, why a read failed: each with what
//! to do.
//!
//! Kept out: handling. An error is logged and answered where it is handled, once.

use std::path::{Path, PathBuf};

use rocksdb::ErrorKind;

use super::file_error::{FileError, limit_in};
use super::files;
use super::pace::Ended;
use super::shared_log_error::SharedLogError;
use crate::invariant::Broken;

/// Whether a refused opening can end by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenCause {
    /// Acknowledged writes are missing or unreadable: a person has to restore or recover.
    Damage,
    /// The disk is full, or an operation failed that may succeed later: try again.
    Transient,
    /// Another process holds the data directory.
    Locked,
    /// Written by a version of the program that this one does not know.
    Unsupported,
}

/// Why a store did not open. The data directory is unchanged, unless the text says otherwise: the reserve may
/// have been freed.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct OpenError {
    /// Whether trying again can help, or a person is needed.
    pub cause: OpenCause,
    /// What was found, and what to do.
    text: String,
}

/// What gets past damage of a log.
pub(super) const RECOVER: &str = ", or run `counterd recover`, which says what it gives up";

impl OpenError {
    pub(super) fn new(cause: OpenCause, text: String) -> Self {
        Self { cause, text }
    }

    /// Makes the error for a store that was there before and is missing.
    pub(super) fn missing(store: &Path) -> Self {
        let text = format!(
            "{} is missing (the store, which was there before); nothing was changed: put it back or \
             restore a backup",
            store.display()
        );
        Self::new(OpenCause::Damage, text)
    }

    /// Makes the error for a file of the store that is gone, shorter than it was when it was last synced, or
    /// damaged, as the clause `detail` says. `recoverable` tells whether `counterd recover` may get past it: a
    /// log, rather than a table or manifest.
    pub(super) fn damaged(path: &Path, detail: &str, recoverable: bool) -> Self {
        let recover = if recoverable { RECOVER } else { "" };
        let path = path.display();
        let text = format!(
            "{path} {detail}; nothing was changed: put it back as it was or restore a backup{recover}"
        );
        Self::new(OpenCause::Damage, text)
    }

    /// Makes the error for what RocksDB could not do for a reason that may pass (no space, an I/O error).
    pub(super) fn failed(dir: &Path, detail: &str) -> Self {
        let (dir, limit) = (dir.display(), limit_in(detail));
        let text = format!("{dir}: {detail}{limit}; try again when the disk works and has space");
        Self::new(OpenCause::Transient, text)
    }

    /// Says what was found, without the advice that follows it.
    pub fn finding(&self) -> &str {
        let parts = self.text.split_once("; nothing was changed");
        parts.map_or(&self.text, |(found, _)| found)
    }

    /// Turns a failed read of the database in `dir` into the reason why it does not open.
    pub(super) fn from_read(dir: &Path, error: ReadError) -> Self {
        match error {
            ReadError::RocksDb(error) => Self::from_rocksdb(dir, None, error),
            ReadError::Closed | ReadError::Broken(_) | ReadError::Ended(_) => {
                Self::damaged(dir, &format!("cannot be read: {error}"), false)
            }
        }
    }

    /// Sorts what RocksDB said when it opened `dir`. `gone_log` is the log that is missing, if it names no other
    /// file.
    pub(super) fn from_rocksdb(dir: &Path, gone_log: Option<&Path>, error: rocksdb::Error) -> Self {
        let kind = error.kind();
        let detail = error.into_string();
        let gone = detail.contains("No such file or directory");
        let may_pass = matches!(
            kind,
            ErrorKind::ShutdownInProgress
                | ErrorKind::TimedOut
                | ErrorKind::Aborted
                | ErrorKind::Busy
                | ErrorKind::TryAgain
                | ErrorKind::Unknown
        );
        if may_pass || (kind == ErrorKind::IOError && !gone) {
            return Self::failed(dir, &detail);
        }
        let recoverable = detail.contains("WAL") || !detail.contains("MANIFEST");
        let named = file_in(dir, &detail);
        let path = named.as_deref().or(gone_log.filter(|_| recoverable));
        let what = format!("is missing or damaged: {detail}");
        Self::damaged(path.unwrap_or(dir), &what, recoverable)
    }
}

impl From<FileError> for OpenError {
    fn from(error: FileError) -> Self {
        Self::new(OpenCause::Transient, error.to_string())
    }
}

/// Finds the table or log that RocksDB's words name.
fn file_in(dir: &Path, detail: &str) -> Option<PathBuf> {
    if let Some((_, rest)) = detail.split_once("log number: ") {
        let digits = rest.split(|letter: char| !letter.is_ascii_digit()).next()?;
        return Some(files::wal_path(dir, digits.parse().ok()?));
    }
    table_in(detail).map(PathBuf::from)
}

/// Finds the path of the table that RocksDB's words name.
pub(super) fn table_in(detail: &str) -> Option<&Path> {
    detail
        .split_whitespace()
        .map(|word| word.trim_end_matches([':', '.', ',']))
        .find(|word| word.ends_with(".sst"))
        .map(Path::new)
}

/// Why a store was not recovered. Its directory is as it was, but for the reserve, which may have
/// been freed.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// There is nothing to recover, or it cannot be done. The text says why, and what to do.
    #[error("{0}")]
    Refused(String),
    /// The store cannot be judged now, or was written by another version of the program.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not only the log is damaged. RocksDB's words name the file.
    #[error("the store is damaged beyond its log: {0}; restore a backup")]
    BeyondTheLog(String),
}

impl From<ReadError> for RecoverError {
    fn from(error: ReadError) -> Self {
        Self::BeyondTheLog(error.to_string())
    }
}

/// Why a commit, tick, flush or close failed. After any of them the store takes no further write:
/// drop it and reopen; whether the group is on disk is known only then.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// RocksDB refused the write or its sync.
    #[error("write or sync failed: {0}{limit}", limit = limit_in(.0.as_ref()))]
    Write(#[source] rocksdb::Error),
    /// A flush or compaction failed in the background; later writes could not be made durable.
    #[error(
        "{errors} flushes or compactions failed in the background: {detail}{}",
        limit_in(detail)
    )]
    Background {
        /// How many RocksDB counted.
        errors: u64,
        /// What RocksDB said.
        detail: String,
    },
    /// The write is on disk, but recording it as acknowledged failed.
    #[error(transparent)]
    Acked(#[from] FileError),
    /// What the commit has to know cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// RocksDB's sequence number is not what this writer's batches add up to.
    #[error("the store is at sequence {found}, expected {expected}: something else wrote to it")]
    Sequence {
        /// What RocksDB reports.
        found: u64,
        /// The acknowledged sequence and the batch's count.
        expected: u64,
    },
    /// The directory is not where it was opened. What was written since went to where it is now.
    #[error(
        "{} is not the directory that was opened: it was renamed, unmounted or replaced; put it back, \
         and it is opened and verified by itself",
        path.display()
    )]
    Moved {
        /// Where it was.
        path: PathBuf,
    },
    /// The log that several instances share did not take it.
    #[error(transparent)]
    Log(#[from] SharedLogError),
    /// This program is at fault: what must hold does not.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// An earlier commit failed; this one was not tried.
    #[error("an earlier write failed, so the store takes no more; reopen it")]
    Poisoned,
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// RocksDB could not read.
    #[error("read failed: {0}")]
    RocksDb(#[from] rocksdb::Error),
    /// The store is closed or being reopened.
    #[error("the store is closed; it is being reopened, or the server stops")]
    Closed,
    /// This program is at fault: what must hold does not.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// Whoever asked for a long reading does not want it any more.
    #[error(transparent)]
    Ended(#[from] Ended),
}

impl ReadError {
    /// Whether a table is rotten: the same read fails again, and reads of other records do not.
    pub fn is_rot(&self) -> bool {
        match self {
            Self::RocksDb(error) => is_rot(error),
            Self::Closed | Self::Broken(_) | Self::Ended(_) => false,
        }
    }
}

/// Whether RocksDB says that it could not read what is in a table: a wrong checksum, or a disk that does
/// not give the bytes.
pub(super) fn is_rot(error: &rocksdb::Error) -> bool {
    let text: &str = error.as_ref();
    match error.kind() {
        ErrorKind::Corruption => !text.contains("WAL") && !text.contains("MANIFEST"),
        ErrorKind::IOError => {
            text.contains(".sst") && (text.contains("pread") || text.contains("random read"))
        }
        _ => false,
    }
}
