//! The page for people.

use super::schema::{Parameter, ParameterIn, TEXT, Type, pattern};
use super::values::{IF_NONE_MATCH, KNOWN, query};
use super::{BodyForm, Code, Endpoint, GoodAnswer, Limit, Media, Method, RateClass, Role, Topic};
use crate::metrics::Route;

pub(super) static TOPIC: Topic = Topic {
    title: "The page",
    meaning: "For people, at the root, and without a token: what it shows, it asks the calls above for.",
    calls: &[&PAGE, &FILE],
};

const fn sent(media: &'static str, example: &'static str) -> GoodAnswer {
    GoodAnswer {
        status: 200,
        meaning: "The file, compressed for those who take `gzip`.",
        media: Media::Other(media),
        example,
    }
}

static PAGE: Endpoint = Endpoint {
    route: Route::Page,
    method: Method::GET,
    path: "/",
    role: Role::Anyone,
    limit: Limit::NoBody,
    rate: RateClass::Free,
    title: "The page",
    meaning: "Shows the counters in a browser. The parameters are the page's own; `docs/page.md` says what they mean. 404 while \
              `server.page` is off.",
    parameters: &[
        query("view", TEXT, "what is shown", "days"),
        query("counter", TEXT, "of which counter", "online_players"),
        query("q", TEXT, "what is searched for", "online"),
        query(
            "pin",
            TEXT,
            "counters in front, with commas between",
            "online_players",
        ),
        query("days", TEXT, "how many days", "30"),
        query("kiosk", TEXT, "for a wall", ""),
        query("lang", TEXT, "the language", "en"),
        query("theme", TEXT, "light or dark", "dark"),
        IF_NONE_MATCH,
    ],
    body: BodyForm::None,
    answers: &[sent("text/html", "<!doctype html>"), KNOWN],
    refusals: &[Code::NotFound],
};

const FILE_NAME: Type = pattern("^[A-Za-z0-9.]{1,64}$", None, 1, 64);

static FILE: Endpoint = Endpoint {
    route: Route::PageFile,
    method: Method::GET,
    path: "/page/{name}",
    role: Role::Anyone,
    limit: Limit::NoBody,
    rate: RateClass::Free,
    title: "A file of the page",
    meaning: "Scripts, styles and pictures of the page. 404 while `server.page` is off.",
    parameters: &[
        Parameter {
            place: ParameterIn::Path,
            name: "name",
            is: FILE_NAME,
            required: true,
            meaning: "the file",
            example: "app.js",
        },
        IF_NONE_MATCH,
    ],
    body: BodyForm::None,
    answers: &[
        sent("text/javascript", "export {};"),
        sent("text/css", "body { margin: 0; }"),
        sent("text/html", "<!doctype html>"),
        sent("text/plain", "A licence"),
        sent("image/svg+xml", "<svg></svg>"),
        KNOWN,
    ],
    refusals: &[Code::NotFound],
};
