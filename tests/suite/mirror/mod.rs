//! The mirror in a real Redis, which each test starts for itself: keys end equal to the store's values,
//! whatever happens to either side, and a reader never sees a revision go back.

mod check;
mod faults;
mod script;
mod server;
mod truth;
mod users;
mod values;
mod ways;

use std::collections::BTreeMap;
use std::time::Duration;

use counterd::counter::Existence;
use counterd::mirror::{Mirror, MirrorOptions, RedisUrl};

use crate::harness::{Redis, skipped};
use crate::house::House;

/// A Redis, or the reason why the test is skipped.
pub fn redis(test: &str) -> Option<Redis> {
    match Redis::new() {
        Ok(redis) => Some(redis),
        Err(reason) => {
            skipped(test, &reason);
            None
        }
    }
}

pub fn options(redis: &Redis) -> MirrorOptions {
    MirrorOptions {
        url: RedisUrl::parse(&redis.url()).unwrap(),
        users: false,
        interval: Duration::from_millis(50),
        timeout: Duration::from_secs(20),
        prefix: String::new(),
    }
}

fn mirror(house: &House, options: MirrorOptions) -> Mirror {
    Mirror::new(&house.running, &house.metrics, options).unwrap()
}

/// A counter as a reader of Redis sees it: value, revision, period.
type Seen = (String, String, String);

/// What is in Redis under that prefix.
fn seen(redis: &Redis, prefix: &str) -> BTreeMap<String, Seen> {
    let mut connection = redis.connect().unwrap();
    let start = format!("{prefix}counter:");
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg(format!("{start}*"))
        .query(&mut connection)
        .unwrap();
    let keys: Vec<&String> = keys.iter().filter(|key| !key.contains(":users:")).collect();
    let mut pipeline = redis::pipe();
    let names: Vec<&str> = keys
        .iter()
        .filter(|key| !key.ends_with(":meta"))
        .map(|key| key.strip_prefix(&start).unwrap())
        .collect();
    assert_eq!(keys.len(), 2 * names.len(), "each value has its meta");
    for name in &names {
        pipeline.cmd("GET").arg(format!("{start}{name}"));
        pipeline
            .cmd("HMGET")
            .arg(format!("{start}{name}:meta"))
            .arg("revision")
            .arg("period");
    }
    let mut found: Vec<redis::Value> = pipeline.query(&mut connection).unwrap();
    let mut result = BTreeMap::new();
    for (name, pair) in names.iter().zip(found.chunks_mut(2)) {
        let value: String = redis::from_redis_value(pair[0].clone()).unwrap();
        let (revision, period) = redis::from_redis_value(pair[1].clone()).unwrap();
        result.insert((*name).to_owned(), (value, revision, period));
    }
    result
}

/// The live counters as readers of counterd see them.
fn expected(house: &House) -> BTreeMap<String, Seen> {
    let (readings, more) = house.running.table.list("", None, 200_000);
    assert!(!more);
    let moment = house.running.day.moment();
    readings
        .iter()
        .filter(|reading| reading.existence == Existence::Live)
        .map(|reading| {
            let seen = reading.seen(&moment, house.running.day.calendar());
            let seen = seen.unwrap();
            let seen = (
                seen.value.to_string(),
                seen.revision.to_string(),
                seen.period.map_or_else(String::new, |day| day.to_string()),
            );
            (reading.name.to_string(), seen)
        })
        .collect()
}
