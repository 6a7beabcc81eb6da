//! Every error that a client can meet: one enum of codes, and the answer that carries one.
//!
//! An error is `application/problem+json` (RFC 9457). Nothing of a request that an error answers was
//! counted, with one exception: [`Code::OutcomeUnknown`]. `docs/api.md` lists every code; a test holds
//! it to this file.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::Value;

use super::body::ReplyBody;
use super::json::{Members, push_i64, push_text};
use super::request_id::{REQUEST_ID, header_value};
use crate::counter::{Millis, Refusal, RequestId, rfc3339};
use crate::engine::{Cause, Failure};

macro_rules! codes {
    ($( $variant:ident = $code:literal, $status:ident, $title:literal, $advice:literal; )+) => {
        /// Why a request was not done. The words are stable: clients decide by them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(
                #[doc = $title]
                $variant,
            )+
        }

        impl Code {
            /// All of them, in the order of their status.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word in `code`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// The HTTP status that comes with it.
            pub fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)+ }
            }

            /// What kind of problem it is, for people.
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)+ }
            }

            /// What a client should do about it.
            pub fn advice(self) -> &'static str {
                match self { $(Self::$variant => $advice,)+ }
            }
        }
    };
}

codes! {
    BadRequest = "bad_request", BAD_REQUEST, "Not an HTTP request",
        "Mend the client: the request line, a header or the body's framing is malformed.";
    InvalidJson = "invalid_json", BAD_REQUEST, "The body is not the JSON object wanted",
        "Send one JSON object in UTF-8, with no field twice.";
    UnknownField = "unknown_field", BAD_REQUEST, "The body has an unknown field",
        "Remove or rename the field that `detail` names.";
    InvalidValue = "invalid_value", BAD_REQUEST, "The value is not a number that counts",
        "Send a whole number in the range that `detail` names, without fraction, exponent or quotes.";
    MissingUserId = "missing_user_id", BAD_REQUEST, "A unique counter needs a user_id",
        "Send the `user_id` of the user to count.";
    InvalidUserId = "invalid_user_id", BAD_REQUEST, "The user_id is not one",
        "Send 1 to 128 bytes of UTF-8 without control characters.";
    InvalidMetadata = "invalid_metadata", BAD_REQUEST, "The metadata are not an object within the limits",
        "Send an object of at most 4 KiB and 8 levels, or none.";
    InvalidName = "invalid_name", BAD_REQUEST, "The name is not a counter's",
        "Use 1 to 100 characters of a-z, 0-9, '_', '.', ':', '-'; see the rule in `detail`.";
    InvalidDefinition = "invalid_definition", BAD_REQUEST, "The definition cannot be",
        "Correct what `detail` names; `min` ≤ 0 ≤ `max`, `expires_at` in the future.";
    InvalidAdjustment = "invalid_adjustment", BAD_REQUEST, "The adjustment is not complete",
        "Send exactly one of `value` and `delta`, and a `reason`.";
    InvalidBatch = "invalid_batch", BAD_REQUEST, "The batch is not one",
        "Send `operations`: 1 to 1000 objects with `op` and `name`.";
    InvalidQuery = "invalid_query", BAD_REQUEST, "The query is not understood",
        "Correct the parameter that `detail` names.";
    InvalidIdempotencyKey = "invalid_idempotency_key", BAD_REQUEST, "The Idempotency-Key is not one",
        "Send the header once, with 1 to 255 printable ASCII characters.";
    Unauthorized = "unauthorized", UNAUTHORIZED, "A token is needed",
        "Send `Authorization: Bearer` with the token for this call.";
    Forbidden = "forbidden", FORBIDDEN, "The token does not allow this",
        "Use the token of the wanted role; `detail` names it.";
    AdminDisabled = "admin_disabled", FORBIDDEN, "Administrative calls are disabled",
        "Set `auth.admin_token` on the server first.";
    OriginNotAllowed = "origin_not_allowed", FORBIDDEN, "Pages of this origin may not write",
        "Add the origin to `server.cors_origins`, or call from a backend.";
    NotFound = "not_found", NOT_FOUND, "There is no such path",
        "Correct the path; the calls are under `/api/v1`.";
    UnknownCounter = "unknown_counter", NOT_FOUND, "There is no such counter",
        "Correct the name, or define or increment the counter first.";
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "The path does not have this method",
        "Use a method of the `Allow` header.";
    RequestTimeout = "request_timeout", REQUEST_TIMEOUT, "The request took too long to arrive",
        "Send it again, whole; with the same key it counts once.";
    WrongKind = "wrong_kind", CONFLICT, "The counter's kind does not do this",
        "Do not retry: use another call or another counter.";
    BelowMinimum = "below_minimum", CONFLICT, "The value would fall below its minimum",
        "Do not retry unchanged; `current` and `minimum` say where the counter stands.";
    AboveMaximum = "above_maximum", CONFLICT, "The value would rise above its maximum",
        "Do not retry unchanged; `current` and `maximum` say where the counter stands.";
    TooManyCounters = "too_many_counters", CONFLICT, "There are too many counters",
        "Delete counters that nobody needs, or raise `counters.max`.";
    DefinitionConflict = "definition_conflict", CONFLICT, "Kind and reset of a live counter do not change",
        "Delete the counter and define it anew, or leave kind and reset as they are.";
    DefinedInConfig = "defined_in_config", CONFLICT, "The counter is defined in the configuration",
        "Change the configuration and restart.";
    BatchRefused = "batch_refused", CONFLICT, "Operations of the batch were refused",
        "Nothing of it was counted: correct or drop the operations in `errors` and send the rest again.";
    CounterDeleted = "counter_deleted", GONE, "The counter was deleted",
        "Stop using it; `PUT` starts it anew.";
    CounterExpired = "counter_expired", GONE, "The counter has expired",
        "Stop using it; `PUT` starts it anew.";
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE, "The body is too large",
        "Send less at a time; `detail` names the limit.";
    UriTooLong = "uri_too_long", URI_TOO_LONG, "The path is too long",
        "Ask for less at a time.";
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "The body is not JSON",
        "Send `Content-Type: application/json` in UTF-8, without `Content-Encoding`.";
    IdempotencyKeyReused = "idempotency_key_reused", UNPROCESSABLE_ENTITY, "The key was used for another request",
        "Use a new key for a new request; repeat a request unchanged with its key.";
    HeadersTooLarge = "headers_too_large", REQUEST_HEADER_FIELDS_TOO_LARGE, "The headers are too large or too many",
        "Send fewer or shorter headers.";
    UnreadableUser = "unreadable_user", INTERNAL_SERVER_ERROR, "Whether this user was counted cannot be read",
        "Do not retry; tell the operator: `counterd check --deep` names the damaged table. Other users are counted.";
    CorruptRecord = "corrupt_record", INTERNAL_SERVER_ERROR, "What is stored of this counter cannot be read",
        "Do not retry; tell the operator: `counterd repair` shows it and sets a value.";
    CorruptKey = "corrupt_key", INTERNAL_SERVER_ERROR, "What is stored under this key cannot be read",
        "Whether the first try counted cannot be told; tell the operator, use a new key for new requests.";
    ReadOnly = "read_only", SERVICE_UNAVAILABLE, "Writes are refused for now",
        "Nothing was counted: retry after `Retry-After` seconds.";
    SlowDisk = "slow_disk", SERVICE_UNAVAILABLE, "Writes wait for the disk",
        "Only `/readyz?writes` says so. Nothing is refused: a write is answered once the disk has it, so wait for the answer.";
    Overloaded = "overloaded", SERVICE_UNAVAILABLE, "The queue is full",
        "Nothing was counted: retry after a short, growing, random pause.";
    OutcomeUnknown = "outcome_unknown", SERVICE_UNAVAILABLE, "Whether it was counted is not known",
        "With an Idempotency-Key retry until 2xx or a 4xx about the counter; without one do not retry what must not count twice.";
    UnknownHere = "unknown_here", SERVICE_UNAVAILABLE, "The copy that is served from lacks this",
        "The store cannot be opened and the copy lacks it: show the last value you had, and ask again after `Retry-After` seconds.";
    StoreReopening = "store_reopening", SERVICE_UNAVAILABLE, "The store is being reopened",
        "Values are served meanwhile; ask for history and series again after `Retry-After` seconds.";
    TooManyConnections = "too_many_connections", SERVICE_UNAVAILABLE, "There are too many connections",
        "Nothing was read: close idle connections and retry after a pause.";
    ShuttingDown = "shutting_down", SERVICE_UNAVAILABLE, "The server is ending",
        "Nothing was counted: connect again and retry.";
}

