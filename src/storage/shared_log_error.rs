//! Why a log that several instances share did not do what was asked.

use std::path::PathBuf;
use std::time::Duration;

use super::file_error::FileError;
use crate::invariant::Broken;

/// Why the shared log did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum SharedLogError {
    /// Redis cannot be reached, or refuses.
    #[error("the shared log in Redis: {0}")]
    Redis(String),
    /// Redis refuses, and did nothing of what it was asked.
    #[error("the shared log in Redis takes nothing: {said}; {remedy}")]
    RedisRefused {
        /// What it said.
        said: String,
        /// What ends that.
        remedy: &'static str,
    },
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
    #[error("a group was not on all the disks that redis.ack asks for within {within:?}: {found}")]
    NotDurable {
        /// How long was waited.
        within: Duration,
        /// Who has it, of how many, and the likely cause.
        found: String,
    },
    /// Something in Redis is not what counterd wrote.
    #[error("the shared log in Redis: {0} cannot be read")]
    Unreadable(&'static str),
    /// The log is another one.
    #[error(
        "the shared log is another one, of epoch {found}, than this data directory followed, of epoch {expected}; put back what \
         Redis held, or run `counterd recover`, which says what it gives up"
    )]
    Epoch {
        /// What Redis says.
        found: u64,
        /// What the instance follows.
        expected: u64,
    },
    /// The log does not go on from where this instance has it: it is looked at anew.
    #[error("the shared log does not go on from what this instance has of it; it is read anew")]
    Diverged,
    /// The log does not hold what was acknowledged.
    #[error(
        "Redis lost some of the {had} groups that were acknowledged: the shared log ends at {found}; put back what Redis held, or \
         run `counterd recover`, which says what it gives up"
    )]
    Lost {
        /// Where it ends.
        found: u64,
        /// Where it ended before.
        had: u64,
    },
    /// A key is not where the other keys are.
    #[error(
        "{0} and the other keys of the shared log are at different nodes, or some are gone: a failover came amid a move of their \
         slot; `redis-cli --cluster fix` puts them together"
    )]
    Torn(String),
    /// No key of the log is where they belong, and a node to which nobody is sent has keys of their slot.
    #[error(
        "{node} has keys of the slot of {key}, and is not the node that has the slot: a failover came amid a move of the slot; \
         `redis-cli --cluster fix` puts them together"
    )]
    Elsewhere {
        /// The key of the cell.
        key: String,
        /// Who has them.
        node: String,
    },
    /// There are parts of a log without its cell.
    #[error(
        "the key {0} is gone, and other keys of the shared log are there: put back what Redis held, or choose another redis.prefix"
    )]
    Parts(String),
    /// There is no log, where a copy tells that there was one.
    #[error(
        "there is no shared log under {0}, but a copy tells of one: put back what Redis held; to begin a new log all the same, start \
         once with degraded.start = false"
    )]
    Gone(String),
    /// Its counts were moved to a store on disk.
    #[error(
        "the counts of the shared log were moved to {to} with `counterd migrate`, and are counted on there; serve that directory \
         with storage.engine = \"rocksdb\""
    )]
    MovedOut {
        /// The data directory.
        to: String,
    },
    /// A store on disk is being moved in, or that was broken off.
    #[error(
        "a store is being moved into the shared log, or that was broken off (the key {0}); wait for its end, or run \
         `counterd migrate` again, which begins anew"
    )]
    MovingIn(String),
    /// What was asked cannot be done with the log that is there, or needs none.
    #[error("{0}")]
    Refused(String),
    /// The file that says how much was acknowledged is damaged.
    #[error(
        "{} is damaged: without it nobody knows whether the shared log is whole; remove it to follow the log as it is",
        .0.display()
    )]
    DamagedMark(PathBuf),
    /// A file in the data directory.
    #[error(transparent)]
    File(#[from] FileError),
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

impl SharedLogError {
    /// Says what was found, without the advice that follows it.
    pub(super) fn finding(&self) -> String {
        let text = self.to_string();
        let parts = text.split_once("; ");
        parts.map_or(text.clone(), |(found, _)| found.to_owned())
    }
}
