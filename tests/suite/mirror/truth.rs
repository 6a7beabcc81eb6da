//! What the mirror says of itself is true: a reader takes nothing for known that is not.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use counterd::counter::{CopiedValue, CopiedValues};
use counterd::mirror::{MirrorError, MirrorOptions, MirrorReader, RedisUrl};
use counterd::storage::CopyConflict;

use super::{expected, mirror, options, redis, seen};
use crate::harness::Redis;
use crate::house::{DAY, HOUR, House, NOON, damage, name};

fn wait<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(work)
}

fn read(options: MirrorOptions, names: &[&str]) -> CopiedValues {
    let names: Vec<_> = names.iter().map(|text| name(text)).collect();
    wait(async { MirrorReader::new(options).values(&names).await }).unwrap()
}

fn one(redis: &Redis, counter: &str) -> Option<CopiedValue> {
    read(options(redis), &[counter]).values.remove(0)
}

fn names(redis: &Redis) -> BTreeSet<String> {
    redis.say("ZRANGE counterd:names 0 -1")
}

#[test]
fn a_counter_whose_time_is_over_is_gone_though_nobody_wrote_it_down() {
    let Some(redis) = redis("a_counter_whose_time_is_over_is_gone_though_nobody_wrote_it_down")
    else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    house.define_until("event", NOON + HOUR);
    house.up("event", 7);
    house.up("other", 1);
    let mut mirrored = mirror(&house, options(&redis));
    mirrored.catch_up().unwrap();
    let event = one(&redis, "event").unwrap();
    assert_eq!((event.value, event.expires_at), (7, Some(NOON + HOUR)));
    assert_eq!(one(&redis, "other").unwrap().expires_at, None);

    // Nobody writes, and the writer does not look.
    house.clock.advance(HOUR);
    mirrored.catch_up().unwrap();
    assert_eq!(one(&redis, "event"), None);
    let left = ["dau", "ever", "games", "online", "other"];
    assert_eq!(names(&redis), BTreeSet::from(left.map(String::from)));
    // It is not there either for one that begins now.
    redis.say::<()>("FLUSHALL");
    mirror(&house, options(&redis)).catch_up().unwrap();
    assert_eq!(one(&redis, "event"), None);
    assert_eq!(one(&redis, "other").unwrap().value, 1);
    house.stop();
}

#[test]
fn a_clock_that_jumped_tells_no_time_and_ends_nothing() {
    let Some(redis) = redis("a_clock_that_jumped_tells_no_time_and_ends_nothing") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    house.define_until("event", NOON + DAY);
    house.up("event", 7);
    let mut mirrored = mirror(&house, options(&redis));
    mirrored.catch_up().unwrap();
    let before = read(options(&redis), &["event"]);
    assert_eq!(before.as_of, Some(NOON));

    house.clock.shift_wall(10 * DAY);
    assert!(house.running.day.look().clock_fault);
    mirrored.catch_up().unwrap();
    assert_eq!(read(options(&redis), &["event"]), before);
    // Filled again, it has everything, as of nobody knows when.
    redis.say::<()>("FLUSHALL");
    mirrored.catch_up().unwrap();
    assert_eq!(seen(&redis, ""), expected(&house));
    assert_eq!(redis.say::<String>("HGET counterd:mirror complete"), "1");
    let filled = read(options(&redis), &["event"]);
    assert_eq!(filled.as_of, None);
    assert_eq!(filled.values[0].as_ref().unwrap().value, 7);

    house.clock.shift_wall(-10 * DAY);
    house.clock.advance(HOUR);
    house.up("event", 1);
    mirrored.catch_up().unwrap();
    let after = read(options(&redis), &["event"]);
    assert_eq!(after.as_of, Some(NOON + HOUR));
    house.stop();
}

