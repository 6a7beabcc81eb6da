//! The rules: what each looks for, with the thresholds that hold unless the configuration says otherwise.

use crate::counter::{CounterName, CounterPattern, Millis};
use crate::metrics::AlertRule;

words! {
    /// How grave an alert is.
    Severity {
        /// Somebody is to be woken.
        Critical = "critical",
        /// Somebody is to look at it today.
        Warning = "warning",
        /// It is good to know.
        Info = "info",
    }
}

const SECOND: Millis = 1000;
const MINUTE: Millis = 60 * SECOND;
const HOUR: Millis = 60 * MINUTE;

impl AlertRule {
    /// Returns whether the rule is about a counter; the others are about the server.
    pub const fn is_of_counter(self) -> bool {
        match self {
            Self::Drop | Self::DropHard | Self::Rise | Self::Flat | Self::AtBound => true,
            Self::Refusals
            | Self::OutcomeUnknown
            | Self::ReadOnly
            | Self::ExportLag
            | Self::MirrorLag
            | Self::Clock
            | Self::Disk
            | Self::CloseLate => false,
        }
    }

    /// Returns whether the rule is about one of several instances, and not about what all of them count.
    pub const fn is_of_instance(self) -> bool {
        match self {
            Self::Refusals | Self::OutcomeUnknown | Self::ReadOnly | Self::Clock | Self::Disk => {
                true
            }
            Self::Drop
            | Self::DropHard
            | Self::Rise
            | Self::Flat
            | Self::AtBound
            | Self::ExportLag
            | Self::MirrorLag
            | Self::CloseLate => false,
        }
    }

    /// Returns whether the rule compares a value with those of earlier weeks.
    pub const fn is_seasonal(self) -> bool {
        matches!(self, Self::Drop | Self::Rise | Self::Flat)
    }
}

impl AlertRule {
    /// Whether it compares by a share.
    pub const fn uses_percent(self) -> bool {
        matches!(
            self,
            Self::Drop | Self::DropHard | Self::Rise | Self::Flat | Self::Refusals
        )
    }

    /// Whether it wants a least difference, or number.
    pub const fn uses_least(self) -> bool {
        matches!(
            self,
            Self::Drop | Self::DropHard | Self::Rise | Self::Refusals | Self::OutcomeUnknown
        )
    }

    /// Whether it wants a least expected value.
    pub const fn uses_floor(self) -> bool {
        matches!(self, Self::Drop | Self::Rise)
    }

    /// Whether it looks back on a span of time, or ahead.
    pub const fn uses_within(self) -> bool {
        match self {
            Self::DropHard
            | Self::Flat
            | Self::Refusals
            | Self::OutcomeUnknown
            | Self::ExportLag
            | Self::MirrorLag
            | Self::Disk
            | Self::CloseLate => true,
            Self::Drop | Self::Rise | Self::AtBound | Self::ReadOnly | Self::Clock => false,
        }
    }
}

/// The thresholds of a rule. What a threshold that a rule does not use says is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleSettings {
    /// Whether it is judged at all.
    pub enabled: bool,
    /// How grave it is.
    pub severity: Severity,
    /// Of what it is compared with, in percent.
    pub percent: i64,
    /// By how much at least, in what the rule counts.
    pub least: i64,
    /// The expected value is at least this, else nothing is said.
    pub floor: i64,
    /// The span of time that the rule looks back on, or ahead, in milliseconds.
    pub within_ms: Millis,
    /// How long it must hold before it fires, in milliseconds of store time.
    pub for_ms: Millis,
    /// How long it must not hold before it has ended, in milliseconds of store time.
    pub keep_for_ms: Millis,
}

impl RuleSettings {
    /// Returns the thresholds of a rule as they are without any configuration.
    pub const fn usual(rule: AlertRule) -> Self {
        let base = Self {
            enabled: true,
            severity: Severity::Warning,
            percent: 0,
            least: 0,
            floor: 0,
            within_ms: 0,
            for_ms: 0,
            keep_for_ms: 5 * MINUTE,
        };
        let critical = Self {
            severity: Severity::Critical,
            ..base
        };
        match rule {
            AlertRule::Drop => Self {
                percent: 60,
                least: 100,
                floor: 200,
                for_ms: 60 * SECOND,
                ..critical
            },
            AlertRule::DropHard => Self {
                percent: 50,
                least: 100,
                within_ms: 5 * MINUTE,
                ..critical
            },
            AlertRule::Rise => Self {
                percent: 200,
                least: 200,
                floor: 200,
                for_ms: 60 * SECOND,
                ..base
            },
            AlertRule::Flat => Self {
                percent: 50,
                within_ms: 10 * MINUTE,
                ..critical
            },
            AlertRule::AtBound => Self {
                for_ms: 60 * SECOND,
                ..base
            },
            AlertRule::Refusals => Self {
                percent: 10,
                least: 100,
                within_ms: 5 * MINUTE,
                for_ms: 60 * SECOND,
                ..base
            },
            AlertRule::OutcomeUnknown => Self {
                least: 1,
                within_ms: 5 * MINUTE,
                ..critical
            },
            AlertRule::ReadOnly => Self {
                for_ms: 10 * SECOND,
                ..critical
            },
            AlertRule::ExportLag => Self {
                within_ms: 10 * MINUTE,
                for_ms: 60 * SECOND,
                ..base
            },
            AlertRule::MirrorLag => Self {
                within_ms: MINUTE,
                for_ms: 60 * SECOND,
                ..base
            },
            AlertRule::Clock => critical,
            AlertRule::Disk => Self {
                within_ms: 24 * HOUR,
                for_ms: 10 * MINUTE,
                ..critical
            },
            AlertRule::CloseLate => Self {
                within_ms: HOUR,
                ..base
            },
        }
    }
}

