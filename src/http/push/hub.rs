//! What one runtime pushes: the counters that are watched there, and the sessions that watch them.
//!
//! The hub looks at its counters in one pass, a few times a second, when something was published, when time alone
//! may have changed something, or when the mode changed. It wakes the sessions concerned; each then asks for its
//! next event, in the order of revisions. So a client that has an update of some revision has everything of its
//! counters up to there, and may name that revision when it comes back.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::super::stamp::DayMemo;
use super::books::{Books, Entry, Next, TICK_EVERY, earliest};
use super::read::Read;
use super::state::{self, StateFacts};
use super::{PushPlace, Shared, Subscription};
use crate::counter::{CounterName, Millis};
use crate::engine::{Engine, Value, WatchMark};
use crate::metrics::{PushEnd, PushTransport};

/// How many counters are read at once; others have their turn in between.
const READ_AT_ONCE: usize = 1000;

/// The least time between two looks that find nothing new.
const LOOKS_APART: Duration = Duration::from_millis(10);

/// How many sessions are woken at once; requests have their turn in between.
const WAKE_AT_ONCE: usize = 128;

/// The hub of one runtime. All of it is used by its own thread; what is in a mutex is never waited for.
pub(in crate::http) struct Hub {
    engine: Engine,
    pub(in crate::http) shared: Arc<Shared>,
    days: DayMemo,
    books: Mutex<Books>,
    /// The first session has come.
    begun: Notify,
}

impl Hub {
    pub(in crate::http) fn new(engine: Engine, shared: Arc<Shared>) -> Self {
        Self {
            engine,
            shared,
            days: DayMemo::default(),
            books: Mutex::default(),
            begun: Notify::new(),
        }
    }

    /// Takes a place for a session; `None` when there is none.
    pub(in crate::http) fn take_place(&self) -> Option<PushPlace> {
        self.shared.take_place()
    }

    /// Whether there is no session.
    pub(in crate::http) fn is_empty(&self) -> bool {
        self.books.lock().sessions.is_empty()
    }

    /// Ends all sessions, with a word to their clients.
    pub(in crate::http) fn drain(&self) {
        let mut books = self.books.lock();
        books.draining = true;
        books.end_all(PushEnd::Drained);
    }

    /// Cuts all sessions off.
    pub(in crate::http) fn end(&self) {
        let mut books = self.books.lock();
        books.draining = true;
        books.end_all(PushEnd::Ended);
    }

    /// Looks at what is watched, for as long as the runtime lives.
    pub(in crate::http) async fn run(self: Arc<Self>) {
        let interval = self.shared.options.interval;
        loop {
            if self.is_empty() {
                self.begun.notified().await;
            }
            let began = Instant::now();
            // A change after a quiet time is told at once. All of a hub's counters wait together for the next, so
            // that sessions are told in the order of revisions.
            let waits = self.step().await;
            let apart = looks_apart(waits, began.elapsed(), interval);
            tokio::time::sleep_until(began + apart).await;
        }
    }

    /// Looks once; returns whether the next look waits for a whole interval: there was something new, or so much is
    /// watched that looking again and again would take more than it gains.
    async fn step(&self) -> bool {
        let mark = self.engine.watch_mark();
        let is_due = {
            let mut books = self.books.lock();
            books.now = self.engine.boot_ms();
            books.is_due(&mark, self.engine.now())
        };
        if is_due {
            self.look(mark).await;
        }
        self.look_at_alerts();
        let (mut awake, waits) = {
            let mut books = self.books.lock();
            books.sweep(self.shared.options.stall_timeout);
            let has_new_cause = std::mem::take(&mut books.has_new_cause);
            if has_new_cause {
                books.wake_all();
            }
            let has_news = has_new_cause || books.has_news();
            let waits = has_news || books.watched.len() > READ_AT_ONCE;
            (books.awake(), waits)
        };
        while !awake.is_empty() {
            let rest = awake.split_off(awake.len().min(WAKE_AT_ONCE));
            awake.into_iter().for_each(Waker::wake);
            awake = rest;
            if !awake.is_empty() {
                tokio::task::yield_now().await;
            }
        }
        waits
    }

    /// Has those who asked for it told how the alerts stand, when one has turned.
    fn look_at_alerts(&self) {
        let version = self.engine.alerts_version();
        let mut books = self.books.lock();
        let known = books.alerts.as_ref().map(|(version, _)| *version);
        if known != Some(version) && books.wants_alerts() {
            // Read after the version: what turns in between is told again.
            let event = state::alerts(&self.engine.alerts());
            books.set_alerts(version, event);
        }
    }

