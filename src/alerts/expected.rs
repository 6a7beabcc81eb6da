//! What is expected of a counter at a minute.
//!
//! The median over 1, 2 and 3 weeks ago of the mean of ±5 minutes at the same local minute, times how the last hour
//! (without its last 10 minutes) stands to the same minutes of those weeks, within 0.5 and 2. Where a week is missing,
//! the same with yesterday alone. Where that is missing too, the highest value of the last 15 minutes.

use super::course::{Course, MINUTE_MS, Minute, mean};
use super::known::KnownChanges;
use crate::calendar::Calendar;
use crate::counter::{Millis, Reset};

/// The days back that are compared with: three weeks, then yesterday.
pub const DAYS_BACK: [i32; 4] = [7, 14, 21, 1];

/// The place of yesterday among them.
const YESTERDAY: usize = 3;

/// How many minutes before and after are averaged.
const AROUND: Minute = 5;

/// How many of those 11 there must be.
const LEAST_AROUND: usize = 6;

/// The minutes by which growth is measured: from so many before to so many before.
const GROWTH: (Minute, Minute) = (60, 10);

/// How many of those 50 there must be.
const LEAST_GROWTH: usize = 10;

/// Growth is held within these bounds.
const GROWTH_BOUNDS: (f64, f64) = (0.5, 2.0);

/// The minutes of which the highest is expected where nothing else is known.
const RECENT: Minute = 15;

/// How many minutes before the one of an earlier day must be at hand, and after it: a clock change may lie between
/// the minutes of the last hour.
pub const REACH: (Minute, Minute) = (130, 70);

words! {
    /// What an expected value rests on.
    ExpectedBy {
        /// The three weeks before.
        Weeks = "weeks",
        /// Yesterday.
        Yesterday = "yesterday",
        /// The last minutes.
        Minutes = "minutes",
    }
}

/// What is expected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    /// The value.
    pub value: f64,
    /// What it rests on.
    pub by: ExpectedBy,
    /// By how much the days compared with were multiplied.
    pub growth: f64,
}

/// The local minutes of earlier days: for each of [`DAYS_BACK`] which instant has the same local time. Shared by all
/// counters, since it depends on the time alone.
#[derive(Clone, Debug, Default)]
pub struct SameMinutes {
    now: Minute,
    /// Of the minute now, and of each of the last hour that growth is measured by, oldest first.
    centers: [Minute; DAYS_BACK.len()],
    of_growth: Vec<(Minute, [Minute; DAYS_BACK.len()])>,
    /// The local day of each center: from, and until (minutes).
    days: [(Minute, Minute); DAYS_BACK.len()],
}

impl SameMinutes {
    /// Works them out for a minute.
    pub fn at(calendar: &Calendar, now: Minute) -> Self {
        let back = |minute: Minute| {
            DAYS_BACK.map(|days| {
                let earlier = calendar.same_time_before(minute.saturating_mul(MINUTE_MS), days);
                earlier.div_euclid(MINUTE_MS)
            })
        };
        let centers = back(now);
        let days = centers.map(|center| {
            let day = calendar.day_of(center.saturating_mul(MINUTE_MS));
            let minute = |at: Millis| at.div_euclid(MINUTE_MS);
            (minute(calendar.start_of(day)), minute(calendar.end_of(day)))
        });
        let (from, to) = (now - GROWTH.0, now - GROWTH.1);
        Self {
            now,
            centers,
            of_growth: (from..to).map(|minute| (minute, back(minute))).collect(),
            days,
        }
    }

    /// The minute that it is of.
    pub fn now(&self) -> Minute {
        self.now
    }

    /// Returns the minute of an earlier day, by its place among [`DAYS_BACK`].
    pub fn center(&self, place: usize) -> Minute {
        self.centers.get(place).copied().unwrap_or(self.now)
    }
}

