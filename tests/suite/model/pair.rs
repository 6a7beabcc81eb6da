//! The model and the real writer side by side, and the comparison of everything that can be seen.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use counterd::calendar::Calendar;
use counterd::clock::Clock;
use counterd::counter::{
    Action, Adjustment, CounterName, DEFAULT_MAX, Definition, Existence, Kind, OnBound, Operation,
    Outcome, RequestId, Reset, UserId,
};
use counterd::storage::{LogAddress, StorageOptions};
use counterd::writer::{
    Answer, Command, Failure, IdempotencyKey, Port, Reading, Request, Running, StartError,
    WriterOptions,
};
use tempfile::TempDir;

use super::naive::{self, GONE_FOR, HOUR, Model};
use super::{Ask, Move, Op, What};

/// 2026-11-24T12:00:00Z.
const NOON: i64 = 1_795_521_600_000;

/// The last of them is no counter that anything but [`Pair::anchor`] moves.
pub const NAMES: [&str; 10] = [
    "c0",
    "c1",
    "c2",
    "c3",
    "c4",
    "c5",
    "conf.dau",
    "conf.sum",
    "conf.gauge",
    "conf.temp",
];
const ANCHOR: &str = "anchor";
pub const BOUNDS: [(i64, i64); 5] = [
    (0, DEFAULT_MAX),
    (-3, 7),
    (0, 3),
    (i64::MIN, i64::MAX),
    (-10, 0),
];
pub const CONFIGURATIONS: usize = 4;

/// Wall and boot clock that stand still until they are moved. The wall clock moves first, so that
/// whoever sees that time has passed sees the new wall clock too.
#[derive(Default)]
struct TwoClocks {
    wall: AtomicI64,
    boot: AtomicI64,
}

impl Clock for TwoClocks {
    fn wall_ms(&self) -> i64 {
        self.wall.load(Ordering::SeqCst)
    }

    fn boot_ms(&self) -> i64 {
        self.boot.load(Ordering::SeqCst)
    }
}

pub struct Pair {
    pub model: Model,
    clock: Arc<TwoClocks>,
    pub dir: TempDir,
    pub running: Option<Running>,
    /// The log in Redis that it counts into; `None` where it has its own.
    pub log: Option<LogAddress>,
    runtime: tokio::runtime::Runtime,
    port: Option<Port>,
    requests: u64,
    keyed: Vec<Request>,
}

pub fn run(log: Option<LogAddress>, ops: &[Op]) -> Result<(), String> {
    let mut pair = Pair::new(log);
    pair.start(0)?;
    for op in ops {
        pair.step(op)
            .map_err(|difference| format!("{op:?}: {difference}"))?;
    }
    pair.anchor()?;
    pair.stop()
}

fn name(text: &str) -> CounterName {
    CounterName::parse(text).unwrap()
}

fn configuration(number: usize) -> Vec<(CounterName, Definition)> {
    let of = |kind, reset| Definition {
        kind,
        reset,
        ..Definition::default()
    };
    let gauge = Definition {
        min: -5,
        max: 20,
        on_bound: OnBound::Clamp,
        ..Definition::default()
    };
    let temporary = |hours: i64| Definition {
        expires_at: Some(NOON + hours * HOUR),
        ..Definition::default()
    };
    let dau = (name("conf.dau"), of(Kind::Unique, Reset::Daily));
    let sum = (name("conf.sum"), of(Kind::Sum, Reset::Daily));
    match number {
        0 => vec![dau, sum, (name("conf.gauge"), gauge)],
        1 => vec![
            dau,
            (
                name("conf.gauge"),
                Definition {
                    min: -50,
                    max: 5,
                    ..Definition::default()
                },
            ),
        ],
        2 => vec![
            dau,
            sum,
            (name("conf.gauge"), gauge),
            (name("conf.temp"), temporary(30)),
        ],
        _ => vec![dau, sum, (name("conf.temp"), temporary(300))],
    }
}

impl Pair {
    fn new(log: Option<LogAddress>) -> Self {
        let clock = Arc::new(TwoClocks::default());
        clock.wall.store(NOON, Ordering::SeqCst);
        clock.boot.store(1000, Ordering::SeqCst);
        Self {
            model: Model::new(NOON, 1000),
            clock,
            dir: tempfile::tempdir().unwrap(),
            running: None,
            log,
            port: None,
            runtime: tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap(),
            requests: 0,
            keyed: Vec::new(),
        }
    }

