//! What is told once a commit group, once a look at the clock, or more seldom: plain handles of the
//! metrics library, made once and kept in fields, so that the writer looks no label up.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::{AtomicU64, Ordering};

use super::labels::{FilterDecision, LogKind, ReadOnlyCause};

/// A gauge with a fraction, such as seconds.
pub type FloatGauge = Gauge<f64, AtomicU64>;

type OneLabel = [(&'static str, &'static str); 1];

/// Told by the writer: one call for each commit group.
#[derive(Clone, Debug)]
pub struct CommitMetrics {
    groups: Counter,
    group_operations: Histogram,
    sync_duration: Histogram,
    last_sync: FloatGauge,
    /// Operations waiting for the writer now, in inboxes and queue together.
    pub queued_operations: Gauge,
}

impl CommitMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            groups: Counter::default(),
            group_operations: Histogram::new([
                1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4,
            ]),
            sync_duration: Histogram::new([
                0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1,
                0.2, 0.5, 1.0, 2.0, 5.0,
            ]),
            last_sync: FloatGauge::default(),
            queued_operations: Gauge::default(),
        };
        registry.register(
            "commits",
            "Commit groups written and synced",
            metrics.groups.clone(),
        );
        registry.register(
            "commit_operations",
            "Operations in one commit group",
            metrics.group_operations.clone(),
        );
        registry.register_with_unit(
            "commit_sync_duration",
            "Time of one synced write of a commit group",
            Unit::Seconds,
            metrics.sync_duration.clone(),
        );
        registry.register_with_unit(
            "last_sync_timestamp",
            "Wall time of the last synced write, since 1970; 0 before the first",
            Unit::Seconds,
            metrics.last_sync.clone(),
        );
        registry.register(
            "queued_operations",
            "Operations waiting for the writer",
            metrics.queued_operations.clone(),
        );
        metrics
    }

    /// A group of `operations` was written and synced within `took`, ending at `wall_ms`
    /// (milliseconds since 1970).
    #[allow(
        clippy::cast_precision_loss,
        reason = "a group is far below 2^53 operations, and milliseconds since 1970 too"
    )]
    pub fn synced(&self, operations: usize, took: Duration, wall_ms: i64) {
        self.groups.inc();
        self.group_operations.observe(operations as f64);
        self.sync_duration.observe(took.as_secs_f64());
        self.last_sync.set(wall_ms as f64 / 1e3);
    }
}

/// Told by whoever owns the state, when it changes or just before `/metrics` is read.
#[derive(Clone, Debug)]
pub struct StateMetrics {
    /// Revision of the last published change.
    pub revision: Gauge,
    /// Epoch of the store: milliseconds since 1970.
    pub epoch: Gauge,
    /// The current local day: days since 1970-01-01.
    pub day: Gauge,
    /// Seconds until the calendar catches up with the stored day; 0 when it is not behind.
    pub clock_behind: FloatGauge,
    /// For how long the writer has waited for the disk now, in seconds.
    pub disk_wait: FloatGauge,
    /// Jumps of the wall clock seen.
    pub clock_jumps: Counter,
    /// Counters that live now.
    pub live_counters: Gauge,
    /// Counters that a first increment created.
    pub created_counters: Counter,
    /// Counters disabled because an operand or a value of theirs is corrupt.
    pub quarantined_counters: Gauge,
    read_only: Gauge,
    causes: [Gauge; ReadOnlyCause::COUNT],
    filter: Family<OneLabel, Counter>,
    values: Family<[(&'static str, String); 1], Gauge>,
}

impl StateMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let causes = Family::<OneLabel, Gauge>::default();
        let metrics = Self {
            revision: Gauge::default(),
            epoch: Gauge::default(),
            day: Gauge::default(),
            clock_behind: FloatGauge::default(),
            disk_wait: FloatGauge::default(),
            clock_jumps: Counter::default(),
            live_counters: Gauge::default(),
            created_counters: Counter::default(),
            quarantined_counters: Gauge::default(),
            read_only: Gauge::default(),
            causes: ReadOnlyCause::ALL
                .map(|cause| causes.get_or_create_owned(&[("cause", cause.as_str())])),
            filter: Family::default(),
            values: Family::default(),
        };
        metrics.register_gauges(registry);
        registry.register(
            "read_only_cause",
            "1 for each cause for which writes are refused now, else 0",
            causes,
        );
        registry.register(
            "filtered_records",
            "Records that compaction looked at for expiry, by decision",
            metrics.filter.clone(),
        );
        registry.register(
            "counter_value",
            "Values of the counters of the configuration",
            metrics.values.clone(),
        );
        metrics
    }

