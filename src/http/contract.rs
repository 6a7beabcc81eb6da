//! The HTTP API as one table: which calls there are, who may make them, what they take and answer.
//!
//! The router, `Allow`, the judgement before a handler runs, and the labels of log and metrics come from
//! this table; a test holds `docs/api.md` to it. Kept out: what a call does, which is its handler's.

use http::Method;

use super::auth::Access;
use super::code::Code;
use crate::counter::Definition;
use crate::metrics::Route;

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

/// One call of the API.
#[allow(
    dead_code,
    reason = "answers and refusals describe the call; the docs are held to them"
)]
#[derive(Debug)]
pub(super) struct Endpoint {
    /// Its label in log and metrics.
    pub(super) route: Route,
    pub(super) method: Method,
    /// Its path, as the router spells it.
    pub(super) path: &'static str,
    pub(super) role: Role,
    pub(super) limit: Limit,
    /// The query parameters that it knows.
    pub(super) parameters: &'static [&'static str],
    /// The fields of its body.
    pub(super) fields: &'static [&'static str],
    /// The statuses of its good answers.
    pub(super) answers: &'static [u16],
    /// The refusals of its own, besides those that any call may meet.
    pub(super) refusals: &'static [Code],
}

const READ: Role = Role::Holder(Access::Read);
const WRITE: Role = Role::Holder(Access::Write);
const ADMIN: Role = Role::Holder(Access::Admin);
const ADMIN_IN_BODY: Role = Role::AdminInBody;
const WATCHER: Role = Role::Watcher;
const ANYONE: Role = Role::Anyone;

/// Makes the table of rows: a call's label, method, path, role and limit; the parameters and the fields that it
/// takes; the statuses of its good answers, and its own refusals.
macro_rules! calls {
    ($(
        $route:ident = $method:ident $path:literal, $role:ident, $limit:ident;
        takes [$($parameter:literal)*] $fields:expr;
        answers [$($status:literal)*] [$($code:ident)*];
    )+) => {
        /// The calls, those of one path together.
        pub(super) static CALLS: &[Endpoint] = &[$(Endpoint {
            route: Route::$route,
            method: Method::$method,
            path: $path,
            role: $role,
            limit: Limit::$limit,
            parameters: &[$($parameter),*],
            fields: $fields,
            answers: &[$($status),*],
            refusals: &[$(Code::$code),*],
        }),+];
    };
}

