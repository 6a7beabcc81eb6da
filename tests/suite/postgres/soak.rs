//! Counting at 5,000 a second while the database is stopped, killed, restarted and wiped: what that
//! costs the clients, and that the rows end equal.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::harness::{Client, Database, PATIENCE, Setup, at_once, eventually, rounds};

use super::database;

const CONNECTIONS: u32 = 25;
const A_SECOND: u32 = 5000;

/// Counts at a steady rate until told to end; latencies in microseconds, from when each was due.
fn count(setup: &Setup, number: usize, over: &AtomicBool) -> (u64, Histogram<u64>) {
    let mut client = Client::new(setup.address());
    let mut latencies = Histogram::new(3).unwrap();
    let every = Duration::from_secs(1) * CONNECTIONS / A_SECOND;
    let path = format!("/api/v1/counter/soak-{number}/increment");
    let begun = Instant::now();
    let mut counted = 0;
    while !over.load(Ordering::Relaxed) {
        let due = begun + every * u32::try_from(counted).unwrap();
        if let Some(early) = due.checked_duration_since(Instant::now()) {
            // polls: a steady rate is what is measured with
            std::thread::sleep(early);
        }
        let answer = client.request("POST", &path, &[], b"{}").unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        counted += 1;
        latencies
            .record(u64::try_from(due.elapsed().as_micros()).unwrap())
            .unwrap();
    }
    (counted, latencies)
}

/// Ends the load when it is dropped.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A round of everything that happens to databases.
fn maltreat(database: &mut Database) {
    let some_time = || {
        // polls: how long it lasts is what is varied, nothing is waited for
        std::thread::sleep(Duration::from_secs(3));
    };
    some_time();
    database.pause();
    some_time();
    database.resume();
    some_time();
    database.crash();
    some_time();
    database.start();
    some_time();
    // Without an export there are no tables.
    let _ = database.try_sql(
        "TRUNCATE counters, counter_history, counterd_database, counterd_counters, counterd_days",
    );
    some_time();
    database.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public");
    some_time();
}

/// One round at a steady rate, with or without an export; gives the 99th percentile.
fn round(database: &mut Database, exports: bool) -> Duration {
    let home = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(home.path());
    if exports {
        setup = setup
            .set("postgres.url", &database.url())
            .set("postgres.interval", "500ms")
            .set("postgres.timeout", "1s");
    }
    let server = setup.start();
    let over = AtomicBool::new(false);
    let counts = std::thread::scope(|scope| {
        let load =
            scope.spawn(|| at_once(CONNECTIONS as usize, |number| count(&setup, number, &over)));
        {
            // Also when a claim fails meanwhile.
            let _end = End(&over);
            maltreat(database);
        }
        load.join().unwrap()
    });
    let mut latencies = Histogram::<u64>::new(3).unwrap();
    let mut sum = 0;
    for (counted, of_one) in &counts {
        latencies.add(of_one).unwrap();
        sum += counted;
    }
    let quantile = |q: f64| Duration::from_micros(latencies.value_at_quantile(q));
    println!(
        "{} the export: {sum} counted, p50 {:?}, p99 {:?}, p99.9 {:?}, at most {:?}",
        if exports { "with" } else { "without" },
        quantile(0.5),
        quantile(0.99),
        quantile(0.999),
        quantile(1.0)
    );
    if exports {
        claim_equal(database, &counts, sum);
    }
    server.stop();
    quantile(0.99)
}

fn claim_equal(database: &Database, counts: &[(u64, Histogram<u64>)], sum: u64) {
    eventually("the rows are equal", 2 * PATIENCE, || {
        let rows = database
            .try_sql("SELECT sum(current_value) FROM counters WHERE name LIKE 'soak-%'")
            .ok()?;
        (rows == sum.to_string()).then_some(())
    });
    for (number, (counted, _)) in counts.iter().enumerate() {
        let value = format!("SELECT current_value FROM counters WHERE name = 'soak-{number}'");
        assert_eq!(database.sql(&value), counted.to_string());
    }
}

#[test]
#[ignore = "takes minutes: script/soak postgres runs it"]
fn whatever_happens_to_the_database_counting_goes_on_as_fast() {
    let test = "whatever_happens_to_the_database_counting_goes_on_as_fast";
    let Some(mut database) = database(test) else {
        return;
    };
    // Interleaved with rounds of the same without an export: on a busy machine those are slow too.
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..rounds(1) {
        without.push(round(&mut database, false));
        with.push(round(&mut database, true));
    }
    let median = |all: &mut Vec<Duration>| {
        all.sort();
        all[all.len() / 2]
    };
    let (with, without) = (median(&mut with), median(&mut without));
    println!("median p99: {with:?} with the export, {without:?} without");
    assert!(with < Duration::from_millis(10), "{with:?}");
}
