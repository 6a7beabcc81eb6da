//! `counterd serve`: puts the parts together, and takes them apart in the right order.
//!
//! Only here is everything known: each part gets its own options, not the configuration.
//!
//! The order of the end: `/readyz` says 503 and no connection is taken any more; requests in flight
//! are answered; the writer writes what it was given and closes the store; the logs are written.

mod companions;
mod files;
mod opening;
mod probe;
mod reload;
mod signals;

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::access_log::{
    AccessLog, AccessLogOptions, EventLogOptions, FileOptions, LogOutput, init_events,
};
use crate::calendar::{Calendar, DayStart};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, LogLevel, MinFree, SettingSource, Warning};
use crate::control::{ControlSocket, CopyOptions};
use crate::counter::{CounterName, Definition};
use crate::export::postgres::{ExportContext, PostgresOptions};
use crate::fallback::{Fallback, FallbackOptions, anything_known};
use crate::http::{Bound, HttpOptions, HttpServer, Limits, Shared, Tokens};
use crate::lifecycle::{ArchivistOptions, Retention};
use crate::links::others_may_write;
use crate::metrics::Metrics;
use crate::mirror::MirrorOptions;
use crate::storage::{DataDirLock, StorageOptions};
use crate::writer::{Cause, Running, SlowDisk, StartError, WriterOptions};

use companions::{Companions, ControlWithoutStore, RunningCompanions};
pub use opening::Against;
use opening::{NotOpen, Opening, against_a_new_store};
pub use reload::LoadAgain;
use reload::Reload;
use signals::Hangups;

/// Bytes of request lines that may wait for the log thread, for each line that may.
const LOG_BYTES_A_LINE: usize = 512;

/// How long the logs may take to write what waits when the server ends.
const LOG_PATIENCE: Duration = Duration::from_secs(2);

/// Why the server did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration contradicts the store.
    #[error(transparent)]
    Configuration(StartError),
    /// Anything else.
    #[error(transparent)]
    RunTime(#[from] anyhow::Error),
}

impl From<NotOpen> for ServeError {
    fn from(error: NotOpen) -> Self {
        match error {
            NotOpen::Start(error) => error.into(),
            NotOpen::LostSight { .. } => Self::RunTime(anyhow::Error::new(error)),
        }
    }
}

impl From<StartError> for ServeError {
    fn from(error: StartError) -> Self {
        if error.is_configuration() {
            Self::Configuration(error)
        } else {
            Self::RunTime(anyhow::Error::new(error))
        }
    }
}

/// Serves until a signal says stop; SIGHUP calls `load_again`.
///
/// # Errors
/// When the store, the socket or the logs cannot be opened.
pub fn run(
    config: &Config,
    warnings: &[Warning],
    load_again: LoadAgain<'_>,
) -> Result<(), ServeError> {
    let hangups = Hangups::listen().context("the signals")?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let calendar = calendar(config)?;
    let metrics = Arc::new(Metrics::new());
    let output = log_output(config, &clock, &metrics)?;
    let format = config.log.format;
    let event_options = EventLogOptions {
        format,
        level: event_level(config),
        queue_lines: config.log.queue,
    };
    let events = init_events(&event_options, &output).context("the event log")?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
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
    let access = AccessLogOptions {
        access: config.log.access,
        sample: config.log.sample,
        format,
        queue_lines: config.log.queue,
        queue_bytes: config.log.queue.saturating_mul(LOG_BYTES_A_LINE),
    };
    let (access_log, access_thread) =
        AccessLog::start(&access, output).context("the request log")?;
    let access_for_reload = access_log.clone();
    // A port in use is told before the store is touched.
    let bound = Bound::to(config.server.listen).map_err(anyhow::Error::new)?;
    let options = writer_options(config, clock, calendar, &metrics)?;
    let running = Running::new(&options);
    probe::attach(&metrics, &running);
    let (companions, engine) = Companions::new(config, &running, &metrics)?;
    let copies = config.degraded.start.then(|| fallback_options(config));
    let opening = Opening {
        running: running.clone(),
        options,
        copies: copies.clone(),
    };
    let service = Arc::new(Mutex::new(None));
    let mut stand_in = None;
    let engine = match opening.first()? {
        None => {
            *service.lock() = Some(companions.start()?);
            engine
        }
        Some(retrying) => {
            // One that holds no lock, for it has no store either.
            if ControlSocket::is_answered(&config.storage.data_dir) {
                let dir = config.storage.data_dir.display();
                return Err(anyhow!(
                    "another server answers in {dir}: it serves copies until the store is open; stop it, or give this one a data directory of its own"
                )
                .into());
            }
            running
                .mode
                .raise(Cause::NoStore, running.day.look().wall_ms);
            let (fallback, thread) = Fallback::new(&copies.unwrap_or_default());
            let thread = thread.start().context("the fallback's thread")?;
            let asking = ControlWithoutStore::new(&companions);
            asking.listen();
            let control = Arc::clone(&asking.socket);
            let (opened, before) = (Arc::clone(&service), Arc::clone(&control));
            let between = move || asking.listen();
            let retrying = retrying.start(between, move || {
                before
                    .lock()
                    .take()
                    .into_iter()
                    .for_each(ControlSocket::end);
                match companions.start() {
                    Ok(begun) => *opened.lock() = Some(begun),
                    // As at a start: a server whose parts are missing is worse than one that restarts.
                    Err(error) => {
                        tracing::error!(error = format!("{error:#}"), "ending");
                        std::process::exit(1);
                    }
                }
            });
            let retrying = retrying.context("the thread that opens the store")?;
            stand_in = Some((retrying, thread, control));
            engine.with_fallback(fallback)
        }
    };
    let shared = Shared {
        engine,
        metrics: Arc::clone(&metrics),
        log: access_log,
    };
    // Before anyone can connect: from then on an end is an orderly one.
    let mut signals = hangups.and_ends().context("the signals")?;
    let options = http_options(config)?;
    let tokens = Arc::clone(&options.tokens);
    let http = HttpServer::start(bound, options, shared);
    let http = http.map_err(anyhow::Error::new)?;
    let mut reload = Reload {
        load: load_again,
        at_start: config,
        latest: config.clone(),
        tokens,
        http: &http,
        access_log: access_for_reload,
        events,
    };
    say_ready(config, &http);
    let lame_duck = config.server.lame_duck;
    let mut slow_disk = SlowDisk::default();
    let watch = || slow_disk.look(running.mode.disk());
    signals.wait_for_end(
        &http,
        lame_duck,
        config.server.drain_timeout,
        || reload.run(),
        watch,
    );
    let heeded = signals.heed_the_next(config.server.drain_timeout);
    if let Some((retrying, fallback, control)) = stand_in {
        retrying.end();
        fallback.end();
        // Another server may have put its own in the place meanwhile; it has the lock then.
        if DataDirLock::take_existing(&config.storage.data_dir).is_ok() {
            control
                .lock()
                .take()
                .into_iter()
                .for_each(ControlSocket::end);
        }
    }
    let service = service.lock().take();
    service.into_iter().for_each(RunningCompanions::end);
    running.stop();
    // What was cut off has lines in the request log too.
    http.end();
    if !access_thread.finish(LOG_PATIENCE) {
        tracing::warn!("the request log could not be written in time; its last lines are lost");
    }
    tracing::info!("the store is closed");
    Ok(heeded.context("the signals")?)
}

