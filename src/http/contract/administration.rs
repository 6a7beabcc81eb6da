//! Calls that administrators make.

use super::schema::{Case, Field, SOME_TEXT, Shape, TEXT, Type, may, must};
use super::values::{COUNT, DAY, KEY, KIND, NAME, NAME_TYPE, REASON, RESET, SPAN, VALUE};
use super::values::{query, required};
use super::{ADMIN, BodyForm, Code, Endpoint, GoodAnswer, Limit, Media, Method, RateClass};
use super::{Role, Topic};
use crate::counter::OnBound;
use crate::metrics::Route;

pub(super) static TOPIC: Topic = Topic {
    title: "Administration",
    meaning: "These need `auth.admin_token` to be set and sent. Each leaves one line in the log.",
    calls: &[&DEFINE, &DELETE, &RESET_CALL, &ADJUST, &DELETE_PREFIX],
};

const KIND_FIELD: Field = may(
    "kind",
    KIND,
    "`gauge` (up and down), `sum` (up only), `unique` (distinct user ids), `presence` (who is here now, by leases); \
     `gauge` when absent",
)
.or_null();
const RESET_FIELD: Field = may(
    "reset",
    RESET,
    "`never`, or `daily` at each boundary of the local day; `never` when absent",
)
.or_null();
const MIN: Field = may(
    "min",
    Type::Whole(i64::MIN as i128, 0),
    "the lowest value, 0 or less; 0 when absent",
)
.or_null();
const MAX: Field = may(
    "max",
    Type::Whole(0, i64::MAX as i128),
    "the highest value, 0 or more; 9007199254740991 (2^53 − 1, what JavaScript reads exactly) when absent",
)
.or_null();
const ON_BOUND: Field = may(
    "on_bound",
    Type::Word(OnBound::WORDS),
    "`refuse` an operation that would pass a bound, or `clamp` it there and say in `applied` how much was applied; \
     `refuse` when absent",
)
.or_null();
const EXPIRES_AT: Field = may(
    "expires_at",
    super::schema::format("date-time"),
    "RFC 3339 with an offset, in the future; from then on the counter is gone",
)
.or_null();
const DESCRIPTION: Field = may(
    "description",
    super::schema::pattern(
        "^[^\\u0000-\\u001f\\u007f-\\u009f]*$",
        Some("utf8-1000"),
        0,
        1000,
    ),
    "for people, at most 1000 bytes without control characters",
)
.or_null();
const WINDOW: Field = may(
    "window",
    SPAN,
    "only of a `unique` or `sum` that never resets: how far back it looks, `1m` to `31d`",
)
.or_null();
const GRAIN: Field = may(
    "grain",
    super::values::GRAIN,
    "only with a `window`: in what steps it slides, a whole part of it; about a sixtieth of it when absent",
)
.or_null();
const TTL: Field = may(
    "ttl",
    SPAN,
    "only of a `presence`: how long a lease lasts, `5s` to `1h`",
)
.or_null();

static DEFINITION: Shape = Shape {
    name: "Definition",
    meaning: "What a counter is. It is the whole of it: what is absent or `null` takes its default.",
    fields: &[
        KIND_FIELD,
        RESET_FIELD,
        MIN,
        MAX,
        ON_BOUND,
        EXPIRES_AT,
        DESCRIPTION,
        WINDOW,
        GRAIN,
        TTL,
    ],
    cases: &[
        Case {
            has: &[],
            lacks: &["window", "grain", "ttl"],
            narrows: &[("kind", Type::Word(&["gauge", "sum", "unique"]))],
        },
        Case {
            has: &["kind", "window"],
            lacks: &["ttl"],
            narrows: &[
                ("kind", Type::Word(&["sum", "unique"])),
                ("reset", Type::Word(&["never"])),
            ],
        },
        Case {
            has: &["kind", "ttl"],
            lacks: &["window", "grain"],
            narrows: &[
                ("kind", Type::Word(&["presence"])),
                ("reset", Type::Word(&["never"])),
            ],
        },
    ],
};

const fn always(field: Field) -> Field {
    Field {
        required: true,
        nullable: false,
        ..field
    }
}

const fn if_set(field: Field) -> Field {
    Field {
        nullable: false,
        ..field
    }
}

/// A definition as answers show it.
pub(super) static DEFINITION_SHOWN: Shape = Shape {
    name: "DefinitionShown",
    meaning: "What a counter is, with its defaults filled in.",
    fields: &[
        always(KIND_FIELD),
        always(RESET_FIELD),
        always(MIN),
        always(MAX),
        always(ON_BOUND),
        always(EXPIRES_AT).or_null(),
        always(DESCRIPTION).or_null(),
        if_set(WINDOW),
        if_set(GRAIN),
        if_set(TTL),
    ],
    cases: &[],
};

