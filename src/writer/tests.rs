//! The writer end to end, on a real store and a clock that stands still.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::*;
use crate::calendar::Calendar;
use crate::clock::ManualClock;
use crate::counter::{Action, Applied, Existence, Gone, Kind, OnBound, Reset, UserId};
use crate::storage::StorageOptions;

/// 2026-11-24T12:00:00Z.
const NOON: i64 = 1_795_521_600_000;
const HOUR: i64 = 3_600_000;

/// How many commits go well before one fails, by data directory.
static FAILURES: Mutex<BTreeMap<PathBuf, u32>> = Mutex::new(BTreeMap::new());

/// Asked by the writer before each commit.
pub(super) fn commit_fails(data_dir: &Path) -> bool {
    let mut failures = FAILURES.lock();
    match failures.get_mut(data_dir) {
        Some(0) => failures.remove(data_dir).is_some(),
        Some(left) => {
            *left -= 1;
            false
        }
        None => false,
    }
}

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
        max_counters: 100,
        configured: vec![(name("dau"), unique), (name("games"), sum)],
        recent_users: 100,
        min_free: Some(1 << 20),
        queue: 1000,
        ..WriterOptions::new(
            StorageOptions::small(dir),
            Arc::clone(clock) as Arc<dyn crate::clock::Clock>,
            Calendar::new("UTC", "00:00".parse().unwrap()).unwrap(),
        )
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
        let day = &self.running.day;
        reading.seen(&day.moment(), day.calendar()).unwrap().value
    }
}

impl Bench {
    /// After so many further commits that go well, one fails.
    fn fail_after(&self, commits: u32) {
        FAILURES.lock().insert(self.dir.path().to_owned(), commits);
    }

    /// Asks until the store is open again after a failure.
    fn ask_again(&self, command: &Command) -> Result<Answer, Failure> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match self.ask(command.clone(), None) {
                Err(Failure::ReadOnly(Cause::StoreFailed)) if Instant::now() < deadline => {
                    std::thread::yield_now();
                }
                other => return other,
            }
        }
    }
}

fn name(text: &str) -> CounterName {
    CounterName::parse(text).unwrap()
}

fn increment(counter: &str, amount: i64, user: Option<&str>) -> Operation {
    let user_id = user.map(|user| UserId::parse(user).unwrap());
    Operation {
        counter: name(counter),
        action: Action::Increment,
        amount,
        user_id,
        session: None,
    }
}

fn decrement(counter: &str, amount: i64) -> Operation {
    Operation {
        action: Action::Decrement,
        ..increment(counter, amount, None)
    }
}

