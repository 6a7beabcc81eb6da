//! Leases that one instance gives and another tells of.

use serde_json::json;

use super::{agrees, log, patient};
use crate::harness::{PATIENCE, Server, eventually};

const HERE: &str = "/api/v1/counter/here";

fn settles(server: &Server) -> bool {
    let here = server.client().get(HERE).ok();
    here["settling"].as_bool().unwrap()
}

fn beats(server: &Server, user: &str) {
    let mut client = server.client();
    let beat = json!({ "user_id": user });
    client.post(&format!("{HERE}/heartbeat"), &beat).ok();
}

#[test]
fn only_an_instance_that_was_started_says_that_leases_settle_and_only_of_those_from_before() {
    let test =
        "only_an_instance_that_was_started_says_that_leases_settle_and_only_of_those_from_before";
    let Some(redis) = log(test) else { return };
    let homes: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let [one, two] = [0, 1].map(|at| patient(&homes[at], &redis).start());
    let definition = json!({ "kind": "presence", "ttl": "1h" });
    one.admin().put(HERE, &definition).ok();
    beats(&one, "u1");
    agrees(&[&one, &two], "here", 1);
    assert_eq!([&one, &two].map(settles), [false, false]);
    two.stop();
    let two = patient(&homes[1], &redis).start();
    beats(&one, "u2");
    agrees(&[&one, &two], "here", 2);
    assert_eq!([&one, &two].map(settles), [false, true]);
    // Nobody had a lease of the counter's new life before.
    one.admin().post(&format!("{HERE}/reset"), &json!({})).ok();
    beats(&one, "u3");
    agrees(&[&one, &two], "here", 1);
    eventually("nothing is uncertain", PATIENCE, || {
        (!settles(&two)).then_some(())
    });
    assert!(!settles(&one));
}
