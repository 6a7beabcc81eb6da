//! The HTTP API as one table: which calls there are, who may make them, what they take and answer.
//!
//! The router, `Allow`, the judgement before a handler runs, and the labels of log and metrics come from
//! this table; a test holds `docs/api.md` to it. Kept out: what a call does, which is its handler's.

use super::auth::Access;
use super::error::Code;
use crate::metrics::Route;

/// How a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Post,
    Put,
    Delete,
}

#[cfg(test)]
impl Verb {
    /// The method's name.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// Who may make a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Everyone.
    Anyone,
    /// Those who have the token for it, sent as a header.
    Holder(Access),
    /// Administrators; the token may be in the body, so the handler asks for it.
    AdminInBody,
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
    pub(super) verb: Verb,
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

/// Refusals that any call may meet.
#[cfg(test)]
pub(super) const ANYWHERE: &[Code] = &[
    Code::BadRequest,
    Code::InvalidQuery,
    Code::Unauthorized,
    Code::Forbidden,
    Code::NotFound,
    Code::MethodNotAllowed,
    Code::RequestTimeout,
    Code::UriTooLong,
    Code::HeadersTooLarge,
    Code::TooManyConnections,
    Code::ShuttingDown,
];

/// Refusals that any write may meet.
#[cfg(test)]
pub(super) const WRITES: &[Code] = &[
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

const READ: Role = Role::Holder(Access::Read);
const WRITE: Role = Role::Holder(Access::Write);
const ADMIN: Role = Role::Holder(Access::Admin);

/// The calls, those of one path together.
pub(super) static CALLS: &[Endpoint] = &[
    Endpoint {
        route: Route::Increment,
        verb: Verb::Post,
        path: "/api/v1/counter/{name}/increment",
        role: WRITE,
        limit: Limit::Body,
        parameters: &[],
        fields: &["value", "user_id", "metadata"],
        answers: &[200],
        refusals: &[
            Code::InvalidName,
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
    },
    Endpoint {
        route: Route::Decrement,
        verb: Verb::Post,
        path: "/api/v1/counter/{name}/decrement",
        role: WRITE,
        limit: Limit::Body,
        parameters: &[],
        fields: &["value", "user_id", "metadata"],
        answers: &[200],
        refusals: &[
            Code::InvalidName,
            Code::InvalidValue,
            Code::InvalidUserId,
            Code::InvalidMetadata,
            Code::UnknownCounter,
            Code::WrongKind,
            Code::BelowMinimum,
            Code::CounterDeleted,
            Code::CounterExpired,
            Code::CorruptRecord,
        ],
    },
    Endpoint {
        route: Route::Batch,
        verb: Verb::Post,
        path: "/api/v1/batch",
        role: WRITE,
        limit: Limit::Batch,
        parameters: &[],
        fields: &["operations", "mode"],
        answers: &[200],
        refusals: &[
            Code::InvalidName,
            Code::InvalidValue,
            Code::InvalidUserId,
            Code::InvalidMetadata,
            Code::InvalidBatch,
            Code::BatchRefused,
        ],
    },
    Endpoint {
        route: Route::Read,
        verb: Verb::Get,
        path: "/api/v1/counter/{name}",
        role: READ,
        limit: Limit::NoBody,
        parameters: &[],
        fields: &[],
        answers: &[200],
        refusals: &[
            Code::InvalidName,
            Code::UnknownCounter,
            Code::CounterDeleted,
            Code::CounterExpired,
            Code::CorruptRecord,
            Code::UnknownHere,
        ],
    },
    Endpoint {
        route: Route::Define,
        verb: Verb::Put,
        path: "/api/v1/counter/{name}",
        role: ADMIN,
        limit: Limit::Body,
        parameters: &[],
        fields: &[
            "kind",
            "reset",
            "min",
            "max",
            "on_bound",
            "expires_at",
            "description",
        ],
        answers: &[200, 201],
        refusals: &[
            Code::InvalidName,
            Code::InvalidDefinition,
            Code::AdminDisabled,
            Code::TooManyCounters,
            Code::DefinitionConflict,
            Code::DefinedInConfig,
            Code::CorruptRecord,
        ],
    },
    Endpoint {
        route: Route::Delete,
        verb: Verb::Delete,
        path: "/api/v1/counter/{name}",
        role: ADMIN,
        limit: Limit::NoBody,
        parameters: &[],
        fields: &[],
        answers: &[200],
        refusals: &[
            Code::InvalidName,
            Code::AdminDisabled,
            Code::UnknownCounter,
            Code::DefinedInConfig,
            Code::CounterDeleted,
            Code::CounterExpired,
            Code::CorruptRecord,
        ],
    },
    Endpoint {
        route: Route::Reset,
        verb: Verb::Post,
        path: "/api/v1/counter/{name}/reset",
        role: Role::AdminInBody,
        limit: Limit::Body,
        parameters: &[],
        fields: &["admin_token"],
        answers: &[200],
        refusals: &[
            Code::InvalidName,
            Code::InvalidValue,
            Code::AdminDisabled,
            Code::UnknownCounter,
            Code::CounterDeleted,
            Code::CounterExpired,
            Code::CorruptRecord,
        ],
    },
    Endpoint {
        route: Route::Adjust,
        verb: Verb::Post,
        path: "/api/v1/counter/{name}/adjust",
        role: ADMIN,
        limit: Limit::Body,
        parameters: &[],
        fields: &["value", "delta", "reason"],
        answers: &[200],
        refusals: &[
            Code::InvalidName,
            Code::InvalidValue,
            Code::InvalidAdjustment,
            Code::AdminDisabled,
            Code::UnknownCounter,
            Code::WrongKind,
            Code::BelowMinimum,
            Code::AboveMaximum,
            Code::CounterDeleted,
            Code::CounterExpired,
            Code::CorruptRecord,
        ],
    },
    Endpoint {
        route: Route::History,
        verb: Verb::Get,
        path: "/api/v1/counter/{name}/history",
        role: READ,
        limit: Limit::NoBody,
        parameters: &["from", "to"],
        fields: &[],
        answers: &[200],
        refusals: &[
            Code::InvalidName,
            Code::UnknownCounter,
            Code::UnknownHere,
            Code::StoreReopening,
        ],
    },
    Endpoint {
        route: Route::Series,
        verb: Verb::Get,
        path: "/api/v1/counter/{name}/series",
        role: READ,
        limit: Limit::NoBody,
        parameters: &["range", "step"],
        fields: &[],
        answers: &[200],
        refusals: &[
            Code::InvalidName,
            Code::UnknownCounter,
            Code::CounterDeleted,
            Code::CounterExpired,
            Code::CorruptRecord,
            Code::StoreReopening,
        ],
    },
    Endpoint {
        route: Route::ReadMany,
        verb: Verb::Get,
        path: "/api/v1/counters",
        role: READ,
        limit: Limit::NoBody,
        parameters: &["names"],
        fields: &[],
        answers: &[200],
        refusals: &[Code::InvalidName, Code::CorruptRecord, Code::UnknownHere],
    },
    Endpoint {
        route: Route::List,
        verb: Verb::Get,
        path: "/api/v1/counters/all",
        role: READ,
        limit: Limit::NoBody,
        parameters: &["prefix", "cursor", "limit"],
        fields: &[],
        answers: &[200],
        refusals: &[Code::UnknownHere],
    },
    Endpoint {
        route: Route::Livez,
        verb: Verb::Get,
        path: "/livez",
        role: Role::Anyone,
        limit: Limit::NoBody,
        parameters: &[],
        fields: &[],
        answers: &[200],
        refusals: &[],
    },
    Endpoint {
        route: Route::Readyz,
        verb: Verb::Get,
        path: "/readyz",
        role: Role::Anyone,
        limit: Limit::NoBody,
        parameters: &["verbose", "writes"],
        fields: &[],
        answers: &[200],
        refusals: &[Code::ReadOnly, Code::SlowDisk, Code::UnknownHere],
    },
    Endpoint {
        route: Route::Metrics,
        verb: Verb::Get,
        path: "/metrics",
        role: Role::Anyone,
        limit: Limit::NoBody,
        parameters: &[],
        fields: &[],
        answers: &[200],
        refusals: &[],
    },
];

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

    fn words(names: &[&str]) -> String {
        let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        quoted.join(", ")
    }

    /// A call's row in `docs/api.md`.
    fn row(endpoint: &Endpoint) -> String {
        let Endpoint {
            route,
            verb,
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
            Role::Holder(Access::Read) => "read",
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
            format!("`{} {path}`", verb.as_str()),
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
