//! The rules about the server: writes refused, copies behind, the clock, the disk, days that are not closed.

use std::collections::VecDeque;

use super::lag::Lag;
use super::phase::Verdict;
use super::rule::RuleSettings;
use crate::counter::Millis;
use crate::metrics::{AlertRule, Cause, OperationResult};

/// How the server stands at a look.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServerFacts {
    /// Why writes are refused; `None` while they are served.
    pub read_only: Option<Cause>,
    /// Whether the wall clock has jumped.
    pub clock_fault: bool,
    /// How far the clock is before the day that is counted, in milliseconds.
    pub clock_behind_ms: Millis,
    /// For how long PostgreSQL has not had every change; `None` where nothing is exported.
    pub export_lag: Option<Lag>,
    /// For how long Redis has not had every change; `None` where nothing is mirrored.
    pub mirror_lag: Option<Lag>,
    /// For how long a day has been over and is not closed; `None` where that is not known.
    pub close_lag: Option<Lag>,
}

/// Judges a rule about the server that needs no past.
pub fn judge(rule: AlertRule, facts: &ServerFacts, settings: &RuleSettings) -> Verdict {
    let longer =
        |lag: Option<Lag>, what: &str| lag.map_or(Verdict::Clear, |lag| lag.judge(what, settings));
    match rule {
        AlertRule::ReadOnly => match facts.read_only {
            None => Verdict::Clear,
            Some(cause) => Verdict::holds(
                1,
                Some(0),
                format!(
                    "writes are refused (cause {}): {}",
                    cause.as_str(),
                    cause.remedy()
                ),
            ),
        },
        AlertRule::Clock if facts.clock_fault => Verdict::holds(
            1,
            Some(0),
            "the wall clock jumped: set it right, or accept it with `counterd mode normal --accept-clock`"
                .to_owned(),
        ),
        AlertRule::Clock if facts.clock_behind_ms > 0 => {
            let behind = facts.clock_behind_ms / 1000;
            let why = format!(
                "the clock is {behind} s before the day that is counted: counting goes on in that day"
            );
            Verdict::holds(behind, Some(0), why)
        }
        AlertRule::Clock => Verdict::Clear,
        AlertRule::ExportLag => longer(
            facts.export_lag,
            "PostgreSQL has not had every change",
        ),
        AlertRule::MirrorLag => longer(facts.mirror_lag, "Redis has not had every change"),
        // A day is closed by writing, and `read_only` tells why that is not done.
        AlertRule::CloseLate if facts.read_only.is_some() => Verdict::Unknown,
        AlertRule::CloseLate => match facts.close_lag {
            None => Verdict::Unknown,
            late => longer(late, "a day is over and has not been closed"),
        },
        AlertRule::Drop
        | AlertRule::DropHard
        | AlertRule::Rise
        | AlertRule::Flat
        | AlertRule::AtBound
        | AlertRule::Refusals
        | AlertRule::OutcomeUnknown
        | AlertRule::Disk => Verdict::Unknown,
    }
}

/// How many operations there were by an instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct OperationSums {
    at: Millis,
    all: u64,
    refused: u64,
    unknown: u64,
}

/// How often the sums are kept, unless the longest span would have too many of them.
const SUMS_EVERY_MS: Millis = 10_000;

/// So many sums make the longest span at most.
const MOST_SUMS: Millis = 1000;

/// What became of operations in the last minutes, by the boot clock.
#[derive(Debug, Default)]
pub struct OperationCourse {
    kept: VecDeque<OperationSums>,
    latest: OperationSums,
    /// The longest span that is asked for.
    longest_ms: Millis,
}

impl OperationCourse {
    /// Makes a course of the last `longest_ms` milliseconds.
    pub fn new(longest_ms: Millis) -> Self {
        Self {
            longest_ms,
            ..Self::default()
        }
    }

