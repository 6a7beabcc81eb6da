//! Answers that are written by hand are their types, byte for byte: what a server sent is read as the type, which knows
//! every field, and written again.

use serde::de::{DeserializeOwned, Deserializer};
use serde::{Deserialize, Serialize};

use super::*;

/// A field that may be absent, or there and `null`.
type Twice<T> = Option<Option<T>>;

/// Reads a field that is there, perhaps `null`.
fn twice<'de, D: Deserializer<'de>, T: Deserialize<'de>>(json: D) -> Result<Twice<T>, D::Error> {
    Option::deserialize(json).map(Some)
}

/// What an increment, a heartbeat, or an accepted operation of a batch answers.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangedBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    success: Option<bool>,
    current_value: i64,
    counted: bool,
    applied: u64,
    revision: u64,
    period: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<i64>,
    #[serde(
        default,
        deserialize_with = "twice",
        skip_serializing_if = "Option::is_none"
    )]
    expires_at: Twice<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RefusedBody {
    counted: bool,
    code: String,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<Kind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    minimum: Option<i64>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum ResultBody {
    Changed(ChangedBody),
    Refused(RefusedBody),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResultsBody {
    success: bool,
    results: Vec<ResultBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowBody {
    span: String,
    grain: String,
    from: String,
    to: String,
}

/// What a read answers.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CounterBody {
    name: String,
    value: i64,
    last_updated: String,
    kind: Option<Kind>,
    reset: Reset,
    revision: u64,
    epoch: u64,
    period: Option<String>,
    resets_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<WindowBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leases: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settling: Option<bool>,
    stale: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    definition: Option<Definition>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SeveralBody {
    counters: Vec<CounterBody>,
    missing: Vec<String>,
    stale: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListBody {
    counters: Vec<CounterBody>,
    next_cursor: Option<String>,
    stale: bool,
}

/// Panics unless the answer is its type, byte for byte.
#[track_caller]
fn is<T: DeserializeOwned + Serialize>(reply: &Reply) {
    let read: T =
        serde_json::from_str(&reply.body).unwrap_or_else(|error| panic!("{error}: {}", reply.body));
    assert_eq!(serde_json::to_string(&read).unwrap(), reply.body);
}

/// A server with a counter of each sort.
fn with_counters() -> Bench {
    let bench = Bench::new();
    bench
        .define("recent", &json!({"kind": "unique", "window": "1h"}))
        .ok();
    bench
        .define(
            "here",
            &json!({"kind": "presence", "ttl": "90s", "description": "\"ü\""}),
        )
        .ok();
    bench
        .define(
            "capped",
            &json!({"max": 5, "on_bound": "clamp", "expires_at": "2099-01-01T00:00:00Z"}),
        )
        .ok();
    bench
}

#[test]
fn operations_are_answered_as_their_types_byte_for_byte() {
    let bench = with_counters();
    for (path, body) in [
        ("new/increment", ""),
        ("new/increment", r#"{"value":3}"#),
        ("new/decrement", ""),
        ("capped/increment", r#"{"value":9}"#),
        ("capped/increment", r#"{"value":9}"#),
        ("dau/increment", r#"{"user_id":"u1"}"#),
        ("dau/increment", r#"{"user_id":"u1"}"#),
        ("recent/increment", r#"{"user_id":"u1"}"#),
        ("recent/decrement", r#"{"user_id":"u1"}"#),
        ("here/heartbeat", r#"{"user_id":"u1","value":7}"#),
        ("here/heartbeat", r#"{"user_id":"u1","value":2}"#),
        ("here/increment", r#"{"user_id":"u2"}"#),
        ("here/leave", r#"{"user_id":"u1"}"#),
        ("here/leave", r#"{"user_id":"nobody"}"#),
    ] {
        let reply = bench.ask(&format!("POST /api/v1/counter/{path}"), "", body);
        reply.ok();
        is::<ChangedBody>(&reply);
    }
    let operations = json!([
        {"op": "increment", "name": "fresh"},
        {"op": "heartbeat", "name": "here", "user_id": "u1"},
        {"op": "decrement", "name": "games"},
        {"op": "decrement", "name": "new", "value": 100},
        {"op": "increment", "name": "dau", "user_id": "u2"},
    ]);
    for (mode, operations) in [
        ("each", operations.clone()),
        ("all", json!([operations[0], operations[4]])),
    ] {
        let body = json!({"operations": operations, "mode": mode}).to_string();
        let reply = bench.ask("POST /api/v1/batch", "", &body);
        reply.ok();
        is::<ResultsBody>(&reply);
    }
    bench.end();
}

#[test]
fn values_are_answered_as_their_types_byte_for_byte() {
    let bench = with_counters();
    bench.up("online", r#"{"value":3}"#).ok();
    bench.up("dau", r#"{"user_id":"u1"}"#).ok();
    bench.up("recent", r#"{"user_id":"u1"}"#).ok();
    bench.up("here", r#"{"user_id":"u1","value":5}"#).ok();
    for name in ["online", "dau", "games", "recent", "here", "capped"] {
        is::<CounterBody>(&bench.get(&format!("/api/v1/counter/{name}")));
    }
    for names in ["online,recent,here,nobody,online", "nobody", "dau"] {
        is::<SeveralBody>(&bench.get(&format!("/api/v1/counters?names={names}")));
    }
    for query in ["", "?limit=2", "?prefix=nothing", "?prefix=o&limit=1"] {
        is::<ListBody>(&bench.get(&format!("/api/v1/counters/all{query}")));
    }
    bench.end();
}
