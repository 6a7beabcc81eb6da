//! The export to PostgreSQL: current values every `postgres.interval`, and closed days, oldest first.
//!
//! A thread of its own with one connection reads what readers see and writes what differs. Nothing is
//! queued: what was not written yet is found again in the store, so an absent or slow database costs
//! no memory, and counting never waits. Every transaction may be cut off anywhere and done again: a
//! row is guarded by (epoch, revision, period), or by the epoch alone for a closed day.
//!
//! Kept out: what a day is (`lifecycle`), the configuration file, and who asks (`control`, `cli`).

mod columns;
mod connect;
mod context;
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

pub use context::ExportContext;
pub use days::DaysWritten;
pub use error::PostgresError;
pub use exporter::{ExportWork, Exporter};
pub use reader::{CopiedDay, Exported, ExportedPage, PostgresReader};
pub use schema::{SchemaState, check};
pub use standing::{adopt, contents};
pub use url::PostgresUrl;

/// How the export is done.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Where the database is, and how to get in.
    pub url: PostgresUrl,
    /// How often changed values are written.
    pub interval: Duration,
    /// How long one statement may take.
    pub timeout: Duration,
    /// Whether user ids are written.
    pub export_users: bool,
    /// Up to so many user ids of a day go into its row.
    pub unique_users_inline: u64,
}
