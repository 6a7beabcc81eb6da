//! What the page shows, and what can be done with it.

use serde_json::json;
use tempfile::TempDir;

use super::{check, tools, with_a_past};
use crate::degraded::{self, Copies};
use crate::harness::Setup;
use crate::house;

/// Runs a check on a server with a past.
fn with_program(program: &str, test: &str) {
    with_setup(program, test, |setup| setup);
}

fn with_setup(program: &str, test: &str, change: impl FnOnce(Setup) -> Setup) {
    let Some(tools) = tools(test) else {
        return;
    };
    let home = TempDir::new().unwrap();
    let (setup, known) = with_a_past(&home);
    let setup = change(setup);
    let server = setup.start();
    check(program, &tools, &server, &setup, known);
}

#[test]
fn now_shows_each_counter_with_its_past_and_moves_as_it_changes() {
    let test = "now_shows_each_counter_with_its_past_and_moves_as_it_changes";
    with_program("now", test);
}

#[test]
fn days_are_a_table_and_a_file() {
    with_program("days", "days_are_a_table_and_a_file");
}

#[test]
fn counters_are_found_and_administered_and_hostile_text_is_text() {
    let test = "counters_are_found_and_administered_and_hostile_text_is_text";
    with_program("counters", test);
}

#[test]
fn what_is_wrong_is_told_with_its_cause() {
    with_program("trouble", "what_is_wrong_is_told_with_its_cause");
}

#[test]
fn an_alert_that_fires_is_told_with_its_reason() {
    let test = "an_alert_that_fires_is_told_with_its_reason";
    // The page names the runbook that receivers are told, wherever it is.
    with_setup("firing", test, |setup| {
        setup.set("alerts.runbook_url", "https://wiki.example/counterd")
    });
}

#[test]
fn where_reading_needs_a_token_the_page_asks_for_it() {
    let Some(tools) = tools("where_reading_needs_a_token_the_page_asks_for_it") else {
        return;
    };
    let home = TempDir::new().unwrap();
    let setup = Setup::new(home.path()).set("auth.read_token", "the-reader");
    let server = setup.start();
    check("token", &tools, &server, &setup, json!({}));
    server.stop();
}

#[test]
fn there_is_one_connection_and_a_proxy_that_bars_it_is_told() {
    let test = "there_is_one_connection_and_a_proxy_that_bars_it_is_told";
    with_program("reconnect", test);
}

#[test]
fn a_day_whose_end_is_not_told_is_asked_for_with_patience() {
    let test = "a_day_whose_end_is_not_told_is_asked_for_with_patience";
    with_program("ending", test);
}

#[test]
fn each_of_many_counters_is_found() {
    let Some(tools) = tools("each_of_many_counters_is_found") else {
        return;
    };
    let home = TempDir::new().unwrap();
    let setup = Setup::new(home.path());
    let server = setup.start();
    let mut client = server.client();
    for from in [0, 1000] {
        let guilds = from..from + 1000;
        let operations: Vec<_> = guilds
            .map(|guild| {
                let name = format!("guild:{guild:04}:members");
                json!({"op": "increment", "name": name, "value": guild + 1})
            })
            .collect();
        let batch = json!({"operations": operations});
        client.post("/api/v1/batch", &batch).ok();
    }
    check("many", &tools, &server, &setup, json!({}));
    server.stop();
}

#[test]
fn a_counter_that_cannot_be_read_says_so() {
    let Some(tools) = tools("a_counter_that_cannot_be_read_says_so") else {
        return;
    };
    let home = TempDir::new().unwrap();
    let setup = Setup::new(home.path());
    let server = setup.start();
    for name in ["rotten", "sound"] {
        let path = format!("/api/v1/counter/{name}/increment");
        server.client().post(&path, &json!({"value": 7})).ok();
    }
    server.stop();
    house::damage(setup.data(), "rotten");
    let server = setup.start();
    check("corrupt", &tools, &server, &setup, json!({}));
    server.stop();
}

#[test]
fn values_from_a_copy_are_told_as_such() {
    let test = "values_from_a_copy_are_told_as_such";
    let (Some(tools), Some(copies)) = (tools(test), Copies::new(test)) else {
        return;
    };
    let home = TempDir::new().unwrap();
    let setup = degraded::setup(home.path(), &copies);
    let server = setup.start();
    degraded::count_a_little(&server, &copies);
    server.kill9();
    degraded::damage(&setup);
    let server = setup.start();
    check("stale", &tools, &server, &setup, json!({}));
    server.stop();
}

#[test]
fn a_server_may_be_without_a_page() {
    let home = TempDir::new().unwrap();
    let server = Setup::new(home.path()).set("server.page", "false").start();
    let mut client = server.client();
    for path in ["/", "/page/app.js"] {
        client.get(path).refused(404, "not_found");
    }
    server.stop();
}

#[test]
fn a_file_that_the_browser_has_is_not_sent_again() {
    let home = TempDir::new().unwrap();
    let server = Setup::new(home.path()).start();
    let mut client = server.client();
    let first = client.get("/");
    assert_eq!(first.status, 200);
    let policy = first.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self'"),
        "{policy}"
    );
    let mark = first.header("etag").unwrap().to_owned();
    let again = client
        .request("GET", "/", &[("if-none-match", &mark)], b"")
        .unwrap();
    assert_eq!((again.status, again.body.len()), (304, 0));
    let other = client
        .request("GET", "/page/app.js", &[("if-none-match", &mark)], b"")
        .unwrap();
    assert_eq!(other.status, 200);
    client.get("/page/../Cargo.toml").refused(404, "not_found");
    server.stop();
}
