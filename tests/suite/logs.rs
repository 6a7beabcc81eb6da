//! The request log: a line for each API request or a count of those that were dropped, never a token
//! or a user id, in files that rotate.
//!
//! Kept out: how a line is made and written, which `src/access_log` tests itself; midnight, which is
//! in `midnight`.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{ADMIN, Client, PATIENCE, Setup, at_once, eventually};

const USER: &str = "a-user-nobody-may-know";
const WRONG: &str = "a-token-nobody-may-know";

/// Requests of every sort; gives the status that each got, by its request id.
fn talk(client: &mut Client) -> BTreeMap<String, (u64, &'static str)> {
    let user = json!({"user_id": USER}).to_string();
    let batch =
        json!({"operations": [{"op": "increment", "name": "daily_active_users", "user_id": USER}]})
            .to_string();
    let bad = format!("{{\"user_id\": \"{USER}\", \"value\": ");
    let unknown = json!({"user_id": USER, "user-name": USER}).to_string();
    let long = json!({"user_id": USER.repeat(20)}).to_string();
    let reset = json!({"admin_token": ADMIN}).to_string();
    let wrong = json!({"admin_token": WRONG}).to_string();
    let requests: Vec<(&'static str, String, &str)> = vec![
        (
            "POST",
            "/api/v1/counter/daily_active_users/increment".to_owned(),
            &user,
        ),
        (
            "POST",
            "/api/v1/counter/daily_active_users/increment".to_owned(),
            &user,
        ),
        ("POST", "/api/v1/counter/plain/increment".to_owned(), ""),
        (
            "POST",
            "/api/v1/counter/plain/decrement".to_owned(),
            "{\"value\":5}",
        ),
        ("POST", "/api/v1/counter/plain/increment".to_owned(), &bad),
        (
            "POST",
            "/api/v1/counter/plain/increment".to_owned(),
            &unknown,
        ),
        (
            "POST",
            "/api/v1/counter/daily_active_users/increment".to_owned(),
            &long,
        ),
        ("POST", "/api/v1/batch".to_owned(), &batch),
        ("POST", "/api/v1/counter/plain/reset".to_owned(), &reset),
        ("POST", "/api/v1/counter/plain/reset".to_owned(), &wrong),
        ("GET", "/api/v1/counter/plain".to_owned(), ""),
        ("GET", "/api/v1/counter/nobody".to_owned(), ""),
        (
            "GET",
            "/api/v1/counters?names=plain,daily_active_users".to_owned(),
            "",
        ),
        ("GET", "/api/v1/counters/all?limit=5".to_owned(), ""),
        ("GET", format!("/api/v1/nowhere/{USER}?token={WRONG}"), ""),
        ("PATCH", "/api/v1/counter/plain".to_owned(), ""),
    ];
    let mut expected = BTreeMap::new();
    for (number, (method, path, body)) in requests.iter().enumerate() {
        let id = format!("request-{number}");
        let answer = client
            .request(method, path, &[("x-request-id", &id)], body.as_bytes())
            .unwrap();
        assert_eq!(answer.header("x-request-id"), Some(id.as_str()));
        expected.insert(id, (u64::from(answer.status), *method));
    }
    expected
}

/// The lines of the request log, in JSON.
fn lines(text: &str) -> Vec<Value> {
    let all = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{e}: {line}")));
    all.filter(|line| line["target"] == "request").collect()
}

