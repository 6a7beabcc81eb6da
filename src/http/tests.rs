//! The API over real sockets, on a real store and a clock that stands still.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use super::contract::tests::conform;
use super::*;
use crate::access_log::{Access, LogFormat, LogOptions, LogOutput, LogThread};
use crate::calendar::Calendar;
use crate::clock::{Clock, ManualClock};
use crate::counter::{CounterName, Definition, Kind, Reset};
use crate::storage::StorageOptions;
use crate::writer::{Cause, Running, WriterOptions};

mod alerts;
mod answers;
mod connections;
mod contract;
mod metrics;
mod push;
mod push_access;
mod race;
pub(super) mod random;
mod rates;
mod recipes;
mod streams;
mod websocket;

/// 2026-11-24T12:00:00Z.
const NOON: i64 = 1_795_521_600_000;
const HOUR: i64 = 3_600_000;
const PATIENCE: Duration = Duration::from_secs(30);
const ADMIN: &str = "authorization: Bearer the-admin\r\n";

/// Limits of rates that limit nothing, where each client is the peer.
pub(super) fn unlimited() -> RateLimits {
    RateLimits {
        per_ip: None,
        per_user: None,
        burst: None,
        wrong_admin_tokens: None,
        max_keys: 1024,
        exempt: Vec::new(),
        clients: ClientSource {
            trusted: Vec::new(),
            header: http::HeaderName::from_static("x-forwarded-for"),
        },
    }
}

struct Bench {
    http: Option<HttpServer>,
    running: Running,
    alerts: Arc<crate::alerts::AlertBoard>,
    clock: Arc<ManualClock>,
    _log: LogThread,
    _dir: tempfile::TempDir,
}

struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    #[track_caller]
    fn ok(&self) -> Value {
        assert!(
            matches!(self.status, 200 | 201),
            "{}{}",
            self.head,
            self.body
        );
        self.json()
    }

    #[track_caller]
    fn refused(&self, status: u16, code: &str) -> Value {
        let problem = self.json();
        assert_eq!(
            (self.status, &problem["code"]),
            (status, &json!(code)),
            "{}",
            self.body
        );
        problem
    }
}

