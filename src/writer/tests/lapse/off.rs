//! Windows and leases where the store was closed meanwhile: for a night, for an outage, while another history went on.

use std::fs;
use std::process;

use super::*;
use crate::storage::DataDirLock;
use crate::storage::recover::recover;

const MINUTE: i64 = 60_000;

/// A server with one lease that began a moment ago.
fn with_a_lease() -> Bench {
    let bench = Bench::new();
    bench.define("here", presence(90)).unwrap();
    applied(&bench, beat(1, 1));
    bench
}

/// Has commits fail until this test has the data directory before the server opens its store again.
fn taken_from(bench: &Bench) -> DataDirLock {
    let up = Command::Apply(increment("online", 1, None));
    let mut tries = 0..20;
    let lock = tries.find_map(|_| {
        bench.fail_after(0);
        let failed = bench.ask_again(&up);
        assert_eq!(failed, Err(Failure::OutcomeUnknown));
        DataDirLock::take(bench.dir.path()).ok()
    });
    lock.unwrap()
}

fn copy_of(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let mut cp = process::Command::new("cp");
    let copied = cp.arg("-a").args([&dir.join("."), copy.path()]).status();
    assert!(copied.unwrap().success());
    copy
}

/// Puts the store of a copy in the place of the one in `dir`.
fn put_in_place(dir: &Path, copy: &tempfile::TempDir) {
    fs::remove_dir_all(dir.join("store")).unwrap();
    fs::rename(copy.path().join("store"), dir.join("store")).unwrap();
}

/// Tries to open a store with a configuration that contradicts it: that is found once its time was read.
fn open_in_vain(running: &Running, dir: &Path, clock: &Arc<ManualClock>) {
    let mut contradicts = options(dir, clock);
    let gauge = (name("here"), Definition::default());
    contradicts.configured.push(gauge);
    let failed = running.open(contradicts, Absent::Refuse);
    assert!(matches!(failed, Err(StartError::DefinitionConflict { .. })));
}

/// The leases, of that weight together, count for 90 s from now and no longer.
fn end_after_90_s(bench: &Bench, weight: i64) {
    bench.clock.advance(89_999);
    assert_eq!(leases(bench).0, weight);
    bench.clock.advance(1);
    assert_eq!(leases(bench).0, 0);
}

#[test]
fn leases_stand_between_tries_to_open_the_store() {
    let (dir, clock) = with_a_lease().stop();
    let running = Running::new(&options(dir.path(), &clock));
    for _ in 0..3 {
        open_in_vain(&running, dir.path(), &clock);
        let store_ms = running.day.store_ms();
        clock.advance(HOUR);
        assert_eq!(running.day.store_ms(), store_ms);
    }
    let options = options(dir.path(), &clock);
    running.open(options, Absent::Refuse).unwrap();
    let bench = Bench {
        running,
        clock,
        dir,
    };
    bench.clock.advance(89_999);
    assert_eq!(leases(&bench), (1, 1, true));
    bench.clock.advance(1);
    assert_eq!(leases(&bench), (0, 0, false));
}

#[test]
fn a_store_in_the_place_of_one_that_did_not_open_has_its_own_time() {
    let (dir, clock) = with_a_lease().stop();
    let earlier = copy_of(dir.path());
    let bench = Bench::start(dir, clock, |_| {});
    bench.clock.advance(10 * MINUTE);
    let (dir, clock) = bench.stop();
    let running = Running::new(&options(dir.path(), &clock));
    open_in_vain(&running, dir.path(), &clock);
    put_in_place(dir.path(), &earlier);
    let options = options(dir.path(), &clock);
    running.open(options, Absent::Refuse).unwrap();
    let bench = Bench {
        running,
        clock,
        dir,
    };
    assert_eq!(leases(&bench), (1, 1, true));
}

