//! A counter as Redis is told of it.

use crate::calendar::{Calendar, Day};
use crate::counter::{Millis, Revision, rfc3339};
use crate::writer::{Presence, Reading};

/// What a call says of one counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) value: Said,
    pub(super) revision: Revision,
    /// Empty for a counter that never resets.
    pub(super) period: String,
    pub(super) last_updated: String,
    pub(super) kind: &'static str,
    /// Empty for a counter that does not expire.
    pub(super) expires_at: String,
}

/// What is said of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It is this.
    Value(i64),
    /// The counter is gone.
    Gone,
    /// What is stored of it cannot be read: what is there is not known to be so.
    Unknown,
}

impl Entry {
    /// The counter on that day, which was looked up after it was read. One whose time was over at `now`
    /// is gone, whether or not the writer got to it.
    pub(super) fn of(reading: &Reading, today: Day, now: Millis, calendar: &Calendar) -> Self {
        match reading.presence {
            Presence::Corrupt => Self {
                value: Said::Unknown,
                ..Self::gone(reading.name.to_string(), reading.revision)
            },
            Presence::Deleted { .. } | Presence::Expired { .. } => {
                Self::gone(reading.name.to_string(), reading.revision)
            }
            Presence::Live if reading.definition.expired_at(now) => {
                Self::gone(reading.name.to_string(), reading.revision)
            }
            Presence::Live => {
                let period = reading.period_on(today);
                let expires_at = reading.definition.expires_at;
                Self {
                    name: reading.name.to_string(),
                    value: Said::Value(reading.value_on(today)),
                    revision: reading.revision,
                    period: period.map_or_else(String::new, |day| day.to_string()),
                    last_updated: rfc3339(reading.last_updated_on(today, calendar)),
                    kind: reading.definition.kind.as_str(),
                    expires_at: expires_at.map_or_else(String::new, rfc3339),
                }
            }
        }
    }

    /// A counter that is not there as of that revision.
    pub(super) fn gone(name: String, revision: Revision) -> Self {
        Self {
            name,
            value: Said::Gone,
            revision,
            period: String::new(),
            last_updated: String::new(),
            kind: "",
            expires_at: String::new(),
        }
    }
}
