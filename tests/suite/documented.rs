//! What a client can meet is written down: every error code, with its status, in `docs/api.md`. And
//! what is written down of metrics is there: every one of `docs/metrics.md`, on a running server.
//!
//! Kept out: config keys, and metrics that the docs lack, which `src/config/tests/shipped.rs` and
//! `src/metrics/tests.rs` look for.

use std::collections::BTreeSet;

use counterd::http::Code;
use serde_json::json;

use crate::harness::Setup;

/// The rows of the docs that name a code: `` | `code` | 404 | … ``.
fn rows(docs: &str) -> BTreeSet<(String, u16)> {
    docs.lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split('|');
            let code = cells.next()?.trim().strip_suffix('`')?;
            let status = cells.next()?.trim().parse().ok()?;
            Some((code.to_owned(), status))
        })
        .collect()
}

#[test]
fn docs_list_every_error_code_with_its_status() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/api.md");
    let documented = rows(&std::fs::read_to_string(path).expect("docs/api.md"));
    let known: BTreeSet<_> = Code::ALL
        .iter()
        .map(|code| (code.as_str().to_owned(), code.status().as_u16()))
        .collect();
    let missing: Vec<_> = known.difference(&documented).collect();
    let stale: Vec<_> = documented.difference(&known).collect();
    assert!(
        missing.is_empty() && stale.is_empty(),
        "docs/api.md, the table of codes: add a row `| `code` | status | what a client should do |` \
         for {missing:?}; take out {stale:?}"
    );
}

#[test]
fn a_running_server_shows_every_metric_of_the_docs() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let docs = std::fs::read_to_string(path).expect("docs/metrics.md");
    let documented: Vec<&str> = docs
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .filter(|name| name.starts_with("counterd_"))
        .collect();
    assert!(documented.len() > 30, "{documented:?}");
    let home = tempfile::tempdir().unwrap();
    let server = Setup::new(home.path()).start();
    let mut client = server.client();
    client.post("/api/v1/counter/a/increment", &json!({})).ok();
    let page = client.get("/metrics").text();
    // A histogram is there by its count.
    let shown = |name: &str| {
        page.lines().any(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with([' ', '{']) || rest.starts_with("_count"))
        })
    };
    let missing: Vec<_> = documented.iter().filter(|name| !shown(name)).collect();
    assert!(missing.is_empty(), "documented and not shown: {missing:?}");
    server.stop();
}
