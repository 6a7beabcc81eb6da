//! The rounds of the mirror: each brings Redis up to date.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Cmd, Pipeline};

use super::entry::{KnownMeta, MirrorEntry};
use super::link::ScriptLink;
use super::users::{USERS_IN_A_CALL, Users};
use super::{MirrorError, MirrorOptions, Result};
use crate::counter::{CounterName, Millis, Revision, rfc3339};
use crate::metrics::{Metrics, MirrorMetrics};
use crate::rounds::{LONGEST_WAIT, RoundStatus, RoundWork, Rounds};
use crate::storage::{CopyConflict, Lineage};
use crate::writer::{Reading, Round, Running, Through};

/// The longest wait for a Redis that is away. A try costs next to nothing, and Redis should have everything
/// within a second after its return.
const LONGEST_WAIT_WHILE_AWAY: Duration = Duration::from_millis(500);

/// How long the last round before the end may take.
const LAST_ROUND: Duration = Duration::from_secs(1);

/// Counters in one call. Redis serves nobody else during a call; this many take some milliseconds.
const COUNTERS_IN_A_CALL: usize = 250;

/// Calls that are sent before their answers are awaited.
const CALLS_AT_ONCE: usize = 8;

/// How often the keys are taken back from another mirror without a wait.
const PATIENCE_WITH_RIVALS: u32 = 3;

/// How long another mirror must not be seen before it is taken to be gone: it may wait as long as we do.
const UNTIL_A_RIVAL_IS_GONE: Duration = LONGEST_WAIT.saturating_mul(2);

/// How long a set of users is kept after its day.
const USERS_KEPT_MS: Millis = 24 * 60 * 60 * 1000;

/// How often the time is written at which Redis last had everything, while nothing changes.
const AS_OF_AT_LEAST: Duration = Duration::from_secs(1);

/// Brings Redis up to date every `redis.interval`.
pub type Mirror = Rounds<MirrorWork>;

/// What the rounds of the mirror work with, and what they know of Redis.
pub struct MirrorWork {
    options: MirrorOptions,
    running: Running,
    users: Users,
    metrics: MirrorMetrics,
    link: Option<ScriptLink>,
    /// Which store this is, as it was last read; `None` before the first reading.
    lineage: Option<Lineage>,
    /// Our sequence of calls.
    sequence: Sequence,
    /// What Redis has; `None` while that is not known.
    there: Option<Through>,
    /// Of which counters Redis needs only what every increment changes.
    known: KnownMeta,
    /// How often another mirror had taken the keys, since it was last taken to be gone.
    rivalry: u32,
    /// When another mirror was last seen to have taken them.
    rival_seen: Option<Instant>,
    /// When the time at which Redis last had everything was last written.
    as_of_told: Option<Instant>,
}

/// Calls that write values, and the entries in them.
#[derive(Default)]
struct ValueCalls {
    commands: Pipeline,
    whole: Vec<MirrorEntry>,
    /// Entries of which only value, revision and time are in the calls.
    refreshed: Vec<MirrorEntry>,
}

/// The calls of one mirror from one claim of the marker to the next.
#[derive(Clone, Debug, Default)]
struct Sequence {
    /// Empty before the marker is claimed.
    id: String,
    epoch: u64,
    /// The number of the last call that was answered.
    answered: u64,
    /// The number of the last call that was sent.
    sent: u64,
}

impl Sequence {
    /// Begins the next call of a script: its keys and its place in the sequence. A call that changes nothing takes no
    /// number.
    fn begin(&mut self, script: &str, keys: &[String], changes: bool) -> Cmd {
        let before = self.sent;
        self.sent += u64::from(changes);
        let mut call = redis::cmd("EVALSHA");
        call.arg(script).arg(keys.len()).arg(keys);
        call.arg(&self.id).arg(before).arg(self.sent);
        call
    }
}

impl Rounds<MirrorWork> {
    /// Prepares the mirror of a writer's counters.
    ///
    /// # Errors
    /// When there are no resources for a runtime.
    pub fn new(
        running: &Running,
        metrics: &Arc<Metrics>,
        options: MirrorOptions,
    ) -> io::Result<Self> {
        let work = MirrorWork {
            options,
            running: running.clone(),
            users: Users::default(),
            metrics: metrics.mirror.clone(),
            link: None,
            lineage: None,
            sequence: Sequence::default(),
            there: None,
            known: KnownMeta::default(),
            rivalry: 0,
            rival_seen: None,
            as_of_told: None,
        };
        Self::of(work, &metrics.mirror.round, &running.day)
    }
}

