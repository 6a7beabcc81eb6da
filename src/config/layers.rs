//! Reading the three layers: the file, the environment, the flags. What is written in a higher one
//! overrides the lower; what is wrong in any of them is reported.
//!
//! What the values mean together is not judged here.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::counters::{self, CounterEntry};
use super::keys::{self, KEYS, Key, Shape, find, is_not_yet};
use super::mistakes::{Report, Source, nearest};
use super::values::{self, Raw, Value};

/// Largest configuration file, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// One value given by a flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// The flag as it was typed, such as `--listen`.
    pub flag: String,
    /// The key it sets.
    pub key: String,
    /// The value as it was typed.
    pub value: String,
}

impl Override {
    /// The override of `--set section.name=value`; the error never shows what was typed.
    pub fn from_set(text: &str) -> Result<Override, &'static str> {
        let (key, value) = text
            .split_once('=')
            .ok_or("want --set section.name=value")?;
        Ok(Override {
            flag: format!("--set {key}"),
            key: key.to_owned(),
            value: value.to_owned(),
        })
    }
}

/// The effective value of each key that was written, and the counters of the file.
#[derive(Default)]
pub(super) struct Layers {
    values: BTreeMap<&'static str, (Value, Source)>,
    pub(super) counters: Vec<CounterEntry>,
}

impl Layers {
    /// Takes out what was written for a key.
    pub(super) fn take(&mut self, key: &str) -> Option<(Value, Source)> {
        self.values.remove(key)
    }

    fn put(&mut self, key: &'static Key, raw: Raw, source: Source, report: &mut Report) {
        match values::read(key.shape, raw) {
            Ok(value) => {
                self.values.insert(key.name, (value, source));
            }
            Err(error) => report.mistake(source, format!("{}: {error}", key.name)),
        }
    }

    /// Reads the file.
    pub(super) fn add_file(&mut self, path: &Path, report: &mut Report) {
        let name = path.display().to_string();
        let text = match read_file(path) {
            Ok(text) => text,
            Err(error) => return report.mistake(name, error),
        };
        let file = File { name, text: &text };
        match DeTable::parse(&text) {
            Ok(table) => self.add_table(&file, "", table.get_ref(), report),
            // The parser's own rendering shows the line, which may hold a secret.
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start);
                report.mistake(file.at(at), format!("not TOML: {}", error.message()));
            }
        }
    }

    fn add_table(&mut self, file: &File, prefix: &str, table: &DeTable, report: &mut Report) {
        for (written, value) in table {
            let name = if prefix.is_empty() {
                written.get_ref().to_string()
            } else {
                format!("{prefix}.{}", written.get_ref())
            };
            let at = file.at(written.span().start);
            if name == "counter" {
                self.counters = counters::read(file, value, report);
            } else if let Some(key) = find(&name) {
                self.put(key, raw(value.get_ref()), at, report);
            } else if KEYS.iter().any(|key| key.section() == name) {
                match value.get_ref() {
                    DeValue::Table(inner) => self.add_table(file, &name, inner, report),
                    _ => report.mistake(at, format!("{name} is a section: write [{name}]")),
                }
            } else if is_not_yet(&name) {
                report.mistake(at, not_yet(&name));
            } else {
                let near = match value.get_ref() {
                    DeValue::Table(_) => nearest(&name, KEYS.iter().map(Key::section)),
                    _ => nearest(&name, KEYS.iter().map(|key| key.name)),
                };
                report.mistake(at, unknown("key", &name, near));
            }
        }
    }

    /// Reads the environment: every `COUNTERD_*` variable with a `__` is meant for us.
    pub(super) fn add_environment(
        &mut self,
        environment: &[(OsString, OsString)],
        report: &mut Report,
    ) {
        for (variable, value) in environment {
            let variable = variable.to_string_lossy().into_owned();
            let Some(rest) = variable.strip_prefix("COUNTERD_") else {
                continue;
            };
            if !rest.contains("__") {
                report.warn(
                    &variable,
                    "ignored: variables of counterd are COUNTERD_SECTION__NAME",
                );
                continue;
            }
            let name = rest.replace("__", ".").to_ascii_lowercase();
            let key = find(&name).filter(|key| key.variable() == variable);
            let (Some(key), Some(value)) = (key, value.to_str()) else {
                let text = match key {
                    Some(_) => "the value is not UTF-8".to_owned(),
                    None if is_not_yet(&name) => not_yet(&variable),
                    None => {
                        let near = nearest(&name, KEYS.iter().map(|key| key.name));
                        let near = near.map(keys::variable);
                        unknown("variable", &variable, near.as_deref())
                    }
                };
                report.mistake(&variable, text);
                continue;
            };
            let raw = Raw::Untyped(value.to_owned());
            self.put(key, raw, Source::Variable(variable), report);
        }
    }

    /// Reads the flags.
    pub(super) fn add_flags(&mut self, overrides: &[Override], report: &mut Report) {
        for (index, given) in overrides.iter().enumerate() {
            let source = Source::Flag(given.flag.clone());
            let name = given.key.as_str();
            let Some(key) = find(name) else {
                let text = if is_not_yet(name) {
                    not_yet(name)
                } else {
                    unknown("key", name, nearest(name, KEYS.iter().map(|key| key.name)))
                };
                report.mistake(source, text);
                continue;
            };
            if key.shape == Shape::Secret {
                report.mistake(
                    source,
                    format!(
                        "{name} is a secret, and flags show in the process list: set {} or {name}_file",
                        key.variable()
                    ),
                );
            } else if overrides.iter().take(index).any(|other| other.key == name) {
                report.mistake(source, format!("{name} is given twice on the command line"));
            } else {
                let raw = Raw::Untyped(given.value.clone());
                self.put(key, raw, source, report);
            }
        }
    }
}

fn read_file(path: &Path) -> Result<String, String> {
    use std::io::Read;
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let mut text = String::new();
    let read = file.take(MAX_FILE + 1).read_to_string(&mut text);
    let length = read.map_err(|error| format!("cannot be read: {error}"))?;
    if length as u64 > MAX_FILE {
        return Err("is larger than 1 MiB".to_owned());
    }
    Ok(text)
}

fn not_yet(name: &str) -> String {
    format!("{name} is not in this version; remove it")
}

pub(super) fn unknown(what: &str, name: &str, near: Option<&str>) -> String {
    match near {
        Some(near) => format!("unknown {what} {name}; did you mean {near}?"),
        None => format!("unknown {what} {name}"),
    }
}

/// The file being read: its name, and its text to find lines in.
pub(super) struct File<'t> {
    pub(super) name: String,
    pub(super) text: &'t str,
}

impl File<'_> {
    /// The line that the byte at `offset` is on.
    pub(super) fn at(&self, offset: usize) -> Source {
        let before = self.text.as_bytes().iter().take(offset);
        let line = before.filter(|byte| **byte == b'\n').count() + 1;
        Source::File(self.name.clone(), line)
    }
}

/// What a value of the file is, without its place.
pub(super) fn raw(value: &DeValue) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(number) => {
            Raw::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok())
        }
        DeValue::Boolean(on) => Raw::Bool(*on),
        DeValue::Array(items) => {
            let text = |item: &Spanned<DeValue>| item.get_ref().as_str().map(str::to_owned);
            items
                .iter()
                .map(text)
                .collect::<Option<Vec<String>>>()
                .map_or(Raw::Other("list of other things than strings"), Raw::List)
        }
        DeValue::Float(_) => Raw::Other("fraction"),
        DeValue::Datetime(_) => Raw::Other("date or time without quotes"),
        DeValue::Table(_) => Raw::Other("table"),
    }
}
