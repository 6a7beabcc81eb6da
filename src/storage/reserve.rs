//! Space put aside, so that a full disk can still be opened and mended.
//!
//! Opening replays the log into a table, which needs as much space as the log has. When the disk is
//! full the reserve file is freed for that, and made again before writes are taken.
//!
//! Kept out: when to stop taking writes (`writer`'s mode) and how often to look.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::file_error::{FileError, if_there};
use crate::links::directory_of;

/// The file's name in the data directory.
pub const FILE_NAME: &str = "reserve";

const MIB: u64 = 1024 * 1024;
const LEAST_BYTES: u64 = 24 * MIB;
const MOST_BYTES: u64 = 64 * MIB;
const GIB: u64 = 1024 * MIB;

/// A file system's size and what is free of it, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// All of it.
    pub total: u64,
    /// What an unprivileged process may still take.
    pub available: u64,
    /// How many files it may still make; `None` where the file system makes room for them as they come.
    pub files: Option<u64>,
}

impl Space {
    /// Asks the file system that `path` is on.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn of(path: &Path) -> Result<Self, FileError> {
        let stat =
            rustix::fs::statvfs(path).map_err(FileError::new("ask the free space of", path))?;
        Ok(Self {
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
            available: stat.f_bavail.saturating_mul(stat.f_frsize),
            files: (stat.f_files > 0).then_some(stat.f_favail),
        })
    }

    /// Returns the default of `storage.min_free`: the smaller of 1 GiB and 5 % of the file system.
    pub fn default_min_free(&self) -> u64 {
        GIB.min(self.total / 20)
    }

    /// Returns the default length of the reserve file: the smaller of 64 MiB and 5 % of the file system,
    /// at least 24 MiB.
    pub fn default_reserve(&self) -> u64 {
        MOST_BYTES.min(self.total / 20).max(LEAST_BYTES)
    }
}

/// Returns the length of all logs together from which RocksDB flushes: what the reserve can replay, less
/// what the rest of an opening needs; at most 32 MiB.
pub fn wal_limit(reserve_bytes: u64) -> u64 {
    reserve_bytes
        .saturating_sub(20 * MIB)
        .clamp(4 * MIB, 32 * MIB)
}

/// The reserve file of a data directory.
#[derive(Debug, Clone)]
pub struct Reserve {
    path: PathBuf,
    bytes: u64,
    /// Whether a file was made that does not hold its space, and cannot: it is not made again.
    hollow: Arc<AtomicBool>,
}

impl Reserve {
    /// Describes the reserve of `data_dir`, of `bytes` or (when `None`) as large as the file system suggests.
    ///
    /// # Errors
    /// When the file system cannot be asked.
    pub fn new(data_dir: &Path, bytes: Option<u64>) -> Result<Self, FileError> {
        let bytes = match bytes {
            Some(bytes) => bytes,
            None => Space::of(data_dir)?.default_reserve(),
        };
        Ok(Self {
            path: data_dir.join(FILE_NAME),
            bytes,
            hollow: Arc::default(),
        })
    }

