//! The pieces of an increment's way: the merge fold, a day record, the bound arithmetic, a read of
//! the table, and what a merge operand costs RocksDB beside a plain put.

#![allow(
    clippy::unwrap_used,
    reason = "a bench ends by panicking where something is wrong"
)]

use std::hint::black_box;
use std::sync::Arc;

use counterd::calendar::{Calendar, Day};
use counterd::clock::SystemClock;
use counterd::counter::{
    Action, CounterName, DayRecord, Definition, Direction, Kind, Operation, RequestId, Reset,
    judge_move,
};
use counterd::storage::{
    Batch, CounterValue, DataDirLock, Operand, Reader, StorageOptions, Store, fold,
};
use counterd::writer::{Command, Request, Running, WriterOptions};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn name(text: &str) -> CounterName {
    CounterName::parse(text).unwrap()
}

fn pure(criterion: &mut Criterion) {
    let base = CounterValue {
        value: 7,
        period: Day::from_days(20_781).ok(),
        generation: 1,
        revision: 2,
        changed_at: 3,
    };
    let operand = Operand {
        delta: 1,
        revision: 9,
        changed_at: 9,
    }
    .encode();
    let operands = vec![operand.as_slice(); 256];
    let mut group = criterion.benchmark_group("core");
    group.bench_function("fold of 256 operands", |b| {
        b.iter(|| fold(Some(&base.encode()), black_box(&operands)));
    });
    let counter = name("total_games_played");
    let day = Day::from_days(20_781).unwrap();
    let record = DayRecord::begin(5, 1_795_521_600_000, 7);
    let mut batch = Batch::new();
    group.bench_function("day record into a batch", |b| {
        b.iter(|| {
            batch.clear();
            let nature = (Kind::Sum, Reset::Daily);
            batch.put_day_record(day, black_box(&counter), &record, nature);
        });
    });
    let definition = Definition::default();
    group.bench_function("bounds of one operation", |b| {
        b.iter(|| {
            judge_move(
                &definition,
                black_box(41),
                Direction::Increment,
                black_box(1),
            )
        });
    });
    group.finish();
}

fn options(dir: &std::path::Path) -> StorageOptions {
    StorageOptions {
        data_dir: dir.to_owned(),
        memory: 192 << 20,
        shared: None,
        reserve: None,
    }
}

fn table(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(WriterOptions {
        max_counters: 200_000,
        gone_for_ms: 1000,
        recent_users: 1000,
        min_free: Some(0),
        queue: 100_000,
        ..WriterOptions::new(
            options(dir.path()),
            Arc::new(SystemClock),
            Calendar::new("UTC", "00:00".parse().unwrap()).unwrap(),
        )
    })
    .unwrap();
    let names: Vec<CounterName> = (0..100_000).map(|n| name(&format!("c{n}"))).collect();
    for chunk in names.chunks(1000) {
        let operations = chunk.iter().map(|counter| Operation {
            counter: counter.clone(),
            action: Action::Increment,
            amount: 1,
            user_id: None,
            session: None,
        });
        let command = Command::Batch(operations.collect());
        let request = Request {
            command,
            key: None,
            request_id: RequestId::Made(0),
        };
        running.intake.call(request).unwrap();
    }
    let mut group = criterion.benchmark_group("table of 100000");
    let mut at = 0;
    group.bench_function("read one", |b| {
        b.iter(|| {
            at = (at + 7919) % names.len();
            running.table.read(names.get(at).unwrap().as_str())
        });
    });
    let ten: Vec<CounterName> = names.iter().step_by(9973).take(10).cloned().collect();
    group.bench_function("read ten as of one commit", |b| {
        b.iter(|| running.table.read_many(black_box(&ten)));
    });
    group.bench_function("a page of 100 by prefix", |b| {
        b.iter(|| running.table.list("c5", Some("c55"), 100));
    });
    group.finish();
    running.stop();
}

fn writes(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let lock = DataDirLock::take(dir.path()).unwrap();
    let reader = Reader::default();
    let mut store = Store::open(&lock, &options(dir.path()), &reader, Some(1)).unwrap();
    let value = CounterValue {
        value: 1,
        period: None,
        generation: 1,
        revision: 1,
        changed_at: 1,
    };
    let operand = Operand {
        delta: 1,
        revision: 1,
        changed_at: 1,
    };
    let names: Vec<_> = (0..100).map(|n| name(&format!("c{n}"))).collect();
    let mut batch = Batch::new();
    for name in &names {
        batch.put_value(name, &value);
    }
    store.commit(&batch).unwrap();
    let mut group = criterion.benchmark_group("synced write of 100 counters");
    group.throughput(Throughput::Elements(100));
    group.bench_function("merge operands", |b| {
        b.iter(|| {
            batch.clear();
            for name in &names {
                batch.change_value(name, &operand);
            }
            store.commit(&batch).unwrap();
        });
    });
    group.bench_function("plain puts", |b| {
        b.iter(|| {
            batch.clear();
            for name in &names {
                batch.put_value(name, &value);
            }
            store.commit(&batch).unwrap();
        });
    });
    group.finish();
}

criterion_group!(benches, pure, table, writes);
criterion_main!(benches);
