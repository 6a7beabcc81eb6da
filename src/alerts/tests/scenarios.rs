//! A table of scenarios, each with the seconds at which alerts fire and end. Seconds count from the begin; what is
//! done at a second is seen by the look of the next.

use super::*;
use crate::metrics::AlertRule::*;

/// What happens, and what fires and ends when.
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) play: fn() -> Stage,
    pub(super) turns: &'static [&'static str],
}

#[track_caller]
pub(super) fn play(scenarios: &[Scenario]) {
    for scenario in scenarios {
        println!("{}", scenario.name);
        (scenario.play)().claim(scenario.name, scenario.turns);
    }
}

/// `online` with these values in the weeks before and in the last hours, watched by `drop` alone.
pub(super) fn drop_stage(weeks: i64, own: i64) -> Stage {
    let stage = Stage::new(only(&[Drop]));
    stage.usual(weeks, own);
    stage
}

/// Sets `online` at seconds.
pub(super) fn course(mut stage: Stage, steps: &[(i64, i64)], end: i64) -> Stage {
    for (second, value) in steps {
        stage.until(*second);
        stage.set("online", *value);
    }
    stage.until(end);
    stage
}

#[test]
fn drops_fire_and_end_at_their_seconds() {
    play(&[
        Scenario {
            name: "a drop, and back",
            play: || course(drop_stage(5000, 5000), &[(10, 2900), (200, 5000)], 700),
            turns: &["71 drop online fires", "501 drop online ends"],
        },
        Scenario {
            name: "not far enough below",
            play: || course(drop_stage(5000, 5000), &[(10, 3100)], 300),
            turns: &[],
        },
        Scenario {
            name: "exactly at the threshold",
            play: || course(drop_stage(5000, 5000), &[(10, 3000)], 300),
            turns: &[],
        },
        Scenario {
            name: "fewer than 100 below",
            play: || course(drop_stage(220, 220), &[(10, 125)], 300),
            turns: &[],
        },
        Scenario {
            name: "fewer than 200 expected",
            play: || course(drop_stage(190, 190), &[(10, 0)], 300),
            turns: &[],
        },
        Scenario {
            name: "for 59 seconds",
            play: || course(drop_stage(5000, 5000), &[(10, 100), (70, 5000)], 300),
            turns: &[],
        },
        Scenario {
            name: "for 60 seconds",
            play: || course(drop_stage(5000, 5000), &[(10, 100), (71, 5000)], 700),
            turns: &["71 drop online fires", "372 drop online ends"],
        },
        Scenario {
            name: "flapping",
            play: || {
                let steps = [
                    (10, 100),
                    (100, 5000),
                    (150, 100),
                    (200, 5000),
                    (350, 100),
                    (400, 5000),
                ];
                course(drop_stage(5000, 5000), &steps, 900)
            },
            turns: &["71 drop online fires", "701 drop online ends"],
        },
        Scenario {
            name: "twice as many as in the weeks before",
            play: || course(drop_stage(5000, 10_000), &[(10, 5900)], 300),
            turns: &["71 drop online fires"],
        },
        Scenario {
            name: "growth is held at twice",
            play: || course(drop_stage(5000, 20_000), &[(10, 6100)], 300),
            turns: &[],
        },
        Scenario {
            name: "a holiday: half of the weeks before",
            play: || course(drop_stage(5000, 2500), &[(10, 1490)], 300),
            turns: &["71 drop online fires"],
        },
        Scenario {
            name: "a holiday, as it is",
            play: || course(drop_stage(5000, 2500), &[(10, 1510)], 300),
            turns: &[],
        },
        Scenario {
            name: "one wild week changes no median",
            play: || {
                let stage = Stage::new(only(&[Drop]));
                stage.earlier("online", &[0, 1], |_| Some(5000));
                stage.earlier("online", &[2], |_| Some(90_000));
                stage.own("online", 5000);
                course(stage, &[(10, 3100), (100, 2900)], 300)
            },
            turns: &["161 drop online fires"],
        },
        Scenario {
            name: "a week is missing: yesterday",
            play: || {
                let stage = Stage::new(only(&[Drop]));
                stage.earlier("online", &[0, 1], |_| Some(100));
                stage.earlier("online", &[3], |_| Some(4000));
                stage.own("online", 5000);
                course(stage, &[(10, 2990)], 300)
            },
            turns: &["71 drop online fires"],
        },
        Scenario {
            name: "no earlier day: the highest of the last 15 minutes",
            play: || {
                let stage = Stage::new(only(&[Drop]));
                stage.own("online", 5000);
                course(stage, &[(10, 2000)], 1300)
            },
            turns: &["71 drop online fires", "1200 drop online ends"],
        },
        Scenario {
            name: "a slow fall without earlier days",
            play: || {
                let mut stage = Stage::new(only(&[Drop]));
                stage.own("online", 5000);
                stage.until_with(3600, |stage, second| stage.set("online", 5000 - second));
                stage
            },
            turns: &[],
        },
        Scenario {
            name: "another threshold for one counter",
            play: || {
                let rules = vec![entry(Drop, &["onl*"], |drop| {
                    drop.percent = 70;
                    drop.for_ms = 5000;
                })];
                let stage = Stage::new(changed(rules));
                stage.usual(5000, 5000);
                course(stage, &[(10, 3400)], 300)
            },
            turns: &["16 drop online fires"],
        },
        Scenario {
            name: "switched off",
            play: || {
                let stage = Stage::new(only(&[]));
                stage.usual(5000, 5000);
                course(stage, &[(10, 0)], 300)
            },
            turns: &[],
        },
        Scenario {
            name: "beyond the counters that are watched",
            play: || {
                let mut stage = drop_stage(5000, 5000);
                stage.options.max_counters = 2;
                stage.restart(0);
                course(stage, &[(10, 0)], 300)
            },
            turns: &[],
        },
    ]);
}

