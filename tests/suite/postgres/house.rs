//! A writer on a real store, with an archivist and an exporter that take their steps when told.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use counterd::calendar::{Calendar, Day};
use counterd::clock::{Clock, ManualClock};
use counterd::counter::{
    CounterName, Definition, Direction, Kind, Operation, Outcome, RequestId, Reset, UserId,
};
use counterd::export::Selection;
use counterd::export::postgres::{Days, DaysWritten, Exporter, PostgresError, PostgresOptions};
use counterd::lifecycle::{Archivist, ArchivistOptions, Retention};
use counterd::metrics::Metrics;
use counterd::writer::{Chore, Command, Request, Running, WriterOptions};

use crate::harness::Database;
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

pub fn options(database: &Database) -> PostgresOptions {
    PostgresOptions {
        url: database.url().into(),
        interval: Duration::from_millis(100),
        timeout: Duration::from_secs(20),
        export_users: true,
        unique_users_inline: 3,
    }
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
            storage: storage(dir),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            calendar: Calendar::new("UTC", "00:00".parse().unwrap()).unwrap(),
            zone_is_written: true,
            max_clock_jump_ms: 48 * HOUR,
            max_away_ms: 90 * DAY,
            auto_create: true,
            max_counters: 100_000,
            gone_for_ms: 7 * DAY,
            configured: vec![
                (name("dau"), definition(Kind::Unique, Reset::Daily)),
                (name("ever"), definition(Kind::Unique, Reset::Never)),
                (name("games"), definition(Kind::Sum, Reset::Daily)),
                (name("online"), definition(Kind::Gauge, Reset::Never)),
            ],
            recent_users: 1000,
            min_free: Some(1 << 20),
            followed_counters: 10,
            runtimes: 1,
            queue: 100_000,
            metrics: Arc::clone(&metrics),
        })
        .unwrap();
        Self {
            running,
            clock,
            metrics,
            retention: Retention {
                history_days: 90,
                user_days: 7,
                max_unexported_days: 30,
                sample_days: 14,
                exports: true,
            },
        }
    }

    pub fn exporter(&self, options: PostgresOptions) -> Exporter {
        Exporter::new(&self.running, &self.metrics, options).unwrap()
    }

    pub fn days(&self, options: PostgresOptions) -> Days {
        Days::new(&self.running, Arc::clone(&self.metrics), options)
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
        self.ask(Command::Apply(Operation {
            counter: name(counter),
            direction: Direction::Increment,
            amount,
            user_id: None,
        }));
    }

    pub fn down(&self, counter: &str, amount: i64) {
        self.ask(Command::Apply(Operation {
            counter: name(counter),
            direction: Direction::Decrement,
            amount,
            user_id: None,
        }));
    }

    pub fn users<T: AsRef<str>>(&self, counter: &str, users: impl IntoIterator<Item = T>) {
        let operations: Vec<Operation> = users
            .into_iter()
            .map(|user| Operation {
                counter: name(counter),
                direction: Direction::Increment,
                amount: 1,
                user_id: Some(UserId::parse(user.as_ref()).unwrap()),
            })
            .collect();
        for part in operations.chunks(1000) {
            self.ask(Command::Batch(part.into()));
        }
    }

    /// Counts each of these once.
    pub fn create(&self, counters: impl IntoIterator<Item = String>) {
        let operations: Vec<Operation> = counters
            .into_iter()
            .map(|counter| Operation {
                counter: name(&counter),
                direction: Direction::Increment,
                amount: 1,
                user_id: None,
            })
            .collect();
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

    /// Time passes, and the writer looks at it.
    pub fn pass(&self, ms: i64) {
        self.clock.advance(ms);
        self.running.intake.carry_out(Chore::default()).unwrap();
    }

    /// Midnight passes, and the day is closed.
    pub fn next_day(&self) {
        self.pass(DAY);
        self.archive();
    }

    pub fn archive(&self) {
        let options = ArchivistOptions {
            retention: self.retention,
            metrics: Arc::clone(&self.metrics),
        };
        Archivist::new(&self.running, options).catch_up().unwrap();
    }

    pub fn today(&self) -> Day {
        self.running.day.look().day
    }

    pub fn stop(self) {
        self.running.stop();
    }
}
