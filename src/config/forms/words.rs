//! Types whose values are words.

use std::marker::PhantomData;

use super::{Described, Form, Raw, UsualForm, parsed, quoted, text};
use crate::access_log::{Access, LogFormat};
use crate::config::{LogLevel, StorageEngine};
use crate::counter::{Kind, OnBound, Reset};

/// A type whose values have a word each.
pub(in crate::config) trait Words: Copy + 'static {
    /// All values.
    const ALL: &'static [Self];
    /// Words that later versions will know.
    const NOT_YET: &'static [&'static str] = &[];
    /// Returns the word that stands for it.
    fn word(self) -> &'static str;
}

/// Says the words of a type. A value without a word does not compile.
macro_rules! words {
    ($($type:ident { $($variant:ident = $word:literal),+ $(; later $($later:literal),+)? })+) => {$(
        impl Words for $type {
            const ALL: &'static [Self] = &[$(Self::$variant),+];
            $( const NOT_YET: &'static [&'static str] = &[$($later),+]; )?
            fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
    )+};
}

words! {
    StorageEngine { RocksDb = "rocksdb"; later "redis" }
    LogFormat { Text = "text", Json = "json" }
    LogLevel { Error = "error", Warn = "warn", Info = "info", Debug = "debug", Trace = "trace" }
    Access { All = "all", Errors = "errors", Off = "off" }
}

/// Takes over the words of types that have them for other uses too.
macro_rules! known_words {
    ($($type:ty)+) => {$(
        impl Words for $type {
            const ALL: &'static [Self] = Self::ALL;
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

known_words! { Kind Reset OnBound }

/// One of the words of `T`.
pub(in crate::config) struct Word<T>(PhantomData<fn() -> T>);

impl<T> Word<T> {
    pub(in crate::config) const OF: Self = Self(PhantomData);
}

impl<T: Words> Word<T> {
    fn all(&self, between: &str) -> String {
        let words = T::ALL.iter().map(|value| quoted(value.word()));
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
        parsed(self, &raw, |text| {
            T::ALL.iter().copied().find(|value| value.word() == text)
        })
    }

    fn show(&self, value: &T) -> String {
        quoted(value.word())
    }
}
