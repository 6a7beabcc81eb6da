//! The shared day and the clock watch, on a clock that the test moves.

use std::sync::Barrier;

use super::*;
use crate::calendar::{DAY_MS, DayStart};
use crate::clock::ManualClock;

const HOUR: i64 = 3_600_000;
const JUMP: i64 = 48 * HOUR;
const AWAY: i64 = 90 * DAY_MS;
/// 2026-11-24T12:00:00Z.
const NOON: i64 = 20_781 * DAY_MS + 12 * HOUR;

struct Fixture {
    clock: Arc<ManualClock>,
    current: CurrentDay,
}

fn day(text: &str) -> Day {
    text.parse().unwrap()
}

fn start(zone: &str, wall_ms: i64, stored: Option<&str>, last_commit_ms: Option<i64>) -> Fixture {
    let clock = Arc::new(ManualClock::new(wall_ms));
    let current = CurrentDay::new(CurrentDayOptions {
        calendar: Calendar::new(zone, DayStart::default()).unwrap(),
        clock: clock.clone(),
        max_clock_jump_ms: JUMP,
        max_away_ms: AWAY,
    });
    current.begin(
        stored
            .zip(last_commit_ms)
            .map(|(highest, last_commit_ms)| StoredTime {
                highest_day: day(highest),
                last_commit_ms,
                slid_to: i64::MIN,
                store_ms: 0,
            }),
    );
    Fixture { clock, current }
}

fn at_noon() -> Fixture {
    start("UTC", NOON, None, None)
}

#[track_caller]
fn expect(fixture: &Fixture, today: &str, clock_fault: bool) {
    for _ in 0..2 {
        let look = fixture.current.look();
        assert_eq!(look.day, day(today));
        assert_eq!(look.clock_fault, clock_fault);
        assert_eq!(look.wall_ms, fixture.clock.wall_ms());
    }
}

#[test]
fn the_day_advances_at_its_end_and_not_a_millisecond_before() {
    let f = at_noon();
    f.clock.advance(12 * HOUR - 1);
    expect(&f, "2026-11-24", false);
    f.clock.advance(1);
    expect(&f, "2026-11-25", false);
    f.clock.advance(DAY_MS - 1);
    expect(&f, "2026-11-25", false);
    f.clock.advance(1);
    expect(&f, "2026-11-26", false);
    assert_eq!(f.current.behind_ms(), 0);
}

#[test]
fn time_that_really_passed_is_no_jump_however_long_nobody_looked() {
    let f = at_noon();
    f.clock.advance(400 * DAY_MS);
    expect(&f, "2027-12-29", false);
}

#[test]
fn a_skipped_day_is_never_current() {
    let apia = Calendar::new("Pacific/Apia", DayStart::default()).unwrap();
    let boundary = apia.start_of(day("2011-12-30"));
    let f = start("Pacific/Apia", boundary - 1, None, None);
    expect(&f, "2011-12-29", false);
    assert_eq!(f.current.local_day(day("2011-12-29")).end, Some(boundary));
    f.clock.advance(1);
    expect(&f, "2011-12-31", false);
}

#[test]
fn a_jump_forward_over_the_limit_is_a_fault_and_advances_no_day() {
    let f = at_noon();
    f.clock.shift_wall(JUMP + 1);
    expect(&f, "2026-11-24", true);
    f.clock.advance(3 * DAY_MS);
    expect(&f, "2026-11-24", true);
}

#[test]
fn a_jump_up_to_the_limit_is_accepted() {
    let f = at_noon();
    f.clock.shift_wall(JUMP);
    expect(&f, "2026-11-26", false);
    f.clock.shift_wall(-JUMP);
    expect(&f, "2026-11-26", false);
}

#[test]
fn each_accepted_look_is_what_the_next_jump_is_measured_from() {
    let f = at_noon();
    f.clock.shift_wall(30 * HOUR);
    expect(&f, "2026-11-25", false);
    f.clock.shift_wall(30 * HOUR);
    expect(&f, "2026-11-27", false);
    // Both at once would have been over the limit.
    f.clock.shift_wall(-60 * HOUR);
    expect(&f, "2026-11-27", true);
}

#[test]
fn a_fault_ends_by_itself_once_the_clock_is_back_within_the_limit() {
    let f = at_noon();
    f.clock.shift_wall(100 * DAY_MS);
    expect(&f, "2026-11-24", true);
    f.clock.advance(13 * HOUR);
    // Looks under the fault were not accepted: the limit still counts from before the jump.
    f.clock.shift_wall(-100 * DAY_MS + JUMP + 1);
    expect(&f, "2026-11-24", true);
    f.clock.shift_wall(-1);
    expect(&f, "2026-11-27", false);
}

