//! How connections end: nothing that was begun is lost, and nobody who rests holds a place for ever.

use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use super::*;

/// Sends `text` on a connection of its own.
fn sent(bench: &Bench, text: &str) -> BufReader<TcpStream> {
    let mut connection = bench.connect();
    connection.get_mut().write_all(text.as_bytes()).unwrap();
    connection
}

const LIST: &str = "GET /api/v1/counters/all?limit=1000";

/// Makes as many counters as a list has at most, nearly, with long names.
fn make_many(bench: &Bench) {
    let operations: Vec<_> = (0..940)
        .map(|n| json!({"op": "increment", "name": format!("{}{n}", "x".repeat(90))}))
        .collect();
    let body = json!({ "operations": operations }).to_string();
    bench.ask("POST /api/v1/batch", "", &body).ok();
}

/// The first half of a head, which keeps a connection busy.
const HALF: &str = "POST /api/v1/counter/a/increment HTT";

#[test]
fn a_drain_answers_all_that_arrived_and_closes_what_is_quiet() {
    let bench = Bench::new();
    let increment = request("POST /api/v1/counter/a/increment", "", "{}");
    let mut idle = bench.connect();
    idle.get_mut()
        .write_all(request("GET /livez", "", "").as_bytes())
        .unwrap();
    receive(&mut idle).unwrap();
    let mut half = bench.connect();
    half.get_mut()
        .write_all(increment.as_bytes().split_at(30).0)
        .unwrap();
    let mut piped = bench.connect();
    piped
        .get_mut()
        .write_all(increment.repeat(20).as_bytes())
        .unwrap();
    let mut fresh = bench.connect();
    until("not all are accepted", || bench.http().connections() == 4);
    bench.http().begin_drain();
    let mut replies: Vec<_> = std::iter::from_fn(|| receive(&mut piped)).collect();
    let answered = replies.len();
    for (reply, value) in replies.iter().zip(1..) {
        assert_eq!(reply.ok()["current_value"], value);
    }
    // The answer that says so is the last: what stands behind its request was not begun.
    let last = replies.pop().unwrap();
    let closes = |reply: &Reply| reply.head.contains("connection: close\r\n");
    assert!(answered == 20 || closes(&last), "{answered}: {}", last.head);
    assert!(!replies.iter().any(closes));
    assert!(receive(&mut idle).is_none());
    assert!(receive(&mut fresh).is_none());
    assert!(!bench.http().is_drained(), "half a request is waited for");
    half.get_mut()
        .write_all(increment.as_bytes().split_at(30).1)
        .unwrap();
    let last = receive(&mut half).unwrap();
    assert_eq!(last.ok()["current_value"], answered + 1);
    assert!(closes(&last), "{}", last.head);
    assert!(receive(&mut half).is_none());
    until("it does not end", || bench.http().is_drained());
    assert!(TcpStream::connect(bench.http().addr()).is_err());
    bench.end();
}

#[test]
fn readiness_ends_when_a_drain_begins() {
    let bench = Bench::new();
    let mut connection = bench.connect();
    let ready = request("GET /readyz", "", "");
    // The first half keeps the connection from being quiet.
    connection
        .get_mut()
        .write_all(ready.as_bytes().split_at(20).0)
        .unwrap();
    until("it is not accepted", || bench.http().connections() == 1);
    bench.http().begin_drain();
    connection
        .get_mut()
        .write_all(ready.as_bytes().split_at(20).1)
        .unwrap();
    receive(&mut connection)
        .unwrap()
        .refused(503, "shutting_down");
    bench.end();
}

#[test]
fn a_lame_duck_still_takes_connections_and_closes_each_after_its_answer() {
    let bench = Bench::new();
    let mut kept = sent(&bench, &request("GET /livez", "", ""));
    assert_eq!(receive(&mut kept).unwrap().status, 200);
    bench.http().begin_lame_duck();
    let ready = bench.get("/readyz");
    ready.refused(503, "shutting_down");
    // How it stands is told with it; nothing is wrong, so there is no cause.
    let told = bench.get("/readyz?verbose");
    let told = told.refused(503, "shutting_down");
    assert_eq!(
        (&told["draining"], &told["cause"]),
        (&json!(true), &json!(null))
    );
    let increment = request("POST /api/v1/counter/a/increment", "", "{}");
    kept.get_mut().write_all(increment.as_bytes()).unwrap();
    let counted = receive(&mut kept).unwrap();
    assert_eq!(counted.ok()["current_value"], 1);
    for reply in [ready, counted] {
        let head = reply.head;
        assert!(head.contains("connection: close\r\n"), "{head}");
    }
    assert!(receive(&mut kept).is_none());
    assert!(!bench.http().is_drained());
    bench.end();
}

