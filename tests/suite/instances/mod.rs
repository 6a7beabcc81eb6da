//! Several instances over one shared log in a real Redis: what one acknowledged, all count, once.

use serde_json::json;

use crate::harness::{PATIENCE, Redis, Server, Setup, at_once, eventually, skipped};

/// A Redis that keeps every acknowledged write.
fn log() -> Result<Redis, String> {
    Redis::with(["--appendonly", "yes", "--appendfsync", "always"])
}

fn instance(home: &tempfile::TempDir, redis: &Redis) -> Setup {
    Setup::new(home.path())
        .set("storage.engine", "redis")
        .set("redis.url", &redis.url())
}

fn value(server: &Server, name: &str) -> i64 {
    let answer = server.client().get(&format!("/api/v1/counter/{name}"));
    answer.json()["value"].as_i64().unwrap_or(-1)
}

fn agrees(servers: &[&Server], name: &str, want: i64) {
    for server in servers {
        eventually(&format!("{name} is {want} everywhere"), PATIENCE, || {
            (value(server, name) == want).then_some(())
        });
    }
}

#[test]
fn what_two_instances_count_at_once_both_say_and_a_third_that_starts_later() {
    let test = "what_two_instances_count_at_once_both_say_and_a_third_that_starts_later";
    let redis = match log() {
        Ok(redis) => redis,
        Err(reason) => return skipped(test, &reason),
    };
    let homes: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let one = instance(&homes[0], &redis).start();
    let two = instance(&homes[1], &redis).start();
    let servers = [&one, &two];
    const CLIENTS: usize = 8;
    const EACH: usize = 50;
    at_once(CLIENTS, |client| {
        let mut http = servers[client % 2].client();
        for round in 0..EACH {
            http.post("/api/v1/counter/a/increment", &json!({ "value": 2 }))
                .ok();
            // Each user comes to both instances.
            let user = json!({ "user_id": format!("u{}-{round}", client / 2) });
            http.post("/api/v1/counter/daily_active_users/increment", &user)
                .ok();
            let key = format!("k{}-{round}", client / 2);
            http.request(
                "POST",
                "/api/v1/counter/keyed/increment",
                &[("Idempotency-Key", &key)],
                b"{}",
            )
            .unwrap()
            .ok();
        }
    });
    let both = (CLIENTS * EACH) as i64;
    let third = instance(&homes[2], &redis).start();
    let all = [&one, &two, &third];
    agrees(&all, "a", 2 * both);
    agrees(&all, "daily_active_users", both / 2);
    agrees(&all, "keyed", both / 2);
    let before = value(&one, "a");
    one.kill9();
    two.client()
        .post("/api/v1/counter/a/increment", &json!({}))
        .ok();
    let one = instance(&homes[0], &redis).start();
    agrees(&[&one, &two, &third], "a", before + 1);
}
