//! The configuration: defaults < `counterd.toml` < environment < flags, merged by hand so that each
//! effective value knows where it comes from and each mistake where it was made.
//!
//! Nothing here opens the data directory, binds a socket or looks at a clock.

mod counters;
mod keys;
mod layers;
mod mistakes;
mod resolve;
mod show;
mod values;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

pub use counters::CounterEntry;
pub use keys::{KEYS, Key, Shape};
pub use layers::Override;
pub use mistakes::{ConfigErrors, Mistake, Source, Warning};
pub use show::{Entry, Shown};

use crate::calendar::DayStart;

/// The whole configuration, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// `server.*`
    pub server: ServerConfig,
    /// `writer.*`
    pub writer: WriterConfig,
    /// `storage.*`
    pub storage: StorageConfig,
    /// `counters.*`
    pub counters: CountersConfig,
    /// `calendar.*`
    pub calendar: CalendarConfig,
    /// `samples.*`
    pub samples: SamplesConfig,
    /// `postgres.*`
    pub postgres: PostgresConfig,
    /// `redis.*`
    pub redis: RedisConfig,
    /// `degraded.*`
    pub degraded: DegradedConfig,
    /// `auth.*`
    pub auth: AuthConfig,
    /// `log.*`
    pub log: LogConfig,
    /// The counters that the configuration defines: the built-in ones, unless defined anew, then
    /// `[[counter]]` in the order of the file. No name twice.
    pub defined_counters: Vec<CounterEntry>,
    sources: BTreeMap<&'static str, Source>,
}

/// How requests are taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// Where to listen; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Threads that serve requests.
    pub workers: usize,
    /// Most connections at once.
    pub max_connections: usize,
    /// Longest body of a request, in bytes.
    pub max_body: usize,
    /// Longest body of a batch, in bytes.
    pub max_batch_body: usize,
    /// Longest head of a request (request line and headers), in bytes; at least 8 KiB.
    pub max_header_bytes: usize,
    /// Most headers of a request.
    pub max_headers: usize,
    /// How long a client may take to send a head.
    pub header_timeout: Duration,
    /// How long a client may take to send a body.
    pub body_timeout: Duration,
    /// How long a connection may rest between two requests.
    pub idle_timeout: Duration,
    /// How long requests in flight are waited for when stopping.
    pub drain_timeout: Duration,
    /// The origins, besides the server's own, whose pages may call.
    pub cors_origins: Vec<String>,
}

/// How operations wait for the writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriterConfig {
    /// Most operations waiting at once in the whole server.
    pub queue: usize,
}

/// Where and how the counts are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageConfig {
    /// What stores.
    pub engine: Engine,
    /// The directory of the store.
    pub data_dir: PathBuf,
    /// Memory for caches and memtables, in bytes.
    pub memory: u64,
    /// Free space below which writes are refused.
    pub min_free: MinFree,
}

/// What stores the counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// The embedded RocksDB.
    RocksDb,
}

/// `storage.min_free`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MinFree {
    /// The smaller of 1 GiB and 5 % of the file system.
    Auto,
    /// That many bytes.
    Bytes(u64),
}

impl MinFree {
    /// The limit in bytes on a file system of `total` bytes.
    pub fn bytes(self, total: u64) -> u64 {
        match self {
            MinFree::Auto => (total / 20).min(1 << 30),
            MinFree::Bytes(bytes) => bytes,
        }
    }
}

/// How counters come, and how they go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountersConfig {
    /// Whether a first increment of an unknown name creates a counter.
    pub auto_create: bool,
    /// Most live counters; those of the configuration always fit.
    pub max: u64,
    /// How long a deleted or expired counter answers 410.
    pub gone_for: Duration,
    /// User ids known to be counted that are remembered in memory, over all `unique` counters.
    pub recent_users: usize,
}

