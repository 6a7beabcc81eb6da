//! The writer end to end, on a real store and a clock that stands still.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::calendar::Calendar;
use crate::clock::ManualClock;
use crate::counter::{Applied, Direction, Kind, OnBound, Reset, UserId};
use crate::storage::StorageOptions;

/// 2026-11-24T12:00:00Z.
const NOON: i64 = 1_795_521_600_000;
const HOUR: i64 = 3_600_000;

struct Bench {
    running: Running,
    clock: Arc<ManualClock>,
    dir: tempfile::TempDir,
}

fn options(dir: &Path, clock: &Arc<ManualClock>) -> WriterOptions {
    let unique = Definition {
        kind: Kind::Unique,
        reset: Reset::Daily,
        ..Definition::default()
    };
    let sum = Definition {
        kind: Kind::Sum,
        reset: Reset::Daily,
        ..Definition::default()
    };
    WriterOptions {
        storage: StorageOptions {
            data_dir: dir.to_owned(),
            memory: 16 << 20,
            reserve: Some(24 << 20),
        },
        clock: Arc::clone(clock) as Arc<dyn crate::clock::Clock>,
        calendar: Calendar::new("UTC", "00:00".parse().unwrap()).unwrap(),
        zone_is_written: true,
        max_clock_jump_ms: 48 * HOUR,
        max_away_ms: 90 * 24 * HOUR,
        auto_create: true,
        max_counters: 100,
        gone_for_ms: 7 * 24 * HOUR,
        configured: vec![(name("dau"), unique), (name("games"), sum)],
        recent_users: 100,
        min_free: Some(1 << 20),
        runtimes: 1,
        queue: 1000,
        metrics: Arc::default(),
    }
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(NOON));
        let running = Running::start(options(dir.path(), &clock)).unwrap();
        Self {
            running,
            clock,
            dir,
        }
    }

    fn restart(self) -> Self {
        let Self {
            running,
            clock,
            dir,
        } = self;
        running.stop();
        let running = Running::start(options(dir.path(), &clock)).unwrap();
        Self {
            running,
            clock,
            dir,
        }
    }

    fn ask(&self, command: Command, key: Option<(&str, u128)>) -> Result<Answer, Failure> {
        let key = key.map(|(key, fingerprint)| {
            Box::new(IdempotencyKey {
                key: key.into(),
                fingerprint,
            })
        });
        self.running.intake.call(Request {
            command,
            key,
            request_id: RequestId::Made(1),
        })
    }

    fn up(&self, counter: &str, user: Option<&str>) -> Applied {
        match self
            .ask(Command::Apply(increment(counter, 1, user)), None)
            .unwrap()
            .outcome
        {
            Outcome::Applied(applied) => applied,
            other => panic!("{other:?}"),
        }
    }

    fn value(&self, counter: &str) -> i64 {
        let reading = self.running.table.read(counter).unwrap();
        reading.value_on(self.running.day.look().day)
    }
}

fn name(text: &str) -> CounterName {
    CounterName::parse(text).unwrap()
}

fn increment(counter: &str, amount: i64, user: Option<&str>) -> Operation {
    let user_id = user.map(|user| UserId::parse(user).unwrap());
    Operation {
        counter: name(counter),
        direction: Direction::Increment,
        amount,
        user_id,
    }
}

fn decrement(counter: &str, amount: i64) -> Operation {
    Operation {
        direction: Direction::Decrement,
        ..increment(counter, amount, None)
    }
}

#[test]
fn what_was_counted_is_there_after_a_restart() {
    let bench = Bench::new();
    assert!(bench.up("online", None).created);
    assert_eq!(bench.up("online", None).current_value, 2);
    assert!(bench.up("dau", Some("u1")).counted);
    assert!(!bench.up("dau", Some("u1")).counted);
    let revision = bench.running.table.revision();
    let bench = bench.restart();
    assert_eq!((bench.value("online"), bench.value("dau")), (2, 1));
    assert_eq!(
        bench.running.table.revision(),
        revision,
        "a restart changes nothing"
    );
    assert!(!bench.up("dau", Some("u1")).counted);
    assert!(bench.up("dau", Some("u2")).counted);
    assert_eq!(bench.up("online", None).current_value, 3);
}