#[test]
fn what_http_itself_refuses_is_a_problem_of_its_own_status() {
    let bench = Bench::with(|options| options.max_header_bytes = 128 * 1024);
    let increment = "POST /api/v1/counter/a/increment HTTP/1.1\r\nhost: h\r\n";
    let long = |bytes| "x".repeat(bytes);
    let with = |header: &str| format!("{increment}{header}\r\n\r\n");
    for (text, status, code) in [
        ("NONSENSE\r\n\r\n".to_owned(), 400, "bad_request"),
        ("GET / HTTP/3.7\r\n\r\n".to_owned(), 400, "bad_request"),
        (with("content-length: two"), 400, "bad_request"),
        (
            with("content-length: 1\r\ncontent-length: 2"),
            400,
            "bad_request",
        ),
        (
            with("content-length: 18446744073709551616"),
            400,
            "bad_request",
        ),
        (
            with("content-length: 18446744073709551615"),
            413,
            "body_too_large",
        ),
        (
            with("content-length: 18446744073709551614"),
            413,
            "body_too_large",
        ),
        (
            with("content-length: 18446744073709551613"),
            413,
            "body_too_large",
        ),
        (with("content-length: 99999999"), 413, "body_too_large"),
        (with("transfer-encoding: gzip"), 400, "bad_request"),
        (with("transfer-encoding: gzip, chunked"), 400, "bad_request"),
        (
            with("transfer-encoding: gzip\r\ntransfer-encoding: chunked"),
            400,
            "bad_request",
        ),
        (
            format!("GET /{} HTTP/1.1\r\nhost: h\r\n\r\n", long(70_000)),
            414,
            "uri_too_long",
        ),
        (
            with(&format!("x: {}", long(140_000))),
            431,
            "headers_too_large",
        ),
        (with(&"x: y\r\n".repeat(150)), 431, "headers_too_large"),
    ] {
        let mut connection = sent(&bench, &text);
        let reply = receive(&mut connection).unwrap_or_else(|| panic!("nothing: {text:.200}"));
        reply.refused(status, code);
        assert!(
            reply
                .head
                .contains("content-type: application/problem+json\r\n")
        );
        assert!(reply.head.contains("x-request-id: "), "{}", reply.head);
        assert!(
            receive(&mut connection).is_none(),
            "it goes on: {text:.200}"
        );
    }
    assert!(bench.running.table.read("a").is_none());
    bench.end();
}

#[test]
fn a_line_break_between_requests_is_no_request_that_is_late() {
    let bench = Bench::with(|options| {
        options.workers = 1;
        options.limits.header_timeout = Duration::from_millis(1);
    });
    let get = request("GET /livez", "", "");
    let mut connection = sent(&bench, &get);
    assert_eq!(receive(&mut connection).unwrap().status, 200);
    connection.get_mut().write_all(b"\r\n\r\n").unwrap();
    // Where half a head has become late, the line breaks have been looked at too.
    for _ in 0..3 {
        let late = receive(&mut sent(&bench, HALF)).unwrap();
        late.refused(408, "request_timeout");
    }
    connection.get_mut().write_all(get.as_bytes()).unwrap();
    assert_eq!(receive(&mut connection).unwrap().status, 200);
    bench.end();
}

