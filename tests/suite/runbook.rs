//! The runbook: every page has the same four parts, names only what there is, and can be found; and the
//! page on a store that does not open is played as it is written.
//!
//! Kept out: its curl lines, which `docs` runs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use counterd::cli::Cli;
use counterd::http::Code;
use counterd::writer::Cause;
use serde_json::json;

use crate::degraded::{Copies, count_a_little, damage, setup};
use crate::harness::{PATIENCE, Setup, eventually};

/// The parts of a page, in order.
const PARTS: [&str; 4] = [
    "What you see",
    "What counterd does",
    "What you do",
    "How you know it is over",
];

/// Somebody reads it in the middle of the night.
const LONGEST_PAGE: usize = 70;

struct Page {
    name: String,
    text: String,
}

impl Page {
    /// What is under that heading.
    fn part(&self, heading: &str) -> &str {
        let begin = format!("\n## {heading}\n");
        let (_, rest) = self.text.split_once(&begin).unwrap_or_default();
        rest.split("\n## ").next().unwrap_or_default()
    }
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

fn read(name: &str) -> String {
    fs::read_to_string(docs().join(name)).unwrap_or_else(|error| panic!("docs/{name}: {error}"))
}

fn pages() -> Vec<Page> {
    let mut pages: Vec<Page> = fs::read_dir(docs().join("runbook"))
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .map(|name| Page {
            text: read(&format!("runbook/{name}")),
            name,
        })
        .collect();
    pages.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(pages.len() > 10, "the pages are there");
    pages
}

/// The pages, and the index as one that may have other parts.
fn all() -> Vec<Page> {
    let index = Page {
        name: "../runbook.md".to_owned(),
        text: read("runbook.md"),
    };
    pages().into_iter().chain([index]).collect()
}

/// The lines of the blocks to copy, without the blanks before them.
fn to_copy(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut kind = None;
    for line in text.lines().map(str::trim) {
        match (line.strip_prefix("```"), kind) {
            (Some(_), Some(_)) => kind = None,
            (Some(begun), None) => kind = Some(begun),
            (None, Some("sh")) => lines.push(line),
            (None, _) => {}
        }
    }
    lines
}

/// What stands between backquotes outside of blocks.
fn quoted(text: &str) -> Vec<&str> {
    let mut in_block = false;
    let mut prose = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            prose.extend(line.split('`').skip(1).step_by(2));
        }
    }
    prose
}

