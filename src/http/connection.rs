//! One client connection: the socket, what phase it is in, and the limits on its time.
//!
//! No timer is set for a request. A connection notes its phase and when that began, in ticks; its
//! runtime looks through all connections a few times a second and tells those that are late.
//!
//! A connection that is to end is closed where nothing can be lost: when hyper has used up all it read
//! and asks for more, and the kernel has nothing more either, the socket says that the client has
//! finished. A request that was read is therefore answered, and one that was not read is not counted.
//!
//! Errors that hyper answers by itself with a bare status (a malformed head) leave as
//! problem+json all the same: the socket knows hyper's answer by its first bytes.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use memchr::memmem::Finder;
use parking_lot::Mutex;
use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::body_memory::BodyMemory;
use super::error::{Code, Problem};
use super::places::Place;

/// Of what a client sent after its last answer, this much is read and dropped, so that closing does
/// not reset the connection under that answer.
const MAX_DROPPED: usize = 256 * 1024;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// Waiting for a request.
    Idle,
    /// A part of a head has arrived.
    Head,
    /// The head is here, the body is not yet.
    Body,
    /// The request is here and being answered.
    Working,
    /// The answer has begun and is not all sent.
    Sending,
    /// It speaks another protocol now; whoever does keeps its times.
    Upgraded,
}

impl Phase {
    fn from_u8(byte: u8) -> Self {
        match byte {
            1 => Self::Head,
            2 => Self::Body,
            3 => Self::Working,
            4 => Self::Sending,
            5 => Self::Upgraded,
            _ => Self::Idle,
        }
    }
}

/// What the runtime has to say to a connection. An order is about the phase it was given in: it is
/// taken back when the connection gets into another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Order {
    GoOn,
    /// It rested for too long: close it, unless a request has come.
    Close,
    /// The head or the body is late.
    TooLate,
    /// The client takes nothing of its answer: cut it off.
    Cut,
    /// The server ends: what is being answered is answered, all else is cut off. Never taken back.
    End,
}

impl Order {
    fn from_u8(byte: u8) -> Self {
        match byte {
            1 => Self::Close,
            2 => Self::TooLate,
            3 => Self::Cut,
            4 => Self::End,
            _ => Self::GoOn,
        }
    }
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

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    fn now(&self) -> u32 {
        self.now.load(Ordering::Relaxed)
    }
}

/// How long each phase may last, in ticks.
#[derive(Clone, Copy, Debug)]
pub(super) struct PhaseLimits {
    /// Without a request, and without progress while an answer is sent.
    pub(super) idle: u32,
    pub(super) head: u32,
    pub(super) body: u32,
}