calls! {
    Increment = POST "/api/v1/counter/{name}/increment", WRITE, Body;
        takes [] &["value", "user_id", "metadata"];
        answers [200] [InvalidName InvalidValue MissingUserId InvalidUserId InvalidMetadata
            UnknownCounter AboveMaximum TooManyCounters CounterDeleted CounterExpired CorruptRecord
            UnreadableUser];
    Decrement = POST "/api/v1/counter/{name}/decrement", WRITE, Body;
        takes [] &["value", "user_id", "metadata"];
        answers [200] [InvalidName InvalidValue MissingUserId InvalidUserId InvalidMetadata
            UnknownCounter WrongKind BelowMinimum CounterDeleted CounterExpired CorruptRecord
            UnreadableUser];
    Heartbeat = POST "/api/v1/counter/{name}/heartbeat", WRITE, Body;
        takes [] &["value", "user_id", "session"];
        answers [200] [InvalidName InvalidValue MissingUserId InvalidUserId InvalidSession
            UnknownCounter WrongKind AboveMaximum CounterDeleted CounterExpired CorruptRecord
            UnreadableUser];
    Leave = POST "/api/v1/counter/{name}/leave", WRITE, Body;
        takes [] &["user_id", "session"];
        answers [200] [InvalidName MissingUserId InvalidUserId InvalidSession UnknownCounter
            WrongKind CounterDeleted CounterExpired CorruptRecord UnreadableUser];
    Batch = POST "/api/v1/batch", WRITE, Batch;
        takes [] &["operations", "mode"];
        answers [200] [InvalidName InvalidValue InvalidUserId InvalidSession InvalidMetadata
            InvalidBatch BatchRefused];
    Read = GET "/api/v1/counter/{name}", READ, NoBody;
        takes [] &[];
        answers [200] [InvalidName UnknownCounter CounterDeleted CounterExpired CorruptRecord
            UnknownHere];
    Define = PUT "/api/v1/counter/{name}", ADMIN, Body;
        takes [] Definition::FIELDS;
        answers [200 201] [InvalidName InvalidDefinition AdminDisabled TooManyCounters
            DefinitionConflict DefinedInConfig CorruptRecord];
    Delete = DELETE "/api/v1/counter/{name}", ADMIN, NoBody;
        takes [] &[];
        answers [200] [InvalidName AdminDisabled UnknownCounter DefinedInConfig CounterDeleted
            CounterExpired CorruptRecord];
    Reset = POST "/api/v1/counter/{name}/reset", ADMIN_IN_BODY, Body;
        takes [] &["admin_token"];
        answers [200] [InvalidName InvalidValue AdminDisabled UnknownCounter CounterDeleted
            CounterExpired CorruptRecord];
    Adjust = POST "/api/v1/counter/{name}/adjust", ADMIN, Body;
        takes [] &["value", "delta", "reason"];
        answers [200] [InvalidName InvalidValue InvalidAdjustment AdminDisabled UnknownCounter
            WrongKind BelowMinimum AboveMaximum CounterDeleted CounterExpired CorruptRecord];
    History = GET "/api/v1/counter/{name}/history", READ, NoBody;
        takes ["from" "to"] &[];
        answers [200] [InvalidName UnknownCounter UnknownHere StoreReopening];
    Series = GET "/api/v1/counter/{name}/series", READ, NoBody;
        takes ["range" "step"] &[];
        answers [200] [InvalidName UnknownCounter CounterDeleted CounterExpired CorruptRecord
            StoreReopening];
    ReadMany = GET "/api/v1/counters", READ, NoBody;
        takes ["names"] &[];
        answers [200] [InvalidName CorruptRecord UnknownHere];
    DeletePrefix = DELETE "/api/v1/counters", ADMIN, NoBody;
        takes ["prefix" "dry_run"] &[];
        answers [200] [AdminDisabled];
    List = GET "/api/v1/counters/all", READ, NoBody;
        takes ["prefix" "cursor" "limit"] &[];
        answers [200] [UnknownHere];
    Stream = GET "/api/v1/stream", WATCHER, NoBody;
        takes ["names" "since" "interval" "ticket"] &[];
        answers [200] [InvalidName OriginNotAllowed];
    Ws = GET "/api/v1/ws", WATCHER, NoBody;
        takes ["ticket"] &[];
        answers [101] [UpgradeRequired OriginNotAllowed];
    PushTicket = POST "/api/v1/push-ticket", READ, NoBody;
        takes [] &[];
        answers [200] [Overloaded OriginNotAllowed];
    Alerts = GET "/api/v1/alerts", READ, NoBody;
        takes [] &[];
        answers [200] [];
    Silence = POST "/api/v1/alerts/silence", ADMIN, Body;
        takes [] &["counters", "until", "reason"];
        answers [200] [InvalidSilence AdminDisabled TooManySilences];
    Livez = GET "/livez", ANYONE, NoBody;
        takes [] &[];
        answers [200] [];
    Readyz = GET "/readyz", ANYONE, NoBody;
        takes ["verbose" "writes"] &[];
        answers [200] [ReadOnly SlowDisk UnknownHere];
    Metrics = GET "/metrics", ANYONE, NoBody;
        takes [] &[];
        answers [200] [];
}

/// The call behind a label; `None` for the label of what is no call.
pub(super) fn endpoint(route: Route) -> Option<&'static Endpoint> {
    CALLS.iter().find(|endpoint| endpoint.route == route)
}

