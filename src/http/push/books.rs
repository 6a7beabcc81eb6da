//! The books of a hub: which counters are watched, which sessions watch them, and what each still lacks.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use slab::Slab;

use super::MAX_NAMES;
use super::frame;
use super::position::Position;
use super::said::Watched;
use super::state;
use crate::counter::{CounterName, Millis};
use crate::engine::{Cause, WatchMark};
use crate::metrics::{PushEnd, PushMetrics, PushTransport};
use crate::seeded::bug;

/// How often a copy is asked that stands in for the store, in milliseconds.
const ASK_COPIES_EVERY: Millis = 1000;

/// How often the hub looks for sessions that are due for something, in milliseconds.
const SWEEP_EVERY: Millis = 1000;

/// After how long without a word of its client a WebSocket is asked for one, in milliseconds.
const PING_AFTER: Millis = 25_000;

/// How often each session gets a sign of life, in milliseconds.
pub(super) const TICK_EVERY: Millis = 15_000;

#[derive(Default)]
pub(super) struct Books {
    pub(super) sessions: Slab<Entry>,
    pub(super) watched: Slab<Watched>,
    pub(super) by_name: HashMap<CounterName, usize>,
    /// The keys and names of all that is watched; made anew after something came or went.
    pub(super) all: Option<Arc<All>>,
    /// As of what everything was read that is watched.
    pub(super) mark: Option<WatchMark>,
    /// When time alone changes any of it.
    pub(super) until: Option<Millis>,
    /// What changed since sessions were woken for it.
    pub(super) touched: Vec<usize>,
    /// Sessions that have asked for fewer updates, and have some to come.
    pub(super) waiting: Vec<usize>,
    /// Why writes are refused, as it was read last; `None` while they are served.
    pub(super) cause: Option<Cause>,
    /// That changed since all were woken for it.
    pub(super) has_new_cause: bool,
    /// The event that says how the alerts stand, and as of which version of them; `None` before anybody asked.
    pub(super) alerts: Option<(u64, Bytes)>,
    pub(super) copies_asked: Option<Millis>,
    pub(super) swept: Millis,
    /// The time of the last step, by the boot clock.
    pub(super) now: Millis,
    pub(super) draining: bool,
}

pub(super) struct All {
    pub(super) keys: Vec<usize>,
    pub(super) names: Vec<CounterName>,
}

/// A counter that a session watches.
#[derive(Clone, Copy)]
pub(super) struct Sub {
    pub(super) watched: usize,
    /// The version that the client has.
    pub(super) sent: u32,
}

/// One session, as its hub sees it.
pub(super) struct Entry {
    pub(super) transport: PushTransport,
    pub(super) subs: Vec<Sub>,
    pub(super) waker: Option<Waker>,
    /// It may send what is new.
    pub(super) is_due: bool,
    /// It is among those that wait until they may.
    pub(super) waits: bool,
    /// The least time between two passes; 0 where the hub's own is enough.
    pub(super) pace_ms: Millis,
    /// When the last pass began.
    pub(super) passed: Millis,
    /// What its client was told of the mode.
    pub(super) cause_sent: Option<Cause>,
    /// Which version of the alerts its client was told; `None` where it did not ask for them.
    pub(super) alerts_sent: Option<u64>,
    /// When it gets its next sign of life.
    pub(super) tick_at: Millis,
    /// When its client was heard last.
    pub(super) heard: Millis,
    /// When it was asked for a word since; `None` when it was not.
    pub(super) asked: Option<Millis>,
    /// Since when its client takes nothing.
    pub(super) blocked: Option<Millis>,
    pub(super) ending: Option<PushEnd>,
}

/// What a session sends next.
pub(super) enum Next {
    Event(Bytes),
    Nothing,
    End(PushEnd),
}

/// Returns the earlier of two instants; `None` is never.
pub(super) fn earliest(one: Option<Millis>, other: Option<Millis>) -> Option<Millis> {
    one.into_iter().chain(other).min()
}

impl Entry {
    fn is_to_be_asked(&self, now: Millis) -> bool {
        self.transport == PushTransport::Ws
            && self.asked.is_none()
            && now.saturating_sub(self.heard) >= PING_AFTER
    }
}

impl Books {
    /// Whether what is watched has to be read again.
    pub(super) fn is_due(&self, mark: &WatchMark, wall_ms: Millis) -> bool {
        if self.mark.as_ref() != Some(mark) || self.until.is_some_and(|until| until <= wall_ms) {
            return true;
        }
        let asked = self.copies_asked;
        mark.epoch.is_none()
            && asked.is_none_or(|asked| self.now.saturating_sub(asked) >= ASK_COPIES_EVERY)
    }

    pub(super) fn all(&mut self) -> Arc<All> {
        let watched = &self.watched;
        let all = self.all.get_or_insert_with(|| {
            let (keys, names) = watched
                .iter()
                .map(|(key, one)| (key, one.name.clone()))
                .unzip();
            Arc::new(All { keys, names })
        });
        Arc::clone(all)
    }

