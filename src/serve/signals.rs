//! What signals do: SIGHUP reloads the configuration; the first SIGTERM or SIGINT drains the server, the
//! next one ends it at once.

use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::notify;
use crate::http::HttpServer;

/// How often the disk is watched.
const WATCH_EVERY: Duration = Duration::from_millis(500);

/// The signals that end the server, and what waits for them.
pub(super) struct Signals {
    runtime: tokio::runtime::Runtime,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// SIGHUP alone, from the first moment of a start: it never ends the process, and waits until there is a
/// server that can reload.
pub(super) struct Hangups {
    runtime: tokio::runtime::Runtime,
    hangup: Signal,
}

impl Hangups {
    /// Takes SIGHUP from now on.
    pub(super) fn listen() -> std::io::Result<Self> {
        let runtime = crate::background::runtime()?;
        let hangup = {
            let _inside = runtime.enter();
            // Taken, and not waited for: a write beyond `ulimit -f` then fails, and does not end the process.
            drop(signal(SignalKind::from_raw(
                rustix::process::Signal::XFSZ.as_raw(),
            ))?);
            signal(SignalKind::hangup())?
        };
        Ok(Self { runtime, hangup })
    }

    /// Takes the signals that end the server, too.
    pub(super) fn and_ends(self) -> std::io::Result<Signals> {
        let Self { runtime, hangup } = self;
        let (terminate, interrupt) = {
            let _inside = runtime.enter();
            (
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
            )
        };
        Ok(Signals {
            runtime,
            terminate,
            interrupt,
            hangup,
        })
    }
}

impl Signals {
    /// Waits for the first signal that ends the server, and calls `reload` at each SIGHUP and `watch` a few times a second until then;
    /// serves on for `lame_duck`, then waits until requests in flight are answered or the time is over. A
    /// second signal ends the process at once: everything acknowledged is on disk already.
    pub(super) fn wait_for_end(
        &mut self,
        http: &HttpServer,
        lame_duck: Duration,
        drain_timeout: Duration,
        mut reload: impl FnMut(),
        mut watch: impl FnMut(),
    ) {
        let Self {
            runtime,
            terminate,
            interrupt,
            hangup,
        } = self;
        runtime.block_on(async {
            let name = loop {
                tokio::select! {
                    name = next(terminate, interrupt) => break name,
                    _ = hangup.recv() => reload(),
                    () = tokio::time::sleep(WATCH_EVERY) => watch(),
                }
            };
            notify(&[sd_notify::NotifyState::Stopping]);
            if !lame_duck.is_zero() {
                tracing::info!(
                    signal = name,
                    "ending: /readyz says 503; connections are taken for server.lame_duck"
                );
                http.begin_lame_duck();
                tokio::select! {
                    signal = next(terminate, interrupt) => end_at_once(signal),
                    () = tokio::time::sleep(lame_duck) => {}
                }
            }
            tracing::info!(
                signal = name,
                "ending: no new connections; requests in flight are answered"
            );
            http.begin_drain();
            let deadline = Instant::now() + drain_timeout;
            loop {
                tokio::select! {
                    signal = next(terminate, interrupt) => end_at_once(signal),
                    () = tokio::time::sleep(Duration::from_millis(10)) => {}
                }
                if http.is_drained() {
                    tracing::info!("all requests are answered");
                    return;
                }
                if Instant::now() >= deadline {
                    tracing::warn!("server.drain_timeout is over; what is unfinished is cut off");
                    return;
                }
            }
        });
    }

    /// What follows may wait for a disk: the next signal ends that at once, and so does
    /// `patience`.
    pub(super) fn heed_the_next(self, patience: Duration) -> std::io::Result<()> {
        let Self {
            runtime,
            mut terminate,
            mut interrupt,
            hangup: _,
        } = self;
        let heed = move || {
            runtime.block_on(async {
                tokio::select! {
                    signal = next(&mut terminate, &mut interrupt) => end_at_once(signal),
                    () = tokio::time::sleep(patience) => end_at_once("server.drain_timeout"),
                }
            });
        };
        let thread = std::thread::Builder::new().name("signals".to_owned());
        thread.spawn(heed).map(drop)
    }
}

fn end_at_once(why: &str) {
    tracing::warn!(why, "ending at once; what was acknowledged is on disk");
    std::process::exit(1);
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