/// `online` as usual, watched by both rules of drops.
fn both() -> Stage {
    let stage = Stage::new(only(&[Drop, DropHard]));
    stage.usual(5000, 5000);
    stage
}

#[test]
fn a_drop_with_a_known_reason_is_none_for_that_counter_alone() {
    play(&[
        Scenario {
            name: "a reset",
            play: || {
                let mut stage = both();
                stage.until(10);
                stage.reset("online");
                stage.until(2000);
                let event = &stage.board.shown(0).events[0];
                assert_eq!((event.reason, event.before), ("reset", 5000));
                stage
            },
            turns: &[],
        },
        Scenario {
            name: "another's reset in the same second",
            play: || {
                let mut stage = both();
                stage.set("games", 3000);
                stage.until(10);
                stage.reset("games");
                course(stage, &[(10, 2000)], 100)
            },
            turns: &["11 drop_hard online fires", "71 drop online fires"],
        },
        Scenario {
            name: "a drop after a reset was taken back",
            play: || {
                let mut stage = both();
                stage.until(10);
                stage.reset("online");
                stage.until(30);
                stage.adjust("online", Adjustment::To(5000));
                course(stage, &[(330, 2000)], 400)
            },
            turns: &["331 drop_hard online fires", "391 drop online fires"],
        },
        Scenario {
            name: "an adjust",
            play: || {
                let mut stage = both();
                stage.until(10);
                stage.adjust("online", Adjustment::By(-4000));
                stage.until(2000);
                stage
            },
            turns: &[],
        },
        Scenario {
            name: "a small adjust hides no drop",
            play: || {
                let mut stage = both();
                stage.until(10);
                stage.adjust("online", Adjustment::By(-100));
                course(stage, &[(10, 2000)], 100)
            },
            turns: &["11 drop_hard online fires", "71 drop online fires"],
        },
        Scenario {
            name: "a deletion ends what fires",
            play: || {
                let rules = vec![entry(Drop, &["event"], |_| {})];
                let mut stage = Stage::new(changed(rules));
                stage.earlier("event", &[0, 1, 2], |_| Some(5000));
                stage.own("event", 5000);
                stage.until(10);
                stage.set("event", 2600);
                stage.until(100);
                let counter = name("event");
                stage.ask(Command::Delete { counter });
                stage.until(500);
                stage
            },
            turns: &["71 drop event fires", "401 drop event ends"],
        },
        Scenario {
            name: "an expiry",
            play: || {
                let rules = [Drop, DropHard].map(|rule| entry(rule, &["event"], |_| {}));
                let mut stage = Stage::new(changed(rules.to_vec()));
                stage.earlier("event", &[0, 1, 2], |_| Some(5000));
                let expires_at = Some(NOON + 20_000);
                stage.define(
                    "event",
                    Definition {
                        expires_at,
                        ..Definition::default()
                    },
                );
                stage.own("event", 5000);
                stage.until(500);
                stage
            },
            turns: &[],
        },
        Scenario {
            name: "a changed definition",
            play: || {
                let rules = [Drop, DropHard].map(|rule| entry(rule, &["event"], |_| {}));
                let mut stage = Stage::new(changed(rules.to_vec()));
                stage.earlier("event", &[0, 1, 2], |_| Some(5000));
                stage.own("event", 5000);
                stage.until(10);
                stage.define(
                    "event",
                    Definition {
                        max: 1000,
                        ..Definition::default()
                    },
                );
                stage.set("event", 900);
                stage.until(900);
                stage
            },
            turns: &[],
        },
        Scenario {
            name: "a silence until it ends",
            play: || {
                let mut stage = both();
                stage.until(5);
                stage.silence("onl*", 600);
                let stage = course(stage, &[(10, 2000)], 700);
                assert_eq!(stage.board.shown(0).events[0].reason, "silence");
                stage
            },
            turns: &["660 drop online fires"],
        },
        Scenario {
            name: "a silence of another",
            play: || {
                let stage = both();
                stage.silence("games", 600);
                course(stage, &[(10, 2000)], 100)
            },
            turns: &["11 drop_hard online fires", "71 drop online fires"],
        },
        Scenario {
            name: "a silence ends what fires, also over a restart",
            play: || {
                let mut stage = course(drop_stage(5000, 5000), &[(10, 2600)], 100);
                stage.silence("online", 100_000);
                stage.until(200);
                stage.restart(0);
                stage.until(1000);
                stage
            },
            turns: &["71 drop online fires", "401 drop online ends"],
        },
        Scenario {
            name: "midnight, for a daily counter",
            play: || {
                let midnight = NOON + 12 * 3_600_000;
                let mut stage = Stage::at(only(&[Drop, DropHard]), midnight - 60_000, "UTC");
                let of_day = |at: Minute| Some(if at < 1 { 90_000 + at } else { at });
                stage.earlier("games", &[0, 1, 2, 3], of_day);
                stage.own("games", 90_000);
                stage.until(1800);
                let events = stage.board.shown(0).events;
                assert_eq!((events.len(), events[0].reason), (1, "day_boundary"));
                stage
            },
            turns: &[],
        },
        Scenario {
            name: "an adjust in the last second of a day",
            play: || {
                let midnight = NOON + 12 * 3_600_000;
                let mut stage = Stage::at(only(&[Drop, DropHard]), midnight - 60_000, "UTC");
                stage.usual(5000, 5000);
                stage.until(59);
                stage.adjust("online", Adjustment::By(-4000));
                stage.until(200);
                assert_eq!(stage.board.shown(0).events[0].reason, "adjust");
                stage
            },
            turns: &[],
        },
        Scenario {
            name: "midnight hides nothing of a gauge",
            play: || {
                let midnight = NOON + 12 * 3_600_000;
                let mut stage = Stage::at(only(&[Drop, DropHard]), midnight - 60_000, "UTC");
                stage.usual(5000, 5000);
                stage.own("games", 90_000);
                stage.until(59);
                course(stage, &[(59, 2000)], 200)
            },
            turns: &["60 drop_hard online fires", "120 drop online fires"],
        },
        Scenario {
            name: "leases that settle after a night off",
            play: || {
                let mut stage = Stage::new(only(&[Drop, DropHard, Rise]));
                stage.earlier("here", &[0, 1, 2], |_| Some(5000));
                let beat = |stage: &Stage, _| {
                    stage.apply("here", Action::Heartbeat, 5000, Some("gs-1"));
                };
                stage.until_with(100, beat);
                stage.restart(8 * 3_600_000);
                stage.until(1000);
                assert_eq!(stage.value("here"), 0);
                stage
            },
            turns: &[],
        },
        Scenario {
            name: "leases that settle after a short restart",
            play: || {
                let mut stage = Stage::new(only(&[Drop, DropHard]));
                stage.earlier("here", &[0, 1, 2], |_| Some(300));
                let beat = |stage: &Stage, _| {
                    stage.apply("here", Action::Heartbeat, 5000, Some("gs-1"));
                };
                stage.until_with(300, beat);
                stage.restart(2000);
                stage.until(700);
                assert_eq!(stage.value("here"), 0);
                stage
            },
            turns: &[],
        },
        Scenario {
            name: "leases that end while the server runs",
            play: || {
                let mut stage = Stage::new(only(&[DropHard]));
                let beat = |stage: &Stage, _| {
                    stage.apply("here", Action::Heartbeat, 5000, Some("gs-1"));
                };
                stage.until_with(100, beat);
                stage.until(200);
                stage
            },
            turns: &["160 drop_hard here fires"],
        },
    ]);
}

