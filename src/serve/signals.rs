//! What signals do: SIGHUP reloads the configuration; the first SIGTERM or SIGINT drains the server, the
//! next one ends it at once.

use std::io;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use crate::http::HttpServer;

/// How often the disk is watched.
const WATCH_EVERY: Duration = Duration::from_millis(500);

/// SIGHUP, from the first moment of a start: it never ends the process, and waits until there is a server
/// that can reload.
pub(super) struct Signals {
    runtime: Runtime,
    hangup: Signal,
}

/// The signals that end the server.
pub(super) struct Ends {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes SIGHUP from now on.
    pub(super) fn listen() -> io::Result<Self> {
        let runtime = crate::background::runtime()?;
        let inside = runtime.enter();
        // Taken, and not waited for: a write beyond `ulimit -f` then fails, and does not end the process.
        let too_long = rustix::process::Signal::XFSZ.as_raw();
        drop(signal(SignalKind::from_raw(too_long))?);
        let hangup = signal(SignalKind::hangup())?;
        drop(inside);
        Ok(Self { runtime, hangup })
    }

    /// Takes the signals that end the server, too.
    pub(super) fn listen_for_ends(&self) -> io::Result<Ends> {
        let _inside = self.runtime.enter();
        Ok(Ends {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the first signal that ends the server. Until then it calls `reload` at each SIGHUP, and
    /// `watch` a few times a second.
    pub(super) fn wait(
        &mut self,
        ends: &mut Ends,
        mut reload: impl FnMut(),
        mut watch: impl FnMut(),
    ) -> &'static str {
        let Self { runtime, hangup } = self;
        runtime.block_on(async {
            loop {
                tokio::select! {
                    name = ends.next() => return name,
                    _ = hangup.recv() => reload(),
                    () = sleep(WATCH_EVERY) => watch(),
                }
            }
        })
    }

    /// Serves on for `lame_duck`, then waits until requests in flight are answered or `drain_timeout` is
    /// over. A second signal ends the process at once: everything acknowledged is on disk already.
    pub(super) fn drain(
        &self,
        ends: &mut Ends,
        http: &HttpServer,
        lame_duck: Duration,
        drain_timeout: Duration,
    ) {
        self.runtime.block_on(async {
            if !lame_duck.is_zero() {
                tracing::info!(
                    "ending: /readyz says 503; connections are taken for server.lame_duck"
                );
                http.begin_lame_duck();
                ends.end_at_once_unless(sleep(lame_duck)).await;
            }
            tracing::info!("ending: no new connections; requests in flight are answered");
            http.begin_drain();
            let deadline = Instant::now() + drain_timeout;
            while !http.is_drained() {
                if Instant::now() >= deadline {
                    tracing::warn!("server.drain_timeout is over; what is unfinished is cut off");
                    return;
                }
                ends.end_at_once_unless(sleep(Duration::from_millis(10)))
                    .await;
            }
            tracing::info!("all requests are answered");
        });
    }

    /// Ends the process at the next signal, or once `patience` is over: what follows may wait for a disk.
    pub(super) fn heed_the_next(self, mut ends: Ends, patience: Duration) -> io::Result<()> {
        let heed = move || {
            self.runtime.block_on(async {
                ends.end_at_once_unless(sleep(patience)).await;
                end_at_once("server.drain_timeout");
            });
        };
        let thread = std::thread::Builder::new().name("signals".to_owned());
        thread.spawn(heed).map(drop)
    }
}

impl Ends {
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Waits for `done`; the next signal ends the process before.
    async fn end_at_once_unless(&mut self, done: impl Future<Output = ()>) {
        tokio::select! {
            signal = self.next() => end_at_once(signal),
            () = done => {}
        }
    }
}

fn end_at_once(why: &str) {
    tracing::warn!(why, "ending at once; what was acknowledged is on disk");
    std::process::exit(1);
}
