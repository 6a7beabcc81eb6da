//! The export to PostgreSQL: current values every `postgres.interval`, and closed days, oldest first.
//!
//! A thread with one connection compares what readers see with the database, and writes the difference. Nothing
//! is queued: each round finds in the store what the database does not have yet, so an absent or slow database
//! costs no memory, and counting never waits. Every transaction may be cut off anywhere and done again: each row of
//! a current value is guarded by (epoch, revision, period), and each row of a closed day by the epoch.
//!
//! Kept out: what a day is (`lifecycle`), the configuration file, and who asks (`control`, `cli`).

mod columns;
mod connect;
mod day;
mod days;
mod error;
mod exporter;
mod reader;
mod refused;
mod schema;
mod standing;
mod url;
mod users;
mod values;

use std::time::Duration;

use error::Result;

pub use days::DaysWritten;
pub use error::PostgresError;
pub use exporter::{ExportWork, Exporter};
pub use reader::PostgresReader;
pub use schema::{SchemaState, check};
pub use standing::{ExportContext, adopt, contents};
pub use url::PostgresUrl;

/// What the export is configured with.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Where the database is, and the password to it.
    pub url: PostgresUrl,
    /// How often changed values are written.
    pub interval: Duration,
    /// How long one statement may take.
    pub timeout: Duration,
    /// Whether user ids are written.
    pub export_users: bool,
    /// The most user ids of a day that are written into its row; more go into a table.
    pub unique_users_inline: u64,
}
