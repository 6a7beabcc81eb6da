//! Calls by which clients are told of changes.

use super::schema::{Shape, TEXT, Type, may, must, pattern};
use super::values::{COUNT, NAME_TYPE, SPAN, query, required};
use super::{BodyForm, Code, Endpoint, GoodAnswer, Limit, Media, Method, Parameter, ParameterIn};
use super::{READ, RateClass, Role, Topic};
use crate::metrics::Route;

pub(super) static TOPIC: Topic = Topic {
    title: "Watching",
    meaning: "State is pushed, not messages: what a client missed it need not know. docs/push.md has the events and \
              what a client sends over a WebSocket.",
    calls: &[&STREAM, &WS, &PUSH_TICKET],
};

const POSITION: Type = pattern("^[0-9]{1,20}\\.[0-9]{1,20}$", Some("position"), 3, 41);

const TICKET: Parameter = query(
    "ticket",
    TEXT,
    "a ticket of `POST /api/v1/push-ticket`, in place of a token; it is good once",
    "",
);

static SENT: Shape = Shape {
    name: "Sent",
    meaning: "One event of a stream; docs/push.md says what `data` has.",
    fields: &[
        may(
            "id",
            TEXT,
            "the position up to which the client then has everything",
        ),
        may(
            "event",
            Type::Word(&["state", "update", "tick"]),
            "what it is",
        ),
        may("data", TEXT, "a JSON object in one line"),
        may(
            "retry",
            TEXT,
            "after how many milliseconds to connect again, in the first event and at the end",
        ),
    ],
    cases: &[],
};

static STREAM: Endpoint = Endpoint {
    route: Route::Stream,
    method: Method::GET,
    path: "/api/v1/stream",
    role: Role::Watcher,
    limit: Limit::NoBody,
    rate: RateClass::Reads,
    title: "Be told of changes by server-sent events",
    meaning: "First the event `state` with all that is asked for, then an `update` for each change, and a `tick` \
              every 15 seconds; the `id` of an event is the position from which to go on.",
    parameters: &[
        required(query(
            "names",
            Type::List(&NAME_TYPE, 1, 100),
            "1 to 100 names with commas between",
            "online_players",
        )),
        query(
            "since",
            POSITION,
            "`<epoch>.<revision>`: only what is newer is told first",
            "1795516200000.15",
        ),
        query(
            "interval",
            SPAN,
            "the least time between two updates of a counter; `push.interval` when absent",
            "5s",
        ),
        TICKET,
        Parameter {
            place: ParameterIn::Header,
            name: "Last-Event-ID",
            is: TEXT,
            required: false,
            meaning: "the `id` of the last event, as browsers send it; it goes before `since`",
            example: "1795516200000.15",
        },
    ],
    body: BodyForm::None,
    answers: &[GoodAnswer {
        status: 200,
        meaning: "A stream of events, which does not end by itself.",
        media: Media::Events(&SENT),
        example: r#"{"id":"1795516200000.15","event":"update","data":"{\"name\":\"online_players\",\"value\":4}"}"#,
    }],
    refusals: &[Code::InvalidName],
};

static WS: Endpoint = Endpoint {
    route: Route::Ws,
    method: Method::GET,
    path: "/api/v1/ws",
    role: Role::Watcher,
    limit: Limit::NoBody,
    rate: RateClass::Reads,
    title: "Be told of changes by a WebSocket",
    meaning: "Opened with the subprotocol `counterd.v1`; then the client sends `{\"subscribe\":[\"online_players\"]}`.",
    parameters: &[TICKET],
    body: BodyForm::None,
    answers: &[GoodAnswer {
        status: 101,
        meaning: "The connection speaks WebSocket from then on.",
        media: Media::Upgraded,
        example: "",
    }],
    refusals: &[Code::UpgradeRequired],
};

static TICKET_GIVEN: Shape = Shape {
    name: "Ticket",
    meaning: "A ticket for one connection.",
    fields: &[
        must("success", Type::Flag, "`true`"),
        must("ticket", TEXT, "the ticket"),
        must("expires_in", COUNT, "for how many seconds it is good"),
    ],
    cases: &[],
};

static PUSH_TICKET: Endpoint = Endpoint {
    route: Route::PushTicket,
    method: Method::POST,
    path: "/api/v1/push-ticket",
    role: READ,
    limit: Limit::NoBody,
    rate: RateClass::Writes,
    title: "Get a ticket for one connection",
    meaning: "For `EventSource` of a browser, which can send no token.",
    parameters: &[],
    body: BodyForm::None,
    answers: &[GoodAnswer {
        status: 200,
        meaning: "A ticket, good for one connection within 30 seconds.",
        media: Media::Json(&TICKET_GIVEN),
        example: r#"{"success":true,"ticket":"b1946ac92492d2347c6235b4d2611184","expires_in":30}"#,
    }],
    refusals: &[Code::Overloaded],
};
