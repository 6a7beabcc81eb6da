//! Whatever a stranger sends is answered with the status and code that the docs name, counts
//! nothing, and leaves the server as it was.
//!
//! Every request goes over a real socket as the bytes written here. Kept out: tokens by role and
//! origins (`access`), and what the parser alone can show (`src/http/parse/tests.rs`).

mod table;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use serde_json::json;
use tempfile::tempdir;

use crate::harness::{Client, PATIENCE, Server, eventually, setup};
use table::{Case, post, raw};

/// The revision of the store's last change.
fn revision(server: &Server) -> i64 {
    server.client().get("/readyz?verbose").ok()["revision"]
        .as_i64()
        .unwrap()
}

/// A server with a counter of each sort, and time limits that a test can wait for.
fn server_with_counters(home: &std::path::Path) -> Server {
    let server = setup!(home)
        .set("server.header_timeout", "300ms")
        .set("server.body_timeout", "300ms")
        .start();
    let mut admin = server.admin();
    for (name, definition) in [
        ("gauge", json!({})),
        ("sum", json!({"kind": "sum"})),
        ("unique", json!({"kind": "unique", "reset": "daily"})),
        ("full", json!({"max": 5})),
        ("gone", json!({})),
    ] {
        admin.define(name, &definition);
    }
    admin
        .post("/api/v1/counter/full/increment", &json!({"value": 5}))
        .ok();
    admin
        .post_keyed(
            "/api/v1/counter/gauge/increment",
            "used",
            &json!({"value": 7}),
        )
        .ok();
    admin
        .request("DELETE", "/api/v1/counter/gone", &[], b"")
        .unwrap()
        .ok();
    server
}

/// Sends one case on a connection of its own and claims what comes back.
fn judge(server: &Server, case: &Case) {
    let Case {
        name,
        request,
        status,
        code,
    } = case;
    let mut client = server.client();
    // The server may refuse and close before everything is sent.
    let _ = client.send_raw(request);
    let answer = client
        .receive()
        .unwrap_or_else(|error| panic!("{name}: no answer: {error}"));
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (*status, *code),
        "{name}: {}",
        answer.text()
    );
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json"),
        "{name}"
    );
    let id = answer
        .header("x-request-id")
        .unwrap_or_else(|| panic!("{name}: no request id"));
    let problem = answer.json();
    assert_eq!(problem["request_id"], json!(id), "{name}");
    assert_eq!(problem["success"], json!(false), "{name}");
    assert_eq!(problem["status"], json!(status), "{name}");
    assert_eq!(
        problem["type"],
        json!(format!("urn:counterd:error:{code}")),
        "{name}"
    );
    for member in ["title", "detail"] {
        assert!(
            problem[member]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "{name}: {member}"
        );
    }
}

#[test]
fn each_bad_request_gets_its_status_and_code_and_counts_nothing() {
    let home = tempdir().unwrap();
    let server = server_with_counters(home.path());
    let before = revision(&server);
    let cases = table::cases();
    assert!(cases.len() >= 80, "{} cases", cases.len());
    let names: BTreeSet<_> = cases.iter().map(|case| &case.name).collect();
    assert_eq!(names.len(), cases.len(), "two cases have the same name");
    for case in &cases {
        judge(&server, case);
    }
    assert_eq!(revision(&server), before, "something was counted");
    assert!(!server.output().contains("panicked"), "{}", server.output());
    server
        .client()
        .post("/api/v1/counter/gauge/increment", &json!({}))
        .ok();
    assert_eq!(revision(&server), before + 1);
    server.stop();
}

