//! The state of the export, for `/readyz?verbose` and `/metrics`.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use crate::background::NOT_TRIED;
use crate::counter::Revision;
use crate::metrics::Metrics;

/// The state of the export. The exporter and its readers share it; reading it waits for no database.
pub struct ExportStatus {
    seen: Mutex<Seen>,
    metrics: Arc<Metrics>,
}

struct Seen {
    up: bool,
    error: Option<String>,
    /// Everything up to this revision is in the database, but for what it refuses.
    revision: Revision,
    /// How many values it refuses, and what is told of them.
    refused: Option<(u64, String)>,
    /// When the last complete round began.
    complete: Instant,
    days_waiting: u64,
    set_aside: u64,
}

impl Seen {
    /// Why it is not up, or what is missing though it is.
    fn why_not(&self) -> Option<String> {
        let untried = || (!self.up).then(|| NOT_TRIED.to_owned());
        let refused = || self.refused.as_ref().map(|(_, text)| text.clone());
        self.error.clone().or_else(untried).or_else(refused)
    }
}

/// The state of the export at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportReport {
    /// Whether the last attempt succeeded: everything was written, except refused rows.
    pub up: bool,
    /// Why the last attempt failed, that there was none yet, or which values the database refuses.
    pub error: Option<String>,
    /// Changes that the database does not have yet; of a value that it refuses, one.
    pub revisions: u64,
    /// For how long the database has not had everything, in seconds; 0 when it has.
    pub seconds: f64,
    /// Closed days that are not there yet.
    pub days_waiting: u64,
    /// Rows of closed days that were set aside.
    pub set_aside: u64,
}

impl ExportStatus {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        let seen = Seen {
            up: false,
            error: None,
            revision: 0,
            refused: None,
            complete: Instant::now(),
            days_waiting: 0,
            set_aside: 0,
        };
        Self {
            seen: Mutex::new(seen),
            metrics,
        }
    }

    /// The metrics in which what was written is counted.
    pub(super) fn metrics(&self) -> &crate::metrics::ExportMetrics {
        &self.metrics.export
    }

    /// All values up to that revision are there, as looked at since `begun`; but for those that are
    /// refused, if any: how many, and what is to be told of them.
    pub(super) fn values_are_there(
        &self,
        revision: Revision,
        begun: Instant,
        refused: Option<(u64, String)>,
    ) {
        let mut seen = self.seen.lock();
        seen.revision = revision;
        if refused.is_none() {
            seen.complete = begun;
        }
        seen.refused = refused;
    }

    pub(super) fn days_wait(&self, days: u64) {
        self.seen.lock().days_waiting = days;
    }

    pub(super) fn rows_are_set_aside(&self, rows: u64) {
        self.seen.lock().set_aside = rows;
    }

    /// Notes a round that succeeded; returns whether the one before failed.
    pub(super) fn is_up(&self) -> bool {
        let mut seen = self.seen.lock();
        let was_down = seen.error.take().is_some();
        seen.up = true;
        was_down
    }

    /// Notes a round that failed; returns whether the reason is another than before.
    pub(super) fn is_down(&self, error: &str) -> bool {
        self.metrics.export.errors.inc();
        let mut seen = self.seen.lock();
        seen.up = false;
        let known = seen.error.as_deref() == Some(error);
        seen.error = Some(error.to_owned());
        !known
    }

    /// Returns the standing now, when the store is at `revision`.
    pub fn report(&self, revision: Revision) -> ExportReport {
        let seen = self.seen.lock();
        let refused = seen.refused.as_ref().map_or(0, |(values, _)| *values);
        let revisions = revision
            .saturating_sub(seen.revision)
            .saturating_add(refused);
        ExportReport {
            up: seen.up,
            error: seen.why_not(),
            revisions,
            seconds: if revisions == 0 && seen.up {
                0.0
            } else {
                seen.complete.elapsed().as_secs_f64()
            },
            days_waiting: seen.days_waiting,
            set_aside: seen.set_aside,
        }
    }
}
