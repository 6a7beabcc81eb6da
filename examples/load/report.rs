//! What a run measured.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::workload::Mode;

/// Latencies and counts of one thread, or of all.
pub struct Tally {
    /// Nanoseconds.
    latencies: Histogram<u64>,
    statuses: BTreeMap<u16, u64>,
    /// Answered within the measured time.
    pub requests: u64,
    /// Operations that these requests held and that were answered with 2xx.
    pub operations: u64,
    /// Connections that broke, and requests never answered.
    pub errors: u64,
}

impl Tally {
    pub fn new() -> anyhow::Result<Tally> {
        Ok(Tally {
            latencies: Histogram::new_with_bounds(1_000, 120_000_000_000, 3)?,
            statuses: BTreeMap::new(),
            requests: 0,
            operations: 0,
            errors: 0,
        })
    }

    pub fn latency(&mut self, nanoseconds: u64) {
        self.latencies.saturating_record(nanoseconds);
    }

    pub fn answered(&mut self, status: u16, operations: u64) {
        self.requests += 1;
        *self.statuses.entry(status).or_default() += 1;
        if (200..300).contains(&status) {
            self.operations += operations;
        }
    }

    pub fn add(&mut self, other: &Tally) -> anyhow::Result<()> {
        self.latencies.add(&other.latencies)?;
        for (&status, &count) in &other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.requests += other.requests;
        self.operations += other.operations;
        self.errors += other.errors;
        Ok(())
    }

    pub fn to_json(
        &self,
        label: &str,
        mode: Mode,
        connections: usize,
        rate: Option<f64>,
        seconds: f64,
    ) -> Value {
        let ms = |nanoseconds: u64| nanoseconds as f64 / 1e6;
        let at = |quantile: f64| ms(self.latencies.value_at_quantile(quantile));
        let non_2xx: u64 = self
            .statuses
            .iter()
            .filter(|(s, _)| !(200..300).contains(*s))
            .map(|(_, n)| n)
            .sum();
        json!({
            "label": label,
            "mode": format!("{mode:?}"),
            "connections": connections,
            "rate": rate,
            "seconds": seconds,
            "requests": self.requests,
            "operations": self.operations,
            "requests_per_s": self.requests as f64 / seconds,
            "operations_per_s": self.operations as f64 / seconds,
            "p50_ms": at(0.5),
            "p99_ms": at(0.99),
            "p999_ms": at(0.999),
            "max_ms": ms(self.latencies.max()),
            "non_2xx": non_2xx,
            "errors": self.errors,
            "statuses": self.statuses.iter().map(|(s, n)| (s.to_string(), json!(n)))
                .collect::<serde_json::Map<_, _>>(),
        })
    }
}
