//! What clients are told while Redis is slow, hangs or refuses: nothing that was acknowledged is lost, and nothing is
//! counted twice.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use serde_json::json;

use super::{
    agrees, count, instance, log, log_with, replica, replica_with, rests, tells_of_disks,
    tells_the_loss, value, writes_again,
};
use crate::harness::{Client, PATIENCE, Redis, Server, SlowProxy, eventually, skipped};

fn is_stale(server: &Server) -> bool {
    let answer = server.client().get("/api/v1/counter/a").ok();
    answer["stale"] == true
}

#[test]
fn an_append_and_the_wait_for_its_replica_share_one_limit_of_time() {
    let test = "an_append_and_the_wait_for_its_replica_share_one_limit_of_time";
    let Some(redis) = log(test) else { return };
    let _replica = replica(&redis);
    let proxy = SlowProxy::before(redis.port());
    let home = tempfile::tempdir().unwrap();
    let server = instance(&home, &redis)
        .set("redis.url", &redis.url_through(proxy.port()))
        .set("redis.ack", "replicas")
        .set("redis.timeout", "4s")
        .set("redis.max_lag", "1h")
        .start();
    let mut client = server.client();
    assert_eq!(count(&mut client, "a"), Some(true));
    rests(&redis);
    // Each of both answers comes within the limit, and both together do not.
    proxy.slow_down(Duration::from_secs(3));
    assert_eq!(count(&mut client, "a"), None);
    proxy.hurry();
    writes_again(&server);
    agrees(&[&server], "a", 2);
}

#[test]
fn while_a_write_waits_for_redis_reads_are_stale_and_nothing_is_made_anew_for_it() {
    let test = "while_a_write_waits_for_redis_reads_are_stale_and_nothing_is_made_anew_for_it";
    let Some(redis) = log(test) else { return };
    let homes: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let start = |home| {
        let patient = instance(home, &redis).set("redis.timeout", "5m");
        patient.set("redis.max_lag", "5s").start()
    };
    let (waiting, idle) = (start(&homes[0]), start(&homes[1]));
    assert_eq!(count(&mut waiting.client(), "a"), Some(true));
    agrees(&[&waiting, &idle], "a", 1);
    redis.pause();
    std::thread::scope(|scope| {
        let mut client = waiting.client().with_timeout(2 * PATIENCE);
        let write = scope.spawn(move || count(&mut client, "a"));
        for server in [&waiting, &idle] {
            eventually("reads are stale", PATIENCE, || {
                is_stale(server).then_some(())
            });
            let answer = server
                .client()
                .post("/api/v1/counter/a/increment", &json!({}));
            answer.refused(503, "read_only");
        }
        redis.resume();
        assert_eq!(write.join().unwrap(), Some(true));
    });
    for server in [&waiting, &idle] {
        writes_again(server);
        assert!(!is_stale(server));
        assert!(
            !server.output().contains("the store failed"),
            "{}",
            server.output()
        );
    }
    agrees(&[&waiting, &idle], "a", 2);
}

#[test]
fn an_instance_ends_while_redis_hangs() {
    let test = "an_instance_ends_while_redis_hangs";
    let Some(redis) = log(test) else { return };
    let home = tempfile::tempdir().unwrap();
    let server = instance(&home, &redis).set("redis.timeout", "1h").start();
    assert_eq!(count(&mut server.client(), "a"), Some(true));
    rests(&redis);
    redis.pause();
    eventually("reads are stale", PATIENCE, || {
        is_stale(&server).then_some(())
    });
    server.stop();
}

#[test]
fn reads_from_a_primary_that_became_a_replica_are_stale() {
    let test = "reads_from_a_primary_that_became_a_replica_are_stale";
    let Some(redis) = log(test) else { return };
    let home = tempfile::tempdir().unwrap();
    let server = instance(&home, &redis).start();
    assert_eq!(count(&mut server.client(), "a"), Some(true));
    redis.say::<()>("REPLICAOF 127.0.0.1 1");
    // Nothing is written meanwhile: only reading can tell.
    eventually("reads are stale", PATIENCE, || {
        is_stale(&server).then_some(())
    });
    redis.say::<()>("REPLICAOF NO ONE");
    writes_again(&server);
    assert!(!is_stale(&server));
    agrees(&[&server], "a", 1);
    redis.say::<()>("REPLICAOF 127.0.0.1 1");
    let home = tempfile::tempdir().unwrap();
    let mut late = instance(&home, &redis).spawn();
    assert!(!late.wait_exit(PATIENCE).success());
    assert!(late.output().contains("its role is slave"));
}

