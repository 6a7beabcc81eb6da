//! What `counterd check` says of a Redis that can be reached and takes no writes.

use counterd::mirror::{RedisUrl, check};

use super::{mirror, options, redis};
use crate::harness::Redis;
use crate::house::{House, NOON};

/// Why it would be a fault, to a store of that epoch.
fn fault(redis: &Redis, epoch: u64) -> String {
    check(&options(redis), Some(epoch)).unwrap_err().to_string()
}

#[test]
fn a_redis_that_takes_no_writes_is_a_fault_and_a_check_leaves_nothing() {
    let Some(redis) = redis("a_redis_that_takes_no_writes_is_a_fault_and_a_check_leaves_nothing")
    else {
        return;
    };
    check(&options(&redis), Some(7)).unwrap();
    assert_eq!(redis.say::<u64>("DBSIZE"), 0);
    for (set, unset, told) in [
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "OOM"),
        (
            "CONFIG SET min-replicas-to-write 1",
            "CONFIG SET min-replicas-to-write 0",
            "replicas",
        ),
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "read only"),
    ] {
        redis.say::<()>(set);
        let error = fault(&redis, 7);
        assert!(error.contains(told), "{set}: {error}");
        redis.say::<()>(unset);
    }
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    mirror(&house, options(&redis)).catch_up().unwrap();
    let epoch = house.running.table.epoch();
    let keys = redis.say::<u64>("DBSIZE");
    check(&options(&redis), Some(epoch)).unwrap();
    assert_eq!(redis.say::<u64>("DBSIZE"), keys);
    let error = fault(&redis, epoch - 1);
    assert!(error.contains("later than this store's"), "{error}");
    house.stop();
}

#[test]
fn a_cluster_is_a_fault() {
    let test = "a_cluster_is_a_fault";
    let redis = match Redis::with(&["--cluster-enabled", "yes"]) {
        Ok(redis) => redis,
        Err(reason) => return crate::harness::skipped(test, &reason),
    };
    let error = fault(&redis, 7);
    assert!(error.contains("Redis says"), "{error}");
}

#[test]
fn the_database_after_the_question_mark_is_written_to() {
    let Some(redis) = redis("the_database_after_the_question_mark_is_written_to") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    let url = redis.url();
    let mut of_one = options(&redis);
    of_one.url = RedisUrl::parse(&format!("{}?db=1", url.strip_suffix("/0").unwrap())).unwrap();
    mirror(&house, of_one).catch_up().unwrap();
    assert_eq!(redis.say::<u64>("DBSIZE"), 0);
    house.stop();
}
