//! Administrative calls: reset, adjust, define, delete. Each that was authorized leaves one audit
//! line, whatever came of it and whether or not the client stayed to hear.

use http::{Response, StatusCode};
use serde::{Deserialize, Deserializer, Serialize};

use super::auth::Access;
use super::call::{Asked, Call};
use super::error::{Code, Problem};
use super::fingerprint::{self, Fingerprint};
use super::notes::Notes;
use super::parse::{self, word};
use super::query;
use super::reply::ReplyBody;
use super::wire::{self, mark_replayed};
use crate::counter::{
    Adjustment, CounterName, Definition, Kind, Millis, OnBound, Outcome, Reset, parse_rfc3339,
};
use crate::engine::{Command, Failure, IdempotencyKey, Request};

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

/// The whole of a definition; what is absent takes its default.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DefinitionBody {
    #[serde(deserialize_with = "word")]
    kind: Option<Kind>,
    #[serde(deserialize_with = "word")]
    reset: Option<Reset>,
    min: Option<i64>,
    max: Option<i64>,
    #[serde(deserialize_with = "word")]
    on_bound: Option<OnBound>,
    #[serde(deserialize_with = "instant")]
    expires_at: Option<Millis>,
    description: Option<String>,
}

fn instant<'de, D: Deserializer<'de>>(json: D) -> Result<Option<Millis>, D::Error> {
    let text = Option::<String>::deserialize(json)?;
    let instant = text.map(|text| {
        let wanted = "an RFC 3339 time such as \"2026-12-24T18:00:00Z\"";
        let other = serde::de::Unexpected::Str(&text);
        parse_rfc3339(&text).ok_or_else(|| serde::de::Error::invalid_value(other, &wanted))
    });
    instant.transpose()
}

/// `POST /api/v1/counter/{name}/reset`
pub(super) async fn reset(
    call: &Call,
    asked: &Asked<'_>,
    _: &mut Notes,
) -> Result<Response<ReplyBody>, Problem> {
    // A body that cannot be parsed carries no token; what is wrong with it is said to those who have
    // one.
    let token = serde_json::from_slice(&asked.body)
        .ok()
        .and_then(|TokenInBody { admin_token }| admin_token);
    call.worker
        .options
        .tokens
        .load()
        .check(Access::Admin, asked.headers, token.as_deref())?;
    query::check(asked.uri, asked.endpoint)?;
    let code = |_: &str| Code::InvalidValue;
    parse::object::<ResetBody>(&asked.body, asked.endpoint.fields, code)?;
    let key = fingerprint::key(asked.headers)?
        .map(|key| Fingerprint::new("POST", "reset", asked.name).bind(key));
    let counter = parse::name(asked.name)?;
    let command = Command::Reset {
        counter: counter.clone(),
    };
    run(call, "reset", String::new(), &counter, command, key).await
}

/// `POST /api/v1/counter/{name}/adjust`
pub(super) async fn adjust(
    call: &Call,
    asked: &Asked<'_>,
    _: &mut Notes,
) -> Result<Response<ReplyBody>, Problem> {
    let code = |field: &str| match field {
        "reason" => Code::InvalidAdjustment,
        _ => Code::InvalidValue,
    };
    let body = parse::object(&asked.body, asked.endpoint.fields, code)?;
    let AdjustBody {
        value,
        delta,
        reason,
    } = body;
    let adjustment = match (value, delta) {
        (Some(value), None) => Adjustment::To(value),
        (None, Some(delta)) => Adjustment::By(delta),
        (Some(_), Some(_)) | (None, None) => {
            return Err(Problem::new(
                Code::InvalidAdjustment,
                "send exactly one of `value` and `delta`",
            ));
        }
    };
    let reason = reason.unwrap_or_default();
    if reason.trim().is_empty() || reason.len() > MAX_REASON || reason.chars().any(char::is_control)
    {
        let detail = "send a `reason` of 1 to 1000 bytes without control characters";
        return Err(Problem::new(Code::InvalidAdjustment, detail));
    }
    let key = fingerprint::key(asked.headers)?.map(|key| {
        Fingerprint::new("POST", "adjust", asked.name)
            .adjust(adjustment, &reason)
            .bind(key)
    });
    let counter = parse::name(asked.name)?;
    let command = Command::Adjust {
        counter: counter.clone(),
        adjustment,
        reason: reason.as_str().into(),
    };
    run(call, "adjust", reason, &counter, command, key).await
}

/// `PUT /api/v1/counter/{name}`
pub(super) async fn define(
    call: &Call,
    asked: &Asked<'_>,
    _: &mut Notes,
) -> Result<Response<ReplyBody>, Problem> {
    let definition = Box::new(definition(&asked.body, asked.endpoint.fields)?);
    let key = fingerprint::key(asked.headers)?.map(|key| {
        Fingerprint::new("PUT", "define", asked.name)
            .define(&definition)
            .bind(key)
    });
    let counter = parse::name(asked.name)?;
    let command = Command::Define {
        counter: counter.clone(),
        definition,
    };
    run(call, "define", String::new(), &counter, command, key).await
}

/// `DELETE /api/v1/counter/{name}`
pub(super) async fn delete(
    call: &Call,
    asked: &Asked<'_>,
    _: &mut Notes,
) -> Result<Response<ReplyBody>, Problem> {
    let key = fingerprint::key(asked.headers)?
        .map(|key| Fingerprint::new("DELETE", "delete", asked.name).bind(key));
    let counter = parse::name(asked.name)?;
    let command = Command::Delete {
        counter: counter.clone(),
    };
    run(call, "delete", String::new(), &counter, command, key).await
}

