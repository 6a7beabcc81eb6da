//! The hand-over between the runtimes and the writer, in both directions.
//!
//! Each runtime has a [`Port`]: a buffer of requests and a slab of slots that wait for answers. Only
//! the runtime's own thread uses it, so its lock is never waited for. Submitting takes that lock once:
//! a slot, a push, and a future that holds the slot's index. The first push of a turn wakes the
//! runtime's flusher, which the run queue puts behind the connections already woken; it moves the
//! whole buffer into the runtime's inbox and unparks the writer if that sleeps. Answers come back the
//! same way, a whole group at once, with one wake-up.
//!
//! A future dropped while it waits abandons its slot; the slot is free again when its answer
//! arrives, so an index is never reused early, and the change still happens.
//!
//! Threads without a runtime (the control socket, tests) use [`Intake::call`].

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, OnceLock, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread::Thread;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::prepared::{PreparedBatch, WaitingBatch};
use super::{Answer, Failure, Request};
use crate::invariant::Broken;

/// What the writer sends back.
pub(super) type Reply = Result<Answer, Failure>;

/// A request in the queue and where its answer goes.
#[derive(Clone)]
pub(super) struct Submission {
    pub(super) request: Request,
    pub(super) reply_to: ReplyTo,
}

/// Where an answer goes.
#[derive(Clone)]
pub(super) enum ReplyTo {
    /// A slot of the port with that number.
    Slot { port: usize, slot: u32 },
    /// A thread that waits.
    Thread(mpsc::SyncSender<Reply>),
}

/// The bounded queue in front of the writer.
pub struct Intake {
    exchanges: Box<[Arc<Exchange>]>,
    /// How many of the exchanges have a runtime.
    attached: AtomicUsize,
    side_door: Mutex<Vec<Submission>>,
    prepared: Mutex<Option<WaitingBatch>>,
    prepared_turn: Mutex<()>,
    doorbell: Doorbell,
    closed: AtomicBool,
    /// Operations that one port may have under way.
    capacity: usize,
}

/// Where one runtime and the writer leave requests and answers for each other.
struct Exchange {
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
    /// There is work that is not in the queue.
    nudged: AtomicBool,
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
        if !self.nudged.swap(false, Ordering::Relaxed) && !has_work() {
            std::thread::park_timeout(timeout);
        }
        self.sleeping.store(false, Ordering::Relaxed);
    }
}

/// One runtime's way to the writer. Used on the thread of that runtime.
#[derive(Clone)]
pub struct Port(Arc<OpenPort>);

struct OpenPort {
    intake: Arc<Intake>,
    exchange: Arc<Exchange>,
    /// Its place among the exchanges.
    number: usize,
    slots: Mutex<Slots>,
}

/// The part of a port that only its runtime uses.
#[derive(Default)]
struct Slots {
    buffer: Vec<Submission>,
    flush_asked: bool,
    all: Vec<Slot>,
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

/// An answer to come. Dropping it abandons the answer, not the change.
#[must_use]
pub struct Ticket(TicketState);

enum TicketState {
    Slot(Port, u32),
    Refused(Failure),
    Done,
}

impl Intake {
    /// Makes a queue for that many runtimes, which holds at most `capacity` operations.
    pub fn new(runtimes: u16, capacity: usize) -> Arc<Self> {
        let exchange = || {
            Arc::new(Exchange {
                inbox: Mutex::default(),
                outbox: Mutex::default(),
                answered: Notify::new(),
                submitted: Notify::new(),
                depth: AtomicUsize::new(0),
            })
        };
        let count = usize::from(runtimes.max(1));
        Arc::new(Self {
            exchanges: (0..count).map(|_| exchange()).collect(),
            attached: AtomicUsize::new(0),
            side_door: Mutex::default(),
            prepared: Mutex::default(),
            prepared_turn: Mutex::default(),
            doorbell: Doorbell::default(),
            closed: AtomicBool::new(false),
            capacity: (capacity / count).max(1),
        })
    }

