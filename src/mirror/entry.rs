//! What the mirror tells Redis of one counter.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::calendar::Calendar;
use crate::counter::{Moment, Revision, rfc3339};
use crate::writer::Reading;

/// The value of a counter whose record in the store cannot be read, so that nobody knows it.
const UNKNOWN: &str = "?";

/// Counters in [`KnownMeta`] at most: some megabytes. Beyond that counters are written whole more often.
const KNOWN_AT_MOST: usize = 20_000;

/// How long [`KnownMeta`] is relied on: so long somebody else's hands in a meta may go unnoticed.
const KNOWN_FOR: Duration = Duration::from_secs(5);

/// What a call tells of one counter, each as the text that Redis gets.
pub(super) struct MirrorEntry {
    pub(super) name: String,
    /// In decimal, [`UNKNOWN`], or empty for a counter that is gone.
    pub(super) value: String,
    pub(super) revision: String,
    pub(super) last_updated: String,
    pub(super) meta: EntryMeta,
}

/// What most increments of a counter leave as it is.
#[derive(Default, PartialEq, Eq)]
pub(super) struct EntryMeta {
    /// Empty for a counter that never resets.
    pub(super) period: String,
    pub(super) kind: String,
    /// Empty for a counter that does not expire.
    pub(super) expires_at: String,
}

impl MirrorEntry {
    /// Makes the entry of a counter at that moment, which must be later than the reading.
    pub(super) fn of(reading: &Reading, moment: &Moment, calendar: &Calendar) -> Self {
        let name = reading.name.to_string();
        let seen = match reading.seen(moment, calendar) {
            None => return Self::without_value(name, UNKNOWN, reading.revision),
            Some(seen) if seen.over.is_some() => return Self::gone(name, reading.revision),
            Some(seen) => seen,
        };
        let period = seen.period.map(|day| day.to_string());
        let expires_at = reading.definition.expires_at.map(rfc3339);
        Self {
            name,
            value: seen.value.to_string(),
            revision: seen.revision.to_string(),
            last_updated: rfc3339(seen.last_updated),
            meta: EntryMeta {
                period: period.unwrap_or_default(),
                kind: reading.definition.kind.as_str().to_owned(),
                expires_at: expires_at.unwrap_or_default(),
            },
        }
    }

    /// Makes the entry of a counter that is gone as of that revision.
    pub(super) fn gone(name: String, revision: Revision) -> Self {
        Self::without_value(name, "", revision)
    }

    fn without_value(name: String, value: &str, revision: Revision) -> Self {
        Self {
            name,
            value: value.to_owned(),
            revision: revision.to_string(),
            last_updated: String::new(),
            meta: EntryMeta::default(),
        }
    }

    fn has_value(&self) -> bool {
        !self.value.is_empty() && self.value != UNKNOWN
    }
}

/// The meta that Redis has of counters which changed lately, as this sequence of calls wrote it.
///
/// No other mirror has written since, as each call finds out by the marker. So of a counter whose meta is the same Redis
/// needs only value, revision and time.
#[derive(Default)]
pub(super) struct KnownMeta {
    by_name: HashMap<String, EntryMeta>,
    /// When the first of them was written; `None` while there are none.
    since: Option<Instant>,
}

impl KnownMeta {
    /// Returns whether Redis has the meta of this entry.
    pub(super) fn has(&self, entry: &MirrorEntry) -> bool {
        entry.has_value() && self.by_name.get(&entry.name) == Some(&entry.meta)
    }

    /// Notes that Redis has these entries.
    pub(super) fn note(&mut self, entries: Vec<MirrorEntry>) {
        for entry in entries {
            if !entry.has_value() {
                self.by_name.remove(&entry.name);
                continue;
            }
            if self.by_name.len() >= KNOWN_AT_MOST {
                self.forget();
            }
            self.since.get_or_insert_with(Instant::now);
            self.by_name.insert(entry.name, entry.meta);
        }
    }

    /// Forgets all, where others may have written.
    pub(super) fn forget(&mut self) {
        self.by_name.clear();
        self.since = None;
    }

    /// Forgets all once it was relied on for long enough.
    pub(super) fn age(&mut self) {
        if self.since.is_some_and(|since| since.elapsed() > KNOWN_FOR) {
            self.forget();
        }
    }
}
