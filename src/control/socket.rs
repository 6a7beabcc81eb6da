//! The socket: one thread takes connections, each is served by a thread of its own.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{Builder, JoinHandle, Scope};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::fs::{Mode as FileMode, OFlags, fchmod, open};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};
use serde::{Deserialize, Serialize};

use super::{Ask, Desk, Part, Tell, Told};

/// The socket's name in the data directory.
pub const FILE_NAME: &str = "socket";

/// The longest ask, in bytes.
const MAX_ASK: u64 = 1 << 20;

/// The longest line of an answer, in bytes: all rows that were set aside, each with a long reason.
const MAX_ANSWER: u64 = 1 << 28;

/// Most commands at once.
const MAX_CLIENTS: usize = 8;

/// How long a command may take to ask, and a server to answer what is answered at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a command may leave a part of a long answer unread: somebody may be reading it.
const READING_PATIENCE: Duration = Duration::from_secs(300);

/// The longest rest after a connection that could not be taken.
const BREATHER: Duration = Duration::from_millis(100);

/// How it shows that there is no server, or none any more.
const NO_SERVER: [io::ErrorKind; 2] = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];

/// The listening socket and its threads.
pub struct ControlSocket {
    path: PathBuf,
    /// Device and inode of the socket's file.
    place: (u64, u64),
    clients: Arc<Clients>,
    /// It waits for the threads of the connections.
    thread: JoinHandle<()>,
}

/// The listener, and the connections that it has taken.
struct Clients {
    listener: UnixListener,
    ending: AtomicBool,
    /// Some of them have ended.
    known: Mutex<Vec<Weak<Client>>>,
}

struct Client {
    stream: UnixStream,
    /// Whether parts of an answer were sent: the work behind it may be long.
    is_long: AtomicBool,
}

/// A line of an answer.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Part(Part),
    End(Told),
}

impl ControlSocket {
    /// Listens in `data_dir`, and replaces a socket that an earlier process left there: the caller's store holds the
    /// lock of the directory.
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
        // The file that it makes has this mode from the first moment.
        fchmod(&socket, FileMode::RUSR | FileMode::WUSR)?;
        with_short_path(data_dir, |short| {
            Ok(bind(&socket, &SocketAddrUnix::new(short)?)?)
        })
        .map_err(no_socket)?;
        listen(&socket, 16)?;
        let clients = Arc::new(Clients {
            listener: UnixListener::from(socket),
            ending: AtomicBool::new(false),
            known: Mutex::default(),
        });
        let taking_in = Arc::clone(&clients);
        let thread = Builder::new().name("control".to_owned());
        let thread = thread.spawn(move || taking_in.take_in(&desk))?;
        Ok(Self {
            place: place(&path)?,
            path,
            clients,
            thread,
        })
    }

    /// Returns whether somebody answers at the socket of that data directory.
    pub fn is_answered(data_dir: &Path) -> bool {
        connect(data_dir).is_ok()
    }

    /// Ends the threads and removes the socket, unless another is in its place by now. An ask that was read is
    /// answered, one that was not read whole is not waited for, and work that takes long is broken off.
    pub fn end(self) {
        let clients = &self.clients;
        clients.ending.store(true, Ordering::SeqCst);
        for client in clients.known.lock().iter().filter_map(Weak::upgrade) {
            let what = if client.is_long.load(Ordering::SeqCst) {
                Shutdown::Both
            } else {
                Shutdown::Read
            };
            // One that has gone meanwhile is waited for no longer either.
            let _ = client.stream.shutdown(what);
        }
        // Wakes the thread from its accept, whatever lies at the path; where that fails it ends with the
        // process.
        self.thread.thread().unpark();
        if rustix::net::shutdown(&clients.listener, rustix::net::Shutdown::Both).is_ok()
            && self.thread.join().is_err()
        {
            tracing::error!("a thread of the control socket panicked");
        }
        if place(&self.path).is_ok_and(|place| place == self.place)
            && let Err(error) = std::fs::remove_file(self.path)
        {
            tracing::warn!(%error, "the control socket could not be removed");
        }
    }
}

/// Adds to the error of a file system without sockets what to do.
fn no_socket(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported => io::Error::new(
            error.kind(),
            format!(
                "{error}; a file system such as vfat has no sockets: keep the data directory on another"
            ),
        ),
        _ => error,
    }
}

/// Returns which file that is: device and inode.
fn place(path: &Path) -> io::Result<(u64, u64)> {
    let there = std::fs::symlink_metadata(path)?;
    Ok((there.dev(), there.ino()))
}

