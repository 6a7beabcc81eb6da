//! Calls that read.

use super::schema::{Field, Shape, TEXT, Type, may, must};
use super::values::{
    COUNT, DAY, INSTANT, KIND, NAME, NAME_TYPE, RESET, SOURCE, SPAN, STEP, SUM, VALUE,
};
use super::values::{query, required};
use super::{BodyForm, Code, Endpoint, GoodAnswer, Limit, Media, Method, READ, RateClass, Topic};
use crate::counter::EventKind;
use crate::metrics::Route;

pub(super) static TOPIC: Topic = Topic {
    title: "Reading",
    meaning: "Values come from memory, so they are served in every mode of the server, also while the disk is full.",
    calls: &[&ONE, &MANY, &LIST, &HISTORY, &SERIES],
};

static WINDOW: Shape = Shape {
    name: "Window",
    meaning: "Over which time a counter with a window looks.",
    fields: &[
        must("span", SPAN, "how long the window is"),
        must("grain", SPAN, "in what steps it slides"),
        must("from", INSTANT, "its begin"),
        must("to", INSTANT, "its end: that of the grain under way"),
    ],
    cases: &[],
};

const NAME_FIELD: Field = must("name", NAME_TYPE, "the counter");
const STALE: Field = must(
    "stale",
    Type::Flag,
    "`true` when the value does not come from the store and may be old; then there are also:",
);
const AS_OF: Field = may(
    "as_of",
    INSTANT,
    "the counter had this value then; it may have changed since",
);
const SOURCE_FIELD: Field = may(
    "source",
    SOURCE,
    "which copy it comes from: `redis` or `postgres`",
);

const VALUE_FIELD: Field = must("value", VALUE, "the value in `period`");
const LAST_UPDATED: Field = must(
    "last_updated",
    INSTANT,
    "the latest of its creation, its last change and the start of the period",
);
const KIND_FIELD: Field = must(
    "kind",
    KIND,
    "of its definition: `gauge`, `sum`, `unique` or `presence`; `null` where a copy does not know it",
)
.or_null();
const RESET_FIELD: Field = must("reset", RESET, "of its definition: `never` or `daily`");
const REVISION: Field = must("revision", COUNT, "of its last change");
const EPOCH: Field = must(
    "epoch",
    COUNT,
    "which history the store is on. Copies elsewhere are ordered by (`epoch`, `revision`, `period`)",
);
const PERIOD: Field = must(
    "period",
    DAY,
    "the local day; `null` for a counter that never resets",
)
.or_null();
const RESETS_AT: Field = must(
    "resets_at",
    INSTANT,
    "when the next local day begins; `null` for a counter that never resets",
)
.or_null();
const WINDOW_FIELD: Field = may(
    "window",
    Type::Object(&WINDOW),
    "only of a counter with a window: its `span` and `grain`, and `from` when to `to` (the end of the grain under \
     way) it looks",
);
const LEASES: Field = may(
    "leases",
    COUNT,
    "only of a `presence`: how many leases are live",
);
const SETTLING: Field = may(
    "settling",
    Type::Flag,
    "only of a `presence`: whether counterd began so lately that some leases had no chance to be renewed yet; that \
     lasts one `ttl`",
);

static COUNTER: Shape = Shape {
    name: "Counter",
    meaning: "What a counter says.",
    fields: &[
        NAME_FIELD,
        VALUE_FIELD,
        LAST_UPDATED,
        KIND_FIELD,
        RESET_FIELD,
        REVISION,
        EPOCH,
        PERIOD,
        RESETS_AT,
        WINDOW_FIELD,
        LEASES,
        SETTLING,
        STALE,
        AS_OF,
        SOURCE_FIELD,
    ],
    cases: &[],
};

const fn if_readable(field: Field) -> Field {
    Field {
        required: false,
        ..field
    }
}

static LISTED: Shape = Shape {
    name: "ListedCounter",
    meaning: "What a counter says, with its definition. One whose record cannot be read has `value` `null`, \
              `corrupt` and no more than name and definition.",
    fields: &[
        NAME_FIELD,
        VALUE_FIELD.or_null(),
        if_readable(LAST_UPDATED),
        if_readable(KIND_FIELD),
        if_readable(RESET_FIELD),
        if_readable(REVISION),
        if_readable(EPOCH),
        if_readable(PERIOD),
        if_readable(RESETS_AT),
        WINDOW_FIELD,
        LEASES,
        SETTLING,
        if_readable(STALE),
        AS_OF,
        SOURCE_FIELD,
        may(
            "corrupt",
            Type::Flag,
            "`true`, and only there, when the record cannot be read",
        ),
        may(
            "definition",
            Type::Object(&super::administration::DEFINITION_SHOWN),
            "its definition; not there while values are stale",
        ),
    ],
    cases: &[],
};

