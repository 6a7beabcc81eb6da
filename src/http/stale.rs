//! Reading while there is no store: what the copies have, marked as out of date. Never 0 for what is
//! not known.

use std::sync::Arc;

use http::{HeaderMap, Response};

use super::body::ReplyBody;
use super::call::Call;
use super::error::{Code, Problem};
use super::json::{Members, push_text};
use super::read::push_counter;
use super::wire::{Answer, Origin, Shown, no_store};
use crate::calendar::Day;
use crate::counter::{CounterName, Seen, rfc3339};
use crate::fallback::{Fallback, NoCopy, PageFound, StaleValue};
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
    let Some((value, seen)) = found.and_then(|value| counting(call, value)) else {
        if bug("unknown_as_zero") {
            let zero = Members::default()
                .with("name", name.as_str())
                .with("value", 0);
            return Ok(no_store(super::wire::answer(&call.request_id, &zero)));
        }
        return Err(unknown_here(call));
    };
    let mut reply = Answer::new(&call.request_id, 384);
    push_value(call, reply.body(), &value, seen);
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
    let found = found.map_err(|NoCopy| no_copy(call))?;
    let found: Vec<Option<Counting>> = found
        .into_iter()
        .map(|value| counting(call, value?))
        .collect();
    if found.iter().all(Option::is_none) {
        return Err(unknown_here(call));
    }
    let lacking = |(name, found): (&CounterName, &Option<Counting>)| {
        found.is_none().then(|| name.to_string())
    };
    let lacking: Vec<String> = names.iter().zip(&found).filter_map(lacking).collect();
    let values: Vec<Counting> = found.into_iter().flatten().collect();
    let as_of = values.iter().map(|(value, _)| value.copied.as_of).min();
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
    let PageFound { values, next } = page;
    let values = values.into_iter();
    let values: Vec<Counting> = values.filter_map(|value| counting(call, value)).collect();
    let as_of = values.iter().map(|(value, _)| value.copied.as_of).min();
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

/// A copied value, and what it lets its counter say now.
type Counting = (Arc<StaleValue>, Seen);

/// Says what the counter says by that copy, in the period of the value, which may be over; `None` where
/// the counter's time is over, whatever the copy was told last.
fn counting(call: &Call, value: Arc<StaleValue>) -> Option<Counting> {
    let day = &call.worker.shared.day;
    let mut moment = day.moment();
    if let Some(period) = value.copied.period {
        moment.today = day.local_day(period);
    }
    let seen = value.copied.stored().seen(&moment, day.calendar());
    let seen = seen.filter(|seen| seen.over.is_none())?;
    Some((value, seen))
}

fn is_of_names(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.:-".contains(&byte)
}

fn push_counters(call: &Call, out: &mut Vec<u8>, values: &[Counting]) {
    out.extend_from_slice(b"{\"counters\":[");
    for (number, (value, seen)) in values.iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        push_value(call, out, value, *seen);
    }
    out.push(b']');
}

/// Members after the counters, up to the end of the object.
fn push_rest(out: &mut Vec<u8>, rest: &Members) {
    out.push(b',');
    out.extend_from_slice(rest.to_json().trim_start_matches('{').as_bytes());
}

fn push_value(call: &Call, out: &mut Vec<u8>, value: &StaleValue, seen: Seen) {
    let StaleValue { copied, source } = value;
    // A copy may say what it likes; the future is nothing that it has seen.
    let as_of = copied.as_of.min(call.worker.shared.day.look().wall_ms);
    let shown = Shown {
        name: &copied.name,
        kind: copied.kind,
        reset: copied.reset(),
        seen,
        origin: Origin::Copy {
            source: source.as_str(),
            as_of,
        },
    };
    push_counter(call, out, &shown);
    out.push(b'}');
}
