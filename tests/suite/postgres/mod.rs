//! The export to a real PostgreSQL, which each test starts for itself: rows end equal to the store's,
//! whatever happens to either side.
//!
//! Most drive a writer and an exporter step by step under a manual clock; the real binary is for what
//! only a whole server shows.

mod days;
mod faults;
pub mod house;
mod schema;
mod server;
mod values;

use crate::harness::{Database, skipped};

/// A database, or the reason why the test is skipped.
fn database(test: &str) -> Option<Database> {
    match Database::new() {
        Ok(database) => Some(database),
        Err(reason) => {
            skipped(test, &reason);
            None
        }
    }
}
