//! Taking connections in: one thread accepts and deals the sockets round to the runtimes, each of
//! which serves on a thread of its own until it is told to drain or to end.

use std::future::poll_fn;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustix::net::sockopt::set_socket_send_buffer_size;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpSocket;
use tokio::sync::{Notify, mpsc};

use super::connection::Connection;
use super::error::{Code, Problem};
use super::limits::{Limits, LimitsInForce};
use super::places::Place;
use super::push;
use super::rate_limit::RateLimits;
use super::request_id::RequestIds;
use super::socket::Socket;
use super::worker::Worker;
use super::{HttpOptions, Shared, router};
use crate::metrics::{Metrics, Shard};

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;

/// How long the acceptor rests when the process is out of file descriptors or memory.
const BREATHER: Duration = Duration::from_millis(50);

/// How long a server that is told to end at once still sends the answers that are ready.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// hyper's own limit on the number of headers; another one costs an allocation for each request.
const HYPER_HEADERS: usize = 100;

/// Most bytes that a connection buffers in each direction.
const BUFFER_BYTES: usize = 64 * 1024;

/// Bytes of answers that the kernel holds for a client that has not read them; it takes twice as many.
const UNREAD_BYTES: usize = 128 * 1024;

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address is in use, not ours, or not allowed.
    #[error("cannot listen on {addr}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// No thread or runtime could be made.
    #[error("cannot start a thread")]
    Thread(#[from] io::Error),
    /// There are more workers than the writer has ports for.
    #[error("the writer was started for fewer workers than are to serve")]
    Runtimes,
}

/// The running server. Dropping it ends it at once: what is answered already is sent, then connections are cut.
/// A change whose answer is not there within a second still happens.
pub struct HttpServer {
    addr: SocketAddr,
    pub(super) control: Arc<Control>,
    runtimes: Vec<mpsc::UnboundedSender<Message>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the threads share.
pub(super) struct Control {
    /// The server was told to end; it may take connections for a while yet.
    ending: Arc<AtomicBool>,
    drain: Notify,
    pub(super) limits: Arc<LimitsInForce>,
}

/// What a runtime is told.
enum Message {
    Connection(TcpStream, SocketAddr, Place),
    /// A client of that address was refused: close a connection that rests.
    MakeRoom(SocketAddr),
    /// Everyone who was accepted has been dealt; end when they are answered.
    Drain,
    End,
}

/// An address that this server holds, but that nobody can connect to yet. So an address in use is told
/// before a store is opened, and clients are refused, rather than kept waiting, while it is.
pub struct Bound {
    socket: TcpSocket,
    addr: SocketAddr,
}

impl Bound {
    /// Takes the address.
    ///
    /// # Errors
    /// When it is in use, not this machine's, or not allowed.
    pub fn to(addr: SocketAddr) -> Result<Self, HttpError> {
        let bound = || {
            let socket = match addr {
                SocketAddr::V4(_) => TcpSocket::new_v4(),
                SocketAddr::V6(_) => TcpSocket::new_v6(),
            }?;
            // Else the address could not be taken again for a while after a server ended.
            socket.set_reuseaddr(true)?;
            socket.bind(addr)?;
            Ok::<_, io::Error>(Self { socket, addr })
        };
        bound().map_err(|source| HttpError::Listen { addr, source })
    }
}

impl HttpServer {
    /// Listens and serves.
    ///
    /// # Errors
    /// When the address cannot be listened on or a thread cannot be started.
    pub fn start(bound: Bound, options: HttpOptions, shared: Shared) -> Result<Self, HttpError> {
        Self::serve(bound, options, shared, &router::router())
    }

