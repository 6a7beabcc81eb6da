//! The mirror: a thread that brings Redis up to date every `redis.interval`.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use super::entry::Entry;
use super::link::{Done, Link, Written};
use super::script::{Complete, Keys, Place, add_users, call, forget};
use super::status::MirrorStatus;
use super::users::{USERS_IN_A_CALL, Users};
use super::{MirrorError, MirrorOptions};
use crate::background::{Background, Worker, runtime};
use crate::counter::{CounterName, Millis, Revision, rfc3339};
use crate::current_day::CurrentDay;
use crate::metrics::Metrics;
use crate::storage::{Lineage, Reader};
use crate::writer::{Reading, Round, Running, Table, Through};

/// The first and the longest wait after a failure; each is twice the one before.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// The longest wait for a Redis that is away: trying costs next to nothing, and once it is back it is to
/// have everything within a second.
const LONGEST_WAIT_WHILE_AWAY: Duration = Duration::from_millis(500);

/// How long the last round before the end may take.
const LAST_ROUND: Duration = Duration::from_secs(1);

/// Counters in one call: Redis serves nobody else while it runs, some milliseconds.
const COUNTERS_IN_A_CALL: usize = 250;

/// Calls that are sent before their answers are awaited.
const CALLS_AT_ONCE: usize = 8;

/// So often the keys are taken back from another mirror at full speed.
const PATIENCE_WITH_RIVALS: u32 = 3;

/// How long nothing is seen of another mirror before it is taken to be gone: it may rest as long as we do.
const UNTIL_A_RIVAL_IS_GONE: Duration = LONGEST_WAIT.saturating_mul(2);

/// How long a set of users is kept after its day.
const USERS_KEPT_MS: Millis = 24 * 60 * 60 * 1000;

/// How often the marker says as of when Redis has everything, while nothing changes.
const AS_OF_AT_LEAST: Duration = Duration::from_secs(1);

/// Brings Redis up to date.
pub struct Mirror {
    options: MirrorOptions,
    keys: Keys,
    table: Arc<Table>,
    day: Arc<CurrentDay>,
    reader: Reader,
    users: Users,
    status: Arc<MirrorStatus>,
    runtime: Arc<Runtime>,
    link: Option<Link>,
    /// Which store this is, as it was last read.
    lineage: Option<Lineage>,
    /// Our sequence of calls; none until the marker is taken over.
    sequence: Option<Sequence>,
    /// What is there.
    there: Option<Through>,
    /// How often another mirror had taken the keys over, since it was last taken to be gone.
    rivalry: u32,
    /// When it last had.
    rival_seen: Option<Instant>,
    /// When the marker last said as of when it is.
    said: Option<Instant>,
}

/// The calls of one mirror between two losses.
#[derive(Clone, Debug)]
struct Sequence {
    id: String,
    epoch: u64,
    /// The last call that was answered, and the last that was sent.
    answered: u64,
    sent: u64,
}

/// What calls are of.
#[derive(Clone, Copy)]
enum Of {
    Values,
    Users,
}

/// Redis lost what was written, or another mirror took over; the id that is there now.
struct Loss(String);

impl Mirror {
    /// For that writer.
    ///
    /// # Errors
    /// When there is no runtime to be had.
    pub fn new(
        running: &Running,
        metrics: &Arc<Metrics>,
        options: MirrorOptions,
    ) -> std::io::Result<Self> {
        Ok(Self {
            keys: Keys::new(&options.prefix),
            options,
            table: Arc::clone(&running.table),
            day: Arc::clone(&running.day),
            reader: running.reader.clone(),
            users: Users::default(),
            status: Arc::new(MirrorStatus::new(Arc::clone(metrics))),
            runtime: Arc::new(runtime()?),
            link: None,
            lineage: None,
            sequence: None,
            there: None,
            rivalry: 0,
            rival_seen: None,
            said: None,
        })
    }

    /// How it stands, for others.
    pub fn status(&self) -> Arc<MirrorStatus> {
        Arc::clone(&self.status)
    }