/// What the writer is started with under this configuration; also for commands that do their work
/// without a server.
///
/// # Errors
/// When the zone is not known.
pub fn writer_options(
    config: &Config,
    clock: Arc<dyn Clock>,
    calendar: Calendar,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<WriterOptions> {
    Ok(WriterOptions {
        storage: storage_options(config),
        clock,
        calendar,
        zone_is_written: zone_is_written(config),
        max_clock_jump_ms: millis(config.calendar.max_clock_jump),
        max_away_ms: millis(config.calendar.max_away),
        auto_create: config.counters.auto_create,
        max_counters: config.counters.max,
        gone_for_ms: millis(config.counters.gone_for),
        configured: defined(config),
        recent_users: config.counters.recent_users,
        min_free: match config.storage.min_free {
            MinFree::Auto => None,
            MinFree::Bytes(bytes) => Some(bytes),
        },
        slow_disk_after: config.storage.slow_disk_after,
        followed_counters: config.samples.max_counters,
        runtimes: u16::try_from(config.server.workers).context("server.workers")?,
        queue: config.writer.queue,
        metrics: Arc::clone(metrics),
    })
}

/// Whether the configuration names the zone; else it is the machine's.
pub fn zone_is_written(config: &Config) -> bool {
    let source = config.source("calendar.timezone");
    source.is_some_and(SettingSource::is_written)
}

/// The counters that the configuration defines.
pub fn defined(config: &Config) -> Vec<(CounterName, Definition)> {
    let entries = config.defined_counters.iter();
    entries
        .map(|entry| (entry.name.clone(), entry.definition.clone()))
        .collect()
}

/// What the archivist is started with under this configuration.
pub fn archivist_options(config: &Config, metrics: &Arc<Metrics>) -> ArchivistOptions {
    let sample_days = config.samples.retention.as_secs().div_ceil(24 * 60 * 60);
    ArchivistOptions {
        retention: Retention {
            history_days: config.calendar.retention_days,
            user_days: config.calendar.user_retention_days,
            max_unexported_days: config.calendar.max_unexported_days,
            sample_days: u32::try_from(sample_days).unwrap_or(u32::MAX),
            exports: config.postgres.url.is_some(),
        },
        metrics: Arc::clone(metrics),
    }
}

/// How the export to PostgreSQL is done under this configuration; none when there is none.
pub fn postgres_options(config: &Config) -> Option<PostgresOptions> {
    let postgres = &config.postgres;
    Some(PostgresOptions {
        url: postgres.url.clone()?,
        interval: postgres.interval,
        timeout: postgres.timeout,
        export_users: postgres.export_users,
        unique_users_inline: postgres.unique_users_inline,
    })
}

/// How values are mirrored to Redis under this configuration; none when they are not.
pub fn mirror_options(config: &Config) -> Option<MirrorOptions> {
    config.redis.mirror.then(|| redis_options(config))?
}

/// The copies of the store under this configuration.
pub fn copy_options(config: &Config) -> CopyOptions {
    CopyOptions {
        redis: mirror_options(config),
        postgres: postgres_options(config),
    }
}

/// Where values are read while there is no store, under this configuration: also out of a mirror that
/// another server writes.
fn fallback_options(config: &Config) -> FallbackOptions {
    FallbackOptions {
        redis: redis_options(config),
        postgres: postgres_options(config),
        timeout: config.degraded.timeout,
        cache_for: config.degraded.cache_for,
    }
}

/// Why a start under this configuration would not make a store where there is none; asks the copies.
///
/// # Errors
/// When they cannot be asked at all.
pub fn why_no_new_store(config: &Config) -> std::io::Result<Option<Against>> {
    if !config.degraded.start {
        return Ok(None);
    }
    let known = anything_known(&fallback_options(config))?;
    Ok(against_a_new_store(&known))
}

fn redis_options(config: &Config) -> Option<MirrorOptions> {
    let redis = &config.redis;
    Some(MirrorOptions {
        url: redis.url.clone()?,
        users: redis.users,
        interval: redis.interval,
        timeout: redis.timeout,
        prefix: redis.prefix.clone(),
    })
}

/// A way for commands to bring days into PostgreSQL; none when none is configured.
pub fn days_to_postgres(
    config: &Config,
    running: &Running,
    metrics: &Arc<Metrics>,
) -> Option<ExportContext> {
    let options = postgres_options(config)?;
    Some(ExportContext::new(running, Arc::clone(metrics), options))
}

/// How the store is opened under this configuration.
pub fn storage_options(config: &Config) -> StorageOptions {
    StorageOptions {
        data_dir: config.storage.data_dir.clone(),
        memory: config.storage.memory,
        reserve: None,
    }
}

/// The calendar of this configuration.
///
/// # Errors
/// When the zone is not known.
pub fn calendar(config: &Config) -> anyhow::Result<Calendar> {
    Calendar::new(&config.calendar.timezone, config.calendar.day_start).context("calendar.timezone")
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// What events are logged under this configuration; what administrators did is told at any level.
fn event_level(config: &Config) -> String {
    format!("{},audit=info", config.log.level.as_str())
}

fn tokens(config: &Config) -> Tokens {
    Tokens {
        admin: config.auth.admin_token.clone(),
        write: config.auth.write_token.clone(),
        read: config.auth.read_token.clone(),
    }
}

fn log_output(
    config: &Config,
    clock: &Arc<dyn Clock>,
    metrics: &Metrics,
) -> anyhow::Result<LogOutput> {
    let (clock, metrics) = (Arc::clone(clock), metrics.log.clone());
    let Some(dir) = &config.log.dir else {
        return LogOutput::stdout(clock, metrics).context("the log");
    };
    let files = FileOptions {
        dir: dir.clone(),
        max_file_size: config.log.max_file_size,
        max_files: config.log.max_files,
    };
    // Files follow the local date, whatever hour the counters' day starts at.
    let dates = Calendar::new(&config.calendar.timezone, DayStart::default());
    let dates = dates.context("calendar.timezone")?;
    LogOutput::files(files, clock, dates, metrics).context("the log")
}

/// The limits of HTTP under this configuration.
fn limits(config: &Config) -> Limits {
    let server = &config.server;
    Limits {
        max_connections: files::room_for_connections(server.max_connections),
        max_body: server.max_body,
        max_batch_body: server.max_batch_body,
        max_body_memory: server.max_body_memory,
        header_timeout: server.header_timeout,
        body_timeout: server.body_timeout,
        idle_timeout: server.idle_timeout,
    }
}

fn http_options(config: &Config) -> anyhow::Result<HttpOptions> {
    let server = &config.server;
    Ok(HttpOptions {
        workers: u16::try_from(server.workers).context("server.workers")?,
        limits: limits(config),
        max_header_bytes: server.max_header_bytes,
        max_headers: server.max_headers,
        cors_origins: server.cors_origins.clone(),
        // Elsewhere than on the loopback, nobody knows by which names the server is reached.
        hosts: (server.listen.ip().is_loopback() || !server.hosts.is_empty())
            .then(|| server.hosts.clone()),
        series_range: config.samples.retention,
        tokens: Arc::new(ArcSwap::from_pointee(tokens(config))),
    })
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
    let log_is_elsewhere = config.log.dir.is_some() || config.log.level < LogLevel::Info;
    if config.open_to_the_network() {
        tracing::warn!(
            version, config = file, %addr, %data_dir, zone,
            "ready, and open to the network: anyone who reaches this address may write; set auth.write_token"
        );
    } else {
        tracing::info!(version, config = file, %addr, %data_dir, zone, "ready");
    }
    if log_is_elsewhere {
        let logs = match &config.log.dir {
            Some(dir) => format!(", logs in {}", dir.display()),
            None => String::new(),
        };
        let warning = if config.open_to_the_network() {
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
