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
mod error;
mod follower;
mod link;
mod reader;
mod script;
mod url;
mod users;

use std::time::Duration;

pub use error::MirrorError;
pub use follower::{Mirror, MirrorWork};
pub use link::{adopt, check, contents};
pub use reader::MirrorReader;
pub use url::RedisUrl;

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
