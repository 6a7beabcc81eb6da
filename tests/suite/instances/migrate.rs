//! `counterd migrate`: all counts move from RocksDB to the shared log and back, exactly, or stay where they were.

mod asleep;
mod known;
mod replicas;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::{count, log, patient, rests, value};
use crate::checker::History;
use crate::harness::{Client, PATIENCE, Redis, Server, Setup, SlowProxy, seed};
use crate::traffic::{self, Control, Mix};

/// Where the shared log is, in place of a directory.
const REDIS: &str = "redis";

/// What the comparison asks first.
const COMPARES: &str = "HMGET\r\n$17\r\n{counterd:0}:meta";

/// The keys of what makes a log of the records that were moved in.
const MAKES: &str = "{counterd:0}:moving\r\n$17\r\n{counterd:0}:cell";

/// How long one counts as up after it said so, and the field that is set at the end of a move out.
const ENDS: &str = "8000\r\n$5\r\nmoved";

/// Keys whose counts are sent again after each move.
const KEYS: usize = 20;

fn on_disk(home: &tempfile::TempDir, redis: &Redis) -> Setup {
    let setup = Setup::new(home.path()).set("redis.url", &redis.url());
    setup.set("redis.ack", "primary")
}

fn migrate(setup: &Setup, from: &Path, to: &Path) -> Command {
    let mut command = setup.command("migrate");
    command.arg("--from").arg(from).arg("--to").arg(to);
    command
}

/// What a command prints that does what it is asked.
#[track_caller]
fn done(command: &mut Command) -> String {
    let ran = command.output().unwrap();
    let error = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.success(), "{error}");
    String::from_utf8(ran.stdout).unwrap()
}

/// What a command says that does not.
#[track_caller]
fn refused(command: &mut Command) -> String {
    let ran = command.output().unwrap();
    let error = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(ran.status.code(), Some(1), "{error}");
    error
}

/// Why a server does not start.
#[track_caller]
fn start_refused(setup: &Setup) -> String {
    let mut server = setup.spawn();
    assert!(!server.wait_exit(PATIENCE).success());
    server.output()
}

/// What `counterd check` says that finds a fault.
#[track_caller]
fn checked(setup: &Setup) -> String {
    let ran = setup.command("check").output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert_eq!(ran.status.code(), Some(3), "{said}");
    said
}

/// What counters say, without what a start changes by itself.
fn said(server: &Server) -> Value {
    let mut client = server.client();
    let mut all = client.get("/api/v1/counters/all?limit=1000").ok();
    for counter in all["counters"].as_array_mut().unwrap() {
        // Windows go on with the time, and leases settle after a start.
        let changes = ["revision", "window", "settling"];
        let counter = counter.as_object_mut().unwrap();
        counter.retain(|field, _| !changes.contains(&&**field));
    }
    let mut days = Vec::new();
    for name in [traffic::GAUGE, traffic::USERS, "keyed", "peaked"] {
        let mut history = client.get(&format!("/api/v1/counter/{name}/history")).ok();
        for day in history["days"].as_array_mut().unwrap() {
            day.as_object_mut().unwrap().remove("away_seconds");
        }
        days.push(history);
    }
    let series = client.get("/api/v1/counter/peaked/series?range=1h&step=1m");
    let points = series.ok()["points"].clone();
    let points = points.as_array().unwrap();
    // Later minutes may have come since.
    let known = points.iter().find(|point| !point["last"].is_null());
    json!([all, days, known.is_some()])
}

/// Counts under keys; each answer, whether it was a repeated one, is that of the first time.
fn count_with_keys(client: &mut Client, is_repeated: bool) -> Vec<Value> {
    let count = |key| {
        let key = format!("key-{key}");
        let answer = client.post_keyed("/api/v1/counter/keyed/increment", &key, &json!({}));
        let replayed = answer.header("idempotency-replayed").is_some();
        assert_eq!(replayed, is_repeated, "{key}");
        answer.ok()
    };
    (0..KEYS).map(count).collect()
}

/// Counts on for a while on all kinds of counters, at each of the servers.
fn counts(servers: &[&Server], seed: u64, control: &Control, account: &mut History) {
    for (at, server) in servers.iter().enumerate() {
        let mix = Mix {
            connections: 4,
            seed: seed ^ at as u64,
            users: 500,
            big_batches: 1,
            watchers: 0,
            daily: false,
        };
        let (history, ()) = traffic::during(server.address(), mix, control, || {
            control.wait_for(600);
        });
        account.extend(history);
    }
    // What one instance counted, another says a moment later.
    for reading in &mut account.readings {
        reading.begun = 0;
    }
}

