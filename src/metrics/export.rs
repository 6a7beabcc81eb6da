//! What is told of the export to PostgreSQL.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::RoundMetrics;

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
    /// Closed days that wait.
    pub days_waiting: Gauge,
    /// Rows of closed days that are set aside.
    pub set_aside: Gauge,
    /// How its rounds go.
    pub round: RoundMetrics,
}

impl ExportMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            values: Counter::default(),
            values_refused: Counter::default(),
            days: Counter::default(),
            users: Counter::default(),
            days_waiting: Gauge::default(),
            set_aside: Gauge::default(),
            round: RoundMetrics::register(
                registry,
                "export",
                "the export to PostgreSQL",
                "PostgreSQL",
            ),
        };
        registry.register(
            "export_values",
            "Rows of current values that were written to PostgreSQL",
            metrics.values.clone(),
        );
        registry.register(
            "export_values_refused",
            "Rows of current values that PostgreSQL refused",
            metrics.values_refused.clone(),
        );
        registry.register(
            "export_day_rows",
            "Rows of closed days that were written to PostgreSQL",
            metrics.days.clone(),
        );
        registry.register(
            "export_users",
            "User ids that were written to PostgreSQL",
            metrics.users.clone(),
        );
        registry.register(
            "export_days_waiting",
            "Closed days that PostgreSQL does not have yet",
            metrics.days_waiting.clone(),
        );
        registry.register(
            "export_rows_set_aside",
            "Rows of closed days that PostgreSQL refused, or that would have replaced others; `counterd export --rejected` lists them",
            metrics.set_aside.clone(),
        );
        metrics
    }
}
