//! What Redis has lost is noticed: by a running instance, and by one that is started again; and there is a way past it.

use std::time::Duration;

use serde_json::Value;

use super::{
    agrees, count, instance, log, replica, rests, tells_the_loss, value, waiting, writes_again,
};
use crate::harness::{PATIENCE, REDIS_PASSWORD, Redis, Server, Setup, eventually};

/// A copy of it that stays as it is.
fn copy(of: &Redis) -> Redis {
    let copy = replica(of);
    copy.say::<()>("REPLICAOF NO ONE");
    copy
}

/// Makes it hold what the copy holds, as after a failover to a replica that was behind.
fn becomes(redis: &Redis, copy: &Redis) {
    redis.say::<()>(&format!("CONFIG SET masterauth {REDIS_PASSWORD}"));
    redis.say::<()>(&format!("REPLICAOF 127.0.0.1 {}", copy.port()));
    eventually("it has what the copy has", PATIENCE, || {
        let info: String = redis.say("INFO replication");
        // The link may be up before all of it is loaded.
        let is_up = info.contains("master_link_status:up");
        (is_up && holds(redis) == holds(copy)).then_some(())
    });
    redis.say::<()>("REPLICAOF NO ONE");
}

fn holds(redis: &Redis) -> Option<u64> {
    redis.say("HGET {counterd:0}:cell position")
}

fn position(redis: &Redis) -> u64 {
    holds(redis).expect("a position")
}

/// Waits until the instance has on disk that everything so far was acknowledged.
fn is_remembered(setup: &Setup, redis: &Redis) {
    eventually("it is on disk what was acknowledged", PATIENCE, || {
        let bytes = std::fs::read(setup.data().join("LOG_ACKED")).ok()?;
        let mark: Value = serde_json::from_slice(&bytes).ok()?;
        (mark["acknowledged"]["position"].as_u64() == Some(position(redis))).then_some(())
    });
}

fn recover(setup: &Setup) -> String {
    let ran = setup.command("recover").output().unwrap();
    let (out, error) = (
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr),
    );
    assert!(ran.status.success(), "{error}");
    out.into_owned()
}

#[test]
fn a_log_that_lost_its_end_and_grew_again_is_not_taken_for_the_same() {
    let test = "a_log_that_lost_its_end_and_grew_again_is_not_taken_for_the_same";
    let Some(redis) = log(test) else { return };
    let homes: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let setup = instance(&homes[0], &redis);
    let one = setup.start();
    let mut first = one.client();
    assert_eq!(count(&mut first, "a"), Some(true));
    let copy = copy(&redis);
    for _ in 0..3 {
        assert_eq!(count(&mut first, "a"), Some(true));
    }
    let acknowledged = position(&redis);
    one.signal(libc::SIGSTOP);
    becomes(&redis, &copy);
    assert!(position(&redis) < acknowledged);
    let two = instance(&homes[1], &redis).start();
    let mut second = two.client();
    while position(&redis) < acknowledged + 3 {
        assert_eq!(count(&mut second, "a"), Some(true));
    }
    let found = value(&two, "a");
    one.signal(libc::SIGCONT);
    tells_the_loss(&one);
    assert_ne!(count(&mut first, "a"), Some(true));
    eventually("nobody counts on a log with a hole", PATIENCE, || {
        (count(&mut second, "a") == Some(false)).then_some(())
    });
    let told = recover(&setup);
    assert!(told.contains("given up:      some groups"), "{told}");
    writes_again(&one);
    writes_again(&two);
    agrees(&[&one, &two], "a", found);
    let again = setup.command("recover").output().unwrap();
    assert!(!again.status.success(), "nothing is lost any more");
}

#[test]
fn an_instance_that_is_started_again_does_not_begin_an_emptied_log_anew() {
    let test = "an_instance_that_is_started_again_does_not_begin_an_emptied_log_anew";
    let Some(redis) = log(test) else { return };
    let home = tempfile::tempdir().unwrap();
    let setup = instance(&home, &redis);
    let server = setup.start();
    assert_eq!(count(&mut server.client(), "a"), Some(true));
    is_remembered(&setup, &redis);
    server.kill9();
    redis.say::<String>("FLUSHALL");
    let mut again = setup.spawn();
    tells_the_loss(&again);
    assert!(!again.wait_exit(PATIENCE).success());
    assert_eq!(redis.say::<u64>("DBSIZE"), 0, "nothing was begun anew");
    let told = recover(&setup);
    assert!(told.contains("given up:      everything"), "{told}");
    let server = setup.start();
    assert_eq!(count(&mut server.client(), "a"), Some(true));
    assert_eq!(value(&server, "a"), 1);
}

#[test]
fn after_a_loss_counting_goes_on_where_on_loss_says_so() {
    let test = "after_a_loss_counting_goes_on_where_on_loss_says_so";
    let Some(redis) = log(test) else { return };
    let home = tempfile::tempdir().unwrap();
    let server = instance(&home, &redis)
        .set("redis.on_loss", "continue")
        .start();
    let mut client = server.client();
    assert_eq!(count(&mut client, "a"), Some(true));
    let epoch = |server: &Server| {
        let answer = server.client().get("/api/v1/counter/again");
        answer.json()["epoch"].as_u64()
    };
    writes_again(&server);
    let before = epoch(&server);
    redis.say::<String>("FLUSHALL");
    assert_ne!(count(&mut client, "a"), Some(true));
    writes_again(&server);
    tells_the_loss(&server);
    assert!(epoch(&server) > before, "it is another epoch");
    assert_eq!(count(&mut client, "a"), Some(true));
    assert_eq!(value(&server, "a"), 1);
}

#[test]
fn what_nobody_acknowledged_may_go_without_a_loss() {
    let test = "what_nobody_acknowledged_may_go_without_a_loss";
    let Some(redis) = log(test) else { return };
    let replica = replica(&redis);
    let homes: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let start = |home| waiting(home, &redis).start();
    let (one, two) = (start(&homes[0]), start(&homes[1]));
    let mut client = one.client().with_timeout(Duration::from_secs(30));
    assert_eq!(count(&mut client, "a"), Some(true));
    rests(&redis);
    replica.say::<()>("REPLICAOF NO ONE");
    assert_eq!(count(&mut client, "a"), None, "no replica has it");
    eventually("the other follows it all the same", PATIENCE, || {
        (value(&two, "a") == 2).then_some(())
    });
    one.signal(libc::SIGSTOP);
    becomes(&redis, &replica);
    replica.say::<()>(&format!("REPLICAOF 127.0.0.1 {}", redis.port()));
    // Others are appended in the place of what is gone.
    writes_again(&two);
    one.signal(libc::SIGCONT);
    writes_again(&one);
    agrees(&[&one, &two], "a", 1);
    for server in [&one, &two] {
        assert!(!server.output().contains("Redis lost some"));
    }
}