    /// Notes whether a session wants to hear of alerts.
    pub(super) fn want_alerts(&self, key: usize, wanted: bool) {
        {
            let mut books = self.books.lock();
            if let Some(entry) = books.sessions.get_mut(key) {
                // No version has this number: the client is told at once.
                entry.alerts_sent = wanted.then_some(u64::MAX);
                // What nobody asked for until now may be old.
                books.alerts = None;
            }
        }
        self.look_at_alerts();
    }

    /// Reads everything that is watched.
    async fn look(&self, mark: WatchMark) {
        let all = {
            let mut books = self.books.lock();
            books.until = None;
            books.all()
        };
        let mut until = None;
        for (number, (keys, names)) in all
            .keys
            .chunks(READ_AT_ONCE)
            .zip(all.names.chunks(READ_AT_ONCE))
            .enumerate()
        {
            if number > 0 {
                tokio::task::yield_now().await;
            }
            let read = Read::from(&self.engine, names).await;
            if read.is_nothing() {
                // What was said is still the latest that anybody knows.
                break;
            }
            let mut books = self.books.lock();
            until = earliest(until, read.until());
            for ((key, name), (value, stale)) in keys.iter().zip(names).zip(read.values()) {
                self.take(&mut books, *key, name, value, stale);
            }
        }
        let mut books = self.books.lock();
        books.mark = Some(mark);
        books.set_cause(mark.cause);
        books.until = earliest(books.until, until);
        if mark.epoch.is_none() {
            books.copies_asked = Some(books.now);
        }
    }

    /// Takes what was read of a counter, if it is still watched.
    fn take(
        &self,
        books: &mut Books,
        key: usize,
        name: &CounterName,
        value: Option<&Value>,
        stale: bool,
    ) {
        let Some(watched) = books.watched.get_mut(key) else {
            return;
        };
        let about = (&self.days, self.engine.current_day());
        if watched.name == *name && watched.take(value, stale, about) {
            books.touched.push(key);
        }
    }

    /// Takes a session in; returns its key.
    pub(super) fn join(&self, transport: PushTransport) -> usize {
        let mut books = self.books.lock();
        let now = self.engine.boot_ms();
        let ending = books.draining.then_some(PushEnd::Drained);
        let key = books.sessions.insert(Entry {
            transport,
            subs: Vec::new(),
            waker: None,
            is_due: false,
            waits: false,
            pace_ms: 0,
            passed: now,
            cause_sent: None,
            alerts_sent: None,
            tick_at: now.saturating_add(TICK_EVERY),
            heard: now,
            asked: None,
            blocked: None,
            ending,
        });
        if books.sessions.len() == 1 {
            // What was known before nobody watched may be old.
            books.mark = None;
            self.begun.notify_one();
        }
        self.shared.metrics.opened(transport);
        key
    }

    /// Lets a session go.
    pub(super) fn leave(&self, key: usize, end: PushEnd) {
        let mut books = self.books.lock();
        if let Some(entry) = books.sessions.try_remove(key) {
            for sub in &entry.subs {
                books.unwatch(sub.watched, key);
            }
            self.shared.metrics.closed(entry.transport, end);
            if entry.blocked.is_some() {
                self.shared.metrics.stalled.dec();
            }
        }
    }