fn is_exact(server: &Server, control: &Control, account: &History) {
    traffic::verify(&mut server.client(), control, account.clone());
}

/// A store on disk with counts of all kinds, whose server was stopped.
fn filled(home: &tempfile::TempDir, redis: &Redis) -> (Setup, Control, History) {
    let disk = on_disk(home, redis);
    let server = disk.start();
    traffic::define(&mut server.admin());
    let control = Control::with_rest(Duration::from_millis(1));
    let mut account = History::default();
    counts(&[&server], seed("migrate"), &control, &mut account);
    server.stop();
    (disk, control, account)
}

/// Begins a move through the proxy, which holds back what is asked from that text on.
fn held_back(setup: &Setup, way: &SlowProxy, redis: &Redis, places: [&Path; 2], at: &str) -> Child {
    // It is held for as long as the test is not done with what comes between.
    let setup = setup.clone().set("redis.timeout", "60s");
    held_within(&setup, way, redis, places, at)
}

/// The same for the time that it waits for an answer.
fn held_within(
    setup: &Setup,
    way: &SlowProxy,
    redis: &Redis,
    places: [&Path; 2],
    at: &str,
) -> Child {
    way.hold_at(at);
    let setup = setup
        .clone()
        .set("redis.url", &redis.url_through(way.port()));
    let mut command = migrate(&setup, places[0], places[1]);
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    way.wait_held();
    child
}

/// Why it did not do what it was asked.
fn failed(way: &SlowProxy, child: Child) -> String {
    way.let_go();
    let ran = child.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(ran.status.code(), Some(1), "{error}");
    error
}

fn kill9(way: &SlowProxy, mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
    way.let_go();
}

fn cell(redis: &Redis) -> bool {
    redis.say::<u64>("EXISTS {counterd:0}:cell") == 1
}

/// Removes all that is in Redis, as one does whose counts were moved away.
fn empty(redis: &Redis) {
    redis.say::<()>("FLUSHALL");
}

#[test]
fn counts_that_were_moved_to_redis_and_back_are_the_same_and_go_on() {
    let test = "counts_that_were_moved_to_redis_and_back_are_the_same_and_go_on";
    let Some(redis) = log(test) else { return };
    let seed = seed("migrate");
    let homes: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let disk = on_disk(&homes[0], &redis);
    let server = disk.start();
    traffic::define(&mut server.admin());
    let control = Control::with_rest(Duration::from_millis(1));
    let mut account = History::default();
    counts(&[&server], seed, &control, &mut account);
    let answers = count_with_keys(&mut server.client(), false);
    for by in [7, 1] {
        let path = "/api/v1/counter/peaked/increment";
        server.client().post(path, &json!({ "value": by })).ok();
    }
    let down = json!({"delta": -6, "reason": "so that the peak is not the value"});
    let adjusted = server.admin().post("/api/v1/counter/peaked/adjust", &down);
    adjusted.ok();
    is_exact(&server, &control, &account);
    let before = said(&server);
    server.stop();

    let told = done(&mut migrate(&disk, disk.data(), Path::new(REDIS)));
    assert!(told.contains("every record compared"), "{told}");
    assert!(start_refused(&disk).contains("moved to a shared log"));
    assert!(checked(&disk).contains("moved to a shared log"));
    let instances = [0, 1].map(|at| patient(&homes[at], &redis));
    let servers = instances.each_ref().map(Setup::start);
    for server in &servers {
        assert_eq!(said(server), before);
        assert_eq!(count_with_keys(&mut server.client(), true), answers);
    }
    let both = servers.each_ref();
    is_exact(both[1], &control, &account);
    counts(&both, seed ^ 16, &control, &mut account);
    for server in both {
        is_exact(server, &control, &account);
    }
    rests(&redis);
    let before = said(both[0]);
    let back = homes[2].path().join("data");
    let why = refused(&mut migrate(&disk, Path::new(REDIS), &back));
    assert!(why.contains("an instance is up"), "{why}");
    assert!(!back.join("store").exists());
    servers.into_iter().for_each(Server::stop);

    let told = done(migrate(&disk, Path::new(REDIS), &back).arg("--json"));
    let told: Value = serde_json::from_str(&told).unwrap();
    let families = told["families"].as_object().unwrap();
    let sum: u64 = families.values().filter_map(Value::as_u64).sum();
    assert_eq!(told["records"], sum, "{told}");
    let filled = ["meta", "definitions", "counters", "days", "dedup"];
    for family in filled.into_iter().chain(["idempotency", "windows"]) {
        assert!(families[family].as_u64() > Some(0), "{family}: {told}");
    }
    assert!(start_refused(&instances[1]).contains("were moved to"));
    let disk = on_disk(&homes[2], &redis);
    let server = disk.start();
    assert_eq!(said(&server), before);
    assert_eq!(count_with_keys(&mut server.client(), true), answers);
    is_exact(&server, &control, &account);
    counts(&[&server], seed ^ 32, &control, &mut account);
    is_exact(&server, &control, &account);
    assert_eq!(value(&server, "keyed"), KEYS as i64);
}

