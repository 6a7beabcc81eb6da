//! Calls that count.

use super::schema::{Case, Field, Shape, Type, may, must};
use super::values::{AMOUNT, AMOUNT_OR_WEIGHT, COUNT, DAY, ID, INSTANT, KEY, NAME, NAME_TYPE};
use super::values::{KIND, VALUE, WEIGHT};
use super::{BodyForm, Code, Endpoint, GoodAnswer, Limit, Media, Method, RateClass, Topic, WRITE};
use crate::counter::Action;
use crate::metrics::Route;

pub(super) static TOPIC: Topic = Topic {
    title: "Counting",
    meaning: "The answer comes when the change is on disk, and says the value after this very operation.",
    calls: &[&INCREMENT, &DECREMENT, &HEARTBEAT, &LEAVE, &BATCH],
};

const VALUE_FIELD: Field = may(
    "value",
    AMOUNT,
    "by how much: a whole number from 1 to 9223372036854775807, without fraction, exponent or quotes; 1 when absent",
)
.or_null();

const USER_FIELD: Field = may(
    "user_id",
    ID,
    "who, 1 to 128 bytes of UTF-8 without control characters, compared byte for byte. A `unique` or `presence` \
     counter needs it; the others accept it, and use it for [limits of rates](limits.md) alone. It is never logged",
)
.or_null();

const METADATA_FIELD: Field = may(
    "metadata",
    Type::Anything,
    "an object of at most 4 KiB and 8 levels. It is checked and dropped: nothing of it is stored",
)
.or_null();

const LEASE_FIELD: Field = must("user_id", ID, "whose lease, as in an increment");

const WEIGHT_FIELD: Field = may(
    "value",
    WEIGHT,
    "of a heartbeat: how much the lease weighs, a whole number from 0 to 2147483647; 1 when absent. A later one \
     takes its place",
)
.or_null();

const SESSION_FIELD: Field = may(
    "session",
    ID,
    "which log-in of the user this is, 1 to 128 bytes of UTF-8 without control characters; none when absent. A \
     leave with another session than that of the last heartbeat ends nothing, so a late log-out does not end a \
     newer session. A leave without one ends the lease of any session",
)
.or_null();

static CHANGE: Shape = Shape {
    name: "Change",
    meaning: "How much, and who. `null` is the same as absent.",
    fields: &[VALUE_FIELD, USER_FIELD, METADATA_FIELD],
    cases: &[],
};

static BEAT: Shape = Shape {
    name: "Beat",
    meaning: "Whose lease begins or goes on, and what it weighs.",
    fields: &[LEASE_FIELD, WEIGHT_FIELD, SESSION_FIELD],
    cases: &[],
};

static LEAVING: Shape = Shape {
    name: "Leaving",
    meaning: "Whose lease ends.",
    fields: &[LEASE_FIELD, SESSION_FIELD],
    cases: &[],
};

static OPERATION: Shape = Shape {
    name: "Operation",
    meaning: "One operation of a batch.",
    fields: &[
        must("op", Type::Word(Action::WORDS), "what to do"),
        must("name", NAME_TYPE, "the counter"),
        may("value", AMOUNT_OR_WEIGHT, "as in the call of that name").or_null(),
        may("user_id", ID, "as in the call of that name").or_null(),
        may(
            "session",
            ID,
            "of a heartbeat or leave: as in the call of that name",
        )
        .or_null(),
        may(
            "metadata",
            Type::Anything,
            "of an increment or decrement: as in the call of that name",
        )
        .or_null(),
    ],
    cases: &[
        Case {
            has: &[],
            lacks: &["session"],
            narrows: &[
                ("op", Type::Word(&["increment", "decrement"])),
                ("value", AMOUNT),
            ],
        },
        Case {
            has: &[],
            lacks: &["metadata"],
            narrows: &[("op", Type::Word(&["heartbeat"])), ("value", WEIGHT)],
        },
        Case {
            has: &[],
            lacks: &["value", "metadata"],
            narrows: &[("op", Type::Word(&["leave"]))],
        },
    ],
};

static OPERATIONS: Shape = Shape {
    name: "Batch",
    meaning: "Operations that are done in their order.",
    fields: &[
        must(
            "operations",
            Type::List(&Type::Object(&OPERATION), 1, 1000),
            "1 to 1000 operations; a name may be there several times",
        ),
        may(
            "mode",
            Type::Word(&["all", "each"]),
            "`all`: all are counted or none; `each`: each is accepted or refused by itself. `all` when absent",
        )
        .or_null(),
    ],
    cases: &[],
};

