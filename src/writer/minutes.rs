//! The minutes: once a minute a record that the server was up, and the value of each followed
//! counter that changed in the minute before. What `series` is made of.
//!
//! They go into the first group of the new minute, before anything of that group is worked out, so
//! that a value is exactly the one at the end of its minute.
//!
//! Where several instances share a log, that is the first group of the minute in the log, whose ever it
//! is. The times of groups never go back there, so each instance knows by the groups that it took in
//! which minute is under way and in which day the last group counted: a minute that another instance has
//! ended is ended here too, and what it noted is not noted again. A group that was not appended is taken
//! back with its minute, before what others appended is taken in. Each instance follows the counters that
//! it chose; where more than `samples.max_counters` change, they may have chosen others.

use std::cmp::Reverse;

use crate::calendar::Day;
use crate::counter::{CounterName, Existence, Millis, Revision};
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
    /// The minute that ended.
    ended: u32,
    /// Values at its end.
    samples: Vec<Sample>,
    /// The minute that began.
    present: Option<u32>,
}

/// The value of a counter at the end of a minute.
#[derive(Debug, PartialEq, Eq)]
struct Sample {
    index: Index,
    day: Day,
    /// `None` for a counter that was gone by then.
    value: Option<i64>,
    /// The revision of the sample before.
    before: Option<Revision>,
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
        if records.present.is_none() {
            return;
        }
        self.minute = records.ended;
        for sample in &records.samples {
            if let Some(entry) = ledger.entry_mut(sample.index) {
                entry.sampled = sample.before;
            }
        }
    }

    /// Goes on to the minute of a group of another instance, which has ended those before.
    pub(super) fn come_to(&mut self, wall_ms: Millis) {
        self.minute = self.minute.max(minute_of(wall_ms));
    }

    /// Notes that another instance wrote the value of a counter that has not changed since.
    pub(super) fn sampled_elsewhere(&mut self, ledger: &mut Ledger, name: &CounterName) {
        if let Some(index) = ledger.find(name)
            && let Some(entry) = ledger.entry_mut(index)
            && entry.sampled.is_some()
        {
            entry.sampled = Some(entry.state.revision);
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
            let before = entry.sampled.replace(revision);
            samples.push(Sample {
                index,
                day,
                value,
                before,
            });
        }
        MinuteRecords {
            ended,
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
        for sample in &self.samples {
            if let Some(name) = ledger.entry(sample.index).map(|entry| &entry.name) {
                batch.put_sample(sample.day, name, self.ended, sample.value);
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

    impl MinuteRecords {
        /// The samples: counter, day, minute, value.
        fn told(&self) -> Vec<(Index, Day, u32, Option<i64>)> {
            let told = |of: &Sample| (of.index, of.day, self.ended, of.value);
            self.samples.iter().map(told).collect()
        }
    }

    #[test]
    fn a_minute_in_which_nothing_changed_leaves_only_that_the_server_was_there() {
        let mut ledger = ledger(&["a", "b"]);
        let mut minutes = Minutes::new(10);
        minutes.restart(&mut ledger, Some(0));
        change(&mut ledger, 0, 7, 59_999);
        assert!(minutes.passed(&mut ledger, Some(DAY), 59_999).is_empty());
        let first = minutes.passed(&mut ledger, Some(DAY), 60_000);
        assert_eq!(first.present, Some(1));
        assert_eq!(first.told(), [(0, DAY, 0, Some(7))]);
        let second = minutes.passed(&mut ledger, Some(DAY), 120_000);
        assert_eq!((second.present, second.told()), (Some(2), Vec::new()));
        change(&mut ledger, 1, 3, 121_000);
        let third = minutes.passed(&mut ledger, Some(DAY), 400_000);
        assert_eq!(third.told(), [(1, DAY, 2, Some(3))]);
    }

    #[test]
    fn what_another_instance_noted_of_a_minute_is_not_noted_again() {
        let mut ledger = ledger(&["a", "b"]);
        let mut minutes = Minutes::new(10);
        minutes.restart(&mut ledger, Some(0));
        change(&mut ledger, 0, 7, 59_000);
        change(&mut ledger, 1, 5, 59_000);
        // Its first group of the next minute, and day, notes `a` and changes `b`; `b` is not followed there.
        minutes.come_to(60_000);
        minutes.sampled_elsewhere(&mut ledger, &CounterName::parse("a").unwrap());
        change(&mut ledger, 1, 6, 60_000);
        let tomorrow = DAY.next();
        let in_the_minute = minutes.passed(&mut ledger, Some(tomorrow), 61_000);
        assert!(in_the_minute.is_empty(), "{:?}", in_the_minute.told());
        let next = minutes.passed(&mut ledger, Some(tomorrow), 120_000);
        assert_eq!(next.told(), [(1, tomorrow, 1, Some(6))]);
        minutes.come_to(119_000);
        assert!(
            minutes.passed(&mut ledger, Some(DAY), 121_000).is_empty(),
            "no minute comes back"
        );
    }

    #[test]
    fn a_group_that_is_taken_back_takes_its_minute_back() {
        let mut ledger = ledger(&["a", "b"]);
        let mut minutes = Minutes::new(10);
        minutes.restart(&mut ledger, Some(0));
        change(&mut ledger, 0, 7, 1000);
        assert_eq!(
            minutes.passed(&mut ledger, Some(DAY), 60_000).told().len(),
            1
        );
        change(&mut ledger, 0, 8, 60_000);
        let late = minutes.passed(&mut ledger, Some(DAY), 300_000);
        assert_eq!(late.told(), [(0, DAY, 1, Some(8))]);
        // Another instance was first, in the same minute as the group before.
        minutes.take_back(&mut ledger, &late);
        minutes.come_to(119_000);
        change(&mut ledger, 0, 9, 119_000);
        let again = minutes.passed(&mut ledger, Some(DAY), 300_000);
        assert_eq!(again.told(), [(0, DAY, 1, Some(9))]);
        // And once more, with a group that ended the minute.
        minutes.take_back(&mut ledger, &again);
        minutes.come_to(299_000);
        minutes.sampled_elsewhere(&mut ledger, &CounterName::parse("a").unwrap());
        let nothing = minutes.passed(&mut ledger, Some(DAY), 300_000);
        assert_eq!((nothing.present, nothing.told()), (Some(5), Vec::new()));
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
