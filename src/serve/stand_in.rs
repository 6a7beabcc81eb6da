//! What serves copies while the store cannot be opened, and what opens it as soon as it can be.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use parking_lot::Mutex;

use super::companions::{Companions, RunningCompanions};
use super::opening::{RetryThread, Retrying};
use crate::background::Background;
use crate::control::{ControlSocket, Desk};
use crate::fallback::{Fallback, FallbackOptions};
use crate::storage::DataDirLock;

/// The companions, once the store is open.
pub(super) type Service = Arc<Mutex<Option<RunningCompanions>>>;

/// The threads and the socket of a server without a store.
pub(super) struct StandIn {
    retrying: RetryThread,
    fallback: Background,
    control: Arc<ControlWithoutStore>,
}

impl StandIn {
    /// Starts it; when the store is open, `companions` are started into `service`.
    pub(super) fn start(
        retrying: Retrying,
        copies: &FallbackOptions,
        companions: Companions,
        service: &Service,
    ) -> anyhow::Result<(Self, Fallback)> {
        // One that holds no lock, for it has no store either.
        if ControlSocket::is_answered(&companions.data_dir) {
            bail!(
                "another server answers in {}: it serves copies until the store is open; stop it, or give this one a data directory of its own",
                companions.data_dir.display()
            );
        }
        let (fallback, thread) = Fallback::new(copies);
        let thread = thread.start().context("the fallback's thread")?;
        let control = Arc::new(ControlWithoutStore {
            socket: Mutex::new(None),
            desk: companions.desk.clone(),
            data_dir: companions.data_dir.clone(),
        });
        control.listen();
        let (between, before) = (Arc::clone(&control), Arc::clone(&control));
        let opened = Arc::clone(service);
        let retrying = retrying.start(
            move || between.listen(),
            move || {
                before.end();
                match companions.start() {
                    Ok(running) => *opened.lock() = Some(running),
                    // As at a start: a server whose parts are missing is worse than one that restarts.
                    Err(error) => {
                        tracing::error!(error = format!("{error:#}"), "ending");
                        std::process::exit(1);
                    }
                }
            },
        );
        let stand_in = Self {
            retrying: retrying.context("the thread that opens the store")?,
            fallback: thread,
            control,
        };
        Ok((stand_in, fallback))
    }

    pub(super) fn end(self) {
        self.retrying.end();
        self.fallback.end();
        // Another server may have put its own in the place meanwhile; it has the lock then.
        if DataDirLock::take_existing(&self.control.data_dir).is_ok() {
            self.control.end();
        }
    }
}

/// The control socket of a server without a store, for `counterd mode`.
struct ControlWithoutStore {
    /// `None` while it cannot listen.
    socket: Mutex<Option<ControlSocket>>,
    desk: Desk,
    data_dir: PathBuf,
}

impl ControlWithoutStore {
    /// Listens where the data directory is there and no other process has it; does nothing when it listens
    /// already.
    fn listen(&self) {
        let mut socket = self.socket.lock();
        if socket.is_some() {
            return;
        }
        let Ok(_lock) = DataDirLock::take_existing(&self.data_dir) else {
            return;
        };
        match ControlSocket::listen(&self.data_dir, self.desk.clone()) {
            Ok(listening) => *socket = Some(listening),
            Err(error) => tracing::debug!(%error, "no control socket for now"),
        }
    }

    fn end(&self) {
        if let Some(socket) = self.socket.lock().take() {
            socket.end();
        }
    }
}
