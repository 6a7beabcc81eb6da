//! A writer on a real store, with an archivist and an exporter that take their steps when told.

use std::path::Path;
use std::sync::Arc;

use counterd::calendar::{Calendar, Day};
use counterd::clock::ManualClock;
use counterd::counter::{
    Action, CounterName, Definition, Kind, Operation, Outcome, RequestId, Reset, UserId,
};
use counterd::export::Selection;
use counterd::export::postgres::{
    DaysWritten, ExportContext, Exporter, PostgresError, PostgresOptions,
};
use counterd::lifecycle::{Archivist, Retention};
use counterd::metrics::Metrics;
use counterd::storage::recover::recover;
use counterd::storage::{Batch, Damaged, DataDirLock, Reader, Store};
use counterd::writer::{Command, PreparedBatch, Request, Running, WriterOptions};

use crate::midnight::storage;

/// 2026-11-24T12:00:00Z.
pub const NOON: i64 = 1_795_521_600_000;
pub const HOUR: i64 = 3_600_000;
pub const DAY: i64 = 24 * HOUR;

pub struct House {
    pub running: Running,
    pub clock: Arc<ManualClock>,
    pub metrics: Arc<Metrics>,
    pub retention: Retention,
}

pub fn name(text: &str) -> CounterName {
    CounterName::parse(text).unwrap()
}

impl House {
    /// A store in `dir`, whose epoch is `at` when it is new.
    pub fn open(dir: &Path, at: i64) -> Self {
        let clock = Arc::new(ManualClock::new(at));
        let metrics = Arc::new(Metrics::new());
        let definition = |kind, reset| Definition {
            kind,
            reset,
            ..Definition::default()
        };
        let running = Running::start(WriterOptions {
            configured: vec![
                (name("dau"), definition(Kind::Unique, Reset::Daily)),
                (name("ever"), definition(Kind::Unique, Reset::Never)),
                (name("games"), definition(Kind::Sum, Reset::Daily)),
                (name("online"), definition(Kind::Gauge, Reset::Never)),
            ],
            recent_users: 1000,
            min_free: Some(1 << 20),
            followed_counters: 10,
            queue: 100_000,
            metrics: Arc::clone(&metrics),
            ..WriterOptions::new(
                storage(dir),
                clock.clone(),
                Calendar::new("UTC", "00:00".parse().unwrap()).unwrap(),
            )
        })
        .unwrap();
        Self {
            running,
            clock,
            metrics,
            retention: Retention {
                exports: true,
                ..Retention::default()
            },
        }
    }

    /// A copy of the closed store in `from`, recovered at `at`: the same store on a later epoch.
    pub fn recovered(from: &Path, to: &Path, at: i64) -> Self {
        let copied = std::process::Command::new("cp")
            .arg("-a")
            .args([from, to])
            .status();
        assert!(copied.unwrap().success());
        let lock = DataDirLock::take(to).unwrap();
        recover(&lock, &storage(to), at, true).unwrap();
        drop(lock);
        Self::open(to, at)
    }

    pub fn exporter(&self, options: PostgresOptions) -> Exporter {
        Exporter::new(&self.running, &self.metrics, options).unwrap()
    }

    pub fn days(&self, options: PostgresOptions) -> ExportContext {
        ExportContext::new(&self.running, Arc::clone(&self.metrics), options)
    }

    /// What `counterd export --to postgres` does.
    pub fn export(
        &self,
        options: PostgresOptions,
        day: &str,
        replace: bool,
    ) -> Result<DaysWritten, PostgresError> {
        let selection = Selection {
            from: day.parse().unwrap(),
            to: day.parse().unwrap(),
            counter: None,
            include_open: false,
        };
        let days = self.days(options);
        days.export(&selection, replace, &mut |_, _| Ok(()))
    }

    fn ask(&self, command: Command) -> Outcome {
        let request = Request {
            command,
            key: None,
            request_id: RequestId::Made(1),
        };
        self.running.intake.call(request).unwrap().outcome
    }

    pub fn up(&self, counter: &str, amount: i64) {
        let operation = step(counter, Action::Increment, amount, None);
        self.ask(Command::Apply(operation));
    }

    pub fn down(&self, counter: &str, amount: i64) {
        let operation = step(counter, Action::Decrement, amount, None);
        self.ask(Command::Apply(operation));
    }

    pub fn users<T: AsRef<str>>(&self, counter: &str, users: impl IntoIterator<Item = T>) {
        let count = |user: T| step(counter, Action::Increment, 1, Some(user.as_ref()));
        self.batches(users.into_iter().map(count));
    }

    /// Counts each of these once.
    pub fn create(&self, counters: impl IntoIterator<Item = String>) {
        let count = |counter: String| step(&counter, Action::Increment, 1, None);
        self.batches(counters.into_iter().map(count));
    }

    fn batches(&self, operations: impl Iterator<Item = Operation>) {
        let operations: Vec<Operation> = operations.collect();
        for part in operations.chunks(1000) {
            self.ask(Command::Batch(part.into()));
        }
    }

    pub fn reset(&self, counter: &str) {
        let counter = name(counter);
        self.ask(Command::Reset { counter });
    }

    pub fn delete(&self, counter: &str) {
        let counter = name(counter);
        self.ask(Command::Delete { counter });
    }

    /// Defines a gauge that ends at an instant.
    pub fn define_until(&self, counter: &str, end: i64) {
        self.ask(Command::Define {
            counter: name(counter),
            definition: Box::new(Definition {
                expires_at: Some(end),
                ..Definition::default()
            }),
        });
    }

    pub fn repair(&self, counter: &str, value: i64) {
        self.ask(Command::Repair {
            counter: name(counter),
            value,
            reason: None,
        });
    }

    /// Time passes, and the writer looks at it.
    pub fn pass(&self, ms: i64) {
        self.clock.advance(ms);
        self.running
            .intake
            .carry_out(PreparedBatch::default())
            .unwrap();
    }

    /// Midnight passes, and the day is closed.
    pub fn next_day(&self) {
        self.pass(DAY);
        self.archive();
    }

    pub fn archive(&self) {
        let mut archivist = Archivist::new(&self.running, self.retention, &self.metrics);
        archivist.catch_up().unwrap();
    }

    pub fn today(&self) -> Day {
        self.running.day.look().day
    }

    pub fn stop(self) {
        self.running.stop();
    }
}

/// Puts bytes that are no record where the value of a counter is, in a store that nobody has open.
pub fn damage(dir: &Path, counter: &str) {
    let lock = DataDirLock::take(dir).unwrap();
    let mut store = Store::open(&lock, &storage(dir), &Reader::default(), Some(1)).unwrap();
    let mut batch = Batch::new();
    batch.damage(Damaged::Value, &name(counter), b"no value");
    store.commit(&batch).unwrap();
    store.close().unwrap();
}

fn step(counter: &str, action: Action, amount: i64, user: Option<&str>) -> Operation {
    Operation {
        counter: name(counter),
        action,
        amount,
        user_id: user.map(|user| UserId::parse(user).unwrap()),
        session: None,
    }
}
