//! A TCP proxy that holds back what a server answers, for as long as the test wants, or loses some of it; or holds back what it
//! is asked, from where a text stands in it.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::PATIENCE;

/// The longest text that is looked for; it may begin in one piece and end in the next.
const LONGEST_TEXT: usize = 64;

/// Stands before a server of this machine; dropped, it takes no more connections.
pub struct SlowProxy {
    address: SocketAddr,
    /// The port of the server.
    leads_to: Arc<AtomicU16>,
    delay: Arc<Delay>,
    gate: Arc<Gate>,
}

/// Where questions are held back.
#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    /// The text that closes it.
    text: Option<String>,
    is_closed: bool,
}

impl Gate {
    /// Waits behind it, if this piece has the text, with the end of the one before in front.
    fn pass(&self, piece: &[u8]) {
        let mut state = self.state.lock().unwrap();
        let has = |text: &String| {
            piece
                .windows(text.len())
                .any(|part| part == text.as_bytes())
        };
        if state.text.as_ref().is_some_and(has) {
            (state.text, state.is_closed) = (None, true);
            self.changed.notify_all();
        }
        drop(self.changed.wait_while(state, |state| state.is_closed));
    }
}

/// How long each piece of an answer is held back.
#[derive(Default)]
struct Delay {
    length: Mutex<Option<Duration>>,
    changed: Condvar,
    /// Every so many pieces one is lost; 0: none is.
    losing: AtomicU32,
    pieces: AtomicU32,
}

impl Delay {
    /// Whether this piece is lost.
    fn loses(&self) -> bool {
        let every = self.losing.load(Ordering::Relaxed);
        every > 0 && self.pieces.fetch_add(1, Ordering::Relaxed) % every == every - 1
    }

    fn set(&self, length: Option<Duration>) {
        *self.length.lock().unwrap() = length;
        self.changed.notify_all();
    }

    /// Waits that long; no longer than it lasts.
    fn hold_back(&self) {
        let length = self.length.lock().unwrap();
        if let Some(at_most) = *length {
            let lasts = |length: &mut Option<Duration>| length.is_some();
            drop(self.changed.wait_timeout_while(length, at_most, lasts));
        }
    }
}

impl SlowProxy {
    /// Passes on to that port of this machine, at once until it is told otherwise.
    pub fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let delay = Arc::new(Delay::default());
        let of_all = Arc::downgrade(&delay);
        let leads_to = Arc::new(AtomicU16::new(port));
        let server_port = Arc::clone(&leads_to);
        let gate = Arc::new(Gate::default());
        let of_questions = Arc::clone(&gate);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Some(delay) = of_all.upgrade() else {
                    break;
                };
                // Without a server the client is cut off, as it would be without a proxy.
                let port = server_port.load(Ordering::Relaxed);
                if let Ok(server) = TcpStream::connect(("127.0.0.1", port)) {
                    pass_on(client, server, &delay, &of_questions);
                }
            }
        });
        Self {
            address,
            leads_to,
            delay,
            gate,
        }
    }

    /// Holds back everything that is asked from the first question on with that text.
    pub fn hold_at(&self, text: &str) {
        self.gate.state.lock().unwrap().text = Some(text.to_owned());
    }

    /// Waits until a question is held back.
    pub fn wait_held(&self) {
        let state = self.gate.state.lock().unwrap();
        let closed = self
            .gate
            .changed
            .wait_timeout_while(state, PATIENCE, |state| !state.is_closed);
        assert!(closed.unwrap().0.is_closed, "nothing was held back");
    }

    /// Passes questions on again.
    pub fn let_go(&self) {
        *self.gate.state.lock().unwrap() = GateState::default();
        self.gate.changed.notify_all();
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Passes whoever connects from now on to that port.
    pub fn leads_to(&self, port: u16) {
        self.leads_to.store(port, Ordering::Relaxed);
    }

    /// From now on each piece of an answer comes so much later.
    pub fn slow_down(&self, by: Duration) {
        self.delay.set(Some(by));
    }

    /// From now on one of so many pieces of answers is lost, and its connection with it; 0: none is.
    pub fn lose_one_of(&self, pieces: u32) {
        self.delay.losing.store(pieces, Ordering::Relaxed);
    }

    /// Passes on at once again, also what is held back.
    pub fn hurry(&self) {
        self.delay.set(None);
    }
}

impl Drop for SlowProxy {
    fn drop(&mut self) {
        self.hurry();
        self.let_go();
        // Lets the thread see that it is over.
        self.delay = Arc::default();
        let _ = TcpStream::connect(self.address);
    }
}

fn pass_on(client: TcpStream, server: TcpStream, delay: &Arc<Delay>, gate: &Arc<Gate>) {
    let (asked, answered) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let gate = Arc::clone(gate);
    std::thread::spawn(move || {
        let mut seen = Vec::new();
        copy(asked, server, |piece| {
            let before = seen.len().saturating_sub(LONGEST_TEXT);
            seen.drain(..before);
            seen.extend_from_slice(piece);
            gate.pass(&seen);
            true
        });
    });
    let delay = Arc::clone(delay);
    std::thread::spawn(move || {
        copy(answered, client, |_| {
            delay.hold_back();
            !delay.loses()
        });
    });
}

/// Until either side is gone, which the other side then learns, or `passes` says that a piece is lost.
fn copy(mut from: TcpStream, mut to: TcpStream, mut passes: impl FnMut(&[u8]) -> bool) {
    let mut piece = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut piece) {
        if !passes(&piece[..length]) || to.write_all(&piece[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
