//! The sets of user ids, written only when asked for.

use std::collections::BTreeSet;
use std::time::SystemTime;

use super::{expected, mirror, options, redis, seen};
use crate::harness::{PATIENCE, eventually};
use crate::house::House;

/// Redis expires keys by the machine's clock.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.unwrap().as_millis()).unwrap()
}

#[test]
fn users_of_the_day_are_in_a_set_that_expires_when_asked_for() {
    let Some(redis) = redis("users_of_the_day_are_in_a_set_that_expires_when_asked_for") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), now());
    let key = format!("counter:dau:users:{}", house.today());
    house.users("dau", ["a", "b"]);
    house.users("ever", ["a"]);
    mirror(&house, options(&redis)).catch_up().unwrap();
    assert_eq!(redis.say::<Vec<String>>("KEYS *:users:*"), [""; 0]);

    let mut with_users = options(&redis);
    with_users.users = true;
    let mut mirrored = mirror(&house, with_users.clone());
    mirrored.catch_up().unwrap();
    let members = || redis.say::<BTreeSet<String>>(&format!("SMEMBERS {key}"));
    let set = |users: &[&str]| users.iter().map(|user| (*user).to_owned()).collect();
    let wanted: BTreeSet<String> = set(&["a", "b"]);
    assert_eq!(members(), wanted);
    assert_eq!(redis.say::<Vec<String>>("KEYS *:users:*"), [&*key]);
    let end = house.running.day.local_day(house.today()).end.unwrap();
    assert_eq!(
        redis.say::<i64>(&format!("PEXPIRETIME {key}")),
        end + 24 * 60 * 60 * 1000
    );
    house.users("dau", ["c"]);
    mirrored.catch_up().unwrap();
    let wanted: BTreeSet<String> = set(&["a", "b", "c"]);
    assert_eq!(members(), wanted);

    // Everybody counts anew, while another run of the server writes.
    house.reset("dau");
    house.users("dau", ["d"]);
    let mut mirrored = mirror(&house, with_users);
    mirrored.catch_up().unwrap();
    let wanted: BTreeSet<String> = set(&["d"]);
    assert_eq!(members(), wanted);

    // More than a round takes, and Redis is emptied in between.
    let many = || (0..45_000).map(|number| format!("user-{number:06}"));
    house.users("dau", many());
    mirrored.catch_up().unwrap();
    redis.say::<()>("FLUSHALL");
    eventually("the set is complete", PATIENCE, || {
        mirrored.catch_up().unwrap();
        (redis.say::<i64>(&format!("SCARD {key}")) == 45_001).then_some(())
    });
    assert_eq!(seen(&redis, ""), expected(&house));
    house.stop();
}
