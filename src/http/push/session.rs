//! One connection that is told of changes: what it still takes of the last event, and what its client sends.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead as _, AsyncWrite as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;

use super::books::Next;
use super::frame::{self, Close, Decoder, Received};
use super::hub::Hub;
use super::message;
use super::{Handover, PushPlace, SessionEnd, Subscription};
use crate::counter::Millis;
use crate::metrics::{PushEnd, PushTransport};

/// How long the last words wait for the client to take them and to close its side.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How much of what a client sent is read at once.
const READ_AT_ONCE: usize = 2048;

/// Messages and frames that a client may send in a second, and at once.
const MESSAGES: i64 = 10;
const FRAMES: i64 = 100;

/// After a stream of events broke off, clients come back within this span, in milliseconds.
const RETRY: std::ops::Range<u64> = 1000..3000;
/// After the server ended, within this one.
const RETRY_AFTER_END: std::ops::Range<u64> = 500..5000;

/// A session among those of its hub. Its end is told once, however it comes.
struct Member {
    hub: Arc<Hub>,
    key: usize,
    end: PushEnd,
    sent: u64,
    on_end: Option<SessionEnd>,
    /// Given back after the session was taken out of its hub.
    _place: Arc<PushPlace>,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.hub.leave(self.key, self.end);
        if let Some(on_end) = self.on_end.take() {
            on_end(self.sent);
        }
    }
}

/// How much a client may still send at this moment.
struct Allowance {
    left: i64,
    at: Millis,
    a_second: i64,
}

impl Allowance {
    fn new(a_second: i64, now: Millis) -> Self {
        Self {
            left: a_second * 1000,
            at: now,
            a_second,
        }
    }

    /// Takes one; returns whether there was one.
    fn take(&mut self, now: Millis) -> bool {
        let passed = now.saturating_sub(self.at).clamp(0, 1000);
        self.at = now;
        self.left = (self.left + passed * self.a_second).min(self.a_second * 1000);
        let has_one = self.left >= 1000;
        if has_one {
            self.left -= 1000;
        }
        has_one
    }
}

/// What is known of what the client of a WebSocket sends.
struct Inbound {
    decoder: Decoder,
    messages: Allowance,
    frames: Allowance,
    /// The last ping that was not answered yet.
    ping: Option<Vec<u8>>,
}

/// One connection.
struct Session {
    member: Member,
    stream: TcpStream,
    /// What the client has not taken yet of the event that was begun.
    rest: Bytes,
    /// What the client asked for and has no answer to yet.
    wanted: Option<Subscription>,
    /// `None` where the client has nothing to say.
    inbound: Option<Box<Inbound>>,
}

/// What a session does next.
enum Step {
    Subscribe(Subscription),
    /// Says this last, and ends.
    Close(Close, PushEnd),
    End(PushEnd),
}

/// Makes the session of a connection, which its hub knows from then on, and serves the connection until it ends.
pub(super) fn begin(
    hub: Arc<Hub>,
    stream: TcpStream,
    unread: &[u8],
    handover: Handover,
) -> impl Future<Output = ()> + Send + use<> {
    let Handover {
        head,
        start,
        on_end,
    } = handover;
    let (key, now) = (hub.join(start.transport), hub.now());
    let mut rest = Vec::from(head);
    let inbound = match start.transport {
        PushTransport::Sse => {
            rest.extend_from_slice(&retry(RETRY));
            None
        }
        PushTransport::Ws => {
            let mut decoder = Decoder::default();
            decoder.feed(unread);
            Some(Box::new(Inbound {
                decoder,
                messages: Allowance::new(MESSAGES, now),
                frames: Allowance::new(FRAMES, now),
                ping: None,
            }))
        }
    };
    let mut session = Session {
        member: Member {
            hub,
            key,
            end: PushEnd::Ended,
            sent: 0,
            on_end: Some(on_end),
            _place: start.place,
        },
        stream,
        rest: rest.into(),
        wanted: start.subscription,
        inbound,
    };
    async move {
        session.member.end = session.run().await;
        // Its end is told here.
        drop(session);
    }
}

impl Session {
    async fn run(&mut self) -> PushEnd {
        loop {
            match std::future::poll_fn(|context| self.poll(context)).await {
                Step::Subscribe(subscription) => {
                    let Member { hub, key, .. } = &self.member;
                    self.rest = hub.subscribe(*key, subscription).await;
                }
                Step::Close(close, end) => {
                    self.say_last(close.frame()).await;
                    return end;
                }
                Step::End(PushEnd::Drained) if self.rest.is_empty() => {
                    let goodbye = match self.inbound {
                        None => retry(RETRY_AFTER_END).into(),
                        Some(_) => {
                            let reason = format!("retry {}", spread(RETRY_AFTER_END));
                            Close::new(1001, reason).frame()
                        }
                    };
                    self.say_last(goodbye).await;
                    return PushEnd::Drained;
                }
                Step::End(end) => return end,
            }
        }
    }

