//! One runtime's lines that have not been handed over yet.

use std::cell::RefCell;
use std::sync::Arc;

use super::queue::Queue;
use super::stamp::Stamp;
use super::{Access, Entry, LogFormat, line};

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
    access: Access,
    format: LogFormat,
    max_lines: usize,
    max_bytes: usize,
    queue: Arc<Queue>,
    pending: RefCell<Pending>,
}

impl AccessBuffer {
    pub(super) fn new(
        access: Access,
        format: LogFormat,
        max_lines: usize,
        max_bytes: usize,
        queue: Arc<Queue>,
    ) -> Self {
        Self {
            access,
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
    pub const fn wants(&self, status: u16) -> bool {
        match self.access {
            Access::All => true,
            Access::Errors => status >= 400,
            Access::Off => false,
        }
    }

    /// Appends the request's line if [`Self::wants`] says so. Never waits for the log.
    pub fn record(&self, entry: &Entry<'_>) {
        if !self.wants(entry.status) {
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
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}
