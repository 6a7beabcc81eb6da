//! The thread that reads what is appended to the log, and wakes the writer.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::address::LogAddress;
use super::lease::Lease;
use super::link::Link;
use super::{Entry, RawEntries};
use crate::storage::shared_log_error::SharedLogError;

/// How long one read waits for an entry, at most.
const WAIT: Duration = Duration::from_millis(500);

/// How long to wait after a read that failed, and while the writer has not taken what was read.
const PAUSE: Duration = Duration::from_millis(20);

/// Most entries that one read returns, and most that wait for the writer.
const AT_ONCE: usize = 256;
const WAITING: usize = 4096;

/// Wakes the writer.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// What the thread and the writer share.
#[derive(Default)]
struct Inbox {
    ended: AtomicBool,
    entries: Mutex<VecDeque<Result<Entry, SharedLogError>>>,
    /// When a read last said that it had come to the end of the log.
    confirmed: Mutex<Option<Instant>>,
}

/// The thread. It ends when this is dropped.
pub(super) struct Follower {
    inbox: Arc<Inbox>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Starts to read behind `position`, and to ask for the lease.
    pub(super) fn start(
        address: LogAddress,
        key: String,
        position: u64,
        lease: Lease,
        wake: Wake,
    ) -> io::Result<Self> {
        let inbox = Arc::<Inbox>::default();
        *inbox.confirmed.lock() = Some(Instant::now());
        let reading = Reading {
            max_lag: address.max_lag,
            link: Link::new(address),
            key,
            position,
            lease,
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
        let confirmed = *self.inbox.confirmed.lock();
        confirmed.map_or(Duration::ZERO, |at| at.elapsed())
    }

    /// Takes the next entry; `None` while there is none.
    pub(super) fn next(&self) -> Option<Result<Entry, SharedLogError>> {
        self.inbox.entries.lock().pop_front()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.inbox.ended.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Reading {
    link: Link,
    max_lag: Duration,
    key: String,
    position: u64,
    lease: Lease,
    inbox: Arc<Inbox>,
    wake: Wake,
}

impl Reading {
    fn run(mut self) {
        // Well below the limits of an answer and of the lag: a read without an entry is no late one.
        let wait = WAIT.min(self.link.timeout() / 2).min(self.max_lag / 4);
        let wait = wait.as_millis().max(1) as u64;
        while !self.inbox.ended.load(Ordering::Acquire) {
            self.lease.keep(&mut self.link);
            if self.inbox.entries.lock().len() >= WAITING {
                thread::sleep(PAUSE);
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
                    let raw = streams
                        .into_iter()
                        .flatten()
                        .flat_map(|(_, entries)| entries);
                    self.take_in(raw.map(Entry::read).collect());
                    *self.inbox.confirmed.lock() = Some(asked);
                }
                Err(error) => {
                    tracing::debug!(%error, "the shared log cannot be read; it is tried again");
                    thread::sleep(PAUSE);
                }
            }
        }
        self.lease.end(&mut self.link);
    }

    fn take_in(&mut self, entries: Vec<Result<Entry, SharedLogError>>) {
        if entries.is_empty() {
            return;
        }
        for entry in entries.iter().flatten() {
            self.position = entry.position;
        }
        self.inbox.entries.lock().extend(entries);
        (self.wake)();
    }
}
