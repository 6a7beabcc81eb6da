//! The socket of a client connection, as hyper sees it.
//!
//! A connection that is to end is closed where nothing can be lost: when hyper has used up all it read
//! and asks for more, and the kernel has nothing more either, the socket says that the client has
//! finished. A request that was read is therefore answered, and one that was not read is not counted.
//!
//! Errors that hyper answers by itself with a bare status (a malformed head) leave as
//! problem+json all the same: the socket knows hyper's answer by its first bytes.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use memchr::memmem::Finder;
use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::connection::{Connection, Phase};
use super::error::{Code, Problem};
use super::worker::Admitted;

/// How much is read and dropped of what a client sent after its last answer, so that closing does not
/// reset the connection under that answer.
const MAX_DROPPED: usize = 256 * 1024;

/// The socket as hyper sees it.
pub(super) struct Socket {
    stream: TcpStream,
    connection: Arc<Connection>,
    admitted: Admitted,
    /// What goes out in place of what hyper wrote.
    instead: Bytes,
    /// The head that arrived last says that a body follows which is too long to count.
    endless_body: bool,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, admitted: Admitted) -> Self {
        Self {
            stream,
            connection: Arc::clone(&admitted.connection),
            admitted,
            instead: Bytes::new(),
            endless_body: false,
        }
    }

    /// Returns the bare socket, of a connection that is handed over. It is then none of HTTP's any more.
    pub(super) fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Says that the head is late, if the client takes it at once.
    fn refuse_late_head(&self) {
        let detail = "the request's head did not arrive in time; send it again, whole";
        let problem = Problem::new(Code::RequestTimeout, detail);
        let wire = self.admitted.answer_unread(&problem);
        // The connection ends either way.
        let _ = self.stream.try_write(&wire);
    }

    /// Whether the kernel holds nothing that was not read. The reactor may not have told yet of what
    /// it holds.
    fn nothing_waits(&self) -> bool {
        let mut byte = [0u8; 1];
        match rustix::net::recv(
            &self.stream,
            &mut byte,
            RecvFlags::PEEK | RecvFlags::DONTWAIT,
        ) {
            Ok((_, waiting)) => waiting == 0,
            Err(_) => true,
        }
    }

    /// Ends a connection that is to end, once everything that arrived was read and used. hyper takes `Ok` without a
    /// byte for the end.
    fn poll_end(&self) -> Poll<io::Result<()>> {
        if self.connection.closes() && self.nothing_waits() {
            return Poll::Ready(Ok(()));
        }
        if self.connection.head_is_late() && self.nothing_waits() {
            self.refuse_late_head();
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }

    /// Drops what the client sent too late, as far as it is here.
    fn drop_unread(&self) {
        let mut dropped = [0u8; 4096];
        let mut left = MAX_DROPPED;
        while let Ok(read @ 1..) = self.stream.try_read(&mut dropped) {
            left = left.saturating_sub(read);
            if left == 0 {
                break;
            }
        }
    }

    /// Sends what is left of our own answer.
    #[inline]
    fn poll_instead(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.instead.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(context, &self.instead))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.instead.advance(sent);
            self.connection.take_note_of_sent(!self.instead.is_empty());
        }
        Poll::Ready(Ok(()))
    }
}

/// Recognises an error answer that hyper wrote itself: it has a status and no body, which none of ours
/// has.
fn made_by_hyper(answer: &[u8]) -> Option<Problem> {
    let rest = answer
        .strip_prefix(b"HTTP/1.1 4")
        .or_else(|| answer.strip_prefix(b"HTTP/1.0 4"))?;
    let (status, rest) = (
        rest.first_chunk::<2>()?,
        rest.splitn(2, |&byte| byte == b'\n').nth(1)?,
    );
    let rest = rest.strip_prefix(b"connection: close\r\n").unwrap_or(rest);
    if !rest.starts_with(b"content-length: 0\r\n") {
        return None;
    }
    let (code, detail) = match status {
        b"00" => (
            Code::BadRequest,
            "the request line, a header or the body's framing is malformed; speak HTTP/1.1",
        ),
        b"14" => (Code::UriTooLong, "the path and query are too long"),
        b"31" => (
            Code::HeadersTooLarge,
            "the headers are too large; send fewer or shorter ones",
        ),
        _ => return None,
    };
    Some(Problem::new(code, detail))
}

/// Whether a `Content-Length` is one of the last before 2^64. hyper answers those as it answers headers
/// that are too large, for it keeps these numbers to itself.
fn says_endless_body(head: &[u8]) -> bool {
    // Made once: every head is searched.
    static ENDLESS: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"184467440737095516"));
    ENDLESS.find(head).is_some()
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if polled.is_pending() {
            return self.poll_end();
        }
        if let Some(arrived @ [_, ..]) = buffer.filled().get(before..) {
            self.connection.take_note_of_arrived(arrived);
            if self.connection.phase() == Phase::Head {
                self.endless_body = says_endless_body(arrived);
            }
        }
        polled
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        answer: &[u8],
    ) -> Poll<io::Result<usize>> {
        // What replaced an earlier write goes out before this one.
        ready!(self.poll_instead(context))?;
        if let Some(mut problem) = made_by_hyper(answer) {
            if self.endless_body && problem.code == Code::HeadersTooLarge {
                problem = Problem::new(Code::BodyTooLarge, "`Content-Length` is beyond all limits");
            }
            self.instead = self.admitted.answer_unread(&problem).into();
            self.connection.enter(Phase::Sending);
            self.connection.take_note_of_sent(true);
            return Poll::Ready(Ok(answer.len()));
        }
        let polled = Pin::new(&mut self.stream).poll_write(context, answer);
        match &polled {
            Poll::Ready(Ok(sent)) => self.connection.take_note_of_sent(*sent < answer.len()),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.connection.set_unsent(true),
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(context))?;
        // hyper asks for this when it holds nothing more to send.
        self.connection.take_note_of_all_sent();
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(context))?;
        ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        self.drop_unread();
        Poll::Ready(Ok(()))
    }
}
