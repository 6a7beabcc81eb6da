//! A database that is absent, slow, stopped, full or gone in the middle: the store is none the worse,
//! and the rows end equal to its records.

use std::time::{Duration, Instant};

use counterd::export::postgres::PostgresError;
use counterd::rounds::RoundStatus;

use crate::harness::{Database, PATIENCE, SmallDisk, eventually, skipped};

use super::database;
use super::days::claim_equal;
use super::options;
use crate::house::{House, NOON};

fn thousands(count: u32) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("user-{number:08}"))
}

/// Claims that the users of that day are in the table, each once.
#[track_caller]
fn claim_users(database: &Database, date: &str, count: i64) {
    let of_day =
        format!("FROM counter_history_users WHERE counter_name = 'dau' AND date = '{date}'");
    assert_eq!(database.number(&format!("SELECT count(*) {of_day}")), count);
    assert_eq!(
        database.sql(&format!(
            "SELECT final_value, metadata ->> 'users' FROM counter_history
             WHERE counter_name = 'dau' AND date = '{date}'"
        )),
        format!("{count}|table")
    );
}

fn wait_up(status: &RoundStatus, house: &House) {
    eventually("the export has caught up", 2 * PATIENCE, || {
        let report = status.report(house.running.table.revision());
        (report.up && report.revisions == 0 && house.metrics.export.days_waiting.get() == 0)
            .then_some(())
    });
}

#[test]
fn a_copy_that_is_cut_off_anywhere_leaves_exact_rows_in_the_end() {
    let Some(mut database) =
        database("a_copy_that_is_cut_off_anywhere_leaves_exact_rows_in_the_end")
    else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    house.exporter(options(&database)).catch_up().unwrap();
    // So slow that there is time to cut it off.
    database.sql(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
           $$BEGIN PERFORM pg_sleep(0.00005); RETURN NEW; END$$;
         CREATE TRIGGER slow BEFORE INSERT ON counter_history_users
           FOR EACH ROW EXECUTE FUNCTION slow()",
    );
    house.up("games", 3);
    house.users("dau", thousands(6_000));
    house.next_day();
    for cut in ["the server", "the connection", "the exporter"] {
        let exporter = house.exporter(options(&database));
        let status = exporter.status();
        let running = exporter.start().unwrap();
        eventually("a copy is in its middle", PATIENCE, || {
            let copied = database.try_sql(
                "SELECT tuples_processed FROM pg_stat_progress_copy WHERE tuples_processed > 300",
            );
            copied.is_ok_and(|copied| !copied.is_empty()).then_some(())
        });
        match cut {
            "the server" => {
                database.crash();
                eventually("it is noticed", PATIENCE, || {
                    status.report(0).error.filter(|error| !error.is_empty())
                });
                database.start();
            }
            "the connection" => {
                database.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_progress_copy");
                eventually("it is noticed", PATIENCE, || status.report(0).error);
            }
            _ => {}
        }
        running.end();
        assert_eq!(
            database.number("SELECT count(*) FROM counter_history_users"),
            0,
            "{cut}: nothing of a copy that was cut off is seen"
        );
    }
    database.sql("DROP TRIGGER slow ON counter_history_users");
    let mut exporter = house.exporter(options(&database));
    exporter.catch_up().unwrap();
    claim_users(&database, "2026-11-24", 6_000);
    claim_equal(&database, &house);
    house.stop();
}

#[test]
fn while_it_is_stopped_counting_goes_on_and_after_it_everything_is_there() {
    let Some(mut database) =
        database("while_it_is_stopped_counting_goes_on_and_after_it_everything_is_there")
    else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    let mut short = options(&database);
    short.timeout = Duration::from_secs(1);
    let exporter = house.exporter(short);
    let status = exporter.status();
    let running = exporter.start().unwrap();
    house.up("games", 1);
    wait_up(&status, &house);

    database.pause();
    for _ in 0..50 {
        house.up("games", 1);
    }
    house.next_day();
    let report = eventually("it is noticed", PATIENCE, || {
        let report = status.report(house.running.table.revision());
        (!report.up).then_some(report)
    });
    assert!(report.error.unwrap().contains("does not answer"));
    assert!(report.revisions >= 50 && report.seconds > 0.0);
    database.resume();
    wait_up(&status, &house);
    claim_equal(&database, &house);

    database.crash();
    house.up("games", 7);
    house.next_day();
    eventually("it is noticed", PATIENCE, || status.report(0).error);
    database.start();
    wait_up(&status, &house);
    claim_equal(&database, &house);
    assert_eq!(
        database.number("SELECT final_value FROM counter_history WHERE counter_name = 'games' AND date = '2026-11-25'"),
        7
    );

    // Ended while the database is stopped: at once.
    database.pause();
    house.up("games", 1);
    eventually("it waits", PATIENCE, || status.report(0).error);
    let begun = Instant::now();
    running.end();
    assert!(begun.elapsed() < Duration::from_secs(10));
    database.resume();
    house.stop();
}

