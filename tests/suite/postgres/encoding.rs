//! User ids that the encoding of the database does not have: the number of their day is written all the same.

use counterd::export::postgres::{PostgresOptions, PostgresUrl};

use super::{database, options};
use crate::harness::PASSWORD;
use crate::house::{House, NOON};

#[test]
fn a_day_with_an_id_that_cannot_be_held_keeps_its_number() {
    let Some(database) = database("a_day_with_an_id_that_cannot_be_held_keeps_its_number") else {
        return;
    };
    database.sql(
        "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'",
    );
    let url = database.url_as("postgres", PASSWORD, "latin");
    let latin = PostgresOptions {
        url: PostgresUrl::parse(&url).unwrap(),
        ..options(&database)
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    let mut exporter = house.exporter(latin.clone());
    let row = |date: &str| {
        let ask = format!(
            "SELECT final_value, metadata ->> 'users', unique_users FROM counter_history
             WHERE counter_name = 'dau' AND date = '{date}'"
        );
        database.sql_at(&url, &ask).unwrap()
    };
    // In the row, and in a table of their own.
    house.users("dau", ["a", "ż"]);
    house.next_day();
    house.users("dau", ["a", "b", "c", "d", "ż"]);
    house.next_day();
    exporter.catch_up().unwrap();
    assert_eq!(row("2026-11-24"), "2|refused|");
    assert_eq!(row("2026-11-25"), "5|refused|");
    let aside = || {
        house
            .running
            .reader
            .with(|tables| tables.set_aside())
            .unwrap()
    };
    assert_eq!(aside().len(), 2);
    for aside in aside() {
        assert_eq!(aside.counter.as_str(), "dau");
        assert!(
            aside.reason.contains("number is written") && aside.reason.contains("LATIN1"),
            "{}",
            aside.reason
        );
    }
    let users = "SELECT count(*) FROM counter_history_users";
    assert_eq!(database.sql_at(&url, users).unwrap(), "0");
    // Again it is the same.
    let written = house.export(latin, "2026-11-25", false).unwrap();
    assert_eq!((written.written, written.set_aside), (0, 1));
    assert_eq!(
        (row("2026-11-25"), aside().len()),
        ("5|refused|".to_owned(), 2)
    );
    house.stop();
}
