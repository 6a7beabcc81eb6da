//! What the machine itself can do: how long a sync takes on this disk, which ports are free.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::fs::{FallocateFlags, fallocate, fdatasync as sync};
use serde_json::{Value, json};

/// How far ahead the file is allocated: what RocksDB does for its log, so that a sync need not
/// record a new length for every append.
const AHEAD: u64 = 4 << 20;

/// Appends `bytes` and syncs, again and again for `time`; the file is removed afterwards.
pub fn fdatasync(dir: &Path, time: Duration, bytes: usize) -> anyhow::Result<Value> {
    std::fs::create_dir_all(dir)?;
    let path = dir.join(format!("fdatasync-probe-{}", std::process::id()));
    let file = OpenOptions::new()
        .create_new(true)
        .append(true)
        .open(&path)?;
    let measured = measure(file, time, &vec![b'x'; bytes]);
    std::fs::remove_file(&path)?;
    let latencies = measured?;
    let ms = |quantile| latencies.value_at_quantile(quantile) as f64 / 1e6;
    Ok(json!({
        "syncs": latencies.len(),
        "bytes": bytes,
        "p50_ms": ms(0.5),
        "p99_ms": ms(0.99),
        "p999_ms": ms(0.999),
        "max_ms": ms(1.0),
    }))
}

fn measure(mut file: File, time: Duration, block: &[u8]) -> anyhow::Result<Histogram<u64>> {
    let mut latencies = Histogram::new_with_bounds(1_000, 60_000_000_000, 3)?;
    let (mut length, mut allocated) = (0, 0);
    let begun = Instant::now();
    while begun.elapsed() < time {
        if length + block.len() as u64 > allocated {
            fallocate(&file, FallocateFlags::KEEP_SIZE, allocated, AHEAD)?;
            allocated += AHEAD;
        }
        let before = Instant::now();
        file.write_all(block)?;
        sync(&file)?;
        latencies.saturating_record(before.elapsed().as_nanos() as u64);
        length += block.len() as u64;
    }
    Ok(latencies)
}

/// Ports that were free a moment ago, all different.
pub fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    let held = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(held
        .iter()
        .map(|l| l.local_addr().map(|a| a.port()))
        .collect::<Result<Vec<_>, _>>()?)
}
