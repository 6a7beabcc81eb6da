//! The thread that reads what is appended to the log, and wakes the writer.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::address::LogAddress;
use super::confirmed::Confirmed;
use super::lease::Lease;
use super::link::Link;
use super::log_mark::LogPlace;
use super::pulse::{Pulse, RedisTime};
use super::{Entry, RawEntries, RawEntry};
use crate::storage::shared_log_error::SharedLogError;

/// How long one read waits for an entry, at most, and how long to wait at a time for the writer to take what was read.
const WAIT: Duration = Duration::from_millis(500);

/// How often to look whether the log is still the one that was followed, at the primary.
const LOOK: Duration = Duration::from_secs(1);

/// How long to wait at most for the thread at the end of the process.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// Most entries that one read returns, and about how many bytes.
const AT_ONCE: usize = 256;
const BYTES_AT_ONCE: usize = 4 << 20;

/// With so many entries or bytes that wait for the writer, nothing more is read.
const WAITING: usize = 4096;
const BYTES_WAITING: usize = 32 << 20;

/// A read's answer: streams, by their keys.
type Streams = Vec<(String, RawEntries)>;

/// Wakes the writer.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// What the thread and the writer share.
struct Inbox {
    confirmed: Arc<Confirmed>,
    state: Mutex<InboxState>,
    /// Ends a wait of the thread: the writer took an entry, or the thread is to end.
    turned: Condvar,
}

struct InboxState {
    is_ended: bool,
    /// Whether the thread gives the lease back when it ends. One that is left to itself does not: the instance may have it
    /// still, for the next thread.
    gives_back: bool,
    /// Whether the thread has ended.
    has_ended: bool,
    entries: VecDeque<Result<Entry, SharedLogError>>,
    /// The bytes of the entries.
    bytes: usize,
    /// When the last read began that came to the end of the log.
    asked_ms: i64,
    /// Whether the writer has taken all entries, so that it knows what such a read knows.
    is_taken: bool,
    /// What time it was in Redis, when that was last asked.
    time: Option<RedisTime>,
}

impl InboxState {
    fn is_full(&self) -> bool {
        self.entries.len() >= WAITING || self.bytes >= BYTES_WAITING
    }
}

/// The thread. When this is dropped it ends by itself, and nobody waits for it: it may be waiting for an answer.
pub(super) struct Follower {
    inbox: Arc<Inbox>,
}

impl Follower {
    /// Starts to read, to ask for the lease, and to note that the instance is up.
    pub(super) fn start(
        address: LogAddress,
        place: Place,
        (lease, pulse): (Lease, Pulse),
        confirmed: Arc<Confirmed>,
        wake: Wake,
    ) -> io::Result<Self> {
        let inbox = Arc::new(Inbox {
            confirmed,
            state: Mutex::new(InboxState {
                is_ended: false,
                gives_back: false,
                has_ended: false,
                entries: VecDeque::new(),
                bytes: 0,
                asked_ms: place.asked_ms,
                is_taken: false,
                time: None,
            }),
            turned: Condvar::new(),
        });
        let reading = Reading {
            link: Link::new(address, place.cell.clone()),
            place,
            lease,
            pulse,
            inbox: Arc::clone(&inbox),
            wake,
            look_due: Instant::now() + LOOK,
            at_once: AT_ONCE,
            last_error: String::new(),
        };
        let thread = thread::Builder::new().name("follower".to_owned());
        thread.spawn(move || reading.run())?;
        Ok(Self { inbox })
    }

    /// Ends the thread, which gives the lease back, and waits a while for it.
    pub(super) fn end(self) {
        self.inbox.state.lock().gives_back = true;
        self.let_go();
        let mut state = self.inbox.state.lock();
        let goes_on = |state: &mut InboxState| !state.has_ended;
        // Where Redis hangs, the lease goes by itself.
        self.inbox
            .turned
            .wait_while_for(&mut state, goes_on, LAST_WAIT);
    }

    fn let_go(&self) {
        self.inbox.state.lock().is_ended = true;
        self.inbox.turned.notify_all();
    }

    /// Returns what time it was in Redis when that was last asked.
    pub(super) fn time(&self) -> Option<RedisTime> {
        self.inbox.state.lock().time
    }

