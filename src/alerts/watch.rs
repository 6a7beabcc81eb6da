//! The thread that watches: each second it gathers how all of it stands, judges the rules, stores what turned,
//! and shows it.
//!
//! What turned is stored before anybody is told, so that no restart tells it twice; where the store cannot be
//! written to, or takes long, it is told all the same: that is what alerts are for.

mod aside;
mod keeping;
mod saving;

use std::collections::BTreeSet;
use std::io;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use aside::Aside;
use saving::Saving;

use super::AlertKey;
use super::board::{AlertBoard, AlertShown, AlertsShown};
use super::book::{AlertBook, BookedAlert, Turned};
use super::counters::WatchedCounters;
use super::delivery::{AlertStanding, Delivery, Poster, Receivers, deliver, tell_alertmanager};
use super::disk::DiskCourse;
use super::lag::{CloseCourse, Lag};
use super::notice::{NoticeTexts, description, summary};
use super::notices::Notices;
use super::phase::{AlertPhase, LookedAt, Turn, Verdict};
use super::rule::{AlertRules, RuleSettings};
use super::system::{self, OperationCourse, ServerFacts};
use crate::background::{Background, BackgroundWork, runtime};
use crate::counter::{CounterName, Millis};
use crate::metrics::{AlertRule, Metrics};
use crate::rounds::RoundStatus;
use crate::seeded::bug;
use crate::storage::reserve::Space;
use crate::storage::{AlertRecord, NoticeRecord, ReadError, Tables};
use crate::writer::{ModeState, Running};

/// How often the rules are judged.
const EVERY: Duration = Duration::from_secs(1);

/// What is watched, and who is told.
#[derive(Clone, Debug, Default)]
pub struct AlertOptions {
    /// The rules.
    pub rules: AlertRules,
    /// `alerts.max_counters`: most counters whose values are watched.
    pub max_counters: usize,
    /// `storage.min_free`, in bytes; `None`: as the file system suggests.
    pub min_free: Option<u64>,
    /// What receivers are told besides the alerts.
    pub texts: NoticeTexts,
    /// Who is told.
    pub receivers: Receivers,
}

/// The copies whose lag is watched.
#[derive(Clone, Default)]
pub struct WatchedCopies {
    /// The export to PostgreSQL.
    pub export: Option<Arc<RoundStatus>>,
    /// The mirror in Redis.
    pub mirror: Option<Arc<RoundStatus>>,
}

/// How alerts stand by a store.
type StoredAlerts = Vec<(String, Option<CounterName>, AlertRecord)>;

/// Watches, and tells.
pub struct AlertWatch {
    running: Running,
    metrics: Arc<Metrics>,
    options: AlertOptions,
    board: Arc<AlertBoard>,
    copies: WatchedCopies,
    book: AlertBook,
    /// The epoch of the store whose alerts were read.
    read_of: Option<u64>,
    /// By how much the time of alerts is ahead of the boot clock.
    time_offset: Option<Millis>,
    /// Alerts that the store does not have as they stand.
    unsaved: BTreeSet<AlertKey>,
    /// The write under way that tells the store, or the file beside it.
    saving: Option<Saving>,
    /// What the file beside the store says.
    aside: Option<Aside>,
    notices: Notices,
    standing: Arc<AlertStanding>,
    operations: OperationCourse,
    disk: DiskCourse,
    usual_min_free: u64,
    counters: WatchedCounters,
    close: CloseCourse,
    /// The boot clock at the first look at a store.
    began: Option<Millis>,
    /// Whether the alerts of all are judged here: of several instances one does that.
    keeps: bool,
}

impl AlertWatch {
    /// Makes the watch of a writer, which shows what it finds on `board`.
    pub fn new(
        running: &Running,
        metrics: &Arc<Metrics>,
        options: AlertOptions,
        copies: WatchedCopies,
        board: &Arc<AlertBoard>,
    ) -> Self {
        let span = |rule| {
            let settings = options.rules.of(rule, None);
            settings.map_or(0, |settings| settings.within_ms)
        };
        let longest = span(AlertRule::Refusals).max(span(AlertRule::OutcomeUnknown));
        Self {
            running: running.clone(),
            metrics: Arc::clone(metrics),
            options,
            board: Arc::clone(board),
            copies,
            book: AlertBook::default(),
            read_of: None,
            time_offset: None,
            unsaved: BTreeSet::new(),
            saving: None,
            aside: None,
            notices: Notices::default(),
            standing: Arc::default(),
            operations: OperationCourse::new(longest),
            disk: DiskCourse::default(),
            usual_min_free: 0,
            counters: WatchedCounters::default(),
            close: CloseCourse::default(),
            began: None,
            keeps: running.storage.shared.is_none(),
        }
    }

