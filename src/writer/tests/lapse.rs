//! Windows and presence against a list of everything that happened, counted anew at each question.

use super::*;
use crate::calendar::Day;
use crate::clock::Clock;
use crate::counter::{DayRecord, Effect, Lapsing, LeaseChange, Seconds, Seen, SessionId, TimeLine};

mod damage;
mod model;
mod off;

use model::{Happened, Model, SESSIONS, Totals, USERS, What};

const DAY: i64 = 24 * HOUR;
const UNTIL_EVENING: i64 = 11 * HOUR + HOUR / 2;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

fn windowed(kind: Kind, span: u32, grain: u32) -> Definition {
    Definition {
        kind,
        window: Some(Seconds(span)),
        grain: Some(Seconds(grain)),
        ..Definition::default()
    }
}

fn presence(ttl: u32) -> Definition {
    Definition {
        kind: Kind::Presence,
        ttl: Some(Seconds(ttl)),
        ..Definition::default()
    }
}

fn user(number: u64) -> UserId {
    UserId::parse(&format!("u{number}")).unwrap()
}

/// Session 0 is none.
fn session(number: u64) -> Option<SessionId> {
    (number > 0).then(|| SessionId::parse(&format!("s{number}")).unwrap())
}

fn of_user(counter: &str, action: Action, amount: i64, who: u64, of: u64) -> Operation {
    Operation {
        counter: name(counter),
        action,
        amount,
        user_id: Some(user(who)),
        session: session(of),
    }
}

fn beat(who: u64, weight: i64) -> Operation {
    of_user("here", Action::Heartbeat, weight, who, 0)
}

fn applied(bench: &Bench, operation: Operation) -> Applied {
    match bench.ask(Command::Apply(operation), None).unwrap().outcome {
        Outcome::Applied(applied) => applied,
        other => panic!("{other:?}"),
    }
}

/// What is expected of an operation.
#[derive(Debug, PartialEq)]
struct Expected {
    effect: Effect,
    change: i64,
    /// Until which grain the lease lasts then.
    until: Option<i64>,
}

/// A run of the server beside the model.
struct Run {
    bench: Bench,
    models: Vec<Model>,
    dice: Dice,
    /// The latest wall time.
    latest: i64,
    /// When the writer next looks at all counters by itself, by the boot clock.
    next_look: i64,
    /// How many operations a batch has at most.
    most: u64,
    operations: u64,
    context: String,
}

impl Run {
    fn new(seed: u64, most: u64) -> Self {
        let models = vec![
            Model::new("hour", windowed(Kind::Unique, 3600, 60)),
            Model::new("minute", windowed(Kind::Unique, 60, 1)),
            Model::new("sum", windowed(Kind::Sum, 120, 5)),
            Model::new("here", presence(90)),
            Model::new("servers", presence(1000)),
        ];
        let bench = Bench::new();
        // Half an hour before midnight.
        bench.clock.advance(UNTIL_EVENING);
        bench.up("online", None);
        for model in &models {
            let definition = Box::new(model.definition.clone());
            let counter = name(model.name);
            let define = Command::Define {
                counter,
                definition,
            };
            bench.ask(define, None).unwrap();
        }
        let mut run = Self {
            next_look: bench.clock.boot_ms() + 1000,
            bench,
            models,
            dice: Dice(seed),
            latest: NOON + UNTIL_EVENING,
            most,
            operations: 0,
            context: String::new(),
        };
        for at in 0..run.models.len() {
            run.change(at);
            let model = &mut run.models[at];
            model.slid_to = i64::MIN;
        }
        run
    }

    fn today(&self) -> Day {
        self.bench.running.day.look().day
    }

    /// The writer changes a counter.
    fn change(&mut self, at: usize) {
        let (time, today) = (self.time(at), self.today());
        self.models[at].slide(time, today, true);
    }

    /// The writer looks at all counters by itself.
    fn look(&mut self) {
        let today = self.today();
        for at in 0..self.models.len() {
            let time = self.time(at);
            self.models[at].slide(time, today, false);
        }
    }

    /// Has the writer see that time has passed.
    fn tick(&mut self) {
        self.latest = self.latest.max(self.bench.clock.wall_ms());
        self.bench.up("online", None);
        let boot = self.bench.clock.boot_ms();
        if boot >= self.next_look {
            self.next_look = boot + 1000;
            self.look();
        }
    }

    /// The time of a counter.
    fn time(&self, at: usize) -> i64 {
        match self.models[at].lapse.runs_in {
            TimeLine::Wall => self.latest,
            TimeLine::Store => self.bench.running.day.store_ms(),
        }
    }

