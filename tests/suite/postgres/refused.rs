//! Values that the database refuses: they cost a bounded part of its time, nothing is claimed to be there
//! that is not, and each is there once it is taken.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::{daily, database, define, options, read};
use crate::harness::{PATIENCE, eventually};
use crate::house::{DAY, House, NOON};

#[test]
fn more_refused_rows_than_are_remembered_are_there_once_they_are_taken() {
    let Some(database) =
        database("more_refused_rows_than_are_remembered_are_there_once_they_are_taken")
    else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    let mut exporter = house.exporter(options(&database));
    exporter.catch_up().unwrap();
    database.sql("ALTER TABLE counters ADD CONSTRAINT no_c CHECK (name NOT LIKE 'c%')");
    house.create((0..1005).map(|number| format!("c{number}")));
    house.clock.advance(1000);
    exporter.catch_up().unwrap();
    assert_eq!(read(&database, "games").as_of, Some(NOON));
    database.sql("ALTER TABLE counters DROP CONSTRAINT no_c");
    exporter.catch_up().unwrap();
    assert_eq!(
        database.number("SELECT count(*) FROM counters WHERE name LIKE 'c%'"),
        1005
    );
    assert_eq!(read(&database, "games").as_of, Some(NOON + 1000));
    house.stop();
}

#[test]
fn refusals_are_bounded_and_told_and_end() {
    let Some(database) = database("refusals_are_bounded_and_told_and_end") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    let mut exporter = house.exporter(options(&database));
    exporter.catch_up().unwrap();
    let status = exporter.status();
    let report = || status.report(house.running.table.revision());
    assert_eq!((report().error, report().revisions), (None, 0));
    database.sql("ALTER TABLE counters ADD CONSTRAINT no_c CHECK (name NOT LIKE 'c%')");
    house.create((0..400).flat_map(|number| [format!("c{number}"), format!("d{number}")]));
    house.clock.advance(1000);
    let refused = || house.metrics.export.values_refused.get();
    let mut in_rounds = Vec::new();
    for _ in 0..40 {
        let before = refused();
        exporter.catch_up().unwrap();
        in_rounds.push(refused() - before);
    }
    assert!(in_rounds.iter().all(|&times| times <= 300), "{in_rounds:?}");
    let late: u64 = in_rounds[20..].iter().sum();
    assert!(late <= 3 * 400, "ever more seldom: {in_rounds:?}");
    assert_eq!(
        database.number("SELECT count(*) FROM counters WHERE name ~ '^d[0-9]'"),
        400,
        "what is taken waits for nothing"
    );

    let told = report();
    let error = told.error.unwrap();
    assert!(error.contains("400") && error.contains("no_c"), "{error}");
    assert_eq!((told.up, told.revisions), (true, 400));
    assert!(told.seconds > 0.0);
    assert_eq!(read(&database, "games").as_of, Some(NOON));
    // Their changes are no reason to try them more often.
    let before = refused();
    for _ in 0..3 {
        house.create((0..400).map(|number| format!("c{number}")));
        exporter.catch_up().unwrap();
    }
    assert!(refused() - before < 3 * 300, "{}", refused() - before);

    database.sql("ALTER TABLE counters DROP CONSTRAINT no_c");
    let rounds = (1..=100).find(|_| {
        exporter.catch_up().unwrap();
        report().error.is_none()
    });
    assert!(rounds.is_some(), "{:?}", report());
    assert_eq!(
        database.number("SELECT sum(current_value) FROM counters WHERE name LIKE 'c%'"),
        1600
    );
    assert_eq!((report().revisions, report().seconds), (0, 0.0));
    assert_eq!(read(&database, "games").as_of, Some(NOON + 1000));
    house.stop();
}

#[test]
fn a_refused_row_of_a_counter_that_is_forgotten_is_gone() {
    let Some(database) = database("a_refused_row_of_a_counter_that_is_forgotten_is_gone") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    let mut exporter = house.exporter(options(&database));
    house.up("event", 7);
    exporter.catch_up().unwrap();
    database.sql("ALTER TABLE counters ADD CHECK (name <> 'event') NOT VALID");
    house.delete("event");
    exporter.catch_up().unwrap();
    assert_eq!(
        read(&database, "event").values[0].as_ref().unwrap().value,
        7
    );
    for _ in 0..9 {
        house.next_day();
    }
    assert_eq!(house.running.table.read("event"), None);
    exporter.catch_up().unwrap();
    let read = read(&database, "event");
    assert_eq!((read.as_of, &read.values[0]), (Some(NOON + 9 * DAY), &None));
    house.stop();
}

#[test]
fn a_refused_row_that_is_taken_at_midnight_is_of_the_new_day() {
    let test = "a_refused_row_that_is_taken_at_midnight_is_of_the_new_day";
    let Some(database) = database(test) else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    let mut exporter = house.exporter(options(&database));
    exporter.catch_up().unwrap();
    database.sql("ALTER TABLE counters ADD CONSTRAINT no_c CHECK (name NOT LIKE 'c%')");
    // More than one statement has; the last one is of its own.
    house.create((1000..3000).map(|number| format!("c{number}")));
    define(&house, "c3000", daily(None));
    exporter.catch_up().unwrap();
    database.sql("ALTER TABLE counters DROP CONSTRAINT no_c");

    let mut holder = Command::new("psql")
        .args(["-X", "-q", &database.url()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut says = holder.stdin.take().unwrap();
    says.write_all(b"SELECT pg_advisory_lock(1668248942, 1);\n")
        .unwrap();
    let locks = |granted: bool| {
        let count = format!(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted = {granted}"
        );
        eventually("the lock is held, or waited for", PATIENCE, || {
            (database.number(&count) == 1).then_some(())
        });
    };
    locks(true);
    std::thread::scope(|scope| {
        let round = scope.spawn(|| exporter.catch_up());
        // The first statement of the round waits.
        locks(false);
        house.pass(DAY);
        house.up("c3000", 5);
        drop(says);
        round.join().unwrap().unwrap();
    });
    holder.wait().unwrap();
    let row = "SELECT current_value, period FROM counters
               JOIN counterd_counters ON counter_name = name WHERE name = 'c3000'";
    assert_eq!(database.sql(row), format!("5|{}", house.today()));
    house.stop();
}