    /// Watches on a thread of its own until told to end.
    ///
    /// # Errors
    /// When there are no resources for a thread.
    pub fn start(self) -> io::Result<Background> {
        Background::start("alerts", Arc::new(runtime()?), self)
    }

    /// Judges all rules once; returns what turned.
    pub fn look(&mut self) -> Vec<Turned> {
        self.take_turns();
        if let Err(error) = self.read_stored() {
            tracing::debug!(%error, "the alerts of the store cannot be read yet");
        }
        let now = self.now();
        self.unsaved.extend(self.book.forget(now));
        let mut turned = Vec::new();
        let facts = self.facts();
        let keeps = self.keeps;
        let is_judged =
            |rule: &AlertRule| !rule.is_of_counter() && (keeps || rule.is_of_instance());
        for rule in AlertRule::ALL.into_iter().filter(is_judged) {
            let key = AlertKey {
                rule,
                counter: None,
            };
            let Some(settings) = self.options.rules.of(rule, None) else {
                turned.extend(self.book.give_up(&key, now));
                continue;
            };
            let verdict = self.verdict_of_server(rule, &facts, &settings);
            turned.extend(self.book.judge(&key, verdict, now, &settings));
        }
        self.look_at_counters(&facts, now, &mut turned);
        for one in &turned {
            self.unsaved.insert(one.key.clone());
            log(one);
            if one.is_news() && self.options.receivers.webhook.is_some() {
                self.notices.add(one, &self.options.texts, now.wall_ms);
            }
        }
        self.show(now, !turned.is_empty());
        turned
    }

    /// Judges the rules about counters. Without data they say nothing: while writes are refused no value moves, and
    /// under a clock that cannot be believed nobody knows what is expected.
    fn look_at_counters(&mut self, facts: &ServerFacts, now: LookedAt, turned: &mut Vec<Turned>) {
        if !self.keeps {
            return;
        }
        let rules = &self.options.rules;
        let has_data = facts.read_only.is_none()
            && !facts.clock_fault
            && facts.clock_behind_ms == 0
            && self.read_of.is_some();
        if !has_data {
            self.counters.pause();
        } else {
            let most = self.options.max_counters;
            self.counters.choose(&self.running, rules, most);
            let all = self.counters.look(&self.running, rules, &self.board, now);
            for (counter, verdicts) in all {
                for (rule, verdict) in verdicts {
                    let counter = Some(counter.clone());
                    let key = AlertKey { rule, counter };
                    if let Some(settings) = rules.of(rule, key.counter.as_ref()) {
                        turned.extend(self.book.judge(&key, verdict, now, &settings));
                    }
                }
            }
        }
        let keys: Vec<AlertKey> = self.book.alerts().keys().cloned().collect();
        for key in keys {
            let Some(counter) = &key.counter else {
                continue;
            };
            let settings = rules.of(key.rule, Some(counter));
            let is_watched = !has_data || self.counters.has(counter);
            match settings.filter(|_| is_watched) {
                None => turned.extend(self.book.give_up(&key, now)),
                Some(settings) if !has_data => {
                    turned.extend(self.book.judge(&key, Verdict::Unknown, now, &settings));
                }
                Some(_) => {}
            }
        }
    }

    /// The time of a look. Store time goes on for alerts while the store is closed.
    fn now(&mut self) -> LookedAt {
        let day = &self.running.day;
        let boot_ms = day.boot_ms();
        let offset = *self
            .time_offset
            .get_or_insert_with(|| day.store_ms().saturating_sub(boot_ms));
        LookedAt {
            wall_ms: day.look().wall_ms,
            store_ms: boot_ms.saturating_add(offset),
        }
    }

    /// Reads the alerts of a store that was opened, once.
    fn read_stored(&mut self) -> Result<(), ReadError> {
        let epoch = self.running.table.epoch();
        let reader = &self.running.reader;
        let (is_read, is_shared) = (self.read_of == Some(epoch), self.is_shared());
        if is_read && !is_shared {
            return Ok(());
        }
        // Other instances store silences at any time. `false`: one is being stored just now.
        let has_silences = self.board.read_silences(reader, epoch, is_shared)?;
        if is_read || !has_silences {
            return Ok(());
        }
        let stored = reader.with(Tables::alerts)?;
        let mut waiting = reader.with(|tables| tables.notices())?;
        if !self.keeps {
            waiting.clear();
        }
        if self.read_of.replace(epoch).is_some() {
            self.go_on_with_another(stored, waiting);
            return Ok(());
        }
        // From now on alerts wait in the time of this store.
        self.time_offset = None;
        self.began = Some(self.running.day.boot_ms());
        let stored = self.take_aside(epoch, stored, waiting);
        let now = self.now();
        for (rule, counter, mut record) in stored {
            let Some(rule) = AlertRule::of_word(&rule) else {
                continue;
            };
            if !self.is_kept(rule) {
                continue;
            }
            let key = AlertKey { rule, counter };
            record.waits_from = record.waits_from.min(now.store_ms);
            if bug("wait_begins_anew") {
                record.waits_from = now.store_ms;
            }
            if !self.book.restore(key.clone(), &record) {
                tracing::error!(alert = %key, "a stored alert says nothing that is known; it begins anew");
            }
        }
        Ok(())
    }