fn writer_options(dir: &Path, clock: &Arc<ManualClock>, metrics: &Arc<Metrics>) -> WriterOptions {
    let daily = |kind| Definition {
        kind,
        reset: Reset::Daily,
        ..Definition::default()
    };
    let name = |text| CounterName::parse(text).unwrap();
    WriterOptions {
        max_counters: 1000,
        configured: vec![
            (name("dau"), daily(Kind::Unique)),
            (name("games"), daily(Kind::Sum)),
        ],
        recent_users: 100,
        min_free: Some(1 << 20),
        runtimes: 2,
        queue: 10_000,
        metrics: Arc::clone(metrics),
        ..WriterOptions::new(
            StorageOptions::small(dir),
            Arc::clone(clock) as Arc<dyn Clock>,
            Calendar::new("UTC", "00:00".parse().unwrap()).unwrap(),
        )
    }
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut HttpOptions)) -> Self {
        Self::with_router(change, &router::router())
    }

    fn with_router(change: impl FnOnce(&mut HttpOptions), router: &axum::Router) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(NOON));
        let metrics = Arc::new(Metrics::new());
        let running = Running::start(writer_options(dir.path(), &clock, &metrics)).unwrap();
        let output = LogOutput::stdout(Arc::new(ManualClock::new(0)), metrics.log.clone()).unwrap();
        let options = LogOptions {
            format: LogFormat::Text,
            queue_lines: 100,
            queue_bytes: 10_000,
        };
        let (log, thread) = crate::access_log::AccessLog::start(&options, output).unwrap();
        log.choose(Access::Off, 1);
        let mut options = HttpOptions {
            workers: 2,
            limits: Limits {
                max_connections: 100,
                max_body: 16 << 10,
                max_batch_body: 1 << 20,
                max_body_memory: 1 << 20,
                header_timeout: PATIENCE,
                body_timeout: PATIENCE,
                idle_timeout: PATIENCE,
            },
            rate_limits: unlimited(),
            max_header_bytes: 16 << 10,
            max_headers: 64,
            cors_origins: vec!["https://game.example".to_owned()],
            hosts: Some(Vec::new()),
            page: Some(Arc::new(PageFiles::default())),
            series_range: Duration::from_secs(14 * 24 * 3600),
            counted_names: CountedNames::default(),
            shown_counters: 2,
            push: PushOptions {
                interval: Duration::from_millis(10),
                max_connections: 100,
                stall_timeout: PATIENCE,
            },
            tokens: Arc::new(ArcSwap::from_pointee(Tokens {
                admin: vec!["the-admin".to_owned().into()],
                ..Tokens::default()
            })),
        };
        change(&mut options);
        let bound = Bound::to("127.0.0.1:0".parse().unwrap()).unwrap();
        let engine = crate::engine::Engine::new(&running);
        let alerts = Arc::clone(&engine.alerts);
        let shared = Shared {
            engine,
            metrics,
            log,
        };
        let http = HttpServer::serve(bound, options, shared, router).unwrap();
        Self {
            http: Some(http),
            running,
            alerts,
            clock,
            _log: thread,
            _dir: dir,
        }
    }

    fn http(&self) -> &HttpServer {
        self.http.as_ref().unwrap()
    }

    fn connect(&self) -> BufReader<TcpStream> {
        let stream = TcpStream::connect(self.http().addr()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        BufReader::new(stream)
    }

    /// One request on a connection of its own.
    fn ask(&self, line: &str, headers: &str, body: &str) -> Reply {
        let mut connection = self.connect();
        let request = request(line, headers, body);
        connection.get_mut().write_all(request.as_bytes()).unwrap();
        let reply = receive(&mut connection).unwrap();
        // What the table of calls does not know is answered to nobody.
        conform::check(line, reply.status, &reply.body);
        reply
    }

    fn get(&self, path: &str) -> Reply {
        self.ask(&format!("GET {path}"), "", "")
    }

    fn up(&self, name: &str, body: &str) -> Reply {
        self.ask(&format!("POST /api/v1/counter/{name}/increment"), "", body)
    }

    fn define(&self, name: &str, definition: &Value) -> Reply {
        self.ask(
            &format!("PUT /api/v1/counter/{name}"),
            ADMIN,
            &definition.to_string(),
        )
    }

    fn end(mut self) {
        drop(self.http.take());
        self.running.stop();
    }
}

/// Waits until `condition` holds.
#[track_caller]
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::yield_now();
    }
}

fn request(line: &str, headers: &str, body: &str) -> String {
    format!(
        "{line} HTTP/1.1\r\nhost: h\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Reads the head of an answer.
#[track_caller]
fn receive_head(connection: &mut BufReader<TcpStream>) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(connection.read_line(&mut head).unwrap() > 0, "{head}");
    }
    head
}

/// Reads one answer; none when the connection is closed instead.
fn receive(connection: &mut BufReader<TcpStream>) -> Option<Reply> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if connection.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length = head
        .split("content-length: ")
        .nth(1)
        .and_then(|rest| rest.lines().next());
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    connection.read_exact(&mut body).ok()?;
    let body = String::from_utf8(body).unwrap();
    Some(Reply { status, head, body })
}

