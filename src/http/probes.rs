//! The pages at the root: whether the server lives, whether it is ready, and its metrics.

use http::header::{ACCEPT, CONTENT_TYPE, VARY};
use http::{HeaderValue, Response};

use super::auth::Access;
use super::body::ReplyBody;
use super::call::{Asked, Call};
use super::error::{Code, Problem};
use super::json::Members;
use super::notes::Notes;
use super::query;
use super::read::{self, no_copy};
use super::wire::{self, no_store};
use crate::counter::{Millis, rfc3339};
use crate::engine::{ModeState, NoCopy, Report, RoundReport, Standing};
use crate::metrics;

/// `GET /livez`: 200 while the process works.
pub(super) async fn livez(
    call: &Call,
    _: &Asked<'_>,
    _: &mut Notes,
) -> Result<Response<ReplyBody>, Problem> {
    Ok(no_store(wire::answer(
        &call.request_id,
        &Members::default().with("status", "ok"),
    )))
}

/// `GET /readyz?verbose&writes`: 200 while reads are served, and with `writes` while writes are.
pub(super) async fn readyz(
    call: &Call,
    asked: &Asked<'_>,
    _: &mut Notes,
) -> Result<Response<ReplyBody>, Problem> {
    let parameters = query::read(asked.uri, ["verbose", "writes"])?;
    let [is_verbose, of_writes] =
        parameters.map(|value| value.is_some_and(|value| !matches!(value.as_str(), "0" | "false")));
    let shared = &call.worker.shared;
    let report = shared.engine.report();
    let state = report.state;
    let stand_in = shared.engine.stand_in().await;
    let problem = match state {
        _ if call.worker.is_ending() => Some(Problem::new(
            Code::ShuttingDown,
            "the server is ending; send requests elsewhere",
        )),
        ModeState::ReadOnly { .. } if of_writes => shared.check_mode().err(),
        // Without a store, and without a copy, there is nothing to be read.
        ModeState::ReadOnly { .. } => stand_in.and_then(Result::err).map(|NoCopy| no_copy(call)),
        ModeState::Normal if of_writes => report.slow_disk.map(|(_, waited)| slow_disk(waited)),
        ModeState::Normal => None,
    };
    // What is behind it is for those who may read.
    let tokens = call.worker.options.tokens.load();
    let may_see = || tokens.check(Access::Read, asked.headers, None).is_ok();
    let details = if is_verbose && may_see() {
        verbose(call, &report, stand_in.and_then(Result::ok))
    } else {
        Members::default()
    };
    match problem {
        Some(mut problem) => {
            problem.extras = details.with_all(problem.extras);
            Err(problem)
        }
        None => {
            let body = Members::default().with("status", "ok").with_all(details);
            Ok(no_store(wire::answer(&call.request_id, &body)))
        }
    }
}

/// Says that writes wait, and for how many milliseconds they have.
fn slow_disk(waited: Millis) -> Problem {
    let detail = format!(
        "writes have waited {} s for the disk (cause `slow_disk`); none is refused, and reads are served",
        waited / 1000
    );
    Problem::new(Code::SlowDisk, detail).with("cause", Code::SlowDisk.as_str())
}

/// The mode, its cause, since when, what brings it back, and what lags.
fn verbose(call: &Call, report: &Report, stand_in: Option<Standing>) -> Members {
    let (mode, cause, since, remedy) = match (report.state, report.slow_disk) {
        (ModeState::Normal, None) => ("normal", None, None, None),
        (ModeState::Normal, Some((since, _))) => (
            "normal",
            Some(Code::SlowDisk.as_str()),
            Some(rfc3339(since)),
            Some("writes wait and are answered once the disk answers; see what holds it up"),
        ),
        (ModeState::ReadOnly { cause, since }, _) => (
            "read_only",
            Some(cause.as_str()),
            Some(rfc3339(since)),
            Some(cause.remedy()),
        ),
    };
    let lags = Members::default()
        .with("queued_operations", report.queued)
        .with("clock_behind_ms", report.clock_behind_ms);
    let lags = match &report.export {
        Some(report) => {
            let export = &call.worker.shared.metrics.export;
            let lag = lag(report)
                .with("days", export.days_waiting.get())
                .with("rows_set_aside", export.set_aside.get());
            lags.with_json("postgres", lag.to_json())
        }
        None => lags,
    };
    let lags = match &report.mirror {
        Some(report) => lags.with_json("redis", lag(report).to_json()),
        None => lags,
    };
    let members = Members::default()
        .with("mode", mode)
        .with("cause", cause)
        .with("since", since)
        .with("remedy", remedy);
    let members = match stand_in {
        Some(Standing { source, as_of }) => members
            .with("source", source.as_str())
            .with("as_of", as_of.map(rfc3339)),
        None => members,
    };
    members
        .with("draining", call.worker.is_ending())
        .with("day", report.day.to_string())
        .with("epoch", report.history.map(|(epoch, _)| epoch))
        .with("revision", report.history.map(|(_, revision)| revision))
        .with("rotten_tables", report.rotten_tables.clone())
        .with_json("lags", lags.to_json())
}

/// What a copy does not have yet, and why.
fn lag(report: &RoundReport) -> Members {
    Members::default()
        .with("up", report.up)
        .with("error", report.error.clone())
        .with("since", report.since.map(rfc3339))
        .with("revisions", report.revisions)
        .with("seconds", (report.seconds * 10.0).round() / 10.0)
}

/// `GET /metrics`: OpenMetrics text, or the older text format for those who ask for it.
pub(super) async fn metrics(
    call: &Call,
    asked: &Asked<'_>,
    _: &mut Notes,
) -> Result<Response<ReplyBody>, Problem> {
    tell_values(call);
    let mut text = String::with_capacity(32 * 1024);
    if let Err(error) = call.worker.shared.metrics.encode(&mut text) {
        tracing::error!(%error, "the metrics could not be written");
    }
    let accept = asked.headers.get(ACCEPT);
    let accept = accept.and_then(|accept| accept.to_str().ok()).unwrap_or("");
    let content_type = if metrics::wants_text(accept) {
        text = metrics::to_text(&text);
        metrics::TEXT_CONTENT_TYPE
    } else {
        metrics::CONTENT_TYPE
    };
    let mut reply = wire::Answer::new(&call.request_id, text.len() + 16);
    reply.body().extend_from_slice(text.as_bytes());
    let mut response = no_store(reply.finish(http::HeaderMap::new()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    Ok(response)
}

/// Tells the metrics what the counters of the configuration say now.
fn tell_values(call: &Call) {
    let shared = &call.worker.shared;
    let configured = &call.worker.options.configured;
    let mut found = shared.engine.read_store(configured).into_iter().flatten();
    for name in configured {
        let value = found.next().flatten();
        let seen = value.and_then(|value| read::counting(&value).ok());
        let state = &shared.metrics.state;
        state.set_value(name.as_str(), seen.map(|seen| seen.value));
    }
}
