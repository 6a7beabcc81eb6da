//! What a client can meet is written down: every error code, with its status, in `docs/api.md`.
//!
//! Kept out: config keys and metrics, which `src/config/tests/shipped.rs` and `src/metrics/tests.rs`
//! hold to their docs.

use std::collections::BTreeSet;

use counterd::http::Code;

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