#[test]
fn a_daily_counter_reads_zero_from_midnight_on() {
    let bench = Bench::new();
    bench.up("games", r#"{"value":5}"#).ok();
    bench.up("forever", r#"{"value":5}"#).ok();
    bench.clock.advance(HOUR);
    let before = bench.get("/api/v1/counter/games").ok();
    assert_eq!(before["value"], 5);
    assert_eq!(before["period"], "2026-11-24");
    assert_eq!(before["last_updated"], "2026-11-24T12:00:00.000Z");
    assert_eq!(before["resets_at"], "2026-11-25T00:00:00.000Z");
    bench.clock.advance(11 * HOUR - 1);
    assert_eq!(bench.get("/api/v1/counter/games").ok()["value"], 5);
    bench.clock.advance(1);
    let after = bench.get("/api/v1/counter/games").ok();
    assert_eq!(after["value"], 0);
    assert_eq!(after["period"], "2026-11-25");
    assert_eq!(after["last_updated"], "2026-11-25T00:00:00.000Z");
    assert_eq!(after["resets_at"], "2026-11-26T00:00:00.000Z");
    assert_eq!(after["revision"], before["revision"]);
    let both = bench.get("/api/v1/counters?names=forever,games").ok();
    assert_eq!(both["counters"][0]["value"], 5);
    assert_eq!(both["counters"][0]["resets_at"], Value::Null);
    assert_eq!(
        both["counters"][0]["last_updated"],
        "2026-11-24T12:00:00.000Z"
    );
    assert_eq!(both["counters"][1]["value"], 0);
    let counted = bench.up("games", "").ok();
    assert_eq!(
        (&counted["current_value"], &counted["period"]),
        (&json!(1), &json!("2026-11-25"))
    );
    bench.end();
}

#[test]
fn a_counter_is_gone_from_its_end_on_by_time_alone() {
    let bench = Bench::new();
    for (name, reset) in [("event", "never"), ("today", "daily"), ("old", "daily")] {
        let end = if name == "old" {
            "2026-11-25T06:00:00Z"
        } else {
            "2026-11-24T18:00:00Z"
        };
        let definition = json!({"kind": "sum", "reset": reset, "expires_at": end});
        assert_eq!(bench.define(name, &definition).status, 201);
        bench.up(name, r#"{"value":7}"#).ok();
    }
    bench.clock.advance(6 * HOUR - 1);
    assert_eq!(bench.get("/api/v1/counter/event").ok()["value"], 7);
    bench.clock.advance(1);
    for name in ["event", "today"] {
        let gone = bench
            .get(&format!("/api/v1/counter/{name}"))
            .refused(410, "counter_expired");
        assert_eq!(
            (&gone["final_value"], &gone["at"]),
            (&json!(7), &json!("2026-11-24T18:00:00.000Z"))
        );
        bench.up(name, "").refused(410, "counter_expired");
    }
    let many = bench.get("/api/v1/counters?names=event,old,today").ok();
    assert_eq!(many["missing"], json!(["event", "today"]));
    assert_eq!(many["counters"].as_array().unwrap().len(), 1);
    // The day passes first: what the counter held at its end is 0.
    bench.clock.advance(12 * HOUR);
    let gone = bench
        .get("/api/v1/counter/old")
        .refused(410, "counter_expired");
    assert_eq!(
        (&gone["final_value"], &gone["at"]),
        (&json!(0), &json!("2026-11-25T06:00:00.000Z"))
    );
    let listed = bench.get("/api/v1/counters/all").ok();
    let names: Vec<_> = listed["counters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].clone())
        .collect();
    assert_eq!(names, ["dau", "games"]);
    assert_eq!(
        bench.define("event", &json!({"kind": "unique"})).status,
        201
    );
    assert_eq!(bench.get("/api/v1/counter/event").ok()["value"], 0);
    bench.end();
}

#[test]
fn a_clock_that_jumped_expires_nothing_and_refuses_writes() {
    let bench = Bench::new();
    bench
        .define("event", &json!({"expires_at": "2026-11-24T18:00:00Z"}))
        .ok();
    bench.up("event", "").ok();
    bench.clock.shift_wall(1000 * HOUR);
    let read = bench.get("/api/v1/counter/event").ok();
    assert_eq!(read["value"], 1);
    assert_eq!(
        bench.get("/api/v1/counter/games").ok()["period"],
        "2026-11-24"
    );
    let begun = Instant::now();
    while bench.running.mode.refuses() != Some(Cause::Clock) {
        assert!(begun.elapsed() < PATIENCE, "the jump is not noticed");
        std::thread::yield_now();
    }
    let refused = bench.up("event", "");
    assert_eq!(refused.refused(503, "read_only")["cause"], "clock");
    assert!(
        refused.head.contains("retry-after: 1\r\n"),
        "{}",
        refused.head
    );
    // The longer it lasts, the later it is to be tried again: a quarter of it, half a minute at most.
    for (passed, seconds) in [(40 * 1000, 10), (HOUR, 30)] {
        bench.clock.shift_wall(passed);
        let later = bench.up("event", "").head;
        let wanted = format!("retry-after: {seconds}\r\n");
        assert!(later.contains(&wanted), "{later}");
    }
    assert_eq!(bench.get("/readyz").status, 200);
    let ready = bench
        .get("/readyz?writes&verbose")
        .refused(503, "read_only");
    assert_eq!(
        (&ready["mode"], &ready["cause"]),
        (&json!("read_only"), &json!("clock"))
    );
    assert!(ready["remedy"].as_str().unwrap().contains("--accept-clock"));
    assert!(ready["since"].is_string());
    bench.end();
}

#[test]
fn a_list_comes_in_pages() {
    let bench = Bench::new();
    let operations: Vec<_> = (0..25)
        .map(|n| json!({"op": "increment", "name": format!("p{n:02}"), "value": n + 1}))
        .collect();
    let body = json!({ "operations": operations }).to_string();
    bench.ask("POST /api/v1/batch", "", &body).ok();
    // Gone ones are passed over.
    bench.ask("DELETE /api/v1/counter/p03", ADMIN, "").ok();
    let (mut names, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = bench
            .get(&format!(
                "/api/v1/counters/all?prefix=p&limit=10&cursor={cursor}"
            ))
            .ok();
        pages += 1;
        for counter in page["counters"].as_array().unwrap() {
            names.push(counter["name"].as_str().unwrap().to_owned());
            assert_eq!(counter["definition"]["kind"], "gauge");
        }
        match page["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => break,
        }
    }
    let want: Vec<_> = (0..25)
        .filter(|n| *n != 3)
        .map(|n| format!("p{n:02}"))
        .collect();
    assert_eq!((names, pages), (want, 3));
    bench.end();
}

#[test]
fn names_come_in_the_order_asked_each_once() {
    let bench = Bench::new();
    for name in ["a", "b"] {
        bench.up(name, "").ok();
    }
    let many = bench
        .get("/api/v1/counters?names=b,nobody,a,b,%61,zero")
        .ok();
    let names: Vec<_> = many["counters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].clone())
        .collect();
    assert_eq!(names, ["b", "a"]);
    assert_eq!(many["missing"], json!(["nobody", "zero"]));
    assert_eq!(many["stale"], false);
    bench.end();
}

#[test]
fn the_same_name_is_reached_by_any_spelling_of_its_path() {
    let bench = Bench::new();
    let up = |path: &str| bench.ask(&format!("POST {path}"), "", "").ok()["current_value"].clone();
    assert_eq!(up("/api/v1/counter/a:b/increment"), 1);
    assert_eq!(up("/api/v1/counter/a%3Ab/increment"), 2);
    assert_eq!(up("/api/v1/counter/%61:b/increment"), 3);
    assert_eq!(up("http://elsewhere/api/v1/counter/a:b/increment"), 4);
    // And bound to a key as the same.
    let keyed = |path: &str| bench.ask(&format!("POST {path}"), "idempotency-key: k\r\n", "");
    assert_eq!(
        keyed("/api/v1/counter/a:b/increment").ok()["current_value"],
        5
    );
    let again = keyed("/api/v1/counter/a%3Ab/increment");
    assert_eq!(again.ok()["current_value"], 5);
    assert!(
        again.head.contains("idempotency-replayed: true\r\n"),
        "{}",
        again.head
    );
    bench.end();
}

#[test]
fn a_replayed_definition_is_a_201_again() {
    let bench = Bench::new();
    let put = |body: &str| {
        bench.ask(
            "PUT /api/v1/counter/new",
            &format!("{ADMIN}idempotency-key: k\r\n"),
            body,
        )
    };
    let first = put(r#"{"kind":"sum"}"#);
    let again = put(r#"{"reset":"never","kind":"sum"}"#);
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.body, again.body);
    assert!(
        again.head.contains("idempotency-replayed: true\r\n"),
        "{}",
        again.head
    );
    put(r#"{"kind":"gauge"}"#).refused(422, "idempotency_key_reused");
    assert_eq!(
        bench
            .define("new", &json!({"kind": "sum", "max": 9}))
            .status,
        200
    );
    bench.end();
}

#[test]
fn a_page_of_a_friend_may_call_and_of_a_stranger_may_not_write() {
    let bench = Bench::new();
    let friend = "origin: https://game.example\r\n";
    let asks = "access-control-request-method: POST\r\n";
    let path = "/api/v1/counter/a/increment";
    let preflight = bench.ask(&format!("OPTIONS {path}"), &format!("{friend}{asks}"), "");
    assert_eq!(preflight.status, 204);
    for header in [
        "access-control-allow-origin: https://game.example\r\n",
        "access-control-allow-methods: GET, POST, PUT, DELETE\r\n",
        "access-control-allow-headers: Authorization, Content-Type, Idempotency-Key, X-Request-Id\r\n",
        "vary: Origin\r\n",
    ] {
        assert!(preflight.head.contains(header), "{}", preflight.head);
    }
    let posted = bench.ask(&format!("POST {path}"), friend, "");
    posted.ok();
    assert!(
        posted
            .head
            .contains("access-control-allow-origin: https://game.example\r\n")
    );
    let refused = bench.ask(&format!("POST {path}"), friend, r#"{"value":0}"#);
    refused.refused(400, "invalid_value");
    assert!(
        refused.head.contains("access-control-allow-origin: "),
        "{}",
        refused.head
    );
    let stranger = "origin: https://evil.example\r\n";
    let asked = bench.ask(&format!("OPTIONS {path}"), &format!("{stranger}{asks}"), "");
    asked.refused(403, "origin_not_allowed");
    bench
        .ask(&format!("POST {path}"), stranger, "")
        .refused(403, "origin_not_allowed");
    let read = bench.ask("GET /api/v1/counter/a", stranger, "");
    assert_eq!(read.ok()["value"], 1);
    assert!(!read.head.contains("access-control-"), "{}", read.head);
    assert!(read.head.contains("vary: Origin\r\n"), "{}", read.head);
    bench
        .ask(&format!("OPTIONS {path}"), "", "")
        .refused(405, "method_not_allowed");
    bench
        .ask("OPTIONS /nowhere", &format!("{friend}{asks}"), "")
        .refused(404, "not_found");
    bench.end();
}

#[test]
fn head_answers_as_get_without_a_body() {
    let bench = Bench::new();
    let got = bench.get("/api/v1/counter/games");
    let mut connection = bench.connect();
    let asked = request("HEAD /api/v1/counter/games", "", "");
    connection
        .get_mut()
        .write_all(format!("{asked}{}", request("GET /livez", "", "")).as_bytes())
        .unwrap();
    let text = receive_head(&mut connection);
    assert!(
        text.contains(&format!("content-length: {}\r\n", got.body.len())),
        "{text}"
    );
    assert_eq!(receive(&mut connection).unwrap().body, r#"{"status":"ok"}"#);
    bench.end();
}
