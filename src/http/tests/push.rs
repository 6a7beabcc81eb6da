//! What clients are told of changes, by a clock that stands still until it is moved.

use rustix::net::sockopt::set_socket_recv_buffer_size;

use super::streams::let_others_rest;
use super::*;

/// A client of the stream of events.
pub(super) struct Listener(BufReader<TcpStream>);

/// One event.
#[derive(Debug, PartialEq)]
pub(super) struct Event {
    pub(super) kind: String,
    pub(super) id: Option<String>,
    pub(super) data: Value,
}

impl Event {
    /// The counter of an update.
    #[track_caller]
    fn update(self) -> Value {
        assert_eq!(self.kind, "update", "{self:?}");
        self.data
    }
}

impl Listener {
    pub(super) fn of(bench: &Bench, query: &str, headers: &str) -> Self {
        let mut connection = bench.connect();
        let get = request(&format!("GET /api/v1/stream?{query}"), headers, "");
        connection.get_mut().write_all(get.as_bytes()).unwrap();
        let head = receive_head(&mut connection);
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(
            head.contains("content-type: text/event-stream\r\n"),
            "{head}"
        );
        // It goes on for as long as the connection.
        assert!(!head.contains("content-length"), "{head}");
        Self(connection)
    }

    /// The next event; `None` at the end.
    fn next(&mut self) -> Option<Event> {
        let (mut kind, mut id, mut data) = (None, None, None);
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            let line = line.strip_suffix('\n').unwrap();
            match line.split_once(": ") {
                Some(("event", value)) => kind = Some(value.to_owned()),
                Some(("id", value)) => id = Some(value.to_owned()),
                Some(("data", value)) => data = Some(serde_json::from_str(value).unwrap()),
                Some(("retry", value)) => assert!(value.parse::<u32>().is_ok(), "{line}"),
                _ => assert_eq!(line, ""),
            }
            if line.is_empty()
                && let Some(kind) = kind.take()
            {
                let data = data.unwrap();
                return Some(Event { kind, id, data });
            }
        }
    }

    /// The state, which comes first.
    #[track_caller]
    pub(super) fn state(&mut self) -> Event {
        let event = self.next().unwrap();
        assert_eq!(event.kind, "state", "{event:?}");
        event
    }

    /// The counter of the next event that is no sign of life, which is an update.
    #[track_caller]
    fn update(&mut self) -> Value {
        loop {
            let event = self.next().unwrap();
            if event.kind != "tick" {
                return event.update();
            }
        }
    }
}

/// A hundred counters as a query names them, and a batch that counts one in each. A client that is not to take them
/// needs a small buffer, else the kernel takes some megabytes for it.
fn hundred() -> (String, String) {
    let names: Vec<String> = (0..100).map(|n| format!("n{n:02}")).collect();
    let operations: Vec<Value> = names
        .iter()
        .map(|name| json!({"op": "increment", "name": name}))
        .collect();
    let batch = json!({ "operations": operations }).to_string();
    (format!("names={}", names.join(",")), batch)
}

fn counter(bench: &Bench, name: &str) -> Value {
    bench.get(&format!("/api/v1/counter/{name}")).ok()
}

/// A figure of the page of metrics; 0 where it has none.
pub(super) fn figure(bench: &Bench, name: &str) -> u64 {
    let page = bench.get("/metrics").body;
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.map_or(0, |value| value.parse::<f64>().unwrap() as u64)
}

