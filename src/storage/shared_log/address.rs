//! Where a shared log is, and what is asked of it.

use std::time::Duration;

use crate::masking::SecretUrl;

words! {
    /// Who must have a group before it is acknowledged.
    Ack {
        /// The primary, on disk, and all replicas that it had at the last look.
        Replicas = "replicas",
        /// The primary alone, on disk. A failover may lose what was acknowledged.
        Primary = "primary",
    }
}

words! {
    /// What an instance does when Redis has lost acknowledged groups.
    OnLoss {
        /// Nobody writes any more, until an operator runs `counterd recover`.
        Stop = "stop",
        /// A new epoch begins with what is there.
        Continue = "continue",
    }
}

/// The nodes of a Redis, as they are listed: one, or several of which one has what is asked for.
#[derive(Clone)]
pub struct RedisNodes {
    /// The first.
    pub first: redis::Client,
    /// All others.
    pub others: Vec<redis::Client>,
}

impl RedisNodes {
    /// Lists all of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &redis::Client> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

/// Where the log is, and how long it may take.
#[derive(Clone, Debug)]
pub struct LogAddress {
    /// The Redis.
    pub url: SecretUrl<RedisNodes>,
    /// What every key begins with.
    pub prefix: String,
    /// How long an answer may take, over all tries.
    pub timeout: Duration,
    /// For how long the log may not have been read before reads are told to be stale and writes are refused.
    pub max_lag: Duration,
    /// How far the clock of this machine may be from that of Redis before writes are refused.
    pub max_clock_skew: Duration,
    /// Who must have a group before it is acknowledged.
    pub ack: Ack,
    /// What to do when acknowledged groups are lost.
    pub on_loss: OnLoss,
    /// With fewer replicas writes are refused, where those are waited for.
    pub min_replicas: u32,
}
