//! Every key there is: its name, what may be written for it, its default and its meaning.
//!
//! The one table that reading, printing, the shipped `counterd.toml` and the docs are checked
//! against. How a value is read is [`super::values`]'s concern.

use std::time::Duration;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;
const SECOND: Duration = Duration::from_secs(1);
const TENTH: Duration = Duration::from_millis(100);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// What may be written for a key. Limits are inclusive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// An IP address and a port.
    Address,
    /// `true` or `false`.
    Switch,
    /// A whole number.
    Count(u64, u64),
    /// A number of bytes, with a unit.
    Size(u64, u64),
    /// As [`Shape::Size`], or `auto`.
    SizeOrAuto(u64, u64),
    /// A span of time, with a unit.
    Span(Duration, Duration),
    /// One of these words.
    Word(&'static [&'static str]),
    /// A path; may not be empty.
    Path,
    /// A path, or empty for none.
    PathOrNone,
    /// What keys elsewhere begin with; may be empty.
    KeyPrefix,
    /// An IANA time zone name.
    Zone,
    /// `HH:MM`.
    TimeOfDay,
    /// A list of web origins.
    Origins,
    /// What nobody may see: from the file or the environment, never a flag.
    Secret,
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// `section.name`.
    pub name: &'static str,
    /// What may be written for it.
    pub shape: Shape,
    /// Its default as it would be written in the file; `None` when there is none or the machine
    /// decides.
    pub default: Option<&'static str>,
    /// The flag of its own on the command line, besides `--set`.
    pub flag: Option<&'static str>,
}

impl Key {
    /// The environment variable that sets this key: `COUNTERD_SECTION__NAME`.
    pub fn variable(&self) -> String {
        variable(self.name)
    }

    /// The part before the dot.
    pub fn section(&self) -> &'static str {
        self.name.split('.').next().unwrap_or_default()
    }
}

/// The environment variable for a dotted key.
pub(super) fn variable(key: &str) -> String {
    format!("COUNTERD_{}", key.replace('.', "__").to_ascii_uppercase())
}

/// The key of that name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// What later versions will know, so that a configuration written for them is not half obeyed:
/// whole sections, or single keys.
pub(super) const NOT_YET: &[&str] = &["alerts", "limits"];

