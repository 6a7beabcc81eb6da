//! One client connection: the socket, what phase it is in, and the limits on its time.
//!
//! No timer is set for a request. A connection notes its phase and when that began, in ticks; its
//! runtime looks through all connections a few times a second and tells those that are late.
//!
//! Errors that hyper answers by itself with a bare status (a malformed head) leave as
//! problem+json all the same: the socket knows hyper's answer by its first bytes.
//!
//! While the server drains, a connection ends as soon as nothing that arrived is unanswered. The last
//! answer says `Connection: close` when it is certain that nothing stands behind its request, neither
//! in hyper's buffer nor in the kernel's; else the connection is closed without a word.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::error::{Code, Problem};
use super::worker::Worker;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// Waiting for a request, or for the client to take the last answer.
    Idle,
    /// A part of a head has arrived.
    Head,
    /// The head is here, the body is not yet.
    Body,
    /// The request is here and being answered.
    Working,
}

impl Phase {
    fn from_u8(byte: u8) -> Self {
        match byte {
            1 => Self::Head,
            2 => Self::Body,
            3 => Self::Working,
            _ => Self::Idle,
        }
    }
}

/// What the runtime has to say to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Order {
    GoOn,
    /// The head or the body is late.
    TooLate,
    /// End at once, without an answer.
    End,
}

/// The coarse clock of a runtime: milliseconds since it started, moved by its sweeps.
#[derive(Default)]
pub(super) struct Ticks {
    now: AtomicU32,
    draining: AtomicBool,
}

impl Ticks {
    pub(super) fn set(&self, now: u32) {
        self.now.store(now, Ordering::Relaxed);
    }

    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    fn now(&self) -> u32 {
        self.now.load(Ordering::Relaxed)
    }
}

/// How long each phase may last, in ticks.
#[derive(Clone, Copy, Debug)]
pub(super) struct PhaseLimits {
    pub(super) idle: u32,
    pub(super) head: u32,
    pub(super) body: u32,
}

/// What is known of a connection. Used by its runtime's thread only; the atomics cost nothing there
/// and spare an unsafe promise.
pub(super) struct Connection {
    /// Who is at the other end.
    pub(super) peer: SocketAddr,
    ticks: Arc<Ticks>,
    phase: AtomicU8,
    since: AtomicU32,
    order: AtomicU8,
    /// A part of an answer is still to be sent.
    unsent: AtomicBool,
    /// Everything that arrived was read, as of the last read while draining.
    all_read: AtomicBool,
    /// Bytes that arrived since the last request began, and before that since the one before it.
    arrived: AtomicU32,
    arrived_before: AtomicU32,
    /// Nothing was read beyond the request that was answered last.
    alone: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Connection {
    pub(super) fn new(peer: SocketAddr, ticks: Arc<Ticks>) -> Self {
        Self {
            peer,
            phase: AtomicU8::new(Phase::Idle as u8),
            since: AtomicU32::new(ticks.now()),
            order: AtomicU8::new(Order::GoOn as u8),
            unsent: AtomicBool::new(false),
            all_read: AtomicBool::new(false),
            arrived: AtomicU32::new(0),
            arrived_before: AtomicU32::new(0),
            alone: AtomicBool::new(false),
            task: Mutex::new(None),
            ticks,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        Phase::from_u8(self.phase.load(Ordering::Relaxed))
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
        self.since.store(self.ticks.now(), Ordering::Relaxed);
    }

    /// A request's head is complete.
    pub(super) fn request_begins(&self) {
        self.arrived_before
            .store(self.arrived.load(Ordering::Relaxed), Ordering::Relaxed);
        self.arrived.store(0, Ordering::Relaxed);
        self.alone.store(false, Ordering::Relaxed);
        self.enter(Phase::Working);
    }

    /// The request's body is waited for.
    pub(super) fn body_begins(&self) {
        self.enter(Phase::Body);
    }

    /// The request's body is complete, or no longer waited for.
    pub(super) fn body_ends(&self) {
        self.enter(Phase::Working);
    }

    /// Says how long the request was, as sent: if just as much arrived, nothing was read beyond it.
    pub(super) fn measure(&self, request_bytes: usize) {
        let own = self.arrived_before.load(Ordering::Relaxed) as usize
            + self.arrived.load(Ordering::Relaxed) as usize;
        self.alone.store(own == request_bytes, Ordering::Relaxed);
    }

    /// The request is answered.
    pub(super) fn request_ends(&self) {
        self.enter(Phase::Idle);
    }

    /// Whether the body that is waited for should have been here by now.
    pub(super) fn body_is_late(&self) -> bool {
        self.order.load(Ordering::Relaxed) == Order::TooLate as u8
    }

    /// Tells the connection if its phase has lasted too long.
    pub(super) fn judge(&self, limits: PhaseLimits) {
        let lasted = self
            .ticks
            .now()
            .wrapping_sub(self.since.load(Ordering::Relaxed));
        let (limit, order) = match self.phase() {
            Phase::Idle => (limits.idle, Order::End),
            Phase::Head => (limits.head, Order::TooLate),
            Phase::Body => (limits.body, Order::TooLate),
            Phase::Working => return,
        };
        if lasted > limit {
            self.tell(order);
        }
    }

    /// Ends it at once.
    pub(super) fn end(&self) {
        self.tell(Order::End);
    }

    fn tell(&self, order: Order) {
        self.order.store(order as u8, Ordering::Relaxed);
        self.wake();
    }

    /// Makes its task look at its orders.
    pub(super) fn wake(&self) {
        if let Some(task) = &*self.task.lock() {
            task.wake_by_ref();
        }
    }

    /// What the connection's task has to do after hyper had its turn.
    pub(super) fn verdict(&self) -> Verdict {
        let order = self.order.load(Ordering::Relaxed);
        if order == Order::End as u8 {
            return Verdict::End;
        }
        let phase = self.phase();
        if order == Order::TooLate as u8 && phase == Phase::Head {
            return Verdict::EndLate;
        }
        let quiet = phase == Phase::Idle && !self.unsent.load(Ordering::Relaxed);
        if quiet && self.ticks.is_draining() && self.all_read.load(Ordering::Relaxed) {
            return Verdict::End;
        }
        Verdict::GoOn
    }

    /// Remembers whom to wake.
    pub(super) fn set_task(&self, task: &Waker) {
        *self.task.lock() = Some(task.clone());
    }

    fn take_note_of_arrived(&self, bytes: usize) {
        if self.phase() == Phase::Idle {
            self.enter(Phase::Head);
        }
        let before = self.arrived.load(Ordering::Relaxed);
        self.arrived.store(
            before.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX)),
            Ordering::Relaxed,
        );
        self.all_read.store(false, Ordering::Relaxed);
    }
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes on.
    GoOn,
    /// It ends.
    End,
    /// It ends with an answer that says that the head is late.
    EndLate,
}

