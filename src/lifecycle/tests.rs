//! Days end to end: a writer on a real store, an archivist made to take its steps one by one, and a
//! clock that stands still until it is moved.

mod peak;

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::calendar::{Calendar, Day};
use crate::clock::{Clock, ManualClock};
use crate::counter::{
    Action, CounterName, Definition, Kind, Operation, Outcome, RequestId, Reset, UserId,
};
use crate::metrics::{Metrics, PageFormat};
use crate::storage::expiry::Daily;
use crate::storage::{DayPart, StorageOptions};
use crate::writer::{Command, Request, Running, WriterOptions};

/// 2026-11-24T12:00:00Z.
const NOON: i64 = 1_795_521_600_000;
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

fn name(text: &str) -> CounterName {
    CounterName::parse(text).unwrap()
}

fn today() -> Day {
    "2026-11-24".parse().unwrap()
}

struct House {
    running: Running,
    clock: Arc<ManualClock>,
    dir: tempfile::TempDir,
}

fn start(dir: &Path, clock: &Arc<ManualClock>) -> Running {
    let daily = |kind| Definition {
        kind,
        reset: Reset::Daily,
        ..Definition::default()
    };
    Running::start(WriterOptions {
        max_counters: 10_000,
        configured: vec![
            (name("dau"), daily(Kind::Unique)),
            (name("games"), daily(Kind::Sum)),
        ],
        recent_users: 100,
        min_free: Some(1 << 20),
        queue: 1000,
        ..WriterOptions::new(
            StorageOptions::small(dir),
            Arc::clone(clock) as Arc<dyn Clock>,
            Calendar::new("UTC", "00:00".parse().unwrap()).unwrap(),
        )
    })
    .unwrap()
}

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(NOON));
        let running = start(dir.path(), &clock);
        Self {
            running,
            clock,
            dir,
        }
    }

    /// Off, and on again after `away` milliseconds.
    fn restart(self, away: i64) -> Self {
        let Self {
            running,
            clock,
            dir,
        } = self;
        running.stop();
        clock.advance(away);
        let running = start(dir.path(), &clock);
        Self {
            running,
            clock,
            dir,
        }
    }

    fn archivist(&self) -> Archivist {
        self.archivist_of(Retention::default(), &Arc::default())
    }

    fn archivist_of(&self, retention: Retention, metrics: &Arc<Metrics>) -> Archivist {
        Archivist::new(&self.running, retention, metrics)
    }

    fn up(&self, counter: &str, user: Option<&str>) -> i64 {
        let operation = Operation {
            counter: name(counter),
            action: Action::Increment,
            amount: 1,
            user_id: user.map(|user| UserId::parse(user).unwrap()),
            session: None,
        };
        self.ask(Command::Apply(operation))
    }

    fn ask(&self, command: Command) -> i64 {
        let request = Request {
            command,
            key: None,
            request_id: RequestId::Made(1),
        };
        match self.running.intake.call(request).unwrap().outcome {
            Outcome::Applied(applied) => applied.current_value,
            Outcome::Set { current_value, .. } => current_value,
            Outcome::Deleted { final_value, .. } => final_value,
            other => panic!("{other:?}"),
        }
    }

    /// The writer looks at the time about once a second: a batch makes it look now.
    fn pass(&self, ms: i64) {
        self.clock.advance(ms);
        let prepared = crate::writer::PreparedBatch::default();
        self.running.intake.carry_out(prepared).unwrap();
    }

    fn history(&self, counter: &str) -> Vec<PastDay> {
        let name = name(counter);
        let calendar = self.running.day.calendar();
        let read = self
            .running
            .reader
            .with(|tables| days_of(tables, calendar, &name, Day::MIN, Day::MAX));
        read.unwrap()
    }

    fn values(&self, counter: &str) -> Vec<(String, bool, i64)> {
        let days = self.history(counter).into_iter();
        days.map(|past| {
            (
                past.day.to_string(),
                past.closed,
                past.content.unwrap().record.last,
            )
        })
        .collect()
    }

    /// The days that are in history, whether they can be read or not.
    fn archived(&self) -> Vec<(CounterName, Day)> {
        let mut found = Vec::new();
        let read = self.running.reader.with(|tables| {
            let mut after = None;
            while let Some(name) = tables.next_in_history(after.as_ref())? {
                let visit = |day, _| found.push((name.clone(), day));
                tables.history(&name, Day::MIN..=Day::MAX, visit)?;
                after = Some(name);
            }
            Ok(())
        });
        read.unwrap();
        found
    }

    /// The days that have a record which counting left.
    fn recorded(&self) -> Vec<(CounterName, Day)> {
        let mut found = Vec::new();
        let visit = |day, name, part| {
            if let DayPart::Record(_) = part {
                found.push((name, day));
            }
        };
        let days = Day::MIN..=Day::MAX;
        let read = self
            .running
            .reader
            .with(|tables| tables.day_parts(days, visit));
        read.unwrap();
        found
    }
}

