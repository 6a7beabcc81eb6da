//! Reading the three layers: the file, the environment, the flags. What nobody knows is reported.
//!
//! What is written for the keys that are known, and what it means together, is not judged here.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::forms::Raw;
use super::mistakes::{Report, SettingSource, nearest, unknown};
use super::reader::Written;
use super::rows::{Key, variable as variable_of};
use super::table::{ARRAYS, Array, all_keys, find, is_not_yet};

/// Variables of the commands that ask a server over HTTP, without `COUNTERD_`.
const COMMANDS_OWN: [&str; 2] = ["URL", "TOKEN_FILE"];

/// Largest configuration file, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Most tables of one array, such as `[[counter]]`.
const MAX_TABLES: usize = 10_000;

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
    /// Makes the override of a flag that sets that key.
    pub fn new(flag: &str, key: &str, value: &str) -> Override {
        Override {
            flag: flag.to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
        }
    }

    /// Returns the override of `--set section.name=value`; the error never shows what was typed.
    pub fn from_set(text: &str) -> Result<Override, &'static str> {
        let (key, value) = text
            .split_once('=')
            .ok_or("want --set section.name=value")?;
        Ok(Override::new(&format!("--set {key}"), key, value))
    }
}

/// What is written in the layers read so far, and what is wrong with it.
#[derive(Default)]
pub(super) struct Layers {
    pub(super) written: Written,
    pub(super) report: Report,
}

