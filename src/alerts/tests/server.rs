//! More of the table: nights on which clocks change, rises, silence where something always was, bounds, and the server
//! itself.

use super::scenarios::{Scenario, course, drop_stage, play};
use super::*;
use crate::background::BackgroundWork as _;
use crate::metrics::{AlertRule::*, Cause, OperationResult};

/// Both nights on which clocks change, in Berlin: the value follows the local time.
fn clock_change(begin: &str) -> Stage {
    let at: jiff::Timestamp = begin.parse().unwrap();
    let mut stage = Stage::at(
        only(&[Drop, DropHard, Rise]),
        at.as_millisecond(),
        "Europe/Berlin",
    );
    let zone = jiff::tz::TimeZone::get("Europe/Berlin").unwrap();
    // It falls by a fifth in an hour.
    let local = move |minute: Minute| {
        let at = jiff::Timestamp::from_millisecond(minute * MINUTE_MS).unwrap();
        let time = zone.to_datetime(at);
        let hours = f64::from(time.hour()) + f64::from(time.minute()) / 60.0;
        (8000.0 * 0.8_f64.powf(hours)) as i64
    };
    for days in DAYS_BACK {
        let calendar = stage.running.day.calendar();
        let same = calendar.same_time_before(at.as_millisecond(), days);
        let center = minute_of(same);
        let value = |minute| Some(local(minute));
        stage.past("online", center - 4 * HOUR..center + 6 * HOUR, value);
    }
    let now = stage.now();
    stage.past("online", now - 3 * HOUR..now, |minute| Some(local(minute)));
    stage.set("online", local(now));
    stage.until_with(3 * 3600, |stage, second| {
        if second % 60 == 1 {
            stage.set("online", local(stage.now()));
        }
    });
    let value = stage.value("online");
    stage.set("online", value / 2);
    stage.until(3 * 3600 + 100);
    stage
}

#[test]
fn the_nights_on_which_clocks_change_are_like_others() {
    let turns = &["10801 drop_hard online fires", "10861 drop online fires"];
    play(&[
        Scenario {
            name: "the clock goes forward",
            play: || clock_change("2027-03-28T00:10:00Z"),
            turns,
        },
        Scenario {
            name: "the clock goes back",
            play: || clock_change("2026-10-24T23:40:00Z"),
            turns,
        },
    ]);
}

#[test]
fn counters_that_rise_stand_still_or_stand_at_a_bound() {
    play(&[
        Scenario {
            name: "a rise",
            play: || {
                let stage = Stage::new(only(&[Rise]));
                stage.usual(1000, 1000);
                course(stage, &[(10, 2500), (100, 1500)], 500)
            },
            turns: &["71 rise online fires", "401 rise online ends"],
        },
        Scenario {
            name: "no rise yet",
            play: || {
                let stage = Stage::new(only(&[Rise]));
                stage.usual(1000, 1000);
                course(stage, &[(10, 2000)], 500)
            },
            turns: &[],
        },
        Scenario {
            name: "a hard drop, and the minutes after it",
            play: || {
                let stage = Stage::new(only(&[DropHard]));
                stage.own("online", 5000);
                course(stage, &[(10, 2500)], 1000)
            },
            turns: &["11 drop_hard online fires", "615 drop_hard online ends"],
        },
        Scenario {
            name: "half is lost slowly",
            play: || {
                let mut stage = Stage::new(only(&[DropHard]));
                stage.own("online", 5000);
                stage.until_with(1200, |stage, second| {
                    stage.set("online", 5000 - second * 2);
                });
                stage
            },
            turns: &[],
        },
        Scenario {
            name: "nothing is counted any more",
            play: || {
                let mut stage = Stage::new(only(&[Flat]));
                stage.usual(5000, 5000);
                stage.until_with(100, |stage, second| {
                    stage.set("online", 5000 + second % 2);
                });
                course(stage, &[(900, 5001)], 1300)
            },
            turns: &["700 flat online fires", "1201 flat online ends"],
        },
        Scenario {
            name: "nothing is counted where nothing ever was",
            play: || {
                let mut stage = Stage::new(only(&[Flat]));
                stage.earlier("online", &[0, 1, 2], |at| (at % 3 == 0).then_some(50));
                stage.own("online", 50);
                stage.until(2000);
                stage
            },
            turns: &[],
        },
        Scenario {
            name: "nothing is counted during a silence",
            play: || {
                let mut stage = Stage::new(only(&[Flat]));
                stage.usual(5000, 5000);
                stage.silence("*", 100_000);
                stage.until(2000);
                stage
            },
            turns: &[],
        },
        Scenario {
            name: "a counter at its maximum",
            play: || {
                let rules = vec![entry(AtBound, &["event"], |_| {})];
                let mut stage = Stage::new(changed(rules));
                let definition = Definition {
                    max: 100,
                    ..Definition::default()
                };
                stage.define("event", definition);
                stage.set("event", 99);
                stage.until(10);
                stage.set("event", 100);
                stage.until(200);
                stage.set("event", 99);
                stage.until(600);
                stage
            },
            turns: &["71 at_bound event fires", "501 at_bound event ends"],
        },
    ]);
}

