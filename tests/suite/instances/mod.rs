//! Several instances over one shared log in a real Redis: what one acknowledged, all count, once. The suite has these tests
//! twice: as `instances` with Redis, and as `instances_on_valkey` with Valkey.

mod accounts;
mod alerts;
mod bounds;
mod chores;
mod cluster;
mod configured;
mod contest;
mod failovers;
mod faults;
mod full_disk;
mod leases;
mod loss;
mod migrate;
mod outage;
mod pair;
mod rolling;
mod scripts;
mod secured;
mod several_logs;
mod time;
mod torn;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{
    Client, PATIENCE, REDIS_PASSWORD, Redis, Server, Setup, at_once, eventually, skipped, valkey,
};

/// A Redis that keeps every acknowledged write; `None` where there is no Redis.
fn log(test: &str) -> Option<Redis> {
    log_with(test, [])
}

/// The same with further arguments.
fn log_with<const N: usize>(test: &str, arguments: [&str; N]) -> Option<Redis> {
    let mut all = vec!["--appendonly", "yes", "--appendfsync", "always"];
    all.extend(arguments);
    let redis = program().and_then(|program| Redis::of(&program, &all));
    redis.map_err(|reason| skipped(test, &reason)).ok()
}

/// The program of the server that these tests are with.
fn program() -> Result<PathBuf, String> {
    if module_path!().contains("valkey") {
        valkey()
    } else {
        Ok("redis-server".into())
    }
}

/// Whether it tells what is on disk.
fn tells_of_disks(redis: &Redis) -> bool {
    let mut wait = redis::cmd("WAITAOF");
    wait.arg(0).arg(0).arg(1);
    wait.query::<()>(&mut redis.connect().unwrap()).is_ok()
}

/// A replica of it that has all of it.
fn replica(of: &Redis) -> Redis {
    replica_with(of, ["--appendonly", "yes", "--appendfsync", "always"])
}

/// The same with other arguments.
fn replica_with<const N: usize>(of: &Redis, arguments: [&str; N]) -> Redis {
    let primary = format!("127.0.0.1 {}", of.port());
    let mut all = vec!["--replicaof", &primary, "--masterauth", REDIS_PASSWORD];
    all.extend(["--repl-diskless-sync-delay", "0"]);
    all.extend(arguments);
    let replica = Redis::of(&program().unwrap(), &all).unwrap();
    eventually("the replica follows", PATIENCE, || {
        let [of, replica]: [String; 2] = [of, &replica].map(|redis| redis.say("INFO replication"));
        let is_up = replica.contains("master_link_status:up");
        (is_up && of.contains("state=online")).then_some(())
    });
    replica
}

/// Waits until no instance appends anything, as one does after its start.
fn rests(redis: &Redis) {
    let mut connection = redis.connect().unwrap();
    let mut call = redis::cmd("HGET");
    call.arg("{counterd:0}:cell").arg("position");
    let mut last = (None::<u64>, Instant::now());
    eventually("nothing is appended", PATIENCE, || {
        let position = call.query(&mut connection).unwrap();
        if position != last.0 {
            last = (position, Instant::now());
        }
        (last.1.elapsed() > Duration::from_secs(4)).then_some(())
    });
}

fn instance(home: &tempfile::TempDir, redis: &Redis) -> Setup {
    Setup::new(home.path())
        .set("storage.engine", "redis")
        .set("redis.url", &redis.url())
        .set("redis.ack", "primary")
        .set("redis.timeout", "1s")
}

/// One that a slow machine does not make late.
fn patient(home: &tempfile::TempDir, redis: &Redis) -> Setup {
    let setup = instance(home, redis).set("redis.timeout", "20s");
    setup.set("redis.max_lag", "20s")
}

/// Counts once; whether that was acknowledged (`Some(true)`), refused (`Some(false)`), or nobody knows (`None`).
fn count(client: &mut Client, name: &str) -> Option<bool> {
    let path = format!("/api/v1/counter/{name}/increment");
    let answer = client.request("POST", &path, &[], b"{}").ok()?;
    match answer.status {
        200 | 201 => Some(true),
        503 => (answer.code() != "outcome_unknown").then_some(false),
        status => panic!("{status}: {}", answer.text()),
    }
}

fn writes_again(server: &Server) {
    let mut client = server.client();
    eventually("writes are taken again", PATIENCE, || {
        (count(&mut client, "again") == Some(true)).then_some(())
    });
}

fn value(server: &Server, name: &str) -> i64 {
    let answer = server.client().get(&format!("/api/v1/counter/{name}"));
    answer.json()["value"].as_i64().unwrap_or(-1)
}

fn agrees(servers: &[&Server], name: &str, want: i64) {
    for server in servers {
        eventually(&format!("{name} is {want} everywhere"), PATIENCE, || {
            (value(server, name) == want).then_some(())
        });
    }
}

fn tells_the_loss(server: &Server) {
    eventually("the loss is told", PATIENCE, || {
        server.output().contains("Redis lost some").then_some(())
    });
}