impl RoundWork for MirrorWork {
    type Error = MirrorError;
    const THREAD: &'static str = "mirror";
    const HELD_UP: &'static str = "the mirror in Redis is held up; it tries again";
    const GOES_ON: &'static str = "the mirror in Redis goes on";

    async fn round(&mut self, status: &RoundStatus) -> Result<()> {
        // Taken out of its place: after a round that is cut off, the state of the connection is unknown.
        let link = match self.link.take() {
            Some(link) => link,
            None => {
                let link = ScriptLink::open(&self.options).await?;
                self.resume(&link).await?;
                link
            }
        };
        let epoch = self.running.epoch();
        // What is lost in the first attempt is claimed and written anew in the second.
        for _ in 0..2 {
            if self.sequence.id.is_empty() || self.sequence.epoch != epoch {
                self.claim(&link, epoch).await?;
            }
            match self.write_changes(&link, status).await {
                Ok(()) => break,
                Err(MirrorError::Marker(id)) => self.note_loss(&id)?,
                Err(error) => return Err(error),
            }
        }
        // That the keys were taken back does not show that the other mirror has gone.
        if self
            .rival_seen
            .is_none_or(|seen| seen.elapsed() > UNTIL_A_RIVAL_IS_GONE)
        {
            self.rivalry = 0;
        }
        if self.rivalry > PATIENCE_WITH_RIVALS {
            return Err(MirrorError::Rival);
        }
        self.link = Some(link);
        Ok(())
    }

    fn pause(&self, took: Duration) -> Duration {
        // Where many counters change in little time, half of it is left to others.
        self.options.interval.max(took)
    }

    fn longest_wait(&self, error: &MirrorError) -> Duration {
        if error.is_away() {
            LONGEST_WAIT_WHILE_AWAY
        } else {
            LONGEST_WAIT
        }
    }

    fn is_settled(&self) -> bool {
        self.rivalry == 0
    }

    async fn finish(&mut self, status: &RoundStatus) {
        if self.link.is_some() {
            // What the last requests changed. If this fails, the next start writes it.
            let _ = tokio::time::timeout(LAST_ROUND, self.round(status)).await;
        }
    }
}

impl MirrorWork {
    /// Goes on after a new connection where the calls that arrived ended, if Redis still has all of them.
    async fn resume(&mut self, link: &ScriptLink) -> Result<()> {
        // Which of the calls before arrived, nobody says.
        self.known.forget();
        let sequence = &mut self.sequence;
        if sequence.id.is_empty() {
            return Ok(());
        }
        let marker = match link.marker().await {
            // It is of another type, say. If it cannot be read at all, the claim says so.
            Err(MirrorError::Refused(_)) => None,
            marker => marker?,
        };
        match marker {
            Some((id, _)) if id != sequence.id => {
                self.rival_seen = Some(Instant::now());
                *sequence = Sequence::default();
            }
            Some((_, last)) if (sequence.answered..=sequence.sent).contains(&last) => {
                sequence.answered = last;
                sequence.sent = last;
            }
            Some(_) | None => *sequence = Sequence::default(),
        }
        Ok(())
    }

    /// Claims the marker for a new sequence, in which everything is written again.
    async fn claim(&mut self, link: &ScriptLink, epoch: u64) -> Result<()> {
        self.sequence = Sequence::default();
        self.there = None;
        self.known.forget();
        self.users.forget();
        let lineage = match self.running.reader.lineage() {
            Ok(lineage) => &*self.lineage.insert(lineage),
            // A store that is being reopened is still the same.
            Err(error) => self.lineage.as_ref().ok_or(error)?,
        };
        let id = format!("{:016x}", RandomState::new().hash_one(epoch));
        link.claim(&id, epoch, lineage).await?;
        self.metrics.refills.inc();
        self.sequence = Sequence {
            id,
            epoch,
            ..Sequence::default()
        };
        Ok(())
    }

    /// Notes that the marker holds `id` in place of ours.
    fn note_loss(&mut self, id: &str) -> Result<()> {
        let lost = std::mem::take(&mut self.sequence);
        if id.is_empty() {
            // Redis was emptied.
            self.rivalry = 0;
        } else if lost.id != id {
            self.rivalry += 1;
            self.rival_seen = Some(Instant::now());
            if self.rivalry > PATIENCE_WITH_RIVALS {
                return Err(MirrorError::Rival);
            }
        }
        tracing::warn!(
            "Redis lost what was mirrored to it, or has an older state: it is filled again"
        );
        Ok(())
    }