    /// Sends what there is to send and reads what came, until there is something else to do.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Step> {
        self.member.hub.set_waker(self.member.key, context.waker());
        loop {
            let sent = self.poll_send(context);
            let Member { hub, key, .. } = &self.member;
            match sent {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(end)) => return Poll::Ready(Step::End(end)),
                Poll::Pending => {
                    if let Some(end) = hub.is_blocked(*key) {
                        return Poll::Ready(Step::End(end));
                    }
                    // A client that takes nothing is not heard either: there is no place for the answer.
                    return match self.inbound {
                        None => self.poll_discard(context).map(Step::End),
                        Some(_) => Poll::Pending,
                    };
                }
            }
            if let Some(wanted) = self.wanted.take() {
                return Poll::Ready(Step::Subscribe(wanted));
            }
            if let Some(ping) = self
                .inbound
                .as_mut()
                .and_then(|inbound| inbound.ping.take())
            {
                self.rest = frame::pong(&ping);
                continue;
            }
            match hub.next(*key) {
                Next::Event(event) => {
                    self.rest = event;
                    continue;
                }
                Next::Nothing => {}
                Next::End(end) => return Poll::Ready(Step::End(end)),
            }
            if self.inbound.is_none() {
                return self.poll_discard(context).map(Step::End);
            }
            if let Some(step) = ready!(self.poll_hear(context)) {
                return Poll::Ready(step);
            }
        }
    }

    /// Sends the rest of the event that was begun.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<Result<(), PushEnd>> {
        while !self.rest.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(context, &self.rest));
            match sent {
                Ok(0) => return Poll::Ready(Err(PushEnd::Left)),
                Ok(sent) => {
                    self.rest.advance(sent);
                    self.member.sent += sent as u64;
                    self.member.hub.has_taken(self.member.key);
                }
                Err(error) => return Poll::Ready(Err(end_by(&error))),
            }
        }
        // What was sent may be the last that holds a shared event.
        self.rest = Bytes::new();
        Poll::Ready(Ok(()))
    }

    /// Reads and drops what the client sends, until it leaves.
    fn poll_discard(&mut self, context: &mut Context<'_>) -> Poll<PushEnd> {
        let mut bytes = [0u8; READ_AT_ONCE];
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer)) {
                Ok(()) if buffer.filled().is_empty() => return Poll::Ready(PushEnd::Left),
                Ok(()) => {}
                Err(error) => return Poll::Ready(end_by(&error)),
            }
        }
    }

    /// Hears what the client of a WebSocket says; `None` when there is something to send about it.
    fn poll_hear(&mut self, context: &mut Context<'_>) -> Poll<Option<Step>> {
        let Self {
            member: Member { hub, key, .. },
            stream,
            wanted,
            inbound: Some(inbound),
            ..
        } = self
        else {
            return Poll::Pending;
        };
        loop {
            while let Some(received) = match inbound.decoder.next() {
                Ok(received) => received,
                Err(close) => return Poll::Ready(Some(Step::Close(close, PushEnd::Malformed))),
            } {
                hub.has_heard(*key);
                let now = hub.now();
                let is_message = matches!(received, Some(Received::Text(_)));
                if !inbound.frames.take(now) || is_message && !inbound.messages.take(now) {
                    let reason = format!("too_fast: at most {MESSAGES} messages a second");
                    let close = Close::new(1008, reason);
                    return Poll::Ready(Some(Step::Close(close, PushEnd::Refused)));
                }
                match received {
                    None | Some(Received::Pong) => {}
                    Some(Received::Ping(bytes)) => {
                        inbound.ping = Some(bytes);
                        return Poll::Ready(None);
                    }
                    Some(Received::Close(code)) => {
                        let close = Close::new(code.unwrap_or(1000), "");
                        return Poll::Ready(Some(Step::Close(close, PushEnd::Left)));
                    }
                    Some(Received::Text(text)) => match heed(hub, *key, &text) {
                        Ok(None) => {}
                        Ok(subscription) => {
                            *wanted = subscription;
                            return Poll::Ready(None);
                        }
                        Err(close) => {
                            return Poll::Ready(Some(Step::Close(close, PushEnd::Refused)));
                        }
                    },
                }
            }
            let mut bytes = [0u8; READ_AT_ONCE];
            let mut buffer = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer)) {
                Ok(()) if buffer.filled().is_empty() => {
                    return Poll::Ready(Some(Step::End(PushEnd::Left)));
                }
                Ok(()) => inbound.decoder.feed(buffer.filled()),
                Err(error) => return Poll::Ready(Some(Step::End(end_by(&error)))),
            }
        }
    }

    /// Says something last, and waits a moment for the client to have heard it.
    async fn say_last(&mut self, last: Bytes) {
        let saying = async {
            self.stream.write_all(&last).await?;
            self.member.sent += last.len() as u64;
            self.stream.shutdown().await?;
            std::future::poll_fn(|context| self.poll_discard(context)).await;
            Ok::<_, io::Error>(())
        };
        // Whoever does not take it in time, or has left, is cut off.
        let _ = tokio::time::timeout(LAST_WORDS, saying).await;
    }
}

/// Does what a message asks for; returns what it subscribes to.
fn heed(hub: &Hub, key: usize, text: &str) -> Result<Option<Subscription>, Close> {
    let message::Request {
        unsubscribe,
        subscribe,
        alerts,
    } = message::parse(text)?;
    hub.unsubscribe(key, &unsubscribe);
    if let Some(wanted) = alerts {
        hub.want_alerts(key, wanted);
    }
    if let Some(subscription) = &subscribe
        && !hub.has_room(&subscription.names, key)
    {
        return Err(message::too_many());
    }
    Ok(subscribe)
}

/// Tells a browser after how long to come back.
fn retry(within: std::ops::Range<u64>) -> Vec<u8> {
    format!("retry: {}\n\n", spread(within)).into_bytes()
}

/// Returns a number by which clients are spread: they do not all come back at once.
fn spread(within: std::ops::Range<u64>) -> u64 {
    let width = within.end.saturating_sub(within.start).max(1);
    // The standard hasher is keyed anew each time.
    within.start + RandomState::new().hash_one(0) % width
}

/// Why a session ends whose socket failed.
fn end_by(error: &io::Error) -> PushEnd {
    match error.kind() {
        io::ErrorKind::TimedOut => PushEnd::Stalled,
        _ => PushEnd::Left,
    }
}
