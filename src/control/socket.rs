//! The socket: one thread takes connections, each is served by a thread of its own.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
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

/// The listening socket and its threads.
pub struct ControlSocket {
    dir: PathBuf,
    /// Device and inode of the socket's file.
    place: (u64, u64),
    listener: Arc<UnixListener>,
    clients: Arc<Clients>,
    thread: JoinHandle<()>,
}

/// The connections there are, and some that have ended.
#[derive(Default)]
struct Clients {
    ending: AtomicBool,
    known: Mutex<Vec<Client>>,
}

struct Client {
    stream: Arc<UnixStream>,
    /// Whether parts of an answer were sent: the work behind it may be long.
    is_long: Arc<AtomicBool>,
    thread: JoinHandle<()>,
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
        let listener = Arc::new(UnixListener::from(socket));
        let clients = Arc::new(Clients::default());
        let thread = {
            let (listener, clients) = (Arc::clone(&listener), Arc::clone(&clients));
            let thread = std::thread::Builder::new().name("control".to_owned());
            thread.spawn(move || take_in(&listener, &clients, &desk))?
        };
        Ok(Self {
            dir: data_dir.to_owned(),
            place: place(&path)?,
            listener,
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
        self.clients.ending.store(true, Ordering::SeqCst);
        let mut threads = Vec::new();
        for client in self.clients.known.lock().drain(..) {
            let what = if client.is_long.load(Ordering::SeqCst) {
                Shutdown::Both
            } else {
                Shutdown::Read
            };
            // One that has gone meanwhile is waited for no longer either.
            let _ = client.stream.shutdown(what);
            threads.push(client.thread);
        }
        // Wakes the thread from its accept, whatever lies at the path; where that fails it ends with the
        // process.
        self.thread.thread().unpark();
        if rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both).is_ok() {
            threads.push(self.thread);
        }
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the control socket panicked");
            }
        }
        let path = self.dir.join(FILE_NAME);
        if place(&path).is_ok_and(|place| place == self.place)
            && let Err(error) = std::fs::remove_file(path)
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

fn take_in(listener: &UnixListener, clients: &Arc<Clients>, desk: &Desk) {
    for stream in listener.incoming() {
        if clients.ending.load(Ordering::SeqCst) {
            return;
        }
        if let Err(error) = stream.and_then(|stream| begin(stream, clients, desk)) {
            // Out of descriptors or threads, most likely: trying again at once would fail alike. The
            // end of the socket cuts the rest short.
            tracing::warn!(%error, "a command could not reach the control socket");
            std::thread::park_timeout(BREATHER);
        }
    }
}

/// Gives a connection its thread.
fn begin(stream: UnixStream, clients: &Arc<Clients>, desk: &Desk) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut known = clients.known.lock();
    known.retain(|client| !client.thread.is_finished());
    if known.len() >= MAX_CLIENTS {
        let reason = format!("{MAX_CLIENTS} commands are being answered already; try again later");
        return write_line(&mut &stream, &Line::End(Told::Refused { reason }));
    }
    let (stream, is_long) = (Arc::new(stream), Arc::new(AtomicBool::new(false)));
    let thread = {
        let (stream, is_long) = (Arc::clone(&stream), Arc::clone(&is_long));
        let (clients, desk) = (Arc::clone(clients), desk.clone());
        let thread = std::thread::Builder::new().name("command".to_owned());
        thread.spawn(move || {
            if let Err(error) = serve(&stream, &desk, &clients.ending, &is_long)
                && !clients.ending.load(Ordering::SeqCst)
            {
                tracing::warn!(%error, "a command on the control socket was not answered");
            }
            // The other share of the stream is kept a while longer.
            let _ = stream.shutdown(Shutdown::Both);
        })?
    };
    known.push(Client {
        stream,
        is_long,
        thread,
    });
    Ok(())
}

fn serve(
    stream: &UnixStream,
    desk: &Desk,
    ending: &AtomicBool,
    is_long: &AtomicBool,
) -> io::Result<()> {
    let mut tell = |part: Part| {
        if ending.load(Ordering::SeqCst) {
            return Err(io::Error::other("the server is ending"));
        }
        if !is_long.swap(true, Ordering::SeqCst) {
            stream.set_write_timeout(Some(READING_PATIENCE))?;
        }
        write_line(&mut &*stream, &Line::Part(part))
    };
    let told = match read_line::<Ask>(&mut BufReader::new(stream), MAX_ASK) {
        Ok(ask) => desk.answer(ask, &mut tell)?,
        Err(error) => Told::Refused {
            reason: format!("not understood: {error}"),
        },
    };
    write_line(&mut &*stream, &Line::End(told))
}

/// Asks the server that has `data_dir` open; `tell` takes the parts of a long answer. Returns `None` when there
/// is no such server.
///
/// # Errors
/// When it does not answer, or not in this version's words, or `tell` fails.
pub fn ask(data_dir: &Path, ask: &Ask, tell: Tell<'_>) -> io::Result<Option<Told>> {
    let mut stream = match connect(data_dir).map_err(|error| (error.kind(), error)) {
        Ok(stream) => stream,
        Err((io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused, _)) => return Ok(None),
        Err((_, error)) => return Err(error),
    };
    stream.set_read_timeout((!ask.takes_long()).then_some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write_line(&mut stream, ask)?;
    let mut answer = BufReader::new(&stream);
    loop {
        match read_line(&mut answer, MAX_ANSWER)? {
            Line::Part(part) => tell(part)?,
            Line::End(told) => return Ok(Some(told)),
        }
    }
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
