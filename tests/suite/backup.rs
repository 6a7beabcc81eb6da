//! Backups with the real binary: under load, cut off, damaged, restored; and what the store is said
//! to hold.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

use crate::checker::{History, Moment};
use crate::harness::{Dice, PATIENCE, Server, Setup, eventually};
use crate::traffic::{self, Control, Mix};

fn run(setup: &Setup, name: &str, arguments: &[&str]) -> Output {
    setup.command(name).args(arguments).output().unwrap()
}

/// Runs a command that must succeed; gives what it prints.
#[track_caller]
fn said(setup: &Setup, name: &str, arguments: &[&str]) -> String {
    let ran = run(setup, name, arguments);
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{name} {arguments:?}: {errors}");
    String::from_utf8(ran.stdout).unwrap()
}

#[track_caller]
fn json_of(setup: &Setup, name: &str, arguments: &[&str]) -> Value {
    let mut arguments = arguments.to_vec();
    arguments.push("--json");
    serde_json::from_str(&said(setup, name, &arguments)).unwrap()
}

/// Runs a command that must fail at run time; gives what it says.
#[track_caller]
fn refused(setup: &Setup, name: &str, arguments: &[&str]) -> String {
    let ran = run(setup, name, arguments);
    let errors = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(ran.status.code(), Some(1), "{errors}");
    errors
}

/// The directory of backups, as an argument.
fn backups(home: &Path) -> (PathBuf, String) {
    let dir = home.join("backups");
    let text = dir.to_str().unwrap().to_owned();
    (dir, text)
}

/// Every file below a directory with its content, but for what comes and goes.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() && path.file_name().unwrap() != "lock" {
            let bytes = fs::read(&path).unwrap();
            found.push((path, bytes));
        }
    }
    found.sort();
    found
}

/// A data directory of its own under the same home, for restoring to.
fn elsewhere(home: &Path) -> Setup {
    let other = home.join("elsewhere");
    fs::create_dir_all(&other).unwrap();
    Setup::new(&other).set("push.interval", "10ms")
}

/// Counts so many users, in batches.
fn count_users(server: &Server, from: u64, to: u64) {
    let mut client = server.client();
    let users: Vec<u64> = (from..to).collect();
    for some in users.chunks(500) {
        let one = |user: &u64| json!({"op": "increment", "name": "daily_active_users", "user_id": format!("user-{user:016x}")});
        let operations: Vec<Value> = some.iter().map(one).collect();
        client
            .post("/api/v1/batch", &json!({"operations": operations}))
            .ok();
    }
}

/// What was done up to a revision, and nothing after it. What changed nothing has no revision of its
/// own: of that, only what was answered before the backup began is known to be in it.
fn up_to(revision: u64, begun: Moment, mut history: History) -> History {
    history.readings.clear();
    for stream in &mut history.streams {
        stream.forget_words();
    }
    history.intents.retain(|intent| {
        let Some(parts) = intent.acknowledged() else {
            return true;
        };
        let counted = parts.iter().filter(|part| part.counted);
        match counted.map(|part| part.revision).max() {
            Some(highest) => highest <= revision,
            None => intent.tries.iter().all(|one| one.ended < begun),
        }
    });
    history
}