    fn seen(&self, counter: &str) -> Seen {
        let reading = self.bench.running.table.read(counter).unwrap();
        let day = &self.bench.running.day;
        reading.seen(&day.moment(), day.calendar()).unwrap()
    }

    fn step(&mut self) {
        match self.dice.roll(20) {
            0..=4 => {
                let far = [1500, 1500, 20_000, 120_000, 2_000_000][self.dice.roll(5) as usize];
                self.bench.clock.advance(self.dice.roll(far) as i64);
                self.tick();
            }
            5 => {
                let by = self.dice.roll(120_000) as i64 - 90_000;
                self.bench.clock.shift_wall(by);
                self.tick();
            }
            6 => self.restart(),
            7 if self.dice.roll(4) == 0 => self.reset(),
            8 => self.refused_batch(),
            9 => self.fail(),
            10 if self.dice.roll(2) == 0 => self.new_ttl(),
            _ => {
                let at = self.dice.roll(self.models.len() as u64) as usize;
                let operations = 1 + self.dice.roll(self.most);
                self.count(at, operations);
            }
        }
        self.latest = self.latest.max(self.bench.clock.wall_ms());
        self.compare();
    }

    fn compare(&self) {
        for (at, model) in self.models.iter().enumerate() {
            let seen = self.seen(model.name);
            let (value, users) = model.value(model.grain(self.time(at)));
            assert_eq!(seen.value, value, "{}: {}", model.name, self.context);
            if let Some(Lapsing::Leases { count, .. }) = seen.lapsing {
                assert_eq!(count, users, "{}: {}", model.name, self.context);
            }
            let today = self.today();
            let on_disk = self.bench.running.reader.with(|tables| {
                let record = tables.day_record(today, &name(model.name))?;
                Ok(record.map(|record| Totals::of(&record.unwrap())))
            });
            let expected = model
                .day
                .filter(|(day, _)| *day == today)
                .map(|(_, totals)| totals);
            assert_eq!(
                on_disk.unwrap(),
                expected,
                "{}: {}",
                model.name,
                self.context
            );
        }
    }

    /// A stop and a start, or a kill and a start: from what is on disk while nothing is under way.
    fn restart(&mut self) {
        let killed = self.dice.roll(2) == 0;
        let until_midnight = DAY - self.bench.clock.wall_ms().rem_euclid(DAY);
        let off_for = match self.dice.roll(3) {
            0 => 0,
            1 => self.dice.roll(60_000) as i64,
            _ => until_midnight + self.dice.roll(4_000_000) as i64,
        };
        let bench = &mut self.bench;
        if killed {
            // RocksDB may delete a file or begin one meanwhile; then it is copied once more.
            let copied = (0..20).find_map(|_| copied(bench));
            let (running, dir) = copied.unwrap();
            bench.running.stop();
            (bench.running, bench.dir) = (running, dir);
        } else {
            bench.running.stop();
            bench.clock.advance(off_for);
            bench.running = Running::start(options(bench.dir.path(), &bench.clock)).unwrap();
        }
        self.next_look = self.bench.clock.boot_ms() + 1000;
        self.latest = self.latest.max(self.bench.clock.wall_ms());
        self.look();
    }

    fn reset(&mut self) {
        let at = self.dice.roll(self.models.len() as u64) as usize;
        let counter = name(self.models[at].name);
        self.bench.ask(Command::Reset { counter }, None).unwrap();
        self.change(at);
        self.models[at].all.clear();
        self.models[at].totals().reach(0);
    }

    /// A lease that lasts stays as long as it was given.
    fn new_ttl(&mut self) {
        let definition = presence(5 + self.dice.roll(590) as u32);
        self.models[3].definition = definition.clone();
        self.models[3].lapse = definition.lapse().unwrap();
        let (counter, definition) = (name("here"), Box::new(definition));
        let define = Command::Define {
            counter,
            definition,
        };
        self.bench.ask(define, None).unwrap();
        self.change(3);
    }

    /// A batch of which the last is refused leaves nothing.
    fn refused_batch(&mut self) {
        let mut all = Vec::new();
        for _ in 0..3 {
            let (who, of) = (self.dice.roll(USERS), self.dice.roll(SESSIONS));
            all.push(of_user("hour", Action::Increment, 1, who, 0));
            all.push(of_user("here", Action::Heartbeat, 7, who, of));
            all.push(of_user("servers", Action::Leave, 1, who, 0));
        }
        all.push(increment("sum", 3, None));
        all.push(decrement("sum", 1));
        let refused = self.bench.ask(Command::Batch(all.into()), None);
        let by_rule = matches!(refused, Err(Failure::Refused(Refusal::Batch(_))));
        assert!(by_rule, "{}: {refused:?}", self.context);
    }

