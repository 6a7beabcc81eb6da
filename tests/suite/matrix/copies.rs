//! What PostgreSQL and Redis hold of the store, and whether it is the same.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::harness::Client;

use super::parts::Parts;

/// Counters and their values.
type Values = BTreeMap<String, i64>;

fn in_store(client: &mut Client) -> Values {
    let all = client.get("/api/v1/counters/all?limit=1000").ok();
    let counters = all["counters"].as_array().unwrap();
    let value = |one: &Value| {
        let name = one["name"].as_str().unwrap().to_owned();
        (name, one["value"].as_i64().unwrap())
    };
    counters.iter().map(value).collect()
}

fn in_database(parts: &Parts) -> Values {
    let rows = parts
        .database
        .try_sql("SELECT name, current_value FROM counters")
        .unwrap_or_default();
    let value = |line: &str| {
        let (name, value) = line.split_once('|')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    rows.lines().filter_map(value).collect()
}

fn in_redis(parts: &Parts, names: impl Iterator<Item = String>) -> Values {
    let value = |connection: &mut redis::Connection, name: String| {
        let value: Option<i64> = redis::cmd("GET")
            .arg(format!("counter:{name}"))
            .query(connection)
            .unwrap_or_default();
        Some((name, value?))
    };
    match parts.redis.connect() {
        Ok(mut connection) => names
            .filter_map(|name| value(&mut connection, name))
            .collect(),
        Err(_) => Values::new(),
    }
}

/// What is in a copy and not so in the store, or the other way round; nothing when all is the same.
pub fn differences(client: &mut Client, parts: &Parts) -> Vec<String> {
    let store = in_store(client);
    let copies = [
        ("PostgreSQL", in_database(parts)),
        ("Redis", in_redis(parts, store.keys().cloned())),
    ];
    let mut found = Vec::new();
    for (place, copy) in copies {
        for (name, value) in &store {
            if copy.get(name) != Some(value) {
                let theirs = copy.get(name);
                found.push(format!(
                    "{place}: {name} is {theirs:?}, {value} in the store"
                ));
            }
        }
        found.extend(
            copy.keys()
                .filter(|name| !store.contains_key(*name))
                .map(|name| format!("{place}: {name} is not in the store")),
        );
    }
    found
}
