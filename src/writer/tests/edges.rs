//! Where two rare things meet: a failure in the first commit or in background work, a repair of
//! what the configuration names, a clock set back under a counter that ends, a full quota.

use super::*;
use crate::calendar::Day;
use crate::counter::{DayRecord, Millis};
use crate::storage::{
    Batch, Damaged, DataDirLock, Family, ReadError, Reader, Store, StoreState, recover,
};

impl Bench {
    fn start_with(change: impl FnOnce(&mut WriterOptions)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(NOON));
        Self::start(dir, clock, change)
    }

    pub(super) fn start(
        dir: tempfile::TempDir,
        clock: Arc<ManualClock>,
        change: impl FnOnce(&mut WriterOptions),
    ) -> Self {
        let mut options = options(dir.path(), &clock);
        change(&mut options);
        let running = Running::start(options).unwrap();
        Self {
            running,
            clock,
            dir,
        }
    }

    pub(super) fn stop(self) -> (tempfile::TempDir, Arc<ManualClock>) {
        self.running.stop();
        (self.dir, self.clock)
    }

    pub(super) fn define(&self, counter: &str, definition: Definition) -> Result<Answer, Failure> {
        let command = Command::Define {
            counter: name(counter),
            definition: Box::new(definition),
        };
        self.ask(command, None)
    }

    fn day_record(&self, counter: &str) -> Option<DayRecord> {
        let day = self.running.day.look().day;
        let reader = &self.running.reader;
        let read = reader.with(|tables| tables.day_record(day, &name(counter)));
        read.unwrap().map(Result::unwrap)
    }

    pub(super) fn repair(&self, counter: &str, value: i64) -> Result<Answer, Failure> {
        let command = Command::Repair {
            counter: name(counter),
            value,
            reason: None,
        };
        self.ask(command, None)
    }
}

/// Changes records of a store that nobody has open.
pub(super) fn edit(dir: &Path, lock: &DataDirLock, change: impl FnOnce(&Store, &mut Batch)) {
    let options = StorageOptions::small(dir);
    let reader = Reader::default();
    let mut store = Store::open(lock, &options, &reader, Some(1)).unwrap();
    let mut batch = Batch::new();
    change(&store, &mut batch);
    store.commit(&batch).unwrap();
    store.close().unwrap();
}