#[test]
fn a_counter_that_cannot_be_read_is_not_known() {
    let Some(redis) = redis("a_counter_that_cannot_be_read_is_not_known") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    house.up("a", 7);
    house.up("b", 8);
    mirror(&house, options(&redis)).catch_up().unwrap();
    house.stop();
    damage(home.path(), "a");
    let house = House::open(home.path(), NOON + HOUR);
    let mut mirrored = mirror(&house, options(&redis));
    mirrored.catch_up().unwrap();
    assert_eq!(one(&redis, "a"), None);
    assert_eq!(one(&redis, "b").unwrap().value, 8);
    assert_eq!(redis.say::<i64>("GET counter:a"), 7, "it stays, for people");

    house.repair("a", 9);
    mirrored.catch_up().unwrap();
    assert_eq!(one(&redis, "a").unwrap().value, 9);
    assert_eq!(one(&redis, "b").unwrap().value, 8);
    house.stop();
}

#[test]
fn the_list_of_names_heals_whatever_became_of_it() {
    let Some(redis) = redis("the_list_of_names_heals_whatever_became_of_it") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    house.create((0..600).map(|number| format!("c{number}")));
    let mut mirrored = mirror(&house, options(&redis));
    mirrored.catch_up().unwrap();
    let all = names(&redis);
    assert_eq!(all.len(), 604);
    for harm in [
        "DEL counterd:names",
        "ZREM counterd:names c5",
        "ZADD counterd:names 0 nobody",
        "SET counterd:names x",
    ] {
        redis.say::<()>(harm);
        // Also while counters change.
        house.up("c1", 1);
        mirrored.catch_up().unwrap();
        assert_eq!(names(&redis), all, "{harm}");
        assert_eq!(seen(&redis, ""), expected(&house), "{harm}");
    }
    redis.say::<()>("DEL counterd:names");
    mirrored.catch_up().unwrap();
    assert_eq!(names(&redis), all, "though nothing changed");
    house.stop();
}

#[test]
fn what_an_earlier_version_listed_is_looked_for() {
    let Some(redis) = redis("what_an_earlier_version_listed_is_looked_for") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    house.up("a", 1);
    redis.say::<()>("SADD counterd:names a forgotten");
    redis.say::<()>("SET counter:forgotten 5");
    let epoch = house.running.table.epoch();
    redis.say::<()>(&format!(
        "HSET counter:forgotten:meta epoch {epoch} revision 1 period "
    ));
    mirror(&house, options(&redis)).catch_up().unwrap();
    assert_eq!(seen(&redis, ""), expected(&house));
    house.stop();
}

#[test]
fn a_reader_tells_what_is_not_there_from_what_it_may_not_see() {
    let Some(redis) = redis("a_reader_tells_what_is_not_there_from_what_it_may_not_see") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    house.up("a", 1);
    house.up("ab", 2);
    house.up("b", 3);
    mirror(&house, options(&redis)).catch_up().unwrap();
    wait(async {
        let mut reader = MirrorReader::new(options(&redis));
        let list = async |reader: &mut MirrorReader, cursor| {
            let page = reader.page("a", cursor, 10).await?;
            let names = page.values.into_iter().map(|value| value.name);
            Ok::<Vec<_>, MirrorError>(names.collect())
        };
        let found = [name("a"), name("ab")];
        assert_eq!(list(&mut reader, None).await.unwrap(), found);
        assert_eq!(list(&mut reader, Some("a")).await.unwrap(), found[1..]);
        redis.say::<()>("SCRIPT FLUSH");
        assert_eq!(list(&mut reader, None).await.unwrap(), found);
        let values = reader.values(&found).await.unwrap().values;
        assert_eq!(values[1].as_ref().unwrap().value, 2);

        // Whoever deletes the list does not make counters go.
        for harm in ["DEL counterd:names", "SET counterd:names x"] {
            redis.say::<()>(harm);
            let error = list(&mut reader, None).await.unwrap_err();
            assert!(matches!(error, MirrorError::Names), "{harm}: {error}");
        }
        let mut bytes = redis::cmd("ZADD");
        bytes.arg("other:counterd:names").arg(0).arg(&b"a\xff"[..]);
        redis.ask::<()>(&mut bytes);
        redis.say::<()>("HSET other:counterd:mirror id x names 1");
        let mut other = options(&redis);
        other.prefix = "other:".to_owned();
        let none = MirrorReader::new(other).page("", None, 10).await.unwrap();
        assert!(none.values.is_empty());

        redis.say::<()>("ACL SETUSER blind on >blind ~* -@all +evalsha +script|load +hmget");
        let mut blind = options(&redis);
        blind.url = RedisUrl::parse(&redis.url_as("blind", "blind", 0)).unwrap();
        let error = MirrorReader::new(blind).values(&found).await.unwrap_err();
        assert!(matches!(error, MirrorError::Refused(_)), "{error}");
    });
    house.stop();
}