#[test]
fn the_server_tells_what_is_wrong_with_itself() {
    play(&[
        Scenario {
            name: "read only",
            play: || {
                let mut stage = Stage::new(only(&[ReadOnly]));
                stage.until(10);
                stage.running.mode.raise(Cause::Operator, 0);
                stage.until(100);
                stage.running.mode.clear(Cause::Operator);
                stage.until(500);
                stage
            },
            turns: &["21 read_only fires", "401 read_only ends"],
        },
        Scenario {
            name: "read only for a moment",
            play: || {
                let mut stage = Stage::new(only(&[ReadOnly]));
                stage.until(10);
                stage.running.mode.raise(Cause::Operator, 0);
                stage.until(20);
                stage.running.mode.clear(Cause::Operator);
                stage.until(500);
                stage
            },
            turns: &[],
        },
        Scenario {
            name: "while writes are refused a drop neither fires nor ends",
            play: || {
                let mut stage = course(drop_stage(5000, 5000), &[(10, 2600)], 100);
                stage.running.mode.raise(Cause::Operator, 0);
                stage.until(1000);
                stage.running.mode.clear(Cause::Operator);
                course(stage, &[(1100, 5000)], 1500)
            },
            turns: &["71 drop online fires", "1401 drop online ends"],
        },
        Scenario {
            name: "while writes are refused no wait goes on",
            play: || {
                let mut stage = course(drop_stage(5000, 5000), &[(10, 2600)], 40);
                stage.running.mode.raise(Cause::Operator, 0);
                stage.until(500);
                stage.running.mode.clear(Cause::Operator);
                stage.until(600);
                stage
            },
            turns: &["531 drop online fires"],
        },
        Scenario {
            name: "the clock jumps, and is set right",
            play: || {
                let mut stage = Stage::new(only(&[Clock, Drop, DropHard]));
                stage.usual(5000, 5000);
                stage.until(10);
                stage.clock.shift_wall(100 * 3_600_000);
                stage.until(100);
                stage.clock.shift_wall(-100 * 3_600_000);
                stage.until(500);
                stage
            },
            turns: &["11 clock fires", "401 clock ends"],
        },
        Scenario {
            name: "the clock is set back by an hour",
            play: || {
                let mut stage = Stage::new(only(&[Clock, Drop, DropHard, Rise, Flat]));
                stage.usual(5000, 5000);
                stage.until(100);
                stage.clock.shift_wall(-3_600_000);
                stage.until_with(1000, |stage, second| {
                    stage.set("online", 5000 + second % 2);
                });
                stage
            },
            turns: &[],
        },
        Scenario {
            name: "the clock is set back over midnight",
            play: || {
                let midnight = NOON + 12 * 3_600_000;
                let begin = midnight + 1_800_000;
                let mut stage = Stage::at(only(&[Clock, Drop, DropHard]), begin, "UTC");
                stage.earlier("games", &[0, 1, 2], |at| {
                    Some(if at < -30 { 90_000 } else { 500 })
                });
                stage.own("games", 500);
                stage.until(10);
                stage.clock.shift_wall(-3_600_000);
                stage.until(1850);
                stage
            },
            turns: &["11 clock fires"],
        },
        Scenario {
            name: "an outcome that nobody knows",
            play: || {
                let mut stage = Stage::new(only(&[OutcomeUnknown]));
                stage.until(10);
                stage.shard.operations(OperationResult::OutcomeUnknown, 3);
                stage.until(1000);
                stage
            },
            turns: &["11 outcome_unknown fires", "611 outcome_unknown ends"],
        },
        Scenario {
            name: "many refusals",
            play: || {
                let mut stage = Stage::new(only(&[Refusals]));
                stage.until_with(400, |stage, second| {
                    stage.shard.operations(OperationResult::Counted, 10);
                    if second > 10 && second <= 110 {
                        stage.shard.operations(OperationResult::RefusedRules, 5);
                    }
                });
                stage
            },
            turns: &["90 refusals fires"],
        },
        Scenario {
            name: "a day that nobody closes",
            play: || {
                let midnight = NOON + 12 * 3_600_000;
                let mut stage = Stage::at(only(&[CloseLate]), midnight, "UTC");
                stage.set("games", 1);
                stage.until(3700);
                stage
            },
            turns: &["3602 close_late fires"],
        },
    ]);
}

