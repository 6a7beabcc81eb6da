//! Alerts of the real server: they reach their receivers, whatever these do, once each and in order.

mod alertmanager;
mod receiver;

use std::path::Path;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::degraded::{self, Copies};
use crate::harness::{PATIENCE, Server, Setup, eventually};

pub use receiver::Receiver;
use receiver::{Behaviour, Came};

const SECRET: &str = "the-secret-of-notices";

/// A server on which a hard drop fires at once, and ends seconds after.
fn setup(home: &Path) -> Setup {
    let file = home.join("counterd.toml");
    let rules = "[[alert]]\nrule = \"drop_hard\"\nwithin = \"3s\"\nkeep_for = \"0s\"\n";
    std::fs::write(&file, rules).unwrap();
    Setup::new(home).arg("--config").arg(file.to_str().unwrap())
}

/// As [`setup`], but what fired goes on firing for minutes.
fn lasting(home: &Path) -> Setup {
    Setup::new(home)
}

fn judged_at(server: &Server) -> String {
    let shown = server.client().get("/api/v1/alerts").ok();
    shown["judged_at"].as_str().unwrap_or_default().to_owned()
}

/// Waits until the rules were judged so often.
pub fn judged(server: &Server, times: usize) {
    for _ in 0..times {
        let before = judged_at(server);
        eventually("the rules are judged", PATIENCE, || {
            (judged_at(server) != before).then_some(())
        });
    }
}

/// Has `online_players` fall from 1000 to 100; returns when that was committed.
fn fall(server: &Server) -> Instant {
    let counter = "/api/v1/counter/online_players";
    server
        .client()
        .post(&format!("{counter}/increment"), &json!({"value": 1000}))
        .ok();
    judged(server, 2);
    server
        .client()
        .post(&format!("{counter}/decrement"), &json!({"value": 900}))
        .ok();
    Instant::now()
}

/// Waits until so many requests came.
pub fn came(receiver: &Receiver, count: usize) -> Vec<Came> {
    eventually("the receiver is told", PATIENCE, || {
        let came = receiver.came();
        (came.len() >= count).then_some(came)
    })
}

pub fn statuses(came: &[Came]) -> Vec<String> {
    came.iter().map(Came::status).collect()
}

fn metric(server: &Server, name: &str) -> i64 {
    let page = server.client().get("/metrics").text();
    let mut lines = page.lines();
    let line = lines.find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in:\n{page}"))
        .parse()
        .unwrap()
}

#[test]
fn a_webhook_is_told_what_fires_and_what_ends_and_by_whom() {
    let home = tempfile::tempdir().unwrap();
    let receiver = Receiver::new(&[]);
    let server = setup(home.path())
        .set("alerts.webhook", &receiver.url())
        .set("alerts.secret", SECRET)
        .set("alerts.server_url", "https://counters.example")
        .set("alerts.instance", "eu-1")
        .start();
    let committed = fall(&server);
    let told = came(&receiver, 2);
    let took = told[0].at.saturating_duration_since(committed);
    println!("posted {took:?} after the commit");
    assert_eq!(statuses(&told), ["firing", "resolved"]);
    for one in &told {
        assert_eq!(one.line, "POST /hook?token=geheim HTTP/1.1");
        assert_eq!(one.header("content-type"), Some("application/json"));
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(&one.body);
        let signed = mac.finalize().into_bytes();
        let signed: String = signed.iter().map(|byte| format!("{byte:02x}")).collect();
        let wanted = format!("sha256={signed}");
        assert_eq!(one.header("x-counterd-signature"), Some(wanted.as_str()));
    }
    let (fired, ended) = (told[0].json(), told[1].json());
    assert_eq!(fired["version"], "4");
    let labels = json!({"alertname": "counterd_drop_hard", "counter": "online_players",
        "instance": "eu-1", "severity": "critical"});
    assert_eq!(fired["commonLabels"], labels);
    let alert = &fired["alerts"][0];
    assert_eq!(
        (
            &alert["annotations"]["value"],
            &alert["annotations"]["expected"]
        ),
        (&json!("100"), &json!("1000"))
    );
    assert_eq!(alert["endsAt"], "0001-01-01T00:00:00Z");
    assert_eq!(
        alert["generatorURL"],
        "https://counters.example/api/v1/alerts"
    );
    for same in ["fingerprint", "startsAt", "labels"] {
        assert_eq!(alert[same], ended["alerts"][0][same], "{same}");
    }
    assert_eq!(fired["groupKey"], ended["groupKey"]);
    assert_eq!(metric(&server, "counterd_alert_notices_total"), 2);
    let output = server.output();
    assert!(output.contains("an alert fires"), "{output}");
    assert!(
        !output.contains("geheim") && !output.contains(SECRET),
        "{output}"
    );
    assert_eq!(
        server.client().get("/api/v1/alerts").ok()["alerts"],
        json!([])
    );
    server.stop();
}

