//! Limits of rates: when a request is too many, what its client is told, and what is free.

use super::*;
use crate::http::connection::Connection;

const UP: &str = "POST /api/v1/counter/a/increment";
const READ: &str = "GET /api/v1/counter/games";

fn limited(change: impl FnOnce(&mut RateLimits)) -> Bench {
    Bench::with(|options| change(&mut options.rate_limits))
}

fn rate(text: &str) -> Option<Rate> {
    Some(text.parse().unwrap())
}

/// A bench whose clients come through a proxy on this machine, each with an address of its own.
fn proxied(change: impl FnOnce(&mut RateLimits)) -> Bench {
    limited(|limits| {
        limits.clients.trusted = vec![network("127.0.0.1").unwrap()];
        change(limits);
    })
}

fn from(client: &str) -> String {
    format!("x-forwarded-for: {client}\r\n")
}

fn field<'r>(reply: &'r Reply, name: &str) -> Option<&'r str> {
    let line = reply.head.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_once(": "))
        .map(|(_, value)| value)
}

/// Batch of as many increments, each of that user.
fn batch_of(users: &[Option<&str>]) -> String {
    let operation = |user: &Option<&str>| match user {
        Some(user) => json!({"op": "increment", "name": "a", "user_id": user}),
        None => json!({"op": "increment", "name": "a"}),
    };
    let operations: Vec<Value> = users.iter().map(operation).collect();
    json!({ "operations": operations }).to_string()
}

#[test]
fn an_address_that_asks_too_often_is_told_when_to_come_again() {
    let bench = limited(|limits| limits.per_ip = rate("2/m"));
    for _ in 0..2 {
        bench.ask(UP, "", "").ok();
    }
    bench.clock.advance(1000);
    let refused = bench.ask(UP, "", "");
    let problem = refused.refused(429, "rate_limited");
    assert_eq!(problem["limit"], "ip_writes");
    assert_eq!(
        problem["detail"],
        "this address writes too often (`limits.per_ip`: 2/m), nothing was counted; retry after 29 s"
    );
    assert_eq!(field(&refused, "retry-after"), Some("29"));
    assert_eq!(field(&refused, "ratelimit"), Some("\"ip_writes\";r=0;t=29"));
    assert_eq!(
        field(&refused, "ratelimit-policy"),
        Some("\"ip_writes\";q=2;w=60")
    );
    // The wall clock says nothing of it.
    bench.clock.shift_wall(24 * HOUR);
    bench.ask(UP, "", "").refused(429, "rate_limited");
    // Reads are limited apart, and nothing was counted.
    assert_eq!(bench.get("/api/v1/counter/a").ok()["value"], 2);
    bench.clock.advance(28_999);
    bench.ask(UP, "", "").refused(429, "rate_limited");
    bench.clock.advance(1);
    bench.ask(UP, "", "").ok();
    bench.end();
}

#[test]
fn probes_are_free_and_all_else_of_an_address_is_not() {
    let bench = limited(|limits| {
        limits.per_ip = rate("3/s");
        limits.burst = Some(3);
    });
    for (line, status) in [
        (READ, 200),
        ("GET /nowhere", 404),
        ("GET /api/v1/counter/a/increment", 405),
    ] {
        assert_eq!(bench.ask(line, "", "").status, status, "{line}");
    }
    for line in [
        READ,
        "GET /nowhere",
        "OPTIONS /nowhere",
        "GET /api/v1/counters/all",
        "GET /api/v1/counter/games/history",
    ] {
        assert_eq!(bench.ask(line, "", "").status, 429, "{line}");
    }
    for line in ["GET /livez", "GET /readyz?verbose", "GET /metrics"] {
        bench.ask(line, "", "");
        assert_eq!(bench.ask(line, "", "").status, 200, "{line}");
    }
    for _ in 0..3 {
        bench.ask(UP, "", "").ok();
    }
    for line in [UP, "DELETE /nowhere", "PUT /api/v1/counter/new"] {
        bench.ask(line, ADMIN, "").refused(429, "rate_limited");
    }
    let page = bench.ask("GET /metrics", "", "").body;
    for line in [
        "counterd_rate_limited_total{limit=\"ip_reads\"} 5",
        "counterd_rate_limited_total{limit=\"ip_writes\"} 3",
        "counterd_rate_limited_total{limit=\"user\"} 0",
        "counterd_operations_total{result=\"refused_rate\"} 1",
        "counterd_rate_limit_slots 1024",
        "counterd_rate_limit_overflows_total 0",
    ] {
        assert!(page.contains(line), "{line}");
    }
    bench.end();
}