#[test]
fn a_move_to_redis_that_was_killed_serves_nobody_and_is_begun_anew() {
    let test = "a_move_to_redis_that_was_killed_serves_nobody_and_is_begun_anew";
    let Some(redis) = log(test) else { return };
    let home = tempfile::tempdir().unwrap();
    let (disk, control, account) = filled(&home, &redis);
    let way = SlowProxy::before(redis.port());
    let places = [disk.data(), Path::new(REDIS)];
    let child = held_back(&disk, &way, &redis, places, "}:dedup:");
    kill9(&way, child);
    assert!(!cell(&redis));
    let elsewhere = tempfile::tempdir().unwrap();
    let instance = patient(&elsewhere, &redis);
    assert!(start_refused(&instance).contains("is being moved into the shared log"));
    // What it wrote that the store does not have is not taken for a record of it.
    redis.say::<u64>("HSET {counterd:0}:counters nobody value");
    done(&mut migrate(&disk, disk.data(), Path::new(REDIS)));
    is_exact(&instance.start(), &control, &account);
}

#[test]
fn a_move_to_redis_that_was_killed_at_its_end_leaves_no_store_that_counts_as_well() {
    let test = "a_move_to_redis_that_was_killed_at_its_end_leaves_no_store_that_counts_as_well";
    let Some(redis) = log(test) else { return };
    let home = tempfile::tempdir().unwrap();
    let disk = on_disk(&home, &redis);
    let server = disk.start();
    assert_eq!(count(&mut server.client(), "a"), Some(true));
    server.stop();
    let way = SlowProxy::before(redis.port());
    let places = [disk.data(), Path::new(REDIS)];
    let child = held_back(&disk, &way, &redis, places, MAKES);
    kill9(&way, child);
    // Nobody can tell from here whether the log was made.
    assert!(start_refused(&disk).contains("was broken off at its end"));
    assert!(checked(&disk).contains("was broken off at its end"));
    done(&mut migrate(&disk, disk.data(), Path::new(REDIS)));
    let store = disk.data().join("store");
    let moving = disk.data().join("store.moving");
    assert!(!store.exists() && !moving.exists());
    // The same, but the log was made.
    let moved = std::fs::read_dir(disk.data()).unwrap();
    let moved = moved.map(|entry| entry.unwrap().path());
    let is_moved = |path: &PathBuf| path.to_string_lossy().contains("store.moved-");
    let moved = moved.into_iter().find(is_moved).unwrap();
    std::fs::rename(moved, &moving).unwrap();
    assert!(start_refused(&disk).contains("was broken off at its end"));
    let why = refused(&mut migrate(&disk, disk.data(), Path::new(REDIS)));
    assert!(why.contains("were moved by an earlier run"), "{why}");
    assert!(!store.exists() && !moving.exists());
    assert_eq!(value(&patient(&home, &redis).start(), "a"), 1);
}

#[test]
fn a_store_that_is_served_beside_the_log_made_of_it_is_not_moved_and_both_revisions_are_told() {
    let test =
        "a_store_that_is_served_beside_the_log_made_of_it_is_not_moved_and_both_revisions_are_told";
    let Some(redis) = log(test) else { return };
    let homes: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let disk = on_disk(&homes[0], &redis);
    let counts = || {
        let server = disk.start();
        assert_eq!(count(&mut server.client(), "a"), Some(true));
        server.stop();
    };
    let to_redis = || refused(&mut migrate(&disk, disk.data(), Path::new(REDIS)));
    counts();
    let told = done(migrate(&disk, disk.data(), Path::new(REDIS)).arg("--json"));
    let told: Value = serde_json::from_str(&told).unwrap();
    let kept = told["kept"].as_str().unwrap();
    std::fs::rename(kept, disk.data().join("store")).unwrap();
    counts();
    let at = format!("at revision {}, and the store is at", told["revision"]);
    let why = to_redis();
    assert!(why.contains(&at), "{why}");
    assert!(why.contains("nothing was counted there"), "{why}");
    let server = patient(&homes[1], &redis).start();
    assert_eq!(count(&mut server.client(), "b"), Some(true));
    server.stop();
    let why = to_redis();
    assert!(why.contains("somebody has to decide"), "{why}");
    assert_eq!(value(&disk.start(), "a"), 2);
}

