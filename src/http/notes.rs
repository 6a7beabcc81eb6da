//! What a handler notes about a request, for the log and the metrics.

use super::code::Code;
use crate::counter::{Applied, CounterName, Effect};
use crate::metrics::OperationResult;

/// Notes of one request.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes {
    /// The counter that the path names, if its name is one.
    pub(super) counter: Option<CounterName>,
    /// How many operations had each result.
    results: [u64; OperationResult::COUNT],
}

impl Notes {
    /// Returns what became of operations, and of how many.
    pub(super) fn results(&self) -> impl Iterator<Item = (OperationResult, u64)> {
        let results = OperationResult::ALL.into_iter().zip(self.results);
        results.filter(|(_, operations)| *operations > 0)
    }

    /// Forgets what became of operations, once it is counted.
    pub(super) fn forget_results(&mut self) {
        self.results.fill(0);
    }

    fn add(&mut self, result: OperationResult, operations: u64) {
        if let Some(count) = self.results.get_mut(result as usize) {
            *count += operations;
        }
    }

    /// Notes an operation that was accepted, now or before under the same key.
    pub(super) fn accepted(&mut self, applied: &Applied, replayed: bool) {
        let result = match applied.effect {
            _ if replayed => OperationResult::Replayed,
            Effect::Counted => OperationResult::Counted,
            Effect::Duplicate | Effect::NotInside => OperationResult::Duplicate,
            Effect::Renewed => OperationResult::Renewed,
            Effect::Clamped => OperationResult::Clamped,
        };
        self.add(result, 1);
    }

    /// Notes one operation of a batch that was refused by itself.
    pub(super) fn refused_one(&mut self, code: Code, replayed: bool) {
        let replayed = replayed.then_some(OperationResult::Replayed);
        self.add(replayed.unwrap_or(code.result()), 1);
    }

    /// Notes that `count` operations were refused.
    pub(super) fn refused(&mut self, code: Code, count: usize) {
        self.forget_results();
        self.add(code.result(), count as u64);
    }

    /// Notes that one operation was refused, unless more is known.
    pub(super) fn refused_unless_noted(&mut self, code: Code) {
        if self.results().next().is_none() {
            self.refused(code, 1);
        }
    }
}