#[test]
fn a_database_that_takes_no_writes_is_filled_once_it_does() {
    let Some(database) = database("a_database_that_takes_no_writes_is_filled_once_it_does") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    let mut exporter = house.exporter(options(&database));
    house.up("games", 1);
    exporter.catch_up().unwrap();
    let read_only = |on: &str| {
        database.sql(&format!(
            "ALTER SYSTEM SET default_transaction_read_only = {on}"
        ));
        database.sql("SELECT pg_reload_conf()");
    };
    read_only("on");
    eventually("the setting is in force", PATIENCE, || {
        let setting = database.sql("SHOW default_transaction_read_only");
        (setting == "on").then_some(())
    });
    house.up("games", 1);
    house.users("dau", ["a", "b", "c", "d"]);
    house.next_day();
    let error = eventually("it is refused", PATIENCE, || exporter.catch_up().err());
    assert!(
        matches!(&error, PostgresError::Refused { code, .. } if code == "25006"),
        "{error}"
    );
    let writing = format!(
        "{}?options=-c%20default_transaction_read_only%3Doff",
        database.url()
    );
    for statement in [
        "ALTER SYSTEM RESET default_transaction_read_only",
        "SELECT pg_reload_conf()",
    ] {
        database.sql_at(&writing, statement).unwrap();
    }
    eventually("it is taken again", PATIENCE, || exporter.catch_up().ok());
    claim_equal(&database, &house);
    house.stop();
}

#[test]
fn a_database_without_space_is_filled_once_there_is_some() {
    let test = "a_database_without_space_is_filled_once_there_is_some";
    if let Err(reason) = Database::new() {
        return skipped(test, &reason);
    }
    let disk = match SmallDisk::new(200) {
        Ok(disk) => disk,
        Err(reason) => return skipped(test, &reason),
    };
    let home = tempfile::tempdir().unwrap();
    let database = Database::within(home, disk.path().join("data")).unwrap();
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    let mut exporter = house.exporter(options(&database));
    exporter.catch_up().unwrap();
    // PostgreSQL ends itself when its log finds no room: that has its space already.
    database.sql("CREATE TABLE ballast AS SELECT repeat('x', 1000) AS x FROM generate_series(1, 30000); CHECKPOINT; DROP TABLE ballast; CHECKPOINT");
    house.up("games", 5);
    house.users("dau", thousands(100_000));
    house.next_day();
    disk.fill(512 << 10);
    let error = exporter.catch_up().unwrap_err();
    assert!(!matches!(error, PostgresError::Write(_)), "{error}");
    assert_eq!(house.running.mode.refuses(), None, "counting goes on");
    house.up("games", 1);
    disk.empty();
    let mut database = database;
    if database.try_sql("SELECT 1").is_err() {
        database.crash();
        database.start();
    }
    eventually("it is taken again", PATIENCE, || exporter.catch_up().ok());
    claim_users(&database, "2026-11-24", 100_000);
    claim_equal(&database, &house);
    drop(database);
    house.stop();
}

#[test]
fn what_takes_no_row_costs_the_store_no_time() {
    let Some(database) = database("what_takes_no_row_costs_the_store_no_time") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    let mut short = options(&database);
    short.timeout = Duration::from_secs(1);
    let mut exporter = house.exporter(short);
    house.up("games", 1);
    exporter.catch_up().unwrap();
    house.up("games", 1);
    // Somebody holds the table for long.
    std::thread::scope(|scope| {
        let holder = scope.spawn(|| {
            database.sql("BEGIN; LOCK TABLE counters; SELECT pg_sleep(4); COMMIT");
        });
        eventually("the table is held", PATIENCE, || {
            let held = database.number("SELECT count(*) FROM pg_locks WHERE relation = 'counters'::regclass AND mode = 'AccessExclusiveLock' AND granted");
            (held > 0).then_some(())
        });
        let error = exporter.catch_up().unwrap_err();
        assert!(
            matches!(&error, PostgresError::Refused { code, .. } if code == "57014" || code == "55P03"),
            "{error}"
        );
        house.up("games", 1);
        holder.join().unwrap();
    });
    exporter.catch_up().unwrap();
    assert_eq!(
        database.number("SELECT current_value FROM counters WHERE name = 'games'"),
        3
    );
    house.stop();
}