#[test]
fn an_instance_that_only_reads_notices_that_the_log_lost_its_end_too() {
    let test = "an_instance_that_only_reads_notices_that_the_log_lost_its_end_too";
    let Some(redis) = log(test) else { return };
    let home = tempfile::tempdir().unwrap();
    let server = instance(&home, &redis).start();
    assert_eq!(count(&mut server.client(), "a"), Some(true));
    redis.say::<u64>("HSET {counterd:0}:cell position 0");
    tells_the_loss(&server);
    eventually("reads are stale", PATIENCE, || {
        is_stale(&server).then_some(())
    });
}

/// A way in which Redis refuses every write: the word that it says, a word of what ends it, how it comes and goes.
struct Refusal {
    says: &'static str,
    remedy: &'static str,
    begin: fn(&Redis),
    end: fn(&Redis),
}

const REFUSALS: [Refusal; 5] = [
    Refusal {
        says: "OOM",
        remedy: "maxmemory",
        begin: |redis| redis.say("CONFIG SET maxmemory 1"),
        end: |redis| redis.say("CONFIG SET maxmemory 0"),
    },
    Refusal {
        says: "READONLY",
        remedy: "redis.url must lead to the primary",
        begin: |redis| redis.say("REPLICAOF 127.0.0.1 1"),
        end: |redis| redis.say("REPLICAOF NO ONE"),
    },
    Refusal {
        says: "NOREPLICAS",
        remedy: "min-replicas-to-write",
        begin: |redis| redis.say("CONFIG SET min-replicas-to-write 1"),
        end: |redis| redis.say("CONFIG SET min-replicas-to-write 0"),
    },
    Refusal {
        says: "NOPERM",
        remedy: "ACL SETUSER",
        begin: |redis| redis.say("ACL SETUSER default -evalsha"),
        end: |redis| redis.say("ACL SETUSER default +evalsha"),
    },
    Refusal {
        says: "MISCONF",
        remedy: "disk",
        begin: Redis::break_saving,
        end: Redis::mend_saving,
    },
];

/// Claims that a write is refused, by what Redis says.
pub(super) fn is_refused(server: &Server, client: &mut Client, refusal: (&str, &str)) {
    let answer = client.post("/api/v1/counter/a/increment", &json!({}));
    answer.refused(503, "read_only");
    let says = format!("takes nothing: {}", refusal.0);
    eventually("the log says why", PATIENCE, || {
        let output = server.output();
        let line = output.lines().find(|line| line.contains(&says))?;
        assert!(line.contains(refusal.1), "{line}");
        Some(())
    });
}

#[test]
fn what_redis_refuses_is_told_as_not_counted_and_writes_go_on_by_themselves() {
    let test = "what_redis_refuses_is_told_as_not_counted_and_writes_go_on_by_themselves";
    let Some(redis) = log(test) else { return };
    let home = tempfile::tempdir().unwrap();
    let server = instance(&home, &redis).set("redis.timeout", "20s").start();
    let mut client = server.client();
    for (before, refusal) in REFUSALS.iter().enumerate() {
        (refusal.begin)(&redis);
        is_refused(&server, &mut client, (refusal.says, refusal.remedy));
        assert_eq!(value(&server, "a").max(0), before as i64);
        (refusal.end)(&redis);
        writes_again(&server);
        assert_eq!(count(&mut client, "a"), Some(true), "{}", refusal.says);
    }
    agrees(&[&server], "a", REFUSALS.len() as i64);
    let output = server.output();
    assert!(!output.contains("the store failed"), "{output}");
}

