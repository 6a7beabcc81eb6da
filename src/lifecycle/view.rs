//! A day as people and programs see it, in JSON: the same words in answers, files and databases.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::history::PastDay;
use crate::counter::{Kind, rfc3339};

/// Writes a day of a counter. Times are UTC, in milliseconds.
impl Serialize for PastDay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut view = serializer.serialize_map(None)?;
        view.serialize_entry("date", &self.day)?;
        view.serialize_entry("closed", &self.closed)?;
        let Some(content) = &self.content else {
            view.serialize_entry("corrupt", &true)?;
            return view.end();
        };
        let record = &content.record;
        view.serialize_entry("kind", &content.kind)?;
        view.serialize_entry("reset", &content.reset)?;
        view.serialize_entry("starts_at", &rfc3339(content.starts_at))?;
        view.serialize_entry("ends_at", &rfc3339(content.ends_at))?;
        view.serialize_entry("away_seconds", &content.away_ms.div_euclid(1000))?;
        view.serialize_entry("opening", &record.opening)?;
        view.serialize_entry("final_value", &record.last)?;
        view.serialize_entry("peak", &record.peak.value)?;
        view.serialize_entry("peak_at", &rfc3339(record.peak.at))?;
        view.serialize_entry("low", &record.low.value)?;
        view.serialize_entry("low_at", &rfc3339(record.low.at))?;
        view.serialize_entry("increments", &record.increments)?;
        view.serialize_entry("decrements", &record.decrements)?;
        view.serialize_entry("operations", &record.operations)?;
        view.serialize_entry("generations", &record.generations)?;
        if content.kind == Kind::Presence {
            view.serialize_entry("expired", &record.expired)?;
        }
        view.serialize_entry("events_total", &record.events)?;
        view.serialize_entry("events", &content.events)?;
        view.end()
    }
}