    /// Has a session watch a counter, once; returns its key.
    pub(super) fn watch(&mut self, name: &CounterName, session: usize) -> usize {
        let key = match self.by_name.get(name) {
            Some(key) => *key,
            None => {
                let key = self.watched.insert(Watched::new(name.clone()));
                self.by_name.insert(name.clone(), key);
                self.all = None;
                key
            }
        };
        if let (Some(watched), Some(entry)) =
            (self.watched.get_mut(key), self.sessions.get_mut(session))
            && !entry.subs.iter().any(|sub| sub.watched == key)
        {
            watched.watchers.push(session);
            entry.subs.push(Sub {
                watched: key,
                sent: watched.version,
            });
        }
        key
    }

    /// Whether a session may watch these counters too.
    pub(super) fn has_room(&self, names: &[CounterName], session: usize) -> bool {
        let Some(entry) = self.sessions.get(session) else {
            return true;
        };
        let watches = |name: &CounterName| {
            let key = self.by_name.get(name);
            key.is_some_and(|key| entry.subs.iter().any(|sub| sub.watched == *key))
        };
        let more = names.iter().filter(|name| !watches(name)).count();
        entry.subs.len() + more <= MAX_NAMES
    }

    /// Has a session watch a counter no more.
    pub(super) fn drop_sub(&mut self, name: &CounterName, session: usize) {
        let Some(key) = self.by_name.get(name).copied() else {
            return;
        };
        if let Some(entry) = self.sessions.get_mut(session)
            && let Some(place) = entry.subs.iter().position(|sub| sub.watched == key)
        {
            entry.subs.swap_remove(place);
            self.unwatch(key, session);
        }
    }

    pub(super) fn unwatch(&mut self, key: usize, session: usize) {
        let Some(watched) = self.watched.get_mut(key) else {
            return;
        };
        if let Some(place) = watched.watchers.iter().position(|one| *one == session) {
            watched.watchers.swap_remove(place);
        }
        if watched.watchers.is_empty() {
            let gone = self.watched.remove(key);
            self.by_name.remove(&gone.name);
            self.all = None;
        }
    }

    /// Notes that a session was told the latest of a counter.
    pub(super) fn has_sent(&mut self, session: usize, key: usize) {
        let version = self.watched.get(key).map_or(0, |watched| watched.version);
        if let Some(entry) = self.sessions.get_mut(session) {
            for sub in entry.subs.iter_mut().filter(|sub| sub.watched == key) {
                sub.sent = version;
            }
        }
    }

    /// Whether a session lacks any of what changed: who subscribes is told at once.
    pub(super) fn has_news(&self) -> bool {
        self.touched.iter().any(|key| {
            self.watched.get(*key).is_some_and(|watched| {
                let mut watchers = watched
                    .watchers
                    .iter()
                    .filter_map(|of| self.sessions.get(*of));
                watchers.any(|entry| {
                    let mut subs = entry.subs.iter().filter(|sub| sub.watched == *key);
                    subs.any(|sub| sub.sent != watched.version)
                })
            })
        })
    }

    /// Lets the sessions send that have something to send and may, and returns whom to wake.
    pub(super) fn awake(&mut self) -> Vec<Waker> {
        let mut awake = Vec::new();
        let mut concerned = std::mem::take(&mut self.waiting);
        for key in &concerned {
            if let Some(entry) = self.sessions.get_mut(*key) {
                entry.waits = false;
            }
        }
        for key in std::mem::take(&mut self.touched) {
            if let Some(watched) = self.watched.get(key) {
                concerned.extend_from_slice(&watched.watchers);
            }
        }
        for key in concerned {
            let Some(entry) = self.sessions.get_mut(key) else {
                continue;
            };
            if self.now < entry.passed.saturating_add(entry.pace_ms) {
                if !std::mem::replace(&mut entry.waits, true) {
                    self.waiting.push(key);
                }
                continue;
            }
            if !std::mem::replace(&mut entry.is_due, true) {
                awake.extend(entry.waker.clone());
            }
        }
        awake
    }

    pub(super) fn set_cause(&mut self, cause: Option<Cause>) {
        self.has_new_cause |= cause != self.cause;
        self.cause = cause;
    }

    /// Whether any session asked for alerts.
    pub(super) fn wants_alerts(&self) -> bool {
        self.sessions
            .iter()
            .any(|(_, entry)| entry.alerts_sent.is_some())
    }

    /// Takes the event that says how the alerts stand, and wakes those who asked for it.
    pub(super) fn set_alerts(&mut self, version: u64, event: Bytes) {
        self.alerts = Some((version, event));
        let asked = self.sessions.iter().map(|(_, entry)| entry);
        for entry in asked.filter(|entry| entry.alerts_sent.is_some()) {
            if let Some(waker) = &entry.waker {
                waker.wake_by_ref();
            }
        }
    }

