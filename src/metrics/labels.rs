//! The closed sets that label values come from.
//!
//! A label whose values strangers could choose (a counter name, a user id, a path) would grow the
//! page without bound, so a label value is always a variant of an enum in this file. The shards
//! index their arrays by them.

words! {
    /// What a request asked for: one value for each call of the API, whatever counter it names.
    Route {
        /// `POST /api/v1/counter/{name}/increment`
        Increment = "increment",
        /// `POST /api/v1/counter/{name}/decrement`
        Decrement = "decrement",
        /// `POST /api/v1/counter/{name}/heartbeat`
        Heartbeat = "heartbeat",
        /// `POST /api/v1/counter/{name}/leave`
        Leave = "leave",
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
        /// `GET /api/v1/stream?names=`
        Stream = "stream",
        /// `GET /api/v1/ws`
        Ws = "ws",
        /// `POST /api/v1/push-ticket`
        PushTicket = "push_ticket",
        /// `GET /api/v1/alerts`
        Alerts = "alerts",
        /// `POST /api/v1/alerts/silence`
        Silence = "silence",
        /// `GET /`
        Page = "page",
        /// `GET /page/{file}`
        PageFile = "page_file",
        /// `GET /livez`
        Livez = "livez",
        /// `GET /readyz`
        Readyz = "readyz",
        /// `GET /metrics`
        Metrics = "metrics",
        /// `GET /openapi.json`
        Openapi = "openapi",
        /// `GET /docs`
        Docs = "docs",
        /// A path that the server does not know, or a request that could not be read.
        Unmatched = "unmatched",
    }
}

/// The HTTP statuses that the server gives, in order; any other is counted as `other`.
pub const STATUSES: [u16; 22] = [
    101, 200, 201, 204, 304, 400, 401, 403, 404, 405, 408, 409, 410, 413, 414, 415, 422, 426, 429,
    431, 500, 503,
];

words! {
    /// What became of one operation on a counter. Those of a batch count one by one.
    OperationResult {
        /// Changed the counter's value, durably.
        Counted = "counted",
        /// A user who was already counted in this period, or has no place to leave: nothing changed.
        Duplicate = "duplicate",
        /// A lease that was there and goes on.
        Renewed = "renewed",
        /// Stopped at a bound before anything was applied: nothing changed.
        Clamped = "clamped",
        /// The first answer to the same idempotency key, given again.
        Replayed = "replayed",
        /// Refused: the request could not be understood.
        RefusedSyntax = "refused_syntax",
        /// Refused: token or origin.
        RefusedAccess = "refused_access",
        /// Refused: no such counter, or it is gone, or counted elsewhere, or there are too many.
        RefusedExistence = "refused_existence",
        /// Refused: kind, bounds or definition of the counter.
        RefusedRules = "refused_rules",
        /// Refused: the idempotency key was used for another request.
        RefusedKey = "refused_key",
        /// Refused: an address or a user asked too often.
        RefusedRate = "refused_rate",
        /// Refused: the queue was full.
        RefusedOverload = "refused_overload",
        /// Refused: the server was in read-only mode.
        RefusedMode = "refused_mode",
        /// The write failed: whether it counted is not known until the store is open again.
        OutcomeUnknown = "outcome_unknown",
    }
}

words! {
    /// Which limit of a rate refused a request.
    RateLimit {
        /// `limits.per_ip`, of reads.
        IpReads = "ip_reads",
        /// `limits.per_ip`, of writes.
        IpWrites = "ip_writes",
        /// `limits.per_user`.
        User = "user",
        /// `limits.wrong_admin_tokens`.
        WrongTokens = "wrong_admin_tokens",
    }
}

words! {
    /// How a client is told of changes.
    PushTransport {
        /// Server-sent events.
        Sse = "sse",
        /// A WebSocket.
        Ws = "websocket",
    }
}

words! {
    /// Why a connection ended whose client was told of changes.
    PushEnd {
        /// The client left.
        Left = "left",
        /// The client took nothing for `push.stall_timeout`.
        Stalled = "stalled",
        /// The client answered no ping.
        Silent = "silent",
        /// The client sent frames that are none.
        Malformed = "malformed",
        /// The client sent messages that are not understood, or too many.
        Refused = "refused",
        /// The server ended, and said so.
        Drained = "drained",
        /// The server ended at once.
        Ended = "ended",
    }
}

words! {
    /// Why writes are refused, gravest first.
    Cause {
        /// There is no store (it cannot be opened).
        NoStore = "no_store",
        /// A write or a sync failed; the store is being reopened.
        StoreFailed = "store_failed",
        /// The wall clock jumped.
        Clock = "clock",
        /// Free space is under `storage.min_free`.
        Space = "space",
        /// An operator asked for it.
        Operator = "operator",
    }
}

words! {
    /// What is watched, and told of when it is wrong.
    #[derive(PartialOrd, Ord)]
    AlertRule {
        /// A counter is far below what is expected of it at this time of the week.
        Drop = "drop",
        /// A counter lost a great part of its value within minutes.
        DropHard = "drop_hard",
        /// A counter is far above what is expected of it at this time of the week.
        Rise = "rise",
        /// Nothing is counted where something always was.
        Flat = "flat",
        /// A counter stands at its bound.
        AtBound = "at_bound",
        /// Many operations are refused.
        Refusals = "refusals",
        /// Whether operations counted is not known.
        OutcomeUnknown = "outcome_unknown",
        /// Writes are refused.
        ReadOnly = "read_only",
        /// PostgreSQL does not have what was counted.
        ExportLag = "export_lag",
        /// Redis does not have what was counted.
        MirrorLag = "mirror_lag",
        /// The wall clock cannot be believed.
        Clock = "clock",
        /// The disk will soon be full.
        Disk = "disk",
        /// A day is over and not closed.
        CloseLate = "close_late",
    }
}

words! {
    /// What a compaction filter did with one record.
    FilterDecision {
        /// Its time had passed: dropped.
        Dropped = "dropped",
        /// It could not be decoded, and was kept for that.
        Undecodable = "undecodable",
    }
}

words! {
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
            assert_eq!(route as usize, position);
        }
    }

    #[test]
    fn statuses_are_in_order() {
        assert!(STATUSES.is_sorted());
    }
}
