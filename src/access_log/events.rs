//! The log of everything that is not a request: `tracing` through a queue of its own into the shared
//! output.

use std::io::{self, Write};
use std::str::FromStr;
use std::sync::Arc;

use tracing::Dispatch;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, reload};

use super::output::LogOutput;
use super::queue::Queue;
use super::stamp::Stamp;
use super::{LogError, LogFormat, LogOptions, LogThread, line};
use crate::metrics::LogKind;

/// Keeps the event log going. Dropping it writes what waits, for a second at most.
#[must_use = "dropping it ends the event log"]
pub struct EventLog {
    _thread: LogThread,
    set_filter: reload::Handle<EnvFilter, Registry>,
}

impl EventLog {
    /// Logs at another level from now on, written as in [`init_events`].
    ///
    /// # Errors
    /// [`LogError::Level`] for a level that cannot be understood.
    pub fn set_level(&self, level: &str) -> Result<(), LogError> {
        let filter = parse_level(level)?;
        let set = self.set_filter.reload(filter);
        set.map_err(|_| LogError::Level(level.to_owned()))
    }
}

/// Sends all `tracing` events of the process to `output` from now on. `level` is `off`, `error`, `warn`,
/// `info`, `debug`, `trace`, or a list of `target=level` with at most one bare level, such as
/// `info,counterd::writer=debug`.
///
/// # Errors
/// [`LogError::Level`] for a level that cannot be understood, [`LogError::Already`] when the process
/// has an event log already.
pub fn init_events(
    level: &str,
    options: &LogOptions,
    output: &LogOutput,
) -> Result<EventLog, LogError> {
    let (dispatch, log) = events(level, options, output)?;
    tracing::dispatcher::set_global_default(dispatch).map_err(|_| LogError::Already)?;
    Ok(log)
}

fn events(
    level: &str,
    options: &LogOptions,
    output: &LogOutput,
) -> Result<(Dispatch, EventLog), LogError> {
    let filter = parse_level(level)?;
    let (lines, bytes) = (options.queue_lines, options.queue_bytes);
    let queue = Queue::new(LogKind::Event, lines, bytes, output.metrics().clone());
    let format = options.format;
    let thread = LogThread::start(&queue, format, output.clone())?;
    let (filter, set_filter) = reload::Layer::new(filter);
    let lines = tracing_subscriber::fmt::layer()
        .with_timer(Clock(output.clone()))
        .with_ansi(false)
        .with_writer(move || EventWriter {
            format,
            queue: Arc::clone(&queue),
        });
    let lines = match format {
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
        _thread: thread,
        set_filter,
    };
    Ok((dispatch, log))
}

/// Returns the filter of that level. `EnvFilter` alone would take a misspelt level for the name of a target.
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

/// Takes one event with each call.
struct EventWriter {
    format: LogFormat,
    queue: Arc<Queue>,
}

impl Write for EventWriter {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let mut line = line::one_line(self.format, event);
        self.queue.hand_over(&mut line, &mut 1);
        // A loss is counted, and no reason to be given the same event again.
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