#[test]
fn a_question_ends_in_time_whatever_it_waits_for() {
    let Some(redis) = redis("a_question_ends_in_time_whatever_it_waits_for") else {
        return;
    };
    let mut short = options(&redis);
    short.timeout = Duration::from_millis(200);
    wait(async {
        let mut reader = MirrorReader::new(short.clone());
        redis.pause();
        let late = |error| assert!(matches!(error, MirrorError::Late(_)), "{error}");
        late(reader.page("", None, 1).await.unwrap_err());
        late(reader.is_written().await.unwrap_err());
        late(reader.values(&[]).await.unwrap_err());
        redis.resume();
    });
}

#[test]
fn what_a_history_that_was_given_up_left_behind_is_not_known() {
    let Some(redis) = redis("what_a_history_that_was_given_up_left_behind_is_not_known") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    house.up("a", 1);
    let mut mirrored = mirror(&house, options(&redis));
    mirrored.catch_up().unwrap();
    let epoch = house.running.table.epoch();
    let left = |epoch: u64| {
        redis.say::<()>("SET counter:ghost 777");
        redis.say::<()>(&format!(
            "HSET counter:ghost:meta epoch {epoch} revision 9 period  type sum last_updated 2026-11-24T10:30:00.000Z"
        ));
    };
    left(epoch);
    assert_eq!(one(&redis, "ghost").unwrap().value, 777, "of this history");
    left(epoch - 1);
    assert_eq!(one(&redis, "ghost"), None);
    assert_eq!(one(&redis, "a").unwrap().value, 1);
    house.stop();
}

#[test]
fn what_a_copy_further_on_wrote_stays_and_is_told_of() {
    let Some(redis) = redis("what_a_copy_further_on_wrote_stays_and_is_told_of") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    house.up("a", 4);
    mirror(&house, options(&redis)).catch_up().unwrap();
    let epoch = house.running.table.epoch();
    // Of the same epoch, and further on.
    redis.say::<()>("SET counter:a 24");
    redis.say::<()>("HSET counter:a:meta revision 999999");
    house.up("b", 2);
    let mut mirrored = mirror(&house, options(&redis));
    let error = mirrored.catch_up().unwrap_err();
    assert!(
        matches!(
            error,
            MirrorError::Conflict(CopyConflict::Ahead {
                theirs: 999_999,
                ..
            })
        ),
        "{error}"
    );
    assert_eq!(
        redis.say::<i64>("GET counter:a"),
        24,
        "nothing is taken back"
    );
    // Nobody is told that everything is there, now or later.
    mirrored.catch_up().unwrap_err();
    assert_eq!(read(options(&redis), &["b"]).as_of, None);
    // Nor where only what this one never had is ahead.
    redis.say::<()>("HSET counter:a:meta revision 1");
    redis.say::<()>("SET counter:only-there 5");
    redis.say::<()>(&format!(
        "HSET counter:only-there:meta epoch {epoch} revision 999998 period "
    ));
    redis.say::<()>("ZADD counterd:names 0 only-there");
    let error = mirror(&house, options(&redis)).catch_up().unwrap_err();
    assert!(
        matches!(
            error,
            MirrorError::Conflict(CopyConflict::Ahead {
                theirs: 999_998,
                ..
            })
        ),
        "{error}"
    );
    redis.say::<()>("DEL counter:only-there counter:only-there:meta");
    mirror(&house, options(&redis)).catch_up().unwrap();
    assert_eq!(seen(&redis, ""), expected(&house));
    house.stop();
}

