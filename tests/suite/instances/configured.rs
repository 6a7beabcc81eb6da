//! Instances whose configurations differ: what the one that was started last says of counters holds, once.

use std::fs;

use serde_json::{Value, json};

use super::{log, patient};
use crate::harness::{PATIENCE, Server, eventually};

/// The greatest value that an instance says the counter may have, and the revision of its last change.
fn said(server: &Server) -> (Value, Value) {
    let all = server.admin().get("/api/v1/counters/all").ok();
    let mut counters = all["counters"].as_array().unwrap().iter();
    let songs = counters.find(|counter| counter["name"] == "songs").unwrap();
    (
        songs["definition"]["max"].clone(),
        songs["revision"].clone(),
    )
}

#[test]
fn a_counter_is_what_the_instance_that_was_started_last_says_and_no_other_says_so_again() {
    let test =
        "a_counter_is_what_the_instance_that_was_started_last_says_and_no_other_says_so_again";
    let Some(redis) = log(test) else { return };
    let homes: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let setups: Vec<_> = homes
        .iter()
        .zip([100, 200])
        .map(|(home, max)| {
            let file = home.path().join("counterd.toml");
            let counter = format!("[[counter]]\nname = \"songs\"\nkind = \"sum\"\nmax = {max}\n");
            fs::write(&file, counter).unwrap();
            let setup = patient(home, &redis).arg("--config");
            setup.arg(file.to_str().unwrap())
        })
        .collect();
    let one = setups[0].start();
    assert_eq!(said(&one).0, json!(100));
    let two = setups[1].start();
    let both_say = |servers: [&Server; 2], max: i64| {
        let found = eventually("both say so", PATIENCE, || {
            let [first, second] = servers.map(said);
            (first == second && first.0 == max).then_some(first)
        });
        // For as long as each brings its counters up to date several times.
        let now = || redis.say::<(i64, i64)>("TIME").0;
        let begun = now();
        eventually("time goes on", PATIENCE, || {
            assert_eq!(servers.map(said), [found.clone(), found.clone()]);
            (now() > begun + 3).then_some(())
        });
    };
    both_say([&one, &two], 200);
    one.stop();
    let one = setups[0].start();
    both_say([&one, &two], 100);
}
