//! A year of days: history stays quick to read, and what is over gives its space back.
//!
//! The ordinary run has a small year; `script/soak year` has 1,000 counters, and a million users on
//! each of the last seven days.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use counterd::calendar::{Calendar, Day};
use counterd::clock::{Clock, ManualClock};
use counterd::counter::{
    CounterName, Definition, Direction, Kind, Operation, RequestId, Reset, UserId,
};
use counterd::lifecycle::{Archivist, ArchivistOptions, Retention, days_of};
use counterd::storage::StorageOptions;
use counterd::storage::compact::compact;
use counterd::writer::{Chore, Command, Request, Running, WriterOptions};

use crate::harness::rounds;

/// 2026-11-24T12:00:00Z.
const NOON: i64 = 1_795_521_600_000;
const DAY: i64 = 24 * 3_600_000;

/// How much of a year.
struct Year {
    days: i64,
    counters: usize,
    users: usize,
}

fn name(text: &str) -> CounterName {
    CounterName::parse(text).unwrap()
}

fn start(dir: &Path, clock: &Arc<ManualClock>) -> Running {
    let users = Definition {
        kind: Kind::Unique,
        reset: Reset::Daily,
        ..Definition::default()
    };
    let options = WriterOptions {
        storage: StorageOptions {
            data_dir: dir.to_owned(),
            memory: 192 << 20,
            reserve: Some(64 << 20),
        },
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        calendar: Calendar::new("UTC", "00:00".parse().unwrap()).unwrap(),
        zone_is_written: true,
        max_clock_jump_ms: 48 * 3_600_000,
        max_away_ms: 90 * DAY,
        auto_create: true,
        max_counters: 10_000,
        gone_for_ms: DAY,
        configured: vec![(name("users"), users)],
        recent_users: 1000,
        min_free: Some(1 << 20),
        followed_counters: 100,
        runtimes: 1,
        queue: 10_000,
        metrics: Arc::default(),
    };
    Running::start(options).unwrap()
}

fn ask(running: &Running, operations: Vec<Operation>) {
    let request = Request {
        command: Command::Batch(operations.into()),
        key: None,
        request_id: RequestId::Made(1),
    };
    running.intake.call(request).unwrap();
}

fn up(counter: CounterName, user: Option<String>) -> Operation {
    Operation {
        counter,
        direction: Direction::Increment,
        amount: 1,
        user_id: user.map(|user| UserId::parse(&user).unwrap()),
    }
}

fn bytes_in(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => bytes_in(&entry.path()),
            Ok(data) if entry.path().extension().is_some_and(|end| end == "sst") => data.len(),
            Ok(_) | Err(_) => 0,
        })
        .sum()
}

#[test]
fn a_year_of_days_is_quick_to_read_and_gives_its_space_back() {
    let year = if rounds(1) > 1 {
        Year {
            days: 365,
            counters: 1000,
            users: 1_000_000,
        }
    } else {
        Year {
            days: 110,
            counters: 30,
            users: 3000,
        }
    };
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOON));
    let running = start(dir.path(), &clock);
    let retention = Retention {
        history_days: 90,
        user_days: 7,
        max_unexported_days: 30,
        sample_days: 14,
        exports: false,
    };
    let metrics = Arc::default();
    let mut archivist = Archivist::new(&running, ArchivistOptions { retention, metrics });
    let mut peak = 0;
    let mut day_passes = |archivist: &mut Archivist, number: i64, users: usize| {
        let counters: Vec<_> = (0..year.counters)
            .map(|n| name(&format!("counter-{n}")))
            .collect();
        for part in counters.chunks(1000) {
            ask(
                &running,
                part.iter().map(|name| up(name.clone(), None)).collect(),
            );
        }
        let ids: Vec<usize> = (0..users).collect();
        for part in ids.chunks(1000) {
            let user = |id: &usize| up(name("users"), Some(format!("user-{number}-{id}")));
            ask(&running, part.iter().map(user).collect());
        }
        clock.advance(DAY);
        running.intake.carry_out(Chore::default()).unwrap();
        archivist.catch_up().unwrap();
        peak = peak.max(bytes_in(dir.path()));
    };
    for number in 0..year.days {
        let users = if number >= year.days - 7 {
            year.users
        } else {
            0
        };
        day_passes(&mut archivist, number, users);
    }

    let calendar = running.day.calendar();
    let today = running.day.look().day;
    let from = Day::from_days(today.days() - 90).unwrap();
    let mut slowest = std::time::Duration::ZERO;
    for number in 0..year.counters {
        let counter = name(&format!("counter-{number}"));
        let begun = Instant::now();
        let read = running
            .reader
            .with(|tables| days_of(tables, calendar, &counter, from, today));
        slowest = slowest.max(begun.elapsed());
        let days = read.unwrap();
        assert_eq!(days.len(), 90);
        assert!(days.iter().all(|day| day.closed));
    }
    println!("history of 90 days: at most {slowest:?}");

    // The users' days pass.
    for number in 0..10 {
        day_passes(&mut archivist, year.days + number, 1);
    }
    let after = bytes_in(dir.path());
    compact(&running.reader, &running.horizons, &mut |_| Ok(())).unwrap();
    let live = bytes_in(dir.path());
    println!("tables: {peak} bytes at most, {after} after the users' days passed, {live} live");
    assert!(
        after * 10 <= live * 13 + (1 << 20),
        "{after} bytes for {live} live"
    );
    running.stop();
}
