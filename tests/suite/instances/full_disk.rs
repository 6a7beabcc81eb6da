//! The disk of Redis is full: nothing is counted that is not on it, nothing acknowledged is lost, and counting goes on when there
//! is room again.

use super::faults::counts_exactly;
use super::{instance, log_with, writes_again};
use crate::harness::{PATIENCE, Redis, Server, SmallDisk, eventually, skipped};

/// A Redis whose files are on a small disk, and two instances that count over it.
struct Crowded {
    servers: Vec<Server>,
    redis: Redis,
    disk: SmallDisk,
    _homes: Vec<tempfile::TempDir>,
}

impl Crowded {
    fn new(test: &str) -> Option<Self> {
        let disk = SmallDisk::new(48).map_err(|reason| skipped(test, &reason));
        let disk = disk.ok()?;
        let redis = log_with(test, ["--dir", disk.path().to_str().unwrap()])?;
        let homes: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
        let servers = homes.iter().map(|home| instance(home, &redis).start());
        Some(Self {
            servers: servers.collect(),
            redis,
            disk,
            _homes: homes,
        })
    }
}

#[test]
fn a_redis_that_syncs_always_ends_on_a_full_disk_and_nothing_is_lost_or_doubled() {
    let test = "a_redis_that_syncs_always_ends_on_a_full_disk_and_nothing_is_lost_or_doubled";
    let Some(crowded) = Crowded::new(test) else {
        return;
    };
    let Crowded {
        servers,
        mut redis,
        disk,
        ..
    } = crowded;
    counts_exactly(&servers, |told| {
        told.goes_on(301);
        disk.fill(64 << 10);
        eventually("Redis ends", PATIENCE, || redis.has_ended().then_some(()));
        disk.empty();
        redis.start();
        servers.iter().for_each(writes_again);
        told.goes_on(301);
    });
}
