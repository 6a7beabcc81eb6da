//! A client of the stream of events: blocking, and nothing of what comes is forgiven.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;

use serde_json::Value;

use crate::harness::{PATIENCE, Server};

pub struct Listener(BufReader<TcpStream>);

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub kind: String,
    pub id: Option<String>,
    pub data: Value,
}

impl Listener {
    /// Asks for a stream, which must be given.
    #[track_caller]
    pub fn open(server: &Server, query: &str, headers: &[(&str, &str)]) -> Self {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut head = format!(
            "GET /api/v1/stream?{query} HTTP/1.1\r\nhost: {}\r\n",
            server.address()
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut answer = String::new();
        while !answer.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut answer).unwrap() > 0, "{answer}");
        }
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        Self(reader)
    }

    /// The next event; `None` at the end.
    pub fn try_next(&mut self) -> Option<Event> {
        let (mut kind, mut id, mut data) = (None, None, Value::Null);
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.strip_suffix('\n').unwrap();
            match line.split_once(": ") {
                Some(("event", value)) => kind = Some(value.to_owned()),
                Some(("id", value)) => id = Some(value.to_owned()),
                Some(("data", value)) => data = serde_json::from_str(value).unwrap(),
                Some(("retry", value)) => assert!(value.parse::<u32>().is_ok(), "{line}"),
                _ => assert_eq!(line, "", "no field of an event"),
            }
            if line.is_empty()
                && let Some(kind) = kind.take()
            {
                return Some(Event { kind, id, data });
            }
        }
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
}
