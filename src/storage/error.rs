//! Why a store did not open or was not recovered, why a commit failed, why a read failed: each with what
//! to do.
//!
//! Kept out: handling. An error is logged and answered where it is handled, once.

use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use rocksdb::ErrorKind;

use super::file_error::{FileError, limit_in};
use super::files;
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

/// Why a store did not open. The data directory is unchanged, unless the variant says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The lock file is held: a server, or a command that works on the store, is running.
    #[error(
        "the data directory is in use by another process, which holds {}; stop that process (or ask \
         the running server) and try again",
        path.display()
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// Something other than a directory stands where the store belongs.
    #[error("{} is not a directory; move it away, or point storage.data_dir elsewhere", path.display())]
    NotADirectory {
        /// What was found.
        path: PathBuf,
    },
    /// There is no store, but the remains of one: creating an empty one would hide them.
    #[error(
        "there is no store/, but {} is there, so this is not a first start; nothing was changed: \
         rename it to store/ if it is the store, or move it away to start empty",
        remains.display()
    )]
    Remains {
        /// What was found beside the missing `store/`.
        remains: PathBuf,
    },
    /// `ACKED` is gone or damaged, so nothing says how much the store must hold.
    #[error(
        "{} is {what}, so nothing says which writes were acknowledged; nothing was changed: restore \
         a backup, or run `counterd recover`, which says what it finds and starts a new epoch",
        path.display()
    )]
    Acked {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The store was written in another format.
    #[error(
        "{} says {what} version {found}, this counterd knows {known}; nothing was changed: use the \
         version of counterd that wrote the store",
        path.display()
    )]
    Unsupported {
        /// Where the version is recorded.
        path: PathBuf,
        /// Which version: "format" or "merge operator".
        what: &'static str,
        /// The version on disk.
        found: u32,
        /// The version this program reads and writes.
        known: u32,
    },
    /// There is no store where there has to be one.
    #[error(
        "{} is missing (the store, which was there before); nothing was changed: put it back or \
         restore a backup",
        path.display()
    )]
    Missing {
        /// Where the store was.
        path: PathBuf,
    },
    /// The log replays to less than was acknowledged.
    #[error(
        "{}: acknowledged up to {acknowledged}, the log replays to {replayed}: {} operations \
         missing; the damage is in {logs}, or a later log is gone; nothing was changed: put the \
         log back or restore a backup{}",
        dir.display(),
        acknowledged.saturating_sub(*replayed),
        RECOVER
    )]
    Lost {
        /// RocksDB's directory.
        dir: PathBuf,
        /// The sequence number that `ACKED` holds.
        acknowledged: u64,
        /// The sequence number that opening would give.
        replayed: u64,
        /// The names of the logs that are there.
        logs: String,
    },
    /// A file of the store is gone, shorter than it was when it was last synced, or damaged.
    #[error(
        "{} {detail}; nothing was changed: put it back as it was or restore a backup{}",
        path.display(),
        if *recoverable { RECOVER } else { "" }
    )]
    Damaged {
        /// The file, or RocksDB's directory where it did not say which.
        path: PathBuf,
        /// What is wrong with it, as a clause: "is missing".
        detail: String,
        /// Whether `counterd recover` may get past it: a log, rather than a table or manifest.
        recoverable: bool,
    },
    /// `ACKED` and the store beside it have different histories.
    #[error(
        "{} belongs to epoch {acked}, the store beside it to epoch {store}; nothing was changed: put \
         the file and the store that belong together back, or restore a backup{}",
        path.display(),
        RECOVER
    )]
    OtherEpoch {
        /// The `ACKED` file.
        path: PathBuf,
        /// The epoch that `ACKED` holds.
        acked: u64,
        /// The epoch in the store.
        store: u64,
    },
    /// A reopened store holds neither what was published nor that and the unknown group.
    #[error(
        "{}: reopened at {found}, but {published} were published{}; nothing was changed: restart \
         counterd to judge the store by its own record of what was acknowledged",
        dir.display(),
        match unknown { Some(count) => format!(" and a group of {count} was in flight"), None => String::new() }
    )]
    Unexpected {
        /// RocksDB's directory.
        dir: PathBuf,
        /// The sequence number it holds now.
        found: u64,
        /// The sequence number that readers had seen.
        published: u64,
        /// Operations in the group whose outcome was unknown.
        unknown: Option<u64>,
    },
    /// The disk lacks room to make tables of the log. Nothing was changed, but that the reserve
    /// was freed.
    #[error(
        "{}: opening needs {needed} bytes, the disk has {available}, without the reserve; free some \
         space and it goes on",
        dir.display()
    )]
    NoSpace {
        /// The data directory.
        dir: PathBuf,
        /// What opening may take.
        needed: u64,
        /// What the disk has.
        available: u64,
    },
    /// RocksDB could not do what it was asked, for a reason that may pass (no space, an I/O error).
    #[error("{}: {detail}{}; try again when the disk works and has space", dir.display(), limit_in(detail))]
    Failed {
        /// RocksDB's directory.
        dir: PathBuf,
        /// What RocksDB said.
        detail: String,
    },
}

