//! A directory that is held open, and what is done in it by name.
//!
//! Names are looked up in the directory that was opened, wherever its path leads by then. Nothing goes
//! through a link that somebody put there, and what is made is for its owner alone.
//!
//! Kept out: what the names mean.

use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, Stat, fstat, fsync, linkat, mkdirat,
    openat, renameat, renameat_with, stat, statat, unlinkat,
};
use rustix::io::Errno;

use super::file_error::{FileError, if_there};

const PRIVATE_DIR: Mode = Mode::RWXU;
const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);
const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC);
/// Neither through a link, nor waiting for whoever is to write into a pipe.
const FILE: OFlags = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

/// A directory that is held open.
#[derive(Debug)]
pub(crate) struct HeldDir {
    path: PathBuf,
    held: OwnedFd,
}

impl HeldDir {
    /// Opens a directory that an operator named: a link is the operator's own.
    pub(crate) fn open(path: &Path) -> Result<Self, FileError> {
        let held = openat(CWD, path, DIRECTORY, Mode::empty());
        Ok(Self {
            held: held.map_err(failed("open", path))?,
            path: path.to_owned(),
        })
    }

    /// Opens it, and makes it first where it is not there.
    pub(super) fn open_or_make(path: &Path) -> Result<Self, FileError> {
        let mut make = DirBuilder::new();
        make.recursive(true).mode(PRIVATE_DIR.bits());
        make.create(path).map_err(FileError::new("create", path))?;
        Self::open(path)
    }

    /// Opens a directory in it.
    pub(super) fn dir(&self, name: impl AsRef<Path>) -> Result<Self, FileError> {
        let (name, path) = (name.as_ref(), self.path_of(&name));
        let held = openat(
            &self.held,
            name,
            DIRECTORY | OFlags::NOFOLLOW,
            Mode::empty(),
        );
        Ok(Self {
            held: held.map_err(failed("open", &path))?,
            path,
        })
    }

    /// Makes a directory in it, which may be there already only if `anew` is not asked for.
    pub(super) fn make_dir(&self, name: &str, anew: bool) -> Result<Self, FileError> {
        match mkdirat(&self.held, name, PRIVATE_DIR) {
            Err(errno) if anew || errno != Errno::EXIST => {
                Err(failed("create", self.path_of(name))(errno))
            }
            Ok(()) | Err(_) => self.dir(name),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn path_of(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    pub(super) fn stat(&self) -> Result<Stat, FileError> {
        fstat(&self.held).map_err(failed("look at", &self.path))
    }

    /// Whether its path still leads to it. While it is held open, no other directory gets its inode.
    pub(super) fn is_in_place(&self) -> Result<bool, FileError> {
        let there = stat(&self.path).map_err(failed("look at", &self.path));
        let there = if_there(there)?;
        let identity = |found: Stat| (found.st_dev, found.st_ino);
        Ok(there.map(identity) == Some(identity(self.stat()?)))
    }

    /// Opens what has that name without reading it, a link as the link that it is.
    pub(super) fn handle(&self, name: &OsStr) -> Result<OwnedFd, FileError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&self.held, name, flags, Mode::empty())
            .map_err(failed("look at", self.path_of(name)))
    }

    /// Lists the names in it.
    pub(super) fn names(&self) -> Result<Vec<OsString>, FileError> {
        let list = || failed("list", &self.path);
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.held).map_err(list())? {
            let entry = entry.map_err(list())?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// Opens a file for reading.
    pub(super) fn read(&self, name: &str) -> Result<File, FileError> {
        let fault = || failed("open", self.path_of(name));
        let file = openat(&self.held, name, OFlags::RDONLY | FILE, Mode::empty());
        let file = file.map_err(fault())?;
        let found = fstat(&file).map_err(fault())?;
        if FileType::from_raw_mode(found.st_mode) == FileType::RegularFile {
            return Ok(file.into());
        }
        let error = io::Error::other("it is no regular file");
        Err(FileError::new("read", self.path_of(name))(error))
    }

    /// Makes a file, in place of one with that name that was left.
    pub(crate) fn create(&self, name: impl AsRef<Path>) -> Result<File, FileError> {
        self.remove(&name)?;
        self.open_file(name.as_ref(), OFlags::EXCL)
    }

    /// Opens a file for holding a lock on it, and makes it where it is not there.
    pub(super) fn lock_file(&self, name: &str) -> Result<File, FileError> {
        self.open_file(name.as_ref(), OFlags::empty())
    }

    fn open_file(&self, name: &Path, flags: OFlags) -> Result<File, FileError> {
        let flags = flags | OFlags::WRONLY | OFlags::CREATE | FILE;
        let file = openat(&self.held, name, flags, PRIVATE_FILE);
        Ok(file.map_err(failed("create", self.path_of(name)))?.into())
    }

    /// Whether there is a regular file of that name and length.
    pub(super) fn has(&self, name: &str, length: u64) -> bool {
        statat(&self.held, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|found| {
            FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
                && u64::try_from(found.st_size) == Ok(length)
        })
    }

    /// Removes a file; none is fine.
    pub(crate) fn remove(&self, name: impl AsRef<Path>) -> Result<(), FileError> {
        match unlinkat(&self.held, name.as_ref(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(failed("remove", self.path_of(name))(errno)),
        }
    }

    /// Renames a file, over one that has the new name.
    pub(crate) fn rename(
        &self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
    ) -> Result<(), FileError> {
        renameat(&self.held, from.as_ref(), &self.held, to.as_ref())
            .map_err(failed("rename", self.path_of(from)))
    }

    /// Renames a file to a name that none has.
    pub(super) fn rename_to_free(&self, from: &str, to: &str) -> Result<(), FileError> {
        match renameat_with(&self.held, from, &self.held, to, RenameFlags::NOREPLACE) {
            // Not every file system can; a name that is looked up before it is taken will do there.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)
                if self
                    .handle(OsStr::new(to))
                    .is_err_and(|error| error.source.kind() == io::ErrorKind::NotFound) =>
            {
                self.rename(from, to)
            }
            renamed => renamed.map_err(failed("rename", self.path_of(from))),
        }
    }

    /// Gives a file another name in another directory too. Returns whether the file system could.
    pub(super) fn link(&self, from: &str, to: &Self, name: &str) -> bool {
        linkat(&self.held, from, &to.held, name, AtFlags::empty()).is_ok()
    }

    /// Makes the names in it durable.
    pub(super) fn sync(&self) -> Result<(), FileError> {
        fsync(&self.held).map_err(failed("sync", &self.path))
    }
}

fn failed(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(Errno) -> FileError {
    let wrap = FileError::new(doing, path);
    move |errno| {
        wrap(match errno {
            Errno::LOOP => io::Error::other("it is a link, and none is followed there"),
            errno => errno.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_directory_made_anew_is_not_taken_for_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        fs::create_dir(&path).unwrap();
        let held = HeldDir::open(&path).unwrap();
        assert!(held.is_in_place().unwrap());
        // Where its inode is free again, a file system gives it to the next directory, at the latest soon.
        for _ in 0..100 {
            fs::remove_dir(&path).unwrap();
            assert!(!held.is_in_place().unwrap());
            fs::create_dir(&path).unwrap();
            assert!(!held.is_in_place().unwrap());
        }
    }
}