    /// Returns how long the file is to be, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the file is there and holds its space, as far as the file system lets it.
    pub fn is_whole(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|there| {
            let holds = there.blocks().saturating_mul(512) >= self.bytes;
            there.is_file()
                && there.len() >= self.bytes
                && (holds || self.hollow.load(Ordering::Relaxed))
        })
    }

    /// Makes the file, unless it is whole. A failure leaves none.
    ///
    /// # Errors
    /// When the disk has no room for it, or cannot write it.
    pub fn make(&self) -> Result<(), FileError> {
        if self.is_whole() {
            return Ok(());
        }
        let dir = directory_of(&self.path);
        // Asked first, because an allocation that does not fit may take all there is before it
        // fails, and the store beside it writes meanwhile.
        if Space::of(dir)?.available < self.bytes {
            let full = io::ErrorKind::StorageFull;
            return Err(FileError::new("make the reserve", &self.path)(full));
        }
        // What stands in the place, a link of another's perhaps, is not written to.
        self.remove()?;
        if let Err(error) = self.fill() {
            // Half a reserve is of no use, and its space is needed.
            self.free()?;
            return Err(FileError::new("make the reserve", &self.path)(error));
        }
        if !self.is_whole() && !self.hollow.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                path = %self.path.display(),
                "the file system does not set space aside, or tells of it later: the reserve may hold less than it should"
            );
        }
        Ok(())
    }

    fn fill(&self) -> io::Result<()> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.path)?;
        match fallocate(&file, FallocateFlags::empty(), 0, self.bytes) {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                for at in (0..self.bytes).step_by(MIB as usize) {
                    let part = noise(at);
                    let length = (self.bytes - at).min(MIB) as usize;
                    file.write_all_at(part.get(..length).unwrap_or(&part), at)?;
                }
            }
            Err(errno) => return Err(errno.into()),
        }
        file.sync_all()
    }

    /// Removes the file, and returns whether there was one.
    fn remove(&self) -> Result<bool, FileError> {
        let removed = fs::remove_file(&self.path).map_err(FileError::new("remove", &self.path));
        Ok(if_there(removed)?.is_some())
    }

    /// Gives the space back, and returns whether there was a file. One that does not hold all of its space
    /// goes, too: what it holds may be enough.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn free(&self) -> Result<bool, FileError> {
        if !self.remove()? {
            return Ok(false);
        }
        // The blocks of a removed file can be had only once the file system's journal is written.
        let dir = directory_of(&self.path);
        let synced = File::open(dir).and_then(|dir| Ok(rustix::fs::syncfs(dir)?));
        synced.map_err(FileError::new("sync the file system of", dir))?;
        Ok(true)
    }

    /// Frees the reserve if the disk has less than `needed` bytes. Returns whether there was one to free, and
    /// what the disk has then.
    ///
    /// # Errors
    /// When the disk cannot be asked, or the file not be removed.
    pub fn free_for(&self, needed: u64) -> Result<(bool, u64), FileError> {
        let dir = directory_of(&self.path);
        let available = Space::of(dir)?.available;
        if available >= needed {
            return Ok((false, available));
        }
        let freed = self.free()?;
        Ok((freed, Space::of(dir)?.available))
    }
}

/// Makes a mebibyte that no file system can store in less.
fn noise(seed: u64) -> Vec<u8> {
    let words = (0..MIB / 16).map(|at| xxh3_128_with_seed(&at.to_ne_bytes(), seed));
    words.flat_map(u128::to_ne_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_the_file_system() {
        let of = |total| Space {
            total,
            available: 0,
            files: None,
        };
        assert_eq!(of(100 * MIB).default_reserve(), 24 * MIB);
        assert_eq!(of(1000 * MIB).default_reserve(), 50 * MIB);
        assert_eq!(of(1000 * GIB).default_reserve(), 64 * MIB);
        assert_eq!(of(1000 * MIB).default_min_free(), 50 * MIB);
        assert_eq!(of(1000 * GIB).default_min_free(), GIB);
        assert_eq!(wal_limit(24 * MIB), 4 * MIB);
        assert_eq!(wal_limit(50 * MIB), 30 * MIB);
        assert_eq!(wal_limit(64 * MIB), 32 * MIB);
    }

    #[test]
    fn the_reserve_takes_real_space_and_gives_it_back() {
        let dir = tempfile::tempdir().unwrap();
        let reserve = Reserve::new(dir.path(), Some(2 * MIB)).unwrap();
        assert!(!reserve.is_whole());
        reserve.make().unwrap();
        assert!(reserve.is_whole());
        let sparse = OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(dir.path().join(FILE_NAME))
            .unwrap();
        sparse.set_len(2 * MIB).unwrap();
        assert!(!reserve.is_whole(), "a hole holds no space");
        reserve.make().unwrap();
        reserve.free().unwrap();
        reserve.free().unwrap();
        assert!(!reserve.is_whole() && !dir.path().join(FILE_NAME).exists());
    }

    #[test]
    fn a_reserve_that_does_not_fit_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let available = Space::of(dir.path()).unwrap().available;
        let reserve = Reserve::new(dir.path(), Some(available * 2)).unwrap();
        let error = reserve.make().unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::StorageFull);
        assert!(!dir.path().join(FILE_NAME).exists());
    }
}
