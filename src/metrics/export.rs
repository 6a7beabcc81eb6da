//! What is told of the export to PostgreSQL.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::RoundMetrics;
use super::table::{metrics, registered};

metrics! {
    /// Told by the exporter and by commands that export.
    ExportMetrics {
        pub values: Counter = "export_values",
            "Rows of current values that were written to PostgreSQL";
        pub values_refused: Counter = "export_values_refused",
            "Rows of current values that PostgreSQL refused";
        pub days: Counter = "export_day_rows",
            "Rows of closed days that were written to PostgreSQL";
        pub users: Counter = "export_users",
            "User ids that were written to PostgreSQL";
        pub days_waiting: Gauge = "export_days_waiting",
            "Closed days that PostgreSQL does not have yet";
        pub set_aside: Gauge = "export_rows_set_aside",
            "Rows of closed days that PostgreSQL refused, or that would have replaced others; `counterd export --rejected` lists them";
    }
    beside {
        /// How its rounds go.
        pub round: RoundMetrics = rounds;
    }
}

fn rounds(registry: &mut Registry) -> RoundMetrics {
    let (work, copy) = ("the export to PostgreSQL", "PostgreSQL");
    RoundMetrics::register(registry, "export", work, copy)
}