/// What a counter is compared with.
pub struct Compared<'a> {
    /// Its own minutes up to now, the last not.
    pub own: &'a Course,
    /// Its minutes around those of the earlier days, in the order of [`DAYS_BACK`].
    pub past: &'a [Course; DAYS_BACK.len()],
    /// What counterd did to it.
    pub known: &'a KnownChanges,
    /// How it resets: values of a daily counter are compared within their day.
    pub reset: Reset,
    /// When the current period began; the minimum for a counter that never resets.
    pub period_start: Millis,
    /// Values from before this instant say nothing.
    pub not_before: Millis,
}

impl Compared<'_> {
    /// Returns what is expected at the minute of `same`; `None` where nothing is known.
    pub fn expected(&self, same: &SameMinutes) -> Option<Expected> {
        let now_ms = same.now.saturating_mul(MINUTE_MS);
        let parted = self.known.parted_at(now_ms.saturating_add(MINUTE_MS));
        let not_before = parted.max(self.not_before).max(self.period_start);
        // The minute in which it parted has values from before.
        let own_from = not_before
            .saturating_add(MINUTE_MS - 1)
            .div_euclid(MINUTE_MS);
        let weeks = || {
            let weeks = [0, 1, 2].map(|place| self.earlier(place, same, own_from));
            let [Some(a), Some(b), Some(c)] = weeks else {
                return None;
            };
            let growth = growth(a.own_hour, median([a.hour, b.hour, c.hour]));
            Some(Expected {
                value: median([a.around, b.around, c.around]) * growth,
                by: ExpectedBy::Weeks,
                growth,
            })
        };
        let yesterday = || {
            let day = self.earlier(YESTERDAY, same, own_from)?;
            let growth = growth(day.own_hour, day.hour);
            Some(Expected {
                value: day.around * growth,
                by: ExpectedBy::Yesterday,
                growth,
            })
        };
        let minutes = || {
            let from = own_from.max(same.now - RECENT);
            let highest = self.own.values(from..same.now).max()?;
            Some(Expected {
                value: float(highest),
                by: ExpectedBy::Minutes,
                growth: 1.0,
            })
        };
        weeks().or_else(yesterday).or_else(minutes)
    }

    /// Returns how an earlier day stands; `None` where it cannot be compared with.
    fn earlier(&self, place: usize, same: &SameMinutes, own_from: Minute) -> Option<Earlier> {
        let course = self.past.get(place)?;
        let (from, until) = *same.days.get(place)?;
        let center = same.center(place);
        let within = |minute: Minute| self.reset == Reset::Never || (from..until).contains(&minute);
        let around = (center - AROUND..=center + AROUND).filter(|minute| within(*minute));
        let around = around.filter_map(|minute| course.at(minute).value);
        let around = mean(around, LEAST_AROUND)?;
        let pairs = same.of_growth.iter().filter_map(|(minute, earlier)| {
            let earlier = *earlier.get(place)?;
            let own = self.own.at(*minute).value.filter(|_| *minute >= own_from)?;
            let then = course.at(earlier).value.filter(|_| within(earlier))?;
            Some((own, then))
        });
        let pairs: Vec<(i64, i64)> = pairs.collect();
        let own_hour = mean(pairs.iter().map(|pair| pair.0), LEAST_GROWTH)?;
        let hour = mean(pairs.iter().map(|pair| pair.1), LEAST_GROWTH)?;
        let instant = |minute: Minute| minute.saturating_mul(MINUTE_MS);
        // What was done within the current period alone moves the value of a daily counter.
        let compared_from = instant(center).max(self.period_start);
        let to = instant(same.now).saturating_add(MINUTE_MS);
        let comparable = self.known.comparable(compared_from, to, around);
        comparable.then_some(Earlier {
            around,
            hour,
            own_hour,
        })
    }
}

/// How an earlier day stands.
struct Earlier {
    /// The mean around the minute.
    around: f64,
    /// The mean of the hour before, of the minutes that the last hour has too.
    hour: f64,
    /// The mean of those minutes of the last hour.
    own_hour: f64,
}

