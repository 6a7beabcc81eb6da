//! The commands that ask a running server over HTTP: what they print, and that each counts once whatever happens.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Output;

use serde_json::Value;

use crate::harness::{ADMIN, PATIENCE, Server, Setup, SlowProxy, counterd, eventually};

/// Runs a command of the binary against that port.
fn at(port: u16, line: &str) -> Output {
    let mut command = counterd();
    command.args(line.split(' '));
    command.args(["--url", &format!("http://127.0.0.1:{port}")]);
    command.env("COUNTERD_AUTH__ADMIN_TOKEN", ADMIN);
    command.output().unwrap()
}

/// Runs one that must succeed; gives what it prints.
#[track_caller]
fn said(server: &Server, line: &str) -> String {
    let ran = at(server.address().port(), line);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(ran.status.code(), Some(0), "{line}: {}", text(&ran.stderr));
    text(&ran.stdout)
}

/// Runs one that must fail with exit code 1; gives what it says.
#[track_caller]
fn failed(port: u16, line: &str) -> String {
    let ran = at(port, line);
    assert_eq!(ran.status.code(), Some(1), "{line}");
    assert!(ran.stdout.is_empty(), "{line}");
    String::from_utf8_lossy(&ran.stderr).into_owned()
}

#[test]
fn commands_count_and_read_over_http() {
    let home = tempfile::tempdir().unwrap();
    let server = Setup::new(home.path()).start();
    let port = server.address().port();
    assert_eq!(said(&server, "incr c --value 5"), "5\n");
    assert_eq!(said(&server, "decr c"), "4\n");
    assert_eq!(said(&server, "get c"), "4\n");
    assert_eq!(said(&server, "incr c --key once"), "5\n");
    assert_eq!(said(&server, "incr c --key once"), "5\n");

    let told = failed(port, "decr c --value 6");
    assert!(told.contains("below_minimum"), "{told}");
    let told = failed(port, "get nobody");
    assert!(told.trim_end().ends_with("(unknown_counter)"), "{told}");
    let told = failed(port, "get c --token-file /dev/null");
    assert!(told.contains("/dev/null holds no token"), "{told}");
    let file = home.path().join("token");
    std::fs::write(&file, "wrong\n").unwrap();
    let wrong = format!(
        "adjust c --value 9 --reason test --token-file {}",
        file.display()
    );
    let told = failed(port, &wrong);
    assert!(
        told.contains("(unauthorized)\nname a file with a token"),
        "{told}"
    );
    std::fs::write(&file, format!("{ADMIN}\n")).unwrap();
    assert_eq!(said(&server, &wrong), "9\n");
    assert_eq!(said(&server, "adjust c --value 5 --reason test"), "5\n");

    said(&server, "define u --kind unique --reset daily");
    assert_eq!(said(&server, "incr u --user anna"), "1\n");
    let again = at(port, "incr u --user anna");
    assert_eq!(String::from_utf8_lossy(&again.stdout), "1\n");
    assert!(String::from_utf8_lossy(&again.stderr).contains("counted nothing"));

    let json: Value = serde_json::from_str(&said(&server, "get c --json")).unwrap();
    assert_eq!((&json["name"], &json["value"]), (&"c".into(), &5.into()));
    let table = said(&server, "get c u");
    assert_eq!(table.lines().count(), 3, "{table}");
    let ran = at(port, "get c nobody");
    assert_eq!(ran.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("no such counter: nobody"));

    assert_eq!(said(&server, "adjust c --delta -2 --reason test"), "3\n");
    assert!(said(&server, "reset c").contains("c is 3 and would be set to 0"));
    assert_eq!(said(&server, "get c"), "3\n");
    assert_eq!(said(&server, "reset c --yes"), "0\n");
    assert!(said(&server, "delete c").contains("would be deleted"));
    assert_eq!(said(&server, "delete c --yes"), "0\n");
    assert!(failed(port, "get c").contains("counter_deleted"));
}

