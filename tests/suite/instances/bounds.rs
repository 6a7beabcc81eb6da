//! What a shared log keeps in Redis has an end, and nothing goes that an instance still needs.

use super::{agrees, count, instance, log, rests, value, writes_again};
use crate::harness::{PATIENCE, Redis, Server, Setup, eventually};

fn number(redis: &Redis, words: &str) -> u64 {
    redis.say::<Option<u64>>(words).unwrap_or(0)
}

fn position(redis: &Redis) -> u64 {
    number(redis, "HGET {counterd:0}:cell position")
}

fn length(redis: &Redis) -> u64 {
    number(redis, "XLEN {counterd:0}:log")
}

/// Starts one and counts there so often; returns its name in Redis too.
fn counting(setup: &Setup, redis: &Redis, times: u32) -> (Server, String) {
    let server = setup.start();
    let mut client = server.client();
    for _ in 0..times {
        assert_eq!(count(&mut client, "a"), Some(true));
    }
    rests(redis);
    let tail: String = redis.say("HGET {counterd:0}:cell tail");
    (server, tail.split(' ').next().unwrap().to_owned())
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

#[test]
fn the_last_group_is_forgotten_of_those_that_were_not_up_for_long_and_of_nobody_else() {
    let test = "the_last_group_is_forgotten_of_those_that_were_not_up_for_long_and_of_nobody_else";
    let Some(redis) = log(test) else { return };
    let homes: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let (old, gone) = counting(&instance(&homes[0], &redis), &redis, 2);
    old.stop();
    let (lately, stopped) = counting(&instance(&homes[0], &redis), &redis, 1);
    lately.stop();
    let (_up, up) = counting(&instance(&homes[1], &redis), &redis, 1);
    let last_of = |name: &str| -> Option<String> {
        redis.say(&format!("HGET {{counterd:0}}:instances {name}"))
    };
    let last = last_of(&gone).unwrap();
    assert!(last_of(&stopped).is_some() && last_of(&up).is_some());
    let time: (u64, u64) = redis.say("TIME");
    let days_ago = |days: u64| (time.0 - days * 24 * 60 * 60) * 1000;
    for (name, days) in [(&gone, 31), (&stopped, 29)] {
        redis.say::<u64>(&format!("ZADD {{counterd:0}}:up {} {name}", days_ago(days)));
    }
    eventually("it is forgotten", PATIENCE, || {
        last_of(&gone).is_none().then_some(())
    });
    assert!(last_of(&stopped).is_some() && last_of(&up).is_some());
    let forgotten = number(&redis, "HGET {counterd:0}:instances forgotten");
    assert!(last.ends_with(&format!(" {forgotten}")), "{last}");
}

/// Has Redis forget an instance, as it does after long; up to where is said or not.
fn forget(redis: &Redis, name: &str, is_said: bool) {
    let last: String = redis.say(&format!("HGET {{counterd:0}}:instances {name}"));
    let (_, position) = last.split_once(' ').unwrap();
    redis.say::<u64>(&format!("HDEL {{counterd:0}}:instances {name}"));
    if is_said {
        redis.say::<u64>(&format!(
            "HSET {{counterd:0}}:instances forgotten {position}"
        ));
    }
}

#[test]
fn an_instance_that_is_forgotten_while_it_runs_goes_on_under_another_name() {
    let test = "an_instance_that_is_forgotten_while_it_runs_goes_on_under_another_name";
    let Some(redis) = log(test) else { return };
    let home = tempfile::tempdir().unwrap();
    let (server, name) = counting(&instance(&home, &redis), &redis, 2);
    forget(&redis, &name, true);
    let mut client = server.client();
    // It does not know what it sent before, so nobody is told that this counted.
    assert_ne!(count(&mut client, "a"), Some(true));
    writes_again(&server);
    assert_eq!(value(&server, "a"), 2);
    assert_eq!(count(&mut client, "a"), Some(true));
    let tail: String = redis.say("HGET {counterd:0}:cell tail");
    assert!(!tail.starts_with(&name));
    assert!(!server.output().contains("Redis lost some"));
}

#[test]
fn who_comes_back_to_a_log_that_was_trimmed_and_has_forgotten_it_finds_no_loss() {
    let test = "who_comes_back_to_a_log_that_was_trimmed_and_has_forgotten_it_finds_no_loss";
    let Some(redis) = log(test) else { return };
    let homes: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let setup = instance(&homes[0], &redis);
    for is_said in [true, false] {
        let (server, name) = counting(&setup, &redis, 2);
        server.stop();
        let (other, _) = counting(&instance(&homes[1], &redis), &redis, 2);
        redis.say::<u64>("XTRIM {counterd:0}:log MAXLEN 1");
        forget(&redis, &name, is_said);
        other.stop();
        if is_said {
            setup.start().stop();
        } else {
            // Nothing says that it was forgotten, so what it counted is lost.
            let mut server = setup.spawn();
            assert!(!server.wait_exit(PATIENCE).success());
            assert!(server.output().contains("Redis lost some"));
        }
    }
}

#[test]
fn closed_days_leave_redis_once_they_are_not_kept_any_longer() {
    let test = "closed_days_leave_redis_once_they_are_not_kept_any_longer";
    let Some(redis) = log(test) else { return };
    let home = tempfile::tempdir().unwrap();
    let setup = instance(&home, &redis);
    let (server, _) = counting(&setup, &redis, 1);
    server.stop();
    let time: (u64, u64) = redis.say("TIME");
    let today = u32::try_from(time.0 / (24 * 60 * 60)).unwrap();
    let key = |days_ago: u32| {
        let day = (today - days_ago) | 1 << 31;
        [&b"\x01a"[..], &day.to_be_bytes()].concat()
    };
    const HISTORY: &str = "{counterd:0}:history";
    // As if the server had not been up for long since the first of them was kept.
    for days_ago in [100, 92, 10] {
        let mut put = redis::cmd("HSET");
        redis.ask::<u64>(put.arg(HISTORY).arg(key(days_ago)).arg("of a day"));
    }
    redis.say::<u64>(&format!("SADD {{counterd:0}}:hashes {HISTORY}"));
    redis.say::<u64>("HDEL {counterd:0}:meta horizon|history");
    let server = setup.start();
    let kept = || -> Vec<Vec<u8>> { redis.say(&format!("HKEYS {HISTORY}")) };
    eventually("old days are gone", PATIENCE, || {
        let kept = kept();
        let is_old = |key: &Vec<u8>| key.starts_with(b"\x01a");
        (kept.iter().filter(|key| is_old(key)).count() == 1).then_some(())
    });
    assert!(kept().contains(&key(10)));
    assert_eq!(count(&mut server.client(), "a"), Some(true));
}