const COUNTED: Field = must(
    "counted",
    Type::Flag,
    "whether anything changed; false for a user already counted, and at a bound of a counter that clamps. In a \
     window a user who was inside and is seen in a later grain is `true` with `applied` 0",
);

const SUCCESS: Field = must("success", Type::Flag, "`true`");

const CURRENT_VALUE: Field = must(
    "current_value",
    VALUE,
    "the value after this very operation: two increments by 1 never see the same",
);

const APPLIED: Field = must(
    "applied",
    COUNT,
    "how much of `value` was applied, without sign",
);

const REVISION: Field = must(
    "revision",
    COUNT,
    "the number of the counter's last change, from one sequence for the whole store",
);

const PERIOD: Field = must(
    "period",
    DAY,
    "the local day that it counted in; `null` for a counter that never resets",
)
.or_null();

const CREATED: Field = may(
    "created",
    Type::Flag,
    "`true`, and only there, when this increment created the counter",
);

const CHANGE_FIELD: Field = may(
    "change",
    VALUE,
    "only of leases: by how much the value changed, with its sign",
);

const EXPIRES_AT: Field = may(
    "expires_at",
    INSTANT,
    "only of leases: when the lease ends unless it is renewed; `null` when there is none",
)
.or_null();

static CHANGED: Shape = Shape {
    name: "Changed",
    meaning: "What became of an operation.",
    fields: &[
        SUCCESS,
        CURRENT_VALUE,
        COUNTED,
        APPLIED,
        REVISION,
        PERIOD,
        CREATED,
        CHANGE_FIELD,
        EXPIRES_AT,
    ],
    cases: &[],
};

const fn if_done(field: Field) -> Field {
    Field {
        required: false,
        ..field
    }
}

static RESULT: Shape = Shape {
    name: "Result",
    meaning: "What became of one operation of a batch: the fields of an increment's answer; or, with `mode` `each`, \
              `counted` `false` and why it was refused.",
    fields: &[
        if_done(CURRENT_VALUE),
        COUNTED,
        if_done(APPLIED),
        if_done(REVISION),
        if_done(PERIOD),
        CREATED,
        CHANGE_FIELD,
        EXPIRES_AT,
        may(
            "code",
            super::schema::TEXT,
            "of a refused one: the [code](#errors)",
        ),
        may(
            "detail",
            super::schema::TEXT,
            "of a refused one: what is wrong, for people",
        ),
        may(
            "kind",
            KIND,
            "of a refused one: the counter's kind, where that is the reason",
        ),
        may(
            "current",
            VALUE,
            "of a refused one: the value, where a bound is the reason",
        ),
        may("minimum", VALUE, "of a refused one: the bound"),
        may("maximum", VALUE, "of a refused one: the bound"),
        may(
            "final_value",
            VALUE,
            "of a refused one: the last value of a counter that is gone",
        ),
        may(
            "at",
            INSTANT,
            "of a refused one: since when the counter is gone",
        ),
    ],
    cases: &[],
};

static RESULTS: Shape = Shape {
    name: "Results",
    meaning: "What became of the operations of a batch, in their order.",
    fields: &[
        SUCCESS,
        must(
            "results",
            Type::List(&Type::Object(&RESULT), 1, 1000),
            "one for each operation",
        ),
        may(
            "refused",
            COUNT,
            "with `mode` `each`: how many were refused",
        ),
    ],
    cases: &[],
};

const fn done(example: &'static str) -> GoodAnswer {
    GoodAnswer {
        status: 200,
        meaning: "It is on disk; `counted` says whether anything changed.",
        media: Media::Json(&CHANGED),
        example,
    }
}

const EXAMPLE: &str = r#"{"success":true,"current_value":12345,"counted":true,"applied":1,"revision":9,"period":null}"#;

