//! The table of keys: every key with its meaning, its type, what may be written for it, its default
//! and its flag. `counterd.toml` and `docs/configuration.md` are checked against it.
//!
//! A new key is a row here, a row of the docs and a line of `counterd.toml`; a new section a block. A new
//! array of tables is a `section!` beside what it configures and a row of [`ARRAYS`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;

use super::alerts::AlertTable;
use super::counters::{CounterEntry, CounterTable};
use super::forms::{
    ADDRESS, ADDRESS_OF_PAGES, BurstOrAuto, CLIENT_HEADER, Count, FILE_PATH, Form, KEY_PREFIX,
    List, Networks, PATH_OR_NONE, PATTERNS, RATE_OR_OFF, SECRET_TEXT, Size, SizeOrAuto, Span,
    Switch, TIME_OF_DAY, Tokens, Url, UsualForm, VISIBLE, ZONE, is_host, is_origin,
};
use super::mistakes::SettingSource;
use super::reader::{Reader, cores, unset, zone_of_the_machine};
use super::rows::{Key, configuration, key_word, optional, section};
use super::{LogLevel, StorageEngine};
use crate::access_log::{Access, LogFormat};
use crate::alerts::{AlertUrl, RuleEntry};
use crate::calendar::DayStart;
use crate::counter::CounterPattern;
use crate::export::postgres::PostgresUrl;
use crate::http::Rate;
use crate::mirror::RedisUrl;
use crate::storage::{Ack, OnLoss};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;
const TENTH: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

const fn days(days: u32) -> Duration {
    Duration::from_secs(86_400).saturating_mul(days)
}

