//! What is told of days that are over.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::table::{metrics, registered};

metrics! {
    /// Told by the archivist.
    PastMetrics {
        closed_day: Gauge = "closed_day",
            "The last day that is closed, in days since 1970-01-01; one less than counterd_day but for a moment after midnight";
        closed_records: Counter = "closed_day_records",
            "Day records that were moved into history";
        given_up: Counter = "unexported_days_given_up",
            "Times that days were let go which could not be exported for calendar.max_unexported_days";
    }
}

impl PastMetrics {
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
