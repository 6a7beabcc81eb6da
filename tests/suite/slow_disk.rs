//! A disk that hangs: nothing is refused for it, reads go on, and log, readiness and metrics tell of it
//! until it is over.

use std::time::Duration;

use serde_json::json;

use crate::harness::{
    Listener, PATIENCE, Server, Setup, SmallDisk, Tracer, can_trace, eventually, skipped,
    store_files,
};

const COUNTER: &str = "/api/v1/counter/total_games_played";
const SLOW: &str = "the disk is slow: writes wait for it";
const OVER: &str = "the disk answers again";

fn increment() -> String {
    format!("{COUNTER}/increment")
}

/// Waits until it is told everywhere that writes wait; claims that reads do not.
fn is_told(server: &Server) {
    let mut client = server.client();
    let problem = eventually("readiness says so", PATIENCE, || {
        let answer = client.get("/readyz?writes&verbose");
        (answer.status == 503).then_some(answer)
    })
    .refused(503, "slow_disk");
    assert_eq!(problem["cause"], "slow_disk");
    assert_eq!(problem["mode"], "normal", "nothing is refused");
    assert!(problem["since"].is_string(), "{problem}");
    assert_eq!(client.get("/readyz").status, 200);
    client.get(COUNTER).ok();
    let metrics = client.get("/metrics").text();
    let waits = metrics
        .lines()
        .find_map(|line| line.strip_prefix("counterd_disk_wait_seconds "))
        .unwrap();
    assert!(waits.parse::<f64>().unwrap() > 0.0, "{waits}");
    eventually("the log says so", PATIENCE, || {
        server.output().contains(SLOW).then_some(())
    });
}

fn is_over(server: &Server) {
    let mut client = server.client();
    eventually("readiness says that it is over", PATIENCE, || {
        (client.get("/readyz?writes").status == 200).then_some(())
    });
    eventually("the log says that it is over", PATIENCE, || {
        server.output().contains(OVER).then_some(())
    });
    assert_eq!(client.get("/readyz?verbose").ok()["cause"], json!(null));
    assert_eq!(server.output().matches(SLOW).count(), 1);
}

#[test]
fn a_disk_that_hangs_is_told_and_what_waited_is_counted_once() {
    let disk = match SmallDisk::new(200) {
        Ok(disk) => disk,
        Err(reason) => {
            return skipped(
                "a_disk_that_hangs_is_told_and_what_waited_is_counted_once",
                &reason,
            );
        }
    };
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path())
        .data_dir(&disk.path().join("data"))
        .set("storage.slow_disk_after", "300ms");
    let server = setup.start();
    server.client().post(&increment(), &json!({})).ok();
    let frozen = disk.freeze().unwrap();
    let (mut early, mut late) = (server.client(), server.client());
    early.send("POST", &increment(), &[], b"{}").unwrap();
    is_told(&server);
    late.send("POST", &increment(), &[], b"{}").unwrap();
    eventually("the late one waits too", PATIENCE, || {
        let verbose = server.client().get("/readyz?verbose").ok();
        verbose["lags"]["queued_operations"]
            .as_u64()
            .filter(|&queued| queued >= 1)
    });
    drop(frozen);
    for client in [&mut early, &mut late] {
        client.receive().unwrap().ok();
    }
    is_over(&server);
    assert_eq!(server.client().value("total_games_played"), 3);
    server.stop();
}

/// Neither on a connection that is open nor to one that comes.
#[test]
fn what_waits_for_the_disk_is_told_to_nobody_who_watches() {
    let disk = match SmallDisk::new(200) {
        Ok(disk) => disk,
        Err(reason) => {
            return skipped(
                "what_waits_for_the_disk_is_told_to_nobody_who_watches",
                &reason,
            );
        }
    };
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path())
        .data_dir(&disk.path().join("data"))
        .set("push.interval", "10ms")
        .set("storage.slow_disk_after", "300ms");
    let server = setup.start();
    server.client().post(&increment(), &json!({})).ok();
    let watch = || Listener::open(&server, "names=total_games_played", &[]);
    let value_of = |listener: &mut Listener| listener.state().data["counters"][0]["value"].clone();
    let mut early = watch();
    assert_eq!(value_of(&mut early), 1);
    let frozen = disk.freeze().unwrap();
    let mut client = server.client();
    client.send("POST", &increment(), &[], b"{}").unwrap();
    // Many times `push.interval`.
    is_told(&server);
    assert_eq!(value_of(&mut watch()), 1);
    early.set_patience(Duration::from_millis(1)).unwrap();
    assert_eq!(early.poll().unwrap(), None);
    early.set_patience(PATIENCE).unwrap();
    drop(frozen);
    client.receive().unwrap().ok();
    assert_eq!(early.next().data["value"], 2);
    server.stop();
}

#[test]
fn what_the_server_syncs_by_itself_is_watched_too() {
    if let Err(reason) = can_trace() {
        return skipped("what_the_server_syncs_by_itself_is_watched_too", &reason);
    }
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path()).set("storage.slow_disk_after", "300ms");
    let server = setup.start();
    let mut arguments = ["-f", "-qq", "--trace=fdatasync,fsync", "-o", "/dev/null"]
        .map(str::to_owned)
        .to_vec();
    arguments.push("--inject=fdatasync,fsync:delay_enter=3s:when=1".to_owned());
    for file in store_files(setup.data(), &["ACKED"]) {
        arguments.push(format!("--trace-path={}", file.display()));
    }
    let tracer = Tracer::attach(&server, &arguments);
    // The record of what is acknowledged is synced once a second where something was.
    server.client().post(&increment(), &json!({})).ok();
    is_told(&server);
    is_over(&server);
    drop(tracer);
    server.stop();
}