#[test]
fn at_midnight_daily_counters_start_over_by_themselves() {
    let bench = Bench::new();
    bench.up("games", None);
    bench.up("dau", Some("u1"));
    bench.up("online", None);
    bench.clock.advance(12 * HOUR);
    assert_eq!(
        (
            bench.value("games"),
            bench.value("dau"),
            bench.value("online")
        ),
        (0, 0, 1)
    );
    let applied = bench.up("dau", Some("u1"));
    assert!(applied.counted);
    assert_eq!(applied.period.unwrap().to_string(), "2026-11-25");
    let bench = bench.restart();
    assert_eq!((bench.value("games"), bench.value("dau")), (0, 1));
}

#[test]
fn a_refused_batch_leaves_nothing() {
    let bench = Bench::new();
    bench.up("a", None);
    let revision = bench.running.table.revision();
    let operations = [
        increment("a", 5, None),
        increment("new", 1, None),
        increment("dau", 1, Some("u9")),
        decrement("a", 7),
        decrement("games", 1),
    ];
    let refused = bench
        .ask(Command::Batch(operations.to_vec().into()), None)
        .unwrap_err();
    let Failure::Refused(Refusal::Batch(errors)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(
        errors.iter().map(|(index, _)| *index).collect::<Vec<_>>(),
        [3, 4]
    );
    assert_eq!(bench.running.table.revision(), revision);
    assert_eq!(bench.value("a"), 1);
    assert_eq!(bench.running.table.read("new"), None);
    assert!(bench.up("dau", Some("u9")).counted);
    assert!(bench.up("new", None).created);
}

#[test]
fn the_same_key_gives_the_first_answer_again_also_after_a_restart() {
    let bench = Bench::new();
    let apply = || Command::Apply(increment("a", 3, None));
    let first = bench.ask(apply(), Some(("k", 7))).unwrap();
    let again = bench.ask(apply(), Some(("k", 7))).unwrap();
    assert_eq!(
        again,
        Answer {
            replayed: true,
            ..first.clone()
        }
    );
    assert_eq!(bench.ask(apply(), Some(("k", 8))), Err(Failure::KeyReused));
    let bench = bench.restart();
    assert_eq!(bench.ask(apply(), Some(("k", 7))).unwrap(), again);
    assert_eq!(bench.value("a"), 3);
    // A day of store time later the key is still good, two days later it is gone.
    bench.clock.advance(24 * HOUR);
    assert!(bench.ask(apply(), Some(("k", 7))).unwrap().replayed);
    bench.clock.advance(25 * HOUR);
    assert!(!bench.ask(apply(), Some(("k", 7))).unwrap().replayed);
}

#[test]
fn a_counter_expires_by_time_alone_and_its_expiry_is_recorded() {
    let bench = Bench::new();
    let definition = Definition {
        expires_at: Some(NOON + HOUR),
        on_bound: OnBound::Clamp,
        ..Definition::default()
    };
    let define = Command::Define {
        counter: name("event"),
        definition: Box::new(definition),
    };
    bench.ask(define.clone(), None).unwrap();
    assert_eq!(bench.up("event", None).current_value, 1);
    bench.clock.advance(HOUR);
    let gone = Failure::Refused(Refusal::Expired {
        final_value: 1,
        at: NOON + HOUR,
    });
    assert_eq!(
        bench.ask(Command::Apply(increment("event", 1, None)), None),
        Err(gone.clone())
    );
    let bench = bench.restart();
    let presence = bench.running.table.read("event").unwrap().presence;
    assert_eq!(
        presence,
        Presence::Expired {
            final_value: 1,
            at: NOON + HOUR
        }
    );
    assert_eq!(
        bench.ask(define, None),
        Err(Failure::Refused(Refusal::ExpiresInPast))
    );
    bench.clock.advance(7 * 24 * HOUR);
    bench.clock.advance(2000);
    assert!(bench.up("event", None).created, "forgotten after a week");
}

#[test]
fn after_a_reset_every_user_counts_again() {
    let bench = Bench::new();
    let definition = Definition {
        kind: Kind::Unique,
        ..Definition::default()
    };
    bench
        .ask(
            Command::Define {
                counter: name("ever"),
                definition: Box::new(definition),
            },
            None,
        )
        .unwrap();
    bench.up("ever", Some("u1"));
    bench
        .ask(
            Command::Reset {
                counter: name("ever"),
            },
            None,
        )
        .unwrap();
    assert_eq!(bench.value("ever"), 0);
    assert!(bench.up("ever", Some("u1")).counted);
    let bench = bench.restart();
    assert!(!bench.up("ever", Some("u1")).counted);
    assert_eq!(bench.value("ever"), 1);
}
