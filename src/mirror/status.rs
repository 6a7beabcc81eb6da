//! The state of the mirror, for `/readyz?verbose` and `/metrics`.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use crate::background::NOT_TRIED;
use crate::counter::{Millis, Revision};
use crate::metrics::{Metrics, MirrorMetrics};

/// The state of the mirror. The mirror and its readers share it; reading it waits for no Redis.
pub struct MirrorStatus {
    seen: Mutex<Seen>,
    metrics: Arc<Metrics>,
}

struct Seen {
    up: bool,
    error: Option<String>,
    /// Since when it is up, or is not.
    since: Option<Millis>,
    /// Everything up to this revision is in Redis.
    revision: Revision,
    /// When the last complete round began.
    complete: Instant,
}

impl Seen {
    /// Why it is not up.
    fn why_not(&self) -> Option<String> {
        let untried = || (!self.up).then(|| NOT_TRIED.to_owned());
        self.error.clone().or_else(untried)
    }
}

/// The state of the mirror at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct MirrorReport {
    /// Whether the last attempt succeeded.
    pub up: bool,
    /// Why the last attempt failed, or that there was none yet.
    pub error: Option<String>,
    /// When `up` last changed; `None` before the first attempt.
    pub since: Option<Millis>,
    /// Changes that Redis does not have yet.
    pub revisions: u64,
    /// For how long Redis has not had everything, in seconds; 0 when it has.
    pub seconds: f64,
}

impl MirrorStatus {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        let seen = Seen {
            up: false,
            error: None,
            since: None,
            revision: 0,
            complete: Instant::now(),
        };
        Self {
            seen: Mutex::new(seen),
            metrics,
        }
    }

    /// The metrics in which what was written is counted.
    pub(super) fn metrics(&self) -> &MirrorMetrics {
        &self.metrics.mirror
    }

    /// Everything up to that revision is there, as looked at since `begun`.
    pub(super) fn is_there(&self, revision: Revision, begun: Instant) {
        let mut seen = self.seen.lock();
        seen.revision = revision;
        seen.complete = begun;
    }

    /// Notes a round that succeeded; returns whether the one before failed.
    pub(super) fn is_up(&self, now: Millis) -> bool {
        let mut seen = self.seen.lock();
        if !seen.up {
            seen.since = Some(now);
        }
        seen.up = true;
        seen.error.take().is_some()
    }

    /// Notes a round that failed; returns whether the one before succeeded.
    pub(super) fn is_down(&self, error: &str, now: Millis) -> bool {
        self.metrics.mirror.errors.inc();
        let mut seen = self.seen.lock();
        let first = seen.error.is_none();
        if first {
            seen.since = Some(now);
        }
        seen.up = false;
        seen.error = Some(error.to_owned());
        first
    }

    /// Returns the standing now, when the store is at `revision`.
    pub fn report(&self, revision: Revision) -> MirrorReport {
        let seen = self.seen.lock();
        let revisions = revision.saturating_sub(seen.revision);
        MirrorReport {
            up: seen.up,
            error: seen.why_not(),
            since: seen.since,
            revisions,
            seconds: if revisions == 0 && seen.up {
                0.0
            } else {
                seen.complete.elapsed().as_secs_f64()
            },
        }
    }
}
