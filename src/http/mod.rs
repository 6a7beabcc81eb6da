//! The HTTP API: sockets in, JSON out.
//!
//! One thread accepts and deals the sockets to a few runtimes, each on a thread of its own. An
//! increment is taken apart ahead of the router; everything else goes through it. Requests are
//! judged in one order: rate of the address, path, method, origin, size, content type, token, syntax,
//! mode, rate of the users, queue, key, existence, rules.
//!
//! Kept out: what a change does (`writer`), what a counter is (`counter`), where values are kept
//! (`storage`), and the configuration file: this module has options of its own.

mod admin;
mod alerts;
mod auth;
mod body;
mod body_memory;
mod call;
mod code;
mod connection;
mod contract;
mod documents;
mod error;
mod fingerprint;
mod head;
mod json;
mod limits;
mod listen;
mod mark;
mod notes;
mod page;
mod parse;
mod past;
mod places;
mod prefix;
mod probes;
mod push;
mod query;
mod rate_limit;
mod read;
mod reply;
mod request_id;
mod router;
mod socket;
mod stamp;
mod standing;
mod subscribe;
mod wire;
mod worker;
mod write;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use secrecy::SecretString;

use crate::access_log::AccessLog;
use crate::counter::CountedNames;
use crate::engine::Engine;
use crate::metrics::Metrics;

use error::Problem;

pub use code::Code;
pub use limits::Limits;
pub use listen::{Bound, HttpError, HttpServer};
pub use page::PageFiles;
pub use push::PushOptions;
pub use rate_limit::{ClientSource, Rate, RateLimits, network};

/// How requests are taken in.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Threads that serve requests, each with a port of the intake.
    pub workers: u16,
    /// Limits of requests and connections at the start.
    pub limits: Limits,
    /// Limits of rates at the start, and who a client is.
    pub rate_limits: RateLimits,
    /// Longest head of a request, in bytes.
    pub max_header_bytes: usize,
    /// Most headers of a request; over 100 each request costs an allocation more.
    pub max_headers: usize,
    /// The origins, besides the server's own, whose pages may call, such as `https://game.example`.
    pub cors_origins: Vec<String>,
    /// The host names, besides IP addresses and `localhost`, that are the server's own to browsers;
    /// `None` when any is.
    pub hosts: Option<Vec<String>>,
    /// The page for people; `None` when it is not served.
    pub page: Option<Arc<PageFiles>>,
    /// `samples.retention`: how far back a series goes.
    pub series_range: Duration,
    /// The names that are counted here; operations on others are refused.
    pub counted_names: CountedNames,
    /// `metrics.max_counters`: how many counters outside the configuration `/metrics` shows.
    pub shown_counters: usize,
    /// How clients are told of changes.
    pub push: PushOptions,
    /// Who may do what; may be replaced while the server runs.
    pub tokens: Arc<ArcSwap<Tokens>>,
}

/// The tokens that calls need; of several for a role each serves. A role without one leaves reads and
/// writes open, and administrative calls disabled.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    /// For administrative calls; serve for all others too.
    pub admin: Vec<SecretString>,
    /// For writes.
    pub write: Vec<SecretString>,
    /// For reads.
    pub read: Vec<SecretString>,
}

/// What requests are answered from, and who is told of them.
#[derive(Clone)]
pub struct Shared {
    /// What serves counts.
    pub engine: Engine,
    /// Where requests are counted.
    pub metrics: Arc<Metrics>,
    /// Where requests are logged.
    pub log: AccessLog,
}

impl Shared {
    /// Whether writes are served.
    pub(self) fn check_mode(&self) -> Result<(), Problem> {
        self.engine
            .writes()
            .map_err(|(cause, for_ms)| Problem::read_only(cause).after_an_outage_of(for_ms))
    }
}

#[cfg(test)]
mod tests;
