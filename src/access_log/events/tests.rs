#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::fs;
use std::path::Path;

use super::*;
use crate::access_log::FileOptions;
use crate::access_log::tests::wait_for;
use crate::calendar::{Calendar, DayStart};
use crate::clock::ManualClock;
use crate::metrics::{LogMetrics, Metrics};

fn output(dir: &Path, metrics: &LogMetrics) -> LogOutput {
    let options = FileOptions {
        dir: dir.to_owned(),
        max_file_size: 1 << 20,
        max_files: 9,
    };
    let clock = Arc::new(ManualClock::new(1_795_515_000_007));
    let dates = Calendar::new("UTC", DayStart::default()).unwrap();
    LogOutput::files(options, clock, dates, metrics.clone()).unwrap()
}

fn options(format: LogFormat) -> LogOptions {
    LogOptions {
        format,
        queue_lines: 1_000,
        queue_bytes: 1 << 20,
    }
}

/// What the log holds after `emit`.
fn logged(format: LogFormat, level: &str, emit: impl FnOnce()) -> String {
    let dir = tempfile::tempdir().unwrap();
    let output = output(dir.path(), &Metrics::new().log);
    let (dispatch, log) = events(level, &options(format), &output).unwrap();
    tracing::dispatcher::with_default(&dispatch, emit);
    drop(log);
    fs::read_to_string(dir.path().join("counterd-2026-11-24.log")).unwrap()
}

#[test]
fn an_event_is_one_line_of_text_with_our_time() {
    let text = logged(LogFormat::Text, "info", || {
        tracing::info!(target: "counterd::serve", port = 8080, "ready");
        tracing::debug!("not at this level");
    });
    assert_eq!(
        text,
        "2026-11-24T10:10:00.007Z  INFO counterd::serve: ready port=8080\n"
    );
}

#[test]
fn an_event_is_one_line_of_json_with_the_fields_of_request_lines() {
    let text = logged(LogFormat::Json, "info", || {
        tracing::warn!(target: "counterd::serve", port = 8080, "a\u{7f}\nb\u{85}");
    });
    assert_eq!(text.lines().count(), 1);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["timestamp"], "2026-11-24T10:10:00.007Z");
    assert_eq!(json["level"], "WARN");
    assert_eq!(json["target"], "counterd::serve");
    assert_eq!(json["message"], "a\u{7f}\nb\u{85}");
    assert_eq!(json["port"], 8080);
}

#[test]
fn a_strangers_text_cannot_start_a_line() {
    let text = logged(LogFormat::Text, "info", || {
        let stranger = "x\n2026-11-24T10:10:00.007Z  INFO admin: all is well\u{1b}[2J\r";
        tracing::info!(reason = %stranger, "reset");
    });
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.trim_end().bytes().all(|b| matches!(b, b' '..=b'~')));
}

#[test]
fn levels_are_by_target_and_a_misspelt_one_is_refused() {
    let text = logged(LogFormat::Text, "warn,counterd::writer=debug", || {
        tracing::info!(target: "counterd::http", "no");
        tracing::debug!(target: "counterd::writer", "yes");
        tracing::trace!(target: "counterd::writer", "no");
    });
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("DEBUG counterd::writer: yes"));
    let long = "info,".repeat(300) + "info";
    for wrong in [
        "inof",
        "",
        "info,",
        "counterd=loud",
        "info,counterd",
        "counterd[field]=info",
        "a b=info",
        // What administrators did is logged whatever the level.
        "info,audit=off",
        "audit::log=off",
        &long,
    ] {
        assert!(
            matches!(parse_level(wrong), Err(LogError::Level(_))),
            "{wrong}"
        );
    }
    for right in ["off", "INFO", "info,counterd=trace"] {
        assert!(parse_level(right).is_ok(), "{right}");
    }
}

#[test]
fn a_level_changes_while_it_logs_until_it_is_configured_again() {
    let dir = tempfile::tempdir().unwrap();
    let output = output(dir.path(), &Metrics::new().log);
    let (dispatch, log) = events("info", &options(LogFormat::Text), &output).unwrap();
    let said = |log: &EventLog| (log.level.in_force(), log.level.configured());
    tracing::dispatcher::with_default(&dispatch, || {
        tracing::debug!("too early");
        assert_eq!(log.level.change("debug").unwrap(), "info");
        assert_eq!(said(&log), ("debug".to_owned(), "info".to_owned()));
        tracing::debug!("heard");
        assert!(log.level.change("loud").is_err());
        assert_eq!(log.level.change("off").unwrap(), "debug");
        tracing::error!("nobody hears it");
        tracing::info!(target: "audit", "an administrator did something");
        log.level.configure("warn").unwrap();
        assert_eq!(said(&log), ("warn".to_owned(), "warn".to_owned()));
        tracing::warn!("heard again");
    });
    drop(log);
    let text = fs::read_to_string(dir.path().join("counterd-2026-11-24.log")).unwrap();
    let told = ["heard", "an administrator did something", "heard again"];
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), told.len(), "{text}");
    for (line, told) in lines.iter().zip(told) {
        assert!(line.ends_with(told), "{line}");
    }
}

#[test]
fn every_event_is_written_or_in_a_drop_count() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Metrics::new().log;
    let output = output(dir.path(), &metrics);
    let options = LogOptions {
        queue_lines: 4,
        ..options(LogFormat::Json)
    };
    let (dispatch, log) = events("info", &options, &output).unwrap();
    let held = output.hold();
    tracing::dispatcher::with_default(&dispatch, || {
        for n in 0..100 {
            tracing::info!(n, "an event");
        }
    });
    drop(held);
    drop(log);

    let text = fs::read_to_string(dir.path().join("counterd-2026-11-24.log")).unwrap();
    let (mut written, mut dropped) = (0, 0);
    for line in text.lines() {
        let json: serde_json::Value = serde_json::from_str(line).unwrap();
        match json["dropped"].as_u64() {
            Some(n) => dropped += n,
            None => written += 1,
        }
    }
    assert_eq!(written + dropped, 100, "{text}");
    assert!(dropped >= 95, "{dropped}");
    assert_eq!(metrics.dropped[LogKind::Event as usize].get(), dropped);
}

#[test]
fn events_lost_to_a_full_disk_are_told_when_it_has_room_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("counterd-2026-11-24.log");
    let metrics = Metrics::new().log;
    let output = output(dir.path(), &metrics);
    let (dispatch, log) = events("info", &options(LogFormat::Text), &output).unwrap();
    let lines = || fs::read_to_string(&path).unwrap_or_default();
    tracing::dispatcher::with_default(&dispatch, || {
        tracing::info!("one");
        wait_for(|| lines().lines().count() == 1);
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        tracing::info!("two");
        tracing::info!("three");
        wait_for(|| metrics.dropped[LogKind::Event as usize].get() == 2);
        fs::remove_file(&path).unwrap();
        tracing::info!("four");
    });
    drop(log);
    let told = lines();
    let told: Vec<&str> = told.lines().collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(
        told[0],
        "2026-11-24T10:10:00.007Z  WARN event: dropped 2 event lines"
    );
    assert!(told[1].ends_with(": four"), "{told:?}");
}
