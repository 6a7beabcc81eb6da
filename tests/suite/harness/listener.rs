//! A client of the streams of changes, by server-sent events or a WebSocket: blocking, and nothing of what comes is
//! forgiven.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use super::{PATIENCE, Server};

/// How a stream is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Sse,
    Ws,
}

/// A stream that was given.
pub struct Listener {
    transport: Transport,
    stream: TcpStream,
    /// What came and is no whole event yet.
    unread: Vec<u8>,
}

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub kind: String,
    /// Empty where it says that there is none any more; `None` where it says nothing.
    pub id: Option<String>,
    pub data: Value,
}

impl Listener {
    /// Asks for a stream of server-sent events, which must be given.
    #[track_caller]
    pub fn open(server: &Server, query: &str, headers: &[(&str, &str)]) -> Self {
        match Self::ask(
            server.address(),
            Transport::Sse,
            &format!("stream?{query}"),
            headers,
        ) {
            Ok(Ok(listener)) => listener,
            Ok(Err(answer)) => panic!("{answer}"),
            Err(error) => panic!("{error}"),
        }
    }

    /// Asks for a stream of these counters from a position on. `Err` within `Ok` is another answer than a stream: its
    /// head.
    pub fn subscribe(
        address: SocketAddr,
        transport: Transport,
        names: &[&str],
        since: Option<&str>,
    ) -> io::Result<Result<Self, String>> {
        if transport == Transport::Sse {
            let since: Vec<(&str, &str)> =
                since.map(|id| ("last-event-id", id)).into_iter().collect();
            let path = format!("stream?names={}", names.join(","));
            return Self::ask(address, transport, &path, &since);
        }
        let handshake = [
            ("upgrade", "websocket"),
            ("connection", "upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", "counterd.v1"),
        ];
        let mut asked = Self::ask(address, transport, "ws", &handshake)?;
        if let Ok(listener) = &mut asked {
            let message = match since {
                Some(since) => json!({"subscribe": names, "since": since}),
                None => json!({"subscribe": names}),
            };
            listener.send(0x1, message.to_string().as_bytes())?;
        }
        Ok(asked)
    }

    fn ask(
        address: SocketAddr,
        transport: Transport,
        path: &str,
        headers: &[(&str, &str)],
    ) -> io::Result<Result<Self, String>> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut listener = Self {
            transport,
            stream,
            unread: Vec::new(),
        };
        let mut head = format!("GET /api/v1/{path} HTTP/1.1\r\nhost: {address}\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        listener.stream.write_all(head.as_bytes())?;
        loop {
            if let Some(head) = listener.take_until(b"\r\n\r\n") {
                let expected = match transport {
                    Transport::Sse => "HTTP/1.1 200 OK\r\n",
                    Transport::Ws => "HTTP/1.1 101 Switching Protocols\r\n",
                };
                return Ok(if head.starts_with(expected) {
                    Ok(listener)
                } else {
                    Err(head)
                });
            }
            if !listener.receive()? {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }

    /// Waits no longer than this for what comes next.
    pub fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(patience))
    }

    /// The next event; `None` when none comes in time, `Err` at the end.
    pub fn poll(&mut self) -> io::Result<Option<Event>> {
        loop {
            let whole = match self.transport {
                Transport::Sse => self.take_block(),
                Transport::Ws => self.take_frame()?,
            };
            if whole.is_some() {
                return Ok(whole);
            }
            if !self.receive()? {
                return Ok(None);
            }
        }
    }

    /// The next event; `None` at the end.
    pub fn try_next(&mut self) -> Option<Event> {
        self.poll().ok().flatten()
    }

    #[track_caller]
    pub fn next(&mut self) -> Event {
        self.try_next().expect("the stream ended")
    }

    /// The state, which comes first.
    #[track_caller]
    pub fn state(&mut self) -> Event {
        let event = self.next();
        assert_eq!(event.kind, "state", "{event:?}");
        event
    }

    /// Takes more from the socket; whether anything came in time.
    fn receive(&mut self) -> io::Result<bool> {
        let mut bytes = [0; 16 * 1024];
        match self.stream.read(&mut bytes) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => {
                self.unread.extend_from_slice(&bytes[..length]);
                Ok(true)
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Ok(false),
                io::ErrorKind::Interrupted => Ok(true),
                _ => Err(error),
            },
        }
    }

    /// Takes what came up to the end of `mark`.
    fn take_until(&mut self, mark: &[u8]) -> Option<String> {
        let at = self.unread.windows(mark.len()).position(|w| w == mark)?;
        let rest = self.unread.split_off(at + mark.len());
        let taken = std::mem::replace(&mut self.unread, rest);
        Some(String::from_utf8(taken).unwrap())
    }

    /// An event among the blocks of lines that came whole.
    fn take_block(&mut self) -> Option<Event> {
        while let Some(block) = self.take_until(b"\n\n") {
            let (mut kind, mut id, mut data) = (None, None, Value::Null);
            for line in block.lines().filter(|line| !line.is_empty()) {
                match line.split_once(": ") {
                    Some(("event", value)) => kind = Some(value.to_owned()),
                    Some(("id", value)) => id = Some(value.to_owned()),
                    Some(("data", value)) => data = serde_json::from_str(value).unwrap(),
                    Some(("retry", value)) => assert!(value.parse::<u32>().is_ok(), "{line}"),
                    _ => panic!("no field of an event: {line}"),
                }
            }
            if let Some(kind) = kind {
                return Some(Event { kind, id, data });
            }
        }
        None
    }

    /// An event among the frames that came whole; pings are answered.
    fn take_frame(&mut self) -> io::Result<Option<Event>> {
        loop {
            let [first, second, ..] = self.unread[..] else {
                return Ok(None);
            };
            assert_eq!(
                (first & 0xf0, second & 0x80),
                (0x80, 0),
                "one whole frame, not masked"
            );
            let begin = match second {
                126 => 4,
                127 => 10,
                _ => 2,
            };
            let length = match self.unread.get(2..begin) {
                None => return Ok(None),
                Some([]) => usize::from(second),
                Some(bytes) => bytes
                    .iter()
                    .fold(0, |length, byte| length << 8 | usize::from(*byte)),
            };
            if self.unread.len() < begin + length {
                return Ok(None);
            }
            let rest = self.unread.split_off(begin + length);
            let frame = std::mem::replace(&mut self.unread, rest);
            let payload = &frame[begin..];
            match first & 0x0f {
                0x1 => {
                    let message: Value = serde_json::from_slice(payload).unwrap();
                    return Ok(Some(Event {
                        kind: message["event"].as_str().unwrap().to_owned(),
                        id: message
                            .get("id")
                            .map(|id| id.as_str().unwrap_or_default().to_owned()),
                        data: message["data"].clone(),
                    }));
                }
                0x8 => return Err(io::ErrorKind::ConnectionAborted.into()),
                0x9 => self.send(0xa, payload)?,
                other => panic!("a frame of kind {other}"),
            }
        }
    }

    /// Sends a frame, masked with zeros, which leave it as it is.
    fn send(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        let mut frame = vec![0x80 | kind];
        match u16::try_from(payload.len()).unwrap() {
            short @ ..126 => frame.push(0x80 | u8::try_from(short).unwrap()),
            long => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&long.to_be_bytes());
            }
        }
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(payload);
        self.stream.write_all(&frame)
    }
}
