//! Reading while there is no store: what the copies have, marked as out of date. Never 0 for what is
//! not known.

use std::sync::Arc;

use http::{HeaderMap, Response};

use super::body::ReplyBody;
use super::call::Call;
use super::error::{Code, Problem};
use super::json::{Members, push_text};
use super::wire::{Answer, no_store};
use crate::calendar::Day;
use crate::counter::{CounterName, rfc3339};
use crate::fallback::{Fallback, Found, NoCopy, PageFound, StaleValue};
use crate::seeded::bug;

/// No copy can be asked.
pub(super) fn no_copy(call: &Call) -> Problem {
    let detail = "the store cannot be opened, and neither Redis nor PostgreSQL can be asked for values now; retry later";
    unavailable(call, Code::UnknownHere, detail)
}

fn unavailable(call: &Call, code: Code, detail: &'static str) -> Problem {
    Problem::new(code, detail).after_an_outage_of(call.worker.shared.outage_ms())
}

/// One counter.
pub(super) async fn one(
    call: &Call,
    fallback: &Fallback,
    name: CounterName,
) -> Result<Response<ReplyBody>, Problem> {
    let found = fallback.values(std::slice::from_ref(&name)).await;
    let found = found.map_err(|NoCopy| no_copy(call))?;
    let found = found.into_iter().next().flatten();
    let Some(value) = found.filter(|value| !is_over(call, value)) else {
        if bug("unknown_as_zero") {
            let zero = Members::default()
                .with("name", name.as_str())
                .with("value", 0);
            return Ok(no_store(super::wire::answer(&call.request_id, &zero)));
        }
        return Err(unknown_here(call));
    };
    let mut reply = Answer::new(&call.request_id, 384);
    reply
        .body()
        .extend(members(call, &value).to_json().into_bytes());
    Ok(no_store(reply.finish(HeaderMap::new())))
}

/// Several counters, in the order asked. Those that the copy lacks are named: whether they exist is not
/// known here.
pub(super) async fn many(
    call: &Call,
    fallback: &Fallback,
    names: &[CounterName],
) -> Result<Response<ReplyBody>, Problem> {
    let found = fallback.values(names).await;
    let mut found = found.map_err(|NoCopy| no_copy(call))?;
    for found in &mut found {
        found.take_if(|value| is_over(call, value));
    }
    if found.iter().all(Option::is_none) {
        return Err(unknown_here(call));
    }
    let lacking = |(name, found): (&CounterName, &Found)| found.is_none().then(|| name.to_string());
    let lacking: Vec<String> = names.iter().zip(&found).filter_map(lacking).collect();
    let values: Vec<Arc<StaleValue>> = found.into_iter().flatten().collect();
    let as_of = values.iter().map(|value| value.copied.as_of).min();
    let mut reply = Answer::new(&call.request_id, 128 + values.len() * 384);
    push_counters(call, reply.body(), &values);
    let rest = Members::default()
        .with_json("missing", "[]".to_owned())
        .with("unknown_here", lacking)
        .with("stale", true)
        .with("as_of", as_of.map(rfc3339));
    push_rest(reply.body(), &rest);
    Ok(no_store(reply.finish(HeaderMap::new())))
}

/// A page of the list. Definitions are not in the copies.
pub(super) async fn list(
    call: &Call,
    fallback: &Fallback,
    prefix: &str,
    cursor: Option<&str>,
    limit: usize,
) -> Result<Response<ReplyBody>, Problem> {
    let could_be = |text: &str| text.len() <= 100 && text.bytes().all(is_of_names);
    let page = if could_be(prefix) && cursor.is_none_or(could_be) {
        let page = fallback.page(prefix, cursor, limit).await;
        page.map_err(|NoCopy| no_copy(call))?
    } else {
        // No name begins so.
        PageFound::default()
    };
    let PageFound { mut values, next } = page;
    values.retain(|value| !is_over(call, value));
    let as_of = values.iter().map(|value| value.copied.as_of).min();
    let mut reply = Answer::new(&call.request_id, 128 + values.len() * 384);
    push_counters(call, reply.body(), &values);
    let rest = Members::default()
        .with("next_cursor", next)
        .with("stale", true)
        .with("as_of", as_of.map(rfc3339));
    push_rest(reply.body(), &rest);
    Ok(no_store(reply.finish(HeaderMap::new())))
}

