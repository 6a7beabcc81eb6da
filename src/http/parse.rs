//! What clients send: bodies of increments, decrements and batches, and the small objects of
//! administrative calls. Parsing happens once, here; what comes out has types that hold.
//!
//! `null` is absent everywhere. A field twice, an unknown field or another type is an error with a
//! code of its own.

mod batch;
mod change;
mod metadata;
mod object;

use super::error::{Code, Problem};
use crate::counter::{CounterName, NameFault};

pub(super) use batch::batch;
pub(super) use change::{change, heartbeat, leave};
pub(super) use metadata::canonical;
pub(super) use object::{in_operation, object};

/// Reads the counter that a path or query names.
pub(super) fn name(text: &str) -> Result<CounterName, Problem> {
    CounterName::parse(text).map_err(|_| refuse_name(text))
}

/// Returns the refusal of a text that is no counter's name.
pub(super) fn refuse_name(text: &str) -> Problem {
    if text.contains(',') {
        let detail = "a counter name has no comma; several counters are read at `/api/v1/counters?names=a,b`";
        return Problem::new(Code::InvalidName, detail);
    }
    NameFault.into()
}

/// Returns the refusal of an operation on a counter that this server does not count.
pub(super) fn not_counted(counter: &CounterName) -> Problem {
    let detail = format!(
        "this server does not count `{counter}`: `counters.names` there lacks it; send it to the server that has it"
    );
    Problem::new(Code::NotCountedHere, detail)
}

impl From<NameFault> for Problem {
    fn from(fault: NameFault) -> Self {
        Self::new(Code::InvalidName, fault.to_string())
    }
}

/// Names an unknown field and the known one that is most like it.
fn unknown_field(field: &str, known: &[&str]) -> Problem {
    let shown = shown(field);
    let detail = match nearest(&shown, known, LIKE) {
        Some(near) => format!("unknown field {shown:?}; did you mean `{near}`?"),
        None => format!("unknown field {shown:?}; known are {}", listed(known)),
    };
    Problem::new(Code::UnknownField, detail)
}

/// Returns as much of a client's word as an answer repeats.
pub(super) fn shown(word: &str) -> String {
    word.chars().take(50).collect()
}

/// How alike two words are when one may have been meant for the other; 1 is the same.
pub(super) const LIKE: f64 = 0.75;

/// Returns the known word that is most like `word`; `None` when none is more like it than `likeness`.
pub(super) fn nearest<'k>(word: &str, known: &[&'k str], likeness: f64) -> Option<&'k str> {
    let word = word.to_ascii_lowercase();
    let alike = known
        .iter()
        .map(|known| (strsim::jaro_winkler(known, &word), *known));
    let near = alike.filter(|(like, _)| *like > likeness);
    near.max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, near)| near)
}

/// Returns the words, quoted, with commas between.
pub(super) fn listed(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}

#[cfg(test)]
mod tests;
