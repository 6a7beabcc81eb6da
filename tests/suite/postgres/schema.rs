//! The tables, and two that make them at once.

use counterd::export::postgres::{PostgresOptions, PostgresUrl, SchemaState, check};

use crate::harness::{Database, PASSWORD, at_once};

use super::database;
use super::options;
use crate::house::{House, NOON};

/// Name, type, whether it may be NULL, default, of each column, as the catalogue tells them.
fn columns(database: &Database, table: &str) -> String {
    database.sql(&format!(
        "SELECT a.attname, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull,
           COALESCE(pg_get_expr(d.adbin, d.adrelid), '')
         FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
         WHERE a.attrelid = '{table}'::regclass AND a.attnum > 0 AND NOT a.attisdropped
         ORDER BY a.attnum"
    ))
}

fn constraints(database: &Database, table: &str) -> String {
    database.sql(&format!(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint
         WHERE conrelid = '{table}'::regclass ORDER BY contype, 1"
    ))
}

#[test]
fn the_two_tables_are_column_for_column_those_of_the_contract() {
    let Some(database) = database("the_two_tables_are_column_for_column_those_of_the_contract")
    else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    house.exporter(options(&database)).catch_up().unwrap();
    assert_eq!(
        columns(&database, "counters"),
        "id|integer|f|nextval('counters_id_seq'::regclass)\n\
         name|character varying(100)|f|\n\
         current_value|bigint|t|0\n\
         created_at|timestamp without time zone|t|now()\n\
         updated_at|timestamp without time zone|t|now()"
    );
    assert_eq!(
        constraints(&database, "counters"),
        "PRIMARY KEY (id)\nUNIQUE (name)"
    );
    assert_eq!(
        columns(&database, "counter_history"),
        "id|integer|f|nextval('counter_history_id_seq'::regclass)\n\
         counter_name|character varying(100)|f|\n\
         date|date|f|\n\
         final_value|bigint|f|\n\
         unique_users|text[]|t|\n\
         metadata|jsonb|t|\n\
         created_at|timestamp without time zone|t|now()"
    );
    assert_eq!(
        constraints(&database, "counter_history"),
        "PRIMARY KEY (id)\nUNIQUE (counter_name, date)"
    );
    assert_eq!(
        constraints(&database, "counter_history_users"),
        "PRIMARY KEY (counter_name, date, user_id)"
    );
    house.stop();
}

#[test]
fn several_that_start_at_the_same_moment_make_one_schema() {
    let Some(database) = database("several_that_start_at_the_same_moment_make_one_schema") else {
        return;
    };
    let homes: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
    let outcomes = at_once(homes.len(), |number| {
        let house = House::open(homes[number].path(), NOON);
        let name = format!("of-{number}");
        house.up(&name, 1);
        let done = house.exporter(options(&database)).catch_up();
        house.stop();
        done.map_err(|error| error.to_string())
    });
    // They are four stores: one of them has the database.
    let refused = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
    let refused: Vec<_> = refused.collect();
    assert_eq!(refused.len(), 3, "{refused:?}");
    assert!(
        refused.iter().all(|error| error.contains("another store")),
        "{refused:?}"
    );
    assert_eq!(
        database.number("SELECT count(*) FROM counterd_migrations"),
        6
    );
    assert_eq!(database.number("SELECT count(*) FROM counterd_database"), 1);
    assert_eq!(
        database.number("SELECT count(*) FROM counters WHERE name LIKE 'of-%'"),
        1
    );
}

#[test]
fn a_schema_of_a_later_version_is_left_alone() {
    let Some(database) = database("a_schema_of_a_later_version_is_left_alone") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    house.up("games", 1);
    let mut exporter = house.exporter(options(&database));
    exporter.catch_up().unwrap();
    database.sql(
        "INSERT INTO counterd_migrations (version, description, success, checksum, execution_time)
         VALUES (99, 'later', true, '', 0)",
    );
    house.up("games", 1);
    let mut later = house.exporter(options(&database));
    let error = later.catch_up().unwrap_err().to_string();
    assert!(
        error.contains("migration 99") && error.contains("upgrade"),
        "{error}"
    );
    assert_eq!(
        database.number("SELECT current_value FROM counters WHERE name = 'games'"),
        1
    );
    database.sql("DELETE FROM counterd_migrations WHERE version = 99");
    later.catch_up().unwrap();
    assert_eq!(
        database.number("SELECT current_value FROM counters WHERE name = 'games'"),
        2
    );
    house.stop();
}