fn definition(body: &[u8], fields: &[&'static str]) -> Result<Definition, Problem> {
    const CODE: Code = Code::InvalidDefinition;
    let default = Definition::default();
    let body: DefinitionBody = parse::object(body, fields, |_| CODE)?;
    let definition = Definition {
        kind: body.kind.unwrap_or(default.kind),
        reset: body.reset.unwrap_or(default.reset),
        min: body.min.unwrap_or(default.min),
        max: body.max.unwrap_or(default.max),
        on_bound: body.on_bound.unwrap_or(default.on_bound),
        expires_at: body.expires_at,
        description: body.description,
    };
    definition
        .check()
        .map_err(|fault| Problem::new(CODE, fault.to_string()))?;
    Ok(definition)
}

/// Has the writer do it, writes the audit line and answers, in a task of its own: a client that
/// leaves takes nothing of it along.
async fn run(
    call: &Call,
    action: &'static str,
    reason: String,
    counter: &CounterName,
    command: Command,
    key: Option<Box<IdempotencyKey>>,
) -> Result<Response<ReplyBody>, Problem> {
    call.worker.shared.check_mode()?;
    let (own, counter) = (call.clone(), counter.clone());
    let work = async move {
        let request = Request {
            command,
            key,
            request_id: own.request_id.clone(),
        };
        let answer = own.worker.port.submit(request).await.map_err(Problem::from);
        audit(&own, action, &reason, &counter, &answer);
        let answer = answer?;
        respond(&own, &counter, &answer)
    };
    // A task that did not end well says nothing of the change.
    let done = call.worker.detach(work).await;
    done.unwrap_or_else(|| Err(Failure::OutcomeUnknown.into()))
}

/// What is answered of an action that was done.
#[derive(Serialize)]
#[serde(untagged)]
enum Done<'a> {
    Set {
        success: bool,
        current_value: i64,
        previous_value: i64,
        revision: u64,
        period: Option<String>,
    },
    Defined {
        success: bool,
        name: &'a str,
        definition: &'a Definition,
        revision: u64,
    },
    Deleted {
        success: bool,
        final_value: i64,
        revision: u64,
    },
}

fn respond(
    call: &Call,
    counter: &CounterName,
    answer: &crate::engine::Answer,
) -> Result<Response<ReplyBody>, Problem> {
    let success = true;
    let mut status = StatusCode::OK;
    let done = match &answer.outcome {
        Outcome::Set {
            previous_value,
            current_value,
            revision,
            period,
        } => Done::Set {
            success,
            current_value: *current_value,
            previous_value: *previous_value,
            revision: *revision,
            period: period.map(|day| day.to_string()),
        },
        Outcome::Defined {
            definition,
            started,
            revision,
            previous: _,
        } => {
            if *started {
                status = StatusCode::CREATED;
            }
            Done::Defined {
                success,
                name: counter.as_str(),
                definition,
                revision: *revision,
            }
        }
        Outcome::Deleted {
            final_value,
            revision,
        } => Done::Deleted {
            success,
            final_value: *final_value,
            revision: *revision,
        },
        Outcome::Applied(_) | Outcome::Batch(_) | Outcome::Each(_) => {
            return Err(Failure::OutcomeUnknown.into());
        }
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
    answer: &Result<crate::engine::Answer, Problem>,
) {
    let (result, before, after) = match answer {
        Ok(answer) => {
            let (before, after) = before_and_after(&answer.outcome);
            let result = if answer.replayed { "replayed" } else { "done" };
            (result, before, after)
        }
        Err(problem) => (problem.code.as_str(), Audited::Nothing, Audited::Nothing),
    };
    let (before, after) = (before.as_field(), after.as_field());
    tracing::info!(
        target: "audit",
        peer = %call.connection.peer,
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

/// What an audit line says of a counter: a number stays one in JSON.
enum Audited {
    Nothing,
    Value(i64),
    Definition(String),
}

impl Audited {
    fn of(definition: &Definition) -> Self {
        Self::Definition(serde_json::to_string(definition).unwrap_or_default())
    }

    fn as_field(&self) -> &dyn tracing::Value {
        match self {
            Self::Nothing => &"",
            Self::Value(value) => value,
            Self::Definition(text) => text,
        }
    }
}

/// The counter before and after.
fn before_and_after(outcome: &Outcome) -> (Audited, Audited) {
    match outcome {
        Outcome::Set {
            previous_value,
            current_value,
            ..
        } => (
            Audited::Value(*previous_value),
            Audited::Value(*current_value),
        ),
        Outcome::Defined {
            definition,
            previous,
            ..
        } => (
            previous.as_deref().map_or(Audited::Nothing, Audited::of),
            Audited::of(definition),
        ),
        Outcome::Deleted { final_value, .. } => (Audited::Value(*final_value), Audited::Nothing),
        Outcome::Applied(_) | Outcome::Batch(_) | Outcome::Each(_) => {
            (Audited::Nothing, Audited::Nothing)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::contract;
    use crate::metrics::Route;

    fn read(body: &str) -> Result<Definition, Code> {
        let fields = contract::endpoint(Route::Define).unwrap().fields;
        definition(body.as_bytes(), fields).map_err(|problem| problem.code)
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
