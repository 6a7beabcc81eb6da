//! The socket: one thread takes connections, each is served by a thread of its own.

use std::collections::HashMap;
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

use super::{Ask, Desk, Tell, Told};

/// The socket's name in the data directory.
pub const FILE_NAME: &str = "socket";

/// Longest line either way, in bytes.
const MAX_LINE: u64 = 1 << 20;

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

/// The connections there are.
#[derive(Default)]
struct Clients {
    ending: AtomicBool,
    known: Mutex<HashMap<u64, Client>>,
}

struct Client {
    stream: UnixStream,
    /// Parts of an answer were sent: the work behind it may be long.
    long: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

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

    /// Whether somebody answers at the socket of that data directory.
    pub fn is_answered(data_dir: &Path) -> bool {
        connect(data_dir).is_ok()
    }

    /// Ends it and removes the socket, unless another is in its place by now. An ask that was read is answered; one that was not read whole
    /// is no longer waited for, and what takes long is broken off.
    pub fn end(self) {
        self.clients.ending.store(true, Ordering::SeqCst);
        let mut threads = Vec::new();
        for client in self.clients.known.lock().values_mut() {
            let what = if client.long.load(Ordering::SeqCst) {
                Shutdown::Both
            } else {
                Shutdown::Read
            };
            // One that has gone meanwhile is waited for no longer either.
            let _ = client.stream.shutdown(what);
            threads.extend(client.thread.take());
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

/// Says what a file system without sockets refuses with.
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

/// Which file that is: device and inode.
fn place(path: &Path) -> io::Result<(u64, u64)> {
    let there = std::fs::symlink_metadata(path)?;
    Ok((there.dev(), there.ino()))
}

fn take_in(listener: &UnixListener, clients: &Arc<Clients>, desk: &Desk) {
    for (number, stream) in (0..).zip(listener.incoming()) {
        if clients.ending.load(Ordering::SeqCst) {
            return;
        }
        if let Err(error) = stream.and_then(|stream| begin(stream, number, clients, desk)) {
            // Out of descriptors or threads, most likely: trying again at once would fail alike. The
            // end of the socket cuts the rest short.
            tracing::warn!(%error, "a command could not reach the control socket");
            std::thread::park_timeout(BREATHER);
        }
    }
}

/// Gives a connection its thread.
fn begin(stream: UnixStream, number: u64, clients: &Arc<Clients>, desk: &Desk) -> io::Result<()> {
    let mut known = clients.known.lock();
    if known.len() >= MAX_CLIENTS {
        stream.set_write_timeout(Some(PATIENCE))?;
        let reason = format!("{MAX_CLIENTS} commands are being answered already; try again later");
        return write_line(&mut &stream, &Told::Refused { reason });
    }
    let long = Arc::new(AtomicBool::new(false));
    let served = stream.try_clone()?;
    let thread = {
        let (clients, desk, long) = (Arc::clone(clients), desk.clone(), Arc::clone(&long));
        let thread = std::thread::Builder::new().name("command".to_owned());
        thread.spawn(move || {
            if let Err(error) = serve(&served, &desk, &clients.ending, &long)
                && !clients.ending.load(Ordering::SeqCst)
            {
                tracing::warn!(%error, "a command on the control socket was not answered");
            }
            clients.known.lock().remove(&number);
        })?
    };
    known.insert(
        number,
        Client {
            stream,
            long,
            thread: Some(thread),
        },
    );
    Ok(())
}

fn serve(
    stream: &UnixStream,
    desk: &Desk,
    ending: &AtomicBool,
    long: &AtomicBool,
) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut tell = |part: Told| {
        if ending.load(Ordering::SeqCst) {
            return Err(io::Error::other("the server is ending"));
        }
        if !long.swap(true, Ordering::SeqCst) {
            stream.set_write_timeout(Some(READING_PATIENCE))?;
        }
        write_line(&mut &*stream, &part)
    };
    let told = match read_line::<Ask>(&mut BufReader::new(stream)) {
        Ok(ask) => desk.answer(ask, &mut tell)?,
        Err(error) => Told::Refused {
            reason: format!("not understood: {error}"),
        },
    };
    write_line(&mut &*stream, &told)
}

/// Asks the server that has `data_dir` open; `tell` takes the parts of a long answer. None when there
/// is no such server.
///
/// # Errors
/// When it does not answer, or not in this version's words, or `tell` fails.
pub fn ask(data_dir: &Path, ask: &Ask, tell: Tell<'_>) -> io::Result<Option<Told>> {
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
    stream.set_read_timeout((!ask.takes_long()).then_some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write_line(&mut stream, ask)?;
    let mut answer = BufReader::new(&stream);
    loop {
        let told: Told = read_line(&mut answer)?;
        if !told.is_part() {
            return Ok(Some(told));
        }
        tell(told)?;
    }
}

fn write_line(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    out.write_all(&bytes)
}

fn read_line<T: for<'de> Deserialize<'de>>(stream: &mut impl BufRead) -> io::Result<T> {
    let mut line = Vec::new();
    stream.take(MAX_LINE).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
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

#[cfg(test)]
mod tests;
