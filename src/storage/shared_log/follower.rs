//! The thread that reads what is appended to the log, and wakes the writer.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::address::LogAddress;
use super::lease::Lease;
use super::link::Link;
use super::pulse::{Pulse, RedisTime};
use super::{Entry, RawEntries};
use crate::storage::shared_log_error::SharedLogError;

/// How long one read waits for an entry, at most, and how long to wait at a time for the writer to take what was read.
const WAIT: Duration = Duration::from_millis(500);

/// How long to wait after a read that failed.
const PAUSE: Duration = Duration::from_millis(20);

/// Most entries that one read returns, and most that wait for the writer.
const AT_ONCE: usize = 256;
const WAITING: usize = 4096;

/// Wakes the writer.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// What the thread and the writer share.
struct Inbox {
    state: Mutex<InboxState>,
    /// Ends a wait of the thread: the writer took an entry, or the thread is to end.
    turned: Condvar,
}

struct InboxState {
    is_ended: bool,
    entries: VecDeque<Result<Entry, SharedLogError>>,
    /// When a read last said that it had come to the end of the log.
    confirmed: Instant,
    /// What time it was in Redis, when that was last asked.
    time: Option<RedisTime>,
}

/// The thread. It ends when this is dropped.
pub(super) struct Follower {
    inbox: Arc<Inbox>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Starts to read behind `position`, to ask for the lease, and to note that the instance is up.
    pub(super) fn start(
        address: LogAddress,
        key: String,
        position: u64,
        (lease, pulse): (Lease, Pulse),
        wake: Wake,
    ) -> io::Result<Self> {
        let inbox = Arc::new(Inbox {
            state: Mutex::new(InboxState {
                is_ended: false,
                entries: VecDeque::new(),
                confirmed: Instant::now(),
                time: None,
            }),
            turned: Condvar::new(),
        });
        let reading = Reading {
            link: Link::new(address),
            key,
            position,
            lease,
            pulse,
            inbox: Arc::clone(&inbox),
            wake,
        };
        let thread = thread::Builder::new().name("follower".to_owned());
        Ok(Self {
            inbox,
            thread: Some(thread.spawn(move || reading.run())?),
        })
    }

    /// Returns how long ago the log was last read to its end.
    pub(super) fn followed_for(&self) -> Duration {
        self.inbox.state.lock().confirmed.elapsed()
    }

    /// Returns what time it was in Redis when that was last asked.
    pub(super) fn time(&self) -> Option<RedisTime> {
        self.inbox.state.lock().time
    }

    /// Takes the next entry; `None` while there is none.
    pub(super) fn next(&self) -> Option<Result<Entry, SharedLogError>> {
        let next = self.inbox.state.lock().entries.pop_front();
        self.inbox.turned.notify_one();
        next
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.inbox.state.lock().is_ended = true;
        self.inbox.turned.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Reading {
    link: Link,
    key: String,
    position: u64,
    lease: Lease,
    pulse: Pulse,
    inbox: Arc<Inbox>,
    wake: Wake,
}

impl Reading {
    fn run(mut self) {
        // Well below the limits of an answer and of the lag: a read without an entry is no late one.
        let LogAddress {
            timeout, max_lag, ..
        } = *self.link.address();
        let wait = WAIT.min(timeout / 2).min(max_lag / 4);
        let wait = wait.as_millis().max(1) as u64;
        while !self.inbox.state.lock().is_ended {
            self.lease.keep(&mut self.link);
            if let Some(time) = self.pulse.keep(&mut self.link) {
                self.inbox.state.lock().time = Some(time);
            }
            if self.inbox.state.lock().entries.len() >= WAITING {
                self.rest(WAIT);
                continue;
            }
            let mut call = redis::cmd("XREAD");
            call.arg("COUNT").arg(AT_ONCE).arg("BLOCK").arg(wait);
            call.arg("STREAMS")
                .arg(&self.key)
                .arg(format!("{}-0", self.position));
            // One stream is asked for, and none is answered when nothing came.
            let asked = Instant::now();
            match self.link.ask::<Option<Vec<(String, RawEntries)>>>(&call) {
                Ok(streams) => {
                    let streams = streams.into_iter().flatten();
                    let entries = streams.flat_map(|(_, entries)| entries);
                    self.take_in(entries.collect(), asked);
                }
                Err(error) => {
                    tracing::debug!(%error, "the shared log cannot be read; it is tried again");
                    self.rest(PAUSE);
                }
            }
        }
        self.lease.end(&mut self.link);
        self.pulse.end(&mut self.link);
    }

    /// Waits for so long at most; no longer than until the writer takes an entry, or the thread is to end.
    fn rest(&self, most: Duration) {
        let mut state = self.inbox.state.lock();
        if !state.is_ended {
            self.inbox.turned.wait_for(&mut state, most);
        }
    }

    fn take_in(&mut self, raw: RawEntries, asked: Instant) {
        let last = raw.last().and_then(|last| Entry::label(last).0);
        self.position = last.unwrap_or(self.position);
        let entries = of_others(raw, self.pulse.instance());
        let is_news = !entries.is_empty();
        let mut state = self.inbox.state.lock();
        state.entries.extend(entries);
        state.confirmed = asked;
        drop(state);
        if is_news {
            (self.wake)();
        }
    }
}

/// Decodes what others appended. What the instance itself did, it has taken in when it was answered.
fn of_others(raw: RawEntries, instance: &str) -> Vec<Result<Entry, SharedLogError>> {
    raw.into_iter()
        .filter(|entry| Entry::label(entry).1 != Some(instance.as_bytes()))
        .map(Entry::read)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_instance_appended_itself_is_not_even_decoded() {
        let entry = |position: u64, instance: &str, bytes: &[u8]| {
            let name = format!("{instance} 3");
            let (name, none) = (name.as_bytes(), &b""[..]);
            let fields = [none, none, none, name, none, b"0", none, bytes];
            (format!("{position}-0"), fields.map(<[u8]>::to_vec).to_vec())
        };
        let raw = vec![
            entry(7, "us", b"cannot be read"),
            entry(8, "them", b"\x01"),
            entry(9, "us", b"nor this"),
            entry(10, "them", b"nor that"),
        ];
        let found = of_others(raw, "us");
        let positions: Vec<_> = found
            .iter()
            .map(|entry| entry.as_ref().ok().map(|entry| entry.position))
            .collect();
        assert_eq!(positions, [Some(8), None]);
    }
}
