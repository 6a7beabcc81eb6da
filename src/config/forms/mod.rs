//! The kinds of values: how each is written, checked and printed.
//!
//! An error says what is wanted and what was found; of a secret it never says what was found.

mod numbers;
mod rates;
mod texts;
mod words;

use std::fmt;

pub(super) use numbers::{Count, Size, SizeOrAuto, Span, WholeSeconds};
pub(super) use rates::{BurstOrAuto, CLIENT_HEADER, Networks, RATE_OR_OFF};
pub(super) use texts::{
    ADDRESS, ADDRESS_OF_PAGES, FILE_PATH, Instant, KEY_PREFIX, List, NAME, PATH_OR_NONE, PATTERNS,
    SECRET_TEXT, Switch, TIME_OF_DAY, Tokens, Url, VISIBLE, ZONE, is_host, is_origin,
};

pub(super) use words::{ALERT_RULE, SEVERITY};

use crate::counter::{Millis, Seconds};

/// What was written, before anything is known about the key. No `Debug`: it may be a secret.
pub(super) enum Raw {
    /// Out of the environment or a flag: text that stands for any type.
    Untyped(String),
    /// A string of the file.
    Text(String),
    /// An integer of the file; `None` beyond the range of an i64.
    Integer(Option<i64>),
    /// A boolean of the file.
    Bool(bool),
    /// An array of strings of the file.
    List(Vec<String>),
    /// A date, a time or both, without quotes.
    Moment(String),
    /// Anything else that TOML has, by the name of its type.
    Other(&'static str),
}

impl Raw {
    /// Returns what was found, for people.
    fn found(&self) -> String {
        match self {
            Raw::Untyped(text) => format!("{text:?}"),
            Raw::Text(text) => format!("the string {text:?}"),
            Raw::Integer(Some(number)) => number.to_string(),
            Raw::Integer(None) => "a number that is too large".to_owned(),
            Raw::Bool(on) => on.to_string(),
            Raw::List(_) => "a list".to_owned(),
            Raw::Moment(_) => "a date or time without quotes".to_owned(),
            Raw::Other(name) => format!("a {name}"),
        }
    }
}

/// What may be said of a kind of value without its type.
pub(super) trait Described {
    /// Returns what is wanted, for people: "a whole number from 1 to 256".
    fn wanted(&self) -> String;

    /// Returns whether nobody may see the values: they come from the file or the environment, never a
    /// flag.
    fn is_secret(&self) -> bool {
        false
    }
}

/// A kind of value that is kept as a `T`.
pub(super) trait Form<T>: Described {
    /// Checks what was written.
    fn read(&self, raw: Raw) -> Result<T, String>;

    /// Returns the value as it would be written in the file.
    fn show(&self, value: &T) -> String;
}

/// A value of that form, or none.
pub(super) struct MaybeOf<F>(pub(super) F);

impl<F: Described> Described for MaybeOf<F> {
    fn wanted(&self) -> String {
        self.0.wanted()
    }
}

impl<T, F: Form<T>> Form<Option<T>> for MaybeOf<F> {
    fn read(&self, raw: Raw) -> Result<Option<T>, String> {
        self.0.read(raw).map(Some)
    }

    fn show(&self, value: &Option<T>) -> String {
        value
            .as_ref()
            .map_or_else(String::new, |value| self.0.show(value))
    }
}

/// A type of which all values have one form.
pub(super) trait UsualForm: Sized {
    type Form: Form<Self>;
    const FORM: Self::Form;
}

impl UsualForm for i64 {
    type Form = Count;
    const FORM: Count = Count(i64::MIN, i64::MAX);
}

impl UsualForm for Option<Millis> {
    type Form = Instant;
    const FORM: Instant = Instant;
}

impl UsualForm for Option<Seconds> {
    type Form = WholeSeconds;
    const FORM: WholeSeconds = WholeSeconds;
}

impl UsualForm for Option<String> {
    type Form = texts::Text<Self>;
    const FORM: Self::Form = texts::ANY_TEXT;
}

/// Returns a string of the file, or what the environment or a flag says.
fn text<'r>(form: &impl Described, raw: &'r Raw) -> Result<&'r str, String> {
    match raw {
        Raw::Text(text) | Raw::Untyped(text) => Ok(text),
        other => refused(form, other.found()),
    }
}

/// Returns the items of a list; in a flag or a variable they have commas between them.
fn items(form: &impl Described, raw: Raw) -> Result<Vec<String>, String> {
    match raw {
        Raw::List(items) => Ok(items),
        Raw::Untyped(text) => Ok(text
            .split(',')
            .map(|item| item.trim().to_owned())
            .filter(|item| !item.is_empty())
            .collect()),
        other => refused(form, other.found()),
    }
}

fn refused<T>(form: &impl Described, found: impl fmt::Display) -> Result<T, String> {
    Err(format!("want {}, found {found}", form.wanted()))
}

/// Returns a TOML string.
pub(super) fn quoted(text: &(impl fmt::Display + ?Sized)) -> String {
    toml::Value::String(text.to_string()).to_string()
}