#[test]
fn the_address_is_judged_before_token_and_body() {
    let bench = Bench::with(|options| {
        options.rate_limits.per_ip = rate("2/s");
        let mut tokens = Tokens::clone(&options.tokens.load());
        tokens.write = vec!["the-writer".to_owned().into()];
        options.tokens.store(Arc::new(tokens));
    });
    let long = "x".repeat(20_000);
    bench.ask(UP, "", "").refused(401, "unauthorized");
    bench.ask(UP, "", &long).refused(413, "body_too_large");
    bench.ask(UP, "", "").refused(429, "rate_limited");
    bench.ask(UP, "", &long).refused(429, "rate_limited");
    bench
        .ask(UP, "origin: https://evil.example\r\n", "")
        .refused(429, "rate_limited");
    bench.end();
}

#[test]
fn a_batch_costs_its_operations() {
    let bench = limited(|limits| limits.per_ip = rate("10/s"));
    let batch = |count| bench.ask("POST /api/v1/batch", "", &batch_of(&vec![None; count]));
    batch(6).ok();
    let refused = batch(5);
    refused.refused(429, "rate_limited");
    assert_eq!(field(&refused, "ratelimit"), Some("\"ip_writes\";r=3;t=1"));
    // What was read cost one; there are three left.
    batch(3).ok();
    batch(1).refused(429, "rate_limited");
    // One of more than the burst is let in when the bucket is whole, and is paid for.
    bench.clock.advance(900);
    batch(1).ok();
    let refused = batch(25);
    assert!(
        refused.refused(429, "rate_limited")["detail"]
            .as_str()
            .unwrap()
            .contains("with more operations than 10 at once"),
        "{}",
        refused.body
    );
    bench.clock.advance(1000);
    batch(25).ok();
    bench.clock.advance(1599);
    batch(1).refused(429, "rate_limited");
    bench.clock.advance(1);
    batch(1).ok();
    assert_eq!(bench.get("/api/v1/counter/a").ok()["value"], 36);
    bench.end();
}