/// One `[[alert]]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleEntry {
    /// The rule.
    pub rule: AlertRule,
    /// The counters that it is for; empty for all that the rule is judged for.
    pub counters: Vec<CounterPattern>,
    /// Its thresholds.
    pub settings: RuleSettings,
}

/// The rules of a server: those of the configuration, then those that hold without one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertRules {
    entries: Vec<RuleEntry>,
}

impl AlertRules {
    /// Makes the rules of a configuration, in the order in which they are written.
    pub fn new(entries: Vec<RuleEntry>) -> Self {
        Self { entries }
    }

    /// Returns the thresholds of a rule for a counter (`None` for a rule about the server): the first entry
    /// that names the counter holds, then the first that names none, then what holds without a configuration.
    /// `None` where the rule is switched off.
    pub fn of(&self, rule: AlertRule, counter: Option<&CounterName>) -> Option<RuleSettings> {
        let mut of_rule = self.entries.iter().filter(|entry| entry.rule == rule);
        let named = counter.and_then(|counter| {
            let mut of_rule = self.entries.iter().filter(|entry| entry.rule == rule);
            of_rule.find(|entry| entry.counters.iter().any(|one| one.matches(counter)))
        });
        let entry = named.or_else(|| of_rule.find(|entry| entry.counters.is_empty()));
        let settings = entry.map_or_else(|| RuleSettings::usual(rule), |entry| entry.settings);
        settings.enabled.then_some(settings)
    }

    /// Returns the counters that the configuration names for rules that are on.
    pub fn named(&self) -> impl Iterator<Item = &CounterPattern> {
        let on = self.entries.iter().filter(|entry| entry.settings.enabled);
        on.flat_map(|entry| &entry.counters)
    }

    /// Returns whether any rule that compares with earlier weeks is on for any counter.
    pub fn has_seasonal(&self) -> bool {
        let seasonal = || AlertRule::ALL.into_iter().filter(|rule| rule.is_seasonal());
        let named = self.entries.iter();
        let mut named =
            named.filter(|entry| entry.rule.is_seasonal() && !entry.counters.is_empty());
        named.any(|entry| entry.settings.enabled)
            || seasonal().any(|rule| self.of(rule, None).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> CounterName {
        CounterName::parse(text).unwrap()
    }

    fn entry(rule: AlertRule, counters: &[&str], percent: i64, enabled: bool) -> RuleEntry {
        let patterns = counters
            .iter()
            .map(|text| CounterPattern::parse(text).unwrap());
        RuleEntry {
            rule,
            counters: patterns.collect(),
            settings: RuleSettings {
                percent,
                enabled,
                ..RuleSettings::usual(rule)
            },
        }
    }

    #[test]
    fn what_names_the_counter_comes_before_what_names_none() {
        let rules = AlertRules::new(vec![
            entry(AlertRule::Drop, &[], 70, true),
            entry(AlertRule::Drop, &["event:*"], 80, true),
            entry(AlertRule::Drop, &["event:quiet"], 1, false),
            entry(AlertRule::Drop, &["lobby"], 1, false),
        ]);
        let percent = |counter: &str| {
            let found = rules.of(AlertRule::Drop, Some(&name(counter)));
            found.map(|settings| settings.percent)
        };
        assert_eq!(percent("online_players"), Some(70));
        assert_eq!(percent("event:xmas"), Some(80));
        assert_eq!(percent("event:quiet"), Some(80), "the first that names it");
        assert_eq!(percent("lobby"), None);
        let usual = rules.of(AlertRule::Rise, Some(&name("lobby")));
        assert_eq!(usual, Some(RuleSettings::usual(AlertRule::Rise)));
    }

    #[test]
    fn seasonal_rules_are_there_until_each_is_switched_off() {
        let off = |rules: &[AlertRule]| -> AlertRules {
            let entries = rules.iter().map(|rule| entry(*rule, &[], 1, false));
            AlertRules::new(entries.collect())
        };
        assert!(AlertRules::default().has_seasonal());
        assert!(off(&[AlertRule::Drop, AlertRule::Rise]).has_seasonal());
        let all = [AlertRule::Drop, AlertRule::Rise, AlertRule::Flat];
        assert!(!off(&all).has_seasonal());
        let mut entries = off(&all).entries;
        entries.push(entry(AlertRule::Drop, &["a"], 60, true));
        assert!(AlertRules::new(entries).has_seasonal());
    }
}