/// The longest `Retry-After`, in seconds: a service that is back is to be used again.
const LONGEST_RETRY_AFTER: u64 = 30;

impl Code {
    /// Seconds for `Retry-After`, where waiting helps.
    fn retry_after(self) -> Option<u64> {
        let waiting_helps = self.status() == StatusCode::SERVICE_UNAVAILABLE;
        waiting_helps.then_some(1)
    }
}

/// One error on its way to the client.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Problem {
    pub(super) code: Code,
    /// What is wrong with this request and what to do. Never a token, never a user id.
    pub(super) detail: Cow<'static, str>,
    /// Further members of the answer.
    pub(super) extras: Members,
    /// Whether the rest of the request was left unread, so that the connection cannot go on.
    pub(super) close: bool,
    /// Seconds for `Retry-After`, where waiting helps.
    pub(super) retry_after: Option<u64>,
}

impl Problem {
    pub(super) fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            detail: detail.into(),
            extras: Members::default(),
            close: false,
            retry_after: code.retry_after(),
        }
    }

    pub(super) fn with(mut self, member: &'static str, value: impl Into<Value>) -> Self {
        self.extras = self.extras.with(member, value);
        self
    }

    pub(super) fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    pub(super) fn read_only(cause: Cause) -> Self {
        let detail = format!(
            "writes are refused (cause `{}`); reads are served; retry later",
            cause.as_str()
        );
        Self::new(Code::ReadOnly, detail).with("cause", cause.as_str())
    }

    /// To be tried again after a while that grows with how long it has lasted: a quarter of it.
    pub(super) fn after_an_outage_of(mut self, lasted_ms: Millis) -> Self {
        let quarter = u64::try_from(lasted_ms / 4000).unwrap_or(0);
        self.retry_after = Some(quarter.clamp(1, LONGEST_RETRY_AFTER));
        self
    }

    /// The body of the answer.
    pub(super) fn to_json(&self, request_id: &RequestId) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + self.detail.len());
        out.extend_from_slice(b"{\"success\":false,\"type\":\"urn:counterd:error:");
        out.extend_from_slice(self.code.as_str().as_bytes());
        out.extend_from_slice(b"\",\"title\":");
        push_text(&mut out, self.code.title());
        out.extend_from_slice(b",\"status\":");
        push_i64(&mut out, i64::from(self.code.status().as_u16()));
        out.extend_from_slice(b",\"detail\":");
        push_text(&mut out, &self.detail);
        out.extend_from_slice(b",\"code\":\"");
        out.extend_from_slice(self.code.as_str().as_bytes());
        out.extend_from_slice(b"\",\"request_id\":");
        push_text(&mut out, &request_id.to_string());
        if self.extras != Members::default() {
            out.push(b',');
            self.extras.push_to(&mut out);
        }
        out.push(b'}');
        out
    }

    /// Appends an object that says it of one operation, after `first`.
    pub(super) fn push_as_part(self, out: &mut Vec<u8>, first: Members) {
        let part = first
            .with("code", self.code.as_str())
            .with("detail", self.detail)
            .with_all(self.extras);
        out.push(b'{');
        part.push_to(out);
        out.push(b'}');
    }

    pub(super) fn into_response(self, request_id: &RequestId) -> Response<ReplyBody> {
        let mut response = Response::new(ReplyBody::Whole(Bytes::from(self.to_json(request_id))));
        *response.status_mut() = self.code.status();
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(REQUEST_ID, header_value(request_id));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.code == Code::Unauthorized {
            headers.insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"counterd\""),
            );
        }
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// The whole answer as bytes, for connections whose request never became one.
    pub(super) fn to_wire(&self, request_id: &RequestId) -> Vec<u8> {
        let body = self.to_json(request_id);
        let status = self.code.status();
        let retry_after = self
            .retry_after
            .map(|s| format!("retry-after: {s}\r\n"))
            .unwrap_or_default();
        let head = format!(
            "HTTP/1.1 {} {}\r\ncontent-type: application/problem+json\r\ncache-control: no-store\r\n\
             x-request-id: {request_id}\r\n{retry_after}connection: close\r\ncontent-length: {}\r\n\r\n",
            status.as_u16(),
            status.canonical_reason().unwrap_or(""),
            body.len()
        );
        let mut wire = head.into_bytes();
        wire.extend_from_slice(&body);
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
            Refusal::UnknownCounter => unknown_counter(),
            Refusal::TooManyCounters { max } => Self::new(
                Code::TooManyCounters,
                format!(
                    "there are {max} counters, as many as may be made so (`counters.max`, of which \
                     one in twenty is kept for administrators); delete some first"
                ),
            ),
            Refusal::Deleted { final_value, at } => deleted(final_value, at),
            Refusal::Expired { final_value, at } => expired(final_value, at),
            Refusal::WrongKind { kind, wanted } => Self::new(
                Code::WrongKind,
                format!("a `{}` counter has no {wanted}", kind.as_str()),
            )
            .with("kind", kind.as_str()),
            Refusal::MissingUserId => {
                Self::new(Code::MissingUserId, "this counter counts users: send the `user_id`")
            }
            Refusal::UniqueCountsOne => Self::new(
                Code::InvalidValue,
                "this counter counts users, each as 1: leave `value` out or send 1",
            ),
            Refusal::BelowMinimum { current, minimum } => Self::new(
                Code::BelowMinimum,
                format!("the value is {current} and may not fall below {minimum}; nothing was changed"),
            )
            .with("current", current)
            .with("minimum", minimum),
            Refusal::AboveMaximum { current, maximum } => Self::new(
                Code::AboveMaximum,
                format!("the value is {current} and may not rise above {maximum}; nothing was changed"),
            )
            .with("current", current)
            .with("maximum", maximum),
            Refusal::DefinitionConflict { kind, reset } => Self::new(
                Code::DefinitionConflict,
                format!(
                    "this counter is a `{}` with reset `{}`, which stay for its life; delete it first",
                    kind.as_str(),
                    reset.as_str()
                ),
            )
            .with("kind", kind.as_str())
            .with("reset", reset.as_str()),
            Refusal::DefinedInConfig => Self::new(
                Code::DefinedInConfig,
                "this counter is defined in the configuration and is changed or removed there",
            ),
            Refusal::ExpiresInPast => {
                Self::new(Code::InvalidDefinition, "`expires_at` must be in the future")
            }
            Refusal::Corrupt => corrupt(),
            Refusal::UnreadableUser => Self::new(
                Code::UnreadableUser,
                "whether this user was counted before lies in a damaged part of the store; other \
                 users are not affected; `counterd check --deep` says what is damaged",
            ),
            // Only `counterd repair` is refused so, which does not speak HTTP.
            Refusal::NotCorrupt => Self::new(Code::WrongKind, "this counter needs no repair"),
            Refusal::Batch(refusals) => batch_refused(refusals),
        }
    }
}