#[test]
fn a_user_is_limited_over_all_counters_and_by_nobody_else() {
    let bench = limited(|limits| limits.per_user = rate("2/m"));
    bench.up("a", r#"{"user_id":"anna"}"#).ok();
    bench.up("b", r#"{"user_id":"anna"}"#).ok();
    let refused = bench.up("dau", r#"{"user_id":"anna"}"#);
    let problem = refused.refused(429, "rate_limited");
    assert_eq!(problem["limit"], "user");
    assert_eq!(field(&refused, "retry-after"), Some("30"));
    assert!(!refused.body.contains("anna") && !refused.head.contains("anna"));
    bench.up("dau", r#"{"user_id":"ben"}"#).ok();
    bench.up("a", "").ok();
    // A body that cannot be parsed, and one that is refused while nothing is written, take nothing.
    for _ in 0..3 {
        bench
            .up("a", r#"{"user_id":"carl","value":0}"#)
            .refused(400, "invalid_value");
    }
    bench.running.mode.raise(Cause::Operator, NOON);
    for _ in 0..3 {
        bench
            .up("a", r#"{"user_id":"carl"}"#)
            .refused(503, "read_only");
    }
    bench.running.mode.clear(Cause::Operator);
    bench.up("a", r#"{"user_id":"carl"}"#).ok();
    bench.end();
}

#[test]
fn of_a_batch_the_operations_of_users_who_are_too_many_are_named_and_nothing_is_counted() {
    let bench = limited(|limits| limits.per_user = rate("3/m"));
    let batch = |users: &[Option<&str>]| bench.ask("POST /api/v1/batch", "", &batch_of(users));
    let (anna, ben) = (Some("anna"), Some("ben"));
    batch(&[anna, ben, anna, None]).ok();
    let problem = batch(&[None, anna, ben, anna]).refused(429, "rate_limited");
    let errors = problem["errors"].as_array().unwrap();
    let places: Vec<_> = errors.iter().map(|error| &error["index"]).collect();
    assert_eq!(places, [1, 3]);
    assert_eq!(errors[0]["code"], "rate_limited");
    assert_eq!(bench.get("/api/v1/counter/a").ok()["value"], 4);
    // The refusal took nothing, of ben neither.
    batch(&[anna, ben, ben]).ok();
    batch(&[ben]).refused(429, "rate_limited");
    // More than a burst of one user: once, and paid for.
    let carl = [Some("carl"); 6];
    batch(&carl).ok();
    bench.clock.advance(79_999);
    batch(&carl[..1]).refused(429, "rate_limited");
    bench.clock.advance(1);
    batch(&carl[..1]).ok();
    bench.end();
}

#[test]
fn behind_a_trusted_proxy_each_client_has_its_own_limit() {
    let bench = proxied(|limits| {
        limits.per_ip = rate("1/m");
        limits.exempt = vec![network("203.0.113.0/24").unwrap()];
    });
    let up = |client: &str| bench.ask(UP, &from(client), "").status;
    assert_eq!((up("198.51.100.1"), up("198.51.100.1")), (200, 429));
    assert_eq!((up("198.51.100.2"), up("198.51.100.2:4711")), (200, 429));
    // Of IPv6 a /64 is one client.
    assert_eq!((up("2001:db8::1"), up("2001:db8::2:1")), (200, 429));
    assert_eq!((up("2001:db8:0:1::1"), up("2001:db8:0:1::2")), (200, 429));
    // And what cannot be read is the proxy.
    assert_eq!((up("unknown"), up("127.0.0.1")), (200, 429));
    for _ in 0..5 {
        assert_eq!(up("203.0.113.9"), 200);
    }
    bench.end();
}

#[test]
fn a_48_of_ipv6_has_a_wider_limit() {
    let bench = proxied(|limits| limits.per_ip = rate("1/m"));
    let up = |net: usize| {
        let client = from(&format!("2001:db8:7:{net:x}::1"));
        bench.ask(UP, &client, "").status
    };
    let statuses: Vec<u16> = (0..20).map(up).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 16);
    assert_eq!(statuses[16..], [429; 4]);
    // The /64 that was refused for the /48 has its own still.
    bench.clock.advance(60_000 / 16);
    assert_eq!((up(16), up(16)), (200, 429));
    bench.end();
}

#[test]
fn wrong_tokens_of_an_address_are_counted_and_then_none_is_looked_at() {
    let bench = proxied(|limits| limits.wrong_admin_tokens = rate("3/m"));
    let define = |client: &str, token: &str| {
        let headers = format!("{}authorization: Bearer {token}\r\n", from(client));
        bench.ask("PUT /api/v1/counter/new", &headers, "{}").status
    };
    let guesser = "198.51.100.1";
    // Right ones and missing ones are no guesses.
    for _ in 0..5 {
        assert!(matches!(define(guesser, "the-admin"), 200 | 201));
        let none = bench.ask("PUT /api/v1/counter/new", &from(guesser), "{}");
        none.refused(401, "unauthorized");
    }
    for guess in ["a", "b", "c"] {
        assert_eq!(define(guesser, guess), 401);
    }
    // From now on the right one is not known from a wrong one.
    for token in ["d", "the-admin", "the-admi", "e"] {
        assert_eq!(define(guesser, token), 429, "{token}");
    }
    assert_eq!(define("198.51.100.2", "the-admin"), 200);
    bench.clock.advance(19_999);
    assert_eq!(define(guesser, "the-admin"), 429);
    bench.clock.advance(1);
    assert_eq!(define(guesser, "the-admin"), 200);
    bench.end();
}

#[test]
fn a_token_is_guessed_nowhere_else_either() {
    let bench = Bench::with(|options| {
        options.rate_limits.wrong_admin_tokens = rate("2/m");
        let mut tokens = Tokens::clone(&options.tokens.load());
        tokens.read = vec!["the-reader".to_owned().into()];
        options.tokens.store(Arc::new(tokens));
    });
    let bearer = |token: &str| format!("authorization: Bearer {token}\r\n");
    let verbose = |token: &str| {
        let page = bench.ask("GET /readyz?verbose", &bearer(token), "").ok();
        page.get("mode").is_some()
    };
    assert!(verbose("the-admin") && !verbose("guess"));
    let reset = "POST /api/v1/counter/games/reset";
    let in_body = bench.ask(reset, "", r#"{"admin_token":"guess"}"#);
    in_body.refused(401, "unauthorized");
    let told = bench.ask(READ, &bearer("the-admin"), "");
    let problem = told.refused(429, "rate_limited");
    assert_eq!(problem["limit"], "wrong_admin_tokens");
    assert_eq!(field(&told, "retry-after"), Some("30"));
    assert!(!verbose("the-admin"));
    let in_body = bench.ask(reset, "", r#"{"admin_token":"the-admin"}"#);
    in_body.refused(429, "rate_limited");
    // Tokens of other roles are known as before.
    bench.ask(READ, &bearer("the-reader"), "").ok();
    assert!(verbose("the-reader"));
    let writes = bench.ask(reset, &bearer("the-reader"), "");
    writes.refused(403, "forbidden");
    bench.end();
}

/// A bench with a reader and a writer, at which an address may guess that often.
fn guarded(guesses: &str) -> Bench {
    Bench::with(|options| {
        options.rate_limits.wrong_admin_tokens = rate(guesses);
        let mut tokens = Tokens::clone(&options.tokens.load());
        tokens.read = vec!["the-reader".to_owned().into()];
        tokens.write = vec!["the-writer".to_owned().into()];
        options.tokens.store(Arc::new(tokens));
    })
}

#[test]
fn a_token_beside_one_that_is_known_is_a_guess_all_the_same() {
    let bench = guarded("2/m");
    let reset = |token: &str, in_body: &str| {
        let headers = format!("authorization: Bearer {token}\r\n");
        let line = "POST /api/v1/counter/games/reset";
        bench.ask(line, &headers, in_body).status
    };
    // A token that is known but not enough is no guess.
    for _ in 0..5 {
        assert_eq!(reset("the-reader", ""), 403);
        assert_eq!(reset("the-reader", r#"{"admin_token":"the-writer"}"#), 403);
    }
    assert_eq!(reset("the-reader", r#"{"admin_token":"guess"}"#), 403);
    // Of two tokens each is looked at or none is: there is one guess left.
    for token in ["guess", "the-admin"] {
        let in_body = format!(r#"{{"admin_token":"{token}"}}"#);
        assert_eq!(reset("the-reader", &in_body), 429, "{token}");
        assert_eq!(reset("guess", &in_body), 429, "{token}");
    }
    assert_eq!(reset("the-admin", ""), 200);
    assert_eq!(reset("guess", ""), 401);
    for token in ["guess", "the-admin"] {
        let in_body = format!(r#"{{"admin_token":"{token}"}}"#);
        assert_eq!(reset("the-reader", &in_body), 429, "{token}");
        assert_eq!(reset(token, ""), 429, "{token}");
    }
    assert_eq!(reset("the-reader", ""), 403);
    bench.clock.advance(60_000);
    assert_eq!(reset("guess", r#"{"admin_token":"other"}"#), 401);
    assert_eq!(reset("the-admin", ""), 429);
    bench.clock.advance(60_000);
    let known = r#"{"admin_token":"the-writer"}"#;
    let both = [(); 2].map(|()| reset("guess", known));
    assert_eq!(both, [403, 429]);
    bench.end();
}

#[test]
fn more_guesses_at_once_than_there_are_shut_an_address_out_until_all_are_paid() {
    let bench = guarded("1/m");
    let reset = |token: &str, in_body: &str| {
        let headers = format!("authorization: Bearer {token}\r\n");
        let line = "POST /api/v1/counter/games/reset";
        bench.ask(line, &headers, in_body).status
    };
    assert_eq!(reset("guess", r#"{"admin_token":"other"}"#), 401);
    bench.clock.advance(119_999);
    assert_eq!(reset("the-admin", ""), 429);
    bench.clock.advance(1);
    assert_eq!(reset("the-admin", ""), 200);
    bench.end();
}

#[test]
fn a_subprotocol_beside_the_token_of_a_writer_is_a_guess_all_the_same() {
    let bench = guarded("2/m");
    let open = |header: &str, shown: &str| {
        let headers = format!(
            "authorization: Bearer {header}\r\nsec-websocket-protocol: counterd.v1, counterd.bearer.{shown}\r\n"
        );
        bench.ask("GET /api/v1/ws", &headers, "").status
    };
    let (guess, the_writer, the_admin) = ("Z3Vlc3M", "dGhlLXdyaXRlcg", "dGhlLWFkbWlu");
    for _ in 0..5 {
        assert_eq!(open("the-writer", the_writer), 403);
    }
    // Who may subscribe is told that the rest of the handshake is missing.
    assert_eq!(open("the-writer", the_admin), 426);
    assert_eq!(open("the-writer", guess), 403);
    for shown in [guess, the_admin] {
        assert_eq!(open("the-writer", shown), 429, "{shown}");
    }
    assert_eq!(open("the-writer", the_writer), 403);
    bench.end();
}

#[test]
fn limits_change_while_the_server_runs_and_what_was_taken_stays_taken() {
    let bench = limited(|_| {});
    let options = |change: &dyn Fn(&mut RateLimits)| {
        let mut limits = unlimited();
        change(&mut limits);
        bench.http().set_rate_limits(&limits);
    };
    let up = |headers: &str| bench.ask(UP, headers, "").status;
    assert_eq!([(); 3].map(|()| up("")), [200; 3]);
    options(&|limits| limits.per_ip = rate("2/m"));
    assert_eq!([(); 3].map(|()| up("")), [200, 200, 429]);
    options(&|limits| limits.per_ip = rate("4/m"));
    assert_eq!(up(""), 429);
    options(&|limits| limits.exempt = vec![network("127.0.0.0/8").unwrap()]);
    assert_eq!(up(""), 200);
    options(&|limits| {
        limits.per_ip = rate("4/m");
        limits.clients.trusted = vec![network("127.0.0.1").unwrap()];
    });
    assert_eq!((up(""), up(&from("198.51.100.1"))), (429, 200));
    options(&|_| {});
    assert_eq!(up(""), 200);
    bench.end();
}

#[test]
fn answers_to_a_connection_that_goes_on_without_a_pause_come_later_and_later() {
    let bench = limited(|limits| limits.per_ip = rate("1/m"));
    let connection = Connection::new(
        "198.51.100.1:1".parse().unwrap(),
        {
            let places = Arc::new(places::Places::default());
            places.resize(1);
            places.take().unwrap()
        },
        Arc::default(),
        Arc::default(),
    );
    let waits = [(); 9].map(|()| connection.pause_of_limited().as_millis());
    assert_eq!(waits, [0, 50, 100, 200, 400, 800, 1000, 1000, 1000]);
    // Each that is not too many halves the row, so that a flood settles at what is allowed.
    let after = [(); 4].map(|()| {
        connection.forget_limited();
        connection.pause_of_limited().as_millis()
    });
    assert_eq!(after, [400, 100, 50, 50]);
    (0..3).for_each(|_| connection.forget_limited());
    assert!(connection.pause_of_limited().is_zero());
    // All of them are answered, in their order.
    let mut one = bench.connect();
    let line = request(UP, "", "");
    one.get_mut().write_all(line.repeat(3).as_bytes()).unwrap();
    let statuses = [(); 3].map(|()| receive(&mut one).unwrap().status);
    assert_eq!(statuses, [200, 429, 429]);
    bench.end();
}