const OLDEST: Field = may(
    "as_of",
    INSTANT,
    "while values are stale: the oldest `as_of` of them; `null` where there is none",
)
.or_null();

static SEVERAL: Shape = Shape {
    name: "Counters",
    meaning: "Several counters, as of one commit and one day.",
    fields: &[
        must(
            "counters",
            Type::List(&Type::Object(&COUNTER), 0, 10),
            "in the order of the names, each once",
        ),
        must(
            "missing",
            Type::List(&NAME_TYPE, 0, 10),
            "the names that are unknown or gone",
        ),
        may(
            "unknown_here",
            Type::List(&NAME_TYPE, 0, 10),
            "while values are stale: the names that the copy lacks; `missing` is empty then",
        ),
        must("stale", Type::Flag, "whether the values come from a copy"),
        OLDEST,
    ],
    cases: &[],
};

static PAGE: Shape = Shape {
    name: "CounterList",
    meaning: "A page of the list of counters.",
    fields: &[
        must(
            "counters",
            Type::List(&Type::Object(&LISTED), 0, 1000),
            "in the order of their names",
        ),
        must(
            "next_cursor",
            TEXT,
            "the `cursor` of the next page; `null` on the last one",
        )
        .or_null(),
        must("stale", Type::Flag, "whether the values come from a copy"),
        OLDEST,
    ],
    cases: &[],
};

static EVENT: Shape = Shape {
    name: "Event",
    meaning: "What happened to a counter, other than being counted.",
    fields: &[
        must("kind", Type::Word(EventKind::WORDS), "what happened"),
        must("at", INSTANT, "when"),
        must("before", VALUE, "the value before"),
        must("after", VALUE, "the value after"),
        may("reason", TEXT, "why, in the administrator's words"),
        may("request_id", TEXT, "which request asked for it"),
    ],
    cases: &[],
};

static HISTORY_DAY: Shape = Shape {
    name: "Day",
    meaning: "A day of a counter. One whose record cannot be read has `corrupt` and no more than `date` and `closed`.",
    fields: &[
        must("date", DAY, "the local day"),
        must(
            "closed",
            Type::Flag,
            "whether the day is over and its record final",
        ),
        may(
            "corrupt",
            Type::Flag,
            "`true`, and only there, when the record cannot be read",
        ),
        may("kind", KIND, "the counter's kind at the end of the day"),
        may("reset", RESET, "how it resets"),
        may(
            "starts_at",
            INSTANT,
            "the real begin of the local day: 23 to 25 hours before `ends_at` where clocks change",
        ),
        may("ends_at", INSTANT, "the real end of the local day"),
        may(
            "away_seconds",
            COUNT,
            "for how long of it the server was not running, to about a minute",
        ),
        may("opening", VALUE, "the value at its begin"),
        may("final_value", VALUE, "the value after its last change"),
        may(
            "peak",
            VALUE,
            "the highest value, the opening one considered",
        ),
        may("peak_at", INSTANT, "when it was first reached"),
        may("low", VALUE, "the lowest value, the opening one considered"),
        may("low_at", INSTANT, "when it was first reached"),
        may("increments", SUM, "the sum of what was added"),
        may("decrements", SUM, "the sum of what was taken"),
        may("operations", COUNT, "how many operations that were"),
        may(
            "generations",
            COUNT,
            "how many lives of the counter the day saw: one more for each reset or re-creation",
        ),
        may(
            "expired",
            COUNT,
            "only of a `presence`: how many leases ended by time alone",
        ),
        may("events_total", COUNT, "how many events there were"),
        may(
            "events",
            Type::List(&Type::Object(&EVENT), 0, 100),
            "the first 100 of: `creation`, `reset`, `adjust`, `delete`, `expiry`, `repair`",
        ),
    ],
    cases: &[],
};

static PEAK: Shape = Shape {
    name: "Peak",
    meaning: "The highest value that a counter has had. It outlives the days that are kept, unless the counter was gone when a \
              day ended.",
    fields: &[
        must("value", VALUE, "the value"),
        must("at", INSTANT, "when it was first reached"),
        must("date", DAY, "the local day of that"),
    ],
    cases: &[],
};

