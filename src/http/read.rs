//! Reading values: from memory, in every mode, as of one commit and one day.

use http::HeaderMap;

use super::call::{Answered, Asked, Call};
use super::error::{Code, Extras, Problem};
use super::json::push_json;
use super::parse;
use super::query;
use super::wire::{self, Reply, no_store, push_value};
use crate::counter::{Millis, Refusal, Seen, rfc3339};
use crate::engine::{NoCopy, Page, ReadFrom, Value};
use crate::seeded::bug;

/// Most names of one read.
const MAX_NAMES: usize = 10;

/// Most counters of one page of the list, and how many without a limit.
const MAX_PAGE: usize = 1000;
const DEFAULT_PAGE: usize = 100;

/// After this many counters of a list other requests have their turn.
const BREATH: usize = 100;

/// `GET /api/v1/counter/{name}`
pub(super) async fn one(call: &Call, asked: &Asked<'_>) -> Answered {
    let name = parse::name(asked.name)?;
    let read = call.worker.shared.engine.read_one(&name).await;
    let (value, stale) = read.map_err(|NoCopy| no_copy(call))?;
    let value = match value {
        Some(value) => value,
        None if !stale => return Err(Refusal::UnknownCounter.into()),
        None if bug("unknown_as_zero") => {
            let zero = serde_json::json!({"name": name.as_str(), "value": 0});
            return Ok(no_store(wire::answer(&call.request_id, &zero)));
        }
        None => return Err(unknown_here(call)),
    };
    let seen = counting(&value)?;
    let mut reply = Reply::new(&call.request_id, 384);
    push(call, reply.body(), &value, seen);
    reply.body().push(b'}');
    Ok(no_store(reply.finish(HeaderMap::new())))
}

/// `GET /api/v1/counters?names=a,b`
pub(super) async fn many(call: &Call, asked: &Asked<'_>) -> Answered {
    let [names] = query::read(asked.uri, ["names"])?;
    let asked = query::names(names, MAX_NAMES)?;
    let read = call.worker.shared.engine.read(&asked).await;
    let (found, stale) = read.map_err(|NoCopy| no_copy(call))?;
    if stale && found.iter().all(Option::is_none) {
        return Err(unknown_here(call));
    }
    let as_of = oldest(found.iter().flatten());
    let mut lacking: Vec<&str> = Vec::new();
    let mut reply = Reply::new(&call.request_id, 64 + asked.len() * 384);
    reply.body().extend_from_slice(b"{\"counters\":[");
    let mut first = true;
    for (name, value) in asked.iter().zip(&found) {
        match value.as_ref().map(|value| (value, counting(value))) {
            Some((value, Ok(seen))) => {
                if !std::mem::take(&mut first) {
                    reply.body().push(b',');
                }
                push(call, reply.body(), value, seen);
                reply.body().push(b'}');
            }
            Some((_, Err(problem))) if problem.code == Code::CorruptRecord => {
                let name = name.to_string();
                return Err(problem.with(Extras::Name { name }));
            }
            Some((_, Err(_))) | None => lacking.push(name.as_str()),
        }
    }
    // Nobody knows here whether a counter exists that a copy lacks.
    let member: &[u8] = if stale {
        b"],\"missing\":[],\"unknown_here\":"
    } else {
        b"],\"missing\":"
    };
    reply.body().extend_from_slice(member);
    push_json(reply.body(), &lacking);
    push_origin(reply.body(), stale, as_of);
    Ok(no_store(reply.finish(HeaderMap::new())))
}

