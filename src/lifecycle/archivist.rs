//! The archivist: a thread that closes days and moves horizons, one small step after another.
//!
//! A crash or a failing disk may cut off any step; it is begun again. The order of the steps keeps the past: a
//! day's records are written into history and synced, then history is in tables, then the horizon moves past the day,
//! and only then may anything of the day be dropped.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::close;
use super::retention::{DayProgress, Retention};
use crate::background::{Background, BackgroundWork, runtime};
use crate::calendar::Day;
use crate::metrics::{Metrics, PastMetrics};
use crate::seeded::{bug, ends_here};
use crate::storage::compact::compact_ended;
use crate::storage::expiry::Daily;
use crate::storage::{Batch, Cursor, ReadError, Tables};
use crate::writer::{Failure, PreparedBatch, Running};

/// How often the archivist looks whether there is something to do.
const EVERY: Duration = Duration::from_secs(1);

/// Why a step was not done. The step is tried again later.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The store cannot be read now.
    #[error("cannot read the store: {0}")]
    Read(#[from] ReadError),
    /// The writer did not write it.
    #[error("the writer did not write it: {0}")]
    Write(#[from] Failure),
}

/// Closes days and moves horizons.
pub struct Archivist {
    running: Running,
    retention: Retention,
    metrics: PastMetrics,
    /// Where the close of a day goes on.
    resume: Option<Resume>,
    /// What other instances had done when the step began.
    as_of: u64,
}

/// Where the close of a day goes on, in the history that the store was on.
struct Resume {
    epoch: u64,
    day: Day,
    from: Cursor,
}

impl Archivist {
    /// Makes the archivist of a writer.
    pub fn new(running: &Running, retention: Retention, metrics: &Arc<Metrics>) -> Self {
        Self {
            running: running.clone(),
            retention,
            metrics: metrics.past.clone(),
            resume: None,
            as_of: 0,
        }
    }

    /// Works on a thread of its own until told to end, which it does after the step it is at.
    ///
    /// # Errors
    /// When there are no resources for a thread.
    pub fn start(self) -> io::Result<Background> {
        Background::start("archivist", Arc::new(runtime()?), self)
    }

    /// Does everything that can be done now, for commands that work on a store without a server.
    ///
    /// # Errors
    /// When a step was not done.
    pub fn catch_up(&mut self) -> Result<(), ArchiveError> {
        while self.step()? {}
        Ok(())
    }

    /// Does the next small step; returns whether there is more to do at once.
    ///
    /// # Errors
    /// When the step was not done; nothing is lost, and the next one tries again.
    pub fn step(&mut self) -> Result<bool, ArchiveError> {
        if !self.running.works() {
            return Ok(false);
        }
        self.as_of = self.running.done_elsewhere();
        match self.next_step() {
            // The store says something else by now.
            Err(ArchiveError::Write(Failure::Overtaken)) => Ok(true),
            done => done,
        }
    }

    fn next_step(&mut self) -> Result<bool, ArchiveError> {
        let reader = &self.running.reader;
        let (state, closed) =
            reader.with(|tables| Ok((tables.state()?, tables.closed_through()?)))?;
        // Before the first group of a store there is nothing to close.
        let Some(state) = state else { return Ok(false) };
        // Days before the highest one do not change any more.
        let today = state.highest_day;
        let over = today.previous();
        if closed.is_none_or(|closed| closed < over) {
            self.close_some(closed, over)?;
            return Ok(true);
        }
        self.metrics.closed_day.set(over.days().into());
        let archived = self.running.reader.horizons.day(Daily::Days);
        if archived < today.days() {
            ends_here("ends_before_flush");
            self.running.reader.with(Tables::flush_all)?;
            ends_here("ends_after_flush");
        }
        self.move_horizons(today, over)
    }

    /// Closes a part of the first day that is over and not closed.
    fn close_some(&mut self, closed: Option<Day>, over: Day) -> Result<(), ArchiveError> {
        if bug("deletes_before_durable") {
            self.write(Batch::new(), vec![(Daily::Days, over.next())])?;
        }
        let calendar = self.running.day.calendar();
        let resume = self.resume.take();
        let (epoch, day, page) = self.running.reader.with(|tables| {
            let epoch = tables.epoch()?;
            // The close may have been begun on another store, which this one has replaced.
            let resume = resume.filter(|resume| {
                resume.epoch == epoch && closed.is_none_or(|closed| closed < resume.day)
            });
            let (day, from) = match resume {
                Some(resume) => (resume.day, Some(resume.from)),
                None => match close::next_day(tables, closed)? {
                    Some(day) if day <= over => (day, None),
                    // Nothing changed in the days up to `over`.
                    Some(_) | None => return Ok((epoch, over, None)),
                },
            };
            let page = close::page(tables, calendar, day, from.as_ref())?;
            Ok((epoch, day, Some(page)))
        })?;
        let Some(page) = page else {
            let mut batch = Batch::new();
            batch.put_closed_through(over);
            return self.write(batch, Vec::new());
        };
        let last = page.next.is_none();
        ends_here("ends_before_page");
        self.write(page.batch, Vec::new())?;
        ends_here(if last {
            "ends_after_day"
        } else {
            "ends_after_page"
        });
        self.metrics.closed_records.inc_by(page.records);
        self.resume = page.next.map(|from| Resume { epoch, day, from });
        if last {
            tracing::info!(%day, "the day is closed");
        }
        Ok(())
    }

    /// Moves the horizons as far as they may go; returns whether one moved.
    fn move_horizons(&mut self, today: Day, closed: Day) -> Result<bool, ArchiveError> {
        let mut noted = Batch::new();
        let mut progress = DayProgress {
            today,
            closed,
            exported: None,
            waited_ms: 0,
        };
        if self.retention.exports {
            let (exported, since, now) = self.running.reader.with(|tables| {
                let exported = tables.export_cursor()?.and_then(|cursor| cursor.through);
                let now = tables.state()?.map_or(0, |state| state.store_time);
                Ok((exported, tables.waits_since(exported)?, now))
            })?;
            progress.exported = exported;
            match since {
                Some(since) => progress.waited_ms = now.saturating_sub(since),
                None => noted.put_waits_since(exported, now),
            }
        }
        let mut moved = self.retention.horizons(&progress).to_vec();
        moved.retain(|&(daily, day)| day.days() > self.running.reader.horizons.day(daily));
        if moved.is_empty() {
            if !noted.is_empty() {
                self.write(noted, Vec::new())?;
            }
            return Ok(false);
        }
        self.tell_given_up(&progress, &moved);
        ends_here("ends_before_horizon");
        self.write(noted, moved.clone())?;
        ends_here("ends_after_horizon");
        // Whole files went with the horizon; records that share a file with later days go now.
        for (daily, _) in moved {
            compact_ended(&self.running.reader, daily)?;
        }
        Ok(true)
    }

    /// Logs days that go although they were not exported.
    fn tell_given_up(&self, progress: &DayProgress, moved: &[(Daily, Day)]) {
        let first = progress.first_unexported();
        for &(daily, horizon) in moved {
            let asks = matches!(daily, Daily::Dedup | Daily::History);
            if self.retention.exports && asks && horizon > first {
                tracing::error!(
                    family = daily.family().as_str(),
                    exported = progress.exported.map(tracing::field::display),
                    before = %horizon,
                    "days that could not be exported for calendar.max_unexported_days are given up"
                );
                self.metrics.given_up.inc();
            }
        }
    }

    fn write(&self, batch: Batch, horizons: Vec<(Daily, Day)>) -> Result<(), ArchiveError> {
        let prepared = PreparedBatch {
            batch,
            horizons,
            as_of: Some(self.as_of),
        };
        Ok(self.running.intake.carry_out(prepared)?)
    }
}

impl BackgroundWork for Archivist {
    async fn run(&mut self, mut ended: oneshot::Receiver<()>) {
        let mut told = String::new();
        loop {
            let (rest, error) = match self.step() {
                Ok(true) => (Duration::ZERO, String::new()),
                Ok(false) => (EVERY, String::new()),
                Err(error) => (EVERY, error.to_string()),
            };
            if !error.is_empty() && error != told {
                tracing::warn!(%error, "the archivist is held up; it tries again");
            }
            told = error;
            if tokio::time::timeout(rest, &mut ended).await.is_ok() {
                return;
            }
        }
    }

    fn is_down(&mut self, _: &str) {}
}
