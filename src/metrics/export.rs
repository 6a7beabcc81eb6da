//! What is told of the export to PostgreSQL.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::FloatGauge;

/// Told by the exporter and by commands that export.
#[derive(Clone, Debug)]
pub struct ExportMetrics {
    /// Rows of current values that were written.
    pub values: Counter,
    /// Rows of current values that the database refused.
    pub values_refused: Counter,
    /// Rows of closed days that were written.
    pub days: Counter,
    /// Users that were written with them.
    pub users: Counter,
    /// Rounds that failed.
    pub errors: Counter,
    /// Whether the last round went well.
    pub up: Gauge,
    /// Changes that the database does not have yet.
    pub lag_revisions: Gauge,
    /// For how long it has not had everything.
    pub lag: FloatGauge,
    /// Closed days that wait.
    pub days_waiting: Gauge,
    /// Rows of closed days that are set aside.
    pub set_aside: Gauge,
}

impl ExportMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            values: Counter::default(),
            values_refused: Counter::default(),
            days: Counter::default(),
            users: Counter::default(),
            errors: Counter::default(),
            up: Gauge::default(),
            lag_revisions: Gauge::default(),
            lag: FloatGauge::default(),
            days_waiting: Gauge::default(),
            set_aside: Gauge::default(),
        };
        metrics.register_counters(registry);
        metrics.register_gauges(registry);
        metrics
    }

    fn register_counters(&self, registry: &mut Registry) {
        registry.register(
            "export_values",
            "Rows of current values that were written to PostgreSQL",
            self.values.clone(),
        );
        registry.register(
            "export_values_refused",
            "Rows of current values that PostgreSQL refused",
            self.values_refused.clone(),
        );
        registry.register(
            "export_day_rows",
            "Rows of closed days that were written to PostgreSQL",
            self.days.clone(),
        );
        registry.register(
            "export_users",
            "User ids that were written to PostgreSQL",
            self.users.clone(),
        );
        registry.register(
            "export_errors",
            "Attempts of the export to PostgreSQL that failed",
            self.errors.clone(),
        );
    }

    fn register_gauges(&self, registry: &mut Registry) {
        registry.register(
            "export_up",
            "1 while the export to PostgreSQL works, else 0, also when none is configured",
            self.up.clone(),
        );
        registry.register(
            "export_lag_revisions",
            "Changes that PostgreSQL does not have yet",
            self.lag_revisions.clone(),
        );
        registry.register_with_unit(
            "export_lag",
            "For how long PostgreSQL has not had every change; 0 when it has",
            Unit::Seconds,
            self.lag.clone(),
        );
        registry.register(
            "export_days_waiting",
            "Closed days that PostgreSQL does not have yet",
            self.days_waiting.clone(),
        );
        registry.register(
            "export_rows_set_aside",
            "Rows of closed days that PostgreSQL refused, or that would have replaced others; `counterd export --rejected` lists them",
            self.set_aside.clone(),
        );
    }
}
