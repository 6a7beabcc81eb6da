//! A server whose store cannot be opened: it serves what Redis or PostgreSQL has, marked stale, refuses
//! writes, and goes on by itself once the store is put right.

mod pushed;
mod recovery;
mod sources;

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::harness::{Client, Database, PATIENCE, Redis, Server, Setup, eventually, skipped};

/// A Redis and a PostgreSQL of the test's own; none where one of them is not installed.
pub struct Copies {
    pub redis: Redis,
    pub database: Database,
}

impl Copies {
    pub fn new(test: &str) -> Option<Self> {
        let both = Redis::new().and_then(|redis| {
            let database = Database::new()?;
            Ok(Self { redis, database })
        });
        both.map_err(|reason| skipped(test, &reason)).ok()
    }
}

/// A server that mirrors and exports quickly, and starts degraded.
pub fn setup(home: &std::path::Path, copies: &Copies) -> Setup {
    Setup::new(home)
        .set("degraded.start", "true")
        .set("redis.url", &copies.redis.url())
        .set("redis.mirror", "true")
        .set("postgres.url", &copies.database.url())
        .set("postgres.interval", "100ms")
        .set("postgres.timeout", "5s")
}

/// Counts a little of each kind, one counter deleted again, and waits until both copies have it.
pub fn count_a_little(server: &Server, copies: &Copies) {
    let mut admin = server.admin();
    admin.define("sum.daily", &json!({"kind": "sum", "reset": "daily"}));
    admin.define("users", &json!({"kind": "unique", "reset": "daily"}));
    admin.define("going", &json!({"kind": "gauge"}));
    admin
        .post("/api/v1/counter/gauge/increment", &json!({"value": 7}))
        .ok();
    admin
        .post("/api/v1/counter/sum.daily/increment", &json!({"value": 30}))
        .ok();
    for user in ["a", "b", "a"] {
        admin
            .post("/api/v1/counter/users/increment", &json!({"user_id": user}))
            .ok();
    }
    admin
        .post("/api/v1/counter/going/increment", &json!({}))
        .ok();
    admin
        .request("DELETE", "/api/v1/counter/going", &[], b"")
        .unwrap()
        .ok();
    wait_for_copies(server, copies);
}

/// Waits until both copies have everything.
fn wait_for_copies(server: &Server, _: &Copies) {
    let mut client = server.client();
    eventually("the copies have everything", PATIENCE, || {
        let lags = client.get("/readyz?verbose").ok()["lags"].clone();
        let there = |copy: &str| lags[copy]["up"] == true && lags[copy]["revisions"] == 0;
        (there("redis") && there("postgres")).then_some(())
    });
}

/// Cuts the log of a store that a kill left, and gives its path and what it was.
pub fn damage(setup: &Setup) -> (PathBuf, Vec<u8>) {
    let files = fs::read_dir(setup.data().join("store/db")).unwrap();
    let mut logs: Vec<PathBuf> = files
        .map(|file| file.unwrap().path())
        .filter(|file| file.extension().is_some_and(|e| e == "log"))
        .collect();
    logs.sort();
    let log = logs.pop().unwrap();
    let whole = fs::read(&log).unwrap();
    fs::write(&log, &whole[..whole.len().min(7)]).unwrap();
    (log, whole)
}

/// Claims that a reading is what that copy has, out of date.
#[track_caller]
fn claim_stale(reading: &Value, value: i64, source: &str) {
    assert_eq!(reading["value"], value, "{reading}");
    assert_eq!(reading["stale"], true, "{reading}");
    assert_eq!(reading["source"], source, "{reading}");
    let (as_of, updated) = (text(&reading["as_of"]), text(&reading["last_updated"]));
    assert!(as_of >= updated && as_of.ends_with('Z'), "{reading}");
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn mode(client: &mut Client) -> Value {
    client.get("/readyz?verbose").json()
}
