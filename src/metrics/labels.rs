//! The closed sets that label values come from.
//!
//! A label whose values strangers could choose (a counter name, a user id, a path) would grow the
//! page without bound, so a label value is always a variant of an enum in this file. The shards
//! index their arrays by them.

macro_rules! closed_set {
    (
        $(#[$doc:meta])*
        $name:ident {
            $( $(#[$variant_doc:meta])* $variant:ident = $label:literal, )+
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $( $(#[$variant_doc])* $variant, )+
        }

        impl $name {
            /// Every value of the set, in the order of the arrays indexed by it.
            pub const ALL: [Self; [$($label),+].len()] = [$(Self::$variant),+];

            /// How many values the set has.
            pub const COUNT: usize = Self::ALL.len();

            /// The text that stands in `/metrics` and in the logs.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $( Self::$variant => $label, )+
                }
            }

            /// The position in [`Self::ALL`], always below [`Self::COUNT`].
            #[must_use]
            pub const fn index(self) -> usize {
                self as usize
            }
        }
    };
}

closed_set! {
    /// What a request asked for: one value for each call of the API, whatever counter it names.
    Route {
        /// `POST /api/v1/counter/{name}/increment`
        Increment = "increment",
        /// `POST /api/v1/counter/{name}/decrement`
        Decrement = "decrement",
        /// `GET /api/v1/counter/{name}`
        Read = "read",
        /// `GET /api/v1/counters?names=`
        ReadMany = "read_many",
        /// `GET /api/v1/counters/all`
        List = "list",
        /// `GET /api/v1/counter/{name}/history`
        History = "history",
        /// `GET /api/v1/counter/{name}/series`
        Series = "series",
        /// `POST /api/v1/batch`
        Batch = "batch",
        /// `POST /api/v1/counter/{name}/reset`
        Reset = "reset",
        /// `POST /api/v1/counter/{name}/adjust`
        Adjust = "adjust",
        /// `PUT /api/v1/counter/{name}`
        Define = "define",
        /// `DELETE /api/v1/counter/{name}`
        Delete = "delete",
        /// `DELETE /api/v1/counters?prefix=`
        DeletePrefix = "delete_prefix",
        /// `GET /livez`
        Livez = "livez",
        /// `GET /readyz`
        Readyz = "readyz",
        /// `GET /metrics`
        Metrics = "metrics",
        /// A path that the server does not know, or a request that could not be read.
        Unmatched = "unmatched",
    }
}

closed_set! {
    /// The HTTP statuses that the server gives; any other is counted as `other`.
    Status {
        /// 200
        Ok = "200",
        /// 201
        Created = "201",
        /// 204
        NoContent = "204",
        /// 400
        BadRequest = "400",
        /// 401
        Unauthorized = "401",
        /// 403
        Forbidden = "403",
        /// 404
        NotFound = "404",
        /// 405
        MethodNotAllowed = "405",
        /// 408
        RequestTimeout = "408",
        /// 409
        Conflict = "409",
        /// 410
        Gone = "410",
        /// 413
        ContentTooLarge = "413",
        /// 414
        UriTooLong = "414",
        /// 415
        UnsupportedMediaType = "415",
        /// 422
        UnprocessableContent = "422",
        /// 429
        TooManyRequests = "429",
        /// 431
        HeaderFieldsTooLarge = "431",
        /// 500
        InternalServerError = "500",
        /// 503
        ServiceUnavailable = "503",
        /// Anything else.
        Other = "other",
    }
}

impl Status {
    /// The set's value for an HTTP status code.
    #[must_use]
    pub const fn of(code: u16) -> Self {
        match code {
            200 => Self::Ok,
            201 => Self::Created,
            204 => Self::NoContent,
            400 => Self::BadRequest,
            401 => Self::Unauthorized,
            403 => Self::Forbidden,
            404 => Self::NotFound,
            405 => Self::MethodNotAllowed,
            408 => Self::RequestTimeout,
            409 => Self::Conflict,
            410 => Self::Gone,
            413 => Self::ContentTooLarge,
            414 => Self::UriTooLong,
            415 => Self::UnsupportedMediaType,
            422 => Self::UnprocessableContent,
            429 => Self::TooManyRequests,
            431 => Self::HeaderFieldsTooLarge,
            500 => Self::InternalServerError,
            503 => Self::ServiceUnavailable,
            _ => Self::Other,
        }
    }
}

closed_set! {
    /// What became of one operation on a counter. Those of a batch count one by one.
    OperationResult {
        /// Changed the counter's value, durably.
        Counted = "counted",
        /// A user who was already counted in this period: nothing changed.
        Duplicate = "duplicate",
        /// Stopped at a bound before anything was applied: nothing changed.
        Clamped = "clamped",
        /// The first answer to the same idempotency key, given again.
        Replayed = "replayed",
        /// Refused: the request could not be understood.
        RefusedSyntax = "refused_syntax",
        /// Refused: token or origin.
        RefusedAccess = "refused_access",
        /// Refused: no such counter, or it is gone, or there are too many.
        RefusedExistence = "refused_existence",
        /// Refused: kind, bounds or definition of the counter.
        RefusedRules = "refused_rules",
        /// Refused: the idempotency key was used for another request.
        RefusedKey = "refused_key",
        /// Refused: the queue was full.
        RefusedOverload = "refused_overload",
        /// Refused: the server was in read-only mode.
        RefusedMode = "refused_mode",
        /// The write failed: whether it counted is not known until the store is open again.
        OutcomeUnknown = "outcome_unknown",
    }
}

closed_set! {
    /// Why writes are refused.
    ReadOnlyCause {
        /// Too little free space.
        Space = "space",
        /// The wall clock jumped.
        Clock = "clock",
        /// An operator asked for it.
        Operator = "operator",
        /// A write or sync failed and the store is being opened again.
        StoreFailed = "store_failed",
        /// The store could not be opened.
        NoStore = "no_store",
    }
}

closed_set! {
    /// What a compaction filter did with one record.
    FilterDecision {
        /// Its time had passed: dropped.
        Dropped = "dropped",
        /// It could not be decoded, and was kept for that.
        Undecodable = "undecodable",
    }
}

closed_set! {
    /// Which of the two ways a log line takes.
    LogKind {
        /// One line for each API request.
        Request = "request",
        /// Everything else.
        Event = "event",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_index_is_its_own_place_and_every_label_unique() {
        let labels: BTreeSet<_> = Route::ALL.iter().map(|route| route.as_str()).collect();
        assert_eq!(labels.len(), Route::COUNT);
        for (position, route) in Route::ALL.into_iter().enumerate() {
            assert_eq!(route.index(), position);
        }
    }

    #[test]
    fn a_status_keeps_its_number_or_is_other() {
        for code in 0..=1000 {
            let label = Status::of(code).as_str();
            assert!(
                label == code.to_string() || label == "other",
                "{code} became {label}"
            );
        }
        let named = (0..=1000).filter(|code| Status::of(*code) != Status::Other);
        assert_eq!(named.count(), Status::COUNT - 1);
    }
}
