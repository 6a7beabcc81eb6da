//! What is told of the mirror in Redis.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::RoundMetrics;
use super::table::{metrics, registered};

metrics! {
    /// Told by the mirror.
    MirrorMetrics {
        pub values: Counter = "mirror_values",
            "Values of counters that were written to Redis, deletions among them";
        pub users: Counter = "mirror_users",
            "User ids that were added to sets in Redis";
        pub refills: Counter = "mirror_refills",
            "Times that all values were written to Redis: after a start, and after it lost something";
    }
    beside {
        /// How its rounds go.
        pub round: RoundMetrics = rounds;
    }
}

fn rounds(registry: &mut Registry) -> RoundMetrics {
    RoundMetrics::register(registry, "mirror", "the mirror in Redis", "Redis")
}
