//! Types whose values are words.

use super::{Described, Form, Raw, UsualForm, quoted, refused, text};
use crate::access_log::{Access, LogFormat};
use crate::alerts::{AlertRule, Severity};
use crate::config::{LogLevel, StorageEngine};
use crate::counter::{Kind, OnBound, Reset};
use crate::storage::{Ack, OnLoss};

/// One of the words of `T`.
pub(in crate::config) struct Word<T> {
    words: &'static [&'static str],
    /// Words that later versions will know.
    not_yet: &'static [&'static str],
    of_word: fn(&str) -> Option<T>,
    as_str: fn(T) -> &'static str,
}

/// Takes over the words of types, and says those that later versions will know.
macro_rules! known_words {
    ($($type:ty $(; later $($later:literal),+)?,)+) => {$(
        impl UsualForm for $type {
            type Form = Word<Self>;
            const FORM: Word<Self> = Word {
                words: Self::WORDS,
                not_yet: &[$($($later),+)?],
                of_word: Self::of_word,
                as_str: Self::as_str,
            };
        }
    )+};
}

known_words! {
    Kind, Reset, OnBound, LogFormat, LogLevel, Access, AlertRule, Severity,
    StorageEngine, Ack, OnLoss,
}

/// A rule of alerts.
pub(in crate::config) const ALERT_RULE: Word<AlertRule> = AlertRule::FORM;

/// How grave an alert is.
pub(in crate::config) const SEVERITY: Word<Severity> = Severity::FORM;

impl<T> Word<T> {
    fn all(&self, between: &str) -> String {
        let words = self.words.iter().map(|word| quoted(*word));
        words.collect::<Vec<String>>().join(between)
    }
}

impl<T> Described for Word<T> {
    fn wanted(&self) -> String {
        format!("one of {}", self.all(", "))
    }
}

impl<T: Copy> Form<T> for Word<T> {
    fn read(&self, raw: Raw) -> Result<T, String> {
        let text = text(self, &raw)?;
        if self.not_yet.contains(&text) {
            let words = self.all(" or ");
            return Err(format!("{text:?} is not in this version; use {words}"));
        }
        (self.of_word)(text).map_or_else(|| refused(self, format!("{text:?}")), Ok)
    }

    fn show(&self, value: &T) -> String {
        quoted((self.as_str)(*value))
    }
}