/// The closed days of a counter, newest first. The open one is not among them.
pub(super) async fn history(
    call: &Call,
    fallback: &Fallback,
    name: &CounterName,
    from: Day,
    to: Day,
) -> Result<Response<ReplyBody>, Problem> {
    let days = fallback.days(name, from, to).await;
    let days = days.map_err(|NoCopy| not_here(call))?;
    if days.is_empty() {
        return Err(unknown_here(call));
    }
    let mut reply = Answer::new(&call.request_id, 256 + days.len() * 512);
    let out = reply.body();
    out.extend_from_slice(b"{\"name\":");
    push_text(out, name.as_str());
    out.extend_from_slice(b",\"days\":[");
    for (number, day) in days.into_iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        let text = day.record.unwrap_or_else(|| {
            Members::default()
                .with("date", day.day.to_string())
                .with("closed", true)
                .with("final_value", day.final_value)
                .to_json()
        });
        out.extend_from_slice(text.as_bytes());
    }
    out.extend_from_slice(b"],\"stale\":true,\"source\":\"postgres\"}");
    Ok(no_store(reply.finish(HeaderMap::new())))
}

/// What only the store has.
pub(super) fn not_here(call: &Call) -> Problem {
    let detail = "the store cannot be opened, and no copy has this; values are served meanwhile, this again after that";
    unavailable(call, Code::StoreReopening, detail)
}

fn unknown_here(call: &Call) -> Problem {
    let detail = "the store cannot be opened, and the copy that values are served from lacks this; whether the counter exists is not known now; retry later";
    unavailable(call, Code::UnknownHere, detail)
}

/// Whether the counter's time is over, whatever the copy was last told: then its value is none.
fn is_over(call: &Call, value: &StaleValue) -> bool {
    let look = call.worker.shared.day.look();
    let end = value.copied.expires_at;
    // As with a store: a clock that jumped ends nothing.
    end.is_some_and(|end| end <= look.wall_ms && !look.clock_fault)
}

fn is_of_names(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.:-".contains(&byte)
}

fn push_counters(call: &Call, out: &mut Vec<u8>, values: &[Arc<StaleValue>]) {
    out.extend_from_slice(b"{\"counters\":[");
    for (number, value) in values.iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        out.extend_from_slice(members(call, value).to_json().as_bytes());
    }
    out.push(b']');
}

/// Members after the counters, up to the end of the object.
fn push_rest(out: &mut Vec<u8>, rest: &Members) {
    out.push(b',');
    out.extend_from_slice(rest.to_json().trim_start_matches('{').as_bytes());
}

fn members(call: &Call, value: &StaleValue) -> Members {
    let StaleValue { copied, source } = value;
    // The day that the value is of, which may be over.
    let day = &call.worker.shared.day;
    let end = copied.period.map(|period| day.end_of(period));
    // Where no day follows there is no end.
    let resets_at = end.filter(|&end| end < i64::MAX).map(rfc3339);
    // A copy may say what it likes; the future is nothing that it has seen.
    let as_of = copied.as_of.min(day.look().wall_ms);
    Members::default()
        .with("name", copied.name.as_str())
        .with("value", copied.value)
        .with("last_updated", rfc3339(copied.last_updated))
        .with("kind", copied.kind.map(|kind| kind.as_str()))
        .with("reset", copied.reset().as_str())
        .with("revision", copied.revision)
        .with("epoch", copied.epoch)
        .with("period", copied.period.map(|day| day.to_string()))
        .with("resets_at", resets_at)
        .with("stale", true)
        .with("as_of", rfc3339(as_of))
        .with("source", source.as_str())
}
