//! The minutes: once a minute a record that the server was up, and the value of each followed
//! counter that changed in the minute before. What `series` is made of.
//!
//! They go into the first group of the new minute, before anything of that group is worked out, so
//! that a value is exactly the one at the end of its minute.

use std::cmp::Reverse;

use crate::calendar::Day;
use crate::counter::{Existence, Millis};
use crate::storage::Batch;

use super::ledger::{Index, Ledger};

const MINUTE_MS: i64 = 60_000;

/// Which counters are followed, and up to which minute.
pub(super) struct Minutes {
    followed: Vec<Index>,
    max: usize,
    minute: u32,
}

/// What a group writes of the minutes.
#[derive(Default)]
pub(super) struct MinuteRecords {
    pub(super) samples: Vec<(Index, Day, u32, Option<i64>)>,
    pub(super) present: Option<u32>,
}

fn minute_of(wall_ms: Millis) -> u32 {
    u32::try_from(wall_ms.div_euclid(MINUTE_MS).max(0)).unwrap_or(u32::MAX)
}

impl Minutes {
    /// Follows at most `max` counters.
    pub(super) fn new(max: usize) -> Self {
        Self {
            followed: Vec::new(),
            max,
            minute: 0,
        }
    }

    /// Chooses anew, after the ledger was loaded: the counters of the configuration first, then
    /// those that changed last. `last_commit` is the time of the last group on disk: what changed in
    /// that minute has no sample yet.
    pub(super) fn restart(&mut self, ledger: &mut Ledger, last_commit: Option<Millis>) {
        self.minute = last_commit.map_or(0, minute_of);
        let is_wanted = |index: &Index| {
            let entry = ledger.entry(*index);
            entry.is_some_and(|entry| entry.configured || entry.state.existence == Existence::Live)
        };
        self.followed = ledger.indices().filter(is_wanted).collect();
        self.followed.sort_by_cached_key(|&index| {
            let entry = ledger.entry(index)?;
            let changed_last = Reverse(entry.state.changed_at);
            Some((!entry.configured, changed_last, entry.name.clone()))
        });
        self.followed.truncate(self.max);
        let begun = i64::from(self.minute) * MINUTE_MS;
        for &index in &self.followed {
            if let Some(entry) = ledger.entry_mut(index) {
                let is_news = entry.state.changed_at >= begun;
                entry.sampled = Some(if is_news { 0 } else { entry.state.revision });
            }
        }
    }

    /// Follows a counter that changed, if there is room for one more.
    pub(super) fn follow(&mut self, ledger: &mut Ledger, index: Index) {
        if self.followed.len() < self.max
            && let Some(entry) = ledger.entry_mut(index)
            && entry.sampled.is_none()
        {
            entry.sampled = Some(0);
            self.followed.push(index);
        }
    }

    /// Takes back what a group that was not written took of the minutes.
    pub(super) fn take_back(&mut self, ledger: &mut Ledger, records: &MinuteRecords) {
        let Some(present) = records.present else {
            return;
        };
        let ended = records.samples.first().map(|&(_, _, ended, _)| ended);
        self.minute = ended.unwrap_or(present.saturating_sub(1));
        for &(index, ..) in &records.samples {
            if let Some(entry) = ledger.entry_mut(index) {
                entry.sampled = Some(0);
            }
        }
    }

    /// Stops following a counter that leaves the ledger.
    pub(super) fn leave(&mut self, index: Index) {
        self.followed.retain(|&followed| followed != index);
    }

    /// Returns what a group at `now` writes, if it is the first of its minute. Values are those of `day`,
    /// the day counted in so far.
    pub(super) fn passed(
        &mut self,
        ledger: &mut Ledger,
        day: Option<Day>,
        now: Millis,
    ) -> MinuteRecords {
        let minute = minute_of(now);
        if minute == self.minute {
            return MinuteRecords::default();
        }
        let ended = std::mem::replace(&mut self.minute, minute);
        let mut samples = Vec::new();
        for &index in &self.followed {
            let (Some(day), Some(entry)) = (day, ledger.entry_mut(index)) else {
                continue;
            };
            let revision = entry.state.revision;
            if entry.sampled == Some(revision) {
                continue;
            }
            let value = match entry.state.existence {
                Existence::Live => Some(entry.state.stored().value_on(day)),
                Existence::Gone(_) => None,
                Existence::Absent | Existence::Corrupt => continue,
            };
            entry.sampled = Some(revision);
            samples.push((index, day, ended, value));
        }
        MinuteRecords {
            samples,
            present: Some(minute),
        }
    }
}

impl MinuteRecords {
    pub(super) fn is_empty(&self) -> bool {
        self.present.is_none()
    }

    /// Adds them to the batch of a group of that day.
    pub(super) fn put(&self, batch: &mut Batch, ledger: &Ledger, today: Day) {
        for &(index, day, minute, value) in &self.samples {
            if let Some(name) = ledger.entry(index).map(|entry| &entry.name) {
                batch.put_sample(day, name, minute, value);
            }
        }
        if let Some(minute) = self.present {
            batch.put_uptime_minute(today, minute);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counter::CounterName;

    fn ledger(names: &[&str]) -> Ledger {
        let mut ledger = Ledger::default();
        for name in names {
            let index = ledger.add(CounterName::parse(name).unwrap());
            let entry = ledger.entry_mut(index).unwrap();
            entry.state.existence = Existence::Live;
        }
        ledger
    }

    fn change(ledger: &mut Ledger, index: Index, value: i64, at: Millis) {
        let state = &mut ledger.entry_mut(index).unwrap().state;
        state.value = value;
        state.revision += 1;
        state.changed_at = at;
    }

    const DAY: Day = Day::MIN;

    #[test]
    fn a_minute_in_which_nothing_changed_leaves_only_that_the_server_was_there() {
        let mut ledger = ledger(&["a", "b"]);
        let mut minutes = Minutes::new(10);
        minutes.restart(&mut ledger, Some(0));
        change(&mut ledger, 0, 7, 59_999);
        assert!(minutes.passed(&mut ledger, Some(DAY), 59_999).is_empty());
        let first = minutes.passed(&mut ledger, Some(DAY), 60_000);
        assert_eq!(first.present, Some(1));
        assert_eq!(first.samples, [(0, DAY, 0, Some(7))]);
        let second = minutes.passed(&mut ledger, Some(DAY), 120_000);
        assert_eq!((second.present, second.samples.len()), (Some(2), 0));
        change(&mut ledger, 1, 3, 121_000);
        let third = minutes.passed(&mut ledger, Some(DAY), 400_000);
        assert_eq!(third.samples, [(1, DAY, 2, Some(3))]);
    }

    #[test]
    fn no_more_are_followed_than_the_limit_and_the_configured_come_first() {
        let mut ledger = ledger(&["a", "b", "c"]);
        change(&mut ledger, 0, 1, 90_000);
        change(&mut ledger, 1, 1, 80_000);
        ledger.entry_mut(2).unwrap().configured = true;
        let mut minutes = Minutes::new(2);
        minutes.restart(&mut ledger, Some(60_000));
        assert_eq!(minutes.followed, [2, 0]);
        minutes.follow(&mut ledger, 1);
        assert_eq!(minutes.followed, [2, 0]);
        minutes.leave(2);
        minutes.follow(&mut ledger, 1);
        assert_eq!(minutes.followed, [0, 1]);
    }
}
