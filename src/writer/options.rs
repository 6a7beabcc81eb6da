//! What the writer is started with, and why it may not start.

use std::sync::Arc;
use std::time::Duration;

use crate::calendar::Calendar;
use crate::clock::Clock;
use crate::counter::{CounterName, Definition, Lapse};
use crate::metrics::Metrics;
use crate::storage::{CommitError, OpenError, ReadError, StorageOptions};

/// What the writer is started with.
#[derive(Clone)]
pub struct WriterOptions {
    /// Where the store is and what it may take.
    pub storage: StorageOptions,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// The calendar in force.
    pub calendar: Calendar,
    /// Whether somebody wrote the zone into the configuration: then it may differ from the stored.
    pub zone_is_written: bool,
    /// `calendar.max_clock_jump`, in milliseconds.
    pub max_clock_jump_ms: i64,
    /// `calendar.max_away`, in milliseconds.
    pub max_away_ms: i64,
    /// `counters.auto_create`.
    pub auto_create: bool,
    /// `counters.max`.
    pub max_counters: u64,
    /// `counters.gone_for`, in milliseconds.
    pub gone_for_ms: i64,
    /// The counters of the configuration.
    pub configured: Vec<(CounterName, Definition)>,
    /// How many users known to be counted are held in memory.
    pub recent_users: usize,
    /// `storage.min_free`, in bytes; `None`: as the file system suggests.
    pub min_free: Option<u64>,
    /// `storage.slow_disk_after`.
    pub slow_disk_after: Duration,
    /// `samples.max_counters`: how many counters `series` follows at most.
    pub followed_counters: usize,
    /// How many runtimes submit.
    pub runtimes: u16,
    /// `writer.queue`: operations that may be under way.
    pub queue: usize,
    /// Where commits are counted.
    pub metrics: Arc<Metrics>,
}

const HOUR_MS: i64 = 3_600_000;

impl WriterOptions {
    /// Everything as the configuration has it by default, with no counters defined, one runtime, and
    /// a zone that somebody wrote: for tests and benches, which say what they need otherwise.
    pub fn new(storage: StorageOptions, clock: Arc<dyn Clock>, calendar: Calendar) -> Self {
        Self {
            storage,
            clock,
            calendar,
            zone_is_written: true,
            max_clock_jump_ms: 48 * HOUR_MS,
            max_away_ms: 90 * 24 * HOUR_MS,
            auto_create: true,
            max_counters: 100_000,
            gone_for_ms: 7 * 24 * HOUR_MS,
            configured: Vec::new(),
            recent_users: 1_000_000,
            min_free: None,
            slow_disk_after: Duration::from_secs(5),
            followed_counters: 1000,
            runtimes: 1,
            queue: 65_536,
            metrics: Arc::default(),
        }
    }
}

/// Why the writer did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store did not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store cannot be read.
    #[error("cannot read the store: {0}")]
    Read(#[from] ReadError),
    /// The first write failed.
    #[error("cannot write to the store: {0}")]
    Commit(#[from] CommitError),
    /// A value in a reopened store is neither the published one nor the group's.
    #[error(
        "the reopened store holds another value of {name} than was published; nothing is served from it"
    )]
    Differs {
        /// The counter.
        name: CounterName,
    },
    /// The thread could not be started.
    #[error("cannot start the writer's thread: {0}")]
    Thread(#[from] std::io::Error),
    /// The store's own record of where it stands cannot be read.
    #[error(
        "the record `state` in the store cannot be read; nothing was changed: restore a backup, or \
         run `counterd recover`"
    )]
    State,
    /// The machine's zone differs from the one that the store was counted in.
    #[error(
        "days were counted in the zone {stored} so far, and the machine's zone is now {found}; write \
         `timezone = \"{stored}\"` (or the new one, if that is what you want) into [calendar] of the \
         configuration"
    )]
    ZoneChanged {
        /// In the store.
        stored: String,
        /// In force.
        found: String,
    },
    /// A counter of the configuration is live with another kind, reset, window or grain.
    #[error(
        "[[counter]] {name} is {} in the configuration, but {} in the store, and these do not change; define \
         it as it is in the store, give it another name, or (unless it is a built-in one) start once without it, \
         delete the counter, and define it anew",
        what_stays(wanted),
        what_stays(stored)
    )]
    DefinitionConflict {
        /// The counter.
        name: CounterName,
        /// In the configuration.
        wanted: Box<Definition>,
        /// In the store.
        stored: Box<Definition>,
    },
}

/// Says what of a definition stays for the life of a counter.
fn what_stays(definition: &Definition) -> String {
    let (kind, reset) = (definition.kind.as_str(), definition.reset.as_str());
    let text = format!("a {kind} that resets {reset}");
    let Some(Lapse { span, grain, .. }) = definition.lapse() else {
        return text;
    };
    let key = definition.window.map_or("ttl", |_| "window");
    format!("{text} with {key} {span} and grain {grain}")
}

impl StartError {
    /// Whether the configuration is to be mended, rather than the store.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::ZoneChanged { .. } | Self::DefinitionConflict { .. } => true,
            Self::Open(_)
            | Self::Read(_)
            | Self::Commit(_)
            | Self::Thread(_)
            | Self::State
            | Self::Differs { .. } => false,
        }
    }
}
