//! Closed days: each row once, equal to the store's record, with its users where they belong.

use counterd::export::Selection;
use counterd::export::files::{self, Content, FileForm};
use serde_json::{Value, json};

use crate::harness::Database;

use super::database;
use super::options;
use crate::house::{DAY, HOUR, House, NOON};

fn row(database: &Database, counter: &str, date: &str) -> Value {
    let text = database.sql(&format!(
        "SELECT jsonb_build_object('final', final_value, 'users', unique_users, 'metadata', metadata)
         FROM counter_history WHERE counter_name = '{counter}' AND date = '{date}'"
    ));
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

fn users(database: &Database, counter: &str, date: &str) -> Vec<String> {
    let text = database.sql(&format!(
        "SELECT user_id FROM counter_history_users
         WHERE counter_name = '{counter}' AND date = '{date}' ORDER BY user_id"
    ));
    text.lines().map(ToOwned::to_owned).collect()
}

/// Claims that history in the database is the store's, row by row.
#[track_caller]
pub fn claim_equal(database: &Database, house: &House) {
    let selection = Selection {
        from: "2000-01-01".parse().unwrap(),
        to: house.today().previous(),
        counter: None,
        include_open: false,
    };
    let mut lines = String::new();
    let mut put = |text: String, _| {
        lines.push_str(&text);
        Ok(())
    };
    let (form, content) = (FileForm::Jsonl, Content::Days);
    files::write(&house.running, selection, form, content, &mut put).unwrap();
    let mut expected: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let found = database.sql(
        "SELECT (metadata - 'users') || jsonb_build_object('counter', counter_name)
         FROM counter_history WHERE (metadata ->> 'final_value')::bigint = final_value",
    );
    let mut found: Vec<Value> = found
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let key = |day: &Value| (day["counter"].to_string(), day["date"].to_string());
    expected.sort_by_key(key);
    found.sort_by_key(key);
    assert_eq!(found, expected);
    assert_eq!(
        database.number("SELECT count(*) FROM counter_history"),
        i64::try_from(expected.len()).unwrap()
    );
}

#[test]
fn closed_days_are_the_stores_records_with_the_users_where_they_belong() {
    let Some(database) =
        database("closed_days_are_the_stores_records_with_the_users_where_they_belong")
    else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    let mut exporter = house.exporter(options(&database));
    house.up("games", 5);
    house.up("online", 9);
    house.pass(HOUR);
    house.down("online", 4);
    house.users("ever", ["a", "b"]);
    house.users("dau", ["before", "the", "reset"]);
    house.reset("dau");
    house.users("dau", ["ü", "a,b", "\"q\""]);
    for number in 0..600 {
        house.up(&format!("many-{number}"), 1);
    }
    house.next_day();
    house.users("dau", ["ü", "\\N", "x'y", "{z}"]);
    house.next_day();
    exporter.catch_up().unwrap();
    claim_equal(&database, &house);

    let day = row(&database, "dau", "2026-11-24");
    assert_eq!(day["final"], 3);
    assert_eq!(
        day["users"],
        json!(["\"q\"", "a,b", "ü"]),
        "in bytes' order"
    );
    assert_eq!(day["metadata"]["users"], "inline");
    assert_eq!(day["metadata"]["generations"], 2);
    assert!(users(&database, "dau", "2026-11-24").is_empty());

    let day = row(&database, "dau", "2026-11-25");
    assert_eq!((&day["final"], &day["users"]), (&json!(4), &Value::Null));
    assert_eq!(day["metadata"]["users"], "table");
    assert_eq!(
        users(&database, "dau", "2026-11-25"),
        ["\\N", "x'y", "{z}", "ü"]
    );

    let day = row(&database, "ever", "2026-11-24");
    assert_eq!((&day["final"], &day["users"]), (&json!(2), &Value::Null));
    assert_eq!(day["metadata"]["users"], "none of a day");
    let day = row(&database, "online", "2026-11-24");
    assert_eq!(
        (
            &day["final"],
            &day["metadata"]["peak"],
            &day["metadata"]["peak_at"]
        ),
        (&json!(5), &json!(9), &json!("2026-11-24T12:00:00.000Z"))
    );
    assert_eq!(day["metadata"].get("users"), None);

    // Again, by another exporter and by hand: nothing changes.
    let before = database.sql("SELECT xmin, * FROM counter_history ORDER BY id");
    house.exporter(options(&database)).catch_up().unwrap();
    for day in ["2026-11-24", "2026-11-25"] {
        let done = house.export(options(&database), day, false).unwrap();
        assert_eq!(
            (done.written, done.set_aside, done.users),
            (0, 0, 0),
            "{day}"
        );
        assert!(done.unchanged > 0);
    }
    assert_eq!(
        database.sql("SELECT xmin, * FROM counter_history ORDER BY id"),
        before
    );
    assert_eq!(
        database.number("SELECT last_value FROM counter_history_id_seq"),
        database.number("SELECT count(*) FROM counter_history"),
        "each row took one number"
    );
    house.stop();
}

#[test]
fn users_are_left_out_when_they_are_not_to_be_exported() {
    let Some(database) = database("users_are_left_out_when_they_are_not_to_be_exported") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    house.users("dau", ["a", "b", "c", "d"]);
    house.next_day();
    house.exporter(options(&database)).catch_up().unwrap();
    assert_eq!(users(&database, "dau", "2026-11-24").len(), 4);
    let mut private = options(&database);
    private.export_users = false;
    let done = house.export(private.clone(), "2026-11-24", false).unwrap();
    assert_eq!(
        (done.written, done.unchanged),
        (1, 3),
        "the row is made equal"
    );
    assert_eq!(
        database.number("SELECT count(*) FROM counter_history_users"),
        0
    );
    let day = row(&database, "dau", "2026-11-24");
    assert_eq!(day["metadata"]["users"], "not exported");
    let done = house.export(private, "2026-11-24", false).unwrap();
    assert_eq!((done.written, done.unchanged), (0, 4));
    house.stop();
}

#[test]
fn a_refused_row_is_set_aside_and_the_rest_of_the_day_goes_on() {
    let Some(database) = database("a_refused_row_is_set_aside_and_the_rest_of_the_day_goes_on")
    else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    let mut exporter = house.exporter(options(&database));
    exporter.catch_up().unwrap();
    database.sql(
        "ALTER TABLE counter_history ADD CONSTRAINT no_sevens CHECK (final_value <> 7);
         ALTER TABLE counter_history_users ADD CONSTRAINT no_evil CHECK (user_id <> 'evil')",
    );
    for number in 0..300 {
        house.up(
            &format!("c{number}"),
            if number % 100 == 50 { 7 } else { 1 },
        );
    }
    house.users("dau", ["a", "b", "evil", "z"]);
    house.next_day();
    exporter.catch_up().unwrap();
    assert_eq!(
        database.number("SELECT count(*) FROM counter_history"),
        301,
        "all but three of 304: only the users of the fourth are refused"
    );
    exporter.catch_up().unwrap();
    assert_eq!(house.metrics.export.set_aside.get(), 4);
    let aside = aside(&house);
    assert_eq!(aside.len(), 4);
    assert!(
        aside
            .iter()
            .any(|(counter, reason)| counter == "c150" && reason.contains("no_sevens")),
        "{aside:?}"
    );
    assert!(
        aside.iter().any(|(counter, reason)| counter == "dau"
            && reason.contains("number is written")
            && reason.contains("no_evil")),
        "{aside:?}"
    );
    // The next day goes on, and what is mended is taken.
    house.next_day();
    exporter.catch_up().unwrap();
    database.sql(
        "ALTER TABLE counter_history DROP CONSTRAINT no_sevens;
         ALTER TABLE counter_history_users DROP CONSTRAINT no_evil",
    );
    let done = house
        .export(options(&database), "2026-11-24", false)
        .unwrap();
    assert_eq!((done.written, done.unchanged), (4, 300));
    assert!(self::aside(&house).is_empty());
    claim_equal(&database, &house);
    house.stop();
}

fn aside(house: &House) -> Vec<(String, String)> {
    let rows = house.running.reader.with(|tables| tables.set_aside());
    let rows = rows.unwrap().into_iter();
    rows.map(|aside| (aside.counter.to_string(), aside.reason))
        .collect()
}

#[test]
fn a_row_of_another_epoch_is_set_aside_and_replaced_only_by_hand() {
    let Some(database) = database("a_row_of_another_epoch_is_set_aside_and_replaced_only_by_hand")
    else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let (before, after) = (home.path().join("first"), home.path().join("second"));
    House::open(&before, NOON - HOUR).stop();
    let second = House::recovered(&before, &after, NOON);
    let first = House::open(&before, NOON - HOUR);
    first.up("games", 5);
    first.up("online", 1);
    first.users("dau", ["a", "b", "c", "d", "e"]);
    first.next_day();
    first.exporter(options(&database)).catch_up().unwrap();
    first.stop();

    second.up("other", 6);
    second.up("games", 6);
    second.users("dau", ["x", "y", "z", "w"]);
    second.next_day();
    second.exporter(options(&database)).catch_up().unwrap();
    assert_eq!(row(&database, "games", "2026-11-24")["final"], 5);
    assert_eq!(users(&database, "dau", "2026-11-24").len(), 5);
    let reasons = aside(&second);
    assert_eq!(reasons.len(), 4, "{reasons:?}");
    assert!(reasons[0].1.contains("--replace"), "{reasons:?}");
    assert_eq!(row(&database, "other", "2026-11-24")["final"], 6);

    let done = second
        .export(options(&database), "2026-11-24", false)
        .unwrap();
    assert_eq!((done.written, done.set_aside), (0, 4));
    let done = second
        .export(options(&database), "2026-11-24", true)
        .unwrap();
    assert_eq!((done.written, done.set_aside), (4, 0));
    assert_eq!(row(&database, "games", "2026-11-24")["final"], 6);
    assert_eq!(users(&database, "dau", "2026-11-24"), ["w", "x", "y", "z"]);
    assert!(aside(&second).is_empty());
    let done = second
        .export(options(&database), "2026-11-24", false)
        .unwrap();
    assert_eq!((done.written, done.set_aside, done.unchanged), (0, 0, 5));
    second.stop();
}

#[test]
fn an_emptied_or_another_database_is_filled_again_from_the_oldest_day() {
    let Some(database) =
        database("an_emptied_or_another_database_is_filled_again_from_the_oldest_day")
    else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    let mut exporter = house.exporter(options(&database));
    for day in 0..12 {
        house.up("games", day + 1);
        house.users("dau", ["a", "b", "c", "d"]);
        house.next_day();
        exporter.catch_up().unwrap();
    }
    claim_equal(&database, &house);
    let all = || {
        database.sql("SELECT counter_name, date, final_value FROM counter_history ORDER BY 1, 2")
    };
    let before = all();
    let wipes = [
        "TRUNCATE counter_history",
        "TRUNCATE counter_history, counter_history_users, counters, counterd_days, counterd_counters",
        "TRUNCATE counterd_database",
        "DROP SCHEMA public CASCADE; CREATE SCHEMA public",
    ];
    for wipe in wipes {
        database.sql(wipe);
        // A connection that knew the tables that are gone is given up first.
        if exporter.catch_up().is_err() {
            exporter.catch_up().unwrap();
        }
        assert_eq!(all(), before, "{wipe}");
        claim_equal(&database, &house);
        assert_eq!(
            database.number("SELECT current_value FROM counters WHERE name = 'dau'"),
            0,
            "{wipe}"
        );
    }
    // Seven days of users are kept; of those before, nobody knows any more who it was.
    let day = row(&database, "dau", "2026-11-24");
    assert_eq!(
        (&day["users"], &day["metadata"]["users"], &day["final"]),
        (&Value::Null, &json!("no longer kept"), &json!(4))
    );
    let kept = "2026-12-04";
    assert_eq!(row(&database, "dau", kept)["metadata"]["users"], "table");
    assert_eq!(users(&database, "dau", kept), ["a", "b", "c", "d"]);
    house.stop();
}

#[test]
fn users_that_the_store_has_no_more_stay_where_they_were_exported() {
    let Some(database) = database("users_that_the_store_has_no_more_stay_where_they_were_exported")
    else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    let mut exporter = house.exporter(options(&database));
    house.users("dau", ["a", "b"]);
    house.next_day();
    house.users("dau", ["a", "b", "c", "d"]);
    for _ in 0..9 {
        house.next_day();
    }
    house.archive();
    exporter.catch_up().unwrap();
    // Only now may they go.
    house.archive();
    let before = (
        row(&database, "dau", "2026-11-24"),
        users(&database, "dau", "2026-11-25"),
    );
    assert_eq!(
        (&before.0["users"], before.1.len()),
        (&json!(["a", "b"]), 4)
    );
    for (day, replace) in [
        ("2026-11-24", false),
        ("2026-11-25", false),
        ("2026-11-25", true),
    ] {
        let done = house.export(options(&database), day, replace).unwrap();
        assert_eq!(done.written, 0, "{day}");
        assert!(done.unchanged > 0, "{day}");
    }
    // As a restored store finds them: of an earlier epoch, and else the same.
    database.sql("UPDATE counterd_days SET epoch = epoch - 1");
    for (day, replace) in [
        ("2026-11-24", false),
        ("2026-11-25", false),
        ("2026-11-24", true),
        ("2026-11-25", true),
    ] {
        let done = house.export(options(&database), day, replace).unwrap();
        assert_eq!(done.set_aside, 0, "{day}");
    }
    let restored = (
        row(&database, "dau", "2026-11-24"),
        users(&database, "dau", "2026-11-25"),
    );
    assert_eq!(restored, before);
    database.sql("UPDATE counter_history SET final_value = 99");
    house
        .export(options(&database), "2026-11-24", false)
        .unwrap();
    house
        .export(options(&database), "2026-11-25", false)
        .unwrap();
    let after = (
        row(&database, "dau", "2026-11-24"),
        users(&database, "dau", "2026-11-25"),
    );
    assert_eq!(after, before);
    house.stop();
}

#[test]
fn views_give_the_numbers_of_reports() {
    let Some(database) = database("views_give_the_numbers_of_reports") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    let mut exporter = house.exporter(options(&database));
    for day in 0..9 {
        if day != 6 {
            house.up("games", 10 * (day + 1));
        }
        house.up("online", 5);
        house.pass(HOUR);
        house.down("online", 5);
        house.pass(DAY - HOUR);
        house.archive();
    }
    exporter.catch_up().unwrap();
    assert_eq!(
        database.sql(
            "SELECT date, final_value, day_before, day_over_day, day_over_day_percent,
               week_before, week_over_week, week_over_week_percent
             FROM counter_daily_summary WHERE counter_name = 'games' ORDER BY date DESC LIMIT 3"
        ),
        "2026-12-02|90|80|10|12.5|20|70|350.0\n\
         2026-12-01|80||||10|70|700.0\n\
         2026-11-29|60|50|10|20.0|||"
    );
    assert_eq!(
        database.sql(
            "SELECT date, peak, peak_at, low FROM counter_daily_peak
             WHERE counter_name = 'online' ORDER BY date DESC LIMIT 1"
        ),
        "2026-12-02|5|2026-12-02 12:00:00|0"
    );
    claim_docs(&database);
    house.stop();
}

/// The queries of the docs print what the docs say.
fn claim_docs(database: &Database) {
    let docs = include_str!("../../../docs/postgres.md");
    let (_, reports) = docs.split_once("## Reports").unwrap();
    let mut seen = 0;
    for part in reports.split("```sql\n").skip(1) {
        let (query, rest) = part.split_once("```").unwrap();
        let (_, rest) = rest.split_once("```text\n").unwrap();
        let (printed, _) = rest.split_once("```").unwrap();
        let found: Vec<String> = database
            .shown(query)
            .lines()
            .map(|line| line.trim_end().to_owned())
            .filter(|line| !line.is_empty())
            .collect();
        assert_eq!(found.join("\n"), printed.trim_end(), "{query}");
        seen += 1;
    }
    assert_eq!(seen, 3);
}