static ADJUSTMENT: Shape = Shape {
    name: "Adjustment",
    meaning: "Where to set a counter, or by how much to move it: exactly one of them.",
    fields: &[
        may("value", VALUE, "the value that it gets").or_null(),
        may("delta", VALUE, "by how much the value moves, with its sign").or_null(),
        must(
            "reason",
            REASON,
            "why, 1 to 1000 bytes without control characters, not blank; it is in the log and in the counter's events",
        ),
    ],
    cases: &[
        Case {
            has: &["value"],
            lacks: &["delta"],
            narrows: &[],
        },
        Case {
            has: &["delta"],
            lacks: &["value"],
            narrows: &[],
        },
    ],
};

static TOKEN: Shape = Shape {
    name: "AdminToken",
    meaning: "The administrator's token, where it does not come as a header.",
    fields: &[may(
        "admin_token",
        TEXT,
        "the administrator's token; it may come as a header instead",
    )
    .or_null()],
    cases: &[],
};

const SUCCESS: Field = must("success", Type::Flag, "`true`");
const REVISION: Field = must("revision", COUNT, "of this change");

static VALUE_SET: Shape = Shape {
    name: "ValueSet",
    meaning: "The value before and after.",
    fields: &[
        SUCCESS,
        must("current_value", VALUE, "the value after"),
        must("previous_value", VALUE, "the value before"),
        REVISION,
        must(
            "period",
            DAY,
            "the local day that the value belongs to; `null` for a counter that never resets",
        )
        .or_null(),
    ],
    cases: &[],
};

static DEFINED: Shape = Shape {
    name: "Defined",
    meaning: "The counter as it now stands.",
    fields: &[
        SUCCESS,
        must("name", NAME_TYPE, "the counter"),
        must(
            "definition",
            Type::Object(&DEFINITION_SHOWN),
            "its definition",
        ),
        REVISION,
    ],
    cases: &[],
};

static DELETED: Shape = Shape {
    name: "Deleted",
    meaning: "The counter is gone.",
    fields: &[
        SUCCESS,
        must("final_value", VALUE, "the value it had"),
        REVISION,
    ],
    cases: &[],
};

static NOT_DELETED: Shape = Shape {
    name: "NotDeleted",
    meaning: "A counter that could not be deleted, and why.",
    fields: &[
        must("name", NAME_TYPE, "the counter"),
        must("code", TEXT, "the [code](#errors)"),
        must("detail", TEXT, "what is wrong, for people"),
    ],
    cases: &[],
};

static DELETED_ALL: Shape = Shape {
    name: "DeletedPrefix",
    meaning: "What was deleted, or would be.",
    fields: &[
        SUCCESS,
        must("dry_run", Type::Flag, "whether nothing was deleted"),
        must(
            "deleted",
            Type::List(&NAME_TYPE, 0, 1000),
            "what was deleted; in a dry run, what would be",
        ),
        must(
            "kept",
            Type::List(&NAME_TYPE, 0, 100_000),
            "those of the configuration",
        ),
        must(
            "failed",
            Type::List(&Type::Object(&NOT_DELETED), 0, 100_000),
            "those that could not be deleted",
        ),
        must("more", Type::Flag, "whether to call again"),
    ],
    cases: &[],
};

const fn done(
    status: u16,
    meaning: &'static str,
    shape: &'static Shape,
    example: &'static str,
) -> GoodAnswer {
    GoodAnswer {
        status,
        meaning,
        media: Media::Json(shape),
        example,
    }
}

const DEFINED_EXAMPLE: &str = r#"{"success":true,"name":"winter_event","definition":{"kind":"sum","reset":"never","min":0,"max":1000000,"on_bound":"refuse","expires_at":"2099-01-07T00:00:00.000Z","description":"Winter event"},"revision":16}"#;

static DEFINE: Endpoint = Endpoint {
    route: Route::Define,
    method: Method::PUT,
    path: "/api/v1/counter/{name}",
    role: ADMIN,
    limit: Limit::Body,
    rate: RateClass::Writes,
    title: "Define a counter",
    meaning: "Defines a counter, or changes its definition. Kind, reset, window and grain of a live counter do not \
              change.",
    parameters: &[NAME, KEY],
    body: BodyForm::Optional(
        &DEFINITION,
        r#"{"kind":"sum","max":1000000,"expires_at":"2099-01-07T00:00:00Z","description":"Winter event"}"#,
    ),
    answers: &[
        done(
            200,
            "The definition of a live counter is that now.",
            &DEFINED,
            DEFINED_EXAMPLE,
        ),
        done(
            201,
            "It started the counter, perhaps anew.",
            &DEFINED,
            DEFINED_EXAMPLE,
        ),
    ],
    refusals: &[
        Code::InvalidName,
        Code::NotCountedHere,
        Code::InvalidValue,
        Code::InvalidDefinition,
        Code::TooManyCounters,
        Code::DefinitionConflict,
        Code::DefinedInConfig,
        Code::CorruptRecord,
    ],
};

