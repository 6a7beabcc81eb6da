//! Asking to be told of changes: who may, of which counters, from where on.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_TYPE, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use serde::Serialize;

use super::auth::Access;
use super::call::{Answered, Asked, Call};
use super::error::{Code, Problem};
use super::push::{
    self, MAX_NAMES, Position, PushPlace, Start, Subscription, TICKET_FOR, interval_of,
};
use super::query;
use super::reply::ReplyBody;
use super::request_id::{REQUEST_ID, header_value};
use super::wire::{self, no_store};
use crate::metrics::PushTransport;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Tells nginx to hand on each event as it comes.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// `GET /api/v1/stream?names=a,b`
pub(super) async fn stream(call: &Call, asked: &Asked<'_>) -> Answered {
    admit(call, asked, None)?;
    let [names, since, interval] = query::read(asked.uri, ["names", "since", "interval"])?;
    let subscription = Subscription {
        names: query::names(names, MAX_NAMES)?,
        since: since_of(asked, since)?,
        interval: query::value(
            "interval",
            interval,
            "a span such as `500ms` or `5s`",
            interval_of,
        )?,
    };
    let mut response = answer(
        call,
        StatusCode::OK,
        [
            (CONTENT_TYPE, "text/event-stream"),
            (CACHE_CONTROL, "no-store"),
            (CONNECTION, "close"),
            (ACCEL_BUFFERING, "no"),
        ],
    );
    if *asked.method != Method::HEAD {
        response.extensions_mut().insert(Start {
            transport: PushTransport::Sse,
            subscription: Some(subscription),
            place: Arc::new(place(call)?),
        });
    }
    Ok(response)
}

/// `GET /api/v1/ws`
pub(super) async fn ws(call: &Call, asked: &Asked<'_>) -> Answered {
    admit(call, asked, push::bearer(asked.headers).as_deref())?;
    let accept = push::accept(asked.version, asked.headers)?;
    if *asked.method == Method::HEAD {
        let detail = "a WebSocket is opened by `GET`";
        return Err(Problem::new(Code::MethodNotAllowed, detail));
    }
    let place = place(call)?;
    let mut response = answer(
        call,
        StatusCode::SWITCHING_PROTOCOLS,
        [
            (UPGRADE, "websocket"),
            (CONNECTION, "Upgrade"),
            (SEC_WEBSOCKET_PROTOCOL, push::PROTOCOL),
            (CACHE_CONTROL, "no-store"),
        ],
    );
    if let Ok(accept) = HeaderValue::from_str(&accept) {
        response.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    response.extensions_mut().insert(Start {
        transport: PushTransport::Ws,
        subscription: None,
        place: Arc::new(place),
    });
    Ok(response)
}

/// `POST /api/v1/push-ticket`
pub(super) async fn ticket(call: &Call, _: &Asked<'_>) -> Answered {
    let engine = &call.worker.shared.engine;
    let tickets = &call.worker.hub.shared.tickets;
    let Some(ticket) = tickets.give(engine.boot_ms()) else {
        let detail = "there are as many tickets as the server keeps; retry after a short pause";
        return Err(Problem::new(Code::Overloaded, detail));
    };
    let body = TicketBody {
        success: true,
        ticket,
        expires_in: TICKET_FOR / 1000,
    };
    Ok(no_store(wire::answer(&call.request_id, &body)))
}

#[derive(Serialize)]
struct TicketBody {
    success: bool,
    ticket: String,
    /// In seconds.
    expires_in: i64,
}

/// Judges who asks, by a ticket, a token that came otherwise than in its header, or that header; then the query.
fn admit(call: &Call, asked: &Asked<'_>, shown: Option<&str>) -> Result<(), Problem> {
    // Of a query that is not understood there is no ticket; that is judged after the token.
    let ticket = query::read(asked.uri, ["ticket"]);
    match ticket.ok().and_then(|[ticket]| ticket) {
        None => call.check_token(Access::Read, asked.headers, shown)?,
        Some(ticket) => {
            let now = call.worker.shared.engine.boot_ms();
            if !call.worker.hub.shared.tickets.take(&ticket, now) {
                let detail = "the ticket is not known, was used, or is older than 30 seconds; ask for \
                              another at `POST /api/v1/push-ticket`";
                return Err(Problem::new(Code::Unauthorized, detail));
            }
        }
    }
    query::check(asked.uri, asked.endpoint)
}

/// Returns an answer without a body of its own.
fn answer<const N: usize>(
    call: &Call,
    status: StatusCode,
    headers: [(HeaderName, &'static str); N],
) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::Whole(Bytes::new()));
    *response.status_mut() = status;
    for (name, value) in headers {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    let id = header_value(&call.request_id);
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Takes a place among the connections that are told of changes.
fn place(call: &Call) -> Result<PushPlace, Problem> {
    call.worker.hub.take_place().ok_or_else(|| {
        call.worker.hub.shared.metrics.refused.inc();
        let limit = call.worker.options.push.max_connections;
        let detail = format!(
            "{limit} connections are told of changes, as many as the server takes \
             (`push.max_connections`); retry after a pause, or read `/api/v1/counters`"
        );
        Problem::new(Code::TooManyConnections, detail)
    })
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