    /// Listens, and serves the calls that the router knows.
    pub(super) fn serve(
        bound: Bound,
        options: HttpOptions,
        shared: Shared,
        router: &Router,
    ) -> Result<Self, HttpError> {
        let Bound { socket, addr } = bound;
        let accepting = runtime()?;
        let listen = || {
            let _within = accepting.enter();
            // The standard library's backlog is too short for a thousand clients at once.
            let listener = socket.listen(BACKLOG)?.into_std()?;
            Ok::<_, io::Error>((listener.local_addr()?, listener))
        };
        let (addr, listener) = listen().map_err(|source| HttpError::Listen { addr, source })?;
        let control = Arc::new(Control {
            ending: Arc::default(),
            drain: Notify::new(),
            limits: Arc::new(LimitsInForce::new(&options, &shared.metrics.rate)),
        });
        let (limits, engine) = (Arc::clone(&control.limits), shared.engine.clone());
        let hook = move |_: &Metrics| limits.rates.measure(engine.boot_ns());
        shared.metrics.before_scrape(hook);
        let options = Arc::new(options);
        let push = Arc::new(push::Shared::new(options.push, shared.metrics.push.clone()));
        let mut server = Self {
            addr,
            control,
            runtimes: Vec::new(),
            threads: Mutex::default(),
        };
        for number in 0..options.workers.max(1) {
            let (sender, receiver) = mpsc::unbounded_channel();
            let runtime = runtime()?;
            let port = shared.engine.attach(runtime.handle());
            let worker = Arc::new(Worker::new(
                shared.clone(),
                port.ok_or(HttpError::Runtimes)?,
                Arc::clone(&options),
                Arc::clone(&server.control.limits),
                router.clone(),
                Arc::clone(&server.control.ending),
                &push,
            ));
            server.spawn(format!("http-{number}"), move || {
                runtime.block_on(serve(&worker, receiver));
            })?;
            server.runtimes.push(sender);
        }
        let (runtimes, control) = (server.runtimes.clone(), Arc::clone(&server.control));
        let shard = shared.metrics.shard();
        server.spawn("accept".to_owned(), move || {
            let accepted = accept(listener, &runtimes, &control, &shard);
            if let Err(error) = accepting.block_on(accepted) {
                tracing::error!(%error, "no more connections can be accepted");
            }
            for runtime in &runtimes {
                // A runtime that has ended needs no telling.
                let _ = runtime.send(Message::Drain);
            }
        })?;
        Ok(server)
    }

    fn spawn(&self, name: String, run: impl FnOnce() + Send + 'static) -> Result<(), HttpError> {
        let thread = std::thread::Builder::new().name(name).spawn(run)?;
        self.threads.lock().push(thread);
        Ok(())
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Connections open now.
    pub fn connections(&self) -> usize {
        self.control.limits.places.open()
    }

    /// Changes the limits. They hold for requests that come from now on and for all connections; none is
    /// closed because there are fewer places.
    pub fn set_limits(&self, limits: &Limits) {
        self.control.limits.set(limits);
    }

    /// Changes the limits of rates, and who clients are, from the next request of each connection on. What
    /// addresses and users have taken stays taken; `max_keys` stays as it was at the start.
    pub fn set_rate_limits(&self, limits: &RateLimits) {
        self.control.limits.rates.set(limits);
    }

    /// From now on `/readyz` says 503 and each answer `Connection: close`. Connections are still taken.
    pub fn begin_lame_duck(&self) {
        self.control.ending.store(true, Ordering::Release);
    }

    /// Takes no more connections, answers what has arrived, closes each connection when it is quiet.
    /// From now on `/readyz` says 503.
    pub fn begin_drain(&self) {
        self.begin_lame_duck();
        self.control.drain.notify_one();
    }

    /// Whether everything that arrived is answered and every connection closed.
    pub fn is_drained(&self) -> bool {
        self.threads.lock().iter().all(JoinHandle::is_finished)
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.begin_drain();
        for runtime in &self.runtimes {
            let _ = runtime.send(Message::End);
        }
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread that serves requests panicked");
            }
        }
    }
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

/// Accepts until the server drains; then takes what has come in so far and ends.
async fn accept(
    listener: TcpListener,
    runtimes: &[mpsc::UnboundedSender<Message>],
    control: &Control,
    shard: &Shard,
) -> io::Result<()> {
    #[expect(
        deprecated,
        reason = "its successor is unsafe; a TcpListener owns its descriptor, which is what counts"
    )]
    let listener = AsyncFd::new(listener)?;
    let ids = RequestIds::new();
    let mut turn = runtimes.iter().cycle();
    let (mut draining, mut starved) = (false, false);
    loop {
        let accepted = tokio::select! {
            biased;
            () = control.drain.notified(), if !draining => {
                draining = true;
                continue;
            }
            accepted = listener.async_io(Interest::READABLE, accept_one), if !draining => accepted,
            else => accept_one(listener.get_ref()),
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            // The client has left already.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            // Nothing more has come in, or it cannot be taken.
            Err(_) if draining => return Ok(()),
            Err(error) => {
                if !std::mem::replace(&mut starved, true) {
                    tracing::warn!(%error, "no connection can be accepted; trying on");
                }
                tokio::time::sleep(BREATHER).await;
                continue;
            }
        };
        if std::mem::take(&mut starved) {
            tracing::info!("connections are accepted again");
        }
        let Some(runtime) = turn.next() else {
            return Ok(());
        };
        let Some(place) = control.limits.places.take() else {
            turn_away(socket, control.limits.places.all(), &ids);
            control.limits.places.refuse();
            shard.connection_refused();
            // A runtime that has ended has no connection to close.
            let _ = runtime.send(Message::MakeRoom(peer));
            continue;
        };
        // A runtime that has ended takes no more.
        let _ = runtime.send(Message::Connection(socket, peer, place));
    }
}

