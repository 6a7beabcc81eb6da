//! `counterd serve`: puts the parts together, and takes them apart in the right order.
//!
//! Only here is everything known: each part gets its own options, not the configuration.
//!
//! The order of the end: `/readyz` says 503 and no connection is taken any more; requests in flight
//! are answered; the writer writes what it was given and closes the store; the logs are written.

mod companions;
mod files;
mod logs;
mod opening;
mod options;
mod probe;
mod reload;
mod signals;

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;

use crate::background::Background;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, LogLevel, Warning};
use crate::http::{Bound, HttpServer, Shared};
use crate::links::others_may_write;
use crate::metrics::Metrics;
use crate::writer::{Cause, Running, SlowDisk};

use companions::{Companions, RunningCompanions};
use logs::Logs;
use opening::{Opening, StandIn};
pub use options::{
    alert_options, alert_rules, calendar, copy_options, defined, log_address, mirror_options,
    postgres_options, retention, storage_options, why_no_new_store, writer_options,
    zone_is_written,
};
use options::{fallback_options, http_options};
pub use reload::LoadAgain;
use reload::Reload;
use signals::Signals;

/// Serves until a signal says stop; SIGHUP calls `load_again`.
///
/// # Errors
/// When the store, the socket or the logs cannot be opened.
pub fn run(config: &Config, warnings: &[Warning], load_again: LoadAgain<'_>) -> anyhow::Result<()> {
    let mut signals = Signals::listen().context("the signals")?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let metrics = Arc::new(Metrics::new());
    let logs = Logs::start(config, &clock, &metrics)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    warn_of_the_system(config);
    // A port in use is told before the store is touched.
    let bound = Bound::to(config.server.listen)?;
    let options = writer_options(config, clock, &metrics)?;
    let running = Running::new(&options);
    probe::attach(&metrics, &running);
    let (mut companions, mut engine) =
        Companions::new(config, &running, &metrics, logs.events.level.clone())?;
    let mut opening = Opening {
        running: running.clone(),
        options,
        copies: config.degraded.start.then(|| fallback_options(config)),
        seen: false,
        last_error: String::new(),
    };
    let (mut service, mut stand_in, mut watching) = (None, None, None);
    match opening.first()? {
        None => service = Some(companions.start()?),
        Some(copies) => {
            let now_ms = running.day.look().wall_ms;
            running.mode.raise(Cause::NoStore, now_ms);
            watching = companions.start_watch()?;
            let (started, fallback) = opening.stand_in(&copies, companions)?;
            stand_in = Some(started);
            engine.fallback = Some(fallback);
        }
    }
    let shared = Shared {
        engine,
        metrics,
        log: logs.requests.clone(),
    };
    // Before anyone can connect: from then on an end is an orderly one.
    let mut ends = signals.listen_for_ends().context("the signals")?;
    let options = http_options(config);
    let tokens = Arc::clone(&options.tokens);
    let http = HttpServer::start(bound, options, shared)?;
    let mut reload = Reload {
        load: load_again,
        at_start: config,
        latest: config.clone(),
        tokens,
        http: &http,
        logs: &logs,
    };
    say_ready(config, &http);
    let mut slow_disk = SlowDisk::default();
    let watch = || slow_disk.look(running.mode.disk());
    let signal = signals.wait(&mut ends, || reload.run(), watch);
    tracing::info!(signal, "ending");
    notify(&[sd_notify::NotifyState::Stopping]);
    let server = &config.server;
    signals.drain(&mut ends, &http, server.lame_duck, server.drain_timeout);
    let heeded = signals.heed_the_next(ends, server.drain_timeout);
    let service = service.or_else(|| stand_in.and_then(StandIn::end));
    service.into_iter().for_each(RunningCompanions::end);
    watching.into_iter().for_each(Background::end);
    running.stop();
    // What was cut off has lines in the request log too.
    drop(http);
    let _events = logs.end_requests();
    tracing::info!("the store is closed");
    heeded.context("the signals")
}

/// Warns of what the system allows too much or too little of.
fn warn_of_the_system(config: &Config) {
    files::tell_of_a_limit_on_sizes();
    let directories = [Some(&config.storage.data_dir), config.log.dir.as_ref()];
    for dir in directories.into_iter().flatten() {
        if let Some(mode) = others_may_write(dir) {
            tracing::warn!(
                dir = dir.display().to_string(),
                mode = format!("{mode:o}"),
                "everybody may write to the directory: take that right away (chmod o-w)"
            );
        }
    }
}

/// Says where it listens: in the log, to systemd when asked for, and to whoever started it in a
/// terminal, where the log is not seen there.
fn say_ready(config: &Config, http: &HttpServer) {
    let addr = http.addr();
    let data_dir = std::path::absolute(&config.storage.data_dir);
    let data_dir = data_dir.as_deref().unwrap_or(Path::new("?")).display();
    let zone = &config.calendar.timezone;
    let version = env!("CARGO_PKG_VERSION");
    let file = match &config.file {
        Some(file) => file.display().to_string(),
        None => "none, defaults".to_owned(),
    };
    let is_open = config.open_to_the_network();
    if is_open {
        tracing::warn!(
            version, config = file, %addr, %data_dir, zone,
            "ready, and open to the network: anyone who reaches this address may write; set auth.write_token"
        );
    } else {
        tracing::info!(version, config = file, %addr, %data_dir, zone, "ready");
    }
    if config.log.dir.is_some() || config.log.level < LogLevel::Info {
        let logs = config.log.dir.as_ref();
        let logs = logs.map_or_else(String::new, |dir| format!(", logs in {}", dir.display()));
        let warning = if is_open {
            "; anyone who reaches this address may write: set auth.write_token"
        } else {
            ""
        };
        // Where nobody listens there is nobody to tell.
        let _ = writeln!(
            std::io::stderr(),
            "counterd {version}: ready on http://{addr}, data in {data_dir}{logs}{warning}"
        );
    }
    notify(&[sd_notify::NotifyState::Ready]);
}

fn notify(states: &[sd_notify::NotifyState<'_>]) {
    // Without systemd there is no socket to tell, which is no error.
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd could not be told");
    }
}
