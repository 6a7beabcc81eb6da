//! The page for people, in a real Chromium that playwright-core drives.
//!
//! Each test has a server of its own with a past that is known minute by minute (`past.rs`), and one of the programs in
//! `check/`, which open the page, do what a person does and claim what is shown. Kept out: what the API answers.

mod asks;
mod past;
mod shows;
mod soak;
mod zones;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use counterd::calendar::Calendar;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{ADMIN, Server, Setup, skipped};
use past::Past;

/// Where playwright-core and axe-core are; `None` where something is missing.
fn tools(test: &str) -> Option<PathBuf> {
    let cache = || {
        let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
        std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or(home)
    };
    let tools = match std::env::var_os("COUNTERD_PAGE_TOOLS") {
        Some(tools) => PathBuf::from(tools),
        None => cache()?.join("counterd/page-tools"),
    };
    let is_there = tools.join("node_modules/playwright-core").exists()
        && tools.join("node_modules/axe-core").exists()
        && Path::new("/usr/bin/chromium").exists();
    if !is_there {
        skipped(
            test,
            "chromium or the packages of tests/suite/page are not installed (script/setup does so)",
        );
        return None;
    }
    Some(tools)
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.unwrap().as_millis()).unwrap()
}

fn calendar(zone: &str, day_start: &str) -> Calendar {
    Calendar::new(zone, day_start.parse().unwrap()).unwrap()
}

/// A server with a past in Taipei, up to now; and what the checks may know of it.
fn with_a_past(home: &TempDir) -> (Setup, Value) {
    let setup = Setup::new(home.path())
        .set("calendar.timezone", "Asia/Taipei")
        .set("calendar.day_start", "00:00");
    let (calendar, now) = (calendar("Asia/Taipei", "00:00"), now());
    let start = calendar.start_of(calendar.day_of(now));
    // The first quarter of what has passed of today, and then half an hour nobody was there.
    let from = start + (now - start) / 4 / past::STEP * past::STEP;
    let away = (from, (from + 6 * past::STEP).min(now));
    Past::live(setup.data(), &calendar, now, Some(away));
    let known = json!({"then": then(&calendar, now), "hours": hours()});
    (setup, known)
}

/// How many played at the same local minute of the days before, now and within the next ten minutes.
fn then(calendar: &Calendar, now: i64) -> Value {
    let minute = past::minute_of(calendar, now);
    let of = |full| {
        let minutes = (0..10).map(|after| (minute + after).rem_euclid(1440) / 5 * 5);
        minutes
            .map(|minute| past::players(minute, full))
            .collect::<Vec<i64>>()
    };
    json!({"1": of(940), "7": of(880)})
}

/// How many played at the end of each hour of the days before.
fn hours() -> Value {
    let of = |full| {
        (0..=24)
            .map(|hour| past::players(hour * 60 - 5, full))
            .collect::<Vec<i64>>()
    };
    json!({"1": of(940), "7": of(880)})
}

/// Runs one of the programs against a server, and claims that it ends well.
#[track_caller]
fn check(program: &str, tools: &Path, server: &Server, setup: &Setup, mut more: Value) {
    more["url"] = json!(format!("http://{}", server.address()));
    more["admin"] = json!(ADMIN);
    more["pid"] = json!(server.pid());
    more["tools"] = json!(tools);
    more["counterd"] = json!(env!("CARGO_BIN_EXE_counterd"));
    more["data"] = json!(setup.data());
    more["shots"] = json!(std::env::var("COUNTERD_PAGE_SHOTS").ok());
    let file = format!(
        "{}/tests/suite/page/check/{program}.mjs",
        env!("CARGO_MANIFEST_DIR")
    );
    let mut node = Command::new("node");
    // The machine's own zone has summer time, and is none of the servers'.
    node.arg(file)
        .arg(more.to_string())
        .env("TZ", "America/New_York");
    let ran = node.output().unwrap();
    let (said, failed) = (
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr),
    );
    println!("{said}");
    assert!(
        ran.status.success(),
        "{program}\n{said}\n{failed}\n{}",
        server.output()
    );
}
