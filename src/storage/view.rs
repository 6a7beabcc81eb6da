//! A store that is a view of a shared log: made anew of what the log says whenever it is opened, so that nothing of it
//! has to be synced, and nothing of an earlier one is believed.

use super::create;
use super::error::{CommitError, OpenCause, OpenError};
use super::lock::DataDirLock;
use super::open::{Opening, StorageOptions};
use super::paths::Paths;
use super::shared_log::SharedLog;
use super::shared_log_error::SharedLogError;
use super::store::Store;
use super::tables::Reader;

impl Store {
    /// Opens a view of the log in the directory that `lock` holds, as of now.
    ///
    /// # Errors
    /// When Redis cannot be asked, the log is not the one that was followed, or the view cannot be made.
    pub fn view(
        lock: &DataDirLock,
        options: &StorageOptions,
        reader: &Reader,
        mut log: SharedLog,
    ) -> Result<Self, Box<(SharedLog, OpenError)>> {
        match Self::view_of(lock, options, reader, &mut log) {
            Ok(store) => Ok(store.following(log)),
            Err(error) => Err(Box::new((log, error))),
        }
    }

    fn view_of(
        lock: &DataDirLock,
        options: &StorageOptions,
        reader: &Reader,
        log: &mut SharedLog,
    ) -> Result<Self, OpenError> {
        log.resume()?;
        let mut opening = Opening::new(lock, options, reader)?;
        opening.paths = Paths::view(lock.data_dir());
        create::remove(&opening.paths.store)?;
        create::create(&opening.paths, &opening.schema, log.epoch())?;
        let mut store = opening.open()?;
        let failed = |error: CommitError| OpenError::new(OpenCause::Transient, error.to_string());
        store.never_sync();
        log.load(|batch| store.take_in(batch)).map_err(failed)?;
        let horizons = &reader.horizons;
        let loaded = horizons.load(store.tables()).map_err(CommitError::from);
        loaded.map_err(failed)?;
        Ok(store)
    }
}

impl From<SharedLogError> for OpenError {
    fn from(error: SharedLogError) -> Self {
        let cause = match error {
            SharedLogError::Redis(_)
            | SharedLogError::RedisRefused { .. }
            | SharedLogError::Setting { .. }
            | SharedLogError::Replicas { .. }
            | SharedLogError::NotDurable { .. }
            | SharedLogError::Trimmed { .. }
            | SharedLogError::Torn(_)
            | SharedLogError::Elsewhere { .. }
            | SharedLogError::Diverged
            | SharedLogError::MovingIn(_)
            | SharedLogError::File(_)
            | SharedLogError::Thread(_) => OpenCause::Transient,
            SharedLogError::Format(_) => OpenCause::Unsupported,
            SharedLogError::Unreadable(_)
            | SharedLogError::Epoch { .. }
            | SharedLogError::Lost { .. }
            | SharedLogError::Parts(_)
            | SharedLogError::Gone(_)
            | SharedLogError::MovedOut { .. }
            | SharedLogError::Refused(_)
            | SharedLogError::DamagedMark(_)
            | SharedLogError::Broken(_) => OpenCause::Damage,
        };
        Self::new(cause, error.to_string())
    }
}
