//! Every curl line of the README and the docs prints what they say.
//!
//! The convention: in a block marked `console`, a line that begins with `$ curl `, or with a command of counterd that asks a
//! server over HTTP, such as `$ counterd get `, is a command (a `\` at its end goes on in the next line), and what follows up to the next `$ ` or the end of the block
//! is its output. Commands that begin otherwise are not run, and nothing is claimed of them. A block
//! marked `sh` holds commands to copy, without `$ `: each line that begins with `curl ` is run too,
//! and a block marked `json` or `text` that comes next, but for blank lines, is what the last one
//! prints.
//!
//! The commands of one file run in order on a fresh server of its own with the shipped
//! `counterd.toml`, at the address that stands for `127.0.0.1:8080`, with the administrator's token
//! in `$COUNTERD_AUTH__ADMIN_TOKEN`. Without an output to compare with, a command must succeed.
//!
//! What differs from run to run is compared by its shape: dates, times, epochs (13 digits), request
//! ids (16 hex digits). `…` in the docs stands for anything within its line. JSON that spans lines in
//! the docs for reading is compared as JSON.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::harness::{ADMIN, Setup, skipped};

/// A command and the output that the docs give for it.
#[derive(Debug, PartialEq)]
struct Example {
    line: usize,
    command: String,
    output: Option<String>,
}

/// The commands of one file.
fn examples(text: &str) -> Vec<Example> {
    let mut found: Vec<Example> = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    // Whether an output block may follow.
    let mut awaits_output = false;
    while let Some((_, line)) = lines.next() {
        let Some(kind) = line.trim_start().strip_prefix("```") else {
            awaits_output &= line.trim().is_empty();
            continue;
        };
        let mut block = Vec::new();
        for (at, line) in lines.by_ref() {
            if line.trim_start().starts_with("```") {
                break;
            }
            block.push((at + 1, line));
        }
        match kind.trim() {
            "console" => found.extend(of_console(&block)),
            "sh" => {
                let commands = of_shell(&block);
                awaits_output = !commands.is_empty();
                found.extend(commands);
                continue;
            }
            "json" | "text" if awaits_output => {
                if let Some(last) = found.last_mut() {
                    let lines: Vec<&str> = block.iter().map(|(_, line)| *line).collect();
                    last.output = Some(lines.join("\n"));
                }
            }
            _ => {}
        }
        awaits_output = false;
    }
    found
}

/// Joins lines that end with `\` with the next.
fn joined(block: &[(usize, &str)]) -> Vec<(usize, String)> {
    let mut whole: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (at, line) in block {
        match whole.last_mut() {
            Some((_, before)) if goes_on => {
                before.push('\n');
                before.push_str(line);
            }
            _ => whole.push((*at, (*line).to_owned())),
        }
        goes_on = line.ends_with('\\');
    }
    whole
}

/// Whether a command is run: one that needs nothing but a server.
fn is_run(command: &str) -> bool {
    let asks_a_server = || {
        let mut words = command.split(' ');
        let (program, name) = (words.next(), words.next().unwrap_or_default());
        let over_http = ["incr", "decr", "get", "list", "define", "adjust", "reset"];
        let deletes_one = name == "delete" && !command.contains(" --prefix ");
        program == Some("counterd") && (over_http.contains(&name) || deletes_one)
    };
    command.starts_with("curl ") || asks_a_server()
}

fn of_console(block: &[(usize, &str)]) -> Vec<Example> {
    let mut found: Vec<Example> = Vec::new();
    let mut is_of_one = false;
    for (line, text) in joined(block) {
        if let Some(command) = text.strip_prefix("$ ") {
            is_of_one = is_run(command);
            if is_of_one {
                found.push(Example {
                    line,
                    command: command.to_owned(),
                    output: Some(String::new()),
                });
            }
        } else if let (true, Some(last)) = (is_of_one, found.last_mut()) {
            let output = last.output.get_or_insert_default();
            if !output.is_empty() {
                output.push('\n');
            }
            output.push_str(&text);
        }
    }
    found
}

fn of_shell(block: &[(usize, &str)]) -> Vec<Example> {
    let commands = joined(block)
        .into_iter()
        .filter(|(_, text)| text.starts_with("curl "));
    commands
        .map(|(line, command)| Example {
            line,
            command,
            output: None,
        })
        .collect()
}

