//! What a counter is: its kind, when it starts over, and its bounds.

use serde::{Deserialize, Deserializer, Serialize};

use super::{Lapse, LapseFault, Millis, Seconds};
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
        /// Who is here now: leases that end unless they are renewed.
        Presence = "presence",
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
            /// How far back it looks: what lies further back does not count. Fixed for the life of a counter.
            #[serde(skip_serializing_if = "Option::is_none")]
            window: Option<Seconds> = None, else unset;
            /// In what steps the window slides; by default about a sixtieth of it. Fixed for the life of a counter.
            #[serde(skip_serializing_if = "Option::is_none")]
            grain: Option<Seconds> = None, else unset;
            /// How long a lease of a `presence` lasts.
            #[serde(skip_serializing_if = "Option::is_none")]
            ttl: Option<Seconds> = None, else unset;
        }
    };
}

pub(crate) use definition_fields;

macro_rules! definition {
    ($($(#[$meta:meta])+ $name:ident: $type:ty = $default:expr
        $(, $written:literal)? $(, else $unwritten:ident)?;)+) => {
        /// A counter's definition. `min` ≤ 0 ≤ `max` holds for every definition that [`Definition::complete`]
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
    /// What it says of time does not fit.
    #[error(transparent)]
    Lapse(#[from] LapseFault),
}

impl Definition {
    /// Fills in what follows from the rest, and checks what no time or other counter decides.
    ///
    /// # Errors
    /// When such a counter cannot be.
    pub fn complete(mut self) -> Result<Self, DefinitionFault> {
        if self.min > 0 || self.max < 0 {
            return Err(DefinitionFault::Bounds);
        }
        let text = self.description.as_deref().unwrap_or("");
        if text.len() > MAX_DESCRIPTION || text.chars().any(char::is_control) {
            return Err(DefinitionFault::Description);
        }
        if self.window.is_none() && self.grain.is_some() {
            return Err(LapseFault::NoGrain.into());
        }
        if let Some(window) = self.window {
            let may = matches!(self.kind, Kind::Unique | Kind::Sum) && self.reset == Reset::Never;
            let lapse = Lapse::of_window(window, self.grain);
            self.grain = Some(may.then_some(lapse).ok_or(LapseFault::NoWindow)??.grain);
        }
        match (self.kind == Kind::Presence, self.ttl) {
            (false, None) => Ok(self),
            (false, Some(_)) => Err(LapseFault::NoLeases.into()),
            (true, _) if self.reset != Reset::Never => Err(LapseFault::DailyLeases.into()),
            (true, None) => Err(LapseFault::Ttl.into()),
            (true, Some(ttl)) => Ok(Lapse::of_leases(ttl).map(|_| self)?),
        }
    }

    /// Returns how what it counts leaves again; `None` where time takes nothing out of it.
    #[inline]
    pub fn lapse(&self) -> Option<Lapse> {
        match (self.window, self.ttl) {
            (None, None) => None,
            (Some(window), _) => Lapse::of_window(window, self.grain).ok(),
            (None, Some(ttl)) => Lapse::of_leases(ttl).ok(),
        }
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
            window,
            grain,
            ttl,
        } = self;
        [
            FieldForm::Word(*kind as u8),
            FieldForm::Word(*reset as u8),
            FieldForm::Word(*on_bound as u8),
            FieldForm::Number(*min),
            FieldForm::Number(*max),
            FieldForm::Instant(*expires_at),
            FieldForm::Text(description.as_deref()),
            FieldForm::Length(*window),
            FieldForm::Length(*grain),
            FieldForm::Length(*ttl),
        ]
    }

    /// Whether a live counter of this definition may become `other`: kind, reset, window and grain stay. A `ttl`
    /// may change where that leaves the grain of leases as it is.
    pub fn may_become(&self, other: &Self) -> bool {
        let fixed = |of: &Self| {
            (
                of.kind,
                of.reset,
                of.window,
                of.lapse().map(|lapse| lapse.grain),
            )
        };
        fixed(self) == fixed(other)
    }
}

/// A field of a definition by its form.
pub(crate) enum FieldForm<'a> {
    /// The place of a word among its like, from 0.
    Word(u8),
    Number(i64),
    Instant(Option<Millis>),
    Text(Option<&'a str>),
    /// `None` adds nothing: earlier versions had no such field.
    Length(Option<Seconds>),
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
            .complete()
            .map(|_| ())
        };
        assert_eq!(with(0, 0), Ok(()));
        assert_eq!(with(i64::MIN, i64::MAX), Ok(()));
        assert_eq!(with(1, 5), Err(DefinitionFault::Bounds));
        assert_eq!(with(-5, -1), Err(DefinitionFault::Bounds));
    }

    #[test]
    fn what_lapses_is_only_what_can() {
        use Kind::{Gauge, Presence, Sum, Unique};
        use Reset::{Daily, Never};
        let of = |kind, reset, lengths: [u32; 3]| {
            let [window, grain, ttl] =
                lengths.map(|length| (length > 0).then_some(Seconds(length)));
            let definition = Definition {
                kind,
                reset,
                window,
                grain,
                ttl,
                ..Definition::default()
            };
            definition.complete().map(|complete| complete.grain)
        };
        let fault = |fault| Err(DefinitionFault::Lapse(fault));
        assert_eq!(of(Sum, Never, [3600, 0, 0]), Ok(Some(Seconds(60))));
        assert_eq!(of(Presence, Never, [0, 0, 5]), Ok(None));
        assert_eq!(of(Gauge, Never, [60, 0, 0]), fault(LapseFault::NoWindow));
        assert_eq!(of(Unique, Daily, [60, 0, 0]), fault(LapseFault::NoWindow));
        assert_eq!(of(Presence, Never, [60, 0, 5]), fault(LapseFault::NoWindow));
        assert_eq!(of(Unique, Never, [0, 1, 0]), fault(LapseFault::NoGrain));
        assert_eq!(of(Gauge, Never, [0, 0, 5]), fault(LapseFault::NoLeases));
        assert_eq!(
            of(Presence, Daily, [0, 0, 5]),
            fault(LapseFault::DailyLeases)
        );
        for ttl in [0, 4, 3601] {
            assert_eq!(of(Presence, Never, [0, 0, ttl]), fault(LapseFault::Ttl));
        }
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
