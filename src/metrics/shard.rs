//! What is counted on every request: one shard of plain cells for each runtime.
//!
//! A shard has one writing thread, so a count is a load and a store without a locked instruction,
//! and no cache line is written by two threads. Sums are made when `/metrics` is read; a sum may
//! miss what happens while it is made, never lose it.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::labels::{OperationResult, Route, STATUSES};
use super::table::{alone, put};

/// Upper bounds of the latency buckets in microseconds; one more bucket holds what is above.
const LATENCY_BOUNDS_US: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

const LATENCY_BUCKETS: usize = LATENCY_BOUNDS_US.len() + 1;

/// Adds to a cell that only the calling thread writes.
fn add(cell: &AtomicU64, n: u64) {
    cell.store(read(cell).wrapping_add(n), Ordering::Relaxed);
}

fn read(cell: &AtomicU64) -> u64 {
    cell.load(Ordering::Relaxed)
}

#[derive(Debug, Default)]
struct RouteCells {
    /// By the places of [`STATUSES`]; the last is for any other status.
    by_status: [AtomicU64; STATUSES.len() + 1],
    latency: [AtomicU64; LATENCY_BUCKETS],
    latency_sum_us: AtomicU64,
}

// 128 bytes: processors fetch cache lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct ShardCells {
    requests_started: AtomicU64,
    requests_ended: AtomicU64,
    requests_abandoned: AtomicU64,
    connections_opened: AtomicU64,
    connections_closed: AtomicU64,
    connections_refused: AtomicU64,
    operations: [AtomicU64; OperationResult::COUNT],
    routes: [RouteCells; Route::COUNT],
}

/// One runtime's counts. It may move to the runtime's thread, but is never shared between threads:
/// its counts are plain stores.
///
/// ```
/// use std::time::Duration;
/// use counterd::metrics::{Metrics, OperationResult, Route};
///
/// let metrics = Metrics::new();
/// let shard = metrics.shard();
/// shard.request_started();
/// shard.operations(OperationResult::Counted, 1);
/// shard.request_ended(Route::Increment, 200, Duration::from_micros(180));
/// ```
///
/// Sharing it between threads does not compile:
///
/// ```compile_fail,E0277
/// let shard = counterd::metrics::Metrics::new().shard();
/// std::thread::scope(|scope| {
///     scope.spawn(|| shard.request_started());
/// });
/// ```
#[derive(Debug)]
pub struct Shard {
    cells: Arc<ShardCells>,
    one_thread_at_a_time: PhantomData<Cell<()>>,
}

impl Shard {
    /// Counts a request whose head was read. Each call is followed by one of [`Self::request_ended`] or
    /// [`Self::request_abandoned`].
    pub fn request_started(&self) {
        add(&self.cells.requests_started, 1);
    }

    /// Counts a request that was answered with `status` (the HTTP status code) after `took`.
    pub fn request_ended(&self, route: Route, status: u16, took: Duration) {
        add(&self.cells.requests_ended, 1);
        let Some(of_route) = self.cells.routes.get(route as usize) else {
            return;
        };
        let place = STATUSES.binary_search(&status).unwrap_or(STATUSES.len());
        if let Some(cell) = of_route.by_status.get(place) {
            add(cell, 1);
        }
        let took_us = took
            .as_secs()
            .saturating_mul(1_000_000)
            .saturating_add(u64::from(took.subsec_micros()));
        let bucket = LATENCY_BOUNDS_US.partition_point(|bound| *bound < took_us);
        if let Some(cell) = of_route.latency.get(bucket) {
            add(cell, 1);
        }
        add(&of_route.latency_sum_us, took_us);
    }

    /// Counts a request whose client left before its answer was ready.
    pub fn request_abandoned(&self) {
        add(&self.cells.requests_ended, 1);
        add(&self.cells.requests_abandoned, 1);
    }

    /// Counts `n` operations on counters that had this result.
    pub fn operations(&self, result: OperationResult, n: u64) {
        if let Some(cell) = self.cells.operations.get(result as usize) {
            add(cell, n);
        }
    }

    /// Counts a connection that this runtime took over.
    pub fn connection_opened(&self) {
        add(&self.cells.connections_opened, 1);
    }

    /// Counts a connection of this runtime that ended.
    pub fn connection_closed(&self) {
        add(&self.cells.connections_closed, 1);
    }

    /// Counts a connection that was turned away, or whose first request was, for there were too many.
    pub fn connection_refused(&self) {
        add(&self.cells.connections_refused, 1);
    }
}

/// All shards ever made. A shard whose runtime has ended keeps its cells: counts never go down.
#[derive(Clone, Debug, Default)]
pub(super) struct Shards(Arc<Mutex<Vec<Arc<ShardCells>>>>);

