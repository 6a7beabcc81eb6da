//! The watchers of `script/soak push`: as many connections as are wanted that are told of one counter's changes, as cheap as
//! they can be, since they share the machine with the server that they measure.
//!
//! It prints a line `open` once all have their state, and at its end one JSON object: how many updates came, how long
//! after the commit (by the update's own `last_updated`), and how many connections did not have the last value. It ends with
//! its input.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::Parser;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;

#[derive(Parser)]
#[command(about = "Watches a counter of a server on this machine from many connections")]
struct Cli {
    /// Where the server listens.
    #[arg(long)]
    address: SocketAddr,
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    #[arg(long, default_value = "watched")]
    counter: String,
    /// Server-sent events in place of WebSockets.
    #[arg(long)]
    sse: bool,
    /// Take nothing after the state.
    #[arg(long)]
    stalled: bool,
}

#[derive(Default)]
struct Seen {
    /// Milliseconds from commit to arrival.
    took: Mutex<Vec<u32>>,
    /// The last value of each connection that is open.
    last: Mutex<Vec<i64>>,
    open: AtomicUsize,
    ended: AtomicUsize,
    all_open: Notify,
}

fn main() -> anyhow::Result<()> {
    let cli = Arc::new(Cli::parse());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(watch(cli))
}

async fn watch(cli: Arc<Cli>) -> anyhow::Result<()> {
    let seen = Arc::new(Seen::default());
    seen.last.lock().resize(cli.connections, i64::MIN);
    for number in 0..cli.connections {
        // No more at once than the server's backlog takes.
        while number > seen.open.load(Relaxed) + seen.ended.load(Relaxed) + 256 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let (cli, seen) = (Arc::clone(&cli), Arc::clone(&seen));
        tokio::spawn(async move {
            if let Err(error) = listen(&cli, &seen, number).await
                && seen.ended.load(Relaxed) == 0
            {
                eprintln!("connection {number}: {error:#}");
            }
            seen.ended.fetch_add(1, Relaxed);
            seen.all_open.notify_one();
        });
    }
    while seen.open.load(Relaxed) + seen.ended.load(Relaxed) < cli.connections {
        seen.all_open.notified().await;
    }
    println!("open");
    let input =
        tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    input.await??;
    report(&seen);
    std::process::exit(0);
}

fn report(seen: &Seen) {
    let mut took = seen.took.lock();
    took.sort_unstable();
    let at = |share: f64| {
        let place = (took.len() as f64 * share) as usize;
        took.get(place.min(took.len().saturating_sub(1)))
            .copied()
            .unwrap_or(0)
    };
    let last = seen.last.lock();
    let latest = last.iter().copied().max().unwrap_or(0);
    let behind = last.iter().filter(|value| **value != latest).count();
    println!(
        "{{\"updates\":{},\"p50_ms\":{},\"p99_ms\":{},\"max_ms\":{},\"last\":{latest},\"behind\":{behind},\"ended\":{}}}",
        took.len(),
        at(0.5),
        at(0.99),
        at(1.0),
        seen.ended.load(Relaxed)
    );
}

async fn listen(cli: &Cli, seen: &Seen, number: usize) -> anyhow::Result<()> {
    let socket = TcpSocket::new_v4()?;
    if cli.stalled {
        socket.set_recv_buffer_size(4096)?;
    }
    // One address has too few ports for many connections.
    let own = [127, 0, 0, u8::try_from(2 + number / 10_000)?];
    socket.bind((own, 0).into())?;
    let mut stream = socket.connect(cli.address).await.context("connecting")?;
    let host = cli.address;
    let counter = &cli.counter;
    let request = if cli.sse {
        format!("GET /api/v1/stream?names={counter} HTTP/1.1\r\nhost: {host}\r\n\r\n")
    } else {
        format!(
            "GET /api/v1/ws HTTP/1.1\r\nhost: {host}\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             sec-websocket-protocol: counterd.v1\r\n\r\n"
        )
    };
    stream.write_all(request.as_bytes()).await?;
    if !cli.sse {
        let message = format!("{{\"subscribe\":[\"{counter}\"]}}");
        stream.write_all(&masked(0x81, message.as_bytes())).await?;
    }
    let mut text = Vec::new();
    while !contains(&text, b"\"stale\"") {
        read(&mut stream, &mut text).await?;
    }
    seen.open.fetch_add(1, Relaxed);
    seen.all_open.notify_one();
    take(seen, number, &text);
    if cli.stalled {
        return std::future::pending().await;
    }
    // Nothing is held between two events.
    drop(text);
    loop {
        stream.readable().await?;
        let mut text = Vec::new();
        read(&mut stream, &mut text).await?;
        // A ping of ours is two bytes.
        if !cli.sse && contains(&text, &[0x89, 0]) {
            stream.write_all(&masked(0x8a, b"")).await?;
        }
        take(seen, number, &text);
    }
}

/// A frame of a client, with a mask of zeros.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap_or(125);
    [&[first, 0x80 | length, 0, 0, 0, 0][..], payload].concat()
}

async fn read(stream: &mut TcpStream, text: &mut Vec<u8>) -> anyhow::Result<()> {
    let mut bytes = [0; 4096];
    let read = stream.read(&mut bytes).await?;
    anyhow::ensure!(read > 0, "it ended");
    text.extend_from_slice(bytes.get(..read).unwrap_or_default());
    Ok(())
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(text, part).is_some()
}

/// Takes the last counter of what came, which is short enough to come whole.
fn take(seen: &Seen, number: usize, text: &[u8]) {
    // What follows may be the head of the next frame.
    let after = |member: &str| {
        let at = memchr::memmem::rfind(text, member.as_bytes())? + member.len();
        let rest = text.get(at..)?;
        Some(String::from_utf8_lossy(rest.get(..24).unwrap_or(rest)).into_owned())
    };
    let Some(value) = after("\"value\":").and_then(|rest| rest.split(',').next()?.parse().ok())
    else {
        return;
    };
    if let Some(last) = seen.last.lock().get_mut(number) {
        *last = value;
    }
    let at = after("\"last_updated\":\"").and_then(|rest| counterd::counter::parse_rfc3339(&rest));
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let is_update = contains(text, b"\"update\"") || contains(text, b"event: update");
    if let (Some(at), true) = (at, is_update) {
        let took = i64::try_from(now.as_millis())
            .unwrap_or(i64::MAX)
            .saturating_sub(at);
        seen.took.lock().push(u32::try_from(took).unwrap_or(0));
    }
}