/// How the last hour stands to the same minutes of earlier days.
fn growth(own: f64, then: f64) -> f64 {
    let (least, most) = GROWTH_BOUNDS;
    if then > 0.0 {
        (own / then).clamp(least, most)
    } else if own > 0.0 {
        most
    } else {
        1.0
    }
}

fn median(mut of: [f64; 3]) -> f64 {
    of.sort_by(f64::total_cmp);
    let [_, middle, _] = of;
    middle
}

#[allow(
    clippy::cast_precision_loss,
    reason = "an expected value beyond 2^53 need not be exact to the last digit"
)]
pub(super) fn float(value: i64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::super::course::MinuteValue;
    use super::super::known::{ExplainedBy, KnownChange};
    use super::*;

    /// 2026-11-24T12:00:00Z, a Tuesday, as a minute.
    const NOON: Minute = 1_795_521_600_000 / MINUTE_MS;

    fn course(center: Minute, value: impl Fn(Minute) -> Option<i64>) -> Course {
        let minutes = (center - REACH.0..center + REACH.1).map(|minute| MinuteValue {
            value: value(minute - center),
            changed: true,
        });
        Course::new(center - REACH.0, minutes.collect())
    }

    struct Case {
        calendar: Calendar,
        past: [Course; 4],
        own: Course,
        known: KnownChanges,
        reset: Reset,
        now: Minute,
    }

    impl Case {
        /// Each earlier day has its own value, all minutes alike.
        fn new(past: [Option<i64>; 4], own: Option<i64>) -> Self {
            let calendar = Calendar::new("UTC", "00:00".parse().unwrap()).unwrap();
            let same = SameMinutes::at(&calendar, NOON);
            let at = |place: usize| course(same.center(place), |_| past[place]);
            Self {
                past: [at(0), at(1), at(2), at(3)],
                own: course(NOON, |at| own.filter(|_| at < 0)),
                known: KnownChanges::default(),
                reset: Reset::Never,
                now: NOON,
                calendar,
            }
        }

        fn expected(&self) -> Option<(f64, ExpectedBy)> {
            let compared = Compared {
                own: &self.own,
                past: &self.past,
                known: &self.known,
                reset: self.reset,
                period_start: match self.reset {
                    Reset::Never => Millis::MIN,
                    Reset::Daily => {
                        let now = self.now * MINUTE_MS;
                        self.calendar.start_of(self.calendar.day_of(now))
                    }
                },
                not_before: Millis::MIN,
            };
            let expected = compared.expected(&SameMinutes::at(&self.calendar, self.now))?;
            Some((expected.value, expected.by))
        }
    }

    #[test]
    fn it_is_the_median_of_three_weeks_times_growth_within_its_bounds() {
        use ExpectedBy::{Minutes, Weeks, Yesterday};
        for (past, own, wanted) in [
            (
                [Some(100), Some(110), Some(900), Some(5)],
                110,
                (110.0, Weeks),
            ),
            (
                [Some(100), Some(110), Some(900), Some(5)],
                121,
                (121.0, Weeks),
            ),
            ([Some(100); 4], 1000, (200.0, Weeks)),
            ([Some(100); 4], 10, (50.0, Weeks)),
            (
                [Some(100), None, Some(100), Some(80)],
                80,
                (80.0, Yesterday),
            ),
            ([None, None, None, Some(80)], 160, (160.0, Yesterday)),
            ([Some(1), Some(2), None, None], 70, (70.0, Minutes)),
            ([Some(0); 4], 70, (0.0, Weeks)),
        ] {
            let case = Case::new(past, Some(own));
            let (value, by) = case.expected().unwrap();
            assert!((value - wanted.0).abs() < 1e-9, "{past:?} {own}: {value}");
            assert_eq!(by, wanted.1, "{past:?} {own}");
        }
        assert_eq!(Case::new([None; 4], None).expected(), None);
        // Without a last hour nobody knows the growth.
        let mut case = Case::new([Some(100); 4], Some(70));
        case.own = course(NOON, |at| (-9..0).contains(&at).then_some(60 - at));
        assert_eq!(case.expected(), Some((69.0, Minutes)));
    }

    #[test]
    fn the_last_ten_minutes_change_no_growth() {
        let mut case = Case::new([Some(100); 4], Some(100));
        case.own = course(NOON, |at| Some(if at < -10 { 100 } else { 30 }));
        assert_eq!(case.expected(), Some((100.0, ExpectedBy::Weeks)));
    }

    #[test]
    fn what_counterd_did_is_not_compared_over() {
        let mut case = Case::new([Some(1000); 4], Some(1000));
        let at = (NOON - 30) * MINUTE_MS;
        let change = |by, before, after| {
            KnownChanges(vec![KnownChange {
                at,
                by,
                before,
                after,
            }])
        };
        case.known = change(ExplainedBy::Adjust, 1000, 950);
        assert_eq!(case.expected(), Some((1000.0, ExpectedBy::Weeks)));
        case.known = change(ExplainedBy::Reset, 1000, 0);
        case.own = course(NOON, |at| Some(if at < -30 { 1000 } else { 400 }));
        assert_eq!(case.expected(), Some((400.0, ExpectedBy::Minutes)));
    }

    #[test]
    fn a_daily_counter_is_compared_within_its_day() {
        // Four minutes after midnight: before it the value was that of a whole day.
        let midnight = NOON + 720;
        let mut case = Case::new([None; 4], None);
        (case.reset, case.now) = (Reset::Daily, midnight + 4);
        let of_day = |at: Minute| Some(if at < -4 { 9000 } else { 10 + at });
        let same = SameMinutes::at(&case.calendar, case.now);
        case.past = [0, 1, 2, 3].map(|place| course(same.center(place), of_day));
        case.own = course(case.now, |at| of_day(at).filter(|_| at < 0));
        assert_eq!(case.expected(), Some((9.0, ExpectedBy::Minutes)));
        // Two minutes before it, those after it are of another day.
        case.now = midnight - 2;
        let of_day = |at: Minute| Some(if at < 2 { 9000 } else { 0 });
        let same = SameMinutes::at(&case.calendar, case.now);
        case.past = [0, 1, 2, 3].map(|place| course(same.center(place), of_day));
        case.own = course(case.now, |at| of_day(at).filter(|_| at < 0));
        assert_eq!(case.expected(), Some((9000.0, ExpectedBy::Weeks)));
        // Half an hour later growth is known: 20 of the minutes are of this day.
        case.now = midnight + 30;
        let of_day = |at: Minute| Some(if at < -30 { 9000 } else { 100 });
        let same = SameMinutes::at(&case.calendar, case.now);
        case.past = [0, 1, 2, 3].map(|place| course(same.center(place), of_day));
        case.own = course(case.now, |at| of_day(at).filter(|_| at < 0));
        assert_eq!(case.expected(), Some((100.0, ExpectedBy::Weeks)));
    }

    #[test]
    fn the_same_local_minute_is_found_across_both_clock_changes() {
        let calendar = Calendar::new("Europe/Berlin", "00:00".parse().unwrap()).unwrap();
        for (now, week_ago) in [
            // Summer time ended on 2026-10-25.
            ("2026-10-28T12:00:00Z", "2026-10-21T11:00:00Z"),
            ("2026-10-25T01:30:00Z", "2026-10-18T00:30:00Z"),
            ("2026-10-25T00:30:00Z", "2026-10-18T00:30:00Z"),
            // It began on 2027-03-28; a week later the local time that was skipped is the one after.
            ("2027-03-30T12:00:00Z", "2027-03-23T13:00:00Z"),
            ("2027-04-04T00:30:00Z", "2027-03-28T01:30:00Z"),
        ] {
            let minute = |text: &str| {
                let at: jiff::Timestamp = text.parse().unwrap();
                at.as_millisecond() / MINUTE_MS
            };
            let same = SameMinutes::at(&calendar, minute(now));
            assert_eq!(same.center(0), minute(week_ago), "{now}");
        }
    }
}
