//! Whether a store still lies where it was opened.
//!
//! RocksDB goes on writing to the files that it has open wherever their directory is moved, and makes
//! new ones by the old name. So a directory that is renamed, unmounted or replaced is no place for
//! anything more to be acknowledged.

use std::fs::{self, File, Metadata, OpenOptions};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::error::CommitError;
use super::file_error::{FileError, if_there};
use super::paths::Paths;

/// The directories of an open store, as they were when it was opened. While they are held open, no other
/// directory gets their inodes.
#[derive(Debug)]
pub(super) struct StorePlace([(PathBuf, File); 2]);

impl StorePlace {
    pub(super) fn of(paths: &Paths) -> Result<Self, FileError> {
        Ok(Self([held(&paths.data_dir)?, held(&paths.store)?]))
    }

    /// Checks that the same directories are there.
    pub(super) fn check(&self) -> Result<(), CommitError> {
        let identity = |found: Metadata| (found.dev(), found.ino());
        for (path, held) in &self.0 {
            let fault = || FileError::new("look at", path);
            let there = if_there(fs::metadata(path)).map_err(fault())?;
            let held = held.metadata().map_err(fault())?;
            if there.map(identity) != Some(identity(held)) {
                return Err(CommitError::Moved { path: path.clone() });
            }
        }
        Ok(())
    }
}

fn held(path: &Path) -> Result<(PathBuf, File), FileError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let held = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(FileError::new("look at", path))?;
    Ok((path.to_owned(), held))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_made_anew_is_not_taken_for_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(&dir.path().join("data"));
        fs::create_dir_all(&paths.store).unwrap();
        let place = StorePlace::of(&paths).unwrap();
        assert!(place.check().is_ok());
        // Where its inode is free again, a file system gives it to the next directory, at the latest soon.
        for _ in 0..100 {
            fs::remove_dir(&paths.store).unwrap();
            fs::create_dir(&paths.store).unwrap();
            let moved = place.check().unwrap_err();
            assert!(matches!(moved, CommitError::Moved { .. }), "{moved}");
        }
    }
}
