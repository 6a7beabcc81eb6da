//! Asking to be told of changes: who may, of which counters, from where on.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response};

use super::auth::Access;
use super::call::{Answered, Asked, Call};
use super::error::{Code, Problem};
use super::parse;
use super::push::{MAX_NAMES, Position, PushPlace, Start, Subscription};
use super::query;
use super::reply::ReplyBody;
use super::request_id::{REQUEST_ID, header_value};
use crate::counter::CounterName;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Tells nginx to hand on each event as it comes.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// `GET /api/v1/stream?names=a,b`
pub(super) async fn stream(call: &Call, asked: &Asked<'_>) -> Answered {
    call.check_token(Access::Read, asked.headers, None)?;
    let [names, since, interval] = query::read(asked.uri, ["names", "since", "interval"])?;
    let names = names_of(&names.unwrap_or_default())?;
    let since = since_of(asked, since)?;
    let interval = interval_of(interval)?;
    let place = place(call)?;
    let mut response = Response::new(ReplyBody::Whole(Bytes::new()));
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store"),
        (CONNECTION, "close"),
        (ACCEL_BUFFERING, "no"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(REQUEST_ID, header_value(&call.request_id));
    response.extensions_mut().insert(Start {
        subscription: Subscription {
            names,
            since,
            interval,
        },
        place: Arc::new(place),
    });
    Ok(response)
}

/// Takes a place among the connections that are told of changes.
fn place(call: &Call) -> Result<PushPlace, Problem> {
    call.worker.hub.take_place().ok_or_else(|| {
        let limit = call.worker.options.push.max_connections;
        let detail = format!(
            "{limit} connections are told of changes, as many as the server takes \
             (`push.max_connections`); retry after a pause, or read `/api/v1/counters`"
        );
        Problem::new(Code::TooManyConnections, detail)
    })
}

fn names_of(text: &str) -> Result<Vec<CounterName>, Problem> {
    let mut names: Vec<CounterName> = Vec::new();
    for name in text.split(',').filter(|name| !name.is_empty()) {
        let name = parse::name(name)?;
        if !names.contains(&name) {
            names.push(name);
        }
        if names.len() > MAX_NAMES {
            break;
        }
    }
    if (1..=MAX_NAMES).contains(&names.len()) {
        return Ok(names);
    }
    let detail = format!("`names` must be 1 to {MAX_NAMES} counter names with commas between");
    Err(query::invalid(detail))
}

/// From where on the client wants to be told. A browser that comes back sends the header, with what it had last; the
/// parameter is then older.
fn since_of(asked: &Asked<'_>, since: Option<String>) -> Result<Option<Position>, Problem> {
    let wanted = "`<epoch>.<revision>`, as the last event's `id`";
    let since = query::value("since", since, wanted, Position::parse)?;
    let last = asked.headers.get(LAST_EVENT_ID);
    // A browser would give up for good if this were refused.
    let last = last.and_then(|last| Position::parse(last.to_str().ok()?));
    Ok(last.or(since))
}

fn interval_of(interval: Option<String>) -> Result<Option<Duration>, Problem> {
    query::value(
        "interval",
        interval,
        "a span such as `500ms` or `5s`",
        |text| humantime::parse_duration(text).ok(),
    )
}
