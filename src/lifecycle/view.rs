//! A day as people and programs see it, in JSON: the same words in answers, files and databases.

use serde::Serialize;

use super::history::PastDay;
use crate::counter::{ClosedDay, Event, rfc3339};

/// A day of a counter. Times are UTC, in milliseconds.
#[derive(Debug, Serialize)]
pub struct DayView {
    date: String,
    closed: bool,
    #[serde(flatten)]
    content: Option<ContentView>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    corrupt: bool,
}

#[derive(Debug, Serialize)]
struct ContentView {
    kind: &'static str,
    reset: &'static str,
    starts_at: String,
    ends_at: String,
    away_seconds: i64,
    opening: i64,
    final_value: i64,
    peak: i64,
    peak_at: String,
    low: i64,
    low_at: String,
    increments: u128,
    decrements: u128,
    operations: u64,
    generations: u32,
    events_total: u32,
    events: Vec<EventView>,
}

#[derive(Debug, Serialize)]
struct EventView {
    kind: &'static str,
    at: String,
    before: i64,
    after: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

impl From<PastDay> for DayView {
    fn from(past: PastDay) -> Self {
        let PastDay {
            day,
            closed,
            content,
        } = past;
        Self {
            date: day.to_string(),
            closed,
            corrupt: content.is_none(),
            content: content.map(ContentView::from),
        }
    }
}

impl From<ClosedDay> for ContentView {
    fn from(day: ClosedDay) -> Self {
        let ClosedDay {
            kind,
            reset,
            starts_at,
            ends_at,
            away_ms,
            record,
            events,
        } = day;
        Self {
            kind: kind.as_str(),
            reset: reset.as_str(),
            starts_at: rfc3339(starts_at),
            ends_at: rfc3339(ends_at),
            away_seconds: away_ms.div_euclid(1000),
            opening: record.opening,
            final_value: record.last,
            peak: record.peak.value,
            peak_at: rfc3339(record.peak.at),
            low: record.low.value,
            low_at: rfc3339(record.low.at),
            increments: record.increments,
            decrements: record.decrements,
            operations: record.operations,
            generations: record.generations,
            events_total: record.events,
            events: events.into_iter().map(EventView::from).collect(),
        }
    }
}

impl From<Event> for EventView {
    fn from(event: Event) -> Self {
        Self {
            kind: event.kind.as_str(),
            at: rfc3339(event.at),
            before: event.before,
            after: event.after,
            reason: event.reason,
            request_id: event.request_id,
        }
    }
}