    pub fn storage(&self) -> StorageOptions {
        StorageOptions {
            data_dir: self.dir.path().to_owned(),
            memory: 16 << 20,
            shared: self.log.clone(),
            reserve: Some(24 << 20),
        }
    }

    fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    /// Starts both; where the configuration contradicts a live counter it is refused, and the one
    /// before serves.
    fn start(&mut self, number: usize) -> Result<(), String> {
        let mut configured = configuration(number);
        if self.model.conflicts(&configured) {
            match self.begin(configured) {
                Err(StartError::DefinitionConflict { .. }) => {}
                Err(error) => return Err(format!("no start: {error}")),
                Ok(_) => return Err("a start against the configuration".to_owned()),
            }
            configured = self.model.configured.clone();
        }
        let running = self
            .begin(configured.clone())
            .map_err(|error| format!("no start: {error}"))?;
        self.runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        self.port = running.intake.attach(self.runtime.handle());
        self.running = Some(running);
        self.model.start(configured);
        self.compare_readings()
    }

    fn begin(&self, configured: Vec<(CounterName, Definition)>) -> Result<Running, StartError> {
        Running::start(WriterOptions {
            max_clock_jump_ms: naive::MAX_JUMP,
            max_away_ms: naive::MAX_AWAY,
            max_counters: naive::MAX_COUNTERS as u64,
            gone_for_ms: GONE_FOR,
            configured,
            recent_users: 4,
            min_free: Some(1 << 20),
            queue: 1000,
            ..WriterOptions::new(
                self.storage(),
                self.clock.clone(),
                Calendar::new("UTC", "04:00".parse().unwrap()).unwrap(),
            )
        })
    }

    fn step(&mut self, op: &Op) -> Result<(), String> {
        match op {
            Op::Burst(asks) => {
                let requests = asks.iter().map(|ask| self.request(ask)).collect();
                self.ask(requests)?;
            }
            Op::Again(number) => {
                if !self.keyed.is_empty() {
                    let again = self.keyed[number % self.keyed.len()].clone();
                    self.ask(vec![again])?;
                }
            }
            Op::Advance(ms) => {
                self.move_clocks(*ms, *ms);
                self.settle()?;
            }
            // No time of a shared log goes back: an instance takes that of the group before.
            Op::Shift(..0) if self.log.is_some() => {}
            Op::Shift(ms) => {
                self.anchor()?;
                self.move_clocks(*ms, 0);
                self.settle()?;
            }
            Op::Accept => {
                self.running().day.accept();
                self.model.accept();
                self.settle()?;
            }
            Op::Restart {
                configuration,
                away,
            } => {
                self.anchor()?;
                self.stop()?;
                if let Some(away) = away {
                    let away = match self.log {
                        Some(_) => (*away).max(0),
                        None => *away,
                    };
                    let boot = 1000 - self.model.boot;
                    self.move_clocks(away, boot);
                }
                self.start(*configuration)?;
            }
        }
        self.compare_readings()
    }

    fn move_clocks(&mut self, wall: i64, boot: i64) {
        self.model.wall += wall;
        self.model.boot += boot;
        self.clock.wall.store(self.model.wall, Ordering::SeqCst);
        self.clock.boot.store(self.model.boot, Ordering::SeqCst);
    }

    /// A request that changes nothing: once it is answered the writer has seen the new time.
    fn settle(&mut self) -> Result<(), String> {
        let command = Command::Repair {
            counter: name("nobody"),
            value: 0,
            reason: None,
        };
        let request = self.plain(command);
        self.ask(vec![request])
    }

    /// A change, so that what the store knows of the time is known to the model too.
    fn anchor(&mut self) -> Result<(), String> {
        let command = Command::Apply(increment(ANCHOR));
        let request = self.plain(command);
        self.ask(vec![request])
    }

    fn plain(&mut self, command: Command) -> Request {
        self.requests += 1;
        Request {
            command,
            key: None,
            request_id: RequestId::Made(self.requests),
        }
    }

    fn request(&mut self, ask: &Ask) -> Request {
        let command = command(&ask.what, self.model.wall);
        let mut request = self.plain(command);
        if let Some(number) = ask.key {
            let mut hasher = DefaultHasher::new();
            format!("{:?}", ask.what).hash(&mut hasher);
            let fingerprint = u128::from(hasher.finish());
            request.key = Some(Box::new(IdempotencyKey {
                key: format!("key-{number}").into(),
                fingerprint,
            }));
            self.keyed.push(request.clone());
        }
        request
    }

