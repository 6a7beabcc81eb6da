//! A year of days: history stays quick to read, and what is over gives its space back.
//!
//! The ordinary run has a small year; `script/soak year` has 1,000 counters, and a million users on
//! each of the last seven days.

use std::path::Path;
use std::time::{Duration, Instant};

use counterd::calendar::Day;
use counterd::lifecycle::{Retention, days_of};
use counterd::storage::compact::compact;

use crate::harness::rounds;
use crate::house::{House, NOON, name};

/// How much of a year.
struct Year {
    days: i64,
    counters: usize,
    users: usize,
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
    let mut house = House::open(dir.path(), NOON);
    house.retention = Retention::default();
    let mut peak = 0;
    let mut day_passes = |number: i64, users: usize| {
        house.create((0..year.counters).map(|counter| format!("counter-{counter}")));
        house.users(
            "dau",
            (0..users).map(|user| format!("user-{number}-{user}")),
        );
        house.next_day();
        peak = peak.max(bytes_in(dir.path()));
    };
    for number in 0..year.days {
        let users = if number >= year.days - 7 {
            year.users
        } else {
            0
        };
        day_passes(number, users);
    }

    let running = &house.running;
    let (calendar, today) = (running.day.calendar(), house.today());
    let from = Day::from_days(today.days() - 90).unwrap();
    let mut slowest = Duration::ZERO;
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
        day_passes(year.days + number, 1);
    }
    let after = bytes_in(dir.path());
    compact(&running.reader, &mut |_| Ok(())).unwrap();
    let live = bytes_in(dir.path());
    println!("tables: {peak} bytes at most, {after} after the users' days passed, {live} live");
    assert!(
        after * 10 <= live * 13 + (1 << 20),
        "{after} bytes for {live} live"
    );
    house.stop();
}
