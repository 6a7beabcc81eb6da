//! The thread that writes what one queue is handed.

use std::sync::Arc;
use std::time::Duration;

use super::queue::Queue;
use super::{LogError, LogFormat, LogOutput};

/// A log's thread. Dropping it does as [`Self::finish`] with a second.
#[derive(Debug)]
#[must_use = "dropping it ends the log"]
pub struct LogThread {
    queue: Arc<Queue>,
    grace: Duration,
}

impl LogThread {
    pub(super) fn start(
        queue: &Arc<Queue>,
        format: LogFormat,
        output: LogOutput,
    ) -> Result<Self, LogError> {
        let source = Arc::clone(queue);
        std::thread::Builder::new()
            .name(format!("{}-log", queue.kind.as_str()))
            .spawn(move || {
                write_all(&source, &output, format);
                source.end();
            })
            .map_err(LogError::Thread)?;
        Ok(Self {
            queue: Arc::clone(queue),
            grace: Duration::from_secs(1),
        })
    }

    /// Writes what was handed over, ends the thread, and returns whether that was done within
    /// `timeout`; if not (a terminal that is held, a disk that hangs), the rest is lost. Lines handed
    /// over later are dropped and counted, so the buffers are flushed or dropped before.
    #[must_use]
    pub fn finish(mut self, timeout: Duration) -> bool {
        self.grace = Duration::ZERO;
        self.queue.close();
        self.queue.wait_for_end(timeout)
    }
}

impl Drop for LogThread {
    fn drop(&mut self) {
        self.queue.close();
        self.queue.wait_for_end(self.grace);
    }
}

fn write_all(queue: &Queue, output: &LogOutput, format: LogFormat) {
    let mut untold = 0;
    let mut written = None;
    while let Some(chunk) = queue.next(written.take()) {
        untold += chunk.dropped_before;
        output.tell_dropped(format, queue.kind, &mut untold);
        let lost = output.write_lines(&chunk.text);
        output.metrics().lines_dropped(queue.kind, lost);
        untold += lost;
        written = Some(chunk);
    }
    output.tell_dropped(format, queue.kind, &mut untold);
}