#[test]
fn a_backup_under_load_restored_elsewhere_is_the_state_at_one_revision() {
    let home = tempfile::tempdir().unwrap();
    let (_, dir) = backups(home.path());
    let setup = Setup::new(home.path()).set("push.interval", "10ms");
    let server = setup.start();
    traffic::define(&mut server.admin());
    let mix = Mix {
        connections: 16,
        seed: crate::harness::seed(
            "a_backup_under_load_restored_elsewhere_is_the_state_at_one_revision",
        ),
        users: 3000,
        big_batches: 2,
        watchers: 2,
        daily: false,
    };
    let control = Control::new();
    let (history, (made, begun, ended)) = traffic::during(server.address(), mix, &control, || {
        control.wait_for(3000);
        said(&setup, "backup", &[&dir]);
        control.wait_for(500);
        let begun = control.now();
        let made = json_of(&setup, "backup", &[&dir]);
        let ended = control.now();
        control.wait_for(4000);
        (made, begun, ended)
    });
    let live = server.client().get("/api/v1/counter/t.sum").ok();
    server.stop();
    assert_eq!(made["backup"]["backup"], 2);
    let revision = made["backup"]["revision"].as_u64().unwrap();
    claim_between(&history, revision, begun, ended);

    let other = elsewhere(home.path());
    let restored = json_of(&other, "restore", &[&dir]);
    assert_eq!(restored["restored"]["revision"], revision);
    let server = other.start();
    let mut client = server.client();
    let read = client.get("/api/v1/counter/t.sum").ok();
    assert_eq!(read["epoch"], restored["epoch"]);
    assert!(read["epoch"].as_u64() > live["epoch"].as_u64());
    assert!(
        read["revision"].as_u64() < live["revision"].as_u64(),
        "{read} {live}"
    );
    traffic::verify(&mut client, &control, up_to(revision, begun, history));
    // It counts on, above every revision that the backup holds.
    let next = client
        .post("/api/v1/counter/t.sum/increment", &json!({}))
        .ok();
    assert!(next["revision"].as_u64() > Some(revision));
    server.stop();
}

/// Claims that what was acknowledged before the backup began is in it, and what was begun after it
/// ended is not.
fn claim_between(history: &History, revision: u64, begun: Moment, ended: Moment) {
    let (mut before, mut after) = (0, 0);
    for intent in &history.intents {
        let Some(parts) = intent.acknowledged() else {
            continue;
        };
        let (first, last) = (intent.tries.first().unwrap(), intent.tries.last().unwrap());
        let highest = parts.iter().map(|part| part.revision).max().unwrap();
        let counted = parts.iter().any(|part| part.counted);
        if last.ended < begun {
            assert!(highest <= revision, "lost: {intent:?}");
            before += 1;
        } else if first.begun > ended && counted {
            assert!(highest > revision, "from the future: {intent:?}");
            after += 1;
        }
    }
    assert!(before > 100 && after > 100, "{before} {after}");
}