/// The text with everything that differs from run to run replaced by what it is.
fn shape(text: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    let finish = |word: &mut String, out: &mut String| {
        out.push_str(shape_of(word).unwrap_or(word));
        word.clear();
    };
    for c in text.chars() {
        if c.is_ascii_alphanumeric() || matches!(c, '-' | ':' | '.') {
            word.push(c);
        } else {
            finish(&mut word, &mut out);
            out.push(c);
        }
    }
    finish(&mut word, &mut out);
    out.trim_end().to_owned()
}

fn shape_of(word: &str) -> Option<&'static str> {
    let pattern: String = word
        .chars()
        .map(|c| if c.is_ascii_digit() { '9' } else { c })
        .collect();
    let hexadecimal = |word: &str| word.len() == 16 && word.chars().all(|c| c.is_ascii_hexdigit());
    match pattern.as_str() {
        "9999-99-99" => Some("DATE"),
        "9999-99-99T99:99:99.999Z" | "9999-99-99T99:99:99Z" => Some("TIME"),
        "9999999999999" => Some("EPOCH"),
        _ if hexadecimal(word) => Some("REQUEST-ID"),
        _ => None,
    }
}

/// Whether `found` is what the docs say.
fn agrees(found: &str, docs: &str) -> bool {
    if let (Ok(found), Ok(docs)) = (json(found), json(docs)) {
        return same_json(&found, &docs);
    }
    let (found, docs) = (shape(found), shape(docs));
    let (found, docs): (Vec<&str>, Vec<&str>) = (found.lines().collect(), docs.lines().collect());
    found.len() == docs.len()
        && found
            .iter()
            .zip(&docs)
            .all(|(found, docs)| matches_line(found, docs))
}

fn json(text: &str) -> serde_json::Result<Value> {
    serde_json::from_str(text)
}

fn same_json(found: &Value, docs: &Value) -> bool {
    match (found, docs) {
        (Value::Object(found), Value::Object(docs)) => {
            found.len() == docs.len()
                && docs
                    .iter()
                    .all(|(name, docs)| found.get(name).is_some_and(|found| same_json(found, docs)))
        }
        (Value::Array(found), Value::Array(docs)) => {
            found.len() == docs.len()
                && found
                    .iter()
                    .zip(docs)
                    .all(|(found, docs)| same_json(found, docs))
        }
        (found, docs) => matches_line(&shape(&found.to_string()), &shape(&docs.to_string())),
    }
}

/// `…` stands for anything.
fn matches_line(found: &str, docs: &str) -> bool {
    let mut parts = docs.trim_end().split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = found.trim_end().strip_prefix(first) else {
        return false;
    };
    let mut open_end = false;
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
        open_end = part.is_empty();
    }
    rest.is_empty() || open_end
}

