//! Who may do what: tokens, pages of other origins, and the audit line of each administrative act.

use serde_json::{Value, json};

use crate::harness::{ADMIN, Client, Setup};

const WRITE: &str = "the-write-token-of-tests";
const READ: &str = "the-read-token-of-tests";

/// What one call with one token gets: nothing, or status and code.
fn call(client: Client, what: &str, token: Option<&str>) -> Option<(u16, String)> {
    let mut client = match token {
        Some(token) => client.with_token(token),
        None => client,
    };
    let answer = match what {
        "increment" => client.post("/api/v1/counter/c/increment", &json!({})),
        "batch" => client.post(
            "/api/v1/batch",
            &json!({"operations": [{"op": "increment", "name": "c"}]}),
        ),
        "get" => client.get("/api/v1/counter/c"),
        "list" => client.get("/api/v1/counters/all"),
        "many" => client.get("/api/v1/counters?names=c"),
        "reset" => client.post("/api/v1/counter/c/reset", &json!({})),
        "adjust" => client.post(
            "/api/v1/counter/c/adjust",
            &json!({"delta": 0, "reason": "r"}),
        ),
        "define" => client.put("/api/v1/counter/c", &json!({})),
        "delete" => client
            .request("DELETE", "/api/v1/counter/other", &[], b"")
            .unwrap(),
        "livez" => client.get("/livez"),
        "readyz" => client.get("/readyz"),
        other => panic!("{other}"),
    };
    if answer.status == 401 {
        assert!(
            answer
                .header("www-authenticate")
                .unwrap()
                .starts_with("Bearer")
        );
    }
    (answer.status >= 400).then(|| (answer.status, answer.code()))
}

#[test]
fn each_token_opens_its_calls_and_the_admin_token_all() {
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path())
        .set("auth.write_token", WRITE)
        .set("auth.read_token", READ)
        // More wrong tokens come than an address may send.
        .set("limits.wrong_admin_tokens", "off");
    let server = setup.start();
    server
        .admin()
        .post("/api/v1/counter/c/increment", &json!({}))
        .ok();
    let missing = Some((401, "unauthorized".to_owned()));
    let not_enough = Some((403, "forbidden".to_owned()));
    let reads = ["get", "list", "many"];
    let writes = ["increment", "batch"];
    let admin = ["reset", "adjust", "define"];
    for what in reads
        .into_iter()
        .chain(writes)
        .chain(admin)
        .chain(["delete"])
    {
        for token in [None, Some("wrong"), Some(""), Some(&ADMIN[1..])] {
            assert_eq!(
                call(server.client(), what, token),
                missing,
                "{what} with {token:?}"
            );
        }
    }
    for what in reads {
        assert_eq!(call(server.client(), what, Some(READ)), None, "{what}");
        assert_eq!(call(server.client(), what, Some(ADMIN)), None, "{what}");
        assert_eq!(
            call(server.client(), what, Some(WRITE)),
            not_enough,
            "{what}"
        );
    }
    for what in writes {
        assert_eq!(call(server.client(), what, Some(WRITE)), None, "{what}");
        assert_eq!(call(server.client(), what, Some(ADMIN)), None, "{what}");
        assert_eq!(
            call(server.client(), what, Some(READ)),
            not_enough,
            "{what}"
        );
    }
    for what in admin {
        assert_eq!(call(server.client(), what, Some(ADMIN)), None, "{what}");
        assert_eq!(
            call(server.client(), what, Some(WRITE)),
            not_enough,
            "{what}"
        );
        assert_eq!(
            call(server.client(), what, Some(READ)),
            not_enough,
            "{what}"
        );
    }
    for what in ["livez", "readyz"] {
        assert_eq!(call(server.client(), what, None), None, "{what}");
    }
    server.stop();
}

#[test]
fn reset_takes_its_token_from_the_body_too() {
    let home = tempfile::tempdir().unwrap();
    let server = Setup::new(home.path()).start();
    let mut client = server.client();
    client
        .post("/api/v1/counter/c/increment", &json!({"value": 7}))
        .ok();
    client
        .post("/api/v1/counter/c/reset", &json!({"admin_token": "wrong"}))
        .refused(401, "unauthorized");
    assert_eq!(client.value("c"), 7);
    let answer = client
        .post("/api/v1/counter/c/reset", &json!({"admin_token": ADMIN}))
        .ok();
    assert_eq!(
        (&answer["current_value"], &answer["previous_value"]),
        (&json!(0), &json!(7))
    );
    server.stop();
}

#[test]
fn without_an_admin_token_administrative_calls_are_off() {
    let home = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(home.path());
    setup = setup.without("auth.admin_token");
    let server = setup.start();
    assert_eq!(call(server.client(), "increment", None), None);
    for what in ["reset", "adjust", "define", "delete"] {
        for token in [None, Some(ADMIN)] {
            let off = Some((403, "admin_disabled".to_owned()));
            assert_eq!(
                call(server.client(), what, token),
                off,
                "{what} with {token:?}"
            );
        }
    }
    server.stop();
}

