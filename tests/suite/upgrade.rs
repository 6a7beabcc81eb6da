//! A store of each format before this one, left by the last program of that format when it was killed, is
//! opened as it is, raised, and goes on exactly.

use std::path::Path;
use std::process::Command as Process;
use std::sync::Arc;

use counterd::calendar::{Calendar, Day};
use counterd::clock::ManualClock;
use counterd::counter::{
    Action, Applied, EventKind, Existence, Kind, OnBound, Operation, Outcome, RequestId, Reset,
    UserId,
};
use counterd::lifecycle::days_of;
use counterd::storage::backup::{Restore, restore};
use counterd::storage::{DataDirLock, Reader, RequestKey, Store};
use counterd::writer::{Answer, Command, IdempotencyKey, Request, Running, WriterOptions};

use crate::house::name;
use crate::midnight::storage;

/// A second after each was killed, by its format, in the day that began at 07:58.
const KILLED: [(u32, i64); 2] = [(1, 1_795_939_133_000), (2, 1_795_983_461_000)];

pub fn unpack(format: u32, to: &Path) {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
    let archive = format!("{data}/store-of-format-{format}.tar.gz");
    let unpacked = Process::new("tar")
        .args(["xzf", &archive, "-C"])
        .arg(to)
        .status();
    assert!(unpacked.unwrap().success());
}

fn start(dir: &Path, killed: i64) -> Running {
    let clock = Arc::new(ManualClock::new(killed));
    let calendar = Calendar::new("UTC", "07:58".parse().unwrap()).unwrap();
    let options = WriterOptions {
        min_free: Some(1 << 20),
        ..WriterOptions::new(storage(dir), clock, calendar)
    };
    Running::start(options).unwrap()
}

fn ask(running: &Running, command: Command, key: Option<IdempotencyKey>) -> Answer {
    let request = Request {
        command,
        key: key.map(Box::new),
        request_id: RequestId::Made(1),
    };
    running.intake.call(request).unwrap()
}

fn up(counter: &str, amount: i64, user: Option<&str>) -> Command {
    Command::Apply(Operation {
        counter: name(counter),
        action: Action::Increment,
        amount,
        user_id: user.map(|user| UserId::parse(user).unwrap()),
        session: None,
    })
}

fn applied(answer: &Answer) -> Applied {
    let Outcome::Applied(applied) = answer.outcome.clone() else {
        panic!("{answer:?}")
    };
    applied
}

/// The fingerprint that is kept under a key: that of the request which HTTP would make of it.
fn fingerprint(running: &Running, client_key: &str) -> u128 {
    let mut key = RequestKey::default();
    let read = running
        .reader
        .with(|tables| tables.kept(key.set(0, client_key)));
    read.unwrap().unwrap().unwrap().fingerprint
}

