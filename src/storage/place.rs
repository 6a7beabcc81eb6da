//! Whether a store still lies where it was opened.
//!
//! RocksDB goes on writing to the files that it has open wherever their directory is moved, and makes
//! new ones by the old name. So a directory that is renamed, unmounted or replaced is no place for
//! anything more to be acknowledged.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::error::{CommitError, FileError};
use super::open::Paths;

/// Which directory a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

/// The directories of an open store, as they were when it was opened.
#[derive(Debug)]
pub(super) struct Place {
    db_dir: PathBuf,
    dirs: [(PathBuf, Identity); 2],
}

impl Place {
    pub(super) fn of(paths: &Paths) -> Result<Self, FileError> {
        let known = |dir: &PathBuf| Ok((dir.clone(), identity(dir)?));
        Ok(Self {
            db_dir: paths.db.clone(),
            dirs: [known(&paths.data_dir)?, known(&paths.store)?],
        })
    }

    /// RocksDB's directory.
    pub(super) fn db_dir(&self) -> &Path {
        &self.db_dir
    }

    /// Whether the same directories are there.
    pub(super) fn check(&self) -> Result<(), CommitError> {
        for (path, known) in &self.dirs {
            match identity(path) {
                Ok(found) if found == *known => {}
                Err(error) if error.source.kind() != io::ErrorKind::NotFound => {
                    return Err(error.into());
                }
                Ok(_) | Err(_) => return Err(CommitError::Moved { path: path.clone() }),
            }
        }
        Ok(())
    }
}

fn identity(path: &Path) -> Result<Identity, FileError> {
    let metadata = fs::metadata(path).map_err(FileError::new("look at", path))?;
    Ok(Identity {
        device: metadata.dev(),
        inode: metadata.ino(),
    })
}
