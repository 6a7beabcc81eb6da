//! What is told once a commit group, once a look at the clock, or more seldom: plain handles of the
//! metrics library, made once and kept in fields, so that the writer looks no label up.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};
use std::sync::atomic::{AtomicU64, Ordering};

use super::labels::{AlertRule, Cause, FilterDecision, LogKind, PushEnd, PushTransport, RateLimit};
use super::table::{metrics, registered};

/// A gauge with a fraction, such as seconds.
pub type FloatGauge = Gauge<f64, AtomicU64>;

type OneLabel = [(&'static str, &'static str); 1];

/// Makes one metric for each of these values of a label, all of them there from the start.
fn for_each<M, const N: usize>(
    registry: &mut Registry,
    (name, help): (&str, &str),
    label: &'static str,
    values: [&'static str; N],
) -> [M; N]
where
    M: Clone + Default,
    Family<OneLabel, M>: Metric,
{
    let family = Family::<OneLabel, M>::default();
    let family = registered(registry, (name, None, help), family);
    values.map(|value| family.get_or_create_owned(&[(label, value)]))
}

metrics! {
    /// Told by the writer: one call for each commit group.
    CommitMetrics {
        groups: Counter = "commits", "Commit groups written and synced";
        group_operations: Histogram = "commit_operations" from Histogram::new([
            1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4,
        ]), "Operations in one commit group";
        sync_duration: Histogram = "commit_sync_duration" in Seconds from Histogram::new([
            0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5,
            1.0, 2.0, 5.0,
        ]), "Time of one synced write of a commit group";
        turn_duration: Histogram = "writer_turn_duration" in Seconds from Histogram::new([
            0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5,
            1.0, 2.0, 5.0,
        ]), "Time of one turn of the writer without its synced writes: what waits behind it waits so long";
        last_sync: FloatGauge = "last_sync_timestamp" in Seconds,
            "Wall time of the last synced write, since 1970; 0 before the first";
        pub queued_operations: Gauge = "queued_operations", "Operations waiting for the writer";
    }
}

impl CommitMetrics {
    /// Tells that a group of `operations` was written and synced within `took`, ending at `wall_ms`
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

    /// Tells that a turn of the writer took `own` besides its synced writes.
    pub fn turned(&self, own: Duration) {
        self.turn_duration.observe(own.as_secs_f64());
    }
}

metrics! {
    /// Told by the writer where several instances append to one log.
    SharedLogMetrics {
        pub appends: Counter = "appends", "Tries to append a commit group to the shared log";
        pub conflicts: Counter = "conflicts",
            "Commit groups that were worked out again because other instances had appended before";
        clock_ahead: FloatGauge = "clock_ahead" in Seconds,
            "How much later the wall clock is than that of Redis; below 0 where it is earlier";
        append_duration: Histogram = "append_duration" in Seconds from Histogram::new([
            0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
        ]), "Time from the first try to append a commit group until it was appended and durable";
    }
}

impl SharedLogMetrics {
    /// Tells how much later the wall clock is than that of Redis, in milliseconds.
    #[allow(
        clippy::cast_precision_loss,
        reason = "below 2^53: a few hundred thousand years"
    )]
    pub fn clock_is_ahead(&self, ahead_ms: i64) {
        self.clock_ahead.set(ahead_ms as f64 / 1e3);
    }

    /// Tells that a group was appended so long after its first try.
    pub fn appended(&self, took: Duration) {
        self.append_duration.observe(took.as_secs_f64());
    }
}

metrics! {
    /// Told by whoever owns the state, when it changes or just before `/metrics` is read.
    StateMetrics {
        pub revision: Gauge = "revision", "Revision of the last published change";
        pub epoch: Gauge = "epoch",
            "Epoch of the store: milliseconds since 1970 at its creation, restore or recovery";
        pub day: Gauge = "day", "The current local day, in days since 1970-01-01";
        pub clock_behind: FloatGauge = "clock_behind" in Seconds,
            "Time until the calendar catches up with the stored day; 0 when it is not behind";
        pub disk_wait: FloatGauge = "disk_wait" in Seconds,
            "For how long the writer has waited for the disk now";
        pub clock_jumps: Counter = "clock_jumps", "Jumps of the wall clock beyond the allowed one";
        pub live_counters: Gauge = "live_counters", "Counters that live now";
        pub created_counters: Counter = "counters_created",
            "Counters created by a first increment of a name that nobody defined";
        pub quarantined_counters: Gauge = "quarantined_counters",
            "Counters disabled because something stored of them is corrupt";
        read_only: Gauge = "read_only", "1 while writes are refused, else 0";
        causes: Family<OneLabel, Gauge> = "read_only_cause",
            "1 for each cause for which writes are refused now, else 0";
        filter: Family<OneLabel, Counter> = "filtered_records",
            "Records that compaction looked at for expiry, by decision";
    }
}