impl Shards {
    pub(super) fn add_shard(&self) -> Shard {
        let cells = Arc::<ShardCells>::default();
        self.0.lock().push(Arc::clone(&cells));
        Shard {
            cells,
            one_thread_at_a_time: PhantomData,
        }
    }

    /// Returns how many operations had each result, in all shards.
    pub(super) fn operations(&self) -> [u64; OperationResult::COUNT] {
        let shards = self.0.lock().clone();
        let mut sums = [0_u64; OperationResult::COUNT];
        for shard in &shards {
            for (sum, cell) in sums.iter_mut().zip(&shard.operations) {
                *sum = sum.wrapping_add(read(cell));
            }
        }
        sums
    }
}

impl ShardCells {
    /// All cells. Of two that count beginnings and ends, the ends come first: an end that is seen is then never without
    /// its beginning, and the beginnings may be ahead by what began in between.
    fn all(&self) -> impl Iterator<Item = &AtomicU64> {
        let plain = [
            &self.requests_ended,
            &self.requests_started,
            &self.requests_abandoned,
            &self.connections_closed,
            &self.connections_opened,
            &self.connections_refused,
        ];
        let of_routes = self.routes.iter().flat_map(|route| {
            let counts = route.by_status.iter().chain(&route.latency);
            counts.chain([&route.latency_sum_us])
        });
        plain.into_iter().chain(&self.operations).chain(of_routes)
    }
}

impl Collector for Shards {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let shards = self.0.lock().clone();
        let sums = ShardCells::default();
        for shard in &shards {
            for (sum, cell) in sums.all().zip(shard.all()) {
                add(sum, read(cell));
            }
        }
        let encoder = &mut encoder;
        encode_requests(&sums, encoder)?;
        encode_latencies(&sums, encoder)?;
        let help = "Operations on counters, by result; those of a batch count one by one.";
        let results = OperationResult::ALL.iter().zip(&sums.operations);
        let series = results.map(|(result, count)| {
            let labels = [("result", result.as_str())];
            (labels, ConstCounter::new(read(count)))
        });
        put(encoder, ("operations", None, help), series)?;

        let mut gauge = |name, help, began, ended| {
            let now = ConstGauge::new(read(began).saturating_sub(read(ended)));
            put(encoder, (name, None, help), alone(Some(now)))
        };
        let help = "Requests being answered now.";
        let (began, ended) = (&sums.requests_started, &sums.requests_ended);
        gauge("requests_in_flight", help, began, ended)?;
        let help = "Client connections open now.";
        let (began, ended) = (&sums.connections_opened, &sums.connections_closed);
        gauge("connections_open", help, began, ended)?;

        let mut counter = |name, help, count| {
            let total = ConstCounter::new(read(count));
            put(encoder, (name, None, help), alone(Some(total)))
        };
        let help =
            "Requests whose client left before the answer; a write among them may have counted.";
        counter("requests_abandoned", help, &sums.requests_abandoned)?;
        let help = "Client connections accepted.";
        counter("connections", help, &sums.connections_opened)?;
        let help = "Client connections refused because there were too many.";
        counter("connections_refused", help, &sums.connections_refused)
    }
}

fn encode_requests(sums: &ShardCells, encoder: &mut DescriptorEncoder) -> fmt::Result {
    let statuses = STATUSES.iter().map(u16::to_string);
    let statuses: Vec<String> = statuses.chain(["other".to_owned()]).collect();
    let mut series = Vec::new();
    for (route, cells) in Route::ALL.iter().zip(&sums.routes) {
        for (status, count) in statuses.iter().zip(&cells.by_status) {
            if read(count) > 0 {
                let labels = [("route", route.as_str()), ("status", status)];
                series.push((labels, ConstCounter::new(read(count))));
            }
        }
    }
    let help = "Requests answered, by route and HTTP status.";
    put(encoder, ("requests", None, help), series)
}

fn encode_latencies(sums: &ShardCells, encoder: &mut DescriptorEncoder) -> fmt::Result {
    let mut family = encoder.encode_descriptor(
        "request_duration",
        "Time from a request's head to its answer, by route.",
        Some(&Unit::Seconds),
        MetricType::Histogram,
    )?;
    let bounds = LATENCY_BOUNDS_US.iter().map(|bound| seconds(*bound));
    let bounds = bounds.chain([f64::INFINITY]);
    for (route, cells) in Route::ALL.iter().zip(&sums.routes) {
        let buckets = bounds.clone().zip(cells.latency.iter().map(read));
        let buckets: Vec<(f64, u64)> = buckets.collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        if count > 0 {
            let total = seconds(read(&cells.latency_sum_us));
            family
                .encode_family(&[("route", route.as_str())])?
                .encode_histogram::<NoLabelSet>(total, count, &buckets, None)?;
        }
    }
    Ok(())
}

fn seconds(us: u64) -> f64 {
    Duration::from_micros(us).as_secs_f64()
}