#[test]
fn a_restart_tells_nothing_twice_and_begins_no_wait_anew() {
    play(&[
        Scenario {
            name: "while it fires",
            play: || {
                let mut stage = course(drop_stage(5000, 5000), &[(10, 2600)], 100);
                stage.restart(0);
                course(stage, &[(200, 5000)], 700)
            },
            turns: &["71 drop online fires", "501 drop online ends"],
        },
        Scenario {
            name: "while it waits to fire",
            play: || {
                let mut stage = course(drop_stage(5000, 5000), &[(10, 2600)], 50);
                stage.restart(0);
                stage.until(100);
                stage
            },
            turns: &["71 drop online fires"],
        },
        Scenario {
            name: "the time off counts for no wait",
            play: || {
                let mut stage = course(drop_stage(5000, 5000), &[(10, 2600)], 50);
                stage.restart(120_000);
                stage.until(100);
                stage
            },
            turns: &["71 drop online fires"],
        },
        Scenario {
            name: "while it recovers",
            play: || {
                let mut stage = course(drop_stage(5000, 5000), &[(10, 2600), (100, 5000)], 200);
                stage.restart(0);
                stage.until(500);
                stage
            },
            turns: &["71 drop online fires", "401 drop online ends"],
        },
        Scenario {
            name: "a night off while it fires",
            play: || {
                let mut stage = course(drop_stage(5000, 5000), &[(10, 2600)], 100);
                stage.restart(8 * 3_600_000);
                stage.until(400);
                stage
            },
            turns: &["71 drop online fires"],
        },
        Scenario {
            name: "a night off: what is left of the evening is no rise",
            play: || {
                let mut stage = Stage::new(only(&[Drop, DropHard, Rise]));
                stage.usual(5000, 5000);
                stage.until(100);
                stage.restart(18 * 3_600_000);
                stage.earlier("online", &[0, 1, 2, 3], |_| Some(700));
                stage.until(1000);
                stage
            },
            turns: &[],
        },
        Scenario {
            name: "a drop within the minutes around a restart",
            play: || {
                let stage = Stage::new(only(&[DropHard]));
                stage.own("online", 5000);
                let mut stage = course(stage, &[], 100);
                stage.set("online", 2000);
                stage.restart(60_000);
                stage.until(110);
                stage
            },
            turns: &["101 drop_hard online fires"],
        },
    ]);
}
