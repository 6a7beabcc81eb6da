//! The end of a server: the first signal drains it, the next one ends it at once.

use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::notify;
use crate::http::HttpServer;

/// The signals that end the server, and what waits for them.
pub(super) struct Signals {
    runtime: tokio::runtime::Runtime,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes the signals from now on.
    pub(super) fn listen() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (terminate, interrupt) = {
            let _inside = runtime.enter();
            (
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
            )
        };
        Ok(Self {
            runtime,
            terminate,
            interrupt,
        })
    }

    /// Waits for the first signal, serves on for `lame_duck`, then waits until requests in flight are
    /// answered or the time is over. A second signal ends the process at once: everything acknowledged is
    /// on disk already.
    pub(super) fn wait_for_end(
        &mut self,
        http: &HttpServer,
        lame_duck: Duration,
        drain_timeout: Duration,
    ) {
        let Self {
            runtime,
            terminate,
            interrupt,
        } = self;
        runtime.block_on(async {
            let name = next(terminate, interrupt).await;
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
