//! Probes, metrics, and the contract itself.

use super::schema::{Field, Shape, TEXT, Type, may, must};
use super::values::{CAUSE, COUNT, DAY, IF_NONE_MATCH, INSTANT, KNOWN, SOURCE, switch};
use super::{BodyForm, Code, Endpoint, GoodAnswer, Limit, Media, Method, RateClass, Role, Topic};
use crate::metrics::Route;

pub(super) static TOPIC: Topic = Topic {
    title: "Service",
    meaning: "At the root, and without a token.",
    calls: &[&LIVEZ, &READYZ, &METRICS, &OPENAPI, &DOCS],
};

static LIVE: Shape = Shape {
    name: "Live",
    meaning: "The process works.",
    fields: &[must("status", TEXT, "`ok`")],
    cases: &[],
};

static COPY: Shape = Shape {
    name: "CopyLag",
    meaning: "How far a copy elsewhere is behind.",
    fields: &[
        must("up", Type::Flag, "whether the last round succeeded"),
        must(
            "error",
            TEXT,
            "why the last round failed, that there was none yet, or which values are refused",
        )
        .or_null(),
        must(
            "since",
            INSTANT,
            "when `up` last changed; `null` before the first round",
        )
        .or_null(),
        must("revisions", COUNT, "changes that are not there yet"),
        must(
            "seconds",
            Type::Number,
            "for how many seconds not everything has been there",
        ),
        may(
            "days",
            COUNT,
            "only of PostgreSQL: closed days that are not there",
        ),
        may(
            "rows_set_aside",
            COUNT,
            "only of PostgreSQL: rows that the database refuses",
        ),
    ],
    cases: &[],
};

static LAGS: Shape = Shape {
    name: "Lags",
    meaning: "What is behind.",
    fields: &[
        must("queued_operations", COUNT, "operations under way"),
        must(
            "clock_behind_ms",
            COUNT,
            "how far the clock is before the day; 0 unless it was set back",
        ),
        may(
            "postgres",
            Type::Object(&COPY),
            "what PostgreSQL lacks; not there where nothing is exported",
        ),
        may(
            "redis",
            Type::Object(&COPY),
            "what the mirror lacks; not there where there is none",
        ),
    ],
    cases: &[],
};

static OFFSET: Shape = Shape {
    name: "Offset",
    meaning: "How far local clocks are ahead of UTC from an instant on.",
    fields: &[
        must("from", INSTANT, "the instant"),
        must(
            "seconds",
            Type::Whole(-93_599, 93_599),
            "by how many seconds; negative behind it",
        ),
    ],
    cases: &[],
};

static CALENDAR: Shape = Shape {
    name: "LocalTime",
    meaning: "How local time runs.",
    fields: &[
        must("timezone", TEXT, "the IANA zone"),
        must("day_start", TEXT, "the local time at which a day begins"),
        must(
            "starts_at",
            INSTANT,
            "the first instant of the day that is counted now",
        ),
        must("ends_at", INSTANT, "the first instant after it"),
        must(
            "offsets",
            Type::List(&Type::Object(&OFFSET), 1, 10_000),
            "oldest first, for the days that are kept (400 at most) and two years to come",
        ),
    ],
    cases: &[],
};

/// How the server stands, as `/readyz?verbose` tells it.
pub(super) const STANDING: [Field; 13] = [
    may(
        "mode",
        Type::Word(&["normal", "read_only"]),
        "whether writes are served",
    ),
    may(
        "cause",
        CAUSE,
        "why writes are refused, or wait; `null` where they are served",
    )
    .or_null(),
    may("since", INSTANT, "since when").or_null(),
    may("remedy", TEXT, "what brings it back").or_null(),
    may("source", SOURCE, "without a store: which copy is served"),
    may(
        "as_of",
        INSTANT,
        "without a store: as of when the copy has everything",
    )
    .or_null(),
    may("draining", Type::Flag, "whether the server is ending"),
    may("calendar", Type::Object(&CALENDAR), "how local time runs"),
    may("day", DAY, "the local day that is counted now"),
    may(
        "epoch",
        COUNT,
        "which history the store is on; `null` without a store",
    )
    .or_null(),
    may(
        "revision",
        COUNT,
        "the number of the last change; `null` without a store",
    )
    .or_null(),
    may(
        "rotten_tables",
        Type::List(&TEXT, 0, 100_000),
        "tables of the store that cannot be read",
    ),
    may("lags", Type::Object(&LAGS), "what is behind"),
];

