//! One keep-alive connection: bytes out, answers in, never blocking.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

/// An answer, as far as the load generator looks at it.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Header and body.
    pub bytes: usize,
}

/// One request at a time goes over it.
pub struct Connection {
    pub stream: TcpStream,
    out: Vec<u8>,
    written: usize,
    input: Vec<u8>,
    filled: usize,
}

impl Connection {
    pub fn open(address: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Connection {
            stream,
            out: Vec::new(),
            written: 0,
            input: vec![0; 4096],
            filled: 0,
        })
    }

    /// Sends what `fill` writes, as far as the socket takes it now; the rest goes with `flush`.
    pub fn send(&mut self, fill: impl FnOnce(&mut Vec<u8>) -> u64) -> io::Result<u64> {
        self.out.clear();
        self.written = 0;
        let operations = fill(&mut self.out);
        self.flush()?;
        Ok(operations)
    }

    /// Sends what is left of the request.
    pub fn flush(&mut self) -> io::Result<()> {
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => self.written += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Reads what has arrived; an answer once it is whole.
    pub fn receive(&mut self) -> io::Result<Option<Answer>> {
        loop {
            if self.filled == self.input.len() {
                self.input.resize(self.input.len() * 2, 0);
            }
            let Some(space) = self.input.get_mut(self.filled..) else {
                return Ok(None);
            };
            let room = space.len();
            match self.stream.read(space) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    self.filled += n;
                    if let Some(answer) = parse(self.input.get(..self.filled).unwrap_or_default())?
                    {
                        // One request at a time: nothing may follow its answer.
                        if answer.bytes != self.filled {
                            return Err(invalid("bytes after the answer"));
                        }
                        self.filled = 0;
                        return Ok(Some(answer));
                    }
                    if n < room {
                        return Ok(None);
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

/// The answer that `bytes` begins with, `None` while it is not whole. Its length must be stated.
fn parse(bytes: &[u8]) -> io::Result<Option<Answer>> {
    let Some(head_end) = bytes
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .map(|at| at + 4)
    else {
        return Ok(None);
    };
    let head = bytes.get(..head_end).unwrap_or_default();
    let status = head
        .get(9..12)
        .and_then(|s| std::str::from_utf8(s).ok())
        .and_then(|s| s.parse().ok())
        .ok_or_else(|| invalid("no status"))?;
    let mut length = None;
    for line in head.split(|&b| b == b'\n') {
        const NAME: &[u8] = b"content-length:";
        if let Some((name, value)) = line.split_at_checked(NAME.len())
            && name.eq_ignore_ascii_case(NAME)
        {
            length = std::str::from_utf8(value)
                .ok()
                .and_then(|v| v.trim().parse::<usize>().ok());
        }
    }
    let total = head_end + length.ok_or_else(|| invalid("an answer without Content-Length"))?;
    Ok((bytes.len() >= total).then_some(Answer {
        status,
        bytes: total,
    }))
}
