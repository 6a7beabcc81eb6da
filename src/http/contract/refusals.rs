//! Refusals that a call meets for what it is: by its role, its body, its rate, and whether it changes anything.

use super::schema::{Field, Shape, TEXT, Type, may, must};
use super::service::with_standing;
use super::values::{COUNT, INSTANT, KIND, RESET, VALUE};
use super::{BodyForm, Code, Endpoint, ParameterIn, RateClass, Role};
use crate::http::auth::Access;
use crate::metrics::RateLimit;

/// Those of a path that is not known, and of a method that a path does not have: no call answers them.
pub(super) const NO_CALL: &[Code] = &[Code::NotFound, Code::MethodNotAllowed];

/// Those that any call may meet.
const ANYWHERE: &[Code] = &[
    Code::BadRequest,
    Code::InvalidQuery,
    Code::OriginNotAllowed,
    Code::RequestTimeout,
    Code::UriTooLong,
    Code::HeadersTooLarge,
    Code::TooManyConnections,
    Code::ShuttingDown,
];

/// Those of a call that asks for a token.
const GUARDED: &[Code] = &[Code::Unauthorized, Code::Forbidden];

/// Those of a call that counts for a limit of a rate.
const LIMITED: &[Code] = &[Code::RateLimited];

/// Those of a call that administrators make.
const ADMINISTRATIVE: &[Code] = &[Code::AdminDisabled];

/// Those of a call with a body.
const WITH_BODY: &[Code] = &[
    Code::InvalidJson,
    Code::InvalidValue,
    Code::UnknownField,
    Code::BodyTooLarge,
    Code::UnsupportedMediaType,
];

/// Those of a call that changes what is stored.
const WRITES: &[Code] = &[Code::ReadOnly, Code::Overloaded, Code::OutcomeUnknown];

/// Those of a call that takes an `Idempotency-Key`.
const KEYED: &[Code] = &[
    Code::InvalidIdempotencyKey,
    Code::IdempotencyKeyReused,
    Code::CorruptKey,
];

impl Endpoint {
    /// Whether it changes what is stored.
    pub(super) fn changes(&self) -> bool {
        matches!(
            self.role,
            Role::Holder(Access::Write | Access::Admin) | Role::AdminInBody
        )
    }

    /// Returns every code that it may answer, in the order of their status.
    pub(super) fn codes(&self) -> Vec<Code> {
        let is_admin = matches!(self.role, Role::Holder(Access::Admin) | Role::AdminInBody);
        let in_header = |parameter: &super::Parameter| {
            parameter.place == ParameterIn::Header && parameter.name == "Idempotency-Key"
        };
        let groups = [
            (true, ANYWHERE),
            (true, self.refusals),
            (self.role != Role::Anyone, GUARDED),
            (self.rate != RateClass::Free, LIMITED),
            (is_admin, ADMINISTRATIVE),
            (!matches!(self.body, BodyForm::None), WITH_BODY),
            (self.changes(), WRITES),
            (self.parameters.iter().any(in_header), KEYED),
        ];
        let may = |code: &Code| {
            let of = |(applies, codes): &(bool, &[Code])| *applies && codes.contains(code);
            groups.iter().any(of)
        };
        Code::ALL.iter().copied().filter(may).collect()
    }
}

// What an error says of the counter, of one operation as of the whole request.
const OF_KIND: Field = may("kind", KIND, "the counter's kind, where that is the reason");
const CURRENT: Field = may("current", VALUE, "the value, where a bound is the reason");
const MINIMUM: Field = may("minimum", VALUE, "the bound");
const MAXIMUM: Field = may("maximum", VALUE, "the bound");
const FINAL_VALUE: Field = may(
    "final_value",
    VALUE,
    "the last value of a counter that is gone",
);
const GONE_AT: Field = may("at", INSTANT, "since when the counter is gone");

/// The body of every error.
pub(super) static PROBLEM: Shape = Shape {
    name: "Problem",
    meaning: "An error (RFC 9457). Nothing of a request that an error answers was counted, with one exception: \
              `outcome_unknown`.",
    fields: with_standing![
        must("success", Type::Flag, "`false`"),
        must("type", TEXT, "`urn:counterd:error:` and the code"),
        must("title", TEXT, "what kind of problem it is, for people"),
        must("status", Type::Whole(400, 599), "the status of the answer"),
        must(
            "detail",
            TEXT,
            "what is wrong with this request and what to do, for people",
        ),
        must(
            "code",
            Type::Word(Code::WORDS),
            "what a program should decide by",
        ),
        must("request_id", TEXT, "the request's id, as in the log"),
        may(
            "index",
            COUNT,
            "the operation of a batch that is malformed or not counted here, from 0",
        ),
        may(
            "name",
            TEXT,
            "the counter, of several, whose record cannot be read",
        ),
        OF_KIND,
        may(
            "reset",
            RESET,
            "how the counter resets, where that is the reason",
        ),
        CURRENT,
        MINIMUM,
        MAXIMUM,
        FINAL_VALUE,
        GONE_AT,
        may(
            "limit",
            Type::Word(RateLimit::WORDS),
            "which limit of a rate it is",
        ),
        may(
            "errors",
            Type::List(&Type::Object(&PART), 0, 1000),
            "the operations of a batch that were refused",
        ),
    ],
    cases: &[],
};

static PART: Shape = Shape {
    name: "RefusedOperation",
    meaning: "An operation of a batch that was refused.",
    fields: &[
        must("index", COUNT, "its place in the batch, from 0"),
        must("code", Type::Word(Code::WORDS), "why it was refused"),
        must("detail", TEXT, "the same, for people"),
        OF_KIND,
        CURRENT,
        MINIMUM,
        MAXIMUM,
        FINAL_VALUE,
        GONE_AT,
    ],
    cases: &[],
};
