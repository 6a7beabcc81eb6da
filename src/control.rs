//! The Unix socket in the data directory, through which commands speak to a running server.
//!
//! One line of JSON asks, one line answers. The socket is for the user that runs the server alone
//! (mode 0600); who can open it could read and write the store anyway. Commands for which no server
//! runs do the same work on the store themselves, through [`Desk`].
//!
//! Kept out: what the commands mean (`writer`), and what is printed (`cli`).

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::fs::{Mode as FileMode, OFlags, open};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};
use serde::{Deserialize, Serialize};

use crate::counter::{CounterName, Millis, Outcome, RequestId};
use crate::current_day::CurrentDay;
use crate::storage::{Family, Reader, keys};
use crate::writer::{
    Cause, Command, Failure, Intake, Mode, ModeState, Presence, Request, Running, Table,
};

/// The socket's name in the data directory.
pub const FILE_NAME: &str = "socket";

/// Longest line either way, in bytes.
const MAX_LINE: u64 = 1 << 20;

/// How long the other side may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait after a connection that could not be taken.
const BREATHER: Duration = Duration::from_millis(100);

/// How many bytes of a corrupt record are shown.
const SHOWN_BYTES: usize = 256;

/// What a command asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// The mode; changed first if asked.
    Mode {
        /// Whether writes are to be refused from now on.
        read_only: Option<bool>,
        /// The wall clock is right, whatever it did before.
        accept_clock: bool,
    },
    /// The counters that cannot be read.
    Corrupt,
    /// Gives a counter that cannot be read a value.
    Repair {
        /// Which.
        name: String,
        /// Its value from now on.
        value: i64,
        /// Why.
        reason: Option<String>,
    },
}

/// What a command is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Told {
    /// The mode, with every cause that stands.
    Mode {
        /// The causes, gravest first; none in mode `normal`.
        causes: Vec<StandingCause>,
        /// When the mode last became `read_only`, milliseconds since 1970.
        since: Option<Millis>,
    },
    /// The counters that cannot be read.
    Corrupt {
        /// Each with the bytes found.
        counters: Vec<CorruptCounter>,
    },
    /// A counter was repaired.
    Repaired {
        /// Its value.
        value: i64,
        /// Its revision.
        revision: u64,
    },
    /// It was not done.
    Refused {
        /// Why, and what to do.
        reason: String,
    },
}

/// A cause of `read_only`, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandingCause {
    /// Which.
    pub cause: String,
    /// What ends it.
    pub remedy: String,
}

/// A counter that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorruptCounter {
    /// Its name.
    pub name: String,
    /// The first bytes of its value on disk, in hexadecimal; none when there is no value.
    pub value: Option<String>,
    /// The first bytes of its definition on disk, likewise.
    pub definition: Option<String>,
}

/// Where asks are answered: what of a running writer they need.
#[derive(Clone)]
pub struct Desk {
    intake: Arc<Intake>,
    table: Arc<Table>,
    mode: Arc<Mode>,
    day: Arc<CurrentDay>,
    reader: Reader,
}

impl Desk {
    /// For that writer.
    pub fn new(running: &Running) -> Self {
        Self {
            intake: Arc::clone(&running.intake),
            table: Arc::clone(&running.table),
            mode: Arc::clone(&running.mode),
            day: Arc::clone(&running.day),
            reader: running.reader.clone(),
        }
    }

    /// Does what is asked.
    pub fn answer(&self, ask: Ask) -> Told {
        match ask {
            Ask::Mode {
                read_only,
                accept_clock,
            } => self.mode(read_only, accept_clock),
            Ask::Corrupt => Told::Corrupt {
                counters: self.corrupt(),
            },
            Ask::Repair {
                name,
                value,
                reason,
            } => match CounterName::parse(&name) {
                Ok(counter) => self.repair(counter, value, reason),
                Err(fault) => Told::Refused {
                    reason: fault.to_string(),
                },
            },
        }
    }