#[test]
fn a_user_who_may_not_call_all_that_the_scripts_call_is_refused_by_the_right_that_is_missing() {
    let test =
        "a_user_who_may_not_call_all_that_the_scripts_call_is_refused_by_the_right_that_is_missing";
    let Some(redis) = log(test) else { return };
    let url = redis.url_as("game", "a-password-of-the-game", 0);
    redis.say::<()>("ACL SETUSER game on >a-password-of-the-game ~* &* +@all -xadd");
    let home = tempfile::tempdir().unwrap();
    let game = instance(&home, &redis).set("redis.url", &url);
    let mut server = game.spawn();
    assert!(!server.wait_exit(PATIENCE).success());
    let output = server.output();
    assert!(
        output.contains("the right of its user to XADD {counterd:0}:log"),
        "{output}"
    );
    redis.say::<()>("ACL SETUSER game +xadd");
    assert_eq!(count(&mut game.start().client(), "a"), Some(true));
}

#[test]
fn a_connection_that_breaks_amid_a_question_for_a_setting_does_not_pass_for_a_right_that_is_missing()
 {
    let test = "a_connection_that_breaks_amid_a_question_for_a_setting_does_not_pass_for_a_right_that_is_missing";
    let Some(redis) = log(test) else { return };
    let way = SlowProxy::before(redis.port());
    let home = tempfile::tempdir().unwrap();
    let setup = instance(&home, &redis).set("redis.timeout", "20s");
    redis.say::<()>("CONFIG SET maxmemory-policy allkeys-lru");
    let through = setup
        .clone()
        .set("redis.url", &redis.url_through(way.port()));
    way.hold_at("maxmemory-policy");
    let mut check = through.command("check");
    let check = check.stdout(Stdio::piped()).spawn().unwrap();
    way.wait_held();
    redis.say::<u64>("CLIENT KILL TYPE normal SKIPME yes");
    way.let_go();
    let checked = check.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&checked.stdout);
    assert!(!checked.status.success(), "{text}");
    // Who may not ask, as with those who rent their Redis, has to believe.
    redis.say::<()>("ACL SETUSER game on >a-password-of-the-game ~* &* +@all -config");
    let url = redis.url_as("game", "a-password-of-the-game", 0);
    let server = setup.set("redis.url", &url).start();
    assert_eq!(count(&mut server.client(), "a"), Some(true));
}

/// What clients were told.
#[derive(Default)]
pub(super) struct Told {
    acked: AtomicI64,
    unknown: AtomicI64,
}

impl Told {
    /// Waits until so many more were acknowledged.
    pub(super) fn goes_on(&self, by: i64) {
        let so_far = self.acked.load(Ordering::Relaxed);
        eventually("clients count", PATIENCE, || {
            (self.acked.load(Ordering::Relaxed) >= so_far + by).then_some(())
        });
    }
}

/// Ends the clients, also when a test fails.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Has several clients count at all of these while something happens, and claims that everything acknowledged was counted,
/// once, and nothing else but what nobody knew.
pub(super) fn counts_exactly(servers: &[Server], meanwhile: impl FnOnce(&Told)) {
    let (told, ended) = (Told::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let _ended = Ended(&ended);
        for client in 0..6 {
            let (told, ended) = (&told, &ended);
            let server = &servers[client % servers.len()];
            scope.spawn(move || {
                let mut http = server.client();
                while !ended.load(Ordering::Relaxed) {
                    match count(&mut http, "a") {
                        Some(true) => told.acked.fetch_add(1, Ordering::Relaxed),
                        None => told.unknown.fetch_add(1, Ordering::Relaxed),
                        Some(false) => {
                            writes_again(server);
                            continue;
                        }
                    };
                }
            });
        }
        meanwhile(&told);
    });
    servers.iter().for_each(writes_again);
    let (acked, unknown) = (told.acked.into_inner(), told.unknown.into_inner());
    let found = value(&servers[0], "a");
    assert!(
        (acked..=acked + unknown).contains(&found),
        "{acked} acknowledged, {unknown} unknown, {found} counted"
    );
    agrees(&servers.iter().collect::<Vec<_>>(), "a", found);
}