/// One whose groups wait for the replicas.
fn waiting(home: &tempfile::TempDir, redis: &Redis) -> Setup {
    let setup = instance(home, redis).set("redis.ack", "replicas");
    setup.set("redis.timeout", "5s")
}

#[test]
fn what_two_instances_count_at_once_both_say_and_a_third_that_starts_later() {
    let test = "what_two_instances_count_at_once_both_say_and_a_third_that_starts_later";
    let Some(redis) = log(test) else { return };
    let homes: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let one = instance(&homes[0], &redis).start();
    let two = instance(&homes[1], &redis).start();
    let servers = [&one, &two];
    const CLIENTS: usize = 8;
    const EACH: usize = 50;
    at_once(CLIENTS, |client| {
        let mut http = servers[client % 2].client();
        for round in 0..EACH {
            http.post("/api/v1/counter/a/increment", &json!({ "value": 2 }))
                .ok();
            // Each user comes to both instances.
            let user = json!({ "user_id": format!("u{}-{round}", client / 2) });
            http.post("/api/v1/counter/daily_active_users/increment", &user)
                .ok();
            let key = format!("k{}-{round}", client / 2);
            http.request(
                "POST",
                "/api/v1/counter/keyed/increment",
                &[("Idempotency-Key", &key)],
                b"{}",
            )
            .unwrap()
            .ok();
        }
    });
    let both = (CLIENTS * EACH) as i64;
    let third = instance(&homes[2], &redis).start();
    let all = [&one, &two, &third];
    agrees(&all, "a", 2 * both);
    agrees(&all, "daily_active_users", both / 2);
    agrees(&all, "keyed", both / 2);
    let before = value(&one, "a");
    one.kill9();
    two.client()
        .post("/api/v1/counter/a/increment", &json!({}))
        .ok();
    let one = instance(&homes[0], &redis).start();
    agrees(&[&one, &two, &third], "a", before + 1);
}

#[test]
fn nothing_is_acknowledged_before_a_replica_has_it() {
    let test = "nothing_is_acknowledged_before_a_replica_has_it";
    let Some(redis) = log(test) else { return };
    let home = tempfile::tempdir().unwrap();
    let mut alone = waiting(&home, &redis).spawn();
    let status = alone.wait_exit(PATIENCE);
    assert!(!status.success());
    assert!(
        alone
            .output()
            .contains("Redis has 0 replicas, and redis.min_replicas is 1"),
        "{}",
        alone.output()
    );
    let replica = replica(&redis);
    let server = waiting(&home, &redis).start();
    let mut client = server.client();
    assert_eq!(count(&mut client, "a"), Some(true));
    rests(&redis);
    replica.pause();
    assert_eq!(
        count(&mut client, "a"),
        None,
        "nobody has it but the primary"
    );
    assert_eq!(
        count(&mut client, "a"),
        Some(false),
        "and writes are refused meanwhile"
    );
    replica.resume();
    writes_again(&server);
    assert_eq!(value(&server, "a"), 2, "what was unknown was counted, once");
}

#[test]
fn a_log_that_was_emptied_by_hand_is_noticed_and_not_begun_anew() {
    let test = "a_log_that_was_emptied_by_hand_is_noticed_and_not_begun_anew";
    let Some(redis) = log(test) else { return };
    let home = tempfile::tempdir().unwrap();
    let server = instance(&home, &redis).start();
    let mut client = server.client();
    assert_eq!(count(&mut client, "a"), Some(true));
    redis.say::<String>("FLUSHALL");
    assert_ne!(count(&mut client, "a"), Some(true));
    tells_the_loss(&server);
    assert_eq!(count(&mut client, "a"), Some(false));
    assert_eq!(value(&server, "a"), 1);
    let begun: u64 = redis.say("EXISTS {counterd:0}:cell {counterd:0}:log {counterd:0}:hashes");
    assert_eq!(begun, 0, "nothing was begun anew");
}

#[test]
fn while_redis_is_stopped_reads_say_that_they_are_stale_and_writes_are_refused() {
    let test = "while_redis_is_stopped_reads_say_that_they_are_stale_and_writes_are_refused";
    let Some(redis) = log(test) else { return };
    let home = tempfile::tempdir().unwrap();
    let server = instance(&home, &redis).start();
    let mut client = server.client();
    assert_eq!(count(&mut client, "a"), Some(true));
    let read = |client: &mut Client| client.get("/api/v1/counter/a").ok();
    assert_eq!(read(&mut client)["stale"], false);
    redis.pause();
    eventually("reads are stale", PATIENCE, || {
        (read(&mut client)["stale"] == true).then_some(())
    });
    let stale = read(&mut client);
    assert_eq!(
        (&stale["value"], &stale["source"]),
        (&json!(1), &json!("memory"))
    );
    assert!(stale["as_of"].is_string(), "{stale}");
    let both = client.get("/api/v1/counters?names=a,online_players").ok();
    assert_eq!(both["counters"][1]["stale"], true, "{both}");
    let refused = client.post("/api/v1/counter/a/increment", &json!({}));
    refused.refused(503, "read_only");
    redis.resume();
    writes_again(&server);
    assert_eq!(read(&mut client)["stale"], false);
    assert_eq!(read(&mut client)["value"], 1);
}

