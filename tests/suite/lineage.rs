//! A store and its copies belong together: another store that finds them writes nothing to them, until
//! an operator says so. With a real Redis and a real PostgreSQL, which each test starts for itself.

use std::time::Duration;

use counterd::export::postgres::PostgresError;
use counterd::mirror::{Mirror, MirrorError, MirrorOptions};
use counterd::storage::CopyConflict::{LaterEpoch, OtherStore};
use counterd::{export, mirror};
use serde_json::json;

use crate::harness::{Database, Redis, Setup, eventually};
use crate::house::{HOUR, House, NOON};
use crate::mirror::redis;
use crate::postgres::{database, options as of_postgres};

const PATIENCE: Duration = Duration::from_secs(30);

fn of_redis(redis: &Redis) -> MirrorOptions {
    MirrorOptions {
        users: true,
        ..crate::mirror::options(redis)
    }
}

fn mirror_of(house: &House, redis: &Redis) -> Mirror {
    Mirror::new(&house.running, &house.metrics, of_redis(redis)).unwrap()
}

/// Checks that a copy was refused as another store's, and gives the error's text.
macro_rules! anothers {
    ($refused:expr, $error:ident) => {{
        let error = $refused.unwrap_err();
        assert!(
            matches!(error, $error::Conflict(OtherStore { .. })),
            "{error}"
        );
        error.to_string()
    }};
}