#[test]
fn every_request_has_one_line_and_no_secret_is_in_any() {
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path())
        .set("log.access", "all")
        .set("log.format", "json")
        .set("log.level", "trace");
    let server = setup.start();
    let expected = talk(&mut server.client());
    let stopped = |server: crate::harness::Server| {
        let output = home.path().join("output");
        server.stop();
        std::fs::read_to_string(output).unwrap()
    };
    let output = stopped(server);
    let mut found = BTreeMap::new();
    for line in lines(&output) {
        let text = |name: &str| {
            line[name]
                .as_str()
                .unwrap_or_else(|| panic!("no {name} in {line}"))
                .to_owned()
        };
        for field in ["timestamp", "route", "peer"] {
            assert!(!text(field).is_empty());
        }
        for field in ["duration_us", "bytes", "status"] {
            assert!(line[field].is_u64(), "{field} in {line}");
        }
        let method = expected[&text("request_id")].1;
        assert_eq!(text("method"), method);
        let before = found.insert(
            text("request_id"),
            (line["status"].as_u64().unwrap(), method),
        );
        assert_eq!(before, None, "two lines for one request");
        if text("route") == "increment" {
            assert!(["plain", "daily_active_users"].contains(&text("counter").as_str()));
        }
    }
    assert_eq!(found, expected);
    for secret in [USER, WRONG, ADMIN] {
        assert!(!output.contains(secret), "{secret} in the log");
    }
}

/// The header `traceparent` is in the line of its request when it is well formed, on each of the ways to a line.
#[test]
fn a_request_says_to_which_trace_it_belongs() {
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const OTHER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path())
        .set("log.access", "all")
        .set("log.format", "json");
    let server = setup.start();
    let mut client = server.client();
    let upper = TRACE.to_uppercase();
    let long = format!("01{}-{}", &TRACE[2..], "x".repeat(2000));
    let cut = format!("01{}", &TRACE[2..]);
    let increment = "/api/v1/counter/plain/increment";
    let mut expected = BTreeMap::new();
    let sent: [(&str, &str, &[&str], Option<&str>); 8] = [
        ("POST", increment, &[TRACE], Some(TRACE)),
        ("GET", "/api/v1/counter/plain", &[OTHER], Some(OTHER)),
        ("GET", "/api/v1/nowhere", &[TRACE], Some(TRACE)),
        ("POST", increment, &[&long], Some(&cut)),
        ("POST", increment, &[], None),
        ("POST", increment, &[&upper], None),
        ("POST", increment, &["00-1-1-1\" status=500"], None),
        ("POST", increment, &[TRACE, OTHER], None),
    ];
    for (number, (method, path, traces, wanted)) in sent.into_iter().enumerate() {
        let id = format!("request-{number}");
        let mut headers = vec![("x-request-id", id.as_str())];
        headers.extend(traces.iter().map(|&trace| ("traceparent", trace)));
        client.request(method, path, &headers, b"").unwrap();
        expected.insert(id.clone(), wanted.map(str::to_owned));
    }
    // A connection that goes on without HTTP has its line at its end.
    let mut watcher = server.client();
    let headers = [("x-request-id", "stream"), ("traceparent", TRACE)];
    let path = "/api/v1/stream?names=plain";
    watcher.send("GET", path, &headers, b"").unwrap();
    expected.insert("stream".to_owned(), Some(TRACE.to_owned()));
    eventually("the stream has begun", PATIENCE, || {
        let page = server.client().get("/metrics").text();
        page.contains("counterd_push_connections{transport=\"sse\"} 1")
            .then_some(())
    });
    drop(watcher);
    server.stop();
    let output = std::fs::read_to_string(home.path().join("output")).unwrap();
    let found: BTreeMap<String, Option<String>> = lines(&output)
        .into_iter()
        .map(|line| {
            let text = |name: &str| line[name].as_str().map(str::to_owned);
            (text("request_id").unwrap(), text("traceparent"))
        })
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn a_counter_made_by_an_increment_is_told_with_the_name_it_is_like() {
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path()).set("log.format", "json");
    let server = setup.start();
    let mut client = server.client();
    for name in ["daily_bosses", "daily_boses", "daily_boses", "zzz"] {
        let path = format!("/api/v1/counter/{name}/increment");
        client.post(&path, &json!({})).ok();
    }
    server.stop();
    let output = std::fs::read_to_string(home.path().join("output")).unwrap();
    let lines = output.lines().map(|line| {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"))
    });
    let told: Vec<_> = lines
        .filter(|line| line["message"] == "a first increment created this counter")
        .map(|line| (line["counter"].clone(), line["nearest"].clone()))
        .collect();
    let expected = [
        (json!("daily_bosses"), json!("")),
        (json!("daily_boses"), json!("daily_bosses")),
        (json!("zzz"), json!("")),
    ];
    assert_eq!(told, expected);
}

