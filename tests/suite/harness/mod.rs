//! What all modules of the suite stand on: the real binary as a child process, a small HTTP client,
//! and waiting for a condition with a deadline.
//!
//! Kept out: what any test claims. Nothing here retries a request or hides a failure by itself.

mod checkers;
mod client;
mod database;
mod disk;
mod engine;
mod listener;
mod program;
mod proxy;
mod redis;
mod server;
mod tls;
mod tracer;

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub use checkers::{checkers, compiled, run_by_node, validated_by_kubernetes, valkey};
pub use client::{Client, Response};
pub use database::{Database, PASSWORD};
pub use disk::{SmallDisk, store_files};
pub(crate) use engine::{Engine, setup};
pub use listener::{Event, Listener, Transport};
pub use program::Program;
pub use proxy::SlowProxy;
pub use redis::{REDIS_PASSWORD, Redis};
pub use server::{ADMIN, Server, Setup, counterd};
pub use tls::certificates;
pub use tracer::{Tracer, can_trace};

/// Long enough for a slow machine under load; a test that meets it has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Says why a test did not show what it is for; script/test counts these lines.
pub fn skipped(test: &str, reason: &str) {
    println!("SKIPPED {test}: {reason}");
}

/// The end of what a process wrote, for when a test fails.
pub fn tail(path: &std::path::Path) -> String {
    let text = String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
    let from = text.len().saturating_sub(4000);
    text.get(from..).unwrap_or(&text).to_owned()
}

/// Rounds asked for by script/soak, else the few of an ordinary run.
pub fn rounds(ordinary: u32) -> u32 {
    match std::env::var("COUNTERD_SOAK_ROUNDS") {
        Ok(text) => text.parse().expect("COUNTERD_SOAK_ROUNDS is a number"),
        Err(_) => ordinary,
    }
}

/// Waits until `probe` has an answer; panics with `what` when `limit` passes first.
pub fn eventually<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
        // polls: the condition is another process's
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A port that is free and stays so: below those that the kernel gives to outgoing connections, and in a block of this
/// process's own, so that neither a client of another test nor its server takes it meanwhile.
pub fn free_port() -> u16 {
    const FIRST: u32 = 10_240;
    const BLOCK: u32 = 16;
    const BLOCKS: u32 = (32_768 - FIRST) / BLOCK;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let begin = FIRST + std::process::id() % BLOCKS * BLOCK;
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let ports = std::iter::repeat_with(|| begin + TAKEN.fetch_add(1, Ordering::Relaxed) % BLOCK);
    let mut ports = ports.map(|port| port as u16).take(BLOCK as usize);
    ports.find(is_free).expect("a free port")
}

/// Runs `work` on `count` threads at once, each with its number, and gives what they return. The
/// threads start together, once all exist, so that there are really `count` at a time.
pub fn at_once<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let gate = std::sync::Barrier::new(count);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|number| {
                let (gate, work) = (&gate, &work);
                std::thread::Builder::new()
                    .stack_size(256 * 1024)
                    .spawn_scoped(scope, move || {
                        gate.wait();
                        work(number)
                    })
                    .unwrap()
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}

/// A generator of test data (splitmix64): the same numbers for the same seed, everywhere.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// The seed of a random test: printed first, replayed with COUNTERD_SEED.
pub fn seed(test: &str) -> u64 {
    let seed = match std::env::var("COUNTERD_SEED") {
        Ok(text) => text.parse().expect("COUNTERD_SEED is a number"),
        Err(_) => {
            use std::hash::{BuildHasher, RandomState};
            RandomState::new().hash_one(test)
        }
    };
    println!("{test}: replay with COUNTERD_SEED={seed}");
    seed
}
