//! The mirror in Redis: current values of all counters, for programs that read them there.
//!
//! A thread with one connection writes what changed since the last round, at most every `redis.interval`.
//! Nothing is queued: each round finds by its revision what Redis does not have yet, so an absent or slow Redis
//! costs no memory, and counting never waits. Values are absolute, and a script within Redis compares (epoch,
//! revision, period) before it writes: a call that comes late, twice or in another order does no harm. A marker
//! among the keys shows that Redis lost something; then everything is written again.
//!
//! Kept out: the configuration file, and who is served from what is read back (`fallback`).

mod entry;
mod follower;
mod link;
mod reader;
mod url;
mod users;

use std::time::Duration;

pub use follower::{Mirror, MirrorWork};
pub use link::{adopt, check, contents};
pub use reader::MirrorReader;
pub use url::RedisUrl;

use crate::storage::{CopyConflict, ReadError};

/// What the mirror is configured with.
#[derive(Clone, Debug)]
pub struct MirrorOptions {
    /// Where Redis is, and the password to it.
    pub url: RedisUrl,
    /// Whether the user ids of the current day are mirrored.
    pub users: bool,
    /// How often changed values are written, at most.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// What every key begins with.
    pub prefix: String,
}

/// What most functions here return.
type Result<T, E = MirrorError> = std::result::Result<T, E>;

/// Why the mirror is held up. No text shows the URL or the password in it.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// No connection could be made.
    #[error("cannot connect to Redis: {0}")]
    Connect(String),
    /// Redis refused a command.
    #[error("Redis says: {0}")]
    Refused(String),
    /// The connection ended, or the answer was not one to the question.
    #[error("the connection to Redis failed: {0}")]
    Lost(String),
    /// No answer came in time.
    #[error("Redis does not answer within {}", humantime::format_duration(*.0))]
    Late(Duration),
    /// The store must not write there.
    #[error("Redis holds values of {0} give this one a redis.prefix or a database of its own")]
    Conflict(#[from] CopyConflict),
    /// The store cannot be read.
    #[error("cannot read the store: {0}")]
    Read(#[from] ReadError),
    /// Another mirror writes to the same keys.
    #[error(
        "another counterd mirrors to the same keys; give each a redis.prefix or a database of its own"
    )]
    Rival,
    /// The marker holds this id in place of ours: Redis lost what was written, or another mirror took over.
    #[error("Redis lost what was mirrored to it, or another mirror took over")]
    Marker(String),
    /// The list of the counters in Redis is not the one that the mirror wrote.
    #[error(
        "the list of counters in Redis (counterd:names) is not the one that was written; the mirror writes it anew"
    )]
    Names,
    /// There are no resources for a runtime.
    #[error("cannot work: {0}")]
    Runtime(#[from] std::io::Error),
}

impl MirrorError {
    /// Returns whether Redis is away and may be back the next moment. Otherwise somebody has to act.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Lost(_) | Self::Late(_))
    }
}
