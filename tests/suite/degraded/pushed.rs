//! A server that starts without its store tells those who watch what the copies say, and of the store once it is there.

use std::fs;

use serde_json::json;

use super::{Copies, count_a_little, setup};
use crate::harness::Listener;

#[test]
fn a_degraded_start_and_the_recovery_reach_a_subscriber_without_a_write() {
    let Some(copies) =
        Copies::new("a_degraded_start_and_the_recovery_reach_a_subscriber_without_a_write")
    else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let setup = setup(home.path(), &copies).set("push.interval", "10ms");
    let server = setup.start();
    count_a_little(&server, &copies);
    let mut listener = Listener::open(&server, "names=gauge,nobody", &[]);
    let position = listener.state().id.unwrap();
    server.stop();
    // As with a volume that is not mounted.
    let away = home.path().join("away");
    fs::rename(setup.data(), &away).unwrap();
    let server = setup.start();
    let mut listener = Listener::open(
        &server,
        "names=gauge,nobody",
        &[("last-event-id", &position)],
    );
    let state = listener.state();
    // Nothing of a copy is a position, and whoever comes is told all of it.
    assert_eq!((state.id, &state.data["resumed"]), (None, &json!(false)));
    let data = state.data;
    assert_eq!(
        (&data["mode"], &data["cause"]),
        (&json!("read_only"), &json!("no_store"))
    );
    assert_eq!(
        (&data["stale"], &data["epoch"]),
        (&json!(true), &json!(null))
    );
    let gauge = &data["counters"][0];
    assert_eq!(
        (&gauge["value"], &gauge["source"]),
        (&json!(7), &json!("redis"))
    );
    assert_eq!(data["unknown_here"], json!(["nobody"]));
    fs::rename(&away, setup.data()).unwrap();
    // The store is there: the values are its own, and writes are served.
    let (mut fresh, mut known, mut served) = (false, false, false);
    while !(fresh && known && served) {
        let event = listener.next();
        if event.kind == "tick" {
            continue;
        }
        let data = event.data;
        served |= data["mode"] == "normal";
        known |= data == json!({"name": "nobody", "value": null, "missing": true});
        if data["name"] == "gauge" {
            assert_eq!(data["value"], 7);
            fresh = data["stale"] == false;
        }
    }
    server
        .client()
        .post("/api/v1/counter/gauge/increment", &json!({}))
        .ok();
    let update = loop {
        let event = listener.next();
        if event.data["name"] == "gauge" {
            break event;
        }
    };
    assert_eq!(update.data["value"], 8);
    assert!(update.id.is_some());
    server.stop();
}
