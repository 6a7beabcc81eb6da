//! What the tests of all modules start a writer with.

use super::*;
use crate::clock::Clock;

impl WriterOptions {
    /// Everything as the configuration has it by default, with no counters defined, one runtime, and a zone that
    /// somebody wrote.
    pub(crate) fn new(storage: StorageOptions, clock: Arc<dyn Clock>, calendar: Calendar) -> Self {
        Self {
            storage,
            clock,
            calendar,
            zone_is_written: true,
            max_clock_jump_ms: 48 * HOUR,
            max_away_ms: 90 * 24 * HOUR,
            auto_create: true,
            max_counters: 100_000,
            gone_for_ms: 7 * 24 * HOUR,
            configured: Vec::new(),
            recent_users: 1_000_000,
            min_free: None,
            slow_disk_after: Duration::from_secs(5),
            followed_counters: 1000,
            runtimes: 1,
            queue: 65_536,
            metrics: Arc::default(),
        }
    }
}
