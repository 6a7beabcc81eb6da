//! What successful calls answer, field for field.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response};

use super::body::ReplyBody;
use super::json::{Members, push_i64, push_text, push_u64};
use super::request_id::{REQUEST_ID, push_request_id};
use super::stamp::DayFacts;
use crate::counter::{Applied, Definition, Kind, RequestId, Seen, rfc3339};
use crate::engine::{Origin, Value};

const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// An answer under construction: the request's id and the body share one piece of memory.
pub(super) struct Answer {
    text: Vec<u8>,
    id_len: usize,
}

impl Answer {
    pub(super) fn new(request_id: &RequestId, capacity: usize) -> Self {
        let mut text = Vec::with_capacity(capacity);
        push_request_id(&mut text, request_id);
        Self {
            id_len: text.len(),
            text,
        }
    }

    /// Where the body is written to.
    pub(super) fn body(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    /// The 200 with these headers; an old map saves a new one.
    pub(super) fn finish(self, mut headers: HeaderMap) -> Response<ReplyBody> {
        let mut body = Bytes::from(self.text);
        let id = body.split_to(self.id_len.min(body.len()));
        headers.clear();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // Ids are printable ASCII, whoever made them.
        headers.insert(
            REQUEST_ID,
            HeaderValue::from_maybe_shared(id).unwrap_or(HeaderValue::from_static("-")),
        );
        let mut response = Response::new(ReplyBody::Whole(body));
        *response.headers_mut() = headers;
        response
    }
}

/// A 200 with an object.
pub(super) fn answer(request_id: &RequestId, body: &Members) -> Response<ReplyBody> {
    let mut answer = Answer::new(request_id, 256);
    answer.body().extend_from_slice(body.to_json().as_bytes());
    answer.finish(HeaderMap::new())
}

/// Marks an answer that may not be kept by anyone on its way.
pub(super) fn no_store(mut response: Response<ReplyBody>) -> Response<ReplyBody> {
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Marks an answer that was given before.
pub(super) fn mark_replayed(response: &mut Response<ReplyBody>, replayed: bool) {
    if replayed {
        response
            .headers_mut()
            .insert(REPLAYED, HeaderValue::from_static("true"));
    }
}

/// Appends the fields of an increment or decrement, without braces. `period` is its date, if any.
pub(super) fn push_applied(out: &mut Vec<u8>, applied: &Applied, period: Option<&str>) {
    out.extend_from_slice(b"\"current_value\":");
    push_i64(out, applied.current_value);
    out.extend_from_slice(if applied.effect.counted() {
        b",\"counted\":true,\"applied\":"
    } else {
        b",\"counted\":false,\"applied\":"
    });
    push_i64(out, applied.applied);
    out.extend_from_slice(b",\"revision\":");
    push_u64(out, applied.revision);
    push_word(out, b",\"period\":", period);
    if applied.created {
        out.extend_from_slice(b",\"created\":true");
    }
}

/// Appends one counter as a whole object but for its closing brace. `facts` are those of its period.
pub(super) fn push_value(out: &mut Vec<u8>, value: &Value, seen: &Seen, facts: Option<&DayFacts>) {
    let Value {
        name,
        kind,
        reset,
        definition: _,
        seen: _,
        origin,
    } = value;
    out.extend_from_slice(b"{\"name\":");
    push_text(out, name.as_str());
    out.extend_from_slice(b",\"value\":");
    push_i64(out, seen.value);
    out.extend_from_slice(b",\"last_updated\":\"");
    out.extend_from_slice(rfc3339(seen.last_updated).as_bytes());
    out.push(b'"');
    push_word(out, b",\"kind\":", kind.map(Kind::as_str));
    push_word(out, b",\"reset\":", Some(reset.as_str()));
    out.extend_from_slice(b",\"revision\":");
    push_u64(out, seen.revision);
    out.extend_from_slice(b",\"epoch\":");
    push_u64(out, seen.epoch);
    push_word(out, b",\"period\":", facts.map(|day| &*day.text));
    let end = facts.and_then(|day| day.end_text.as_deref());
    push_word(out, b",\"resets_at\":", end);
    match origin {
        Origin::Store => out.extend_from_slice(b",\"stale\":false"),
        Origin::Copy { source, as_of } => {
            out.extend_from_slice(b",\"stale\":true");
            push_word(out, b",\"as_of\":", Some(&rfc3339(*as_of)));
            push_word(out, b",\"source\":", Some(source));
        }
    }
}

/// Appends a member whose value needs no escaping; `None` is `null`.
fn push_word(out: &mut Vec<u8>, member: &[u8], word: Option<&str>) {
    out.extend_from_slice(member);
    match word {
        None => out.extend_from_slice(b"null"),
        Some(word) => {
            out.push(b'"');
            out.extend_from_slice(word.as_bytes());
            out.push(b'"');
        }
    }
}

/// A definition, whole.
pub(super) fn definition(definition: &Definition) -> Members {
    let Definition {
        kind,
        reset,
        min,
        max,
        on_bound,
        expires_at,
        description,
    } = definition;
    Members::default()
        .with("kind", kind.as_str())
        .with("reset", reset.as_str())
        .with("min", *min)
        .with("max", *max)
        .with("on_bound", on_bound.as_str())
        .with("expires_at", expires_at.map(rfc3339))
        .with("description", description.as_deref())
}