    /// Goes on with a store that took the place of the one before, such as a backup. How alerts stand is known here
    /// better than there, and receivers were told of it: the store is told too. Of counters nothing that is known holds.
    fn go_on_with_another(&mut self, stored: StoredAlerts, waiting: Vec<(u64, NoticeRecord)>) {
        for (rule, counter, _) in stored {
            let rule = AlertRule::of_word(&rule);
            self.unsaved
                .extend(rule.map(|rule| AlertKey { rule, counter }));
        }
        let known = self.book.alerts().keys().chain(self.book.ended().keys());
        self.unsaved.extend(known.cloned());
        let waiting = waiting.into_iter().map(|(number, _)| number);
        self.notices.saved(waiting.collect());
        self.counters.begin_anew();
        self.close = CloseCourse::default();
    }

    fn facts(&mut self) -> ServerFacts {
        let running = &self.running;
        let look = running.day.look();
        let revision = running.table.revision();
        // Before a store is open nothing can be brought anywhere.
        let boot_ms = running.day.boot_ms();
        let up_ms = self.began.map_or(0, |began| boot_ms.saturating_sub(began));
        let lag = |status: &Option<Arc<RoundStatus>>| {
            let status = status.as_ref()?;
            let seconds = status.report(revision).seconds;
            let ms = Duration::try_from_secs_f64(seconds).map_or(Millis::MAX, millis);
            let is_whole = status.was_complete();
            let ms = if is_whole { ms } else { ms.min(up_ms) };
            Some(Lag { ms, is_whole })
        };
        let (export_lag, mirror_lag) = (lag(&self.copies.export), lag(&self.copies.mirror));
        self.operations
            .take(running.day.boot_ms(), &self.metrics.operations());
        let close_lag = self.close_lag();
        self.note_space();
        ServerFacts {
            read_only: match self.running.mode.state() {
                ModeState::Normal => None,
                ModeState::ReadOnly { cause, .. } => Some(cause),
            },
            clock_fault: look.clock_fault,
            clock_behind_ms: self.running.day.behind_ms(),
            export_lag,
            mirror_lag,
            close_lag,
        }
    }

    /// Notes how much space is free, if that is due.
    fn note_space(&mut self) {
        let boot_ms = self.running.day.boot_ms();
        if self.disk.is_due(boot_ms)
            && let Ok(space) = Space::of(&self.running.storage.data_dir)
        {
            self.disk.note(boot_ms, space.available);
            self.usual_min_free = space.default_min_free();
        }
    }

    /// The free space below which writes are refused.
    fn min_free(&self) -> u64 {
        self.options.min_free.unwrap_or(self.usual_min_free)
    }

    /// For how long a day has been over without being closed, as far as this server knows. While writes are refused
    /// none can be closed, so it begins anew after that.
    fn close_lag(&mut self) -> Option<Lag> {
        let running = &self.running;
        if self.read_of.is_none() || running.mode.refuses().is_some() {
            self.close = CloseCourse::default();
            return None;
        }
        let boot_ms = running.day.boot_ms();
        if self.close.is_due(boot_ms) {
            let closed = running.reader.with(|tables| {
                let Some(state) = tables.state()? else {
                    return Ok(true);
                };
                // A day is closed once a later one is counted in.
                let over = state.highest_day.previous();
                Ok(tables.closed_through()?.is_some_and(|day| day >= over))
            });
            match closed {
                Ok(closed) => self.close.take(boot_ms, closed),
                Err(_) => self.close = CloseCourse::default(),
            }
        }
        self.close.lag(boot_ms)
    }

    fn verdict_of_server(
        &self,
        rule: AlertRule,
        facts: &ServerFacts,
        settings: &RuleSettings,
    ) -> Verdict {
        match rule {
            AlertRule::Refusals => self.operations.refusals(settings),
            AlertRule::OutcomeUnknown => self.operations.unknown(settings),
            AlertRule::Disk => self.disk.judge(self.min_free(), settings),
            rule => system::judge(rule, facts, settings),
        }
    }

