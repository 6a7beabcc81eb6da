//! A small HTTP/1.1 client: one kept connection, blocking, no retry.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use rustix::net::{self, AddressFamily, SocketType};
use serde_json::Value;

use super::PATIENCE;
use super::server::ADMIN;

/// One client. It connects when it first asks, and anew after an error.
pub struct Client {
    address: SocketAddr,
    timeout: Duration,
    token: Option<String>,
    source: Option<IpAddr>,
    stream: Option<BufReader<TcpStream>>,
}

/// What was answered.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in a {}: {}", self.status, self.text()))
    }

    /// The code of a problem.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The body of a 200 or 201; panics with the answer otherwise.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert!(
            matches!(self.status, 200 | 201),
            "{}: {}",
            self.status,
            self.text()
        );
        self.json()
    }

    /// Claims status and code of a refusal.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) -> Value {
        assert_eq!(
            (self.status, self.code().as_str()),
            (status, code),
            "{}",
            self.text()
        );
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        self.json()
    }
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            timeout: PATIENCE,
            token: None,
            source: None,
            stream: None,
        }
    }

    /// Sends this token with every request.
    pub fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// Connects from this address of the machine.
    pub fn from(mut self, source: IpAddr) -> Self {
        self.source = Some(source);
        self
    }

    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The client of an administrator.
    pub fn admin(self) -> Self {
        self.with_token(ADMIN)
    }

    /// One request and its answer; after an error the connection is gone.
    pub fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Response> {
        let answer = self
            .send(method, path, headers, body)
            .and_then(|()| self.receive());
        if answer
            .as_ref()
            .map_or(true, |answer| answer.header("connection") == Some("close"))
        {
            self.stream = None;
        }
        answer
    }

    /// Sends a whole request without waiting for its answer.
    pub fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<()> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.address);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(token) = &self.token {
            head.push_str(&format!("authorization: Bearer {token}\r\n"));
        }
        if !body.is_empty() {
            head.push_str(&format!(
                "content-type: application/json\r\ncontent-length: {}\r\n",
                body.len()
            ));
        } else if method != "GET" {
            head.push_str("content-length: 0\r\n");
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        self.stream()?.get_mut().write_all(&bytes)
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream()?.get_mut().write_all(bytes)
    }

    /// Reads one answer.
    pub fn receive(&mut self) -> io::Result<Response> {
        let stream = self.stream()?;
        let mut line = String::new();
        read_line(stream, &mut line)?;
        let status = line.split(' ').nth(1).and_then(|text| text.parse().ok());
        let status = status.ok_or_else(|| bad(format!("status line {line:?}")))?;
        let mut headers = Vec::new();
        loop {
            line.clear();
            read_line(stream, &mut line)?;
            let text = line.trim_end();
            if text.is_empty() {
                break;
            }
            let (name, value) = text
                .split_once(':')
                .ok_or_else(|| bad(format!("header {text:?}")))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut response = Response {
            status,
            headers,
            body: Vec::new(),
        };
        if response.header("transfer-encoding") == Some("chunked") {
            response.body = read_chunks(stream)?;
        } else if let Some(length) = response.header("content-length") {
            let length = length
                .parse()
                .map_err(|_| bad(format!("content-length {length}")))?;
            response.body.resize(length, 0);
            stream.read_exact(&mut response.body)?;
        }
        Ok(response)
    }

    /// Connects if it is not connected: when this fails nothing was sent.
    pub fn connect(&mut self) -> io::Result<()> {
        self.stream().map(drop)
    }

    fn stream(&mut self) -> io::Result<&mut BufReader<TcpStream>> {
        if self.stream.is_none() {
            let stream = match self.source {
                Some(source) => connect_from(source, self.address)?,
                None => TcpStream::connect_timeout(&self.address, self.timeout)?,
            };
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(self.timeout))?;
            stream.set_write_timeout(Some(self.timeout))?;
            self.stream = Some(BufReader::new(stream));
        }
        self.stream
            .as_mut()
            .ok_or_else(|| bad("no connection".to_owned()))
    }

    #[track_caller]
    pub fn get(&mut self, path: &str) -> Response {
        self.request("GET", path, &[], b"")
            .unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    #[track_caller]
    pub fn post(&mut self, path: &str, body: &Value) -> Response {
        self.request("POST", path, &[], body.to_string().as_bytes())
            .unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    #[track_caller]
    pub fn put(&mut self, path: &str, body: &Value) -> Response {
        self.request("PUT", path, &[], body.to_string().as_bytes())
            .unwrap_or_else(|error| panic!("PUT {path}: {error}"))
    }

    /// POST with an idempotency key.
    #[track_caller]
    pub fn post_keyed(&mut self, path: &str, key: &str, body: &Value) -> Response {
        self.request(
            "POST",
            path,
            &[("idempotency-key", key)],
            body.to_string().as_bytes(),
        )
        .unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    /// Puts the definition of a counter.
    #[track_caller]
    pub fn define(&mut self, name: &str, definition: &Value) -> Value {
        self.put(&format!("/api/v1/counter/{name}"), definition)
            .ok()
    }

    /// The value of a counter that is there.
    #[track_caller]
    pub fn value(&mut self, name: &str) -> i64 {
        self.get(&format!("/api/v1/counter/{name}")).ok()["value"]
            .as_i64()
            .unwrap()
    }
}

fn connect_from(source: IpAddr, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    net::bind(&socket, &SocketAddr::new(source, 0))?;
    net::connect(&socket, &address)?;
    Ok(socket.into())
}

fn read_line(stream: &mut BufReader<TcpStream>, line: &mut String) -> io::Result<()> {
    if stream.read_line(line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

fn read_chunks(stream: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        read_line(stream, &mut line)?;
        let length =
            usize::from_str_radix(line.trim(), 16).map_err(|_| bad(format!("chunk {line:?}")))?;
        let begin = body.len();
        body.resize(begin + length, 0);
        stream.read_exact(&mut body[begin..])?;
        read_line(stream, &mut String::new())?;
        if length == 0 {
            return Ok(body);
        }
    }
}

fn bad(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