    /// Takes in how many operations had each result up to now.
    pub fn take(&mut self, boot_ms: Millis, operations: &[u64; OperationResult::COUNT]) {
        let mut sums = OperationSums {
            at: boot_ms,
            ..OperationSums::default()
        };
        for (result, count) in OperationResult::ALL.into_iter().zip(operations) {
            sums.all = sums.all.saturating_add(*count);
            match result {
                OperationResult::RefusedSyntax
                | OperationResult::RefusedAccess
                | OperationResult::RefusedExistence
                | OperationResult::RefusedRules
                | OperationResult::RefusedKey
                | OperationResult::RefusedRate
                | OperationResult::RefusedOverload => {
                    sums.refused = sums.refused.saturating_add(*count);
                }
                OperationResult::OutcomeUnknown => {
                    sums.unknown = sums.unknown.saturating_add(*count);
                }
                // `read_only` tells of those.
                OperationResult::RefusedMode
                | OperationResult::Counted
                | OperationResult::Duplicate
                | OperationResult::Renewed
                | OperationResult::Clamped
                | OperationResult::Replayed => {}
            }
        }
        let every_ms = SUMS_EVERY_MS.max(self.longest_ms / MOST_SUMS);
        let is_due = |last: &OperationSums| boot_ms.saturating_sub(last.at) >= every_ms;
        if self.kept.back().is_none_or(is_due) {
            self.kept.push_back(sums);
        }
        self.latest = sums;
        // The last one before the span stays: the span is counted from it.
        let begin = boot_ms.saturating_sub(self.longest_ms);
        while self.kept.get(1).is_some_and(|one| one.at <= begin) {
            self.kept.pop_front();
        }
    }

    /// Returns how many operations there were in the last span, how many of them were refused, and of how many
    /// nobody knows whether they counted.
    fn within(&self, span_ms: Millis) -> (u64, u64, u64) {
        let begin = self.latest.at.saturating_sub(span_ms);
        let before = self.kept.iter().rev().find(|one| one.at <= begin);
        let first = before.or(self.kept.front()).copied().unwrap_or(self.latest);
        (
            self.latest.all.saturating_sub(first.all),
            self.latest.refused.saturating_sub(first.refused),
            self.latest.unknown.saturating_sub(first.unknown),
        )
    }

    /// Judges whether too many operations are refused.
    pub fn refusals(&self, settings: &RuleSettings) -> Verdict {
        let (all, refused, _) = self.within(settings.within_ms);
        let (least, percent) = (amount(settings.least), amount(settings.percent));
        if refused < least || refused.saturating_mul(100) < all.saturating_mul(percent) {
            return Verdict::Clear;
        }
        let most = all.saturating_mul(percent) / 100;
        let why = format!(
            "{refused} of {all} operations were refused within {} s: `counterd_operations_total` in /metrics says for what",
            settings.within_ms / 1000
        );
        Verdict::holds(number(refused), Some(number(most)), why)
    }

    /// Judges whether the outcome of operations is not known.
    pub fn unknown(&self, settings: &RuleSettings) -> Verdict {
        let (.., unknown) = self.within(settings.within_ms);
        if unknown < amount(settings.least) {
            return Verdict::Clear;
        }
        let why = format!(
            "of {unknown} operations nobody knows whether they counted: a write failed within {} s",
            settings.within_ms / 1000
        );
        Verdict::holds(number(unknown), Some(0), why)
    }
}

