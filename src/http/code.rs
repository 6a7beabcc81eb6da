//! Every error that a client can meet, as one table: its word, its status, as what it is counted, what it is
//! called, and what a client should do. `docs/api.md` lists them; a test holds it to this file.

use http::StatusCode;

use crate::metrics::OperationResult;

/// Makes the codes of a table: above each stands what a client should do about it; then come its word, its
/// status, as what a refused operation is counted, and what kind of problem it is, for people.
macro_rules! codes {
    ($(
        #[doc = $advice:literal]
        $variant:ident = $code:literal, $status:ident, $result:ident, $title:literal;
    )+) => {
        /// Why a request was not done. The words are stable: clients decide by them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $advice] $variant,)+
        }

        impl Code {
            /// All of them, in the order of their status.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Their words.
            pub(super) const WORDS: &[&str] = &[$($code),+];

            /// The word in `code`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// The HTTP status that comes with it.
            pub fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)+ }
            }

            /// As what a refused operation is counted.
            pub(super) fn result(self) -> OperationResult {
                match self { $(Self::$variant => OperationResult::$result,)+ }
            }

            /// What kind of problem it is, for people.
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)+ }
            }

            /// What a client should do about it.
            pub fn advice(self) -> &'static str {
                let advice = match self { $(Self::$variant => $advice,)+ };
                advice.trim_start()
            }
        }
    };
}

