//! What a handler notes about a request, for the log and the metrics.

use super::error::Code;
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
            result_of(code)
        });
    }

    /// Notes that `count` operations were refused.
    pub(super) fn refused(&mut self, code: Code, count: usize) {
        self.results = [None; MAX_RESULTS];
        if let Some(first) = self.results.first_mut() {
            *first = Some((result_of(code), count as u64));
        }
    }

    /// Notes that one operation was refused, unless more is known.
    pub(super) fn refused_unless_noted(&mut self, code: Code) {
        if self.results().next().is_none() {
            self.refused(code, 1);
        }
    }
}

/// Under what a refusal is counted.
fn result_of(code: Code) -> OperationResult {
    match code {
        Code::BadRequest
        | Code::InvalidJson
        | Code::UnknownField
        | Code::InvalidValue
        | Code::MissingUserId
        | Code::InvalidUserId
        | Code::InvalidMetadata
        | Code::InvalidName
        | Code::InvalidDefinition
        | Code::InvalidAdjustment
        | Code::InvalidBatch
        | Code::InvalidQuery
        | Code::InvalidIdempotencyKey
        | Code::NotFound
        | Code::MethodNotAllowed
        | Code::RequestTimeout
        | Code::BodyTooLarge
        | Code::UriTooLong
        | Code::UnsupportedMediaType
        | Code::HeadersTooLarge => OperationResult::RefusedSyntax,
        Code::Unauthorized | Code::Forbidden | Code::AdminDisabled | Code::OriginNotAllowed => {
            OperationResult::RefusedAccess
        }
        Code::UnknownCounter
        | Code::TooManyCounters
        | Code::CounterDeleted
        | Code::CounterExpired => OperationResult::RefusedExistence,
        Code::WrongKind
        | Code::BelowMinimum
        | Code::AboveMaximum
        | Code::DefinitionConflict
        | Code::DefinedInConfig
        | Code::BatchRefused
        | Code::CorruptRecord
        | Code::UnreadableUser => OperationResult::RefusedRules,
        Code::IdempotencyKeyReused | Code::CorruptKey => OperationResult::RefusedKey,
        Code::Overloaded | Code::TooManyConnections => OperationResult::RefusedOverload,
        Code::ReadOnly
        | Code::SlowDisk
        | Code::UnknownHere
        | Code::StoreReopening
        | Code::ShuttingDown => OperationResult::RefusedMode,
        Code::OutcomeUnknown => OperationResult::OutcomeUnknown,
    }
}
