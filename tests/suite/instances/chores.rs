//! The work beside the writer, which one of several instances does: what two of them prepared at once is written once.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use counterd::calendar::{Calendar, Day};
use counterd::clock::SystemClock;
use counterd::mirror::RedisUrl;
use counterd::storage::expiry::Daily;
use counterd::storage::{Ack, LogAddress, OnLoss, StorageOptions};
use counterd::writer::{Failure, PreparedBatch, Running, WriterOptions};

use super::log;
use crate::harness::{PATIENCE, Redis, eventually};

/// An instance within this process.
fn within(dir: &Path, redis: &Redis) -> Running {
    let storage = StorageOptions {
        shared: Some(LogAddress {
            url: RedisUrl::parse(&redis.url()).unwrap(),
            prefix: String::new(),
            timeout: Duration::from_secs(5),
            max_lag: Duration::from_secs(10),
            max_clock_skew: Duration::from_secs(2),
            ack: Ack::Primary,
            on_loss: OnLoss::Stop,
            min_replicas: 0,
        }),
        ..crate::midnight::storage(dir)
    };
    let calendar = Calendar::new("UTC", "00:00".parse().unwrap()).unwrap();
    let options = WriterOptions {
        min_free: Some(1 << 20),
        ..WriterOptions::new(storage, Arc::new(SystemClock), calendar)
    };
    Running::start(options).unwrap()
}

#[test]
fn what_was_prepared_before_another_instance_worked_through_days_is_not_written() {
    let test = "what_was_prepared_before_another_instance_worked_through_days_is_not_written";
    let Some(redis) = log(test) else { return };
    let homes: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let (one, two) = (
        within(homes[0].path(), &redis),
        within(homes[1].path(), &redis),
    );
    let moves = |running: &Running, days: i32, as_of: u64| {
        running.intake.carry_out(PreparedBatch {
            horizons: vec![(Daily::Samples, Day::from_days(days).unwrap())],
            as_of: Some(as_of),
            ..PreparedBatch::default()
        })
    };
    // The one prepares, and is paused; the other does more of the same.
    let prepared = one.done_elsewhere();
    assert_eq!(moves(&two, 20_000, two.done_elsewhere()), Ok(()));
    assert_eq!(moves(&one, 19_000, prepared), Err(Failure::Overtaken));
    eventually("the one knows of it", PATIENCE, || {
        (one.done_elsewhere() != prepared).then_some(())
    });
    assert_eq!(moves(&one, 19_000, prepared), Err(Failure::Overtaken));
    for running in [&one, &two] {
        assert_eq!(running.reader.horizons.day(Daily::Samples), 20_000);
    }
    // What it works out again is written.
    assert_eq!(moves(&one, 20_001, one.done_elsewhere()), Ok(()));
    eventually("the other has it", PATIENCE, || {
        (two.reader.horizons.day(Daily::Samples) == 20_001).then_some(())
    });
    one.stop();
    two.stop();
}

#[test]
fn days_that_are_over_leave_redis_and_those_that_are_not_stay() {
    let test = "days_that_are_over_leave_redis_and_those_that_are_not_stay";
    let Some(redis) = log(test) else { return };
    let home = tempfile::tempdir().unwrap();
    let running = within(home.path(), &redis);
    // The days as they stand in keys.
    let hash =
        |family: &str, day: u32| format!("{{counterd:0}}:{family}:{:08x}", 0x8000_0000 + day);
    let planted = [
        (hash("samples", 19_000), false),
        (hash("samples", 19_999), false),
        (hash("samples", 20_000), true),
        (hash("days", 19_000), true),
    ];
    for (hash, _) in &planted {
        redis.say::<u64>(&format!("HSET {hash} key value"));
        redis.say::<u64>(&format!("SADD {{counterd:0}}:hashes {hash}"));
    }
    let moved = running.intake.carry_out(PreparedBatch {
        horizons: vec![(Daily::Samples, Day::from_days(20_000).unwrap())],
        as_of: Some(running.done_elsewhere()),
        ..PreparedBatch::default()
    });
    assert_eq!(moved, Ok(()));
    for (hash, stays) in &planted {
        let is_there = redis.say::<u64>(&format!("EXISTS {hash}")) == 1;
        let is_named = redis.say::<u64>(&format!("SISMEMBER {{counterd:0}}:hashes {hash}")) == 1;
        assert_eq!([is_there, is_named], [*stays; 2], "{hash}");
    }
    running.stop();
}
