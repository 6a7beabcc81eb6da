//! Which of several instances judges, stores and tells what is true of all: counters, days, copies. It is the one that closes
//! days. What an instance says of itself (its disk, its clock, what it refuses) each tells by itself, and stores nowhere: the
//! records are those of all.

use std::collections::BTreeSet;

use super::{AlertKey, AlertShown, AlertWatch};
use crate::alerts::book::BookedAlert;
use crate::alerts::lag::CloseCourse;
use crate::metrics::AlertRule;
use crate::storage::Tables;

impl AlertWatch {
    /// Takes up the alerts of all, as the instance left them that had them before, or leaves them to another. While writes
    /// are refused nobody knows who has them, and they stay where they are.
    pub(super) fn take_turns(&mut self) {
        let keeps = self.running.has_chores();
        if keeps == self.keeps || self.running.mode.refuses().is_some() {
            return;
        }
        self.keeps = keeps;
        self.unsaved.clear();
        self.notices.saved(BTreeSet::new());
        if keeps {
            self.read_of = None;
        } else {
            self.book.leave(|key| key.rule.is_of_instance());
            self.notices.leave(AlertRule::is_of_instance);
            self.counters.begin_anew();
            self.close = CloseCourse::default();
        }
    }

    /// Whether other instances judge as well.
    pub(super) fn is_shared(&self) -> bool {
        self.running.storage.shared.is_some()
    }

    /// Whether an alert of this rule that the store has is one of this instance.
    pub(super) fn is_kept(&self, rule: AlertRule) -> bool {
        if rule.is_of_instance() {
            !self.is_shared()
        } else {
            self.keeps
        }
    }

    /// Returns the alerts of all as the instance stored them that has them.
    pub(super) fn kept_elsewhere(&self) -> Vec<AlertShown> {
        if self.keeps {
            return Vec::new();
        }
        // Without a store nobody knows.
        let stored = self.running.reader.with(Tables::alerts).unwrap_or_default();
        let mut shown = Vec::new();
        for (rule, counter, record) in stored {
            let rule = AlertRule::of_word(&rule).filter(|rule| !rule.is_of_instance());
            let alert = BookedAlert::of(&record).filter(BookedAlert::is_shown);
            if let (Some(rule), Some(alert)) = (rule, alert) {
                shown.push(self.shown(&AlertKey { rule, counter }, &alert));
            }
        }
        shown
    }
}