    fn mode(&self, read_only: Option<bool>, accept_clock: bool) -> Told {
        if accept_clock {
            let look = self.day.accept();
            self.mode.clear(Cause::Clock);
            tracing::info!(target: "audit", action = "accept_clock", day = %look.day, "the operator accepted the clock");
        }
        match read_only {
            Some(true) => {
                let look = self.day.look();
                self.mode.raise(Cause::Operator, look.wall_ms);
                tracing::info!(target: "audit", action = "mode", after = "read_only", "the operator changed the mode");
            }
            Some(false) => {
                self.mode.clear(Cause::Operator);
                tracing::info!(target: "audit", action = "mode", after = "normal", "the operator changed the mode");
            }
            None => {}
        }
        self.intake.nudge();
        let standing = Cause::ALL
            .into_iter()
            .filter(|&cause| self.mode.stands(cause));
        let causes = standing.map(|cause| StandingCause {
            cause: cause.as_str().to_owned(),
            remedy: cause.remedy().to_owned(),
        });
        Told::Mode {
            causes: causes.collect(),
            since: match self.mode.state() {
                ModeState::Normal => None,
                ModeState::ReadOnly { since, .. } => Some(since),
            },
        }
    }

    fn corrupt(&self) -> Vec<CorruptCounter> {
        let mut counters = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let (page, more) = self.table.list("", cursor.as_deref(), 1000);
            cursor = page.last().map(|reading| reading.name.to_string());
            for reading in page
                .iter()
                .filter(|reading| reading.presence == Presence::Corrupt)
            {
                counters.push(CorruptCounter {
                    name: reading.name.to_string(),
                    value: self.stored(Family::Counters, &reading.name),
                    definition: self.stored(Family::Definitions, &reading.name),
                });
            }
            if !more || cursor.is_none() {
                return counters;
            }
        }
    }

    fn stored(&self, family: Family, name: &CounterName) -> Option<String> {
        let key = keys::counter(name);
        let read = self.reader.with(|tables| {
            let bytes = tables.get(family, &key)?;
            Ok(bytes.map(|bytes| {
                bytes
                    .iter()
                    .take(SHOWN_BYTES)
                    .map(|byte| format!("{byte:02x}"))
                    .collect()
            }))
        });
        read.ok().flatten()
    }

    fn repair(&self, counter: CounterName, value: i64, reason: Option<String>) -> Told {
        let command = Command::Repair {
            counter: counter.clone(),
            value,
            reason: reason.clone().map(String::into_boxed_str),
        };
        let request_id = RequestId::Given("repair".into());
        let asked = self.intake.call(Request {
            command,
            key: None,
            request_id,
        });
        match asked.map(|answer| answer.outcome) {
            Ok(Outcome::Set {
                current_value,
                revision,
                ..
            }) => {
                tracing::info!(
                    target: "audit",
                    action = "repair",
                    counter = %counter,
                    after = current_value,
                    reason = reason.as_deref().unwrap_or(""),
                    "the operator repaired a counter"
                );
                Told::Repaired {
                    value: current_value,
                    revision,
                }
            }
            Ok(other) => Told::Refused {
                reason: format!("unexpected outcome {other:?}"),
            },
            Err(failure) => Told::Refused {
                reason: explain(&counter, &failure),
            },
        }
    }
}

fn explain(counter: &CounterName, failure: &Failure) -> String {
    use crate::counter::Refusal;
    match failure {
        Failure::Refused(Refusal::NotCorrupt) => {
            format!("{counter} is not corrupt; to correct its value, use the adjust call")
        }
        Failure::Refused(Refusal::UnknownCounter) => format!("there is no counter {counter}"),
        Failure::Refused(
            Refusal::BelowMinimum { minimum: bound, .. }
            | Refusal::AboveMaximum { maximum: bound, .. },
        ) => format!("the value is outside the bounds of {counter}: {bound}"),
        Failure::ReadOnly(cause) => {
            format!(
                "writes are refused (cause {}): {}",
                cause.as_str(),
                cause.remedy()
            )
        }
        Failure::Refused(other) => format!("{counter}: {other:?}"),
        Failure::OutcomeUnknown => "the write failed; look again once the store is open".to_owned(),
        Failure::Overloaded | Failure::Closing | Failure::KeyReused | Failure::KeyCorrupt => {
            "the server is ending or busy; try again".to_owned()
        }
    }
}

/// The listening socket and its thread.
pub struct ControlSocket {
    dir: std::path::PathBuf,
    ending: Arc<AtomicBool>,
    asking: Asking,
    thread: JoinHandle<()>,
}

/// The connection whose ask is being read or answered.
type Asking = Arc<Mutex<Option<UnixStream>>>;

