//! What a counter is: its kind, when it starts over, and its bounds.

use super::Millis;
use crate::calendar::Day;

/// The default `max`: 2^53 − 1, the largest integer that JavaScript reads exactly.
pub const DEFAULT_MAX: i64 = (1 << 53) - 1;

/// Longest description, in bytes.
pub const MAX_DESCRIPTION: usize = 1000;

/// How a counter moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Up and down.
    Gauge,
    /// Up only.
    Sum,
    /// Distinct user ids.
    Unique,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Gauge, Self::Sum, Self::Unique];

    /// Returns the kind of that word; `None` for another word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// The word used in JSON, configuration and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Sum => "sum",
            Self::Unique => "unique",
        }
    }
}

/// When a counter starts over by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reset {
    /// Never.
    Never,
    /// At each boundary of the local day.
    Daily,
}

impl Reset {
    /// Gives the period of what is counted on `day`; `None` for a counter that never resets.
    pub fn period_on(self, day: Day) -> Option<Day> {
        match self {
            Self::Never => None,
            Self::Daily => Some(day),
        }
    }

    /// The word used in JSON, configuration and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Daily => "daily",
        }
    }
}

/// What happens to an operation that would leave the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnBound {
    /// It is refused and changes nothing.
    Refuse,
    /// It stops at the bound and says how much was applied.
    Clamp,
}

impl OnBound {
    /// The word used in JSON, configuration and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Clamp => "clamp",
        }
    }
}

/// A counter's definition. `min` ≤ 0 ≤ `max` holds for every definition that [`Definition::check`]
/// let through.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Definition {
    /// How it moves; fixed for the life of a counter.
    pub kind: Kind,
    /// When it starts over; fixed for the life of a counter.
    pub reset: Reset,
    /// The lowest value an operation may reach.
    pub min: i64,
    /// The highest value an operation may reach.
    pub max: i64,
    /// What happens at the bounds.
    pub on_bound: OnBound,
    /// From this instant on the counter is gone.
    #[serde(serialize_with = "super::serialize_instant")]
    pub expires_at: Option<Millis>,
    /// For people; at most [`MAX_DESCRIPTION`] bytes.
    pub description: Option<String>,
}

/// Why a definition cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionFault {
    /// `min` > 0 or `max` < 0.
    #[error("min must be 0 or less and max 0 or more, so that 0 is always within the bounds")]
    Bounds,
    /// The description is too long or has control characters.
    #[error("a description is at most 1000 bytes without control characters")]
    Description,
}

impl Default for Definition {
    /// What a first increment of an unknown name creates: a gauge that never resets, from 0.
    fn default() -> Self {
        Self {
            kind: Kind::Gauge,
            reset: Reset::Never,
            min: 0,
            max: DEFAULT_MAX,
            on_bound: OnBound::Refuse,
            expires_at: None,
            description: None,
        }
    }
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

    /// Whether a live counter of this definition may become `other`: kind and reset stay.
    pub fn may_become(&self, other: &Self) -> bool {
        self.kind == other.kind && self.reset == other.reset
    }
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
