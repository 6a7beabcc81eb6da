//! The contract as schemathesis finds it: many requests that fit it or do not, with all checks, and nothing counted by one
//! that was refused. `script/contract 100000` is the long form.

use std::process::Command;

use crate::harness::{Setup, skipped};

#[test]
fn many_requests_find_the_contract_kept_and_nothing_counted_by_refused_ones() {
    let root = env!("CARGO_MANIFEST_DIR");
    let mut command = Command::new(format!("{root}/script/contract"));
    let binary = env!("CARGO_BIN_EXE_counterd");
    let command = command.args(["--seed", "1", "--counterd", binary, "2000"]);
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    if done.status.code() == Some(77) {
        return skipped(
            "many_requests_find_the_contract_kept_and_nothing_counted_by_refused_ones",
            "schemathesis cannot be installed from PyPI",
        );
    }
    assert!(done.status.success(), "{said}");
    println!("{said}");
}

#[test]
fn the_contract_is_served_as_it_is_committed_with_a_page_that_may_do_nothing() {
    let home = tempfile::tempdir().unwrap();
    let server = Setup::new(home.path())
        .set("auth.read_token", "the-reader")
        .start();
    let mut client = server.client();
    let document = client.get("/openapi.json");
    assert_eq!(document.status, 200);
    assert_eq!(document.header("content-type"), Some("application/json"));
    assert_eq!(document.text(), include_str!("../../docs/openapi.json"));
    let page = client.get("/docs");
    assert_eq!(page.text(), include_str!("../../docs/api.html"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");
    // Who has it is not sent it again.
    for path in ["/openapi.json", "/docs"] {
        let mark = client.get(path).header("etag").unwrap().to_owned();
        let again = client.request("GET", path, &[("if-none-match", &mark)], b"");
        let again = again.unwrap();
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
        assert_eq!(again.header("etag"), Some(&*mark), "{path}");
        let other = client.request("GET", path, &[("if-none-match", "\"0\"")], b"");
        assert_eq!(other.unwrap().status, 200, "{path}");
    }
    for path in [
        "/docs?x=1",
        "/openapi.json?x=1",
        "/livez?x=1",
        "/metrics?x=1",
    ] {
        assert_eq!(client.get(path).code(), "invalid_query", "{path}");
    }
    server.stop();
}
