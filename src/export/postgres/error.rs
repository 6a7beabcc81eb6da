//! Why something did not get into the database. No error holds the URL or the password in it, nor
//! the values of a row.

use std::time::Duration;

use crate::storage::{LineageId, OtherStore, ReadError};
use crate::writer::Failure;

/// Why the export is held up.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// There is no connection to be had.
    #[error("cannot connect to PostgreSQL: {0}")]
    Connect(String),
    /// The database said no.
    #[error("PostgreSQL says: {message} (SQLSTATE {code})")]
    Refused {
        /// The class of the error, as the SQL standard and PostgreSQL number them.
        code: String,
        /// What it says, without the values of the row.
        message: String,
    },
    /// The connection ended, or what came is not what was asked for.
    #[error("the connection to PostgreSQL failed: {0}")]
    Lost(String),
    /// No answer in time.
    #[error("PostgreSQL does not answer within {}", humantime::format_duration(*.0))]
    Late(Duration),
    /// The tables are not those that this version writes.
    #[error("the schema of the database does not fit: {0}")]
    Schema(String),
    /// The database was written by a store that is ahead of this one.
    #[error(
        "the database holds rows of epoch {theirs}, which is later than this store's, {ours}: this is an older store; nothing is exported. Export from the later store, or give this one a database of its own"
    )]
    LaterEpoch {
        /// The store's epoch.
        ours: u64,
        /// The highest in the database.
        theirs: u64,
    },
    /// The database was written by a copy of this store that is ahead of it.
    #[error(
        "the database holds revision {theirs} of this store's epoch, and this store has come to {ours} only: this is an older copy of the store; nothing is exported. Export from the other copy, give this one a database of its own, or restore a backup of it as a new epoch"
    )]
    Ahead {
        /// What the store has come to.
        ours: u64,
        /// The highest in the database.
        theirs: u64,
    },
    /// The rows are another store's.
    #[error(
        "the database holds the rows of another store, {theirs}; this store is {ours}: nothing is exported. Give this store a database of its own; to replace those rows by this store's, see `counterd adopt`"
    )]
    OtherStore {
        /// The store.
        ours: LineageId,
        /// The one that the rows belong to.
        theirs: OtherStore,
    },
    /// The store cannot be read now.
    #[error("cannot read the store: {0}")]
    Read(#[from] ReadError),
    /// The writer did not write how far it got.
    #[error("the store did not take how far the export is: {0}")]
    Write(Failure),
    /// Whoever asked for it is gone.
    #[error("broken off: {0}")]
    BrokenOff(#[from] std::io::Error),
}

impl PostgresError {
    /// Whether the database is not there, and may be the next moment.
    pub fn is_away(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Lost(_) | Self::Late(_) => true,
            Self::Refused { .. }
            | Self::Schema(_)
            | Self::LaterEpoch { .. }
            | Self::Ahead { .. }
            | Self::OtherStore { .. }
            | Self::Read(_)
            | Self::Write(_)
            | Self::BrokenOff(_) => false,
        }
    }

    /// Whether the row is to blame, so that others may well be taken: bad data, constraints, limits,
    /// and what triggers raise.
    pub(super) fn is_of_the_row(&self) -> bool {
        let Self::Refused { code, .. } = self else {
            return false;
        };
        ["22", "23", "44", "54", "P0"]
            .iter()
            .any(|class| code.starts_with(class))
    }
}

impl From<sqlx::Error> for PostgresError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            // Its details hold the values of the row.
            sqlx::Error::Database(error) => Self::Refused {
                code: error.code().unwrap_or_default().into_owned(),
                message: error.message().to_owned(),
            },
            other => Self::Lost(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_to_blame_for_its_data_and_not_for_the_server() {
        let refused = |code: &str| PostgresError::Refused {
            code: code.to_owned(),
            message: String::new(),
        };
        for code in ["23514", "22001", "22021", "22P05", "54000", "P0001"] {
            assert!(refused(code).is_of_the_row(), "{code}");
        }
        for code in ["25006", "53100", "57014", "42501", "42P01", "57P01", ""] {
            assert!(!refused(code).is_of_the_row(), "{code}");
        }
        assert!(!PostgresError::Late(Duration::from_secs(1)).is_of_the_row());
    }
}