/// Checks that a refusal names both stores and says what to do.
fn tells(text: &str, rightful: &House, other: &House) {
    for part in [&id(rightful), &id(other), "counterd adopt"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

fn id(house: &House) -> String {
    house.running.reader.lineage().unwrap().id.to_string()
}

/// Every key, but for the marker: that moves by itself.
fn keys(redis: &Redis) -> Vec<(String, String)> {
    let mut keys: Vec<String> = redis.say("KEYS *");
    keys.sort();
    keys.retain(|key| key != "counterd:mirror");
    let dump = |key: String| {
        let mut command = redis::cmd("DUMP");
        let bytes: Vec<u8> = redis.ask(command.arg(&key));
        (key, format!("{bytes:?}"))
    };
    keys.into_iter().map(dump).collect()
}

/// Every row of every table.
fn rows(database: &Database) -> Vec<String> {
    let tables = [
        "counters",
        "counter_history",
        "counter_history_users",
        "counterd_counters",
        "counterd_days",
        "counterd_database",
    ];
    let ask = |table| database.sql(&format!("SELECT t::text FROM {table} t ORDER BY 1"));
    tables.map(ask).map(|rows| format!("{rows:?}")).into()
}

#[test]
fn another_store_writes_nothing_to_a_mirror_until_it_is_told_to() {
    let Some(redis) = redis("another_store_writes_nothing_to_a_mirror_until_it_is_told_to") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let rightful = House::open(&home.path().join("rightful"), NOON - HOUR);
    rightful.up("games", 7);
    rightful.up("only.here", 1);
    rightful.users("dau", ["a", "b"]);
    let mut of_rightful = mirror_of(&rightful, &redis);
    of_rightful.catch_up().unwrap();
    let before = keys(&redis);

    let other = House::open(&home.path().join("other"), NOON);
    other.up("games", 1);
    let mut of_other = mirror_of(&other, &redis);
    for _ in 0..2 {
        let text = anothers!(of_other.catch_up(), MirrorError);
        tells(&text, &rightful, &other);
    }
    let report = of_other.status().report(1);
    assert!(!report.up && report.error.unwrap().contains("another store"));
    assert_eq!(keys(&redis), before);
    // Nor where the marker was lost: the values themselves tell whose they are.
    redis.say::<()>("DEL counterd:mirror");
    anothers!(of_other.catch_up(), MirrorError);
    assert_eq!(keys(&redis), before);
    rightful.up("games", 1);
    of_rightful.catch_up().unwrap();
    assert_eq!(redis.say::<i64>("GET counter:games"), 8);

    let lineage = other.running.reader.lineage().unwrap();
    let found = mirror::contents(&of_redis(&redis), &lineage).unwrap();
    let names = before.iter().filter(|(key, _)| key.ends_with(":meta"));
    let names = names.count();
    assert_eq!(found.names, names as u64, "{found:?}");
    assert_eq!(found.revision, rightful.running.table.revision());
    mirror::adopt(&of_redis(&redis), &lineage).unwrap();
    of_other.catch_up().unwrap();
    assert_eq!(redis.say::<i64>("GET counter:games"), 1);
    assert_eq!(redis.say::<Option<i64>>("GET counter:only.here"), None);
    anothers!(of_rightful.catch_up(), MirrorError);
    // Back again, though the other store is of a later epoch.
    let lineage = rightful.running.reader.lineage().unwrap();
    mirror::adopt(&of_redis(&redis), &lineage).unwrap();
    of_rightful.catch_up().unwrap();
    assert_eq!(redis.say::<i64>("GET counter:games"), 8);
    assert_eq!(redis.say::<Option<i64>>("GET counter:only.here"), Some(1));
    rightful.stop();
    other.stop();
}

#[test]
fn another_store_writes_nothing_to_a_database_until_it_is_told_to() {
    let Some(database) = database("another_store_writes_nothing_to_a_database_until_it_is_told_to")
    else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let rightful = House::open(&home.path().join("rightful"), NOON - HOUR);
    rightful.up("games", 7);
    rightful.users("dau", ["a", "b", "c", "d"]);
    rightful.next_day();
    rightful.up("online", 4);
    let mut of_rightful = rightful.exporter(of_postgres(&database));
    of_rightful.catch_up().unwrap();
    let before = rows(&database);

    let other = House::open(&home.path().join("other"), NOON);
    other.up("games", 1);
    other.up("here", 1);
    other.users("dau", ["x"]);
    other.next_day();
    let mut of_other = other.exporter(of_postgres(&database));
    for _ in 0..2 {
        let text = anothers!(of_other.catch_up(), PostgresError);
        tells(&text, &rightful, &other);
    }
    // Nor does the command that replaces days.
    let replaced = other.export(of_postgres(&database), "2026-11-24", true);
    anothers!(replaced, PostgresError);
    assert_eq!(rows(&database), before);
    rightful.up("online", 1);
    of_rightful.catch_up().unwrap();

    let lineage = other.running.reader.lineage().unwrap();
    let found = export::postgres::contents(&of_postgres(&database), &lineage, None).unwrap();
    assert_eq!(found.names, 4, "{found:?}");
    assert_eq!(found.through, Some("2026-11-24".parse().unwrap()));
    export::postgres::adopt(&of_postgres(&database), &lineage).unwrap();
    of_other.catch_up().unwrap();
    let value = |name: &str| {
        database.number(&format!(
            "SELECT current_value FROM counters WHERE name = '{name}'"
        ))
    };
    assert_eq!((value("online"), value("here")), (0, 1));
    let day = |name: &str| {
        database.number(&format!(
            "SELECT final_value FROM counter_history WHERE counter_name = '{name}' AND date = '2026-11-24'"
        ))
    };
    assert_eq!(
        (day("games"), day("here")),
        (7, 1),
        "days that were there stay"
    );
    other
        .export(of_postgres(&database), "2026-11-24", true)
        .unwrap();
    assert_eq!(day("games"), 1);
    // On the connection that there is, too.
    rightful.up("online", 1);
    anothers!(of_rightful.catch_up(), PostgresError);
    let lineage = rightful.running.reader.lineage().unwrap();
    export::postgres::adopt(&of_postgres(&database), &lineage).unwrap();
    of_rightful.catch_up().unwrap();
    assert_eq!(value("online"), 6);
    rightful.stop();
    other.stop();
}

#[test]
fn copies_that_an_earlier_version_wrote_belong_to_the_store_that_had_their_epoch() {
    let test = "copies_that_an_earlier_version_wrote_belong_to_the_store_that_had_their_epoch";
    let (Some(redis), Some(database)) = (redis(test), database(test)) else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("rightful");
    let rightful = House::open(&dir, NOON - HOUR);
    rightful.up("games", 7);
    mirror_of(&rightful, &redis).catch_up().unwrap();
    rightful
        .exporter(of_postgres(&database))
        .catch_up()
        .unwrap();
    rightful.stop();
    let forget = || {
        redis.say::<()>("HDEL counterd:mirror lineage");
        database.sql(
            "ALTER TABLE counterd_database DROP COLUMN lineage;
             DELETE FROM counterd_migrations WHERE version = 7",
        );
    };
    forget();
    let (before, of_before) = (keys(&redis), rows(&database));
    let other = House::open(&home.path().join("other"), NOON);
    other.up("games", 1);
    let error = mirror_of(&other, &redis).catch_up().unwrap_err();
    assert!(error.to_string().contains("of epoch"), "{error}");
    let error = other
        .exporter(of_postgres(&database))
        .catch_up()
        .unwrap_err();
    assert!(error.to_string().contains("of epoch"), "{error}");
    assert_eq!(keys(&redis), before);
    database.sql("ALTER TABLE counterd_database DROP COLUMN lineage; DELETE FROM counterd_migrations WHERE version = 7");
    assert_eq!(rows(&database), of_before);
    other.stop();
    // Also once the store was recovered since: it has had that epoch.
    let later = House::recovered(&dir, &home.path().join("later"), NOON);
    let of_later = later.running.reader.lineage().unwrap();
    later.up("games", 1);
    mirror_of(&later, &redis).catch_up().unwrap();
    later.exporter(of_postgres(&database)).catch_up().unwrap();
    assert_eq!(redis.say::<i64>("GET counter:games"), 8);
    assert_eq!(
        redis.say::<String>("HGET counterd:mirror lineage"),
        of_later.id.to_string()
    );
    later.stop();
    // It is the same store, on an older epoch.
    let rightful = House::open(&dir, NOON);
    assert_eq!(id(&rightful), of_later.id.to_string());
    let error = mirror_of(&rightful, &redis).catch_up().unwrap_err();
    assert!(
        matches!(error, MirrorError::Conflict(LaterEpoch { .. })),
        "{error}"
    );
    let error = rightful
        .exporter(of_postgres(&database))
        .catch_up()
        .unwrap_err();
    assert!(
        matches!(error, PostgresError::Conflict(LaterEpoch { .. })),
        "{error}"
    );
    rightful.stop();
}

#[test]
fn an_operator_is_told_whose_the_copies_are_and_decides() {
    let test = "an_operator_is_told_whose_the_copies_are_and_decides";
    let (Some(redis), Some(database)) = (redis(test), database(test)) else {
        return;
    };
    let homes = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let setups = homes.each_ref().map(|home| {
        Setup::new(home.path())
            .set("redis.mirror", "true")
            .set("redis.url", &redis.url())
            .set("postgres.url", &database.url())
            .set("postgres.interval", "100ms")
    });
    let count = |setup: &Setup, value: u32| {
        let server = setup.start();
        let body = json!({"value": value});
        server
            .client()
            .post("/api/v1/counter/a/increment", &body)
            .ok();
        server
    };
    let standing = |server: &crate::harness::Server| {
        let mut client = server.client();
        client.get("/readyz?verbose").json()["lags"].clone()
    };
    let first = count(&setups[0], 5);
    eventually("both copies have it", PATIENCE, || {
        let lags = standing(&first);
        let there = |copy: &str| lags[copy]["up"] == true && lags[copy]["revisions"] == 0;
        (there("redis") && there("postgres")).then_some(())
    });
    first.stop();
    let run = |arguments: &[&str]| {
        let output = setups[1]
            .command(arguments[0])
            .args(&arguments[1..])
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    // No store yet: the one to be made would not be theirs.
    let (code, text) = run(&["check"]);
    assert_eq!(code, Some(3), "{text}");
    assert_eq!(text.matches("is another store's, ").count(), 2, "{text}");

    let second = count(&setups[1], 1);
    eventually("both say so", PATIENCE, || {
        let lags = standing(&second);
        let says = |copy: &str| {
            let error = lags[copy]["error"].as_str().unwrap_or_default();
            lags[copy]["up"] == false && error.contains("another store")
        };
        (says("redis") && says("postgres")).then_some(())
    });
    let metrics = second.client().get("/metrics").text();
    for metric in ["counterd_mirror_up 0", "counterd_export_up 0"] {
        assert!(metrics.contains(metric), "{metric}");
    }
    let (code, text) = run(&["check"]);
    assert_eq!(code, Some(3), "{text}");
    assert_eq!(text.matches("is another store's, ").count(), 2, "{text}");
    let (code, text) = run(&["adopt"]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(text.matches("is another store's, ").count(), 2, "{text}");
    assert!(
        text.contains("counters, up to revision") && text.contains("--yes"),
        "{text}"
    );
    assert_eq!(redis.say::<i64>("GET counter:a"), 5);

    let (code, text) = run(&["adopt", "--yes"]);
    assert_eq!(code, Some(0), "{text}");
    eventually("they are the other's", PATIENCE, || {
        let value = database.number("SELECT current_value FROM counters WHERE name = 'a'");
        (redis.say::<Option<i64>>("GET counter:a") == Some(1) && value == 1).then_some(())
    });
    let (code, text) = run(&["check"]);
    assert_eq!(code, Some(0), "{text}");
    second.stop();
    // With the store at rest it says the same.
    let (code, text) = run(&["adopt"]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(text.matches("is this store's").count(), 2, "{text}");
}
