//! What a counter is: its kind, when it starts over, and its bounds.

use serde::{Deserialize, Deserializer, Serialize};

use super::Millis;
use crate::calendar::Day;

/// The default `max`: 2^53 − 1, the largest integer that JavaScript reads exactly.
pub const DEFAULT_MAX: i64 = (1 << 53) - 1;

/// Longest description, in bytes.
pub const MAX_DESCRIPTION: usize = 1000;

words! {
    /// How a counter moves.
    #[derive(Default)]
    Kind {
        /// Up and down.
        #[default]
        Gauge = "gauge",
        /// Up only.
        Sum = "sum",
        /// Distinct user ids.
        Unique = "unique",
    }
}

words! {
    /// When a counter starts over by itself.
    #[derive(Default)]
    Reset {
        /// Never.
        #[default]
        Never = "never",
        /// At each boundary of the local day.
        Daily = "daily",
    }
}

impl Reset {
    /// Gives the period of what is counted on `day`; `None` for a counter that never resets.
    pub fn period_on(self, day: Day) -> Option<Day> {
        match self {
            Self::Never => None,
            Self::Daily => Some(day),
        }
    }
}

words! {
    /// What happens to an operation that would leave the bounds.
    #[derive(Default)]
    OnBound {
        /// It is refused and changes nothing.
        #[default]
        Refuse = "refuse",
        /// It stops at the bound and says how much was applied.
        Clamp = "clamp",
    }
}

/// Gives the fields of a definition to the macro `$table`, a row each: its meaning, its form in JSON, its name, type
/// and default, and that default as it is written in the configuration. There is no other list of them: this type
/// with its form in JSON, and `[[counter]]` of the configuration, are made of it.
macro_rules! definition_fields {
    ($table:ident) => {
        $table! {
            /// How it moves; fixed for the life of a counter.
            #[serde(deserialize_with = "or_default")]
            kind: Kind = Kind::Gauge, "gauge";
            /// When it starts over; fixed for the life of a counter.
            #[serde(deserialize_with = "or_default")]
            reset: Reset = Reset::Never, "never";
            /// The lowest value an operation may reach.
            #[serde(deserialize_with = "or_default")]
            min: i64 = 0, "0";
            /// The highest value an operation may reach.
            #[serde(deserialize_with = "or_default_max")]
            max: i64 = DEFAULT_MAX, "9007199254740991";
            /// What happens at the bounds.
            #[serde(deserialize_with = "or_default")]
            on_bound: OnBound = OnBound::Refuse, "refuse";
            /// From this instant on the counter is gone.
            #[serde(with = "super::instant")]
            expires_at: Option<Millis> = None, else unset;
            /// For people; at most 1000 bytes.
            description: Option<String> = None, else unset;
        }
    };
}

pub(crate) use definition_fields;

macro_rules! definition {
    ($($(#[$meta:meta])+ $name:ident: $type:ty = $default:expr
        $(, $written:literal)? $(, else $unwritten:ident)?;)+) => {
        /// A counter's definition. `min` ≤ 0 ≤ `max` holds for every definition that [`Definition::check`]
        /// let through. In JSON a field that is absent or `null` has its default.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Definition {
            $($(#[$meta])+ pub $name: $type,)+
        }

        impl Definition {
            /// The names of its fields.
            pub(crate) const FIELDS: &[&str] = &[$(stringify!($name)),+];
        }

        impl Default for Definition {
            /// What a first increment of an unknown name creates: a gauge that never resets, from 0.
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }
    };
}

definition_fields!(definition);

/// Why a definition is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionFault {
    /// `min` > 0 or `max` < 0.
    #[error("min must be 0 or less and max 0 or more, so that 0 is always within the bounds")]
    Bounds,
    /// The description is too long or has control characters.
    #[error("a description is at most 1000 bytes without control characters")]
    Description,
}

impl Definition {
    /// Checks what no time or other counter decides.
    pub fn check(&self) -> Result<(), DefinitionFault> {
        if self.min > 0 || self.max < 0 {
            return Err(DefinitionFault::Bounds);
        }
        let text = self.description.as_deref().unwrap_or("");
        if text.len() > MAX_DESCRIPTION || text.chars().any(char::is_control) {
            return Err(DefinitionFault::Description);
        }
        Ok(())
    }

    /// Whether the counter is gone at `now` by time alone.
    pub fn expired_at(&self, now: Millis) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// Returns the fields with their forms, as an idempotency key is bound to them. Their order and that of the
    /// words stay: new ones come last.
    pub(crate) fn forms(&self) -> [FieldForm<'_>; Self::FIELDS.len()] {
        let Self {
            kind,
            reset,
            min,
            max,
            on_bound,
            expires_at,
            description,
        } = self;
        [
            FieldForm::Word(*kind as u8),
            FieldForm::Word(*reset as u8),
            FieldForm::Word(*on_bound as u8),
            FieldForm::Number(*min),
            FieldForm::Number(*max),
            FieldForm::Instant(*expires_at),
            FieldForm::Text(description.as_deref()),
        ]
    }

    /// Whether a live counter of this definition may become `other`: kind and reset stay.
    pub fn may_become(&self, other: &Self) -> bool {
        self.kind == other.kind && self.reset == other.reset
    }
}

/// A field of a definition by its form.
pub(crate) enum FieldForm<'a> {
    /// The place of a word among its like, from 0.
    Word(u8),
    Number(i64),
    Instant(Option<Millis>),
    Text(Option<&'a str>),
}

fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    json: D,
) -> Result<T, D::Error> {
    Option::deserialize(json).map(Option::unwrap_or_default)
}

fn or_default_max<'de, D: Deserializer<'de>>(json: D) -> Result<i64, D::Error> {
    Option::deserialize(json).map(|max| max.unwrap_or(DEFAULT_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_always_within_the_bounds() {
        let with = |min, max| {
            Definition {
                min,
                max,
                ..Definition::default()
            }
            .check()
        };
        assert_eq!(with(0, 0), Ok(()));
        assert_eq!(with(i64::MIN, i64::MAX), Ok(()));
        assert_eq!(with(1, 5), Err(DefinitionFault::Bounds));
        assert_eq!(with(-5, -1), Err(DefinitionFault::Bounds));
    }

    #[test]
    fn expiry_is_exact() {
        let definition = Definition {
            expires_at: Some(1000),
            ..Definition::default()
        };
        assert!(!definition.expired_at(999));
        assert!(definition.expired_at(1000));
    }
}
