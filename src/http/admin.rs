//! Administrative calls: reset, adjust, define, delete. Each authorized call writes one audit line, also when it
//! is refused or the client leaves early.

use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::auth::Access;
use super::call::{Answered, Asked, Call};
use super::error::{Code, Problem};
use super::parse;
use super::query;
use super::wire::{self, mark_replayed};
use crate::counter::{Adjustment, CounterName, Definition, Outcome};
use crate::engine::{Answer, Command, Failure, IdempotencyKey, Request};

/// Longest reason, in bytes.
const MAX_REASON: usize = 1000;

/// The token in the body of a reset, whatever else is there.
#[derive(Deserialize)]
struct TokenInBody {
    admin_token: Option<String>,
}

/// `{"admin_token":…}`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResetBody {
    #[serde(rename = "admin_token")]
    _admin_token: Option<String>,
}

/// `{"value":…,"delta":…,"reason":…}`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct AdjustBody {
    value: Option<i64>,
    delta: Option<i64>,
    reason: Option<String>,
}

/// `POST /api/v1/counter/{name}/reset`
pub(super) async fn reset(call: &Call, asked: &Asked<'_>) -> Answered {
    // A body that cannot be parsed carries no token; what is wrong with it is said to those who have
    // one.
    let token = serde_json::from_slice(&asked.body)
        .ok()
        .and_then(|TokenInBody { admin_token }| admin_token);
    call.check_token(Access::Admin, asked.headers, token.as_deref())?;
    query::check(asked.uri, asked.endpoint)?;
    parse::object::<ResetBody>(&asked.body)?;
    let key = asked.key(|request| request)?;
    run(call, asked, key, "", |counter| Command::Reset { counter }).await
}

/// `POST /api/v1/counter/{name}/adjust`
pub(super) async fn adjust(call: &Call, asked: &Asked<'_>) -> Answered {
    let body: AdjustBody = parse::object(&asked.body)?;
    let adjustment = match (body.value, body.delta) {
        (Some(value), None) => Adjustment::To(value),
        (None, Some(delta)) => Adjustment::By(delta),
        (Some(_), Some(_)) | (None, None) => {
            let detail = "send exactly one of `value` and `delta`";
            return Err(Problem::new(Code::InvalidAdjustment, detail));
        }
    };
    let reason = body.reason.unwrap_or_default();
    if reason.trim().is_empty() || reason.len() > MAX_REASON || reason.chars().any(char::is_control)
    {
        let detail = "send a `reason` of 1 to 1000 bytes without control characters";
        return Err(Problem::new(Code::InvalidAdjustment, detail));
    }
    let key = asked.key(|request| request.adjust(adjustment, &reason))?;
    let command = |counter| Command::Adjust {
        counter,
        adjustment,
        reason: reason.as_str().into(),
    };
    run(call, asked, key, &reason, command).await
}

/// `PUT /api/v1/counter/{name}`
pub(super) async fn define(call: &Call, asked: &Asked<'_>) -> Answered {
    let definition = Box::new(definition(&asked.body)?);
    let key = asked.key(|request| request.define(&definition))?;
    let command = |counter| Command::Define {
        counter,
        definition,
    };
    run(call, asked, key, "", command).await
}

/// `DELETE /api/v1/counter/{name}`
pub(super) async fn delete(call: &Call, asked: &Asked<'_>) -> Answered {
    let key = asked.key(|request| request)?;
    run(call, asked, key, "", |counter| Command::Delete { counter }).await
}

fn definition(body: &[u8]) -> Result<Definition, Problem> {
    let definition: Definition = parse::object(body)?;
    match definition.complete() {
        Ok(complete) => Ok(complete),
        Err(fault) => Err(Problem::new(Code::InvalidDefinition, fault.to_string())),
    }
}

/// Has the writer do it, writes the audit line and answers, in a task of its own: a client that
/// leaves takes nothing of it along.
async fn run(
    call: &Call,
    asked: &Asked<'_>,
    key: Option<Box<IdempotencyKey>>,
    reason: &str,
    command: impl FnOnce(CounterName) -> Command,
) -> Answered {
    let counter = parse::name(asked.name)?;
    call.check_counted(&counter)?;
    call.worker.shared.check_mode()?;
    let request = Request {
        command: command(counter.clone()),
        key,
        request_id: call.request_id.clone(),
    };
    let (own, reason) = (call.clone(), reason.to_owned());
    let action = asked.endpoint.route.as_str();
    let work = async move {
        let answer = own.worker.port.submit(request).await.map_err(Problem::from);
        audit(&own, action, &reason, &counter, &answer);
        respond(&own, &counter, &answer?)
    };
    // A task that did not end well says nothing of the change.
    let done = call.worker.detach(work).await;
    done.unwrap_or_else(|| Err(Failure::OutcomeUnknown.into()))
}

