//! Whether there is room to write: free space on the store's file system, and the reserve.

use std::path::PathBuf;

use crate::counter::Millis;
use crate::storage::reserve::{Reserve, Space};
use crate::storage::{OpenError, StorageOptions};

use super::Cause;
use super::run::Writer;

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

    /// Whether there is room: at least the minimum is free with the reserve in place. Makes the
    /// reserve again when there is room for both.
    fn suffices(&self) -> Result<bool, OpenError> {
        let mut available = Space::of(&self.data_dir)?.available;
        if !self.reserve.is_whole() {
            if available < self.reserve.bytes().saturating_add(self.min_free) {
                return Ok(false);
            }
            self.reserve.make()?;
            available = Space::of(&self.data_dir)?.available;
        }
        Ok(available >= self.min_free)
    }
}

impl Writer {
    /// Raises or clears the cause `space`.
    pub(super) fn watch_space(&self, now: Millis) {
        match self.space.suffices() {
            Ok(true) => {
                if self.mode.stands(Cause::Space) {
                    self.mode.clear(Cause::Space);
                }
            }
            Ok(false) => {
                self.mode.raise(Cause::Space, now);
            }
            Err(error) => {
                if self.mode.raise(Cause::Space, now) {
                    tracing::error!(%error, "free space cannot be judged");
                }
            }
        }
    }
}
