//! The thread that reads what is appended to the log, and wakes the writer.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;

use super::keys::CellKeys;
use super::link::{Link, LogAddress};
use super::{Entry, RawEntries};
use crate::storage::shared_log_error::SharedLogError;

/// How long one read waits for an entry.
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
}

/// The thread. It ends when this is dropped.
pub(super) struct Follower {
    inbox: Arc<Inbox>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Starts to read behind `position`.
    pub(super) fn start(
        address: LogAddress,
        keys: CellKeys,
        position: u64,
        wake: Wake,
    ) -> io::Result<Self> {
        let inbox = Arc::<Inbox>::default();
        let reading = Reading {
            link: Link::new(address),
            key: keys.log(),
            position,
            inbox: Arc::clone(&inbox),
            wake,
        };
        let thread = thread::Builder::new().name("follower".to_owned());
        Ok(Self {
            inbox,
            thread: Some(thread.spawn(move || reading.run())?),
        })
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
    key: String,
    position: u64,
    inbox: Arc<Inbox>,
    wake: Wake,
}

impl Reading {
    fn run(mut self) {
        while !self.inbox.ended.load(Ordering::Acquire) {
            if self.inbox.entries.lock().len() >= WAITING {
                thread::sleep(PAUSE);
                continue;
            }
            let mut call = redis::cmd("XREAD");
            call.arg("COUNT")
                .arg(AT_ONCE)
                .arg("BLOCK")
                .arg(WAIT.as_millis() as u64);
            call.arg("STREAMS")
                .arg(&self.key)
                .arg(format!("{}-0", self.position));
            // One stream is asked for, and none is answered when nothing came.
            match self.link.ask::<Option<Vec<(String, RawEntries)>>>(&call) {
                Ok(streams) => {
                    let raw = streams
                        .into_iter()
                        .flatten()
                        .flat_map(|(_, entries)| entries);
                    self.take_in(raw.map(Entry::read).collect());
                }
                Err(error) => {
                    tracing::debug!(%error, "the shared log cannot be read; it is tried again");
                    thread::sleep(PAUSE);
                }
            }
        }
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
