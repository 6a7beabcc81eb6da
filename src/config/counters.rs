//! The counters that the configuration defines: `[[counter]]` of the file, and those built in.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::layers::{File, raw, unknown};
use super::mistakes::{Report, Source, nearest};
use super::values::Raw;
use crate::counter::{CounterName, Definition, Kind, OnBound, Reset};

/// Most counters that a file may define.
const MAX_ENTRIES: usize = 10_000;

pub(super) const FIELDS: &[&str] = &[
    "name",
    "kind",
    "reset",
    "min",
    "max",
    "on_bound",
    "expires_at",
    "description",
];

/// Fields that later versions will know.
const NOT_YET: &[&str] = &["window", "breakdown"];

const KINDS: [Kind; 3] = [Kind::Gauge, Kind::Sum, Kind::Unique];
const RESETS: [Reset; 2] = [Reset::Never, Reset::Daily];
const ON_BOUNDS: [OnBound; 2] = [OnBound::Refuse, OnBound::Clamp];

/// A counter that the configuration defines.
#[derive(Debug, Clone, PartialEq)]
pub struct CounterEntry {
    /// Its name.
    pub name: CounterName,
    /// The whole of its definition; what was not written has its default.
    pub definition: Definition,
    /// Where it was defined; [`Source::Default`] for one that is built in.
    pub source: Source,
}

/// The counters that exist without any configuration.
const BUILT_IN: [(&str, Kind, Reset, &str); 3] = [
    (
        "online_players",
        Kind::Gauge,
        Reset::Never,
        "players online now",
    ),
    (
        "daily_active_users",
        Kind::Unique,
        Reset::Daily,
        "different users seen today",
    ),
    (
        "total_games_played",
        Kind::Sum,
        Reset::Daily,
        "games played today",
    ),
];

/// The built-in counters that `defined` does not define anew, then `defined`.
pub(super) fn with_built_in(defined: Vec<CounterEntry>) -> Vec<CounterEntry> {
    let is_defined = |name: &str| defined.iter().any(|entry| entry.name.as_str() == name);
    let mut all: Vec<CounterEntry> = BUILT_IN
        .iter()
        .filter(|(name, ..)| !is_defined(name))
        .filter_map(|(name, kind, reset, description)| {
            Some(CounterEntry {
                name: CounterName::parse(name).ok()?,
                definition: Definition {
                    kind: *kind,
                    reset: *reset,
                    description: Some((*description).to_owned()),
                    ..Definition::default()
                },
                source: Source::Default,
            })
        })
        .collect();
    all.extend(defined);
    all
}

/// Reads `[[counter]]`; what is wrong in an entry drops that entry and is reported.
pub(super) fn read(
    file: &File,
    value: &Spanned<DeValue>,
    report: &mut Report,
) -> Vec<CounterEntry> {
    let mut entries: Vec<CounterEntry> = Vec::new();
    let here = file.at(value.span().start);
    let DeValue::Array(items) = value.get_ref() else {
        report.mistake(here, "counters are written as [[counter]]");
        return entries;
    };
    if items.len() > MAX_ENTRIES {
        report.mistake(here, format!("more than {MAX_ENTRIES} counters"));
        return entries;
    }
    for item in items {
        let source = file.at(item.span().start);
        let DeValue::Table(fields) = item.get_ref() else {
            report.mistake(source, "counters are written as [[counter]]");
            continue;
        };
        let Some((name, definition)) = read_entry(file, &source, fields, report) else {
            continue;
        };
        match entries.iter().find(|entry| entry.name == name) {
            Some(first) => report.mistake(
                source,
                format!("counter {name} is defined twice, first at {}", first.source),
            ),
            None => entries.push(CounterEntry {
                name,
                definition,
                source,
            }),
        }
    }
    entries
}

fn read_entry(
    file: &File,
    source: &Source,
    fields: &DeTable,
    report: &mut Report,
) -> Option<(CounterName, Definition)> {
    let mistakes_before = report.mistakes.len();
    let mut name = None;
    let mut definition = Definition::default();
    for (key, value) in fields {
        let at = file.at(key.span().start);
        let field = key.get_ref().as_ref();
        let raw = raw(value.get_ref());
        let outcome = match field {
            "name" => text(raw).and_then(|text| {
                name = Some(CounterName::parse(&text).map_err(|e| format!("{text:?}: {e}"))?);
                Ok(())
            }),
            "kind" => word(raw, &KINDS, Kind::as_str).map(|kind| definition.kind = kind),
            "reset" => word(raw, &RESETS, Reset::as_str).map(|reset| definition.reset = reset),
            "on_bound" => word(raw, &ON_BOUNDS, OnBound::as_str).map(|it| definition.on_bound = it),
            "min" => integer(raw).map(|min| definition.min = min),
            "max" => integer(raw).map(|max| definition.max = max),
            "expires_at" => instant(value.get_ref()).map(|at| definition.expires_at = Some(at)),
            "description" => text(raw).map(|text| definition.description = Some(text)),
            later if NOT_YET.contains(&later) => {
                Err("is not in this version; remove it".to_owned())
            }
            other => {
                report.mistake(
                    at,
                    unknown("field", other, nearest(other, FIELDS.iter().copied())),
                );
                continue;
            }
        };
        if let Err(error) = outcome {
            report.mistake(at, format!("{field}: {error}"));
        }
    }
    if !fields.iter().any(|(key, _)| key.get_ref() == "name") {
        report.mistake(source, "a counter needs a name");
    }
    if let Err(fault) = definition.check() {
        report.mistake(source, fault.to_string());
    }
    if report.mistakes.len() > mistakes_before {
        return None;
    }
    Some((name?, definition))
}

fn text(raw: Raw) -> Result<String, String> {
    match raw {
        Raw::Text(text) => Ok(text),
        Raw::Untyped(_) | Raw::Integer(_) | Raw::Bool(_) | Raw::List(_) | Raw::Other(_) => {
            Err("want a string".to_owned())
        }
    }
}

fn integer(raw: Raw) -> Result<i64, String> {
    match raw {
        Raw::Integer(Some(number)) => Ok(number),
        Raw::Integer(None)
        | Raw::Untyped(_)
        | Raw::Text(_)
        | Raw::Bool(_)
        | Raw::List(_)
        | Raw::Other(_) => Err(format!(
            "want a whole number from {} to {}",
            i64::MIN,
            i64::MAX
        )),
    }
}

fn word<T: Copy>(raw: Raw, words: &[T], name: fn(T) -> &'static str) -> Result<T, String> {
    let text = text(raw)?;
    words
        .iter()
        .copied()
        .find(|word| name(*word) == text)
        .ok_or_else(|| {
            let words: Vec<String> = words.iter().map(|w| format!("{:?}", name(*w))).collect();
            format!("want one of {}, found {text:?}", words.join(", "))
        })
}

/// An instant with its offset from UTC, with or without quotes; milliseconds since 1970.
fn instant(value: &DeValue) -> Result<i64, String> {
    let text = match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Datetime(written) => written.to_string(),
        DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => String::new(),
    };
    text.parse::<jiff::Timestamp>()
        .map(jiff::Timestamp::as_millisecond)
        .map_err(|_| "want an instant such as \"2026-12-24T18:00:00Z\"".to_owned())
}
