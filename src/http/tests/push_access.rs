//! Who is told of changes, and of how many counters: tokens and tickets, origins, places, names.

use super::push::{Listener, figure};
use super::*;

#[test]
fn there_are_so_many_places_and_no_more() {
    let bench = Bench::with(|options| options.push.max_connections = 1);
    let listener = Listener::of(&bench, "names=a", "");
    let refused = bench
        .get("/api/v1/stream?names=a")
        .refused(503, "too_many_connections");
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("push.max_connections"), "{detail}");
    assert_eq!(figure(&bench, "counterd_push_refused_total"), 1);
    drop(listener);
    until("the place is not given back", || {
        let mut connection = bench.connect();
        let get = request("GET /api/v1/stream?names=a", "", "");
        connection.get_mut().write_all(get.as_bytes()).unwrap();
        let mut line = String::new();
        connection.read_line(&mut line).unwrap();
        line.starts_with("HTTP/1.1 200 ")
    });
    bench.end();
}

#[test]
fn a_page_of_a_stranger_is_told_nothing_and_one_of_a_friend_is() {
    let bench = Bench::new();
    let stranger = "origin: https://evil.example\r\n";
    let line = "GET /api/v1/stream?names=a";
    bench
        .ask(line, stranger, "")
        .refused(403, "origin_not_allowed");
    bench
        .ask("POST /api/v1/push-ticket", stranger, "")
        .refused(403, "origin_not_allowed");
    let mut connection = bench.connect();
    let get = request(line, "origin: https://game.example\r\n", "");
    connection.get_mut().write_all(get.as_bytes()).unwrap();
    let head = receive_head(&mut connection);
    assert!(
        head.contains("access-control-allow-origin: https://game.example\r\n"),
        "{head}"
    );
    bench.end();
}

#[test]
fn a_stream_needs_the_token_of_a_reader_or_a_ticket_that_nobody_used() {
    let bench = Bench::with(|options| {
        options.tokens = Arc::new(ArcSwap::from_pointee(Tokens {
            read: vec!["the-reader".to_owned().into()],
            ..Tokens::default()
        }));
    });
    let reader = "authorization: Bearer the-reader\r\n";
    bench
        .get("/api/v1/stream?names=a")
        .refused(401, "unauthorized");
    bench
        .ask("POST /api/v1/push-ticket", "", "")
        .refused(401, "unauthorized");
    // A token in a query would be in the log of every proxy.
    bench
        .ask("GET /api/v1/stream?names=a&token=the-reader", reader, "")
        .refused(400, "invalid_query");
    Listener::of(&bench, "names=a", reader).state();
    let given = bench.ask("POST /api/v1/push-ticket", reader, "");
    assert!(
        given.head.contains("cache-control: no-store\r\n"),
        "{}",
        given.head
    );
    let given = given.ok();
    assert_eq!(given["expires_in"], 30);
    let query = format!("names=a&ticket={}", given["ticket"].as_str().unwrap());
    Listener::of(&bench, &query, "").state();
    bench
        .get(&format!("/api/v1/stream?{query}"))
        .refused(401, "unauthorized");
    bench
        .get("/api/v1/stream?names=a&ticket=")
        .refused(401, "unauthorized");
    let late = bench.ask("POST /api/v1/push-ticket", reader, "").ok();
    bench.clock.advance(30_000);
    let query = format!("names=a&ticket={}", late["ticket"].as_str().unwrap());
    bench
        .get(&format!("/api/v1/stream?{query}"))
        .refused(401, "unauthorized");
    bench.end();
}

#[test]
fn names_and_methods_are_judged_as_elsewhere() {
    let bench = Bench::new();
    for query in ["", "?names=", "?names=,", "?other=a", "?names=a&names=b"] {
        bench
            .get(&format!("/api/v1/stream{query}"))
            .refused(400, "invalid_query");
    }
    bench
        .get("/api/v1/stream?names=A")
        .refused(400, "invalid_name");
    let names = |count: usize| {
        let names: Vec<String> = (0..count).map(|n| format!("n{n}")).collect();
        names.join(",")
    };
    bench
        .get(&format!("/api/v1/stream?names={}", names(101)))
        .refused(400, "invalid_query");
    let state = Listener::of(&bench, &format!("names={}", names(100)), "")
        .state()
        .data;
    assert_eq!(state["missing"].as_array().unwrap().len(), 100);
    bench
        .ask("POST /api/v1/stream", "", "")
        .refused(405, "method_not_allowed");
    let mut connection = bench.connect();
    let asked = request("HEAD /api/v1/stream?names=a", "", "");
    connection.get_mut().write_all(asked.as_bytes()).unwrap();
    let head = receive_head(&mut connection);
    assert!(
        head.contains("content-type: text/event-stream\r\n"),
        "{head}"
    );
    assert_eq!(connection.read(&mut [0]).unwrap(), 0);
    // Requests ahead of a stream on its connection are answered first.
    let mut connection = bench.connect();
    let both = [
        request("GET /livez", "", ""),
        request("GET /api/v1/stream?names=a", "", ""),
    ];
    connection
        .get_mut()
        .write_all(both.concat().as_bytes())
        .unwrap();
    assert_eq!(receive(&mut connection).unwrap().body, r#"{"status":"ok"}"#);
    let mut line = String::new();
    connection.read_line(&mut line).unwrap();
    assert_eq!(line, "HTTP/1.1 200 OK\r\n");
    bench.end();
}
