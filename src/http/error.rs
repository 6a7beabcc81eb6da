//! An error on its way to a client: the answer that carries a code.
//!
//! An error is `application/problem+json` (RFC 9457). Nothing of a request that an error answers was
//! counted, with one exception: [`Code::OutcomeUnknown`].

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, SEC_WEBSOCKET_VERSION,
    UPGRADE, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde::Serialize;

pub(super) use super::code::Code;
use super::json::push_json;
use super::reply::{self, ReplyBody};
use super::request_id::{REQUEST_ID, header_value};
use super::standing::Standing;
use crate::counter::{Kind, MAX_WEIGHT, Millis, Refusal, RequestId, Reset, rfc3339};
use crate::engine::{Cause, Failure};

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The longest `Retry-After` of an outage, in seconds: a service that is back is to be used again.
const LONGEST_RETRY_AFTER: u64 = 30;

/// Further members of an error's answer, by what the error is about.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Extras {
    None {},
    Index { index: usize },
    Name { name: String },
    Cause { cause: &'static str },
    Kind { kind: Kind },
    Definition { kind: Kind, reset: Reset },
    Below { current: i64, minimum: i64 },
    Above { current: i64, maximum: i64 },
    Gone { final_value: i64, at: String },
    Batch { errors: Vec<Part> },
    Limited(Box<Limited>),
    Standing(Box<Standing>),
}

/// What is said of a limit of a rate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Limited {
    /// Which limit it is.
    pub(super) limit: &'static str,
    /// Whether it is the address that asks too often, rather than a user.
    #[serde(skip)]
    pub(super) of_address: bool,
    /// The value of `RateLimit-Policy`.
    #[serde(skip)]
    pub(super) policy: String,
    /// The value of `RateLimit`.
    #[serde(skip)]
    pub(super) state: String,
    /// The operations of a batch for whose users it was too much.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) errors: Vec<Part>,
}

/// What is said of one operation of a batch that was refused.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Part {
    /// Its place in the batch, where only those are listed that were refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u32>,
    /// `false`, where accepted operations are listed too.
    #[serde(skip_serializing_if = "Option::is_none")]
    counted: Option<bool>,
    code: &'static str,
    detail: Cow<'static, str>,
    #[serde(flatten)]
    extras: Extras,
}

/// The body of an error's answer.
#[derive(Serialize)]
struct Body<'a> {
    success: bool,
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    code: &'static str,
    request_id: String,
    #[serde(flatten)]
    extras: &'a Extras,
}

/// One error on its way to the client.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Problem {
    pub(super) code: Code,
    /// What is wrong with this request and what to do. Never a token, never a user id.
    pub(super) detail: Cow<'static, str>,
    /// Further members of the answer.
    pub(super) extras: Extras,
    /// Whether the rest of the request was left unread, so that the connection cannot go on.
    pub(super) close: bool,
    /// Seconds for `Retry-After`, where waiting helps.
    pub(super) retry_after: Option<u64>,
}

