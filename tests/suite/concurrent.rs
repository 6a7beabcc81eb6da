//! Many clients at once: the sums are exact, each answer is one moment's, and what moves together is
//! never seen apart.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::harness::{Client, Dice, PATIENCE, at_once, eventually, setup};

const CLIENTS: usize = 1000;

#[test]
fn a_thousand_concurrent_clients_leave_the_exact_sum() {
    let home = tempfile::tempdir().unwrap();
    let server = setup!(home.path()).start();
    server
        .admin()
        .define("mixed", &json!({"kind": "gauge", "min": -1_000_000}));
    let sums = at_once(CLIENTS, |number| {
        let mut client = server.client();
        let mut dice = Dice::new(number as u64);
        let mut sum = 0;
        for _ in 0..10 {
            let value = 1 + i64::try_from(dice.below(9)).unwrap();
            let (verb, delta) = if dice.below(2) == 0 {
                ("increment", value)
            } else {
                ("decrement", -value)
            };
            let answer = client.post(
                &format!("/api/v1/counter/mixed/{verb}"),
                &json!({"value": value}),
            );
            assert_eq!(answer.ok()["counted"], true);
            sum += delta;
        }
        sum
    });
    assert_eq!(server.client().value("mixed"), sums.iter().sum::<i64>());
    server.stop();
}

#[test]
fn every_concurrent_increment_is_answered_its_own_value() {
    let home = tempfile::tempdir().unwrap();
    let server = setup!(home.path()).start();
    let answers = at_once(CLIENTS, |_| {
        let mut client = server.client();
        let mut increment = || {
            let answer = client.post("/api/v1/counter/up/increment", &json!({})).ok();
            (
                answer["current_value"].as_i64().unwrap(),
                answer["revision"].as_i64().unwrap(),
            )
        };
        [
            increment(),
            increment(),
            increment(),
            increment(),
            increment(),
        ]
    });
    let answers: Vec<(i64, i64)> = answers.into_iter().flatten().collect();
    let values: BTreeSet<i64> = answers.iter().map(|(value, _)| *value).collect();
    assert_eq!(values, (1..=5 * CLIENTS as i64).collect());
    let revisions: BTreeSet<i64> = answers.iter().map(|(_, revision)| *revision).collect();
    assert_eq!(
        revisions.len(),
        answers.len(),
        "each change has a revision of its own"
    );
    assert_eq!(server.client().value("up"), 5 * CLIENTS as i64);
    server.stop();
}

/// Half a million operations at once are more than the queue takes. Nothing of what is refused was
/// counted, so it is sent again.
fn patiently(client: &mut Client, path: &str, body: &Value) -> Value {
    eventually("the queue has room", PATIENCE, || {
        let answer = client.post(path, body);
        if answer.status == 503 {
            answer.refused(503, "overloaded");
            return None;
        }
        Some(answer.ok())
    })
}

#[test]
fn the_same_500_users_from_a_thousand_concurrent_clients_are_500() {
    let home = tempfile::tempdir().unwrap();
    let server = setup!(home.path()).start();
    let counted = at_once(CLIENTS, |number| {
        let mut client = server.client();
        let mut dice = Dice::new(number as u64);
        let mut counted = 0;
        for _ in 0..10 {
            let user = format!("user-{}", dice.below(500));
            let path = "/api/v1/counter/daily_active_users/increment";
            let answer = patiently(&mut client, path, &json!({"user_id": user}));
            counted += u64::from(answer["counted"] == true);
        }
        let from = dice.below(500);
        let all: Vec<Value> = (0..500)
            .map(|n| json!({"op": "increment", "name": "daily_active_users", "user_id": format!("user-{}", (from + n) % 500)}))
            .collect();
        let answer = patiently(&mut client, "/api/v1/batch", &json!({"operations": all}));
        let results = answer["results"].as_array().unwrap();
        counted + results.iter().filter(|one| one["counted"] == true).count() as u64
    });
    assert_eq!(counted.iter().sum::<u64>(), 500);
    assert_eq!(server.client().value("daily_active_users"), 500);
    server.stop();
}

#[test]
fn counters_moved_together_by_a_batch_are_never_read_apart() {
    let home = tempfile::tempdir().unwrap();
    let server = setup!(home.path()).start();
    let names = ["left", "middle", "right"];
    for name in names {
        server
            .admin()
            .define(name, &json!({"kind": "gauge", "min": -1_000_000}));
    }
    let (writers_left, reads) = (AtomicU64::new(16), AtomicU64::new(0));
    at_once(24, |number| {
        let mut client = server.client();
        if number < 16 {
            for turn in 0..100 {
                let op = if turn % 3 == 0 {
                    "decrement"
                } else {
                    "increment"
                };
                let step = |name: &str| json!({"op": op, "name": name, "value": number + 1});
                let operations: Vec<Value> = names.into_iter().map(step).collect();
                client
                    .post("/api/v1/batch", &json!({"operations": operations}))
                    .ok();
            }
            writers_left.fetch_sub(1, Ordering::SeqCst);
        }
        while number >= 16 && writers_left.load(Ordering::SeqCst) > 0 {
            let answer = client.get("/api/v1/counters?names=left,middle,right").ok();
            let values: BTreeSet<i64> = answer["counters"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["value"].as_i64().unwrap())
                .collect();
            assert_eq!(values.len(), 1, "{answer}");
            reads.fetch_add(1, Ordering::SeqCst);
        }
    });
    assert!(reads.load(Ordering::SeqCst) > 0);
    let expected: i64 = (1..=16).map(|step| step * (66 - 34)).sum();
    assert_eq!(names.map(|name| server.client().value(name)), [expected; 3]);
    server.stop();
}

#[test]
fn duplicate_requests_under_one_key_that_come_at_once_count_once() {
    let home = tempfile::tempdir().unwrap();
    let server = setup!(home.path()).start();
    for round in 1..=20 {
        let key = format!("key-{round}");
        let answers = at_once(32, |_| {
            let answer = server.client().post_keyed(
                "/api/v1/counter/keyed/increment",
                &key,
                &json!({"value": 3}),
            );
            (answer.ok(), answer.header("idempotency-replayed").is_some())
        });
        assert_eq!(answers.iter().filter(|(_, replayed)| !replayed).count(), 1);
        assert!(
            answers.iter().all(|(body, _)| *body == answers[0].0),
            "{answers:?}"
        );
        assert_eq!(server.client().value("keyed"), 3 * round);
    }
    server.stop();
}
