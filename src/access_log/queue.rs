//! The bounded queue between those who log and the thread that writes their lines.
//!
//! The buffers of runtimes are handed over whole, so its lock is taken once for hundreds of requests. What does not fit
//! is dropped and counted; nobody ever waits to put something in.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::metrics::{LogKind, LogMetrics};

/// Emptied buffers kept for the next hand-over.
const MAX_SPARE: usize = 16;

/// Lines on their way to the log.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// Whole lines; empty when only a loss is to be told.
    pub(super) text: Vec<u8>,
    lines: usize,
    /// Lines that were dropped just before these.
    pub(super) dropped_before: u64,
}

#[derive(Debug, Default)]
struct State {
    chunks: VecDeque<Chunk>,
    // Those of the chunk being written count until it is written.
    lines: usize,
    bytes: usize,
    dropped: u64,
    spare: Vec<Vec<u8>>,
    closed: bool,
    ended: bool,
}

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) kind: LogKind,
    max_lines: usize,
    max_bytes: usize,
    metrics: LogMetrics,
    state: Mutex<State>,
    filled: Condvar,
    ended: Condvar,
}

impl Queue {
    pub(super) fn new(
        kind: LogKind,
        max_lines: usize,
        max_bytes: usize,
        metrics: LogMetrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            kind,
            max_lines,
            max_bytes,
            metrics,
            state: Mutex::default(),
            filled: Condvar::new(),
            ended: Condvar::new(),
        })
    }

    /// Takes over `text` with its `lines` whole lines and leaves both empty, whether it fits or not.
    pub(super) fn hand_over(&self, text: &mut Vec<u8>, lines: &mut usize) {
        if *lines == 0 {
            return;
        }
        let count = mem::take(lines);
        let mut state = self.state.lock();
        let fits = state.lines + count <= self.max_lines
            && state.bytes + text.len() <= self.max_bytes
            && !state.closed;
        if fits {
            state.lines += count;
            state.bytes += text.len();
            let spare = state.spare.pop().unwrap_or_default();
            let dropped_before = mem::take(&mut state.dropped);
            state.chunks.push_back(Chunk {
                text: mem::replace(text, spare),
                lines: count,
                dropped_before,
            });
        } else {
            text.clear();
            state.dropped += count as u64;
            self.metrics.lines_dropped(self.kind, count as u64);
        }
        drop(state);
        self.filled.notify_one();
    }

    /// Gives back the chunk that was written and waits for the next one, which has no text when
    /// there is only a loss to tell; `None` once the queue is closed and empty.
    pub(super) fn next(&self, written: Option<Chunk>) -> Option<Chunk> {
        let mut state = self.state.lock();
        if let Some(chunk) = written {
            state.lines -= chunk.lines;
            state.bytes -= chunk.text.len();
            if state.spare.len() < MAX_SPARE {
                let mut text = chunk.text;
                text.clear();
                state.spare.push(text);
            }
        }
        loop {
            if let Some(chunk) = state.chunks.pop_front() {
                return Some(chunk);
            }
            if state.dropped > 0 {
                return Some(Chunk {
                    dropped_before: mem::take(&mut state.dropped),
                    ..Chunk::default()
                });
            }
            if state.closed {
                return None;
            }
            self.filled.wait(&mut state);
        }
    }

    /// Drops what is handed over from now on.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.filled.notify_one();
    }

    /// Notes that the log thread has written its last.
    pub(super) fn end(&self) {
        self.state.lock().ended = true;
        self.ended.notify_all();
    }

    /// Returns whether the log thread ended within `timeout`.
    pub(super) fn wait_for_end(&self, timeout: Duration) -> bool {
        let mut state = self.state.lock();
        let waited = self
            .ended
            .wait_while_for(&mut state, |state| !state.ended, timeout);
        !waited.timed_out()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::metrics::Metrics;

    fn hand_over(queue: &Queue, text: &str) {
        let mut bytes = text.as_bytes().to_vec();
        let mut lines = text.lines().count();
        queue.hand_over(&mut bytes, &mut lines);
        assert!(bytes.is_empty() && lines == 0);
    }

    fn next(queue: &Queue, written: Option<Chunk>) -> (String, u64, Chunk) {
        let chunk = queue.next(written).unwrap();
        let text = String::from_utf8(chunk.text.clone()).unwrap();
        (text, chunk.dropped_before, chunk)
    }

    #[test]
    fn what_does_not_fit_is_dropped_counted_and_told_before_what_follows() {
        let metrics = Metrics::new().log;
        let queue = Queue::new(LogKind::Request, 3, 1_000, metrics.clone());
        hand_over(&queue, "1\n2\n");
        hand_over(&queue, "3\n4\n");
        hand_over(&queue, "5\n");
        hand_over(&queue, "6\n");
        assert_eq!(metrics.dropped[LogKind::Request as usize].get(), 3);

        let (text, dropped, first) = next(&queue, None);
        assert_eq!((text.as_str(), dropped), ("1\n2\n", 0));
        let (text, dropped, second) = next(&queue, Some(first));
        assert_eq!((text.as_str(), dropped), ("5\n", 2));
        let (text, dropped, loss) = next(&queue, Some(second));
        assert_eq!((text.as_str(), dropped), ("", 1));
        hand_over(&queue, "7\n8\n9\n");
        let (text, dropped, _) = next(&queue, Some(loss));
        assert_eq!((text.as_str(), dropped), ("7\n8\n9\n", 0));
    }

    #[test]
    fn bytes_are_bounded_too_and_what_is_being_written_counts() {
        let metrics = Metrics::new().log;
        let queue = Queue::new(LogKind::Request, 1_000, 10, metrics.clone());
        hand_over(&queue, "12345\n");
        let (_, _, being_written) = next(&queue, None);
        hand_over(&queue, "abcd\n");
        assert_eq!(metrics.dropped[LogKind::Request as usize].get(), 1);
        let (text, dropped, loss) = next(&queue, Some(being_written));
        assert_eq!((text.as_str(), dropped), ("", 1));
        hand_over(&queue, "123456789\n");
        let (text, _, _) = next(&queue, Some(loss));
        assert_eq!(text, "123456789\n");
    }

    #[test]
    fn a_closed_queue_gives_what_it_has_and_takes_no_more() {
        let metrics = Metrics::new().log;
        let queue = Queue::new(LogKind::Request, 10, 100, metrics.clone());
        hand_over(&queue, "1\n");
        queue.close();
        hand_over(&queue, "2\n");
        assert_eq!(metrics.dropped[LogKind::Request as usize].get(), 1);
        let (text, _, chunk) = next(&queue, None);
        assert_eq!(text, "1\n");
        let (_, dropped, loss) = next(&queue, Some(chunk));
        assert_eq!(dropped, 1);
        assert!(queue.next(Some(loss)).is_none());
        assert!(!queue.wait_for_end(Duration::ZERO));
        queue.end();
        assert!(queue.wait_for_end(Duration::ZERO));
    }
}
