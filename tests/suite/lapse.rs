//! Windows and presence with the real binary: what is counted leaves by time alone, whatever ends the server.

use serde_json::{Value, json};

use crate::harness::{Client, PATIENCE, eventually, setup};
use crate::midnight::ShiftedClock;

const MINUTE: i64 = 60_000;

/// 2026-11-24T12:00:00Z.
const NOON: i64 = 1_795_521_600_000;

fn path(counter: &str, call: &str) -> String {
    format!("/api/v1/counter/{counter}/{call}")
}

fn read(client: &mut Client, counter: &str) -> Value {
    client.get(&format!("/api/v1/counter/{counter}")).ok()
}

/// What an answer says of an operation.
fn said(answer: &Value) -> [Value; 3] {
    ["current_value", "counted", "applied"].map(|field| answer[field].clone())
}

#[test]
fn a_window_slides_for_readers_copies_and_days_and_over_a_kill() {
    let home = tempfile::tempdir().unwrap();
    let Some((setup, clock)) = ShiftedClock::for_server(
        "a_window_slides_for_readers_copies_and_days_and_over_a_kill",
        setup!(home.path()),
        home.path(),
    ) else {
        return;
    };
    clock.set(NOON + 1000);
    let server = setup.start();
    let mut client = server.client();
    let up = path("active_users_1h", "increment");
    let anna = json!({"user_id": "anna"});
    let first = client.post(&up, &anna).ok();
    assert_eq!(said(&first), [json!(1), json!(true), json!(1)]);
    let same_grain = client.post(&up, &anna).ok();
    assert_eq!(said(&same_grain), [json!(1), json!(false), json!(0)]);
    let shown = read(&mut client, "active_users_1h");
    let window = json!({"span": "1h", "grain": "1m", "from": "2026-11-24T11:01:00.000Z", "to": "2026-11-24T12:01:00.000Z"});
    assert_eq!(shown["window"], window);
    server
        .admin()
        .define("rounds", &json!({"kind": "sum", "window": "10m"}));
    let counted = client
        .post(&path("rounds", "increment"), &json!({"value": 7}))
        .ok();

    clock.set(NOON + 30 * MINUTE + 1000);
    client.post(&up, &json!({"user_id": "bert"})).ok();
    let later = client.post(&up, &anna).ok();
    assert_eq!(said(&later), [json!(2), json!(true), json!(0)]);
    eventually(
        "the sum has slid, and is told so in order",
        PATIENCE,
        || {
            let rounds = read(&mut client, "rounds");
            assert_eq!(rounds["value"], 0);
            (rounds["revision"].as_u64() > counted["revision"].as_u64()).then_some(())
        },
    );
    let out = client
        .post(
            &path("active_users_1h", "decrement"),
            &json!({"user_id": "bert"}),
        )
        .ok();
    assert_eq!(said(&out), [json!(1), json!(true), json!(1)]);
    client.post(&up, &json!({"user_id": "bert"})).ok();
    server.kill9();

    // An hour and half a minute after the last of them, off the whole time.
    clock.set(NOON + 89 * MINUTE);
    let server = setup.start();
    let mut client = server.client();
    assert_eq!(read(&mut client, "active_users_1h")["value"], 2);
    clock.set(NOON + 90 * MINUTE);
    assert_eq!(read(&mut client, "active_users_1h")["value"], 0);
    let anew = client.post(&up, &anna).ok();
    assert_eq!(said(&anew), [json!(1), json!(true), json!(1)]);

    client
        .post(&path("rounds", "decrement"), &json!({}))
        .refused(409, "wrong_kind");
    client
        .post(&path("rounds", "heartbeat"), &anna)
        .refused(409, "wrong_kind");
    let mut admin = server.admin();
    let adjust = json!({"value": 3, "reason": "why"});
    admin
        .post(&path("rounds", "adjust"), &adjust)
        .refused(409, "wrong_kind");
    let other = json!({"kind": "sum", "window": "20m"});
    admin
        .put("/api/v1/counter/rounds", &other)
        .refused(409, "definition_conflict");
    let day = &client.get(&path("rounds", "history")).ok()["days"][0];
    assert_eq!(
        (&day["peak"], &day["final_value"], &day["increments"]),
        (&json!(7), &json!(0), &json!(7))
    );
    server.stop();
}