#[test]
fn which_requests_are_logged_can_be_chosen() {
    for (access, wanted) in [("all", 16), ("errors", 8), ("off", 0)] {
        let home = tempfile::tempdir().unwrap();
        let setup = Setup::new(home.path())
            .set("log.access", access)
            .set("log.format", "json");
        let server = setup.start();
        let expected = talk(&mut server.client());
        let errors = expected
            .values()
            .filter(|(status, _)| *status >= 400)
            .count();
        server.stop();
        let found = lines(&std::fs::read_to_string(home.path().join("output")).unwrap());
        assert_eq!(
            found.len(),
            match access {
                "all" => expected.len(),
                "errors" => errors,
                _ => 0,
            }
        );
        assert_eq!(found.len(), wanted, "{access}");
    }
}

/// A queue of 16 lines is too short for this; each request is a line or was counted as dropped.
#[test]
fn what_the_log_drops_is_counted() {
    let home = tempfile::tempdir().unwrap();
    let logs = home.path().join("logs");
    let setup = Setup::new(home.path())
        .set("log.access", "all")
        .set("log.format", "json")
        .set("log.dir", logs.to_str().unwrap())
        .set("log.queue", "16");
    let server = setup.start();
    const CLIENTS: usize = 64;
    const EACH: usize = 200;
    at_once(CLIENTS, |number| {
        let mut client = server.client();
        for _ in 0..EACH {
            client.get(&format!("/api/v1/counter/nobody-{number}"));
        }
    });
    server.stop();
    let text = all_files(&logs);
    let dropped: u64 = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).unwrap()["dropped"].as_u64())
        .sum();
    let logged = lines(&text)
        .iter()
        .filter(|line| line.get("status").is_some())
        .count() as u64;
    assert_eq!(
        logged + dropped,
        (CLIENTS * EACH) as u64,
        "{logged} logged, {dropped} dropped"
    );
}

#[test]
fn log_files_are_bounded_in_size_and_number() {
    let home = tempfile::tempdir().unwrap();
    let logs = home.path().join("logs");
    let setup = Setup::new(home.path())
        .set("log.access", "all")
        .set("log.dir", logs.to_str().unwrap())
        .set("log.max_file_size", "8KiB")
        .set("log.max_files", "3");
    let server = setup.start();
    let mut client = server.client();
    for number in 0..1000 {
        client
            .request(
                "GET",
                "/api/v1/counter/nobody",
                &[("x-request-id", &format!("n-{number}"))],
                b"",
            )
            .unwrap();
    }
    server.stop();
    let mut sizes: Vec<u64> = std::fs::read_dir(&logs)
        .unwrap()
        .map(|file| file.unwrap().metadata().unwrap().len())
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes.len(), 3, "{sizes:?}");
    assert!(sizes[2] <= 8 * 1024, "{sizes:?}");
    // The newest are kept, without a gap.
    let text = all_files(&logs);
    let numbers: Vec<usize> = text
        .lines()
        .filter_map(|line| {
            line.split("n-")
                .nth(1)?
                .split(|c: char| !c.is_ascii_digit())
                .next()?
                .parse()
                .ok()
        })
        .collect();
    let (low, high) = (numbers.iter().min().unwrap(), numbers.iter().max().unwrap());
    assert_eq!((numbers.len(), *high), (high - low + 1, 999));
}

fn all_files(logs: &Path) -> String {
    let mut files: Vec<_> = std::fs::read_dir(logs)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    files
        .iter()
        .map(|file| std::fs::read_to_string(file).unwrap())
        .collect()
}
