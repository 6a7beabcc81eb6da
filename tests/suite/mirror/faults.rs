//! A Redis that is absent, stopped, empty, older or emptied under load: counting goes on, and the keys
//! end equal to the store.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use counterd::rounds::RoundStatus;

use super::{expected, mirror, options, redis, seen};
use crate::harness::{Dice, PATIENCE, Redis, eventually, rounds, seed};
use crate::house::{House, NOON};

fn wait_equal(redis: &Redis, house: &House, status: &RoundStatus, what: &str) -> Duration {
    let begun = Instant::now();
    eventually(what, PATIENCE, || {
        let report = status.report(house.running.table.revision());
        (report.up && report.revisions == 0 && seen(redis, "") == expected(house)).then_some(())
    });
    begun.elapsed()
}

#[test]
fn after_any_schedule_of_outages_it_equals_the_store() {
    let test = "after_any_schedule_of_outages_it_equals_the_store";
    let Some(mut redis) = redis(test) else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    for number in 0..300 {
        house.up(&format!("untouched{number}"), number + 1);
    }
    let mut short = options(&redis);
    short.timeout = Duration::from_millis(300);
    let mirrored = mirror(&house, short.clone());
    let mut status = mirrored.status();
    let mut running = Some(mirrored.start().unwrap());
    let mut dice = Dice::new(seed(test));
    let load = |house: &House, dice: &mut Dice| {
        for _ in 0..100 {
            house.up(&format!("c{}", dice.below(40)), 1);
        }
    };
    redis.save();
    for round in 0..rounds(12) {
        load(&house, &mut dice);
        // Each kind at least once in an ordinary run.
        let kind = if round < 7 {
            u64::from(round)
        } else {
            dice.below(7)
        };
        match kind {
            0 => redis.say::<()>("FLUSHALL"),
            1 => {
                redis.forget_saved();
                redis.kill();
                load(&house, &mut dice);
                redis.start();
            }
            2 => {
                redis.pause();
                load(&house, &mut dice);
                eventually("it is noticed", PATIENCE, || status.report(0).error);
                redis.resume();
            }
            3 => {
                // What was saved rounds ago, if it was.
                redis.kill();
                load(&house, &mut dice);
                redis.start();
            }
            4 => {
                redis.save();
                load(&house, &mut dice);
                wait_equal(&redis, &house, &status, "it follows");
                redis.kill();
                redis.start();
            }
            5 => redis.say::<()>("CLIENT KILL TYPE normal"),
            _ => {
                if let Some(running) = running.take() {
                    running.end();
                }
                load(&house, &mut dice);
                let gone = format!("event{round}");
                house.up(&gone, 1);
                house.delete(&gone);
                let mirrored = mirror(&house, short.clone());
                status = mirrored.status();
                running = Some(mirrored.start().unwrap());
            }
        }
        load(&house, &mut dice);
        let took = wait_equal(&redis, &house, &status, "it equals the store");
        println!("round {round}, kind {kind}: equal after {took:?}");
    }
    if let Some(running) = running {
        running.end();
    }
    house.stop();
}

