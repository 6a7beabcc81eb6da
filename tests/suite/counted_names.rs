//! A server that counts some names (`counters.names`) changes no counter of another name, by any call.

use serde_json::{Value, json};

use crate::harness::{Client, setup};

/// The refusal of a request for `shop:sales`, which is counted elsewhere.
#[track_caller]
fn is_refused(client: &mut Client, line: &str, body: &Value) -> Value {
    let (method, path) = line.split_once(' ').unwrap();
    let body = body.to_string();
    let answer = client.request(method, path, &[], body.as_bytes()).unwrap();
    let problem = answer.refused(409, "not_counted_here");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("`shop:sales`"), "{line}: {detail}");
    problem
}

#[test]
fn a_name_that_is_counted_elsewhere_is_refused_in_every_call_and_counts_nothing() {
    let home = tempfile::tempdir().unwrap();
    let names = "lobby:*,online_players,total_games_played";
    let server = setup!(home.path()).set("counters.names", names).start();
    let mut admin = server.admin();
    admin.define("lobby:here", &json!({"kind": "presence", "ttl": "1m"}));
    admin
        .post("/api/v1/counter/lobby:eu/increment", &json!({"value": 5}))
        .ok();
    let revision = |client: &mut Client| client.get("/readyz?verbose").ok()["revision"].clone();
    let before = revision(&mut admin);

    let user = json!({"user_id": "anna"});
    for (line, body) in [
        ("POST /api/v1/counter/shop:sales/increment", json!({})),
        ("POST /api/v1/counter/shop%3Asales/increment", json!({})),
        ("POST /api/v1/counter/shop:sales/decrement", json!({})),
        ("POST /api/v1/counter/shop:sales/heartbeat", user.clone()),
        ("POST /api/v1/counter/shop:sales/leave", user),
        ("PUT /api/v1/counter/shop:sales", json!({"kind": "sum"})),
        ("DELETE /api/v1/counter/shop:sales", json!({})),
        ("POST /api/v1/counter/shop:sales/reset", json!({})),
        (
            "POST /api/v1/counter/shop:sales/adjust",
            json!({"value": 1, "reason": "why"}),
        ),
    ] {
        is_refused(&mut admin, line, &body);
    }
    let up = |name: &str| json!({"op": "increment", "name": name});
    for mode in ["all", "each"] {
        let operations = [up("lobby:eu"), up("shop:sales"), up("lobby:eu")];
        let batch = json!({"operations": operations, "mode": mode});
        let problem = is_refused(&mut admin, "POST /api/v1/batch", &batch);
        assert_eq!(problem["index"], 1);
    }
    assert_eq!(revision(&mut admin), before, "something was counted");
    let unknown = admin.get("/api/v1/counter/shop:sales");
    unknown.refused(404, "unknown_counter");

    let own = json!({"operations": [up("lobby:eu"), up("lobby:us"), up("online_players")]});
    admin.post("/api/v1/batch", &own).ok();
    let all = admin.get("/api/v1/counters/all").ok();
    let counters = all["counters"].as_array().unwrap().iter();
    let counters: Vec<_> = counters
        .map(|counter| (counter["name"].as_str().unwrap(), counter["value"].as_i64()))
        .collect();
    // What is built in is there where it is counted, and nowhere else.
    let wanted = [
        ("lobby:eu", Some(6)),
        ("lobby:here", Some(0)),
        ("lobby:us", Some(1)),
        ("online_players", Some(1)),
        ("total_games_played", Some(0)),
    ];
    assert_eq!(counters, wanted);
    server.stop();
}
