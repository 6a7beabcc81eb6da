//! What is told of the mirror in Redis.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::RoundMetrics;

/// Told by the mirror.
#[derive(Clone, Debug)]
pub struct MirrorMetrics {
    /// Values that were written.
    pub values: Counter,
    /// Users that were added to sets.
    pub users: Counter,
    /// How often everything was written.
    pub refills: Counter,
    /// How its rounds go.
    pub round: RoundMetrics,
}

impl MirrorMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            values: Counter::default(),
            users: Counter::default(),
            refills: Counter::default(),
            round: RoundMetrics::register(registry, "mirror", "the mirror in Redis", "Redis"),
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
        metrics
    }
}
