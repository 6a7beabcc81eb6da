//! How the server stands, as `/readyz?verbose` tells those who may read.

use serde::Serialize;

use super::code::Code;
use crate::counter::{Millis, instant};
use crate::engine::{CopyStanding, LocalTime, ModeState, Report};

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
    calendar: LocalTime,
    #[serde(flatten)]
    report: Report,
}

impl Standing {
    /// Tells what the engine reports; `copy` stands in for the store.
    pub(super) fn new(
        report: Report,
        copy: Option<CopyStanding>,
        draining: bool,
        calendar: LocalTime,
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
            calendar,
            report,
        }
    }
}
