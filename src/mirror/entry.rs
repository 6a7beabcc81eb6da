//! A counter as Redis is told of it.

use crate::calendar::{Calendar, Day};
use crate::counter::{Revision, rfc3339};
use crate::writer::{Presence, Reading};

/// What a call says of one counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    /// None: it is gone.
    pub(super) value: Option<i64>,
    pub(super) revision: Revision,
    /// Empty for a counter that never resets.
    pub(super) period: String,
    pub(super) last_updated: String,
    pub(super) kind: &'static str,
}

impl Entry {
    /// The counter on that day, which was looked up after it was read; none while what is stored of it
    /// cannot be read.
    pub(super) fn of(reading: &Reading, today: Day, calendar: &Calendar) -> Option<Self> {
        match reading.presence {
            Presence::Corrupt => None,
            Presence::Deleted { .. } | Presence::Expired { .. } => {
                Some(Self::gone(reading.name.to_string(), reading.revision))
            }
            Presence::Live => {
                let period = reading.period_on(today);
                Some(Self {
                    name: reading.name.to_string(),
                    value: Some(reading.value_on(today)),
                    revision: reading.revision,
                    period: period.map_or_else(String::new, |day| day.to_string()),
                    last_updated: rfc3339(reading.last_updated_on(today, calendar)),
                    kind: reading.definition.kind.as_str(),
                })
            }
        }
    }

    /// A counter that is not there as of that revision.
    pub(super) fn gone(name: String, revision: Revision) -> Self {
        Self {
            name,
            value: None,
            revision,
            period: String::new(),
            last_updated: String::new(),
            kind: "",
        }
    }
}