#[test]
fn what_was_counted_is_there_after_a_restart() {
    let bench = Bench::new();
    assert!(bench.up("online", None).created);
    assert_eq!(bench.up("online", None).current_value, 2);
    assert!(bench.up("dau", Some("u1")).effect.counted());
    assert!(!bench.up("dau", Some("u1")).effect.counted());
    let revision = bench.running.table.revision();
    let bench = bench.restart();
    assert_eq!((bench.value("online"), bench.value("dau")), (2, 1));
    assert_eq!(
        bench.running.table.revision(),
        revision,
        "a restart changes nothing"
    );
    assert!(!bench.up("dau", Some("u1")).effect.counted());
    assert!(bench.up("dau", Some("u2")).effect.counted());
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
    assert!(applied.effect.counted());
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
    assert!(bench.up("dau", Some("u9")).effect.counted());
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
    let gone = Failure::Refused(Refusal::Gone(Gone {
        expired: true,
        final_value: 1,
        at: NOON + HOUR,
    }));
    assert_eq!(
        bench.ask(Command::Apply(increment("event", 1, None)), None),
        Err(gone.clone())
    );
    let bench = bench.restart();
    let existence = bench.running.table.read("event").unwrap().existence;
    assert_eq!(
        existence,
        Existence::Gone(Gone {
            expired: true,
            final_value: 1,
            at: NOON + HOUR
        })
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
    assert!(bench.up("ever", Some("u1")).effect.counted());
    let bench = bench.restart();
    assert!(!bench.up("ever", Some("u1")).effect.counted());
    assert_eq!(bench.value("ever"), 1);
}

#[test]
fn a_failed_sync_is_answered_outcome_unknown_and_counts_once_or_not_at_all() {
    let bench = Bench::new();
    bench.up("online", None);
    bench.fail_after(0);
    let command = Command::Apply(increment("online", 1, None));
    assert_eq!(
        bench.ask(command.clone(), None),
        Err(Failure::OutcomeUnknown)
    );
    assert_eq!(bench.value("online"), 1, "what is not durable is not seen");
    let Outcome::Applied(applied) = bench.ask_again(&command).unwrap().outcome else {
        panic!()
    };
    assert_eq!(
        applied.current_value, 2,
        "the failed group was not written, so it is not there"
    );
    assert_eq!(bench.running.mode.refuses(), None);
    let bench = bench.restart();
    assert_eq!(bench.value("online"), 2);
}

#[test]
fn a_user_and_the_count_are_on_disk_together_or_not_at_all() {
    for good in 0..3 {
        let bench = Bench::new();
        bench.fail_after(good);
        for user in ["u1", "u2"] {
            let command = Command::Apply(increment("dau", 1, Some(user)));
            // Retried without a key: who is counted already is not counted again.
            if bench.ask_again(&command) == Err(Failure::OutcomeUnknown) {
                bench.ask_again(&command).unwrap();
            }
        }
        assert_eq!(bench.value("dau"), 2, "failing after {good} commits");
    }
}

#[test]
fn a_user_twice_in_one_batch_and_a_key_twice_in_one_group_count_once() {
    let bench = Bench::new();
    let operations = [
        increment("dau", 1, Some("u1")),
        increment("dau", 1, Some("u1")),
    ];
    let answer = bench.ask(Command::Batch(operations.into()), None).unwrap();
    let Outcome::Batch(results) = answer.outcome else {
        panic!()
    };
    assert_eq!(
        results
            .iter()
            .map(|r| r.effect.counted())
            .collect::<Vec<_>>(),
        [true, false]
    );
    let intake = &bench.running.intake;
    let replayed = std::thread::scope(|scope| {
        let ask = || {
            let key = Some(Box::new(IdempotencyKey {
                key: "k".into(),
                fingerprint: 1,
            }));
            let command = Command::Apply(increment("online", 1, None));
            let request_id = RequestId::Made(1);
            intake
                .call(Request {
                    command,
                    key,
                    request_id,
                })
                .unwrap()
                .replayed
        };
        let threads: Vec<_> = (0..50).map(|_| scope.spawn(ask)).collect();
        threads
            .into_iter()
            .filter(|_| true)
            .map(|thread| thread.join().unwrap())
            .collect::<Vec<_>>()
    });
    assert_eq!(replayed.iter().filter(|replayed| !**replayed).count(), 1);
    assert_eq!(bench.value("online"), 1);
}

#[test]
fn in_read_only_mode_nothing_is_counted() {
    let bench = Bench::new();
    bench.up("online", None);
    bench.running.mode.raise(Cause::Operator, NOON);
    let command = Command::Apply(increment("online", 1, None));
    assert_eq!(
        bench.ask(command.clone(), None),
        Err(Failure::ReadOnly(Cause::Operator))
    );
    bench.running.mode.clear(Cause::Operator);
    assert_eq!(bench.value("online"), 1);
    bench.ask(command, None).unwrap();
    assert_eq!(bench.value("online"), 2);
}

/// A wall clock that moves on by ten minutes whenever it is read.
struct Hasty(std::sync::atomic::AtomicI64);

impl crate::clock::Clock for Hasty {
    fn wall_ms(&self) -> i64 {
        self.0
            .fetch_add(HOUR / 6, std::sync::atomic::Ordering::SeqCst)
    }

    fn boot_ms(&self) -> i64 {
        self.0.load(std::sync::atomic::Ordering::SeqCst)
    }
}

#[test]
fn the_period_of_an_answer_is_the_one_it_was_counted_in() {
    let dir = tempfile::tempdir().unwrap();
    let manual = Arc::new(ManualClock::new(NOON));
    let clock = Arc::new(Hasty(NOON.into()));
    let running = Running::start(WriterOptions {
        clock,
        ..options(dir.path(), &manual)
    })
    .unwrap();
    let mut counted: BTreeMap<_, u64> = BTreeMap::new();
    for _ in 0..300 {
        let command = Command::Apply(increment("games", 1, None));
        let request = Request {
            command,
            key: None,
            request_id: RequestId::Made(1),
        };
        let Outcome::Applied(applied) = running.intake.call(request).unwrap().outcome else {
            panic!()
        };
        *counted.entry(applied.period.unwrap()).or_default() += 1;
    }
    assert!(counted.len() > 1, "no midnight was passed");
    for (day, count) in counted {
        let name = name("games");
        let read = running.reader.with(|tables| tables.day_record(day, &name));
        assert_eq!(read.unwrap().unwrap().unwrap().operations, count, "{day}");
    }
    running.stop();
}

/// Puts bytes under a counter's key, as damage would.
fn damage(dir: &Path, counter: &str, bytes: &[u8], merge: bool) {
    use crate::storage::{Batch, Damaged, DataDirLock, Reader, Store};
    let lock = DataDirLock::take(dir).unwrap();
    let options = StorageOptions::small(dir);
    let reader = Reader::default();
    let mut store = Store::open(&lock, &options, &reader, Some(1)).unwrap();
    let mut batch = Batch::new();
    let what = if merge {
        Damaged::Operand
    } else {
        Damaged::Value
    };
    batch.damage(what, &name(counter), bytes);
    store.commit(&batch).unwrap();
    store.close().unwrap();
}

#[test]
fn a_corrupt_operand_or_value_disables_that_counter_alone_until_it_is_repaired() {
    for merge in [false, true] {
        let bench = Bench::new();
        bench.up("games", None);
        bench.up("online", None);
        let Bench {
            running,
            clock,
            dir,
        } = bench;
        running.stop();
        damage(dir.path(), "games", b"no record", merge);
        let running = Running::start(options(dir.path(), &clock)).unwrap();
        let bench = Bench {
            running,
            clock,
            dir,
        };
        let corrupt = Err(Failure::Refused(Refusal::Corrupt));
        let up = Command::Apply(increment("games", 1, None));
        let reset = Command::Reset {
            counter: name("games"),
        };
        for command in [up.clone(), reset] {
            assert_eq!(bench.ask(command, None), corrupt, "merge: {merge}");
        }
        let existence = bench.running.table.read("games").unwrap().existence;
        assert_eq!(existence, Existence::Corrupt);
        assert_eq!(bench.up("online", None).current_value, 2);
        // What was there is kept through a restart, for a person to look at.
        let bench = bench.restart();
        assert_eq!(bench.ask(up, None), corrupt);
        let repair = |counter| Command::Repair {
            counter,
            value: 41,
            reason: None,
        };
        bench.ask(repair(name("games")), None).unwrap();
        assert_eq!(bench.up("games", None).current_value, 42);
        let refused = bench.ask(repair(name("online")), None);
        assert_eq!(refused, Err(Failure::Refused(Refusal::NotCorrupt)));
        let bench = bench.restart();
        assert_eq!((bench.value("games"), bench.value("online")), (42, 2));
    }
}

mod edges;
mod lapse;

#[test]
fn why_a_prepared_batch_was_not_done_reads_as_a_sentence() {
    let stop = crate::lifecycle::ArchiveError::Write(Failure::ReadOnly(Cause::Clock)).to_string();
    assert!(
        stop.starts_with(
            "the writer did not write it: writes are refused (cause clock): set the clock"
        ),
        "{stop}"
    );
}