#[test]
fn a_redis_that_is_killed_and_stopped_under_load_loses_and_doubles_nothing() {
    let test = "a_redis_that_is_killed_and_stopped_under_load_loses_and_doubles_nothing";
    let Some(mut redis) = log(test) else { return };
    let homes: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let start = |home| instance(home, &redis).start();
    let servers: Vec<_> = homes.iter().map(start).collect();
    counts_exactly(&servers, |told| {
        told.goes_on(301);
        redis.kill();
        redis.start();
        servers.iter().for_each(writes_again);
        told.goes_on(301);
        redis.pause();
        for server in &servers {
            let mut client = server.client();
            eventually("writes are refused", PATIENCE, || {
                (count(&mut client, "again") == Some(false)).then_some(())
            });
        }
        redis.resume();
        servers.iter().for_each(writes_again);
    });
}

#[test]
fn connections_that_are_killed_and_scripts_that_are_emptied_lose_and_double_nothing() {
    let test = "connections_that_are_killed_and_scripts_that_are_emptied_lose_and_double_nothing";
    let Some(redis) = log(test) else { return };
    let homes: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let start = |home| instance(home, &redis).set("redis.timeout", "20s").start();
    let servers: Vec<_> = homes.iter().map(start).collect();
    counts_exactly(&servers, |told| {
        for _ in 0..10 {
            told.goes_on(20);
            redis.say::<()>("SCRIPT FLUSH");
            told.goes_on(20);
            redis.say::<u64>("CLIENT KILL TYPE normal SKIPME yes");
        }
        told.goes_on(20);
    });
}

#[test]
fn answers_that_are_lost_on_the_way_count_nothing_twice() {
    let test = "answers_that_are_lost_on_the_way_count_nothing_twice";
    let Some(redis) = log(test) else { return };
    let proxy = SlowProxy::before(redis.port());
    let home = tempfile::tempdir().unwrap();
    let server = instance(&home, &redis)
        .set("redis.url", &redis.url_through(proxy.port()))
        .set("redis.timeout", "20s")
        .start();
    let servers = [server];
    counts_exactly(&servers, |told| {
        told.goes_on(20);
        proxy.lose_one_of(5);
        told.goes_on(200);
        proxy.lose_one_of(0);
        told.goes_on(20);
    });
}

#[test]
fn a_redis_that_reads_its_data_for_long_after_its_death_loses_and_doubles_nothing() {
    let test = "a_redis_that_reads_its_data_for_long_after_its_death_loses_and_doubles_nothing";
    // So many microseconds for each command of its log.
    let Some(mut redis) = log_with(test, ["--key-load-delay", "300"]) else {
        return;
    };
    let homes: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let start = |home| instance(home, &redis).start();
    let servers: Vec<_> = homes.iter().map(start).collect();
    counts_exactly(&servers, |told| {
        for _ in 0..2 {
            told.goes_on(300);
            redis.kill();
            redis.start();
        }
        told.goes_on(20);
    });
}

#[test]
fn a_replica_that_keeps_nothing_on_disk_is_named_as_the_likely_cause() {
    let test = "a_replica_that_keeps_nothing_on_disk_is_named_as_the_likely_cause";
    let Some(redis) = log(test) else { return };
    if !tells_of_disks(&redis) {
        return skipped(test, "this Redis cannot tell what is on disk (WAITAOF)");
    }
    let replica = replica_with(&redis, ["--appendonly", "no"]);
    let home = tempfile::tempdir().unwrap();
    let setup = instance(&home, &redis).set("redis.ack", "replicas");
    for (name, found, right) in [
        ("appendonly", "no", "yes"),
        ("appendfsync", "everysec", "always"),
    ] {
        let mut server = setup.spawn();
        assert!(!server.wait_exit(PATIENCE).success());
        let at = format!(
            "{name} of its replica 127.0.0.1:{} is \"{found}\"",
            replica.port()
        );
        assert!(server.output().contains(&at), "{}", server.output());
        replica.say::<()>(&format!("CONFIG SET {name} {right}"));
    }
    // Where nobody may look, no group is acknowledged that it has not on disk.
    replica.say::<()>("CONFIG SET appendonly no");
    replica.say::<()>("ACL SETUSER default -config");
    let server = setup.spawn();
    eventually("the cause is named", PATIENCE, || {
        let named = "0 of 1 replicas have synced it; each needs `appendonly yes`";
        server.output().contains(named).then_some(())
    });
}
