//! An instance that slept while the log that it had read was moved away and came back.

use std::path::Path;

use super::super::{agrees, count, log, patient, value};
use super::{REDIS, done, empty, migrate, on_disk};
use crate::harness::{PATIENCE, SlowProxy, eventually};

/// After how many bytes the length of the log is looked at: only a group that is appended says so.
const APPENDS: &str = "536870912";

#[test]
fn an_instance_that_slept_while_the_log_went_away_and_came_back_does_not_take_it_for_the_same() {
    let test = "an_instance_that_slept_while_the_log_went_away_and_came_back_does_not_take_it_for_the_same";
    let Some(redis) = log(test) else { return };
    let homes: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let counts_on_disk = |home| {
        let disk = on_disk(home, &redis);
        let server = disk.start();
        assert_eq!(count(&mut server.client(), "a"), Some(true));
        server.stop();
        done(&mut migrate(&disk, disk.data(), Path::new(REDIS)));
    };
    counts_on_disk(&homes[0]);
    // It sleeps once it has read everything and before its first group: the log is as it was made.
    let way = SlowProxy::before(redis.port());
    way.hold_at(APPENDS);
    let mut asleep = patient(&homes[1], &redis)
        .set("redis.url", &redis.url_through(way.port()))
        .set("redis.timeout", "5m")
        .set("redis.max_lag", "5m")
        .spawn();
    way.wait_held();
    asleep.signal(libc::SIGSTOP);
    let back = on_disk(&homes[2], &redis);
    eventually("the log is moved away", PATIENCE, || {
        let moved = migrate(&back, Path::new(REDIS), back.data()).output();
        moved.unwrap().status.success().then_some(())
    });
    empty(&redis);
    counts_on_disk(&homes[2]);
    asleep.signal(libc::SIGCONT);
    way.let_go();
    asleep.wait_ready();
    agrees(&[&asleep], "a", 2);
    assert_eq!(count(&mut asleep.client(), "a"), Some(true));
    assert_eq!(value(&asleep, "a"), 3);
}
