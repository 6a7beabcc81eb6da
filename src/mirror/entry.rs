//! A counter as Redis is told of it.

use chrono::{DateTime, SecondsFormat};

use crate::calendar::{Calendar, Day};
use crate::counter::{Millis, Reset, Revision};
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
                let start = period.map_or(Millis::MIN, |day| calendar.start_of(day));
                Some(Self {
                    name: reading.name.to_string(),
                    value: Some(reading.value_on(today)),
                    revision: reading.revision,
                    period: period.map_or_else(String::new, |day| day.to_string()),
                    last_updated: instant(reading.changed_at.max(start)),
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

/// Whether Redis may not have it, when it had everything up to that revision as of that day.
pub(super) fn changed(reading: &Reading, today: Day, there: Option<(Revision, Day)>) -> bool {
    there.is_none_or(|(revision, as_of)| {
        let day_ended = as_of < today && reading.definition.reset == Reset::Daily;
        reading.revision > revision || day_ended && reading.presence == Presence::Live
    })
}

/// An instant as the API shows it.
pub(super) fn instant(at: Millis) -> String {
    DateTime::from_timestamp_millis(at)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}
