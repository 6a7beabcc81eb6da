//! Whether a store still lies where it was opened.
//!
//! RocksDB goes on writing to the files that it has open wherever their directory is moved, and makes
//! new ones by the old name. So a directory that is renamed, unmounted or replaced is no place for
//! anything more to be acknowledged.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::error::CommitError;
use super::file_error::FileError;
use super::paths::Paths;

/// Which directory a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

/// A directory of an open store, as it was when it was opened.
#[derive(Debug)]
struct Known {
    path: PathBuf,
    identity: Identity,
    /// While somebody has it open, no other directory gets its inode.
    _held: File,
}

/// The directories of an open store, as they were when it was opened.
#[derive(Debug)]
pub(super) struct StorePlace {
    db_dir: PathBuf,
    dirs: [Known; 2],
}

impl StorePlace {
    pub(super) fn of(paths: &Paths) -> Result<Self, FileError> {
        Ok(Self {
            db_dir: paths.db.clone(),
            dirs: [known(&paths.data_dir)?, known(&paths.store)?],
        })
    }

    /// Returns RocksDB's directory.
    pub(super) fn db_dir(&self) -> &Path {
        &self.db_dir
    }

    /// Checks that the same directories are there.
    pub(super) fn check(&self) -> Result<(), CommitError> {
        for Known { path, identity, .. } in &self.dirs {
            match fs::metadata(path) {
                Ok(found) if Identity::of(&found) == *identity => {}
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(FileError::new("look at", path)(error).into());
                }
                Ok(_) | Err(_) => return Err(CommitError::Moved { path: path.clone() }),
            }
        }
        Ok(())
    }
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

fn known(path: &PathBuf) -> Result<Known, FileError> {
    let fault = || FileError::new("look at", path);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let held = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(fault())?;
    let metadata = held.metadata().map_err(fault())?;
    Ok(Known {
        path: path.clone(),
        identity: Identity::of(&metadata),
        _held: held,
    })
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
