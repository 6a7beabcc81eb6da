//! Silences: what falls or rises of some counters is meant to, until an instant.

use serde::{Serialize, Serializer};

use crate::counter::instant::serialize_at;
use crate::counter::{CounterName, CounterPattern, Millis, rfc3339};
use crate::storage::SilenceRecord;

/// Most patterns of one silence.
pub const MAX_PATTERNS: usize = 100;

/// Most silences at once.
pub const MAX_SILENCES: usize = 100;

/// Longest silence, in milliseconds: 31 days.
const LONGEST_MS: Millis = 31 * 24 * 3_600_000;

/// Longest reason, in bytes.
const MAX_REASON: usize = 1000;

/// A silence that is asked for.
#[derive(Clone, Debug, Default)]
pub struct SilenceWanted {
    /// Names of counters, or beginnings of names with a `*`.
    pub counters: Vec<String>,
    /// Until when; an instant that has passed ends the silence of the same counters.
    pub until: Option<Millis>,
    /// Why.
    pub reason: Option<String>,
}

/// A silence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Silence {
    /// Its number.
    pub id: u64,
    /// The counters that it speaks of, in order.
    #[serde(serialize_with = "as_texts")]
    pub counters: Vec<CounterPattern>,
    /// From when.
    #[serde(serialize_with = "serialize_at")]
    pub from: Millis,
    /// Until when.
    #[serde(serialize_with = "serialize_at")]
    pub until: Millis,
    /// Why.
    pub reason: String,
}

/// Why a silence is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SilenceFault {
    /// It says what no silence says.
    #[error("{0}")]
    Invalid(String),
    /// There are as many as there may be.
    #[error("there are {MAX_SILENCES} silences already: end some of them")]
    TooMany,
}

impl SilenceWanted {
    /// Makes the silence of that number, from now on.
    ///
    /// # Errors
    /// When it names no counter, has no end or no reason, or lasts too long.
    pub fn judge(self, id: u64, now: Millis) -> Result<Silence, SilenceFault> {
        let invalid = |text: String| Err(SilenceFault::Invalid(text));
        let Self {
            mut counters,
            until,
            reason,
        } = self;
        if counters.is_empty() || counters.len() > MAX_PATTERNS {
            return invalid(format!(
                "send `counters`: 1 to {MAX_PATTERNS} names, or beginnings of names with a `*` at the end"
            ));
        }
        for text in &counters {
            if CounterPattern::parse(text).is_err() {
                let shown: String = text.chars().take(50).collect();
                return invalid(format!(
                    "{shown:?} in `counters` is no counter's name, and no beginning of one with a `*` at the end"
                ));
            }
        }
        counters.sort();
        counters.dedup();
        let Some(until) = until else {
            return invalid("send `until`: the instant at which the silence ends".to_owned());
        };
        if until.saturating_sub(now) > LONGEST_MS {
            return invalid(format!(
                "`until` must lie within 31 days, before {}",
                rfc3339(now.saturating_add(LONGEST_MS))
            ));
        }
        let reason = reason.unwrap_or_default();
        if reason.trim().is_empty()
            || reason.len() > MAX_REASON
            || reason.chars().any(char::is_control)
        {
            return invalid(
                "send a `reason` of 1 to 1000 bytes without control characters".to_owned(),
            );
        }
        let record = SilenceRecord {
            counters,
            from: now,
            until,
            reason,
        };
        Ok(Silence::of(id, record))
    }
}

impl Silence {
    /// Whether it speaks of this counter at that time.
    pub fn covers(&self, counter: &CounterName, now: Millis) -> bool {
        now < self.until && self.counters.iter().any(|one| one.matches(counter))
    }

    /// Returns what the store keeps of it.
    pub fn record(&self) -> SilenceRecord {
        SilenceRecord {
            counters: self.counters.iter().map(ToString::to_string).collect(),
            from: self.from,
            until: self.until,
            reason: self.reason.clone(),
        }
    }

    /// Returns a silence as the store keeps it. What is no counter's name there is left out.
    pub fn of(id: u64, record: SilenceRecord) -> Self {
        let SilenceRecord {
            counters,
            from,
            until,
            reason,
        } = record;
        let counters = counters.iter();
        Self {
            id,
            counters: counters
                .filter_map(|text| CounterPattern::parse(text).ok())
                .collect(),
            from,
            until,
            reason,
        }
    }
}

fn as_texts<S: Serializer>(patterns: &[CounterPattern], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(patterns.iter().map(ToString::to_string))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(counters: &[&str], until: Millis, reason: &str) -> SilenceWanted {
        SilenceWanted {
            counters: counters.iter().map(|&text| text.to_owned()).collect(),
            until: Some(until),
            reason: Some(reason.to_owned()),
        }
    }

    #[test]
    fn a_silence_speaks_of_its_counters_until_its_end() {
        let silence = wanted(&["event:*", "a"], 5000, "patch")
            .judge(1, 1000)
            .unwrap();
        let name = |text| CounterName::parse(text).unwrap();
        assert!(silence.covers(&name("a"), 4999));
        assert!(silence.covers(&name("event:x"), 4999));
        assert!(!silence.covers(&name("a"), 5000));
        assert!(!silence.covers(&name("ab"), 4999));
        assert_eq!(Silence::of(1, silence.record()), silence);
    }

    #[test]
    fn what_no_silence_says_is_refused() {
        for bad in [
            wanted(&[], 5000, "r"),
            wanted(&["A"], 5000, "r"),
            wanted(&["a"], 5000, " "),
            wanted(&["a"], 5000, "a\nb"),
            wanted(&["a"], LONGEST_MS + 1001, "r"),
            SilenceWanted {
                until: None,
                ..wanted(&["a"], 0, "r")
            },
        ] {
            let refused = bad.clone().judge(1, 1000);
            assert!(matches!(refused, Err(SilenceFault::Invalid(_))), "{bad:?}");
        }
        assert!(
            wanted(&["a"], LONGEST_MS + 1000, "r")
                .judge(1, 1000)
                .is_ok()
        );
    }
}