#[test]
fn whatever_others_write_into_the_mirrors_own_keys_is_mended() {
    let Some(redis) = redis("whatever_others_write_into_the_mirrors_own_keys_is_mended") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    house.up("a", 1);
    house.up("b", 2);
    let mut mirrored = mirror(&house, options(&redis));
    mirrored.catch_up().unwrap();
    let all = names(&redis);
    let harms: [&[&[u8]]; 11] = [
        &[b"ZADD", b"counterd:names", b"0", b"\xff"],
        &[b"ZADD", b"counterd:names", b"0", b"!x"],
        &[b"HSET", b"counterd:mirror", b"id", b"\xff"],
        &[
            b"HSET",
            b"counterd:mirror",
            b"epoch",
            b"abc",
            b"sequence",
            b"0",
        ],
        &[
            b"HSET",
            b"counterd:mirror",
            b"epoch",
            b"inf",
            b"sequence",
            b"0",
        ],
        &[
            b"HSET",
            b"counterd:mirror",
            b"epoch",
            b"1e99",
            b"sequence",
            b"0",
        ],
        &[b"HSET", b"counterd:mirror", b"sequence", b"abc"],
        &[b"HSET", b"counterd:mirror", b"names", b"nan"],
        &[b"HSET", b"counter:a:meta", b"epoch", b"inf"],
        &[b"HSET", b"counter:a:meta", b"revision", b"-nan"],
        &[b"SET", b"counterd:mirror", b"x"],
    ];
    for harm in harms {
        let mut command = redis::cmd("EVAL");
        command.arg("return redis.call(unpack(ARGV))").arg(0);
        for word in harm {
            command.arg(*word);
        }
        redis.ask::<()>(&mut command);
        // As after a cut connection, and as on the one that there is.
        let told = harm
            .iter()
            .map(|word| String::from_utf8_lossy(word))
            .collect::<Vec<_>>();
        house.up("a", 1);
        mirrored
            .catch_up()
            .unwrap_or_else(|error| panic!("{told:?}: {error}"));
        assert_eq!(names(&redis), all, "{told:?}");
        assert_eq!(seen(&redis, ""), expected(&house), "{told:?}");
        redis.ask::<()>(&mut command);
        redis.say::<()>("CLIENT KILL TYPE normal SKIPME yes");
        house.up("a", 1);
        // The cut is noticed by the first.
        let _ = mirrored.catch_up();
        mirrored
            .catch_up()
            .unwrap_or_else(|error| panic!("cut, {told:?}: {error}"));
        assert_eq!(names(&redis), all, "cut, {told:?}");
        assert_eq!(seen(&redis, ""), expected(&house), "cut, {told:?}");
        let after = read(options(&redis), &["a"]);
        assert!(after.as_of.is_some(), "{told:?}");
    }
    house.stop();
}

#[test]
fn an_older_state_of_ones_own_is_no_other_mirror() {
    let Some(redis) = redis("an_older_state_of_ones_own_is_no_other_mirror") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    let mut mirrored = mirror(&house, options(&redis));
    for _ in 0..9 {
        mirrored.catch_up().unwrap();
        redis.say::<()>("HSET counterd:mirror sequence 0");
        house.up("a", 1);
    }
    mirrored.catch_up().unwrap();
    assert_eq!(seen(&redis, ""), expected(&house));
    house.stop();
}
