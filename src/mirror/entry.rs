//! What Redis is told of a counter.

use crate::calendar::Calendar;
use crate::counter::{Moment, Revision, Seen, rfc3339};
use crate::writer::Reading;

/// What a call tells of one counter.
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

/// What a call tells of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The value.
    Value(i64),
    /// The counter is gone.
    Gone,
    /// The record in the store cannot be read, so nobody knows the value.
    Unknown,
}

impl MirrorEntry {
    /// Makes the entry of a counter at that moment, which must be later than the reading.
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

    /// Makes the entry of a counter that is gone as of that revision.
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