#[test]
fn a_reader_never_sees_a_revision_go_back() {
    let Some(redis) = redis("a_reader_never_sees_a_revision_go_back") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    house.up("c", 1);
    let mut short = options(&redis);
    short.interval = Duration::from_millis(1);
    short.timeout = Duration::from_millis(200);
    let mirrored = mirror(&house, short.clone());
    let status = mirrored.status();
    // Two servers on the same store, as after a move that went wrong: each has late writes.
    let second = mirror(&house, short).start().unwrap();
    let running = mirrored.start().unwrap();
    let (done, looks) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut last = (0, 0);
            let mut connection = redis.connect().unwrap();
            while !done.load(Ordering::Relaxed) {
                let read = redis::pipe()
                    .atomic()
                    .cmd("HMGET")
                    .arg("counter:c:meta")
                    .arg("revision")
                    .arg("epoch")
                    .cmd("GET")
                    .arg("counter:c")
                    .query::<(Option<(u64, u64)>, Option<i64>)>(&mut connection);
                match read {
                    Ok((Some((revision, _)), Some(value))) => {
                        let now = (revision, value);
                        assert!(now >= last, "{last:?}, then {now:?}");
                        last = now;
                        looks.fetch_add(1, Ordering::Relaxed);
                    }
                    // Emptied, or nothing of a counter there yet.
                    Ok(_) | Err(_) => connection = redis.connect().unwrap(),
                }
            }
        });
        for round in 0..400 {
            house.up("c", 1);
            match round {
                100 | 300 => {
                    redis.pause();
                    for _ in 0..50 {
                        house.up("c", 1);
                    }
                    eventually("it is noticed", PATIENCE, || status.report(0).error);
                    redis.resume();
                }
                150 | 350 => redis.say::<()>("FLUSHALL"),
                200 => redis.say::<()>("SCRIPT FLUSH"),
                _ => {}
            }
        }
        eventually("the reader has looked often", PATIENCE, || {
            house.up("c", 1);
            let enough = looks.load(Ordering::Relaxed) > 100 || reader.is_finished();
            enough.then_some(())
        });
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
    second.end();
    wait_equal(&redis, &house, &status, "it equals the store");
    running.end();
    house.stop();
}

#[test]
fn while_it_is_stopped_nothing_is_kept_for_it_and_the_end_does_not_wait() {
    let Some(redis) = redis("while_it_is_stopped_nothing_is_kept_for_it_and_the_end_does_not_wait")
    else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    let mut short = options(&redis);
    short.timeout = Duration::from_millis(300);
    let mirrored = mirror(&house, short);
    let status = mirrored.status();
    let running = mirrored.start().unwrap();
    house.up("c", 1);
    wait_equal(&redis, &house, &status, "it follows");
    let written = house.metrics.mirror.values.get();
    redis.pause();
    for _ in 0..2_000 {
        house.up("c", 1);
    }
    let report = eventually("it is noticed", PATIENCE, || {
        let report = status.report(house.running.table.revision());
        (!report.up).then_some(report)
    });
    assert!(report.error.unwrap().contains("does not answer"));
    assert!(report.since.is_some() && report.revisions >= 1_000 && report.seconds > 0.0);
    redis.resume();
    wait_equal(&redis, &house, &status, "it equals the store");
    let written = house.metrics.mirror.values.get() - written;
    assert!(
        written < 100,
        "{written} writes for one counter: a queue was sent"
    );

    redis.pause();
    house.up("c", 1);
    let begun = Instant::now();
    running.end();
    assert!(begun.elapsed() < Duration::from_secs(10));
    redis.resume();
    house.stop();
}

#[test]
fn many_counters_are_filled_in_again() {
    let Some(redis) = redis("many_counters_are_filled_in_again") else {
        return;
    };
    // script/soak asks for the full number.
    let counters = if rounds(1) > 1 { 99_000 } else { 5_000 };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    house.create((0..counters).map(|number| format!("counter-{number:06}")));
    let mut mirrored = mirror(&house, options(&redis));
    let begun = Instant::now();
    mirrored.catch_up().unwrap();
    println!("{counters} counters: first filled in {:?}", begun.elapsed());
    assert_eq!(seen(&redis, ""), expected(&house));
    redis.say::<()>("FLUSHALL");
    let begun = Instant::now();
    mirrored.catch_up().unwrap();
    println!("{counters} counters: filled again in {:?}", begun.elapsed());
    assert_eq!(seen(&redis, ""), expected(&house));
    let begun = Instant::now();
    house.up("counter-000001", 1);
    mirrored.catch_up().unwrap();
    println!("{counters} counters: one changed, {:?}", begun.elapsed());
    house.stop();
}