/// The order of judgement: a request with several faults is refused for the first.
#[test]
fn the_first_fault_in_the_order_of_judgement_is_answered() {
    let home = tempdir().unwrap();
    let setup = setup!(home.path()).set("auth.write_token", "the-write-token-of-tests");
    let server = setup.start();
    let token = "authorization: Bearer the-write-token-of-tests\r\n";
    let large = "x".repeat(20_000);
    let faults = [
        // Each line leaves out the fault that the line before was refused for.
        (
            "PATCH",
            "/api/v1/nowhere",
            "origin: http://evil.example\r\ncontent-type: text/plain\r\n",
            large.as_str(),
            404,
            "not_found",
        ),
        (
            "PATCH",
            "/api/v1/counter/A/increment",
            "origin: http://evil.example\r\ncontent-type: text/plain\r\n",
            &large,
            405,
            "method_not_allowed",
        ),
        (
            "POST",
            "/api/v1/counter/A/increment",
            "origin: http://evil.example\r\ncontent-type: text/plain\r\n",
            &large,
            403,
            "origin_not_allowed",
        ),
        (
            "POST",
            "/api/v1/counter/A/increment",
            "content-type: text/plain\r\n",
            &large,
            413,
            "body_too_large",
        ),
        (
            "POST",
            "/api/v1/counter/A/increment",
            "content-type: text/plain\r\n",
            "{",
            415,
            "unsupported_media_type",
        ),
        (
            "POST",
            "/api/v1/counter/A/increment",
            "",
            "{",
            401,
            "unauthorized",
        ),
        (
            "POST",
            "/api/v1/counter/A/increment",
            token,
            "{",
            400,
            "invalid_json",
        ),
        (
            "POST",
            "/api/v1/counter/A/increment",
            token,
            "{}",
            400,
            "invalid_name",
        ),
    ];
    for (method, path, headers, body, status, code) in faults {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: h\r\n{headers}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        judge(
            &server,
            &raw(
                &format!("{status} {code}"),
                request.as_bytes(),
                status,
                code,
            ),
        );
    }
    // Mode, key, existence, rules.
    let mut admin = server.admin();
    admin.define("sum", &json!({"kind": "sum"}));
    admin
        .post_keyed("/api/v1/counter/sum/increment", "used", &json!({}))
        .ok();
    let set_mode = |mode: &str| {
        let done = setup.command("mode").arg(mode).output().unwrap();
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
    };
    let decrement = |client: &mut Client, name: &str, key: &str, body: &[u8]| {
        let headers = [("idempotency-key", key)];
        client
            .request(
                "POST",
                &format!("/api/v1/counter/{name}/decrement"),
                &headers,
                body,
            )
            .unwrap()
    };
    set_mode("read_only");
    decrement(&mut admin, "nobody", "used", b"{").refused(400, "invalid_json");
    let refused = decrement(&mut admin, "nobody", "used", b"{}");
    refused.refused(503, "read_only");
    assert!(refused.header("retry-after").is_some());
    set_mode("normal");
    decrement(&mut admin, "nobody", "used", b"{}").refused(422, "idempotency_key_reused");
    decrement(&mut admin, "nobody", "other", b"{}").refused(404, "unknown_counter");
    decrement(&mut admin, "sum", "other", b"{}").refused(409, "wrong_kind");
    // A reset's body is read before its token is judged; one that cannot be parsed carries none.
    let mut client = server.client();
    let mut reset = |body: &[u8]| {
        client
            .request("POST", "/api/v1/counter/sum/reset", &[], body)
            .unwrap()
    };
    reset(br#"{"admin_token":"the-admin-token-of-tests""#).refused(401, "unauthorized");
    reset(br#"{"admin_token":"wrong"}"#).refused(401, "unauthorized");
    reset(br#"{"admin_token":"the-write-token-of-tests"}"#).refused(403, "forbidden");
    reset(br#"{"admin_token":"the-admin-token-of-tests","more":1}"#).refused(400, "unknown_field");
    reset(br#"{"admin_token":"the-admin-token-of-tests"}"#).ok();
    server.stop();
}

#[test]
fn pipelined_requests_are_answered_in_order_whatever_is_wrong_with_one() {
    let home = tempdir().unwrap();
    let server = server_with_counters(home.path());
    let before = revision(&server);
    let good =
        b"POST /api/v1/counter/sum/increment HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\n{}";
    let bad = post(
        "pipelined",
        "/api/v1/counter/sum/increment",
        r#"{"value":0}"#,
        400,
        "invalid_value",
    );
    let mut client = server.client();
    let all = [
        good.as_slice(),
        bad.request.as_slice(),
        good,
        b"NONSENSE\r\n\r\n",
        good,
    ]
    .concat();
    client.send_raw(&all).unwrap();
    let answers: Vec<_> = (0..4).map(|_| client.receive().unwrap()).collect();
    let shown: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(shown, [200, 400, 200, 400]);
    assert_eq!(
        (answers[1].code(), answers[3].code()),
        ("invalid_value".to_owned(), "bad_request".to_owned())
    );
    assert_eq!(answers[2].json()["current_value"], json!(2));
    assert!(
        client.receive().is_err(),
        "a connection whose next head is nonsense has ended"
    );
    assert_eq!(revision(&server), before + 2);
    server.stop();
}

/// Everything that comes back until the server closes.
fn until_closed(mut stream: TcpStream) -> String {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut text = Vec::new();
    let read = stream.read_to_end(&mut text);
    assert!(
        read.is_ok(),
        "{read:?} after {}",
        String::from_utf8_lossy(&text)
    );
    String::from_utf8(text).unwrap()
}

#[test]
fn who_sends_half_a_request_and_waits_is_told_408_and_closed() {
    let home = tempdir().unwrap();
    let server = server_with_counters(home.path());
    let before = revision(&server);
    for half in [
        "POST /api/v1/counter/gauge/incr",
        "POST /api/v1/counter/gauge/increment HTTP/1.1\r\nhost: h\r\n",
        "POST /api/v1/counter/gauge/increment HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\n{\"val",
        "POST /api/v1/counter/gauge/increment HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n",
        "POST /api/v1/counter/gauge/reset HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(half.as_bytes()).unwrap();
        let answer = until_closed(stream);
        assert!(answer.starts_with("HTTP/1.1 408 "), "{half:?}: {answer}");
        assert!(
            answer.contains(r#""code":"request_timeout""#),
            "{half:?}: {answer}"
        );
        assert!(
            answer.to_ascii_lowercase().contains("connection: close"),
            "{half:?}: {answer}"
        );
    }
    assert_eq!(revision(&server), before);
    server.stop();
}

#[test]
fn a_client_that_dribbles_is_cut_off_in_time() {
    let home = tempdir().unwrap();
    let server = server_with_counters(home.path());
    let stream = TcpStream::connect(server.address()).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let dribbling = std::thread::spawn(move || {
        let head = b"GET /livez HTTP/1.1\r\nhost: h\r\nx: ";
        let endless = head.iter().chain(std::iter::repeat(&b'x'));
        let begun = std::time::Instant::now();
        for byte in endless {
            if writer.write_all(&[*byte]).is_err() || begun.elapsed() > PATIENCE {
                break;
            }
            // polls: a slow client, until it is cut off
            std::thread::sleep(Duration::from_millis(20));
        }
        begun.elapsed()
    });
    let mut stream = stream;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut text = String::new();
    // The client goes on sending to a closed connection, which resets it.
    let _ = stream.read_to_string(&mut text);
    assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
    assert!(dribbling.join().unwrap() < PATIENCE);
    server.stop();
}

#[test]
fn who_leaves_in_the_middle_leaves_nothing_behind() {
    let home = tempdir().unwrap();
    let server = server_with_counters(home.path());
    let before = revision(&server);
    let whole = "POST /api/v1/counter/gauge/increment HTTP/1.1\r\nhost: h\r\ncontent-length: 20\r\n\r\n{\"value\":1";
    for length in [0, 1, 10, 60, whole.len()] {
        for how in [Shutdown::Both, Shutdown::Write] {
            let mut stream = TcpStream::connect(server.address()).unwrap();
            stream.write_all(&whole.as_bytes()[..length]).unwrap();
            stream.shutdown(how).unwrap();
            if how == Shutdown::Write {
                let answer = until_closed(stream);
                assert!(
                    answer.is_empty() || answer.starts_with("HTTP/1.1 400 "),
                    "{length}: {answer}"
                );
            }
        }
    }
    assert_eq!(revision(&server), before);
    let open = || {
        let page = server.client().get("/metrics").text();
        let line = page
            .lines()
            .find(|line| line.starts_with("counterd_connections_open "))
            .unwrap()
            .to_owned();
        (line == "counterd_connections_open 1").then_some(())
    };
    eventually("only the connection that asks is open", PATIENCE, open);
    server.stop();
}

#[test]
fn who_closes_its_side_after_a_whole_request_is_answered() {
    let home = tempdir().unwrap();
    let server = server_with_counters(home.path());
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream
        .write_all(b"POST /api/v1/counter/sum/increment HTTP/1.1\r\nhost: h\r\n\r\n")
        .unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let answer = until_closed(stream);
    assert!(answer.contains(r#""current_value":1"#), "{answer}");
    server.stop();
}

#[test]
fn a_request_id_is_echoed_when_it_can_be_and_made_when_not() {
    let home = tempdir().unwrap();
    let server = server_with_counters(home.path());
    let mut client = server.client();
    let mut id = |sent: Option<&str>, path: &str| {
        let headers: Vec<_> = sent.iter().map(|id| ("x-request-id", *id)).collect();
        let answer = client.request("GET", path, &headers, b"").unwrap();
        answer.header("x-request-id").unwrap().to_owned()
    };
    for path in [
        "/api/v1/counter/gauge",
        "/api/v1/counter/nobody",
        "/nowhere",
        "/livez",
        "/metrics",
    ] {
        assert_eq!(id(Some("my-id_1"), path), "my-id_1", "{path}");
        let made = id(None, path);
        assert!(
            made.len() == 16 && made.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{path}: {made}"
        );
        assert_ne!(id(Some(&"x".repeat(129)), path).len(), 129, "{path}");
        assert_ne!(id(Some("with space"), path), "with space", "{path}");
    }
    server.stop();
}