    /// Writes what changed since the last round; after a claim, everything.
    async fn write_changes(&mut self, link: &ScriptLink, status: &RoundStatus) -> Result<()> {
        let begun = Instant::now();
        // Before anything is read: the next round finds what changes meanwhile.
        let there = self.there.as_ref();
        let round = Round::begin(&self.running.table, &self.running.day, there);
        let fills = there.is_none();
        let lacks = there.is_none_or(|there| !there.has(&round));
        let news = lacks.then(|| self.running.table.news(there, &round));
        let (names, through) = news.unzip();
        self.known.age();
        let mut calls = ValueCalls::default();
        for names in names.unwrap_or_default().chunks(COUNTERS_IN_A_CALL) {
            let entries = self.entries(names, &round);
            self.add_values(link, &mut calls, entries);
            if calls.commands.len() >= CALLS_AT_ONCE {
                self.send_values(link, &mut calls).await?;
            }
        }
        self.send_values(link, &mut calls).await?;
        if fills {
            self.sweep(link, round.revision).await?;
        }
        let as_of = round.as_of.map_or_else(String::new, rfc3339);
        let complete = [round.revision.to_string(), as_of];
        let tells = through.is_some()
            || self
                .as_of_told
                .is_none_or(|told| told.elapsed() >= AS_OF_AT_LEAST);
        // In every round, so that a loss is seen also when nothing changes.
        let mut end = Pipeline::new();
        end.add_command(self.call(link, tells.then_some(&complete), &[]));
        self.send(link, &mut end).await?;
        if tells {
            self.as_of_told = Some(begun);
        }
        if through.is_some() {
            self.there = through;
        }
        status.is_there(round.revision, begun, None);
        if self.options.users {
            self.add_users(link).await?;
        }
        Ok(())
    }

    /// Adds users of the current day to their sets, as many as one round takes.
    async fn add_users(&mut self, link: &ScriptLink) -> Result<()> {
        let day = &self.running.day;
        let today = day.look().day;
        let end = day.local_day(today).end.unwrap_or(Millis::MAX);
        let expires_at = end.saturating_add(USERS_KEPT_MS);
        let (table, reader) = (&self.running.table, &self.running.reader);
        let [marker, _] = link.wire.keys.ours();
        for page in self.users.pages(table, reader, today) {
            let name = page.name.as_str();
            let [_, meta] = link.wire.keys.of(name);
            let keys = [marker.clone(), meta, link.wire.keys.users(name, today)];
            let life = format!("{}:{}", self.sequence.epoch, page.generation);
            let mut calls = Pipeline::new();
            for users in page.users.chunks(USERS_IN_A_CALL) {
                let mut call = self.sequence.begin(&link.users, &keys, true);
                call.arg(&life).arg(expires_at).arg(users);
                calls.add_command(call);
            }
            let added = self.send(link, &mut calls).await?;
            self.metrics.users.inc_by(added);
            self.users.are_there(&page);
        }
        Ok(())
    }

    fn entries(&self, names: &[CounterName], round: &Round) -> Vec<MirrorEntry> {
        let day = &self.running.day;
        let readings = self.running.table.read_many(names);
        let moment = round.moment(day);
        let of = |(name, reading): (&CounterName, Option<Reading>)| match reading {
            Some(reading) => MirrorEntry::of(&reading, &moment, day.calendar()),
            None => MirrorEntry::gone(name.to_string(), round.revision),
        };
        names.iter().zip(readings).map(of).collect()
    }