#[test]
fn a_stream_says_first_how_all_stand_and_then_what_changes() {
    let bench = Bench::new();
    bench.up("a", r#"{"value":5}"#).ok();
    let mut listener = Listener::of(&bench, "names=a,nobody,games,a", "");
    let state = listener.state();
    let told = bench.get("/api/v1/counters?names=a,nobody,games").ok();
    for member in ["counters", "missing", "stale"] {
        assert_eq!(state.data[member], told[member], "{member}");
    }
    assert_eq!(state.data["resumed"], false);
    assert_eq!(state.data["mode"], "normal");
    bench.up("a", "").ok();
    assert_eq!(listener.update(), counter(&bench, "a"));
    bench.up("nobody", "").ok();
    let event = listener.next().unwrap();
    let said = counter(&bench, "nobody");
    let id = format!("{}.{}", said["epoch"], said["revision"]);
    assert_eq!((event.id.as_deref(), &event.data), (Some(&*id), &said));
    bench.end();
}

#[test]
fn midnight_reaches_a_subscriber_without_a_write() {
    let bench = Bench::new();
    bench.up("games", r#"{"value":5}"#).ok();
    let mut listener = Listener::of(&bench, "names=games", "");
    let before = listener.state().data["counters"][0].clone();
    bench.clock.advance(12 * HOUR);
    let event = listener.next().unwrap();
    // A midnight has no revision, and is no position.
    assert_eq!(event.id, None);
    let after = event.update();
    assert_eq!(after, counter(&bench, "games"));
    assert_eq!(
        (&after["value"], &after["period"]),
        (&json!(0), &json!("2026-11-25"))
    );
    assert_eq!(after["revision"], before["revision"]);
    bench.end();
}

#[test]
fn an_end_reaches_a_subscriber_by_time_alone_and_once() {
    let bench = Bench::new();
    let definition = json!({"kind": "sum", "expires_at": "2026-11-24T18:00:00Z"});
    bench.define("event", &definition).ok();
    let mut listener = Listener::of(&bench, "names=event,games", "");
    listener.state();
    let before = bench.running.table.revision();
    bench.clock.advance(6 * HOUR);
    assert_eq!(
        listener.update(),
        json!({"name": "event", "value": null, "missing": true})
    );
    // That the writer records it a moment later is no further news.
    until("it is not recorded", || {
        bench.running.table.revision() > before
    });
    bench.up("games", "").ok();
    assert_eq!(listener.update(), counter(&bench, "games"));
    bench.end();
}

#[test]
fn what_leaves_a_window_reaches_a_subscriber_without_a_write() {
    let bench = Bench::new();
    let definition = json!({"kind": "sum", "window": "1h", "grain": "1m"});
    assert_eq!(bench.define("recent", &definition).status, 201);
    bench.up("recent", r#"{"value":7}"#).ok();
    let mut listener = Listener::of(&bench, "names=recent", "");
    assert_eq!(listener.state().data["counters"][0]["value"], 7);
    bench.clock.advance(2 * HOUR);
    assert_eq!(listener.update()["value"], 0);
    bench.end();
}

#[test]
fn leases_that_end_reach_a_subscriber_without_a_write() {
    let bench = Bench::new();
    let definition = json!({"kind": "presence", "ttl": "90s"});
    assert_eq!(bench.define("here", &definition).status, 201);
    let beat = r#"{"user_id":"anna","value":3}"#;
    bench
        .ask("POST /api/v1/counter/here/heartbeat", "", beat)
        .ok();
    let mut listener = Listener::of(&bench, "names=here", "");
    assert_eq!(listener.state().data["counters"][0]["value"], 3);
    bench.clock.advance(3 * 60 * 1000);
    loop {
        let update = listener.update();
        if update["value"] == 0 {
            assert_eq!(update["leases"], 0);
            break;
        }
    }
    bench.end();
}

#[test]
fn what_ends_by_time_alone_reaches_a_subscriber_while_nothing_can_be_written() {
    let bench = Bench::new();
    let window = json!({"kind": "sum", "window": "1h", "grain": "1m"});
    assert_eq!(bench.define("recent", &window).status, 201);
    bench.up("recent", r#"{"value":7}"#).ok();
    let presence = json!({"kind": "presence", "ttl": "90s"});
    assert_eq!(bench.define("here", &presence).status, 201);
    let beat = r#"{"user_id":"anna","value":3}"#;
    bench
        .ask("POST /api/v1/counter/here/heartbeat", "", beat)
        .ok();
    // So that the writer gives neither of them a revision by which the hub would look again.
    bench.running.mode.raise(Cause::Operator, NOON);
    let mut listener = Listener::of(&bench, "names=recent,here", "");
    let state = listener.state().data;
    assert_eq!(state["mode"], "read_only");
    assert_eq!(
        (
            &state["counters"][0]["value"],
            &state["counters"][1]["value"]
        ),
        (&json!(7), &json!(3))
    );
    let before = bench.running.table.revision();
    for (name, passes) in [("here", 3 * 60 * 1000), ("recent", HOUR)] {
        bench.clock.advance(passes);
        let update = listener.update();
        assert_eq!(
            (&update["name"], &update["value"]),
            (&json!(name), &json!(0))
        );
        assert_eq!(update, counter(&bench, name));
    }
    assert_eq!(bench.running.table.revision(), before);
    bench.end();
}

#[test]
fn deletion_and_reset_reach_a_subscriber() {
    let bench = Bench::new();
    bench.up("a", r#"{"value":7}"#).ok();
    let mut listener = Listener::of(&bench, "names=a", "");
    listener.state();
    bench.ask("POST /api/v1/counter/a/reset", ADMIN, "").ok();
    let reset = listener.update();
    assert_eq!(
        (reset["value"].clone(), reset),
        (json!(0), counter(&bench, "a"))
    );
    bench.ask("DELETE /api/v1/counter/a", ADMIN, "").ok();
    let event = listener.next().unwrap();
    assert!(event.id.is_some());
    assert_eq!(
        event.update(),
        json!({"name": "a", "value": null, "missing": true})
    );
    bench.define("a", &json!({"kind": "sum"})).ok();
    assert_eq!(listener.update(), counter(&bench, "a"));
    bench.end();
}

#[test]
fn the_mode_reaches_a_subscriber_each_way() {
    let bench = Bench::new();
    let mut listener = Listener::of(&bench, "names=games", "");
    assert_eq!(listener.state().data["mode"], "normal");
    bench.running.mode.raise(Cause::Operator, NOON);
    let read_only = json!({"mode": "read_only", "cause": "operator"});
    assert_eq!(listener.update(), read_only);
    let mut other = Listener::of(&bench, "names=games", "");
    let state = other.state().data;
    assert_eq!(
        (&state["mode"], &state["cause"]),
        (&json!("read_only"), &json!("operator"))
    );
    bench.running.mode.clear(Cause::Operator);
    for listener in [&mut listener, &mut other] {
        assert_eq!(listener.update(), json!({"mode": "normal"}));
    }
    bench.end();
}

#[test]
fn who_comes_back_is_told_only_what_is_newer() {
    let bench = Bench::new();
    for name in ["a", "b", "c"] {
        bench.up(name, "").ok();
    }
    let position = Listener::of(&bench, "names=a,b,c", "").state().id.unwrap();
    let epoch = position.split('.').next().unwrap();
    let told = |query: &str, headers: &str| {
        let state = Listener::of(&bench, &format!("names=a,b,c{query}"), headers)
            .state()
            .data;
        let counters = state["counters"].as_array().unwrap().iter();
        let names: Vec<String> = counters
            .map(|one| one["name"].as_str().unwrap().into())
            .collect();
        (
            state["resumed"] == true,
            names.join(","),
            state["missing"].clone(),
        )
    };
    let nothing = (true, String::new(), json!([]));
    assert_eq!(told(&format!("&since={position}"), ""), nothing);
    bench.up("b", "").ok();
    let last = format!("{epoch}.{}", counter(&bench, "b")["revision"]);
    let only_b = (true, "b".to_owned(), json!([]));
    assert_eq!(told(&format!("&since={position}"), ""), only_b);
    // The header is what a browser had last; the parameter is what its page began with.
    assert_eq!(
        told(
            &format!("&since={position}"),
            &format!("last-event-id: {last}\r\n")
        ),
        nothing
    );
    // The change before that one: of equal revisions only this client's own is old.
    let before = format!(
        "{epoch}.{}",
        counter(&bench, "b")["revision"].as_u64().unwrap() - 1
    );
    assert_eq!(told(&format!("&since={before}"), ""), only_b);
    bench.ask("DELETE /api/v1/counter/c", ADMIN, "").ok();
    assert_eq!(
        told(&format!("&since={last}"), ""),
        (true, String::new(), json!(["c"]))
    );
    // Positions of another history, and beyond this one, are worth nothing.
    for elsewhere in ["1.1", &format!("{epoch}.99999999")] {
        let all = (false, "a,b".to_owned(), json!(["c"]));
        assert_eq!(told(&format!("&since={elsewhere}"), ""), all, "{elsewhere}");
    }
    assert!(!told("", "last-event-id: what\r\n").0);
    bench
        .get("/api/v1/stream?names=a&since=what")
        .refused(400, "invalid_query");
    bench.end();
}

#[test]
fn who_comes_back_after_midnight_is_told_the_new_day() {
    let bench = Bench::new();
    bench.up("games", r#"{"value":5}"#).ok();
    bench.up("forever", "").ok();
    let position = Listener::of(&bench, "names=games,forever", "")
        .state()
        .id
        .unwrap();
    bench.clock.advance(12 * HOUR);
    let query = format!("names=games,forever&since={position}");
    let state = Listener::of(&bench, &query, "").state().data;
    // No revision is newer, and yet it says something else.
    assert_eq!(state["counters"], json!([counter(&bench, "games")]));
    assert_eq!(state["resumed"], true);
    bench.end();
}

#[test]
fn a_client_that_asks_for_fewer_updates_gets_the_latest() {
    let bench = Bench::with(|options| options.workers = 1);
    // Less than `push.interval` has no effect, though the clock stands still.
    let mut fast = Listener::of(&bench, "names=a&interval=1ms", "");
    let mut slow = Listener::of(&bench, "names=a&interval=5s", "");
    assert_eq!(fast.state().data["interval_ms"], 10);
    assert_eq!(slow.state().data["interval_ms"], 5000);
    bench.clock.advance(5000);
    bench.up("a", "").ok();
    assert_eq!(
        (
            fast.update()["value"].clone(),
            slow.update()["value"].clone()
        ),
        (json!(1), json!(1))
    );
    for value in 2..=4 {
        bench.up("a", "").ok();
        assert_eq!(fast.update()["value"], value);
    }
    bench.clock.advance(5000);
    assert_eq!(slow.update()["value"], 4);
    assert_eq!(figure(&bench, "counterd_push_conflated_total"), 2);
    bench
        .get("/api/v1/stream?names=a&interval=soon")
        .refused(400, "invalid_query");
    bench.end();
}

#[test]
fn a_sign_of_life_comes_every_fifteen_seconds() {
    let bench = Bench::new();
    bench.up("a", "").ok();
    let mut listener = Listener::of(&bench, "names=a", "");
    let state = listener.state();
    for seconds in [15, 30] {
        bench.clock.advance(15_000);
        let tick = listener.next().unwrap();
        let at = format!("2026-11-24T12:00:{seconds}.000Z");
        assert_eq!(
            (tick.kind.as_str(), &tick.data),
            ("tick", &json!({"at": at}))
        );
        // It says how far the client has everything.
        assert_eq!(tick.id, state.id);
    }
    bench.end();
}

#[test]
fn a_client_that_takes_again_gets_the_latest_and_nothing_that_is_over() {
    let bench = Bench::with(|options| options.workers = 1);
    let (names, batch) = hundred();
    let mut slow = Listener::of(&bench, &names, "");
    set_socket_recv_buffer_size(slow.0.get_ref(), 4096).unwrap();
    let mut fast = Listener::of(&bench, &names, "");
    fast.state();
    let mut round = 0;
    // The hub has seen each round before the next, as the one who takes all tells.
    let mut next_round = || {
        bench.ask("POST /api/v1/batch", "", &batch).ok();
        round += 1;
        for _ in 0..100 {
            assert_eq!(fast.update()["value"], round);
        }
        round
    };
    let mut until_stalled = 0;
    until("it takes all there is", || {
        until_stalled = next_round();
        figure(&bench, "counterd_push_stalled") == 1
    });
    let mut last = 0;
    for _ in 0..10 {
        last = next_round();
    }
    slow.state();
    let (mut heard, mut latest) = (0, 0);
    while latest < 100 {
        heard += 1;
        latest += u64::from(slow.update()["value"] == last);
    }
    assert!(heard <= 100 * (until_stalled + 1), "{heard}");
    let conflated = figure(&bench, "counterd_push_conflated_total");
    assert_eq!(heard + conflated, 100 * last);
    assert_eq!(figure(&bench, "counterd_push_stalled"), 0);
    bench.end();
}

#[test]
fn a_client_that_takes_nothing_is_closed() {
    let bench = Bench::new();
    let (names, batch) = hundred();
    let stalled = Listener::of(&bench, &names, "");
    set_socket_recv_buffer_size(stalled.0.get_ref(), 4096).unwrap();
    until("it takes all there is", || {
        bench.ask("POST /api/v1/batch", "", &batch).ok();
        figure(&bench, "counterd_push_stalled") == 1
    });
    // The others are none the worse.
    let mut other = Listener::of(&bench, "names=a", "");
    other.state();
    bench.up("a", "").ok();
    assert_eq!(other.update()["value"], 1);
    // PATIENCE is the bench's `push.stall_timeout` too.
    bench
        .clock
        .advance(i64::try_from(PATIENCE.as_millis()).unwrap() + 1);
    let closed = "counterd_push_closed_total{reason=\"stalled\"}";
    until("it is not closed", || figure(&bench, closed) == 1);
    assert_eq!(figure(&bench, "counterd_push_stalled"), 0);
    drop(stalled);
    bench.end();
}

#[test]
fn a_stream_is_no_request_in_flight_and_rests_for_as_long_as_it_likes() {
    let bench = Bench::with(|options| {
        options.workers = 1;
        options.limits.idle_timeout = Duration::from_millis(20);
    });
    let mut listener = Listener::of(&bench, "names=a", "");
    listener.state();
    let_others_rest(&bench);
    // The one that asks.
    assert_eq!(figure(&bench, "counterd_requests_in_flight"), 1);
    until("it keeps its place", || bench.http().connections() == 0);
    let sse = "counterd_push_connections{transport=\"sse\"}";
    assert_eq!(figure(&bench, sse), 1);
    bench.up("a", "").ok();
    assert_eq!(listener.update()["value"], 1);
    drop(listener);
    until("it is known for ever", || figure(&bench, sse) == 0);
    assert_eq!(
        figure(&bench, "counterd_push_closed_total{reason=\"left\"}"),
        1
    );
    bench.end();
}

#[test]
fn the_end_of_the_server_is_told_with_a_time_to_come_back() {
    let bench = Bench::new();
    let mut listeners: Vec<Listener> = (0..4)
        .map(|_| Listener::of(&bench, "names=a", ""))
        .collect();
    for listener in &mut listeners {
        listener.state();
    }
    bench.http().begin_drain();
    for listener in listeners {
        let mut last = String::new();
        let mut connection = listener.0;
        connection.read_to_string(&mut last).unwrap();
        let retry = last
            .strip_prefix("retry: ")
            .and_then(|rest| rest.strip_suffix("\n\n"));
        let retry: u32 = retry.unwrap_or_else(|| panic!("{last:?}")).parse().unwrap();
        assert!((500..5000).contains(&retry), "{retry}");
    }
    until("it does not drain", || bench.http().is_drained());
    bench.end();
}