fn expiring(at: Millis) -> Definition {
    Definition {
        expires_at: Some(at),
        ..Definition::default()
    }
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn counters_of_the_configuration_come_before_any_request_also_when_the_first_commit_failed() {
    let bench = Bench::start_with(|options| {
        let dir = options.storage.data_dir.clone();
        FAILURES.lock().insert(dir, 0);
    });
    let command = Command::Apply(increment("dau", 1, Some("u1")));
    bench.ask_again(&command).unwrap();
    assert!(
        !bench.up("dau", Some("u1")).effect.counted(),
        "dau became something else"
    );
    let kind = bench.running.table.read("dau").unwrap().definition.kind;
    assert_eq!(kind, Kind::Unique);
    bench.restart();
}

#[test]
fn users_of_an_ended_generation_all_go_also_when_their_deletion_fails_once() {
    let bench = Bench::new();
    let ever = Definition {
        kind: Kind::Unique,
        ..Definition::default()
    };
    bench.define("ever", ever).unwrap();
    let users: Vec<_> = (0..2500)
        .map(|number| increment("ever", 1, Some(&format!("u{number}"))))
        .collect();
    for users in users.chunks(1000) {
        bench.ask(Command::Batch(users.into()), None).unwrap();
    }
    // The reset goes well, the first deletion fails.
    bench.fail_after(1);
    let reset = Command::Reset {
        counter: name("ever"),
    };
    bench.ask(reset, None).unwrap();
    let left = || {
        let reader = &bench.running.reader;
        let ended = reader.with(|tables| Ok(tables.ended_generations()?.len()))?;
        let users = reader.count(Family::Dedup, &mut |_, _| Ok::<_, ReadError>(()))?;
        Ok::<_, ReadError>((users, ended))
    };
    wait_until("the generation is done with", || {
        left().is_ok_and(|(_, ended)| ended == 0)
    });
    assert_eq!(left().unwrap().0, 0, "users left behind for good");
}

#[test]
fn a_repair_goes_on_with_the_record_of_the_day() {
    let bench = Bench::new();
    for _ in 0..3 {
        bench.up("online", None);
    }
    let before = bench.day_record("online").unwrap();
    let (dir, clock) = bench.stop();
    damage(dir.path(), "online", b"no record", false);
    let bench = Bench::start(dir, clock, |_| {});
    bench.repair("online", 2).unwrap();
    let after = bench.day_record("online").unwrap();
    assert_eq!(
        (after.operations, after.increments, after.peak),
        (before.operations, before.increments, before.peak)
    );
    assert_eq!((after.last, after.events), (2, before.events + 1));
}

#[test]
fn a_repaired_counter_of_the_configuration_is_what_the_configuration_says() {
    let bench = Bench::new();
    bench.up("dau", Some("u1"));
    let (dir, clock) = bench.stop();
    let lock = DataDirLock::take(dir.path()).unwrap();
    edit(dir.path(), &lock, |_, batch| {
        batch.damage(Damaged::Definition, &name("dau"), b"?");
    });
    drop(lock);
    let bench = Bench::start(dir, clock, |_| {});
    bench.repair("dau", 1).unwrap();
    let kind = bench.running.table.read("dau").unwrap().definition.kind;
    assert_eq!(kind, Kind::Unique);
    assert_eq!(bench.up("dau", Some("u2")).current_value, 2);
    bench.restart();
}

#[test]
fn a_counter_whose_time_is_over_takes_no_place_in_the_quota() {
    let bench = Bench::start_with(|options| {
        options.max_counters = 3;
        // Nothing is recorded while the boot clock stands still.
    });
    bench.define("event", expiring(NOON + HOUR)).unwrap();
    let new = Command::Apply(increment("new", 1, None));
    let full = Failure::Refused(Refusal::TooManyCounters { max: 3 });
    assert_eq!(bench.ask(new.clone(), None), Err(full.clone()));
    bench.clock.shift_wall(HOUR);
    bench.ask(new, None).unwrap();
    let more = Command::Apply(increment("more", 1, None));
    assert_eq!(bench.ask(more, None), Err(full));
}

#[test]
fn clients_who_make_up_names_leave_places_for_administrators() {
    let bench = Bench::start_with(|options| options.max_counters = 40);
    let configured = 2;
    let mut made = 0;
    let full = loop {
        let new = Command::Apply(increment(&format!("made-up-{made}"), 1, None));
        match bench.ask(new, None) {
            Ok(_) => made += 1,
            Err(full) => break full,
        }
    };
    assert_eq!(full, Failure::Refused(Refusal::TooManyCounters { max: 38 }));
    assert_eq!(made, 38 - configured);
    for name in ["event-1", "event-2"] {
        bench.define(name, Definition::default()).unwrap();
    }
    let full = Failure::Refused(Refusal::TooManyCounters { max: 40 });
    assert_eq!(bench.define("event-3", Definition::default()), Err(full));
}

#[test]
fn a_final_value_is_what_was_counted_also_while_the_calendar_is_behind() {
    let bench = Bench::new();
    bench.clock.shift_wall(-24 * HOUR);
    let daily = Definition {
        reset: Reset::Daily,
        ..expiring(NOON - 23 * HOUR)
    };
    bench.define("event", daily).unwrap();
    bench.up("event", None);
    assert_eq!(bench.value("event"), 1);
    bench.clock.advance(HOUR);
    let up = Command::Apply(increment("event", 1, None));
    let expired = Refusal::Gone(Gone {
        expired: true,
        final_value: 1,
        at: NOON - 23 * HOUR,
    });
    assert_eq!(bench.ask(up, None), Err(Failure::Refused(expired)));
}

#[test]
fn a_configured_counter_that_expired_while_nothing_ran_keeps_its_final_value() {
    let with = |description: Option<&str>| {
        let mut definition = expiring(NOON + HOUR);
        definition.description = description.map(str::to_owned);
        move |options: &mut WriterOptions| options.configured.push((name("event"), definition))
    };
    let bench = Bench::start_with(with(None));
    for _ in 0..3 {
        bench.up("event", None);
    }
    let (dir, clock) = bench.stop();
    clock.advance(HOUR);
    let bench = Bench::start(dir, clock, with(Some("over")));
    let existence = bench.running.table.read("event").unwrap().existence;
    assert_eq!(
        existence,
        Existence::Gone(Gone {
            expired: true,
            final_value: 3,
            at: NOON + HOUR
        })
    );
}

#[test]
fn a_recovered_store_of_a_later_day_and_bucket_is_taken_as_it_is() {
    let bench = Bench::new();
    let apply = || Command::Apply(increment("online", 1, None));
    let first = bench.ask(apply(), Some(("k", 7))).unwrap();
    bench.fail_after(0);
    assert_eq!(bench.ask(apply(), None), Err(Failure::OutcomeUnknown));
    // Between two tries of the server to open its store, another has it.
    let mut lock = None;
    wait_until("the lock is free", || {
        lock = DataDirLock::take(bench.dir.path()).ok();
        lock.is_some()
    });
    let lock = lock.unwrap();
    let later = |day: Day| Day::from_days(day.days() + 1).unwrap();
    let mut day = None;
    edit(bench.dir.path(), &lock, |store, batch| {
        let state = store.tables().state().unwrap().unwrap();
        day = Some(later(state.highest_day));
        let state = StoreState {
            highest_day: later(state.highest_day),
            store_time: state.store_time + 24 * HOUR,
            ..state
        };
        batch.put_state(&state);
        batch.put_kept(1, "later", 7, &first.outcome);
    });
    let storage = StorageOptions::small(bench.dir.path());
    let epoch = bench.running.epoch();
    recover::recover(&lock, &storage, NOON, true).unwrap();
    drop(lock);
    bench.ask_again(&apply()).unwrap();
    assert!(bench.running.epoch() > epoch);
    assert_eq!(bench.up("games", None).period, day);
    for key in ["k", "later"] {
        let answer = bench.ask(apply(), Some((key, 7))).unwrap();
        assert!(answer.replayed, "{key}");
    }
}
