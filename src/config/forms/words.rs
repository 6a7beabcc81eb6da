//! Types whose values are words.

use std::marker::PhantomData;

use super::{Described, Form, Raw, UsualForm, parsed, quoted, text};
use crate::access_log::{Access, LogFormat};
use crate::config::{LogLevel, StorageEngine};
use crate::counter::{Kind, OnBound, Reset};

/// A type whose values have a word each.
pub(in crate::config) trait Words: Copy + 'static {
    /// All words.
    const WORDS: &'static [&'static str];
    /// Words that later versions will know.
    const NOT_YET: &'static [&'static str];
    /// Returns the value of a word; `None` for another word.
    fn of_word(word: &str) -> Option<Self>;
    /// Returns the word that stands for it.
    fn word(self) -> &'static str;
}

/// Takes over the words of types, and says those that later versions will know.
macro_rules! known_words {
    ($($type:ty $(; later $($later:literal),+)?,)+) => {$(
        impl Words for $type {
            const WORDS: &'static [&'static str] = Self::WORDS;
            const NOT_YET: &'static [&'static str] = &[$($($later),+)?];
            fn of_word(word: &str) -> Option<Self> {
                Self::of_word(word)
            }
            fn word(self) -> &'static str {
                self.as_str()
            }
        }

        impl UsualForm for $type {
            type Form = Word<Self>;
            const FORM: Word<Self> = Word::OF;
        }
    )+};
}

known_words! {
    Kind, Reset, OnBound, LogFormat, LogLevel, Access,
    StorageEngine; later "redis",
}

/// One of the words of `T`.
pub(in crate::config) struct Word<T>(PhantomData<fn() -> T>);

impl<T> Word<T> {
    pub(in crate::config) const OF: Self = Self(PhantomData);
}

impl<T: Words> Word<T> {
    fn all(&self, between: &str) -> String {
        let words = T::WORDS.iter().map(|word| quoted(*word));
        words.collect::<Vec<String>>().join(between)
    }
}

impl<T: Words> Described for Word<T> {
    fn wanted(&self) -> String {
        format!("one of {}", self.all(", "))
    }
}

impl<T: Words> Form<T> for Word<T> {
    fn read(&self, raw: Raw) -> Result<T, String> {
        let text = text(self, &raw)?;
        if T::NOT_YET.contains(&text) {
            let words = self.all(" or ");
            return Err(format!("{text:?} is not in this version; use {words}"));
        }
        parsed(self, &raw, T::of_word)
    }

    fn show(&self, value: &T) -> String {
        quoted(value.word())
    }
}