    /// Works on a thread of its own until told to end.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(self) -> std::io::Result<Background> {
        Background::start("mirror", Arc::clone(&self.runtime), self)
    }

    /// Brings Redis up to date once, on the caller's thread.
    ///
    /// # Errors
    /// When it could not be done; the next time goes on.
    pub fn catch_up(&mut self) -> Result<(), MirrorError> {
        let runtime = Arc::clone(&self.runtime);
        let round = runtime.block_on(self.round());
        self.tell(&round);
        round
    }

    /// Tells the status; says whether it is another one than before.
    fn tell(&mut self, round: &Result<(), MirrorError>) -> bool {
        let now = self.day.look().wall_ms;
        match round {
            Ok(()) => self.status.is_up(now),
            Err(error) => {
                self.link = None;
                self.status.is_down(&error.to_string(), now)
            }
        }
    }

    async fn round(&mut self) -> Result<(), MirrorError> {
        // Out of its place while it works: what is cut off leaves no connection in an unknown state.
        let mut link = match self.link.take() {
            Some(link) => link,
            None => {
                let mut link = Link::open(&self.options).await?;
                self.resume(&mut link).await?;
                link
            }
        };
        let epoch = self.table.epoch();
        self.sequence.take_if(|sequence| sequence.epoch != epoch);
        if self.sequence.is_none() {
            self.claim(&mut link, epoch).await?;
        }
        if let Err(Loss(id)) = self.write_changes(&mut link).await? {
            self.lost(&id)?;
            self.claim(&mut link, epoch).await?;
            if let Err(Loss(id)) = self.write_changes(&mut link).await? {
                self.lost(&id)?;
            }
        }
        // That the keys were taken back does not show that the other has gone.
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

    /// After a new connection: goes on where the calls that arrived ended, if they are all there.
    async fn resume(&mut self, link: &mut Link) -> Result<(), MirrorError> {
        let Some(sequence) = &mut self.sequence else {
            return Ok(());
        };
        let marker = match link.marker(&self.keys).await {
            // Of another type, say. Where it is not to be read at all, the claim says so.
            Err(MirrorError::Refused(_)) => None,
            marker => marker?,
        };
        if marker
            .as_ref()
            .is_some_and(|marker| marker.id != sequence.id)
        {
            self.rival_seen = Some(Instant::now());
        }
        let ours = marker.filter(|marker| {
            let possible = sequence.answered..=sequence.sent;
            marker.id == sequence.id && possible.contains(&marker.sequence)
        });
        match ours {
            Some(marker) => {
                sequence.answered = marker.sequence;
                sequence.sent = marker.sequence;
            }
            None => self.sequence = None,
        }
        Ok(())
    }

    /// Takes the marker over: everything is written again.
    async fn claim(&mut self, link: &mut Link, epoch: u64) -> Result<(), MirrorError> {
        self.there = None;
        self.users.forget();
        let id = format!("{:016x}", RandomState::new().hash_one(epoch));
        let lineage = match (self.reader.lineage(), self.lineage.take()) {
            (Ok(lineage), _) => lineage,
            // A store that is being reopened is still the same.
            (Err(_), Some(lineage)) => lineage,
            (Err(error), None) => return Err(error.into()),
        };
        let lineage = self.lineage.insert(lineage);
        link.claim(&self.keys, &id, epoch, lineage).await?;
        self.status.metrics().refills.inc();
        self.sequence = Some(Sequence {
            id,
            epoch,
            answered: 0,
            sent: 0,
        });
        Ok(())
    }

    fn lost(&mut self, id: &str) -> Result<(), MirrorError> {
        let lost = self.sequence.take();
        if lost.is_some_and(|lost| lost.id == id) {
            // An older state of our own.
        } else if id.is_empty() {
            // Nobody's: it was emptied.
            self.rivalry = 0;
        } else {
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

    /// Writes what changed since the last time, everything after a claim.
    async fn write_changes(&mut self, link: &mut Link) -> Result<Result<(), Loss>, MirrorError> {
        let begun = Instant::now();
        // Before anything is read: what changes meanwhile is found the next time.
        let there = self.there.as_ref();
        let round = Round::begin(&self.table, &self.day, there);
        let fills = there.is_none();
        let (names, through) = match there {
            Some(there) if there.has(&round) => (Vec::new(), None),
            Some(_) | None => {
                let (names, through) = self.table.news(there, &round);
                (names, Some(through))
            }
        };
        let revision = round.revision;
        let mut calls = Vec::new();
        for names in names.chunks(COUNTERS_IN_A_CALL) {
            let entries = self.entries(names, &round);
            if let Some(call) = self.call(link, None, &entries) {
                calls.push(call);
            }
            if calls.len() >= CALLS_AT_ONCE
                && let Err(loss) = self.send(link, &mut calls, Of::Values).await?
            {
                return Ok(Err(loss));
            }
        }
        if let Err(loss) = self.send(link, &mut calls, Of::Values).await? {
            return Ok(Err(loss));
        }
        if fills && let Err(loss) = self.sweep(link, revision).await? {
            return Ok(Err(loss));
        }
        // In every round, so that a loss is seen also when nothing changes.
        let complete = Complete {
            revision,
            as_of: round.as_of.map(rfc3339),
        };
        let stale = self
            .said
            .is_none_or(|said| said.elapsed() >= AS_OF_AT_LEAST);
        let says = through.is_some() || stale;
        calls.extend(self.call(link, says.then_some(&complete), &[]));
        if let Err(loss) = self.send(link, &mut calls, Of::Values).await? {
            return Ok(Err(loss));
        }
        if says {
            self.said = Some(begun);
        }
        if through.is_some() {
            self.there = through;
        }
        self.status.is_there(revision, begun);
        if self.options.users {
            return self.add_users(link).await;
        }
        Ok(Ok(()))
    }

    /// Adds users of the current day to their sets, as many as a round has time for.
    async fn add_users(&mut self, link: &mut Link) -> Result<Result<(), Loss>, MirrorError> {
        let today = self.day.look().day;
        let end = self.day.local_day(today).end.unwrap_or(Millis::MAX);
        let expires_at = end.saturating_add(USERS_KEPT_MS);
        for page in self.users.pages(&self.table, &self.reader, today) {
            let mut calls = Vec::new();
            for users in page.users.chunks(USERS_IN_A_CALL) {
                if let Some(place) = self.place(true) {
                    let sha = link.users_sha();
                    calls.push(add_users(sha, &self.keys, &place, &page, users, expires_at));
                }
            }
            if let Err(loss) = self.send(link, &mut calls, Of::Users).await? {
                return Ok(Err(loss));
            }
            self.users.are_there(&page);
        }
        Ok(Ok(()))
    }

    fn entries(&self, names: &[CounterName], round: &Round) -> Vec<Entry> {
        let readings = self.table.read_many(names);
        let moment = round.moment(&self.day);
        let entry = |(name, reading): (&CounterName, Option<Reading>)| match reading {
            Some(reading) => Entry::of(&reading, &moment, self.day.calendar()),
            None => Entry::gone(name.to_string(), round.revision),
        };
        names.iter().zip(readings).map(entry).collect()
    }

    /// Deletes the counters that are in Redis and that nobody knows any more.
    async fn sweep(
        &mut self,
        link: &mut Link,
        revision: Revision,
    ) -> Result<Result<(), Loss>, MirrorError> {
        let mut cursor = 0;
        loop {
            let (next, names) = link.names(&self.keys, cursor).await?;
            let (mut gone, mut strange) = (Vec::new(), Vec::new());
            for bytes in names {
                match std::str::from_utf8(&bytes).map(CounterName::parse) {
                    Ok(Ok(name)) if self.table.read(name.as_str()).is_none() => {
                        gone.push(Entry::gone(name.to_string(), revision));
                    }
                    Ok(Ok(_)) => {}
                    Ok(Err(_)) | Err(_) => strange.push(bytes),
                }
            }
            let mut calls = Vec::new();
            for entries in gone.chunks(COUNTERS_IN_A_CALL) {
                calls.extend(self.call(link, None, entries));
            }
            for names in strange.chunks(COUNTERS_IN_A_CALL) {
                if let Some(place) = self.place(true) {
                    calls.push(forget(link.forget_sha(), &self.keys, &place, names));
                }
            }
            if let Err(loss) = self.send(link, &mut calls, Of::Values).await? {
                return Ok(Err(loss));
            }
            if next == 0 {
                return Ok(Ok(()));
            }
            cursor = next;
        }
    }

    /// The next call of the sequence; one that says and changes nothing takes no number.
    fn call(
        &mut self,
        link: &Link,
        complete: Option<&Complete>,
        entries: &[Entry],
    ) -> Option<redis::Cmd> {
        let place = self.place(complete.is_some() || !entries.is_empty())?;
        Some(call(link.sha(), &self.keys, &place, complete, entries))
    }

    fn place(&mut self, takes_a_number: bool) -> Option<Place> {
        let sequence = self.sequence.as_mut()?;
        let before = sequence.sent;
        sequence.sent += u64::from(takes_a_number);
        Some(Place {
            id: sequence.id.clone(),
            before,
            number: sequence.sent,
            epoch: sequence.epoch,
            latest: self.table.revision(),
        })
    }

    async fn send(
        &mut self,
        link: &mut Link,
        calls: &mut Vec<redis::Cmd>,
        of: Of,
    ) -> Result<Result<(), Loss>, MirrorError> {
        if calls.is_empty() {
            return Ok(Ok(()));
        }
        let answers = link.write(calls).await?;
        calls.clear();
        let mut sum = Done::default();
        for answer in answers {
            match answer {
                Written::Done(done) => {
                    sum.written += done.written;
                    sum.later_epoch = sum.later_epoch.max(done.later_epoch);
                    sum.ahead = sum.ahead.max(done.ahead);
                }
                Written::Lost(id) => return Ok(Err(Loss(id))),
            }
        }
        match of {
            Of::Values => self.status.metrics().values.inc_by(sum.written),
            Of::Users => self.status.metrics().users.inc_by(sum.written),
        };
        if let Some(sequence) = &mut self.sequence {
            sequence.answered = sequence.sent;
            if sum.later_epoch > sequence.epoch {
                return Err(MirrorError::LaterEpoch {
                    ours: sequence.epoch,
                    theirs: sum.later_epoch,
                });
            }
            if sum.ahead > 0 {
                return Err(MirrorError::Ahead {
                    ours: self.table.revision(),
                    theirs: sum.ahead,
                });
            }
        }
        Ok(Ok(()))
    }
}

impl Worker for Mirror {
    async fn run(&mut self, mut ended: oneshot::Receiver<()>) {
        let mut wait = FIRST_WAIT;
        loop {
            let begun = Instant::now();
            // What is cut off here is done again: nothing rests on it.
            let round = tokio::select! {
                _ = &mut ended => break,
                round = self.round() => round,
            };
            let pause = match &round {
                Ok(()) => {
                    if self.rivalry == 0 {
                        wait = FIRST_WAIT;
                    }
                    // Of many counters in little time: half of it is left to others.
                    self.options.interval.max(begun.elapsed())
                }
                Err(error) => {
                    let longest = if error.is_away() {
                        LONGEST_WAIT_WHILE_AWAY
                    } else {
                        LONGEST_WAIT
                    };
                    let pause = wait.min(longest);
                    wait = (wait * 2).min(longest);
                    pause
                }
            };
            if self.tell(&round) {
                match round {
                    Ok(()) => tracing::info!("the mirror in Redis goes on"),
                    Err(error) => tracing::warn!(
                        error = error.to_string(),
                        "the mirror in Redis is held up; it tries again"
                    ),
                }
            }
            tokio::select! {
                _ = &mut ended => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        if self.link.is_some() {
            // What the last requests changed. Without it the next start writes that.
            let _ = tokio::time::timeout(LAST_ROUND, self.round()).await;
        }
    }

    fn is_down(&mut self, error: &str) {
        self.status.is_down(error, self.day.look().wall_ms);
    }
}