pub(super) static INCREMENT: Endpoint = Endpoint {
    route: Route::Increment,
    method: Method::POST,
    path: "/api/v1/counter/{name}/increment",
    role: WRITE,
    limit: Limit::Body,
    rate: RateClass::Writes,
    title: "Count up",
    meaning: "Adds to a counter. A name that nobody defined becomes a `gauge` that never resets, unless \
              `counters.auto_create` is off.",
    parameters: &[NAME, KEY],
    body: BodyForm::Optional(&CHANGE, r#"{"value":1,"user_id":"u1"}"#),
    answers: &[done(EXAMPLE)],
    refusals: &[
        Code::InvalidName,
        Code::NotCountedHere,
        Code::InvalidValue,
        Code::MissingUserId,
        Code::InvalidUserId,
        Code::InvalidMetadata,
        Code::UnknownCounter,
        Code::AboveMaximum,
        Code::TooManyCounters,
        Code::CounterDeleted,
        Code::CounterExpired,
        Code::CorruptRecord,
        Code::UnreadableUser,
    ],
};

pub(super) static DECREMENT: Endpoint = Endpoint {
    route: Route::Decrement,
    method: Method::POST,
    path: "/api/v1/counter/{name}/decrement",
    role: WRITE,
    limit: Limit::Body,
    rate: RateClass::Writes,
    title: "Count down",
    meaning: "Takes from a counter; it never creates one.",
    parameters: &[NAME, KEY],
    body: BodyForm::Optional(&CHANGE, r#"{"value":2}"#),
    answers: &[done(EXAMPLE)],
    refusals: &[
        Code::InvalidName,
        Code::NotCountedHere,
        Code::InvalidValue,
        Code::MissingUserId,
        Code::InvalidUserId,
        Code::InvalidMetadata,
        Code::UnknownCounter,
        Code::WrongKind,
        Code::BelowMinimum,
        Code::CounterDeleted,
        Code::CounterExpired,
        Code::CorruptRecord,
        Code::UnreadableUser,
    ],
};

pub(super) static HEARTBEAT: Endpoint = Endpoint {
    route: Route::Heartbeat,
    method: Method::POST,
    path: "/api/v1/counter/{name}/heartbeat",
    role: WRITE,
    limit: Limit::Body,
    rate: RateClass::Writes,
    title: "Begin or renew a lease",
    meaning: "Says that a user of a `presence` is here: begins the lease, or renews it for another `ttl`.",
    parameters: &[NAME, KEY],
    body: BodyForm::Required(
        &BEAT,
        r#"{"user_id":"gs-17","value":63,"session":"boot-4"}"#,
    ),
    answers: &[done(
        r#"{"success":true,"current_value":64,"counted":true,"applied":63,"revision":11,"period":null,"change":63,"expires_at":"2026-11-24T10:31:31.000Z"}"#,
    )],
    refusals: &[
        Code::InvalidName,
        Code::NotCountedHere,
        Code::InvalidValue,
        Code::MissingUserId,
        Code::InvalidUserId,
        Code::InvalidSession,
        Code::UnknownCounter,
        Code::WrongKind,
        Code::AboveMaximum,
        Code::CounterDeleted,
        Code::CounterExpired,
        Code::CorruptRecord,
        Code::UnreadableUser,
    ],
};

pub(super) static LEAVE: Endpoint = Endpoint {
    route: Route::Leave,
    method: Method::POST,
    path: "/api/v1/counter/{name}/leave",
    role: WRITE,
    limit: Limit::Body,
    rate: RateClass::Writes,
    title: "End a lease",
    meaning: "Says that a user of a `presence` has left.",
    parameters: &[NAME, KEY],
    body: BodyForm::Required(&LEAVING, r#"{"user_id":"gs-17"}"#),
    answers: &[done(
        r#"{"success":true,"current_value":1,"counted":true,"applied":63,"revision":12,"period":null,"change":-63,"expires_at":null}"#,
    )],
    refusals: &[
        Code::InvalidName,
        Code::NotCountedHere,
        Code::MissingUserId,
        Code::InvalidUserId,
        Code::InvalidSession,
        Code::UnknownCounter,
        Code::WrongKind,
        Code::CounterDeleted,
        Code::CounterExpired,
        Code::CorruptRecord,
        Code::UnreadableUser,
    ],
};

static BATCH: Endpoint = Endpoint {
    route: Route::Batch,
    method: Method::POST,
    path: "/api/v1/batch",
    role: WRITE,
    limit: Limit::Batch,
    rate: RateClass::Writes,
    title: "Several operations at once",
    meaning: "Increments, decrements, heartbeats and leaves in one atomic write, in order. Each is judged after the \
              accepted ones before it.",
    parameters: &[KEY],
    body: BodyForm::Required(
        &OPERATIONS,
        r#"{"operations":[{"op":"increment","name":"online_players","value":2},{"op":"increment","name":"total_games_played"}]}"#,
    ),
    answers: &[GoodAnswer {
        status: 200,
        meaning: "What was accepted is on disk.",
        media: Media::Json(&RESULTS),
        example: r#"{"success":true,"results":[{"current_value":2,"counted":true,"applied":2,"revision":13,"period":null},{"current_value":4,"counted":true,"applied":1,"revision":14,"period":"2026-11-24"}]}"#,
    }],
    refusals: &[
        Code::InvalidName,
        Code::NotCountedHere,
        Code::InvalidValue,
        Code::InvalidUserId,
        Code::InvalidSession,
        Code::InvalidMetadata,
        Code::InvalidBatch,
        Code::BatchRefused,
    ],
};
