//! What successful calls answer, field for field.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use serde::Serialize;

use super::json::{push_json, push_number};
use super::reply::ReplyBody;
use super::request_id::REQUEST_ID;
use super::stamp::DayFacts;
use crate::counter::{Applied, Kind, Lapsing, RequestId, Seen, rfc3339};
use crate::engine::{ReadFrom, Value};

const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// An answer under construction: the request's id and the body share one piece of memory.
pub(super) struct Reply {
    text: Vec<u8>,
    id_len: usize,
}

impl Reply {
    pub(super) fn new(request_id: &RequestId, capacity: usize) -> Self {
        let mut text = Vec::with_capacity(capacity);
        request_id.push(&mut text);
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
pub(super) fn answer(request_id: &RequestId, body: &impl Serialize) -> Response<ReplyBody> {
    let mut answer = Reply::new(request_id, 256);
    push_json(answer.body(), body);
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
    push_number(out, applied.current_value);
    out.extend_from_slice(if applied.effect.counted() {
        b",\"counted\":true,\"applied\":"
    } else {
        b",\"counted\":false,\"applied\":"
    });
    push_number(out, applied.applied);
    out.extend_from_slice(b",\"revision\":");
    push_number(out, applied.revision);
    push_word(out, b",\"period\":", period);
    if applied.created {
        out.extend_from_slice(b",\"created\":true");
    }
    if let Some(lease) = &applied.lease {
        out.extend_from_slice(b",\"change\":");
        push_number(out, lease.change);
        let expires_at = lease.expires_at.map(rfc3339);
        push_word(out, b",\"expires_at\":", expires_at.as_deref());
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
    push_word(out, b"{\"name\":", Some(name.as_str()));
    out.extend_from_slice(b",\"value\":");
    push_number(out, seen.value);
    push_word(
        out,
        b",\"last_updated\":",
        Some(&rfc3339(seen.last_updated)),
    );
    push_word(out, b",\"kind\":", kind.map(Kind::as_str));
    push_word(out, b",\"reset\":", Some(reset.as_str()));
    out.extend_from_slice(b",\"revision\":");
    push_number(out, seen.revision);
    out.extend_from_slice(b",\"epoch\":");
    push_number(out, seen.epoch);
    push_word(out, b",\"period\":", facts.map(|day| &*day.text));
    let end = facts.and_then(|day| day.end_text.as_deref());
    push_word(out, b",\"resets_at\":", end);
    match &seen.lapsing {
        None => {}
        Some(Lapsing::Window { lapse, from, to }) => {
            push_word(
                out,
                b",\"window\":{\"span\":",
                Some(&lapse.span.to_string()),
            );
            push_word(out, b",\"grain\":", Some(&lapse.grain.to_string()));
            push_word(out, b",\"from\":", Some(&rfc3339(*from)));
            push_word(out, b",\"to\":", Some(&rfc3339(*to)));
            out.push(b'}');
        }
        Some(Lapsing::Leases { count, settling }) => {
            out.extend_from_slice(b",\"leases\":");
            push_number(out, *count);
            out.extend_from_slice(match settling {
                true => b",\"settling\":true",
                false => b",\"settling\":false",
            });
        }
    }
    match origin {
        ReadFrom::Store => out.extend_from_slice(b",\"stale\":false"),
        ReadFrom::Copy { source, as_of } => {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counter::{CounterName, Effect, Reset};

    /// What an increment answers, as a type.
    #[derive(Serialize)]
    struct AppliedBody<'a> {
        current_value: i64,
        counted: bool,
        applied: i64,
        revision: u64,
        period: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        created: Option<bool>,
    }

    /// What a read answers, as a type.
    #[derive(Serialize)]
    struct ValueBody<'a> {
        name: &'a str,
        value: i64,
        last_updated: String,
        kind: Option<Kind>,
        reset: Reset,
        revision: u64,
        epoch: u64,
        period: Option<&'a str>,
        resets_at: Option<&'a str>,
        stale: bool,
        #[serde(flatten)]
        copy: Option<CopyBody>,
    }

    #[derive(Serialize)]
    struct CopyBody {
        as_of: String,
        source: &'static str,
    }

    #[track_caller]
    fn are_equal(mut by_hand: Vec<u8>, type_of_it: &impl Serialize) {
        by_hand.push(b'}');
        let by_hand = String::from_utf8(by_hand).unwrap();
        assert_eq!(by_hand, serde_json::to_string(type_of_it).unwrap());
    }

    const NUMBERS: [i64; 6] = [0, 7, -1, 1_234_567, i64::MAX, i64::MIN];

    #[test]
    fn the_answer_of_an_increment_is_its_type_byte_for_byte() {
        for (current_value, effect, period, created) in NUMBERS
            .into_iter()
            .flat_map(|n| [Effect::Counted, Effect::Duplicate, Effect::Clamped].map(|e| (n, e)))
            .flat_map(|(n, e)| [None, Some("2026-11-24")].map(|p| (n, e, p)))
            .flat_map(|(n, e, p)| [false, true].map(|c| (n, e, p, c)))
        {
            let applied = Applied {
                current_value,
                effect,
                applied: current_value / 2,
                revision: current_value.unsigned_abs(),
                period: None,
                created,
                lease: None,
            };
            let mut by_hand = b"{".to_vec();
            push_applied(&mut by_hand, &applied, period);
            let body = AppliedBody {
                current_value,
                counted: effect.counted(),
                applied: applied.applied,
                revision: applied.revision,
                period,
                created: created.then_some(true),
            };
            are_equal(by_hand, &body);
        }
    }

    #[test]
    fn the_answer_of_a_read_is_its_type_byte_for_byte() {
        let facts = DayFacts {
            text: "2026-11-24".into(),
            end_text: Some("2026-11-25T00:00:00.000Z".into()),
        };
        let endless = DayFacts {
            end_text: None,
            ..facts.clone()
        };
        let copy = ReadFrom::Copy {
            source: "redis",
            as_of: 1_795_516_200_007,
        };
        let cases = NUMBERS
            .into_iter()
            .flat_map(|n| [None, Some(&facts), Some(&endless)].map(|f| (n, f)))
            .flat_map(|(n, f)| [ReadFrom::Store, copy].map(|o| (n, f, o)));
        for (value, facts, origin) in cases {
            let seen = Seen {
                value,
                period: None,
                revision: value.unsigned_abs(),
                epoch: 3,
                last_updated: 1_795_516_200_000,
                over: None,
                lapsing: None,
            };
            let known = origin == ReadFrom::Store;
            let shown = Value {
                name: CounterName::parse("a.b:c-d_1").unwrap(),
                kind: known.then_some(Kind::Unique),
                reset: Reset::Daily,
                definition: None,
                seen: Some(seen),
                origin,
            };
            let mut by_hand = Vec::new();
            push_value(&mut by_hand, &shown, &seen, facts);
            let body = ValueBody {
                name: "a.b:c-d_1",
                value,
                last_updated: rfc3339(seen.last_updated),
                kind: shown.kind,
                reset: shown.reset,
                revision: seen.revision,
                epoch: seen.epoch,
                period: facts.map(|day| &*day.text),
                resets_at: facts.and_then(|day| day.end_text.as_deref()),
                stale: !known,
                copy: (!known).then(|| CopyBody {
                    as_of: rfc3339(1_795_516_200_007),
                    source: "redis",
                }),
            };
            are_equal(by_hand, &body);
        }
    }
}
