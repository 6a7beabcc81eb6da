//! How local time runs, for those who show it: the zone, the bounds of the day, and when clocks change. So whoever shows
//! local times needs no data of time zones of its own, which may be older than ours.

use serde::Serialize;

use super::Engine;
use crate::calendar::DAY_MS;
use crate::counter::Millis;
use crate::counter::instant::serialize_at;

/// How far back offsets are told, at most.
const MOST_BACK_MS: i64 = 400 * DAY_MS;

/// How far ahead offsets are told: two years and a little, for what is to happen then at a local time.
const AHEAD_MS: i64 = 740 * DAY_MS;

/// How local time runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LocalTime {
    /// The IANA zone.
    pub timezone: String,
    /// The local time at which a day begins, `HH:MM`.
    pub day_start: String,
    /// The first instant of the day that is counted now.
    #[serde(serialize_with = "serialize_at")]
    pub starts_at: Millis,
    /// The first instant after it.
    #[serde(serialize_with = "serialize_at")]
    pub ends_at: Millis,
    /// How far local clocks are ahead of UTC, oldest first: for the days that are kept, 400 at most, and two years
    /// to come.
    pub offsets: Vec<Offset>,
}

/// How far local clocks are ahead of UTC from an instant on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Offset {
    /// The instant.
    #[serde(serialize_with = "serialize_at")]
    pub from: Millis,
    /// By how many seconds; negative behind it.
    pub seconds: i32,
}

impl Engine {
    /// Says how local time runs.
    pub fn local_time(&self) -> LocalTime {
        let (calendar, look) = (self.calendar(), self.current_day().look());
        let today = calendar.local_day(look.day);
        let kept = calendar.start_of(self.kept_from());
        let from = kept.max(look.wall_ms.saturating_sub(MOST_BACK_MS));
        let offsets = calendar.offsets(from, look.wall_ms.saturating_add(AHEAD_MS));
        let offsets = offsets.into_iter();
        LocalTime {
            timezone: calendar.zone_name().to_owned(),
            day_start: calendar.day_start().to_string(),
            starts_at: today.start,
            ends_at: calendar.end_of(today.day),
            offsets: offsets
                .map(|(from, seconds)| Offset { from, seconds })
                .collect(),
        }
    }
}