static PAST: Shape = Shape {
    name: "History",
    meaning: "The days in which a counter changed.",
    fields: &[
        NAME_FIELD,
        may(
            "peak",
            Type::Object(&PEAK),
            "the highest value that the counter has had, whatever `from` and `to` are. Not there for a counter that never \
             changed, and while the days come from PostgreSQL",
        ),
        must(
            "days",
            Type::List(&Type::Object(&HISTORY_DAY), 0, 100_000),
            "newest first",
        ),
        may(
            "stale",
            Type::Flag,
            "`true`, and only there, when the days come from PostgreSQL",
        ),
        SOURCE_FIELD,
    ],
    cases: &[],
};

static POINT: Shape = Shape {
    name: "Point",
    meaning: "One step of a series. Its values are `null` where the server was away: a gap, never 0.",
    fields: &[
        must("at", INSTANT, "when it begins"),
        must("last", VALUE, "the value at its end").or_null(),
        must(
            "min",
            VALUE,
            "the lowest value at its begin and at the ends of its minutes",
        )
        .or_null(),
        must("max", VALUE, "the highest value at these instants").or_null(),
    ],
    cases: &[],
};

static COURSE_DAY: Shape = Shape {
    name: "SeriesDay",
    meaning: "A local day, with its bounds.",
    fields: &[
        must("date", DAY, "the day"),
        must("starts_at", INSTANT, "its first instant"),
        must("ends_at", INSTANT, "the first instant after it"),
    ],
    cases: &[],
};

static COURSE: Shape = Shape {
    name: "Series",
    meaning: "The course of a counter's value.",
    fields: &[
        NAME_FIELD,
        must("step", SPAN, "how long each step is"),
        may(
            "day",
            Type::Object(&COURSE_DAY),
            "only where a `day` was asked for: that day",
        ),
        must(
            "followed",
            Type::Flag,
            "whether the counter is among the `samples.max_counters` that are followed; otherwise no step has values",
        ),
        must(
            "points",
            Type::List(&Type::Object(&POINT), 0, 2001),
            "oldest first; the last one is the step under way",
        ),
    ],
    cases: &[],
};

const fn found(shape: &'static Shape, example: &'static str) -> GoodAnswer {
    GoodAnswer {
        status: 200,
        meaning: "It was read.",
        media: Media::Json(shape),
        example,
    }
}

static ONE: Endpoint = Endpoint {
    route: Route::Read,
    method: Method::GET,
    path: "/api/v1/counter/{name}",
    role: READ,
    limit: Limit::NoBody,
    rate: RateClass::Reads,
    title: "Read a counter",
    meaning: "A name that nobody defined or wrote is 404, never 0; a defined counter that nobody has changed yet \
              is 200 with 0.",
    parameters: &[NAME],
    body: BodyForm::None,
    answers: &[found(
        &COUNTER,
        r#"{"name":"total_games_played","value":4,"last_updated":"2026-11-24T10:30:00.000Z","kind":"sum","reset":"daily","revision":14,"epoch":1795516200000,"period":"2026-11-24","resets_at":"2026-11-25T00:00:00.000Z","stale":false}"#,
    )],
    refusals: &[
        Code::InvalidName,
        Code::UnknownCounter,
        Code::CounterDeleted,
        Code::CounterExpired,
        Code::CorruptRecord,
        Code::UnknownHere,
    ],
};

static MANY: Endpoint = Endpoint {
    route: Route::ReadMany,
    method: Method::GET,
    path: "/api/v1/counters",
    role: READ,
    limit: Limit::NoBody,
    rate: RateClass::Reads,
    title: "Read several counters",
    meaning: "All are read as of one commit and one day: of counters that a batch changes together, a reader sees \
              all changes or none.",
    parameters: &[required(query(
        "names",
        Type::List(&NAME_TYPE, 1, 10),
        "1 to 10 names with commas between",
        "online_players,nobody",
    ))],
    body: BodyForm::None,
    answers: &[found(
        &SEVERAL,
        r#"{"counters":[{"name":"online_players","value":4,"last_updated":"2026-11-24T10:30:00.000Z","kind":"gauge","reset":"never","revision":15,"epoch":1795516200000,"period":null,"resets_at":null,"stale":false}],"missing":["nobody"],"stale":false}"#,
    )],
    refusals: &[Code::InvalidName, Code::CorruptRecord, Code::UnknownHere],
};

