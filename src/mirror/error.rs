//! Why something did not get into Redis. No error holds the URL or the password in it.

use std::time::Duration;

use crate::storage::{LineageId, OtherStore, ReadError};

/// Why the mirror is held up.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// There is no connection to be had.
    #[error("cannot connect to Redis: {0}")]
    Connect(String),
    /// Redis said no.
    #[error("Redis says: {0}")]
    Refused(String),
    /// The connection ended, or what came is not what was asked for.
    #[error("the connection to Redis failed: {0}")]
    Lost(String),
    /// No answer in time.
    #[error("Redis does not answer within {}", humantime::format_duration(*.0))]
    Late(Duration),
    /// Redis was written by a store that is ahead of this one.
    #[error(
        "Redis holds values of epoch {theirs}, which is later than this store's, {ours}: this is an older store; nothing is mirrored. Mirror from the later store, or give this one a redis.prefix or a database of its own"
    )]
    LaterEpoch {
        /// The store's epoch.
        ours: u64,
        /// That of the values in Redis.
        theirs: u64,
    },
    /// Redis was written by a copy of this store that is ahead of it.
    #[error(
        "Redis holds values of revision {theirs} of this store's epoch, and this store has come to {ours} only: this is an older copy of the store; what is there stays. Mirror from the other copy, give this one a redis.prefix or a database of its own, or restore a backup of it as a new epoch"
    )]
    Ahead {
        /// What the store has come to.
        ours: u64,
        /// The highest in Redis.
        theirs: u64,
    },
    /// The keys are another store's.
    #[error(
        "Redis holds the values of another store, {theirs}; this store is {ours}: nothing is mirrored. Give this store a redis.prefix or a database of its own; to replace those values by this store's, see `counterd adopt`"
    )]
    OtherStore {
        /// The store.
        ours: LineageId,
        /// The one that the keys belong to.
        theirs: OtherStore,
    },
    /// The store cannot be read now.
    #[error("cannot read the store: {0}")]
    Read(#[from] ReadError),
    /// Another mirror writes to the same keys.
    #[error(
        "another counterd mirrors to the same keys; give each a redis.prefix or a database of its own"
    )]
    Rival,
    /// Redis forgot a script.
    #[error("Redis does not know a script any more that was loaded")]
    NoScript,
    /// The list of the counters in Redis was deleted, or is another one.
    #[error(
        "the list of counters in Redis (counterd:names) is not the one that was written; the mirror writes it anew"
    )]
    Names,
    /// There is no runtime to be had.
    #[error("cannot work: {0}")]
    Runtime(#[from] std::io::Error),
}

impl MirrorError {
    /// Whether Redis is not there, and may be the next moment; otherwise somebody has to do something.
    pub fn is_away(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Lost(_) | Self::Late(_) => true,
            Self::Refused(_)
            | Self::LaterEpoch { .. }
            | Self::Ahead { .. }
            | Self::OtherStore { .. }
            | Self::Read(_)
            | Self::Rival
            | Self::NoScript
            | Self::Names
            | Self::Runtime(_) => false,
        }
    }
}
