//! Types and parameters that several calls have in common.

use super::schema::{Parameter, ParameterIn, TEXT, Type, format, pattern};
use super::{GoodAnswer, Media};
use crate::counter::{Kind, MAX_WEIGHT, Reset};

const I64_MIN: i128 = i64::MIN as i128;
const I64_MAX: i128 = i64::MAX as i128;

/// Any value of a counter.
pub(super) const VALUE: Type = Type::Whole(I64_MIN, I64_MAX);
/// How much one operation adds or takes.
pub(super) const AMOUNT: Type = Type::Whole(1, I64_MAX);
/// How much a lease weighs.
pub(super) const WEIGHT: Type = Type::Whole(0, MAX_WEIGHT as i128);
/// The value of an operation of a batch, whichever it is.
pub(super) const AMOUNT_OR_WEIGHT: Type = Type::Whole(0, I64_MAX);
/// A number of things.
pub(super) const COUNT: Type = Type::Whole(0, u64::MAX as i128);
/// A sum over a day, which may be greater than any value.
pub(super) const SUM: Type = Type::Whole(0, i128::MAX);

/// A counter's name.
pub(super) const NAME_TYPE: Type = pattern(
    "^(?!.*:meta$)(?!.*:users:)[a-z0-9][a-z0-9_.:-]{0,99}$",
    Some("counter-name"),
    1,
    100,
);
/// A user id or a session: its limit is one of bytes, which no regular expression can say.
pub(super) const ID: Type = pattern(
    "^[^\\u0000-\\u001f\\u007f-\\u009f]+$",
    Some("utf8-128"),
    1,
    128,
);
/// Why an administrator does something: not blank, at most 1000 bytes, which no regular expression can say.
pub(super) const REASON: Type = pattern(
    "^[^\\u0000-\\u001f\\u007f-\\u009f]*[^\\s\\u0000-\\u001f\\u007f-\\u009f][^\\u0000-\\u001f\\u007f-\\u009f]*$",
    Some("reason"),
    1,
    1000,
);
/// An instant in UTC, to the millisecond.
pub(super) const INSTANT: Type = format("date-time");
/// A local day.
pub(super) const DAY: Type = format("date");
/// A length of time such as `5m`.
pub(super) const SPAN: Type = format("span");
/// A length of time that must be a whole part of another one.
pub(super) const GRAIN: Type = format("grain");
/// A length of time in whole minutes that must not be longer than another one.
pub(super) const STEP: Type = format("step");

/// The kinds of counters.
pub(super) const KIND: Type = Type::Word(Kind::WORDS);
/// When a counter starts over.
pub(super) const RESET: Type = Type::Word(Reset::WORDS);
/// Copies that values may come from.
pub(super) const SOURCE: Type = Type::Word(&["redis", "postgres"]);

/// Why writes are refused, gravest first, or wait.
pub(super) const CAUSE: Type = Type::Word(&[
    "no_store",
    "store_failed",
    "clock",
    "space",
    "operator",
    "slow_disk",
]);

/// The counter in the path.
pub(super) const NAME: Parameter = Parameter {
    place: ParameterIn::Path,
    name: "name",
    is: NAME_TYPE,
    required: true,
    meaning: "the counter: 1 to 100 characters of `a-z`, `0-9`, `_`, `.`, `:`, `-`; it begins with a letter or \
              digit, does not end in `:meta` and does not contain `:users:`",
    example: "online_players",
};

/// What makes a retry count once.
pub(super) const KEY: Parameter = Parameter {
    place: ParameterIn::Header,
    name: "Idempotency-Key",
    is: pattern("^[!-~]([ -~]{0,253}[!-~])?$", None, 1, 255),
    required: false,
    meaning: "1 to 255 printable ASCII characters that name this request: sent again with the same key, it gets \
              the first answer again and counts nothing",
    example: "7d3f2a",
};

/// What a client has already.
pub(super) const IF_NONE_MATCH: Parameter = Parameter {
    place: ParameterIn::Header,
    name: "If-None-Match",
    is: TEXT,
    required: false,
    meaning: "the `ETag` of what the client has: 304 where it is still the same",
    example: "W/\"5d6cc0f5b0b1ddd5\"",
};

/// The answer to those who have it.
pub(super) const KNOWN: GoodAnswer = GoodAnswer {
    status: 304,
    meaning: "The client has it: its `If-None-Match` names it.",
    media: Media::Nothing,
    example: "",
};

/// One parameter behind `?`, which may be absent.
pub(super) const fn query(
    name: &'static str,
    is: Type,
    meaning: &'static str,
    example: &'static str,
) -> Parameter {
    Parameter {
        place: ParameterIn::Query,
        name,
        is,
        required: false,
        meaning,
        example,
    }
}

/// The same, which must be there.
pub(super) const fn required(parameter: Parameter) -> Parameter {
    Parameter {
        required: true,
        ..parameter
    }
}

/// Whether a switch behind `?` is on; any text will do.
pub(super) const fn switch(name: &'static str, meaning: &'static str) -> Parameter {
    query(name, TEXT, meaning, "true")
}