static LIST: Endpoint = Endpoint {
    route: Route::List,
    method: Method::GET,
    path: "/api/v1/counters/all",
    role: READ,
    limit: Limit::NoBody,
    rate: RateClass::Reads,
    title: "List counters",
    meaning: "All live counters with their definitions, in the order of names, page by page.",
    parameters: &[
        query(
            "prefix",
            TEXT,
            "how the names begin; all when absent",
            "online",
        ),
        query(
            "cursor",
            TEXT,
            "`next_cursor` of the page before; the first page when absent",
            "online_players",
        ),
        query(
            "limit",
            Type::Whole(1, 1000),
            "the most counters of one page, 1 to 1000; 100 when absent",
            "1",
        ),
    ],
    body: BodyForm::None,
    answers: &[found(
        &PAGE,
        r#"{"counters":[{"name":"online_players","value":4,"last_updated":"2026-11-24T10:30:00.000Z","kind":"gauge","reset":"never","revision":15,"epoch":1795516200000,"period":null,"resets_at":null,"stale":false,"definition":{"kind":"gauge","reset":"never","min":0,"max":9007199254740991,"on_bound":"refuse","expires_at":null,"description":"players online now"}}],"next_cursor":null,"stale":false}"#,
    )],
    refusals: &[Code::UnknownHere],
};

static HISTORY: Endpoint = Endpoint {
    route: Route::History,
    method: Method::GET,
    path: "/api/v1/counter/{name}/history",
    role: READ,
    limit: Limit::NoBody,
    rate: RateClass::Reads,
    title: "The days of a counter",
    meaning: "The days in which a counter changed, newest first. A deleted or expired counter keeps its history.",
    parameters: &[
        NAME,
        query(
            "from",
            DAY,
            "the first day; the first that is kept when absent",
            "2026-11-24",
        ),
        query("to", DAY, "the last day; today when absent", "2026-11-24"),
    ],
    body: BodyForm::None,
    answers: &[found(
        &PAST,
        r#"{"name":"total_games_played","peak":{"value":4,"at":"2026-11-24T10:30:00.000Z","date":"2026-11-24"},"days":[{"date":"2026-11-24","closed":false,"kind":"sum","reset":"daily","starts_at":"2026-11-24T00:00:00.000Z","ends_at":"2026-11-25T00:00:00.000Z","away_seconds":0,"opening":0,"final_value":4,"peak":4,"peak_at":"2026-11-24T10:30:00.000Z","low":0,"low_at":"2026-11-24T10:30:00.000Z","increments":4,"decrements":0,"operations":2,"generations":1,"events_total":1,"events":[{"kind":"creation","at":"2026-11-24T10:30:00.000Z","before":0,"after":0,"request_id":"counterd"}]}]}"#,
    )],
    refusals: &[
        Code::InvalidName,
        Code::UnknownCounter,
        Code::UnknownHere,
        Code::StoreReopening,
    ],
};

static SERIES: Endpoint = Endpoint {
    route: Route::Series,
    method: Method::GET,
    path: "/api/v1/counter/{name}/series",
    role: READ,
    limit: Limit::NoBody,
    rate: RateClass::Reads,
    title: "The course of a value",
    meaning: "A point for each `step` of the last `range`, oldest first, 2000 at most. A gap is `null`, never 0.",
    parameters: &[
        NAME,
        query(
            "range",
            SPAN,
            "how far back, at most `samples.retention`; `24h` when absent",
            "24h",
        ),
        query(
            "step",
            STEP,
            "how long each step is, in whole minutes; `5m` when absent",
            "5m",
        ),
        query(
            "to",
            INSTANT,
            "the instant up to which the range goes; now when absent",
            "2026-11-24T10:30:00Z",
        ),
        query(
            "day",
            DAY,
            "a local day in place of `range` and `to`",
            "2026-11-24",
        ),
    ],
    body: BodyForm::None,
    answers: &[found(
        &COURSE,
        r#"{"name":"online_players","step":"1m","followed":true,"points":[{"at":"2026-11-24T10:29:00.000Z","last":null,"min":null,"max":null},{"at":"2026-11-24T10:30:00.000Z","last":4,"min":4,"max":4}]}"#,
    )],
    refusals: &[
        Code::InvalidName,
        Code::UnknownCounter,
        Code::CounterDeleted,
        Code::CounterExpired,
        Code::CorruptRecord,
        Code::StoreReopening,
    ],
};