#[test]
fn an_answer_that_rests_on_another_instances_group_waits_for_the_replica_too() {
    let test = "an_answer_that_rests_on_another_instances_group_waits_for_the_replica_too";
    let Some(redis) = log(test) else { return };
    let replica = replica(&redis);
    let homes: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let start = |home| {
        let setup = waiting(home, &redis);
        // As long as the first of both waits, so that the second is asked meanwhile.
        setup.set("redis.timeout", "30s").start()
    };
    let (one, two) = (start(&homes[0]), start(&homes[1]));
    let ask = |server: &Server, timeout: Duration| {
        let mut client = server.client().with_timeout(timeout);
        let key = [("Idempotency-Key", "k")];
        client.request("POST", "/api/v1/counter/a/increment", &key, b"{}")
    };
    rests(&redis);
    replica.pause();
    let short = Duration::from_millis(1500);
    assert!(ask(&one, short).is_err(), "it waits for the replica");
    eventually("the other has the group", PATIENCE, || {
        (value(&two, "a") == 1).then_some(())
    });
    assert!(
        ask(&two, short).is_err(),
        "so does its repetition elsewhere"
    );
    replica.resume();
    eventually("the repetition is answered", PATIENCE, || {
        let answer = ask(&two, PATIENCE).ok()?;
        (answer.status == 200 && answer.json()["current_value"] == 1).then_some(())
    });
    agrees(&[&one, &two], "a", 1);
}

#[test]
fn a_log_that_lost_its_end_is_told_and_not_written_to() {
    let test = "a_log_that_lost_its_end_is_told_and_not_written_to";
    let Some(redis) = log(test) else { return };
    let home = tempfile::tempdir().unwrap();
    let server = instance(&home, &redis).start();
    let mut client = server.client();
    assert_eq!(count(&mut client, "a"), Some(true));
    assert_eq!(count(&mut client, "a"), Some(true));
    redis.say::<u64>("HSET {counterd:0}:cell position 1");
    assert_ne!(count(&mut client, "a"), Some(true));
    tells_the_loss(&server);
    assert_eq!(count(&mut client, "a"), Some(false));
    let position: String = redis.say("HGET {counterd:0}:cell position");
    assert_eq!(position, "1");
}

#[test]
fn a_redis_that_would_lose_what_is_acknowledged_is_refused_by_the_setting() {
    let test = "a_redis_that_would_lose_what_is_acknowledged_is_refused_by_the_setting";
    let Some(redis) = log(test) else { return };
    for (name, right, wrong) in [
        ("appendonly", "yes", "no"),
        ("appendfsync", "always", "everysec"),
        ("maxmemory-policy", "noeviction", "allkeys-lru"),
    ] {
        redis.say::<()>(&format!("CONFIG SET {name} {wrong}"));
        let setting = format!("{name} is \"{wrong}\"");
        let home = tempfile::tempdir().unwrap();
        let mut server = instance(&home, &redis).spawn();
        assert!(!server.wait_exit(PATIENCE).success());
        let output = server.output();
        assert!(output.contains(&setting), "{setting}: {output}");
        redis.say::<()>(&format!("CONFIG SET {name} {right}"));
    }
}

#[test]
fn one_instance_has_the_chores_and_another_takes_over_where_it_cannot_do_them() {
    let test = "one_instance_has_the_chores_and_another_takes_over_where_it_cannot_do_them";
    let Some(redis) = log(test) else { return };
    let homes: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let holder = || redis.say::<Option<String>>("GET {counterd:0}:lease");
    let setup = instance(&homes[0], &redis);
    let one = setup.start();
    let first = eventually("the first has them", PATIENCE, holder);
    let two = instance(&homes[1], &redis).start();
    writes_again(&two);
    assert_eq!(holder(), Some(first.clone()), "they stay with it");
    // One that takes no writes gives them to another.
    let mode = |mode: &str| {
        let said = setup.command("mode").arg(mode).output().unwrap();
        assert!(said.status.success(), "{said:?}");
    };
    mode("read_only");
    eventually("the other takes over", PATIENCE, || {
        holder().filter(|holder| *holder != first)
    });
    two.stop();
    mode("normal");
    eventually("they come back", PATIENCE, || {
        (holder() == Some(first.clone())).then_some(())
    });
    let two = instance(&homes[1], &redis).start();
    writes_again(&two);
    one.kill9();
    let second = eventually("the other takes over", PATIENCE, || {
        holder().filter(|holder| *holder != first)
    });
    // One that ends gives them back.
    two.stop();
    assert_ne!(holder(), Some(second));
}