impl Problem {
    pub(super) fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        let waiting_helps = code.status() == StatusCode::SERVICE_UNAVAILABLE;
        Self {
            code,
            detail: detail.into(),
            extras: Extras::None {},
            close: false,
            retry_after: waiting_helps.then_some(1),
        }
    }

    pub(super) fn with(self, extras: Extras) -> Self {
        Self { extras, ..self }
    }

    pub(super) fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// Lists the operations of a batch, by their places, for which a limit of a rate was too small.
    pub(super) fn at_operations(mut self, places: &[usize]) -> Self {
        let part = |place: &usize| {
            let place = u32::try_from(*place).ok();
            Self::new(self.code, "its user is counted too often").into_part(place)
        };
        let errors: Vec<Part> = places.iter().map(part).collect();
        if let Extras::Limited(limited) = &mut self.extras {
            limited.errors = errors;
        }
        self
    }

    /// Whether the client's address asks too often.
    pub(super) fn is_of_address(&self) -> bool {
        matches!(&self.extras, Extras::Limited(limited) if limited.of_address)
    }

    pub(super) fn read_only(cause: Cause) -> Self {
        let cause = cause.as_str();
        let detail = format!("writes are refused (cause `{cause}`); reads are served; retry later");
        Self::new(Code::ReadOnly, detail).with(Extras::Cause { cause })
    }

    /// Sets `Retry-After` to a quarter of how long the outage has lasted, within bounds.
    pub(super) fn after_an_outage_of(mut self, lasted_ms: Millis) -> Self {
        let quarter = u64::try_from(lasted_ms / 4000).unwrap_or(0);
        self.retry_after = Some(quarter.clamp(1, LONGEST_RETRY_AFTER));
        self
    }

    /// Returns the body of the answer.
    pub(super) fn to_json(&self, request_id: &RequestId) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + self.detail.len());
        let body = Body {
            success: false,
            r#type: format!("urn:counterd:error:{}", self.code.as_str()),
            title: self.code.title(),
            status: self.code.status().as_u16(),
            detail: &self.detail,
            code: self.code.as_str(),
            request_id: request_id.to_string(),
            extras: &self.extras,
        };
        push_json(&mut out, &body);
        out
    }

    /// Returns what a batch's answer says of one refused operation. `index` is its place, where only refused
    /// ones are listed.
    pub(super) fn into_part(self, index: Option<u32>) -> Part {
        Part {
            index,
            counted: index.is_none().then_some(false),
            code: self.code.as_str(),
            detail: self.detail,
            extras: self.extras,
        }
    }

    pub(super) fn into_response(self, request_id: &RequestId) -> Response<ReplyBody> {
        let body = self.to_json(request_id);
        let mut response = Response::new(ReplyBody::Whole(Bytes::from(body)));
        *response.status_mut() = self.code.status();
        *response.headers_mut() = self.headers(request_id);
        response
    }

    fn headers(&self, request_id: &RequestId) -> HeaderMap {
        let text = HeaderValue::from_static;
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(CONTENT_TYPE, text("application/problem+json"));
        headers.insert(CACHE_CONTROL, text("no-store"));
        headers.insert(REQUEST_ID, header_value(request_id));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Extras::Limited(limited) = &self.extras {
            for (name, text) in [
                (RATE_LIMIT, &limited.state),
                (RATE_LIMIT_POLICY, &limited.policy),
            ] {
                headers.extend(HeaderValue::from_str(text).ok().map(|value| (name, value)));
            }
        }
        if self.code == Code::Unauthorized {
            headers.insert(WWW_AUTHENTICATE, text("Bearer realm=\"counterd\""));
        }
        if self.code == Code::UpgradeRequired {
            headers.insert(UPGRADE, text("websocket"));
            headers.insert(SEC_WEBSOCKET_VERSION, text("13"));
            headers.insert(CONNECTION, text("upgrade"));
        }
        if self.close {
            headers.insert(CONNECTION, text("close"));
        }
        headers
    }

    /// Returns the whole answer as bytes, for connections whose request never became one. It closes them.
    pub(super) fn to_wire(&self, request_id: &RequestId) -> Vec<u8> {
        let (body, status) = (self.to_json(request_id), self.code.status());
        let mut headers = self.headers(request_id);
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        let mut wire = reply::head(status, &headers);
        wire.extend(body);
        wire
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(refusal) => refusal.into(),
            Failure::KeyReused => Self::new(
                Code::IdempotencyKeyReused,
                "this Idempotency-Key came with another request before; a new request needs a new key",
            ),
            Failure::KeyCorrupt => Self::new(
                Code::CorruptKey,
                "what is stored under this Idempotency-Key cannot be read; nothing was counted now, \
                 whether an earlier try was cannot be told",
            ),
            Failure::ReadOnly(cause) => Self::read_only(cause),
            Failure::Overloaded => Self::new(
                Code::Overloaded,
                "the queue is full, nothing was counted; retry after a short pause",
            ),
            Failure::Overtaken => Self::new(
                Code::Overloaded,
                "other instances were first again and again, nothing was counted; retry after a short pause",
            ),
            Failure::Closing => Self::new(
                Code::ShuttingDown,
                "the server is ending, nothing was counted; connect again and retry",
            ),
            Failure::OutcomeUnknown => Self::new(
                Code::OutcomeUnknown,
                "the write failed on its way to the disk and may or may not have been counted; with an \
                 Idempotency-Key retry with that key, without one do not retry what must not count twice",
            ),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::UnknownCounter => Self::new(
                Code::UnknownCounter,
                "nobody defined or wrote a counter of this name; check its spelling",
            ),
            Refusal::TooManyCounters { max } => Self::new(
                Code::TooManyCounters,
                format!(
                    "there are {max} counters, as many as may be made so (`counters.max`, of which \
                     one in twenty is kept for administrators); delete some first"
                ),
            ),
            Refusal::Gone(gone) => {
                let (code, how) = match gone.expired {
                    true => (Code::CounterExpired, "expired"),
                    false => (Code::CounterDeleted, "was deleted"),
                };
                let (final_value, at) = (gone.final_value, rfc3339(gone.at));
                let detail = format!("this counter {how} at {at}; `PUT` starts it anew");
                Self::new(code, detail).with(Extras::Gone { final_value, at })
            }
            Refusal::WrongKind { kind, wanted } => Self::new(
                Code::WrongKind,
                format!("a `{}` counter has no {wanted}", kind.as_str()),
            )
            .with(Extras::Kind { kind }),
            Refusal::MissingUserId => {
                Self::new(Code::MissingUserId, "this counter counts users: send the `user_id`")
            }
            Refusal::UniqueCountsOne => Self::new(
                Code::InvalidValue,
                "this counter counts users, each as 1: leave `value` out or send 1",
            ),
            Refusal::TooHeavy => Self::new(
                Code::InvalidValue,
                format!("a lease weighs at most {MAX_WEIGHT}: send a smaller `value`"),
            ),
            Refusal::BelowMinimum { current, minimum } => Self::new(
                Code::BelowMinimum,
                format!("the value is {current} and may not fall below {minimum}; nothing was changed"),
            )
            .with(Extras::Below { current, minimum }),
            Refusal::AboveMaximum { current, maximum } => Self::new(
                Code::AboveMaximum,
                format!("the value is {current} and may not rise above {maximum}; nothing was changed"),
            )
            .with(Extras::Above { current, maximum }),
            Refusal::DefinitionConflict { kind, reset } => Self::new(
                Code::DefinitionConflict,
                format!(
                    "this counter is a `{}` with reset `{}`, which stay for its life, as window and grain do (a `ttl` \
                     may change up to 10m, or within what has the same grain); delete it first",
                    kind.as_str(),
                    reset.as_str()
                ),
            )
            .with(Extras::Definition { kind, reset }),
            Refusal::DefinedInConfig => Self::new(
                Code::DefinedInConfig,
                "this counter is built in or defined in the configuration: `[[counter]]` there gives it \
                 another definition; it can be deleted when it is neither built in nor defined there",
            ),
            Refusal::ExpiresInPast => {
                Self::new(Code::InvalidDefinition, "`expires_at` must be in the future")
            }
            Refusal::Corrupt => Self::new(
                Code::CorruptRecord,
                "what is stored of this counter cannot be read; the others are not affected; \
                 `counterd repair` shows it and sets a value",
            ),
            Refusal::UnreadableUser => Self::new(
                Code::UnreadableUser,
                "whether this user was counted before lies in a damaged part of the store; other \
                 users are not affected; `counterd check --deep` says what is damaged",
            ),
            // Only `counterd repair` is refused so, which does not speak HTTP.
            Refusal::NotCorrupt => Self::new(Code::WrongKind, "this counter needs no repair"),
            Refusal::Batch(refusals) => {
                let detail = format!(
                    "operations refused: {}, so none of the batch was counted; see `errors`",
                    refusals.len()
                );
                let part = |(index, refusal)| Self::from(refusal).into_part(Some(index));
                let errors = refusals.into_iter().map(part).collect();
                Self::new(Code::BatchRefused, detail).with(Extras::Batch { errors })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::counter::Gone;

    #[test]
    fn a_problem_is_json_in_the_order_of_its_fields() {
        let problem = Problem::from(Refusal::BelowMinimum {
            current: 1,
            minimum: 0,
        });
        let id = RequestId::Given("a\"b".into());
        let text = String::from_utf8(problem.to_json(&id)).unwrap();
        assert_eq!(
            text,
            r#"{"success":false,"type":"urn:counterd:error:below_minimum","title":"The value would fall below its minimum","status":409,"detail":"the value is 1 and may not fall below 0; nothing was changed","code":"below_minimum","request_id":"a\"b","current":1,"minimum":0}"#
        );
        assert!(serde_json::from_str::<Value>(&text).is_ok());
    }

    #[test]
    fn the_wire_form_has_the_length_that_it_says() {
        let wire = Problem::new(Code::BadRequest, "ü").to_wire(&RequestId::Made(7));
        let text = String::from_utf8(wire).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
        assert!(
            head.contains(&format!("content-length: {}", body.len())),
            "{head}"
        );
        assert!(head.contains("x-request-id: 0000000000000007"), "{head}");
    }

    #[test]
    fn what_is_refused_keeps_its_code_within_a_batch() {
        let refusals = [
            (Refusal::UnknownCounter, Code::UnknownCounter),
            (Refusal::TooManyCounters { max: 5 }, Code::TooManyCounters),
            (
                Refusal::Gone(Gone {
                    expired: false,
                    final_value: 1,
                    at: 0,
                }),
                Code::CounterDeleted,
            ),
            (
                Refusal::Gone(Gone {
                    expired: true,
                    final_value: 1,
                    at: 0,
                }),
                Code::CounterExpired,
            ),
            (
                Refusal::WrongKind {
                    kind: Kind::Sum,
                    wanted: "decrement",
                },
                Code::WrongKind,
            ),
            (Refusal::MissingUserId, Code::MissingUserId),
            (Refusal::UniqueCountsOne, Code::InvalidValue),
            (Refusal::TooHeavy, Code::InvalidValue),
            (
                Refusal::AboveMaximum {
                    current: 1,
                    maximum: 1,
                },
                Code::AboveMaximum,
            ),
            (
                Refusal::DefinitionConflict {
                    kind: Kind::Sum,
                    reset: Reset::Never,
                },
                Code::DefinitionConflict,
            ),
            (Refusal::DefinedInConfig, Code::DefinedInConfig),
            (Refusal::Corrupt, Code::CorruptRecord),
            (Refusal::UnreadableUser, Code::UnreadableUser),
        ];
        let numbered = (0u32..).zip(refusals.iter().map(|(refusal, _)| refusal.clone()));
        let batch = Problem::from(Refusal::Batch(numbered.collect()));
        let shown: Value = serde_json::from_slice(&batch.to_json(&RequestId::Made(0))).unwrap();
        for (index, (refusal, code)) in refusals.into_iter().enumerate() {
            assert_eq!(Problem::from(refusal).code, code);
            let error = shown["errors"].get(index).unwrap();
            assert_eq!(error["index"], index);
            assert_eq!(error["code"], code.as_str());
        }
    }
}