fn accept_one(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (socket, peer) = listener.accept()?;
    socket.set_nonblocking(true)?;
    Ok((socket, peer))
}

/// Tells a client that there is no place for it, if it takes the answer at once.
fn turn_away(mut socket: TcpStream, limit: usize, ids: &RequestIds) {
    let detail =
        format!("the server has {limit} connections, as many as it takes; retry after a pause");
    let wire = Problem::new(Code::TooManyConnections, detail).to_wire(&ids.make());
    let _ = socket.write(&wire);
    let _ = socket.shutdown(Shutdown::Write);
    // What the client has sent already is taken, so that closing does not reset the connection.
    let _ = socket.read(&mut [0u8; 4096]);
}

/// One runtime, until it is drained or ended.
async fn serve(worker: &Arc<Worker>, mut messages: mpsc::UnboundedReceiver<Message>) {
    let started = Instant::now();
    let mut sweep = tokio::time::interval(worker.sweep_period());
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let http = protocol(&worker.options);
    tokio::spawn(Arc::clone(&worker.hub).run());
    let mut draining = false;
    let mut over = None;
    loop {
        tokio::select! {
            message = messages.recv(), if over.is_none() => match message {
                Some(Message::Connection(socket, peer, place)) => {
                    if place.is_kept() {
                        worker.make_room(peer.ip());
                    }
                    take_in(worker, &http, socket, peer, place);
                }
                Some(Message::MakeRoom(peer)) => worker.make_room(peer.ip()),
                Some(Message::Drain) => {
                    draining = true;
                    worker.drain();
                }
                Some(Message::End) | None => {
                    draining = true;
                    worker.end_all();
                    over = Some(tokio::time::Instant::now() + LAST_ANSWERS);
                }
            },
            () = tokio::time::sleep_until(over.unwrap_or_else(tokio::time::Instant::now)),
                if over.is_some() => break,
            _ = sweep.tick() => {
                worker.ticks.set(u32::try_from(started.elapsed().as_millis() & u128::from(u32::MAX)).unwrap_or(0));
                worker.sweep();
            }
            () = worker.ended.notified() => {}
        }
        if draining && worker.is_idle() {
            break;
        }
    }
    worker.sweep();
}

/// How HTTP is spoken.
fn protocol(options: &HttpOptions) -> http1::Builder {
    let mut http = http1::Builder::new();
    // A client may close its side once it has sent its request; it is answered all the same.
    http.half_close(true);
    // Times are kept by the sweeps.
    http.header_read_timeout(None);
    http.max_header_size(options.max_header_bytes);
    http.max_buf_size(BUFFER_BYTES.max(options.max_header_bytes));
    if options.max_headers > HYPER_HEADERS {
        http.max_headers(options.max_headers);
    }
    http
}

/// Serves one connection in a task of its own.
fn take_in(
    worker: &Arc<Worker>,
    http: &http1::Builder,
    socket: TcpStream,
    peer: SocketAddr,
    place: Place,
) {
    let ticks = Arc::clone(&worker.ticks);
    let memory = Arc::clone(&worker.limits.body_memory);
    let connection = Arc::new(Connection::new(peer, place, ticks, memory));
    let admitted = worker.admit(&connection);
    let stream = match tokio::net::TcpStream::from_std(socket) {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!(%error, "a connection could not be served"),
    };
    // Without these answers are only later, and more of them may wait for a client that reads nothing.
    let _ = stream.set_nodelay(true);
    let _ = set_socket_send_buffer_size(&stream, UNREAD_BYTES);
    let socket = Socket::new(stream, admitted);
    let hub = Arc::clone(&worker.hub);
    let (worker, own) = (Arc::clone(worker), Arc::clone(&connection));
    let service = service_fn(move |request| router::answer(&worker, &own, request));
    let mut http = http.serve_connection(TokioIo::new(socket), service);
    tokio::spawn(async move {
        poll_fn(|context| {
            connection.set_task(context.waker());
            Poll::Ready(())
        })
        .await;
        let handover = poll_fn(|context| {
            connection.turn_begins();
            // What hyper says of a connection that failed was answered, or has nobody to hear it.
            let is_over = Pin::new(&mut http).poll(context).is_ready() || connection.is_cut();
            match connection.take_handover() {
                _ if is_over => Poll::Ready(None),
                Some(handover) => Poll::Ready(Some(handover)),
                None => Poll::Pending,
            }
        })
        .await;
        if let Some(handover) = handover {
            let parts = http.into_parts();
            let stream = parts.io.into_inner().into_stream();
            push::serve(hub, stream, parts.read_buf, handover);
        }
    });
}