    pub(super) fn wake_all(&self) {
        for (_, entry) in &self.sessions {
            if let Some(waker) = &entry.waker {
                waker.wake_by_ref();
            }
        }
    }

    pub(super) fn end_all(&mut self, end: PushEnd) {
        for (_, entry) in &mut self.sessions {
            entry.ending = Some(end);
        }
        self.wake_all();
    }

    /// Looks for sessions that are due for a sign of life, or take nothing for too long.
    pub(super) fn sweep(&mut self, stall_timeout: Duration) {
        if self.now.saturating_sub(self.swept) < SWEEP_EVERY {
            return;
        }
        self.swept = self.now;
        for (_, entry) in &mut self.sessions {
            let blocked_ms = entry
                .blocked
                .map_or(0, |since| self.now.saturating_sub(since));
            if u128::from(blocked_ms.unsigned_abs()) > stall_timeout.as_millis() {
                entry.ending = entry.ending.or(Some(PushEnd::Stalled));
            }
            let silent_ms = entry
                .asked
                .map_or(0, |asked| self.now.saturating_sub(asked));
            if u128::from(silent_ms.unsigned_abs()) > stall_timeout.as_millis() {
                entry.ending = entry.ending.or(Some(PushEnd::Silent));
            }
            let is_due = entry.tick_at <= self.now
                || entry.ending.is_some()
                || entry.is_to_be_asked(self.now);
            if let Some(waker) = entry.waker.as_ref().filter(|_| is_due) {
                waker.wake_by_ref();
            }
        }
    }

    pub(super) fn next(&mut self, key: usize, wall_ms: Millis, metrics: &PushMetrics) -> Next {
        let known = self.known();
        let cause = self.cause;
        let Some(entry) = self.sessions.get_mut(key) else {
            return Next::End(PushEnd::Ended);
        };
        if let Some(end) = entry.ending {
            return Next::End(end);
        }
        let transport = entry.transport;
        if entry.cause_sent != cause {
            entry.cause_sent = cause;
            return Next::Event(state::mode(transport, cause));
        }
        if let Some((sent, (version, event))) = entry.alerts_sent.as_mut().zip(self.alerts.as_ref())
            && *sent != *version
        {
            *sent = *version;
            return Next::Event(event.clone());
        }
        // The one with the lowest revision first.
        let unsent = entry.subs.iter_mut().filter_map(|sub| {
            let watched = self.watched.get(sub.watched)?;
            let is_lost = bug("push_loses_a_change") && watched.revision.is_multiple_of(16);
            (watched.version != sub.sent && !is_lost).then_some((watched.revision, sub))
        });
        let first = unsent.min_by_key(|(revision, _)| *revision);
        let has_all = first.is_none();
        if let Some((_, sub)) = first
            && entry.is_due
            && let Some(watched) = self.watched.get_mut(sub.watched)
        {
            let skipped = watched.version.wrapping_sub(sub.sent).saturating_sub(1);
            metrics.conflated.inc_by(u64::from(skipped));
            sub.sent = watched.version;
            return Next::Event(watched.event(transport, known));
        }
        if std::mem::take(&mut entry.is_due) {
            entry.passed = self.now;
        }
        if entry.tick_at <= self.now {
            entry.tick_at = self.now.saturating_add(TICK_EVERY);
            let position = known.filter(|_| has_all);
            return Next::Event(state::tick(transport, wall_ms, position));
        }
        if entry.is_to_be_asked(self.now) {
            entry.asked = Some(self.now);
            return Next::Event(frame::ping());
        }
        Next::Nothing
    }

    /// Up to where everything is known that is watched; `None` without a store.
    pub(super) fn known(&self) -> Option<Position> {
        let mark = self.mark?;
        Some(Position {
            epoch: mark.epoch?,
            revision: mark.revision,
        })
    }

    /// Takes note that a session was told what a copy says. Where the store came meanwhile, the copy's values may be
    /// older than those already known, for all who watch: the next step looks again.
    pub(super) fn has_asked_a_copy(&mut self) {
        if self.known().is_some() {
            self.mark = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::Day;

    fn mark(epoch: Option<u64>) -> WatchMark {
        WatchMark {
            epoch,
            revision: 7,
            cause: None,
            today: Day::clamped(20_000),
            clock_holds: true,
        }
    }

    #[test]
    fn what_a_copy_said_is_looked_at_again_once_there_is_a_store() {
        let with_store = mark(Some(1));
        let mut books = Books {
            mark: Some(with_store),
            ..Books::default()
        };
        assert!(!books.is_due(&with_store, 0));
        books.has_asked_a_copy();
        assert!(books.is_due(&with_store, 0), "old values would stay");

        let without = mark(None);
        let mut books = Books {
            mark: Some(without),
            copies_asked: Some(0),
            ..Books::default()
        };
        books.has_asked_a_copy();
        assert!(!books.is_due(&without, 0), "the copies are asked in turns");
    }
}
