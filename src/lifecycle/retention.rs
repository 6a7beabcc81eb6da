//! Decides up to which day records may be dropped. Pure arithmetic: days in, horizons out.

use crate::calendar::Day;
use crate::storage::expiry::Daily;

/// How long what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// `calendar.retention_days`: closed days.
    pub history_days: u32,
    /// `calendar.user_retention_days`: user ids of closed days.
    pub user_days: u32,
    /// `calendar.max_unexported_days`: how long a day waits to be exported, at most.
    pub max_unexported_days: u32,
    /// `samples.retention`: values at the ends of minutes.
    pub sample_days: u32,
    /// Whether days are exported at all (`postgres.url` is set).
    pub exports: bool,
}

impl Default for Retention {
    /// Returns what the configuration has by default.
    fn default() -> Self {
        Self {
            history_days: 90,
            user_days: 7,
            max_unexported_days: 30,
            sample_days: 23,
            exports: false,
        }
    }
}

/// Where the store stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DayProgress {
    /// The highest day that was counted in.
    pub(super) today: Day,
    /// All days up to this one are in history, and that is in tables.
    pub(super) closed: Day,
    /// All days up to this one are exported.
    pub(super) exported: Option<Day>,
    /// For how long the next one has waited for it while the store was open, in milliseconds.
    pub(super) waited_ms: i64,
}

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

impl DayProgress {
    /// Returns the first day that is not exported.
    pub(super) fn first_unexported(&self) -> Day {
        self.exported.map_or(Day::MIN, Day::next)
    }
}

impl Retention {
    /// Returns the first day whose records stay, for each family.
    pub(super) fn horizons(&self, progress: &DayProgress) -> [(Daily, Day); Daily::ALL.len()] {
        let archived = progress.closed.next();
        let before = |days: u32| Day::clamped(i64::from(progress.today.days()) - i64::from(days));
        let wanted = self.wanted_for_export(progress);
        Daily::ALL.map(|daily| {
            let day = match daily {
                Daily::Days => archived,
                Daily::Dedup => before(self.user_days).min(archived).min(wanted),
                Daily::Samples => before(self.sample_days),
                Daily::History => before(self.history_days).min(archived).min(wanted),
            };
            (daily, day)
        })
    }

    /// Returns the first day that waits to be exported and is not given up.
    fn wanted_for_export(&self, progress: &DayProgress) -> Day {
        if !self.exports {
            return Day::MAX;
        }
        let first = progress.first_unexported();
        // Only time with an open store counts: otherwise the database could not have been asked.
        if progress.waited_ms < i64::from(self.max_unexported_days) * DAY_MS {
            return first;
        }
        let given_up = i64::from(progress.today.days()) - i64::from(self.max_unexported_days);
        first.max(Day::clamped(given_up))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(days: i32) -> Day {
        Day::from_days(days).unwrap()
    }

    fn horizons(retention: Retention, closed: i32, exported: Option<i32>) -> [i32; 4] {
        horizons_after(retention, closed, exported, 30)
    }

    fn horizons_after(
        retention: Retention,
        closed: i32,
        exported: Option<i32>,
        waited: i32,
    ) -> [i32; 4] {
        let progress = DayProgress {
            today: day(20_000),
            closed: day(closed),
            exported: exported.map(day),
            waited_ms: i64::from(waited) * DAY_MS,
        };
        retention.horizons(&progress).map(|(_, day)| day.days())
    }

    #[test]
    fn each_family_keeps_its_days() {
        assert_eq!(
            horizons(Retention::default(), 19_999, None),
            [20_000, 19_993, 19_977, 19_910]
        );
    }

    #[test]
    fn no_horizon_passes_a_day_that_is_not_archived() {
        assert_eq!(
            horizons(Retention::default(), 19_900, None),
            [19_901, 19_901, 19_977, 19_901]
        );
    }

    #[test]
    fn what_waits_for_export_stays_until_it_is_given_up() {
        let exporting = Retention {
            exports: true,
            ..Retention::default()
        };
        let dedup = |exported| horizons(exporting, 19_999, exported)[1];
        assert_eq!(dedup(Some(19_999)), 19_993);
        assert_eq!(dedup(Some(19_980)), 19_981);
        assert_eq!(dedup(Some(19_950)), 19_970);
        assert_eq!(dedup(None), 19_970);
        let waited = |days| horizons_after(exporting, 19_999, Some(19_950), days)[1];
        assert_eq!(
            (waited(29), waited(30)),
            (19_951, 19_970),
            "an absence gives nothing up"
        );
        let short = Retention {
            history_days: 7,
            ..exporting
        };
        assert_eq!(horizons(short, 19_999, Some(19_985))[3], 19_986);
    }
}
