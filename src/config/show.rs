//! The effective configuration as text: what `counterd config` prints. Secrets show only as set.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;

use secrecy::SecretString;

use super::values::{Bytes, Span};
use super::{
    AccessLog, AuthConfig, CalendarConfig, Config, CounterEntry, CountersConfig, DegradedConfig,
    Engine, LogConfig, LogFormat, LogLevel, MinFree, PostgresConfig, RedisConfig, SamplesConfig,
    ServerConfig, Source, StorageConfig, WriterConfig,
};
use crate::counter::Definition;

/// One effective value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key, `section.name`.
    pub key: &'static str,
    /// As it would be written in the file; `(set)` or `(not set)` for a secret.
    pub value: String,
    /// Where it comes from.
    pub source: Source,
}

/// A configuration to be printed.
pub struct Shown<'c>(pub &'c Config);

impl Config {
    /// Every effective value, in the order of [`super::KEYS`]. A field that is forgotten here does
    /// not compile.
    pub fn entries(&self) -> Vec<Entry> {
        let Config {
            server,
            writer: WriterConfig { queue },
            storage,
            counters,
            calendar,
            samples,
            postgres,
            redis,
            degraded,
            auth,
            log,
            defined_counters: _,
            sources: _,
        } = self;
        let mut values = server_values(server);
        values.push(("writer.queue", queue.to_string()));
        values.extend(storage_values(storage));
        values.extend(counters_values(counters));
        values.extend(calendar_values(calendar));
        values.extend(samples_values(samples));
        values.extend(postgres_values(postgres));
        values.extend(redis_values(redis));
        values.extend(degraded_values(degraded));
        values.extend(auth_values(auth));
        values.extend(log_values(log));
        values
            .into_iter()
            .map(|(key, value)| Entry {
                key,
                value,
                source: self.source(key).cloned().unwrap_or(Source::Default),
            })
            .collect()
    }
}

type Values = Vec<(&'static str, String)>;

fn server_values(server: &ServerConfig) -> Values {
    let ServerConfig {
        listen,
        workers,
        max_connections,
        max_body,
        max_batch_body,
        max_header_bytes,
        max_headers,
        header_timeout,
        body_timeout,
        idle_timeout,
        drain_timeout,
        cors_origins,
    } = server;
    let address = |address: &SocketAddr| quoted(&address.to_string());
    let bytes = |bytes: &usize| quoted(&Bytes(*bytes as u64).to_string());
    vec![
        ("server.listen", address(listen)),
        ("server.workers", workers.to_string()),
        ("server.max_connections", max_connections.to_string()),
        ("server.max_body", bytes(max_body)),
        ("server.max_batch_body", bytes(max_batch_body)),
        ("server.max_header_bytes", bytes(max_header_bytes)),
        ("server.max_headers", max_headers.to_string()),
        ("server.header_timeout", quoted(&Span(*header_timeout))),
        ("server.body_timeout", quoted(&Span(*body_timeout))),
        ("server.idle_timeout", quoted(&Span(*idle_timeout))),
        ("server.drain_timeout", quoted(&Span(*drain_timeout))),
        ("server.cors_origins", list(cors_origins)),
    ]
}

fn storage_values(storage: &StorageConfig) -> Values {
    let StorageConfig {
        engine,
        data_dir,
        memory,
        min_free,
    } = storage;
    let engine = match engine {
        Engine::RocksDb => "rocksdb",
    };
    let min_free = match min_free {
        MinFree::Auto => "auto".to_owned(),
        MinFree::Bytes(bytes) => Bytes(*bytes).to_string(),
    };
    vec![
        ("storage.engine", quoted(engine)),
        ("storage.data_dir", path(data_dir)),
        ("storage.memory", quoted(&Bytes(*memory))),
        ("storage.min_free", quoted(&min_free)),
    ]
}

fn counters_values(counters: &CountersConfig) -> Values {
    let CountersConfig {
        auto_create,
        max,
        gone_for,
        recent_users,
    } = counters;
    vec![
        ("counters.auto_create", auto_create.to_string()),
        ("counters.max", max.to_string()),
        ("counters.gone_for", quoted(&Span(*gone_for))),
        ("counters.recent_users", recent_users.to_string()),
    ]
}

fn calendar_values(calendar: &CalendarConfig) -> Values {
    let CalendarConfig {
        timezone,
        day_start,
        max_clock_jump,
        max_away,
        retention_days,
        user_retention_days,
        max_unexported_days,
    } = calendar;
    vec![
        ("calendar.timezone", quoted(timezone)),
        ("calendar.day_start", quoted(day_start)),
        ("calendar.max_clock_jump", quoted(&Span(*max_clock_jump))),
        ("calendar.max_away", quoted(&Span(*max_away))),
        ("calendar.retention_days", retention_days.to_string()),
        (
            "calendar.user_retention_days",
            user_retention_days.to_string(),
        ),
        (
            "calendar.max_unexported_days",
            max_unexported_days.to_string(),
        ),
    ]
}

fn samples_values(samples: &SamplesConfig) -> Values {
    let SamplesConfig {
        retention,
        max_counters,
    } = samples;
    vec![
        ("samples.retention", quoted(&Span(*retention))),
        ("samples.max_counters", max_counters.to_string()),
    ]
}

fn postgres_values(postgres: &PostgresConfig) -> Values {
    let PostgresConfig {
        url,
        interval,
        timeout,
        export_users,
        unique_users_inline,
    } = postgres;
    vec![
        ("postgres.url", secret(url)),
        ("postgres.interval", quoted(&Span(*interval))),
        ("postgres.timeout", quoted(&Span(*timeout))),
        ("postgres.export_users", export_users.to_string()),
        (
            "postgres.unique_users_inline",
            unique_users_inline.to_string(),
        ),
    ]
}

fn redis_values(redis: &RedisConfig) -> Values {
    let RedisConfig {
        url,
        mirror,
        users,
        interval,
        timeout,
        prefix,
    } = redis;
    vec![
        ("redis.url", secret(url)),
        ("redis.mirror", mirror.to_string()),
        ("redis.users", users.to_string()),
        ("redis.interval", quoted(&Span(*interval))),
        ("redis.timeout", quoted(&Span(*timeout))),
        ("redis.prefix", quoted(prefix)),
    ]
}

fn degraded_values(degraded: &DegradedConfig) -> Values {
    let DegradedConfig {
        start,
        timeout,
        cache_for,
    } = degraded;
    vec![
        ("degraded.start", start.to_string()),
        ("degraded.timeout", quoted(&Span(*timeout))),
        ("degraded.cache_for", quoted(&Span(*cache_for))),
    ]
}

fn auth_values(auth: &AuthConfig) -> Values {
    let AuthConfig {
        admin_token,
        write_token,
        read_token,
    } = auth;
    vec![
        ("auth.admin_token", secret(admin_token)),
        ("auth.write_token", secret(write_token)),
        ("auth.read_token", secret(read_token)),
    ]
}

fn log_values(log: &LogConfig) -> Values {
    let LogConfig {
        dir,
        format,
        level,
        access,
        max_file_size,
        max_files,
        queue,
    } = log;
    let format = match format {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    };
    let level = match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    let access = match access {
        AccessLog::All => "all",
        AccessLog::Errors => "errors",
        AccessLog::Off => "off",
    };
    vec![
        ("log.dir", path(dir.as_deref().unwrap_or(Path::new("")))),
        ("log.format", quoted(format)),
        ("log.level", quoted(level)),
        ("log.access", quoted(access)),
        ("log.max_file_size", quoted(&Bytes(*max_file_size))),
        ("log.max_files", max_files.to_string()),
        ("log.queue", queue.to_string()),
    ]
}

/// A TOML string.
fn quoted(text: &(impl fmt::Display + ?Sized)) -> String {
    toml::Value::String(text.to_string()).to_string()
}

fn path(path: &Path) -> String {
    quoted(&path.display())
}

fn list(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(item.as_str())).collect();
    format!("[{}]", items.join(", "))
}

