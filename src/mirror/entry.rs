//! What Redis is told of a counter.

use redis::Cmd;

use crate::calendar::Calendar;
use crate::counter::{Moment, Revision, rfc3339};
use crate::writer::Reading;

/// The value of a counter whose record in the store cannot be read, so that nobody knows it.
const UNKNOWN: &str = "?";

/// What a call tells of one counter.
#[derive(Default)]
pub(super) struct MirrorEntry {
    pub(super) name: String,
    /// The value in decimal, [`UNKNOWN`], or empty for a counter that is gone.
    value: String,
    revision: Revision,
    /// Empty for a counter that never resets.
    period: String,
    last_updated: String,
    kind: &'static str,
    /// Empty for a counter that does not expire.
    expires_at: String,
}

impl MirrorEntry {
    /// Makes the entry of a counter at that moment, which must be later than the reading.
    pub(super) fn of(reading: &Reading, moment: &Moment, calendar: &Calendar) -> Self {
        let gone = Self::gone(reading.name.to_string(), reading.revision);
        match reading.seen(moment, calendar) {
            None => Self {
                value: UNKNOWN.to_owned(),
                ..gone
            },
            Some(seen) if seen.over.is_some() => gone,
            Some(seen) => Self {
                name: gone.name,
                value: seen.value.to_string(),
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
            revision,
            ..Self::default()
        }
    }

    /// Adds the entry to the arguments of a call, in the order that the script wants.
    pub(super) fn add_to(&self, call: &mut Cmd) {
        call.arg(&self.name).arg(&self.value).arg(self.revision);
        call.arg(&self.period).arg(&self.last_updated);
        call.arg(self.kind).arg(&self.expires_at);
    }
}
