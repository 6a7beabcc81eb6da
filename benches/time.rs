//! What a look at the time costs, which every read and every commit group pays, beside what the
//! clocks themselves cost. `cargo bench --bench time`
#![allow(
    clippy::expect_used,
    reason = "a bench that cannot set itself up has nothing to measure"
)]

use std::hint::black_box;
use std::sync::Arc;

use counterd::calendar::{Calendar, DAY_MS, DayStart};
use counterd::clock::{Clock, SystemClock};
use counterd::current_day::{CurrentDay, CurrentDayOptions};
use criterion::{Criterion, criterion_group, criterion_main};

fn time(criterion: &mut Criterion) {
    let calendar = Calendar::new("Europe/Berlin", DayStart::default()).expect("a bundled zone");
    let current = CurrentDay::new(CurrentDayOptions {
        calendar: calendar.clone(),
        clock: Arc::new(SystemClock),
        max_clock_jump_ms: 2 * DAY_MS,
        max_away_ms: 90 * DAY_MS,
    });
    let clock = SystemClock;
    let now_ms = clock.wall_ms();
    let mut group = criterion.benchmark_group("time");
    group.bench_function("look", |b| b.iter(|| black_box(current.look())));
    group.bench_function("wall clock", |b| b.iter(|| black_box(clock.wall_ms())));
    group.bench_function("boot clock", |b| b.iter(|| black_box(clock.boot_ms())));
    group.bench_function("tick", |b| b.iter(|| black_box(clock.tick_ms())));
    group.bench_function("day of an instant", |b| {
        b.iter(|| calendar.day_of(black_box(now_ms)))
    });
    group.bench_function("end of a day", |b| {
        let today = calendar.day_of(now_ms);
        b.iter(|| calendar.end_of(black_box(today)))
    });
    group.finish();
}

criterion_group!(benches, time);
criterion_main!(benches);