    /// Deletes the counters that Redis has and the store does not.
    async fn sweep(&mut self, link: &ScriptLink, revision: Revision) -> Result<()> {
        let mut cursor = 0;
        loop {
            let (next, names) = link.names(cursor).await?;
            let (mut unknown, mut strange) = (Vec::new(), Vec::new());
            for bytes in names {
                match std::str::from_utf8(&bytes).map(CounterName::parse) {
                    Ok(Ok(name)) if self.running.table.read(name.as_str()).is_none() => {
                        unknown.push(MirrorEntry::gone(name.to_string(), revision));
                    }
                    Ok(Ok(_)) => {}
                    Ok(Err(_)) | Err(_) => strange.push(bytes),
                }
            }
            let mut calls = Pipeline::new();
            for entries in unknown.chunks(COUNTERS_IN_A_CALL) {
                calls.add_command(self.call(link, None, entries));
            }
            for names in strange.chunks(COUNTERS_IN_A_CALL) {
                let keys = link.wire.keys.ours();
                let mut call = self.sequence.begin(&link.forget, &keys, true);
                call.arg(names);
                calls.add_command(call);
            }
            let deleted = self.send(link, &mut calls).await?;
            self.metrics.values.inc_by(deleted);
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }

    /// Adds calls that write these entries: whole ones, and those of which Redis needs only value, revision and time.
    fn add_values(&mut self, link: &ScriptLink, calls: &mut ValueCalls, entries: Vec<MirrorEntry>) {
        let has_meta = |entry: &MirrorEntry| self.known.has(entry);
        let (refreshed, whole): (Vec<_>, Vec<_>) = entries.into_iter().partition(has_meta);
        if !refreshed.is_empty() {
            calls.commands.add_command(self.refresh(link, &refreshed));
        }
        if !whole.is_empty() {
            calls.commands.add_command(self.call(link, None, &whole));
        }
        calls.refreshed.extend(refreshed);
        calls.whole.extend(whole);
    }

    /// Makes the next call of the script that writes. `complete` says up to which revision everything is there once
    /// the call is done, and as of when; an empty time keeps what was told before.
    fn call(
        &mut self,
        link: &ScriptLink,
        complete: Option<&[String; 2]>,
        entries: &[MirrorEntry],
    ) -> Cmd {
        let keys = link.wire.keys.with(entries);
        let changes = complete.is_some() || !entries.is_empty();
        let mut call = self.sequence.begin(&link.write, &keys, changes);
        call.arg(self.sequence.epoch);
        call.arg(self.running.table.revision());
        call.arg(complete.unwrap_or(&Default::default()));
        for entry in entries {
            let MirrorEntry { value, meta, .. } = entry;
            call.arg(&entry.name).arg(value).arg(&entry.revision);
            call.arg(&meta.period).arg(&entry.last_updated);
            call.arg(&meta.kind).arg(&meta.expires_at);
        }
        call
    }

    /// Makes the next call of the script that writes only what every increment changes.
    fn refresh(&mut self, link: &ScriptLink, entries: &[MirrorEntry]) -> Cmd {
        let keys = link.wire.keys.with(entries);
        let mut call = self.sequence.begin(&link.refresh, &keys, true);
        for entry in entries {
            call.arg(&entry.value).arg(&entry.revision);
            call.arg(&entry.last_updated);
        }
        call
    }

    async fn send_values(&mut self, link: &ScriptLink, calls: &mut ValueCalls) -> Result<()> {
        let ValueCalls {
            mut commands,
            mut whole,
            refreshed,
        } = std::mem::take(calls);
        let told = whole.len() + refreshed.len();
        let mut written = self.send(link, &mut commands).await?;
        if written < told as u64 {
            // Somebody took a meta away, or something later stands there.
            self.known.forget();
            for entries in refreshed.chunks(COUNTERS_IN_A_CALL) {
                commands.add_command(self.call(link, None, entries));
            }
            written += self.send(link, &mut commands).await?;
        } else {
            whole.extend(refreshed);
            self.known.note(whole);
        }
        self.metrics.values.inc_by(written);
        Ok(())
    }

    /// Sends the calls; returns how much they wrote.
    async fn send(&mut self, link: &ScriptLink, calls: &mut Pipeline) -> Result<u64> {
        if calls.is_empty() {
            return Ok(0);
        }
        let answers = link.send(calls).await?;
        calls.clear();
        let (mut written, mut later, mut ahead) = (0, 0, 0);
        for (verdict, detail, its_epoch, its_revision) in answers {
            // Others may have written any bytes there.
            let detail = String::from_utf8_lossy(&detail);
            if verdict != "ok" {
                return Err(MirrorError::Marker(detail.into_owned()));
            }
            written += detail.parse().unwrap_or(0);
            later = later.max(its_epoch);
            ahead = ahead.max(its_revision);
        }
        self.sequence.answered = self.sequence.sent;
        CopyConflict::no_later(self.sequence.epoch, later)?;
        if ahead > 0 {
            let (ours, theirs) = (self.running.table.revision(), ahead);
            return Err(CopyConflict::Ahead { ours, theirs }.into());
        }
        Ok(written)
    }
}
