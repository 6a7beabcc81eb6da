//! All alerts that are not ok, by key, and those that ended lately.

use std::collections::BTreeMap;

use super::AlertKey;
use super::phase::{AlertPhase, AlertState, Evidence, LookedAt, Turn, Verdict};
use super::rule::{RuleSettings, Severity};
use crate::counter::Millis;
use crate::metrics::AlertRule;
use crate::seeded::bug;
use crate::storage::AlertRecord;

/// How long an alert that ended is remembered, so that receivers are told of it again.
pub(super) const REMEMBERED_MS: Millis = 5 * 60_000;

/// An alert of the book.
#[derive(Clone, Debug, PartialEq)]
pub struct BookedAlert {
    /// Where it stands.
    pub state: AlertState,
    /// How grave it is.
    pub severity: Severity,
}

/// A turn of an alert, and how the alert stands since.
#[derive(Clone, Debug, PartialEq)]
pub struct Turned {
    /// Which alert.
    pub key: AlertKey,
    /// What turned.
    pub turn: Turn,
    /// How it stands.
    pub alert: BookedAlert,
}

impl Turned {
    /// Whether somebody is to be told.
    pub fn is_news(&self) -> bool {
        match self.turn {
            Turn::Fired | Turn::Resolved => true,
            Turn::Relapsed => bug("tells_relapses"),
            Turn::Pends | Turn::Passed | Turn::Recovers => false,
        }
    }
}

/// The alerts that are not ok.
#[derive(Default)]
pub struct AlertBook {
    alerts: BTreeMap<AlertKey, BookedAlert>,
    /// Those that fired and ended within [`REMEMBERED_MS`].
    ended: BTreeMap<AlertKey, BookedAlert>,
}

impl AlertBook {
    /// Takes in what a rule says; returns what that turned.
    pub fn judge(
        &mut self,
        key: &AlertKey,
        verdict: Verdict,
        now: LookedAt,
        settings: &RuleSettings,
    ) -> Option<Turned> {
        let holds = matches!(verdict, Verdict::Holds(_));
        if !holds && !self.alerts.contains_key(key) {
            return None;
        }
        let alert = self
            .alerts
            .entry(key.clone())
            .or_insert_with(|| BookedAlert {
                state: AlertState::new(),
                severity: settings.severity,
            });
        // What fires keeps the labels that it was told with: another severity would be another alert to receivers.
        if !alert.state.is_on() {
            alert.severity = settings.severity;
        }
        let turn = alert.state.step(verdict, now, settings)?;
        let turned = Turned {
            key: key.clone(),
            turn,
            alert: alert.clone(),
        };
        self.sort_out(&turned);
        Some(turned)
    }

    /// Ends an alert whose rule is judged no more; returns what that turned, `None` where it did not fire.
    pub fn give_up(&mut self, key: &AlertKey, now: LookedAt) -> Option<Turned> {
        let mut alert = self.alerts.remove(key)?;
        let was_on = alert.state.is_on();
        alert.state.evidence.why = "the rule is not judged any more".to_owned();
        let turn = if was_on {
            alert.state.resolve(now)
        } else {
            Turn::Passed
        };
        let turned = Turned {
            key: key.clone(),
            turn,
            alert,
        };
        self.sort_out(&turned);
        Some(turned)
    }

    fn sort_out(&mut self, turned: &Turned) {
        match turned.turn {
            Turn::Fired => {
                self.ended.remove(&turned.key);
            }
            Turn::Passed => {
                self.alerts.remove(&turned.key);
            }
            Turn::Resolved => {
                self.alerts.remove(&turned.key);
                self.ended.insert(turned.key.clone(), turned.alert.clone());
            }
            Turn::Pends | Turn::Recovers | Turn::Relapsed => {}
        }
    }

    /// Forgets those that ended long ago; returns which.
    pub fn forget(&mut self, now: LookedAt) -> Vec<AlertKey> {
        let is_over = |alert: &BookedAlert| {
            let ended = alert.state.ended_at.unwrap_or(Millis::MIN);
            now.wall_ms.saturating_sub(ended) > REMEMBERED_MS
        };
        let over = self.ended.iter().filter(|(_, alert)| is_over(alert));
        let over: Vec<AlertKey> = over.map(|(key, _)| key.clone()).collect();
        for key in &over {
            self.ended.remove(key);
        }
        over
    }

    /// Puts an alert in as it was stored, unless it has turned since the start; what fired by the store was told, and
    /// goes on firing. Returns `false` for a record that says nothing.
    pub fn restore(&mut self, key: AlertKey, record: &AlertRecord) -> bool {
        let Some(alert) = BookedAlert::of(record) else {
            return false;
        };
        let known = self.alerts.get(&key);
        if known.is_some_and(|known| known.state.is_on() || !alert.state.is_on()) {
            return true;
        }
        match alert.state.phase {
            AlertPhase::Ok => self.ended.insert(key, alert),
            AlertPhase::Firing | AlertPhase::Recovering if bug("second_notice") => None,
            AlertPhase::Pending | AlertPhase::Firing | AlertPhase::Recovering => {
                self.alerts.insert(key, alert)
            }
        };
        true
    }