    /// Shows how all of it stands.
    fn show(&self, now: LookedAt, turned: bool) {
        let mut alerts: Vec<AlertShown> = self
            .book
            .alerts()
            .iter()
            .map(|(key, alert)| self.shown(key, alert))
            .chain(self.kept_elsewhere())
            .collect();
        let is_on = |alert: &AlertShown| alert.state != AlertPhase::Pending.as_str();
        alerts.sort_by_key(|alert| !is_on(alert));
        self.board.show(
            AlertsShown {
                alerts,
                events: self.counters.events(),
                silences: Vec::new(),
                judged_at: Some(now.wall_ms),
            },
            turned,
        );
        let watched = i64::try_from(self.counters.count()).unwrap_or(i64::MAX);
        self.metrics.alerts.watched.set(watched);
        for rule in AlertRule::ALL {
            self.metrics.alerts.set_firing(rule, self.book.firing(rule));
        }
    }

    fn shown(&self, key: &AlertKey, alert: &BookedAlert) -> AlertShown {
        let texts = &self.options.texts;
        let evidence = &alert.state.evidence;
        AlertShown {
            rule: key.rule.as_str(),
            counter: key.counter.as_ref().map(CounterName::to_string),
            state: alert.state.phase.as_str(),
            severity: alert.severity.as_str(),
            since: alert.state.since,
            fired_at: alert.state.fired_at,
            value: evidence.value,
            expected: evidence.expected,
            summary: summary(key),
            why: evidence.why.clone(),
            runbook: texts.runbook(key.rule),
            fingerprint: texts.fingerprint(key, alert.severity),
        }
    }

    /// Tells receivers that are told how all stands.
    fn tell_standing(&self) {
        if self.options.receivers.alertmanager.is_none() {
            return;
        }
        let texts = &self.options.texts;
        let on = self.book.alerts().iter();
        let on = on.filter(|(_, alert)| alert.state.is_on());
        let all = on.chain(self.book.ended());
        let told = all.map(|(key, alert)| texts.told(key, alert)).collect();
        self.standing.alerts.store(Arc::new(told));
    }

    /// Hands on what is to be told, once it is stored.
    fn send(&mut self, turned: &[Turned]) {
        let dropped = self.notices.send(self.options.receivers.queue);
        self.metrics.alerts.dropped.inc_by(dropped);
        let waiting = i64::try_from(self.notices.outbox.count()).unwrap_or(i64::MAX);
        self.metrics.alerts.waiting.set(waiting);
        self.tell_standing();
        if turned.iter().any(Turned::is_news) {
            self.standing.turned.notify_one();
        }
    }
}

impl BackgroundWork for AlertWatch {
    async fn run(&mut self, mut ended: oneshot::Receiver<()>) {
        let delivery = Delivery {
            poster: Poster::new(self.options.receivers.timeout),
            receivers: self.options.receivers.clone(),
            metrics: self.metrics.alerts.clone(),
        };
        let outbox = Arc::clone(&self.notices.outbox);
        let day = Arc::clone(&self.running.day);
        let standing = Arc::clone(&self.standing);
        let mut deliveries = JoinSet::new();
        deliveries.spawn(deliver(Arc::clone(&outbox), delivery.clone(), day));
        deliveries.spawn(tell_alertmanager(standing, delivery));
        self.metrics.alerts.up.set(1);
        let mut next = tokio::time::interval(EVERY);
        next.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let mut turned = Vec::new();
            tokio::select! {
                biased;
                _ = &mut ended => break,
                Some(done) = deliveries.join_next() => {
                    // One that has nobody to tell ends by itself.
                    if let Err(error) = done && error.is_panic() {
                        resume_unwind(error.into_panic());
                    }
                    continue;
                }
                _ = next.tick() => turned = self.look(),
                // That it was delivered is to be stored at once.
                () = outbox.went.notified() => {}
            }
            self.save_soon().await;
            self.send(&turned);
        }
        deliveries.shutdown().await;
        // A write may be under way: then there may be more to store after it.
        for _ in 0..2 {
            self.save_soon().await;
        }
    }

    fn is_down(&mut self, _: &str) {
        self.metrics.alerts.up.set(0);
    }
}

fn millis(span: Duration) -> Millis {
    Millis::try_from(span.as_millis()).unwrap_or(Millis::MAX)
}

/// Writes a line for what turned, if people are to know.
fn log(turned: &Turned) {
    let Turned { key, turn, alert } = turned;
    let (rule, severity) = (key.rule.as_str(), alert.severity.as_str());
    let counter = key.counter.as_ref().map(tracing::field::display);
    let why = description(alert);
    match turn {
        Turn::Fired => tracing::warn!(rule, counter, severity, why, "an alert fires"),
        Turn::Resolved => tracing::warn!(rule, counter, severity, "an alert has ended"),
        Turn::Pends | Turn::Passed | Turn::Recovers | Turn::Relapsed => {
            tracing::debug!(rule, counter, severity, ?turn, "an alert turned");
        }
    }
}
