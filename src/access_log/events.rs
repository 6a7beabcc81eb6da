//! The log of everything that is not a request: `tracing` through `tracing_appender`'s queue into
//! the shared output.

use std::io::{self, Write};
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use tracing::Dispatch;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, reload};

use super::output::LogOutput;
use super::stamp::Stamp;
use super::{LogError, LogFormat, line};
use crate::metrics::LogKind;

/// How events are logged.
#[derive(Clone, Debug)]
pub struct EventLogOptions {
    /// How a line looks.
    pub format: LogFormat,
    /// `off`, `error`, `warn`, `info`, `debug`, `trace`, or a list of `target=level` with at most one
    /// bare level, such as `info,counterd::writer=debug`.
    pub level: String,
    /// Lines that may wait to be written; what comes on top is dropped and counted.
    pub queue_lines: usize,
}

/// Keeps the event log going. Dropping it writes what waits, for a second at most.
#[must_use = "dropping it ends the event log"]
pub struct EventLog {
    _worker: WorkerGuard,
    set_filter: reload::Handle<EnvFilter, Registry>,
}

impl EventLog {
    /// Logs at another level from now on, written as in [`EventLogOptions::level`].
    ///
    /// # Errors
    /// [`LogError::Level`] for a level that cannot be understood.
    pub fn set_level(&self, level: &str) -> Result<(), LogError> {
        let filter = parse_level(level)?;
        let set = self.set_filter.reload(filter);
        set.map_err(|_| LogError::Level(level.to_owned()))
    }
}

/// Sends all `tracing` events of the process to `output` from now on.
///
/// # Errors
/// [`LogError::Level`] for a level that cannot be understood, [`LogError::Already`] when the process
/// has an event log already.
pub fn init_events(options: &EventLogOptions, output: &LogOutput) -> Result<EventLog, LogError> {
    let (dispatch, log) = events(options, output)?;
    tracing::dispatcher::set_global_default(dispatch).map_err(|_| LogError::Already)?;
    Ok(log)
}

fn events(options: &EventLogOptions, output: &LogOutput) -> Result<(Dispatch, EventLog), LogError> {
    let filter = parse_level(&options.level)?;
    let dropped = Arc::new(OnceLock::new());
    let end = EventEnd {
        format: options.format,
        output: output.clone(),
        dropped: Arc::clone(&dropped),
        seen: 0,
        untold: 0,
    };
    let (queue, worker) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(options.queue_lines.max(1))
        .thread_name("event-log")
        .finish(end);
    // Nothing can have been logged yet, so the queue's end finds it set.
    let _ = dropped.set(queue.error_counter());
    let (filter, set_filter) = reload::Layer::new(filter);
    let lines = tracing_subscriber::fmt::layer()
        .with_timer(Clock(output.clone()))
        .with_ansi(false)
        .with_writer(queue);
    let lines = match options.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed(),
    };
    let dispatch = Dispatch::new(Registry::default().with(filter).with(lines));
    let log = EventLog {
        _worker: worker,
        set_filter,
    };
    Ok((dispatch, log))
}

/// `EnvFilter` would take a misspelt level for the name of a target.
fn parse_level(level: &str) -> Result<EnvFilter, LogError> {
    let wrong = || LogError::Level(level.to_owned());
    for part in level.split(',') {
        let level_part = part.split_once('=').map_or(part, |(_, level)| level);
        // The empty text would be taken for `error`.
        let named = Some(level_part.trim()).filter(|level| !level.is_empty());
        LevelFilter::from_str(named.ok_or_else(wrong)?).map_err(|_| wrong())?;
    }
    EnvFilter::builder().parse(level).map_err(|_| wrong())
}

struct Clock(LogOutput);

impl FormatTime for Clock {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        let mut text = Vec::with_capacity(24);
        Stamp::new().append(self.0.wall_ms(), &mut text);
        text.iter()
            .try_for_each(|b| writer.write_char(char::from(*b)))
    }
}

/// The far end of the queue, run by its thread: one call is one event.
struct EventEnd {
    format: LogFormat,
    output: LogOutput,
    dropped: Arc<OnceLock<ErrorCounter>>,
    /// Of the queue's drops, those counted already.
    seen: u64,
    untold: u64,
}

impl EventEnd {
    fn tell_dropped(&mut self) {
        let dropped = self
            .dropped
            .get()
            .map_or(0, |counter| counter.dropped_lines() as u64);
        self.count_lost(dropped.saturating_sub(self.seen));
        self.seen = dropped;
        self.output
            .tell_dropped(self.format, LogKind::Event, &mut self.untold);
    }

    fn count_lost(&mut self, lines: u64) {
        self.output.metrics().lines_dropped(LogKind::Event, lines);
        self.untold += lines;
    }
}

impl Write for EventEnd {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.tell_dropped();
        let lost = self.output.write_lines(&line::one_line(self.format, event));
        self.count_lost(lost);
        // A loss is counted, and no reason to be given the same event again.
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tell_dropped();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
