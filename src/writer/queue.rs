//! The hand-over between the runtimes and the writer, in both directions.
//!
//! Each runtime has a port: a thread-local buffer of requests and a slab of slots that wait for
//! answers. Submitting takes one borrow: a slot, a push, and a future that holds only the slot's
//! index. The first push of a turn wakes the runtime's flusher, which the run queue puts behind the
//! connections already woken; it moves the whole buffer into the port's inbox and unparks the writer
//! if that sleeps. Answers come back the same way, a whole group at once, with one wake-up.
//!
//! A future dropped while it waits abandons its slot; the slot is free again when its answer
//! arrives, so an index is never reused early, and the change still happens.
//!
//! Threads without a port (the control socket, tests) use [`Intake::call`].

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, OnceLock, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread::Thread;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::chore::{Chore, WaitingChore};
use super::{Answer, Failure, Request};

/// What the writer sends back.
pub(super) type Reply = Result<Answer, Failure>;

/// A request in the queue and where its answer goes.
pub(super) struct Submission {
    pub(super) request: Request,
    pub(super) reply_to: ReplyTo,
}

/// Where an answer goes.
pub(super) enum ReplyTo {
    /// A slot of a runtime's port.
    Slot { port: u16, slot: u32 },
    /// A thread that waits.
    Thread(mpsc::SyncSender<Reply>),
}

/// The bounded queue in front of the writer.
pub struct Intake {
    ports: Box<[Arc<Port>]>,
    side_door: Mutex<Vec<Submission>>,
    chore: Mutex<Option<WaitingChore>>,
    chore_turn: Mutex<()>,
    doorbell: Doorbell,
    closed: AtomicBool,
    /// Operations that one port may have under way.
    capacity: usize,
}

/// One runtime's side of the queue.
struct Port {
    inbox: Mutex<Vec<Submission>>,
    outbox: Mutex<Vec<(u32, Reply)>>,
    /// Wakes the runtime's completer.
    answered: Notify,
    /// Wakes the runtime's flusher.
    submitted: Notify,
    /// Operations under way, for the metric.
    depth: AtomicUsize,
}

/// Wakes the writer, but only when it sleeps.
#[derive(Default)]
struct Doorbell {
    sleeping: AtomicBool,
    writer: OnceLock<Thread>,
}

impl Doorbell {
    fn ring(&self) {
        // Pairs with the fence in `sleep_unless`: either the writer sees what was put in before this,
        // or this sees that it sleeps.
        fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::Relaxed)
            && let Some(writer) = self.writer.get()
        {
            writer.unpark();
        }
    }

    fn sleep_unless(&self, timeout: Duration, has_work: impl Fn() -> bool) {
        self.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if !has_work() {
            std::thread::park_timeout(timeout);
        }
        self.sleeping.store(false, Ordering::Relaxed);
    }
}

/// What a runtime's thread keeps to itself.
struct Local {
    intake: Arc<Intake>,
    port: u16,
    buffer: Vec<Submission>,
    flush_asked: bool,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Operations under way.
    weight: usize,
}

struct Slot {
    state: SlotState,
    weight: usize,
}

enum SlotState {
    Free,
    Waiting(Option<Waker>),
    Abandoned,
    Answered(Reply),
}

thread_local! {
    static LOCAL: RefCell<Option<Local>> = const { RefCell::new(None) };
}

/// An answer to come. Dropping it abandons the answer, not the change.
#[must_use]
pub struct Ticket(TicketState);

enum TicketState {
    Slot(u32),
    Refused(Option<Failure>),
    Done,
}

impl Intake {
    /// A queue for that many runtimes, which holds at most `capacity` operations.
    pub fn new(runtimes: u16, capacity: usize) -> Arc<Self> {
        let port = || {
            Arc::new(Port {
                inbox: Mutex::default(),
                outbox: Mutex::default(),
                answered: Notify::new(),
                submitted: Notify::new(),
                depth: AtomicUsize::new(0),
            })
        };
        let count = usize::from(runtimes.max(1));
        Arc::new(Self {
            ports: (0..count).map(|_| port()).collect(),
            side_door: Mutex::default(),
            chore: Mutex::default(),
            chore_turn: Mutex::default(),
            doorbell: Doorbell::default(),
            closed: AtomicBool::new(false),
            capacity: (capacity / count).max(1),
        })
    }

