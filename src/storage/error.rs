//! Why a store did not open, why a commit failed, why a read failed: each with what to do.
//!
//! Kept out: handling. An error is logged and answered where it is handled, once.

use std::path::{Path, PathBuf};

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
    /// `ACKED` is gone, so nothing says how much the store must hold.
    #[error(
        "{} is missing, so nothing says which writes were acknowledged; nothing was changed: restore \
         a backup, or run `counterd recover`, which says what it finds and starts a new epoch",
        path.display()
    )]
    AckedMissing {
        /// Where the file belongs.
        path: PathBuf,
    },
    /// Neither slot of `ACKED` has a valid checksum.
    #[error(
        "{} is damaged (no slot has a valid checksum), so nothing says which writes were \
         acknowledged; nothing was changed: restore a backup, or run `counterd recover`, which says \
         what it finds and starts a new epoch",
        path.display()
    )]
    AckedDamaged {
        /// The file.
        path: PathBuf,
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
    /// A file that RocksDB needs is gone.
    #[error(
        "{} is missing ({what}); nothing was changed: put it back or restore a backup{}",
        path.display(),
        if *recoverable { RECOVER } else { "" }
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// What the file is.
        what: &'static str,
        /// Whether `counterd recover` can get past it.
        recoverable: bool,
    },
    /// A file is older or shorter than it was when it was last synced and recorded.
    #[error(
        "{} is {found}, but {recorded} when it was last synced; nothing was changed: put the whole \
         file back or restore a backup{}",
        path.display(),
        if *recoverable { RECOVER } else { "" }
    )]
    Behind {
        /// The file.
        path: PathBuf,
        /// What it is now.
        found: String,
        /// What was recorded, as a clause: "was 200 bytes".
        recorded: String,
        /// Whether `counterd recover` can get past it.
        recoverable: bool,
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
    /// RocksDB finds the store damaged.
    #[error(
        "{} is missing or damaged: {detail}; nothing was changed: put it back as it was or restore \
         a backup{}",
        path.display(),
        if *recoverable { RECOVER } else { "" }
    )]
    Damaged {
        /// The file, or RocksDB's directory where it did not say which.
        path: PathBuf,
        /// What RocksDB said.
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
    /// What was found, without the advice that follows it.
    pub fn finding(&self) -> String {
        let text = self.to_string();
        text.split_once("; nothing was changed")
            .map_or(text.clone(), |(found, _)| found.to_owned())
    }

    /// What a failed read of the database in `dir` means for opening it.
    pub(super) fn from_read(dir: &Path, error: ReadError) -> Self {
        match error {
            ReadError::RocksDb(error) => Self::from_rocksdb(dir, error),
            ReadError::Closed | ReadError::Broken(_) => Self::Damaged {
                path: dir.to_owned(),
                detail: error.to_string(),
                recoverable: false,
            },
        }
    }

    /// Sorts what RocksDB said when it opened `dir`.
    pub(super) fn from_rocksdb(dir: &Path, error: rocksdb::Error) -> Self {
        let kind = error.kind();
        let detail = error.into_string();
        let gone = detail.contains("No such file or directory");
        let damaged_log = detail.contains("WAL");
        let recoverable = damaged_log || !detail.contains("MANIFEST");
        let path = file_in(dir, &detail).unwrap_or_else(|| dir.to_owned());
        let dir = dir.to_owned();
        match kind {
            ErrorKind::IOError if !gone => Self::Failed { dir, detail },
            ErrorKind::ShutdownInProgress
            | ErrorKind::TimedOut
            | ErrorKind::Aborted
            | ErrorKind::Busy
            | ErrorKind::TryAgain
            | ErrorKind::Unknown => Self::Failed { dir, detail },
            ErrorKind::IOError
            | ErrorKind::NotFound
            | ErrorKind::Corruption
            | ErrorKind::NotSupported
            | ErrorKind::InvalidArgument
            | ErrorKind::MergeInProgress
            | ErrorKind::Incomplete
            | ErrorKind::Expired
            | ErrorKind::CompactionTooLarge
            | ErrorKind::ColumnFamilyDropped => Self::Damaged {
                path,
                detail,
                recoverable,
            },
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
            | Self::AckedMissing { .. }
            | Self::AckedDamaged { .. }
            | Self::Missing { .. }
            | Self::Behind { .. }
            | Self::Lost { .. }
            | Self::Damaged { .. }
            | Self::OtherEpoch { .. }
            | Self::Unexpected { .. } => OpenCause::Damage,
        }
    }
}

/// The table or log that RocksDB's words name.
fn file_in(dir: &Path, detail: &str) -> Option<PathBuf> {
    if let Some((_, rest)) = detail.split_once("log number: ") {
        let digits = rest.split(|letter: char| !letter.is_ascii_digit()).next()?;
        return Some(files::wal_path(dir, digits.parse().ok()?));
    }
    detail
        .split_whitespace()
        .map(|word| word.trim_end_matches([':', '.', ',']))
        .find(|word| word.ends_with(".sst"))
        .map(PathBuf::from)
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