impl ControlSocket {
    /// Listens in `data_dir`, whose lock the caller's store holds: a socket found there is left over
    /// and is replaced.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn listen(data_dir: &Path, desk: Desk) -> io::Result<Self> {
        let path = data_dir.join(FILE_NAME);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
        with_short_path(data_dir, |short| {
            Ok(bind(&socket, &SocketAddrUnix::new(short)?)?)
        })?;
        // Before it listens nobody can connect, so nobody comes in under the wider mode.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        listen(&socket, 16)?;
        let listener = UnixListener::from(socket);
        let ending = Arc::new(AtomicBool::new(false));
        let asking = Asking::default();
        let thread = {
            let (ending, asking) = (Arc::clone(&ending), Arc::clone(&asking));
            std::thread::Builder::new().name("control".to_owned()).spawn(move || {
                for stream in listener.incoming() {
                    let stream = match stream {
                        Ok(stream) => stream,
                        Err(_) if ending.load(Ordering::SeqCst) => break,
                        Err(error) => {
                            // Out of descriptors, most likely: asking again at once would fail alike.
                            tracing::warn!(%error, "a command could not reach the control socket");
                            std::thread::sleep(BREATHER);
                            continue;
                        }
                    };
                    let served = stream.try_clone().and_then(|known| {
                        *asking.lock() = Some(known);
                        // Looked at after the connection is known: either it is seen or it ends here.
                        if ending.load(Ordering::SeqCst) {
                            return Ok(());
                        }
                        serve(&stream, &desk)
                    });
                    *asking.lock() = None;
                    if ending.load(Ordering::SeqCst) {
                        break;
                    }
                    if let Err(error) = served {
                        tracing::warn!(%error, "a command on the control socket was not answered");
                    }
                }
            })?
        };
        Ok(Self {
            dir: data_dir.to_owned(),
            ending,
            asking,
            thread,
        })
    }

    /// Ends it and removes the socket. An ask that was read is answered, one that was not read whole
    /// is no longer waited for.
    pub fn end(self) {
        self.ending.store(true, Ordering::SeqCst);
        if let Some(stream) = &*self.asking.lock() {
            // One that has gone meanwhile is waited for no longer either.
            let _ = stream.shutdown(Shutdown::Read);
        }
        // Wakes the thread from its accept; where that fails the thread ends with the process.
        if connect(&self.dir).is_ok() && self.thread.join().is_err() {
            tracing::error!("the control socket's thread panicked");
        }
        if let Err(error) = std::fs::remove_file(self.dir.join(FILE_NAME)) {
            tracing::warn!(%error, "the control socket could not be removed");
        }
    }
}

/// Asks the server that has `data_dir` open; none when there is no such server.
///
/// # Errors
/// When it does not answer, or not in this version's words.
pub fn ask(data_dir: &Path, ask: &Ask) -> io::Result<Option<Told>> {
    let mut stream = match connect(data_dir) {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write_line(&mut stream, ask)?;
    read_line(&stream).map(Some)
}

fn serve(stream: &UnixStream, desk: &Desk) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let told = match read_line::<Ask>(stream) {
        Ok(ask) => desk.answer(ask),
        Err(error) => Told::Refused {
            reason: format!("not understood: {error}"),
        },
    };
    let mut out = stream;
    write_line(&mut out, &told)
}

fn write_line(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    out.write_all(&bytes)
}

fn read_line<T: for<'de> Deserialize<'de>>(stream: &UnixStream) -> io::Result<T> {
    let mut line = Vec::new();
    BufReader::new(stream.take(MAX_LINE)).read_until(b'\n', &mut line)?;
    Ok(serde_json::from_slice(&line)?)
}

fn connect(data_dir: &Path) -> io::Result<UnixStream> {
    with_short_path(data_dir, |short| UnixStream::connect(short))
}

/// A socket's path has at most some 100 bytes, a directory's may have thousands: goes by the
/// directory's descriptor.
fn with_short_path<T>(data_dir: &Path, go: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    use std::os::fd::AsRawFd;
    let dir = open(
        data_dir,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        FileMode::empty(),
    )?;
    go(Path::new(&format!(
        "/proc/self/fd/{}/{FILE_NAME}",
        dir.as_raw_fd()
    )))
}