    /// Makes this thread's runtime (a current-thread tokio runtime, entered) the owner of a port and
    /// starts its flusher and completer on it. A port number that does not exist attaches nothing.
    pub fn attach(self: &Arc<Self>, number: u16) {
        let Some(port) = self.ports.get(usize::from(number)) else {
            return;
        };
        let local = Local {
            intake: Arc::clone(self),
            port: number,
            buffer: Vec::new(),
            flush_asked: false,
            slots: Vec::new(),
            free: Vec::new(),
            weight: 0,
        };
        LOCAL.with(|cell| *cell.borrow_mut() = Some(local));
        tokio::spawn(flush_forever(Arc::clone(self), Arc::clone(port)));
        tokio::spawn(complete_forever(Arc::clone(port)));
    }

    /// Puts a request on the queue, from a thread whose runtime is attached.
    pub fn submit(request: Request) -> Ticket {
        let taken = LOCAL.try_with(|cell| match cell.borrow_mut().as_mut() {
            Some(local) => local.submit(request),
            None => Err(Failure::Closing),
        });
        match taken {
            Ok(Ok(slot)) => Ticket(TicketState::Slot(slot)),
            Ok(Err(failure)) => Ticket(TicketState::Refused(Some(failure))),
            Err(_) => Ticket(TicketState::Refused(Some(Failure::Closing))),
        }
    }

    /// Puts a request on the queue and blocks until it is answered: for threads without a runtime.
    pub fn call(&self, request: Request) -> Reply {
        let (sender, receiver) = mpsc::sync_channel(1);
        {
            let mut waiting = self.side_door.lock();
            if self.is_closed() {
                return Err(Failure::Closing);
            }
            waiting.push(Submission {
                request,
                reply_to: ReplyTo::Thread(sender),
            });
        }
        self.doorbell.ring();
        receiver.recv().unwrap_or(Err(Failure::Closing))
    }

    /// Hands the writer a batch and blocks until it is on disk. One at a time: others wait for their
    /// turn.
    ///
    /// # Errors
    /// When it was not written; [`Failure::OutcomeUnknown`] when that is not known.
    pub fn carry_out(&self, chore: Chore) -> Result<(), Failure> {
        let _turn = self.chore_turn.lock();
        let (done, outcome) = mpsc::sync_channel(1);
        {
            let mut place = self.chore.lock();
            if self.is_closed() {
                return Err(Failure::Closing);
            }
            *place = Some(WaitingChore { chore, done });
        }
        self.doorbell.ring();
        outcome.recv().unwrap_or(Err(Failure::Closing))
    }

    pub(super) fn has_chore(&self) -> bool {
        self.chore.lock().is_some()
    }

    pub(super) fn take_chore(&self) -> Option<WaitingChore> {
        self.chore.lock().take()
    }

    /// Operations under way: in the queue or in the writer's hands.
    pub fn depth(&self) -> usize {
        self.ports
            .iter()
            .map(|port| port.depth.load(Ordering::Relaxed))
            .sum()
    }

    /// Takes no more requests; the writer ends when it has answered those it has.
    pub fn close(&self) {
        {
            // So that nothing comes in by the side door once the writer has looked there last.
            let _waiting = (self.side_door.lock(), self.chore.lock());
            self.closed.store(true, Ordering::SeqCst);
        }
        self.doorbell.ring();
    }

    /// Whether [`Intake::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Wakes the writer out of turn, for work that is not in the queue.
    pub fn nudge(&self) {
        self.doorbell.ring();
    }

