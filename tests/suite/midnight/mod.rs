//! Local midnight under load: each acknowledged operation is in the period that its answer names,
//! with no job having to run. By the manual clock many times over, and once with the real binary
//! under a shifted wall clock.

mod shifted;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use counterd::calendar::{Calendar, Day};
use counterd::clock::{Clock, ManualClock};
use counterd::counter::{
    CounterName, Definition, Direction, Kind, Operation, Outcome, RequestId, Reset, UserId,
};
use counterd::storage::{DataDirLock, Family, Reader, StorageOptions, Store, keys, value};
use counterd::writer::{Command, Request, Running, WriterOptions};

use crate::checker::{Account, Answer, Done, History, Intent, Reading, Step, Try};
use crate::harness::{Dice, PATIENCE, at_once, eventually};

/// 2026-11-24T23:00:00Z, which is midnight in Berlin.
const MIDNIGHT: i64 = 1_795_561_200_000;
const NIGHTS: i64 = 60;

fn storage(dir: &Path) -> StorageOptions {
    StorageOptions {
        data_dir: dir.to_owned(),
        memory: 32 << 20,
        reserve: Some(24 << 20),
    }
}

fn start(dir: &Path, clock: &Arc<ManualClock>) -> Running {
    let daily = |kind| Definition {
        kind,
        reset: Reset::Daily,
        ..Definition::default()
    };
    let name = |text: &str| CounterName::parse(text).unwrap();
    let options = WriterOptions {
        storage: storage(dir),
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        calendar: Calendar::new("Europe/Berlin", "00:00".parse().unwrap()).unwrap(),
        zone_is_written: true,
        max_clock_jump_ms: 48 * 3_600_000,
        max_away_ms: 90 * 24 * 3_600_000,
        auto_create: true,
        max_counters: 100,
        gone_for_ms: 3_600_000,
        configured: vec![
            (name("sum"), daily(Kind::Sum)),
            (name("users"), daily(Kind::Unique)),
        ],
        recent_users: 1000,
        min_free: Some(1 << 20),
        runtimes: 1,
        queue: 1000,
        metrics: Arc::default(),
    };
    Running::start(options).unwrap()
}

/// The closing values of all days, from the day records.
pub fn closing_values(data_dir: &Path, memory: StorageOptions) -> BTreeMap<Account, i64> {
    let lock = DataDirLock::take(data_dir).unwrap();
    let store = Store::open(&lock, &memory, &Arc::default(), &Reader::default(), 1).unwrap();
    let mut found = BTreeMap::new();
    let visit = |key: &[u8], bytes: &[u8]| {
        if let Some((name, None)) = keys::day_entry(key) {
            let day = Day::from_days(keys::leading_day(key).unwrap()).unwrap();
            let record = value::decode_day_record(bytes).unwrap();
            found.insert((name.to_string(), Some(day.to_string())), record.last);
        }
        ControlFlow::Continue(())
    };
    store.tables().scan(Family::Days, &[], None, visit).unwrap();
    found
}

#[test]
fn midnight_under_load_puts_each_operation_in_the_period_it_names() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(MIDNIGHT - 500));
    let running = start(dir.path(), &clock);
    let (answered, over, moment) = (AtomicU64::new(0), AtomicBool::new(false), AtomicU64::new(0));
    let now = || moment.fetch_add(1, Ordering::SeqCst);
    let client = |number: usize| {
        let mut dice = Dice::new(number as u64);
        let mut history = History::default();
        while !over.load(Ordering::SeqCst) {
            let user = (dice.below(2) == 0).then(|| format!("user-{}", dice.below(40)));
            let counter = if user.is_some() { "users" } else { "sum" };
            let operation = Operation {
                counter: CounterName::parse(counter).unwrap(),
                direction: Direction::Increment,
                amount: 1,
                user_id: user.as_deref().map(|user| UserId::parse(user).unwrap()),
            };
            let request = Request {
                command: Command::Apply(operation),
                key: None,
                request_id: RequestId::Made(1),
            };
            let begun = now();
            let outcome = running.intake.call(request).unwrap().outcome;
            let ended = now();
            let Outcome::Applied(applied) = outcome else {
                panic!("{outcome:?}")
            };
            let done = Done {
                current_value: applied.current_value,
                counted: applied.counted,
                revision: applied.revision,
                period: applied.period.map(|day| day.to_string()),
            };
            let step = Step {
                counter: counter.to_owned(),
                delta: 1,
                user,
            };
            let tries = vec![Try {
                begun,
                ended,
                answer: Answer::Counted(vec![done]),
            }];
            history.intents.push(Intent {
                steps: vec![step],
                key: None,
                tries,
            });
            answered.fetch_add(1, Ordering::SeqCst);
        }
        history
    };
    // A reader sees the new period and 0 from midnight on, whether or not anybody counts.
    let reader = |history: &mut History| {
        let begun = now();
        let Some(reading) = running.table.read("sum") else {
            return;
        };
        // After the reading: no value is of a later day than the one seen then.
        let day = running.day.look().day;
        let ended = now();
        let (value, revision) = (
            reading.value_on(day),
            if reading.period == Some(day) {
                reading.revision
            } else {
                0
            },
        );
        let period = reading.period_on(day).map(|day| day.to_string());
        history.readings.push(Reading {
            counter: "sum".to_owned(),
            begun,
            ended,
            value,
            revision,
            period,
        });
    };
    let histories = at_once(10, |number| {
        if number < 8 {
            return client(number);
        }
        let mut history = History::default();
        if number == 8 {
            while !over.load(Ordering::SeqCst) {
                reader(&mut history);
            }
            return history;
        }
        for _ in 0..NIGHTS {
            // Up to midnight and over it in small steps, while answers come; then a day passes.
            for _ in 0..10 {
                let goal = answered.load(Ordering::SeqCst) + 4;
                eventually("answers come", PATIENCE, || {
                    (answered.load(Ordering::SeqCst) >= goal).then_some(())
                });
                clock.advance(100);
            }
            clock.advance(24 * 3_600_000 - 1000);
        }
        over.store(true, Ordering::SeqCst);
        history
    });
    running.stop();
    let mut history = History::default();
    for one in histories {
        history.intents.extend(one.intents);
        history.readings.extend(one.readings);
    }
    let mut finals = closing_values(dir.path(), storage(dir.path()));
    finals.retain(|_, value| *value != 0);
    assert!(finals.len() > 90, "{} days of counters", finals.len());
    claim_days_only_advance(&history);
    let violations = history.check(&finals);
    assert_eq!(
        violations.iter().take(5).collect::<Vec<_>>(),
        Vec::<&crate::checker::Violation>::new()
    );
}

/// In the order of revisions, no period comes back.
pub fn claim_days_only_advance(history: &History) {
    let answers = history
        .intents
        .iter()
        .filter_map(|intent| intent.acknowledged())
        .flatten();
    let mut counted: Vec<(u64, &str)> = answers
        .filter(|done| done.counted)
        .filter_map(|done| Some((done.revision, done.period.as_deref()?)))
        .collect();
    counted.sort_unstable();
    assert!(
        counted.is_sorted_by_key(|(_, period)| *period),
        "a day came back"
    );
}
