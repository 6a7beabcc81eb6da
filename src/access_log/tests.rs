#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

//! The whole way of a request line, from a runtime's buffer to the files.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::*;
use crate::calendar::{Calendar, DayStart};
use crate::clock::ManualClock;
use crate::metrics::{LogMetrics, Metrics};

const HOUR_MS: i64 = 3_600_000;
/// 2026-11-24T22:00:00Z, an hour before midnight where the tests' clock hangs (UTC+1).
const EVENING_MS: i64 = 1_795_557_600_000;

fn dates() -> Calendar {
    Calendar::new("Etc/GMT-1", DayStart::default()).unwrap()
}

struct Log {
    dir: tempfile::TempDir,
    clock: Arc<ManualClock>,
    metrics: LogMetrics,
    output: LogOutput,
}

impl Log {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(EVENING_MS));
        let metrics = Metrics::new().log;
        let options = FileOptions {
            dir: dir.path().to_owned(),
            max_file_size: 1 << 20,
            max_files: 9,
        };
        let output = LogOutput::files(options, clock.clone(), dates(), metrics.clone());
        let output = output.unwrap();
        Self {
            dir,
            clock,
            metrics,
            output,
        }
    }

    fn start(&self, access: Access) -> (AccessLog, LogThread) {
        self.start_with(access, 1_000, 1 << 20)
    }

    fn start_with(&self, access: Access, lines: usize, bytes: usize) -> (AccessLog, LogThread) {
        let options = LogOptions {
            format: LogFormat::Json,
            queue_lines: lines,
            queue_bytes: bytes,
        };
        let (log, thread) = AccessLog::start(&options, self.output.clone()).unwrap();
        log.choose(access, 1);
        (log, thread)
    }

    fn set_now(&self, now_ms: i64) {
        self.clock.set_wall(now_ms);
    }

    /// Lines of all files, oldest file first.
    fn lines(&self) -> Vec<serde_json::Value> {
        let texts: BTreeMap<_, _> = fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name(), fs::read_to_string(entry.path()).unwrap()))
            .collect();
        texts
            .values()
            .flat_map(|text| text.lines())
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// How many requests the log tells of: by a line, and in drop counts.
    fn told(&self) -> (u64, u64) {
        let lines = self.lines();
        let dropped: Vec<u64> = lines.iter().filter_map(|l| l["dropped"].as_u64()).collect();
        let requests = lines.len() - dropped.len();
        (requests as u64, dropped.into_iter().sum())
    }
}

fn record(buffer: &AccessBuffer, request_id: &str, status: u16) {
    buffer.record(&Entry {
        at_ms: EVENING_MS,
        request_id: &RequestId::Given(request_id.into()),
        method: "GET",
        route: Route::Read,
        counter: Some(&CounterName::parse("c").unwrap()),
        status,
        took: Duration::from_micros(90),
        bytes: 120,
        peer: &PeerText::new("127.0.0.1:4000".parse().unwrap()),
        trace: None,
    });
}

fn finish(thread: LogThread) {
    assert!(thread.finish(Duration::from_secs(60)), "the log hangs");
}

#[test]
fn every_request_of_every_runtime_has_its_line() {
    let log = Log::new();
    let (access, thread) = log.start_with(Access::All, 1_000_000, 1 << 30);
    let runtimes: Vec<_> = (0..4)
        .map(|runtime| {
            let buffer = access.buffer();
            std::thread::spawn(move || {
                for n in 0..5_000 {
                    record(&buffer, &format!("{runtime}-{n}"), 200);
                    if n % 700 == 0 {
                        buffer.flush();
                    }
                }
            })
        })
        .collect();
    for runtime in runtimes {
        runtime.join().unwrap();
    }
    finish(thread);

    let mut next = [0; 4];
    for line in log.lines() {
        let id = line["request_id"].as_str().unwrap().to_owned();
        let (runtime, n) = id.split_once('-').unwrap();
        let of_runtime = &mut next[runtime.parse::<usize>().unwrap()];
        assert_eq!(n, of_runtime.to_string(), "in order, none twice");
        *of_runtime += 1;
    }
    assert_eq!(next, [5_000; 4]);
    assert_eq!(log.metrics.dropped[LogKind::Request as usize].get(), 0);
}

#[test]
fn a_log_that_stands_still_costs_lines_that_are_counted_and_told() {
    let log = Log::new();
    let (access, thread) = log.start_with(Access::All, 64, 1 << 20);
    let buffer = access.buffer();
    let held = log.output.hold();
    for n in 0..1_000 {
        record(&buffer, &n.to_string(), 200);
    }
    drop(held);
    drop(buffer);
    finish(thread);

    let (written, dropped) = log.told();
    assert_eq!(written + dropped, 1_000);
    assert!((900..1_000).contains(&dropped), "{dropped}");
    assert_eq!(
        log.metrics.dropped[LogKind::Request as usize].get(),
        dropped
    );
    assert_eq!(log.metrics.write_errors.get(), 0);
}