/// `GET /api/v1/counters/all?prefix=&cursor=&limit=`
pub(super) async fn list(call: &Call, asked: &Asked<'_>) -> Answered {
    let [prefix, cursor, limit] = query::read(asked.uri, ["prefix", "cursor", "limit"])?;
    let limit = query::value("limit", limit, "a whole number from 1 to 1000", |text| {
        let limit = text.parse().ok()?;
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
        (is_plain && (1..=MAX_PAGE).contains(&limit)).then_some(limit)
    })?;
    let limit = limit.unwrap_or(DEFAULT_PAGE);
    let prefix = prefix.unwrap_or_default();
    let cursor = cursor.filter(|cursor| !cursor.is_empty());
    let engine = &call.worker.shared.engine;
    let page = engine.list(&prefix, cursor.as_deref(), limit).await;
    let Page { found, next, stale } = page.map_err(|NoCopy| no_copy(call))?;
    let as_of = oldest(&found);
    // Others are served between two lists, and within one. A copy is waited for before.
    let _turn = call.worker.turn_for_a_list().await;
    let mut reply = Reply::new(&call.request_id, 128 + found.len() * 512);
    reply.body().extend_from_slice(b"{\"counters\":[");
    for (number, value) in found.iter().enumerate() {
        if number > 0 {
            reply.body().push(b',');
        }
        if number % BREATH == BREATH - 1 {
            tokio::task::yield_now().await;
        }
        push_listed(call, reply.body(), value);
    }
    reply.body().extend_from_slice(b"],\"next_cursor\":");
    push_json(reply.body(), &next);
    push_origin(reply.body(), stale, as_of);
    Ok(no_store(reply.finish(HeaderMap::new())))
}

/// Returns since when the oldest of the copied values may be out of date; `None` without copied values.
fn oldest<'a>(values: impl IntoIterator<Item = &'a Value>) -> Option<Millis> {
    let as_of = |value: &Value| match value.origin {
        ReadFrom::Store => None,
        ReadFrom::Copy { as_of, .. } => Some(as_of),
    };
    values.into_iter().filter_map(as_of).min()
}

/// Appends where several values come from, up to the end of the object.
fn push_origin(out: &mut Vec<u8>, stale: bool, as_of: Option<Millis>) {
    if stale {
        out.extend_from_slice(b",\"stale\":true,\"as_of\":");
        push_json(out, &as_of.map(rfc3339));
        out.push(b'}');
    } else {
        out.extend_from_slice(b",\"stale\":false}");
    }
}

/// Returns what a counter says, or the refusal of one that says nothing.
pub(super) fn counting(value: &Value) -> Result<Seen, Problem> {
    let seen = value.seen.ok_or(Refusal::Corrupt)?;
    match seen.over {
        None => Ok(seen),
        Some(gone) => Err(Refusal::Gone(gone).into()),
    }
}

/// Returns the problem of a server without a store that can ask no copy.
pub(super) fn no_copy(call: &Call) -> Problem {
    let detail = "the store cannot be opened, and neither Redis nor PostgreSQL can be asked for values now; retry later";
    unavailable(call, Code::UnknownHere, detail)
}

/// Returns the problem of something that only the store has, while there is no store.
pub(super) fn not_here(call: &Call) -> Problem {
    let detail = "the store cannot be opened, and no copy has this; values are served meanwhile, this again after that";
    unavailable(call, Code::StoreReopening, detail)
}

/// Returns the problem of something that the copy lacks.
pub(super) fn unknown_here(call: &Call) -> Problem {
    let detail = "the store cannot be opened, and the copy that values are served from lacks this; whether the counter exists is not known now; retry later";
    unavailable(call, Code::UnknownHere, detail)
}

fn unavailable(call: &Call, code: Code, detail: &'static str) -> Problem {
    Problem::new(code, detail).after_an_outage_of(call.worker.shared.engine.outage_ms())
}

/// Appends one counter as a whole object but for its closing brace.
fn push(call: &Call, out: &mut Vec<u8>, value: &Value, seen: Seen) {
    call.worker
        .with_day(seen.period, |day| push_value(out, value, &seen, day));
}

/// One entry of the list: with the definition, where it is known; without a value, where that cannot be
/// read.
fn push_listed(call: &Call, out: &mut Vec<u8>, value: &Value) {
    match value.seen {
        Some(seen) => push(call, out, value, seen),
        None => {
            out.extend_from_slice(b"{\"name\":");
            push_json(out, value.name.as_str());
            out.extend_from_slice(b",\"value\":null,\"corrupt\":true");
        }
    }
    if let Some(definition) = &value.definition {
        out.extend_from_slice(b",\"definition\":");
        push_json(out, &**definition);
    }
    out.push(b'}');
}
