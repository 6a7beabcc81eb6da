//! What Prometheus and Grafana are given, judged by Prometheus itself: the page of metrics, the rules and the
//! queries of the dashboard in `deploy/`.
//!
//! Kept out: how single metrics are counted (`src/metrics`), and the containers that both run in (`containers`).

mod dashboard;
mod page;
mod prometheus;
mod rules;

use std::path::PathBuf;
use std::process::Command;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Whether that program is installed.
fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}
