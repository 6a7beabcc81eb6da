//! How an alert is named and told: its labels, its fingerprint, its texts, the page that says what to do.

use std::collections::BTreeMap;

use super::AlertKey;
use super::book::BookedAlert;
use super::delivery::ToldAlert;
use super::phase::AlertPhase;
use super::rule::Severity;
use crate::counter::rfc3339;
use crate::metrics::AlertRule;

impl AlertRule {
    /// Returns the page of the runbook that says what to do, from `docs/` on.
    pub const fn runbook(self) -> &'static str {
        match self {
            Self::Drop | Self::DropHard => "runbook/alert-drop.md",
            Self::Rise => "runbook/alert-rise.md",
            Self::Flat => "runbook/alert-flat.md",
            Self::AtBound => "runbook/alert-at-bound.md",
            Self::Refusals => "runbook/alert-refusals.md",
            Self::OutcomeUnknown => "runbook/disk-fails.md",
            Self::ReadOnly => "runbook.md",
            Self::ExportLag => "runbook/postgres-away.md",
            Self::MirrorLag => "runbook/redis-away.md",
            Self::Clock => "runbook/clock.md",
            Self::Disk => "runbook/disk-full.md",
            Self::CloseLate => "runbook/days.md",
        }
    }

    /// Returns what is wrong where the rule fires, in few words.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Drop => "is far below what is expected",
            Self::DropHard => "lost a great part of its value within minutes",
            Self::Rise => "is far above what is expected",
            Self::Flat => "does not change any more",
            Self::AtBound => "stands at its bound",
            Self::Refusals => "many operations are refused",
            Self::OutcomeUnknown => "it is not known whether operations counted",
            Self::ReadOnly => "writes are refused",
            Self::ExportLag => "PostgreSQL does not have what was counted",
            Self::MirrorLag => "Redis does not have what was counted",
            Self::Clock => "the wall clock cannot be believed",
            Self::Disk => "the disk will soon be full",
            Self::CloseLate => "a day is over and not closed",
        }
    }
}

/// What receivers are told besides the alert itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoticeTexts {
    /// Which server it is; empty where there is only one.
    pub instance: String,
    /// Whether others count the same: alerts about what all of them count are then not those of one of them.
    pub is_shared: bool,
    /// The address at which people reach the server; empty where none is known.
    pub server_url: String,
    /// What the addresses of the pages of the runbook begin with; empty where they are in `docs/`.
    pub runbook_url: String,
}

impl NoticeTexts {
    /// Returns the labels of an alert, in the order of their names. They name it to receivers.
    pub fn labels(&self, key: &AlertKey, severity: Severity) -> Vec<(&'static str, String)> {
        let mut labels = vec![("alertname", format!("counterd_{}", key.rule.as_str()))];
        if let Some(counter) = &key.counter {
            labels.push(("counter", counter.to_string()));
        }
        let is_of_one = !self.is_shared || key.rule.is_of_instance();
        if is_of_one && !self.instance.is_empty() {
            labels.push(("instance", self.instance.clone()));
        }
        labels.push(("severity", severity.as_str().to_owned()));
        labels
    }

    /// Returns the fingerprint of an alert, as Alertmanager works it out of its labels.
    pub fn fingerprint(&self, key: &AlertKey, severity: Severity) -> String {
        let labels = self.labels(key, severity);
        fingerprint(labels.iter().map(|(name, value)| (*name, value.as_str())))
    }

    /// Returns what receivers are told of an alert.
    pub fn told(&self, key: &AlertKey, alert: &BookedAlert) -> ToldAlert {
        let evidence = &alert.state.evidence;
        let mut annotations = BTreeMap::from([
            ("summary", summary(key)),
            ("description", description(alert)),
            ("runbook", self.runbook(key.rule)),
            ("since", rfc3339(alert.state.since)),
        ]);
        let numbers = [("value", evidence.value), ("expected", evidence.expected)];
        for (name, number) in numbers {
            annotations.extend(number.map(|number| (name, number.to_string())));
        }
        let link = match self.server_url.as_str() {
            "" => String::new(),
            url => format!("{}/api/v1/alerts", url.trim_end_matches('/')),
        };
        ToldAlert {
            labels: self.labels(key, alert.severity).into_iter().collect(),
            annotations,
            starts_at: alert.state.fired_at.unwrap_or(alert.state.since),
            ends_at: match alert.state.phase {
                AlertPhase::Ok => alert.state.ended_at,
                AlertPhase::Pending | AlertPhase::Firing | AlertPhase::Recovering => None,
            },
            fingerprint: self.fingerprint(key, alert.severity),
            link,
            server_url: self.server_url.clone(),
        }
    }

    /// Returns where the page is that says what to do.
    pub fn runbook(&self, rule: AlertRule) -> String {
        let page = rule.runbook();
        if self.runbook_url.is_empty() {
            return format!("docs/{page}");
        }
        format!("{}/{page}", self.runbook_url.trim_end_matches('/'))
    }
}

/// The hash of labels that Alertmanager names alerts by: FNV-1a of 64 bits over names and values, each followed by
/// a byte 255 (`model.LabelSet.Fingerprint` of prometheus/common).
pub(super) fn fingerprint<'l>(labels: impl Iterator<Item = (&'l str, &'l str)>) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut add = |bytes: &[u8]| {
        for byte in bytes.iter().chain(&[255]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    };
    for (name, value) in labels {
        add(name.as_bytes());
        add(value.as_bytes());
    }
    format!("{hash:016x}")
}

/// Says in one line what is wrong.
pub(super) fn summary(key: &AlertKey) -> String {
    match &key.counter {
        Some(counter) => format!("{counter} {}", key.rule.title()),
        None => key.rule.title().to_owned(),
    }
}

/// Says all that is known: why it fires, value, expected, since when.
pub(super) fn description(alert: &BookedAlert) -> String {
    let evidence = &alert.state.evidence;
    let mut text = evidence.why.clone();
    if let Some(value) = evidence.value {
        text.push_str(&format!("; value {value}"));
    }
    if let Some(expected) = evidence.expected {
        text.push_str(&format!(", expected {expected}"));
    }
    text.push_str(&format!("; since {}", rfc3339(alert.state.since)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counter::CounterName;

    #[test]
    fn the_fingerprint_is_the_one_of_alertmanager() {
        let texts = NoticeTexts::default();
        let key = |counter: &str| AlertKey {
            rule: AlertRule::Drop,
            counter: Some(CounterName::parse(counter).unwrap()),
        };
        let print = |counter| texts.fingerprint(&key(counter), Severity::Critical);
        // Worked out by another program, by the definition of FNV-1a. tests/suite/alerting compares with a real one.
        assert_eq!(print("a"), "e1935fcad1704619");
        assert_eq!(print("b"), "da449b2a96c86a96");
        assert_eq!(fingerprint(std::iter::empty()), "cbf29ce484222325");
    }

    #[test]
    fn pages_of_the_runbook_are_there() {
        let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
        for rule in AlertRule::ALL {
            let page = docs.join(rule.runbook());
            assert!(page.is_file(), "{}", page.display());
        }
        let texts = NoticeTexts {
            runbook_url: "https://wiki.example/counterd/".to_owned(),
            ..NoticeTexts::default()
        };
        let wanted = "https://wiki.example/counterd/runbook/disk-full.md";
        assert_eq!(texts.runbook(AlertRule::Disk), wanted);
    }
}
