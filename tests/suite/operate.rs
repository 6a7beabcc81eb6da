//! What an operator does to a running server, through its socket in the data directory: the mode, and
//! the repair of a counter whose record is damaged.

use std::os::unix::fs::PermissionsExt as _;

use counterd::counter::CounterName;
use counterd::storage::{Batch, Damaged, DataDirLock, Reader, StorageOptions, Store};
use serde_json::json;

use crate::harness::Setup;

/// Runs a command of the binary that must succeed; gives what it prints.
#[track_caller]
fn said(setup: &Setup, name: &str, arguments: &[&str]) -> String {
    let ran = setup.command(name).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert_eq!(
        ran.status.code(),
        Some(0),
        "{text}{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    text
}

#[test]
fn in_mode_read_only_reads_are_served_and_no_write_is_counted() {
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path());
    let server = setup.start();
    let mut client = server.admin();
    let path = "/api/v1/counter/c/increment";
    client.post(path, &json!({})).ok();
    let kept = client.post_keyed(path, "k", &json!({"value": 2})).ok();
    assert!(said(&setup, "mode", &[]).contains("normal"));

    said(&setup, "mode", &["read_only"]);
    assert!(said(&setup, "mode", &[]).contains("operator"));
    let refused = client.post(path, &json!({}));
    refused.refused(503, "read_only");
    assert!(refused.header("retry-after").is_some());
    client
        .post_keyed(path, "k", &json!({"value": 2}))
        .refused(503, "read_only");
    client
        .post("/api/v1/counter/c/reset", &json!({}))
        .refused(503, "read_only");
    client
        .put("/api/v1/counter/new", &json!({}))
        .refused(503, "read_only");
    client
        .post("/api/v1/counter/new/increment", &json!({}))
        .refused(503, "read_only");
    // Syntax is judged before the mode.
    client
        .post(path, &json!({"value": 0}))
        .refused(400, "invalid_value");
    assert_eq!(client.value("c"), 3);
    assert_eq!(client.get("/readyz").status, 200);
    assert_eq!(client.get("/readyz?writes").status, 503);
    let verbose = client.get("/readyz?verbose").json();
    assert_eq!(
        (&verbose["mode"], &verbose["cause"]),
        (&json!("read_only"), &json!("operator"))
    );

    said(&setup, "mode", &["normal"]);
    assert_eq!(client.get("/readyz?writes").status, 200);
    assert_eq!(client.post(path, &json!({})).ok()["current_value"], 4);
    let again = client.post_keyed(path, "k", &json!({"value": 2}));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.ok(), kept);
    client
        .get("/api/v1/counter/new")
        .refused(404, "unknown_counter");
    server.stop();
}

#[test]
fn only_the_owner_may_speak_to_the_socket() {
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path());
    let server = setup.start();
    let socket = std::fs::metadata(setup.data().join("socket")).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    server.stop();
    let without_server = setup.command("mode").output().unwrap();
    assert_eq!(without_server.status.code(), Some(1));
}

/// Puts bytes that are no record where the values of `a` and `b` are.
pub fn damage(setup: &Setup) {
    let lock = DataDirLock::take(setup.data()).unwrap();
    let options = StorageOptions {
        data_dir: setup.data().to_owned(),
        memory: 16 << 20,
        shared: None,
        reserve: None,
    };
    let mut store = Store::open(&lock, &options, &Reader::default(), Some(1)).unwrap();
    let name = |name: &str| CounterName::parse(name).unwrap();
    let mut batch = Batch::new();
    batch.damage(Damaged::Value, &name("a"), b"no value");
    batch.damage(Damaged::Operand, &name("b"), b"no operand");
    store.commit(&batch).unwrap();
    store.close().unwrap();
}

#[test]
fn a_damaged_counter_is_refused_alone_and_repair_sets_it_right() {
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path());
    let server = setup.start();
    for name in ["a", "b", "c"] {
        let path = format!("/api/v1/counter/{name}/increment");
        server.client().post(&path, &json!({"value": 7})).ok();
    }
    server.stop();
    damage(&setup);

    let server = setup.start();
    let mut client = server.admin();
    for name in ["a", "b"] {
        client
            .get(&format!("/api/v1/counter/{name}"))
            .refused(500, "corrupt_record");
        let path = format!("/api/v1/counter/{name}/increment");
        client
            .post(&path, &json!({}))
            .refused(500, "corrupt_record");
    }
    assert_eq!(
        client.post("/api/v1/counter/c/increment", &json!({})).ok()["current_value"],
        8
    );
    let listed = said(&setup, "repair", &[]);
    assert!(listed.contains('a') && listed.contains('b'), "{listed}");
    said(
        &setup,
        "repair",
        &["a", "--value", "7", "--reason", "from the lobby"],
    );
    assert_eq!(
        client.post("/api/v1/counter/a/increment", &json!({})).ok()["current_value"],
        8
    );
    client
        .get("/api/v1/counter/b")
        .refused(500, "corrupt_record");
    server.stop();

    // Without a server it works on the store itself.
    said(
        &setup,
        "repair",
        &["b", "--value", "-0", "--reason", "counted anew"],
    );
    let server = setup.start();
    let values = ["a", "b", "c"].map(|name| server.client().value(name));
    assert_eq!(values, [8, 0, 8]);
    server.stop();
}

#[test]
fn counters_of_a_prefix_are_listed_and_with_yes_deleted() {
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path());
    let server = setup.start();
    for name in ["typo:1", "typo:2", "typing"] {
        let path = format!("/api/v1/counter/{name}/increment");
        server.client().post(&path, &json!({})).ok();
    }
    let listed = said(&setup, "delete", &["--prefix", "typo:"]);
    assert_eq!(
        listed,
        "typo:1\ntypo:2\nwith --yes these 2 counters are deleted\n"
    );
    assert_eq!(server.client().value("typo:1"), 1);
    let deleted = said(&setup, "delete", &["--prefix", "typo:", "--yes"]);
    assert_eq!(deleted, "2 counters deleted\n");
    let mut client = server.client();
    client
        .get("/api/v1/counter/typo:1")
        .refused(410, "counter_deleted");
    assert_eq!(client.value("typing"), 1);
    let kept = said(&setup, "delete", &["--prefix", "online_", "--yes"]);
    assert_eq!(
        kept,
        "online_players stays: the configuration defines it\n0 counters deleted\n"
    );
    server.stop();

    // Without a server it works on the store itself.
    let deleted = said(&setup, "delete", &["--prefix", "typ", "--yes"]);
    assert_eq!(deleted, "1 counters deleted\n");
    let server = setup.start();
    let gone = server.client().get("/api/v1/counter/typing");
    gone.refused(410, "counter_deleted");
    server.stop();
}