    /// Makes a port for a runtime with one thread, and starts the port's flusher and completer on it;
    /// `None` where as many runtimes as the queue was made for have one already.
    pub fn attach(self: &Arc<Self>, runtime: &Handle) -> Option<Port> {
        let number = self.attached.fetch_add(1, Ordering::Relaxed);
        let port = Port(Arc::new(OpenPort {
            intake: Arc::clone(self),
            exchange: Arc::clone(self.exchanges.get(number)?),
            number,
            slots: Mutex::default(),
        }));
        runtime.spawn(flush_forever(port.clone()));
        runtime.spawn(complete_forever(port.clone()));
        Some(port)
    }

    /// Puts a request on the queue and blocks until it is answered: for threads without a runtime.
    pub fn call(&self, request: Request) -> Reply {
        let answers = self.call_all([request]);
        answers.into_iter().next().unwrap_or(Err(Failure::Closing))
    }

    /// Puts requests on the queue together and blocks until all are answered, in their order: for threads
    /// without a runtime.
    pub fn call_all(&self, requests: impl IntoIterator<Item = Request>) -> Vec<Reply> {
        let waiting: Vec<_> = {
            let mut side_door = self.side_door.lock();
            let is_closed = self.is_closed();
            let put = |request| {
                let (sender, receiver) = mpsc::sync_channel(1);
                // Of a closed queue nobody takes it: its sender is dropped.
                if !is_closed {
                    side_door.push(Submission {
                        request,
                        reply_to: ReplyTo::Thread(sender),
                    });
                }
                receiver
            };
            requests.into_iter().map(put).collect()
        };
        self.doorbell.ring();
        let answers = waiting.into_iter().map(|waiting| waiting.recv());
        answers
            .map(|answer| answer.unwrap_or(Err(Failure::Closing)))
            .collect()
    }

    /// Hands the writer a batch and blocks until it is on disk. One at a time: others wait for their
    /// turn.
    ///
    /// # Errors
    /// When it was not written; [`Failure::OutcomeUnknown`] when that is not known.
    pub fn carry_out(&self, prepared: PreparedBatch) -> Result<(), Failure> {
        let _turn = self.prepared_turn.lock();
        let (done, outcome) = mpsc::sync_channel(1);
        {
            let mut place = self.prepared.lock();
            if self.is_closed() {
                return Err(Failure::Closing);
            }
            *place = Some(WaitingBatch { prepared, done });
        }
        self.doorbell.ring();
        outcome.recv().unwrap_or(Err(Failure::Closing))
    }

    pub(super) fn has_prepared(&self) -> bool {
        self.prepared.lock().is_some()
    }

    pub(super) fn take_prepared(&self) -> Option<WaitingBatch> {
        self.prepared.lock().take()
    }

    /// Returns how many operations are under way: in the queue or in the writer's hands.
    pub fn depth(&self) -> usize {
        self.exchanges
            .iter()
            .map(|port| port.depth.load(Ordering::Relaxed))
            .sum()
    }

    /// Closes the queue to new requests; the writer ends when it has answered those it has.
    pub fn close(&self) {
        {
            // Under both locks, so that nothing comes in after the writer has looked for the last time.
            let _waiting = (self.side_door.lock(), self.prepared.lock());
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
        self.doorbell.nudged.store(true, Ordering::Relaxed);
        self.doorbell.ring();
    }

    /// Makes the calling thread the one that is woken.
    pub(super) fn serve_from_this_thread(&self) {
        if self.doorbell.writer.set(std::thread::current()).is_err() {
            Broken::found(format_args!("a second writer serves the queue"));
        }
    }

    /// Moves everything that waits into `submissions`; returns whether there was any.
    pub(super) fn take(&self, submissions: &mut Vec<Submission>) -> bool {
        for port in &self.exchanges {
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
                || self.prepared.lock().is_some()
                || self
                    .exchanges
                    .iter()
                    .any(|port| !port.inbox.lock().is_empty())
        });
    }

