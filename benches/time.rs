//! What a look at the time costs, which every read and every commit group pays, beside what the
//! clocks themselves cost; and what it costs that windows slide. `cargo bench --bench time`
#![allow(
    clippy::expect_used,
    reason = "a bench that cannot set itself up has nothing to measure"
)]

use std::hint::black_box;
use std::sync::Arc;

use counterd::calendar::{Calendar, DAY_MS, DayStart};
use counterd::clock::{Clock, SystemClock};
use counterd::counter::{Lapse, Leaving, Seconds};
use counterd::current_day::{CurrentDay, CurrentDayOptions};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

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
    sliding(criterion);
}

/// A thousand windows of an hour, each with something in every minute, slide by one grain.
fn sliding(criterion: &mut Criterion) {
    let lapse = Lapse::of_window(Seconds(3600), None).expect("an hour in minutes");
    let mut leaving = Leaving::new(lapse, 0);
    for grain in 1..=60 {
        assert!(leaving.add(grain, 1000, 0));
    }
    let windows = vec![leaving; 1000];
    criterion.bench_function("a thousand windows slide", |b| {
        let slide = |mut windows: Vec<Leaving>| {
            for leaving in &mut windows {
                leaving.advance(lapse.grain_ms());
            }
            windows
        };
        b.iter_batched(|| windows.clone(), slide, BatchSize::LargeInput);
    });
}

criterion_group!(benches, time);
criterion_main!(benches);
