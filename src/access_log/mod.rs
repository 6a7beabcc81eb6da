//! The logs: one line for each API request, and the way of all other events to the same place.
//!
//! A request's line is made by hand in its runtime's [`AccessBuffer`], handed over in bulk to one
//! log thread, and written by it to standard output or to files that rotate ([`LogOutput`]). No
//! request ever waits for the log: what a full queue or a failing disk loses is counted, in
//! `/metrics` and in a line of the log itself once it flows again.
//!
//! Kept out: tokens and user ids, for which [`Entry`] has no field; the calendar and the clock, which
//! are passed in; `tracing`, which takes too long for a line on every request.
//!
//! ```no_run
//! use std::sync::Arc;
//! use std::time::Duration;
//! use counterd::access_log::{
//!     AccessLog, Entry, LogFormat, LogOptions, LogOutput, PeerText,
//! };
//! use counterd::clock::SystemClock;
//! use counterd::counter::{CounterName, RequestId};
//! use counterd::metrics::{Metrics, Route};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let metrics = Metrics::new();
//! let output = LogOutput::stdout(Arc::new(SystemClock), metrics.log.clone())?;
//! let options = LogOptions {
//!     format: LogFormat::Text,
//!     queue_lines: 65_536,
//!     queue_bytes: 16 << 20,
//! };
//! let (log, thread) = AccessLog::start(&options, output)?;
//! let buffer = log.buffer();
//! buffer.record(&Entry {
//!     at_ms: 1_795_515_000_007,
//!     request_id: &RequestId::Made(7),
//!     method: "POST",
//!     route: Route::Increment,
//!     counter: Some(&CounterName::parse("online_players")?),
//!     status: 200,
//!     took: Duration::from_micros(180),
//!     bytes: 104,
//!     peer: &PeerText::new("127.0.0.1:51234".parse()?),
//!     trace: None,
//! });
//! drop(buffer);
//! assert!(thread.finish(Duration::from_secs(1)));
//! # Ok(())
//! # }
//! ```

mod buffer;
mod events;
mod file;
mod line;
mod output;
mod queue;
mod rotate;
mod stamp;
mod thread;
mod trace;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use crate::counter::{CounterName, RequestId};
use crate::metrics::{LogKind, Route};

pub use buffer::AccessBuffer;
pub use events::{EventLevel, EventLog, init_events, level_in_words};
pub use output::LogOutput;
pub use rotate::FileOptions;
pub use thread::LogThread;
pub use trace::TraceParent;

use queue::Queue;

words! {
    /// How a line looks.
    LogFormat {
        /// `time level target: key=value …`, for people.
        Text = "text",
        /// One JSON object a line, for machines.
        Json = "json",
    }
}

words! {
    /// Which requests get a line.
    Access {
        /// Every API request.
        All = "all",
        /// Those answered with a status of 400 or above.
        Errors = "errors",
        /// None.
        Off = "off",
    }
}

/// How a log is written.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// How a line looks.
    pub format: LogFormat,
    /// Lines that may wait to be written; what comes on top is dropped and counted.
    pub queue_lines: usize,
    /// The same in bytes. For requests, each runtime's buffer, 128 KiB or less, comes on top.
    pub queue_bytes: usize,
}

/// One API request that was answered.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Wall time of the answer, in milliseconds since 1970.
    pub at_ms: i64,
    /// The id that the answer carries; it may be a stranger's.
    pub request_id: &'a RequestId,
    /// The HTTP method, also a stranger's: escaped, and cut at 128 bytes.
    pub method: &'a str,
    /// What was asked for.
    pub route: Route,
    /// The counter that the path names, only if the name is a valid one.
    pub counter: Option<&'a CounterName>,
    /// The HTTP status of the answer.
    pub status: u16,
    /// From the request's head to the answer; written in whole microseconds.
    pub took: Duration,
    /// Bytes of the answer's body.
    pub bytes: u64,
    /// Who asked.
    pub peer: &'a PeerText,
    /// The trace that the client says it belongs to; `None` when it says none, or none that is well formed.
    pub trace: Option<&'a TraceParent>,
}

/// The address of a client as a line shows it, made once for each connection, and for each request that came through
/// proxies that are trusted. An IPv4 address that came in over an
/// IPv6 socket is written as the IPv4 address that it is.
#[derive(Clone, Debug)]
pub struct PeerText(Box<str>);

impl PeerText {
    /// Makes the text of an address.
    pub fn new(peer: SocketAddr) -> Self {
        let canonical = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        Self(canonical.to_string().into())
    }

    /// Makes the text of a client that proxies name, which has no port.
    pub fn of_client(client: IpAddr) -> Self {
        Self(client.to_canonical().to_string().into())
    }
}

impl fmt::Display for PeerText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a log could not be set up. Once it is, its failures are counted, never returned.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Standard output is closed.
    #[error("cannot log to standard output: {0}; set log.dir or leave it open")]
    Stdout(#[source] io::Error),
    /// The first log file could not be opened.
    #[error("cannot write log files in {}: {source}; see log.dir", dir.display())]
    Files {
        /// The directory.
        dir: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The level is not one of the known words.
    #[error(
        "the log level {0:?} is not understood; write off, error, warn, info, debug or trace, or some of them for \
         parts of the program such as info,counterd::mirror=debug"
    )]
    Level(String),
    /// The process has an event log already.
    #[error("the event log was set up twice")]
    Already,
    /// No thread could be started.
    #[error("cannot start the log thread: {0}")]
    Thread(#[source] io::Error),
}

/// The request log: makes a buffer for each runtime. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AccessLog {
    options: LogOptions,
    queue: Arc<Queue>,
    choice: Arc<Choice>,
}

/// A status that no request ends with.
const OFF: u16 = u16::MAX;

/// Which requests get a line; may be changed while the server runs.
#[derive(Debug, Default)]
struct Choice {
    /// The lowest status that is logged.
    from_status: AtomicU16,
    /// Of so many successful requests one is logged.
    sample: AtomicU32,
}

impl AccessLog {
    /// Starts the log thread. Every request gets a line until [`Self::choose`] says otherwise.
    ///
    /// # Errors
    /// [`LogError::Thread`].
    pub fn start(options: &LogOptions, output: LogOutput) -> Result<(Self, LogThread), LogError> {
        let (lines, bytes) = (options.queue_lines, options.queue_bytes);
        let queue = Queue::new(LogKind::Request, lines, bytes, output.metrics().clone());
        let thread = LogThread::start(&queue, options.format, output)?;
        let log = Self {
            options: options.clone(),
            choice: Arc::default(),
            queue,
        };
        Ok((log, thread))
    }

    /// Chooses which requests get a line from now on: of `sample` that were answered below 400 one, and
    /// those answered with 400 or above all.
    pub fn choose(&self, access: Access, sample: u32) {
        let from_status = match access {
            Access::All => 0,
            Access::Errors => 400,
            Access::Off => OFF,
        };
        self.choice.from_status.store(from_status, Relaxed);
        self.choice.sample.store(sample.max(1), Relaxed);
    }

    /// Returns whether any request gets a line.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.choice.from_status.load(Relaxed) != OFF
    }

    /// Makes a buffer for one runtime to keep.
    #[must_use]
    pub fn buffer(&self) -> AccessBuffer {
        AccessBuffer::new(self)
    }
}