pub(super) fn unknown_counter() -> Problem {
    Problem::new(
        Code::UnknownCounter,
        "nobody defined or wrote a counter of this name; check its spelling",
    )
}

pub(super) fn corrupt() -> Problem {
    Problem::new(
        Code::CorruptRecord,
        "what is stored of this counter cannot be read; the others are not affected; \
         `counterd repair` shows it and sets a value",
    )
}

pub(super) fn deleted(final_value: i64, at: Millis) -> Problem {
    gone(Code::CounterDeleted, "was deleted", final_value, at)
}

pub(super) fn expired(final_value: i64, at: Millis) -> Problem {
    gone(Code::CounterExpired, "expired", final_value, at)
}

fn gone(code: Code, how: &str, final_value: i64, at: Millis) -> Problem {
    let at = rfc3339(at);
    Problem::new(
        code,
        format!("this counter {how} at {at}; `PUT` starts it anew"),
    )
    .with("final_value", final_value)
    .with("at", at)
}

fn batch_refused(refusals: Box<[(u32, Refusal)]>) -> Problem {
    let count = refusals.len();
    let mut errors = Vec::with_capacity(128 * count);
    for (index, refusal) in refusals {
        errors.push(if errors.is_empty() { b'[' } else { b',' });
        Problem::from(refusal).push_as_part(&mut errors, Members::default().with("index", index));
    }
    errors.push(b']');
    let detail =
        format!("operations refused: {count}, so none of the batch was counted; see `errors`");
    let mut problem = Problem::new(Code::BatchRefused, detail);
    problem.extras = problem
        .extras
        .with_json("errors", String::from_utf8_lossy(&errors).into_owned());
    problem
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counter::{Kind, Reset};

    #[test]
    fn the_docs_give_the_advice_of_every_code() {
        let docs = include_str!("../../docs/api.md");
        for code in Code::ALL {
            let (word, status, advice) = (code.as_str(), code.status().as_u16(), code.advice());
            let row = format!("| `{word}` | {status} | {advice} |\n");
            assert!(
                docs.contains(&row),
                "docs/api.md, the table of codes: write {row}"
            );
        }
    }

    #[test]
    fn every_code_is_a_word_of_its_own() {
        let mut words: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Code::ALL.len());
        for code in Code::ALL {
            assert!(code.status().is_client_error() || code.status().is_server_error());
            assert!(
                code.as_str()
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            );
        }
    }

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
                Refusal::Deleted {
                    final_value: 1,
                    at: 0,
                },
                Code::CounterDeleted,
            ),
            (
                Refusal::Expired {
                    final_value: 1,
                    at: 0,
                },
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