/// The label of a path's first call.
pub(super) fn route_at(path: &str) -> Route {
    let first = CALLS.iter().find(|endpoint| endpoint.path == path);
    first.map_or(Route::Unmatched, |endpoint| endpoint.route)
}

/// Whether a request of this label gets a line in the log. Probes and scrapes would drown the others.
pub(super) fn is_logged(route: Route) -> bool {
    endpoint(route).is_none_or(|endpoint| endpoint.path.starts_with("/api/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Refusals that any call may meet.
    const ANYWHERE: &[Code] = &[
        Code::BadRequest,
        Code::InvalidQuery,
        Code::Unauthorized,
        Code::Forbidden,
        Code::NotFound,
        Code::MethodNotAllowed,
        Code::RequestTimeout,
        Code::UriTooLong,
        Code::RateLimited,
        Code::HeadersTooLarge,
        Code::TooManyConnections,
        Code::ShuttingDown,
    ];

    /// Refusals that any write may meet.
    const WRITES: &[Code] = &[
        Code::InvalidJson,
        Code::UnknownField,
        Code::InvalidIdempotencyKey,
        Code::OriginNotAllowed,
        Code::BodyTooLarge,
        Code::UnsupportedMediaType,
        Code::IdempotencyKeyReused,
        Code::CorruptKey,
        Code::ReadOnly,
        Code::Overloaded,
        Code::OutcomeUnknown,
    ];

    fn words(names: &[&str]) -> String {
        let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        quoted.join(", ")
    }

    /// A call's row in `docs/api.md`.
    fn row(endpoint: &Endpoint) -> String {
        let Endpoint {
            route,
            method,
            path,
            role,
            limit,
            parameters,
            fields,
            answers,
            refusals,
        } = endpoint;
        let path = path.strip_prefix("/api/v1").unwrap_or(path);
        let who = match role {
            Role::Anyone => "anyone",
            Role::Holder(Access::Read) | Role::Watcher => "read",
            Role::Holder(Access::Write) => "write",
            Role::Holder(Access::Admin) | Role::AdminInBody => "admin",
        };
        let fields = match limit {
            Limit::NoBody => String::new(),
            Limit::Body | Limit::Batch => words(fields),
        };
        let answers: Vec<String> = answers.iter().map(u16::to_string).collect();
        let codes: Vec<&str> = refusals.iter().map(|code| code.as_str()).collect();
        let columns = [
            format!("`{} {path}`", method.as_str()),
            route.as_str().to_owned(),
            who.to_owned(),
            words(parameters),
            fields,
            answers.join(", "),
            words(&codes),
        ];
        format!("| {} |", columns.join(" | "))
            .replace("|  |", "| |")
            .replace("|  |", "| |")
    }

    #[test]
    fn each_label_has_its_call_and_each_call_its_own() {
        for route in Route::ALL {
            let calls = CALLS.iter().filter(|endpoint| endpoint.route == route);
            let wanted = usize::from(route != Route::Unmatched);
            assert_eq!(calls.count(), wanted, "{}", route.as_str());
        }
    }

    #[test]
    fn each_code_is_one_that_some_call_answers() {
        let own = CALLS.iter().flat_map(|endpoint| endpoint.refusals);
        let known: Vec<&Code> = own.chain(ANYWHERE).chain(WRITES).collect();
        for code in Code::ALL {
            assert!(
                known.contains(&code),
                "{}: no call answers it",
                code.as_str()
            );
        }
    }

    #[test]
    fn a_call_without_a_body_has_no_fields() {
        for endpoint in CALLS {
            let bodiless = endpoint.limit == Limit::NoBody;
            assert_eq!(endpoint.fields.is_empty(), bodiless, "{}", endpoint.path);
        }
    }

    #[test]
    fn the_docs_have_a_row_for_each_call() {
        let docs = include_str!("../../docs/api.md");
        for endpoint in CALLS {
            let row = row(endpoint);
            assert!(
                docs.lines().any(|line| line == row),
                "docs/api.md, the table of calls: write {row}"
            );
        }
    }
}
