//! `health`: asks a server whether it is ready, for containers and scripts without an HTTP client.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;

use super::print;
use crate::config::Config;

/// How long each step may take: connecting, asking, being answered.
const PATIENCE: Duration = Duration::from_secs(3);

/// Longest answer that is read, in bytes.
const MAX_ANSWER: u64 = 64 * 1024;

/// Arguments of `health`.
#[derive(Debug, Clone, Args)]
pub struct HealthArgs {
    /// Writes must be served, too
    #[arg(long)]
    pub writes: bool,
}

/// Asks `/readyz` of the server that this configuration describes.
pub(super) fn health(config: &Config, args: HealthArgs) -> anyhow::Result<()> {
    let address = reachable(config.server.listen);
    let path = if args.writes {
        "/readyz?writes"
    } else {
        "/readyz"
    };
    let answer =
        ask(address, path).with_context(|| format!("no answer from http://{address}{path}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).unwrap_or("?");
    match status {
        "200" => print("ready\n"),
        _ => bail!("not ready: {status} {}", body.trim_end()),
    }
}

/// Returns the address to ask: the loopback for a server that listens on all interfaces.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, listen.port())
}

fn ask(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_all_interfaces_is_asked_over_the_loopback() {
        for (listen, asked) in [
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("[::]:80", "[::1]:80"),
            ("10.0.0.7:9", "10.0.0.7:9"),
        ] {
            let listen = listen.parse().unwrap();
            assert_eq!(reachable(listen).to_string(), asked);
        }
    }
}