configuration! {
    /// How requests are taken in.
    server: ServerConfig {
        /// Where to listen; port 0 takes any free one.
        listen: SocketAddr = ADDRESS, "127.0.0.1:8080", flag "--listen";
        /// Threads that serve requests.
        workers: u16 = Count(1, 256), else cores;
        /// Most connections at once.
        max_connections: usize = Count(1, 1_000_000), "10000";
        /// Longest body of a request, in bytes.
        max_body: usize = Size(KIB, 16 * MIB), "16KiB";
        /// Longest body of a batch, in bytes.
        max_batch_body: usize = Size(KIB, 64 * MIB), "1MiB";
        /// Most memory for bodies that have not arrived whole, in bytes.
        max_body_memory: usize = Size(MIB, TIB), "64MiB";
        /// Longest head of a request (request line and headers), in bytes; at least 8 KiB.
        max_header_bytes: usize = Size(8 * KIB, MIB), "16KiB";
        /// Most headers of a request.
        max_headers: usize = Count(16, 1000), "64";
        /// How long a client may take to send a head.
        header_timeout: Duration = Span(TENTH, HOUR), "10s";
        /// How long a client may take to send a body.
        body_timeout: Duration = Span(TENTH, HOUR), "10s";
        /// How long a connection may rest between two requests.
        idle_timeout: Duration = Span(TENTH, HOUR), "75s";
        /// How long connections are still taken when stopping, while readiness says no.
        lame_duck: Duration = Span(Duration::ZERO, HOUR), "0s";
        /// How long requests in flight are waited for when stopping.
        drain_timeout: Duration = Span(TENTH, HOUR), "30s";
        /// The origins, besides the server's own, whose pages may call.
        cors_origins: Vec<String> = List {
            wanted: "origins as browsers write them",
            fits: is_origin,
            example: "https://example.com",
        }, "";
        /// The host names under which pages of its own are opened, besides IP addresses and `localhost`.
        hosts: Vec<String> = List {
            wanted: "host names in lower case, without scheme and port",
            fits: is_host,
            example: "counters.example.com",
        }, "";
        /// Whether the page for people is served at `/`.
        page: bool = Switch, "true";
    }

    /// How clients are told of changes.
    push: PushConfig {
        /// The least time between two updates of a counter to one client.
        interval: Duration = Span(Duration::from_millis(10), HOUR), "100ms";
        /// Most connections whose clients are told of changes, apart from server.max_connections.
        max_connections: usize = Count(1, 1_000_000), "10000";
        /// How long such a client may take nothing.
        stall_timeout: Duration = Span(SECOND, HOUR), "30s";
    }

    /// How operations wait for the writer.
    writer: WriterConfig {
        /// Most operations waiting at once in the whole server.
        queue: usize = Count(1000, 10_000_000), "65536";
    }

    /// Where and how the counts are stored.
    storage: StorageConfig {
        /// What stores.
        engine: StorageEngine = StorageEngine::FORM, "rocksdb";
        /// The directory of the store.
        data_dir: PathBuf = FILE_PATH, "./data", flag "--data-dir";
        /// Memory for caches and memtables, in bytes.
        memory: u64 = Size(16 * MIB, TIB), "192MiB";
        /// Free space below which writes are refused, in bytes; `None` where the file system decides.
        min_free: Option<u64> = SizeOrAuto(Size(MIB, TIB)), "auto";
        /// How long a write waits for the disk before that is told.
        slow_disk_after: Duration = Span(TENTH, HOUR), "5s";
    }

    /// How counters come, and how they go.
    counters: CountersConfig {
        /// The names that this server counts; empty for all.
        names: Vec<CounterPattern> = PATTERNS, "";
        /// Whether a first increment of an unknown name creates a counter.
        auto_create: bool = Switch, "true";
        /// Most live counters; those of the configuration always fit.
        max: u64 = Count(1, 10_000_000), "100000";
        /// How long a deleted or expired counter answers 410.
        gone_for: Duration = Span(SECOND, days(3650)), "7d";
        /// User ids known to be counted that are remembered in memory, over all `unique` counters.
        recent_users: usize = Count(0, 100_000_000), "1000000";
    }

    /// When local days begin, and when the clock is not believed.
    calendar: CalendarConfig {
        /// The IANA zone, as the bundled data spell it. [`Config::source`] tells whether it was
        /// written.
        timezone: String = ZONE, else zone_of_the_machine, flag "--timezone";
        /// The local time at which a day begins.
        day_start: DayStart = TIME_OF_DAY, "00:00", flag "--day-start";
        /// Largest jump of the wall clock that is accepted.
        max_clock_jump: Duration = Span(Duration::from_secs(60), days(3650)), "48h";
        /// Longest time after the last commit at which a start believes the wall clock.
        max_away: Duration = Span(HOUR, days(36_500)), "90d";
        /// Days for which closed days are kept.
        retention_days: u32 = Count(7, 36_500), "90";
        /// Days after its close for which the user ids of a day are kept.
        user_retention_days: u32 = Count(1, 36_500), "7";
        /// Days for which a day waits to be exported, at most.
        max_unexported_days: u32 = Count(7, 36_500), "30";
    }

    /// What `series` is made of.
    samples: SamplesConfig {
        /// How long the values at the ends of minutes are kept; whole days.
        retention: Duration = Span(days(1), days(3650)), "23d";
        /// Most counters that are followed.
        max_counters: usize = Count(0, 100_000), "1000";
    }

    /// Where history and reports go.
    postgres: PostgresConfig {
        /// The connection URL; nothing is exported without one. It holds a password.
        url or url_file: Option<PostgresUrl> = Url(PostgresUrl::parse), else unset;
        /// How often changed values are exported.
        interval: Duration = Span(TENTH, HOUR), "10s";
        /// How long one statement may take.
        timeout: Duration = Span(SECOND, HOUR), "1m";
        /// Whether user ids are exported.
        export_users: bool = Switch, "true";
        /// Up to so many user ids of a day go into its row.
        unique_users_inline: u64 = Count(0, 1_000_000), "100000";
    }

    /// Where current values are mirrored.
    redis: RedisConfig {
        /// The connection URL. It may hold a password.
        url or url_file: Option<RedisUrl> = Url(RedisUrl::parse), else unset;
        /// Whether current values are mirrored there.
        mirror: bool = Switch, "false";
        /// Whether the user ids of the current day are mirrored.
        users: bool = Switch, "false";
        /// How often changed values are written, at most.
        interval: Duration = Span(TENTH, HOUR), "200ms";
        /// How long an answer may take.
        timeout: Duration = Span(TENTH, HOUR), "5s";
        /// Who must have a group before it is acknowledged, with storage.engine = "redis".
        ack: Ack = Ack::FORM, "replicas";
        /// For how long a shared log may not have been read before values are told to be stale and writes are refused.
        max_lag: Duration = Span(SECOND, HOUR), "2s";
        /// How far the clock of an instance may be from that of Redis, with storage.engine = "redis".
        max_clock_skew: Duration = Span(TENTH, HOUR), "2s";
        /// What is done when Redis has lost what was acknowledged, with storage.engine = "redis".
        on_loss: OnLoss = OnLoss::FORM, "stop";
        /// With fewer replicas writes are refused, where they are waited for.
        min_replicas: u32 = Count(0, 100), "1";
        /// What every key begins with.
        prefix: String = KEY_PREFIX, "";
    }

    /// What is served while the store cannot be opened.
    degraded: DegradedConfig {
        /// Whether copies are served while the store cannot be opened, rather than not starting.
        start: bool = Switch, "false";
        /// How long a copy may take to answer.
        timeout: Duration = Span(Duration::from_millis(10), HOUR), "200ms";
        /// How long a cached answer is served.
        cache_for: Duration = Span(Duration::from_millis(10), HOUR), "1s";
    }

    /// Who may do what. Of several tokens for a role each serves. A role without a token: `admin` calls
    /// are refused, the others are open.
    auth: AuthConfig {
        /// Guards administrative calls; serves for all others too.
        admin_token or admin_token_file: Vec<SecretString> = Tokens, else unset;
        /// Guards writes when set.
        write_token or write_token_file: Vec<SecretString> = Tokens, else unset;
        /// Guards reads when set.
        read_token or read_token_file: Vec<SecretString> = Tokens, else unset;
    }

    /// How often an address and a user may ask, and who a client is.
    limits: LimitsConfig {
        /// How often an address may ask: reads and writes each; `None` does not limit it.
        per_ip: Option<Rate> = RATE_OR_OFF, "off";
        /// How often a user may be counted; `None` does not limit it.
        per_user: Option<Rate> = RATE_OR_OFF, "off";
        /// How many operations may come at once; `None` for the number in the rate.
        burst: Option<u32> = BurstOrAuto, "auto";
        /// How often an address may send a token that is not known; `None` does not limit it.
        wrong_admin_tokens: Option<Rate> = RATE_OR_OFF, "10/m";
        /// Most addresses and users that are remembered.
        max_keys: usize = Count(1024, 16_777_216), "262144";
        /// Networks whose addresses `per_ip` does not limit.
        exempt: Vec<IpNet> = Networks, "";
        /// The networks of the proxies whose header is believed.
        trusted_proxies: Vec<IpNet> = Networks, "";
        /// The header in which they name their clients.
        client_ip_header: String = CLIENT_HEADER, "X-Forwarded-For";
    }

    /// What `/metrics` shows.
    metrics: MetricsConfig {
        /// Most counters outside the configuration whose values are shown, each a series.
        max_counters: usize = Count(0, 100_000), "100";
    }

    /// Who is told of alerts. The rules are those of `[[alert]]`.
    alerts: AlertsConfig {
        /// The URL that notices are posted to; none is without one. It may hold a secret.
        webhook or webhook_file: Option<AlertUrl> = Url(|url| AlertUrl::parse(url, "")), else unset;
        /// The URL of an Alertmanager, which is told how the alerts stand. It may hold a secret.
        alertmanager or alertmanager_file: Option<AlertUrl> =
            Url(|url| AlertUrl::parse(url, "/api/v2/alerts")), else unset;
        /// Signs the notices that are posted.
        secret or secret_file: Option<SecretString> = SECRET_TEXT, else unset;
        /// How long one try to deliver may take.
        timeout: Duration = Span(TENTH, Duration::from_secs(60)), "10s";
        /// Most notices that wait to be delivered; with more the oldest is given up.
        queue: usize = Count(10, 100_000), "1000";
        /// Most counters whose values are watched.
        max_counters: usize = Count(0, 1000), "100";
        /// Which server it is, for receivers of several.
        instance: String = VISIBLE, "";
        /// The address at which people reach this server.
        server_url: String = ADDRESS_OF_PAGES, "";
        /// What the addresses of the pages of the runbook begin with.
        runbook_url: String = ADDRESS_OF_PAGES, "";
    }

    /// What is logged, and where to.
    log: LogConfig {
        /// The directory of log files; `None` logs to standard output.
        dir: Option<PathBuf> = PATH_OR_NONE, "", flag "--log-dir";
        /// The form of a line.
        format: LogFormat = LogFormat::FORM, "text", flag "--log-format";
        /// What is logged besides requests.
        level: LogLevel = LogLevel::FORM, "info", flag "--log-level";
        /// Which requests are logged.
        access: Access = Access::FORM, "all", flag "--log-access";
        /// Of so many requests that were answered below 400 one is logged.
        sample: u32 = Count(1, 1_000_000), "1";
        /// Size at which a log file is followed by the next, in bytes.
        max_file_size: u64 = Size(4 * KIB, TIB), "100MiB";
        /// Log files kept.
        max_files: usize = Count(1, 10_000), "14";
        /// Request lines waiting to be written; what does not fit is dropped and counted.
        queue: usize = Count(16, 10_000_000), "65536";
    }
}

/// An array of tables, such as `[[counter]]`.
pub(super) struct Array {
    pub(super) name: &'static str,
    pub(super) keys: &'static [Key],
    /// Fields that later versions will know.
    pub(super) not_yet: &'static [&'static str],
}

/// All arrays of tables.
pub(super) const ARRAYS: &[Array] = &[
    Array {
        name: "counter",
        keys: CounterTable::KEYS,
        not_yet: &["window", "breakdown"],
    },
    Array {
        name: "alert",
        keys: AlertTable::KEYS,
        not_yet: &[],
    },
];

/// What later versions will know, so that a configuration written for them is not half obeyed:
/// whole sections, or single keys.
pub(super) const NOT_YET: &[&str] = &[];

/// Returns all keys, in the order of the table; a secret is followed by the key of its file.
pub fn all_keys() -> impl Iterator<Item = &'static Key> {
    SECTIONS
        .iter()
        .flat_map(|section| section.iter().flat_map(Key::with_file))
}

/// Returns the key of that name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    all_keys().find(|key| key.name == name)
}

/// Returns whether later versions will know this key, or keys of this section.
pub(super) fn is_not_yet(name: &str) -> bool {
    NOT_YET.iter().any(|later| {
        name.strip_prefix(later)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}
