//! Words that clients, operators and copies write, as types with a value for each word.

use std::fmt;

use serde::de::{self, Visitor};

/// Makes a type of its values and their words; in JSON a value is its word.
macro_rules! words {
    (
        $(#[$meta:meta])*
        $name:ident { $($(#[$of_value:meta])* $value:ident = $word:literal,)+ }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$of_value])* $value,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$value),+];

            /// Their words.
            pub const WORDS: &[&str] = &[$($word),+];

            /// Returns the word used in JSON, configuration and messages.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$value => $word,)+ }
            }

            /// Returns the value of that word; `None` for another word.
            pub fn of_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == word)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
                json.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
                json.deserialize_str($crate::words::WordVisitor(Self::of_word, Self::WORDS))
            }
        }
    };
}

pub(crate) use words;

/// Reads a word: how, and which there are.
pub(crate) struct WordVisitor<T>(
    pub(crate) fn(&str) -> Option<T>,
    pub(crate) &'static [&'static str],
);

impl<T> Visitor<'_> for WordVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<T, E> {
        let Self(of_word, words) = self;
        of_word(word).ok_or_else(|| E::unknown_variant(word, words))
    }
}