    /// Forgets all but those that `stays`; nobody is told.
    pub fn leave(&mut self, stays: impl Fn(&AlertKey) -> bool) {
        self.alerts.retain(|key, _| stays(key));
        self.ended.retain(|key, _| stays(key));
    }

    /// Returns the alerts that are not ok.
    pub fn alerts(&self) -> &BTreeMap<AlertKey, BookedAlert> {
        &self.alerts
    }

    /// Returns the alerts that ended lately.
    pub fn ended(&self) -> &BTreeMap<AlertKey, BookedAlert> {
        &self.ended
    }

    /// Returns how many alerts of a rule fire.
    pub fn firing(&self, rule: AlertRule) -> usize {
        let of_rule = self.alerts.iter().filter(|(key, _)| key.rule == rule);
        of_rule.filter(|(_, alert)| alert.state.is_on()).count()
    }
}

impl BookedAlert {
    /// Returns whether it is one that is not ok.
    pub fn is_shown(&self) -> bool {
        self.state.phase != AlertPhase::Ok
    }

    /// Reads what the store keeps of it; `None` for a record that says nothing.
    pub fn of(record: &AlertRecord) -> Option<Self> {
        let state = AlertState {
            phase: AlertPhase::of_word(&record.phase)?,
            since: record.since,
            fired_at: record.fired_at,
            ended_at: record.ended_at,
            waits_from: record.waits_from,
            looked_at: None,
            evidence: Evidence {
                value: record.value,
                expected: record.expected,
                why: record.why.clone(),
            },
        };
        let severity = Severity::of_word(&record.severity)?;
        Some(Self { state, severity })
    }

    /// Returns what the store keeps of it.
    pub fn record(&self) -> AlertRecord {
        let AlertState {
            phase,
            since,
            fired_at,
            ended_at,
            waits_from,
            looked_at: _,
            evidence,
        } = &self.state;
        AlertRecord {
            phase: phase.as_str().to_owned(),
            severity: self.severity.as_str().to_owned(),
            since: *since,
            fired_at: *fired_at,
            ended_at: *ended_at,
            waits_from: *waits_from,
            value: evidence.value,
            expected: evidence.expected,
            why: evidence.why.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONCE: RuleSettings = RuleSettings {
        for_ms: 0,
        keep_for_ms: 0,
        ..RuleSettings::usual(AlertRule::Disk)
    };

    fn key() -> AlertKey {
        AlertKey {
            rule: AlertRule::Disk,
            counter: None,
        }
    }

    fn at(second: Millis) -> LookedAt {
        LookedAt {
            wall_ms: second * 1000,
            store_ms: second * 1000,
        }
    }

    fn holds() -> Verdict {
        Verdict::holds(1, Some(2), "less".to_owned())
    }

    #[test]
    fn what_fired_ends_with_the_severity_that_it_was_told_with() {
        let mut book = AlertBook::default();
        let milder = RuleSettings {
            severity: Severity::Info,
            ..AT_ONCE
        };
        let mut severity = |verdict, second, settings: &RuleSettings| {
            let turned = book.judge(&key(), verdict, at(second), settings).unwrap();
            (turned.turn, turned.alert.severity)
        };
        let fired = severity(holds(), 1, &AT_ONCE);
        assert_eq!(fired, (Turn::Fired, Severity::Critical));
        let ended = severity(Verdict::Clear, 2, &milder);
        assert_eq!(ended, (Turn::Resolved, Severity::Critical));
        let again = severity(holds(), 3, &milder);
        assert_eq!(again, (Turn::Fired, Severity::Info));
    }

    #[test]
    fn what_fired_by_the_store_fires_though_it_has_begun_to_wait_anew() {
        let mut before = AlertBook::default();
        before.judge(&key(), holds(), at(1), &AT_ONCE).unwrap();
        let fired = before.alerts()[&key()].clone();
        let waits = RuleSettings {
            for_ms: 60_000,
            ..AT_ONCE
        };
        let mut book = AlertBook::default();
        let pends = book.judge(&key(), holds(), at(100), &waits).unwrap();
        assert_eq!(pends.turn, Turn::Pends);
        assert!(book.restore(key(), &fired.record()));
        assert_eq!(book.alerts()[&key()].state.fired_at, Some(1000));
        // What fired since the start stays as it is.
        let mut later = fired.clone();
        later.state.fired_at = Some(5);
        assert!(book.restore(key(), &later.record()));
        assert_eq!(book.alerts()[&key()].state.fired_at, Some(1000));
    }
}
