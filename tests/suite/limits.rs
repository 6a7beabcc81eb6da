//! Limits of rates on the real binary and its real clock: a flood is counted exactly as far as it was let in, nobody else
//! notices it, and a table that is full is told.
//!
//! Kept out: the arithmetic and the table (`src/http/rate_limit`), the answers (`src/http/tests/rates.rs`), proxies
//! (`proxied`).

use serde_json::json;

use crate::harness::{Server, at_once, setup};

const PATH: &str = "/api/v1/counter/games/increment";

/// One increment of that client, over a connection of its own; gives the status.
fn up(server: &Server, client: &str) -> u16 {
    let headers = [("x-forwarded-for", client)];
    let answer = server.client().request("POST", PATH, &headers, b"");
    answer.unwrap().status
}

fn metric(server: &Server, name: &str) -> u64 {
    let page = server.client().get("/metrics").text();
    let line = page.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().trim().parse().unwrap()
}

#[test]
fn a_flood_is_counted_exactly_as_far_as_it_was_let_in_and_nobody_else_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let server = setup!(home.path())
        .set("limits.per_ip", "100/h")
        .set("limits.trusted_proxies", "127.0.0.1")
        .start();
    let each = 150;
    let statuses = at_once(6, |number| -> Vec<u16> {
        match number {
            0..4 => (0..each).map(|_| up(&server, "198.51.100.1")).collect(),
            honest => (0..50)
                .map(|_| up(&server, &format!("203.0.113.{honest}")))
                .collect(),
        }
    });
    let (flood, honest) = statuses.split_at(4);
    assert!(
        honest.iter().flatten().all(|status| *status == 200),
        "{honest:?}"
    );
    let let_in = flood
        .iter()
        .flatten()
        .filter(|status| **status == 200)
        .count();
    let refused = flood
        .iter()
        .flatten()
        .filter(|status| **status == 429)
        .count();
    assert_eq!(let_in + refused, 4 * each);
    // One comes back every 36 s.
    assert!((100..110).contains(&let_in), "{let_in}");
    let counted = server.client().value("games");
    assert_eq!(counted, i64::try_from(let_in + 100).unwrap());
    let limited = metric(&server, "counterd_rate_limited_total{limit=\"ip_writes\"}");
    assert_eq!(limited, refused as u64);
    server.stop();
}

#[test]
fn a_full_table_is_told_once_and_shares_a_limit_among_newcomers() {
    let home = tempfile::tempdir().unwrap();
    let server = setup!(home.path())
        .set("limits.per_ip", "2/h")
        .set("limits.max_keys", "1024")
        .set("limits.trusted_proxies", "127.0.0.1")
        .start();
    let statuses: Vec<u16> = (0..1500)
        .map(|number| up(&server, &format!("10.0.{}.{}", number / 250, number % 250)))
        .collect();
    let refused = statuses.iter().filter(|status| **status == 429).count();
    let overflows = metric(&server, "counterd_rate_limit_overflows_total");
    // Sixteen times two are let in together.
    assert!((400..700).contains(&refused), "{refused}");
    assert_eq!(overflows, refused as u64 + 32);
    assert_eq!(metric(&server, "counterd_rate_limit_slots"), 1024);
    assert!(metric(&server, "counterd_rate_limit_keys") > 900);
    // Who has a place has its own limit.
    assert_eq!(
        (up(&server, "10.0.0.7"), up(&server, "10.0.0.7")),
        (200, 429)
    );
    let log = server.output();
    let told = "the table of limits is full: those who come new share one limit limit=\"ip_writes\" places=1024";
    assert_eq!(log.matches(told).count(), 1, "{log}");
    assert_eq!(log.matches("the table of limits").count(), 1, "{log}");
    server.stop();
}

#[test]
fn an_address_that_guesses_is_heard_by_the_control_socket_still() {
    let home = tempfile::tempdir().unwrap();
    let setup = setup!(home.path());
    let server = setup.start();
    let define = |token: &str| {
        let mut client = server.client().with_token(token);
        client
            .put("/api/v1/counter/new", &json!({"kind": "sum"}))
            .status
    };
    for _ in 0..10 {
        assert_eq!(define("a-wrong-token-of-tests"), 401);
    }
    let mut admin = server.admin();
    let refused = admin.put("/api/v1/counter/new", &json!({"kind": "sum"}));
    assert_eq!(
        refused.refused(429, "rate_limited")["limit"],
        "wrong_admin_tokens"
    );
    let told = setup.command("mode").output().unwrap();
    assert!(told.status.success(), "{told:?}");
    // Whoever has no token to send is served as before.
    assert_eq!(up(&server, "-"), 200);
    server.stop();
}
