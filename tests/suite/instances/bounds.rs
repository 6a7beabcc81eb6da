//! What a shared log keeps in Redis has an end, and nothing goes that an instance still needs.

use super::{agrees, count, instance, log};
use crate::harness::{PATIENCE, Redis, eventually};

fn number(redis: &Redis, words: &str) -> u64 {
    redis.say::<Option<u64>>(words).unwrap_or(0)
}

fn position(redis: &Redis) -> u64 {
    number(redis, "HGET {counterd:0}:cell position")
}

fn length(redis: &Redis) -> u64 {
    number(redis, "XLEN {counterd:0}:log")
}

#[test]
fn a_log_of_large_groups_keeps_fewer_of_them_and_all_go_on() {
    let test = "a_log_of_large_groups_keeps_fewer_of_them_and_all_go_on";
    let Some(redis) = log(test) else { return };
    let homes: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let [one, two] = [0, 1].map(|at| instance(&homes[at], &redis).start());
    let mut client = one.client();
    for _ in 0..40 {
        assert_eq!(count(&mut client, "a"), Some(true));
    }
    assert!(length(&redis) > 40);
    // As if the last ten had been as large as is looked at.
    let since = position(&redis) - 10;
    let looked_at = 512 << 20;
    redis.say::<u64>(&format!(
        "HSET {{counterd:0}}:cell bytes {looked_at} since {since}"
    ));
    assert_eq!(count(&mut client, "a"), Some(true));
    eventually("most are gone", PATIENCE, || {
        (length(&redis) < 20).then_some(())
    });
    assert!(length(&redis) >= 5);
    assert!(number(&redis, "HGET {counterd:0}:cell bytes") < looked_at);
    let third = instance(&homes[2], &redis).start();
    assert_eq!(count(&mut third.client(), "a"), Some(true));
    agrees(&[&one, &two, &third], "a", 42);
}