/// The fields given, and behind them those of how the server stands.
macro_rules! with_standing {
    ($($field:expr),+ $(,)?) => {{
        use crate::http::contract::service::STANDING as S;
        &[
            $($field,)+
            S[0], S[1], S[2], S[3], S[4], S[5], S[6], S[7], S[8], S[9], S[10], S[11], S[12],
        ]
    }};
}
pub(super) use with_standing;

static READY: Shape = Shape {
    name: "Ready",
    meaning: "Requests are served; with `verbose`, and for those who may read, how the server stands.",
    fields: with_standing![must("status", TEXT, "`ok`"),],
    cases: &[],
};

const fn probe(meaning: &'static str, shape: &'static Shape, example: &'static str) -> GoodAnswer {
    GoodAnswer {
        status: 200,
        meaning,
        media: Media::Json(shape),
        example,
    }
}

static LIVEZ: Endpoint = Endpoint {
    route: Route::Livez,
    method: Method::GET,
    path: "/livez",
    role: Role::Anyone,
    limit: Limit::NoBody,
    rate: RateClass::Free,
    title: "Does the process work?",
    meaning: "200 while the process works.",
    parameters: &[],
    body: BodyForm::None,
    answers: &[probe("It works.", &LIVE, r#"{"status":"ok"}"#)],
    refusals: &[],
};

static READYZ: Endpoint = Endpoint {
    route: Route::Readyz,
    method: Method::GET,
    path: "/readyz",
    role: Role::Anyone,
    limit: Limit::NoBody,
    rate: RateClass::Free,
    title: "Are requests served?",
    meaning: "200 while reads are served, with `writes` while writes are.",
    parameters: &[
        switch(
            "verbose",
            "says more, to those who may read; off where it is `0` or `false`",
        ),
        switch(
            "writes",
            "asks for writes too; off where it is `0` or `false`",
        ),
    ],
    body: BodyForm::None,
    answers: &[probe(
        "They are.",
        &READY,
        r#"{"status":"ok","mode":"normal","cause":null,"since":null,"remedy":null,"draining":false,"calendar":{"timezone":"UTC","day_start":"00:00","starts_at":"2026-11-24T00:00:00.000Z","ends_at":"2026-11-25T00:00:00.000Z","offsets":[{"from":"2026-08-26T00:00:00.000Z","seconds":0}]},"day":"2026-11-24","epoch":1795516200000,"revision":19,"rotten_tables":[],"lags":{"queued_operations":0,"clock_behind_ms":0}}"#,
    )],
    refusals: &[Code::ReadOnly, Code::SlowDisk, Code::UnknownHere],
};

static METRICS: Endpoint = Endpoint {
    route: Route::Metrics,
    method: Method::GET,
    path: "/metrics",
    role: Role::Anyone,
    limit: Limit::NoBody,
    rate: RateClass::Free,
    title: "Metrics",
    meaning: "OpenMetrics text, or the text format 0.0.4 for those whose `Accept` likes `text/plain` more. Values of counters \
              that are not in the configuration are for those who may read.",
    parameters: &[],
    body: BodyForm::None,
    answers: &[
        GoodAnswer {
            status: 200,
            meaning: "What there is to be measured.",
            media: Media::Other("application/openmetrics-text"),
            example: "# TYPE counterd_requests counter\n# EOF\n",
        },
        GoodAnswer {
            status: 200,
            meaning: "The same in the older format.",
            media: Media::Other("text/plain"),
            example: "# TYPE counterd_requests_total counter\n",
        },
    ],
    refusals: &[],
};

static OPENAPI: Endpoint = Endpoint {
    route: Route::Openapi,
    method: Method::GET,
    path: "/openapi.json",
    role: Role::Anyone,
    limit: Limit::NoBody,
    rate: RateClass::Reads,
    title: "This contract for programs",
    meaning: "All calls, their parameters, bodies, answers and errors as OpenAPI 3.1.",
    parameters: &[IF_NONE_MATCH],
    body: BodyForm::None,
    answers: &[
        GoodAnswer {
            status: 200,
            meaning: "The document.",
            media: Media::Other("application/json"),
            example: r#"{"openapi":"3.1.0"}"#,
        },
        KNOWN,
    ],
    refusals: &[],
};

static DOCS: Endpoint = Endpoint {
    route: Route::Docs,
    method: Method::GET,
    path: "/docs",
    role: Role::Anyone,
    limit: Limit::NoBody,
    rate: RateClass::Reads,
    title: "This contract for people",
    meaning: "The same as a page, which asks for nothing outside itself.",
    parameters: &[IF_NONE_MATCH],
    body: BodyForm::None,
    answers: &[
        GoodAnswer {
            status: 200,
            meaning: "The page.",
            media: Media::Other("text/html"),
            example: "<!doctype html>",
        },
        KNOWN,
    ],
    refusals: &[],
};
