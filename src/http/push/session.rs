//! One connection that is told of changes: what it still takes of the last event, and what its client sends.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead as _, AsyncWrite as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;

use super::books::Next;
use super::hub::Hub;
use super::{Handover, PushPlace, SessionEnd, Subscription};
use crate::metrics::{PushEnd, PushTransport};

/// How long the last words wait for the client to take them and to close its side.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How much of what a client sent is read at once.
const READ_AT_ONCE: usize = 2048;

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

/// One connection.
struct Session {
    member: Member,
    stream: TcpStream,
    /// What the client has not taken yet of the event that was begun.
    rest: Bytes,
    /// What the client asked for and has no answer to yet.
    wanted: Option<Subscription>,
}

/// What a session does next.
enum Step {
    Subscribe(Subscription),
    End(PushEnd),
}

/// Serves a connection until it ends.
pub(super) async fn serve(hub: Arc<Hub>, stream: TcpStream, _unread: Bytes, handover: Handover) {
    let Handover {
        head,
        start,
        on_end,
    } = handover;
    let key = hub.join(PushTransport::Sse);
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
        rest: head,
        wanted: Some(start.subscription),
    };
    session.member.end = session.run().await;
}

impl Session {
    async fn run(&mut self) -> PushEnd {
        loop {
            match std::future::poll_fn(|context| self.poll(context)).await {
                Step::Subscribe(subscription) => {
                    let Member { hub, key, .. } = &self.member;
                    self.rest = hub.subscribe(*key, subscription).await;
                }
                Step::End(PushEnd::Drained) if self.rest.is_empty() => {
                    self.say_goodbye().await;
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
                    break;
                }
            }
            if let Some(wanted) = self.wanted.take() {
                return Poll::Ready(Step::Subscribe(wanted));
            }
            match hub.next(*key) {
                Next::Event(event) => self.rest = event,
                Next::Nothing => break,
                Next::End(end) => return Poll::Ready(Step::End(end)),
            }
        }
        self.poll_receive(context).map(Step::End)
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
        Poll::Ready(Ok(()))
    }

    /// Reads and drops what the client sends: it has nothing to say.
    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<PushEnd> {
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

    /// Says when to come back, and waits a moment for the client to have heard it.
    async fn say_goodbye(&mut self) {
        let last = self.member.hub.last_words(PushTransport::Sse);
        let goodbye = async {
            self.stream.write_all(&last).await?;
            self.member.sent += last.len() as u64;
            self.stream.shutdown().await?;
            std::future::poll_fn(|context| self.poll_receive(context)).await;
            Ok::<_, io::Error>(())
        };
        // Whoever does not take it in time, or has left, is cut off.
        let _ = tokio::time::timeout(LAST_WORDS, goodbye).await;
    }
}

/// Why a session ends whose socket failed.
fn end_by(error: &io::Error) -> PushEnd {
    match error.kind() {
        io::ErrorKind::TimedOut => PushEnd::Stalled,
        _ => PushEnd::Left,
    }
}
