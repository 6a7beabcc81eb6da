//! The real binary with a mirror: its configuration, pages, `check`, and what it prints.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::json;

use super::redis;
use crate::harness::{Client, PATIENCE, REDIS_PASSWORD, Setup, eventually};

/// What docs/redis.md says that the mirror's user needs.
fn documented_user() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/redis.md");
    let docs = std::fs::read_to_string(path).unwrap();
    let line = docs.lines().find(|line| line.starts_with("ACL SETUSER "));
    line.expect("docs/redis.md has the user's rules").to_owned()
}

#[test]
fn the_documented_user_can_do_what_the_mirror_does() {
    let test = "the_documented_user_can_do_what_the_mirror_does";
    let Some(redis) = redis(test) else {
        return;
    };
    let rules = documented_user();
    redis.say::<()>(&rules);
    let password = rules.split(" >").nth(1).unwrap().split(' ').next().unwrap();
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path())
        .set("redis.mirror", "true")
        .set("redis.users", "true")
        .set("redis.url", &redis.url_as("counterd", password, 0));
    let server = setup.start();
    let mut client = server.admin();
    client.post("/api/v1/counter/a/increment", &json!({})).ok();
    client
        .post(
            "/api/v1/counter/daily_active_users/increment",
            &json!({"user_id": "u1"}),
        )
        .ok();
    eventually("the user is there", PATIENCE, || {
        let keys: Vec<String> = redis.say("KEYS counter:daily_active_users:users:*");
        (keys.len() == 1).then_some(())
    });
    eventually("it is mirrored", PATIENCE, || {
        (redis.say::<Option<i64>>("GET counter:a") == Some(1)).then_some(())
    });
    client
        .request("DELETE", "/api/v1/counter/a", &[], b"")
        .unwrap()
        .ok();
    eventually("it is gone", PATIENCE, || {
        redis
            .say::<Option<i64>>("GET counter:a")
            .is_none()
            .then_some(())
    });
    let checked = setup.command("check").output().unwrap();
    let text = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(
        text.contains("takes writes; the mirror's scripts are loaded"),
        "{text}"
    );
    server.stop();
    // Only what is granted was asked for: the log of what was refused is empty, but for what the
    // driver tells of itself.
    let refused: Vec<redis::Value> = redis.say("ACL LOG");
    let refused: BTreeSet<String> = refused
        .iter()
        .map(|entry| format!("{entry:?}"))
        .filter(|entry| !entry.contains("client|setinfo"))
        .collect();
    assert!(refused.is_empty(), "{refused:?}");
}

#[test]
fn no_output_shows_the_password() {
    let Some(mut redis) = redis("no_output_shows_the_password") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let wrong = "a-wrong-password-of-tests";
    let setup = Setup::new(home.path())
        .set("redis.mirror", "true")
        .set("redis.timeout", "1s");
    for (password, gone) in [(wrong, false), (REDIS_PASSWORD, true)] {
        if gone {
            redis.kill();
        }
        let setup = setup
            .clone()
            .set("redis.url", &redis.url_as("", password, 0));
        let server = setup.start();
        let mut client = server.client();
        client.post("/api/v1/counter/a/increment", &json!({})).ok();
        let page = eventually("it is told", PATIENCE, || {
            let page = client.get("/readyz?verbose").text();
            let told = if gone {
                "cannot connect to Redis"
            } else {
                "Redis says: "
            };
            page.contains(told).then_some(page)
        });
        let checked = setup.command("check").output().unwrap();
        let checked = String::from_utf8_lossy(&checked.stdout).into_owned();
        assert!(checked.contains("FAULT  Redis"), "{checked}");
        let metrics = client.get("/metrics").text();
        assert!(metrics.contains("\ncounterd_mirror_up 0\n"), "{metrics}");
        let output = server.output();
        assert!(
            output.contains("the mirror in Redis is held up"),
            "{output}"
        );
        for shown in [page, checked, metrics, output] {
            for secret in [wrong, REDIS_PASSWORD] {
                assert!(!shown.contains(secret), "{shown}");
            }
        }
        server.stop();
    }
}

#[test]
fn two_servers_at_one_place_both_say_so_until_one_ends() {
    let Some(redis) = redis("two_servers_at_one_place_both_say_so_until_one_ends") else {
        return;
    };
    let homes = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let setups = homes.each_ref().map(|home| {
        Setup::new(home.path())
            .set("redis.mirror", "true")
            .set("redis.url", &redis.url())
    });
    // A store and a copy of it: they are of one epoch.
    setups[0].start().stop();
    let copied = Command::new("cp")
        .arg("-r")
        .args(setups.each_ref().map(Setup::data))
        .status();
    assert!(copied.unwrap().success());
    let [first, second] = setups.each_ref().map(Setup::start);
    let mut clients = [first.client(), second.client()];
    let standing =
        |client: &mut Client| client.get("/readyz?verbose").json()["lags"]["redis"].clone();
    let says_so = |standing: &serde_json::Value| {
        let error = standing["error"].as_str().unwrap_or_default();
        standing["up"] == false && error.contains("another counterd mirrors to the same keys")
    };
    eventually("both say so", PATIENCE, || {
        clients
            .iter_mut()
            .all(|client| says_so(&standing(client)))
            .then_some(())
    });
    // That one of them takes the keys back, again and again, is no end of it.
    let refills = |client: &mut Client| -> u64 {
        let page = client.get("/metrics").text();
        let mut lines = page.lines();
        let line = lines.find_map(|line| line.strip_prefix("counterd_mirror_refills_total "));
        line.unwrap().parse().unwrap()
    };
    let before = clients.each_mut().map(refills);
    eventually(
        "each takes the keys back three times more",
        PATIENCE,
        || {
            let both = clients.iter_mut().zip(before);
            let taken = both.map(|(client, before)| {
                let standing = standing(client);
                assert!(says_so(&standing), "{standing}");
                refills(client) - before
            });
            taken.fold(u64::MAX, u64::min).ge(&3).then_some(())
        },
    );
    first.stop();
    let [_, client] = &mut clients;
    client.post("/api/v1/counter/a/increment", &json!({})).ok();
    eventually("the other has the keys", PATIENCE, || {
        let up = standing(client)["up"] == true;
        (up && redis.say::<Option<i64>>("GET counter:a") == Some(1)).then_some(())
    });
}

#[test]
fn a_server_that_ends_leaves_its_last_values() {
    let Some(redis) = redis("a_server_that_ends_leaves_its_last_values") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path())
        .set("redis.mirror", "true")
        .set("redis.url", &redis.url())
        .set("redis.interval", "10s");
    let server = setup.start();
    let mut client = server.client();
    eventually("it is up", PATIENCE, || {
        let page = client.get("/readyz?verbose").json();
        (page["lags"]["redis"]["up"] == true).then_some(())
    });
    client.post("/api/v1/counter/a/increment", &json!({})).ok();
    server.stop();
    assert_eq!(redis.say::<i64>("GET counter:a"), 1);
    assert_eq!(redis.say::<i64>("HGET counterd:mirror complete"), 1);
}