#[test]
fn a_move_to_disk_that_was_killed_serves_nobody_and_is_begun_anew() {
    let test = "a_move_to_disk_that_was_killed_serves_nobody_and_is_begun_anew";
    let Some(redis) = log(test) else { return };
    let homes: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let (disk, control, account) = filled(&homes[0], &redis);
    done(&mut migrate(&disk, disk.data(), Path::new(REDIS)));
    let back = on_disk(&homes[1], &redis);
    let way = SlowProxy::before(redis.port());
    for at in ["HSCAN", COMPARES] {
        let places = [Path::new(REDIS), back.data()];
        let child = held_back(&back, &way, &redis, places, at);
        kill9(&way, child);
        assert!(start_refused(&back).contains("was broken off"), "{at}");
        assert!(checked(&back).contains("was broken off"), "{at}");
    }
    // Nothing is lost in Redis by that.
    let instance = patient(&homes[0], &redis).start();
    is_exact(&instance, &control, &account);
    instance.stop();
    done(&mut migrate(&back, Path::new(REDIS), back.data()));
    is_exact(&back.start(), &control, &account);
}

#[test]
fn a_wrong_record_is_found_before_anybody_counts_with_it() {
    let test = "a_wrong_record_is_found_before_anybody_counts_with_it";
    let Some(redis) = log(test) else { return };
    let homes: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let (disk, control, account) = filled(&homes[0], &redis);
    let way = SlowProxy::before(redis.port());
    let wrong = "HSET {counterd:0}:counters \x05t.sum other";
    for (planted, found) in [
        (wrong, "the record \\x05t.sum of counters is not the same"),
        ("HDEL {counterd:0}:counters \x05t.sum", "is not the same"),
        (
            "HSET {counterd:0}:counters none value",
            "of counters there are",
        ),
    ] {
        let places = [disk.data(), Path::new(REDIS)];
        let child = held_back(&disk, &way, &redis, places, COMPARES);
        redis.say::<u64>(planted);
        let why = failed(&way, child);
        assert!(why.contains(found), "{why}");
        assert!(!cell(&redis));
    }
    done(&mut migrate(&disk, disk.data(), Path::new(REDIS)));
    let back = on_disk(&homes[1], &redis);
    let places = [Path::new(REDIS), back.data()];
    let right: Vec<u8> = redis.say("HGET {counterd:0}:counters \x05t.sum");
    let child = held_back(&back, &way, &redis, places, COMPARES);
    redis.say::<u64>(wrong);
    let why = failed(&way, child);
    assert!(why.contains("of counters is not the same"), "{why}");
    let mut put = redis::cmd("HSET");
    put.arg("{counterd:0}:counters").arg("\x05t.sum").arg(right);
    redis.ask::<u64>(&mut put);
    done(&mut migrate(&back, Path::new(REDIS), back.data()));
    is_exact(&back.start(), &control, &account);
}

#[test]
fn what_is_counted_while_the_log_is_moved_away_is_not_left_behind() {
    let test = "what_is_counted_while_the_log_is_moved_away_is_not_left_behind";
    let Some(redis) = log(test) else { return };
    let homes: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let instance = patient(&homes[0], &redis);
    let server = instance.start();
    assert_eq!(count(&mut server.client(), "a"), Some(true));
    server.stop();
    let back = on_disk(&homes[1], &redis);
    let way = SlowProxy::before(redis.port());
    let places = [Path::new(REDIS), back.data()];
    // Everything was compared, and the end is all that is to come.
    let child = held_back(&back, &way, &redis, places, ENDS);
    let server = instance.start();
    assert_eq!(count(&mut server.client(), "a"), Some(true));
    server.stop();
    let why = failed(&way, child);
    assert!(why.contains("the shared log changed meanwhile"), "{why}");
    let child = held_back(&back, &way, &redis, places, ENDS);
    // It counts nothing yet.
    let now: (u64, u64) = redis.say("TIME");
    redis.say::<u64>(&format!("ZADD {{counterd:0}}:up {} one", now.0 * 1000));
    let why = failed(&way, child);
    assert!(why.contains("an instance is up"), "{why}");
    redis.say::<u64>("ZREM {counterd:0}:up one");
    assert!(!back.data().join("store").exists());
    done(&mut migrate(&back, Path::new(REDIS), back.data()));
    assert_eq!(value(&back.start(), "a"), 2);
}

