//! Every curl line of `docs/api.md` prints what the docs say below it.
//!
//! What differs each time (times, days, ids, revisions, epochs) is compared by its form only.

use std::path::Path;
use std::process::Command;

use tempfile::tempdir;

use crate::harness::{Setup, skipped};

/// A line to type, and what is said to come of it.
struct Example {
    line: usize,
    command: String,
    printed: String,
}

/// The examples of the console blocks of a text.
fn examples(text: &str) -> Vec<Example> {
    let mut found: Vec<Example> = Vec::new();
    let mut in_console = false;
    for (index, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            in_console = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| in_console) {
            found.push(Example {
                line: index + 1,
                command: command.to_owned(),
                printed: String::new(),
            });
        } else if in_console && let Some(example) = found.last_mut() {
            example.printed.push_str(line);
            example.printed.push('\n');
        }
    }
    found
}

/// The text with each digit that may differ as `9`.
fn form_of(text: &str) -> String {
    let mut form = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('"') {
        let (plain, quoted) = rest.split_at(at + 1);
        let Some(end) = quoted.find('"') else { break };
        let (word, after) = quoted.split_at(end);
        form.push_str(plain);
        form.push_str(&volatile_word(word));
        form.push('"');
        rest = &after[1..];
        if matches!(word, "revision" | "epoch") {
            let digits = rest.trim_start_matches(|c: char| c == ':' || c.is_ascii_digit());
            form.push_str(":9");
            rest = digits;
        }
    }
    form.push_str(rest);
    form
}

/// A day, an instant or a request id by its form; texts that hold an instant too.
fn volatile_word(word: &str) -> String {
    let is_id = word.len() == 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id {
        return "id".to_owned();
    }
    let Some(at) = word
        .find("20")
        .filter(|at| word[*at..].as_bytes().get(4) == Some(&b'-'))
    else {
        return word.to_owned();
    };
    let (before, stamp) = word.split_at(at);
    let end = stamp
        .find(|c: char| !(c.is_ascii_digit() || "-T:.Z".contains(c)))
        .unwrap_or(stamp.len());
    let (stamp, after) = stamp.split_at(end);
    let stamp: String = stamp
        .chars()
        .map(|c| if c.is_ascii_digit() { '9' } else { c })
        .collect();
    format!("{before}{stamp}{after}")
}

#[test]
fn every_curl_line_prints_what_the_docs_say() {
    if Command::new("curl").arg("--version").output().is_err() {
        return skipped(
            "every_curl_line_prints_what_the_docs_say",
            "there is no curl",
        );
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/api.md");
    let examples = examples(&std::fs::read_to_string(path).unwrap());
    assert!(examples.len() >= 20, "{} examples", examples.len());
    let home = tempdir().unwrap();
    let server = Setup::new(home.path())
        .set("auth.admin_token", "an-admin-token-of-yours")
        .start();
    for Example {
        line,
        command,
        printed,
    } in examples
    {
        let typed = command.replace("127.0.0.1:8080", &server.address().to_string());
        let done = Command::new("sh").args(["-c", &typed]).output().unwrap();
        let really = String::from_utf8_lossy(&done.stdout).into_owned();
        assert_eq!(
            form_of(really.trim_end()),
            form_of(printed.trim_end()),
            "docs/api.md:{line}: {command}\nreally printed {really}"
        );
    }
    server.stop();
}

#[test]
fn forms_hide_what_differs_and_nothing_else() {
    let form = form_of(
        r#"{"a":"2026-11-24T10:30:00.000Z","b":"5acd304cf4e0d67e","revision":12,"value":3}"#,
    );
    let want = r#"{"a":"9999-99-99T99:99:99.999Z","b":"id","revision":9,"value":3}"#;
    assert_eq!(form, want);
    assert_ne!(form_of(r#"{"value":3}"#), form_of(r#"{"value":4}"#));
    assert_ne!(form_of(r#"{"a":"2026-11-24"}"#), form_of(r#"{"a":null}"#));
    assert_eq!(form_of("at 2026"), "at 2026");
}