#[test]
fn a_jump_back_over_the_limit_is_a_fault_too() {
    let f = at_noon();
    f.clock.shift_wall(-JUMP - 1);
    expect(&f, "2026-11-24", true);
    assert_eq!(f.current.behind_ms(), 0, "a fault is not called behind");
    f.clock.shift_wall(JUMP + 1);
    expect(&f, "2026-11-24", false);
}

#[test]
fn the_operator_accepts_a_jump_and_the_day_follows() {
    let f = at_noon();
    f.clock.shift_wall(100 * DAY_MS);
    expect(&f, "2026-11-24", true);
    let look = f.current.accept();
    assert_eq!((look.day, look.clock_fault), (day("2027-03-04"), false));
    expect(&f, "2027-03-04", false);
    // The limit counts from the accepted look now.
    f.clock.shift_wall(-JUMP - 1);
    expect(&f, "2027-03-04", true);
}

#[test]
fn an_accepted_jump_back_keeps_the_day_until_the_calendar_catches_up() {
    let f = at_noon();
    f.clock.shift_wall(-10 * DAY_MS);
    expect(&f, "2026-11-24", true);
    assert_eq!(f.current.accept().day, day("2026-11-24"));
    expect(&f, "2026-11-24", false);
    assert_eq!(f.current.behind_ms(), 9 * DAY_MS + 12 * HOUR);
    f.clock.advance(9 * DAY_MS + 12 * HOUR - 1);
    assert_eq!(f.current.behind_ms(), 1);
    assert!(f.current.state().behind);
    f.clock.advance(1);
    f.current.look();
    assert!(!f.current.state().behind, "the day's start is looked for");
    assert_eq!(f.current.behind_ms(), 0);
    expect(&f, "2026-11-24", false);
    f.clock.advance(DAY_MS);
    expect(&f, "2026-11-25", false);
}

#[test]
fn a_clock_set_back_over_midnight_keeps_the_day() {
    let f = at_noon();
    f.clock.advance(12 * HOUR);
    expect(&f, "2026-11-25", false);
    f.clock.shift_wall(-2 * HOUR);
    expect(&f, "2026-11-25", false);
    assert_eq!(f.current.behind_ms(), 2 * HOUR);
    assert_eq!(
        f.current.local_day(day("2026-11-25")).end,
        Some(NOON + 36 * HOUR),
        "the end is the day's own also while behind"
    );
    f.clock.advance(2 * HOUR);
    assert_eq!(f.current.behind_ms(), 0);
    f.clock.advance(DAY_MS - 1);
    expect(&f, "2026-11-25", false);
    f.clock.advance(1);
    expect(&f, "2026-11-26", false);
}

#[test]
fn a_start_is_never_below_the_highest_stored_day() {
    let f = start("UTC", NOON, Some("2026-11-27"), Some(NOON));
    expect(&f, "2026-11-27", false);
    assert_eq!(f.current.behind_ms(), 2 * DAY_MS + 12 * HOUR);
    let f = start("UTC", NOON, Some("2026-11-20"), Some(NOON - 4 * DAY_MS));
    expect(&f, "2026-11-24", false);
}

#[test]
fn a_start_long_after_the_last_commit_is_a_fault_until_the_clock_is_back() {
    let f = start("UTC", NOON + AWAY + 1, Some("2026-11-24"), Some(NOON));
    expect(&f, "2026-11-24", true);
    f.clock.shift_wall(-1);
    expect(&f, "2027-02-22", false);
    let f = start("UTC", NOON + AWAY + 1, Some("2026-11-24"), Some(NOON));
    assert_eq!(f.current.accept().day, day("2027-02-22"));
    let f = start("UTC", NOON + AWAY, Some("2026-11-24"), Some(NOON));
    expect(&f, "2027-02-22", false);
}

#[test]
fn a_start_with_a_clock_far_before_the_last_commit_is_a_fault_until_it_is_set() {
    // A machine without a battery starts in 1970 until the network sets its clock.
    let f = start("UTC", 5 * HOUR, Some("2026-11-24"), Some(NOON));
    expect(&f, "2026-11-24", true);
    f.clock.advance(40_000);
    f.clock.set_wall(NOON + 13 * HOUR);
    expect(&f, "2026-11-25", false);
    let f = start("UTC", NOON - JUMP, Some("2026-11-24"), Some(NOON));
    expect(&f, "2026-11-24", false);
}

