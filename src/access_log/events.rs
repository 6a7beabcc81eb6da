//! The log of everything that is not a request: `tracing` through a queue of its own into the shared
//! output.

use std::io::{self, Write};
use std::str::FromStr;
use std::sync::Arc;

use parking_lot::Mutex;
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

/// What administrators did is logged at any level.
const ALWAYS: &str = "audit";

/// The longest level that may be written, in bytes.
const LONGEST_LEVEL: usize = 1000;

/// Keeps the event log going. Dropping it writes what waits, for a second at most.
#[must_use = "dropping it ends the event log"]
pub struct EventLog {
    _thread: LogThread,
    /// Which events are logged.
    pub level: EventLevel,
}

/// Which events are logged: as configured, until somebody changes it while the server runs. Its clones share it.
#[derive(Clone)]
pub struct EventLevel {
    set_filter: reload::Handle<EnvFilter, Registry>,
    said: Arc<Mutex<Said>>,
}

#[derive(Clone)]
struct Said {
    in_force: String,
    configured: String,
}

impl EventLevel {
    /// Logs at the level that the configuration says now, written as in [`init_events`].
    ///
    /// # Errors
    /// [`LogError::Level`] for a level that cannot be understood.
    pub fn configure(&self, level: &str) -> Result<(), LogError> {
        self.set(level, |said| level.clone_into(&mut said.configured))
    }

    /// Logs at another level until the next [`Self::configure`]. Returns the one that was in force.
    ///
    /// # Errors
    /// [`LogError::Level`] for a level that cannot be understood.
    pub fn change(&self, level: &str) -> Result<String, LogError> {
        let before = self.in_force();
        self.set(level, |_| {})?;
        Ok(before)
    }

    /// Returns the level in force.
    #[must_use]
    pub fn in_force(&self) -> String {
        self.said.lock().in_force.clone()
    }

    /// Returns the level that the configuration says.
    #[must_use]
    pub fn configured(&self) -> String {
        self.said.lock().configured.clone()
    }

    fn set(&self, level: &str, say: impl FnOnce(&mut Said)) -> Result<(), LogError> {
        let filter = parse_level(level)?;
        let mut said = self.said.lock();
        let set = self.set_filter.reload(filter);
        set.map_err(|_| LogError::Level(level.to_owned()))?;
        level.clone_into(&mut said.in_force);
        say(&mut said);
        Ok(())
    }
}

/// Returns `level` if it can be understood; written as in [`init_events`].
///
/// # Errors
/// [`LogError::Level`].
pub fn level_in_words(level: &str) -> Result<String, LogError> {
    parse_level(level).map(|_| level.to_owned())
}

/// Sends all `tracing` events of the process to `output` from now on. `level` is `off`, `error`, `warn`,
/// `info`, `debug`, `trace`, or a list of `target=level` with at most one bare level, such as
/// `info,counterd::writer=debug`. What administrators did is logged at any level.
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
    let said = Said {
        in_force: level.to_owned(),
        configured: level.to_owned(),
    };
    let level = EventLevel {
        set_filter,
        said: Arc::new(Mutex::new(said)),
    };
    let log = EventLog {
        _thread: thread,
        level,
    };
    Ok((dispatch, log))
}

/// Returns the filter of that level. `EnvFilter` alone would take a misspelt level for the name of a target, and knows
/// filters by fields of events, which an operator has no use for.
fn parse_level(level: &str) -> Result<EnvFilter, LogError> {
    let wrong = || LogError::Level(level.to_owned());
    if level.len() > LONGEST_LEVEL {
        return Err(LogError::Level(format!("of {} bytes", level.len())));
    }
    let of_targets = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    for part in level.split(',') {
        let (target, level_part) = part.split_once('=').unwrap_or(("", part));
        // The empty text would be taken for `error`.
        let named = Some(level_part.trim()).filter(|level| !level.is_empty());
        LevelFilter::from_str(named.ok_or_else(wrong)?).map_err(|_| wrong())?;
        let target = target.trim();
        if !target.chars().all(of_targets) || target.split("::").next() == Some(ALWAYS) {
            return Err(wrong());
        }
    }
    let whole = format!("{level},{ALWAYS}=info");
    EnvFilter::builder().parse(whole).map_err(|_| wrong())
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
