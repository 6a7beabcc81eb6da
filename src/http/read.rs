//! Reading values: from memory, in every mode, as of one commit and one day.

use http::{HeaderMap, Response};

use super::body::ReplyBody;
use super::call::{Asked, Call};
use super::error::{self, Code, Problem};
use super::notes::Notes;
use super::parse;
use super::query;
use super::stale;
use super::wire::{self, Answer, no_store, push_reading};
use crate::counter::{CounterName, Reset};
use crate::current_day::Look;
use crate::writer::{Presence, Reading};

/// Most names of one read.
const MAX_NAMES: usize = 10;

/// Most counters of one page of the list, and how many without a limit.
const MAX_PAGE: usize = 1000;
const DEFAULT_PAGE: usize = 100;

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
    let look = call.worker.shared.day.look();
    let reading = reading.ok_or_else(error::unknown_counter)?;
    let value = value(call, &reading, look)?;
    let mut reply = Answer::new(&call.request_id, 384);
    push(call, reply.body(), &reading, value, look);
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
    let look = call.worker.shared.day.look();
    let mut missing: Vec<&str> = Vec::new();
    let mut reply = Answer::new(&call.request_id, 64 + asked.len() * 384);
    reply.body().extend_from_slice(b"{\"counters\":[");
    let mut first = true;
    for (name, reading) in asked.iter().zip(readings) {
        let found =
            reading.map(|reading| value(call, &reading, look).map(|value| (reading, value)));
        match found {
            Some(Ok((reading, value))) => {
                if !std::mem::take(&mut first) {
                    reply.body().push(b',');
                }
                push(call, reply.body(), &reading, value, look);
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
        let look = call.worker.shared.day.look();
        cursor = readings.last().map(|reading| reading.name.to_string());
        for reading in &readings {
            let value = value(call, reading, look);
            let corrupt = value
                .as_ref()
                .is_err_and(|problem| problem.code == Code::CorruptRecord);
            if value.is_err() && !corrupt {
                continue;
            }
            if listed > 0 {
                reply.body().push(b',');
            }
            listed += 1;
            push_listed(call, reply.body(), reading, value.ok(), look);
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

/// What a counter counts at the moment of `look`, or why it does not.
pub(super) fn value(call: &Call, reading: &Reading, look: Look) -> Result<i64, Problem> {
    match reading.presence {
        Presence::Live => {}
        Presence::Deleted { final_value, at } => return Err(error::deleted(final_value, at)),
        Presence::Expired { final_value, at } => return Err(error::expired(final_value, at)),
        Presence::Corrupt => return Err(error::corrupt()),
    }
    match reading.definition.expires_at {
        // By time alone, whether or not the writer has recorded it; but not by a clock that jumped.
        Some(at) if at <= look.wall_ms && !look.clock_fault => {
            let last_day = call.worker.shared.day.calendar().day_of(at);
            let held = match reading.definition.reset {
                Reset::Never => true,
                // A value of a later day was counted before that time: the calendar was behind.
                Reset::Daily => reading.period.is_some_and(|of| of >= last_day),
            };
            Err(error::expired(if held { reading.value } else { 0 }, at))
        }
        Some(_) | None => Ok(reading.value_on(look.day)),
    }
}

fn push(call: &Call, out: &mut Vec<u8>, reading: &Reading, value: i64, look: Look) {
    let worker = &call.worker;
    let epoch = worker.shared.table.epoch();
    worker.days.with(&worker.shared.day, look.day, |facts| {
        push_reading(out, reading, value, epoch, facts)
    });
}

/// One entry of the list; one that cannot be read has no value.
fn push_listed(call: &Call, out: &mut Vec<u8>, reading: &Reading, value: Option<i64>, look: Look) {
    match value {
        Some(value) => push(call, out, reading, value, look),
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
