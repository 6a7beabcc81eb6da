//! Limits of requests and connections, which may be changed while the server runs.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::HttpOptions;
use super::body_memory::BodyMemory;
use super::places::Places;
use super::rate_limit::RateLimiter;
use crate::metrics::RateMetrics;

/// Limits of requests and connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most connections at once, those kept for probes and administrators among them.
    pub max_connections: usize,
    /// Longest body of a request, in bytes.
    pub max_body: usize,
    /// Longest body of a batch, in bytes.
    pub max_batch_body: usize,
    /// Most memory for bodies that have not arrived whole, in bytes, of all connections together.
    pub max_body_memory: usize,
    /// How long a client may take to send a head, from its first byte. Times are kept to about a
    /// tenth of a second.
    pub header_timeout: Duration,
    /// How long a client may take to send a body.
    pub body_timeout: Duration,
    /// How long a connection may rest between two requests, and take to accept an answer.
    pub idle_timeout: Duration,
}

/// The limits in force, of all runtimes together: read without a lock.
pub(super) struct LimitsInForce {
    pub(super) places: Arc<Places>,
    pub(super) body_memory: Arc<BodyMemory>,
    /// Those of rates, and who clients are.
    pub(super) rates: RateLimiter,
    max_body: AtomicUsize,
    max_batch_body: AtomicUsize,
    others: ArcSwap<Limits>,
}

impl LimitsInForce {
    pub(super) fn new(options: &HttpOptions, metrics: &RateMetrics) -> Self {
        let limits = &options.limits;
        let in_force = Self {
            places: Arc::default(),
            body_memory: Arc::default(),
            rates: RateLimiter::new(&options.rate_limits, metrics.clone()),
            max_body: AtomicUsize::default(),
            max_batch_body: AtomicUsize::default(),
            others: ArcSwap::from_pointee(*limits),
        };
        in_force.set(limits);
        in_force
    }

    pub(super) fn set(&self, limits: &Limits) {
        self.places.resize(limits.max_connections);
        self.body_memory.resize(limits.max_body_memory);
        self.max_body.store(limits.max_body, Relaxed);
        self.max_batch_body.store(limits.max_batch_body, Relaxed);
        self.others.store(Arc::new(*limits));
    }

    /// Longest body of a request, in bytes.
    pub(super) fn max_body(&self) -> usize {
        self.max_body.load(Relaxed)
    }

    /// Longest body of a batch, in bytes.
    pub(super) fn max_batch_body(&self) -> usize {
        self.max_batch_body.load(Relaxed)
    }

    /// Returns the limits that have no place of their own here.
    pub(super) fn others(&self) -> impl Deref<Target = Arc<Limits>> {
        self.others.load()
    }
}
