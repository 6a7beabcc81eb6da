//! What is told of a copy that is kept up to date in rounds.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::FloatGauge;

/// Told by the status of the rounds.
#[derive(Clone, Debug, Default)]
pub struct RoundMetrics {
    /// Rounds that failed.
    pub errors: Counter,
    /// Whether the last round succeeded.
    pub up: Gauge,
    /// Changes that the copy does not have yet.
    pub lag_revisions: Gauge,
    /// For how long the copy has not had everything.
    pub lag: FloatGauge,
}

impl RoundMetrics {
    /// Registers them under names that begin with `prefix`; `work` writes to `copy`.
    pub(super) fn register(registry: &mut Registry, prefix: &str, work: &str, copy: &str) -> Self {
        let metrics = Self::default();
        registry.register(
            format!("{prefix}_errors"),
            format!("Attempts of {work} that failed"),
            metrics.errors.clone(),
        );
        registry.register(
            format!("{prefix}_up"),
            format!("1 while {work} works, else 0, also when none is configured"),
            metrics.up.clone(),
        );
        registry.register(
            format!("{prefix}_lag_revisions"),
            format!("Changes that {copy} does not have yet"),
            metrics.lag_revisions.clone(),
        );
        registry.register_with_unit(
            format!("{prefix}_lag"),
            format!("For how long {copy} has not had every change; 0 when it has"),
            Unit::Seconds,
            metrics.lag.clone(),
        );
        metrics
    }
}