#[test]
fn what_a_restart_cannot_tell_holds_the_state() {
    play(&[
        Scenario {
            name: "nothing is counted, before a restart and after it",
            play: || {
                let mut stage = Stage::new(only(&[Flat]));
                stage.usual(5000, 5000);
                stage.until_with(100, |stage, second| {
                    stage.set("online", 5000 + second % 2);
                });
                stage.until(800);
                stage.restart(0);
                stage.until(2000);
                stage
            },
            turns: &["700 flat online fires"],
        },
        Scenario {
            name: "a day that nobody closes, before a restart and after it",
            play: || {
                let midnight = NOON + 12 * 3_600_000;
                let mut stage = Stage::at(only(&[CloseLate]), midnight, "UTC");
                stage.set("games", 1);
                stage.until(3700);
                stage.restart(0);
                stage.until(8000);
                stage
            },
            turns: &["3602 close_late fires"],
        },
        Scenario {
            name: "a day that nobody closes, over the next midnight",
            play: || {
                let midnight = NOON + 12 * 3_600_000;
                let begin = midnight - 7_200_000;
                let mut stage = Stage::at(only(&[CloseLate]), begin, "UTC");
                stage.set("games", 1);
                stage.until(7300);
                stage.set("games", 2);
                stage.until(8500);
                stage
            },
            turns: &["3602 close_late fires"],
        },
        Scenario {
            name: "leases that settle",
            play: || {
                let mut stage = Stage::new(only(&[DropHard]));
                let beat = |stage: &Stage, second: i64| {
                    stage.apply("here", Action::Heartbeat, 10, Some("gs-2"));
                    if second < 100 {
                        stage.apply("here", Action::Heartbeat, 5000, Some("gs-1"));
                    }
                };
                stage.until_with(200, beat);
                stage.restart(0);
                stage.until_with(1000, beat);
                stage
            },
            // They settle for a minute, and only then the five begin after which it has ended.
            turns: &["159 drop_hard here fires", "560 drop_hard here ends"],
        },
    ]);
}

