//! One runtime's lines that have not been handed over yet.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::queue::Queue;
use super::stamp::Stamp;
use super::{AccessLog, Choice, Entry, LogFormat, line};

/// Handed over when it has grown to this many bytes, unless a flush comes first. Each time wakes the thread that writes,
/// beside those that count.
const CHUNK_BYTES: usize = 128 * 1024;

struct Pending {
    text: Vec<u8>,
    lines: usize,
    stamp: Stamp,
}

/// One runtime's end of the request log. It may move to the runtime's thread, but is not shared
/// between threads: a line costs no lock.
///
/// What is in it is handed over when it is dropped, too.
pub struct AccessBuffer {
    choice: Arc<Choice>,
    /// Successful requests that got no line since the last one that did.
    passed: Cell<u32>,
    format: LogFormat,
    max_lines: usize,
    max_bytes: usize,
    queue: Arc<Queue>,
    pending: RefCell<Pending>,
}

impl AccessBuffer {
    pub(super) fn new(log: &AccessLog) -> Self {
        let AccessLog {
            options,
            queue,
            choice,
        } = log.clone();
        Self {
            choice,
            passed: Cell::new(0),
            format: options.format,
            // A quarter, so that several runtimes fit into a small queue.
            max_lines: (options.queue_lines / 4).max(1),
            max_bytes: (options.queue_bytes / 4).min(CHUNK_BYTES),
            queue,
            pending: RefCell::new(Pending {
                text: Vec::new(),
                lines: 0,
                stamp: Stamp::new(),
            }),
        }
    }

    /// Returns whether a request that ended with `status` is logged at all.
    #[must_use]
    pub fn wants(&self, status: u16) -> bool {
        status >= self.choice.from_status.load(Relaxed)
    }

    /// Appends the request's line if [`Self::wants`] says so. Never waits for the log.
    pub fn record(&self, entry: &Entry<'_>) {
        if !self.wants(entry.status) || self.is_passed_over(entry.status) {
            return;
        }
        let mut pending = self.pending.borrow_mut();
        let Pending { text, lines, stamp } = &mut *pending;
        line::append_request(text, self.format, stamp, entry);
        *lines += 1;
        if text.len() >= self.max_bytes || *lines >= self.max_lines {
            self.queue.hand_over(text, lines);
        }
    }

    /// Returns whether this request is one of those between two of a sample. Errors are all logged.
    fn is_passed_over(&self, status: u16) -> bool {
        if status >= 400 {
            return false;
        }
        let passed = self.passed.get() + 1;
        let is_due = passed >= self.choice.sample.load(Relaxed);
        self.passed.set(if is_due { 0 } else { passed });
        !is_due
    }

    /// Hands over what there is. To be called from time to time, such as every 100 ms, so that
    /// lines do not wait for a buffer to fill; costs next to nothing when there is none.
    pub fn flush(&self) {
        let mut pending = self.pending.borrow_mut();
        let Pending { text, lines, .. } = &mut *pending;
        self.queue.hand_over(text, lines);
    }
}

impl Drop for AccessBuffer {
    fn drop(&mut self) {
        self.flush();
    }
}
