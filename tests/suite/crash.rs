//! kill -9 under load, also during the first start and during the opening after a kill: what was
//! acknowledged is counted, once; what was refused is not; what is unknown may be either, once. What
//! was told to those who watch is true after it, and who comes back ends with what is read.
//!
//! A kill shows what a process crash does; the page cache survives it. Power cuts are in `power`.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Client, Dice, PATIENCE, Setup, eventually, rounds, seed};
use crate::traffic::{self, Control, Mix};

#[test]
fn kill_9_under_load_loses_and_doubles_nothing() {
    let seed = seed("crash");
    let mut dice = Dice::new(seed);
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path()).set("push.interval", "10ms");
    killed_first_starts(&setup, &mut dice);
    let server = setup.start();
    traffic::define(&mut server.admin());
    let control = Control::new();
    let mix = Mix {
        connections: 64,
        seed,
        users: 20_000,
        big_batches: 1,
        watchers: 4,
        daily: false,
    };
    let (history, server) = traffic::during(setup.address(), mix, &control, || {
        let mut server = server;
        for round in 1..=rounds(3) {
            let (before, begun) = (control.acknowledged(), Instant::now());
            control.wait_for(5000 + dice.below(30_000));
            let rate = (control.acknowledged() - before) as f64 / begun.elapsed().as_secs_f64();
            server.kill9();
            println!("round {round}: killed at {rate:.0} operations a second");
            if round % 2 == 0 {
                kill_while_opening(&setup, &mut dice);
            }
            server = setup.start();
        }
        control.wait_for(2000);
        server
    });
    let words = history.streams.iter().map(|stream| stream.words.len());
    println!(
        "{} intents, {} operations, {} words of streams",
        history.intents.len(),
        control.acknowledged(),
        words.sum::<usize>()
    );
    // Judged on the connections of the load, before anybody comes back.
    assert!(history.streams.iter().all(|stream| stream.quiet.len() == 1));
    traffic::verify(&mut server.client(), &control, history.clone());
    // Once more from the disk alone.
    server.kill9();
    let server = setup.start();
    traffic::verify(&mut server.client(), &control, history);
    server.stop();
}

/// Kills the very first start at some of its steps; the next start finds nothing in its way.
fn killed_first_starts(setup: &Setup, dice: &mut Dice) {
    let steps = [
        "lock",
        "store.new",
        "store.new/db/CURRENT",
        "store.new/ACKED",
        "store",
        "store/db/LOCK",
    ];
    for step in steps {
        let mut server = setup.spawn();
        let path = setup.data().join(step);
        // A step that is already over is as good: the kill comes somewhere later.
        eventually(step, PATIENCE, || {
            (path.exists() || setup.data().join("store").exists() || server.try_exit().is_some())
                .then_some(())
        });
        assert!(server.try_exit().is_none(), "{}", server.output());
        spin(Duration::from_micros(dice.below(3000)));
        server.kill9();
    }
}

/// Kills a start on a store that was killed, some time after it took the lock.
fn kill_while_opening(setup: &Setup, dice: &mut Dice) {
    let server = setup.spawn();
    eventually("it opens files", PATIENCE, || {
        let dir = format!("/proc/{}/fd", server.pid());
        let open = |entry: std::io::Result<std::fs::DirEntry>| {
            entry
                .ok()
                .and_then(|entry| std::fs::read_link(entry.path()).ok())
        };
        let of_store = |path: &Path| path.starts_with(setup.data());
        let mut files = std::fs::read_dir(dir).ok()?.filter_map(open);
        files.any(|path| of_store(&path)).then_some(())
    });
    spin(Duration::from_micros(dice.below(60_000)));
    server.kill9();
}

/// A random moment, not a wait: the kill is to fall anywhere.
fn spin(length: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < length {
        std::hint::spin_loop();
    }
}

/// What a kill must not change, looked at one by one.
#[test]
fn values_users_keys_and_revisions_are_what_they_were_before_the_crash() {
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path());
    let server = setup.start();
    let mut client = server.admin();
    client.define(
        "temp",
        &json!({"kind": "gauge", "min": -5, "max": 50, "on_bound": "clamp", "description": "x"}),
    );
    let kept = client
        .post_keyed(
            "/api/v1/counter/temp/increment",
            "k1",
            &json!({"value": 70}),
        )
        .ok();
    assert_eq!(
        (&kept["applied"], &kept["current_value"]),
        (&json!(50), &json!(50))
    );
    client
        .post(
            "/api/v1/counter/daily_active_users/increment",
            &json!({"user_id": "u1"}),
        )
        .ok();
    client
        .post("/api/v1/counter/auto/increment", &json!({"value": 4}))
        .ok();
    client.post("/api/v1/counter/auto/reset", &json!({})).ok();
    client
        .post("/api/v1/counter/doomed/increment", &json!({"value": 4}))
        .ok();
    assert_eq!(
        client
            .request("DELETE", "/api/v1/counter/doomed", &[], b"")
            .unwrap()
            .ok()["final_value"],
        4
    );
    let before = all(&mut client);
    server.kill9();
    let server = setup.start();
    let mut client = server.admin();
    assert_eq!(all(&mut client), before);
    let again = client.post_keyed(
        "/api/v1/counter/temp/increment",
        "k1",
        &json!({"value": 70}),
    );
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.ok(), kept);
    let duplicate = client
        .post(
            "/api/v1/counter/daily_active_users/increment",
            &json!({"user_id": "u1"}),
        )
        .ok();
    assert_eq!(
        (&duplicate["counted"], &duplicate["current_value"]),
        (&json!(false), &json!(1))
    );
    let gone = client
        .get("/api/v1/counter/doomed")
        .refused(410, "counter_deleted");
    assert_eq!(gone["final_value"], 4);
    assert_eq!(
        all(&mut client),
        before,
        "neither the replay nor the duplicate changed anything"
    );
    server.stop();
}

fn all(client: &mut Client) -> serde_json::Value {
    client.get("/api/v1/counters/all").ok()
}

/// The clients hear nothing although the server counted: the retry with the key is the same answer.
#[test]
fn an_answer_lost_on_the_way_is_replayed_by_its_key() {
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path());
    let server = setup.start();
    for number in 0..50 {
        let key = format!("lost-{number}");
        let body = json!({"value": 2}).to_string();
        let mut gone = server.client();
        gone.send(
            "POST",
            "/api/v1/counter/lost/increment",
            &[("idempotency-key", &key)],
            body.as_bytes(),
        )
        .unwrap();
        drop(gone);
        let answer = server.client().post_keyed(
            "/api/v1/counter/lost/increment",
            &key,
            &json!({"value": 2}),
        );
        assert_eq!(answer.ok()["current_value"], 2 * (number + 1));
    }
    assert_eq!(server.client().value("lost"), 100);
    server.stop();
}
