//! One runtime's lines that have not been handed over yet.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use super::queue::Queue;
use super::stamp::Stamp;
use super::{Access, Choice, Entry, LogFormat, line};

/// Handed over when it has grown to this many bytes, unless a flush comes first.
pub(super) const CHUNK_BYTES: usize = 32 * 1024;

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
    passed: Cell<u64>,
    format: LogFormat,
    max_lines: usize,
    max_bytes: usize,
    queue: Arc<Queue>,
    pending: RefCell<Pending>,
}

impl AccessBuffer {
    pub(super) fn new(
        choice: Arc<Choice>,
        format: LogFormat,
        max_lines: usize,
        max_bytes: usize,
        queue: Arc<Queue>,
    ) -> Self {
        Self {
            choice,
            passed: Cell::new(0),
            format,
            max_lines,
            max_bytes,
            queue,
            pending: RefCell::new(Pending {
                text: Vec::new(),
                lines: 0,
                stamp: Stamp::new(),
            }),
        }
    }

    /// Whether a request that ended with `status` is logged at all.
    #[must_use]
    pub fn wants(&self, status: u16) -> bool {
        match self.choice.get().0 {
            Access::All => true,
            Access::Errors => status >= 400,
            Access::Off => false,
        }
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

    /// Whether this request is one of those between two of a sample. Errors are all logged.
    fn is_passed_over(&self, status: u16) -> bool {
        if status >= 400 {
            return false;
        }
        let passed = self.passed.get() + 1;
        let is_due = passed >= self.choice.get().1;
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

impl std::fmt::Debug for AccessBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessBuffer")
            .field("choice", &self.choice)
            .finish_non_exhaustive()
    }
}
