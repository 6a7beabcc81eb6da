//! Limits of requests and connections, which may be changed while the server runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use super::body_memory::BodyMemory;
use super::connection::PhaseLimits;
use super::places::Places;

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

/// The limits in force, of all runtimes together: read without a lock, each by itself.
pub(super) struct LimitsInForce {
    pub(super) places: Places,
    pub(super) body_memory: Arc<BodyMemory>,
    max_body: AtomicUsize,
    max_batch_body: AtomicUsize,
    head_ms: AtomicU32,
    body_ms: AtomicU32,
    idle_ms: AtomicU32,
}

impl LimitsInForce {
    pub(super) fn new(limits: &Limits) -> Self {
        let in_force = Self {
            places: Places::new(limits.max_connections),
            body_memory: Arc::new(BodyMemory::new(limits.max_body_memory)),
            max_body: AtomicUsize::new(0),
            max_batch_body: AtomicUsize::new(0),
            head_ms: AtomicU32::new(0),
            body_ms: AtomicU32::new(0),
            idle_ms: AtomicU32::new(0),
        };
        in_force.set(limits);
        in_force
    }

    pub(super) fn set(&self, limits: &Limits) {
        self.places.resize(limits.max_connections);
        self.body_memory.resize(limits.max_body_memory);
        let ms = |limit: Duration| u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
        self.max_body.store(limits.max_body, Ordering::Relaxed);
        self.max_batch_body
            .store(limits.max_batch_body, Ordering::Relaxed);
        self.head_ms
            .store(ms(limits.header_timeout), Ordering::Relaxed);
        self.body_ms
            .store(ms(limits.body_timeout), Ordering::Relaxed);
        self.idle_ms
            .store(ms(limits.idle_timeout), Ordering::Relaxed);
    }

    pub(super) fn max_body(&self) -> usize {
        self.max_body.load(Ordering::Relaxed)
    }

    pub(super) fn max_batch_body(&self) -> usize {
        self.max_batch_body.load(Ordering::Relaxed)
    }

    /// How long each phase of a connection may last.
    pub(super) fn phases(&self) -> PhaseLimits {
        PhaseLimits {
            idle: self.idle_ms.load(Ordering::Relaxed),
            head: self.head_ms.load(Ordering::Relaxed),
            body: self.body_ms.load(Ordering::Relaxed),
        }
    }
}