#[test]
fn a_jump_back_that_undoes_time_nobody_looked_at_is_a_fault() {
    let f = at_noon();
    f.clock.advance(3 * DAY_MS);
    f.clock.set_wall(NOON);
    expect(&f, "2026-11-24", true);
}

#[test]
fn a_drift_of_any_length_in_small_steps_is_accepted() {
    let f = at_noon();
    for _ in 0..100 {
        f.clock.advance(HOUR);
        f.clock.shift_wall(HOUR);
        assert!(!f.current.look().clock_fault);
    }
    expect(&f, "2026-12-02", false);
}

#[test]
fn bounds_are_those_of_the_day_that_is_asked_for() {
    let f = at_noon();
    for text in ["2026-11-23", "2026-11-24", "2026-11-25"] {
        let asked = day(text);
        let bounds = f.current.local_day(asked);
        let midnight = |days| i64::from(asked.days() + days) * DAY_MS;
        assert_eq!((bounds.start, bounds.end), (midnight(0), Some(midnight(1))));
    }
}

#[test]
fn many_threads_cross_midnight_together_and_none_sees_the_day_go_back() {
    let f = at_noon();
    f.clock.advance(12 * HOUR - 200);
    let barrier = Barrier::new(9);
    std::thread::scope(|scope| {
        let watchers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut last = f.current.look();
                    barrier.wait();
                    let mut advances = 0;
                    while last.day < day("2026-11-27") {
                        let look = f.current.look();
                        assert!(look.day >= last.day, "{last:?} then {look:?}");
                        assert!(!look.clock_fault);
                        // The clock only moves forward here, so a look names the day of its time.
                        assert_eq!(look.day, f.current.calendar().day_of(look.wall_ms));
                        advances += u32::from(look.day > last.day);
                        last = look;
                    }
                    advances
                })
            })
            .collect();
        barrier.wait();
        for _ in 0..2_000 {
            f.clock.advance(1);
            std::hint::spin_loop();
        }
        f.clock.advance(DAY_MS);
        f.clock.advance(DAY_MS);
        for watcher in watchers {
            assert!(watcher.join().unwrap() >= 1);
        }
    });
    expect(&f, "2026-11-27", false);
}

#[test]
fn many_threads_see_a_jump_and_its_end_together() {
    let f = at_noon();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    let look = f.current.look();
                    assert_eq!(look.day, day("2026-11-24"), "a jump moved the day");
                }
            });
        }
        for _ in 0..2_000 {
            f.clock.shift_wall(100 * DAY_MS);
            assert!(f.current.look().clock_fault);
            f.clock.shift_wall(-100 * DAY_MS);
            assert!(!f.current.look().clock_fault);
        }
    });
    expect(&f, "2026-11-24", false);
}

#[test]
fn under_a_clock_far_from_that_of_redis_no_day_advances_and_nobody_can_accept_it() {
    let f = at_noon();
    assert_eq!(f.current.ahead_of_redis_ms(), None);
    f.current.compare_with_redis(NOON + 1500, 2000);
    assert_eq!(f.current.ahead_of_redis_ms(), Some(-1500));
    expect(&f, "2026-11-24", false);
    f.clock.shift_wall(DAY_MS);
    assert_eq!(f.current.ahead_of_redis_ms(), Some(DAY_MS - 1500));
    expect(&f, "2026-11-24", true);
    f.current.accept();
    expect(&f, "2026-11-24", true);
    f.clock.shift_wall(-DAY_MS);
    expect(&f, "2026-11-24", false);
    // It goes wrong by and by.
    f.clock.shift_wall(-600);
    f.clock.advance(VOUCHED_MS + 1);
    expect(&f, "2026-11-24", true);
    f.current.compare_with_redis(f.clock.wall_ms(), 2000);
    expect(&f, "2026-11-24", false);
}

#[test]
fn a_start_with_a_clock_far_from_that_of_redis_begins_in_the_right_day() {
    for stored in [None, Some(NOON - HOUR)] {
        let f = start("UTC", NOON + DAY_MS, None, None);
        f.current.compare_with_redis(NOON, 2000);
        f.current.begin(stored.map(|last_commit_ms| StoredTime {
            highest_day: day("2026-11-24"),
            last_commit_ms,
            slid_to: i64::MIN,
            store_ms: 0,
        }));
        expect(&f, "2026-11-24", true);
        f.clock.shift_wall(-DAY_MS);
        expect(&f, "2026-11-24", false);
    }
}