codes! {
    /// Mend the client: the request line, a header or the body's framing is malformed.
    BadRequest = "bad_request", BAD_REQUEST, RefusedSyntax, "Not an HTTP request";
    /// Send one JSON object in UTF-8, with no field twice.
    InvalidJson = "invalid_json", BAD_REQUEST, RefusedSyntax, "The body is not one JSON object";
    /// Remove or rename the field that `detail` names.
    UnknownField = "unknown_field", BAD_REQUEST, RefusedSyntax, "The body has an unknown field";
    /// Send a whole number in the range that `detail` names, without fraction, exponent or quotes.
    InvalidValue = "invalid_value", BAD_REQUEST, RefusedSyntax, "The value is not a whole number within its range";
    /// Send the `user_id` of the user to count.
    MissingUserId = "missing_user_id", BAD_REQUEST, RefusedSyntax, "A unique or presence counter needs a user_id";
    /// Send 1 to 128 bytes of UTF-8 without control characters.
    InvalidUserId = "invalid_user_id", BAD_REQUEST, RefusedSyntax, "The user_id is not valid";
    /// Send the `session` of the log-in, 1 to 128 bytes of UTF-8 without control characters, or none.
    InvalidSession = "invalid_session", BAD_REQUEST, RefusedSyntax, "The session is not valid";
    /// Send an object of at most 4 KiB and 8 levels, or none.
    InvalidMetadata = "invalid_metadata", BAD_REQUEST, RefusedSyntax, "The metadata are not an object within the limits";
    /// Use 1 to 100 characters of a-z, 0-9, '_', '.', ':', '-'; see the rule in `detail`.
    InvalidName = "invalid_name", BAD_REQUEST, RefusedSyntax, "The name is not valid for a counter";
    /// Correct what `detail` names; `min` ≤ 0 ≤ `max`, `expires_at` in the future.
    InvalidDefinition = "invalid_definition", BAD_REQUEST, RefusedSyntax, "The definition is not valid";
    /// Send exactly one of `value` and `delta`, and a `reason`.
    InvalidAdjustment = "invalid_adjustment", BAD_REQUEST, RefusedSyntax, "The adjustment is not valid";
    /// Send `operations`: 1 to 1000 objects with `op` and `name`.
    InvalidBatch = "invalid_batch", BAD_REQUEST, RefusedSyntax, "The batch is not valid";
    /// Send `counters`, `until` and `reason`; correct what `detail` names.
    InvalidSilence = "invalid_silence", BAD_REQUEST, RefusedSyntax, "The silence is not valid";
    /// Correct the parameter that `detail` names.
    InvalidQuery = "invalid_query", BAD_REQUEST, RefusedSyntax, "The query is not understood";
    /// Send the header once, with 1 to 255 printable ASCII characters.
    InvalidIdempotencyKey = "invalid_idempotency_key", BAD_REQUEST, RefusedSyntax, "The Idempotency-Key is not valid";
    /// Send `Authorization: Bearer` with the token for this call.
    Unauthorized = "unauthorized", UNAUTHORIZED, RefusedAccess, "A token is needed";
    /// Use the token of the wanted role; `detail` names it.
    Forbidden = "forbidden", FORBIDDEN, RefusedAccess, "The token does not allow this";
    /// Set `auth.admin_token` on the server first.
    AdminDisabled = "admin_disabled", FORBIDDEN, RefusedAccess, "Administrative calls are disabled";
    /// Add the origin to `server.cors_origins`, or call from a backend.
    OriginNotAllowed = "origin_not_allowed", FORBIDDEN, RefusedAccess, "Pages of this origin may not write";
    /// Correct the path; the calls are under `/api/v1`.
    NotFound = "not_found", NOT_FOUND, RefusedSyntax, "There is no such path";
    /// Correct the name, or define or increment the counter first.
    UnknownCounter = "unknown_counter", NOT_FOUND, RefusedExistence, "There is no such counter";
    /// Use a method of the `Allow` header.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, RefusedSyntax, "The path does not have this method";
    /// Send it again, whole; with the same key it counts once.
    RequestTimeout = "request_timeout", REQUEST_TIMEOUT, RefusedSyntax, "The request took too long to arrive";
    /// Nothing was counted: send it to the server whose `counters.names` has the name.
    NotCountedHere = "not_counted_here", CONFLICT, RefusedExistence, "This server does not count the name";
    /// Do not retry: use another call or another counter.
    WrongKind = "wrong_kind", CONFLICT, RefusedRules, "The counter's kind does not do this";
    /// Do not retry unchanged; `current` and `minimum` say where the counter stands.
    BelowMinimum = "below_minimum", CONFLICT, RefusedRules, "The value would fall below its minimum";
    /// Do not retry unchanged; `current` and `maximum` say where the counter stands.
    AboveMaximum = "above_maximum", CONFLICT, RefusedRules, "The value would rise above its maximum";
    /// Delete counters that nobody needs, or raise `counters.max`.
    TooManyCounters = "too_many_counters", CONFLICT, RefusedExistence, "There are too many counters";
    /// End silences that nobody needs: send them with an `until` that has passed.
    TooManySilences = "too_many_silences", CONFLICT, RefusedRules, "There are too many silences";
    /// Delete the counter and define it anew, or leave as they are what `detail` names.
    DefinitionConflict = "definition_conflict", CONFLICT, RefusedRules, "Kind, reset, window and grain of a live counter do not change";
    /// Change the configuration and restart.
    DefinedInConfig = "defined_in_config", CONFLICT, RefusedRules, "The counter is built in or defined in the configuration";
    /// Nothing of it was counted: correct or drop the operations in `errors` and send the rest again.
    BatchRefused = "batch_refused", CONFLICT, RefusedRules, "Operations of the batch were refused";
    /// Stop using it; `PUT` starts it anew.
    CounterDeleted = "counter_deleted", GONE, RefusedExistence, "The counter was deleted";
    /// Stop using it; `PUT` starts it anew.
    CounterExpired = "counter_expired", GONE, RefusedExistence, "The counter has expired";
    /// Send less at a time; `detail` names the limit.
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE, RefusedSyntax, "The body is too large";
    /// Ask for less at a time.
    UriTooLong = "uri_too_long", URI_TOO_LONG, RefusedSyntax, "The path is too long";
    /// Send `Content-Type: application/json` in UTF-8, without `Content-Encoding`.
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, RefusedSyntax, "The body is not JSON";
    /// Open it as a WebSocket of version 13, or read `/api/v1/stream` or `/api/v1/counters` instead.
    UpgradeRequired = "upgrade_required", UPGRADE_REQUIRED, RefusedSyntax, "This path speaks WebSocket";
    /// Use a new key for a new request; repeat a request unchanged with its key.
    IdempotencyKeyReused = "idempotency_key_reused", UNPROCESSABLE_ENTITY, RefusedKey, "The key was used for another request";
    /// Nothing was counted: retry after `Retry-After` seconds; `limit` says which limit it is.
    RateLimited = "rate_limited", TOO_MANY_REQUESTS, RefusedRate, "Too many requests";
    /// Send fewer or shorter headers.
    HeadersTooLarge = "headers_too_large", REQUEST_HEADER_FIELDS_TOO_LARGE, RefusedSyntax, "The headers are too large or too many";
    /// Do not retry; tell the operator: `counterd check --deep` names the damaged table. Other users are counted.
    UnreadableUser = "unreadable_user", INTERNAL_SERVER_ERROR, RefusedRules, "Whether this user was counted cannot be read";
    /// Do not retry; tell the operator: `counterd repair` shows it and sets a value.
    CorruptRecord = "corrupt_record", INTERNAL_SERVER_ERROR, RefusedRules, "What is stored of this counter cannot be read";
    /// Whether the first try counted cannot be told; tell the operator, use a new key for new requests.
    CorruptKey = "corrupt_key", INTERNAL_SERVER_ERROR, RefusedKey, "What is stored under this key cannot be read";
    /// Nothing was counted: retry after `Retry-After` seconds.
    ReadOnly = "read_only", SERVICE_UNAVAILABLE, RefusedMode, "Writes are refused for now";
    /// Only `/readyz?writes` says so. Nothing is refused: a write is answered once the disk has it, so wait for the answer.
    SlowDisk = "slow_disk", SERVICE_UNAVAILABLE, RefusedMode, "Writes wait for the disk";
    /// Nothing was counted: retry after a short, growing, random pause.
    Overloaded = "overloaded", SERVICE_UNAVAILABLE, RefusedOverload, "The queue is full";
    /// With an Idempotency-Key retry until 2xx or a 4xx about the counter; without one do not retry what must not count twice.
    OutcomeUnknown = "outcome_unknown", SERVICE_UNAVAILABLE, OutcomeUnknown, "Whether it was counted is not known";
    /// The store cannot be opened and the copy lacks it: show the last value you had, and ask again after `Retry-After` seconds.
    UnknownHere = "unknown_here", SERVICE_UNAVAILABLE, RefusedMode, "The copy in use does not have this";
    /// Values are served meanwhile; ask for history and series again after `Retry-After` seconds.
    StoreReopening = "store_reopening", SERVICE_UNAVAILABLE, RefusedMode, "The store is being reopened";
    /// Nothing was read: close idle connections and retry after a pause.
    TooManyConnections = "too_many_connections", SERVICE_UNAVAILABLE, RefusedOverload, "There are too many connections";
    /// Nothing was counted: connect again and retry.
    ShuttingDown = "shutting_down", SERVICE_UNAVAILABLE, RefusedMode, "The server is ending";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_docs_give_the_advice_of_every_code() {
        let docs = include_str!("../../docs/api.md");
        for code in Code::ALL {
            let (word, status, advice) = (code.as_str(), code.status().as_u16(), code.advice());
            let row = format!("| `{word}` | {status} | {advice} |\n");
            assert!(
                docs.contains(&row),
                "docs/api.md, the table of codes: write {row}"
            );
        }
    }

    #[test]
    fn every_code_is_a_word_of_its_own() {
        let mut words: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Code::ALL.len());
        for code in Code::ALL {
            assert!(code.status().is_client_error() || code.status().is_server_error());
            assert!(
                code.as_str()
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            );
        }
    }
}
