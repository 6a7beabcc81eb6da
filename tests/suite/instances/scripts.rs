//! Scripts that keep Redis busy, and the ways to end them: those of others, and our own amid a large group.

use std::sync::atomic::{AtomicBool, Ordering};

use redis::{Cmd, RedisResult};
use serde_json::json;

use super::faults::is_refused;
use super::{agrees, count, instance, log, value, writes_again};
use crate::harness::{PATIENCE, Redis, eventually};

/// A script of somebody else that does not end, what ends it, and whether Redis ends with it.
struct Endless {
    begin: fn() -> Cmd,
    end: &'static str,
    ends_redis: bool,
}

const ENDLESS: [Endless; 3] = [
    Endless {
        begin: || eval("while true do end"),
        end: "SCRIPT KILL",
        ends_redis: false,
    },
    Endless {
        begin: || {
            let mut call = redis::cmd("FCALL");
            call.arg("endless").arg(0);
            call
        },
        end: "FUNCTION KILL",
        ends_redis: false,
    },
    Endless {
        begin: || eval("redis.call('SET', 'of_others', 1) while true do end"),
        end: "SHUTDOWN NOSAVE",
        ends_redis: true,
    },
];

const LIBRARY: &str =
    "#!lua name=others\nredis.register_function('endless', function() while true do end end)";

fn eval(script: &str) -> Cmd {
    let mut call = redis::cmd("EVAL");
    call.arg(script).arg(0);
    call
}

/// What Redis answers to these words, whatever that is.
fn tells(redis: &Redis, words: &str) -> RedisResult<redis::Value> {
    let mut words = words.split(' ');
    let mut call = redis::cmd(words.next().unwrap());
    words.for_each(|word| {
        call.arg(word);
    });
    call.query(&mut redis.connect()?)
}

fn refuses_with(redis: &Redis, words: &str) -> Option<String> {
    let error = tells(redis, words).err()?;
    error.code().map(str::to_owned)
}

#[test]
fn a_script_that_keeps_redis_busy_is_waited_for_then_refuses_and_nothing_is_lost_when_it_is_ended()
{
    let test = "a_script_that_keeps_redis_busy_is_waited_for_then_refuses_and_nothing_is_lost_when_it_is_ended";
    let Some(mut redis) = log(test) else { return };
    let home = tempfile::tempdir().unwrap();
    let server = instance(&home, &redis)
        .set("redis.timeout", "3s")
        .set("redis.max_lag", "1h")
        .start();
    let mut client = server.client();
    let mut load = redis::cmd("FUNCTION");
    redis.ask::<String>(load.arg("LOAD").arg(LIBRARY));
    for (before, endless) in ENDLESS.iter().enumerate() {
        assert_eq!(count(&mut client, "a"), Some(true));
        redis.say::<()>("CONFIG SET busy-reply-threshold 20");
        let mut other = redis.connect().unwrap();
        std::thread::scope(|scope| {
            let ended = scope.spawn(move || (endless.begin)().query::<()>(&mut other));
            eventually("the script runs", PATIENCE, || {
                (refuses_with(&redis, "PING")? == "BUSY").then_some(())
            });
            is_refused(&server, &mut client, ("BUSY", endless.end));
            if endless.ends_redis {
                let refused = refuses_with(&redis, "SCRIPT KILL");
                assert_eq!(refused.as_deref(), Some("UNKILLABLE"));
            }
            // One that ends Redis has no answer.
            let _ = tells(&redis, endless.end);
            assert!(ended.join().unwrap().is_err());
        });
        if endless.ends_redis {
            eventually("Redis ends", PATIENCE, || redis.has_ended().then_some(()));
            redis.start();
        }
        writes_again(&server);
        agrees(&[&server], "a", before as i64 + 1);
    }
    assert_eq!(redis.say::<u64>("EXISTS of_others"), 0);
}

#[test]
fn a_group_of_our_own_that_somebody_wants_killed_is_counted_whole_or_not_at_all() {
    let test = "a_group_of_our_own_that_somebody_wants_killed_is_counted_whole_or_not_at_all";
    let Some(mut redis) = log(test) else { return };
    let home = tempfile::tempdir().unwrap();
    let server = instance(&home, &redis)
        .set("redis.timeout", "30s")
        .set("redis.max_lag", "1h")
        .start();
    // As soon as a script has run for so many milliseconds, Redis listens to who wants it killed.
    redis.say::<()>("CONFIG SET busy-reply-threshold 1");
    const CLIENTS: usize = 12;
    let ended = AtomicBool::new(false);
    let counted = |client: usize, round: usize| {
        let of = |user| json!({ "op": "increment", "name": "daily_active_users", "user_id": format!("u{client}-{round}-{user}") });
        let operations: Vec<_> = (0..1000).map(of).collect();
        let key = format!("k{client}-{round}");
        let mut http = server.client().with_timeout(2 * PATIENCE);
        // Sent again until it is known to be counted: under its key it counts once.
        eventually("the batch is counted", PATIENCE, || {
            let body = json!({ "operations": operations });
            let answer = http.post_keyed("/api/v1/batch", &key, &body);
            (answer.status == 200).then_some(())
        });
    };
    let rounds = std::thread::scope(|scope| {
        let (ended, counted) = (&ended, &counted);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                scope.spawn(move || {
                    let mut round = 0;
                    while !ended.load(Ordering::Relaxed) {
                        counted(client, round);
                        round += 1;
                    }
                    round
                })
            })
            .collect();
        let mut killer = redis.connect().unwrap();
        for at in 0..2 {
            eventually("one that has written is to be killed", PATIENCE, || {
                let mut kill = redis::cmd("SCRIPT");
                let refused = kill.arg("KILL").query::<()>(&mut killer).err()?;
                (refused.code() == Some("UNKILLABLE")).then_some(())
            });
            if at == 1 {
                // The only thing that ends it, and Redis with it.
                let _ = redis::cmd("SHUTDOWN")
                    .arg("NOSAVE")
                    .query::<()>(&mut killer);
                eventually("Redis ends", PATIENCE, || redis.has_ended().then_some(()));
                redis.start();
            }
        }
        ended.store(true, Ordering::Relaxed);
        let rounds = clients.into_iter().map(|client| client.join().unwrap());
        rounds.sum::<usize>()
    });
    writes_again(&server);
    assert_eq!(value(&server, "daily_active_users"), 1000 * rounds as i64);
    // What Redis has is the same.
    let home = tempfile::tempdir().unwrap();
    let late = instance(&home, &redis).set("redis.timeout", "30s").start();
    agrees(&[&late], "daily_active_users", 1000 * rounds as i64);
}
