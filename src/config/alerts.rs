//! The rules that the configuration changes: `[[alert]]` of the file.

use std::time::Duration;

use super::forms::{ALERT_RULE, Count, Form, MaybeOf, PATTERNS, SEVERITY, Span, Switch};
use super::mistakes::Report;
use super::reader::{Reader, Written, unset};
use super::rows::{Key, key_word, optional, section};
use crate::alerts::{AlertRule, RuleEntry, RuleSettings, Severity};
use crate::counter::CounterPattern;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

const fn days(days: u64) -> Duration {
    Duration::from_secs(86_400 * days)
}

section! {
    /// One `[[alert]]`. What is not written is as it is without the entry.
    AlertTable, "", {
        /// Which rule.
        rule: AlertRule = ALERT_RULE;
        /// The counters that it is for; empty for all that the rule is judged for.
        counters: Vec<CounterPattern> = PATTERNS, "";
        /// Of what it is compared with, in percent.
        percent: Option<i64> = MaybeOf(Count(1, 10_000)), else unset;
        /// By how much at least.
        least: Option<i64> = MaybeOf(Count(0, i64::MAX)), else unset;
        /// The expected value is at least this.
        floor: Option<i64> = MaybeOf(Count(0, i64::MAX)), else unset;
        /// The span of time that the rule looks back on, or ahead.
        within: Option<Duration> = MaybeOf(Span(SECOND, days(31))), else unset;
        /// How long it must hold before it fires.
        for_ as "for": Option<Duration> = MaybeOf(Span(Duration::ZERO, days(1))), else unset;
        /// How long it must not hold before it has ended.
        keep_for: Option<Duration> = MaybeOf(Span(Duration::ZERO, days(1))), else unset;
        /// How grave it is.
        severity: Option<Severity> = MaybeOf(SEVERITY), else unset;
        /// Whether it is judged at all.
        enabled: bool = Switch, "true";
    }
}

/// The longest span that a rule about a counter looks back on: more is not remembered.
const LONGEST_WITHIN: Duration = HOUR;

impl AlertTable {
    /// Returns the table of an entry, with what its rule uses.
    fn of(entry: &RuleEntry) -> Self {
        let (rule, settings) = (entry.rule, entry.settings);
        let span = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
        Self {
            rule,
            counters: entry.counters.clone(),
            percent: rule.uses_percent().then_some(settings.percent),
            least: rule.uses_least().then_some(settings.least),
            floor: rule.uses_floor().then_some(settings.floor),
            within: rule.uses_within().then(|| span(settings.within_ms)),
            for_: Some(span(settings.for_ms)),
            keep_for: Some(span(settings.keep_for_ms)),
            severity: Some(settings.severity),
            enabled: settings.enabled,
        }
    }

    fn entry(self) -> RuleEntry {
        let usual = RuleSettings::usual(self.rule);
        let span = |span: Option<Duration>, usual: i64| {
            span.map_or(usual, |span| {
                i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
            })
        };
        RuleEntry {
            rule: self.rule,
            counters: self.counters,
            settings: RuleSettings {
                enabled: self.enabled,
                severity: self.severity.unwrap_or(usual.severity),
                percent: self.percent.unwrap_or(usual.percent),
                least: self.least.unwrap_or(usual.least),
                floor: self.floor.unwrap_or(usual.floor),
                within_ms: span(self.within, usual.within_ms),
                for_ms: span(self.for_, usual.for_ms),
                keep_for_ms: span(self.keep_for, usual.keep_for_ms),
            },
        }
    }
}

/// Returns the rules of every `[[alert]]`, in the order of the file; what is wrong is reported.
pub(super) fn read(written: &mut Written, report: &mut Report) -> Vec<RuleEntry> {
    let mut entries = Vec::new();
    for (source, table) in written.arrays.remove("alert").unwrap_or_default() {
        let mut reader = Reader::new(table, report);
        reader.table = Some((&source, "table [[alert]]"));
        let Some(table) = AlertTable::read(&mut reader) else {
            continue;
        };
        let (rule, word) = (table.rule, table.rule.as_str());
        if !rule.is_of_counter() && !table.counters.is_empty() {
            let text = format!("the rule {word} is about the server: it takes no counters");
            report.mistake(&source, text);
        }
        if rule.is_of_counter() && table.within.is_some_and(|within| within > LONGEST_WITHIN) {
            report.mistake(&source, format!("within of the rule {word} is 1h at most"));
        }
        for (name, is_set, is_used) in [
            ("percent", table.percent.is_some(), rule.uses_percent()),
            ("least", table.least.is_some(), rule.uses_least()),
            ("floor", table.floor.is_some(), rule.uses_floor()),
            ("within", table.within.is_some(), rule.uses_within()),
        ] {
            if is_set && !is_used {
                report.mistake(&source, format!("the rule {word} does not use {name}"));
            }
        }
        entries.push(table.entry());
    }
    entries
}

/// Returns what the entry says, as it would be written in the file.
pub(super) fn shown(entry: &RuleEntry) -> String {
    let fields = AlertTable::of(entry).show();
    let fields = fields
        .into_iter()
        .filter(|(key, value)| key.name != "rule" && !value.is_empty());
    let fields: Vec<String> = fields
        .map(|(key, value)| format!("{} = {value}", key.name))
        .collect();
    format!(
        "alert.{} = {{ {} }}",
        entry.rule.as_str(),
        fields.join(", ")
    )
}