fn day_of(day: &str, closed: bool, value: i64) -> (String, bool, i64) {
    (day.to_owned(), closed, value)
}

#[test]
fn a_day_that_is_over_becomes_history_and_the_next_begins_at_once() {
    let house = House::new();
    house.up("games", None);
    house.up("games", None);
    house.pass(DAY);
    assert_eq!(house.up("games", None), 1, "the new day waits for no close");
    assert_eq!(
        house.values("games"),
        [
            day_of("2026-11-25", false, 1),
            day_of("2026-11-24", false, 2)
        ],
        "seen before it is closed"
    );
    house.archivist().catch_up().unwrap();
    assert_eq!(
        house.values("games"),
        [
            day_of("2026-11-25", false, 1),
            day_of("2026-11-24", true, 2)
        ]
    );
    let day = house.history("games").pop().unwrap().content.unwrap();
    assert_eq!((day.kind, day.reset), (Kind::Sum, Reset::Daily));
    assert_eq!(
        (day.starts_at, day.ends_at),
        (NOON - 12 * HOUR, NOON + 12 * HOUR)
    );
    assert_eq!((day.record.increments, day.record.operations), (2, 2));
    house.running.stop();
}

#[test]
fn a_close_cut_off_after_any_step_ends_the_same() {
    let whole = {
        let house = busy_house();
        let mut steps = 0;
        let mut archivist = house.archivist();
        while archivist.step().unwrap() {
            steps += 1;
        }
        let kept = (house.all_history(), house.recorded());
        house.running.stop();
        assert!(steps > 5, "{steps} steps");
        (kept, steps)
    };
    for cut in 0..whole.1 {
        let house = busy_house();
        let mut archivist = house.archivist();
        for _ in 0..cut {
            assert!(archivist.step().unwrap());
        }
        drop(archivist);
        let house = house.restart(0);
        house.archivist().catch_up().unwrap();
        assert_eq!(house.all_history(), whole.0.0, "cut after {cut}");
        house.running.stop();
    }
}

/// Two days of 600 counters each, both over.
fn busy_house() -> House {
    let house = House::new();
    for day in 0..2 {
        for number in 0..600 {
            house.up(&format!("c{number}"), None);
        }
        house.up("dau", Some("u1"));
        house.pass(DAY);
        assert!(day < 2);
    }
    house
}

impl House {
    /// Closed days but for when the server was away, which a restart adds to.
    fn all_history(&self) -> Vec<(CounterName, Day, i64, u64)> {
        let mut all = Vec::new();
        for (name, day) in self.archived() {
            let record = self
                .history(name.as_str())
                .into_iter()
                .find(|past| past.day == day && past.closed)
                .and_then(|past| past.content)
                .unwrap()
                .record;
            all.push((name, day, record.last, record.operations));
        }
        all
    }
}

#[test]
fn what_a_failed_write_left_undone_is_still_there_to_be_done() {
    let house = House::new();
    house.up("games", None);
    house.pass(DAY);
    house.running.mode.raise(crate::writer::Cause::Operator, 0);
    let mut archivist = house.archivist();
    assert!(!archivist.step().unwrap(), "nothing is closed in read_only");
    assert_eq!(house.archived().len(), 0);
    assert_eq!(house.running.reader.horizons.day(Daily::Days), i32::MIN);
    house.running.mode.clear(crate::writer::Cause::Operator);
    archivist.catch_up().unwrap();
    assert_eq!(house.values("games"), [day_of("2026-11-24", true, 1)]);
    house.running.stop();
}

