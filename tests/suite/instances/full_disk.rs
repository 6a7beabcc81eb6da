//! The disk of Redis is full: nothing is counted that is not on it, nothing acknowledged is lost, and counting goes on when there
//! is room again.

use super::faults::counts_exactly;
use super::{count, instance, log_with, tells_of_disks, writes_again};
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

    fn refuses_writes(&self) {
        for server in &self.servers {
            let mut client = server.client();
            eventually("writes are refused", PATIENCE, || {
                (count(&mut client, "again") == Some(false)).then_some(())
            });
            assert_eq!(client.get("/api/v1/counter/a").status, 200);
        }
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

#[test]
fn a_redis_that_syncs_each_second_refuses_on_a_full_disk_and_goes_on_by_itself() {
    let test = "a_redis_that_syncs_each_second_refuses_on_a_full_disk_and_goes_on_by_itself";
    let Some(crowded) = Crowded::new(test) else {
        return;
    };
    if !tells_of_disks(&crowded.redis) {
        return skipped(test, "this Redis has to sync always");
    }
    crowded.redis.say::<()>("CONFIG SET appendfsync everysec");
    counts_exactly(&crowded.servers, |told| {
        told.goes_on(51);
        crowded.disk.fill(64 << 10);
        crowded.refuses_writes();
        crowded.disk.empty();
        crowded.servers.iter().for_each(writes_again);
        told.goes_on(51);
    });
}
