//! For how long something is late, and what is not known of that: a start begins with nothing.

use super::phase::Verdict;
use super::rule::RuleSettings;
use crate::counter::Millis;

/// For how long something has been late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// For so long at least, in milliseconds.
    pub ms: Millis,
    /// Whether it is not longer. After a start that is not known before it has been on time once.
    pub is_whole: bool,
}

impl Lag {
    /// Judges whether it is longer than the rule allows.
    pub fn judge(self, what: &str, settings: &RuleSettings) -> Verdict {
        if self.ms > settings.within_ms {
            let (lag, most) = (self.ms / 1000, settings.within_ms / 1000);
            let why = format!("{what} for {lag} s, longer than {most} s");
            Verdict::holds(lag, Some(most), why)
        } else if self.is_whole {
            Verdict::Clear
        } else {
            Verdict::Unknown
        }
    }
}

/// How often it is looked whether days are closed, in milliseconds.
const LOOKED_EVERY_MS: Millis = 60_000;

/// Since when a day is over and not closed, by the boot clock. It goes on over midnight: the next day makes none
/// before it closed.
#[derive(Debug, Default)]
pub struct CloseCourse {
    looked_at: Option<Millis>,
    late_since: Option<Millis>,
    was_closed: bool,
}

impl CloseCourse {
    /// Whether it is to be looked again.
    pub fn is_due(&self, boot_ms: Millis) -> bool {
        let is_over = |at: Millis| boot_ms.saturating_sub(at) >= LOOKED_EVERY_MS;
        self.looked_at.is_none_or(is_over)
    }

    /// Takes in whether all days that are over are closed.
    pub fn take(&mut self, boot_ms: Millis, is_closed: bool) {
        self.looked_at = Some(boot_ms);
        self.was_closed |= is_closed;
        if is_closed {
            self.late_since = None;
        } else {
            self.late_since.get_or_insert(boot_ms);
        }
    }

    /// Returns for how long a day has been over and not closed; `None` where that is not known.
    pub fn lag(&self, boot_ms: Millis) -> Option<Lag> {
        self.looked_at?;
        let late = self.late_since.map(|since| boot_ms.saturating_sub(since));
        Some(Lag {
            ms: late.unwrap_or(0),
            is_whole: self.was_closed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::AlertRule;

    #[test]
    fn a_lag_that_may_be_longer_is_no_short_one() {
        let settings = RuleSettings::usual(AlertRule::ExportLag);
        let judged = |ms, is_whole| Lag { ms, is_whole }.judge("late", &settings);
        assert_eq!(judged(600_000, true), Verdict::Clear);
        assert_eq!(judged(0, false), Verdict::Unknown);
        assert_eq!(judged(600_000, false), Verdict::Unknown);
        for is_whole in [false, true] {
            assert!(matches!(judged(600_001, is_whole), Verdict::Holds(_)));
        }
    }

    #[test]
    fn a_day_is_late_until_it_is_closed() {
        let mut course = CloseCourse::default();
        assert_eq!(course.lag(5), None);
        let lag = |ms, is_whole| Some(Lag { ms, is_whole });
        // After a start nobody knows since when.
        course.take(1000, false);
        course.take(61_000, false);
        assert_eq!(course.lag(62_000), lag(61_000, false));
        course.take(121_000, true);
        assert_eq!(course.lag(122_000), lag(0, true));
        course.take(181_000, false);
        assert_eq!(course.lag(181_500), lag(500, true));
    }
}
