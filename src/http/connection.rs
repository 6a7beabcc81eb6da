//! What is known of one client connection: what phase it is in, and since when.
//!
//! No timer is set for a request. A connection notes its phase and when that began, in ticks; its
//! runtime looks through all connections several times a second and gives an order to those that are late.
//!
//! Kept out: the socket (`socket`), which obeys what a connection is told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::task::Waker;
use std::time::Duration;

use parking_lot::Mutex;

use super::body_memory::BodyMemory;
use super::limits::Limits;
use super::places::Place;
use super::push::Handover;
use crate::access_log::PeerText;

/// How long the second answer in a row waits that says that a request was too many,
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// how long any does at most,
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// and the row after which none waits longer.
const LONGEST_ROW: u8 = 8;

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
    /// It was handed over: HTTP sends no more here.
    HandedOver,
}

impl Phase {
    fn from_u8(byte: u8) -> Self {
        match byte {
            1 => Self::Head,
            2 => Self::Body,
            3 => Self::Working,
            4 => Self::Sending,
            5 => Self::HandedOver,
            _ => Self::Idle,
        }
    }
}

/// What the runtime has to say to a connection. An order is about the phase it was given in: it is
/// taken back when the connection gets into another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Order {
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

/// What is known of a connection. Used by its runtime's thread only; the atomics cost nothing there
/// and spare an unsafe promise.
pub(super) struct Connection {
    /// Who is at the other end.
    pub(super) peer: SocketAddr,
    /// The same for the log.
    pub(super) peer_text: PeerText,
    /// Its place among all connections.
    pub(super) place: Place,
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
    /// Requests in a row that were too many for a limit of a rate.
    limited: AtomicU8,
    task: Mutex<Option<Waker>>,
    handover: Mutex<Option<Handover>>,
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
            peer_text: PeerText::new(peer),
            place,
            body_memory,
            begun_in_turn: AtomicBool::new(false),
            limited: AtomicU8::new(0),
            phase: AtomicU8::new(Phase::Idle as u8),
            since: AtomicU32::new(ticks.now()),
            order: AtomicU8::new(Order::GoOn as u8),
            unsent: AtomicBool::new(false),
            streaming: AtomicBool::new(false),
            task: Mutex::new(None),
            handover: Mutex::new(None),
            ticks,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        Phase::from_u8(self.phase.load(Ordering::Relaxed))
    }

    pub(super) fn order(&self) -> Order {
        Order::from_u8(self.order.load(Ordering::Relaxed))
    }

    pub(super) fn enter(&self, phase: Phase) {
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

    /// Notes whether further pieces of the answer's body are to come.
    pub(super) fn set_streaming(&self, streaming: bool) {
        self.streaming.store(streaming, Ordering::Relaxed);
    }

    /// Notes whether a part of an answer waits for the client to take it.
    pub(super) fn set_unsent(&self, unsent: bool) {
        self.unsent.store(unsent, Ordering::Relaxed);
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

    /// Notes a request of an address that asks too often, and returns how long its answer is to wait: the first of a
    /// row not at all, the others longer each time, so that a client that goes on without a pause costs little.
    pub(super) fn pause_of_limited(&self) -> Duration {
        let before = self.limited.load(Ordering::Relaxed);
        self.limited
            .store(LONGEST_ROW.min(before + 1), Ordering::Relaxed);
        match before {
            0 => Duration::ZERO,
            _ => LONGEST_PAUSE.min(FIRST_PAUSE * (1 << (before - 1))),
        }
    }

    /// Notes a request that was not too many: a row of those that were becomes half as long.
    pub(super) fn forget_limited(&self) {
        let row = self.limited.load(Ordering::Relaxed);
        if row > 0 {
            self.limited.store(row / 2, Ordering::Relaxed);
        }
    }

    /// Returns for how long it has rested, in ticks; `None` while anything is under way.
    pub(super) fn rests_for(&self) -> Option<u32> {
        (self.phase() == Phase::Idle).then(|| self.lasted())
    }

    /// Returns for how long a request has been arriving, in ticks; `None` when none is.
    pub(super) fn waits_for(&self) -> Option<u32> {
        matches!(self.phase(), Phase::Head | Phase::Body).then(|| self.lasted())
    }

    /// Gives its place to another: it is closed if it rests, and told that it is late if a request is
    /// arriving.
    pub(super) fn make_room(&self) {
        match self.phase() {
            Phase::Idle => self.tell(Order::Close),
            Phase::Head | Phase::Body => self.tell(Order::TooLate),
            Phase::Working | Phase::Sending | Phase::HandedOver => {}
        }
    }

    /// Tells the connection if its phase has lasted too long.
    pub(super) fn judge(&self, limits: &Limits) {
        let (limit, order) = match self.phase() {
            Phase::Idle => (limits.idle_timeout, Order::Close),
            Phase::Head => (limits.header_timeout, Order::TooLate),
            Phase::Body => (limits.body_timeout, Order::TooLate),
            Phase::Sending if self.unsent.load(Ordering::Relaxed) => {
                (limits.idle_timeout, Order::Cut)
            }
            // A stream that has nothing to say at the moment rests for as long as it likes.
            Phase::Working | Phase::Sending | Phase::HandedOver => return,
        };
        if u128::from(self.lasted()) > limit.as_millis() {
            self.tell(order);
        }
    }

    fn lasted(&self) -> u32 {
        let since = self.since.load(Ordering::Relaxed);
        self.ticks.now().wrapping_sub(since)
    }

    pub(super) fn tell(&self, order: Order) {
        if self.order() != Order::End {
            self.order.store(order as u8, Ordering::Relaxed);
            self.wake();
        }
    }

    /// Takes it away from HTTP, which has not begun to answer the request that asked for this.
    pub(super) fn hand_over(&self, handover: Handover) {
        self.enter(Phase::HandedOver);
        *self.handover.lock() = Some(handover);
    }

    /// Returns what it is handed over to; `None` when it is not, or while an earlier answer is not all sent.
    pub(super) fn take_handover(&self) -> Option<Handover> {
        if self.phase() != Phase::HandedOver || self.unsent.load(Ordering::Relaxed) {
            return None;
        }
        self.handover.lock().take()
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
                Phase::Working | Phase::Sending | Phase::HandedOver => false,
            },
        }
    }

    /// Whether it is to be closed if nothing more has arrived.
    pub(super) fn closes(&self) -> bool {
        let told = self.order() == Order::Close || self.ticks.is_draining();
        told && self.phase() == Phase::Idle
    }

    /// Whether the head that is waited for should have been here by now.
    pub(super) fn head_is_late(&self) -> bool {
        self.order() == Order::TooLate && self.phase() == Phase::Head
    }

    /// Remembers whom to wake.
    pub(super) fn set_task(&self, task: &Waker) {
        *self.task.lock() = Some(task.clone());
    }

    pub(super) fn take_note_of_arrived(&self, bytes: &[u8]) {
        // Empty lines ahead of a request are no part of it.
        let is_empty = || bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
        if self.phase() == Phase::Idle && !is_empty() {
            self.enter(Phase::Head);
        }
    }

    /// The client took a part of its answer.
    pub(super) fn take_note_of_sent(&self, unsent: bool) {
        self.set_unsent(unsent);
        if self.phase() == Phase::Sending {
            self.begin_anew();
        }
    }

    /// The client took all there is of its answer so far.
    pub(super) fn take_note_of_all_sent(&self) {
        self.set_unsent(false);
        if self.phase() == Phase::Sending && !self.streaming.load(Ordering::Relaxed) {
            self.enter(Phase::Idle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::places::Places;

    #[test]
    fn an_answer_in_pieces_rests_only_after_its_last() {
        let memory = Arc::new(BodyMemory::default());
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let places = Arc::new(Places::default());
        places.resize(1);
        let place = places.take().unwrap();
        let connection = Connection::new(peer, place, Arc::default(), memory);
        connection.enter(Phase::Working);
        connection.enter(Phase::Sending);
        connection.set_streaming(true);
        connection.take_note_of_all_sent();
        assert_eq!(connection.rests_for(), None);
        connection.set_streaming(false);
        connection.take_note_of_all_sent();
        assert_eq!(connection.rests_for(), Some(0));
    }
}
