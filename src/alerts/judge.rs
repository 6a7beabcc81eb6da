//! The rules about a counter, as pure functions of what was found.

use std::collections::VecDeque;

use super::expected::{Expected, ExpectedBy, float};
use super::phase::Verdict;
use super::rule::RuleSettings;
use crate::counter::{Definition, Millis};

/// Returns so many percent of a value.
fn share(percent: i64, of: f64) -> f64 {
    of * float(percent) / 100.0
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "a float beyond an i64 becomes the nearest i64"
)]
fn rounded(value: f64) -> i64 {
    value.round() as i64
}

fn rests_on(expected: &Expected) -> String {
    let growth = expected.growth;
    match expected.by {
        ExpectedBy::Weeks => {
            format!("at this minute of the last three weeks, times {growth:.2} for the last hour")
        }
        ExpectedBy::Yesterday => {
            format!("at this minute yesterday, times {growth:.2} for the last hour")
        }
        ExpectedBy::Minutes => "the highest of the last 15 minutes".to_owned(),
    }
}

/// Judges whether a value is far below what is expected.
pub fn drop(value: i64, expected: Option<Expected>, settings: &RuleSettings) -> Verdict {
    far("below", -1.0, value, expected, settings)
}

/// Judges whether a value is far above what is expected.
pub fn rise(value: i64, expected: Option<Expected>, settings: &RuleSettings) -> Verdict {
    far("above", 1.0, value, expected, settings)
}

/// Judges whether a value is far from what is expected, on the side of `sign`, which `word` names.
fn far(
    word: &str,
    sign: f64,
    value: i64,
    expected: Option<Expected>,
    settings: &RuleSettings,
) -> Verdict {
    let Some(expected) = expected else {
        return Verdict::Unknown;
    };
    let found = float(value);
    let is_far = sign * (found - share(settings.percent, expected.value)) > 0.0
        && sign * (found - expected.value) >= float(settings.least)
        && expected.value >= float(settings.floor);
    if !is_far {
        return Verdict::Clear;
    }
    let why = format!(
        "it is {word} {} % of what is expected ({})",
        settings.percent,
        rests_on(&expected)
    );
    Verdict::holds(value, Some(rounded(expected.value)), why)
}

/// Judges whether a value fell hard from the highest of the last minutes.
pub fn drop_hard(value: i64, highest: Option<i64>, settings: &RuleSettings) -> Verdict {
    let Some(highest) = highest else {
        return Verdict::Unknown;
    };
    let lost = float(highest) - float(value);
    let is_hard = highest > 0
        && lost >= share(settings.percent, float(highest))
        && lost >= float(settings.least);
    if !is_hard {
        return Verdict::Clear;
    }
    let why = format!(
        "it lost at least {} % within {} s",
        settings.percent,
        settings.within_ms / 1000
    );
    Verdict::holds(value, Some(highest), why)
}

/// What is known of how busy a counter is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Activity {
    /// For how long it has not changed, in milliseconds, at least.
    pub quiet_ms: Millis,
    /// For how long it may not have changed, at most.
    pub at_most_ms: Millis,
    /// In which share of the minutes of such a span it changed on earlier days, in percent; `None` where that is
    /// not known.
    pub usual: Option<i64>,
}

/// Judges whether nothing is counted where something always was.
pub fn flat(value: i64, activity: Activity, settings: &RuleSettings) -> Verdict {
    if activity.at_most_ms < settings.within_ms {
        return Verdict::Clear;
    }
    if activity.quiet_ms < settings.within_ms {
        return Verdict::Unknown;
    }
    match activity.usual {
        None => Verdict::Unknown,
        Some(usual) if usual < settings.percent => Verdict::Clear,
        Some(usual) => {
            let quiet = activity.quiet_ms / 1000;
            let why = format!(
                "it has not changed for {quiet} s, and at this time it changes in {usual} % of all minutes"
            );
            Verdict::holds(value, None, why)
        }
    }
}

/// Judges whether a value stands at a bound of its definition. A minimum of 0 is none: there, nobody is.
pub fn at_bound(value: i64, definition: &Definition) -> Verdict {
    let (min, max) = (definition.min, definition.max);
    if value >= max {
        let why = format!("it stands at its maximum, {max}");
        Verdict::holds(value, Some(max), why)
    } else if min < 0 && value <= min {
        let why = format!("it stands at its minimum, {min}");
        Verdict::holds(value, Some(min), why)
    } else {
        Verdict::Clear
    }
}

/// How fine the highest of the last minutes is kept, in milliseconds.
const STEP_MS: Millis = 5_000;

