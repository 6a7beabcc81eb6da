//! A receiver of notices: a real HTTP server that does as it is told.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

/// What it does with a request.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// Answers with that status and these lines of the head.
    Answer(u16, &'static str),
    /// Sends the client elsewhere.
    Redirect(SocketAddr),
    /// Closes the connection without an answer.
    Close,
    /// Never answers.
    Hang,
    /// Answers 200 and the begin of a body whose end never comes.
    Unfinished,
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Came {
    /// The request line.
    pub line: String,
    /// The lines of the head.
    pub head: Vec<String>,
    pub body: Vec<u8>,
    pub at: Instant,
}

impl Came {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.iter().filter_map(|line| line.split_once(": "));
        let mut of_name = lines.filter(|(known, _)| known.eq_ignore_ascii_case(name));
        of_name.next().map(|(_, value)| value)
    }

    /// Whether it says that the alert fires, or has ended.
    pub fn status(&self) -> String {
        self.json()["status"].as_str().unwrap().to_owned()
    }
}

#[derive(Default)]
struct Books {
    came: Vec<Came>,
    behaviours: VecDeque<Behaviour>,
    hung: Vec<TcpStream>,
}

/// The receiver. Dropped, it ends.
pub struct Receiver {
    address: SocketAddr,
    books: Arc<Mutex<Books>>,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Receiver {
    /// Takes the first requests so, and all others with 200.
    pub fn new(behaviours: &[Behaviour]) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), behaviours)
    }

    pub fn at(address: SocketAddr, behaviours: &[Behaviour]) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let books = Arc::new(Mutex::new(Books {
            behaviours: behaviours.iter().cloned().collect(),
            ..Books::default()
        }));
        let ending = Arc::new(AtomicBool::new(false));
        let (own, ends) = (Arc::clone(&books), Arc::clone(&ending));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if ends.load(Ordering::SeqCst) {
                    return;
                }
                take(stream, &own);
            }
        });
        Self {
            address,
            books,
            ending,
            thread: Some(thread),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook?token=geheim", self.address)
    }

    /// What came so far.
    pub fn came(&self) -> Vec<Came> {
        self.books.lock().unwrap().came.clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
        // Wakes the thread.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn take(stream: TcpStream, books: &Mutex<Books>) {
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        // Whoever only connects says nothing.
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let length = lines.iter().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.parse().unwrap())
    });
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).unwrap();
    let mut books = books.lock().unwrap();
    let line = lines.remove(0);
    books.came.push(Came {
        line,
        head: lines,
        body,
        at: Instant::now(),
    });
    let mut stream = reader.into_inner();
    let behaviour = books.behaviours.pop_front();
    let answer = match behaviour.unwrap_or(Behaviour::Answer(200, "")) {
        Behaviour::Answer(status, head) => format!("HTTP/1.1 {status} X\r\n{head}"),
        Behaviour::Redirect(to) => format!("HTTP/1.1 307 X\r\nlocation: http://{to}/hook\r\n"),
        Behaviour::Close => return,
        Behaviour::Unfinished => {
            let _ = write!(stream, "HTTP/1.1 200 X\r\ncontent-length: 1000\r\n\r\nok");
            books.hung.push(stream);
            return;
        }
        Behaviour::Hang => {
            books.hung.push(stream);
            return;
        }
    };
    // The client may be gone.
    let _ = write!(stream, "{answer}content-length: 2\r\n\r\nok");
}
