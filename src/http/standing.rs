//! How the server stands, as `/readyz?verbose` tells those who may read.

use serde::Serialize;

use super::code::Code;
use crate::calendar::Day;
use crate::counter::{Millis, instant};
use crate::engine::{CopyStanding, ModeState, Report, RoundReport};
use crate::metrics::ExportMetrics;

/// The mode, its cause, since when, what brings it back, and what lags.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Standing {
    mode: &'static str,
    cause: Option<&'static str>,
    #[serde(with = "instant")]
    since: Option<Millis>,
    remedy: Option<&'static str>,
    #[serde(flatten)]
    copy: Option<CopyStanding>,
    draining: bool,
    day: Day,
    epoch: Option<u64>,
    revision: Option<u64>,
    rotten_tables: Vec<String>,
    lags: Lags,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Lags {
    queued_operations: usize,
    clock_behind_ms: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    postgres: Option<ExportLag>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redis: Option<RoundReport>,
}

/// What PostgreSQL does not have yet.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct ExportLag {
    #[serde(flatten)]
    lag: RoundReport,
    days: i64,
    rows_set_aside: i64,
}

impl Standing {
    /// Tells what the engine reports; `copy` stands in for the store.
    pub(super) fn new(
        report: Report,
        copy: Option<CopyStanding>,
        draining: bool,
        export: &ExportMetrics,
    ) -> Self {
        let (mode, cause, since, remedy) = match (report.state, report.slow_disk) {
            (ModeState::Normal, None) => ("normal", None, None, None),
            (ModeState::Normal, Some((since, _))) => (
                "normal",
                Some(Code::SlowDisk.as_str()),
                Some(since),
                Some("writes wait and are answered once the disk answers; see what holds it up"),
            ),
            (ModeState::ReadOnly { cause, since }, _) => (
                "read_only",
                Some(cause.as_str()),
                Some(since),
                Some(cause.remedy()),
            ),
        };
        Self {
            mode,
            cause,
            since,
            remedy,
            copy,
            draining,
            day: report.day,
            epoch: report.history.map(|(epoch, _)| epoch),
            revision: report.history.map(|(_, revision)| revision),
            rotten_tables: report.rotten_tables,
            lags: Lags {
                queued_operations: report.queued,
                clock_behind_ms: report.clock_behind_ms,
                postgres: report.export.map(|lag| ExportLag {
                    lag,
                    days: export.days_waiting.get(),
                    rows_set_aside: export.set_aside.get(),
                }),
                redis: report.mirror,
            },
        }
    }
}
