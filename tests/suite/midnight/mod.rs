//! Local midnight under load: each acknowledged operation is in the period that its answer names,
//! with no job having to run. By the manual clock many times over, and once with the real binary
//! under a shifted wall clock.

mod shifted;

pub use shifted::ShiftedClock;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use counterd::calendar::{Calendar, Day};
use counterd::clock::{Clock as _, ManualClock, SystemClock};
use counterd::counter::{
    Action, ClosedDay, CounterName, Definition, Kind, Operation, Outcome, RequestId, Reset, UserId,
};
use counterd::lifecycle::{Archivist, Retention};
use counterd::storage::{DataDirLock, DayPart, Reader, StorageOptions, Store, Tables};
use counterd::writer::{Command, Request, Running, WriterOptions};

use crate::checker::{Account, Answer, Done, History, Intent, Reading, Step, Try};
use crate::harness::{Dice, PATIENCE, Setup, at_once, eventually};

/// 2026-11-24T23:00:00Z, which is midnight in Berlin.
const MIDNIGHT: i64 = 1_795_561_200_000;
const NIGHTS: i64 = 60;

/// How the stores of these tests are opened.
pub fn storage(dir: &Path) -> StorageOptions {
    StorageOptions {
        data_dir: dir.to_owned(),
        memory: 32 << 20,
        shared: None,
        reserve: Some(24 << 20),
    }
}

fn start(dir: &Path, clock: &Arc<ManualClock>, calendar: &Calendar) -> Running {
    let daily = |kind| Definition {
        kind,
        reset: Reset::Daily,
        ..Definition::default()
    };
    let name = |text: &str| CounterName::parse(text).unwrap();
    let options = WriterOptions {
        max_counters: 100,
        gone_for_ms: 3_600_000,
        configured: vec![
            (name("sum"), daily(Kind::Sum)),
            (name("users"), daily(Kind::Unique)),
        ],
        recent_users: 1000,
        min_free: Some(1 << 20),
        queue: 1000,
        ..WriterOptions::new(storage(dir), clock.clone(), calendar.clone())
    };
    Running::start(options).unwrap()
}

/// The closing values of all days, from history and the day records, which must agree.
pub fn closing_values(data_dir: &Path, memory: StorageOptions) -> BTreeMap<Account, i64> {
    let lock = DataDirLock::take(data_dir).unwrap();
    let store = Store::open(&lock, &memory, &Reader::default(), Some(1)).unwrap();
    closing_values_in(store.tables())
}

/// The same of a server that has ended, with either engine.
pub fn closing_values_of(setup: &Setup) -> BTreeMap<Account, i64> {
    let mut options = storage(setup.data());
    options.shared = setup.shared_log();
    if options.shared.is_none() {
        return closing_values(setup.data(), options);
    }
    let calendar = Calendar::new("UTC", "00:00".parse().unwrap()).unwrap();
    let clock = Arc::new(SystemClock);
    let running = Running::start(WriterOptions::new(options, clock, calendar)).unwrap();
    let found = running.reader.with(|tables| Ok(closing_values_in(tables)));
    running.stop();
    found.unwrap()
}

fn closing_values_in(tables: &Tables) -> BTreeMap<Account, i64> {
    let mut found = BTreeMap::new();
    let visit = |day: Day, name: CounterName, part| {
        if let DayPart::Record(record) = part {
            let of = (name.to_string(), Some(day.to_string()));
            found.insert(of, record.unwrap().last);
        }
    };
    tables.day_parts(Day::MIN..=Day::MAX, visit).unwrap();
    let mut after = None;
    while let Some(name) = tables.next_in_history(after.as_ref()).unwrap() {
        let visit = |day: Day, closed: Result<ClosedDay, _>| {
            let last = closed.unwrap().record.last;
            let before = found.insert((name.to_string(), Some(day.to_string())), last);
            assert!(
                before.is_none_or(|before| before == last),
                "{name} of {day}"
            );
        };
        tables.history(&name, Day::MIN..=Day::MAX, visit).unwrap();
        after = Some(name);
    }
    found
}