#[test]
fn a_list_has_every_counter_over_all_pages() {
    let home = tempfile::tempdir().unwrap();
    let server = Setup::new(home.path()).start();
    let operations = |from: usize| {
        let one = |at: usize| serde_json::json!({"op": "increment", "name": format!("many.{at}")});
        let operations: Vec<Value> = (from..from + 750).map(one).collect();
        serde_json::json!({ "operations": operations })
    };
    for from in [0, 750] {
        server
            .client()
            .post("/api/v1/batch", &operations(from))
            .ok();
    }
    let lines = said(&server, "list --prefix many. --json");
    let mut names: Vec<String> = lines
        .lines()
        .map(|line| {
            let counter: Value = serde_json::from_str(line).unwrap();
            counter["name"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(names.len(), 1500);
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 1500, "each is there once");
    let table = said(&server, "list --prefix many.");
    assert_eq!(table.matches("many.").count(), 1500);
    assert_eq!(said(&server, "list --prefix none."), "");
}

#[test]
fn a_command_counts_once_while_answers_are_lost() {
    let home = tempfile::tempdir().unwrap();
    let server = Setup::new(home.path()).start();
    let proxy = SlowProxy::before(server.address().port());
    proxy.lose_one_of(2);
    for number in 1..=6 {
        let ran = at(proxy.port(), "incr c");
        assert_eq!(ran.status.code(), Some(0));
        assert_eq!(String::from_utf8_lossy(&ran.stdout), format!("{number}\n"));
    }
    assert_eq!(server.client().value("c"), 6);

    // Where no answer comes through at all, nobody knows, and the key that is named counts once.
    proxy.lose_one_of(1);
    let told = failed(proxy.port(), "incr c --patience 1s");
    proxy.lose_one_of(0);
    let key = told
        .split("--key ")
        .nth(1)
        .unwrap()
        .split('`')
        .next()
        .unwrap();
    assert_eq!(server.client().value("c"), 7);
    assert_eq!(said(&server, &format!("incr c --key {key}")), "7\n");
}

/// Reads one request up to the end of its head, and of its body where it has one; gives its idempotency key.
fn key_of_next(stream: &TcpStream) -> String {
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let mut key = String::new();
    for line in lines.by_ref().take_while(|line| !line.is_empty()) {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("idempotency-key: ") {
            key = value.to_owned();
        }
    }
    key
}

#[test]
fn an_answer_that_breaks_off_is_asked_for_again_with_the_same_key() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let whole = r#"{"success":true,"current_value":7,"counted":true}"#;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n", whole.len());
    let answers = [
        format!("{head}connection: close\r\n\r\n{{"),
        "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned(),
        format!("{head}connection: close\r\n\r\n{whole}"),
    ];
    std::thread::scope(|scope| {
        let serves = scope.spawn(|| {
            let answer = |answer: &String| {
                let mut stream = next_of(&listener);
                let key = key_of_next(&stream);
                stream.write_all(answer.as_bytes()).unwrap();
                key
            };
            answers.iter().map(answer).collect::<Vec<_>>()
        });
        let ran = at(port, "incr c");
        assert_eq!(String::from_utf8_lossy(&ran.stdout), "7\n");
        let mut keys = serves.join().unwrap();
        keys.dedup();
        assert!(matches!(&keys[..], [key] if key.len() == 32), "{keys:?}");
    });
}

/// Waits until somebody connects.
fn next_of(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let (stream, _) = eventually("somebody connects", PATIENCE, || listener.accept().ok());
    stream.set_nonblocking(false).unwrap();
    stream
}

#[test]
fn a_command_waits_for_a_server_that_is_not_there_yet() {
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path());
    let port = setup.address().port();
    let told = failed(port, "incr c --patience 300ms");
    assert!(told.contains("nothing was changed"), "{told}");
    let usage = [
        "get c --url ftp://127.0.0.1",
        "get c --url http://user:word@127.0.0.1",
        "incr c --key \u{e9}",
        "delete --prefix c --json",
        "delete --prefix c --key k --yes",
    ];
    for line in usage {
        let mut command = counterd();
        let ran = command.args(line.split(' ')).output().unwrap();
        assert_eq!(ran.status.code(), Some(2), "{line}");
    }
    let nobody = TcpListener::bind(setup.address()).unwrap();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| at(port, "incr c"));
        // It has tried in vain by then.
        drop(next_of(&nobody));
        drop(nobody);
        let server = setup.start();
        let ran = waits.join().unwrap();
        assert_eq!(String::from_utf8_lossy(&ran.stdout), "1\n");
        assert_eq!(server.client().value("c"), 1);
    });
}

#[test]
fn every_command_has_a_man_page() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().to_str().unwrap();
    assert!(counterd().args(["man", dir]).status().unwrap().success());
    let page = |name: &str| std::fs::read_to_string(home.path().join(name)).unwrap();
    assert!(page("counterd.1").contains("counterd"));
    assert!(page("counterd-incr.1").contains("daily_active_users"));
}
