//! Reading values: from memory, in every mode, as of one commit and one day.

use http::{HeaderMap, Response};

use super::body::ReplyBody;
use super::call::{Asked, Call};
use super::error::{self, Code, Problem};
use super::notes::Notes;
use super::parse;
use super::query;
use super::stale;
use super::wire::{self, Answer, Origin, Shown, no_store, push_shown};
use crate::counter::{CounterName, Moment, Seen};
use crate::writer::Reading;

/// Most names of one read.
const MAX_NAMES: usize = 10;

/// Most counters of one page of the list, and how many without a limit.
const MAX_PAGE: usize = 1000;
const DEFAULT_PAGE: usize = 100;

/// After so many counters of a list others are served.
const BREATH: usize = 100;

/// `GET /api/v1/counter/{name}`
pub(super) async fn one(
    call: &Call,
    asked: &Asked<'_>,
    _: &mut Notes,
) -> Result<Response<ReplyBody>, Problem> {
    let name = parse::name(asked.name)?;
    if let Some(fallback) = call.worker.shared.without_store() {
        return stale::one(call, fallback, name).await;
    }
    let reading = call.worker.shared.table.read(name.as_str());
    // The day is looked up after the values: no value's period is after a day seen later.
    let moment = call.worker.shared.day.moment();
    let reading = reading.ok_or_else(error::unknown_counter)?;
    let seen = seen(call, &reading, &moment)?;
    let mut reply = Answer::new(&call.request_id, 384);
    push(call, reply.body(), &reading, seen);
    reply.body().push(b'}');
    Ok(no_store(reply.finish(HeaderMap::new())))
}

/// `GET /api/v1/counters?names=a,b`
pub(super) async fn many(
    call: &Call,
    asked: &Asked<'_>,
    _: &mut Notes,
) -> Result<Response<ReplyBody>, Problem> {
    let [names] = query::read(asked.uri, ["names"])?;
    let mut asked: Vec<CounterName> = Vec::new();
    for name in names
        .as_deref()
        .unwrap_or("")
        .split(',')
        .filter(|name| !name.is_empty())
    {
        let name = parse::name(name)?;
        if !asked.contains(&name) {
            asked.push(name);
        }
        if asked.len() > MAX_NAMES {
            break;
        }
    }
    if !(1..=MAX_NAMES).contains(&asked.len()) {
        return Err(Problem::new(
            Code::InvalidQuery,
            "`names` must be 1 to 10 counter names with commas between",
        ));
    }
    if let Some(fallback) = call.worker.shared.without_store() {
        return stale::many(call, fallback, &asked).await;
    }
    let readings = call.worker.shared.table.read_many(&asked);
    let moment = call.worker.shared.day.moment();
    let mut missing: Vec<&str> = Vec::new();
    let mut reply = Answer::new(&call.request_id, 64 + asked.len() * 384);
    reply.body().extend_from_slice(b"{\"counters\":[");
    let mut first = true;
    for (name, reading) in asked.iter().zip(readings) {
        let found =
            reading.map(|reading| seen(call, &reading, &moment).map(|seen| (reading, seen)));
        match found {
            Some(Ok((reading, seen))) => {
                if !std::mem::take(&mut first) {
                    reply.body().push(b',');
                }
                push(call, reply.body(), &reading, seen);
                reply.body().push(b'}');
            }
            Some(Err(problem)) if problem.code == Code::CorruptRecord => {
                return Err(problem.with("name", name.as_str()));
            }
            Some(Err(_)) | None => missing.push(name.as_str()),
        }
    }
    let missing = serde_json::Value::from(missing);
    reply
        .body()
        .extend_from_slice(format!("],\"missing\":{missing},\"stale\":false}}").as_bytes());
    Ok(no_store(reply.finish(HeaderMap::new())))
}

