//! A wall clock that shows what no calendar of ours reaches: the server goes on answering, says 503 for
//! what it cannot date, and counts again once the clock is right.

use serde_json::json;

use crate::harness::{PATIENCE, Server, Setup, eventually};
use crate::midnight::ShiftedClock;

const DAY_MS: i64 = 86_400_000;

/// Times that some library or type cannot say, in milliseconds since 1970.
const ODD: [(&str, i64); 7] = [
    ("the second before 1970", -1000),
    ("1870", -100 * 365 * DAY_MS),
    ("before the year 1", -2500 * 365 * DAY_MS),
    (
        "2262, where 64 bits of nanoseconds end",
        9_223_372_036_855 + DAY_MS,
    ),
    ("2500", 16_725_225_600_000),
    ("the year 10000", 253_402_300_800_000),
    ("the year 30000", 884_541_340_800_000),
];

fn is_served(server: &Server, when: &str) {
    let mut client = server.client();
    for path in ["/livez", "/readyz", "/readyz?verbose", "/metrics"] {
        let answer = client.get(path);
        assert_eq!(answer.status, 200, "{when}, {path}: {}", answer.text());
        assert!(answer.header("date").is_some(), "{when}, {path}");
    }
    assert_eq!(client.value("games"), 1, "{when}");
    client.get("/api/v1/counters/all").ok();
    eventually("writes are refused", PATIENCE, || {
        let refused = client.post("/api/v1/counter/games/increment", &json!({}));
        (refused.status == 503 && refused.json()["cause"] == "clock").then_some(())
    });
}

#[test]
fn a_clock_that_no_calendar_reaches_stops_no_answer() {
    let home = tempfile::tempdir().unwrap();
    let test = "a_clock_that_no_calendar_reaches_stops_no_answer";
    let setup = Setup::new(home.path());
    let Some((setup, clock)) = ShiftedClock::for_server(test, setup, home.path()) else {
        return;
    };
    let right = 1_795_521_600_000;
    clock.set(right);
    let server = setup.start();
    let count = |server: &Server| {
        let path = "/api/v1/counter/games/increment";
        server.client().post(path, &json!({})).status == 200
    };
    assert!(count(&server));
    for (when, at) in ODD {
        clock.set(at);
        is_served(&server, when);
    }
    clock.set(right);
    eventually("it counts again", PATIENCE, || count(&server).then_some(()));
    server.stop();
}

#[test]
fn a_store_born_before_the_clock_was_set_believes_it_until_something_is_counted() {
    let test = "a_store_born_before_the_clock_was_set_believes_it_until_something_is_counted";
    let increment = "/api/v1/counter/total_games_played/increment";
    for counted in [false, true] {
        let home = tempfile::tempdir().unwrap();
        let Some((setup, clock)) =
            ShiftedClock::for_server(test, Setup::new(home.path()), home.path())
        else {
            return;
        };
        clock.set(5000);
        let server = setup.start();
        if counted {
            let period = server.client().post(increment, &json!({})).ok()["period"].clone();
            assert_eq!(period, "1970-01-01");
        }
        clock.set(1_795_521_600_000);
        if counted {
            eventually("writes are refused", PATIENCE, || {
                let refused = server.client().post(increment, &json!({}));
                (refused.status == 503 && refused.json()["cause"] == "clock").then_some(())
            });
        } else {
            // A look at the clock is taken before each group.
            let answer = server.client().post(increment, &json!({})).ok();
            assert_eq!(
                (&answer["period"], &answer["current_value"]),
                (&json!("2026-11-24"), &json!(1))
            );
            assert_eq!(server.client().get("/readyz?writes").status, 200);
        }
        server.stop();
    }
}
