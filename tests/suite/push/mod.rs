//! What clients are told of changes, by the real server.

mod clients;
mod reconnects;

use serde_json::json;
use tempfile::TempDir;

use crate::harness::{Listener, setup};

#[test]
fn a_stream_tells_of_each_change_and_goes_on_from_where_it_was_cut() {
    let home = TempDir::new().unwrap();
    let server = setup!(home.path()).set("push.interval", "10ms").start();
    let mut client = server.admin();
    client.post("/api/v1/counter/a/increment", &json!({})).ok();
    let mut listener = Listener::open(&server, "names=a,b", &[]);
    let state = listener.state();
    assert_eq!(state.data["counters"][0]["value"], 1);
    assert_eq!(state.data["missing"], json!(["b"]));
    client
        .post("/api/v1/counter/b/increment", &json!({"value": 3}))
        .ok();
    let update = listener.next();
    assert_eq!(
        (&update.data["name"], &update.data["value"]),
        (&"b".into(), &3.into())
    );
    let position = update.id.unwrap();
    drop(listener);
    client.post("/api/v1/counter/a/increment", &json!({})).ok();
    for (query, headers) in [
        ("names=a,b", vec![("last-event-id", &*position)]),
        (&*format!("names=a,b&since={position}"), vec![]),
    ] {
        let mut again = Listener::open(&server, query, &headers);
        let state = again.state();
        assert_eq!(state.data["resumed"], true);
        assert_eq!(
            state.data["counters"],
            json!([client.get("/api/v1/counter/a").ok()])
        );
        assert_eq!(state.data["missing"], json!([]));
    }
    server.stop();
}

#[test]
fn a_change_after_a_quiet_time_does_not_wait_for_the_interval() {
    let home = TempDir::new().unwrap();
    let server = setup!(home.path()).set("push.interval", "1h").start();
    let mut client = server.admin();
    client.post("/api/v1/counter/a/increment", &json!({})).ok();
    let mut listener = Listener::open(&server, "names=a", &[]);
    assert_eq!(listener.state().data["counters"][0]["value"], 1);
    client.post("/api/v1/counter/a/increment", &json!({})).ok();
    assert_eq!(listener.next().data["value"], 2);
    server.stop();
}
