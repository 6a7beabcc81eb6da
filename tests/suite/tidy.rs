//! The house rules that a program can check. Each failure says what to write instead.
//!
//! Kept out: what rustfmt, clippy and cargo-deny check already. A new rule comes with a sample that
//! breaks it (`every_rule_catches_its_sample`), since a rule that finds nothing looks like a clean tree.

mod shape;

use std::path::{Path, PathBuf};

const LONGEST_FILE: usize = 600;

/// One file of the repository.
struct File {
    /// From the repository's root, with `/`.
    path: String,
    text: String,
}

impl File {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    fn is_script(&self) -> bool {
        ["script/", ".ci/", "deploy/"]
            .iter()
            .any(|dir| self.path.starts_with(dir))
    }

    /// The module of `src/` that it belongs to: `storage` for `src/storage/keys.rs`.
    fn module(&self) -> Option<&str> {
        let rest = self.path.strip_prefix("src/")?;
        let first = rest.split('/').next()?;
        Some(first.strip_suffix(".rs").unwrap_or(first))
    }

    /// Whether line `at` (from 0) is a test's: by file, or behind the `cfg(test)` that our files end with.
    fn is_test_at(&self, at: usize) -> bool {
        let by_file = self.path.starts_with("tests/")
            || self.path.ends_with("/tests.rs")
            || self.path.contains("/tests/");
        by_file
            || self
                .text
                .match_indices("#[cfg(test)]\nmod ")
                .find(|(begin, _)| {
                    let module = self.text[*begin..].lines().nth(1);
                    module.is_some_and(|line| line.ends_with('{'))
                })
                .is_some_and(|(begin, _)| at >= line_of(self, begin))
    }
}

/// What a rule found: the line (from 1) and what stands there.
type Found = (usize, String);

struct Rule {
    name: &'static str,
    /// What to write instead.
    instead: &'static str,
    find: fn(&File) -> Vec<Found>,
    /// A file that breaks it: path and text.
    sample: (&'static str, &'static str),
}

/// The lines of `file` that `breaks` says yes to.
fn lines(file: &File, breaks: impl Fn(usize, &str) -> bool) -> Vec<Found> {
    file.text
        .lines()
        .enumerate()
        .filter(|(at, line)| breaks(*at, line))
        .map(|(at, line)| (at + 1, line.trim().to_owned()))
        .collect()
}

fn is_comment(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("//")
        || line.starts_with('#') && !line.starts_with("#[") && !line.starts_with("#!")
}