#[test]
fn a_receiver_that_fails_hangs_or_asks_for_time_is_told_in_the_end() {
    let home = tempfile::tempdir().unwrap();
    let behaviours = [
        Behaviour::Answer(500, ""),
        Behaviour::Hang,
        Behaviour::Close,
        Behaviour::Answer(429, "retry-after: 1\r\n"),
    ];
    let receiver = Receiver::new(&behaviours);
    let server = setup(home.path())
        .set("alerts.webhook", &receiver.url())
        .set("alerts.timeout", "300ms")
        .start();
    fall(&server);
    let told = came(&receiver, 6);
    let first: Value = told[0].json();
    for one in &told[..5] {
        assert_eq!(one.json(), first, "the same notice again");
    }
    assert_eq!(told[5].status(), "resolved");
    let asked = told[4].at.saturating_duration_since(told[3].at);
    assert!(asked >= Duration::from_secs(1), "it asked for a second");
    assert_eq!(metric(&server, "counterd_alert_delivery_failures_total"), 4);
    eventually("nothing waits", PATIENCE, || {
        (metric(&server, "counterd_alert_notices_waiting") == 0).then_some(())
    });
    server.stop();
}

#[test]
fn a_receiver_whose_answer_does_not_end_has_taken_the_notice() {
    let home = tempfile::tempdir().unwrap();
    let receiver = Receiver::new(&[Behaviour::Unfinished]);
    let server = setup(home.path())
        .set("alerts.webhook", &receiver.url())
        .set("alerts.timeout", "300ms")
        .start();
    fall(&server);
    let told = came(&receiver, 2);
    assert_eq!(statuses(&told), ["firing", "resolved"]);
    assert_eq!(metric(&server, "counterd_alert_delivery_failures_total"), 0);
    server.stop();
}

#[test]
fn no_redirect_is_followed_and_what_is_refused_is_given_up() {
    let home = tempfile::tempdir().unwrap();
    let elsewhere = Receiver::new(&[]);
    let behaviours = [
        Behaviour::Redirect(elsewhere.address()),
        Behaviour::Answer(400, ""),
    ];
    let receiver = Receiver::new(&behaviours);
    let server = setup(home.path())
        .set("alerts.webhook", &receiver.url())
        .start();
    fall(&server);
    let told = came(&receiver, 2);
    assert_eq!(statuses(&told), ["firing", "resolved"]);
    eventually("both are given up", PATIENCE, || {
        (metric(&server, "counterd_alert_notices_dropped_total") == 2).then_some(())
    });
    assert_eq!(elsewhere.came().len(), 0, "nobody went there");
    server.stop();
}

#[test]
fn a_kill_while_it_fires_brings_no_second_notice() {
    let home = tempfile::tempdir().unwrap();
    let receiver = Receiver::new(&[]);
    let setup = lasting(home.path()).set("alerts.webhook", &receiver.url());
    let server = setup.start();
    fall(&server);
    came(&receiver, 1);
    // Whether it was delivered is stored with the next look.
    judged(&server, 2);
    let before = server.client().get("/api/v1/alerts").ok()["alerts"].clone();
    assert_eq!(before[0]["state"], "firing");
    server.kill9();
    let server = setup.start();
    eventually("the rules are judged", PATIENCE, || {
        (!judged_at(&server).is_empty()).then_some(())
    });
    judged(&server, 4);
    let after = server.client().get("/api/v1/alerts").ok()["alerts"].clone();
    for same in ["rule", "counter", "since", "fired_at", "fingerprint"] {
        assert_eq!(after[0][same], before[0][same], "{same}");
    }
    assert_eq!(statuses(&receiver.came()), ["firing"]);
    server.stop();
}

