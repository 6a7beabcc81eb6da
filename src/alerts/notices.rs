//! The notices of what turned: numbered, kept in the store until they are delivered, handed to the outbox.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::AlertKey;
use super::book::{BookedAlert, Turned};
use super::delivery::{Outbox, ToldAlert};
use super::notice::NoticeTexts;
use crate::counter::CounterName;
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
    /// Adds the notice of what turned.
    pub fn add(&mut self, turned: &Turned, texts: &NoticeTexts) {
        self.last += 1;
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
            if let Some(told) = told(&record, texts) {
                self.queued.insert(number, record);
                restored.push((number, told));
            }
        }
        self.fresh.splice(..0, restored);
    }

    /// Forgets those that are done with.
    pub fn take_done(&mut self) {
        for number in self.outbox.take_done() {
            self.queued.remove(&number);
        }
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
