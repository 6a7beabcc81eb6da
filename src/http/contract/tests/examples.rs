//! An example of each error, made by the code that answers it.

use serde_json::Value;

use crate::counter::{Gone, Kind, Refusal, RequestId, Reset};
use crate::engine::{Cause, Failure};
use crate::http::code::Code;
use crate::http::error::{Extras, Limited, Problem};
use crate::http::parse;

/// What a server says of a body of an increment that is not right.
fn of_body(body: &str) -> Problem {
    parse::change(body.as_bytes()).unwrap_err()
}

fn of_batch(body: &str) -> Problem {
    parse::batch(body.as_bytes()).unwrap_err()
}

fn gone(expired: bool) -> Problem {
    let gone = Gone {
        expired,
        final_value: 42,
        at: 1_795_516_200_000,
    };
    Refusal::Gone(gone).into()
}

/// An answer of a server with that code.
fn answered(code: Code) -> Problem {
    let (kind, current) = (Kind::Sum, 3);
    match code {
        Code::InvalidJson => of_body(r#"{"value":1,"value":1}"#),
        Code::UnknownField => of_body(r#"{"valeu":1}"#),
        Code::InvalidValue => of_body(r#"{"value":0}"#),
        Code::InvalidUserId => of_body(r#"{"user_id":7}"#),
        Code::InvalidMetadata => of_body(r#"{"metadata":[]}"#),
        Code::InvalidSession => parse::leave(br#"{"session":7}"#).unwrap_err(),
        Code::InvalidBatch => of_batch(r#"{"operations":[{"op":"up","name":"a"}]}"#),
        Code::InvalidName => parse::name("Online").unwrap_err(),
        Code::NotCountedHere => parse::not_counted(&parse::name("shop:sales").unwrap()),
        Code::MissingUserId => Refusal::MissingUserId.into(),
        Code::InvalidDefinition => Refusal::ExpiresInPast.into(),
        Code::UnknownCounter => Refusal::UnknownCounter.into(),
        Code::TooManyCounters => Refusal::TooManyCounters { max: 100_000 }.into(),
        Code::CounterDeleted => gone(false),
        Code::CounterExpired => gone(true),
        Code::WrongKind => Refusal::WrongKind {
            kind,
            wanted: "decrement",
        }
        .into(),
        Code::BelowMinimum => Refusal::BelowMinimum {
            current,
            minimum: 0,
        }
        .into(),
        Code::AboveMaximum => Refusal::AboveMaximum {
            current,
            maximum: 3,
        }
        .into(),
        Code::DefinitionConflict => Refusal::DefinitionConflict {
            kind,
            reset: Reset::Never,
        }
        .into(),
        Code::DefinedInConfig => Refusal::DefinedInConfig.into(),
        Code::CorruptRecord => Refusal::Corrupt.into(),
        Code::UnreadableUser => Refusal::UnreadableUser.into(),
        Code::BatchRefused => {
            let refused = Refusal::WrongKind {
                kind,
                wanted: "decrement",
            };
            Refusal::Batch([(1, refused)].into()).into()
        }
        Code::IdempotencyKeyReused => Failure::KeyReused.into(),
        Code::CorruptKey => Failure::KeyCorrupt.into(),
        Code::ReadOnly => Failure::ReadOnly(Cause::Space).into(),
        Code::Overloaded => Failure::Overloaded.into(),
        Code::OutcomeUnknown => Failure::OutcomeUnknown.into(),
        Code::ShuttingDown => Failure::Closing.into(),
        Code::SlowDisk => {
            let cause = Code::SlowDisk.as_str();
            Problem::new(code, code.advice()).with(Extras::Cause { cause })
        }
        Code::RateLimited => {
            let limited = Limited {
                limit: "ip_writes",
                of_address: true,
                policy: String::new(),
                state: String::new(),
                errors: Vec::new(),
            };
            Problem::new(code, "your address asks too often; retry after a second")
                .with(Extras::Limited(Box::new(limited)))
        }
        // What is said of these depends on the request; what to do is the same.
        Code::BadRequest
        | Code::InvalidAdjustment
        | Code::InvalidSilence
        | Code::TooManySilences
        | Code::InvalidQuery
        | Code::InvalidIdempotencyKey
        | Code::Unauthorized
        | Code::Forbidden
        | Code::AdminDisabled
        | Code::OriginNotAllowed
        | Code::NotFound
        | Code::MethodNotAllowed
        | Code::RequestTimeout
        | Code::BodyTooLarge
        | Code::UriTooLong
        | Code::UnsupportedMediaType
        | Code::UpgradeRequired
        | Code::HeadersTooLarge
        | Code::UnknownHere
        | Code::StoreReopening
        | Code::TooManyConnections => Problem::new(code, code.advice()),
    }
}

/// The body of such an answer.
pub(super) fn problem(code: Code) -> Value {
    let answered = answered(code);
    assert_eq!(answered.code, code);
    let id = RequestId::Made(0x5acd_304c_f4e0_d67e);
    serde_json::from_slice(&answered.to_json(&id)).unwrap()
}
