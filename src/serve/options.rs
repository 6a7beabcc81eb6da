//! What each part is started with under a configuration: its own options, not the configuration.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use http::HeaderName;

use super::files;
use crate::alerts::{AlertOptions, AlertRules, AlertUrl, NoticeTexts, Receivers};
use crate::calendar::Calendar;
use crate::clock::Clock;
use crate::config::{Config, SEASON, StorageEngine};
use crate::control::CopyOptions;
use crate::counter::{CounterName, Definition};
use crate::export::postgres::PostgresOptions;
use crate::fallback::{Against, FallbackOptions, against_a_new_store};
use crate::http::{ClientSource, HttpOptions, Limits, PageFiles, PushOptions, RateLimits, Tokens};
use crate::lifecycle::Retention;
use crate::metrics::Metrics;
use crate::mirror::MirrorOptions;
use crate::storage::{LogAddress, StorageOptions};
use crate::writer::WriterOptions;

/// Returns what the writer is started with under this configuration; also for commands that do their work
/// without a server.
///
/// # Errors
/// When the zone is not known.
pub fn writer_options(
    config: &Config,
    clock: Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<WriterOptions> {
    Ok(WriterOptions {
        storage: storage_options(config),
        clock,
        calendar: calendar(config)?,
        zone_is_written: zone_is_written(config),
        max_clock_jump_ms: millis(config.calendar.max_clock_jump),
        max_away_ms: millis(config.calendar.max_away),
        auto_create: config.counters.auto_create,
        max_counters: config.counters.max,
        gone_for_ms: millis(config.counters.gone_for),
        configured: defined(config),
        recent_users: config.counters.recent_users,
        min_free: config.storage.min_free,
        slow_disk_after: config.storage.slow_disk_after,
        followed_counters: config.samples.max_counters,
        runtimes: config.server.workers,
        queue: config.writer.queue,
        metrics: Arc::clone(metrics),
    })
}

/// Returns whether the configuration names the zone; else it is the machine's.
pub fn zone_is_written(config: &Config) -> bool {
    config.source("calendar.timezone").is_written()
}

/// Returns the counters that the configuration defines.
pub fn defined(config: &Config) -> Vec<(CounterName, Definition)> {
    let entries = config.defined_counters.iter();
    entries
        .map(|entry| (entry.name.clone(), entry.definition.clone()))
        .collect()
}

/// Returns how long the archivist keeps what.
pub fn retention(config: &Config) -> Retention {
    let sample_days = sample_retention(config).as_secs().div_ceil(24 * 60 * 60);
    Retention {
        history_days: config.calendar.retention_days,
        user_days: config.calendar.user_retention_days,
        max_unexported_days: config.calendar.max_unexported_days,
        sample_days: u32::try_from(sample_days).unwrap_or(u32::MAX),
        exports: config.postgres.url.is_some(),
    }
}

/// Returns what is watched, and who is told.
pub fn alert_options(config: &Config) -> AlertOptions {
    let secret = config.alerts.secret.as_ref();
    let receiver = |url: &Option<AlertUrl>| url.clone().map(|url| url.hiding(secret));
    AlertOptions {
        rules: alert_rules(config),
        max_counters: config.alerts.max_counters,
        min_free: config.storage.min_free,
        texts: NoticeTexts {
            instance: config.alerts.instance.clone(),
            is_shared: config.storage.engine == StorageEngine::Redis,
            server_url: config.alerts.server_url.clone(),
            runbook_url: config.alerts.runbook_url.clone(),
        },
        receivers: Receivers {
            webhook: receiver(&config.alerts.webhook),
            alertmanager: receiver(&config.alerts.alertmanager),
            secret: config.alerts.secret.clone(),
            timeout: config.alerts.timeout,
            queue: config.alerts.queue,
        },
    }
}

/// Returns the rules of alerts.
pub fn alert_rules(config: &Config) -> AlertRules {
    AlertRules::new(config.alert_rules.clone())
}

/// Returns how long samples are kept: while rules compare with earlier weeks, at least so long.
fn sample_retention(config: &Config) -> Duration {
    let written = config.samples.retention;
    if alert_rules(config).has_seasonal() {
        written.max(SEASON)
    } else {
        written
    }
}

/// Returns how days and values are exported to PostgreSQL; `None` when they are not.
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

/// Returns how values are mirrored to Redis; `None` when they are not.
pub fn mirror_options(config: &Config) -> Option<MirrorOptions> {
    config.redis.mirror.then(|| redis_options(config))?
}

/// Returns the copies of the store.
pub fn copy_options(config: &Config) -> CopyOptions {
    CopyOptions {
        redis: mirror_options(config),
        postgres: postgres_options(config),
    }
}

/// Returns where values are read while there is no store: also out of a mirror that
/// another server writes. Beside a shared log Redis holds no mirror.
pub(super) fn fallback_options(config: &Config) -> FallbackOptions {
    let mirrors = config.storage.engine == StorageEngine::RocksDb;
    FallbackOptions {
        redis: mirrors.then(|| redis_options(config)).flatten(),
        postgres: postgres_options(config),
        timeout: config.degraded.timeout,
        cache_for: config.degraded.cache_for,
    }
}

/// Asks the copies why a start would not make a store where there is none; `None` when it would.
///
/// # Errors
/// When they cannot be asked at all.
pub fn why_no_new_store(config: &Config) -> std::io::Result<Option<Against>> {
    if !config.degraded.start {
        return Ok(None);
    }
    against_a_new_store(&fallback_options(config))
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

/// Returns how the store is opened.
pub fn storage_options(config: &Config) -> StorageOptions {
    StorageOptions {
        data_dir: config.storage.data_dir.clone(),
        memory: config.storage.memory,
        reserve: None,
        shared: (config.storage.engine == StorageEngine::Redis)
            .then(|| log_address(config))
            .flatten(),
    }
}

/// Returns where the log is that several instances share, whatever the engine; `None` where `redis.url` is not set.
pub fn log_address(config: &Config) -> Option<LogAddress> {
    let redis = &config.redis;
    Some(LogAddress {
        url: redis.url.clone()?,
        prefix: redis.prefix.clone(),
        timeout: redis.timeout,
        max_lag: redis.max_lag,
        max_clock_skew: redis.max_clock_skew,
        ack: redis.ack,
        on_loss: redis.on_loss,
        min_replicas: redis.min_replicas,
    })
}

/// Makes the calendar.
///
/// # Errors
/// When the zone is not known.
pub fn calendar(config: &Config) -> anyhow::Result<Calendar> {
    Calendar::new(&config.calendar.timezone, config.calendar.day_start).context("calendar.timezone")
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn tokens(config: &Config) -> Tokens {
    Tokens {
        admin: config.auth.admin_token.clone(),
        write: config.auth.write_token.clone(),
        read: config.auth.read_token.clone(),
    }
}

/// Returns the limits of HTTP.
pub(super) fn limits(config: &Config) -> Limits {
    let server = &config.server;
    Limits {
        max_connections: room(config).0,
        max_body: server.max_body,
        max_batch_body: server.max_batch_body,
        max_body_memory: server.max_body_memory,
        header_timeout: server.header_timeout,
        body_timeout: server.body_timeout,
        idle_timeout: server.idle_timeout,
    }
}

/// Returns the limits of rates, and who a client is.
pub(super) fn rate_limits(config: &Config) -> RateLimits {
    let limits = &config.limits;
    let header = limits.client_ip_header.parse();
    RateLimits {
        per_ip: limits.per_ip,
        per_user: limits.per_user,
        burst: limits.burst,
        wrong_admin_tokens: limits.wrong_admin_tokens,
        max_keys: limits.max_keys,
        exempt: limits.exempt.clone(),
        clients: ClientSource {
            trusted: limits.trusted_proxies.clone(),
            // The configuration has read it as a name.
            header: header.unwrap_or(HeaderName::from_static("x-forwarded-for")),
        },
    }
}

fn push_options(config: &Config) -> PushOptions {
    let push = &config.push;
    PushOptions {
        interval: push.interval,
        max_connections: room(config).1,
        stall_timeout: push.stall_timeout,
    }
}

/// Returns how many connections there may be, and how many besides whose clients are told of changes.
fn room(config: &Config) -> (usize, usize) {
    files::room_for_connections(config.server.max_connections, config.push.max_connections)
}

pub(super) fn http_options(config: &Config) -> HttpOptions {
    let server = &config.server;
    HttpOptions {
        workers: server.workers,
        limits: limits(config),
        rate_limits: rate_limits(config),
        max_header_bytes: server.max_header_bytes,
        max_headers: server.max_headers,
        cors_origins: server.cors_origins.clone(),
        // Elsewhere than on the loopback, nobody knows by which names the server is reached.
        hosts: (server.listen.ip().is_loopback() || !server.hosts.is_empty())
            .then(|| server.hosts.clone()),
        page: server.page.then(|| Arc::new(PageFiles::default())),
        series_range: sample_retention(config),
        counted_names: config.counted_names(),
        shown_counters: config.metrics.max_counters,
        push: push_options(config),
        tokens: Arc::new(ArcSwap::from_pointee(tokens(config))),
    }
}
