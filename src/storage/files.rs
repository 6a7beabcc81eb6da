//! Which log and manifest are live, read from RocksDB's directory itself.
//!
//! Kept out: their contents. RocksDB alone reads those.

use std::fs::{self, DirEntry, File};
use std::path::{Path, PathBuf};

use super::file_error::{FileError, if_there};

/// The file that names the live manifest.
pub const CURRENT: &str = "CURRENT";

/// A numbered file of RocksDB (a log, a manifest) and how long it was, in bytes, when last synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FileMark {
    /// The number in the file's name; 0 when there was none.
    pub number: u64,
    /// Its synced length in bytes.
    pub size: u64,
}

/// Returns the path of log `number` in RocksDB's directory.
pub fn wal_path(db_dir: &Path, number: u64) -> PathBuf {
    db_dir.join(format!("{number:06}.log"))
}

/// Returns the path of manifest `number` in RocksDB's directory.
pub fn manifest_path(db_dir: &Path, number: u64) -> PathBuf {
    db_dir.join(format!("MANIFEST-{number:06}"))
}

/// Lists a directory.
///
/// # Errors
/// When it cannot be listed.
pub fn entries(dir: &Path) -> Result<Vec<DirEntry>, FileError> {
    fs::read_dir(dir)
        .and_then(Iterator::collect)
        .map_err(FileError::new("list", dir))
}

/// Lists the files that make up RocksDB's database: all but its lock and its own messages.
///
/// # Errors
/// When the directory cannot be listed.
pub fn of_database(db_dir: &Path) -> Result<Vec<PathBuf>, FileError> {
    let mut files = entries(db_dir)?;
    files.retain(|file| {
        let name = file.file_name();
        let name = name.as_encoded_bytes();
        name != b"LOCK" && !name.starts_with(b"LOG")
    });
    Ok(files.iter().map(DirEntry::path).collect())
}

/// Reads the number of the manifest that `CURRENT` names; `None` when `CURRENT` is missing or names none.
///
/// # Errors
/// When `CURRENT` is there but cannot be read.
pub fn current_manifest(db_dir: &Path) -> Result<Option<u64>, FileError> {
    let path = db_dir.join(CURRENT);
    let bytes = if_there(fs::read(&path).map_err(FileError::new("read", path)))?;
    Ok(bytes.and_then(|bytes| {
        let name = std::str::from_utf8(&bytes).ok()?.strip_suffix('\n')?;
        name.strip_prefix("MANIFEST-")?.parse().ok()
    }))
}

/// Lists the logs in the directory with their lengths, oldest first.
///
/// # Errors
/// When the directory cannot be listed.
pub fn wals(db_dir: &Path) -> Result<Vec<FileMark>, FileError> {
    let mut found = Vec::new();
    for entry in entries(db_dir)? {
        let name = entry.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_suffix(".log")?.parse().ok());
        if let Some(number) = number
            && let Some(size) = size_of(&entry.path())?
        {
            found.push(FileMark { number, size });
        }
    }
    found.sort_unstable_by_key(|wal| wal.number);
    Ok(found)
}

/// Adds up the lengths of all logs in the directory, in bytes.
///
/// # Errors
/// When the directory cannot be listed.
pub fn wal_bytes(db_dir: &Path) -> Result<u64, FileError> {
    Ok(wals(db_dir)?.iter().map(|wal| wal.size).sum())
}

/// Returns the length of the file at `path` in bytes; `None` when there is none.
///
/// # Errors
/// When the file system cannot say.
pub fn size_of(path: &Path) -> Result<Option<u64>, FileError> {
    let found = fs::symlink_metadata(path).map_err(FileError::new("look at", path));
    Ok(if_there(found)?.map(|found| found.len()))
}

/// Syncs a directory, so that the names in it are durable.
///
/// # Errors
/// When it cannot be opened or synced.
pub fn sync_dir(path: &Path) -> Result<(), FileError> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(FileError::new("sync", path))
}

/// Syncs the contents of the file at `path`. One that is gone is fine, as an obsolete log may be.
///
/// # Errors
/// When it cannot be opened or synced.
pub fn sync_file(path: &Path) -> Result<(), FileError> {
    let file = if_there(File::open(path).map_err(FileError::new("open", path)))?;
    let synced = file.map_or(Ok(()), |file| file.sync_data());
    synced.map_err(FileError::new("sync", path))
}

/// Syncs every file in a directory, and the directory.
///
/// # Errors
/// When it cannot be listed, or one of them not be synced.
pub fn sync_all(dir: &Path) -> Result<(), FileError> {
    for entry in entries(dir)? {
        sync_file(&entry.path())?;
    }
    sync_dir(dir)
}

/// The live log and manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Live {
    /// The newest log; all zero when there is none.
    pub wal: FileMark,
    /// The manifest that `CURRENT` names; all zero when it names none.
    pub manifest: FileMark,
}

/// Looks up the live log and manifest.
///
/// # Errors
/// When the directory or `CURRENT` cannot be read.
pub fn live(db_dir: &Path) -> Result<Live, FileError> {
    let wal = wals(db_dir)?.pop().unwrap_or_default();
    let manifest = match current_manifest(db_dir)? {
        Some(number) => {
            let size = size_of(&manifest_path(db_dir, number))?.unwrap_or(0);
            FileMark { number, size }
        }
        None => FileMark::default(),
    };
    Ok(Live { wal, manifest })
}
