//! What is counted on every request: one shard of plain cells for each runtime.
//!
//! A shard has one writing thread, so a count is a load and a store without a locked instruction,
//! and no cache line is written by two threads. Sums are made when `/metrics` is read; a sum may
//! miss what happens while it is made, never lose it.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::labels::{OperationResult, Route, Status};

/// Upper bounds of the latency buckets in microseconds; one more bucket holds what is above.
pub const LATENCY_BOUNDS_US: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

const LATENCY_BUCKETS: usize = LATENCY_BOUNDS_US.len() + 1;

/// Adds to a cell that only the calling thread writes.
fn add(cell: &AtomicU64, n: u64) {
    cell.store(
        cell.load(Ordering::Relaxed).wrapping_add(n),
        Ordering::Relaxed,
    );
}

#[derive(Debug)]
struct RouteCells {
    by_status: [AtomicU64; Status::COUNT],
    latency: [AtomicU64; LATENCY_BUCKETS],
    latency_sum_us: AtomicU64,
}

impl RouteCells {
    fn new() -> Self {
        Self {
            by_status: std::array::from_fn(|_| AtomicU64::new(0)),
            latency: std::array::from_fn(|_| AtomicU64::new(0)),
            latency_sum_us: AtomicU64::new(0),
        }
    }
}

// 128 bytes: processors fetch cache lines in pairs.
#[derive(Debug)]
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

impl ShardCells {
    fn new() -> Self {
        Self {
            requests_started: AtomicU64::new(0),
            requests_ended: AtomicU64::new(0),
            requests_abandoned: AtomicU64::new(0),
            connections_opened: AtomicU64::new(0),
            connections_closed: AtomicU64::new(0),
            connections_refused: AtomicU64::new(0),
            operations: std::array::from_fn(|_| AtomicU64::new(0)),
            routes: std::array::from_fn(|_| RouteCells::new()),
        }
    }
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
    /// A request's head was read. Each call is followed by one of [`Self::request_ended`] or
    /// [`Self::request_abandoned`].
    pub fn request_started(&self) {
        add(&self.cells.requests_started, 1);
    }

