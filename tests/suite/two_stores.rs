//! Two stores and one directory of backups, with the real binary: nothing of the other store is deleted
//! or restored before somebody says that this is meant.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::harness::Setup;

/// Runs a command; gives its exit code and all that it says.
fn run(setup: &Setup, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = setup.command(arguments[0]);
    let Output {
        status,
        mut stdout,
        stderr,
    } = command.args(&arguments[1..]).output().unwrap();
    stdout.extend(stderr);
    (status.code(), String::from_utf8(stdout).unwrap())
}

#[track_caller]
fn done(setup: &Setup, arguments: &[&str]) -> String {
    let (code, text) = run(setup, arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {text}");
    text
}

#[track_caller]
fn refused(setup: &Setup, arguments: &[&str], parts: &[&str]) {
    let (code, text) = run(setup, arguments);
    assert_eq!(code, Some(1), "{arguments:?}: {text}");
    for part in parts {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// A store of its own in which a counter has that value.
fn store(home: &Path, name: &str, value: i64) -> Setup {
    let home = home.join(name);
    fs::create_dir(&home).unwrap();
    let setup = Setup::new(&home);
    let server = setup.start();
    let body = json!({"value": value});
    server
        .client()
        .post("/api/v1/counter/a/increment", &body)
        .ok();
    server.stop();
    setup
}

fn value(setup: &Setup) -> i64 {
    let server = setup.start();
    let value = server.client().value("a");
    server.stop();
    value
}

/// The id by which `counterd adopt` calls the store.
fn id(setup: &Setup) -> String {
    let text = done(setup, &["adopt"]);
    let line = text.lines().next().unwrap();
    line.strip_prefix("this store: ").unwrap().to_owned()
}

fn listed(setup: &Setup, dir: &str) -> Vec<u64> {
    let text = done(setup, &["backup", dir, "--list", "--json"]);
    let listed: Value = serde_json::from_str(&text).unwrap();
    let listed = listed["backups"].as_array().unwrap().iter();
    listed.map(|one| one["backup"].as_u64().unwrap()).collect()
}

#[test]
fn two_stores_in_one_directory_keep_and_restore_each_its_own() {
    let home = tempfile::tempdir().unwrap();
    let game = store(home.path(), "game", 5);
    let forum = store(home.path(), "forum", 7);
    let (game_id, forum_id) = (id(&game), id(&forum));
    let dir = home.path().join("backups");
    let dir = dir.to_str().unwrap();
    done(&game, &["backup", dir]);

    // The server that has the store open judges as the command alone does.
    let both = [
        game_id.as_str(),
        forum_id.as_str(),
        "zone UTC",
        "--another-store",
    ];
    let server = forum.start();
    refused(&forum, &["backup", dir, "--keep", "1"], &both);
    server.stop();
    refused(&forum, &["backup", dir, "--keep", "1"], &both);
    assert_eq!(listed(&game, dir), [1]);
    refused(&forum, &["restore", dir, "--replace"], &both);
    assert_eq!(value(&forum), 7);

    let beside = ["backup", dir, "--keep", "1", "--another-store"];
    done(&forum, &beside);
    let text = done(&forum, &beside);
    assert!(text.contains("backup 2 was removed"), "{text}");
    assert_eq!(listed(&game, dir), [1, 3]);
    let table = done(&game, &["backup", dir, "--list"]);
    for id in [&game_id, &forum_id] {
        assert!(table.contains(id.split('-').next().unwrap()), "{table}");
    }
    // The newest is the forum's; the game is told of its own.
    refused(
        &game,
        &["restore", dir, "--replace"],
        &["--backup 1", &forum_id],
    );
    done(&game, &["restore", dir, "--replace", "--backup", "1"]);
    assert_eq!(value(&game), 5);
    // It is the same store as before, on another epoch.
    assert_eq!(id(&game), game_id);
    let text = done(&game, &beside);
    assert!(text.contains("backup 1 was removed"), "{text}");

    // A machine with no store left cannot know whose is wanted.
    fs::create_dir(home.path().join("new")).unwrap();
    let new = Setup::new(&home.path().join("new"));
    refused(&new, &["restore", dir], &[&game_id, &forum_id, "--backup"]);
    assert!(!new.data().join("store").exists());
    let text = done(&new, &["restore", dir, "--backup", "3"]);
    assert!(text.contains(&forum_id), "{text}");
    assert_eq!(value(&new), 7);
    done(&new, &["restore", dir, "--replace", "--another-store"]);
    assert_eq!((value(&new), id(&new)), (5, game_id));
}

#[test]
fn backups_of_an_earlier_version_stay_with_their_store() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    fs::create_dir(&data).unwrap();
    crate::upgrade::unpack(1, &data);
    let dir = home.path().join("backups");
    fs::rename(data.join("backups"), &dir).unwrap();
    let dir = dir.to_str().unwrap();
    let old = Setup::new(home.path()).set("calendar.day_start", "07:58");
    let other = store(home.path(), "other", 1);
    let unknown = ["its id is not known", "--another-store"];
    refused(&other, &["backup", dir], &unknown);
    refused(&other, &["restore", dir, "--replace"], &unknown);
    let before = listed(&old, dir);
    let text = done(&old, &["backup", dir, "--keep", "1"]);
    assert!(text.contains("was removed"), "{text}");
    assert_eq!(listed(&old, dir), [before.last().unwrap() + 1]);
    refused(&other, &["backup", dir], &[&id(&old)]);
}

#[test]
fn a_directory_of_other_things_is_refused_as_it_is() {
    let home = tempfile::tempdir().unwrap();
    let game = store(home.path(), "game", 5);
    let (code, text) = run(&game, &["backup", "/"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("/ is no directory of backups: it holds "),
        "{text}"
    );
    for name in ["files", "backup-1.json"] {
        assert!(!Path::new("/").join(name).exists(), "/{name} was made");
    }
}
