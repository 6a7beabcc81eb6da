//! The notices of what turned: numbered, kept in the store until they are delivered, handed to the outbox.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::AlertKey;
use super::book::{BookedAlert, Turned};
use super::delivery::{Outbox, ToldAlert};
use super::notice::NoticeTexts;
use crate::counter::{CounterName, Millis};
use crate::metrics::AlertRule;
use crate::storage::{Batch, NoticeRecord};

/// The notices that are not delivered.
#[derive(Default)]
pub struct Notices {
    /// Those that were handed on, or will be.
    pub outbox: Arc<Outbox>,
    queued: BTreeMap<u64, NoticeRecord>,
    /// Those that were not handed on yet.
    fresh: Vec<(u64, ToldAlert)>,
    /// Those that the store has.
    stored: BTreeSet<u64>,
    last: u64,
}

impl Notices {
    /// Adds the notice of what turned. Its number is the time, or the next one where that is taken: so it is after those
    /// of a store that is read later.
    pub fn add(&mut self, turned: &Turned, texts: &NoticeTexts, now: Millis) {
        let now = u64::try_from(now).unwrap_or(0);
        self.last = self.last.saturating_add(1).max(now);
        let record = NoticeRecord {
            rule: turned.key.rule.as_str().to_owned(),
            counter: turned.key.counter.as_ref().map(CounterName::to_string),
            alert: turned.alert.record(),
        };
        self.queued.insert(self.last, record);
        let told = texts.told(&turned.key, &turned.alert);
        self.fresh.push((self.last, told));
    }

    /// Takes the notices that the store has. What says nothing is dropped there with the next write.
    pub fn restore(&mut self, waiting: Vec<(u64, NoticeRecord)>, texts: &NoticeTexts) {
        let mut restored = Vec::new();
        for (number, record) in waiting {
            self.last = self.last.max(number);
            self.stored.insert(number);
            if self.queued.contains_key(&number) {
                continue;
            }
            if let Some(told) = told(&record, texts) {
                self.queued.insert(number, record);
                restored.push((number, told));
            }
        }
        self.fresh.splice(..0, restored);
    }

    /// Forgets all that were not handed on but those of rules that `stays`: another instance has them.
    pub fn leave(&mut self, stays: impl Fn(AlertRule) -> bool) {
        let is_left = |record: &NoticeRecord| AlertRule::of_word(&record.rule).is_some_and(&stays);
        self.queued.retain(|_, record| is_left(record));
        let queued = &self.queued;
        self.fresh.retain(|(number, _)| queued.contains_key(number));
    }

    /// Forgets those that are done with.
    pub fn take_done(&mut self) {
        for number in self.outbox.take_done() {
            self.queued.remove(&number);
        }
    }

    /// Returns all that are not done with.
    pub fn queued(&self) -> Vec<(u64, NoticeRecord)> {
        let queued = self.queued.iter();
        queued
            .map(|(number, record)| (*number, record.clone()))
            .collect()
    }

    /// Whether the store has them as they are.
    pub fn is_saved(&self) -> bool {
        self.queued.keys().eq(&self.stored)
    }

    /// Puts what the store lacks, and deletes what is done with; returns the notices that the store then has.
    pub fn put(&self, batch: &mut Batch) -> BTreeSet<u64> {
        for (number, record) in &self.queued {
            if !self.stored.contains(number) {
                batch.put_notice(*number, record);
            }
        }
        for number in &self.stored {
            if !self.queued.contains_key(number) {
                batch.delete_notice(*number);
            }
        }
        self.queued.keys().copied().collect()
    }

    /// Notes which notices the store has.
    pub fn saved(&mut self, stored: BTreeSet<u64>) {
        self.stored = stored;
    }

    /// Hands on what is new, with at most `most` waiting; returns how many were given up for that.
    pub fn send(&mut self, most: usize) -> u64 {
        let mut given_up = 0;
        for (number, told) in std::mem::take(&mut self.fresh) {
            given_up += u64::from(self.outbox.push(number, told, most));
        }
        if given_up > 0 {
            tracing::error!(given_up, "too many notices wait; the oldest are given up");
        }
        given_up
    }
}

fn told(record: &NoticeRecord, texts: &NoticeTexts) -> Option<ToldAlert> {
    let counter = match &record.counter {
        None => None,
        Some(name) => Some(CounterName::parse(name).ok()?),
    };
    let key = AlertKey {
        rule: AlertRule::of_word(&record.rule)?,
        counter,
    };
    Some(texts.told(&key, &BookedAlert::of(&record.alert)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::book::AlertBook;
    use crate::alerts::phase::{LookedAt, Verdict};
    use crate::alerts::rule::RuleSettings;

    /// An alert that fires in that second.
    fn fired(second: i64) -> Turned {
        let settings = RuleSettings {
            for_ms: 0,
            ..RuleSettings::usual(AlertRule::Drop)
        };
        let counter = Some(CounterName::parse(&format!("c{second}")).unwrap());
        let key = AlertKey {
            rule: AlertRule::Drop,
            counter,
        };
        let now = LookedAt {
            wall_ms: second * 1000,
            store_ms: second * 1000,
        };
        let verdict = Verdict::holds(1, Some(5), "less".to_owned());
        let turned = AlertBook::default().judge(&key, verdict, now, &settings);
        turned.unwrap()
    }

    #[test]
    fn with_too_many_the_oldest_is_given_up_here_and_in_the_store() {
        let texts = NoticeTexts::default();
        let mut notices = Notices::default();
        for second in 0..12 {
            notices.add(&fired(second), &texts, 0);
        }
        let mut batch = Batch::new();
        let stored = notices.put(&mut batch);
        assert_eq!((stored.len(), batch.count()), (12, 12));
        notices.saved(stored);
        assert!(notices.is_saved());
        assert_eq!(notices.send(10), 2);
        assert_eq!(notices.outbox.count(), 10);
        notices.take_done();
        assert!(!notices.is_saved());
        let mut batch = Batch::new();
        let stored = notices.put(&mut batch);
        assert_eq!(batch.count(), 2, "two are deleted");
        assert_eq!(stored.first(), Some(&3), "the oldest went");
    }

    #[test]
    fn what_was_not_delivered_comes_back_first_with_its_number() {
        let texts = NoticeTexts::default();
        let mut before = Notices::default();
        for second in 0..3 {
            before.add(&fired(second), &texts, 0);
        }
        let waiting: Vec<(u64, NoticeRecord)> = before.queued.into_iter().collect();
        let mut after = Notices::default();
        after.add(&fired(9), &texts, 50);
        after.restore(waiting, &texts);
        let numbers: Vec<u64> = after.fresh.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [1, 2, 3, 50]);
        let told: Vec<&str> = after
            .fresh
            .iter()
            .map(|(_, told)| told.labels["counter"].as_str())
            .collect();
        assert_eq!(told, ["c0", "c1", "c2", "c9"]);
    }
}
