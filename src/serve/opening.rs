//! Opening the store for a server: at once, or, with `degraded.start`, again and again while copies are
//! served.
//!
//! Between two tries nothing is held, so that `counterd recover` and `restore` can put the store right
//! meanwhile. No try makes a store where one is known to have been.

use std::io::Write as _;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, bail};

use super::companions::{Companions, RunningCompanions};
use crate::background::Background;
use crate::control::ControlSocket;
use crate::fallback::{Against, Fallback, FallbackOptions, against_a_new_store};
use crate::rounds::Backoff;
use crate::storage::{DataDirLock, OpenCause};
use crate::writer::{Absent, Running, StartError, WriterOptions};

/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// What opens the store.
pub(super) struct Opening {
    pub(super) running: Running,
    pub(super) options: WriterOptions,
    /// The copies, when they are served while there is no store.
    pub(super) copies: Option<FallbackOptions>,
    /// There was a store, or the remains of one: none is made any more.
    pub(super) seen: bool,
    /// What the log told last.
    pub(super) last_error: String,
}

/// What serves copies while the store cannot be opened, and opens it as soon as it can be.
pub(super) struct StandIn {
    end: Sender<()>,
    /// Returns the companions, where it could open the store.
    thread: JoinHandle<Option<RunningCompanions>>,
    fallback: Background,
}

impl Opening {
    /// Tries once. Returns the copies that are to stand in for the store; `None` when it is open.
    pub(super) fn first(&mut self) -> anyhow::Result<Option<FallbackOptions>> {
        let Err(error) = self.attempt() else {
            return Ok(None);
        };
        // A store that another process has open is not out of order, and a configuration that contradicts it
        // does not mend itself.
        let mends_itself = match error.downcast_ref() {
            Some(StartError::Open(error)) => error.cause != OpenCause::Locked,
            Some(error) => !error.is_configuration(),
            None => true,
        };
        match &self.copies {
            Some(copies) if mends_itself => {
                tracing::error!(%error, "the store cannot be opened; it is tried again, and copies are served meanwhile");
                self.last_error = error.to_string();
                Ok(Some(copies.clone()))
            }
            Some(_) | None => Err(error),
        }
    }

    /// Tries again. Returns whether the store is open.
    fn again(&mut self) -> bool {
        let Err(error) = self.attempt() else {
            tracing::warn!("the store is open; values are served from it again");
            return true;
        };
        // A person has to mend the configuration, as at any start.
        let start = error.downcast_ref::<StartError>();
        if start.is_some_and(StartError::is_configuration) {
            tracing::error!(%error, "ending: the configuration contradicts the store");
            // The log is written by another thread, which this end does not wait for.
            let _ = writeln!(
                std::io::stderr(),
                "counterd: the configuration contradicts the store: {error}"
            );
            std::process::exit(78);
        }
        let error = error.to_string();
        if error != self.last_error {
            tracing::error!(error, "the store cannot be opened yet; it is tried again");
            self.last_error = error;
        }
        false
    }

    fn attempt(&mut self) -> anyhow::Result<()> {
        if self.options.storage.shared.is_some() {
            return self.attempt_shared();
        }
        let data_dir = &self.options.storage.data_dir;
        // Whatever state it is in. What cannot be looked at may be one.
        self.seen |= data_dir.join("store").try_exists().unwrap_or(true);
        let mut absent = Absent::Create;
        if let Some(copies) = &self.copies {
            if self.seen {
                absent = Absent::Refuse;
            } else if let Some(against) = against_a_new_store(copies).map_err(StartError::Thread)? {
                // From then on none is made, whatever becomes of the copy.
                self.seen = matches!(against, Against::Known(_));
                bail!(
                    "there is no store in {}, but {against}: the directory may be missing, or its disk not mounted. \
                     Put it back or restore a backup; to begin a new store all the same, start once with \
                     degraded.start = false",
                    data_dir.display()
                );
            }
        }
        Ok(self.running.open(self.options.clone(), absent)?)
    }

    /// The same with a shared log: the directory says nothing of whether there is one. None is made where a copy tells of one.
    fn attempt_shared(&mut self) -> anyhow::Result<()> {
        let absent = match &self.copies {
            Some(copies) if against_a_new_store(copies)?.is_some() => Absent::Refuse,
            Some(_) | None => Absent::Create,
        };
        Ok(self.running.open(self.options.clone(), absent)?)
    }

    /// Serves copies, and tries on a thread of its own until the store is open; `companions` are started then.
    pub(super) fn stand_in(
        mut self,
        copies: &FallbackOptions,
        companions: Companions,
    ) -> anyhow::Result<(StandIn, Fallback)> {
        let data_dir = companions.data_dir.clone();
        // One that holds no lock, for it has no store either.
        if ControlSocket::is_answered(&data_dir) {
            bail!(
                "another server answers in {}: it serves copies until the store is open; stop it, or give this one a data directory of its own",
                data_dir.display()
            );
        }
        let (fallback, thread) = Fallback::new(copies);
        let fallback_thread = thread.start().context("the fallback's thread")?;
        let mut control = listen(&companions);
        let (end, ended) = mpsc::channel();
        let thread = std::thread::Builder::new().name("opening".to_owned());
        let thread = thread.spawn(move || {
            let mut backoff = Backoff::default();
            while ended.recv_timeout(backoff.next(LONGEST_WAIT)) == Err(RecvTimeoutError::Timeout) {
                if self.again() {
                    control.into_iter().for_each(ControlSocket::end);
                    // As at a start: a server whose parts are missing is worse than one that restarts.
                    return Some(companions.start().unwrap_or_else(|error| {
                        tracing::error!(error = format!("{error:#}"), "ending");
                        std::process::exit(1);
                    }));
                }
                control = control.or_else(|| listen(&companions));
            }
            // Another server may have put its own in the place meanwhile; it has the lock then.
            if DataDirLock::take_existing(&data_dir).is_ok() {
                control.into_iter().for_each(ControlSocket::end);
            }
            None
        });
        let stand_in = StandIn {
            end,
            thread: thread.context("the thread that opens the store")?,
            fallback: fallback_thread,
        };
        Ok((stand_in, fallback))
    }
}

/// Opens the control socket of a server without a store, for `counterd mode` and `log`. Returns `None` where there is no data
/// directory, or another process has it.
fn listen(companions: &Companions) -> Option<ControlSocket> {
    let _lock = DataDirLock::take_existing(&companions.data_dir).ok()?;
    let listening = ControlSocket::listen(&companions.data_dir, companions.desk.clone());
    listening
        .inspect_err(|error| tracing::debug!(%error, "no control socket for now"))
        .ok()
}

impl StandIn {
    /// Ends the tries; waits for one that is under way. Returns the companions, where the store is open.
    pub(super) fn end(self) -> Option<RunningCompanions> {
        drop(self.end);
        let companions = self.thread.join().unwrap_or_else(|_| {
            tracing::error!("the thread that opens the store panicked");
            None
        });
        self.fallback.end();
        companions
    }
}
