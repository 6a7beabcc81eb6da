//! Redis holds the counts and PostgreSQL the history; Redis is stopped, and comes back.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{count, instance, log, writes_again};
use crate::harness::{Client, Database, PATIENCE, eventually, skipped};

/// The minute of the day, in UTC, that begins next; not at once, so that something is counted before.
fn next_minute() -> String {
    let second = Timestamp::now().as_second();
    let begins = (second + 5).div_euclid(60) * 60 + 60;
    let minute = begins.rem_euclid(86_400) / 60;
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

fn read(client: &mut Client, name: &str) -> Value {
    client.get(&format!("/api/v1/counter/{name}")).json()
}

#[test]
fn redis_holds_the_counts_and_postgresql_the_history_and_redis_is_stopped_and_comes_back() {
    let test =
        "redis_holds_the_counts_and_postgresql_the_history_and_redis_is_stopped_and_comes_back";
    let Some(mut redis) = log(test) else { return };
    let database = match Database::new() {
        Ok(database) => database,
        Err(reason) => return skipped(test, &reason),
    };
    let home = tempfile::tempdir().unwrap();
    let setup = instance(&home, &redis)
        .set("postgres.url", &database.url())
        .set("postgres.interval", "100ms")
        .set("degraded.start", "true")
        .set("calendar.day_start", &next_minute());
    let server = setup.start();
    let mut client = server.client();
    let daily = "total_games_played";
    let day = read(&mut client, daily)["period"].clone();
    for _ in 0..3 {
        assert_eq!(count(&mut client, daily), Some(true));
    }
    eventually("a new day has begun", Duration::from_secs(120), || {
        (read(&mut client, daily)["period"] != day).then_some(())
    });
    for _ in 0..2 {
        assert_eq!(count(&mut client, daily), Some(true));
    }
    assert_eq!(read(&mut client, daily)["value"], 2);
    let closed = format!(
        "SELECT final_value FROM counter_history WHERE counter_name = '{daily}' AND date = '{}'",
        day.as_str().unwrap()
    );
    let current = format!("SELECT current_value FROM counters WHERE name = '{daily}'");
    eventually("PostgreSQL has both", PATIENCE, || {
        (database.sql(&closed).trim() == "3" && database.sql(&current).trim() == "2").then_some(())
    });

    redis.kill();
    eventually("reads say that they are old", PATIENCE, || {
        (read(&mut client, daily)["stale"] == true).then_some(())
    });
    let stale = read(&mut client, daily);
    assert_eq!(
        (&stale["value"], &stale["source"]),
        (&json!(2), &json!("memory"))
    );
    assert!(stale["as_of"].is_string(), "{stale}");
    eventually("writes are refused", PATIENCE, || {
        (count(&mut client, daily) == Some(false)).then_some(())
    });

    server.stop();
    let server = setup.start();
    let mut client = server.client();
    let stale = read(&mut client, daily);
    assert_eq!(
        (&stale["value"], &stale["source"]),
        (&json!(2), &json!("postgres"))
    );
    assert_eq!(stale["stale"], true);
    let path = format!(
        "/api/v1/counter/{daily}/history?from={0}&to={0}",
        day.as_str().unwrap()
    );
    let history = client.get(&path).ok();
    assert_eq!(history["days"][0]["final_value"], 3, "{history}");
    assert_eq!(count(&mut client, daily), Some(false));

    redis.start();
    writes_again(&server);
    let fresh = read(&mut client, daily);
    assert_eq!(
        (&fresh["value"], &fresh["stale"]),
        (&json!(2), &json!(false))
    );
    assert_eq!(count(&mut client, daily), Some(true));
    assert_eq!(read(&mut client, daily)["value"], 3);
    let history = client.get(&path).ok();
    assert_eq!(history["days"][0]["final_value"], 3, "{history}");

    // What PostgreSQL has keeps nobody from a log that is there.
    server.stop();
    let server = setup.start();
    assert_eq!(read(&mut server.client(), daily)["stale"], false);
}
