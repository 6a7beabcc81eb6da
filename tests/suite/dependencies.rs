//! Every dependency in `Cargo.toml` is used: each costs build time, review and licences.

use std::fs;
use std::path::{Path, PathBuf};

/// Dependencies that no code names, each with the reason for it.
const UNNAMED: [&str; 0] = [];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// The names in a table of `Cargo.toml`.
fn names(manifest: &toml::Table, table: &str) -> Vec<String> {
    manifest[table]
        .as_table()
        .unwrap()
        .keys()
        .cloned()
        .collect()
}

/// Whether `code` has a path into the crate, or a derive or attribute of its name.
fn uses(code: &str, package: &str) -> bool {
    let name = package.replace('-', "_");
    code.match_indices(&name).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let is_whole = before.is_none_or(|letter| !letter.is_alphanumeric() && letter != '_');
        let after = &code[at + name.len()..];
        is_whole
            && ["::", ";", "!", " as "]
                .iter()
                .any(|next| after.starts_with(next))
    })
}

fn unused(table: &str, dirs: &[&str]) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let mut files = Vec::new();
    dirs.iter()
        .for_each(|dir| sources(&root.join(dir), &mut files));
    let code: Vec<String> = files
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let mut names = names(&manifest, table);
    names.retain(|name| !UNNAMED.contains(&name.as_str()));
    names.retain(|name| !code.iter().any(|code| uses(code, name)));
    names
}

#[test]
fn every_dependency_is_used() {
    assert_eq!(unused("dependencies", &["src"]), Vec::<String>::new());
    let beside = ["src", "tests", "benches", "examples"];
    assert_eq!(unused("dev-dependencies", &beside), Vec::<String>::new());
}

#[test]
fn a_name_within_another_is_no_use() {
    assert!(uses("use http_body::Body;", "http-body"));
    assert!(!uses("use http_body_util::Full;", "http-body"));
    assert!(!uses("let libc = 1;", "libc"));
    assert!(!uses("my_libc::call()", "libc"));
}