#[test]
fn a_notice_outlives_a_kill_until_its_receiver_is_there() {
    let home = tempfile::tempdir().unwrap();
    let gone = Receiver::new(&[]);
    let address = gone.address();
    let url = gone.url();
    drop(gone);
    let setup = lasting(home.path()).set("alerts.webhook", &url);
    let server = setup.start();
    fall(&server);
    eventually("it waits", PATIENCE, || {
        (metric(&server, "counterd_alert_notices_waiting") == 1).then_some(())
    });
    server.kill9();
    let receiver = Receiver::at(address, &[]);
    let server = setup.start();
    let told = came(&receiver, 1);
    assert_eq!(statuses(&told), ["firing"]);
    judged(&server, 3);
    assert_eq!(receiver.came().len(), 1);
    server.stop();
}

#[test]
fn the_receivers_are_tried_from_the_command_line() {
    let home = tempfile::tempdir().unwrap();
    let hook = Receiver::new(&[]);
    let broken = Receiver::new(&[Behaviour::Answer(503, "")]);
    let run = |setup: &Setup, words: &[&str]| {
        let (name, rest) = words.split_first().unwrap();
        let done = setup.command(name).args(rest).output().unwrap();
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        (
            done.status.code(),
            text + &String::from_utf8_lossy(&done.stderr),
        )
    };
    let nobody = Setup::new(home.path());
    let (code, text) = run(&nobody, &["alert", "test"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("set alerts.webhook or alerts.alertmanager"),
        "{text}"
    );
    let setup = Setup::new(home.path())
        .set("alerts.webhook", &hook.url())
        .set("alerts.secret", SECRET);
    let (code, text) = run(&setup, &["alert", "test"]);
    let wanted = format!("alerts.webhook ({}): status 200 OK: ok\n", hook.address());
    assert_eq!((code, text), (Some(0), wanted));
    let told = hook.came();
    assert_eq!(told[0].json()["commonLabels"]["alertname"], "counterd_test");
    assert!(told[0].header("x-counterd-signature").is_some());
    let address = format!("http://{}", broken.address());
    let setup = setup.set("alerts.alertmanager", &address);
    let (code, text) = run(&setup, &["alert", "test"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("status 503"), "{text}");
    assert_eq!(broken.came()[0].line, "POST /api/v2/alerts HTTP/1.1");
    let (code, text) = run(&setup, &["check"]);
    assert_eq!(code, Some(0), "{text}");
    let reached = format!("alerts.webhook ({}) can be reached", hook.address());
    assert!(text.contains(&reached), "{text}");
    drop(hook);
    let (code, text) = run(&setup, &["check"]);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("cannot connect"), "{text}");
    assert!(!text.contains("geheim"), "{text}");
}

#[test]
fn a_server_without_a_store_tells_that_it_has_none() {
    let Some(copies) = Copies::new("a_server_without_a_store_tells_that_it_has_none") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let receiver = Receiver::new(&[]);
    let file = home.path().join("counterd.toml");
    let rules = "[[alert]]\nrule = \"read_only\"\nfor = \"0s\"\nkeep_for = \"0s\"\n";
    std::fs::write(&file, rules).unwrap();
    let setup = degraded::setup(home.path(), &copies)
        .arg("--config")
        .arg(file.to_str().unwrap())
        .set("alerts.webhook", &receiver.url());
    let server = setup.start();
    degraded::count_a_little(&server, &copies);
    server.kill9();
    let (log, whole) = degraded::damage(&setup);
    let server = setup.start();
    let told = came(&receiver, 1);
    let alert = told[0].json()["alerts"][0].clone();
    assert_eq!(alert["labels"]["alertname"], "counterd_read_only");
    let why = alert["annotations"]["description"].as_str().unwrap();
    assert!(why.contains("cause no_store"), "{why}");
    std::fs::write(&log, &whole).unwrap();
    let told = came(&receiver, 2);
    assert_eq!(statuses(&told), ["firing", "resolved"]);
    server.stop();
}
