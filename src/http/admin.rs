//! Administrative calls: reset, adjust, define, delete. Each that was authorized leaves one audit
//! line, whatever came of it and whether or not the client stayed to hear.

use http::{Response, StatusCode};

use super::auth::Access;
use super::body::ReplyBody;
use super::call::{Asked, Call};
use super::error::{Code, Problem};
use super::fingerprint::{self, Fingerprint};
use super::json::Members;
use super::notes::Notes;
use super::parse::{self, Object};
use super::query;
use super::wire::{self, mark_replayed};
use crate::counter::{
    Adjustment, CounterName, Definition, Kind, OnBound, Outcome, Reset, parse_rfc3339,
};
use crate::engine::{Command, Failure, IdempotencyKey, Request};

/// Longest reason, in bytes.
const MAX_REASON: usize = 1000;

/// `POST /api/v1/counter/{name}/reset`
pub(super) async fn reset(
    call: &Call,
    asked: &Asked<'_>,
    _: &mut Notes,
) -> Result<Response<ReplyBody>, Problem> {
    // A body that cannot be parsed carries no token; what is wrong with it is said to those who have
    // one.
    let object = Object::parse(&asked.body);
    let token = object
        .as_ref()
        .ok()
        .map(|object| object.text("admin_token", Code::InvalidValue));
    let given = token
        .as_ref()
        .and_then(|token| token.as_ref().ok()?.as_deref());
    call.worker
        .options
        .tokens
        .load()
        .check(Access::Admin, asked.headers, given)?;
    query::check(asked.uri, asked.endpoint)?;
    object?.only(asked.endpoint.fields)?;
    token.transpose()?;
    let key = fingerprint::key(asked.headers)?
        .map(|key| Fingerprint::new("POST", "reset", asked.name).bind(key));
    let counter = parse::name(asked.name)?;
    run(
        call,
        "reset",
        String::new(),
        &counter,
        Command::Reset {
            counter: counter.clone(),
        },
        key,
    )
    .await
}

/// `POST /api/v1/counter/{name}/adjust`
pub(super) async fn adjust(
    call: &Call,
    asked: &Asked<'_>,
    _: &mut Notes,
) -> Result<Response<ReplyBody>, Problem> {
    let object = Object::parse(&asked.body)?;
    object.only(asked.endpoint.fields)?;
    let value = object.integer("value", Code::InvalidValue)?;
    let delta = object.integer("delta", Code::InvalidValue)?;
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
    let reason = object
        .text("reason", Code::InvalidAdjustment)?
        .unwrap_or_default();
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
    let object = Object::parse(&asked.body)?;
    object.only(asked.endpoint.fields)?;
    let definition = Box::new(definition(&object)?);
    let key = fingerprint::key(asked.headers)?.map(|key| {
        Fingerprint::new("PUT", "define", asked.name)
            .define(&definition)
            .bind(key)
    });
    let counter = parse::name(asked.name)?;
    run(
        call,
        "define",
        String::new(),
        &counter,
        Command::Define {
            counter: counter.clone(),
            definition,
        },
        key,
    )
    .await
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
    run(
        call,
        "delete",
        String::new(),
        &counter,
        Command::Delete {
            counter: counter.clone(),
        },
        key,
    )
    .await
}

/// Reads the whole of a definition; what is absent takes its default.
fn definition(object: &Object<'_>) -> Result<Definition, Problem> {
    const CODE: Code = Code::InvalidDefinition;
    let default = Definition::default();
    let expires_at = object.text("expires_at", CODE)?.map(|text| {
        let detail = "`expires_at` must be an RFC 3339 time such as \"2026-12-24T18:00:00Z\"";
        parse_rfc3339(&text).ok_or_else(|| Problem::new(CODE, detail))
    });
    let definition = Definition {
        kind: object
            .word("kind", &Kind::ALL, Kind::as_str, CODE)?
            .unwrap_or(default.kind),
        reset: object
            .word("reset", &[Reset::Never, Reset::Daily], Reset::as_str, CODE)?
            .unwrap_or(default.reset),
        min: object.integer("min", CODE)?.unwrap_or(default.min),
        max: object.integer("max", CODE)?.unwrap_or(default.max),
        on_bound: object
            .word(
                "on_bound",
                &[OnBound::Refuse, OnBound::Clamp],
                OnBound::as_str,
                CODE,
            )?
            .unwrap_or(default.on_bound),
        expires_at: expires_at.transpose()?,
        description: object.text("description", CODE)?,
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
        respond(&own, &counter, answer)
    };
    // A task that did not end well says nothing of the change.
    let done = call.worker.detach(work).await;
    done.unwrap_or_else(|| Err(Failure::OutcomeUnknown.into()))
}

fn respond(
    call: &Call,
    counter: &CounterName,
    answer: crate::engine::Answer,
) -> Result<Response<ReplyBody>, Problem> {
    let done = Members::default().with("success", true);
    let (status, body) = match answer.outcome {
        Outcome::Set {
            previous_value,
            current_value,
            revision,
            period,
        } => {
            let body = done
                .with("current_value", current_value)
                .with("previous_value", previous_value)
                .with("revision", revision)
                .with("period", period.map(|day| day.to_string()));
            (StatusCode::OK, body)
        }
        Outcome::Defined {
            definition,
            started,
            revision,
            previous: _,
        } => {
            let body = done
                .with("name", counter.as_str())
                .with_json("definition", wire::definition(&definition).to_json())
                .with("revision", revision);
            let status = if started {
                StatusCode::CREATED
            } else {
                StatusCode::OK
            };
            (status, body)
        }
        Outcome::Deleted {
            final_value,
            revision,
        } => {
            let body = done
                .with("final_value", final_value)
                .with("revision", revision);
            (StatusCode::OK, body)
        }
        Outcome::Applied(_) | Outcome::Batch(_) | Outcome::Each(_) => {
            return Err(Failure::OutcomeUnknown.into());
        }
    };
    let mut response = wire::answer(&call.request_id, &body);
    *response.status_mut() = status;
    mark_replayed(&mut response, answer.replayed);
    Ok(response)
}

/// One line for each action, done or refused.
fn audit(
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
        Self::Definition(wire::definition(definition).to_json())
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
        let object = Object::parse(body.as_bytes()).map_err(|problem| problem.code)?;
        let fields = contract::endpoint(Route::Define).unwrap().fields;
        object.only(fields).map_err(|problem| problem.code)?;
        definition(&object).map_err(|problem| problem.code)
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