fn amount(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn number(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(rule: AlertRule, facts: &ServerFacts) -> Verdict {
        judge(rule, facts, &RuleSettings::usual(rule))
    }

    #[test]
    fn the_server_is_judged_by_what_it_says_of_itself() {
        let whole = |ms| Some(Lag { ms, is_whole: true });
        let well = ServerFacts {
            export_lag: whole(600_000),
            mirror_lag: whole(60_000),
            close_lag: whole(0),
            ..ServerFacts::default()
        };
        for rule in [
            AlertRule::ReadOnly,
            AlertRule::Clock,
            AlertRule::ExportLag,
            AlertRule::MirrorLag,
            AlertRule::CloseLate,
        ] {
            assert_eq!(verdict(rule, &well), Verdict::Clear, "{}", rule.as_str());
        }
        let ill = ServerFacts {
            read_only: None,
            clock_fault: true,
            clock_behind_ms: 5000,
            export_lag: whole(601_000),
            mirror_lag: whole(61_000),
            close_lag: whole(3_601_000),
        };
        for (rule, value) in [
            (AlertRule::Clock, 1),
            (AlertRule::ExportLag, 601),
            (AlertRule::MirrorLag, 61),
            (AlertRule::CloseLate, 3601),
        ] {
            let Verdict::Holds(evidence) = verdict(rule, &ill) else {
                panic!("{}", rule.as_str());
            };
            assert_eq!(evidence.value, Some(value), "{}", rule.as_str());
        }
        let refusing = ServerFacts {
            read_only: Some(Cause::Space),
            ..ill
        };
        assert!(matches!(
            verdict(AlertRule::ReadOnly, &refusing),
            Verdict::Holds(_)
        ));
        assert_eq!(verdict(AlertRule::CloseLate, &refusing), Verdict::Unknown);
        let nothing = ServerFacts::default();
        assert_eq!(verdict(AlertRule::ExportLag, &nothing), Verdict::Clear);
        assert_eq!(verdict(AlertRule::CloseLate, &nothing), Verdict::Unknown);
    }

    #[test]
    fn operations_are_judged_by_those_of_the_last_minutes() {
        let mut course = OperationCourse::new(600_000);
        let mut operations = [0; OperationResult::COUNT];
        let mut take = |course: &mut OperationCourse, second: i64, counted, refused, unknown| {
            operations[OperationResult::Counted as usize] += counted;
            operations[OperationResult::RefusedRules as usize] += refused;
            operations[OperationResult::RefusedMode as usize] += refused;
            operations[OperationResult::OutcomeUnknown as usize] += unknown;
            course.take(second * 1000, &operations);
        };
        let settings = RuleSettings::usual(AlertRule::Refusals);
        // What was refused before the first look is not of these minutes.
        take(&mut course, 0, 0, 5000, 7);
        assert_eq!(course.refusals(&settings), Verdict::Clear);
        take(&mut course, 100, 500, 99, 0);
        assert_eq!(course.refusals(&settings), Verdict::Clear);
        take(&mut course, 110, 0, 1, 2);
        assert!(matches!(course.refusals(&settings), Verdict::Holds(_)));
        let unknown = RuleSettings::usual(AlertRule::OutcomeUnknown);
        assert!(matches!(course.unknown(&unknown), Verdict::Holds(_)));
        take(&mut course, 120, 5000, 0, 0);
        assert_eq!(course.refusals(&settings), Verdict::Clear, "under 10 %");
        for second in 121..440 {
            take(&mut course, second, 0, 0, 0);
        }
        assert_eq!(course.unknown(&unknown), Verdict::Clear);
        assert!(course.kept.len() < 70, "{}", course.kept.len());
    }

    #[test]
    fn the_longest_span_is_looked_back_on_as_a_whole() {
        let day = 24 * 3600;
        let span = 31 * day;
        let mut course = OperationCourse::new(span * 1000);
        let mut operations = [0; OperationResult::COUNT];
        course.take(0, &operations);
        operations[OperationResult::RefusedRules as usize] += 500;
        for second in (60..=span + day).step_by(60) {
            course.take(second * 1000, &operations);
            let settings = RuleSettings {
                within_ms: span * 1000,
                ..RuleSettings::usual(AlertRule::Refusals)
            };
            if second == span {
                let found = course.refusals(&settings);
                assert!(matches!(found, Verdict::Holds(_)), "{found:?}");
            } else if second == span + day {
                assert_eq!(course.refusals(&settings), Verdict::Clear);
            }
        }
        assert!(course.kept.len() <= 1002, "{}", course.kept.len());
    }
}
