//! What is told of the copies: the export to PostgreSQL and the mirror in Redis.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::FloatGauge;
use super::table::{metrics, registered};

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
