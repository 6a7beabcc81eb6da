//! A TCP proxy that holds back what a server answers, for as long as the test wants, or loses some of it.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Stands before a server of this machine; dropped, it takes no more connections.
pub struct SlowProxy {
    address: SocketAddr,
    /// The port of the server.
    leads_to: Arc<AtomicU16>,
    delay: Arc<Delay>,
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
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Some(delay) = of_all.upgrade() else {
                    break;
                };
                // Without a server the client is cut off, as it would be without a proxy.
                let port = server_port.load(Ordering::Relaxed);
                if let Ok(server) = TcpStream::connect(("127.0.0.1", port)) {
                    pass_on(client, server, &delay);
                }
            }
        });
        Self {
            address,
            leads_to,
            delay,
        }
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
        // Lets the thread see that it is over.
        self.delay = Arc::default();
        let _ = TcpStream::connect(self.address);
    }
}

fn pass_on(client: TcpStream, server: TcpStream, delay: &Arc<Delay>) {
    let (asked, answered) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    std::thread::spawn(move || copy(asked, server, None));
    let delay = Arc::clone(delay);
    std::thread::spawn(move || copy(answered, client, Some(&delay)));
}

/// Until either side is gone, which the other side then learns.
fn copy(mut from: TcpStream, mut to: TcpStream, delay: Option<&Delay>) {
    let mut piece = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut piece) {
        if let Some(delay) = delay {
            delay.hold_back();
            if delay.loses() {
                break;
            }
        }
        if to.write_all(&piece[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
