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

use super::labels::{OperationResult, Route, STATUSES};
use super::sample::{NoLabels, counter, gauge};

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
        let Some(of_route) = self.cells.route(route) else {
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
        if let Some(cell) = self.cells.operations.get(result.index()) {
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

/// Returns how many began and have not ended. The ends are summed first, so that one seen is never without its
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

impl Collector for Shards {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let shards = self.0.lock().clone();
        let encoder = &mut encoder;
        encode_requests(&shards, encoder)?;
        encode_latencies(&shards, encoder)?;
        encode_operations(&shards, encoder)?;

        let help = "Requests being answered now.";
        let in_flight = still_open(
            &shards,
            |shard| &shard.requests_started,
            |shard| &shard.requests_ended,
        );
        gauge(encoder, ("requests_in_flight", None, help), in_flight)?;
        let help =
            "Requests whose client left before the answer; a write among them may have counted.";
        let abandoned = sum(&shards, |shard| Some(&shard.requests_abandoned));
        counter(encoder, ("requests_abandoned", None, help), abandoned)?;
        let help = "Client connections open now.";
        let open = still_open(
            &shards,
            |shard| &shard.connections_opened,
            |shard| &shard.connections_closed,
        );
        gauge(encoder, ("connections_open", None, help), open)?;
        let help = "Client connections accepted.";
        let accepted = sum(&shards, |shard| Some(&shard.connections_opened));
        counter(encoder, ("connections", None, help), accepted)?;
        let help = "Client connections refused because there were too many.";
        let refused = sum(&shards, |shard| Some(&shard.connections_refused));
        counter(encoder, ("connections_refused", None, help), refused)
    }
}

fn encode_requests(
    shards: &[Arc<ShardCells>],
    encoder: &mut DescriptorEncoder,
) -> Result<(), std::fmt::Error> {
    let help = "Requests answered, by route and HTTP status.";
    let mut family = encoder.encode_descriptor("requests", help, None, MetricType::Counter)?;
    let statuses = STATUSES.iter().map(u16::to_string);
    let statuses: Vec<String> = statuses.chain(["other".to_owned()]).collect();
    for route in Route::ALL {
        for (place, status) in statuses.iter().enumerate() {
            let count = sum(shards, |shard| shard.route(route)?.by_status.get(place));
            // Most pairs never occur; a series starts with its first request.
            if count > 0 {
                family
                    .encode_family(&[("route", route.as_str()), ("status", status)])?
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
    let bounds = LATENCY_BOUNDS_US.iter().map(|bound| seconds(*bound));
    let bounds: Vec<f64> = bounds.chain([f64::INFINITY]).collect();
    for route in Route::ALL {
        let in_bucket = |place| sum(shards, |shard| shard.route(route)?.latency.get(place));
        let buckets = bounds.iter().enumerate();
        let buckets: Vec<(f64, u64)> = buckets
            .map(|(place, bound)| (*bound, in_bucket(place)))
            .collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        if count > 0 {
            let total = sum(shards, |shard| Some(&shard.route(route)?.latency_sum_us));
            family
                .encode_family(&[("route", route.as_str())])?
                .encode_histogram::<NoLabels>(seconds(total), count, &buckets, None)?;
        }
    }
    Ok(())
}

fn encode_operations(
    shards: &[Arc<ShardCells>],
    encoder: &mut DescriptorEncoder,
) -> Result<(), std::fmt::Error> {
    let help = "Operations on counters, by result; those of a batch count one by one.";
    let mut family = encoder.encode_descriptor("operations", help, None, MetricType::Counter)?;
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

fn seconds(us: u64) -> f64 {
    Duration::from_micros(us).as_secs_f64()
}
