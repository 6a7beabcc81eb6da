//! The clients against the real server, while things go wrong between them or in it.
//!
//! The program `tests/count` of each client counts with several threads and a buffer until its input ends, and says what it
//! was told was counted.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Language, Running, folder};
use crate::faults::{Fault, SYNCS};
use crate::harness::{
    ADMIN, Client, PATIENCE, Server, Setup, SlowProxy, Tracer, can_trace, eventually, skipped,
};

/// What a counting program counts; it says so each few calls.
struct Counting(Running);

impl Counting {
    fn start(language: &dyn Language, port: u16) -> Self {
        let mut command = language.program("tests/count");
        command.args([&format!("http://127.0.0.1:{port}"), "4"]);
        Self(Running::start(command))
    }

    /// Its progress, once it is so.
    #[track_caller]
    fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        eventually(what, 2 * PATIENCE, || Some(self.0.json()).filter(&is_so))
    }

    /// Waits for so many more calls.
    #[track_caller]
    fn more(&self, calls: u64) -> Value {
        let before = number(&self.0.json(), "calls");
        self.until("it counts", |said| number(said, "calls") >= before + calls)
    }

    /// Ends it, and claims that the server has counted exactly what it was told was counted. Gives what its tries came
    /// to.
    #[track_caller]
    fn verify(self, server: &Server) -> Value {
        let lines = self.0.rest();
        let last: Value = serde_json::from_str(lines.last().unwrap()).unwrap();
        println!("{last}");
        assert_eq!(last["given_up"], 0, "each call came to an end: {last}");
        assert_eq!(last["left"], 0, "`close` sent all: {last}");
        let acknowledged = values(last["acknowledged"].as_object().unwrap().iter());
        assert!(acknowledged.values().any(|value| *value > 0), "{last}");
        // From another address: its own may have asked often enough.
        let mut client = Client::new(server.address()).from([127, 0, 0, 9].into());
        let list = client.get("/api/v1/counters/all?prefix=client:").ok();
        let counters = list["counters"].as_array().unwrap();
        let counted = counters
            .iter()
            .map(|one| (one["name"].as_str().unwrap(), &one["value"]));
        let counted: BTreeMap<String, i64> = counted
            .map(|(name, value)| (name.to_owned(), value.as_i64().unwrap()))
            .collect();
        assert_eq!(counted, acknowledged, "{last}");
        last["stats"].clone()
    }
}

fn number(said: &Value, name: &str) -> u64 {
    said[name]
        .as_u64()
        .unwrap_or_else(|| panic!("no {name}: {said}"))
}

fn values<'v>(pairs: impl Iterator<Item = (&'v String, &'v Value)>) -> BTreeMap<String, i64> {
    pairs
        .map(|(name, value)| (name.clone(), value.as_i64().unwrap()))
        .collect()
}

fn start(setup: &Setup) -> Server {
    let server = setup.start();
    let users = serde_json::json!({"kind": "unique", "reset": "never"});
    server.admin().define("client:users", &users);
    server
}

pub(super) fn nothing_is_lost_or_doubled_by_kill_9(language: &dyn Language) {
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path());
    let mut server = start(&setup);
    let counting = Counting::start(language, server.address().port());
    for round in 0.. {
        let said = counting.more(50);
        // A kill need not meet a request under way.
        if round >= 3 && number(&said["stats"], "lost_answers") > 0 {
            break;
        }
        assert!(round < 30, "no answer was lost: {said}");
        server.kill9();
        server = setup.start();
    }
    let stats = counting.verify(&server);
    assert!(number(&stats, "retries") > 0, "{stats}");
    server.stop();
}

pub(super) fn nothing_is_lost_or_doubled_by_lost_answers(language: &dyn Language) {
    let home = tempfile::tempdir().unwrap();
    let server = start(&Setup::new(home.path()));
    let proxy = SlowProxy::before(server.address().port());
    proxy.lose_one_of(10);
    let counting = Counting::start(language, proxy.port());
    // An answer that was kept for a key is one that would have counted twice without.
    counting.until("answers are lost", |said| {
        number(&said["stats"], "lost_answers") >= 10 && number(&said["stats"], "replayed") >= 5
    });
    proxy.lose_one_of(0);
    counting.verify(&server);
    server.stop();
}