#[test]
fn what_comes_of_refused_writes_is_no_alert() {
    play(&[
        Scenario {
            name: "leases run out that nobody could renew",
            play: || {
                let mut stage = Stage::new(only(&[DropHard]));
                let beat = |stage: &Stage, _| {
                    stage.apply("here", Action::Heartbeat, 5000, Some("gs-1"));
                };
                stage.until_with(100, beat);
                stage.running.mode.raise(Cause::Operator, 0);
                stage.until(200);
                stage.running.mode.clear(Cause::Operator);
                stage.until(230);
                assert_eq!(stage.value("here"), 0);
                stage.until_with(600, beat);
                stage
            },
            turns: &[],
        },
        Scenario {
            name: "nothing could be counted",
            play: || {
                let mut stage = Stage::new(only(&[Flat]));
                stage.usual(5000, 5000);
                let change = |stage: &Stage, second: i64| {
                    stage.set("online", 5000 + second % 2);
                };
                stage.until_with(100, change);
                stage.running.mode.raise(Cause::Operator, 0);
                stage.until(900);
                stage.running.mode.clear(Cause::Operator);
                stage.until(1000);
                stage.until_with(1500, change);
                stage
            },
            turns: &[],
        },
        Scenario {
            name: "no day could be closed",
            play: || {
                let midnight = NOON + 12 * 3_600_000;
                let mut stage = Stage::at(only(&[CloseLate]), midnight, "UTC");
                stage.set("games", 1);
                stage.until(10);
                stage.running.mode.raise(Cause::Operator, 0);
                stage.until(5000);
                stage.running.mode.clear(Cause::Operator);
                stage.until(5100);
                stage
            },
            turns: &[],
        },
    ]);
}

#[test]
fn what_turns_while_writes_are_refused_is_told_once_over_a_restart() {
    play(&[
        Scenario {
            name: "it fires",
            play: || {
                let mut stage = Stage::new(only(&[OutcomeUnknown]));
                stage.until(5);
                stage.running.mode.raise(Cause::Operator, 0);
                stage.shard.operations(OperationResult::OutcomeUnknown, 3);
                stage.until(10);
                stage.restart(0);
                stage.until(12);
                stage.shard.operations(OperationResult::OutcomeUnknown, 3);
                stage.until(100);
                // The store has it by now.
                assert!(!stage.dir.path().join("alerts").exists());
                stage.restart(0);
                stage.until(102);
                stage.shard.operations(OperationResult::OutcomeUnknown, 3);
                stage.until(150);
                stage
            },
            turns: &["6 outcome_unknown fires"],
        },
        Scenario {
            name: "it ends",
            play: || {
                let mut stage = Stage::new(only(&[OutcomeUnknown]));
                stage.until(5);
                stage.shard.operations(OperationResult::OutcomeUnknown, 3);
                stage.until(500);
                stage.running.mode.raise(Cause::Operator, 0);
                stage.until(700);
                stage.restart(0);
                stage.until(1500);
                stage
            },
            turns: &["6 outcome_unknown fires", "611 outcome_unknown ends"],
        },
    ]);
}

#[test]
fn a_silence_before_the_first_look_takes_nothing_from_those_that_are_stored() {
    let mut stage = Stage::new(only(&[]));
    let silenced = |stage: &Stage| stage.board.shown(NOON).silences.len();
    stage.silence("online", 100_000);
    for _ in 0..2 {
        stage.restart(0);
        stage.silence("games", 100_000);
        assert_eq!(silenced(&stage), 2);
        stage.until(stage.second + 1);
        assert_eq!(silenced(&stage), 2);
    }
    stage.running.stop();
}

#[test]
fn a_clean_stop_stores_what_turned() {
    let mut stage = Stage::new(only(&[OutcomeUnknown]));
    stage.until(5);
    stage.shard.operations(OperationResult::OutcomeUnknown, 3);
    stage.clock.advance(1000);
    let turned = stage.watch.look();
    assert_eq!(turned.len(), 1);
    let (end, ended) = tokio::sync::oneshot::channel();
    end.send(()).unwrap();
    let runtime = crate::background::runtime().unwrap();
    runtime.block_on(stage.watch.run(ended));
    stage.restart(0);
    stage.watch.look();
    let shown = stage.board.shown(NOON).alerts;
    assert_eq!(shown.len(), 1, "{shown:?}");
    stage.running.stop();
}

#[test]
fn a_watch_that_failed_is_seen() {
    let mut stage = Stage::new(only(&[]));
    stage.metrics.alerts.up.set(1);
    stage.watch.is_down("it panicked");
    assert_eq!(stage.metrics.alerts.up.get(), 0);
    stage.running.stop();
}
