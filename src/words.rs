//! Words that clients, operators, metrics and copies write, as types with a value for each word.

use std::borrow::Cow;

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

            /// All values, in the order of arrays that have a place for each.
            pub const ALL: [Self; Self::COUNT] = [$(Self::$value),+];

            /// Their words.
            pub const WORDS: &[&str] = &[$($word),+];

            /// Returns the word used in JSON, configuration, metrics and messages.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$value => $word,)+ }
            }

            /// Returns the place in [`Self::ALL`], which is always below [`Self::COUNT`].
            #[must_use]
            #[allow(dead_code, reason = "not every type has such an array")]
            pub const fn index(self) -> usize {
                self as usize
            }

            /// Returns the value of that word; `None` for another word.
            pub fn of_word(word: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|value| value.as_str() == word)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
                let $crate::words::Word(word) = serde::Deserialize::deserialize(json)?;
                let unknown = || serde::de::Error::unknown_variant(&word, Self::WORDS);
                Self::of_word(&word).ok_or_else(unknown)
            }
        }
    };
}

pub(crate) use words;

/// A word as it is read, without a copy where the input has it as it stands.
#[derive(serde::Deserialize)]
#[serde(transparent)]
pub(crate) struct Word<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);