#[test]
fn a_role_that_does_not_own_an_older_schema_is_told_so() {
    let Some(database) = database("a_role_that_does_not_own_an_older_schema_is_told_so") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    house.exporter(options(&database)).catch_up().unwrap();
    database.sql(&format!(
        "CREATE ROLE writer LOGIN PASSWORD '{PASSWORD}';
         GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO writer;
         GRANT DELETE ON counter_history_users TO writer"
    ));
    let writer = PostgresOptions {
        url: PostgresUrl::parse(&database.url_as("writer", PASSWORD, "postgres")).unwrap(),
        ..options(&database)
    };
    let error = check(&writer, None).unwrap_err().to_string();
    assert!(error.contains("counters_id_seq"), "{error}");
    database.sql("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO writer");
    assert_eq!(check(&writer, None).unwrap(), SchemaState::Current);
    database.sql(
        "ALTER TABLE counterd_counters DROP COLUMN expires_at, DROP COLUMN unreadable;
         DELETE FROM counterd_migrations WHERE version = 4",
    );
    assert_eq!(
        check(&options(&database), None).unwrap(),
        SchemaState::Older
    );
    assert_eq!(check(&writer, None).unwrap(), SchemaState::OlderNotOwned);
    let error = house.exporter(writer.clone()).catch_up().unwrap_err();
    assert!(error.to_string().contains("does not own"), "{error}");

    // Once the owner did it, the role goes on.
    house.exporter(options(&database)).catch_up().unwrap();
    assert_eq!(check(&writer, None).unwrap(), SchemaState::Current);
    house.exporter(writer).catch_up().unwrap();
    house.stop();
}

#[test]
fn a_table_of_others_is_told_at_every_try_and_nothing_is_made() {
    let Some(database) = database("a_table_of_others_is_told_at_every_try_and_nothing_is_made")
    else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    database.sql("CREATE TABLE counters (x int)");
    let mut exporter = house.exporter(options(&database));
    for _ in 0..3 {
        let error = exporter.catch_up().unwrap_err().to_string();
        assert!(
            error.contains("\"counters\" already exists") && error.contains("search_path"),
            "{error}"
        );
        let checked = check(&options(&database), None).unwrap_err().to_string();
        assert_eq!(checked, error);
    }
    let tables = "SELECT string_agg(tablename, ',') FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(database.sql(tables), "counters");
    database.sql("DROP TABLE counters");
    exporter.catch_up().unwrap();
    house.stop();
}

/// Why `counterd check` would call the database a fault, to a store of that epoch.
fn fault(options: &PostgresOptions, epoch: u64) -> String {
    check(options, Some(epoch)).unwrap_err().to_string()
}

#[test]
fn what_takes_no_writes_is_a_fault_and_a_check_leaves_nothing() {
    let Some(database) = database("what_takes_no_writes_is_a_fault_and_a_check_leaves_nothing")
    else {
        return;
    };
    let owner = options(&database);
    assert_eq!(check(&owner, Some(7)).unwrap(), SchemaState::Absent);
    assert_eq!(
        database.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"),
        "0"
    );
    database.sql(&format!(
        "CREATE ROLE writer LOGIN PASSWORD '{PASSWORD}'; REVOKE CREATE ON SCHEMA public FROM PUBLIC"
    ));
    let writer = PostgresOptions {
        url: PostgresUrl::parse(&database.url_as("writer", PASSWORD, "postgres")).unwrap(),
        ..owner.clone()
    };
    let error = fault(&writer, 7);
    assert!(error.contains("permission denied for schema"), "{error}");
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    house.up("games", 1);
    house.exporter(owner.clone()).catch_up().unwrap();
    let epoch = house.running.table.epoch();
    let (rows, id) = (
        "SELECT current_value FROM counters WHERE name = 'games'",
        "SELECT last_value FROM counters_id_seq",
    );
    let before = (database.sql(rows), database.sql(id));
    assert_eq!(check(&owner, Some(epoch)).unwrap(), SchemaState::Current);
    assert_eq!((database.sql(rows), database.sql(id)), before);
    let error = fault(&owner, epoch - 1);
    assert!(error.contains("later than this store's"), "{error}");
    database.sql("ALTER ROLE postgres SET default_transaction_read_only = on");
    let error = fault(&owner, epoch);
    assert!(error.contains("read-only transaction"), "{error}");
    house.stop();
}