    /// Asks both, all requests at once, and compares the answers.
    fn ask(&mut self, requests: Vec<Request>) -> Result<(), String> {
        self.model.look();
        let submitted = requests.clone();
        let port = self.port.as_ref().expect("there is a server");
        let found: Vec<Result<Answer, Failure>> = self.runtime.block_on(async {
            let submit = |request| port.submit(request);
            let tickets: Vec<_> = submitted.into_iter().map(submit).collect();
            let mut answers = Vec::new();
            for ticket in tickets {
                answers.push(ticket.await);
            }
            answers
        });
        for (request, found) in requests.iter().zip(found) {
            let expected = self.model.ask(request);
            // What was there before is for the audit line only: a replay may lack it.
            let found = found.map(|answer| {
                if answer.replayed {
                    without_previous(answer)
                } else {
                    answer
                }
            });
            differs(&format!("answer to {request:?}"), &found, &expected)?;
        }
        Ok(())
    }

    fn compare_readings(&self) -> Result<(), String> {
        let running = self.running();
        differs(
            "clock fault",
            &running.mode.refuses().is_some(),
            &self.model.clock_fault,
        )?;
        differs("day", &running.day.look().day, &self.model.today())?;
        differs("revision", &running.table.revision(), &self.model.revision)?;
        for text in NAMES.into_iter().chain([ANCHOR]) {
            let expected = self.model.counters.get(&name(text)).map(|counter| Reading {
                name: name(text),
                definition: Arc::new(counter.definition.clone()),
                existence: counter.gone.map_or(Existence::Live, Existence::Gone),
                value: counter.value,
                leaving: None,
                period: counter.period,
                generation: counter.generation,
                revision: counter.revision,
                epoch: running.epoch(),
                changed_at: counter.changed_at,
            });
            differs(text, &running.table.read(text), &expected)?;
        }
        Ok(())
    }
}

pub fn differs<T: PartialEq + std::fmt::Debug>(
    what: &str,
    found: &T,
    expected: &T,
) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}\n   found {found:?}\nexpected {expected:?}"))
}

fn without_previous(mut answer: Answer) -> Answer {
    if let Outcome::Defined { previous, .. } = &mut answer.outcome {
        *previous = None;
    }
    answer
}

fn increment(counter: &str) -> Operation {
    Operation {
        counter: name(counter),
        action: Action::Increment,
        amount: 1,
        user_id: None,
        session: None,
    }
}

fn operation(one: &Move) -> Operation {
    Operation {
        counter: name(NAMES[one.counter]),
        action: if one.down {
            Action::Decrement
        } else {
            Action::Increment
        },
        amount: one.amount,
        user_id: one
            .user
            .map(|number| UserId::parse(&format!("user-{number}")).unwrap()),
        session: None,
    }
}

fn command(what: &What, now: i64) -> Command {
    match what {
        What::Move(one) => Command::Apply(operation(one)),
        What::Batch(moves) => Command::Batch(moves.iter().map(operation).collect()),
        What::Each(moves) => Command::Each(moves.iter().map(operation).collect()),
        What::Reset(counter) => Command::Reset {
            counter: name(NAMES[*counter]),
        },
        What::Adjust { counter, to, by } => Command::Adjust {
            counter: name(NAMES[*counter]),
            adjustment: if *to {
                Adjustment::To(*by)
            } else {
                Adjustment::By(*by)
            },
            reason: "a reason".into(),
        },
        What::Define {
            counter,
            kind,
            daily,
            bounds,
            clamp,
            lasts,
        } => {
            let (min, max) = BOUNDS[*bounds];
            // Each counter ends at an instant of its own, so that the order of expiries is known.
            let distinct = i64::try_from(*counter).unwrap();
            let definition = Definition {
                kind: [Kind::Gauge, Kind::Sum, Kind::Unique][usize::from(*kind)],
                reset: if *daily { Reset::Daily } else { Reset::Never },
                min,
                max,
                on_bound: if *clamp {
                    OnBound::Clamp
                } else {
                    OnBound::Refuse
                },
                expires_at: lasts.map(|ms| (now + ms).div_euclid(100) * 100 + distinct),
                description: None,
                ..Definition::default()
            };
            Command::Define {
                counter: name(NAMES[*counter]),
                definition: Box::new(definition),
            }
        }
        What::Delete(counter) => Command::Delete {
            counter: name(NAMES[*counter]),
        },
    }
}
