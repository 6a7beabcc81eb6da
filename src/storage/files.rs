//! Which log and manifest are live, read from RocksDB's directory itself.
//!
//! Kept out: their contents. RocksDB alone reads those.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::file_error::FileError;

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

/// Path of log `number` in RocksDB's directory.
pub fn wal_path(db_dir: &Path, number: u64) -> PathBuf {
    db_dir.join(format!("{number:06}.log"))
}

/// Path of manifest `number` in RocksDB's directory.
pub fn manifest_path(db_dir: &Path, number: u64) -> PathBuf {
    db_dir.join(format!("MANIFEST-{number:06}"))
}

/// The number of the manifest that `CURRENT` names; `None` when `CURRENT` is missing or names none.
///
/// # Errors
/// When `CURRENT` is there but cannot be read.
pub fn current_manifest(db_dir: &Path) -> Result<Option<u64>, FileError> {
    let path = db_dir.join(CURRENT);
    match fs::read(&path) {
        Ok(bytes) => Ok(std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| text.strip_suffix('\n'))
            .and_then(|name| name.strip_prefix("MANIFEST-"))
            .and_then(|number| number.parse().ok())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::new("read", path)(error)),
    }
}

/// Every log in the directory with its length, oldest first.
///
/// # Errors
/// When the directory cannot be listed.
pub fn wals(db_dir: &Path) -> Result<Vec<FileMark>, FileError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(db_dir).map_err(FileError::new("list", db_dir))? {
        let entry = entry.map_err(FileError::new("list", db_dir))?;
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

/// The length of the file at `path` in bytes; `None` when there is none.
///
/// # Errors
/// When the file system cannot say.
pub fn size_of(path: &Path) -> Result<Option<u64>, FileError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::new("look at", path)(error)),
    }
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

/// Syncs the contents of the file at `path`; `false` when it is gone, as an obsolete log may be.
///
/// # Errors
/// When it cannot be opened or synced.
pub fn sync_file(path: &Path) -> Result<bool, FileError> {
    match File::open(path) {
        Ok(file) => file
            .sync_data()
            .map(|()| true)
            .map_err(FileError::new("sync", path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(FileError::new("open", path)(error)),
    }
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