    /// Sends a group's answers, with one wake-up for each runtime.
    pub(super) fn answer(&self, replies: &mut Vec<(ReplyTo, Reply)>) {
        let mut by_port: Vec<_> = self.exchanges.iter().map(|_| None).collect();
        for (reply_to, reply) in replies.drain(..) {
            match reply_to {
                ReplyTo::Slot { port, slot } => {
                    let (Some(outbox), Some(exchange)) =
                        (by_port.get_mut(port), self.exchanges.get(port))
                    else {
                        Broken::found(format_args!("an answer for port {port}, which is none"));
                        continue;
                    };
                    let outbox = outbox.get_or_insert_with(|| exchange.outbox.lock());
                    outbox.push((slot, reply));
                }
                // The caller may no longer wait.
                ReplyTo::Thread(sender) => drop(sender.try_send(reply)),
            }
        }
        for (outbox, port) in by_port.into_iter().zip(&self.exchanges) {
            if outbox.is_some() {
                drop(outbox);
                port.answered.notify_one();
            }
        }
    }
}

impl Port {
    /// Puts a request on the queue.
    pub fn submit(&self, request: Request) -> Ticket {
        match self.put(request) {
            Ok(slot) => Ticket(TicketState::Slot(self.clone(), slot)),
            Err(failure) => Ticket(TicketState::Refused(failure)),
        }
    }

    fn put(&self, request: Request) -> Result<u32, Failure> {
        let OpenPort {
            intake,
            exchange,
            number,
            slots,
        } = &*self.0;
        if intake.is_closed() {
            return Err(Failure::Closing);
        }
        let mut slots = slots.lock();
        let weight = request.command.weight();
        if slots.weight > 0 && slots.weight + weight > intake.capacity {
            return Err(Failure::Overloaded);
        }
        let slot = slots.take_slot(weight)?;
        slots.weight += weight;
        exchange.depth.store(slots.weight, Ordering::Relaxed);
        if !slots.flush_asked {
            slots.flush_asked = true;
            exchange.submitted.notify_one();
        }
        slots.buffer.push(Submission {
            request,
            reply_to: ReplyTo::Slot {
                port: *number,
                slot,
            },
        });
        Ok(slot)
    }
}

impl Slots {
    fn take_slot(&mut self, weight: usize) -> Result<u32, Failure> {
        let fresh = Slot {
            state: SlotState::Waiting(None),
            weight,
        };
        if let Some(index) = self.free.pop() {
            if let Some(slot) = self.all.get_mut(index as usize) {
                *slot = fresh;
            }
            return Ok(index);
        }
        let index = u32::try_from(self.all.len()).map_err(|_| Failure::Overloaded)?;
        self.all.push(fresh);
        Ok(index)
    }

    /// Fills a slot; gives the waker to wake once the borrow has ended.
    fn complete(&mut self, index: u32, reply: Reply) -> Option<Waker> {
        let slot = self.all.get_mut(index as usize)?;
        self.weight = self.weight.saturating_sub(slot.weight);
        match std::mem::replace(&mut slot.state, SlotState::Free) {
            SlotState::Waiting(waker) => {
                slot.state = SlotState::Answered(reply);
                waker
            }
            SlotState::Abandoned => {
                self.free.push(index);
                None
            }
            state @ (SlotState::Free | SlotState::Answered(_)) => {
                slot.state = state;
                Broken::found(format_args!(
                    "slot {index} is answered, and nothing waits there"
                ));
                None
            }
        }
    }

    fn poll(&mut self, index: u32, waker: &Waker) -> Poll<Reply> {
        let Some(slot) = self.all.get_mut(index as usize) else {
            return Poll::Ready(Err(lost(index)));
        };
        if let SlotState::Waiting(stored) = &mut slot.state {
            if !stored
                .as_ref()
                .is_some_and(|stored| stored.will_wake(waker))
            {
                *stored = Some(waker.clone());
            }
            return Poll::Pending;
        }
        match std::mem::replace(&mut slot.state, SlotState::Free) {
            SlotState::Answered(reply) => {
                self.free.push(index);
                Poll::Ready(reply)
            }
            state @ (SlotState::Free | SlotState::Waiting(_) | SlotState::Abandoned) => {
                slot.state = state;
                Poll::Ready(Err(lost(index)))
            }
        }
    }

