//! Why a log that several instances share did not do what was asked.

use std::time::Duration;

use crate::invariant::Broken;

/// Why the shared log did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum SharedLogError {
    /// Redis cannot be reached, or refuses.
    #[error("the shared log in Redis: {0}")]
    Redis(String),
    /// A setting of Redis would lose what is acknowledged.
    #[error("Redis would lose what is acknowledged: {name} is {found:?}, and must be {wanted}")]
    Setting {
        /// Which.
        name: String,
        /// What it is.
        found: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// There are too few replicas.
    #[error(
        "Redis has {connected} replicas, and redis.min_replicas is {wanted}: start more, or choose a weaker redis.ack by name"
    )]
    Replicas {
        /// How many are connected.
        connected: u32,
        /// How many must be.
        wanted: u32,
    },
    /// A group is in the log, and not yet where it must be before it is acknowledged.
    #[error("a group was not on all the disks that redis.ack asks for within {0:?}")]
    NotDurable(Duration),
    /// The log was not read for so long that others may have counted what is not known here.
    #[error("the shared log in Redis was not read for {0:.1?}")]
    Late(Duration),
    /// Something in Redis is not what counterd wrote.
    #[error("the shared log in Redis: {0} cannot be read")]
    Unreadable(&'static str),
    /// The log is on another history.
    #[error("the shared log is of epoch {found}, and this instance follows epoch {expected}")]
    Epoch {
        /// What Redis says.
        found: String,
        /// What the instance follows.
        expected: u64,
    },
    /// The log ends before what this instance had of it.
    #[error("the shared log ends at {found}, and {had} groups were acknowledged: Redis lost some")]
    Lost {
        /// Where it ends.
        found: u64,
        /// Where it ended before.
        had: u64,
    },
    /// Entries that this instance lacks were trimmed.
    #[error("the shared log begins after {had}: this instance fell behind and reads all anew")]
    Trimmed {
        /// Up to where the instance has it.
        had: u64,
    },
    /// Another version of counterd made it.
    #[error(
        "the shared log has format {0}, which this counterd does not know: use the version that made it"
    )]
    Format(String),
    /// The thread that follows cannot be started.
    #[error("the thread that follows the shared log: {0}")]
    Thread(#[from] std::io::Error),
    /// This program is at fault: what must hold does not.
    #[error(transparent)]
    Broken(#[from] Broken),
}
