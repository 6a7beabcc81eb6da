//! Remembers which current values the database refuses, and when each is tried again.
//!
//! Time is counted in rounds of the export: a value waits one round after it was refused, then two,
//! four, and so on, up to [`LONGEST_WAIT`]. After a certain number of refusals a round leaves the rest to the next
//! one.
//!
//! Kept out: how rows are written (`values`), and who is told (`rounds`).

use std::collections::BTreeMap;
use std::time::Duration;

use super::PostgresError;
use crate::counter::CounterName;

/// The longest time between two attempts at a value.
const LONGEST_WAIT: Duration = Duration::from_secs(5 * 60);

/// Statements that may be refused in one round before the rest waits for the next.
const REFUSALS_AT_MOST: usize = 256;

/// Values that are tried again in one round.
const DUE_AT_MOST: usize = 20_000;

/// Counters that the log names, until all values are there.
const NAMED_AT_MOST: usize = 1000;

/// The values that the database lacks because it refused them, or because they were in a statement with such. Each
/// stays here until the database has it, or its counter is gone.
pub(super) struct RefusedValues {
    waiting: BTreeMap<CounterName, Wait>,
    /// The number of the round.
    round: u64,
    /// The longest wait, in rounds.
    longest: u64,
    /// Refusals that this round may still meet.
    left: usize,
    /// Why the last one was refused.
    reason: String,
    /// How many the log has named since the database last had all.
    named: usize,
}

struct Wait {
    /// The round in which it is tried again.
    due: u64,
    /// How many rounds it waited last; 0 for a value that was never tried by itself.
    waited: u64,
}

impl RefusedValues {
    /// Begins without any refused value. A round begins every `interval`.
    pub(super) fn new(interval: Duration) -> Self {
        let rounds = LONGEST_WAIT.as_millis() / interval.as_millis().max(1);
        Self {
            waiting: BTreeMap::new(),
            round: 0,
            longest: u64::try_from(rounds).unwrap_or(u64::MAX).max(1),
            left: REFUSALS_AT_MOST,
            reason: String::new(),
            named: 0,
        }
    }

    /// Begins a round; returns the values to try again in it, those that have waited longest first.
    pub(super) fn begin(&mut self) -> Vec<CounterName> {
        self.round = self.round.saturating_add(1);
        self.left = REFUSALS_AT_MOST;
        let all = self.waiting.iter().map(|(name, wait)| (wait.due, name));
        let mut due: Vec<_> = all.filter(|(due, _)| *due <= self.round).collect();
        due.sort_unstable();
        due.truncate(DUE_AT_MOST);
        due.into_iter().map(|(_, name)| name.clone()).collect()
    }

    /// Returns whether this round has met as many refusals as it may.
    pub(super) fn is_exhausted(&self) -> bool {
        self.left == 0
    }

    /// Counts a refused statement, whatever becomes of its rows.
    pub(super) fn met(&mut self, error: &PostgresError) {
        self.left = self.left.saturating_sub(1);
        self.reason = error.to_string();
    }

    /// Notes that a value was refused by itself: it waits twice as long as the last time.
    pub(super) fn refuse(&mut self, name: &CounterName, error: &PostgresError) {
        let before = self.waiting.get(name).map_or(0, |wait| wait.waited);
        let waited = before.saturating_mul(2).clamp(1, self.longest);
        let due = self.round.saturating_add(waited);
        self.waiting.insert(name.clone(), Wait { due, waited });
        if before > 0 {
            return;
        }
        self.named = self.named.saturating_add(1);
        let last = if self.named == NAMED_AT_MOST {
            "; others that are will not be named"
        } else {
            ""
        };
        if self.named <= NAMED_AT_MOST {
            tracing::error!(counter = %name, %error, "the current value of a counter is refused{last}");
        }
    }

    /// Notes that a value was not tried by itself: the next round tries it.
    pub(super) fn put_off(&mut self, name: &CounterName) {
        let due = self.round.saturating_add(1);
        let wait = Wait { due, waited: 0 };
        self.waiting.entry(name.clone()).or_insert(wait);
    }

    /// Forgets a value: it is in the database, or its counter is gone.
    pub(super) fn remove(&mut self, name: &CounterName) {
        self.waiting.remove(name);
        if self.waiting.is_empty() {
            self.named = 0;
        }
    }

    /// Returns whether the value waits. A change of its counter does not bring it forward.
    pub(super) fn waits(&self, name: &CounterName) -> bool {
        self.waiting.contains_key(name)
    }

    /// Returns how many values are missing in the database, and why; `None` when none is missing.
    pub(super) fn told(&self) -> Option<(u64, String)> {
        let values = self.waiting.len() as u64;
        let reason = &self.reason;
        let text = format!(
            "current values that the database refuses, or that were sent together with refused ones: {values}; the last reason: {reason}"
        );
        (values > 0).then_some((values, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error() -> PostgresError {
        PostgresError::Refused {
            code: "23514".to_owned(),
            message: "no".to_owned(),
        }
    }

    fn name(text: &str) -> CounterName {
        CounterName::parse(text).unwrap()
    }

    /// The rounds, from 1, in which a value is tried that is refused each time.
    fn tried(refused: &mut RefusedValues, rounds: u64) -> Vec<u64> {
        let mut tried = Vec::new();
        for round in 1..=rounds {
            for name in refused.begin() {
                refused.refuse(&name, &error());
                tried.push(round);
            }
            if round == 1 {
                refused.refuse(&name("a"), &error());
            }
        }
        tried
    }

    #[test]
    fn a_value_is_tried_ever_more_seldom_and_never_given_up() {
        let mut refused = RefusedValues::new(Duration::from_secs(30));
        assert_eq!(tried(&mut refused, 50), [2, 4, 8, 16, 26, 36, 46]);
        let mut refused = RefusedValues::new(Duration::from_secs(3600));
        assert_eq!(tried(&mut refused, 4), [2, 3, 4]);
    }

    #[test]
    fn what_is_put_off_comes_before_what_was_refused_and_is_told() {
        let mut refused = RefusedValues::new(Duration::from_secs(1));
        refused.begin();
        assert_eq!(refused.told(), None);
        refused.refuse(&name("a"), &error());
        refused.begin();
        refused.refuse(&name("a"), &error());
        refused.put_off(&name("b"));
        refused.put_off(&name("a"));
        assert_eq!(refused.begin(), [name("b")]);
        assert_eq!(refused.begin(), [name("b"), name("a")]);
        assert!(refused.told().is_some_and(|(values, _)| values == 2));
        refused.remove(&name("a"));
        refused.remove(&name("b"));
        assert_eq!(refused.told(), None);
    }

    #[test]
    fn of_too_many_that_are_due_those_that_wait_longest_are_tried() {
        let mut refused = RefusedValues::new(Duration::from_secs(1));
        refused.begin();
        refused.put_off(&name("z"));
        refused.begin();
        for number in 0..DUE_AT_MOST + 5 {
            refused.put_off(&name(&format!("a{number}")));
        }
        let due = refused.begin();
        assert_eq!((due.len(), due.first()), (DUE_AT_MOST, Some(&name("z"))));
    }
}
