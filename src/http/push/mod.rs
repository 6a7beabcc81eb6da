//! Push: a connection that was handed over by HTTP is told what its counters say, whenever that changes.
//!
//! State is pushed, not messages: each session knows which version of each of its counters it was sent, and asks
//! for the rest when its client can take it. So nothing is queued for a slow client, and one that comes back needs
//! no history: it names the revision up to which it has everything.
//!
//! One [`Hub`] for each runtime looks at the counters that are watched there, a few times a second and only when
//! something was published or time may have changed something; a change is encoded once for all who watch.
//!
//! Kept out: who may subscribe and how that is asked for (`subscribe`), what a counter says (`engine`), and the
//! requests of HTTP.

mod books;
mod frame;
mod handshake;
mod hub;
mod message;
mod position;
mod read;
mod said;
mod session;
mod state;
mod ticket;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, DATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use rustix::net::sockopt::{set_socket_send_buffer_size, set_tcp_user_timeout};
use tokio::net::TcpStream;

use super::reply;
use crate::counter::{CounterName, Millis};
use crate::metrics::{PushMetrics, PushTransport};

pub(super) use handshake::{PROTOCOL, accept, bearer};
pub(super) use hub::Hub;
pub(super) use message::interval_of;
pub(super) use position::Position;
pub(super) use ticket::{TICKET_FOR, Tickets};

/// Bytes that the kernel holds for a client that has not read them; it takes twice as many.
const UNREAD_BYTES: usize = 16 * 1024;

/// Most counters of one connection.
pub(super) const MAX_NAMES: usize = 100;

/// How connections are told of changes.
#[derive(Clone, Copy, Debug)]
pub struct PushOptions {
    /// The least time between two updates of a counter to one client.
    pub interval: Duration,
    /// Most connections at once, apart from those of `server.max_connections`.
    pub max_connections: usize,
    /// How long a client may take nothing of what it is sent.
    pub stall_timeout: Duration,
}

/// What the hubs of all runtimes share.
pub(super) struct Shared {
    pub(super) options: PushOptions,
    pub(super) metrics: PushMetrics,
    /// What browsers show that cannot send a header.
    pub(super) tickets: Tickets,
    open: AtomicUsize,
}

/// A connection's place among those that are told of changes; it is given back when this is dropped.
pub(super) struct PushPlace(Arc<Shared>);

impl Shared {
    pub(super) fn new(options: PushOptions, metrics: PushMetrics) -> Self {
        Self {
            tickets: Tickets::new(options.max_connections),
            options,
            metrics,
            open: AtomicUsize::new(0),
        }
    }

    /// Takes a place; `None` when all are taken.
    pub(super) fn take_place(self: &Arc<Self>) -> Option<PushPlace> {
        let place = PushPlace(Arc::clone(self));
        // Counted first: of two that come at once for the last place one leaves again.
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        (before < self.options.max_connections).then_some(place)
    }
}

impl Drop for PushPlace {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a client asks to be told of.
#[derive(Clone, Debug, Default)]
pub(super) struct Subscription {
    /// The counters, each once.
    pub(super) names: Vec<CounterName>,
    /// How far the client has everything of them; `None` when it has nothing.
    pub(super) since: Option<Position>,
    /// The least time between two updates, where that is more than `push.interval`.
    pub(super) interval: Option<Duration>,
}

/// How a session begins.
#[derive(Clone)]
pub(super) struct Start {
    pub(super) transport: PushTransport,
    /// What is asked for ahead of any message; `None` where messages are to come.
    pub(super) subscription: Option<Subscription>,
    pub(super) place: Arc<PushPlace>,
}

/// Is called at the end of a session, with the bytes that were sent in all.
type SessionEnd = Box<dyn FnOnce(u64) + Send>;

/// A connection on its way from HTTP to its session.
pub(super) struct Handover {
    /// The head of the answer, which is sent first.
    pub(super) head: Bytes,
    pub(super) start: Start,
    pub(super) on_end: SessionEnd,
}

/// Returns the head of an answer as bytes. The connection ends with the answer.
pub(super) fn head(status: StatusCode, mut headers: HeaderMap, now: Millis) -> Bytes {
    // It goes on for as long as the connection does, whatever was said of a body.
    headers.remove(CONTENT_LENGTH);
    if let Some(date) = date(now) {
        headers.insert(DATE, date);
    }
    reply::head(status, &headers).into()
}

/// The header `Date`; `None` outside the years that it can say.
fn date(now: Millis) -> Option<HeaderValue> {
    let timestamp = jiff::Timestamp::from_millisecond(now).ok()?;
    let printer = jiff::fmt::rfc2822::DateTimePrinter::new();
    let text = printer.timestamp_to_rfc9110_string(&timestamp).ok()?;
    HeaderValue::try_from(text).ok()
}

/// Serves a connection that HTTP handed over, in a task of its own. Its hub knows it before this returns.
pub(super) fn serve(hub: Arc<Hub>, stream: TcpStream, unread: Bytes, handover: Handover) {
    let _ = set_socket_send_buffer_size(&stream, UNREAD_BYTES);
    // A client that is gone without a word is noticed by what it does not acknowledge.
    let millis = hub.shared.options.stall_timeout.as_millis();
    let _ = set_tcp_user_timeout(&stream, u32::try_from(millis).unwrap_or(u32::MAX));
    tokio::spawn(session::begin(hub, stream, &unread, handover));
}
