//! The loop of one load thread: epoll over its connections, and a timer for the open loop.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::connection::Connection;
use crate::report::Tally;
use crate::workload::Workload;

/// When a request is sent.
#[derive(Clone, Copy)]
pub enum Pace {
    /// As soon as its connection is free.
    Closed,
    /// Every `interval` by the clock; one that finds no free connection waits, and its wait counts.
    Open { interval: Duration },
}

/// What one thread does.
pub struct Plan {
    pub address: SocketAddr,
    pub connections: usize,
    pub pace: Pace,
    pub warmup: Duration,
    pub measure: Duration,
}

/// How long answers are waited for once the last request is sent.
const DRAIN: Duration = Duration::from_secs(10);
/// The timer's mark among the events; connections are marked by their index.
const TIMER: u64 = u64::MAX;

/// A request on its way.
#[derive(Clone, Copy)]
struct Pending {
    /// When it was sent, or due in an open loop; nanoseconds since the start.
    since: u64,
    operations: u64,
}

struct Engine {
    begun: Instant,
    epoll: OwnedFd,
    timer: OwnedFd,
    address: SocketAddr,
    connections: Vec<Option<Connection>>,
    pending: Vec<Option<Pending>>,
    free: VecDeque<usize>,
    workload: Workload,
    tally: Tally,
    measure_from: u64,
    measure_to: u64,
    /// What the timer was last set to.
    armed: u64,
}

/// Runs the plan to its end.
pub fn run(plan: &Plan, workload: Workload) -> anyhow::Result<Tally> {
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let timer = timerfd_create(
        TimerfdClockId::Monotonic,
        TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
    )?;
    epoll::add(
        &epoll,
        &timer,
        EventData::new_u64(TIMER),
        EventFlags::IN | EventFlags::ET,
    )?;
    let mut engine = Engine {
        begun: Instant::now(),
        epoll,
        timer,
        address: plan.address,
        connections: Vec::new(),
        pending: vec![None; plan.connections],
        free: (0..plan.connections).collect(),
        workload,
        tally: Tally::new()?,
        measure_from: 0,
        measure_to: 0,
        armed: 0,
    };
    for index in 0..plan.connections {
        let connection = engine.connect(index)?;
        engine.connections.push(Some(connection));
    }
    // Connecting takes time that is not to be measured.
    engine.begun = Instant::now();
    engine.measure_from = nanoseconds(plan.warmup);
    engine.measure_to = nanoseconds(plan.warmup + plan.measure);
    match plan.pace {
        Pace::Closed => engine.closed()?,
        Pace::Open { interval } => engine.open(nanoseconds(interval).max(1))?,
    }
    let unanswered = engine.pending.iter().flatten().count() as u64;
    engine.tally.errors += unanswered;
    Ok(engine.tally)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Engine {
    fn now(&self) -> u64 {
        nanoseconds(self.begun.elapsed())
    }

    fn connect(&self, index: usize) -> io::Result<Connection> {
        let connection = Connection::open(self.address)?;
        epoll::add(
            &self.epoll,
            &connection.stream,
            EventData::new_u64(index as u64),
            EventFlags::IN | EventFlags::OUT | EventFlags::ET,
        )?;
        Ok(connection)
    }

    fn closed(&mut self) -> anyhow::Result<()> {
        let mut events = Vec::with_capacity(1024);
        loop {
            let now = self.now();
            if now < self.measure_to {
                while let Some(index) = self.free.pop_front() {
                    let since = self.now();
                    self.send(index, since)?;
                }
            } else if self.ended(now) {
                return Ok(());
            }
            let until = if now < self.measure_to {
                self.measure_to
            } else {
                self.give_up()
            };
            self.wait(&mut events, until)?;
        }
    }

    fn open(&mut self, interval: u64) -> anyhow::Result<()> {
        let mut events = Vec::with_capacity(1024);
        let mut due = 0;
        loop {
            let now = self.now();
            while due <= now && due < self.measure_to {
                let Some(index) = self.free.pop_front() else {
                    break;
                };
                self.send(index, due)?;
                due += interval;
            }
            if due >= self.measure_to && self.ended(now) {
                return Ok(());
            }
            // All busy: the next answer frees one. Else the next request's time.
            let waits_for_answers = self.free.is_empty() || due >= self.measure_to;
            let until = if waits_for_answers {
                self.give_up()
            } else {
                due
            };
            self.wait(&mut events, until)?;
        }
    }

    fn ended(&self, now: u64) -> bool {
        self.pending.iter().all(Option::is_none) || now >= self.give_up()
    }

    fn give_up(&self) -> u64 {
        self.measure_to.saturating_add(nanoseconds(DRAIN))
    }

    fn send(&mut self, index: usize, since: u64) -> anyhow::Result<()> {
        let Engine {
            connections,
            pending,
            workload,
            ..
        } = self;
        let (Some(slot), Some(pending)) = (connections.get_mut(index), pending.get_mut(index))
        else {
            return Ok(());
        };
        let Some(connection) = slot else {
            return Ok(());
        };
        match connection.send(|out| workload.request(out)) {
            Ok(operations) => {
                *pending = Some(Pending { since, operations });
                Ok(())
            }
            Err(_) => self.broken(index),
        }
    }

    /// Waits until `until` at most, then takes what has arrived.
    fn wait(&mut self, events: &mut Vec<Event>, until: u64) -> anyhow::Result<()> {
        if self.armed != until {
            let ahead = until.saturating_sub(self.now()).max(1);
            let value = Timespec {
                tv_sec: (ahead / 1_000_000_000) as i64,
                tv_nsec: (ahead % 1_000_000_000) as i64,
            };
            let once = Itimerspec {
                it_interval: Timespec::default(),
                it_value: value,
            };
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
            self.armed = until;
        }
        events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(e) => return Err(e.into()),
        }
        for event in events.iter() {
            let mark = event.data.u64();
            if mark != TIMER {
                self.ready(usize::try_from(mark)?, event.flags)?;
            }
        }
        Ok(())
    }

    fn ready(&mut self, index: usize, flags: EventFlags) -> anyhow::Result<()> {
        let Some(Some(connection)) = self.connections.get_mut(index) else {
            return Ok(());
        };
        let received = if flags.contains(EventFlags::OUT) {
            connection.flush()
        } else {
            Ok(())
        }
        .and_then(|()| {
            if flags.contains(EventFlags::IN) {
                connection.receive()
            } else {
                Ok(None)
            }
        });
        match received {
            Ok(None) => Ok(()),
            Ok(Some(answer)) => {
                if let Some(sent) = self.pending.get_mut(index).and_then(Option::take) {
                    let now = self.now();
                    // Every request due in the measured time counts with its latency, also one that
                    // is answered after its end; the rate counts what was answered within it.
                    if (self.measure_from..self.measure_to).contains(&sent.since) {
                        self.tally.latency(now.saturating_sub(sent.since));
                    }
                    if (self.measure_from..self.measure_to).contains(&now) {
                        self.tally.answered(answer.status, sent.operations);
                    }
                    self.free.push_back(index);
                }
                Ok(())
            }
            Err(_) => self.broken(index),
        }
    }

    /// Counts the loss and connects anew; fails when the server is gone.
    fn broken(&mut self, index: usize) -> anyhow::Result<()> {
        self.tally.errors += 1;
        if let Some(pending) = self.pending.get_mut(index) {
            *pending = None;
        }
        let connection = self.connect(index)?;
        if let Some(slot) = self.connections.get_mut(index) {
            *slot = Some(connection);
        }
        self.free.push_back(index);
        Ok(())
    }
}
