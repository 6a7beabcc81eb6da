//! A server that starts without its store tells those who watch what the copies say, and of the store once it is there.

use std::fs;

use serde_json::json;

use super::{Copies, count_a_little, setup};
use crate::harness::{Listener, PATIENCE, Transport, eventually};

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
    assert_eq!(
        (state.id.as_deref(), &state.data["resumed"]),
        (Some("0.0"), &json!(false))
    );
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

/// A copy that is behind is believed for no longer than there is nothing better.
#[test]
fn who_was_told_by_a_copy_is_told_everything_once_the_store_is_back() {
    let test = "who_was_told_by_a_copy_is_told_everything_once_the_store_is_back";
    let Some(mut copies) = Copies::new(test) else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let setup = setup(home.path(), &copies);
    let server = setup.start();
    count_a_little(&server, &copies);
    let ask = |transport, since: Option<&str>| {
        let asked = Listener::subscribe(setup.address(), transport, &["gauge"], since);
        let mut listener = asked.unwrap().unwrap();
        // The mode may come before.
        loop {
            let event = listener.next();
            if event.kind == "state" {
                break event;
            }
        }
    };
    let position = ask(Transport::Sse, None).id.unwrap();
    server.stop();
    let away = home.path().join("away");
    fs::rename(setup.data(), &away).unwrap();
    copies.redis.kill();
    copies.database.sql(
        "UPDATE counters SET current_value = 5 WHERE name = 'gauge';
         UPDATE counterd_counters SET revision = 1 WHERE counter_name = 'gauge'",
    );
    let server = setup.start();
    let both = [Transport::Sse, Transport::Ws];
    let positions = both.map(|transport| {
        eventually("the database stands in", PATIENCE, || {
            let state = ask(transport, Some(&position));
            let told = state.data["counters"].get(0)?;
            assert_eq!(
                (&told["value"], &told["source"]),
                (&json!(5), &json!("postgres"))
            );
            // What a client keeps: what was said last, if anything was.
            Some(state.id.unwrap_or_else(|| position.clone()))
        })
    });
    fs::rename(&away, setup.data()).unwrap();
    eventually("the store is back", PATIENCE, || {
        (server.client().get("/readyz?writes").status == 200).then_some(())
    });
    // A browser comes back to the same URL, with what it was told last in a header.
    let url = format!("names=gauge&since={position}");
    let header = [("last-event-id", positions[0].as_str())];
    let mut again = Listener::open(&server, &url, &header);
    assert_eq!(again.state().data["counters"][0]["value"], 7, "{header:?}");
    for (transport, position) in both.into_iter().zip(positions) {
        let since = (!position.is_empty()).then_some(&*position);
        let told = ask(transport, since).data["counters"].clone();
        assert_eq!(told[0]["value"], 7, "{transport:?} {position} {told}");
    }
    server.stop();
}