impl Clients {
    /// Takes connections until the end, and waits for those that there are then.
    fn take_in(&self, desk: &Desk) {
        std::thread::scope(|scope| {
            for stream in self.listener.incoming() {
                if self.ending.load(Ordering::SeqCst) {
                    return;
                }
                if let Err(error) = stream.and_then(|stream| self.begin(scope, stream, desk)) {
                    // Out of descriptors or threads, most likely: trying again at once would fail alike. The
                    // end of the socket cuts the rest short.
                    tracing::warn!(%error, "a command could not reach the control socket");
                    std::thread::park_timeout(BREATHER);
                }
            }
        });
    }

    /// Gives a connection its thread.
    fn begin<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        stream: UnixStream,
        desk: &'scope Desk,
    ) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut known = self.known.lock();
        if self.ending.load(Ordering::SeqCst) {
            return Ok(());
        }
        known.retain(|client| client.strong_count() > 0);
        if known.len() >= MAX_CLIENTS {
            let reason =
                format!("{MAX_CLIENTS} commands are being answered already; try again later");
            return write_line(&mut &stream, &Line::End(Err(reason)));
        }
        let is_long = AtomicBool::new(false);
        let client = Arc::new(Client { stream, is_long });
        known.push(Arc::downgrade(&client));
        let thread = Builder::new().name("command".to_owned());
        let serve = move || {
            if let Err(error) = client.serve(desk, &self.ending)
                && !self.ending.load(Ordering::SeqCst)
            {
                tracing::warn!(%error, "a command on the control socket was not answered");
            }
        };
        thread.spawn_scoped(scope, serve).map(drop)
    }
}

impl Client {
    fn serve(&self, desk: &Desk, ending: &AtomicBool) -> io::Result<()> {
        let stream = &self.stream;
        let mut tell = |part: Part| {
            if ending.load(Ordering::SeqCst) {
                return Err(io::Error::other("the server is ending"));
            }
            if !self.is_long.swap(true, Ordering::SeqCst) {
                stream.set_write_timeout(Some(READING_PATIENCE))?;
            }
            write_line(&mut &*stream, &Line::Part(part))
        };
        let told = match read_line::<Ask>(&mut BufReader::new(stream), MAX_ASK) {
            Ok(ask) => desk.answer(ask, &mut tell)?,
            Err(error) => Err(format!("not understood: {error}")),
        };
        write_line(&mut &*stream, &Line::End(told))
    }
}

/// Asks the server that has `data_dir` open; `tell` takes the parts of a long answer. Returns `None` when there
/// is no such server.
///
/// # Errors
/// When it does not answer, or not in this version's words, or `tell` fails.
pub fn ask(data_dir: &Path, ask: &Ask, tell: Tell<'_>) -> io::Result<Option<Told>> {
    let mut stream = match connect(data_dir) {
        Err(error) if NO_SERVER.contains(&error.kind()) => return Ok(None),
        connected => connected?,
    };
    let is_quick = matches!(
        ask,
        Ask::Mode { .. } | Ask::Log { .. } | Ask::Corrupt | Ask::Repair { .. } | Ask::SetAside
    );
    stream.set_read_timeout(is_quick.then_some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write_line(&mut stream, ask)?;
    let mut answer = BufReader::new(&stream);
    loop {
        match read_line(&mut answer, MAX_ANSWER).map_err(of_another_version)? {
            Line::Part(part) => tell(part)?,
            Line::End(told) => return Ok(Some(told)),
        }
    }
}

/// Adds to the error of an answer that cannot be read what may be the reason.
fn of_another_version(error: io::Error) -> io::Error {
    // What serde_json does not understand.
    if error.kind() != io::ErrorKind::InvalidData {
        return error;
    }
    io::Error::other(format!(
        "the server's answer is not understood ({error}): it may run another version than this command; restart it, or use the binary that it was started from"
    ))
}

fn write_line(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    out.write_all(&bytes)
}

fn read_line<T: for<'de> Deserialize<'de>>(stream: &mut impl BufRead, limit: u64) -> io::Result<T> {
    let mut line = Vec::new();
    stream.take(limit).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&line)?)
}

fn connect(data_dir: &Path) -> io::Result<UnixStream> {
    with_short_path(data_dir, |short| UnixStream::connect(short))
}

/// Calls `go` with a short path to the socket, through the directory's descriptor: a socket's path has at most some
/// 100 bytes, and a directory's may have thousands.
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

#[cfg(test)]
mod tests;
