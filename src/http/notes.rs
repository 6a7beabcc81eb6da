//! What a handler notes about a request, for the log and the metrics.

use super::code::Code;
use crate::counter::{Applied, CounterName, Effect};
use crate::metrics::OperationResult;

/// How many results the operations of one batch can have: counted, duplicate, clamped, and refused by
/// existence, by rules, by what was sent.
const MAX_RESULTS: usize = 6;

/// Notes of one request.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes {
    /// The counter that the path names, if its name is one.
    pub(super) counter: Option<CounterName>,
    results: [Option<(OperationResult, u64)>; MAX_RESULTS],
}

impl Notes {
    /// Operations by what became of them.
    pub(super) fn results(&self) -> impl Iterator<Item = (OperationResult, u64)> {
        self.results.iter().flatten().copied()
    }

    /// Forgets what became of operations, once it is counted.
    pub(super) fn forget_results(&mut self) {
        self.results = [None; MAX_RESULTS];
    }

    fn add(&mut self, result: OperationResult) {
        for place in &mut self.results {
            match place {
                Some((known, count)) if *known == result => return *count += 1,
                Some(_) => {}
                None => return *place = Some((result, 1)),
            }
        }
    }

    /// Notes an operation that was accepted, now or before under the same key.
    pub(super) fn accepted(&mut self, applied: &Applied, replayed: bool) {
        self.add(match applied.effect {
            _ if replayed => OperationResult::Replayed,
            Effect::Counted => OperationResult::Counted,
            Effect::Duplicate => OperationResult::Duplicate,
            Effect::Clamped => OperationResult::Clamped,
        });
    }

    /// Notes one operation of a batch that was refused by itself.
    pub(super) fn refused_one(&mut self, code: Code, replayed: bool) {
        self.add(if replayed {
            OperationResult::Replayed
        } else {
            code.result()
        });
    }

    /// Notes that `count` operations were refused.
    pub(super) fn refused(&mut self, code: Code, count: usize) {
        self.forget_results();
        if let Some(first) = self.results.first_mut() {
            *first = Some((code.result(), count as u64));
        }
    }

    /// Notes that one operation was refused, unless more is known.
    pub(super) fn refused_unless_noted(&mut self, code: Code) {
        if self.results().next().is_none() {
            self.refused(code, 1);
        }
    }
}