impl StateMetrics {
    /// Sets which causes refuse writes now; without one the mode is normal.
    pub fn set_read_only(&self, stands: impl Fn(Cause) -> bool) {
        let any = Cause::ALL.into_iter().any(&stands);
        self.read_only.set(i64::from(any));
        for cause in Cause::ALL {
            let gauge = self.causes.get_or_create(&[("cause", cause.as_str())]);
            gauge.set(i64::from(stands(cause)));
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

metrics! {
    /// Told by the archivist.
    PastMetrics {
        pub closed_day: Gauge = "closed_day",
            "The last day that is closed, in days since 1970-01-01; one less than counterd_day but for a moment after midnight";
        pub closed_records: Counter = "closed_day_records",
            "Day records that were moved into history";
        pub given_up: Counter = "unexported_days_given_up",
            "Times that days were let go which could not be exported for calendar.max_unexported_days";
    }
}

metrics! {
    /// Told by the limits of rates.
    RateMetrics {
        pub overflows: Counter = "rate_limit_overflows",
            "Judgements by the bucket that those share who found no room among limits.max_keys";
        pub keys: Gauge = "rate_limit_keys",
            "Addresses and users who asked so lately that they are remembered, about";
        pub slots: Gauge = "rate_limit_slots",
            "Addresses and users that can be remembered; 0 before a limit is first on";
    }
    beside {
        /// Requests refused, by limit.
        pub refused: [Counter; RateLimit::COUNT] = limited;
    }
}

fn limited(registry: &mut Registry) -> [Counter; RateLimit::COUNT] {
    let help = "Requests refused because an address or a user asked too often, by limit";
    let limits = RateLimit::ALL.map(RateLimit::as_str);
    for_each(registry, ("rate_limited", help), "limit", limits)
}

metrics! {
    /// What the logs lost. The logs hold a clone and count into it.
    LogMetrics {
        pub write_errors: Counter = "log_write_errors",
            "Failed writes, opens and removals of log files";
    }
    beside {
        /// Lines lost, by log.
        pub dropped: [Counter; LogKind::COUNT] = dropped;
    }
}

fn dropped(registry: &mut Registry) -> [Counter; LogKind::COUNT] {
    let help = "Log lines lost to a full queue or a failed write";
    let logs = LogKind::ALL.map(LogKind::as_str);
    for_each(registry, ("log_lines_dropped", help), "log", logs)
}

impl LogMetrics {
    /// Counts lines that were lost.
    pub fn lines_dropped(&self, kind: LogKind, lines: u64) {
        if let Some(counter) = self.dropped.get(kind as usize) {
            counter.inc_by(lines);
        }
    }
}

metrics! {
    /// How a copy is kept up to date in rounds. Told by the status of the rounds.
    RoundMetrics {
        pub errors: Counter = "errors", "Rounds that failed";
        pub up: Gauge = "up",
            "1 while the copy is kept up to date, else 0, also when none is configured";
        pub lag_revisions: Gauge = "lag_revisions", "Changes that the copy does not have yet";
        pub lag: FloatGauge = "lag" in Seconds,
            "For how long the copy has not had every change; 0 when it has";
    }
}

metrics! {
    /// Told by the exporter and by commands that export.
    ExportMetrics {
        pub values: Counter = "values", "Rows of current values that were written to PostgreSQL";
        pub values_refused: Counter = "values_refused",
            "Rows of current values that PostgreSQL refused";
        pub days: Counter = "day_rows", "Rows of closed days that were written to PostgreSQL";
        pub users: Counter = "users", "User ids that were written to PostgreSQL";
        pub days_waiting: Gauge = "days_waiting", "Closed days that PostgreSQL does not have yet";
        pub set_aside: Gauge = "rows_set_aside",
            "Rows of closed days that PostgreSQL refused, or that would have replaced others; `counterd export --rejected` lists them";
    }
    beside {
        /// How its rounds go.
        pub round: RoundMetrics = RoundMetrics::register;
    }
}

metrics! {
    /// Told by the mirror.
    MirrorMetrics {
        pub values: Counter = "values",
            "Values of counters that were written to Redis, deletions among them";
        pub users: Counter = "users", "User ids that were added to sets in Redis";
        pub refills: Counter = "refills",
            "Times that all values were written to Redis: after a start, and after it lost something";
    }
    beside {
        /// How its rounds go.
        pub round: RoundMetrics = RoundMetrics::register;
    }
}

metrics! {
    /// Told by the thread that watches.
    AlertMetrics {
        pub notices: Counter = "alert_notices", "Notices that a receiver has taken";
        pub failures: Counter = "alert_delivery_failures", "Tries to deliver a notice that failed";
        pub dropped: Counter = "alert_notices_dropped",
            "Notices that were given up: a receiver refused them, they waited for a week, or more than `alerts.queue` waited";
        pub waiting: Gauge = "alert_notices_waiting", "Notices that wait to be delivered";
        pub watched: Gauge = "alert_counters", "Counters whose values are watched";
        pub up: Gauge = "alert_watch_up",
            "Whether the rules of alerts are judged: 0 before the thread that does so began, and after it failed";
    }
    beside {
        /// How many alerts of each rule fire now.
        firing: [Gauge; AlertRule::COUNT] = alerts_firing;
    }
}

fn alerts_firing(registry: &mut Registry) -> [Gauge; AlertRule::COUNT] {
    let help = "Alerts that fire now, by rule";
    let rules = AlertRule::ALL.map(AlertRule::as_str);
    for_each(registry, ("alerts", help), "rule", rules)
}

impl AlertMetrics {
    /// Sets how many alerts of a rule fire now.
    pub fn set_firing(&self, rule: AlertRule, alerts: usize) {
        if let Some(gauge) = self.firing.get(rule as usize) {
            gauge.set(i64::try_from(alerts).unwrap_or(i64::MAX));
        }
    }
}

metrics! {
    /// Told by the hubs that push.
    PushMetrics {
        pub frames: Counter = "frames", "Events that were handed to connections for sending";
        pub conflated: Counter = "conflated",
            "Changes that a client was not sent because a later one of the same counter came before it could take them";
        pub stalled: Gauge = "stalled", "Connections whose clients take nothing now";
        pub refused: Counter = "refused",
            "Connections that were refused because there were push.max_connections";
    }
    beside {
        /// Connections open now, by transport.
        connections: [Gauge; PushTransport::COUNT] = push_connections;
        /// Connections that ended, by the reason.
        closed: [Counter; PushEnd::COUNT] = push_closed;
    }
}

fn push_connections(registry: &mut Registry) -> [Gauge; PushTransport::COUNT] {
    let help = "Connections whose clients are told of changes now, by transport";
    let transports = PushTransport::ALL.map(PushTransport::as_str);
    for_each(registry, ("connections", help), "transport", transports)
}

fn push_closed(registry: &mut Registry) -> [Counter; PushEnd::COUNT] {
    let help = "Connections that ended whose clients were told of changes, by the reason";
    let reasons = PushEnd::ALL.map(PushEnd::as_str);
    for_each(registry, ("closed", help), "reason", reasons)
}

impl PushMetrics {
    /// Counts a connection that began.
    pub fn opened(&self, transport: PushTransport) {
        if let Some(gauge) = self.connections.get(transport as usize) {
            gauge.inc();
        }
    }

    /// Counts a connection that ended.
    pub fn closed(&self, transport: PushTransport, end: PushEnd) {
        if let Some(gauge) = self.connections.get(transport as usize) {
            gauge.dec();
        }
        if let Some(counter) = self.closed.get(end as usize) {
            counter.inc();
        }
    }
}