    /// The writer's thread introduces itself.
    pub(super) fn serve_from_this_thread(&self) {
        // A second writer would be a bug; the first one stays the one that is woken.
        let _ = self.doorbell.writer.set(std::thread::current());
    }

    /// Moves everything that waits into `submissions`; says whether there was any.
    pub(super) fn take(&self, submissions: &mut Vec<Submission>) -> bool {
        for port in &self.ports {
            submissions.append(&mut port.inbox.lock());
        }
        submissions.append(&mut self.side_door.lock());
        !submissions.is_empty()
    }

    /// Sleeps until something is submitted, the queue is closed, or the time is over.
    pub(super) fn wait(&self, timeout: Duration) {
        self.doorbell.sleep_unless(timeout, || {
            self.is_closed()
                || !self.side_door.lock().is_empty()
                || self.chore.lock().is_some()
                || self.ports.iter().any(|port| !port.inbox.lock().is_empty())
        });
    }

    /// Sends a group's answers, with one wake-up for each runtime.
    pub(super) fn answer(&self, replies: &mut Vec<(ReplyTo, Reply)>) {
        let mut by_port: Vec<_> = self.ports.iter().map(|_| None).collect();
        for (reply_to, reply) in replies.drain(..) {
            match reply_to {
                ReplyTo::Slot { port, slot } => {
                    let index = usize::from(port);
                    if let (Some(outbox), Some(port)) =
                        (by_port.get_mut(index), self.ports.get(index))
                    {
                        outbox
                            .get_or_insert_with(|| port.outbox.lock())
                            .push((slot, reply));
                    }
                }
                // A caller that no longer waits is none of the writer's concern.
                ReplyTo::Thread(sender) => drop(sender.try_send(reply)),
            }
        }
        for (outbox, port) in by_port.into_iter().zip(&self.ports) {
            if outbox.is_some() {
                drop(outbox);
                port.answered.notify_one();
            }
        }
    }
}

impl Local {
    fn submit(&mut self, request: Request) -> Result<u32, Failure> {
        if self.intake.is_closed() {
            return Err(Failure::Closing);
        }
        let weight = request.command.weight();
        if self.weight > 0 && self.weight + weight > self.intake.capacity {
            return Err(Failure::Overloaded);
        }
        let slot = self.take_slot(weight)?;
        self.weight += weight;
        if let Some(port) = self.intake.ports.get(usize::from(self.port)) {
            port.depth.store(self.weight, Ordering::Relaxed);
            if !self.flush_asked {
                self.flush_asked = true;
                port.submitted.notify_one();
            }
        }
        self.buffer.push(Submission {
            request,
            reply_to: ReplyTo::Slot {
                port: self.port,
                slot,
            },
        });
        Ok(slot)
    }

    fn take_slot(&mut self, weight: usize) -> Result<u32, Failure> {
        let fresh = Slot {
            state: SlotState::Waiting(None),
            weight,
        };
        if let Some(index) = self.free.pop() {
            if let Some(slot) = self.slots.get_mut(index as usize) {
                *slot = fresh;
            }
            return Ok(index);
        }
        let index = u32::try_from(self.slots.len()).map_err(|_| Failure::Overloaded)?;
        self.slots.push(fresh);
        Ok(index)
    }

    /// Fills a slot; gives the waker to wake once the borrow has ended.
    fn complete(&mut self, index: u32, reply: Reply) -> Option<Waker> {
        let slot = self.slots.get_mut(index as usize)?;
        self.weight = self.weight.saturating_sub(slot.weight);
        match std::mem::replace(&mut slot.state, SlotState::Free) {
            SlotState::Waiting(waker) => {
                slot.state = SlotState::Answered(reply);
                waker
            }
            SlotState::Abandoned | SlotState::Free | SlotState::Answered(_) => {
                self.free.push(index);
                None
            }
        }
    }