/// What is known of a connection. Used by its runtime's thread only; the atomics cost nothing there
/// and spare an unsafe promise.
pub(super) struct Connection {
    /// Who is at the other end.
    pub(super) peer: SocketAddr,
    /// It has one of the places that are kept for probes and administrators.
    pub(super) is_guest: AtomicBool,
    /// What bodies that have not arrived whole may hold.
    pub(super) body_memory: Arc<BodyMemory>,
    ticks: Arc<Ticks>,
    phase: AtomicU8,
    since: AtomicU32,
    order: AtomicU8,
    /// A part of an answer waits for the client to take it.
    unsent: AtomicBool,
    /// The body of the answer comes in pieces, and there are more to come.
    streaming: AtomicBool,
    /// A request of this connection was begun in this turn of its task.
    begun_in_turn: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Connection {
    pub(super) fn new(
        peer: SocketAddr,
        place: Place,
        ticks: Arc<Ticks>,
        body_memory: Arc<BodyMemory>,
    ) -> Self {
        Self {
            peer,
            is_guest: AtomicBool::new(place == Place::Kept),
            body_memory,
            begun_in_turn: AtomicBool::new(false),
            phase: AtomicU8::new(Phase::Idle as u8),
            since: AtomicU32::new(ticks.now()),
            order: AtomicU8::new(Order::GoOn as u8),
            unsent: AtomicBool::new(false),
            streaming: AtomicBool::new(false),
            task: Mutex::new(None),
            ticks,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        Phase::from_u8(self.phase.load(Ordering::Relaxed))
    }

    fn order(&self) -> Order {
        Order::from_u8(self.order.load(Ordering::Relaxed))
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
        self.begin_anew();
    }

    /// Something moved: the phase lasts from now on, and no order about it holds any longer.
    fn begin_anew(&self) {
        self.since.store(self.ticks.now(), Ordering::Relaxed);
        if self.order() != Order::End {
            self.order.store(Order::GoOn as u8, Ordering::Relaxed);
        }
    }

    /// A request's head is complete.
    pub(super) fn request_begins(&self) {
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

    /// The answer begins. It is over when the socket has sent all of it.
    pub(super) fn answer_begins(&self) {
        self.enter(Phase::Sending);
    }

    /// The answer says that another protocol is spoken from now on.
    pub(super) fn upgrade_begins(&self) {
        self.enter(Phase::Upgraded);
    }

    /// Further pieces of the answer's body are to come.
    pub(super) fn stream_begins(&self) {
        self.streaming.store(true, Ordering::Relaxed);
    }

    /// The answer's body is complete, or no longer wanted.
    pub(super) fn stream_ends(&self) {
        self.streaming.store(false, Ordering::Relaxed);
    }

    /// Whether the body that is waited for should have been here by now.
    pub(super) fn body_is_late(&self) -> bool {
        self.order() == Order::TooLate
    }

    /// The connection's task has its turn on the runtime.
    pub(super) fn turn_begins(&self) {
        self.begun_in_turn.store(false, Ordering::Relaxed);
    }

    /// Whether it has had its share of this turn: a request was begun in it before.
    pub(super) fn had_its_turn(&self) -> bool {
        self.begun_in_turn.swap(true, Ordering::Relaxed)
    }

    /// For how long it has rested, in ticks; `None` while anything is under way.
    pub(super) fn rests_for(&self) -> Option<u32> {
        (self.phase() == Phase::Idle).then(|| self.lasted())
    }

    /// For how long a request has been arriving, in ticks; `None` when none is.
    pub(super) fn waits_for(&self) -> Option<u32> {
        matches!(self.phase(), Phase::Head | Phase::Body).then(|| self.lasted())
    }

    /// Gives its place to another: it is closed if it rests, and told that it is late if a request is
    /// arriving.
    pub(super) fn make_room(&self) {
        match self.phase() {
            Phase::Idle => self.tell(Order::Close),
            Phase::Head | Phase::Body => self.tell(Order::TooLate),
            Phase::Working | Phase::Sending | Phase::Upgraded => {}
        }
    }

    /// Tells the connection if its phase has lasted too long.
    pub(super) fn judge(&self, limits: PhaseLimits) {
        let (limit, order) = match self.phase() {
            Phase::Idle => (limits.idle, Order::Close),
            Phase::Head => (limits.head, Order::TooLate),
            Phase::Body => (limits.body, Order::TooLate),
            Phase::Sending if self.unsent.load(Ordering::Relaxed) => (limits.idle, Order::Cut),
            // A stream that has nothing to say at the moment rests for as long as it likes.
            Phase::Working | Phase::Sending | Phase::Upgraded => return,
        };
        if self.lasted() > limit {
            self.tell(order);
        }
    }

    fn lasted(&self) -> u32 {
        let since = self.since.load(Ordering::Relaxed);
        self.ticks.now().wrapping_sub(since)
    }

    /// Ends it: what is being answered is answered, all else is cut off.
    pub(super) fn end(&self) {
        self.tell(Order::End);
    }

    fn tell(&self, order: Order) {
        if self.order() != Order::End {
            self.order.store(order as u8, Ordering::Relaxed);
            self.wake();
        }
    }

    /// Makes its task look at its orders.
    pub(super) fn wake(&self) {
        if let Some(task) = &*self.task.lock() {
            task.wake_by_ref();
        }
    }

    /// Whether its task has to drop it, after hyper had its turn.
    pub(super) fn is_cut(&self) -> bool {
        match self.order() {
            Order::GoOn | Order::Close | Order::TooLate => false,
            Order::Cut => true,
            Order::End => match self.phase() {
                Phase::Idle | Phase::Head | Phase::Body => true,
                Phase::Working | Phase::Sending | Phase::Upgraded => false,
            },
        }
    }

    /// Whether it is to be closed if nothing more has arrived.
    fn closes(&self) -> bool {
        let told = self.order() == Order::Close || self.ticks.is_draining();
        told && self.phase() == Phase::Idle
    }

    /// Whether the head that is waited for should have been here by now.
    fn head_is_late(&self) -> bool {
        self.order() == Order::TooLate && self.phase() == Phase::Head
    }

    /// Remembers whom to wake.
    pub(super) fn set_task(&self, task: &Waker) {
        *self.task.lock() = Some(task.clone());
    }

    fn take_note_of_arrived(&self, bytes: &[u8]) {
        // Empty lines ahead of a request are no part of it.
        let is_empty = || bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
        if self.phase() == Phase::Idle && !is_empty() {
            self.enter(Phase::Head);
        }
    }

    /// The client took a part of its answer.
    fn take_note_of_sent(&self, unsent: bool) {
        self.unsent.store(unsent, Ordering::Relaxed);
        if self.phase() == Phase::Sending {
            self.begin_anew();
        }
    }

    /// The client took all there is of its answer so far.
    fn take_note_of_all_sent(&self) {
        self.unsent.store(false, Ordering::Relaxed);
        if self.phase() == Phase::Sending && !self.streaming.load(Ordering::Relaxed) {
            self.enter(Phase::Idle);
        }
    }
}

/// Who is told of what is answered without ever having become a request.
pub(super) trait UnreadRequests: Send + Unpin {
    /// Counts and logs the problem as a request of its own, and gives the whole answer.
    fn answer(&self, peer: SocketAddr, problem: &Problem) -> Vec<u8>;
}

/// The socket as hyper sees it.
pub(super) struct Socket<U> {
    stream: TcpStream,
    connection: Arc<Connection>,
    unread: U,
    /// What goes out in place of what hyper wrote.
    instead: Bytes,
    /// The head that arrived last says that a body follows which is too long to count.
    endless_body: bool,
}

impl<U: UnreadRequests> Socket<U> {
    pub(super) fn new(stream: TcpStream, connection: Arc<Connection>, unread: U) -> Self {
        Self {
            stream,
            connection,
            unread,
            instead: Bytes::new(),
            endless_body: false,
        }
    }

    /// Says that the head is late, if the client takes it at once.
    fn refuse_late_head(&self) {
        let detail = "the request's head did not arrive in time; send it again, whole";
        let problem = Problem::new(Code::RequestTimeout, detail);
        let wire = self.unread.answer(self.connection.peer, &problem);
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

    /// What becomes of a connection of which everything was read and used: `Ok` without a byte ends it.
    fn poll_end(&self, context: &Context<'_>) -> Poll<io::Result<()>> {
        if self.connection.phase() == Phase::Upgraded {
            // Another task has it now, which is to hear of the end too.
            self.connection.set_task(context.waker());
            return match self.connection.order() {
                Order::End => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
                Order::GoOn | Order::Close | Order::TooLate | Order::Cut => Poll::Pending,
            };
        }
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

/// Whether a `Content-Length` is one of the last before 2^64. hyper answers those as it answers headers
/// that are too large, for it keeps these numbers to itself.
fn says_endless_body(head: &[u8]) -> bool {
    // Made once: every head is searched.
    static ENDLESS: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"184467440737095516"));
    ENDLESS.find(head).is_some()
}

impl<U: UnreadRequests> AsyncRead for Socket<U> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if polled.is_pending() {
            return self.poll_end(context);
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

impl<U: UnreadRequests> AsyncWrite for Socket<U> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        answer: &[u8],
    ) -> Poll<io::Result<usize>> {
        // What replaced an earlier write goes out before this one.
        ready!(self.poll_instead(context))?;
        let is_upgraded = self.connection.phase() == Phase::Upgraded;
        if let Some(mut problem) = made_by_hyper(answer).filter(|_| !is_upgraded) {
            if self.endless_body && problem.code == Code::HeadersTooLarge {
                problem = Problem::new(Code::BodyTooLarge, "`Content-Length` is beyond all limits");
            }
            self.instead = self.unread.answer(self.connection.peer, &problem).into();
            self.connection.enter(Phase::Sending);
            self.connection.take_note_of_sent(true);
            return Poll::Ready(Ok(answer.len()));
        }
        let polled = Pin::new(&mut self.stream).poll_write(context, answer);
        match &polled {
            Poll::Ready(Ok(sent)) => self.connection.take_note_of_sent(*sent < answer.len()),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.connection.unsent.store(true, Ordering::Relaxed),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_in_pieces_rests_only_after_its_last() {
        let memory = Arc::new(BodyMemory::new(1));
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let connection = Connection::new(peer, Place::Ordinary, Arc::default(), memory);
        connection.request_begins();
        connection.answer_begins();
        connection.stream_begins();
        connection.take_note_of_all_sent();
        assert_eq!(connection.rests_for(), None);
        connection.stream_ends();
        connection.take_note_of_all_sent();
        assert_eq!(connection.rests_for(), Some(0));
    }
}