#[test]
fn a_page_of_another_origin_may_not_write() {
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path()).set("server.cors_origins", "https://game.example");
    let server = setup.start();
    let mut client = server.client();
    let own = format!("http://{}", server.address());
    let path = "/api/v1/counter/c/increment";
    for (origin, allowed) in [
        (own.as_str(), true),
        ("https://game.example", true),
        ("https://evil.example", false),
        ("https://game.example.evil.example", false),
        ("null", false),
    ] {
        let answer = client
            .request("POST", path, &[("origin", origin)], b"{}")
            .unwrap();
        let read = client
            .request("GET", "/api/v1/counter/c", &[("origin", origin)], b"")
            .unwrap();
        let cors = |answer: &crate::harness::Response| {
            answer
                .header("access-control-allow-origin")
                .map(str::to_owned)
        };
        if allowed {
            answer.ok();
        } else {
            answer.refused(403, "origin_not_allowed");
        }
        assert_eq!(read.status, 200, "{origin}");
        let friend = (origin == "https://game.example").then(|| origin.to_owned());
        for answer in [&answer, &read] {
            if origin != own {
                assert_eq!(cors(answer), friend, "{origin}");
            }
        }
    }
    assert_eq!(client.value("c"), 2);
    let ask = [
        ("origin", "https://game.example"),
        ("access-control-request-method", "POST"),
    ];
    let preflight = client.request("OPTIONS", path, &ask, b"").unwrap();
    assert!(preflight.status < 300, "{}", preflight.text());
    assert_eq!(
        preflight.header("access-control-allow-origin"),
        Some("https://game.example")
    );
    server.stop();
}

#[test]
fn each_administrative_act_leaves_one_audit_line() {
    let home = tempfile::tempdir().unwrap();
    let server = Setup::new(home.path()).set("log.format", "json").start();
    let mut client = server.admin();
    client
        .post("/api/v1/counter/c/increment", &json!({"value": 7}))
        .ok();
    let acts: [(&str, &str, &str, Value, &str); 5] = [
        (
            "adjust",
            "POST",
            "/api/v1/counter/c/adjust",
            json!({"delta": -2, "reason": "counted twice"}),
            "c",
        ),
        ("reset", "POST", "/api/v1/counter/c/reset", json!({}), "c"),
        (
            "define",
            "PUT",
            "/api/v1/counter/d",
            json!({"kind": "sum"}),
            "d",
        ),
        (
            "define",
            "PUT",
            "/api/v1/counter/d",
            json!({"kind": "sum", "max": 9}),
            "d",
        ),
        ("delete", "DELETE", "/api/v1/counter/d", json!(null), "d"),
    ];
    for (number, (_, method, path, body, _)) in acts.iter().enumerate() {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let id = format!("act-{number}");
        client
            .request(method, path, &[("x-request-id", &id)], body.as_bytes())
            .unwrap()
            .ok();
    }
    let mut stranger = server.client().with_token("wrong");
    let id = [("x-request-id", "act-stranger")];
    stranger
        .request("POST", "/api/v1/counter/c/reset", &id, b"{}")
        .unwrap()
        .refused(401, "unauthorized");
    server.stop();
    let output = std::fs::read_to_string(home.path().join("output")).unwrap();
    let lines: Vec<Value> = output
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["target"] == "audit")
        .collect();
    assert_eq!(lines.len(), acts.len(), "{lines:#?}");
    for (number, (line, (action, _, _, _, counter))) in lines.iter().zip(&acts).enumerate() {
        let fields = ["action", "counter", "request_id"].map(|name| line[name].as_str().unwrap());
        assert_eq!(fields, [action, counter, format!("act-{number}").as_str()]);
        for field in ["timestamp", "peer", "before", "after", "reason"] {
            assert!(line.get(field).is_some(), "{field} in {line}");
        }
    }
    assert_eq!(lines[0]["reason"], "counted twice");
    // Numbers, not strings of digits.
    let values = |line: &Value| json!([line["before"], line["after"]]);
    assert_eq!(values(&lines[0]), json!([7, 5]));
    assert_eq!(values(&lines[1]), json!([5, 0]));
    assert!(!output.contains(ADMIN));
}

#[test]
fn audit_lines_are_written_at_any_level_of_the_log() {
    let home = tempfile::tempdir().unwrap();
    let server = Setup::new(home.path()).set("log.level", "error").start();
    let mut client = server.admin();
    client.post("/api/v1/counter/c/increment", &json!({})).ok();
    client.post("/api/v1/counter/c/reset", &json!({})).ok();
    server.stop();
    let output = std::fs::read_to_string(home.path().join("output")).unwrap();
    let (audit, other): (Vec<&str>, Vec<&str>) = output
        .lines()
        .partition(|line| line.contains("INFO audit: "));
    assert_eq!(audit.len(), 1, "{output}");
    // Whoever started it is told all the same where it listens.
    assert_eq!(other.len(), 1, "{output}");
    let ready = format!(
        "counterd {}: ready on http://127.0.0.1:",
        env!("CARGO_PKG_VERSION")
    );
    assert!(other[0].starts_with(&ready), "{output}");
}