/// The values of a counter in the last minutes, by the time of alerts.
#[derive(Clone, Debug, Default)]
pub struct RecentValues {
    /// The last instant and the highest value of each step, oldest first.
    steps: VecDeque<(Millis, Millis, i64)>,
}

impl RecentValues {
    /// Takes in a value, and forgets those that are older than `within_ms`.
    pub fn push(&mut self, now: Millis, value: i64, within_ms: Millis) {
        match self.steps.back_mut() {
            Some((begun, last, highest)) if now.saturating_sub(*begun) < STEP_MS => {
                *last = now;
                *highest = value.max(*highest);
            }
            Some(_) | None => self.steps.push_back((now, now, value)),
        }
        let oldest = now.saturating_sub(within_ms);
        while self
            .steps
            .front()
            .is_some_and(|(_, last, _)| *last < oldest)
        {
            self.steps.pop_front();
        }
    }

    /// Forgets everything: what comes next is not compared with it.
    pub fn clear(&mut self) {
        self.steps.clear();
    }

    /// Returns the highest value; `None` without any.
    pub fn highest(&self) -> Option<i64> {
        self.steps.iter().map(|(.., highest)| *highest).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::AlertRule;

    fn expected(value: f64) -> Option<Expected> {
        Some(Expected {
            value,
            by: ExpectedBy::Weeks,
            growth: 1.0,
        })
    }

    fn holds(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Holds(_))
    }

    #[test]
    fn a_drop_is_relative_absolute_and_of_something() {
        let settings = RuleSettings::usual(AlertRule::Drop);
        for (value, of, wanted) in [
            (599, 1000.0, true),
            (600, 1000.0, false),
            // At least 100 below.
            (101, 200.0, false),
            (100, 200.0, true),
            // At least 200 expected.
            (0, 199.0, false),
        ] {
            let verdict = drop(value, expected(of), &settings);
            assert_eq!(holds(&verdict), wanted, "{value} of {of}");
        }
        assert_eq!(drop(0, None, &settings), Verdict::Unknown);
    }

    #[test]
    fn a_rise_is_relative_absolute_and_of_something() {
        let settings = RuleSettings::usual(AlertRule::Rise);
        for (value, of, wanted) in [
            (2001, 1000.0, true),
            (2000, 1000.0, false),
            (401, 200.0, true),
            (5000, 199.0, false),
        ] {
            let verdict = rise(value, expected(of), &settings);
            assert_eq!(holds(&verdict), wanted, "{value} of {of}");
        }
        assert_eq!(rise(9, None, &settings), Verdict::Unknown);
    }

    #[test]
    fn a_hard_drop_is_of_the_highest_of_the_last_minutes() {
        let settings = RuleSettings::usual(AlertRule::DropHard);
        for (value, highest, wanted) in [
            (500, 1000, true),
            (501, 1000, false),
            (0, 99, false),
            (0, 100, true),
            (-50, 0, false),
        ] {
            let verdict = drop_hard(value, Some(highest), &settings);
            assert_eq!(holds(&verdict), wanted, "{value} of {highest}");
        }
        let mut recent = RecentValues::default();
        for second in 0..600 {
            let value = if second == 100 { 900 } else { 10 };
            recent.push(second * 1000, value, 300_000);
            let seen = (100..=404).contains(&second);
            assert_eq!(recent.highest() == Some(900), seen, "{second}");
        }
        assert!(recent.steps.len() <= 62, "{}", recent.steps.len());
    }

    #[test]
    fn nothing_is_flat_where_nothing_was_or_nobody_knows() {
        let settings = RuleSettings::usual(AlertRule::Flat);
        let at_most = |quiet_ms, at_most_ms, usual| {
            let activity = Activity {
                quiet_ms,
                at_most_ms,
                usual,
            };
            flat(7, activity, &settings)
        };
        let judged = |quiet_ms, usual| at_most(quiet_ms, quiet_ms, usual);
        assert_eq!(at_most(599_999, 600_000, None), Verdict::Unknown);
        assert_eq!(judged(599_999, Some(100)), Verdict::Clear);
        assert!(holds(&judged(600_000, Some(50))));
        assert_eq!(judged(600_000, Some(49)), Verdict::Clear);
        assert_eq!(judged(600_000, None), Verdict::Unknown);
    }

    #[test]
    fn zero_is_no_bound() {
        let mut definition = Definition {
            max: 100,
            ..Definition::default()
        };
        assert!(holds(&at_bound(100, &definition)));
        assert_eq!(at_bound(0, &definition), Verdict::Clear);
        definition.min = -5;
        assert_eq!(at_bound(0, &definition), Verdict::Clear);
        assert!(holds(&at_bound(-5, &definition)));
    }
}