    /// The future is gone: the slot is freed now if answered, else when its answer arrives. What it
    /// held is returned, to be dropped after the borrow.
    fn abandon(&mut self, index: u32) -> Option<SlotState> {
        let slot = self.all.get_mut(index as usize)?;
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

/// What becomes of a request whose slot is somebody else's: nobody knows.
fn lost(index: u32) -> Failure {
    Broken::found(format_args!(
        "a request waits at slot {index}, which is not its own"
    ));
    Failure::OutcomeUnknown
}

impl Future for Ticket {
    type Output = Reply;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Reply> {
        if let TicketState::Slot(port, slot) = &self.0 {
            let polled = port.0.slots.lock().poll(*slot, context.waker());
            if polled.is_ready() {
                self.0 = TicketState::Done;
            }
            return polled;
        }
        match std::mem::replace(&mut self.0, TicketState::Done) {
            TicketState::Refused(failure) => Poll::Ready(Err(failure)),
            TicketState::Slot(..) | TicketState::Done => Poll::Ready(Err(Failure::OutcomeUnknown)),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let TicketState::Slot(port, slot) = &self.0 {
            let held = port.0.slots.lock().abandon(*slot);
            // Dropping a waker can drop a task and its tickets: never under the lock.
            drop(held);
        }
    }
}

async fn flush_forever(port: Port) {
    let OpenPort {
        intake,
        exchange,
        slots,
        ..
    } = &*port.0;
    loop {
        exchange.submitted.notified().await;
        {
            let mut slots = slots.lock();
            slots.flush_asked = false;
            let mut inbox = exchange.inbox.lock();
            if inbox.is_empty() {
                std::mem::swap(&mut *inbox, &mut slots.buffer);
            } else {
                inbox.append(&mut slots.buffer);
            }
        }
        intake.doorbell.ring();
    }
}

async fn complete_forever(port: Port) {
    let OpenPort {
        exchange, slots, ..
    } = &*port.0;
    let mut answers: Vec<(u32, Reply)> = Vec::new();
    let mut wakers: Vec<Waker> = Vec::new();
    loop {
        exchange.answered.notified().await;
        std::mem::swap(&mut *exchange.outbox.lock(), &mut answers);
        {
            let mut slots = slots.lock();
            let answers = answers.drain(..);
            wakers.extend(answers.filter_map(|(slot, reply)| slots.complete(slot, reply)));
            exchange.depth.store(slots.weight, Ordering::Relaxed);
        }
        for waker in wakers.drain(..) {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counter::{CounterName, RequestId};
    use crate::writer::Command;

    fn request() -> Request {
        let counter = CounterName::parse("c").unwrap();
        Request {
            command: Command::Reset { counter },
            key: None,
            request_id: RequestId::Made(1),
        }
    }

    #[test]
    #[should_panic(expected = "slot 0 is answered, and nothing waits there")]
    fn an_answer_that_nothing_waits_for_is_a_broken_invariant() {
        let mut slots = Slots::default();
        let slot = slots.take_slot(1).ok().unwrap();
        slots.complete(slot, Err(Failure::KeyReused));
        slots.complete(slot, Err(Failure::KeyReused));
    }

    /// Two queues on one thread: a request goes to the queue of its port.
    #[test]
    fn a_port_belongs_to_its_queue_and_each_runtime_has_one() {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.unwrap();
        let (first, second) = (Intake::new(1, 8), Intake::new(1, 8));
        let port = first.attach(runtime.handle()).unwrap();
        assert!(first.attach(runtime.handle()).is_none());
        let other = second.attach(runtime.handle()).unwrap();
        second.close();
        let refused = runtime.block_on(other.submit(request()));
        assert_eq!(refused, Err(Failure::Closing));
        let ticket = port.submit(request());
        runtime.block_on(tokio::task::yield_now());
        runtime.block_on(tokio::task::yield_now());
        let mut taken = Vec::new();
        assert!(first.take(&mut taken));
        assert!(!second.take(&mut Vec::new()));
        let mut replies = taken
            .into_iter()
            .map(|submission| (submission.reply_to, Err(Failure::KeyReused)))
            .collect();
        first.answer(&mut replies);
        assert_eq!(runtime.block_on(ticket), Err(Failure::KeyReused));
    }
}
