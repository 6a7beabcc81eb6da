//! What clients send: bodies of increments, decrements and batches, and the small objects of
//! administrative calls. Parsing happens once, here; what comes out has types that hold.
//!
//! `null` is absent everywhere. A field twice, an unknown field or another type is an error with a
//! code of its own.

mod batch;
mod metadata;
mod names;
mod object;
mod operation;

use std::borrow::Cow;
use std::cell::Cell;

use serde::de::{self, DeserializeSeed};

use super::error::{Code, Extras, Problem};
use crate::counter::CounterName;

pub(super) use batch::batch;
pub(super) use metadata::canonical;
pub(super) use object::{object, word};
pub(super) use operation::change;

/// What a name may be.
const NAME_RULE: &str = "a counter name is 1 to 100 characters of a-z, 0-9, '_', '.', ':', '-', starting \
                         with a letter or digit, not ending in ':meta' and not containing ':users:'";

/// The counter that a path or query names.
pub(super) fn name(text: &str) -> Result<CounterName, Problem> {
    CounterName::parse(text).map_err(|_| refuse_name(text))
}

/// The refusal of a text that is no counter's name.
pub(super) fn refuse_name(text: &str) -> Problem {
    if text.contains(',') {
        let detail = "a counter name has no comma; several counters are read at `/api/v1/counters?names=a,b`";
        return Problem::new(Code::InvalidName, detail);
    }
    Problem::new(Code::InvalidName, NAME_RULE)
}

/// Runs a parser over the whole body.
fn parse<'de, S>(body: &'de [u8], trouble: &Trouble, seed: S) -> Result<S::Value, Problem>
where
    S: DeserializeSeed<'de>,
{
    let mut json = serde_json::Deserializer::from_slice(body);
    let parsed = seed
        .deserialize(&mut json)
        .and_then(|value| json.end().map(|()| value));
    parsed.map_err(|error| match (error.classify(), trouble.0.take()) {
        (serde_json::error::Category::Data, Some(problem)) => problem,
        // What is not JSON is that before it is anything else.
        (_, None | Some(_)) => not_json(&error),
    })
}

/// Says where the JSON ends to be JSON; never what is written there, which may be a secret.
fn not_json(error: &serde_json::Error) -> Problem {
    // The parser takes a number beyond every float for a mistake of syntax.
    if error.to_string().starts_with("number out of range") {
        return Problem::new(
            Code::InvalidValue,
            format!(
                "the number at line {}, column {} is out of range",
                error.line(),
                error.column()
            ),
        );
    }
    let detail = match error.classify() {
        serde_json::error::Category::Data => {
            return Problem::new(
                Code::InvalidJson,
                "the body must be one JSON object; `null` counts as absent",
            );
        }
        serde_json::error::Category::Eof => "the body ends in the middle of its JSON",
        serde_json::error::Category::Syntax | serde_json::error::Category::Io => {
            "the body is not JSON in UTF-8"
        }
    };
    Problem::new(
        Code::InvalidJson,
        format!("{detail}: line {}, column {}", error.line(), error.column()),
    )
}

/// The problem behind an error of the parser, which has no place for a code.
#[derive(Default)]
struct Trouble(Cell<Option<Problem>>);

impl Trouble {
    fn raise<E: de::Error>(&self, code: Code, detail: impl Into<Cow<'static, str>>) -> E {
        self.0.set(Some(Problem::new(code, detail)));
        E::custom("")
    }

    fn unknown<E: de::Error>(&self, field: &str, known: &[&'static str]) -> E {
        self.raise(Code::UnknownField, unknown_field(field, known))
    }

    fn twice<E: de::Error>(&self, field: &str) -> E {
        self.raise(
            Code::InvalidJson,
            format!("the field `{field}` is there twice"),
        )
    }

    /// Says what is wrong, unless that is known more precisely.
    fn otherwise(&self, code: Code, detail: &'static str) {
        let known = self.0.take();
        self.0
            .set(Some(known.unwrap_or_else(|| Problem::new(code, detail))));
    }

    /// Says in which operation of a batch it happened.
    fn locate(&self, index: usize) {
        if let Some(mut problem) = self.0.take() {
            problem.detail = format!("operation {index}: {}", problem.detail).into();
            self.0.set(Some(problem.with(Extras::Index { index })));
        }
    }
}

/// Names an unknown field and the known one that is most like it.
pub(super) fn unknown_field(field: &str, known: &[&'static str]) -> String {
    let shown = shown(field);
    match nearest(field, known) {
        Some(near) => format!("unknown field {shown:?}; did you mean `{near}`?"),
        None => format!("unknown field {shown:?}; known are {}", listed(known)),
    }
}

/// As much of a client's word as an answer repeats.
pub(super) fn shown(word: &str) -> String {
    word.chars().take(50).collect()
}

/// The known word that is most like `word`; `None` when no one is like it.
pub(super) fn nearest(word: &str, known: &[&'static str]) -> Option<&'static str> {
    let word = shown(word).to_ascii_lowercase();
    let alike = known
        .iter()
        .map(|known| (strsim::jaro_winkler(known, &word), *known));
    let near = alike.filter(|(likeness, _)| *likeness > 0.75);
    near.max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, near)| near)
}

/// The words, quoted, with commas between.
pub(super) fn listed(words: &[&'static str]) -> String {
    words
        .iter()
        .map(|word| format!("`{word}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests;