pub(super) fn nothing_is_lost_or_doubled_by_a_failing_disk(language: &dyn Language) {
    if let Err(reason) = can_trace() {
        return skipped("clients: a failing disk", &reason);
    }
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path());
    let server = start(&setup);
    let counting = Counting::start(language, server.address().port());
    counting.more(20);
    let report = tempfile::NamedTempFile::new().unwrap();
    let fault = Fault {
        calls: SYNCS,
        files: &["log"],
        nth: 10,
    };
    let tracer = Tracer::attach(&server, &fault.arguments(setup.data(), report.path()));
    counting.until("the outcome is unknown", |said| {
        number(&said["stats"], "outcome_unknown") > 0
    });
    drop(tracer);
    counting.more(50);
    let stats = counting.verify(&server);
    assert!(number(&stats, "unavailable") > 0, "{stats}");
    server.stop();
}

pub(super) fn limits_of_rates_slow_it_down_and_lose_nothing(language: &dyn Language) {
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path()).set("limits.per_ip", "100/s");
    let server = start(&setup.set("limits.exempt", "127.0.0.9"));
    let counting = Counting::start(language, server.address().port());
    counting.until("it is limited", |said| {
        number(&said["stats"], "limited") >= 5
    });
    counting.verify(&server);
    server.stop();
}

/// The first block of the README that is in the language, and the text that comes after it: what it prints.
fn first_example(language: &dyn Language) -> (String, String) {
    let readme = std::fs::read_to_string(folder(language).join("README.md")).unwrap();
    let mut blocks = readme.split("```").skip(1).step_by(2);
    let mut next = || {
        let (kind, text) = blocks.next().unwrap().split_once('\n').unwrap();
        (kind.to_owned(), text.to_owned())
    };
    let of_language = language.marks_code();
    let example = std::iter::repeat_with(&mut next).find(|(kind, _)| kind == of_language);
    let (kind, output) = next();
    assert_eq!(kind, "text", "what the example prints comes right after it");
    (example.unwrap().1, output)
}

pub(super) fn the_first_example_of_the_readme_runs_as_written(language: &dyn Language) {
    let (text, output) = first_example(language);
    assert_eq!(text.lines().count(), 5, "{text}");
    assert!(text.contains("http://127.0.0.1:8080"), "{text}");
    let home = tempfile::tempdir().unwrap();
    let server = Setup::new(home.path()).start();
    let here = text.replace("127.0.0.1:8080", &server.address().to_string());
    let printed = Running::start(language.snippet(&here)).rest();
    assert_eq!(printed, output.lines().collect::<Vec<_>>());
    server.stop();
}

pub(super) fn the_examples_run(language: &dyn Language) {
    let home = tempfile::tempdir().unwrap();
    let server = Setup::new(home.path())
        .set("auth.write_token", "the-backend")
        .start();
    let example = |name: &str| {
        let mut command = language.program(&format!("examples/{name}"));
        let url = format!("http://{}", server.address());
        command
            .env("COUNTERD_URL", url)
            .env("COUNTERD_TOKEN", "the-backend");
        Running::start(command)
    };
    let mut admin = Client::new(server.address()).with_token(ADMIN);
    let label = example("live_label");
    assert_eq!(label.line().as_deref(), Some("0 players online"));
    example("login_logout").rest();
    assert_eq!(admin.value("online_players"), 1);
    assert_eq!(admin.value("daily_active_users"), 2);
    while label.line().expect("the label lives") != "1 players online" {}
    example("rounds").rest();
    assert_eq!(admin.value("total_games_played"), 3);
    let here = serde_json::json!({"kind": "presence", "ttl": "90s"});
    admin.define("players_here", &here);
    let mut heartbeats = example("heartbeats");
    assert_eq!(heartbeats.line().as_deref(), Some("2 players here"));
    assert_eq!(admin.value("players_here"), 2);
    heartbeats.end_input();
    heartbeats.rest();
    assert_eq!(admin.value("players_here"), 0, "they left at the end");
    server.stop();
}