/// Runs the examples on a fresh server; gives what differs, and how many outputs were compared.
fn run(examples: &[Example]) -> (Vec<String>, usize) {
    let home = tempfile::tempdir().unwrap();
    let shipped = root().join("counterd.toml");
    let setup = Setup::new(home.path())
        .arg("--config")
        .arg(shipped.to_str().unwrap());
    let server = setup.start();
    let programs = Path::new(env!("CARGO_BIN_EXE_counterd")).parent().unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", programs.display());
    let (mut differences, mut compared) = (Vec::new(), 0);
    for Example {
        line,
        command,
        output,
    } in examples
    {
        let address = server.address().to_string();
        let here = command
            .replace("127.0.0.1:8080", &address)
            .replace("localhost:8080", &address);
        let ran = Command::new("sh")
            .args(["-c", &here])
            .env("COUNTERD_AUTH__ADMIN_TOKEN", ADMIN)
            .env("COUNTERD_URL", format!("http://{address}"))
            .env("PATH", &path)
            .current_dir(home.path())
            .output()
            .unwrap();
        let found = String::from_utf8_lossy(&ran.stdout).replace(&address, "127.0.0.1:8080");
        match output {
            Some(output) => {
                compared += 1;
                if !agrees(&found, output) {
                    differences.push(format!(
                        "line {line}: {command}\n  docs: {output}\n  here: {found}"
                    ));
                }
            }
            None if ran.status.success() => {}
            None => differences.push(format!(
                "line {line}: {command}\n  ends with {}",
                ran.status
            )),
        }
    }
    server.stop();
    (differences, compared)
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn has_curl() -> bool {
    Command::new("curl")
        .arg("--version")
        .output()
        .is_ok_and(|done| done.status.success())
}

#[test]
fn every_curl_line_of_the_docs_prints_what_they_say() {
    let what = "every_curl_line_of_the_docs_prints_what_they_say";
    if !has_curl() {
        return skipped(what, "curl is missing");
    }
    let mut files = vec![root().join("README.md")];
    let dirs = ["docs", "docs/runbook"].map(|dir| root().join(dir));
    let docs = dirs
        .iter()
        .flat_map(|dir| std::fs::read_dir(dir).unwrap())
        .map(|file| file.unwrap().path());
    files.extend(docs.filter(|file| file.extension().is_some_and(|extension| extension == "md")));
    files.sort();
    let (mut wrong, mut in_readme) = (Vec::new(), 0);
    for file in files {
        let Ok(text) = std::fs::read_to_string(&file) else {
            return skipped(what, &format!("there is no {}", shown(&file)));
        };
        let examples = examples(&text);
        if examples.is_empty() {
            continue;
        }
        // Examples are of one minute; a run in which one ended says nothing of those that differ.
        let minute = || {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .as_secs()
                / 60
        };
        let (differences, compared) = loop {
            let begun = minute();
            let ran = run(&examples);
            if ran.0.is_empty() || minute() == begun {
                break ran;
            }
        };
        println!(
            "{}: {} commands, {compared} outputs compared",
            shown(&file),
            examples.len()
        );
        wrong.extend(
            differences
                .iter()
                .map(|difference| format!("{}: {difference}", shown(&file))),
        );
        if file.ends_with("README.md") {
            in_readme = compared;
        }
    }
    assert!(
        wrong.is_empty(),
        "{} examples differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(
        in_readme > 0,
        "the README shows no curl line with its output"
    );
}

fn shown(file: &Path) -> String {
    file.strip_prefix(root())
        .unwrap_or(file)
        .display()
        .to_string()
}

const SAMPLE: &str = r#"
# Sample

```console
$ counterd serve
ready
$ curl -s -X POST http://127.0.0.1:8080/api/v1/counter/online_players/increment
{"success":true,"current_value":1,"counted":true,"applied":1,"revision":5,"period":null}
$ curl -s \
    http://127.0.0.1:8080/livez
{"status":"ok"}
```

```sh
# Read it.
curl -s http://localhost:8080/api/v1/counter/online_players
```

```json
{
  "name": "online_players", "value": 1, "last_updated": "2026-01-01T10:30:00.000Z",
  "kind": "gauge", "reset": "never", "revision": 5, "epoch": 1795557902843,
  "period": null, "resets_at": null, "stale": false
}
```

```sh
curl -sf http://127.0.0.1:8080/readyz
```
Prose in between: this is no output of it.
```json
{"something":"else"}
```
"#;

#[test]
fn the_convention_is_read_as_it_says() {
    let found = examples(SAMPLE);
    let commands: Vec<(usize, bool)> = found
        .iter()
        .map(|one| (one.line, one.output.is_some()))
        .collect();
    assert_eq!(commands, [(7, true), (9, true), (16, true), (28, false)]);
    assert_eq!(
        found[1].command,
        "curl -s \\\n    http://127.0.0.1:8080/livez"
    );
    assert_eq!(found[1].output.as_deref(), Some("{\"status\":\"ok\"}"));
}

#[test]
fn a_right_example_agrees_and_a_wrong_one_does_not() {
    if !has_curl() {
        return skipped(
            "a_right_example_agrees_and_a_wrong_one_does_not",
            "curl is missing",
        );
    }
    let (differences, compared) = run(&examples(SAMPLE));
    assert_eq!((differences, compared), (Vec::new(), 3));
    let wrong = SAMPLE
        .replace("\"current_value\":1", "\"current_value\":2")
        .replace("/readyz", "/nowhere");
    let (differences, _) = run(&examples(&wrong));
    assert_eq!(differences.len(), 2, "{differences:#?}");
    for (found, docs, same) in [
        (
            "HTTP/1.1 200 OK\r\ndate: Tue\r\n",
            "HTTP/1.1 200 OK\ndate: …",
            true,
        ),
        ("a 2026-11-24 b", "a 2025-01-01 b", true),
        ("a 2026-11-24 b", "a 2025-01-01 c", false),
        ("one\ntwo", "one", false),
        ("{\"a\":1}", "{\"a\":1,\"b\":2}", false),
        (
            "{\"a\":{\"request_id\":\"950f3bb849f0e58f\"}}",
            "{\"a\":{\"request_id\":\"…\"}}",
            true,
        ),
    ] {
        assert_eq!(agrees(found, docs), same, "{found:?} and {docs:?}");
    }
}
