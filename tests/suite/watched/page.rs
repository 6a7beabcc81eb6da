//! The page of metrics, read by others: `promtool check metrics`, and the parsers of Prometheus's client for Python.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use super::{is_installed, root};
use crate::harness::{Server, Setup, skipped};

/// Names that promtool's lint stumbles over, and why they are right.
const FINDINGS: [(&str, &str); 3] = [
    // "Counter" is what counterd counts with, and no type of Prometheus's here.
    (
        "counterd_counter_value",
        "metric name should not include type 'counter'",
    ),
    // Numbers of days, which are no span of time.
    (
        "counterd_export_days_waiting",
        "use base unit \"seconds\" instead of \"days\"",
    ),
    (
        "counterd_unexported_days_given_up_total",
        "use base unit \"seconds\" instead of \"days\"",
    ),
];

/// A server that has counted, refused and been asked a little of everything.
fn busy(home: &Path) -> Server {
    let server = Setup::new(home).set("limits.per_user", "1000/s").start();
    let mut client = server.admin();
    for name in ["plain", "snow:gifts", "a.b-c_d"] {
        let path = format!("/api/v1/counter/{name}/increment");
        client.post(&path, &json!({"value": 3})).ok();
    }
    let users = "/api/v1/counter/daily_active_users/increment";
    for user in ["a", "b", "a"] {
        client.post(users, &json!({"user_id": user})).ok();
    }
    client
        .post(users, &json!({}))
        .refused(400, "missing_user_id");
    client.get("/api/v1/nowhere").refused(404, "not_found");
    server
}

fn asked(server: &Server, accept: &[(&str, &str)]) -> (String, String) {
    let answer = server
        .client()
        .request("GET", "/metrics", accept, b"")
        .unwrap();
    assert_eq!(answer.status, 200);
    let kind = answer.header("content-type").unwrap().to_owned();
    (kind, answer.text())
}

#[test]
fn promtool_finds_nothing_wrong_with_the_page() {
    let test = "promtool_finds_nothing_wrong_with_the_page";
    if !is_installed("promtool") {
        return skipped(test, "promtool is not here");
    }
    let home = tempfile::tempdir().unwrap();
    let server = busy(home.path());
    let check = |page: &str| {
        let mut child = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(page.as_bytes())
            .unwrap();
        let done = child.wait_with_output().unwrap();
        let told = [done.stdout, done.stderr].concat();
        String::from_utf8(told).unwrap()
    };
    let (kind, page) = asked(&server, &[("accept", "text/plain;version=0.0.4")]);
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    let told = check(&page);
    let expected: String = FINDINGS
        .map(|(name, why)| format!("{name} {why}\n"))
        .concat();
    assert_eq!(told, expected);
    // What is wrong is seen.
    for (right, wrong) in [
        ("# HELP counterd_revision ", "# HULP counterd_revision "),
        (
            "# TYPE counterd_commits_total counter",
            "# TYPE counterd_commits_total gauge",
        ),
        ("counterd_revision ", "counterd_revision  x"),
    ] {
        assert!(page.contains(right), "{right}");
        assert_ne!(check(&page.replace(right, wrong)), expected, "{wrong}");
    }
    server.stop();
}

/// The samples of a page, by the parser of that format: name, labels and value of each.
fn samples(python: &str, format: &str, page: &str, home: &Path) -> Result<Vec<String>, String> {
    let file = home.join("page");
    std::fs::write(&file, page).unwrap();
    let done = Command::new(python)
        .arg(root().join("tests/suite/read_metrics.py"))
        .arg(format)
        .arg(&file)
        .output()
        .unwrap();
    if !done.status.success() {
        return Err(String::from_utf8_lossy(&done.stderr).into_owned());
    }
    let text = String::from_utf8(done.stdout).unwrap();
    Ok(text.lines().map(str::to_owned).collect())
}

#[test]
fn both_formats_say_the_same_to_the_parsers_of_prometheus() {
    let test = "both_formats_say_the_same_to_the_parsers_of_prometheus";
    let pythons = ["/usr/bin/python3", "python3"];
    let python = pythons.into_iter().find(|python| {
        let imports = Command::new(python)
            .args(["-c", "import prometheus_client.openmetrics.parser"])
            .output();
        imports.is_ok_and(|done| done.status.success())
    });
    let Some(python) = python else {
        return skipped(test, "python3 with prometheus_client is not here");
    };
    let home = tempfile::tempdir().unwrap();
    let server = busy(home.path());
    let (kind, open) = asked(&server, &[]);
    assert_eq!(
        kind,
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    let text = asked(&server, &[("accept", "text/plain")]).1;
    let read = |format, page: &str| samples(python, format, page, home.path());
    let of_open = read("openmetrics", &open).unwrap();
    // Values move between two looks; what is there does not, but for the look itself.
    let without_value = |samples: &[String]| -> BTreeSet<String> {
        let others = samples
            .iter()
            .filter(|sample| !sample.contains("\"metrics\""));
        let names = others.map(|sample| sample.rsplit_once(", ").unwrap().0);
        names.map(str::to_owned).collect()
    };
    let of_text = read("text", &text).unwrap();
    let (open_names, text_names) = (without_value(&of_open), without_value(&of_text));
    let differ: Vec<_> = open_names.symmetric_difference(&text_names).collect();
    assert!(differ.is_empty(), "{differ:?}");
    assert!(of_open.len() > 200, "{}", of_open.len());
    for sample in [
        r#"["counterd_counter_value", [["counter", "snow:gifts"]], 3.0]"#,
        r#"["counterd_counter_value", [["counter", "daily_active_users"]], 2.0]"#,
        r#"["counterd_values_left_out", [], 0.0]"#,
        r#"["counterd_operations_total", [["result", "duplicate"]], 1.0]"#,
        r#"["counterd_requests_total", [["route", "increment"], ["status", "400"]], 1.0]"#,
    ] {
        for samples in [&of_open, &of_text] {
            assert!(samples.iter().any(|found| found == sample), "{sample}");
        }
    }
    // What is wrong is seen.
    let cut = open.replace("# EOF\n", "");
    assert!(read("openmetrics", &cut).is_err(), "a page without its end");
    let renamed = open.replace("counterd_commits_total ", "counterd_commits ");
    assert!(
        read("openmetrics", &renamed).is_err(),
        "a counter without its suffix"
    );
    server.stop();
}
