//! A counter as Redis is told of it.

use crate::calendar::Calendar;
use crate::counter::{Moment, Revision, Seen, rfc3339};
use crate::writer::Reading;

/// What a call says of one counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MirrorEntry {
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

impl MirrorEntry {
    /// What is told of the counter at that moment, which was taken after it was read.
    pub(super) fn of(reading: &Reading, moment: &Moment, calendar: &Calendar) -> Self {
        let without_value = || Self::gone(reading.name.to_string(), reading.revision);
        match reading.seen(moment, calendar) {
            None => Self {
                value: Said::Unknown,
                ..without_value()
            },
            Some(Seen { over: Some(_), .. }) => without_value(),
            Some(seen) => Self {
                name: reading.name.to_string(),
                value: Said::Value(seen.value),
                revision: seen.revision,
                period: seen.period.map_or_else(String::new, |day| day.to_string()),
                last_updated: rfc3339(seen.last_updated),
                kind: reading.definition.kind.as_str(),
                expires_at: reading
                    .definition
                    .expires_at
                    .map_or_else(String::new, rfc3339),
            },
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