#[test]
fn nothing_of_a_day_may_go_before_its_record_is_in_history() {
    let house = busy_house();
    let counted = house.recorded();
    let mut archivist = house.archivist();
    let mut steps = 0;
    loop {
        let more = archivist.step().unwrap();
        steps += 1;
        let horizon = house.running.reader.horizons.day(Daily::Days);
        let history = house.archived();
        for of @ (name, day) in &counted {
            assert!(
                day.days() >= horizon || history.contains(of),
                "after {steps} steps: {name} of {day} may go, and is not in history"
            );
        }
        if !more {
            break;
        }
    }
    assert!(steps > 5, "{steps} steps");
    assert_eq!(
        house.running.reader.horizons.day(Daily::Days),
        today().days() + 2
    );
    house.running.stop();
}

#[test]
fn midnights_that_passed_while_nothing_ran_are_closed_at_the_next_start() {
    for nights in [1, 3, 40] {
        let house = House::new();
        house.up("games", None);
        house.up("online", None);
        let house = house.restart(nights * DAY);
        assert_eq!(
            house
                .running
                .table
                .read("games")
                .unwrap()
                .seen(&house.running.day.moment(), house.running.day.calendar())
                .unwrap()
                .value,
            0
        );
        assert_eq!(house.up("games", None), 1);
        house.archivist().catch_up().unwrap();
        let opened = Day::from_days(today().days() + i32::try_from(nights).unwrap()).unwrap();
        assert_eq!(
            house.values("games"),
            [
                day_of(&opened.to_string(), false, 1),
                day_of("2026-11-24", true, 1)
            ],
            "{nights} nights"
        );
        let online = house.history("online");
        assert_eq!(online.len(), 1, "no day is invented");
        let away = online[0].content.as_ref().unwrap().away_ms;
        assert_eq!(away, 12 * HOUR, "away from noon to midnight");
        house.running.stop();
    }
}

#[test]
fn users_go_after_their_days_and_never_before() {
    let house = House::new();
    house.up("dau", Some("first"));
    let mut archivist = house.archivist();
    for passed in 1..=9 {
        house.pass(DAY);
        house.up("dau", Some("later"));
        archivist.catch_up().unwrap();
        let horizon = house.running.reader.horizons.day(Daily::Dedup);
        assert_eq!(horizon, today().days() + passed - 7, "after {passed} days");
    }
    house.running.stop();
}

fn points(house: &House, counter: &str, range: i64, step: i64) -> Vec<Option<(i64, i64, i64)>> {
    let reading = house.running.table.read(counter).unwrap();
    let day = &house.running.day;
    let look = day.look();
    let seen = reading.seen(&day.moment(), day.calendar()).unwrap();
    let request = SeriesRequest {
        name: name(counter),
        reset: reading.definition.reset,
        value: seen.value,
        changed_at: reading.changed_at,
        now: look.wall_ms,
        until: look.wall_ms,
        today: look.day,
        range_ms: range,
        step_ms: step,
    };
    let calendar = house.running.day.calendar();
    let horizons = &house.running.reader.horizons;
    let read = house
        .running
        .reader
        .with(|tables| series(tables, calendar, horizons, &request));
    let (points, followed) = read.unwrap();
    assert!(followed);
    let values = points
        .into_iter()
        .map(|Point { last, min, max, .. }| Some((last?, min?, max?)));
    values.collect()
}

#[test]
fn a_series_tells_quiet_from_away_and_never_says_0_for_either() {
    let house = House::new();
    house.up("online", None);
    house.pass(MINUTE);
    house.up("online", None);
    house.up("online", None);
    house.pass(MINUTE);
    house.pass(MINUTE);
    let house = house.restart(3 * MINUTE);
    house.pass(MINUTE);
    house.up("online", None);
    house.pass(MINUTE);
    assert_eq!(
        points(&house, "online", 9 * MINUTE, MINUTE),
        [
            None,
            Some((1, 1, 1)),
            Some((3, 1, 3)),
            Some((3, 3, 3)),
            Some((3, 3, 3)),
            None,
            None,
            Some((3, 3, 3)),
            Some((4, 3, 4)),
            Some((4, 4, 4)),
        ]
    );
    assert_eq!(
        points(&house, "online", 5 * MINUTE, 5 * MINUTE),
        [Some((3, 1, 3)), Some((4, 3, 4))]
    );
    house.running.stop();
}