/// The socket as hyper sees it.
pub(super) struct Socket {
    stream: TcpStream,
    connection: Arc<Connection>,
    worker: Arc<Worker>,
    /// What goes out in place of what hyper wrote.
    instead: Bytes,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, connection: Arc<Connection>, worker: Arc<Worker>) -> Self {
        Self {
            stream,
            connection,
            worker,
            instead: Bytes::new(),
        }
    }

    /// Says that the head is late, if the client takes it at once.
    pub(super) fn refuse_late_head(&self) {
        let detail = "the request's head did not arrive in time; send it again, whole";
        let wire = self.unread(Problem::new(Code::RequestTimeout, detail));
        // The connection ends either way.
        let _ = self.stream.try_write(&wire);
    }

    /// The answer to what never became a request, which is counted and logged as one.
    fn unread(&self, problem: Problem) -> Vec<u8> {
        let request_id = self.worker.ids.make();
        let body_bytes = problem.to_json(&request_id).len() as u64;
        self.worker
            .note_unread(self.connection.peer, &request_id, problem.code, body_bytes);
        problem.to_wire(&request_id)
    }

    /// The last answer of a draining connection, with a word that says so, if it is certain to be the
    /// last.
    fn last_answer(&self, answer: &[u8]) -> Option<Vec<u8>> {
        let may_be_last = self.connection.ticks.is_draining()
            && self.connection.phase() == Phase::Idle
            && self.connection.alone.swap(false, Ordering::Relaxed);
        if !may_be_last || !answer.starts_with(b"HTTP/1.1 ") || !self.nothing_waits() {
            return None;
        }
        let (status_line, rest) =
            answer.split_at_checked(answer.iter().position(|&byte| byte == b'\n')? + 1)?;
        Some([status_line, b"connection: close\r\n", rest].concat())
    }

    /// Whether the kernel holds nothing that was not read.
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

    /// Sends what is left of our own answer.
    fn poll_instead(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.instead.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !self.instead.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(context, &self.instead))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.instead.advance(sent);
        }
        self.connection.unsent.store(false, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

/// The problem that stands behind an answer of hyper's own: those have a status and no body, which
/// none of ours has.
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
    match status {
        b"00" => Some(Problem::new(
            Code::BadRequest,
            "the request line, a header or the body's framing is malformed; speak HTTP/1.1",
        )),
        b"14" => Some(Problem::new(
            Code::UriTooLong,
            "the path and query are too long",
        )),
        b"31" => Some(Problem::new(
            Code::HeadersTooLarge,
            "the headers are too large; send fewer or shorter ones",
        )),
        _ => None,
    }
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
            if self.connection.ticks.is_draining() {
                // The reactor may not have told yet of what the kernel holds.
                let all_read = self.nothing_waits();
                self.connection.all_read.store(all_read, Ordering::Relaxed);
            }
        } else if buffer.filled().len() > before {
            self.connection
                .take_note_of_arrived(buffer.filled().len() - before);
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
        if let Some(problem) = made_by_hyper(answer) {
            self.instead = self.unread(problem).into();
        } else if let Some(last) = self.last_answer(answer) {
            self.instead = last.into();
        }
        if !self.instead.is_empty() {
            self.connection.unsent.store(true, Ordering::Relaxed);
            return Poll::Ready(Ok(answer.len()));
        }
        let polled = Pin::new(&mut self.stream).poll_write(context, answer);
        let unsent = match &polled {
            Poll::Ready(Ok(sent)) => *sent < answer.len(),
            Poll::Ready(Err(_)) => false,
            Poll::Pending => true,
        };
        self.connection.unsent.store(unsent, Ordering::Relaxed);
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