    /// Takes the next entry; `None` while there is none. Who is given `None` has taken in all before.
    pub(super) fn next(&self) -> Option<Result<Entry, SharedLogError>> {
        let mut state = self.inbox.state.lock();
        let next = state.entries.pop_front();
        match &next {
            Some(entry) => state.bytes = state.bytes.saturating_sub(bytes_of(entry)),
            None => {
                state.is_taken = true;
                self.inbox.confirmed.note(state.asked_ms);
            }
        }
        drop(state);
        self.inbox.turned.notify_all();
        next
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// What the thread reads, and how far it has come.
pub(super) struct Place {
    pub(super) cell: String,
    pub(super) log: String,
    pub(super) epoch: u64,
    /// Behind the last entry that was read.
    pub(super) at: LogPlace,
    /// When that of the start was the end of the log.
    pub(super) asked_ms: i64,
}

struct Reading {
    link: Link,
    place: Place,
    lease: Lease,
    pulse: Pulse,
    inbox: Arc<Inbox>,
    wake: Wake,
    look_due: Instant,
    /// How many entries the next read returns at most.
    at_once: usize,
    last_error: String,
}

impl Reading {
    fn run(mut self) {
        self.read();
        if self.inbox.state.lock().gives_back {
            self.lease.end(&mut self.link);
            self.pulse.end(&mut self.link);
        }
        self.inbox.state.lock().has_ended = true;
        self.inbox.turned.notify_all();
    }

    fn read(&mut self) {
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
            if self.inbox.state.lock().is_full() {
                self.rest(WAIT);
                continue;
            }
            let mut call = redis::cmd("XREAD");
            call.arg("COUNT").arg(self.at_once).arg("BLOCK").arg(wait);
            call.arg("STREAMS")
                .arg(&self.place.log)
                .arg(format!("{}-0", self.place.at.position));
            let limit = self.link.limit();
            match self.look(limit) {
                Ok(true) => {}
                Ok(false) => return self.end_with(SharedLogError::Diverged),
                Err(error) => {
                    self.failed(&error);
                    continue;
                }
            }
            // One stream is asked for, and none is answered when nothing came.
            let asked_ms = self.inbox.confirmed.now_ms();
            match self.link.ask::<Option<Streams>>(limit, &call) {
                Ok(streams) => {
                    let streams = streams.into_iter().flatten();
                    let entries = streams.flat_map(|(_, entries)| entries);
                    self.take_in(entries.collect(), asked_ms);
                }
                Err(error) => self.failed(&error),
            }
        }
    }

    /// Looks about once a second, and after each failure, whether it still reads from the primary, and the log that it followed:
    /// one that lost its end has nothing to be read, and looks as if nothing had come. Returns whether it does.
    fn look(&mut self, limit: Instant) -> Result<bool, SharedLogError> {
        let now = Instant::now();
        if now < self.look_due {
            return Ok(true);
        }
        self.link.check_role(limit)?;
        let Place {
            cell, epoch, at, ..
        } = &self.place;
        let mut call = redis::cmd("HMGET");
        call.arg(cell).arg("epoch").arg("position").arg("tail");
        call.arg("moved");
        let said: (Option<u64>, Option<u64>, Option<String>, Option<String>) =
            self.link.ask(limit, &call)?;
        self.look_due = now + LOOK;
        // Where its counts were moved elsewhere, it ends as before.
        let (Some(its_epoch), Some(position), Some(tail), None) = said else {
            return Ok(false);
        };
        // What comes behind it names it.
        let is_behind = position > at.position;
        Ok(its_epoch == *epoch && (is_behind || LogPlace { position, tail } == *at))
    }

    /// Hands the writer what it closes the store for.
    fn end_with(&self, error: SharedLogError) {
        let mut state = self.inbox.state.lock();
        state.is_taken = false;
        state.entries.push_back(Err(error));
        drop(state);
        (self.wake)();
    }

    /// Says once why the log cannot be read, and waits a moment.
    fn failed(&mut self, error: &SharedLogError) {
        let error = error.to_string();
        if error != self.last_error {
            tracing::warn!(%error, "the shared log cannot be read; it is tried again");
            self.last_error = error;
        }
        self.look_due = Instant::now();
        self.rest(self.link.pause());
    }

    /// Waits for so long at most; no longer than until the writer takes an entry, or the thread is to end.
    fn rest(&self, most: Duration) {
        let mut state = self.inbox.state.lock();
        if !state.is_ended {
            self.inbox.turned.wait_for(&mut state, most);
        }
    }

    fn take_in(&mut self, raw: RawEntries, asked_ms: i64) {
        self.last_error.clear();
        let is_end = raw.len() < self.at_once;
        self.at_once = at_once(&raw);
        if let Some(end) = raw.last().and_then(Entry::end) {
            self.place.at = end;
        }
        let entries = of_others(raw, self.pulse.instance());
        let mut has_work = !entries.is_empty();
        let bytes: usize = entries.iter().map(bytes_of).sum();
        let mut state = self.inbox.state.lock();
        if state.is_ended {
            return;
        }
        if is_end {
            state.asked_ms = asked_ms;
        }
        state.is_taken &= entries.is_empty();
        state.entries.extend(entries);
        state.bytes += bytes;
        if state.is_taken && is_end {
            // Where that was too long ago, writes are refused until the writer looks.
            has_work = self.inbox.confirmed.late().is_some();
            self.inbox.confirmed.note(asked_ms);
        }
        drop(state);
        if has_work {
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

fn bytes_of(entry: &Result<Entry, SharedLogError>) -> usize {
    entry.as_ref().map_or(0, |entry| entry.batch.bytes())
}

/// Returns how many entries the next read may return, given how many bytes these are: such as these.
fn at_once(raw: &[RawEntry]) -> usize {
    let fields = raw.iter().flat_map(|(_, fields)| fields);
    let bytes: usize = fields.map(Vec::len).sum();
    let of_each = bytes / raw.len().max(1);
    (BYTES_AT_ONCE / of_each.max(1)).clamp(1, AT_ONCE)
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

    #[test]
    fn a_read_returns_as_many_entries_as_are_not_too_many_bytes() {
        for (entries, bytes, want) in [
            (0, 0, AT_ONCE),
            (256, 100, AT_ONCE),
            (10, 1 << 20, 4),
            (1, 5 << 20, 1),
        ] {
            let entry = (String::new(), vec![vec![0; bytes]]);
            assert_eq!(at_once(&vec![entry; entries]), want, "{entries} {bytes}");
        }
    }
}
