//! What is said of one counter, and the events that say it: encoded once for all who watch it.

use bytes::Bytes;

use super::super::json::push_json;
use super::super::stamp::DayMemo;
use super::super::wire::push_value;
use super::frame;
use super::position::{EventId, Position};
use crate::counter::{CounterName, Kind, Lapsing, Reset, Revision, Seen};
use crate::current_day::CurrentDay;
use crate::engine::{ReadFrom, Value};
use crate::metrics::PushTransport;

/// What is said of a counter. Two that are equal tell a client the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// What it says.
    Value {
        kind: Option<Kind>,
        reset: Reset,
        seen: Seen,
        /// Which copy says so; `None` for the store. When the copy had it is no news.
        source: Option<&'static str>,
    },
    /// There is no such counter, or it is gone.
    Missing,
    /// The copy that stands in for the store lacks it.
    UnknownHere,
    /// Its record cannot be read.
    Corrupt,
}

impl Said {
    /// What is said of a value that was found; of none in the store or, if `stale`, in a copy.
    pub(super) fn of(value: Option<&Value>, stale: bool) -> Self {
        let Some(value) = value else {
            return if stale {
                Self::UnknownHere
            } else {
                Self::Missing
            };
        };
        match value.seen {
            None => Self::Corrupt,
            Some(seen) if seen.over.is_some() => Self::Missing,
            Some(seen) => Self::Value {
                kind: value.kind,
                reset: value.reset,
                seen: without_bounds(seen),
                source: match value.origin {
                    ReadFrom::Store => None,
                    ReadFrom::Copy { source, .. } => Some(source),
                },
            },
        }
    }
}

/// The same but for where a window begins and ends: that moves by itself, and alone is no news.
fn without_bounds(mut seen: Seen) -> Seen {
    if let Some(Lapsing::Window { from, to, .. }) = &mut seen.lapsing {
        (*from, *to) = (0, 0);
    }
    seen
}

/// One counter that somebody watches.
pub(super) struct Watched {
    pub(super) name: CounterName,
    pub(super) said: Said,
    /// The revision of its last change; 0 where there is none.
    pub(super) revision: Revision,
    /// Whether what it says now came with that revision, and not by time alone.
    by_revision: bool,
    /// The same as a JSON object.
    pub(super) body: Bytes,
    /// Grows with each change of what is said.
    pub(super) version: u32,
    events: [Option<Bytes>; PushTransport::COUNT],
    /// The sessions that watch it.
    pub(super) watchers: Vec<usize>,
}

impl Watched {
    pub(super) fn new(name: CounterName) -> Self {
        Self {
            name,
            said: Said::Missing,
            revision: 0,
            by_revision: false,
            body: Bytes::new(),
            version: 0,
            events: Default::default(),
            watchers: Vec::new(),
        }
    }

    /// Takes what was read; returns whether it says something else now.
    pub(super) fn take(
        &mut self,
        value: Option<&Value>,
        stale: bool,
        (days, current): (&DayMemo, &CurrentDay),
    ) -> bool {
        let said = Said::of(value, stale);
        let is_new = self.body.is_empty();
        if said == self.said && !is_new {
            return false;
        }
        let seen = value.and_then(|value| value.seen);
        let revision = seen.map_or(0, |seen| seen.revision);
        self.by_revision = revision > self.revision;
        self.revision = revision;
        self.said = said;
        self.body = body(&self.name, value, said, (days, current));
        self.events = Default::default();
        if !is_new {
            self.version = self.version.wrapping_add(1);
        }
        !is_new
    }

    /// Returns the event of an update. Its position is that of the change, and not beyond `known`: up to there
    /// everything that is watched is known. What time alone changed has no position.
    pub(super) fn event(&mut self, transport: PushTransport, known: Option<Position>) -> Bytes {
        let Self { body, .. } = self;
        let id = known.filter(|_| self.by_revision).map(|known| Position {
            revision: known.revision.min(self.revision),
            ..known
        });
        match self.events.get_mut(transport as usize) {
            Some(event) => event
                .get_or_insert_with(|| encode(transport, "update", id.into(), body))
                .clone(),
            None => encode(transport, "update", id.into(), body),
        }
    }
}

/// The JSON object of one counter: that of `GET /api/v1/counters`, or without a value the reason for that.
fn body(
    name: &CounterName,
    value: Option<&Value>,
    said: Said,
    (days, current): (&DayMemo, &CurrentDay),
) -> Bytes {
    let mut out = Vec::with_capacity(384);
    let seen = value.and_then(|value| Some((value, value.seen?)));
    let reason: &[u8] = match (said, seen) {
        (Said::Value { .. }, Some((value, seen))) => {
            days.with(current, seen.period, |day| {
                push_value(&mut out, value, &seen, day);
            });
            out.push(b'}');
            return out.into();
        }
        (Said::Missing | Said::Value { .. }, _) => b"\"missing\":true}",
        (Said::UnknownHere, _) => b"\"unknown_here\":true}",
        (Said::Corrupt, _) => b"\"corrupt\":true}",
    };
    out.extend_from_slice(b"{\"name\":");
    push_json(&mut out, name.as_str());
    out.extend_from_slice(b",\"value\":null,");
    out.extend_from_slice(reason);
    out.into()
}

/// Encodes an event whose data are one line of JSON.
pub(super) fn encode(transport: PushTransport, event: &str, id: EventId, data: &[u8]) -> Bytes {
    match transport {
        PushTransport::Sse => {
            let mut out = Vec::with_capacity(data.len() + 80);
            match id {
                EventId::Kept => {}
                EventId::At(position) => {
                    out.extend_from_slice(b"id: ");
                    position.push(&mut out);
                    out.push(b'\n');
                }
                // An empty one would have a browser send no header, and the `since` of its URL would count again.
                EventId::Forgotten => out.extend_from_slice(b"id: 0.0\n"),
            }
            out.extend_from_slice(b"event: ");
            out.extend_from_slice(event.as_bytes());
            out.extend_from_slice(b"\ndata: ");
            out.extend_from_slice(data);
            out.extend_from_slice(b"\n\n");
            out.into()
        }
        PushTransport::Ws => {
            let mut out = Vec::with_capacity(data.len() + 80);
            out.extend_from_slice(b"{\"event\":\"");
            out.extend_from_slice(event.as_bytes());
            out.push(b'"');
            match id {
                EventId::Kept => {}
                EventId::At(position) => {
                    out.extend_from_slice(b",\"id\":\"");
                    position.push(&mut out);
                    out.push(b'"');
                }
                EventId::Forgotten => out.extend_from_slice(b",\"id\":null"),
            }
            out.extend_from_slice(b",\"data\":");
            out.extend_from_slice(data);
            out.push(b'}');
            frame::text(&out)
        }
    }
}
