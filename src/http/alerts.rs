//! Alerts: how they stand, and silences of them.

use serde::{Deserialize, Serialize};

use super::call::{Answered, Asked, Call};
use super::error::{Code, Problem};
use super::{parse, wire};
use crate::counter::{Millis, instant};
use crate::engine::{Failure, Silence, SilenceFault, SilenceWanted};

/// `{"counters":[…],"until":…,"reason":…}`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SilenceBody {
    counters: Option<Vec<String>>,
    #[serde(default, with = "instant")]
    until: Option<Millis>,
    reason: Option<String>,
}

/// What is answered of a silence.
#[derive(Serialize)]
struct Silenced<'a> {
    success: bool,
    silence: &'a Silence,
}

/// `GET /api/v1/alerts`
pub(super) async fn list(call: &Call, _: &Asked<'_>) -> Answered {
    let shown = call.worker.shared.engine.alerts();
    Ok(wire::answer(&call.request_id, &shown))
}

/// `POST /api/v1/alerts/silence`
pub(super) async fn silence(call: &Call, asked: &Asked<'_>) -> Answered {
    let body: SilenceBody = parse::object(&asked.body).map_err(in_silence)?;
    if asked.headers.contains_key("idempotency-key") {
        let detail =
            "this call takes no `Idempotency-Key`: the same silence again replaces the first";
        return Err(Problem::new(Code::InvalidIdempotencyKey, detail));
    }
    call.worker.shared.check_mode()?;
    let wanted = SilenceWanted {
        counters: body.counters.unwrap_or_default(),
        until: body.until,
        reason: body.reason,
    };
    // A client that leaves takes nothing of it along.
    let done = call.worker.detach(store(call.clone(), wanted)).await;
    let silence = done.flatten().ok_or(Failure::OutcomeUnknown)??;
    let body = Silenced {
        success: true,
        silence: &silence,
    };
    Ok(wire::answer(&call.request_id, &body))
}

/// A field of another type is refused as the silence is, whatever it is called elsewhere.
fn in_silence(mut problem: Problem) -> Problem {
    if !matches!(problem.code, Code::InvalidJson | Code::UnknownField) {
        problem.code = Code::InvalidSilence;
    }
    problem
}

/// Has the silence stored, and writes the audit line; `None` when the runtime ends.
async fn store(call: Call, wanted: SilenceWanted) -> Option<Result<Silence, Problem>> {
    let engine = call.worker.shared.engine.clone();
    let (counters, until) = (wanted.counters.join(","), wanted.until);
    let reason = wanted.reason.clone();
    let stored = tokio::task::spawn_blocking(move || engine.silence(wanted)).await;
    let stored = match stored.ok()? {
        Ok(Ok(silence)) => Ok(silence),
        Ok(Err(fault @ SilenceFault::Invalid(_))) => {
            Err(Problem::new(Code::InvalidSilence, fault.to_string()))
        }
        Ok(Err(fault @ SilenceFault::TooMany)) => {
            Err(Problem::new(Code::TooManySilences, fault.to_string()))
        }
        Err(failure) => Err(Problem::from(failure)),
    };
    let result = stored
        .as_ref()
        .map_or_else(|problem| problem.code.as_str(), |_| "done");
    tracing::info!(
        target: "audit",
        peer = %call.client_text(),
        request_id = %call.request_id,
        action = "silence",
        counters,
        until = until.map(crate::counter::rfc3339),
        reason,
        result,
        "an administrative call"
    );
    Some(stored)
}