#[test]
fn bodies_that_have_not_arrived_whole_have_so_much_memory_together() {
    let bench = Bench::new();
    let body = format!(r#"{{"operations":[],"x":"{}"}}"#, "x".repeat(600_000));
    let batch = request("POST /api/v1/batch", "", &body);
    let (first, rest) = batch.split_at(100_000);
    let mut holds = sent(&bench, first);
    // Of two at once the one that asks for memory last would be refused.
    until("the first body holds no memory", || {
        bench.http().control.limits.body_memory.held() > 0
    });
    bench
        .ask("POST /api/v1/batch", "", &body)
        .refused(503, "overloaded");
    holds.get_mut().write_all(rest.as_bytes()).unwrap();
    receive(&mut holds).unwrap().refused(400, "unknown_field");
    bench
        .ask("POST /api/v1/batch", "", &body)
        .refused(400, "unknown_field");
    bench.up("small", "{}").ok();
    bench.end();
}

/// A server whose ordinary places are all taken by half requests from this address.
fn full(rested: bool) -> (Bench, Vec<BufReader<TcpStream>>) {
    let bench = Bench::with(|options| {
        options.workers = 1;
        options.limits.max_connections = 8;
    });
    let taken = (0..7)
        .map(|_| {
            if !rested {
                return sent(&bench, HALF);
            }
            let mut connection = sent(&bench, &request("GET /livez", "", ""));
            assert_eq!(receive(&mut connection).unwrap().status, 200);
            connection
        })
        .collect();
    until("not all are accepted", || bench.http().connections() == 7);
    (bench, taken)
}

#[test]
fn probes_and_administrators_are_served_when_all_places_are_taken() {
    let (bench, taken) = full(false);
    // The one place that is kept has to be free again before each.
    let ask = |line: &str, headers: &str, body: &str| {
        until("the last is not closed", || bench.http().connections() == 7);
        bench.ask(line, headers, body)
    };
    for path in ["/livez", "/readyz", "/metrics"] {
        let reply = ask(&format!("GET {path}"), "", "");
        assert_eq!(reply.status, 200, "{path}: {}", reply.body);
        assert!(
            reply.head.contains("connection: close\r\n"),
            "{}",
            reply.head
        );
    }
    ask("PUT /api/v1/counter/defined", ADMIN, r#"{"kind":"sum"}"#).ok();
    for line in [
        "POST /api/v1/counter/a/increment",
        "GET /api/v1/counters/all",
    ] {
        ask(line, "", "").refused(503, "too_many_connections");
    }
    let page = ask("GET /metrics", "", "").body;
    assert!(
        page.contains("counterd_connections_refused_total 2\n"),
        "{page}"
    );
    drop(taken);
    until("the places are not free again", || {
        bench.up("a", "{}").status == 200
    });
    bench.end();
}

#[test]
fn the_connection_that_has_rested_longest_is_closed_for_a_new_one() {
    let (bench, mut rested) = full(true);
    let (longest, others) = rested.split_first_mut().unwrap();
    until("nobody makes room", || {
        for other in &mut *others {
            let again = request("GET /livez", "", "");
            other.get_mut().write_all(again.as_bytes()).unwrap();
            assert_eq!(receive(other).unwrap().status, 200);
        }
        bench.up("a", "{}").status == 200
    });
    let read = longest.read(&mut [0]);
    assert!(matches!(read, Ok(0)), "{read:?}");
    bench.end();
}

#[test]
fn one_address_cannot_hold_all_places_with_half_requests() {
    let bench = Bench::with(|options| {
        options.workers = 1;
        options.limits.max_connections = 8;
    });
    let elsewhere = |_| {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(
            &socket,
            &"127.0.0.2:0".parse::<std::net::SocketAddr>().unwrap(),
        )
        .unwrap();
        connect(&socket, &bench.http().addr()).unwrap();
        let mut stream = TcpStream::from(socket);
        stream.write_all(HALF.as_bytes()).unwrap();
        stream
    };
    let held: Vec<_> = (0..8).map(elsewhere).collect();
    until("not all are accepted", || bench.http().connections() == 8);
    until("nobody makes room", || bench.up("a", "{}").status == 200);
    drop(held);
    bench.end();
}

#[test]
fn a_slow_reader_is_kept_and_one_that_reads_nothing_is_cut_off() {
    let bench = Bench::with(|options| options.limits.idle_timeout = Duration::from_millis(600));
    make_many(&bench);
    let list = request(LIST, "", "");
    let whole = bench.ask(LIST, "", "").body;
    let mut slow = sent(&bench, &list.repeat(10));
    set_socket_recv_buffer_size(slow.get_ref(), 64 * 1024).unwrap();
    let mut all = Vec::new();
    let mut some = [0; 8 * 1024];
    while all.len() < 10 * whole.len() {
        // polls: a slow reader, which takes far longer for a list than a connection may rest
        std::thread::sleep(Duration::from_millis(4));
        let read = slow.read(&mut some).unwrap();
        assert!(read > 0, "cut off after {} bytes", all.len());
        all.extend_from_slice(&some[..read]);
    }
    let stalled = sent(&bench, &list.repeat(40));
    drop(slow);
    until("it is not cut off", || bench.http().connections() == 0);
    drop(stalled);
    bench.end();
}

#[test]
fn few_answers_are_made_for_those_who_read_none() {
    let bench = Bench::new();
    make_many(&bench);
    let mut stalled: Vec<_> = (0..20)
        .map(|_| {
            let connection = bench.connect();
            set_socket_recv_buffer_size(connection.get_ref(), 64 * 1024).unwrap();
            connection
        })
        .collect();
    for connection in &mut stalled {
        let lists = request(LIST, "", "").repeat(50);
        connection.get_mut().write_all(lists.as_bytes()).unwrap();
    }
    let made = || {
        let page = bench.get("/metrics").body;
        let lists = page.lines().filter(|line| {
            line.starts_with("counterd_requests_total{") && line.contains("\"list\"")
        });
        let counts = lists.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        counts.sum::<u64>()
    };
    // Until each has its first, and no more are made while others are served.
    let (mut last, mut same) = (0, 0);
    let begun = std::time::Instant::now();
    while (last < 20 || same < 20) && begun.elapsed().as_secs() < 120 {
        bench.up("a", "").ok();
        let now = made();
        same = if now == last { same + 1 } else { 0 };
        last = now;
    }
    assert!(
        (20..=4 * 20).contains(&last),
        "{last} of 1000 lists were made"
    );
    drop(stalled);
    bench.end();
}
