//! The load generator of `script/bench`: HTTP/1.1 on raw sockets, as cheap as it can be, since it
//! shares the machine with the server it measures.
//!
//! It prints one JSON object per run. A closed loop keeps every connection busy and says how much
//! the server can do; an open loop (`--rate`) sends by the clock, whatever the server does, and
//! measures each answer from the moment its request was due, so that a stall shows in full. Kept
//! out: judging. `summary` only works out medians and ratios.

mod connection;
mod engine;
mod fill;
mod probe;
mod report;
mod summary;
mod workload;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::engine::{Pace, Plan};
use crate::workload::{Mode, Workload};

#[derive(Parser)]
#[command(about = "Loads a counter server on this machine and measures it")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Send requests; print rates and latencies as one JSON object.
    Run(Box<Run>),
    /// Append and fdatasync without a pause; print how long the syncs took.
    FdatasyncProbe {
        /// Where to write: the disk that is measured.
        #[arg(long)]
        dir: PathBuf,
        #[arg(long, default_value_t = 1.0)]
        seconds: f64,
        /// Bytes per append: about one commit group in the log.
        #[arg(long, default_value_t = 256)]
        bytes: usize,
    },
    /// Fill a server to a size: so many counters, so many users counted today.
    Fill {
        /// Where the server listens.
        #[arg(long)]
        address: SocketAddr,
        #[arg(long, default_value_t = 100_000)]
        counters: u64,
        #[arg(long, default_value_t = 5_000_000)]
        users: u64,
    },
    /// Fill a counter with a window, or a presence, with users by `increment` or `heartbeat`.
    FillSeats {
        /// Where the server listens.
        #[arg(long)]
        address: SocketAddr,
        #[arg(long)]
        op: String,
        #[arg(long)]
        counter: String,
        #[arg(long, default_value_t = 1_000_000)]
        users: u64,
    },
    /// Print free TCP ports of 127.0.0.1, one a line.
    FreePorts { count: usize },
    /// Print how many 2xx answers a subject gave in the recorded runs so far.
    Acknowledged {
        #[arg(long)]
        rounds: PathBuf,
        #[arg(long)]
        subject: String,
    },
    /// Work out medians and ratios from recorded runs; print Markdown, write JSON.
    Summary {
        /// One JSON object a line: those printed by `run`, with `phase`, `subject` and `round`.
        #[arg(long)]
        rounds: PathBuf,
        /// `name=value` lines about machine and versions, for the head of the table.
        #[arg(long)]
        facts: PathBuf,
        #[arg(long)]
        json: PathBuf,
    },
}

#[derive(Args)]
struct Run {
    /// Where the server listens.
    #[arg(long)]
    address: SocketAddr,
    #[arg(long, value_enum, default_value_t = Mode::Increment)]
    mode: Mode,
    #[arg(long, default_value_t = 400)]
    connections: usize,
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Open loop: requests a second over all connections. Without it, a closed loop.
    #[arg(long)]
    rate: Option<f64>,
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Seconds of the same load before measuring.
    #[arg(long, default_value_t = 0.5)]
    warmup: f64,
    /// The counter of `increment` and `get`.
    #[arg(long, default_value = "total_games_played")]
    counter: String,
    /// How many counters `many` and `batch` spread over.
    #[arg(long, default_value_t = 100)]
    counters: u64,
    /// How many operations a batch holds.
    #[arg(long, default_value_t = 1000)]
    batch: u64,
    /// From how many users `unique-dup` draws.
    #[arg(long, default_value_t = 1000)]
    users: u64,
    /// Send an Idempotency-Key of its own with each write.
    #[arg(long)]
    keys: bool,
    /// Sent as bearer token.
    #[arg(long)]
    token: Option<String>,
    /// `raw`: the path to GET.
    #[arg(long, default_value = "/")]
    path: String,
    /// Copied into the output.
    #[arg(long, default_value = "")]
    label: String,
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Run(run) => load(&run),
        Command::FdatasyncProbe {
            dir,
            seconds,
            bytes,
        } => {
            println!(
                "{}",
                probe::fdatasync(&dir, Duration::from_secs_f64(seconds), bytes)?
            );
            Ok(())
        }
        Command::Fill {
            address,
            counters,
            users,
        } => fill::fill(address, counters, users),
        Command::FillSeats {
            address,
            op,
            counter,
            users,
        } => fill::seats(address, &op, &counter, users),
        Command::FreePorts { count } => {
            for port in probe::free_ports(count)? {
                println!("{port}");
            }
            Ok(())
        }
        Command::Acknowledged { rounds, subject } => {
            println!("{}", summary::acknowledged(&rounds, &subject)?);
            Ok(())
        }
        Command::Summary {
            rounds,
            facts,
            json,
        } => summary::print(&rounds, &facts, &json),
    }
}

fn load(run: &Run) -> anyhow::Result<()> {
    anyhow::ensure!(
        run.address.ip().is_loopback(),
        "this generator loads 127.0.0.1 only"
    );
    anyhow::ensure!(
        run.threads >= 1 && run.connections >= run.threads,
        "too few connections"
    );
    let workload = Workload::new(workload::Settings {
        mode: run.mode,
        host: run.address.to_string(),
        counter: run.counter.clone(),
        counters: run.counters.max(1),
        batch: run.batch.max(1),
        users: run.users.max(1),
        keys: run.keys,
        token: run.token.clone(),
        path: run.path.clone(),
    });
    let threads = run.threads;
    let pace = match run.rate {
        Some(rate) => Pace::Open {
            interval: Duration::from_secs_f64(threads as f64 / rate),
        },
        None => Pace::Closed,
    };
    let mut workers = Vec::new();
    for thread in 0..threads {
        let share = run.connections / threads + usize::from(thread < run.connections % threads);
        let plan = Plan {
            address: run.address,
            connections: share,
            pace,
            warmup: Duration::from_secs_f64(run.warmup),
            measure: Duration::from_secs_f64(run.seconds),
        };
        let workload = workload.for_thread(thread as u64);
        workers.push(std::thread::spawn(move || engine::run(&plan, workload)));
    }
    let mut total = report::Tally::new()?;
    for worker in workers {
        let tally = worker
            .join()
            .map_err(|_| anyhow::anyhow!("a load thread panicked"))??;
        total.add(&tally)?;
    }
    println!(
        "{}",
        total.to_json(&run.label, run.mode, run.connections, run.rate, run.seconds)
    );
    Ok(())
}
