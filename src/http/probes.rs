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
use super::read;
use super::stale;
use super::wire::{self, no_store};
use crate::counter::rfc3339;
use crate::export::postgres::ExportReport;
use crate::fallback::{NoCopy, Standing};
use crate::metrics;
use crate::mirror::MirrorReport;
use crate::writer::ModeState;

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
    let state = shared.mode.state();
    let stand_in = match shared.without_store() {
        Some(fallback) => Some(fallback.standing().await),
        None => None,
    };
    let problem = match state {
        _ if call.worker.is_ending() => Some(Problem::new(
            Code::ShuttingDown,
            "the server is ending; send requests elsewhere",
        )),
        ModeState::ReadOnly { .. } if of_writes => shared.check_mode().err(),
        // Without a store, and without a copy, there is nothing to be read.
        ModeState::ReadOnly { .. } => stand_in
            .and_then(Result::err)
            .map(|NoCopy| stale::no_copy(call)),
        ModeState::Normal => None,
    };
    // What is behind it is for those who may read.
    let tokens = call.worker.options.tokens.load();
    let may_see = || tokens.check(Access::Read, asked.headers, None).is_ok();
    let details = if is_verbose && may_see() {
        verbose(call, state, stand_in.and_then(Result::ok))
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

/// The mode, its cause, since when, what brings it back, and what lags.
fn verbose(call: &Call, state: ModeState, stand_in: Option<Standing>) -> Members {
    let shared = &call.worker.shared;
    let look = shared.day.look();
    // Without a store there is no history of its own.
    let there = shared.without_store().is_none();
    let (mode, cause, since, remedy) = match state {
        ModeState::Normal => ("normal", None, None, None),
        ModeState::ReadOnly { cause, since } => (
            "read_only",
            Some(cause.as_str()),
            Some(rfc3339(since)),
            Some(cause.remedy()),
        ),
    };
    let lags = Members::default()
        .with("queued_operations", shared.intake.depth())
        .with("clock_behind_ms", shared.day.behind_ms());
    let lags = match &shared.export {
        Some(status) => lags.with_json("postgres", export(&status.report(shared.table.revision()))),
        None => lags,
    };
    let lags = match &shared.mirror {
        Some(status) => lags.with_json("redis", mirror(&status.report(shared.table.revision()))),
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
    let rotten: Vec<_> = shared
        .reader
        .rot()
        .tables()
        .iter()
        .map(ToString::to_string)
        .collect();
    members
        .with("draining", call.worker.is_ending())
        .with("day", look.day.to_string())
        .with("epoch", there.then(|| shared.table.epoch()))
        .with("revision", there.then(|| shared.table.revision()))
        .with("rotten_tables", rotten)
        .with_json("lags", lags.to_json())
}

/// What PostgreSQL does not have yet, and why.
fn export(report: &ExportReport) -> String {
    let ExportReport {
        up,
        error,
        revisions,
        seconds,
        days_waiting,
        set_aside,
    } = report;
    Members::default()
        .with("up", *up)
        .with("error", error.clone())
        .with("revisions", *revisions)
        .with("seconds", (seconds * 10.0).round() / 10.0)
        .with("days", *days_waiting)
        .with("rows_set_aside", *set_aside)
        .to_json()
}

/// What the mirror in Redis does not have yet, and why.
fn mirror(report: &MirrorReport) -> String {
    let MirrorReport {
        up,
        error,
        since,
        revisions,
        seconds,
    } = report;
    Members::default()
        .with("up", *up)
        .with("error", error.clone())
        .with("since", since.map(rfc3339))
        .with("revisions", *revisions)
        .with("seconds", (seconds * 10.0).round() / 10.0)
        .to_json()
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
    let is_there = shared.without_store().is_none();
    let readings = shared.table.read_many(&call.worker.options.configured);
    let moment = shared.day.moment();
    for (name, reading) in call.worker.options.configured.iter().zip(readings) {
        let seen = reading.and_then(|reading| read::seen(call, &reading, &moment).ok());
        let value = seen.filter(|_| is_there).map(|seen| seen.value);
        shared.metrics.state.set_value(name.as_str(), value);
    }
}