#[test]
fn a_file_that_cannot_be_opened_costs_lines_that_are_told_when_it_can() {
    let log = Log::new();
    let (access, thread) = log.start(Access::All);
    let buffer = access.buffer();
    let tomorrow = log.dir.path().join("counterd-2026-11-25.log");
    symlink("/dev/full", &tomorrow).unwrap();
    log.set_now(EVENING_MS + HOUR_MS);
    for n in 0..500 {
        record(&buffer, &n.to_string(), 200);
    }
    buffer.flush();
    wait_for(|| log.metrics.dropped[LogKind::Request as usize].get() == 500);
    assert!(log.metrics.write_errors.get() > 0);

    fs::remove_file(&tomorrow).unwrap();
    record(&buffer, "after", 200);
    drop(buffer);
    finish(thread);
    assert_eq!(log.told(), (1, 500));
}

#[test]
fn lines_lost_last_are_told_at_the_end_if_they_can_be() {
    let log = Log::new();
    let (access, thread) = log.start(Access::All);
    let tomorrow = log.dir.path().join("counterd-2026-11-25.log");
    symlink("/dev/full", &tomorrow).unwrap();
    log.set_now(EVENING_MS + HOUR_MS);
    record(&access.buffer(), "r", 200);
    wait_for(|| log.metrics.dropped[LogKind::Request as usize].get() == 1);
    fs::remove_file(&tomorrow).unwrap();
    finish(thread);
    assert_eq!(log.told(), (0, 1));
}

pub(super) fn wait_for(condition: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "it never came");
        std::thread::yield_now();
    }
}

#[test]
fn files_change_at_local_midnight_not_at_that_of_utc() {
    let log = Log::new();
    let count =
        |name: &str| fs::read_to_string(log.dir.path().join(name)).map(|t| t.lines().count());
    for (now_ms, file, lines) in [
        (EVENING_MS, "counterd-2026-11-24.log", 1),
        (EVENING_MS + HOUR_MS - 1, "counterd-2026-11-24.log", 2),
        (EVENING_MS + HOUR_MS, "counterd-2026-11-25.log", 1),
        (EVENING_MS + 2 * HOUR_MS, "counterd-2026-11-25.log", 2),
    ] {
        log.set_now(now_ms);
        let (access, thread) = log.start(Access::All);
        record(&access.buffer(), "r", 200);
        finish(thread);
        assert_eq!(count(file).unwrap(), lines, "{file}");
    }
    assert_eq!(fs::read_dir(log.dir.path()).unwrap().count(), 2);
}

#[test]
fn the_setting_decides_which_requests_are_logged() {
    for (access, expected) in [
        (Access::All, vec![200, 201, 399, 400, 404, 503]),
        (Access::Errors, vec![400, 404, 503]),
        (Access::Off, vec![]),
    ] {
        let log = Log::new();
        let (access_log, thread) = log.start(access);
        let buffer = access_log.buffer();
        for status in [200, 201, 399, 400, 404, 503] {
            assert_eq!(buffer.wants(status), expected.contains(&u64::from(status)));
            record(&buffer, "r", status);
        }
        drop(buffer);
        finish(thread);
        let logged: Vec<u64> = log
            .lines()
            .iter()
            .map(|line| line["status"].as_u64().unwrap())
            .collect();
        assert_eq!(logged, expected, "{access:?}");
    }
}

#[test]
fn an_end_that_hangs_does_not_hold_the_exit() {
    let log = Log::new();
    let (access, thread) = log.start(Access::All);
    let held = log.output.hold();
    record(&access.buffer(), "r", 200);
    assert!(!thread.finish(Duration::from_millis(1)));
    drop(held);
}

#[test]
fn lines_after_the_end_are_counted_as_dropped() {
    let log = Log::new();
    let (access, thread) = log.start(Access::All);
    let buffer = access.buffer();
    finish(thread);
    record(&buffer, "late", 200);
    drop(buffer);
    assert_eq!(log.metrics.dropped[LogKind::Request as usize].get(), 1);
    assert_eq!(log.told(), (0, 0));
}

#[test]
fn a_directory_that_cannot_be_used_is_an_error_at_the_start() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let options = FileOptions {
        dir: Path::new(file.path()).join("logs"),
        max_file_size: 1,
        max_files: 1,
    };
    let clock = Arc::new(ManualClock::new(0));
    let output = LogOutput::files(options, clock, dates(), Metrics::new().log);
    let message = output.err().unwrap().to_string();
    assert!(message.contains("log.dir"), "{message}");
}

#[test]
fn a_sample_has_one_of_so_many_successes_and_every_error() {
    let log = Log::new();
    let (access, thread) = log.start(Access::All);
    access.choose(Access::All, 10);
    let buffer = access.buffer();
    for number in 0..100 {
        record(&buffer, "x", if number % 20 == 7 { 409 } else { 200 });
    }
    // What is chosen while it runs holds from then on.
    access.choose(Access::Errors, 1);
    record(&buffer, "x", 200);
    record(&buffer, "x", 500);
    drop(buffer);
    finish(thread);
    let count = |status: u64| {
        let lines = log.lines();
        lines.iter().filter(|line| line["status"] == status).count()
    };
    assert_eq!((count(200), count(409), count(500)), (9, 5, 1));
}
