//! Clients that come and go at any moment under load: what each has at the end is what a read says.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Dice, Event, Listener, Server, rounds, seed, setup};

const NAMES: [&str; 6] = ["r0", "r1", "r2", "r3", "r4", "r5"];

/// What one client knows.
#[derive(Default)]
struct Known {
    position: Option<String>,
    values: HashMap<String, Value>,
}

impl Known {
    /// Takes an event; no counter goes back.
    fn take(&mut self, event: Event) {
        self.position = event.id.or(self.position.take());
        let told = match event.kind.as_str() {
            "state" => {
                let gone = event.data["missing"].as_array().unwrap();
                for name in gone {
                    self.values.remove(name.as_str().unwrap());
                }
                event.data["counters"].as_array().unwrap().clone()
            }
            "update" if event.data["missing"] == true => {
                self.values.remove(event.data["name"].as_str().unwrap());
                Vec::new()
            }
            "update" => vec![event.data],
            _ => Vec::new(),
        };
        for counter in told {
            let name = counter["name"].as_str().unwrap().to_owned();
            let before = self
                .values
                .get(&name)
                .map(|known| known["revision"].as_u64());
            assert!(
                before <= Some(counter["revision"].as_u64()),
                "{counter} after {before:?}"
            );
            self.values.insert(name, counter);
        }
    }
}

fn open(server: &Server, known: &Known) -> Listener {
    let query = format!("names={}", NAMES.join(","));
    match &known.position {
        Some(position) => Listener::open(server, &query, &[("last-event-id", position)]),
        None => Listener::open(server, &query, &[]),
    }
}

#[test]
fn whoever_comes_back_at_any_moment_ends_with_the_last_values() {
    let mut dice = Dice::new(seed(
        "whoever_comes_back_at_any_moment_ends_with_the_last_values",
    ));
    let home = TempDir::new().unwrap();
    let server = setup!(home.path()).set("push.interval", "10ms").start();
    let done = AtomicBool::new(false);
    let mut known = Known::default();
    std::thread::scope(|scope| {
        for number in 0..3_usize {
            let (server, done) = (&server, &done);
            scope.spawn(move || {
                let mut client = server.admin();
                let mut turn = number;
                while !done.load(Ordering::Relaxed) {
                    turn += 1;
                    let name = |turn: usize| NAMES[turn % NAMES.len()];
                    // Several in one group, with revisions of their own.
                    let operations = json!([
                        {"op": "increment", "name": name(turn)},
                        {"op": "increment", "name": name(turn + 1)},
                    ]);
                    let body = json!({ "operations": operations });
                    // Refused while another thread has one of them deleted.
                    client.post("/api/v1/batch", &body);
                    if turn % 97 == 0 {
                        let path = format!("/api/v1/counter/{}", name(turn));
                        // Another thread may have been first.
                        let _ = client.request("DELETE", &path, &[], b"").unwrap();
                        client.put(&path, &json!({"kind": "sum"}));
                    }
                }
            });
        }
        for _ in 0..rounds(100) {
            let mut listener = open(&server, &known);
            for _ in 0..dice.below(12) {
                known.take(listener.next());
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    // After quiet, one more time: the last word is what a read says.
    let mut listener = open(&server, &known);
    known.take(listener.state());
    let read = server
        .client()
        .get(&format!("/api/v1/counters?names={}", NAMES.join(",")))
        .ok();
    for counter in read["counters"].as_array().unwrap() {
        let name = counter["name"].as_str().unwrap();
        assert_eq!(known.values.get(name), Some(counter), "{name}");
    }
    for name in read["missing"].as_array().unwrap() {
        assert_eq!(known.values.get(name.as_str().unwrap()), None, "{name}");
    }
    server.stop();
}

#[test]
fn a_stream_goes_on_over_kills_of_the_server() {
    let home = TempDir::new().unwrap();
    let setup = setup!(home.path()).set("push.interval", "10ms");
    let mut known = Known::default();
    let mut server = setup.start();
    for round in 1..=rounds(3) {
        let mut client = server.admin();
        let mut listener = open(&server, &known);
        known.take(listener.state());
        for name in NAMES {
            client
                .post(&format!("/api/v1/counter/{name}/increment"), &json!({}))
                .ok();
        }
        // Some of it is heard; the rest is lost with the server.
        for _ in 0..round % 6 {
            known.take(listener.next());
        }
        server.kill9();
        server = setup.start();
    }
    let mut listener = open(&server, &known);
    let state = listener.state();
    assert_eq!(state.data["resumed"], true);
    known.take(state);
    let mut client = server.client();
    for name in NAMES {
        let read = client.get(&format!("/api/v1/counter/{name}")).ok();
        assert_eq!(known.values.get(name), Some(&read), "{name}");
    }
    server.stop();
}
