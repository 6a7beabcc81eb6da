//! The one handle for what serves counts: changing them, reading them, and how that stands.
//!
//! It decides whether values come from the store or, while there is no store, from a copy (`values`, `past`).
//! The answers have the same types either way, and say where they come from.
//!
//! Kept out: how requests are parsed and answers are written (`http`), and starting and ending the parts
//! (`serve`).

mod local_time;
mod past;
mod removal;
mod shown;
mod silences;
mod values;
mod watch;

use std::sync::Arc;

use serde::Serialize;
use tokio::runtime::Handle;

use crate::alerts::AlertBoard;
use crate::calendar::{Calendar, Day};
use crate::counter::{CounterName, Millis, Moment};
use crate::current_day::{CurrentDay, Look};
use crate::fallback::Fallback;
use crate::metrics::ExportMetrics;
use crate::rounds::RoundStatus;
use crate::writer::Running;

pub use crate::alerts::{AlertsShown, Silence, SilenceFault, SilenceWanted};
pub use crate::fallback::{CopyStanding, NoCopy};
pub use crate::lifecycle::{PastDay, PeakEver, Point};
pub use crate::rounds::RoundReport;
pub use crate::writer::{
    Answer, Cause, Command, Failure, IdempotencyKey, ModeState, Port, Request,
};
pub use local_time::{LocalTime, Offset};
pub use past::{NoPast, PastDays, SeriesRange};
pub use removal::Removable;
use shown::ShownCounters;
pub use values::{Page, ReadFrom, Value};
pub use watch::{WatchMark, WatchedValue, WatchedValues};

/// The handle. Its clones share everything.
#[derive(Clone)]
pub struct Engine {
    running: Running,
    /// How the export to PostgreSQL stands.
    pub(crate) export: Option<Arc<RoundStatus>>,
    /// How the mirror in Redis stands.
    pub(crate) mirror: Option<Arc<RoundStatus>>,
    /// The copies that are read while there is no store.
    pub(crate) fallback: Option<Fallback>,
    /// What is shown of alerts.
    pub(crate) alerts: Arc<AlertBoard>,
    /// The counters outside the configuration that `/metrics` shows.
    shown: ShownCounters,
}

/// How the engine stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Whether writes are served.
    #[serde(skip)]
    pub state: ModeState,
    /// Since when and for how many milliseconds writes have waited for a slow disk; `None` while they do not.
    #[serde(skip)]
    pub slow_disk: Option<(Millis, Millis)>,
    /// The day that is counted now.
    pub day: Day,
    /// The store's epoch; `None` without a store.
    pub epoch: Option<u64>,
    /// The revision of the last change; `None` without a store.
    pub revision: Option<u64>,
    /// The tables of the store that have a block which cannot be read.
    pub rotten_tables: Vec<String>,
    /// What is behind.
    pub lags: Lags,
}

/// What is behind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lags {
    /// Operations under way.
    pub queued_operations: usize,
    /// How far the clock is before the day, in milliseconds; 0 unless it was set back.
    pub clock_behind_ms: i64,
    /// What PostgreSQL lacks; `None` where nothing is exported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postgres: Option<ExportLag>,
    /// What the mirror lacks; `None` where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<RoundReport>,
}

/// What PostgreSQL does not have yet.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExportLag {
    /// How the export stands.
    #[serde(flatten)]
    pub lag: RoundReport,
    /// Closed days that are not there.
    pub days: i64,
    /// Rows that the database refuses.
    pub rows_set_aside: i64,
}

impl Engine {
    /// Makes the handle of a writer, which may not run yet.
    pub fn new(running: &Running) -> Self {
        Self {
            running: running.clone(),
            export: None,
            mirror: None,
            fallback: None,
            alerts: AlertBoard::new(),
            shown: ShownCounters::default(),
        }
    }

    /// Makes a port for a runtime with one thread; `None` when the writer was started for fewer runtimes.
    pub fn attach(&self, runtime: &Handle) -> Option<Port> {
        self.running.intake.attach(runtime)
    }

    /// Says whether writes are served: `Err` with the cause that refuses them, and for how many milliseconds they
    /// have been refused, by the wall clock.
    ///
    /// # Errors
    /// When they are refused, and why.
    pub fn writes(&self) -> Result<(), (Cause, Millis)> {
        match self.running.mode.state() {
            // The writer may not have seen it yet: it may be waiting for Redis.
            ModeState::Normal => match self.running.stale_since() {
                None => Ok(()),
                Some(since) => Err((Cause::StoreFailed, self.now().saturating_sub(since))),
            },
            ModeState::ReadOnly { cause, since } => Err((cause, self.now().saturating_sub(since))),
        }
    }

    /// For how long writes have been refused, in milliseconds; 0 while they are served.
    pub fn outage_ms(&self) -> Millis {
        self.writes().err().map_or(0, |(_, for_ms)| for_ms)
    }

    /// Which copy stands in for the store; `None` while there is a store.
    pub async fn stand_in(&self) -> Option<Result<CopyStanding, NoCopy>> {
        match self.copies() {
            Some(fallback) => Some(fallback.standing().await),
            None => None,
        }
    }

    /// The current moment, for what counters say at it.
    pub fn moment(&self) -> Moment {
        self.running.day.moment()
    }

    /// The wall clock, in milliseconds since 1970 UTC.
    pub fn now(&self) -> Millis {
        self.running.day.look().wall_ms
    }

    /// The boot clock, in nanoseconds since the machine started.
    pub fn boot_ns(&self) -> u64 {
        self.running.day.boot_ns()
    }

    /// The one current day.
    pub fn current_day(&self) -> &CurrentDay {
        &self.running.day
    }

    /// The counters of the configuration.
    pub fn configured(&self) -> &[CounterName] {
        &self.running.configured
    }

    /// Says how all of it stands; the metrics of the export say some of it.
    pub fn report(&self, metrics: &ExportMetrics) -> Report {
        let revision = self.running.table.revision();
        let (export, mirror) = (self.export.as_ref(), self.mirror.as_ref());
        let rotten = self.running.reader.rot.tables();
        let store = self.copies().is_none().then_some(&self.running.table);
        let Look { day, wall_ms, .. } = self.running.day.look();
        let slow_disk = self.running.mode.disk().slow().map(|waited| {
            let waited = Millis::try_from(waited.as_millis()).unwrap_or(Millis::MAX);
            (wall_ms.saturating_sub(waited), waited)
        });
        Report {
            state: self.running.mode.state(),
            slow_disk,
            day,
            epoch: store.map(|table| table.epoch()),
            revision: store.map(|_| revision),
            rotten_tables: rotten.iter().map(ToString::to_string).collect(),
            lags: Lags {
                queued_operations: self.running.intake.depth(),
                clock_behind_ms: self.running.day.behind_ms(),
                postgres: export.map(|status| ExportLag {
                    lag: status.report(revision),
                    days: metrics.days_waiting.get(),
                    rows_set_aside: metrics.set_aside.get(),
                }),
                redis: mirror.map(|status| status.report(revision)),
            },
        }
    }

    fn calendar(&self) -> &Calendar {
        self.running.day.calendar()
    }

    /// The copies, while there is no store.
    fn copies(&self) -> Option<&Fallback> {
        self.fallback
            .as_ref()
            .filter(|_| self.running.mode.stands(Cause::NoStore))
    }
}
