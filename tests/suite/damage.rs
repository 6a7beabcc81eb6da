//! A store that lost what was acknowledged is refused by the binary, with nothing changed on disk and
//! words that name the file; `counterd recover` says what it gives up, and counting goes on.
//!
//! Kept out: all the ways of damage, which `src/storage/tests` goes through; here each command once.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::harness::{Dice, PATIENCE, Setup, SmallDisk, eventually, seed, skipped};

/// A store on which 300 increments were acknowledged, then a kill. Gives its epoch and revision.
fn killed_store(setup: &Setup) -> (u64, u64) {
    let server = setup.start();
    let mut client = server.client();
    for _ in 0..300 {
        client.post("/api/v1/counter/c/increment", &json!({})).ok();
    }
    // The sizes of the files are recorded about once a second: for the cut to be seen by the file too.
    let acked = setup.data().join("store/ACKED");
    let before = fs::read(&acked).unwrap();
    eventually("the sizes are recorded", PATIENCE, || {
        (fs::read(&acked).unwrap() != before).then_some(())
    });
    let reading = client.get("/api/v1/counter/c").ok();
    server.kill9();
    (
        reading["epoch"].as_u64().unwrap(),
        reading["revision"].as_u64().unwrap(),
    )
}

/// The log that holds the increments.
fn wal(setup: &Setup) -> PathBuf {
    let files = fs::read_dir(setup.data().join("store/db"))
        .unwrap()
        .map(|file| file.unwrap().path());
    let mut logs: Vec<PathBuf> = files
        .filter(|file| file.extension().is_some_and(|e| e == "log"))
        .collect();
    logs.sort();
    logs.pop().unwrap()
}

/// Every file under the store, with its bytes.
fn tree(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tree(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

/// Claims that the start is refused, naming the file, and that no byte changed.
fn refused(setup: &Setup, named: &Path) {
    let before = tree(&setup.data().join("store"));
    let ran = setup.command("serve").output().unwrap();
    let said =
        String::from_utf8_lossy(&ran.stderr).into_owned() + &String::from_utf8_lossy(&ran.stdout);
    assert_eq!(ran.status.code(), Some(1), "{said}");
    assert!(
        said.contains(named.file_name().unwrap().to_str().unwrap()),
        "{said}"
    );
    assert!(said.contains("nothing was changed"), "{said}");
    let check = setup.command("check").output().unwrap();
    assert_eq!(
        check.status.code(),
        Some(3),
        "{}",
        String::from_utf8_lossy(&check.stdout)
    );
    assert!(
        tree(&setup.data().join("store")) == before,
        "something on disk changed"
    );
}

/// Claims that `recover` tells what is lost, and that counting goes on in a new epoch above all that
/// was seen before.
fn recovered(setup: &Setup, (epoch, revision): (u64, u64)) -> i64 {
    let ran = setup.command("recover").output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert_eq!(
        ran.status.code(),
        Some(0),
        "{said}{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    assert!(!said.trim().is_empty(), "it says what it gives up");
    let server = setup.start();
    let mut client = server.client();
    let left = client.get("/api/v1/counter/c");
    let left = if left.status == 404 {
        0
    } else {
        left.ok()["value"].as_i64().unwrap()
    };
    assert!(left <= 300);
    let counted = client.post("/api/v1/counter/c/increment", &json!({})).ok();
    assert_eq!(counted["current_value"], left + 1);
    let reading = client.get("/api/v1/counter/c").ok();
    let (new_epoch, new_revision) = (
        reading["epoch"].as_u64().unwrap(),
        reading["revision"].as_u64().unwrap(),
    );
    assert!(
        new_epoch > epoch && new_epoch.max(new_revision) > revision,
        "{reading}"
    );
    server.stop();
    left
}

#[test]
fn a_missing_log_is_refused_and_recover_says_what_it_gives_up() {
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path());
    let before = killed_store(&setup);
    let wal = wal(&setup);
    fs::rename(&wal, home.path().join("aside")).unwrap();
    refused(&setup, &wal);
    // Put back, everything is there.
    fs::rename(home.path().join("aside"), &wal).unwrap();
    let server = setup.start();
    assert_eq!(server.client().value("c"), 300);
    server.kill9();
    fs::remove_file(self::wal(&setup)).unwrap();
    recovered(&setup, before);
}

#[test]
fn a_cut_log_is_refused_and_recover_keeps_what_is_whole() {
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path());
    let before = killed_store(&setup);
    let wal = wal(&setup);
    let file = fs::File::options().write(true).open(&wal).unwrap();
    let length = used(&wal);
    file.set_len(length / 2).unwrap();
    refused(&setup, &wal);
    let left = recovered(&setup, before);
    assert!((50..300).contains(&left), "{left} of 300");
}

#[test]
fn a_flipped_bit_in_the_log_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path());
    let before = killed_store(&setup);
    let wal = wal(&setup);
    let at = used(&wal) / 2;
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(&wal)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
    refused(&setup, &wal);
    recovered(&setup, before);
}

