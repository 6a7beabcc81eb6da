//! The HTTP API as one table: which calls there are, who may make them, what they take and answer.
//!
//! The router, `Allow`, the judgement before a handler runs, and the labels of log and metrics come from this
//! table; so do the tables of `docs/api.md`, `docs/openapi.json` and the page at `/docs`, which tests make and
//! compare. Kept out: what a call does, which is its handler's.

#![allow(
    dead_code,
    reason = "what describes a call is read by those that make documents of it, which are tests"
)]

mod administration;
mod alerting;
mod counting;
mod page;
mod reading;
mod refusals;
mod schema;
mod service;
mod values;
mod watching;

use http::Method;

use super::auth::Access;
use super::code::Code;
use crate::counter::Action;
use crate::metrics::Route;
use crate::seeded::bug;

pub(super) use schema::{Parameter, ParameterIn, Shape};

/// Who may make a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Everyone.
    Anyone,
    /// Those who have the token for it, sent as a header.
    Holder(Access),
    /// Administrators; the token may be in the body, so the handler asks for it.
    AdminInBody,
    /// Those who may read; they may show it as browsers can, so the handler asks for it.
    Watcher,
}

/// How long a call's body may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// The call has no body; one that is sent is not looked at.
    NoBody,
    /// `server.max_body`
    Body,
    /// `server.max_batch_body`
    Batch,
}

/// What limit of a rate a call counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RateClass {
    /// None: a probe or a scrape.
    Free,
    /// `limits.per_ip`, of reads
    Reads,
    /// `limits.per_ip`, of writes; an operation on a user counts for `limits.per_user` too.
    Writes,
}

/// The body of a call.
#[derive(Clone, Copy, Debug)]
pub(super) enum BodyForm {
    /// There is none.
    None,
    /// It may be absent. With an example.
    Optional(&'static Shape, &'static str),
    /// It must be there. With an example.
    Required(&'static Shape, &'static str),
}

impl BodyForm {
    /// Returns what it looks like; `None` where there is none.
    pub(super) fn shape(self) -> Option<&'static Shape> {
        match self {
            Self::None => None,
            Self::Optional(shape, _) | Self::Required(shape, _) => Some(shape),
        }
    }
}

/// One good answer of a call.
#[derive(Debug)]
pub(super) struct GoodAnswer {
    pub(super) status: u16,
    pub(super) meaning: &'static str,
    pub(super) media: Media,
    pub(super) example: &'static str,
}

/// What the body of a good answer is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Media {
    /// The connection speaks something else from then on.
    Upgraded,
    /// There is none.
    Nothing,
    /// A JSON object.
    Json(&'static Shape),
    /// Server-sent events, each of which looks like this.
    Events(&'static Shape),
    /// A JSON object that another specification describes, or a text, of that media type.
    Other(&'static str),
}

/// One call of the API.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// Its label in log and metrics.
    pub(super) route: Route,
    pub(super) method: Method,
    /// Its path, as the router spells it.
    pub(super) path: &'static str,
    pub(super) role: Role,
    pub(super) limit: Limit,
    pub(super) rate: RateClass,
    /// What it does, in a few words.
    pub(super) title: &'static str,
    /// What it does, in sentences.
    pub(super) meaning: &'static str,
    pub(super) parameters: &'static [Parameter],
    pub(super) body: BodyForm,
    pub(super) answers: &'static [GoodAnswer],
    /// The refusals of its own, besides those that its role, its body and its rate bring with them.
    pub(super) refusals: &'static [Code],
}

impl Endpoint {
    /// Whether it knows a parameter of that name behind `?`.
    pub(super) fn takes_query(&self, name: &str) -> bool {
        let mut parameters = self.parameters.iter();
        parameters.any(|known| known.place == ParameterIn::Query && known.name == name)
    }

    /// Returns the parameters behind `?` that it knows.
    pub(super) fn queries(&self) -> Vec<&'static str> {
        let queries = self.parameters.iter();
        let queries = queries.filter(|parameter| parameter.place == ParameterIn::Query);
        queries.map(|parameter| parameter.name).collect()
    }

    /// Returns the names of the fields of its body.
    pub(super) fn fields(&self) -> Vec<&'static str> {
        let fields = self.body.shape().map_or(&[][..], |shape| shape.fields);
        fields.iter().map(|field| field.name).collect()
    }
}

/// Calls that have something in common.
#[derive(Debug)]
pub(super) struct Topic {
    /// What they are for, in one word.
    pub(super) title: &'static str,
    pub(super) meaning: &'static str,
    /// Those of one path together.
    pub(super) calls: &'static [&'static Endpoint],
}

/// All calls.
pub(super) static TOPICS: &[&Topic] = &[
    &counting::TOPIC,
    &reading::TOPIC,
    &administration::TOPIC,
    &watching::TOPIC,
    &alerting::TOPIC,
    &service::TOPIC,
    &page::TOPIC,
];

const READ: Role = Role::Holder(Access::Read);
const WRITE: Role = Role::Holder(Access::Write);
const ADMIN: Role = Role::Holder(Access::Admin);

/// Returns all calls.
pub(super) fn calls() -> impl Iterator<Item = &'static Endpoint> {
    let all = TOPICS.iter().flat_map(|topic| topic.calls).copied();
    // Planted: a call is served and stands in no list.
    all.filter(|endpoint| endpoint.route != Route::Leave || !bug("route_not_in_contract"))
}

/// The call that does it.
pub(super) fn call_of(action: Action) -> &'static Endpoint {
    match action {
        Action::Increment => &counting::INCREMENT,
        Action::Decrement => &counting::DECREMENT,
        Action::Heartbeat => &counting::HEARTBEAT,
        Action::Leave => &counting::LEAVE,
    }
}

/// The label of a path's first call.
pub(super) fn route_at(path: &str) -> Route {
    let first = calls().find(|endpoint| endpoint.path == path);
    first.map_or(Route::Unmatched, |endpoint| endpoint.route)
}

/// Whether a request of this label gets a line in the log. Probes and scrapes would drown the others.
pub(super) fn is_logged(route: Route) -> bool {
    !matches!(route, Route::Livez | Route::Readyz | Route::Metrics)
}

#[cfg(test)]
pub(in crate::http) mod tests;
