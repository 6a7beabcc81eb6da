//! What counting users costs at 0, 1 and 10 million users already counted today: new ones, ones
//! counted lately, and ones counted long ago. Each step is a batch of 100 through the real writer,
//! with its sync.

#![allow(
    clippy::unwrap_used,
    reason = "a bench ends by panicking where something is wrong"
)]

use std::sync::Arc;

use counterd::calendar::Calendar;
use counterd::clock::SystemClock;
use counterd::counter::{
    Action, CounterName, Definition, Kind, Operation, Outcome, RequestId, Reset, UserId,
};
use counterd::storage::StorageOptions;
use counterd::writer::{Command, Request, Running, WriterOptions};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const STEP: u64 = 100;
fn start(dir: &std::path::Path) -> Running {
    let unique = Definition {
        kind: Kind::Unique,
        reset: Reset::Daily,
        ..Definition::default()
    };
    Running::start(WriterOptions {
        max_counters: 1000,
        gone_for_ms: 1000,
        configured: vec![(CounterName::parse("dau").unwrap(), unique)],
        min_free: Some(0),
        queue: 100_000,
        ..WriterOptions::new(
            StorageOptions {
                data_dir: dir.to_owned(),
                memory: 192 << 20,
                shared: None,
                reserve: None,
            },
            Arc::new(SystemClock),
            Calendar::new("UTC", "00:00".parse().unwrap()).unwrap(),
        )
    })
    .unwrap()
}

/// Counts users `from..from + count`; says how many were new.
fn count(running: &Running, from: u64, count: u64) -> usize {
    let counter = CounterName::parse("dau").unwrap();
    let operations = (from..from + count).map(|user| Operation {
        counter: counter.clone(),
        action: Action::Increment,
        amount: 1,
        // Spread like random ids, so that neighbours in time are none in the key space.
        user_id: Some(
            UserId::parse(&format!(
                "{:016x}",
                user.wrapping_mul(0x9e37_79b9_7f4a_7c15)
            ))
            .unwrap(),
        ),
        session: None,
    });
    let command = Command::Batch(operations.collect());
    let request = Request {
        command,
        key: None,
        request_id: RequestId::Made(0),
    };
    match running.intake.call(request).unwrap().outcome {
        Outcome::Batch(results) => results
            .iter()
            .filter(|result| result.effect.counted())
            .count(),
        other => unreachable!("{other:?}"),
    }
}

fn users(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path());
    let mut next = 0;
    for million in [0, 1, 10] {
        while next < million * 1_000_000 {
            assert_eq!(count(&running, next, 1000), 1000);
            next += 1000;
        }
        let mut group = criterion.benchmark_group(format!("dedup/{million}M"));
        group.throughput(Throughput::Elements(STEP)).sample_size(50);
        group.bench_function("new", |bencher| {
            bencher.iter(|| {
                assert_eq!(count(&running, next, STEP), 100);
                next += STEP;
            });
        });
        let lately = next - STEP;
        group.bench_function("counted lately", |bencher| {
            bencher.iter(|| assert_eq!(count(&running, lately, STEP), 0));
        });
        let mut old = 0;
        group.bench_function("counted long ago", |bencher| {
            bencher.iter(|| {
                assert_eq!(count(&running, old % (next - STEP), STEP), 0);
                old += STEP * 7919;
            });
        });
        group.finish();
    }
    running.stop();
}

criterion_group!(benches, users);
criterion_main!(benches);
