//! Fills a server to a size, by batches of 1000: counters that live, users that are counted today.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, bail};

const BATCH: u64 = 1000;

/// Gives each of `users` users a seat in a counter with a window, or a lease: the same users that the modes
/// `seen` and `heartbeat` draw from.
pub fn seats(address: SocketAddr, op: &str, counter: &str, users: u64) -> anyhow::Result<()> {
    if !address.ip().is_loopback() {
        bail!("{address} is not on this machine");
    }
    let mut stream = BufReader::new(TcpStream::connect(address)?);
    batches(&mut stream, users, |n, body| {
        write!(
            body,
            r#"{{"op":"{op}","name":"{counter}","user_id":"user-{n}"}}"#
        )
    })
}

/// Makes `counters` counters, then counts `users` users in `daily_active_users`.
pub fn fill(address: SocketAddr, counters: u64, users: u64) -> anyhow::Result<()> {
    if !address.ip().is_loopback() {
        bail!("{address} is not on this machine");
    }
    let mut stream = BufReader::new(TcpStream::connect(address)?);
    batches(&mut stream, counters, |n, body| {
        write!(body, r#"{{"op":"increment","name":"scale_{n:06}"}}"#)
    })?;
    batches(&mut stream, users, |n, body| {
        // Spread like random ids: neighbours in time are none in the key space.
        let id = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        write!(
            body,
            r#"{{"op":"increment","name":"daily_active_users","user_id":"{id:016x}"}}"#
        )
    })
}

fn batches(
    stream: &mut BufReader<TcpStream>,
    total: u64,
    operation: impl Fn(u64, &mut String) -> std::fmt::Result,
) -> anyhow::Result<()> {
    let mut next = 0;
    while next < total {
        let mut body = String::from(r#"{"operations":["#);
        for n in next..total.min(next + BATCH) {
            if n > next {
                body.push(',');
            }
            operation(n, &mut body)?;
        }
        body.push_str("]}");
        next += BATCH;
        post(stream, &body)?;
    }
    Ok(())
}

fn post(stream: &mut BufReader<TcpStream>, body: &str) -> anyhow::Result<()> {
    let head = format!(
        "POST /api/v1/batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    // At once: the kernel would hold back a part until the first is acknowledged, which takes it 40 ms.
    stream
        .get_mut()
        .write_all([head.as_str(), body].concat().as_bytes())?;
    let mut status = String::new();
    stream.read_line(&mut status)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().context("content-length")?;
        }
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer)?;
    if !status.contains(" 200 ") {
        bail!(
            "{}: {}",
            status.trim_end(),
            String::from_utf8_lossy(&answer)
        );
    }
    Ok(())
}
