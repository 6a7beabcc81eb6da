//! Whether there is room to write: free space and inodes on the store's file system, and the reserve.

use std::path::PathBuf;

use crate::counter::Millis;
use crate::storage::reserve::{Reserve, Space};
use crate::storage::{OpenError, StorageOptions};

use super::Cause;
use super::run::Writer;

/// Writes are refused while fewer files than this can be made: RocksDB makes one for each log and table.
const LEAST_FILES: u64 = 32;

/// What there is too little of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lacking {
    Bytes,
    Files,
}

/// Watches the file system that the store is on.
pub(super) struct SpaceWatch {
    data_dir: PathBuf,
    reserve: Reserve,
    min_free: u64,
}

impl SpaceWatch {
    /// `min_free` in bytes; `None`: as the file system suggests.
    pub(super) fn new(storage: &StorageOptions, min_free: Option<u64>) -> Result<Self, OpenError> {
        let space = Space::of(&storage.data_dir)?;
        Ok(Self {
            data_dir: storage.data_dir.clone(),
            reserve: Reserve::new(&storage.data_dir, storage.reserve)?,
            min_free: min_free.unwrap_or_else(|| space.default_min_free()),
        })
    }

    /// Returns what is lacking: at least the minimum is to be free with the reserve in place, and there are
    /// to be inodes. Makes the reserve again when there is room for both.
    fn lacks(&self) -> Result<Option<Lacking>, OpenError> {
        let Space {
            mut available,
            files,
            ..
        } = Space::of(&self.data_dir)?;
        if files.is_some_and(|files| files < LEAST_FILES) {
            return Ok(Some(Lacking::Files));
        }
        if !self.reserve.is_whole() {
            if available < self.reserve.bytes().saturating_add(self.min_free) {
                return Ok(Some(Lacking::Bytes));
            }
            self.reserve.make()?;
            available = Space::of(&self.data_dir)?.available;
        }
        Ok((available < self.min_free).then_some(Lacking::Bytes))
    }
}

impl Writer {
    /// Raises or clears the cause `space`.
    pub(super) fn watch_space(&self, now: Millis) {
        match self.handle.space.lacks() {
            Ok(None) => {
                self.links.mode.clear(Cause::Space);
            }
            Ok(Some(lacking)) => {
                if self.links.mode.raise(Cause::Space, now) && lacking == Lacking::Files {
                    tracing::error!(
                        "the file system of the data directory has bytes, but no inodes left (`df -i`): delete files"
                    );
                }
            }
            Err(error) => {
                if self.links.mode.raise(Cause::Space, now) {
                    tracing::error!(%error, "free space cannot be judged");
                }
            }
        }
    }
}
