//! The export to a real PostgreSQL, which each test starts for itself: rows end equal to the store's,
//! whatever happens to either side.
//!
//! Most drive a writer and an exporter step by step under a manual clock; the real binary is for what
//! only a whole server shows.

mod days;
mod encoding;
mod faults;
mod pages;
mod pooler;
mod refused;
mod reports;
mod schema;
mod server;
mod truth;
mod values;

use std::future::Future;
use std::time::Duration;

use counterd::counter::{CopiedValues, Definition, Kind, RequestId, Reset};
use counterd::export::postgres::{PostgresOptions, PostgresReader, PostgresUrl};
use counterd::writer::{Command, Request};

use crate::harness::{Database, skipped};
use crate::house::{House, name};

/// A database, or the reason why the test is skipped.
pub fn database(test: &str) -> Option<Database> {
    match Database::new() {
        Ok(database) => Some(database),
        Err(reason) => {
            skipped(test, &reason);
            None
        }
    }
}

pub fn options(database: &Database) -> PostgresOptions {
    PostgresOptions {
        url: PostgresUrl::parse(&database.url()).unwrap(),
        interval: Duration::from_millis(100),
        timeout: Duration::from_secs(20),
        export_users: true,
        unique_users_inline: 3,
    }
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(work)
}

fn reader(database: &Database) -> PostgresReader {
    let options = options(database);
    let timeout = options.timeout;
    PostgresReader::new(options, timeout)
}

/// What a server without a store reads of that counter.
fn read(database: &Database, counter: &str) -> CopiedValues {
    wait(async { reader(database).values(&[name(counter)]).await }).unwrap()
}

/// A counter of a day, until that instant.
fn daily(expires_at: Option<i64>) -> Definition {
    Definition {
        kind: Kind::Sum,
        reset: Reset::Daily,
        expires_at,
        ..Definition::default()
    }
}

fn define(house: &House, counter: &str, definition: Definition) {
    let command = Command::Define {
        counter: name(counter),
        definition: Box::new(definition),
    };
    let request = Request {
        command,
        key: None,
        request_id: RequestId::Made(1),
    };
    house.running.intake.call(request).unwrap();
}