impl Layers {
    /// Reads the file.
    pub(super) fn add_file(&mut self, path: &Path) {
        let name = path.display().to_string();
        let text = match read_file(path) {
            Ok(text) => text,
            Err(error) => return self.report.mistake(&SettingSource::File(name, 0), error),
        };
        let file = File { name, text: &text };
        match DeTable::parse(&text) {
            Ok(table) => self.add_table(&file, "", table.get_ref()),
            // The parser's own rendering shows the line, which may hold a secret.
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start);
                self.report
                    .mistake(&file.at(at), format!("not TOML: {}", error.message()));
            }
        }
    }

    fn add_table(&mut self, file: &File, prefix: &str, table: &DeTable) {
        for (word, value) in table {
            let name = if prefix.is_empty() {
                word.get_ref().to_string()
            } else {
                format!("{prefix}.{}", word.get_ref())
            };
            let at = file.at(word.span().start);
            if let Some(array) = ARRAYS.iter().find(|array| array.name == name) {
                self.add_array(file, array, value);
            } else if let Some(key) = find(&name) {
                self.written.put(key, raw(value.get_ref()), at);
            } else if all_keys().any(|key| key.section() == name) {
                match value.get_ref() {
                    DeValue::Table(inner) => self.add_table(file, &name, inner),
                    _ => self
                        .report
                        .mistake(&at, format!("{name} is a section: write [{name}]")),
                }
            } else if matches!(value.get_ref(), DeValue::Table(_)) && !is_not_yet(&name) {
                let near = nearest(&name, all_keys().map(Key::section));
                self.report.mistake(&at, unknown("key", &name, near));
            } else {
                self.report.mistake(&at, no_key(&name));
            }
        }
    }

    /// Reads the tables of one array.
    fn add_array(&mut self, file: &File, array: &Array, value: &Spanned<DeValue>) {
        let name = array.name;
        let here = file.at(value.span().start);
        let form = format!("{name}s are written as [[{name}]]");
        let DeValue::Array(items) = value.get_ref() else {
            return self.report.mistake(&here, form);
        };
        if items.len() > MAX_TABLES {
            return self
                .report
                .mistake(&here, format!("more than {MAX_TABLES} {name}s"));
        }
        for item in items {
            let source = file.at(item.span().start);
            let DeValue::Table(fields) = item.get_ref() else {
                self.report.mistake(&source, form.as_str());
                continue;
            };
            let mut table = Written::default();
            for (word, value) in fields {
                let at = file.at(word.span().start);
                let field = word.get_ref().as_ref();
                if let Some(key) = array.keys.iter().find(|key| key.name == field) {
                    table.put(key, raw(value.get_ref()), at);
                } else if array.not_yet.contains(&field) {
                    self.report.mistake(&at, not_yet(field));
                } else {
                    let near = nearest(field, array.keys.iter().map(|key| key.name));
                    self.report.mistake(&at, unknown("field", field, near));
                }
            }
            let tables = self.written.arrays.entry(name).or_default();
            tables.push((source, table));
        }
    }

    /// Reads the environment: every `COUNTERD_*` variable with a `__` is meant for us.
    pub(super) fn add_environment(&mut self, environment: &[(OsString, OsString)]) {
        for (variable, value) in environment {
            let variable = variable.to_string_lossy().into_owned();
            let Some(rest) = variable.strip_prefix("COUNTERD_") else {
                continue;
            };
            if COMMANDS_OWN.contains(&rest) {
                continue;
            }
            if !rest.contains("__") {
                let text = "ignored: variables of counterd are COUNTERD_SECTION__NAME";
                self.report.warn(&variable, text);
                continue;
            }
            let name = rest.replace("__", ".").to_ascii_lowercase();
            let source = SettingSource::Variable(variable.clone());
            let key = find(&name).filter(|key| key.variable() == variable);
            let text = match (key, value.to_str()) {
                (Some(key), Some(value)) => {
                    let raw = Raw::Untyped(value.to_owned());
                    self.written.put(key, raw, source);
                    continue;
                }
                (Some(_), None) => "the value is not UTF-8".to_owned(),
                (None, _) if is_not_yet(&name) => not_yet(&variable),
                (None, _) => {
                    let near = nearest(&name, all_keys().map(|key| key.name));
                    unknown("variable", &variable, near.map(variable_of).as_deref())
                }
            };
            self.report.mistake(&source, text);
        }
    }

    /// Reads the flags.
    pub(super) fn add_flags(&mut self, overrides: &[Override]) {
        for (index, given) in overrides.iter().enumerate() {
            let source = SettingSource::Flag(given.flag.clone());
            let name = given.key.as_str();
            let mut before = overrides.iter().take(index);
            let text = match find(name) {
                None => no_key(name),
                Some(key) if key.form.is_secret() => format!(
                    "{name} is a secret, and flags show in the process list: set {} or {name}_file",
                    key.variable()
                ),
                Some(_) if before.any(|other| other.key == name) => {
                    format!("{name} is given twice on the command line")
                }
                Some(key) => {
                    let raw = Raw::Untyped(given.value.clone());
                    self.written.put(key, raw, source);
                    continue;
                }
            };
            self.report.mistake(&source, text);
        }
    }
}

/// Returns the words about a name that is no key.
fn no_key(name: &str) -> String {
    if is_not_yet(name) {
        return not_yet(name);
    }
    unknown("key", name, nearest(name, all_keys().map(|key| key.name)))
}

fn not_yet(name: &str) -> String {
    format!("{name} is not in this version; remove it")
}

/// The file being read: its name, and its text to find lines in.
struct File<'t> {
    name: String,
    text: &'t str,
}

impl File<'_> {
    /// Returns the line that the byte at `offset` is on.
    fn at(&self, offset: usize) -> SettingSource {
        let before = self.text.as_bytes().iter().take(offset);
        let line = before.filter(|byte| **byte == b'\n').count() + 1;
        SettingSource::File(self.name.clone(), line)
    }
}

/// Reads the file's text, up to a limit.
fn read_file(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let mut text = String::new();
    let read = file.take(MAX_FILE + 1).read_to_string(&mut text);
    let length = read.map_err(|error| format!("cannot be read: {error}"))?;
    if length as u64 > MAX_FILE {
        return Err("is larger than 1 MiB".to_owned());
    }
    Ok(text)
}

/// Returns what a value of the file is, without its place.
fn raw(value: &DeValue) -> Raw {
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
        DeValue::Datetime(written) => Raw::Moment(written.to_string()),
        DeValue::Table(_) => Raw::Other("table"),
    }
}
