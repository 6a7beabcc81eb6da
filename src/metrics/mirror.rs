//! What is told of the mirror in Redis.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::FloatGauge;

/// Told by the mirror.
#[derive(Clone, Debug)]
pub struct MirrorMetrics {
    /// Values that were written.
    pub values: Counter,
    /// Users that were added to sets.
    pub users: Counter,
    /// How often everything was written.
    pub refills: Counter,
    /// Rounds that failed.
    pub errors: Counter,
    /// Whether the last round went well.
    pub up: Gauge,
    /// Changes that Redis does not have yet.
    pub lag_revisions: Gauge,
    /// For how long it has not had everything.
    pub lag: FloatGauge,
}

impl MirrorMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            values: Counter::default(),
            users: Counter::default(),
            refills: Counter::default(),
            errors: Counter::default(),
            up: Gauge::default(),
            lag_revisions: Gauge::default(),
            lag: FloatGauge::default(),
        };
        registry.register(
            "mirror_values",
            "Values of counters that were written to Redis, deletions among them",
            metrics.values.clone(),
        );
        registry.register(
            "mirror_users",
            "User ids that were added to sets in Redis",
            metrics.users.clone(),
        );
        registry.register(
            "mirror_refills",
            "Times that all values were written to Redis: after a start, and after it lost something",
            metrics.refills.clone(),
        );
        registry.register(
            "mirror_errors",
            "Attempts of the mirror in Redis that failed",
            metrics.errors.clone(),
        );
        registry.register(
            "mirror_up",
            "1 while the mirror in Redis works, else 0, also when there is none",
            metrics.up.clone(),
        );
        registry.register(
            "mirror_lag_revisions",
            "Changes that Redis does not have yet",
            metrics.lag_revisions.clone(),
        );
        registry.register_with_unit(
            "mirror_lag",
            "For how long Redis has not had every change; 0 when it has",
            Unit::Seconds,
            metrics.lag.clone(),
        );
        metrics
    }
}
