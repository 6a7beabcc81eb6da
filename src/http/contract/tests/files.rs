//! The files that are made of the table: `docs/openapi.json`, `docs/api.html` and the tables of `docs/api.md`.
//!
//! With `COUNTERD_REWRITE=1` in the environment (`script/contract --write`) they are written.

use std::path::Path;

use serde::Serialize as _;

use super::{openapi, page, tables};

/// Whether a file of `docs/` is as it is made; writes it where that is asked for.
fn is_up_to_date(name: &str, make: impl FnOnce(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(name);
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let made = make(&found);
    if std::env::var_os("COUNTERD_REWRITE").is_some() {
        std::fs::write(&path, &made).unwrap();
        return;
    }
    let first = found
        .lines()
        .zip(made.lines())
        .find(|(found, made)| found != made);
    assert!(
        found == made,
        "docs/{name} is not what the table of calls says; run script/contract --write. {first:?}"
    );
}

#[test]
fn the_document_for_programs_is_what_the_table_says() {
    is_up_to_date("openapi.json", |_| {
        let mut text = Vec::new();
        let form = serde_json::ser::PrettyFormatter::with_indent(b" ");
        let mut out = serde_json::Serializer::with_formatter(&mut text, form);
        openapi::document().serialize(&mut out).unwrap();
        String::from_utf8(text).unwrap() + "\n"
    });
}

#[test]
fn the_page_for_people_is_what_the_table_says() {
    is_up_to_date("api.html", |_| page::page());
}

#[test]
fn the_tables_of_the_docs_are_what_the_table_says() {
    is_up_to_date("api.md", tables::fill);
}
