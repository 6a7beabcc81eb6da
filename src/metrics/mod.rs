//! What the server tells about itself in `/metrics`, as OpenMetrics text.
//!
//! Three ways, by how often they are told: a [`Shard`] of plain cells for each runtime for what
//! happens on every request, handles kept in fields ([`CommitMetrics`], [`StateMetrics`],
//! [`LogMetrics`]) for the rest, and probes that are asked when the page is read (RocksDB, the
//! process). `docs/metrics.md` lists every name; a test holds it to this module.
//!
//! Kept out: anything of the server's other modules, which tell their figures here and are not
//! asked; user ids, names that the configuration does not give, and whatever else strangers choose, which never
//! become a label.

mod copies;
mod labels;
mod process;
mod sample;
mod shard;
mod state;
mod store;
mod table;
mod text;

#[cfg(test)]
mod tests;

use std::time::Instant;

use parking_lot::RwLock;
use prometheus_client::encoding::text as open_metrics;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use copies::{ExportMetrics, MirrorMetrics, RoundMetrics};
pub use labels::{Cause, FilterDecision, LogKind, OperationResult, Route, STATUSES};
pub use shard::{LATENCY_BOUNDS_US, Shard};
pub use state::{CommitMetrics, FloatGauge, LogMetrics, PastMetrics, StateMetrics};
pub use store::{StoreFigure, StoreProbe, TellFigure};
pub use text::{TEXT_CONTENT_TYPE, to_text, wants_text};

/// The content type of [`Metrics::encode`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Hook = Box<dyn Fn(&Metrics) + Send + Sync>;

/// All metrics of one server. Shared behind an `Arc`; its parts are cheap to clone.
pub struct Metrics {
    registry: Registry,
    shards: shard::Shards,
    store: store::Store,
    hooks: RwLock<Vec<Hook>>,
    /// The writer's.
    pub commits: CommitMetrics,
    /// Mode, revision, day and the like.
    pub state: StateMetrics,
    /// What the logs lost.
    pub log: LogMetrics,
    /// The archivist's.
    pub past: PastMetrics,
    /// The exporter's.
    pub export: ExportMetrics,
    /// The mirror's.
    pub mirror: MirrorMetrics,
}

impl Metrics {
    /// Makes all metrics, at zero, with no shard and no probe yet.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("counterd");
        let shards = shard::Shards::default();
        let store = store::Store::default();
        registry.register(
            "build",
            "The running program",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        let commits = CommitMetrics::register(&mut registry);
        let state = StateMetrics::register(&mut registry);
        let log = LogMetrics::register(&mut registry);
        let past = PastMetrics::register(&mut registry);
        let export = ExportMetrics::register(registry.sub_registry_with_prefix("export"));
        let mirror = MirrorMetrics::register(registry.sub_registry_with_prefix("mirror"));
        registry.register_collector(Box::new(shards.clone()));
        registry.register_collector(Box::new(store.clone()));
        registry.register_collector(Box::new(process::Process {
            started: Instant::now(),
        }));
        Self {
            registry,
            shards,
            store,
            hooks: RwLock::default(),
            commits,
            state,
            log,
            past,
            export,
            mirror,
        }
    }

    /// Makes a shard, for one runtime to keep. Its counts stay in the sums after it is dropped.
    #[must_use]
    pub fn shard(&self) -> Shard {
        self.shards.add_shard()
    }

    /// Sets who is asked for RocksDB's figures. It must not wait for the writer.
    pub fn set_store_probe(&self, probe: StoreProbe) {
        *self.store.0.lock() = Some(probe);
    }

    /// Adds something to do before each reading of the page, such as setting gauges whose owner
    /// does not tell every change. It must not read the page itself.
    pub fn before_scrape(&self, hook: impl Fn(&Self) + Send + Sync + 'static) {
        self.hooks.write().push(Box::new(hook));
    }

    /// Appends the whole page to `out`.
    ///
    /// # Errors
    /// None in practice: appending to a `String` does not fail.
    pub fn encode(&self, out: &mut String) -> std::fmt::Result {
        for hook in &*self.hooks.read() {
            hook(self);
        }
        open_metrics::encode(out, &self.registry)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
