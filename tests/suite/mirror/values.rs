//! Step by step, under a manual clock: each key ends equal to what readers see.

use std::collections::BTreeMap;

use counterd::mirror::{MirrorError, RedisUrl};
use counterd::storage::CopyConflict;

use super::{expected, mirror, options, redis, seen};
use crate::harness::{Dice, PATIENCE, eventually, seed};
use crate::house::{DAY, HOUR, House, NOON};

#[test]
fn every_key_ends_equal_to_what_readers_see() {
    let test = "every_key_ends_equal_to_what_readers_see";
    let Some(redis) = redis(test) else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    let mut mirrored = mirror(&house, options(&redis));
    let mut dice = Dice::new(seed(test));
    for round in 0..30 {
        for _ in 0..100 {
            let counter = format!("c{}", dice.below(50 + round * 60));
            house.up(&counter, 1 + i64::try_from(dice.below(9)).unwrap());
        }
        house.users("dau", [format!("u{}", dice.below(30))]);
        house.up("games", 1);
        // A deleted name is refused for days: each has its own.
        house.up(&format!("event{round}"), 1);
        match dice.below(3) {
            0 => house.delete(&format!("event{round}")),
            1 => house.reset("games"),
            _ => {}
        }
        if round % 10 == 9 {
            house.next_day();
        }
        mirrored.catch_up().unwrap();
        assert_eq!(seen(&redis, ""), expected(&house), "round {round}");
        // Now and then another run of the server goes on.
        if round % 7 == 6 {
            mirrored = mirror(&house, options(&redis));
        }
    }
    house.stop();
}

#[test]
fn a_counter_has_the_fields_that_readers_rely_on() {
    let Some(redis) = redis("a_counter_has_the_fields_that_readers_rely_on") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    let mut mirrored = mirror(&house, options(&redis));
    house.pass(HOUR);
    house.up("games", 5);
    house.up("lobby:eu.1", 2);
    mirrored.catch_up().unwrap();
    let meta = |name: &str| -> BTreeMap<String, String> {
        let mut fields: BTreeMap<String, String> =
            redis.say(&format!("HGETALL counter:{name}:meta"));
        assert_eq!(
            fields.remove("epoch").unwrap(),
            house.running.epoch().to_string()
        );
        fields
    };
    let fields = |pairs: [(&str, &str); 7]| -> BTreeMap<String, String> {
        let pairs = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        pairs.collect()
    };
    let revision = |name: &str| house.running.table.read(name).unwrap().revision.to_string();
    assert_eq!(redis.say::<String>("GET counter:games"), "5");
    assert_eq!(
        meta("games"),
        fields([
            ("last_updated", "2026-11-24T13:00:00.000Z"),
            ("created_at", "2026-11-24T13:00:00.000Z"),
            ("type", "sum"),
            ("period", "2026-11-24"),
            ("revision", &revision("games")),
            ("expires_at", ""),
            ("unknown", ""),
        ])
    );
    assert_eq!(redis.say::<String>("GET counter:lobby:eu.1"), "2");
    assert_eq!(meta("lobby:eu.1")["type"], "gauge");
    assert_eq!(meta("lobby:eu.1")["period"], "");
    assert_eq!(redis.say::<String>("HGET counter:dau:meta type"), "unique");

    // Midnight, and nobody counts.
    house.pass(DAY);
    mirrored.catch_up().unwrap();
    assert_eq!(redis.say::<String>("GET counter:games"), "0");
    assert_eq!(
        meta("games"),
        fields([
            ("last_updated", "2026-11-25T00:00:00.000Z"),
            ("created_at", "2026-11-24T13:00:00.000Z"),
            ("type", "sum"),
            ("period", "2026-11-25"),
            ("revision", &revision("games")),
            ("expires_at", ""),
            ("unknown", ""),
        ])
    );
    assert_eq!(redis.say::<String>("GET counter:lobby:eu.1"), "2");
    house.stop();
}

#[test]
fn a_prefix_and_a_database_keep_stores_apart() {
    let Some(redis) = redis("a_prefix_and_a_database_keep_stores_apart") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let one = House::open(&home.path().join("one"), NOON);
    let two = House::open(&home.path().join("two"), NOON - HOUR);
    let three = House::open(&home.path().join("three"), NOON - 2 * HOUR);
    one.up("a", 1);
    two.up("a", 2);
    three.up("a", 3);
    let mut of_two = options(&redis);
    of_two.prefix = "two:".to_owned();
    let mut of_three = options(&redis);
    let url = redis.url_as("", crate::harness::REDIS_PASSWORD, 3);
    of_three.url = RedisUrl::parse(&url).unwrap();
    mirror(&one, options(&redis)).catch_up().unwrap();
    mirror(&two, of_two).catch_up().unwrap();
    mirror(&three, of_three).catch_up().unwrap();
    assert_eq!(seen(&redis, ""), expected(&one));
    assert_eq!(seen(&redis, "two:"), expected(&two));
    let mut third = redis
        .connect_at(&redis.url_as("", crate::harness::REDIS_PASSWORD, 3))
        .unwrap();
    let value: String = redis::cmd("GET")
        .arg("counter:a")
        .query(&mut third)
        .unwrap();
    assert_eq!(value, "3");
    for house in [one, two, three] {
        house.stop();
    }
}