/// Whether later versions will know this key, or keys of this section.
pub(super) fn is_not_yet(name: &str) -> bool {
    NOT_YET.iter().any(|later| {
        name.strip_prefix(later)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

const fn key(name: &'static str, shape: Shape, default: &'static str) -> Key {
    Key {
        name,
        shape,
        default: Some(default),
        flag: None,
    }
}

const fn without_default(name: &'static str, shape: Shape) -> Key {
    Key {
        name,
        shape,
        default: None,
        flag: None,
    }
}

const fn flagged(key: Key, flag: &'static str) -> Key {
    Key {
        flag: Some(flag),
        ..key
    }
}

/// All keys, in the order in which they are printed.
pub const KEYS: &[Key] = &[
    flagged(
        key("server.listen", Shape::Address, "\"127.0.0.1:8080\""),
        "--listen",
    ),
    without_default("server.workers", Shape::Count(1, 256)),
    key(
        "server.max_connections",
        Shape::Count(1, 1_000_000),
        "10000",
    ),
    key("server.max_body", Shape::Size(KIB, 16 * MIB), "\"16KiB\""),
    key(
        "server.max_batch_body",
        Shape::Size(KIB, 64 * MIB),
        "\"1MiB\"",
    ),
    key(
        "server.max_header_bytes",
        Shape::Size(8 * KIB, MIB),
        "\"16KiB\"",
    ),
    key("server.max_headers", Shape::Count(16, 1000), "64"),
    key("server.header_timeout", Shape::Span(TENTH, HOUR), "\"10s\""),
    key("server.body_timeout", Shape::Span(TENTH, HOUR), "\"10s\""),
    key("server.idle_timeout", Shape::Span(TENTH, HOUR), "\"75s\""),
    key("server.drain_timeout", Shape::Span(TENTH, HOUR), "\"30s\""),
    key("server.cors_origins", Shape::Origins, "[]"),
    key("writer.queue", Shape::Count(1000, 10_000_000), "65536"),
    key(
        "storage.engine",
        Shape::Word(&["rocksdb", "redis"]),
        "\"rocksdb\"",
    ),
    flagged(
        key("storage.data_dir", Shape::Path, "\"./data\""),
        "--data-dir",
    ),
    key("storage.memory", Shape::Size(16 * MIB, TIB), "\"192MiB\""),
    key("storage.min_free", Shape::SizeOrAuto(MIB, TIB), "\"auto\""),
    key("counters.auto_create", Shape::Switch, "true"),
    key("counters.max", Shape::Count(1, 10_000_000), "100000"),
    key(
        "counters.gone_for",
        Shape::Span(SECOND, DAY.saturating_mul(3650)),
        "\"7d\"",
    ),
    key(
        "counters.recent_users",
        Shape::Count(0, 100_000_000),
        "1000000",
    ),
    flagged(
        without_default("calendar.timezone", Shape::Zone),
        "--timezone",
    ),
    flagged(
        key("calendar.day_start", Shape::TimeOfDay, "\"00:00\""),
        "--day-start",
    ),
    key(
        "calendar.max_clock_jump",
        Shape::Span(Duration::from_secs(60), DAY.saturating_mul(3650)),
        "\"48h\"",
    ),
    key(
        "calendar.max_away",
        Shape::Span(HOUR, DAY.saturating_mul(36_500)),
        "\"90d\"",
    ),
    key("calendar.retention_days", Shape::Count(7, 36_500), "90"),
    key("calendar.user_retention_days", Shape::Count(1, 36_500), "7"),
    key(
        "calendar.max_unexported_days",
        Shape::Count(7, 36_500),
        "30",
    ),
    key(
        "samples.retention",
        Shape::Span(DAY, DAY.saturating_mul(3650)),
        "\"14d\"",
    ),
    key("samples.max_counters", Shape::Count(0, 100_000), "1000"),
    without_default("postgres.url", Shape::Secret),
    without_default("postgres.url_file", Shape::Path),
    key("postgres.interval", Shape::Span(TENTH, HOUR), "\"10s\""),
    key("postgres.timeout", Shape::Span(SECOND, HOUR), "\"1m\""),
    key("postgres.export_users", Shape::Switch, "true"),
    key(
        "postgres.unique_users_inline",
        Shape::Count(0, 1_000_000),
        "100000",
    ),
    without_default("redis.url", Shape::Secret),
    without_default("redis.url_file", Shape::Path),
    key("redis.mirror", Shape::Switch, "false"),
    key("redis.users", Shape::Switch, "false"),
    key("redis.interval", Shape::Span(TENTH, HOUR), "\"200ms\""),
    key("redis.timeout", Shape::Span(TENTH, HOUR), "\"5s\""),
    key("redis.prefix", Shape::KeyPrefix, "\"\""),
    key("degraded.start", Shape::Switch, "false"),
    key(
        "degraded.timeout",
        Shape::Span(Duration::from_millis(10), HOUR),
        "\"200ms\"",
    ),
    key(
        "degraded.cache_for",
        Shape::Span(Duration::from_millis(10), HOUR),
        "\"1s\"",
    ),
    without_default("auth.admin_token", Shape::Secret),
    without_default("auth.admin_token_file", Shape::Path),
    without_default("auth.write_token", Shape::Secret),
    without_default("auth.write_token_file", Shape::Path),
    without_default("auth.read_token", Shape::Secret),
    without_default("auth.read_token_file", Shape::Path),
    flagged(key("log.dir", Shape::PathOrNone, "\"\""), "--log-dir"),
    flagged(
        key("log.format", Shape::Word(&["text", "json"]), "\"text\""),
        "--log-format",
    ),
    flagged(
        key(
            "log.level",
            Shape::Word(&["error", "warn", "info", "debug", "trace"]),
            "\"info\"",
        ),
        "--log-level",
    ),
    flagged(
        key(
            "log.access",
            Shape::Word(&["all", "errors", "off"]),
            "\"all\"",
        ),
        "--log-access",
    ),
    key("log.max_file_size", Shape::Size(4 * KIB, TIB), "\"100MiB\""),
    key("log.max_files", Shape::Count(1, 10_000), "14"),
    key("log.queue", Shape::Count(16, 10_000_000), "65536"),
];
