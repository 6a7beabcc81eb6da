//! A move counts as done only once the replicas know of it.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::super::{count, log, replica, value, waiting};
use super::{
    ENDS, MAKES, REDIS, cell, done, failed, held_within, migrate, on_disk, refused, start_refused,
};
use crate::harness::{PATIENCE, SlowProxy, eventually};

#[test]
fn there_is_no_log_before_the_replicas_have_all_records() {
    let test = "there_is_no_log_before_the_replicas_have_all_records";
    let Some(redis) = log(test) else { return };
    let replica = replica(&redis);
    let home = tempfile::tempdir().unwrap();
    let disk = on_disk(&home, &redis).set("redis.ack", "replicas");
    let disk = disk.set("redis.timeout", "2s");
    let server = disk.start();
    assert_eq!(count(&mut server.client(), "a"), Some(true));
    server.stop();
    replica.pause();
    let mut command = migrate(&disk, disk.data(), Path::new(REDIS));
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    eventually("the records are written", PATIENCE, || {
        (redis.say::<u64>("EXISTS {counterd:0}:counters") == 1).then_some(())
    });
    let begun = Instant::now();
    eventually("one wait is over, and more", PATIENCE, || {
        (begun.elapsed() > Duration::from_secs(5)).then_some(())
    });
    assert!(child.try_wait().unwrap().is_none(), "it waits on");
    assert!(!cell(&redis));
    replica.resume();
    let ran = child.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{error}");
    assert_eq!(value(&waiting(&home, &redis).start(), "a"), 1);
}

#[test]
fn a_store_gets_its_place_only_once_the_replicas_know_that_it_has_the_counts() {
    let test = "a_store_gets_its_place_only_once_the_replicas_know_that_it_has_the_counts";
    let Some(redis) = log(test) else { return };
    let replica = replica(&redis);
    let homes: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let server = waiting(&homes[0], &redis).start();
    assert_eq!(count(&mut server.client(), "a"), Some(true));
    server.stop();
    let way = SlowProxy::before(redis.port());
    let back = on_disk(&homes[1], &redis).set("redis.ack", "replicas");
    let in_time = back.clone().set("redis.timeout", "10s");
    let places = [Path::new(REDIS), back.data()];
    let child = held_within(&in_time, &way, &redis, places, ENDS);
    replica.pause();
    let why = failed(&way, child);
    assert!(why.contains("was not on all the disks"), "{why}");
    assert!(!back.data().join("store").exists());
    assert!(start_refused(&back).contains("run it again"));
    replica.resume();
    done(&mut migrate(&in_time, Path::new(REDIS), back.data()));
    assert_eq!(value(&back.start(), "a"), 1);
}

#[test]
fn a_move_that_ended_before_the_replicas_had_the_log_is_done_once_they_have_it() {
    let test = "a_move_that_ended_before_the_replicas_had_the_log_is_done_once_they_have_it";
    let Some(redis) = log(test) else { return };
    let replica = replica(&redis);
    let home = tempfile::tempdir().unwrap();
    let disk = on_disk(&home, &redis).set("redis.ack", "replicas");
    let server = disk.start();
    assert_eq!(count(&mut server.client(), "a"), Some(true));
    server.stop();
    let way = SlowProxy::before(redis.port());
    let in_time = disk.clone().set("redis.timeout", "10s");
    let places = [disk.data(), Path::new(REDIS)];
    let child = held_within(&in_time, &way, &redis, places, MAKES);
    replica.pause();
    let why = failed(&way, child);
    assert!(why.contains("was not on all the disks"), "{why}");
    let again = || refused(&mut migrate(&in_time, disk.data(), Path::new(REDIS)));
    let why = again();
    assert!(why.contains("was not on all the disks"), "{why}");
    assert!(disk.data().join("store.moving").exists());
    replica.resume();
    let why = again();
    assert!(why.contains("were moved by an earlier run"), "{why}");
    assert_eq!(value(&waiting(&home, &redis).start(), "a"), 1);
}