fn secret(token: &Option<SecretString>) -> String {
    match token {
        Some(_) => "(set)".to_owned(),
        None => "(not set)".to_owned(),
    }
}

fn counter_text(definition: &Definition) -> String {
    let Definition {
        kind,
        reset,
        min,
        max,
        on_bound,
        expires_at,
        description,
    } = definition;
    let mut fields = vec![
        format!("kind = {}", quoted(kind.as_str())),
        format!("reset = {}", quoted(reset.as_str())),
        format!("min = {min}"),
        format!("max = {max}"),
        format!("on_bound = {}", quoted(on_bound.as_str())),
    ];
    if let Some(at) = expires_at.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()) {
        fields.push(format!("expires_at = {}", quoted(&at)));
    }
    if let Some(text) = description {
        fields.push(format!("description = {}", quoted(text.as_str())));
    }
    format!("{{ {} }}", fields.join(", "))
}

impl fmt::Display for Shown<'_> {
    /// One line a key, aligned, with its source as a comment; then the counters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.0.entries();
        let width = |text: fn(&Entry) -> &str| {
            let lengths = entries.iter().map(|entry| text(entry).chars().count());
            lengths.max().unwrap_or(0)
        };
        let (keys, values) = (
            width(|entry| entry.key),
            width(|entry| &entry.value).min(28),
        );
        for Entry { key, value, source } in &entries {
            writeln!(f, "{key:keys$} = {value:values$}  # {source}")?;
        }
        for CounterEntry {
            name,
            definition,
            source,
        } in &self.0.defined_counters
        {
            let source = match source {
                Source::Default => "built in".to_owned(),
                Source::Machine(_) | Source::File(..) | Source::Variable(_) | Source::Flag(_) => {
                    source.to_string()
                }
            };
            writeln!(
                f,
                "counter.{name} = {}  # {source}",
                counter_text(definition)
            )?;
        }
        Ok(())
    }
}