    /// Adds counters to a session; returns the event that says how they stand.
    pub(super) async fn subscribe(&self, key: usize, subscription: Subscription) -> Bytes {
        let Subscription {
            names,
            since,
            interval,
        } = subscription;
        let read = Read::from(&self.engine, &names).await;
        let mut books = self.books.lock();
        let Some(entry) = books.sessions.get_mut(key) else {
            return Bytes::new();
        };
        if let Some(interval) = interval {
            let least = self.shared.options.interval;
            let pace = if interval > least {
                interval
            } else {
                Duration::ZERO
            };
            entry.pace_ms = Millis::try_from(pace.as_millis()).unwrap_or(Millis::MAX);
        }
        let (transport, is_first) = (entry.transport, entry.subs.is_empty());
        let asked_ms = entry.pace_ms;
        let least_ms = Millis::try_from(self.shared.options.interval.as_millis());
        let as_of = read.position();
        let resumes = since.zip(as_of).filter(|(since, as_of)| {
            since.epoch == as_of.epoch && since.revision <= as_of.revision
        });
        let mut told = Vec::with_capacity(names.len());
        for (place, (name, (value, stale))) in names.iter().zip(read.values()).enumerate() {
            let watched = books.watch(name, key);
            let is_known = books
                .watched
                .get(watched)
                .is_some_and(|one| !one.body.is_empty());
            if !(is_known && read.is_nothing()) {
                self.take(&mut books, watched, name, value, stale);
            }
            books.has_sent(key, watched);
            let is_news = resumes.is_none_or(|(since, _)| read.is_news(place, since));
            if is_news {
                told.push(watched);
            }
        }
        books.until = earliest(books.until, read.until());
        if as_of.is_none() {
            books.has_asked_a_copy();
        }
        let cause = read.mark().cause;
        books.set_cause(cause);
        if let Some(entry) = books.sessions.get_mut(key) {
            entry.cause_sent = cause;
        }
        let facts = StateFacts {
            position: as_of.filter(|_| is_first),
            as_of,
            resumed: resumes.is_some(),
            interval_ms: asked_ms.max(least_ms.unwrap_or(Millis::MAX)),
            cause,
        };
        let told = told.iter().filter_map(|key| books.watched.get(*key));
        self.shared.metrics.frames.inc();
        state::state(transport, &facts, told)
    }

    /// Remembers whom to wake for a session.
    pub(super) fn set_waker(&self, key: usize, waker: &Waker) {
        if let Some(entry) = self.books.lock().sessions.get_mut(key)
            && !entry
                .waker
                .as_ref()
                .is_some_and(|known| known.will_wake(waker))
        {
            entry.waker = Some(waker.clone());
        }
    }

    /// Notes that the client takes nothing now; returns why the session is to end all the same.
    pub(super) fn is_blocked(&self, key: usize) -> Option<PushEnd> {
        let mut books = self.books.lock();
        let now = books.now;
        let entry = books.sessions.get_mut(key)?;
        if entry.blocked.is_none() {
            entry.blocked = Some(now);
            self.shared.metrics.stalled.inc();
        }
        entry.ending
    }

    /// Notes that the client took something.
    pub(super) fn has_taken(&self, key: usize) {
        let mut books = self.books.lock();
        if let Some(entry) = books.sessions.get_mut(key)
            && entry.blocked.take().is_some()
        {
            self.shared.metrics.stalled.dec();
        }
    }

    /// Returns what the session sends next.
    pub(super) fn next(&self, key: usize) -> Next {
        let mut books = self.books.lock();
        let next = books.next(key, self.engine.now(), &self.shared.metrics);
        if matches!(next, Next::Event(_)) {
            self.shared.metrics.frames.inc();
        }
        next
    }

    /// Whether a session may watch these counters too.
    pub(super) fn has_room(&self, names: &[CounterName], key: usize) -> bool {
        self.books.lock().has_room(names, key)
    }

    /// Takes counters from a session.
    pub(super) fn unsubscribe(&self, key: usize, names: &[CounterName]) {
        let mut books = self.books.lock();
        for name in names {
            books.drop_sub(name, key);
        }
    }

    /// Notes that a client said something.
    pub(super) fn has_heard(&self, key: usize) {
        let now = self.engine.boot_ms();
        if let Some(entry) = self.books.lock().sessions.get_mut(key) {
            entry.heard = now;
            entry.asked = None;
        }
    }

    /// The boot clock.
    pub(super) fn now(&self) -> Millis {
        self.engine.boot_ms()
    }
}

/// The time from the beginning of one look to the next: a whole interval where the next `waits` for one. Otherwise
/// looking takes at most a tenth of the time, however much is watched: the last look `took` some of it.
fn looks_apart(waits: bool, took: Duration, interval: Duration) -> Duration {
    if waits {
        return interval;
    }
    LOOKS_APART.max(10 * took).min(interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_takes_at_most_a_tenth_of_the_time() {
        let ms = Duration::from_millis;
        let interval = ms(100);
        for (waits, took, apart) in [
            (false, ms(0), ms(10)),
            (false, ms(1), ms(10)),
            (false, ms(4), ms(40)),
            (false, ms(30), interval),
            (true, ms(0), interval),
        ] {
            assert_eq!(
                looks_apart(waits, took, interval),
                apart,
                "{waits} {took:?}"
            );
        }
    }
}