#[test]
fn leases_stand_while_a_store_that_failed_cannot_be_opened_again() {
    let bench = with_a_lease();
    for _ in 0..2 {
        let lock = taken_from(&bench);
        bench.clock.advance(8 * HOUR);
        assert_eq!(leases(&bench).0, 1);
        drop(lock);
        let up = Command::Apply(increment("online", 1, None));
        bench.ask_again(&up).unwrap();
        assert_eq!(leases(&bench), (1, 1, true));
    }
    end_after_90_s(&bench, 1);
}

#[test]
fn another_history_is_taken_with_its_time_and_what_counts_in_it() {
    let bench = with_a_lease();
    let hour = windowed(Kind::Unique, 3600, 60);
    bench.define("hour", hour).unwrap();
    let lock = taken_from(&bench);
    // A copy goes on elsewhere, and comes back in the place of the store.
    let copy = copy_of(bench.dir.path());
    let other = Bench::start(copy, Arc::new(ManualClock::new(NOON)), |_| {});
    other.clock.advance(10 * MINUTE);
    applied(&other, beat(2, 7));
    applied(&other, of_user("hour", Action::Increment, 1, 2, 0));
    let (copy, clock) = other.stop();
    let of_copy = DataDirLock::take(copy.path()).unwrap();
    let storage = options(copy.path(), &clock).storage;
    recover(&of_copy, &storage, clock.wall_ms(), true).unwrap();
    put_in_place(bench.dir.path(), &copy);
    drop(lock);

    let up = Command::Apply(increment("online", 1, None));
    bench.ask_again(&up).unwrap();
    assert_eq!((leases(&bench), bench.value("hour")), ((7, 1, true), 1));
    end_after_90_s(&bench, 7);
}

#[test]
fn a_window_whose_counter_ended_while_counterd_was_off_says_what_was_in_it_at_the_end() {
    let bench = Bench::new();
    let event = Definition {
        expires_at: Some(NOON + 80 * MINUTE),
        ..windowed(Kind::Sum, 3600, 60)
    };
    bench.define("event", event).unwrap();
    let up = |amount| increment("event", amount, None);
    // The first leave at 13:00, before the end; the others at 13:50, after it.
    applied(&bench, up(5));
    bench.clock.advance(50 * MINUTE);
    applied(&bench, up(2));
    let (dir, clock) = bench.stop();
    clock.advance(20 * HOUR);
    let bench = Bench::start(dir, clock, |_| {});
    let gone = Gone {
        expired: true,
        final_value: 2,
        at: NOON + 80 * MINUTE,
    };
    let reading = bench.running.table.read("event").unwrap();
    assert_eq!(reading.existence, Existence::Gone(gone));
    let refused = bench.ask(Command::Apply(up(1)), None);
    assert_eq!(refused, Err(Failure::Refused(Refusal::Gone(gone))));
}

#[test]
fn a_day_after_a_night_off_begins_with_a_window_as_of_midnight_and_leases_as_they_were() {
    let bench = Bench::new();
    bench.define("here", presence(90)).unwrap();
    let rounds = windowed(Kind::Sum, 7200, 60);
    bench.define("rounds", rounds).unwrap();
    let up = |amount| increment("rounds", amount, None);
    // The first leave at 23:30, the others at 00:10.
    bench.clock.advance(9 * HOUR + 30 * MINUTE);
    applied(&bench, up(5));
    bench.clock.advance(40 * MINUTE);
    applied(&bench, up(2));
    applied(&bench, beat(1, 3));
    let (dir, clock) = bench.stop();
    clock.advance(10 * HOUR);
    let bench = Bench::start(dir, clock, |_| {});
    let record = day_of(&bench, "rounds");
    assert_eq!((record.opening, record.peak.value), (2, 2));
    assert_eq!((record.low.value, record.last), (0, 0));
    assert_eq!((record.operations, record.increments), (0, 0));
    bench.clock.advance(90_000);
    let record = day_of(&bench, "here");
    assert_eq!((record.opening, record.last, record.expired), (3, 0, 1));
}