static DELETE: Endpoint = Endpoint {
    route: Route::Delete,
    method: Method::DELETE,
    path: "/api/v1/counter/{name}",
    role: ADMIN,
    limit: Limit::NoBody,
    rate: RateClass::Writes,
    title: "Delete a counter",
    meaning: "Reads and writes of its value answer 410 for `counters.gone_for`; `PUT` starts it anew at once.",
    parameters: &[NAME, KEY],
    body: BodyForm::None,
    answers: &[done(
        200,
        "The counter is gone.",
        &DELETED,
        r#"{"success":true,"final_value":0,"revision":19}"#,
    )],
    refusals: &[
        Code::InvalidName,
        Code::NotCountedHere,
        Code::UnknownCounter,
        Code::DefinedInConfig,
        Code::CounterDeleted,
        Code::CounterExpired,
        Code::CorruptRecord,
    ],
};

static RESET_CALL: Endpoint = Endpoint {
    route: Route::Reset,
    method: Method::POST,
    path: "/api/v1/counter/{name}/reset",
    role: Role::AdminInBody,
    limit: Limit::Body,
    rate: RateClass::Writes,
    title: "Set a counter to 0",
    meaning: "The value becomes 0; a `unique` counts everyone anew, the leases of a `presence` end. The token may \
              come in the body.",
    parameters: &[NAME, KEY],
    body: BodyForm::Optional(&TOKEN, r#"{"admin_token":"…"}"#),
    answers: &[done(
        200,
        "The value is 0.",
        &VALUE_SET,
        r#"{"success":true,"current_value":0,"previous_value":2,"revision":18,"period":"2026-11-24"}"#,
    )],
    refusals: &[
        Code::InvalidName,
        Code::NotCountedHere,
        Code::InvalidValue,
        Code::UnknownCounter,
        Code::CounterDeleted,
        Code::CounterExpired,
        Code::CorruptRecord,
    ],
};

static ADJUST: Endpoint = Endpoint {
    route: Route::Adjust,
    method: Method::POST,
    path: "/api/v1/counter/{name}/adjust",
    role: ADMIN,
    limit: Limit::Body,
    rate: RateClass::Writes,
    title: "Correct a value",
    meaning: "Sets a `gauge` or `sum` to `value`, or moves it by `delta`. What would leave the bounds is refused.",
    parameters: &[NAME, KEY],
    body: BodyForm::Required(&ADJUSTMENT, r#"{"delta":-2,"reason":"two test rounds"}"#),
    answers: &[done(
        200,
        "The value is corrected.",
        &VALUE_SET,
        r#"{"success":true,"current_value":2,"previous_value":4,"revision":17,"period":"2026-11-24"}"#,
    )],
    refusals: &[
        Code::InvalidName,
        Code::NotCountedHere,
        Code::InvalidValue,
        Code::InvalidAdjustment,
        Code::UnknownCounter,
        Code::WrongKind,
        Code::BelowMinimum,
        Code::AboveMaximum,
        Code::CounterDeleted,
        Code::CounterExpired,
        Code::CorruptRecord,
    ],
};

static DELETE_PREFIX: Endpoint = Endpoint {
    route: Route::DeletePrefix,
    method: Method::DELETE,
    path: "/api/v1/counters",
    role: ADMIN,
    limit: Limit::NoBody,
    rate: RateClass::Writes,
    title: "Delete counters whose names begin alike",
    meaning: "At most 1000 in one call; `more` says whether to call again. It takes no `Idempotency-Key`.",
    parameters: &[
        required(query("prefix", SOME_TEXT, "how the names begin", "typo:")),
        query(
            "dry_run",
            Type::Word(&["true", "false", "1", "0", ""]),
            "`true`: delete nothing, and say what would be deleted; `false` when absent",
            "true",
        ),
    ],
    body: BodyForm::None,
    answers: &[done(
        200,
        "They are deleted, or would be.",
        &DELETED_ALL,
        r#"{"success":true,"dry_run":true,"deleted":["typo:1","typo:2"],"kept":[],"failed":[],"more":false}"#,
    )],
    refusals: &[Code::InvalidIdempotencyKey],
};