#[test]
fn a_missing_table_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path());
    killed_store(&setup);
    // A clean end leaves all in tables.
    setup.start().stop();
    let files = fs::read_dir(setup.data().join("store/db"))
        .unwrap()
        .map(|file| file.unwrap().path());
    let mut tables: Vec<PathBuf> = files
        .filter(|file| file.extension().is_some_and(|e| e == "sst"))
        .collect();
    tables.sort();
    let table = tables.pop().unwrap();
    fs::rename(&table, home.path().join("aside")).unwrap();
    refused(&setup, &table);
    fs::rename(home.path().join("aside"), &table).unwrap();
    let server = setup.start();
    assert_eq!(server.client().value("c"), 300);
    server.stop();
}

#[test]
fn a_torn_tail_of_what_was_never_acknowledged_opens_without_a_flag() {
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path());
    killed_store(&setup);
    let wal = wal(&setup);
    let file = fs::File::options().write(true).open(&wal).unwrap();
    // The head of a record whose rest never came.
    file.write_all_at(
        &[0x51, 0x7f, 0x11, 0x92, 0x80, 0x02, 0x01, 9, 9, 9],
        used(&wal),
    )
    .unwrap();
    let server = setup.start();
    assert_eq!(server.client().value("c"), 300);
    server.stop();
}

#[test]
fn commands_that_need_the_store_are_refused_while_a_server_has_it() {
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path());
    let server = setup.start();
    let ran = setup.command("recover").output().unwrap();
    assert_eq!(ran.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&ran.stderr).contains("in use"),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    let second = setup
        .command("serve")
        .env("COUNTERD_SERVER__LISTEN", "127.0.0.1:0")
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    server
        .client()
        .post("/api/v1/counter/c/increment", &json!({}))
        .ok();
    server.stop();
}

/// The length of a log without what was only set aside for it.
fn used(wal: &Path) -> u64 {
    let bytes = fs::read(wal).unwrap();
    bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last as u64 + 1)
}

#[test]
fn a_recovery_that_writes_the_store_anew_asks_for_room_first() {
    let disk = match SmallDisk::new(200) {
        Ok(disk) => disk,
        Err(reason) => {
            return skipped(
                "a_recovery_that_writes_the_store_anew_asks_for_room_first",
                &reason,
            );
        }
    };
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path()).data_dir(&disk.path().join("data"));
    let server = setup.start();
    let mut dice = Dice::new(seed(
        "a_recovery_that_writes_the_store_anew_asks_for_room_first",
    ));
    let mut client = server.client();
    for _ in 0..40 {
        let mut one = || {
            let user: String = (0..7).map(|_| format!("{:016x}", dice.next())).collect();
            json!({"op": "increment", "name": "daily_active_users", "user_id": user})
        };
        let operations: Vec<_> = (0..500).map(|_| one()).collect();
        client
            .post("/api/v1/batch", &json!({"operations": operations}))
            .ok();
    }
    server.stop();
    let recover = || {
        let ran = setup.command("recover").output().unwrap();
        let text = String::from_utf8([ran.stdout, ran.stderr].concat()).unwrap();
        (ran.status.code(), text)
    };
    assert!(setup.command("compact").output().unwrap().status.success());
    let tables = tree(&setup.data().join("store/db")).into_iter();
    let tables = tables.filter(|(path, _)| path.extension().is_some_and(|end| end == "sst"));
    let (largest, bytes) = tables.max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let at = bytes.len() / 2;
    let file = fs::File::options().write(true).open(largest).unwrap();
    file.write_all_at(&[bytes[at] ^ 1], at as u64).unwrap();
    let before = tree(&setup.data().join("store"));
    disk.fill(2 << 20);
    let (code, text) = recover();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("lacks") && text.contains("MiB"), "{text}");
    assert!(tree(&setup.data().join("store")) == before);
    for left in ["store.recovering", "store.salvaging"] {
        assert!(!setup.data().join(left).exists(), "{left}");
    }
    disk.empty();
    let (code, text) = recover();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("set aside:"), "{text}");
}
