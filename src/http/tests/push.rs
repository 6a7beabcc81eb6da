//! What clients are told of changes, by a clock that stands still until it is moved.

use super::*;

/// A client of the stream of events.
struct Listener(BufReader<TcpStream>);

/// One event.
#[derive(Debug, PartialEq)]
struct Event {
    kind: String,
    id: Option<String>,
    data: Value,
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
    fn of(bench: &Bench, query: &str, headers: &str) -> Self {
        let mut connection = bench.connect();
        let get = request(&format!("GET /api/v1/stream?{query}"), headers, "");
        connection.get_mut().write_all(get.as_bytes()).unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(connection.read_line(&mut head).unwrap() > 0, "{head}");
        }
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(
            head.contains("content-type: text/event-stream\r\n"),
            "{head}"
        );
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
    fn state(&mut self) -> Event {
        let event = self.next().unwrap();
        assert_eq!(event.kind, "state", "{event:?}");
        event
    }

    /// The counter of the next event, which is an update.
    #[track_caller]
    fn update(&mut self) -> Value {
        self.next().unwrap().update()
    }
}

fn counter(bench: &Bench, name: &str) -> Value {
    bench.get(&format!("/api/v1/counter/{name}")).ok()
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
