//! The other events: the whole state with which a subscription begins, the mode, and the sign of life.

use bytes::Bytes;

use super::super::json::{push_json, push_number};
use super::position::{EventId, Position};
use super::said::{Said, Watched, encode};
use crate::counter::{Millis, rfc3339};
use crate::engine::{AlertsShown, Cause};
use crate::metrics::PushTransport;

/// What the state says besides the counters.
pub(super) struct StateFacts {
    /// How far the client then has everything; `None` where that cannot be said.
    pub(super) position: Option<Position>,
    /// Where the store stands; `None` without a store.
    pub(super) as_of: Option<Position>,
    /// Whether only what is newer than the client's position is told.
    pub(super) resumed: bool,
    pub(super) interval_ms: i64,
    pub(super) cause: Option<Cause>,
}

/// The event `state`.
pub(super) fn state<'a>(
    transport: PushTransport,
    facts: &StateFacts,
    told: impl Iterator<Item = &'a Watched> + Clone,
) -> Bytes {
    let mut out = Vec::with_capacity(1024);
    let as_of = facts.as_of;
    out.extend_from_slice(b"{\"epoch\":");
    push_json(&mut out, &as_of.map(|as_of| as_of.epoch));
    out.extend_from_slice(b",\"revision\":");
    push_json(&mut out, &as_of.map(|as_of| as_of.revision));
    out.extend_from_slice(b",\"resumed\":");
    push_json(&mut out, &facts.resumed);
    out.extend_from_slice(b",\"interval_ms\":");
    push_number(&mut out, facts.interval_ms);
    out.push(b',');
    push_mode(&mut out, facts.cause);
    out.extend_from_slice(b",\"counters\":[");
    let mut first = true;
    let said = told.clone();
    for watched in said.filter(|one| matches!(one.said, Said::Value { .. } | Said::Corrupt)) {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        out.extend_from_slice(&watched.body);
    }
    out.push(b']');
    let mut names = |member: &[u8], said| {
        out.extend_from_slice(member);
        let names = told.clone().filter(|one| one.said == said);
        let names: Vec<&str> = names.map(|one| one.name.as_str()).collect();
        push_json(&mut out, &names);
    };
    names(b",\"missing\":", Said::Missing);
    let stale = as_of.is_none();
    if stale {
        names(b",\"unknown_here\":", Said::UnknownHere);
    }
    out.extend_from_slice(b",\"stale\":");
    push_json(&mut out, &stale);
    out.push(b'}');
    let id = if stale {
        EventId::Forgotten
    } else {
        facts.position.into()
    };
    encode(transport, "state", id, &out)
}

fn push_mode(out: &mut Vec<u8>, cause: Option<Cause>) {
    match cause {
        None => out.extend_from_slice(b"\"mode\":\"normal\""),
        Some(cause) => {
            out.extend_from_slice(b"\"mode\":\"read_only\",\"cause\":");
            push_json(out, cause.as_str());
        }
    }
}

/// The update that tells of the mode.
pub(super) fn mode(transport: PushTransport, cause: Option<Cause>) -> Bytes {
    let mut out = b"{".to_vec();
    push_mode(&mut out, cause);
    out.push(b'}');
    encode(transport, "update", EventId::Kept, &out)
}

/// The event `alerts`.
pub(super) fn alerts(shown: &AlertsShown) -> Bytes {
    let mut out = Vec::with_capacity(1024);
    push_json(&mut out, shown);
    encode(PushTransport::Ws, "alerts", EventId::Kept, &out)
}

/// The event `tick`.
pub(super) fn tick(transport: PushTransport, at: Millis, position: Option<Position>) -> Bytes {
    let mut out = b"{\"at\":".to_vec();
    push_json(&mut out, &rfc3339(at));
    out.push(b'}');
    encode(transport, "tick", position.into(), &out)
}