/// `GET /api/v1/counters/all?prefix=&cursor=&limit=`
pub(super) async fn list(
    call: &Call,
    asked: &Asked<'_>,
    _: &mut Notes,
) -> Result<Response<ReplyBody>, Problem> {
    let [prefix, cursor, limit] = query::read(asked.uri, ["prefix", "cursor", "limit"])?;
    let limit = match limit.as_deref() {
        None | Some("") => DEFAULT_PAGE,
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| {
                (1..=MAX_PAGE).contains(limit) && text.bytes().all(|byte| byte.is_ascii_digit())
            })
            .ok_or_else(|| {
                Problem::new(
                    Code::InvalidQuery,
                    "`limit` must be a whole number from 1 to 1000",
                )
            })?,
    };
    let prefix = prefix.unwrap_or_default();
    let mut cursor = cursor.filter(|cursor| !cursor.is_empty());
    if let Some(fallback) = call.worker.shared.without_store() {
        return stale::list(call, fallback, &prefix, cursor.as_deref(), limit).await;
    }
    // Others are served between two lists, and within one.
    let _turn = call.worker.turn_for_a_list().await;
    let mut reply = Answer::new(&call.request_id, 4096);
    reply.body().extend_from_slice(b"{\"counters\":[");
    let mut listed = 0;
    // Gone counters are passed over, so that a page is full unless it is the last.
    let next = loop {
        let (readings, more) =
            call.worker
                .shared
                .table
                .list(&prefix, cursor.as_deref(), limit - listed);
        let moment = call.worker.shared.day.moment();
        cursor = readings.last().map(|reading| reading.name.to_string());
        for reading in &readings {
            let seen = reading.seen(&moment, call.worker.shared.day.calendar());
            if seen.is_some_and(|seen| seen.over.is_some()) {
                continue;
            }
            if listed > 0 {
                reply.body().push(b',');
            }
            listed += 1;
            if listed % BREATH == 0 {
                tokio::task::yield_now().await;
            }
            push_listed(call, reply.body(), reading, seen);
        }
        if !more || cursor.is_none() {
            break None;
        }
        if listed >= limit {
            break cursor;
        }
    };
    let next = serde_json::Value::from(next);
    reply
        .body()
        .extend_from_slice(format!("],\"next_cursor\":{next},\"stale\":false}}").as_bytes());
    Ok(no_store(reply.finish(HeaderMap::new())))
}

/// Says what a counter says at `moment`, or why it says nothing.
pub(super) fn seen(call: &Call, reading: &Reading, moment: &Moment) -> Result<Seen, Problem> {
    let calendar = call.worker.shared.day.calendar();
    let seen = reading.seen(moment, calendar).ok_or_else(error::corrupt)?;
    match seen.over {
        None => Ok(seen),
        Some(gone) => Err(gone.refusal().into()),
    }
}

fn push(call: &Call, out: &mut Vec<u8>, reading: &Reading, seen: Seen) {
    let shown = Shown {
        name: &reading.name,
        kind: Some(reading.definition.kind),
        reset: reading.definition.reset,
        seen,
        origin: Origin::Store,
    };
    push_counter(call, out, &shown);
}

/// Appends one counter as a whole object but for its closing brace.
pub(super) fn push_counter(call: &Call, out: &mut Vec<u8>, shown: &Shown<'_>) {
    let worker = &call.worker;
    match shown.seen.period {
        None => push_shown(out, shown, None),
        Some(day) => worker.days.with(&worker.shared.day, day, |facts| {
            push_shown(out, shown, Some(facts))
        }),
    }
}

/// One entry of the list; one that cannot be read has no value.
fn push_listed(call: &Call, out: &mut Vec<u8>, reading: &Reading, seen: Option<Seen>) {
    match seen {
        Some(seen) => push(call, out, reading, seen),
        None => {
            out.extend_from_slice(b"{\"name\":");
            super::json::push_text(out, reading.name.as_str());
            out.extend_from_slice(b",\"value\":null,\"corrupt\":true");
        }
    }
    out.extend_from_slice(
        format!(
            ",\"definition\":{}}}",
            wire::definition(&reading.definition).to_json()
        )
        .as_bytes(),
    );
}
