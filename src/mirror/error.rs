//! Why the mirror fails. No error shows the URL or the password in it.

use std::time::Duration;

use crate::storage::{CopyConflict, ReadError};

/// Why the mirror is held up.
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
        match self {
            Self::Connect(_) | Self::Lost(_) | Self::Late(_) => true,
            Self::Refused(_)
            | Self::Conflict(_)
            | Self::Read(_)
            | Self::Rival
            | Self::Names
            | Self::Runtime(_) => false,
        }
    }
}