const RULES: &[Rule] = &[
    Rule {
        name: "file length",
        instead: "split it by concern: a folder whose file names tell its story (600 lines at most)",
        find: |file| {
            let length = file.text.lines().count();
            let counts = file.is_rust() || file.is_script();
            if counts && length > LONGEST_FILE {
                vec![(length, format!("{length} lines"))]
            } else {
                Vec::new()
            }
        },
        sample: ("src/long.rs", LONG_SAMPLE),
    },
    Rule {
        name: "module name",
        instead: "name the concern: what the code in it is about, not that it is shared",
        find: |file| {
            const BANNED: [&str; 9] = [
                "common", "helper", "helpers", "manager", "misc", "shared", "util", "utils",
                "types",
            ];
            let stem = file.path.strip_suffix(".rs").unwrap_or_default();
            stem.split('/')
                .filter(|part| BANNED.contains(part))
                .map(|part| (1, part.to_owned()))
                .collect()
        },
        sample: ("src/http/utils.rs", ""),
    },
    Rule {
        name: "sleep in a test",
        instead: "a manual clock, or wait for a condition with a deadline; the one loop that polls for \
                  a condition says so with a comment `// polls: …` above its sleep",
        find: |file| {
            let all: Vec<&str> = file.text.lines().collect();
            lines(file, |at, line| {
                let above = at
                    .checked_sub(1)
                    .and_then(|at| all.get(at))
                    .copied()
                    .unwrap_or_default();
                file.is_rust()
                    && file.is_test_at(at)
                    && !is_comment(line)
                    && ["thread::sleep(", "time::sleep(", " sleep(Duration"]
                        .iter()
                        .any(|s| line.contains(s))
                    && !above.contains("// polls:")
            })
        },
        sample: (
            "tests/suite/slow.rs",
            "fn test() {\n    std::thread::sleep(SECOND);\n}\n",
        ),
    },
    Rule {
        name: "allow without a reason",
        instead: "fix what the lint says, or add reason = \"…\"; unwrap, expect, panic and indexing need \
                  no allow in tests (clippy.toml)",
        find: allows_without_reason,
        sample: ("src/a.rs", "#[allow(\n    dead_code,\n)]\nfn unused() {}\n"),
    },
    Rule {
        name: "ignored test without a reason",
        instead: "#[ignore = \"what runs it: script/soak …\"]",
        find: |file| lines(file, |_, line| file.is_rust() && line.trim() == "#[ignore]"),
        sample: ("tests/suite/a.rs", "#[test]\n#[ignore]\nfn test() {}\n"),
    },
    Rule {
        name: "unfinished code",
        instead: "finish it, or take it out and say in docs what is not there; tracing::debug! for dbg!",
        find: |file| {
            lines(file, |_, line| {
                (file.is_rust() || file.is_script())
                    && [
                        "todo!(",
                        "unimplemented!(",
                        "dbg!(",
                        "TODO",
                        "FIXME",
                        "XXX:",
                    ]
                    .iter()
                    .any(|mark| line.contains(mark))
            })
        },
        sample: ("src/a.rs", "fn later() { todo!() }\n"),
    },
    Rule {
        name: "a path or host of one machine",
        instead: "a path relative to the repository, $HOME, a temporary directory, or the client's own \
                  configuration of its registry",
        find: |file| {
            const PLACES: [&str; 9] = [
                "/root/",
                "/work/",
                "/home/",
                "/Users/",
                "index.crates.io",
                "static.crates.io",
                "deb.debian.org",
                "registry.npmjs.org",
                "pypi.org",
            ];
            lines(file, |_, line| {
                PLACES
                    .iter()
                    .any(|place| line.split(place).count() > 1 && !within_a_url_path(line, place))
            })
        },
        sample: ("docs/a.md", "Look into /root/.cache for it.\n"),
    },
    Rule {
        name: "clock read outside clock.rs",
        instead: "take the time from the `Clock` that was passed in; a log or metric takes its instant there too",
        find: |file| {
            lines(file, |at, line| {
                let reads = [
                    "SystemTime::now(",
                    "Utc::now(",
                    "Local::now(",
                    "Zoned::now(",
                    "Timestamp::now(",
                ];
                file.path.starts_with("src/")
                    && file.module() != Some("clock")
                    && !file.is_test_at(at)
                    && !is_comment(line)
                    && reads.iter().any(|read| line.contains(read))
            })
        },
        sample: ("src/storage/a.rs", "let now = SystemTime::now();\n"),
    },
    Rule {
        name: "dependency against the grain",
        instead: "clock, calendar, counter → storage → writer → lifecycle → http → serve → main: pass \
                  the value or a trait down; each component takes its own options, not the config",
        find: |file| {
            let Some(from) = file.module() else {
                return Vec::new();
            };
            let mut found = Vec::new();
            for (at, uses) in file.text.match_indices("crate::") {
                let line = line_of(file, at);
                let shown = file.text.lines().nth(line - 1).unwrap_or_default().trim();
                let upward = named(&file.text[at + uses.len()..])
                    .into_iter()
                    .any(|to| shape::is_upward(from, to));
                if upward && !file.is_test_at(line - 1) && !is_comment(shown) {
                    found.push((line, shown.to_owned()));
                }
            }
            found
        },
        sample: (
            "src/storage/a.rs",
            "use crate::{\n    counter::{Name, Value},\n    http::page,\n};\n",
        ),
    },
    Rule {
        name: "a raw key outside storage",
        instead: "a typed read of `Tables` or a typed write into `Batch`, in src/storage/records/",
        find: |file| {
            const LAYOUT: [&str; 3] = ["keys", "value", "merge"];
            let mut found = lines(file, |_, line| {
                file.path == "src/storage/mod.rs"
                    && line.starts_with("pub")
                    && LAYOUT.iter().any(|m| line.ends_with(&format!("mod {m};")))
            });
            if !file.is_rust() || file.path.starts_with("src/storage/") {
                return found;
            }
            for (at, uses) in file.text.match_indices("storage::") {
                let names = named(&file.text[at + uses.len()..]);
                if names.iter().any(|name| LAYOUT.contains(name)) {
                    found.push((line_of(file, at), names.join(", ")));
                }
            }
            found
        },
        sample: (
            "src/writer/a.rs",
            "use crate::storage::{\n    Batch, keys,\n};\nlet key = keys::counter(&name);\n",
        ),
    },
    Rule {
        name: "a build that would compile RocksDB twice",
        instead: "cargo … --release everywhere, and no compiler flags from the environment",
        find: |file| {
            const BUILDS: [&str; 7] = [
                "build",
                "test",
                "run",
                "clippy",
                "doc",
                "bench",
                "nextest run",
            ];
            lines(file, |_, line| {
                let flags = line.replace("RUSTDOCFLAGS", "").contains("RUSTFLAGS=");
                let builds = BUILDS
                    .iter()
                    .any(|verb| line.contains(&format!("cargo {verb} ")));
                file.is_script()
                    && !is_comment(line)
                    && (flags || builds && !line.contains("--release"))
            })
        },
        sample: ("script/a", "cargo clippy --all-targets\n"),
    },
];

