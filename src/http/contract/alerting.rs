//! Calls about alerts.

use super::schema::{Shape, TEXT, Type, must};
use super::values::{COUNT, INSTANT, NAME_TYPE, REASON, VALUE};
use super::{
    ADMIN, BodyForm, Code, Endpoint, GoodAnswer, Limit, Media, Method, READ, RateClass, Topic,
};
use crate::metrics::{AlertRule, Route};

pub(super) static TOPIC: Topic = Topic {
    title: "Alerts",
    meaning: "What is wrong, before the players notice; docs/alerts.md says how it is judged.",
    calls: &[&ALERTS, &SILENCE],
};

/// A counter's name, or the beginning of names with a `*` at the end.
const PATTERN: Type = super::schema::pattern(
    "^(?!.*:meta$)(?!.*:users:)[a-z0-9][a-z0-9_.:-]{0,99}$|^(?!.*:users:)([a-z0-9][a-z0-9_.:-]{0,98})?\\*$",
    Some("counter-pattern"),
    1,
    100,
);

static ALERT: Shape = Shape {
    name: "Alert",
    meaning: "An alert that is not ok.",
    fields: &[
        must("rule", Type::Word(AlertRule::WORDS), "which rule"),
        must(
            "counter",
            NAME_TYPE,
            "of which counter; `null` for a rule about the server",
        )
        .or_null(),
        must(
            "state",
            Type::Word(&["pending", "firing", "recovering"]),
            "`pending`: the rule holds, not yet for as long as it must; `firing`; `recovering`: it fires, and the rule \
             does not hold, not yet for as long as it must not",
        ),
        must(
            "severity",
            Type::Word(&["critical", "warning", "info"]),
            "how grave it is",
        ),
        must("since", INSTANT, "when the rule began to hold"),
        must(
            "fired_at",
            INSTANT,
            "when the alert fired; `null` before that",
        )
        .or_null(),
        must(
            "value",
            VALUE,
            "what was found, where a rule compares numbers",
        )
        .or_null(),
        must(
            "expected",
            VALUE,
            "what was expected, where a rule compares numbers",
        )
        .or_null(),
        must("summary", TEXT, "what is wrong, in a few words"),
        must("why", TEXT, "why the rule holds, or last held"),
        must(
            "runbook",
            TEXT,
            "the [page](runbook.md) that says what to do",
        ),
        must(
            "fingerprint",
            TEXT,
            "names the alert; always the same for one rule, counter and severity",
        ),
    ],
    cases: &[],
};

static EXPLAINED: Shape = Shape {
    name: "Explained",
    meaning: "Something that explains a fall or a rise of a counter, so that no alert of it fires.",
    fields: &[
        must("at", INSTANT, "when"),
        must("counter", NAME_TYPE, "of which counter"),
        must("reason", TEXT, "a word for what it was"),
        must("before", VALUE, "the value before"),
        must("after", VALUE, "the value after"),
    ],
    cases: &[],
};

static SILENCE_HELD: Shape = Shape {
    name: "Silence",
    meaning: "What some counters do is meant to be so, until an instant.",
    fields: &[
        must("id", COUNT, "its number"),
        must(
            "counters",
            Type::List(&PATTERN, 1, 100),
            "names of counters, or beginnings of names with a `*` at the end",
        ),
        must("from", INSTANT, "from when"),
        must("until", INSTANT, "until when"),
        must("reason", TEXT, "why"),
    ],
    cases: &[],
};

static SHOWN: Shape = Shape {
    name: "Alerts",
    meaning: "How the alerts stand.",
    fields: &[
        must(
            "alerts",
            Type::List(&Type::Object(&ALERT), 0, 100_000),
            "those that are not ok, the firing ones first",
        ),
        must(
            "events",
            Type::List(&Type::Object(&EXPLAINED), 0, 100_000),
            "what explained falls and rises lately, newest first",
        ),
        must(
            "silences",
            Type::List(&Type::Object(&SILENCE_HELD), 0, 100),
            "the silences that hold",
        ),
        must(
            "judged_at",
            INSTANT,
            "when the rules were last judged; `null` before that",
        )
        .or_null(),
    ],
    cases: &[],
};

static SILENCE_WANTED: Shape = Shape {
    name: "SilenceWanted",
    meaning: "Which counters to silence, until when, and why.",
    fields: &[
        must(
            "counters",
            Type::List(&PATTERN, 1, 100),
            "1 to 100 names of counters, or beginnings of names with a `*` at the end",
        ),
        must(
            "until",
            INSTANT,
            "RFC 3339 with an offset, within 31 days; one that has passed ends the silence of the same counters",
        ),
        must(
            "reason",
            REASON,
            "why, 1 to 1000 bytes without control characters, not blank",
        ),
    ],
    cases: &[],
};

static SILENCED: Shape = Shape {
    name: "Silenced",
    meaning: "The silence as it is stored.",
    fields: &[
        must("success", Type::Flag, "`true`"),
        must("silence", Type::Object(&SILENCE_HELD), "the silence"),
    ],
    cases: &[],
};

static ALERTS: Endpoint = Endpoint {
    route: Route::Alerts,
    method: Method::GET,
    path: "/api/v1/alerts",
    role: READ,
    limit: Limit::NoBody,
    rate: RateClass::Reads,
    title: "How the alerts stand",
    meaning: "The alerts that are not ok, what explained falls and rises lately, and the silences that hold.",
    parameters: &[],
    body: BodyForm::None,
    answers: &[GoodAnswer {
        status: 200,
        meaning: "All of them.",
        media: Media::Json(&SHOWN),
        example: r#"{"alerts":[{"rule":"drop","counter":"online_players","state":"firing","severity":"critical","since":"2026-11-24T10:29:00.000Z","fired_at":"2026-11-24T10:30:00.000Z","value":2710,"expected":5120,"summary":"online_players is far below what is expected","why":"it is below 60 % of what is expected (at this minute of the last three weeks, times 1.04 for the last hour)","runbook":"docs/runbook/alert-drop.md","fingerprint":"c09a0c28808d88c8"}],"events":[],"silences":[],"judged_at":"2026-11-24T10:30:00.000Z"}"#,
    }],
    refusals: &[],
};

static SILENCE: Endpoint = Endpoint {
    route: Route::Silence,
    method: Method::POST,
    path: "/api/v1/alerts/silence",
    role: ADMIN,
    limit: Limit::Body,
    rate: RateClass::Writes,
    title: "Silence counters",
    meaning: "Rules about these counters do not hold until then. The same counters again replace the silence. It takes \
              no `Idempotency-Key`.",
    parameters: &[],
    body: BodyForm::Required(
        &SILENCE_WANTED,
        r#"{"counters":["event:*","online_players"],"until":"2026-12-24T18:00:00Z","reason":"a patch"}"#,
    ),
    answers: &[GoodAnswer {
        status: 200,
        meaning: "The silence is stored.",
        media: Media::Json(&SILENCED),
        example: r#"{"success":true,"silence":{"id":1,"counters":["event:*","online_players"],"from":"2026-11-24T10:30:00.000Z","until":"2026-12-24T18:00:00.000Z","reason":"a patch"}}"#,
    }],
    refusals: &[
        Code::InvalidSilence,
        Code::InvalidIdempotencyKey,
        Code::TooManySilences,
    ],
};