/// The calls of counterd in a line of a shell: their words, without what is around them.
fn calls(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![vec![String::new()]];
    let mut quote = None;
    for c in line.chars() {
        let words = commands.last_mut().unwrap();
        match (c, quote) {
            (_, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => quote = Some(c),
            ('|' | ';' | '>' | '&', None) => commands.push(vec![String::new()]),
            (' ', None) => words.push(String::new()),
            _ => words.last_mut().unwrap().push(c),
        }
    }
    let user = ["runuser", "-u", "counterd", "--"];
    let calls = commands.into_iter().map(|mut words| {
        words.retain(|word| !word.is_empty());
        if words.starts_with(&user.map(str::to_owned)) {
            words.drain(..user.len());
        }
        words
    });
    // `counterd …` and `counterd` alone are names.
    calls
        .filter(|words| {
            words.len() > 1 && words[0] == "counterd" && !words.contains(&"…".to_owned())
        })
        .collect()
}

/// The words of a text that begin so and go on with letters, digits and `_`.
fn words_with<'a>(text: &'a str, begin: &'a str) -> impl Iterator<Item = &'a str> {
    text.match_indices(begin).map(|(at, _)| {
        let rest = &text[at..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        rest.get(..end.unwrap_or(rest.len())).unwrap()
    })
}

#[test]
fn every_page_has_the_four_parts_and_is_short() {
    for Page { name, text } in pages() {
        let headings: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("## "))
            .collect();
        assert_eq!(headings, PARTS, "{name}");
        assert!(text.starts_with("# "), "{name}: begins with its title");
        let lines = text.lines().count();
        assert!(lines <= LONGEST_PAGE, "{name}: {lines} lines; tell less");
        let page = Page { name, text };
        for part in PARTS {
            assert!(!page.part(part).trim().is_empty(), "{}: {part}", page.name);
        }
        let see = page.part(PARTS[0]);
        assert!(see.contains("Alert"), "{}: what pages?", page.name);
    }
}

#[test]
fn the_index_leads_to_every_page_and_every_link_to_a_heading() {
    let index = read("runbook.md");
    for page in pages() {
        let link = format!("(runbook/{})", page.name);
        assert!(index.contains(&link), "docs/runbook.md has no {link}");
    }
    let mut broken = Vec::new();
    for page in all() {
        let dir = docs().join("runbook");
        for link in page.text.split("](").skip(1) {
            let link = link.split(')').next().unwrap();
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            // The index is a file of the directory above.
            let from = if page.name.starts_with("..") {
                docs()
            } else {
                dir.clone()
            };
            let Ok(text) = fs::read_to_string(from.join(file)) else {
                broken.push(format!("{}: {link}", page.name));
                continue;
            };
            let has_it = heading.is_empty()
                || text.lines().any(|line| {
                    let title = line.trim_start_matches('#').trim();
                    line.starts_with('#')
                        && title
                            .to_lowercase()
                            .replace(' ', "-")
                            .replace([',', ':'], "")
                            == heading
                });
            if !has_it {
                broken.push(format!("{}: {link}", page.name));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn pages_name_only_metrics_keys_codes_and_causes_that_there_are() {
    let known_names = read("metrics.md") + &read("postgres.md");
    let keys: BTreeSet<String> = read("configuration.md")
        .lines()
        .filter_map(|line| {
            line.strip_prefix("| `")?
                .split('`')
                .next()
                .map(str::to_owned)
        })
        .collect();
    let sections: BTreeSet<&str> = keys
        .iter()
        .filter_map(|key| key.split('.').next())
        .collect();
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    let causes: Vec<&str> = Cause::ALL.iter().map(|cause| cause.as_str()).collect();
    let mut unknown = Vec::new();
    for Page { name, text } in all() {
        for metric in words_with(&text, "counterd_") {
            let metric = metric.strip_suffix("_bucket").unwrap_or(metric);
            if !known_names.contains(&format!("`{metric}")) {
                unknown.push(format!("{name}: metric {metric}"));
            }
        }
        for word in quoted(&text) {
            let key = word.split([' ', '=']).next().unwrap();
            if key.ends_with(".conf") {
                continue;
            }
            let is_key = key.split_once('.').is_some_and(|(section, rest)| {
                sections.contains(section)
                    && rest.chars().all(|c| c.is_ascii_lowercase() || c == '_')
            });
            if is_key && !keys.contains(key) {
                unknown.push(format!("{name}: key {key}"));
            }
        }
        for (before, known) in [
            ("503 `", &codes),
            ("500 `", &codes),
            ("\"code\":\"", &codes),
        ] {
            for rest in text.split(before).skip(1) {
                let code = rest.split(['`', '"']).next().unwrap();
                if !known.contains(&code) {
                    unknown.push(format!("{name}: code {code}"));
                }
            }
        }
        for rest in text.split("cause=\"").skip(1) {
            let cause = rest.split('"').next().unwrap();
            if !causes.contains(&cause) {
                unknown.push(format!("{name}: cause {cause}"));
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
}

#[test]
fn pages_show_only_commands_that_can_be_typed() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for Page { name, text } in all() {
        let mut lines = to_copy(&text);
        // In the running text: those with an argument; `counterd check` alone is a name.
        lines.extend(
            quoted(&text)
                .into_iter()
                .filter(|line| line.contains("counterd ")),
        );
        for words in lines.into_iter().flat_map(calls) {
            seen += 1;
            if let Err(error) = Cli::try_parse_from(&words) {
                wrong.push(format!("{name}: {}: {error}", words.join(" ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 30, "only {seen} commands");
}

/// The messages of the lines of the log that are quoted there, up to their fields, a backquote or `…`.
fn log_messages(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .flat_map(|line| line.split('`'))
        .filter_map(|quoted| {
            let quoted = quoted.trim();
            let levels = ["ERROR counterd::", "WARN counterd::", "INFO counterd::"];
            let rest = levels.iter().find_map(|level| quoted.strip_prefix(level))?;
            let (_, message) = rest.split_once(": ")?;
            let field = message.find('=').and_then(|at| message[..at].rfind(' '));
            let message = &message[..field.unwrap_or(message.len())];
            message.split('…').next().map(str::trim)
        })
}

#[test]
fn lines_of_the_log_are_those_that_the_program_writes() {
    let mut sources = String::new();
    collect(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut sources,
    );
    // A literal may go on in the next line.
    let sources: String = sources
        .replace("\\\n", "")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    let (mut unknown, mut seen) = (Vec::new(), 0);
    for Page { name, text } in all() {
        for message in log_messages(&text) {
            seen += 1;
            if !sources.contains(message) {
                unknown.push(format!("{name}: {message}"));
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
    assert!(seen > 10, "only {seen} lines");
}

fn collect(dir: &Path, text: &mut String) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

/// Runs a call of the page on the server's own configuration; gives its exit code and what it said.
fn play(setup: &Setup, words: &[String], home: &Path) -> (Option<i32>, String) {
    let (verb, arguments) = words[1..].split_first().unwrap();
    let config = ["--config", "/etc/counterd/counterd.toml"];
    let backups = home.join("backups");
    let arguments = arguments
        .iter()
        .map(String::as_str)
        .filter(|word| !config.contains(word))
        .map(|word| {
            if word == "/backups" {
                backups.to_str().unwrap()
            } else {
                word
            }
        });
    let ran = setup.command(verb).args(arguments).output().unwrap();
    let said = [ran.stdout, ran.stderr].concat();
    (
        ran.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// The call of that command in the page's steps.
fn step(page: &Page, verb: &str) -> Vec<String> {
    let steps = to_copy(page.part(PARTS[2]));
    let mut calls = steps.into_iter().flat_map(calls);
    let call = calls.find(|words| words[1] == verb);
    call.unwrap_or_else(|| panic!("{}: no `counterd {verb}`", page.name))
}

#[test]
fn a_corrupt_counter_is_repaired_as_its_page_says() {
    let name = "corrupt-counter.md";
    let page = Page {
        name: name.to_owned(),
        text: read(&format!("runbook/{name}")),
    };
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path());
    let server = setup.start();
    server
        .admin()
        .define("a", &json!({"kind": "unique", "reset": "daily"}));
    for counter in ["a", "b"] {
        let path = format!("/api/v1/counter/{counter}/increment");
        server.client().post(&path, &json!({"user_id": "u1"})).ok();
    }
    server.stop();
    crate::operate::damage(&setup);
    let server = setup.start();
    let mut client = server.client();

    assert!(page.part(PARTS[0]).contains("500 `corrupt_record`"));
    client
        .get("/api/v1/counter/a")
        .refused(500, "corrupt_record");
    let metric = "counterd_quarantined_counters";
    assert!(page.part(PARTS[0]).contains(metric));
    assert!(
        client
            .get("/metrics")
            .text()
            .contains(&format!("{metric} 2"))
    );
    let (code, said) = play(&setup, &step(&page, "repair"), home.path());
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains('a') && said.contains("value "), "{said}");
    // The page's own words, with the names that are damaged here.
    let line = to_copy(page.part(PARTS[2]))
        .into_iter()
        .find(|line| line.contains("--reason"))
        .unwrap();
    for counter in ["a", "b"] {
        let line = line.replace("online_players", counter);
        let (code, said) = play(&setup, &calls(&line)[0], home.path());
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(client.value(counter), 1200);
    }
    assert!(
        client
            .get("/metrics")
            .text()
            .contains(&format!("{metric} 0"))
    );
    // Whoever was counted before counts again, as the page says.
    let again = client.post("/api/v1/counter/a/increment", &json!({"user_id": "u1"}));
    assert_eq!(again.ok()["current_value"], 1201);
    assert!(page.part(PARTS[2]).contains("everyone anew"));
    server.stop();
}

#[test]
fn a_store_that_does_not_open_is_put_right_as_its_page_says() {
    let name = "store-does-not-open.md";
    let text = read(&format!("runbook/{name}"));
    let page = Page {
        name: name.to_owned(),
        text,
    };
    // The last steps are two ways; both are played.
    for verb in ["recover", "restore"] {
        let test = "a_store_that_does_not_open_is_put_right_as_its_page_says";
        let Some(copies) = Copies::new(test) else {
            return;
        };
        let home = tempfile::tempdir().unwrap();
        let setup = setup(home.path(), &copies);
        let server = setup.start();
        count_a_little(&server, &copies);
        let (code, said) = play(&setup, &calls("counterd backup /backups")[0], home.path());
        assert_eq!(code, Some(0), "{said}");
        // What is in the log alone, and gone with it.
        let more = server
            .client()
            .post("/api/v1/counter/later/increment", &json!({}));
        more.ok();
        server.kill9();
        damage(&setup);
        let server = setup.start();
        let mut client = server.client();

        // What you see.
        let see = page.part(PARTS[0]);
        let begin = log_messages(see).next().unwrap();
        assert!(server.output().contains(begin), "{}", server.output());
        assert!(see.contains("503 `read_only`"));
        client
            .post("/api/v1/counter/gauge/increment", &json!({}))
            .refused(503, "read_only");
        let shown = client.get("/api/v1/counter/gauge").ok();
        assert!(
            see.contains("\"stale\":true") && shown["stale"] == true,
            "{shown}"
        );
        let alert = "counterd_read_only_cause{cause=\"no_store\"} ";
        assert!(see.contains(alert));
        assert!(client.get("/metrics").text().contains(&format!("{alert}1")));

        // What you do.
        let all = "/api/v1/counters/all?limit=1000";
        assert!(page.part(PARTS[2]).contains(all));
        let last_seen = client.get(all).ok();
        assert_eq!(last_seen["stale"], true, "{last_seen}");
        let (code, said) = play(&setup, &step(&page, "check"), home.path());
        assert!(
            said.contains("FAULT") && see.contains("ends with 3"),
            "{said}"
        );
        assert_eq!(code, Some(3), "{said}");
        let (code, said) = play(&setup, &step(&page, verb), home.path());
        assert_eq!(code, Some(0), "{said}");

        // How you know it is over.
        let over = page.part(PARTS[3]);
        let line = log_messages(over).next().unwrap();
        eventually("the page's last line is in the log", PATIENCE, || {
            server.output().contains(line).then_some(())
        });
        assert!(over.contains("\"stale\":false"));
        let all = client.get("/api/v1/counters/all").ok();
        assert_eq!(all["stale"], false, "{all}");
        let kept = fs::read_dir(setup.data()).unwrap().any(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.starts_with("store.before-")
        });
        assert!(kept && over.contains("store.before-"));
        server.stop();
    }
}
