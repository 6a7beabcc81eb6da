//! Words that clients, operators, metrics and copies write, as types with a value for each word.

use std::fmt;

use serde::de::{self, Visitor};

/// Makes a type of its values and their words; in JSON a value is its word.
macro_rules! words {
    (
        $(#[$meta:meta])*
        $name:ident { $($(#[$of_value:meta])* $value:ident = $word:literal,)+ }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
        pub enum $name {
            $($(#[$of_value])* #[serde(rename = $word)] $value,)+
        }

        impl $name {
            /// How many values there are.
            pub const COUNT: usize = Self::WORDS.len();

            /// All values in order: `value as usize` is a value's place, also in arrays that have one for each.
            pub const ALL: [Self; Self::COUNT] = [$(Self::$value),+];

            /// Their words.
            pub const WORDS: &[&str] = &[$($word),+];

            /// Returns the word used in JSON, configuration, metrics and messages.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$value => $word,)+ }
            }

            /// Returns the value of that word; `None` for another word.
            pub fn of_word(word: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|value| value.as_str() == word)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
                json.deserialize_str($crate::words::WordVisitor {
                    words: Self::WORDS,
                    of_word: Self::of_word,
                })
            }
        }
    };
}

/// Reads a word as its value.
pub(crate) struct WordVisitor<T> {
    pub(crate) words: &'static [&'static str],
    pub(crate) of_word: fn(&str) -> Option<T>,
}

impl<T> Visitor<'_> for WordVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<T, E> {
        (self.of_word)(word).ok_or_else(|| E::unknown_variant(word, self.words))
    }
}
