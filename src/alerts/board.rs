//! What others see of alerts, and the silences that they ask for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde::Serialize;

use super::silence::{MAX_SILENCES, Silence, SilenceFault, SilenceWanted};
use crate::counter::instant::{self, serialize_at};
use crate::counter::{CounterName, Millis};
use crate::metrics::Cause;
use crate::storage::{Batch, ReadError, Reader};
use crate::writer::{Failure, PreparedBatch, Running};

/// An alert that is not ok, as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AlertShown {
    /// The word of its rule.
    pub rule: &'static str,
    /// Its counter; `None` for a rule about the server.
    pub counter: Option<String>,
    /// The word of its phase.
    pub state: &'static str,
    /// The word of its severity.
    pub severity: &'static str,
    /// When its rule began to hold.
    #[serde(serialize_with = "serialize_at")]
    pub since: Millis,
    /// When it fired; `None` before that.
    #[serde(with = "instant")]
    pub fired_at: Option<Millis>,
    /// What was found.
    pub value: Option<i64>,
    /// What was expected.
    pub expected: Option<i64>,
    /// What is wrong, in a few words.
    pub summary: String,
    /// Why its rule holds, or last held.
    pub why: String,
    /// The page that says what to do.
    pub runbook: String,
    /// Names the alert to receivers; always the same for one rule, counter and severity.
    pub fingerprint: String,
}

/// Something that explains a fall or a rise of a counter, so that no alert of it fires.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explained {
    /// When.
    #[serde(serialize_with = "serialize_at")]
    pub at: Millis,
    /// Of which counter.
    pub counter: String,
    /// The word of the reason.
    pub reason: &'static str,
    /// The value before.
    pub before: i64,
    /// The value after.
    pub after: i64,
}

/// All that is shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AlertsShown {
    /// The alerts that are not ok, the firing ones first.
    pub alerts: Vec<AlertShown>,
    /// What explained falls and rises lately, newest first.
    pub events: Vec<Explained>,
    /// The silences that hold.
    pub silences: Vec<Silence>,
    /// When the rules were last judged; `None` before that.
    #[serde(with = "instant")]
    pub judged_at: Option<Millis>,
}

/// What the thread that watches shows, shared with those who look.
pub struct AlertBoard {
    shown: ArcSwap<AlertsShown>,
    /// Changes whenever an alert turns.
    version: AtomicU64,
    silences: ArcSwap<Vec<Silence>>,
    /// The epoch of the store whose silences are known. Held while they change, which waits for the disk.
    read_of: Mutex<Option<u64>>,
}

impl AlertBoard {
    /// Makes a board that shows nothing.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            shown: ArcSwap::default(),
            version: AtomicU64::new(0),
            silences: ArcSwap::default(),
            read_of: Mutex::default(),
        })
    }

    /// Returns what is shown at that time.
    pub fn shown(&self, now: Millis) -> AlertsShown {
        let mut shown = AlertsShown::clone(&self.shown.load());
        let silences = self.silences.load();
        shown.silences = silences
            .iter()
            .filter(|one| now < one.until)
            .cloned()
            .collect();
        shown
    }

    /// Returns a number that changes whenever an alert turns.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Shows how all of it stands; `turned` says whether an alert turned.
    pub fn show(&self, shown: AlertsShown, turned: bool) {
        self.shown.store(Arc::new(shown));
        if turned {
            self.version.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Whether a silence speaks of this counter at that time.
    pub fn is_silenced(&self, counter: &CounterName, now: Millis) -> bool {
        let silences = self.silences.load();
        silences.iter().any(|one| one.covers(counter, now))
    }

    /// Reads the silences of a store that was opened, once, or with `anew` again; returns `false` where a silence is being stored just now.
    pub(super) fn read_silences(
        &self,
        reader: &Reader,
        epoch: u64,
        anew: bool,
    ) -> Result<bool, ReadError> {
        let Some(mut read_of) = self.read_of.try_lock() else {
            return Ok(false);
        };
        if anew {
            *read_of = None;
        }
        self.read_once(&mut read_of, reader, epoch)?;
        Ok(true)
    }

    fn read_once(
        &self,
        read_of: &mut Option<u64>,
        reader: &Reader,
        epoch: u64,
    ) -> Result<(), ReadError> {
        if *read_of == Some(epoch) {
            return Ok(());
        }
        let stored = reader.with(|tables| tables.silences())?;
        let stored = stored
            .into_iter()
            .map(|(id, record)| Silence::of(id, record));
        self.silences.store(Arc::new(stored.collect()));
        *read_of = Some(epoch);
        Ok(())
    }

    /// Silences counters until an instant, in place of a silence of just these counters; one that has passed
    /// ends it. It holds once it is stored. Blocks until that is done.
    ///
    /// # Errors
    /// `Ok(Err)` when it is no silence, `Err` when the writer did not store it.
    pub fn silence(
        &self,
        running: &Running,
        wanted: SilenceWanted,
        now: Millis,
    ) -> Result<Result<Silence, SilenceFault>, Failure> {
        let mut read_of = self.read_of.lock();
        // What is stored already keeps its place and its number.
        let read = self.read_once(&mut read_of, &running.reader, running.table.epoch());
        if let Err(error) = read {
            tracing::debug!(%error, "the silences of the store cannot be read yet");
            let cause = running.mode.refuses().unwrap_or(Cause::StoreFailed);
            return Err(Failure::ReadOnly(cause));
        }
        let mut silences = self.silences.load().to_vec();
        let id = silences.iter().map(|one| one.id).max().unwrap_or(0) + 1;
        let silence = match wanted.judge(id, now) {
            Ok(silence) => silence,
            Err(fault) => return Ok(Err(fault)),
        };
        let is_over = |one: &Silence| one.until <= now || one.counters == silence.counters;
        let stays = silences.iter().filter(|one| !is_over(one)).count();
        let begins = silence.until > now;
        if begins && stays >= MAX_SILENCES {
            return Ok(Err(SilenceFault::TooMany));
        }
        let mut batch = Batch::new();
        for over in silences.iter().filter(|one| is_over(one)) {
            batch.delete_silence(over.id);
        }
        if begins {
            batch.put_silence(silence.id, &silence.record());
        }
        if !batch.is_empty() {
            running.intake.carry_out(PreparedBatch {
                batch,
                ..PreparedBatch::default()
            })?;
        }
        silences.retain(|one| !is_over(one));
        if begins {
            silences.push(silence.clone());
        }
        self.silences.store(Arc::new(silences));
        Ok(Ok(silence))
    }
}