#[test]
fn a_daily_counter_falls_to_0_at_midnight_in_its_series() {
    let house = House::new();
    house.up("games", None);
    house.pass(12 * HOUR - MINUTE);
    house.up("games", None);
    house.pass(MINUTE);
    house.pass(MINUTE);
    assert_eq!(
        points(&house, "games", 3 * MINUTE, MINUTE),
        [None, Some((2, 1, 2)), Some((0, 0, 2)), Some((0, 0, 0))]
    );
    house.running.stop();
}

#[test]
fn a_series_has_no_value_before_a_creation_and_after_a_deletion() {
    let house = House::new();
    house.pass(5 * MINUTE);
    house.up("event", None);
    house.up("event", None);
    house.pass(MINUTE);
    house.ask(Command::Delete {
        counter: name("event"),
    });
    house.pass(MINUTE);
    house.pass(MINUTE);
    let daily = Definition {
        reset: Reset::Daily,
        ..Definition::default()
    };
    let request = Request {
        command: Command::Define {
            counter: name("event"),
            definition: Box::new(daily),
        },
        key: None,
        request_id: RequestId::Made(1),
    };
    house.running.intake.call(request).unwrap();
    house.up("event", None);
    house.pass(MINUTE);
    assert_eq!(
        points(&house, "event", 5 * MINUTE, MINUTE),
        [
            None,
            Some((2, 2, 2)),
            None,
            None,
            Some((1, 1, 1)),
            Some((1, 1, 1))
        ]
    );
    house.running.stop();
}

#[test]
fn a_daily_counter_made_a_moment_ago_has_no_earlier_values() {
    let house = House::new();
    house.pass(5 * MINUTE);
    let request = Request {
        command: Command::Define {
            counter: name("rounds"),
            definition: Box::new(Definition {
                reset: Reset::Daily,
                ..Definition::default()
            }),
        },
        key: None,
        request_id: RequestId::Made(1),
    };
    house.running.intake.call(request).unwrap();
    assert_eq!(
        points(&house, "rounds", 2 * MINUTE, MINUTE),
        [None, None, Some((0, 0, 0))]
    );
    house.running.stop();
}

#[test]
fn a_followed_counter_stays_one_while_nothing_can_be_written() {
    let house = House::new();
    house.pass(MINUTE);
    house.up("online", None);
    house.running.mode.raise(crate::writer::Cause::Operator, 0);
    house.clock.advance(5 * MINUTE);
    assert_eq!(
        points(&house, "online", MINUTE, MINUTE),
        [None, Some((1, 1, 1))]
    );
    house.running.mode.clear(crate::writer::Cause::Operator);
    house.running.stop();
}

#[test]
fn what_waits_for_export_is_given_up_after_running_so_long_and_not_after_an_absence() {
    let retention = Retention {
        exports: true,
        ..Retention::default()
    };
    let metrics = Arc::new(Metrics::new());
    let given_up = || {
        let mut page = String::new();
        metrics.encode(&mut page, PageFormat::Text, None).unwrap();
        page.lines()
            .find_map(|line| line.strip_prefix("counterd_unexported_days_given_up_total "))
            .unwrap()
            .to_owned()
    };
    let house = House::new();
    house.up("dau", Some("u1"));
    house.archivist_of(retention, &metrics).catch_up().unwrap();
    let house = house.restart(40 * DAY);
    let mut archivist = house.archivist_of(retention, &metrics);
    for passed in 0..30 {
        archivist.catch_up().unwrap();
        let horizon = house.running.reader.horizons.day(Daily::Dedup);
        assert!(horizon <= today().days(), "{horizon} after {passed} days");
        assert_eq!(given_up(), "0", "after {passed} days");
        house.pass(DAY);
    }
    house.pass(DAY);
    archivist.catch_up().unwrap();
    let horizon = house.running.reader.horizons.day(Daily::Dedup);
    assert_eq!(horizon, house.running.day.look().day.days() - 30);
    assert_ne!(given_up(), "0");
    house.running.stop();
}
