//! Alerts as they are shown, and silences.

use super::websocket::{Socket, text};
use super::*;
use crate::alerts::AlertsShown;

const SILENCE: &str = "POST /api/v1/alerts/silence";

#[test]
fn a_silence_is_stored_shown_replaced_and_ended() {
    let bench = Bench::new();
    let silence = |until: &str, reason: &str| {
        let body = json!({"counters": ["event:*", "dau", "dau"], "until": until, "reason": reason});
        bench.ask(SILENCE, ADMIN, &body.to_string()).ok()["silence"].clone()
    };
    let shown = || bench.get("/api/v1/alerts").ok()["silences"].clone();
    let first = silence("2026-11-24T13:00:00Z", "a patch");
    assert_eq!(first["counters"], json!(["dau", "event:*"]));
    assert_eq!(first["from"], "2026-11-24T12:00:00.000Z");
    assert_eq!(shown(), json!([first]));
    let second = silence("2026-11-24T14:00:00+00:00", "it takes longer");
    assert_eq!(shown(), json!([second]));
    assert_ne!(second["id"], first["id"]);
    let stored = || {
        bench
            .running
            .reader
            .with(|tables| tables.silences())
            .unwrap()
    };
    assert_eq!(stored().len(), 1);
    silence("2026-11-24T12:00:00Z", "done");
    assert_eq!(shown(), json!([]));
    assert_eq!(stored().len(), 0);
    silence("2026-11-24T13:00:00Z", "again");
    bench.clock.advance(HOUR);
    assert_eq!(shown(), json!([]), "it has ended by time");
    bench.end();
}

#[test]
fn a_silence_is_an_administrators_and_says_what_it_must() {
    let bench = Bench::new();
    bench.ask(SILENCE, "", "{}").refused(401, "unauthorized");
    for body in [
        "",
        "{}",
        r#"{"counters":"a","until":"2026-11-24T13:00:00Z","reason":"r"}"#,
        r#"{"counters":["a b"],"until":"2026-11-24T13:00:00Z","reason":"r"}"#,
        r#"{"counters":["a"],"until":"soon","reason":"r"}"#,
        r#"{"counters":["a"],"until":"2027-11-24T13:00:00Z","reason":"r"}"#,
        r#"{"counters":["a"],"until":"2026-11-24T13:00:00Z"}"#,
    ] {
        bench
            .ask(SILENCE, ADMIN, body)
            .refused(400, "invalid_silence");
    }
    bench.running.mode.raise(Cause::Operator, NOON);
    let good = r#"{"counters":["a"],"until":"2026-11-24T13:00:00Z","reason":"r"}"#;
    bench.ask(SILENCE, ADMIN, good).refused(503, "read_only");
    bench.end();
}

#[test]
fn a_socket_that_asks_for_it_is_told_of_alerts_whenever_one_turns() {
    let bench = Bench::new();
    let show = |judged_at: i64, turned: bool| {
        let shown = AlertsShown {
            judged_at: Some(judged_at),
            ..AlertsShown::default()
        };
        bench.alerts.show(shown, turned);
    };
    let mut socket = Socket::open(&bench);
    let mut other = Socket::open(&bench);
    other.send(&text(r#"{"subscribe":["a"]}"#));
    assert_eq!(other.event()["event"], "state");
    socket.send(&text(r#"{"alerts":true}"#));
    let first = socket.event();
    let told = bench.get("/api/v1/alerts").ok();
    assert_eq!((&first["event"], &first["data"]), (&json!("alerts"), &told));
    // What is judged without a turn is no news.
    show(NOON, false);
    show(NOON + 1000, true);
    let second = socket.event();
    assert_eq!(second["data"]["judged_at"], "2026-11-24T12:00:01.000Z");
    socket.send(&text(r#"{"alerts":false,"subscribe":["a"]}"#));
    assert_eq!(socket.event()["event"], "state");
    show(NOON + 2000, true);
    bench.up("a", "").ok();
    for socket in [&mut socket, &mut other] {
        assert_eq!(socket.event()["data"]["name"], "a");
    }
    bench.end();
}