/// 601 lines.
const LONG_SAMPLE: &str = {
    const BYTES: [u8; LONGEST_FILE + 1] = [b'\n'; LONGEST_FILE + 1];
    match std::str::from_utf8(&BYTES) {
        Ok(text) => text,
        Err(_) => "",
    }
};

/// `https://example.org/home/x` is no path of a machine.
fn within_a_url_path(line: &str, place: &str) -> bool {
    place.starts_with('/')
        && line.match_indices(place).all(|(at, _)| {
            let before = line.get(..at).unwrap_or_default();
            let word = before
                .rsplit([' ', '"', '\'', '(', '`', '=', ':'])
                .next()
                .unwrap_or_default();
            !word.is_empty()
        })
}

/// The `allow` and `expect` attributes that give no reason; each may span lines.
fn allows_without_reason(file: &File) -> Vec<Found> {
    let mut found = Vec::new();
    if !file.is_rust() {
        return found;
    }
    for begin in ["#[allow(", "#![allow(", "#[expect(", "#![expect("] {
        for (at, _) in file.text.match_indices(begin) {
            let rest = file.text.get(at..).unwrap_or_default();
            let attribute = rest.split(")]").next().unwrap_or_default();
            let line = line_of(file, at);
            let shown = file.text.lines().nth(line - 1).unwrap_or_default();
            if !attribute.contains("reason") && !is_comment(shown) {
                found.push((line, shown.trim().to_owned()));
            }
        }
    }
    found
}

/// The line (from 1) that holds byte `at`.
fn line_of(file: &File, at: usize) -> usize {
    file.text[..at].matches('\n').count() + 1
}

/// The modules of the crate that are named after `crate::`, which `rest` follows: one, or several in
/// braces that may span lines.
fn named(rest: &str) -> Vec<&str> {
    let Some(group) = rest.strip_prefix('{') else {
        return rest
            .split(|c: char| !(c.is_ascii_lowercase() || c == '_'))
            .take(1)
            .collect();
    };
    let mut depth = 0;
    let group = group.split_once("};").map_or(group, |(inside, _)| inside);
    group
        .split(|c| {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            c == ',' && depth == 0
        })
        .map(|part| part.trim().split("::").next().unwrap_or_default())
        .collect()
}