/// Claims that a writer on the store in `dir` knows all that the program before knew.
fn goes_on_exactly(dir: &Path, killed: i64) {
    let running = start(dir, killed);
    let online = running.table.read("online_players").unwrap();
    assert_eq!((online.value, online.revision), (6, 22));
    let event = running.table.read("event_score").unwrap();
    let definition = &event.definition;
    assert_eq!(
        (definition.kind, definition.reset, definition.on_bound),
        (Kind::Gauge, Reset::Daily, OnBound::Clamp)
    );
    assert_eq!(definition.description.as_deref(), Some("an event"));
    let old = running.table.read("old").unwrap().existence;
    assert!(matches!(old, Existence::Gone(gone) if gone.final_value == 1 && !gone.expired));

    let users = ["anna", "dora", "emil"].map(|user| up("daily_active_users", 1, Some(user)));
    let users = users.map(|user| applied(&ask(&running, user, None)));
    assert_eq!(users.clone().map(|user| user.current_value), [2, 2, 3]);
    assert_eq!(users.map(|user| user.applied), [0, 0, 1]);
    let bert = applied(&ask(&running, up("ever", 1, Some("bert")), None));
    assert_eq!((bert.current_value, bert.applied), (2, 0));
    let clamped = applied(&ask(&running, up("event_score", 100, None), None));
    assert_eq!((clamped.current_value, clamped.applied), (10, 6));
    for (key, revision) in [("clamped", 11), ("u-anna", 6)] {
        let fingerprint = fingerprint(&running, key);
        let key = IdempotencyKey {
            key: key.into(),
            fingerprint,
        };
        let again = ask(&running, up("event_score", 1, None), Some(key));
        assert!(again.replayed);
        assert_eq!(applied(&again).revision, revision);
    }

    let calendar = running.day.calendar();
    let days = |counter: &str| {
        let counter = name(counter);
        let read = running
            .reader
            .with(|tables| days_of(tables, calendar, &counter, Day::MIN, Day::MAX));
        let days = read.unwrap().into_iter();
        days.map(|past| (past.day.to_string(), past.closed, past.content.unwrap()))
            .collect::<Vec<_>>()
    };
    let [(today, false, open), (yesterday, true, closed)] = &days("event_score")[..] else {
        panic!()
    };
    assert_eq!(
        (today.as_str(), yesterday.as_str()),
        ("2026-11-29", "2026-11-28")
    );
    assert_eq!((open.record.last, open.record.operations), (10, 2));
    assert_eq!((closed.kind, closed.reset), (Kind::Gauge, Reset::Daily));
    assert_eq!((closed.record.last, closed.record.peak.value), (10, 10));
    assert_eq!(closed.events[0].kind, EventKind::Creation);
    assert_eq!(days("daily_active_users")[0].2.record.operations, 3);
    running.stop();
}

/// What the store and `ACKED` say of their format.
fn formats(dir: &Path) -> [u32; 2] {
    let acked = std::fs::read(dir.join("store/ACKED")).unwrap();
    let number = |at: usize| u64::from_be_bytes(acked[at..at + 8].try_into().unwrap());
    let newest = if number(8) > number(4096 + 8) {
        0
    } else {
        4096
    };
    let acked = u32::from_be_bytes(acked[newest + 16..newest + 20].try_into().unwrap());
    let lock = DataDirLock::take(dir).unwrap();
    let reader = Reader::default();
    let store = Store::open(&lock, &storage(dir), &reader, Some(1)).unwrap();
    let (format, merge) = store.tables().versions().unwrap();
    assert_eq!(merge, 1);
    [acked, format]
}

#[test]
fn a_store_of_a_format_before_is_raised_and_goes_on_exactly() {
    for (format, killed) in KILLED {
        let dir = tempfile::tempdir().unwrap();
        unpack(format, dir.path());
        goes_on_exactly(dir.path(), killed);
        assert_eq!(
            formats(dir.path()),
            [3, 3],
            "an older program would open it"
        );
        // What was written since stands beside what was there.
        let running = start(dir.path(), killed);
        assert_eq!(running.table.read("daily_active_users").unwrap().value, 3);
        assert_eq!(running.table.read("event_score").unwrap().value, 10);
        let again = ask(&running, up("daily_active_users", 1, Some("emil")), None);
        assert_eq!(applied(&again).applied, 0);
        if format == 2 {
            let carl = applied(&ask(&running, up("of_two", 1, Some("carl")), None));
            assert_eq!((carl.current_value, carl.applied), (1, 0));
        }
        running.stop();
    }
}

#[test]
fn a_backup_of_a_format_before_is_restored_and_goes_on_exactly() {
    let (format, killed) = KILLED[0];
    let from = tempfile::tempdir().unwrap();
    unpack(format, from.path());
    let dir = tempfile::tempdir().unwrap();
    let wanted = Restore {
        dir: from.path().join("backups"),
        backup: None,
        replace: false,
        another_store: false,
    };
    restore(dir.path(), &wanted, killed, &mut |_| Ok(())).unwrap();
    goes_on_exactly(dir.path(), killed);
    assert_eq!(
        formats(dir.path()),
        [3, 3],
        "an older program would open it"
    );
}
