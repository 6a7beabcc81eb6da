//! One process at a time in a data directory.
//!
//! The lock is advisory and the kernel's: it ends with the process, however that ends, so there is
//! no stale lock file to remove.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::error::{OpenCause, OpenError};
use super::file_error::{FileError, if_there};
use super::files::sync_dir;
use super::paths::Paths;
use crate::links::{NO_LINK, directory_of};

/// The lock file's name in the data directory.
pub const FILE_NAME: &str = "lock";

/// How long the lock is waited for, and how long between two tries.
const PATIENCE: Duration = Duration::from_secs(3);
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// Holds the data directory for this process until the last clone is dropped.
#[derive(Debug, Clone)]
pub struct DataDirLock {
    data_dir: PathBuf,
    _held: Arc<File>,
}

impl DataDirLock {
    /// Takes the lock, making the directory (for its owner alone) when it is not there.
    ///
    /// # Errors
    /// When another process holds it, or when the directory or the file cannot be made.
    pub fn take(data_dir: &Path) -> Result<Self, OpenError> {
        make_durable(data_dir)?;
        Self::hold(data_dir, true)
    }

    /// Takes the lock of a data directory that is to be there already. Makes no directory, and the
    /// lock file only beside a store: one that was renamed or unmounted must find its place free
    /// when it comes back.
    ///
    /// # Errors
    /// As [`DataDirLock::take`], and where there is no data directory.
    pub fn take_existing(data_dir: &Path) -> Result<Self, OpenError> {
        Self::hold(data_dir, Paths::new(data_dir).store.is_dir())
    }

    /// Takes the lock as [`DataDirLock::take`] does, and waits a moment for another process that has
    /// it: a server that serves copies holds it only while it tries to open the store.
    ///
    /// # Errors
    /// As [`DataDirLock::take`].
    pub fn take_patiently(data_dir: &Path) -> Result<Self, OpenError> {
        let given_up = Instant::now() + PATIENCE;
        loop {
            match Self::take(data_dir) {
                Err(error) if error.cause == OpenCause::Locked && Instant::now() < given_up => {
                    std::thread::sleep(BETWEEN_TRIES);
                }
                taken => return taken,
            }
        }
    }

    fn hold(data_dir: &Path, may_make_file: bool) -> Result<Self, OpenError> {
        let path = data_dir.join(FILE_NAME);
        let file = OpenOptions::new()
            .write(true)
            .create(may_make_file)
            .truncate(false)
            .mode(0o600)
            .custom_flags(NO_LINK)
            .open(&path);
        let file = if_there(file.map_err(FileError::new("open", &path)))?;
        let file = file.ok_or_else(|| OpenError::missing(&Paths::new(data_dir).store))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self {
                data_dir: data_dir.to_owned(),
                _held: Arc::new(file),
            }),
            Err(Errno::WOULDBLOCK) => {
                let text = format!(
                    "the data directory is in use by another process, which holds {}; stop that process (or \
                     ask the running server) and try again",
                    path.display()
                );
                Err(OpenError::new(OpenCause::Locked, text))
            }
            Err(errno) => Err(FileError::new("lock", path)(errno).into()),
        }
    }

    /// Returns the directory that is held.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }
}

/// Makes the directory if it is missing, and syncs the directories above it. Without the sync a power cut
/// could take the directory with all that was acknowledged.
fn make_durable(data_dir: &Path) -> Result<(), FileError> {
    let missing: Vec<&Path> = data_dir
        .ancestors()
        .take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists())
        .collect();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)
        .map_err(FileError::new("create", data_dir))?;
    for dir in missing {
        sync_dir(directory_of(dir))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_lock_is_an_error_that_names_the_file_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("data");
        let first = DataDirLock::take(&data_dir).unwrap();
        let clone = first.clone();
        drop(first);
        let error = DataDirLock::take(&data_dir).unwrap_err();
        assert_eq!(error.cause, OpenCause::Locked, "{error:?}");
        let text = error.to_string();
        assert!(
            text.contains(data_dir.join("lock").to_str().unwrap()),
            "{text}"
        );
        assert!(text.contains("stop that process"), "{text}");
        drop(clone);
        DataDirLock::take(&data_dir).unwrap();
    }
    #[test]
    fn the_lock_of_what_is_to_be_there_makes_nothing_where_it_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("data");
        let error = DataDirLock::take_existing(&data_dir).unwrap_err();
        assert!(error.to_string().contains("is missing"), "{error:?}");
        assert!(!data_dir.exists());
        // A mount point whose volume is not there.
        std::fs::create_dir(&data_dir).unwrap();
        DataDirLock::take_existing(&data_dir).unwrap_err();
        assert_eq!(std::fs::read_dir(&data_dir).unwrap().count(), 0);
        // Of a copy only the store may be there.
        std::fs::create_dir(data_dir.join("store")).unwrap();
        let held = DataDirLock::take_existing(&data_dir).unwrap();
        let error = DataDirLock::take_existing(&data_dir).unwrap_err();
        assert_eq!(error.cause, OpenCause::Locked, "{error:?}");
        drop(held);
        DataDirLock::take(&data_dir).unwrap();
    }
}
