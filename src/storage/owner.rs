//! Whose the files of a data directory are. What root makes there is given to the directory's owner, so
//! that the server's user can open it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Uid, chown, chownat, fstat};
use rustix::process::geteuid;

use super::file_error::FileError;
use super::held::HeldDir;
use crate::links::directory_of;

/// Gives what root made in a data directory to the directory's owner. For other users it does nothing.
///
/// # Errors
/// When a file cannot be looked at, or given.
pub fn give_back(data_dir: &Path) -> Result<(), FileError> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let dir = HeldDir::open(data_dir)?;
    let owner = dir.stat()?;
    if owner.st_uid == 0 {
        return Ok(());
    }
    give(
        &dir,
        Uid::from_raw(owner.st_uid),
        Gid::from_raw(owner.st_gid),
    )
}

/// Gives a data directory that root has just made to the owner of the directory that it is in.
pub(super) fn give_as_parent(data_dir: &Path) -> Result<(), FileError> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let parent = directory_of(data_dir);
    let parent = fs::metadata(parent).map_err(FileError::new("look at", parent))?;
    let (user, group) = (Uid::from_raw(parent.uid()), Gid::from_raw(parent.gid()));
    chown(data_dir, Some(user), Some(group)).map_err(FileError::new("give away", data_dir))
}

fn give(dir: &HeldDir, user: Uid, group: Gid) -> Result<(), FileError> {
    for name in dir.names()? {
        let fault = || FileError::new("give away", dir.path_of(&name));
        let handle = dir.handle(&name)?;
        let found = fstat(&handle).map_err(fault())?;
        let kind = FileType::from_raw_mode(found.st_mode);
        let is_dir = kind == FileType::Directory;
        if is_dir {
            give(&dir.dir(&name)?, user, group)?;
        }
        // A file with another name elsewhere may be anyone's.
        let is_single = kind == FileType::RegularFile && found.st_nlink == 1;
        if found.st_uid == 0 && (is_dir || is_single) {
            chownat(&handle, "", Some(user), Some(group), AtFlags::EMPTY_PATH).map_err(fault())?;
        }
    }
    Ok(())
}