/// What is answered of an action that was done.
#[derive(Serialize)]
struct Done<'a> {
    success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(flatten)]
    outcome: &'a Outcome,
}

fn respond(call: &Call, counter: &CounterName, answer: &Answer) -> Answered {
    let (status, name) = match &answer.outcome {
        Outcome::Set { .. } | Outcome::Deleted { .. } => (StatusCode::OK, None),
        Outcome::Defined { started: false, .. } => (StatusCode::OK, Some(counter.as_str())),
        Outcome::Defined { started: true, .. } => (StatusCode::CREATED, Some(counter.as_str())),
        Outcome::Applied(_) | Outcome::Batch(_) | Outcome::Each(_) => {
            return Err(Failure::OutcomeUnknown.into());
        }
    };
    let done = Done {
        success: true,
        name,
        outcome: &answer.outcome,
    };
    let mut response = wire::answer(&call.request_id, &done);
    *response.status_mut() = status;
    mark_replayed(&mut response, answer.replayed);
    Ok(response)
}

/// Writes one line for an action, done or refused.
pub(super) fn audit(
    call: &Call,
    action: &'static str,
    reason: &str,
    counter: &CounterName,
    answer: &Result<Answer, Problem>,
) {
    let [before, after] = before_and_after(answer.as_ref().ok());
    let result = match answer {
        Ok(answer) if answer.replayed => "replayed",
        Ok(_) => "done",
        Err(problem) => problem.code.as_str(),
    };
    tracing::info!(
        target: "audit",
        peer = %call.client_text(),
        request_id = %call.request_id,
        action,
        counter = counter.as_str(),
        before,
        after,
        reason,
        result,
        "an administrative call"
    );
}

/// What an audit line says of a counter: a value, which stays a number in JSON, or a definition.
type Audited = Box<dyn tracing::Value>;

/// Returns what is said of the counter before and after.
fn before_and_after(answer: Option<&Answer>) -> [Audited; 2] {
    let shown = |definition: &Definition| -> Audited {
        Box::new(serde_json::to_string(definition).unwrap_or_default())
    };
    match answer.map(|answer| &answer.outcome) {
        Some(Outcome::Set {
            previous_value,
            current_value,
            ..
        }) => [Box::new(*previous_value), Box::new(*current_value)],
        Some(Outcome::Defined {
            definition,
            previous,
            ..
        }) => {
            let before = previous.as_deref().map(shown);
            [before.unwrap_or_else(|| Box::new("")), shown(definition)]
        }
        Some(Outcome::Deleted { final_value, .. }) => [Box::new(*final_value), Box::new("")],
        Some(Outcome::Applied(_) | Outcome::Batch(_) | Outcome::Each(_)) | None => {
            [Box::new(""), Box::new("")]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counter::{Kind, OnBound, Reset};

    fn read(body: &str) -> Result<Definition, Code> {
        definition(body.as_bytes()).map_err(|problem| problem.code)
    }

    #[test]
    fn a_definition_is_the_whole_of_it() {
        for body in ["", "{}", r#"{"kind":null,"min":null,"description":null}"#] {
            assert_eq!(read(body), Ok(Definition::default()), "{body}");
        }
        let full = r#"{"kind":"sum","reset":"daily","min":-5,"max":9223372036854775807,"on_bound":"clamp",
            "expires_at":"2026-12-24T18:00:00.5+01:00","description":"Xmas"}"#;
        let want = Definition {
            kind: Kind::Sum,
            reset: Reset::Daily,
            min: -5,
            max: i64::MAX,
            on_bound: OnBound::Clamp,
            expires_at: Some(1_798_131_600_500),
            description: Some("Xmas".to_owned()),
            ..Definition::default()
        };
        assert_eq!(read(full), Ok(want));
    }

    #[test]
    fn what_cannot_be_is_no_definition() {
        for bad in [
            r#"{"kind":"Gauge"}"#,
            r#"{"kind":1}"#,
            r#"{"reset":"weekly"}"#,
            r#"{"on_bound":"wrap"}"#,
            r#"{"min":1}"#,
            r#"{"max":-1}"#,
            r#"{"min":"0"}"#,
            r#"{"max":1.5}"#,
            r#"{"max":9223372036854775808}"#,
            r#"{"expires_at":"tomorrow"}"#,
            r#"{"expires_at":1798131600}"#,
            r#"{"expires_at":"2026-12-24T18:00:00"}"#,
            r#"{"description":7}"#,
            r#"{"description":"a\u0000"}"#,
        ] {
            assert_eq!(read(bad), Err(Code::InvalidDefinition), "{bad}");
        }
        assert_eq!(read(r#"{"knid":"sum"}"#), Err(Code::UnknownField));
        assert_eq!(
            read(r#"{"kind":"sum","kind":"sum"}"#),
            Err(Code::InvalidJson)
        );
        assert_eq!(read("[]"), Err(Code::InvalidJson));
    }
}
