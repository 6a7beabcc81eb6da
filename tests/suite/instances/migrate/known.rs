//! A move out of a log that lost groups which nobody told of yet.

use std::path::Path;

use super::super::{count, log, patient};
use super::{REDIS, done, migrate, on_disk, refused};

#[test]
fn a_log_that_lost_what_the_instance_of_the_configuration_knows_is_not_moved_out() {
    let test = "a_log_that_lost_what_the_instance_of_the_configuration_knows_is_not_moved_out";
    let Some(redis) = log(test) else { return };
    let homes: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let server = patient(&homes[0], &redis).start();
    assert_eq!(count(&mut server.client(), "a"), Some(true));
    server.stop();
    let position: u64 = redis.say("HGET {counterd:0}:cell position");
    let elsewhere = homes[1].path().join("data");
    let mut to_elsewhere = migrate(&on_disk(&homes[0], &redis), Path::new(REDIS), &elsewhere);
    redis.say::<u64>("HSET {counterd:0}:cell position 1");
    let why = refused(&mut to_elsewhere);
    assert!(why.contains("Redis lost some of the"), "{why}");
    assert!(!elsewhere.join("store").exists());
    redis.say::<u64>(&format!("HSET {{counterd:0}}:cell position {position}"));
    done(&mut to_elsewhere);
}
