//! `counterd export` as people call it: days that are none or have not ended, and output that is not taken.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::json;

use crate::harness::{PATIENCE, Setup, eventually};
use crate::midnight::ShiftedClock;

const HOUR: i64 = 3_600_000;

/// 2026-11-25T00:00:00Z.
const MIDNIGHT: i64 = 1_795_564_800_000;

/// What `counterd export` with these arguments prints, and its exit code.
fn export(setup: &Setup, arguments: &[&str]) -> (String, Option<i32>) {
    let ran = setup.command("export").args(arguments).output().unwrap();
    let text = [&ran.stdout[..], &ran.stderr[..]].concat();
    (String::from_utf8(text).unwrap(), ran.status.code())
}

#[test]
fn what_is_no_day_is_a_wrong_use() {
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path());
    for arguments in [
        ["--date", "2026-13-01"],
        ["--date", "tomorrow"],
        ["--from", "2026-02-30"],
    ] {
        let (text, code) = export(&setup, &arguments);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains("YYYY-MM-DD"), "{text}");
    }
    for more in [["--until", "never"], ["--to", "2026-1-1"]] {
        let (text, code) = export(&setup, &[&["--from", "2026-01-01"], &more[..]].concat());
        assert_eq!(code, Some(2), "{text}");
    }
}

#[test]
fn of_a_month_under_way_the_days_that_ended_are_exported() {
    let test = "of_a_month_under_way_the_days_that_ended_are_exported";
    let home = tempfile::tempdir().unwrap();
    let Some((setup, clock)) = ShiftedClock::for_server(test, Setup::new(home.path()), home.path())
    else {
        return;
    };
    clock.set(MIDNIGHT - HOUR);
    let server = setup.start();
    let mut client = server.client();
    let path = "/api/v1/counter/total_games_played/increment";
    client.post(path, &json!({})).ok();
    clock.set(MIDNIGHT + HOUR);
    let month = ["--from", "2026-11-01", "--until", "2026-11-30"];
    let (text, _) = eventually("the day is closed", PATIENCE, || {
        let (text, code) = export(&setup, &month);
        (code == Some(0)).then_some((text, code))
    });
    assert!(text.contains("2026-11-24,total_games_played,"), "{text}");
    assert!(!text.contains("2026-11-25,"), "{text}");
    assert!(
        text.contains("days after 2026-11-24 have not ended and are left out"),
        "{text}"
    );
    let (text, code) = export(&setup, &["--date", "2026-11-25"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("has not ended yet"), "{text}");
    // The last day was written after --to once.
    let (text, code) = export(&setup, &["--from", "2026-11-24", "--to", "2026-11-24"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(!text.contains("left out"), "{text}");

    claim_output_is_to_blame(&setup);
    server.stop();
    claim_output_is_to_blame(&setup);
}

/// With a server and without one.
fn claim_output_is_to_blame(setup: &Setup) {
    let day = ["--date", "2026-11-24"];
    let (text, code) = export(setup, &[&day[..], &["--output", "/dev/full"]].concat());
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("cannot write") && text.contains("space") && !text.contains("socket"),
        "{text}"
    );
    let mut command = setup.command("export");
    let full = File::options().write(true).open("/dev/full").unwrap();
    let ran = command.args(day).stdout(full).output().unwrap();
    let text = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(1), "{text}");
    assert!(
        text.contains("standard output") && !text.contains("socket"),
        "{text}"
    );
    // A reader that has enough after a line.
    let mut export = setup
        .command("export")
        .args(day)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut output = BufReader::with_capacity(1, export.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    drop(output);
    let ended = export.wait_with_output().unwrap();
    let text = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(0), "{text}");
    assert!(!text.contains("socket"), "{text}");
}