/// When local days begin, and when the clock is not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalendarConfig {
    /// The IANA zone, as the bundled data spell it. [`Config::source`] tells whether it was written.
    pub timezone: String,
    /// The local time at which a day begins.
    pub day_start: DayStart,
    /// Largest jump of the wall clock that is accepted.
    pub max_clock_jump: Duration,
    /// Longest time after the last commit at which a start believes the wall clock.
    pub max_away: Duration,
    /// Days for which closed days are kept.
    pub retention_days: u32,
    /// Days after its close for which the user ids of a day are kept.
    pub user_retention_days: u32,
    /// Days for which a day waits to be exported, at most.
    pub max_unexported_days: u32,
}

/// What `series` is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SamplesConfig {
    /// How long the values at the ends of minutes are kept; whole days.
    pub retention: Duration,
    /// Most counters that are followed.
    pub max_counters: usize,
}

/// Where history and reports go.
#[derive(Debug, Clone)]
pub struct PostgresConfig {
    /// The connection URL; nothing is exported without one. It holds a password.
    pub url: Option<SecretString>,
    /// How often changed values are exported.
    pub interval: Duration,
    /// How long one statement may take.
    pub timeout: Duration,
    /// Whether user ids are exported.
    pub export_users: bool,
    /// Up to so many user ids of a day go into its row.
    pub unique_users_inline: u64,
}

/// Where current values are mirrored.
#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// The connection URL. It may hold a password.
    pub url: Option<SecretString>,
    /// Whether current values are mirrored there.
    pub mirror: bool,
    /// Whether the user ids of the current day are mirrored.
    pub users: bool,
    /// How often changed values are written, at most.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// What every key begins with.
    pub prefix: String,
}

/// What is served while the store cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DegradedConfig {
    /// Whether anything is, rather than not starting.
    pub start: bool,
    /// How long a copy may take to answer.
    pub timeout: Duration,
    /// How long an answer of a copy is good for.
    pub cache_for: Duration,
}

/// Who may do what. An unset token: `admin` calls are refused, the others are open.
#[derive(Debug, Clone)]
pub struct AuthConfig {
    /// Guards administrative calls; serves for all others too.
    pub admin_token: Option<SecretString>,
    /// Guards writes when set.
    pub write_token: Option<SecretString>,
    /// Guards reads when set.
    pub read_token: Option<SecretString>,
}

/// What is logged, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// The directory of log files; `None` logs to standard output.
    pub dir: Option<PathBuf>,
    /// The form of a line.
    pub format: LogFormat,
    /// What is logged besides requests.
    pub level: LogLevel,
    /// Which requests are logged.
    pub access: AccessLog,
    /// Size at which a log file is followed by the next, in bytes.
    pub max_file_size: u64,
    /// Log files kept.
    pub max_files: usize,
    /// Request lines waiting to be written; what does not fit is dropped and counted.
    pub queue: usize,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The least severe events that are logged. A higher one logs more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// What failed.
    Error,
    /// And what may fail.
    Warn,
    /// And what happened.
    Info,
    /// And how.
    Debug,
    /// And everything else.
    Trace,
}

/// Which requests get a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLog {
    /// Every API request.
    All,
    /// Those answered with 400 or above.
    Errors,
    /// None.
    Off,
}

impl Config {
    /// The configuration from all layers.
    ///
    /// `environment` is the process's, of which the `COUNTERD_*` variables and `TZ` are looked at;
    /// without a `file` none is read. The error lists everything that is wrong, not just the first.
    pub fn load(
        overrides: &[Override],
        environment: &[(std::ffi::OsString, std::ffi::OsString)],
        file: Option<&std::path::Path>,
    ) -> Result<(Config, Vec<Warning>), ConfigErrors> {
        resolve::load(overrides, environment, file)
    }

    /// Where the effective value of a key comes from; a name that is no key has no source.
    pub fn source(&self, key: &str) -> Option<&Source> {
        self.sources.get(key)
    }

    /// Whether anybody on the network may write: it listens elsewhere than on the loopback, and no
    /// write token is set.
    pub fn open_to_the_network(&self) -> bool {
        !self.server.listen.ip().is_loopback() && self.auth.write_token.is_none()
    }
}

#[cfg(test)]
mod tests;
