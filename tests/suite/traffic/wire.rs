//! What the clients of the load send, and what they are answered, in JSON.

use serde_json::{Value, json};

use super::HERE;
use crate::checker::{Done, Step};

/// Path and body of what the steps ask for.
pub fn request(steps: &[Step]) -> (String, Value) {
    let verb = |step: &Step| match step.delta > 0 {
        true if step.counter == HERE => "heartbeat",
        true => "increment",
        false => "decrement",
    };
    let body = |step: &Step| match &step.user {
        Some(user) => json!({"value": step.delta.abs(), "user_id": user}),
        None => json!({"value": step.delta.abs()}),
    };
    if let [one] = steps {
        return (
            format!("/api/v1/counter/{}/{}", one.counter, verb(one)),
            body(one),
        );
    }
    let operations: Vec<Value> = steps
        .iter()
        .map(|step| {
            let mut operation = body(step);
            operation["op"] = verb(step).into();
            operation["name"] = step.counter.as_str().into();
            operation
        })
        .collect();
    (
        "/api/v1/batch".to_owned(),
        json!({"operations": operations}),
    )
}

/// The parts of a 200 to [`request`].
pub fn parts(body: &Value) -> Vec<Done> {
    let part = |one: &Value| Done {
        current_value: one["current_value"].as_i64().unwrap(),
        // Who is seen again in a window counts, and changes nothing but until when.
        counted: one["counted"] == true && one["applied"] != 0,
        revision: one["revision"].as_u64().unwrap(),
        period: one["period"].as_str().map(str::to_owned),
    };
    match body["results"].as_array() {
        Some(results) => results.iter().map(part).collect(),
        None => vec![part(body)],
    }
}
