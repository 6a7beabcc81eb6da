//! What the database says of current values is true: a reader takes nothing for known that is not.

use counterd::counter::{CopiedValue, Existence};

use super::pages::page;
use super::{daily, database, define, options, read};
use crate::harness::Database;
use crate::house::{DAY, HOUR, House, NOON, damage};

fn one(database: &Database, counter: &str) -> Option<CopiedValue> {
    read(database, counter).values.remove(0)
}

#[test]
fn a_row_whose_time_is_over_is_gone_though_nobody_wrote_it_down() {
    let Some(database) = database("a_row_whose_time_is_over_is_gone_though_nobody_wrote_it_down")
    else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    house.define_until("event", NOON + HOUR);
    house.up("event", 7);
    let mut exporter = house.exporter(options(&database));
    exporter.catch_up().unwrap();
    let event = one(&database, "event").unwrap();
    assert_eq!((event.value, event.expires_at), (7, Some(NOON + HOUR)));
    assert_eq!(one(&database, "games").unwrap().expires_at, None);

    house.clock.advance(HOUR);
    exporter.catch_up().unwrap();
    let read = read(&database, "event");
    assert_eq!((read.as_of, &read.values[0]), (Some(NOON + HOUR), &None));
    assert_eq!(
        database.number("SELECT current_value FROM counters WHERE name = 'event'"),
        7
    );
    // The writer gets to it.
    house.pass(HOUR);
    exporter.catch_up().unwrap();
    assert_eq!(one(&database, "event"), None);
    house.stop();
}

#[test]
fn a_row_that_an_earlier_version_wrote_is_told_when_it_ends() {
    let Some(database) = database("a_row_that_an_earlier_version_wrote_is_told_when_it_ends")
    else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    house.define_until("event", NOON + HOUR);
    house.up("event", 7);
    house.exporter(options(&database)).catch_up().unwrap();
    database.sql("UPDATE counterd_counters SET expires_at = NULL");
    house.exporter(options(&database)).catch_up().unwrap();
    assert_eq!(
        one(&database, "event").unwrap().expires_at,
        Some(NOON + HOUR)
    );
    house.stop();
}

#[test]
fn a_clock_that_jumped_tells_no_time_and_ends_no_row() {
    let Some(database) = database("a_clock_that_jumped_tells_no_time_and_ends_no_row") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    house.define_until("event", NOON + DAY);
    house.up("event", 7);
    let mut exporter = house.exporter(options(&database));
    exporter.catch_up().unwrap();
    let before = read(&database, "event");
    assert_eq!(before.as_of, Some(NOON));
    house.clock.shift_wall(10 * DAY);
    assert!(house.running.day.look().clock_fault);
    exporter.catch_up().unwrap();
    assert_eq!(read(&database, "event"), before);
    house.exporter(options(&database)).catch_up().unwrap();
    assert_eq!(read(&database, "event"), before);
    house.stop();
}

#[test]
fn a_row_of_a_counter_that_cannot_be_read_is_not_known() {
    let Some(database) = database("a_row_of_a_counter_that_cannot_be_read_is_not_known") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    house.up("a", 7);
    house.up("b", 8);
    house.exporter(options(&database)).catch_up().unwrap();
    house.stop();
    damage(home.path(), "a");
    let house = House::open(home.path(), NOON + HOUR);
    let mut exporter = house.exporter(options(&database));
    exporter.catch_up().unwrap();
    assert_eq!(one(&database, "a"), None);
    assert_eq!(one(&database, "b").unwrap().value, 8);
    let known = ["b", "dau", "ever", "games", "online"];
    assert_eq!(page(&database, "", None, 10), known);
    assert_eq!(
        database.number("SELECT current_value FROM counters WHERE name = 'a'"),
        7
    );
    house.repair("a", 9);
    exporter.catch_up().unwrap();
    assert_eq!(one(&database, "a").unwrap().value, 9);
    house.stop();
}

#[test]
fn rows_of_counters_that_nobody_knows_any_more_are_gone() {
    let Some(database) = database("rows_of_counters_that_nobody_knows_any_more_are_gone") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let (before, after) = (home.path().join("given-up"), home.path().join("new"));
    House::open(&before, NOON).stop();
    let house = House::recovered(&before, &after, NOON + HOUR);
    let given_up = House::open(&before, NOON);
    given_up.up("only-there", 1);
    given_up.up("both", 1);
    given_up.exporter(options(&database)).catch_up().unwrap();
    given_up.stop();
    house.up("both", 5);
    house.up("forgotten", 6);
    house.exporter(options(&database)).catch_up().unwrap();
    let live =
        || database.sql("SELECT counter_name FROM counterd_counters WHERE NOT gone ORDER BY 1");
    assert_eq!(live(), "both\ndau\never\nforgotten\ngames\nonline");
    assert_eq!(one(&database, "only-there"), None);
    assert_eq!(one(&database, "both").unwrap().value, 5);
    assert_eq!(
        database.number("SELECT current_value FROM counters WHERE name = 'only-there'"),
        1,
        "reports keep it"
    );

    // Forgotten while nothing was exported.
    house.delete("forgotten");
    for _ in 0..9 {
        house.next_day();
    }
    assert_eq!(house.running.table.read("forgotten"), None);
    house.exporter(options(&database)).catch_up().unwrap();
    assert_eq!(live(), "both\ndau\never\ngames\nonline");
    // A new life of the name.
    house.up("only-there", 9);
    house.exporter(options(&database)).catch_up().unwrap();
    assert_eq!(one(&database, "only-there").unwrap().value, 9);
    house.stop();
}

#[test]
fn a_row_of_a_counter_that_is_over_keeps_a_value_of_a_later_day() {
    let Some(database) = database("a_row_of_a_counter_that_is_over_keeps_a_value_of_a_later_day")
    else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let midnight = NOON + 12 * HOUR;
    let house = House::open(home.path(), midnight + 10_000);
    let today = house.today();
    let mut exporter = house.exporter(options(&database));
    // A clock that was a little ahead is put right: the day stays.
    house.clock.shift_wall(-10_000);
    let mut before_the_writer = |event: &str| {
        house.clock.shift_wall(-20_000);
        define(&house, event, daily(Some(midnight - 5_000)));
        exporter.catch_up().unwrap();
        house.up(event, 7);
        let reading = house.running.table.read(event).unwrap();
        assert_eq!(reading.period, Some(today));
        assert_eq!(reading.existence, Existence::Live);
        house.clock.advance(20_000);
        exporter.catch_up().unwrap();
        house.running.table.read(event).unwrap() == reading
    };
    // The writer looks at the time by itself too, and may be first.
    let event = (0..50)
        .map(|attempt| format!("event-{attempt}"))
        .find(|event| before_the_writer(event))
        .expect("an export before the writer got to it");
    let row = || {
        database.sql(&format!(
            "SELECT current_value, gone, period
             FROM counters JOIN counterd_counters ON counter_name = name WHERE name = '{event}'",
        ))
    };
    let expected = format!("7|t|{today}");
    assert_eq!(row(), expected);
    // As it is once the writer got to it.
    house.pass(HOUR);
    let reading = house.running.table.read(&event).unwrap();
    assert_ne!(reading.existence, Existence::Live);
    exporter.catch_up().unwrap();
    assert_eq!(row(), expected);
    house.stop();
}