#[test]
fn the_next_backup_writes_only_what_is_new_and_old_ones_go() {
    let home = tempfile::tempdir().unwrap();
    let (path, dir) = backups(home.path());
    let setup = Setup::new(home.path());
    let server = setup.start();
    count_users(&server, 0, 30_000);
    let first = json_of(&setup, "backup", &[&dir])["backup"].clone();
    count_users(&server, 30_000, 30_500);
    let second = json_of(&setup, "backup", &[&dir])["backup"].clone();
    let bytes = |of: &Value, which: &str| of[which].as_u64().unwrap();
    assert_eq!(bytes(&first, "new_bytes"), bytes(&first, "bytes"));
    assert!(bytes(&second, "bytes") > bytes(&first, "bytes"), "{second}");
    assert!(
        bytes(&second, "new_bytes") * 4 < bytes(&second, "bytes"),
        "{second}"
    );
    assert_eq!(
        (&first["verified"], &second["verified"]),
        (&json!(true), &json!(true))
    );
    let listed = json_of(&setup, "backup", &[&dir, "--list"]);
    assert_eq!(listed["backups"], json!([first, second]));

    server.stop();
    // Without a server the same is done on the store itself.
    let third = json_of(&setup, "backup", &[&dir, "--keep", "1", "--no-verify"]);
    assert_eq!(third["removed"], json!([1, 2]));
    assert_eq!(third["backup"]["verified"], false);
    let table = said(&setup, "backup", &[&dir, "--list"]);
    assert_eq!(table.lines().count(), 2, "{table}");
    assert!(table.contains("not verified"), "{table}");
    let manifest = fs::read(path.join("backup-3.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let files = fs::read_dir(path.join("files")).unwrap().count();
    assert_eq!(files, manifest["files"].as_array().unwrap().len());
    let told = said(&setup, "backup", &[&dir, "--no-verify"]);
    assert!(told.contains("NOT verified"), "{told}");
}

#[test]
fn a_flipped_byte_is_found_and_refused_with_nothing_changed() {
    let home = tempfile::tempdir().unwrap();
    let (path, dir) = backups(home.path());
    let setup = Setup::new(home.path());
    let server = setup.start();
    count_users(&server, 0, 2000);
    said(&setup, "backup", &[&dir]);
    server.stop();
    let before = files(setup.data());
    let mut dice = Dice::new(crate::harness::seed(
        "a_flipped_byte_is_found_and_refused_with_nothing_changed",
    ));
    for (file, bytes) in files(&path) {
        let at = dice.below(bytes.len() as u64);
        let damaged = fs::File::options().write(true).open(&file).unwrap();
        let byte = bytes[usize::try_from(at).unwrap()];
        damaged.write_all_at(&[byte ^ 0x20], at).unwrap();
        let told = refused(&setup, "restore", &[&dir, "--replace"]);
        assert!(
            told.contains("damaged") && told.contains(file.to_str().unwrap()),
            "byte {at} of {}: {told}",
            file.display()
        );
        damaged.write_all_at(&[byte], at).unwrap();
    }
    assert!(
        files(setup.data()) == before,
        "a refused restore changed something"
    );
    let told = refused(&setup, "restore", &[&dir]);
    assert!(told.contains("--replace"), "{told}");
    let told = refused(&setup, "restore", &[&dir, "--replace", "--backup", "7"]);
    assert!(told.contains("no backup 7; there are 1"), "{told}");
    assert!(files(setup.data()) == before);
    let told = said(&setup, "restore", &[&dir, "--replace"]);
    assert!(told.contains("store.before-"), "{told}");
    let server = setup.start();
    assert_eq!(server.client().value("daily_active_users"), 2000);
    let told = refused(&setup, "restore", &[&dir, "--replace"]);
    assert!(told.contains("in use by another process"), "{told}");
    server.stop();
}

#[test]
fn a_backup_that_was_cut_off_leaves_none_that_looks_whole() {
    let home = tempfile::tempdir().unwrap();
    let (path, dir) = backups(home.path());
    let setup = Setup::new(home.path());
    let mut server = setup.start();
    count_users(&server, 0, 40_000);
    let mut restores = 0;
    // Whatever looks like a backup is one.
    let mut whole = || {
        let listed = json_of(&setup, "backup", &[&dir, "--list"]);
        let listed = listed["backups"].as_array().unwrap().clone();
        for one in &listed {
            assert!(one["error"].is_null(), "{one}");
            let number = one["backup"].to_string();
            restores += 1;
            let other = elsewhere(&home.path().join(restores.to_string()));
            said(&other, "restore", &[&dir, "--backup", &number]);
        }
        listed
    };
    let frozen = setup.data().join("checkpoint");
    for round in 0..4_u64 {
        count_users(&server, 40_000 + round * 500, 40_500 + round * 500);
        let mut command = setup.command("backup");
        command
            .arg(&dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut command = command.spawn().unwrap();
        eventually("the backup is under way, or done", PATIENCE, || {
            (frozen.exists() || command.try_wait().unwrap().is_some()).then_some(())
        });
        if round % 2 == 0 {
            // The command goes; the server finds out and clears up.
            let _ = command.kill();
            command.wait().unwrap();
            eventually("the checkpoint is removed", PATIENCE, || {
                (!frozen.exists()).then_some(())
            });
        } else {
            server.kill9();
            command.wait().unwrap();
            server = setup.start();
            assert!(!frozen.exists(), "a start clears it away");
        }
        if path.exists() {
            whole();
        }
    }
    said(&setup, "backup", &[&dir]);
    let newest = whole().pop().unwrap();
    server.stop();
    let other = elsewhere(home.path());
    said(&other, "restore", &[&dir]);
    let server = other.start();
    assert_eq!(server.client().value("daily_active_users"), 42_000);
    let revision = server
        .client()
        .get("/api/v1/counter/daily_active_users")
        .ok();
    assert_eq!(newest["revision"], revision["revision"]);
    server.stop();
}

#[test]
fn a_backup_is_refused_where_it_would_be_lost_and_while_another_is_made() {
    let home = tempfile::tempdir().unwrap();
    let (path, dir) = backups(home.path());
    let setup = Setup::new(home.path());
    let server = setup.start();
    let inside = setup.data().join("backups");
    let told = refused(&setup, "backup", &[inside.to_str().unwrap()]);
    assert!(told.contains("lies in the data directory"), "{told}");
    assert!(!inside.exists());
    said(&setup, "backup", &[&dir]);
    let held = fs::File::options()
        .write(true)
        .open(path.join("lock"))
        .unwrap();
    flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
    let told = refused(&setup, "backup", &[&dir]);
    assert!(
        told.contains("another backup or restore is at work"),
        "{told}"
    );
    drop(held);
    said(&setup, "backup", &[&dir]);
    server.stop();
}

#[test]
fn what_the_store_holds_is_told_alike_with_and_without_a_server_and_nothing_changes() {
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path());
    let server = setup.start();
    count_users(&server, 0, 700);
    let mut admin = server.admin();
    for name in ["a", "b"] {
        admin
            .post(&format!("/api/v1/counter/{name}/increment"), &json!({}))
            .ok();
    }
    let gone = admin
        .request("DELETE", "/api/v1/counter/b", &[], b"")
        .unwrap();
    gone.ok();
    let running = json_of(&setup, "inspect", &["--count"]);
    let read = admin.get("/api/v1/counter/a").ok();
    server.stop();
    let before = files(setup.data());
    let stopped = json_of(&setup, "inspect", &["--count"]);
    let text = said(&setup, "inspect", &[]);
    assert!(files(setup.data()) == before, "inspect changed the store");
    for same in [
        "format",
        "merge",
        "epoch",
        "revision",
        "zone",
        "highest_day",
        "counters",
        "closed_through",
    ] {
        assert_eq!(running[same], stopped[same], "{same}");
    }
    assert_eq!(running["epoch"], read["epoch"]);
    assert_eq!(running["zone"], "UTC");
    assert_eq!(
        running["counters"],
        json!([
            {"kind": "gauge", "life": "deleted", "count": 1},
            {"kind": "gauge", "life": "live", "count": 2},
            {"kind": "sum", "life": "live", "count": 1},
            {"kind": "unique", "life": "live", "count": 2},
        ])
    );
    let dedup = |of: &Value| {
        let families = of["families"].as_array().unwrap().clone();
        let one = families.into_iter().find(|one| one["family"] == "dedup");
        one.unwrap()
    };
    assert_eq!(dedup(&running)["rows"], 700);
    assert_eq!(dedup(&stopped)["rows"], 700);
    assert!(dedup(&stopped)["bytes"].as_u64() > Some(0));
    for word in ["epoch", "zone             UTC", "1 deleted gauge", "dedup"] {
        assert!(text.contains(word), "{word} is not in\n{text}");
    }
    let nowhere = elsewhere(home.path());
    let told = refused(&nowhere, "inspect", &[]);
    assert!(told.contains("there is no store"), "{told}");
}

#[test]
fn compaction_on_request_says_what_it_freed_with_and_without_a_server() {
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path());
    let server = setup.start();
    count_users(&server, 0, 1000);
    let told = json_of(&setup, "compact", &[]);
    let families: Vec<_> = told["families"].as_array().unwrap().iter().collect();
    let names: Vec<_> = families.iter().map(|one| &one["family"]).collect();
    assert_eq!(
        names,
        ["days", "dedup", "samples", "history", "idempotency"]
    );
    assert_eq!(server.client().value("daily_active_users"), 1000);
    server.stop();
    let text = said(&setup, "compact", &[]);
    assert!(text.contains("dedup") && text.contains("all"), "{text}");
    let server = setup.start();
    let again = server.client().post(
        "/api/v1/counter/daily_active_users/increment",
        &json!({"user_id": format!("user-{:016x}", 5)}),
    );
    assert_eq!(again.ok()["counted"], false);
    server.stop();
}
