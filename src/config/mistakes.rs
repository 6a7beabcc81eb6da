//! Where a value was written, and what is wrong with what was written.
//!
//! No text made here holds a value of a secret key.

use std::fmt;

/// Where an effective value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingSource {
    /// Nobody wrote it: the program's default.
    Default,
    /// Nobody wrote it: the machine decides; what was asked of it.
    Machine(String),
    /// The configuration file, as it was named, and the line, from 1; 0 is the file as a whole.
    File(String, usize),
    /// An environment variable.
    Variable(String),
    /// A flag of the command line.
    Flag(String),
}

impl SettingSource {
    /// Returns whether somebody wrote the value; else the program or the machine decided.
    pub fn is_written(&self) -> bool {
        self.rank() > 0
    }

    /// Returns which layer this is; a higher one overrides a lower one.
    pub(super) fn rank(&self) -> u8 {
        match self {
            SettingSource::Default | SettingSource::Machine(_) => 0,
            SettingSource::File(..) => 1,
            SettingSource::Variable(_) => 2,
            SettingSource::Flag(_) => 3,
        }
    }
}

impl fmt::Display for SettingSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SettingSource::Default => f.write_str("default"),
            SettingSource::Machine(asked) => write!(f, "default, from {asked}"),
            SettingSource::File(file, 0) => f.write_str(file),
            SettingSource::File(file, line) => write!(f, "{file}:{line}"),
            SettingSource::Variable(name) | SettingSource::Flag(name) => f.write_str(name),
        }
    }
}

/// One thing that is wrong: where, and what.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {text}")]
pub struct Mistake {
    /// Where it was written: `counterd.toml:12`, a variable, a flag.
    pub place: String,
    /// What is wrong and what to do about it.
    pub text: String,
}

/// What does not stop the program but should be known.
pub type Warning = Mistake;

/// All that is wrong with a configuration; at least one mistake. Printed one a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(.0))]
pub struct ConfigErrors(pub Vec<Mistake>);

fn lines(mistakes: &[Mistake]) -> String {
    let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// Collects what is wrong while everything is still being read.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) mistakes: Vec<(SettingSource, String)>,
    pub(super) warnings: Vec<Warning>,
}

impl Report {
    pub(super) fn mistake(&mut self, place: &SettingSource, text: impl Into<String>) {
        self.mistakes.push((place.clone(), text.into()));
    }

    pub(super) fn warn(&mut self, place: impl fmt::Display, text: impl Into<String>) {
        self.warnings.push(Warning {
            place: place.to_string(),
            text: text.into(),
        });
    }

    /// Returns all mistakes: those of the file by line, then those of the environment and the flags.
    pub(super) fn into_errors(mut self) -> ConfigErrors {
        self.mistakes.sort_by_key(|(source, _)| match source {
            SettingSource::File(_, line) => (source.rank(), *line),
            _ => (source.rank(), 0),
        });
        let mistake = |(source, text): (SettingSource, String)| Mistake {
            place: source.to_string(),
            text,
        };
        ConfigErrors(self.mistakes.into_iter().map(mistake).collect())
    }
}

/// Returns the words about a name that nobody knows.
pub(super) fn unknown(what: &str, name: &str, near: Option<&str>) -> String {
    match near {
        Some(near) => format!("unknown {what} {name}; did you mean {near}?"),
        None => format!("unknown {what} {name}"),
    }
}

/// Returns the one of `known` that `asked` was probably meant to be; `None` when none is like it.
pub(super) fn nearest<'k>(
    asked: &str,
    known: impl IntoIterator<Item = &'k str>,
) -> Option<&'k str> {
    let asked = asked.to_ascii_lowercase();
    known
        .into_iter()
        .map(|name| (likeness(&asked, name), name))
        .filter(|(score, _)| *score >= 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// Returns how alike two names are, from 0 to 1. The right name in the wrong section counts for less.
fn likeness(asked: &str, name: &str) -> f64 {
    let (asked_section, asked_last) = asked.rsplit_once('.').unwrap_or(("", asked));
    let (section, last) = name.rsplit_once('.').unwrap_or(("", name));
    if asked_section == section && (asked_last.contains(last) || last.contains(asked_last)) {
        return 0.95;
    }
    let whole = strsim::normalized_damerau_levenshtein(asked, name);
    let part = strsim::normalized_damerau_levenshtein(asked_last, last);
    whole.max(part * 0.9)
}
