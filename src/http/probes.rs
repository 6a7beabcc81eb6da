//! The pages at the root: whether the server lives, whether it is ready, and its metrics.

use http::header::{ACCEPT, CONTENT_TYPE, VARY};
use http::{HeaderValue, Response};
use serde::Serialize;

use super::auth::Access;
use super::call::{Answered, Asked, Call};
use super::error::{Code, Extras, Problem};
use super::query;
use super::read::no_copy;
use super::reply::ReplyBody;
use super::standing::Standing;
use super::wire::{self, no_store};
use crate::counter::Millis;
use crate::engine::{ModeState, NoCopy};
use crate::metrics::PageFormat;

/// What a probe is told when all is well.
#[derive(Serialize)]
struct Well {
    status: &'static str,
    #[serde(flatten)]
    standing: Option<Box<Standing>>,
}

/// `GET /livez`: 200 while the process works.
pub(super) async fn livez(call: &Call, _: &Asked<'_>) -> Answered {
    Ok(well(call, None))
}

/// `GET /readyz?verbose&writes`: 200 while reads are served, and with `writes` while writes are.
pub(super) async fn readyz(call: &Call, asked: &Asked<'_>) -> Answered {
    let parameters = query::read(asked.uri, ["verbose", "writes"])?;
    let [is_verbose, of_writes] =
        parameters.map(|value| value.is_some_and(|value| !matches!(value.as_str(), "0" | "false")));
    let shared = &call.worker.shared;
    let report = shared.engine.report(&shared.metrics.export);
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
    let may_see = || call.check_token(Access::Read, asked.headers, None).is_ok();
    let standing = (is_verbose && may_see()).then(|| {
        let (copy, draining) = (stand_in.and_then(Result::ok), call.worker.is_ending());
        let calendar = shared.engine.local_time();
        Box::new(Standing::new(report, copy, draining, calendar))
    });
    match (problem, standing) {
        (None, standing) => Ok(well(call, standing)),
        (Some(problem), None) => Err(problem),
        (Some(problem), Some(standing)) => Err(problem.with(Extras::Standing(standing))),
    }
}

fn well(call: &Call, standing: Option<Box<Standing>>) -> Response<ReplyBody> {
    let status = "ok";
    no_store(wire::answer(&call.request_id, &Well { status, standing }))
}

/// Says that writes wait, and for how many milliseconds they have.
fn slow_disk(waited: Millis) -> Problem {
    let detail = format!(
        "writes have waited {} s for the disk (cause `slow_disk`); none is refused, and reads are served",
        waited / 1000
    );
    let cause = Code::SlowDisk.as_str();
    Problem::new(Code::SlowDisk, detail).with(Extras::Cause { cause })
}

/// `GET /metrics`: OpenMetrics text, or the older text format for those who ask for it. Names of counters that are not
/// in the configuration, and their values, are for those who may read.
pub(super) async fn metrics(call: &Call, asked: &Asked<'_>) -> Answered {
    let accept = asked.headers.get_all(ACCEPT).iter();
    let format = PageFormat::wanted(accept.filter_map(|accept| accept.to_str().ok()));
    let shared = &call.worker.shared;
    let may_read = call.check_token(Access::Read, asked.headers, None).is_ok();
    let most = if may_read {
        call.worker.options.shown_counters
    } else {
        0
    };
    let live = u64::try_from(shared.metrics.state.live_counters.get()).unwrap_or(0);
    let values = shared.engine.shown_values(most, live);
    let mut text = String::with_capacity(32 * 1024);
    if let Err(error) = shared.metrics.encode(&mut text, format, values) {
        tracing::error!(%error, "the metrics could not be written");
    }
    let mut reply = wire::Reply::new(&call.request_id, text.len() + 16);
    reply.body().extend_from_slice(text.as_bytes());
    let mut response = no_store(reply.finish(http::HeaderMap::new()));
    let headers = response.headers_mut();
    let content_type = HeaderValue::from_static(format.content_type());
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    Ok(response)
}
