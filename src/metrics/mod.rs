//! What the server tells about itself in `/metrics`, as OpenMetrics text.
//!
//! Three ways, by how often they are told: a [`Shard`] of plain cells for each runtime for what
//! happens on every request, handles kept in fields ([`CommitMetrics`], [`StateMetrics`],
//! [`LogMetrics`]) for the rest, and probes that are asked when the page is read (RocksDB, the
//! process). `docs/metrics.md` lists every name; a test holds it to this module.
//!
//! Kept out: anything of the server's other modules, which tell their figures here and are not
//! asked; user ids, and whatever else strangers choose, which never become a label, but for as many names of counters as
//! a limit allows (`values`).

mod format;
mod labels;
mod process;
mod shard;
mod state;
mod store;
mod table;
mod values;

#[cfg(test)]
mod tests;

use std::time::Instant;

use parking_lot::RwLock;
use prometheus_client::encoding::{prometheus_text, text as open_metrics};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use format::PageFormat;
pub use labels::{
    AlertRule, Cause, FilterDecision, LogKind, OperationResult, PushEnd, PushTransport, RateLimit,
    Route, STATUSES,
};
pub use shard::Shard;
pub use state::{
    AlertMetrics, CommitMetrics, ExportMetrics, FloatGauge, LogMetrics, MirrorMetrics, PastMetrics,
    PushMetrics, RateMetrics, RoundMetrics, SharedLogMetrics, StateMetrics,
};
pub use store::{StoreFigure, StoreFigures, TellFigure};
pub use values::CounterValues;

type Hook = Box<dyn Fn(&Metrics) + Send + Sync>;

/// All metrics of one server. Shared behind an `Arc`; its parts are cheap to clone.
pub struct Metrics {
    registry: Registry,
    shards: shard::Shards,
    hooks: RwLock<Vec<Hook>>,
    /// RocksDB's.
    pub store: StoreFigures,
    /// The writer's.
    pub commits: CommitMetrics,
    /// The writer's, of a log that several instances append to.
    pub shared_log: SharedLogMetrics,
    /// Mode, revision, day and the like.
    pub state: StateMetrics,
    /// The limits of rates'.
    pub rate: RateMetrics,
    /// What the logs lost.
    pub log: LogMetrics,
    /// The archivist's.
    pub past: PastMetrics,
    /// The exporter's.
    pub export: ExportMetrics,
    /// The mirror's.
    pub mirror: MirrorMetrics,
    /// Those of push.
    pub push: PushMetrics,
    /// Those of alerts.
    pub alerts: AlertMetrics,
}

impl Metrics {
    /// Makes all metrics, at zero, with no shard and no probe yet.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("counterd");
        let shards = shard::Shards::default();
        let store = StoreFigures::default();
        registry.register(
            "build",
            "The running program",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        registry.register_collector(Box::new(shards.clone()));
        registry.register_collector(Box::new(store.clone()));
        registry.register_collector(Box::new(process::Process {
            started: Instant::now(),
        }));
        let metrics = Self {
            shards,
            store,
            hooks: RwLock::default(),
            commits: CommitMetrics::register(&mut registry),
            shared_log: SharedLogMetrics::register(registry.sub_registry_with_prefix("shared_log")),
            state: StateMetrics::register(&mut registry),
            rate: RateMetrics::register(&mut registry),
            log: LogMetrics::register(&mut registry),
            past: PastMetrics::register(&mut registry),
            export: ExportMetrics::register(registry.sub_registry_with_prefix("export")),
            mirror: MirrorMetrics::register(registry.sub_registry_with_prefix("mirror")),
            push: PushMetrics::register(registry.sub_registry_with_prefix("push")),
            alerts: AlertMetrics::register(&mut registry),
            registry,
        };
        // Every cause is there from the start.
        metrics.state.set_read_only(|_| false);
        metrics
    }

    /// Makes a shard, for one runtime to keep. Its counts stay in the sums after it is dropped.
    #[must_use]
    pub fn shard(&self) -> Shard {
        self.shards.add_shard()
    }

    /// Returns how many operations on counters had each result, in the order of [`OperationResult::ALL`].
    pub fn operations(&self) -> [u64; OperationResult::COUNT] {
        self.shards.operations()
    }

    /// Adds something to do before each reading of the page, such as setting gauges whose owner
    /// does not tell every change. It must not read the page itself.
    pub fn before_scrape(&self, hook: impl Fn(&Self) + Send + Sync + 'static) {
        self.hooks.write().push(Box::new(hook));
    }

    /// Appends the whole page to `out` in that format. `values` are of the counters that are shown on it; without them
    /// their metrics are left out.
    ///
    /// # Errors
    /// None in practice: appending to a `String` does not fail.
    pub fn encode(
        &self,
        out: &mut String,
        format: PageFormat,
        values: Option<CounterValues>,
    ) -> Result<(), std::fmt::Error> {
        for hook in &*self.hooks.read() {
            hook(self);
        }
        let values = values.map(CounterValues::registry);
        for registry in std::iter::once(&self.registry).chain(&values) {
            match format {
                PageFormat::OpenMetrics => open_metrics::encode_registry(out, registry)?,
                PageFormat::Text => prometheus_text::encode(out, registry)?,
            }
        }
        match format {
            PageFormat::OpenMetrics => open_metrics::encode_eof(out),
            PageFormat::Text => Ok(()),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
