//! Opening the store for a server: at once, or, with `degraded.start`, again and again while copies are
//! served.
//!
//! Between two tries nothing is held, so that `counterd recover` and `restore` can put the store right
//! meanwhile. No try makes a store where one is known to have been.

use std::io::Write as _;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::fallback::{CopySource, FallbackOptions, Known, anything_known};
use crate::storage::OpenCause;
use crate::writer::{Absent, Running, StartError, WriterOptions};

/// The first and the longest wait between two tries.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Why the store is not open.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotOpen {
    /// It cannot be opened.
    #[error(transparent)]
    Start(#[from] StartError),
    /// There is none, and it is not a new one that is wanted.
    #[error(
        "there is no store in {dir}, but {against}: the directory may be missing, or its disk not mounted. \
         Put it back or restore a backup; to begin a new store all the same, start once with \
         degraded.start = false"
    )]
    LostSight {
        /// The data directory.
        dir: String,
        /// What speaks against a new store.
        against: Against,
    },
}

impl NotOpen {
    /// Returns whether a copy has said that there was a store: from then on none is made, whatever becomes of
    /// the copy.
    fn shows_a_store(&self) -> bool {
        match self {
            Self::LostSight { against, .. } => matches!(against, Against::Known(_)),
            Self::Start(_) => false,
        }
    }

    /// Returns whether copies are served meanwhile. A store that another process has open is not out of order,
    /// and a configuration that contradicts it does not mend itself.
    fn may_be_stood_in_for(&self) -> bool {
        match self {
            Self::Start(StartError::Open(error)) => error.cause() != OpenCause::Locked,
            Self::Start(error) => !error.is_configuration(),
            Self::LostSight { .. } => true,
        }
    }
}

/// What speaks against a new store where there is none.
#[derive(Debug, thiserror::Error)]
pub enum Against {
    /// This copy has something of a store.
    #[error("{} has values of one", .0.as_str())]
    Known(CopySource),
    /// This copy could not be asked, for this reason.
    #[error("whether {} has values of one cannot be told ({})", .0.as_str(), .1)]
    Unclear(CopySource, String),
}

/// Asks the copies what speaks against a new store.
///
/// # Errors
/// When they cannot be asked at all.
pub(super) fn against_a_new_store(copies: &FallbackOptions) -> std::io::Result<Option<Against>> {
    Ok(match anything_known(copies)? {
        Known::Nothing => None,
        Known::Something(source) => Some(Against::Known(source)),
        Known::Unclear(source, error) => Some(Against::Unclear(source, error)),
    })
}

/// What opens the store.
pub(super) struct Opening {
    pub(super) running: Running,
    pub(super) options: WriterOptions,
    /// The copies, when they are served while there is no store.
    pub(super) copies: Option<FallbackOptions>,
}

/// Tries that go on.
pub(super) struct Retrying {
    opening: Opening,
    /// There was a store, or the remains of one: none is made any more.
    seen: bool,
    last_error: String,
}

/// The thread that tries.
pub(super) struct RetryThread {
    end: Sender<()>,
    thread: JoinHandle<()>,
}

impl Opening {
    /// Tries once. Gives the tries that go on, where copies stand in for a store that is not open.
    pub(super) fn first(self) -> anyhow::Result<Option<Retrying>> {
        let seen = self.is_there();
        match self.attempt(seen) {
            Ok(()) => Ok(None),
            Err(error) if self.copies.is_some() && error.may_be_stood_in_for() => {
                let seen = seen || error.shows_a_store();
                tracing::error!(%error, "the store cannot be opened; it is tried again, and copies are served meanwhile");
                Ok(Some(Retrying {
                    opening: self,
                    seen,
                    last_error: error.to_string(),
                }))
            }
            Err(NotOpen::Start(error)) => Err(error.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns whether there is a store, whatever state it is in. What cannot be looked at may be one.
    fn is_there(&self) -> bool {
        let store = self.options.storage.data_dir.join("store");
        store.try_exists().unwrap_or(true)
    }

    fn attempt(&self, seen: bool) -> Result<(), NotOpen> {
        let absent = match &self.copies {
            None => Absent::Create,
            Some(_) if seen || self.is_there() => Absent::Refuse,
            Some(copies) => {
                let against = against_a_new_store(copies).map_err(StartError::Thread)?;
                if let Some(against) = against {
                    let dir = self.options.storage.data_dir.display().to_string();
                    return Err(NotOpen::LostSight { dir, against });
                }
                Absent::Create
            }
        };
        Ok(self.running.open(self.options.clone(), absent)?)
    }
}

impl Retrying {
    /// Tries on a thread of its own until the store is open; calls `between` after each try that failed, and
    /// `opened` in the end.
    pub(super) fn start(
        mut self,
        mut between: impl FnMut() + Send + 'static,
        opened: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<RetryThread> {
        let (end, ended) = mpsc::channel();
        let thread = std::thread::Builder::new().name("opening".to_owned());
        let thread = thread.spawn(move || {
            let mut wait = FIRST_WAIT;
            while ended.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                if self.attempt() {
                    return opened();
                }
                between();
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        })?;
        Ok(RetryThread { end, thread })
    }

    fn attempt(&mut self) -> bool {
        self.seen |= self.opening.is_there();
        match self.opening.attempt(self.seen) {
            Ok(()) => {
                tracing::warn!("the store is open; values are served from it again");
                true
            }
            // A person has to mend the configuration, as at any start.
            Err(NotOpen::Start(error)) if error.is_configuration() => {
                tracing::error!(%error, "ending: the configuration contradicts the store");
                // The log is written by another thread, which this end does not wait for.
                let _ = writeln!(
                    std::io::stderr(),
                    "counterd: the configuration contradicts the store: {error}"
                );
                std::process::exit(78);
            }
            Err(error) => {
                self.seen |= error.shows_a_store();
                let error = error.to_string();
                if error != self.last_error {
                    tracing::error!(error, "the store cannot be opened yet; it is tried again");
                    self.last_error = error;
                }
                false
            }
        }
    }
}

impl RetryThread {
    /// Ends the tries; waits for one that is under way.
    pub(super) fn end(self) {
        drop(self.end);
        if self.thread.join().is_err() {
            tracing::error!("the thread that opens the store panicked");
        }
    }
}