    fn register_gauges(&self, registry: &mut Registry) {
        registry.register(
            "read_only",
            "1 while writes are refused, else 0",
            self.read_only.clone(),
        );
        registry.register(
            "revision",
            "Revision of the last published change",
            self.revision.clone(),
        );
        registry.register(
            "epoch",
            "Epoch of the store: milliseconds since 1970 at its creation, restore or recovery",
            self.epoch.clone(),
        );
        registry.register(
            "day",
            "The current local day, in days since 1970-01-01",
            self.day.clone(),
        );
        registry.register_with_unit(
            "clock_behind",
            "Time until the calendar catches up with the stored day; 0 when it is not behind",
            Unit::Seconds,
            self.clock_behind.clone(),
        );
        registry.register_with_unit(
            "disk_wait",
            "For how long the writer has waited for the disk now",
            Unit::Seconds,
            self.disk_wait.clone(),
        );
        registry.register(
            "clock_jumps",
            "Jumps of the wall clock beyond the allowed one",
            self.clock_jumps.clone(),
        );
        registry.register(
            "live_counters",
            "Counters that live now",
            self.live_counters.clone(),
        );
        registry.register(
            "counters_created",
            "Counters created by a first increment of a name that nobody defined",
            self.created_counters.clone(),
        );
        registry.register(
            "quarantined_counters",
            "Counters disabled because something stored of them is corrupt",
            self.quarantined_counters.clone(),
        );
    }

    /// Sets for which causes writes are refused now; with none the mode is normal.
    pub fn set_read_only(&self, causes: &[ReadOnlyCause]) {
        self.read_only.set(i64::from(!causes.is_empty()));
        for (cause, gauge) in ReadOnlyCause::ALL.iter().zip(&self.causes) {
            gauge.set(i64::from(causes.contains(cause)));
        }
    }

    /// Sets what a counter of the configuration says; `None` while that is not known. Names of others
    /// must not come here: they would grow the page without bound.
    pub fn set_value(&self, name: &str, value: Option<i64>) {
        let label = [("counter", name.to_owned())];
        match value {
            Some(value) => drop(self.values.get_or_create(&label).set(value)),
            None => drop(self.values.remove(&label)),
        }
    }

    /// Sets how many records compaction filters have decided so about. A decision that nobody tells
    /// of has no series. Looks its label up, so it is for the time when `/metrics` is read.
    pub fn set_filtered(&self, decision: FilterDecision, total: u64) {
        self.filter
            .get_or_create(&[("decision", decision.as_str())])
            .inner()
            .store(total, Ordering::Relaxed);
    }
}

/// What the logs lost. The logs hold a clone and count into it.
#[derive(Clone, Debug)]
pub struct LogMetrics {
    dropped: [Counter; LogKind::COUNT],
    write_errors: Counter,
}

impl LogMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let dropped = Family::<OneLabel, Counter>::default();
        let metrics = Self {
            dropped: LogKind::ALL
                .map(|kind| dropped.get_or_create_owned(&[("log", kind.as_str())])),
            write_errors: Counter::default(),
        };
        registry.register(
            "log_lines_dropped",
            "Log lines lost to a full queue or a failed write",
            dropped,
        );
        registry.register(
            "log_write_errors",
            "Failed writes, opens and removals of log files",
            metrics.write_errors.clone(),
        );
        metrics
    }

    /// `lines` were lost.
    pub fn lines_dropped(&self, kind: LogKind, lines: u64) {
        if let Some(counter) = self.dropped.get(kind.index()) {
            counter.inc_by(lines);
        }
    }

    /// Lines lost since the start.
    #[must_use]
    pub fn dropped(&self, kind: LogKind) -> u64 {
        self.dropped.get(kind.index()).map_or(0, Counter::get)
    }

    /// A log could not be written, opened or removed.
    pub fn write_failed(&self) {
        self.write_errors.inc();
    }

    /// Failures since the start.
    #[must_use]
    pub fn write_errors(&self) -> u64 {
        self.write_errors.get()
    }
}