#[test]
fn the_tree_follows_the_house_rules() {
    let files = repository();
    assert!(
        files.iter().any(|file| file.path == "src/lib.rs"),
        "the walk misses the sources"
    );
    let mut broken = Vec::new();
    for rule in RULES {
        for file in &files {
            // This file quotes what it bans.
            if file.path == "tests/suite/tidy.rs" {
                continue;
            }
            for (line, what) in (rule.find)(file) {
                broken.push(format!(
                    "{}:{line}: {}: {what}\n    instead: {}",
                    file.path, rule.name, rule.instead
                ));
            }
        }
    }
    assert!(
        broken.is_empty(),
        "{} of the house rules broken:\n{}",
        broken.len(),
        broken.join("\n")
    );
}

#[test]
fn every_rule_catches_its_sample() {
    for rule in RULES {
        let (path, text) = rule.sample;
        let sample = File {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        assert!(
            !(rule.find)(&sample).is_empty(),
            "`{}` does not see what it bans",
            rule.name
        );
    }
}

#[test]
fn a_clean_file_breaks_no_rule() {
    let clean = [
        (
            "src/storage/keys.rs",
            "use crate::counter::Name;\n#[allow(dead_code, reason = \"read by tests\")]\n",
        ),
        (
            "src/serve.rs",
            "use crate::config::Config;\nuse crate::http;\n",
        ),
        (
            "tests/suite/a.rs",
            "// polls: the process is another's\nstd::thread::sleep(SHORT);\n",
        ),
        (
            "script/a",
            "cargo build --release --locked\nRUSTDOCFLAGS='-D warnings' cargo doc --release --no-deps\n",
        ),
        (
            "docs/a.md",
            "See https://example.org/home/x and $HOME/.cache.\n",
        ),
    ];
    for (path, text) in clean {
        let file = File {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        for rule in RULES {
            assert_eq!(
                (rule.find)(&file),
                Vec::<Found>::new(),
                "`{}` in {path}",
                rule.name
            );
        }
    }
}

#[test]
fn the_lints_that_keep_panics_out_are_on() {
    let manifest = read("Cargo.toml");
    let lints: Vec<&str> = manifest
        .lines()
        .skip_while(|line| *line != "[lints.rust]")
        .take_while(|line| !line.starts_with("[["))
        .collect();
    for lint in [
        "missing_docs",
        "unwrap_used",
        "expect_used",
        "indexing_slicing",
        "panic",
    ] {
        let line = format!("{lint} = \"warn\"");
        assert!(
            lints.contains(&line.as_str()),
            "Cargo.toml, [lints]: write `{line}` (.ci/run makes warnings errors)"
        );
    }
    let ci = read(".ci/run");
    assert!(
        ci.contains("-- -D warnings"),
        ".ci/run: clippy without `-- -D warnings` lets warnings pass"
    );
}

#[test]
fn scripts_can_be_executed() {
    use std::os::unix::fs::PermissionsExt as _;
    for file in repository()
        .iter()
        .filter(|file| file.is_script() && file.text.starts_with("#!"))
    {
        let mode = std::fs::metadata(root().join(&file.path))
            .unwrap()
            .permissions()
            .mode();
        assert!(mode & 0o111 != 0, "{}: chmod +x", file.path);
    }
}

/// The repository's root.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Every text file of ours, without what is built or measured.
fn repository() -> Vec<File> {
    let mut files = Vec::new();
    collect(&root(), &mut files);
    files
}

fn collect(dir: &Path, files: &mut Vec<File>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let relative = path
            .strip_prefix(root())
            .unwrap()
            .to_string_lossy()
            .replace('\\', "/");
        let skipped = [
            ".git",
            "target",
            "data",
            "bench-results",
            "soak-results",
            "Cargo.lock",
            "LICENSE",
        ];
        if skipped.contains(&relative.as_str()) || relative.ends_with(".swp") {
            continue;
        }
        if path.is_dir() {
            collect(&path, files);
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            files.push(File {
                path: relative,
                text,
            });
        }
    }
}
