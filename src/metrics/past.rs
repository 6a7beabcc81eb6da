//! What is told of days that are over.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Told by the archivist.
#[derive(Clone, Debug)]
pub struct PastMetrics {
    closed_day: Gauge,
    closed_records: Counter,
    given_up: Counter,
}

impl PastMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            closed_day: Gauge::default(),
            closed_records: Counter::default(),
            given_up: Counter::default(),
        };
        registry.register(
            "closed_day",
            "The last day that is closed, in days since 1970-01-01; one less than counterd_day but for a moment after midnight",
            metrics.closed_day.clone(),
        );
        registry.register(
            "closed_day_records",
            "Day records that were moved into history",
            metrics.closed_records.clone(),
        );
        registry.register(
            "unexported_days_given_up",
            "Times that days were let go which could not be exported for calendar.max_unexported_days",
            metrics.given_up.clone(),
        );
        metrics
    }

    /// Days that were not exported go.
    pub fn given_up(&self) {
        self.given_up.inc();
    }

    /// All days up to this one are closed.
    pub fn closed_through(&self, days_since_1970: i32) {
        self.closed_day.set(i64::from(days_since_1970));
    }

    /// So many records were moved into history.
    pub fn closed_records(&self, records: u64) {
        self.closed_records.inc_by(records);
    }
}