/// Where and when clocks change in a way that matters to days: zone, day start, the day before.
const NIGHTS_TO_SEE: [(&str, &str, &str); 11] = [
    ("America/Sao_Paulo", "00:00", "2015-10-16"),
    ("America/Havana", "00:00", "2026-03-06"),
    ("America/Havana", "00:00", "2026-10-30"),
    ("Asia/Amman", "00:00", "2021-03-25"),
    ("Asia/Amman", "00:00", "2021-10-28"),
    ("Pacific/Apia", "00:00", "2011-12-28"),
    ("America/Santiago", "00:00", "2026-09-04"),
    ("Australia/Lord_Howe", "02:00", "2026-04-03"),
    ("America/Vancouver", "00:00", "2026-10-30"),
    // A day of 23 hours, and one of 25.
    ("Europe/Berlin", "00:00", "2026-03-27"),
    ("Europe/Berlin", "04:00", "2026-10-23"),
];

#[test]
fn midnight_under_load_loses_nothing() {
    let first = "2026-11-24".parse().unwrap();
    let calendar = Calendar::new("Europe/Berlin", "00:00".parse().unwrap()).unwrap();
    let days = nights_under_load(&calendar, first, NIGHTS);
    assert!(days > 90, "{days} days of counters");
}

#[test]
fn midnight_under_load_loses_nothing_where_clocks_change() {
    for (zone, day_start, first) in NIGHTS_TO_SEE {
        let calendar = Calendar::new(zone, day_start.parse().unwrap()).unwrap();
        let days = nights_under_load(&calendar, first.parse().unwrap(), 5);
        assert!(days >= 8, "{zone}: {days} days of counters");
    }
}

/// Counts over that many midnights from the end of `first` on, while days are closed beside; gives
/// how many days of counters came of it.
fn nights_under_load(calendar: &Calendar, first: Day, nights: i64) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(calendar.end_of(first) - 500));
    let running = start(dir.path(), &clock, calendar);
    let retention = Retention::default();
    let metrics = Arc::default();
    let archivist = Archivist::new(&running, retention, &metrics);
    let archivist = archivist.start().unwrap();
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
                action: Action::Increment,
                amount: 1,
                user_id: user.as_deref().map(|user| UserId::parse(user).unwrap()),
                session: None,
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
                counted: applied.effect.counted(),
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
        let moment = running.day.moment();
        let day = moment.today.day;
        let seen = reading.seen(&moment, running.day.calendar()).unwrap();
        let ended = now();
        let (value, revision) = (
            seen.value,
            if reading.period == Some(day) {
                reading.revision
            } else {
                0
            },
        );
        let period = seen.period.map(|day| day.to_string());
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
        for _ in 0..nights {
            // Up to midnight and over it in small steps, while answers come; then a day passes.
            for _ in 0..10 {
                let goal = answered.load(Ordering::SeqCst) + 4;
                eventually("answers come", PATIENCE, || {
                    (answered.load(Ordering::SeqCst) >= goal).then_some(())
                });
                clock.advance(100);
            }
            let next = calendar.next_boundary(clock.wall_ms()) - 500;
            clock.advance(next - clock.wall_ms());
        }
        over.store(true, Ordering::SeqCst);
        history
    });
    archivist.end();
    running.stop();
    let mut history = History::default();
    for one in histories {
        history.intents.extend(one.intents);
        history.readings.extend(one.readings);
    }
    let mut finals = closing_values(dir.path(), storage(dir.path()));
    finals.retain(|_, value| *value != 0);
    claim_days_only_advance(&history);
    let violations = history.check(&finals);
    assert_eq!(
        violations.iter().take(5).collect::<Vec<_>>(),
        Vec::<&crate::checker::Violation>::new(),
        "{} from {first} on",
        calendar.zone_name()
    );
    finals.len()
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