#[test]
fn leases_end_by_themselves_and_settle_after_a_kill() {
    let home = tempfile::tempdir().unwrap();
    let setup = setup!(home.path());
    let server = setup.start();
    let mut client = server.client();
    let definition = server
        .admin()
        .define("here", &json!({"kind": "presence", "ttl": "5s"}));
    assert_eq!(definition["definition"]["ttl"], "5s");
    let (beat, leave) = (path("here", "heartbeat"), path("here", "leave"));
    client
        .post(&beat, &json!({}))
        .refused(400, "missing_user_id");
    client
        .post(&beat, &json!({"user_id": "a", "value": -1}))
        .refused(400, "invalid_value");
    client
        .post(
            &path("online_players", "heartbeat"),
            &json!({"user_id": "a"}),
        )
        .refused(409, "wrong_kind");
    client
        .post(&path("nobody", "heartbeat"), &json!({"user_id": "a"}))
        .refused(404, "unknown_counter");

    let log_in = json!({"operations": [
        {"op": "heartbeat", "name": "here", "user_id": "anna", "session": "s2"},
        {"op": "increment", "name": "daily_active_users", "user_id": "anna"},
        {"op": "heartbeat", "name": "here", "user_id": "gs-17", "value": 63}]});
    let results = client.post("/api/v1/batch", &log_in).ok()["results"].clone();
    assert_eq!(said(&results[0]), [json!(1), json!(true), json!(1)]);
    assert_eq!(
        (&results[2]["change"], &results[2]["current_value"]),
        (&json!(63), &json!(64))
    );
    assert!(results[2]["expires_at"].is_string() && results[1]["expires_at"].is_null());
    let older = client
        .post(&leave, &json!({"user_id": "anna", "session": "s1"}))
        .ok();
    assert_eq!(said(&older), [json!(64), json!(false), json!(0)]);
    let lighter = json!({"user_id": "gs-17", "value": 60});
    let renewed = client.post_keyed(&beat, "k1", &lighter);
    let again = client.post_keyed(&beat, "k1", &lighter);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    let renewed = renewed.ok();
    assert_eq!(again.ok(), renewed);
    assert_eq!(
        (&renewed["change"], &renewed["counted"]),
        (&json!(-3), &json!(false))
    );
    // Clients of the first API need no change.
    client
        .post(&path("here", "increment"), &json!({"user_id": "old"}))
        .ok();
    let out = client
        .post(&path("here", "decrement"), &json!({"user_id": "old"}))
        .ok();
    assert_eq!(
        (&out["change"], &out["expires_at"]),
        (&json!(-1), &Value::Null)
    );
    let shown = read(&mut client, "here");
    assert_eq!(
        (&shown["value"], &shown["leases"], &shown["settling"]),
        (&json!(61), &json!(2), &json!(false))
    );
    // Its grain would be two seconds.
    let longer = json!({"kind": "presence", "ttl": "15m"});
    let mut admin = server.admin();
    admin
        .put("/api/v1/counter/here", &longer)
        .refused(409, "definition_conflict");
    server.kill9();

    let server = setup.start();
    let mut client = server.client();
    let shown = read(&mut client, "here");
    assert_eq!(
        (&shown["value"], &shown["leases"], &shown["settling"]),
        (&json!(61), &json!(2), &json!(true))
    );
    eventually(
        "the leases end, and that is a total of the day",
        PATIENCE,
        || {
            let shown = read(&mut client, "here");
            let day = &client.get(&path("here", "history")).ok()["days"][0];
            (shown["value"] == 0 && shown["leases"] == 0 && day["expired"] == 2).then_some(())
        },
    );
    eventually("it has settled", PATIENCE, || {
        (read(&mut client, "here")["settling"] == false).then_some(())
    });
    server.stop();
}
