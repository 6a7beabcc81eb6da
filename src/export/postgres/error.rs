//! Why the export fails. No error shows the URL, the password in it, or the values of a row.

use std::time::Duration;

use crate::storage::{CopyConflict, ReadError};
use crate::writer::Failure;

/// What most functions here return.
pub(super) type Result<T, E = PostgresError> = std::result::Result<T, E>;

/// Why the export fails.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// No connection could be made.
    #[error("cannot connect to PostgreSQL: {0}")]
    Connect(String),
    /// The database refused a statement.
    #[error("PostgreSQL says: {message} (SQLSTATE {code})")]
    Refused {
        /// The SQLSTATE: five characters, of which the first two are the class of the error.
        code: String,
        /// What the database says, without the values of the row.
        message: String,
    },
    /// The connection ended, or the answer was not one to the question.
    #[error("the connection to PostgreSQL failed: {0}")]
    Lost(String),
    /// No answer came in time.
    #[error("PostgreSQL does not answer within {}", humantime::format_duration(*.0))]
    Late(Duration),
    /// The tables are not those that this version writes.
    #[error("the schema of the database does not fit: {0}")]
    Schema(String),
    /// The store must not write there.
    #[error("the database holds rows of {0} give this one a database of its own")]
    Conflict(#[from] CopyConflict),
    /// The store cannot be read.
    #[error("cannot read the store: {0}")]
    Read(#[from] ReadError),
    /// The writer did not store how far the export is.
    #[error("the store did not take how far the export is: {0}")]
    Write(Failure),
    /// Who asked for it has gone.
    #[error("broken off: {0}")]
    BrokenOff(#[from] std::io::Error),
}

impl PostgresError {
    /// Returns whether the database is away and may be back the next moment.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Lost(_) | Self::Late(_))
    }

    /// Returns whether the row is the cause, so that the database may take others: bad data, constraints, limits,
    /// and what triggers raise.
    pub(super) fn is_of_the_row(&self) -> bool {
        let classes = ["22", "23", "44", "54", "P0"];
        matches!(self, Self::Refused { code, .. } if classes.iter().any(|class| code.starts_with(class)))
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
