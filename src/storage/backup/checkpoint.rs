//! The store's files as they are at one moment: hard links beside the store, which cost no space and
//! stay as they are whatever is written meanwhile. Only the log's end and the manifest are copied.

use std::path::{Path, PathBuf};

use rocksdb::checkpoint::Checkpoint as RocksCheckpoint;

use super::BackupError;
use crate::storage::create::remove;
use crate::storage::file_error::FileError;
use crate::storage::tables::Reader;

/// The directory's name in the data directory. RocksDB prepares it under that name and `.tmp`.
const DIR_NAME: &str = "checkpoint";

/// The frozen files; removed when dropped.
pub(super) struct Checkpoint {
    pub(super) dir: PathBuf,
}

impl Checkpoint {
    /// Freezes the store that `reader` reads. Waits for a flush, while writes go on.
    pub(super) fn take(reader: &Reader, data_dir: &Path) -> Result<Self, BackupError> {
        remove_leftover(data_dir)?;
        // From here on it is removed whatever happens.
        let checkpoint = Self {
            dir: data_dir.join(DIR_NAME),
        };
        reader.with(|tables| {
            let frozen = RocksCheckpoint::new(&tables.db)?;
            Ok(frozen.create_checkpoint(&checkpoint.dir)?)
        })?;
        Ok(checkpoint)
    }
}

impl Drop for Checkpoint {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.dir) {
            tracing::warn!(%error, "what a backup froze could not be removed; the next start does it");
        }
    }
}

/// Removes what a backup that was cut off left in the data directory.
pub(in crate::storage) fn remove_leftover(data_dir: &Path) -> Result<(), FileError> {
    let dir = data_dir.join(DIR_NAME);
    remove(&dir)?;
    remove(&dir.with_extension("tmp"))
}