#[test]
fn a_move_that_cannot_be_right_is_refused_and_changes_nothing() {
    let test = "a_move_that_cannot_be_right_is_refused_and_changes_nothing";
    let Some(redis) = log(test) else { return };
    let homes: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let disk = on_disk(&homes[0], &redis);
    let to_redis = || refused(&mut migrate(&disk, disk.data(), Path::new(REDIS)));
    assert!(to_redis().contains("there is no store in"));
    assert!(!disk.data().exists());
    let server = disk.start();
    assert_eq!(count(&mut server.client(), "a"), Some(true));
    assert!(to_redis().contains("in use by another process"));
    server.stop();
    let nowhere = refused(&mut migrate(
        &disk,
        Path::new(REDIS),
        &homes[1].path().join("data"),
    ));
    assert!(
        nowhere.contains("there is no shared log under"),
        "{nowhere}"
    );
    let one_place = disk
        .command("migrate")
        .args(["--from", REDIS, "--to", REDIS])
        .output();
    assert_eq!(one_place.unwrap().status.code(), Some(2));
    let no_url = disk.clone().without("redis.url");
    let no_url = refused(&mut migrate(&no_url, disk.data(), Path::new(REDIS)));
    assert!(no_url.contains("redis.url is not set"), "{no_url}");
    redis.say::<()>("CONFIG SET maxmemory-policy allkeys-lru");
    assert!(to_redis().contains("maxmemory-policy is"));
    redis.say::<()>("CONFIG SET maxmemory-policy noeviction");
    // Another log is there.
    let instance = patient(&homes[1], &redis);
    let server = instance.start();
    assert_eq!(count(&mut server.client(), "b"), Some(true));
    let taken = to_redis();
    assert!(taken.contains("of another store, on epoch"), "{taken}");
    assert!(taken.contains("xargs redis-cli UNLINK"), "{taken}");
    server.stop();
    let into_a_store = refused(&mut migrate(&disk, Path::new(REDIS), disk.data()));
    assert!(
        into_a_store.contains("there is a store in"),
        "{into_a_store}"
    );
    assert_eq!(value(&instance.start(), "b"), 1);
    assert_eq!(value(&disk.start(), "a"), 1);
}

#[test]
fn who_followed_an_earlier_log_finds_a_loss_only_where_there_is_one() {
    let test = "who_followed_an_earlier_log_finds_a_loss_only_where_there_is_one";
    let Some(redis) = log(test) else { return };
    let homes: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let disk = on_disk(&homes[0], &redis);
    let server = disk.start();
    assert_eq!(count(&mut server.client(), "a"), Some(true));
    server.stop();
    let there = || done(&mut migrate(&disk, disk.data(), Path::new(REDIS)));
    there();
    // One that knows only Redis, and stays as it is from now on.
    let instance = patient(&homes[1], &redis);
    let server = instance.start();
    for _ in 0..3 {
        assert_eq!(count(&mut server.client(), "a"), Some(true));
    }
    server.stop();
    done(&mut migrate(&disk, Path::new(REDIS), disk.data()));
    let moved = std::fs::read_dir(disk.data()).unwrap();
    let moved = moved.map(|entry| entry.unwrap().path());
    let old = moved.filter(|path| path.to_string_lossy().contains("store.moved-"));
    let old: Vec<PathBuf> = old.collect();
    assert_eq!(old.len(), 1);
    let server = disk.start();
    assert_eq!(count(&mut server.client(), "a"), Some(true));
    server.stop();
    let taken = refused(&mut migrate(&disk, disk.data(), Path::new(REDIS)));
    assert!(taken.contains("whose counts were moved to"), "{taken}");
    empty(&redis);
    there();
    let server = instance.start();
    assert_eq!(value(&server, "a"), 5);
    assert_eq!(count(&mut server.client(), "a"), Some(true));
    server.stop();
    // The store as it was at the first move, without what Redis counted after it.
    empty(&redis);
    std::fs::rename(&old[0], disk.data().join("store")).unwrap();
    there();
    let lost = start_refused(&instance);
    assert!(lost.contains("Redis lost some of the"), "{lost}");
}