const RECOVER: &str = ", or run `counterd recover`, which says what it gives up";

impl OpenError {
    /// Says what was found, without the advice that follows it.
    pub fn finding(&self) -> String {
        let text = self.to_string();
        text.split_once("; nothing was changed")
            .map_or(text.clone(), |(found, _)| found.to_owned())
    }

    /// Turns a failed read of the database in `dir` into the reason why it does not open.
    pub(super) fn from_read(dir: &Path, error: ReadError) -> Self {
        match error {
            ReadError::RocksDb(error) => Self::from_rocksdb(dir, error),
            ReadError::Closed | ReadError::Broken(_) => Self::Damaged {
                path: dir.to_owned(),
                detail: format!("cannot be read: {error}"),
                recoverable: false,
            },
        }
    }

    /// Sorts what RocksDB said when it opened `dir`.
    pub(super) fn from_rocksdb(dir: &Path, error: rocksdb::Error) -> Self {
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
            let dir = dir.to_owned();
            return Self::Failed { dir, detail };
        }
        Self::Damaged {
            path: file_in(dir, &detail).unwrap_or_else(|| dir.to_owned()),
            recoverable: detail.contains("WAL") || !detail.contains("MANIFEST"),
            detail: format!("is missing or damaged: {detail}"),
        }
    }

    /// Whether trying again can help, or a person is needed.
    pub fn cause(&self) -> OpenCause {
        match self {
            Self::Locked { .. } => OpenCause::Locked,
            Self::File(_) | Self::NoSpace { .. } | Self::Failed { .. } => OpenCause::Transient,
            Self::Unsupported { .. } => OpenCause::Unsupported,
            Self::NotADirectory { .. }
            | Self::Remains { .. }
            | Self::Acked { .. }
            | Self::Missing { .. }
            | Self::Lost { .. }
            | Self::Damaged { .. }
            | Self::OtherEpoch { .. }
            | Self::Unexpected { .. } => OpenCause::Damage,
        }
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
    /// The store opens; recovering would only start a new epoch.
    #[error("the store in {} is sound; nothing was changed", data_dir.display())]
    Sound {
        /// The data directory.
        data_dir: PathBuf,
    },
    /// There is no store to recover.
    #[error("there is no store in {}; restore a backup", data_dir.display())]
    NoStore {
        /// The data directory.
        data_dir: PathBuf,
    },
    /// The store cannot be judged now, or was written by another version of the program.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A store that is written anew needs about as much room as the old one.
    #[error(
        "the disk of {} lacks {}: setting rotten tables aside writes the store anew, which needs about {}, \
         and {} are free; nothing was changed: make room there, and run it again",
        data_dir.display(),
        ByteSize(needed.saturating_sub(*available)).display().iec(),
        ByteSize(*needed).display().iec(),
        ByteSize(*available).display().iec()
    )]
    NoRoom {
        /// The data directory.
        data_dir: PathBuf,
        /// What the new store may take, in bytes.
        needed: u64,
        /// What the disk has without the reserve, in bytes.
        available: u64,
    },
    /// Not only the log is damaged. RocksDB's words name the file.
    #[error("the store is damaged beyond its log: {0}; restore a backup")]
    BeyondTheLog(String),
}

impl From<FileError> for RecoverError {
    fn from(error: FileError) -> Self {
        Self::Open(error.into())
    }
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
}

impl ReadError {
    /// Whether a table is rotten: the same read fails again, and reads of other records do not.
    pub fn is_rot(&self) -> bool {
        match self {
            Self::RocksDb(error) => is_rot(error),
            Self::Closed | Self::Broken(_) => false,
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