    /// A request was answered with `status` (the HTTP status code) after `took`.
    pub fn request_ended(&self, route: Route, status: u16, took: Duration) {
        let cells = &*self.cells;
        add(&cells.requests_ended, 1);
        let Some(of_route) = cells.routes.get(route.index()) else {
            return;
        };
        if let Some(cell) = of_route.by_status.get(Status::of(status).index()) {
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

    /// The client left before its answer was ready.
    pub fn request_abandoned(&self) {
        add(&self.cells.requests_ended, 1);
        add(&self.cells.requests_abandoned, 1);
    }

    /// `n` operations on counters had this result.
    pub fn operations(&self, result: OperationResult, n: u64) {
        if let Some(cell) = self.cells.operations.get(result.index()) {
            add(cell, n);
        }
    }

    /// This runtime took over a connection.
    pub fn connection_opened(&self) {
        add(&self.cells.connections_opened, 1);
    }

    /// A connection of this runtime ended.
    pub fn connection_closed(&self) {
        add(&self.cells.connections_closed, 1);
    }

    /// A connection was turned away, or its first request was, for there were too many.
    pub fn connection_refused(&self) {
        add(&self.cells.connections_refused, 1);
    }
}

/// All shards ever made. A shard whose runtime has ended keeps its cells: counts never go down.
#[derive(Clone, Debug, Default)]
pub(super) struct Shards(Arc<Mutex<Vec<Arc<ShardCells>>>>);

impl Shards {
    pub(super) fn add_shard(&self) -> Shard {
        let cells = Arc::new(ShardCells::new());
        self.0.lock().push(Arc::clone(&cells));
        Shard {
            cells,
            one_thread_at_a_time: PhantomData,
        }
    }
}

fn sum<'a>(
    shards: &'a [Arc<ShardCells>],
    cell: impl Fn(&'a ShardCells) -> Option<&'a AtomicU64>,
) -> u64 {
    shards
        .iter()
        .filter_map(|shard| cell(shard))
        .map(|cell| cell.load(Ordering::Relaxed))
        .fold(0, u64::wrapping_add)
}

/// What began and has not ended. The ends are summed first, so that one seen is never without its
/// beginning; the beginnings then may be ahead, by what began in between.
fn still_open<'a>(
    shards: &'a [Arc<ShardCells>],
    began: impl Fn(&'a ShardCells) -> &'a AtomicU64,
    ended: impl Fn(&'a ShardCells) -> &'a AtomicU64,
) -> u64 {
    let ended = sum(shards, |shard| Some(ended(shard)));
    let began = sum(shards, |shard| Some(began(shard)));
    began.saturating_sub(ended)
}

type NoLabels = [(&'static str, &'static str); 0];

impl Collector for Shards {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let shards = self.0.lock().clone();
        encode_requests(&shards, &mut encoder)?;
        encode_latencies(&shards, &mut encoder)?;
        encode_operations(&shards, &mut encoder)?;

        encoder
            .encode_descriptor(
                "requests_in_flight",
                "Requests being answered now.",
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&still_open(
                &shards,
                |shard| &shard.requests_started,
                |shard| &shard.requests_ended,
            ))?;
        encoder
            .encode_descriptor(
                "requests_abandoned",
                "Requests whose client left before the answer; a write among them may have counted.",
                None,
                MetricType::Counter,
            )?
            .encode_counter::<NoLabels, u64, f64>(
                &sum(&shards, |shard| Some(&shard.requests_abandoned)),
                None,
            )?;
        encoder
            .encode_descriptor(
                "connections_open",
                "Client connections open now.",
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&still_open(
                &shards,
                |shard| &shard.connections_opened,
                |shard| &shard.connections_closed,
            ))?;
        encoder
            .encode_descriptor(
                "connections",
                "Client connections accepted.",
                None,
                MetricType::Counter,
            )?
            .encode_counter::<NoLabels, u64, f64>(
                &sum(&shards, |shard| Some(&shard.connections_opened)),
                None,
            )?;
        encoder
            .encode_descriptor(
                "connections_refused",
                "Client connections refused because there were too many.",
                None,
                MetricType::Counter,
            )?
            .encode_counter::<NoLabels, u64, f64>(
                &sum(&shards, |shard| Some(&shard.connections_refused)),
                None,
            )
    }
}

fn encode_requests(
    shards: &[Arc<ShardCells>],
    encoder: &mut DescriptorEncoder,
) -> Result<(), std::fmt::Error> {
    let mut family = encoder.encode_descriptor(
        "requests",
        "Requests answered, by route and HTTP status.",
        None,
        MetricType::Counter,
    )?;
    for route in Route::ALL {
        for status in Status::ALL {
            let count = sum(shards, |shard| {
                let of_route = shard.routes.get(route.index())?;
                of_route.by_status.get(status.index())
            });
            // Most pairs never occur; a series starts with its first request.
            if count > 0 {
                family
                    .encode_family(&[("route", route.as_str()), ("status", status.as_str())])?
                    .encode_counter::<NoLabels, u64, f64>(&count, None)?;
            }
        }
    }
    Ok(())
}

fn encode_latencies(
    shards: &[Arc<ShardCells>],
    encoder: &mut DescriptorEncoder,
) -> Result<(), std::fmt::Error> {
    let mut family = encoder.encode_descriptor(
        "request_duration",
        "Time from a request's head to its answer, by route.",
        Some(&Unit::Seconds),
        MetricType::Histogram,
    )?;
    for route in Route::ALL {
        let of_route = |shard| -> Option<&RouteCells> { ShardCells::route(shard, route) };
        let mut buckets = Vec::with_capacity(LATENCY_BUCKETS);
        let bounds = LATENCY_BOUNDS_US.iter().map(|bound| micros(*bound));
        for (position, bound) in bounds.chain([f64::INFINITY]).enumerate() {
            let count = sum(shards, |shard| of_route(shard)?.latency.get(position));
            buckets.push((bound, count));
        }
        let count = buckets.iter().map(|(_, count)| count).sum();
        if count > 0 {
            let total = sum(shards, |shard| Some(&of_route(shard)?.latency_sum_us));
            family
                .encode_family(&[("route", route.as_str())])?
                .encode_histogram::<NoLabels>(micros(total), count, &buckets, None)?;
        }
    }
    Ok(())
}

fn encode_operations(
    shards: &[Arc<ShardCells>],
    encoder: &mut DescriptorEncoder,
) -> Result<(), std::fmt::Error> {
    let mut family = encoder.encode_descriptor(
        "operations",
        "Operations on counters, by result; those of a batch count one by one.",
        None,
        MetricType::Counter,
    )?;
    for result in OperationResult::ALL {
        let count = sum(shards, |shard| shard.operations.get(result.index()));
        family
            .encode_family(&[("result", result.as_str())])?
            .encode_counter::<NoLabels, u64, f64>(&count, None)?;
    }
    Ok(())
}

impl ShardCells {
    fn route(&self, route: Route) -> Option<&RouteCells> {
        self.routes.get(route.index())
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "exact up to 285 years of microseconds"
)]
fn micros(us: u64) -> f64 {
    us as f64 / 1e6
}