    /// A commit that fails, with leases and sights in it, leaves nothing.
    fn fail(&mut self) {
        self.bench.fail_after(0);
        let all = [
            of_user("hour", Action::Increment, 1, 1, 0),
            of_user("here", Action::Heartbeat, 9, 1, 1),
            increment("sum", 4, None),
        ];
        let failed = self.bench.ask(Command::Batch(all.into()), None);
        assert!(failed.is_err(), "{}: {failed:?}", self.context);
        let again = Command::Apply(increment("online", 1, None));
        self.bench.ask_again(&again).unwrap();
        self.look();
    }

    /// Counts in one batch, and compares each answer.
    fn count(&mut self, at: usize, operations: u64) {
        self.latest = self.latest.max(self.bench.clock.wall_ms());
        let now = self.time(at);
        self.operations += operations;
        let (mut asked, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..operations {
            let before = self.models[at].all.len();
            let (operation, wanted) = self.operation(at, now);
            asked.push(operation);
            let (value, _) = self.models[at].value(self.models[at].grain(now));
            if self.models[at].all.len() > before {
                let happened = self.models[at].all.pop().unwrap();
                self.change(at);
                self.models[at].all.push(happened);
                let totals = self.models[at].totals();
                let size = u128::from(wanted.change.unsigned_abs());
                match wanted.change {
                    0.. => totals.increments += size,
                    _ => totals.decrements += size,
                }
                let counts = wanted.change != 0 || wanted.effect == Effect::Counted;
                totals.operations += u64::from(counts);
                totals.reach(value);
            }
            expected.push((wanted, value));
        }
        let answer = self.bench.ask(Command::Batch(asked.into()), None).unwrap();
        let Outcome::Batch(done) = answer.outcome else {
            panic!("{}", self.context)
        };
        let wall = self.bench.clock.wall_ms();
        let (counter, grain_ms) = (self.models[at].name, self.models[at].lapse.grain_ms());
        for (applied, (wanted, value)) in done.iter().zip(expected) {
            let context = format!("{counter}, {}: {applied:?} {wanted:?}", self.context);
            assert_eq!(applied.effect, wanted.effect, "{context}");
            assert_eq!(applied.applied, wanted.change.abs(), "{context}");
            assert_eq!(applied.current_value, value, "{context}");
            let leased = self.models[at].lapse.runs_in == TimeLine::Store;
            let lease = leased.then(|| LeaseChange {
                change: wanted.change,
                expires_at: wanted.until.map(|grain| wall + grain * grain_ms - now),
            });
            let lease = lease.map(Box::new);
            assert_eq!(applied.lease, lease, "{context}");
        }
    }

    /// Makes an operation; what it does happens in the model.
    fn operation(&mut self, at: usize, time: i64) -> (Operation, Expected) {
        let (who, of) = (self.dice.roll(USERS), self.dice.roll(SESSIONS));
        let (down, amount) = (self.dice.roll(5) == 0, self.dice.roll(5) as i64);
        let model = &mut self.models[at];
        let now = model.grain(time);
        let until = model.leaves(time);
        let stands = model.stands(who, now);
        let expect = |effect, change, until| Expected {
            effect,
            change,
            until,
        };
        let counted = Effect::Counted;
        if model.definition.kind == Kind::Sum {
            let amount = amount + 1;
            model.all.push(Happened {
                what: What::Added(amount),
                until,
            });
            return (
                increment(model.name, amount, None),
                expect(counted, amount, None),
            );
        }
        let leases = model.definition.kind == Kind::Presence;
        let (action, weight, of) = match (leases, down) {
            (true, false) => (Action::Heartbeat, amount, of),
            (true, true) => (Action::Leave, 1, of),
            (false, false) => (Action::Increment, 1, 0),
            (false, true) => (Action::Decrement, 1, 0),
        };
        let operation = of_user(model.name, action, weight, who, of);
        let wanted = match (down, stands) {
            (true, Some(was)) if of != 0 && of != was.session => {
                return (operation, expect(Effect::NotInside, 0, Some(was.until)));
            }
            (true, None) => return (operation, expect(Effect::NotInside, 0, None)),
            (true, Some(was)) => {
                // It hides what was until that has left.
                model.all.push(Happened {
                    what: What::Left(who),
                    until: was.until,
                });
                return (operation, expect(counted, -was.weight, None));
            }
            (false, None) => expect(counted, weight, Some(until)),
            (false, Some(was)) if !leases && was.until == until => {
                return (operation, expect(Effect::Duplicate, 0, None));
            }
            (false, Some(_)) if !leases => expect(counted, 0, None),
            (false, Some(was)) => expect(
                Effect::Renewed,
                weight - was.weight,
                Some(until.max(was.until)),
            ),
        };
        let what = What::Seen {
            user: who,
            weight,
            session: of,
        };
        let until = wanted.until.unwrap_or(until);
        model.all.push(Happened { what, until });
        (operation, wanted)
    }
}

/// What a start makes of the store as it is on disk while it is open; `None` when it changed meanwhile.
fn copied(bench: &Bench) -> Option<(Running, tempfile::TempDir)> {
    let copy = tempfile::tempdir().unwrap();
    let from = bench.dir.path().join(".");
    let mut cp = std::process::Command::new("cp");
    let copied = cp.arg("-a").args([&from, copy.path()]).output();
    copied.unwrap().status.success().then_some(())?;
    let running = Running::start(options(copy.path(), &bench.clock));
    Some((running.ok()?, copy))
}

#[test]
fn windows_and_leases_say_what_a_list_of_all_that_happened_says() {
    let soak = std::env::var("COUNTERD_SOAK_ROUNDS").map(|rounds| rounds.parse().unwrap());
    let (rounds, most) = soak.map_or((2, 3), |rounds| (rounds, 600));
    let mut operations = 0;
    for seed in 1..=rounds {
        let mut run = Run::new(seed, most);
        for step in 0..400 {
            run.context = format!("seed {seed}, step {step}");
            run.step();
        }
        operations += run.operations;
        println!("seed {seed}: {operations} operations so far, each answer as the list says");
    }
}

#[test]
fn leases_stand_while_counterd_is_off_and_settle_after() {
    let bench = Bench::new();
    bench.define("here", presence(90)).unwrap();
    let beat = || Command::Apply(of_user("here", Action::Heartbeat, 1, 1, 0));
    bench.ask(beat(), None).unwrap();
    assert_eq!(leases(&bench), (1, 1, false));
    bench.clock.advance(60_000);
    let (dir, clock) = bench.stop();
    // A night.
    clock.advance(8 * HOUR);
    let bench = Bench::start(dir, clock, |_| {});
    assert_eq!(leases(&bench), (1, 1, true));
    bench.clock.advance(29_999);
    assert_eq!(leases(&bench), (1, 1, true));
    bench.clock.advance(1);
    assert_eq!(leases(&bench), (0, 0, true));
    bench.ask(beat(), None).unwrap();
    bench.clock.advance(60_000);
    assert_eq!(leases(&bench), (1, 1, false));
    let record = day_of(&bench, "here");
    assert_eq!(
        (record.expired, record.operations, record.increments),
        (1, 2, 2)
    );
}

#[test]
fn leases_run_on_while_writes_are_refused_and_the_store_is_open() {
    let bench = Bench::new();
    bench.define("here", presence(90)).unwrap();
    let beat = || Command::Apply(of_user("here", Action::Heartbeat, 1, 1, 0));
    bench.ask(beat(), None).unwrap();
    bench.running.mode.raise(Cause::Operator, NOON);
    let refused = bench.ask(beat(), None);
    assert!(matches!(refused, Err(Failure::ReadOnly(Cause::Operator))));
    bench.clock.advance(89_999);
    assert_eq!(bench.value("here"), 1);
    bench.clock.advance(1);
    assert_eq!(bench.value("here"), 0);
    bench.running.mode.clear(Cause::Operator);
    bench.ask(beat(), None).unwrap();
    assert_eq!(bench.value("here"), 1);
}

/// What `here` says: its value, how many leases, whether it settles.
fn leases(bench: &Bench) -> (i64, i64, bool) {
    let reading = bench.running.table.read("here").unwrap();
    let day = &bench.running.day;
    let seen = reading.seen(&day.moment(), day.calendar()).unwrap();
    match seen.lapsing {
        Some(Lapsing::Leases { count, settling }) => (seen.value, count, settling),
        other => panic!("{other:?}"),
    }
}

/// The day record of today as it stands on disk.
fn day_of(bench: &Bench, counter: &str) -> DayRecord {
    let day = bench.running.day.look().day;
    // The group that lets leases go is there before this one.
    bench.up("online", None);
    let reader = &bench.running.reader;
    let record = reader.with(|tables| tables.day_record(day, &name(counter)));
    record.unwrap().unwrap().unwrap()
}
