//! The open loop of `script/soak matrix`: requests by the clock, whatever the server does.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::cell::{Cell, Fault};

/// Its length in seconds: the fault, and what comes after it.
const SECONDS: u32 = 30;

/// A running load generator.
pub struct Load {
    child: Option<Child>,
    writes: bool,
    due: u64,
}

/// What it measured.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Whether it wrote, rather than read.
    pub writes: bool,
    pub p99_ms: f64,
    pub max_ms: f64,
    pub operations: u64,
    /// All that were to be sent: some of them were answered when its time was over.
    pub due: u64,
    /// Not answered with 2xx, or not answered.
    pub failed: u64,
}

impl Load {
    /// Writes to counters of its own; only reads where the disk fails.
    pub fn start(cell: Cell, address: SocketAddr, rate: u32) -> Self {
        let writes = match cell.fault {
            Fault::Postgres(_) | Fault::Redis(_) => true,
            Fault::Disk(_) => false,
        };
        let mode = if writes { "many" } else { "get" };
        let child = Command::new(generator())
            .args(["run", "--address", &address.to_string(), "--mode", mode])
            .args(["--counter", crate::traffic::SUM, "--counters", "25"])
            .args(["--rate", &rate.to_string()])
            .args(["--connections", "50"])
            .args(["--seconds", &SECONDS.to_string(), "--warmup", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            child: Some(child),
            writes,
            due: u64::from(rate * SECONDS),
        }
    }

    /// Waits for its end.
    pub fn end(mut self) -> Figures {
        let child = self.child.take().unwrap();
        let done = child.wait_with_output().unwrap();
        assert!(done.status.success(), "the load generator: {}", done.status);
        let told: Value = serde_json::from_slice(&done.stdout).unwrap();
        let number = |name: &str| told[name].as_u64().unwrap();
        Figures {
            writes: self.writes,
            due: self.due,
            p99_ms: told["p99_ms"].as_f64().unwrap(),
            max_ms: told["max_ms"].as_f64().unwrap(),
            operations: number("operations"),
            failed: number("non_2xx") + number("errors"),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // An error says that it has ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The example `load`, which script/soak builds.
fn generator() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_counterd")).with_file_name("examples/load");
    assert!(path.exists(), "cargo build --release --example load");
    path
}