#[test]
fn the_keys_of_a_gone_counter_go_also_while_redis_is_away() {
    let Some(mut redis) = redis("the_keys_of_a_gone_counter_go_also_while_redis_is_away") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    let mut mirrored = mirror(&house, options(&redis));
    house.up("event", 7);
    house.up("forgotten", 7);
    mirrored.catch_up().unwrap();
    assert!(seen(&redis, "").contains_key("forgotten"));
    house.delete("event");
    mirrored.catch_up().unwrap();
    assert_eq!(seen(&redis, ""), expected(&house));

    redis.save();
    redis.kill();
    house.delete("forgotten");
    for _ in 0..9 {
        house.next_day();
    }
    assert_eq!(house.running.table.read("forgotten"), None);
    mirrored.catch_up().unwrap_err();
    redis.start();
    assert!(seen(&redis, "").contains_key("forgotten"));
    mirror(&house, options(&redis)).catch_up().unwrap();
    assert_eq!(seen(&redis, ""), expected(&house));

    house.up("event", 1);
    mirrored.catch_up().unwrap();
    assert_eq!(redis.say::<String>("GET counter:event"), "1");
    house.stop();
}

#[test]
fn what_stood_under_our_keys_before_gives_way_and_other_keys_stay() {
    let Some(redis) = redis("what_stood_under_our_keys_before_gives_way_and_other_keys_stay")
    else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    house.up("a", 1);
    redis.say::<()>("SET counter:games 1234567");
    redis.say::<()>("RPUSH counter:games:meta x");
    redis.say::<()>("RPUSH counter:a x");
    redis.say::<()>("SET counterd:mirror x");
    redis.say::<()>("SET other 1");
    mirror(&house, options(&redis)).catch_up().unwrap();
    assert_eq!(seen(&redis, ""), expected(&house));
    assert_eq!(redis.say::<String>("GET other"), "1");
    house.stop();
}

#[test]
fn a_meta_that_others_changed_is_written_again_with_the_next_change() {
    let test = "a_meta_that_others_changed_is_written_again_with_the_next_change";
    let Some(redis) = redis(test) else {
        return;
    };
    let meta = || {
        redis.say::<Vec<Option<String>>>(
            "HMGET counter:games:meta type period expires_at unknown epoch revision last_updated",
        )
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    let mut mirrored = mirror(&house, options(&redis));
    // The second change of a counter finds its meta known.
    for _ in 0..2 {
        house.up("games", 1);
        mirrored.catch_up().unwrap();
    }
    let of_change = |meta: &[Option<String>]| meta[..5].to_vec();
    let whole = of_change(&meta());
    for harm in [
        "DEL counter:games:meta",
        "HDEL counter:games:meta revision",
        "SET counter:games:meta x",
        "DEL counter:games counter:games:meta",
    ] {
        redis.say::<redis::Value>(harm);
        house.up("games", 1);
        mirrored.catch_up().unwrap();
        assert_eq!(seen(&redis, ""), expected(&house), "{harm}");
        assert_eq!(of_change(&meta()), whole, "{harm}");
    }
    // A Redis that takes no writes keeps what it has.
    redis.say::<()>("CONFIG SET maxmemory 1");
    house.up("games", 1);
    mirrored.catch_up().unwrap_err();
    assert_eq!(of_change(&meta()), whole, "out of memory");
    redis.say::<()>("CONFIG SET maxmemory 0");
    mirrored.catch_up().unwrap();
    assert_eq!(seen(&redis, ""), expected(&house), "out of memory");
    for harm in [
        "HSET counter:games:meta type x period 2020-01-01 unknown 1 expires_at x epoch 0",
        "HDEL counter:games:meta type period",
    ] {
        redis.say::<redis::Value>(harm);
        eventually(harm, PATIENCE, || {
            house.up("games", 1);
            mirrored.catch_up().unwrap();
            (of_change(&meta()) == whole).then_some(())
        });
        assert_eq!(seen(&redis, ""), expected(&house), "{harm}");
    }
    house.stop();
}

#[test]
fn an_older_store_takes_nothing_back_and_writes_nothing() {
    let Some(redis) = redis("an_older_store_takes_nothing_back_and_writes_nothing") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let (old, new) = (home.path().join("older"), home.path().join("newer"));
    House::open(&old, NOON - HOUR).stop();
    let newer = House::recovered(&old, &new, NOON);
    let older = House::open(&old, NOON - HOUR);
    older.up("games", 100);
    older.up("only-old", 1);
    newer.up("games", 1);
    let mut of_older = mirror(&older, options(&redis));
    of_older.catch_up().unwrap();
    mirror(&newer, options(&redis)).catch_up().unwrap();
    assert_eq!(seen(&redis, ""), expected(&newer), "a later epoch wins");
    older.up("games", 100);
    let error = of_older.catch_up().unwrap_err();
    assert!(
        matches!(error, MirrorError::Conflict(CopyConflict::LaterEpoch { ours, theirs }) if ours < theirs),
        "{error}"
    );
    assert_eq!(seen(&redis, ""), expected(&newer));
    older.stop();
    newer.stop();
}