    fn poll(&mut self, index: u32, waker: &Waker) -> Poll<Reply> {
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return Poll::Ready(Err(Failure::OutcomeUnknown));
        };
        match &mut slot.state {
            SlotState::Waiting(stored) => {
                if !stored
                    .as_ref()
                    .is_some_and(|stored| stored.will_wake(waker))
                {
                    *stored = Some(waker.clone());
                }
                Poll::Pending
            }
            SlotState::Answered(_) => match std::mem::replace(&mut slot.state, SlotState::Free) {
                SlotState::Answered(reply) => {
                    self.free.push(index);
                    Poll::Ready(reply)
                }
                SlotState::Free | SlotState::Waiting(_) | SlotState::Abandoned => {
                    Poll::Ready(Err(Failure::OutcomeUnknown))
                }
            },
            SlotState::Free | SlotState::Abandoned => Poll::Ready(Err(Failure::OutcomeUnknown)),
        }
    }

    /// The future is gone: the slot is freed now if answered, else when its answer arrives. What it
    /// held is returned, to be dropped after the borrow.
    fn abandon(&mut self, index: u32) -> Option<SlotState> {
        let slot = self.slots.get_mut(index as usize)?;
        let (next, free) = match &slot.state {
            SlotState::Waiting(_) | SlotState::Abandoned => (SlotState::Abandoned, false),
            SlotState::Answered(_) => (SlotState::Free, true),
            SlotState::Free => return None,
        };
        let held = std::mem::replace(&mut slot.state, next);
        if free {
            self.free.push(index);
        }
        Some(held)
    }
}

impl Future for Ticket {
    type Output = Reply;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Reply> {
        let polled = match &mut self.0 {
            TicketState::Done => return Poll::Ready(Err(Failure::OutcomeUnknown)),
            TicketState::Refused(failure) => {
                Poll::Ready(Err(failure.take().unwrap_or(Failure::Closing)))
            }
            TicketState::Slot(index) => LOCAL
                .try_with(|cell| match cell.borrow_mut().as_mut() {
                    Some(local) => local.poll(*index, context.waker()),
                    None => Poll::Ready(Err(Failure::OutcomeUnknown)),
                })
                .unwrap_or(Poll::Ready(Err(Failure::OutcomeUnknown))),
        };
        if polled.is_ready() {
            self.0 = TicketState::Done;
        }
        polled
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let TicketState::Slot(index) = self.0 {
            // Dropping a waker can drop a task and its tickets: never inside the borrow. At a
            // thread's end there is no port any more, and nothing to free.
            let held = LOCAL.try_with(|cell| {
                cell.borrow_mut()
                    .as_mut()
                    .and_then(|local| local.abandon(index))
            });
            drop(held);
        }
    }
}

async fn flush_forever(intake: Arc<Intake>, port: Arc<Port>) {
    loop {
        port.submitted.notified().await;
        let flushed = LOCAL.try_with(|cell| {
            if let Some(local) = cell.borrow_mut().as_mut() {
                local.flush_asked = false;
                let mut inbox = port.inbox.lock();
                if inbox.is_empty() {
                    std::mem::swap(&mut *inbox, &mut local.buffer);
                } else {
                    inbox.append(&mut local.buffer);
                }
            }
        });
        if flushed.is_err() {
            return;
        }
        intake.doorbell.ring();
    }
}

async fn complete_forever(port: Arc<Port>) {
    let mut answers: Vec<(u32, Reply)> = Vec::new();
    let mut wakers: Vec<Waker> = Vec::new();
    loop {
        port.answered.notified().await;
        std::mem::swap(&mut *port.outbox.lock(), &mut answers);
        let completed = LOCAL.try_with(|cell| {
            if let Some(local) = cell.borrow_mut().as_mut() {
                wakers.extend(
                    answers
                        .drain(..)
                        .filter_map(|(slot, reply)| local.complete(slot, reply)),
                );
                port.depth.store(local.weight, Ordering::Relaxed);
            }
        });
        if completed.is_err() {
            return;
        }
        for waker in wakers.drain(..) {
            waker.wake();
        }
    }
}
