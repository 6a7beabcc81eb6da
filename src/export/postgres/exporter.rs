//! The exporter: a thread that brings the database up to date every `postgres.interval`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use super::connect::Link;
use super::day::Guard;
use super::days::{DayWork, Days};
use super::schema::open;
use super::standing::{Turn, begin, look, put_through};
use super::status::ExportStatus;
use super::users::Progress;
use super::values::Values;
use super::{PostgresError, PostgresOptions};
use crate::background::{Background, Worker, runtime};
use crate::calendar::Day;
use crate::lifecycle::kept_range;
use crate::metrics::Metrics;
use crate::storage::expiry::Daily;
use crate::storage::{Batch, ExportCursor, ReadError, Tables};
use crate::writer::{Chore, Running};

/// The first and the longest wait after a failure; each is twice the one before.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Brings the database up to date.
pub struct Exporter {
    days: Days,
    status: Arc<ExportStatus>,
    runtime: Arc<Runtime>,
    link: Option<Link>,
    values: Values,
    /// How far closed days are; none before the database was asked.
    cursor: Option<ExportCursor>,
    /// An emptied database was filled again, and nothing came of it.
    refilled: bool,
    last_values: Option<Instant>,
    /// The last closed day, and the oldest one that was kept then.
    oldest: Option<(Day, Day)>,
}

impl Exporter {
    /// For that writer.
    ///
    /// # Errors
    /// When there is no runtime to be had.
    pub fn new(
        running: &Running,
        metrics: &Arc<Metrics>,
        options: PostgresOptions,
    ) -> std::io::Result<Self> {
        let values = Values::new(options.interval);
        Ok(Self {
            days: Days::new(running, Arc::clone(metrics), options),
            status: Arc::new(ExportStatus::new(Arc::clone(metrics))),
            runtime: Arc::new(runtime()?),
            link: None,
            values,
            cursor: None,
            refilled: false,
            last_values: None,
            oldest: None,
        })
    }

    /// How it stands, for others.
    pub fn status(&self) -> Arc<ExportStatus> {
        Arc::clone(&self.status)
    }

    /// Works on a thread of its own until told to end.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(self) -> std::io::Result<Background> {
        Background::start("exporter", Arc::clone(&self.runtime), self)
    }

    /// Brings the database up to date once, on the caller's thread.
    ///
    /// # Errors
    /// When it could not be done; the next time goes on.
    pub fn catch_up(&mut self) -> Result<(), PostgresError> {
        let runtime = Arc::clone(&self.runtime);
        let round = runtime.block_on(self.round());
        match &round {
            Ok(()) => {
                self.status.is_up();
            }
            Err(error) => {
                self.link = None;
                self.status.is_down(&error.to_string());
            }
        }
        round
    }

    async fn round(&mut self) -> Result<(), PostgresError> {
        self.tell_days()?;
        // Out of its place while it works: what is cut off leaves no connection in an unknown state.
        let mut link = match self.link.take() {
            Some(link) => link,
            None => {
                // Whatever happened to the database meanwhile: all of it is compared again.
                self.values.forget();
                self.cursor = None;
                open(&self.days.options).await?
            }
        };
        self.stand(&mut link).await?;
        self.values(&mut link).await?;
        self.closed_days(&mut link).await?;
        self.link = Some(link);
        Ok(())
    }

    /// Finds out which database it is, and how far it has got.
    async fn stand(&mut self, link: &mut Link) -> Result<(), PostgresError> {
        let lineage = self.days.reader.lineage()?;
        let stored = self.days.reader.with(Tables::export_cursor)?;
        let known = self.cursor.or(stored);
        let database = known.map(|known| known.database);
        let standing = look(link, self.days.table.epoch(), &lineage, database).await?;
        if !standing.has_values {
            self.values.forget();
        }
        let same = known.filter(|known| known.database == standing.identity);
        let mut through = same.and_then(|known| known.through);
        // A database that was restored from its backup is behind.
        through = through.min(standing.through);
        if standing.has_days {
            self.refilled = false;
        } else if let Some(done) = through
            && !self.refilled
        {
            // An empty table is as it should be where no day was to be put.
            let Days {
                reader, horizons, ..
            } = &self.days;
            let kept = kept_range::<ReadError>(reader, horizons, &mut |_, _| Ok(()))?;
            if kept.is_some_and(|(first, _)| first <= done) {
                through = None;
            }
            self.refilled = true;
        }
        let cursor = ExportCursor {
            database: standing.identity,
            through,
        };
        if known != Some(cursor) {
            if self.days.mode.refuses().is_some() {
                self.cursor = None;
                return Ok(());
            }
            if known.is_some() {
                tracing::warn!(
                    "the database is another one, or misses days: it is filled from the oldest day that it lacks"
                );
            }
            // Before anything is exported: horizons follow it.
            let mut batch = Batch::new();
            batch.put_export_cursor(&cursor);
            self.write(batch)?;
            self.values.forget();
        }
        self.cursor = Some(cursor);
        Ok(())
    }

    async fn values(&mut self, link: &mut Link) -> Result<(), PostgresError> {
        self.last_values = Some(Instant::now());
        let Days { table, day, .. } = &self.days;
        self.values.export(link, table, day, &self.status).await
    }

    /// Whether current values wait longer than they should behind closed days.
    fn values_are_due(&self) -> bool {
        self.last_values
            .is_none_or(|last| last.elapsed() >= self.days.options.interval)
    }

    async fn closed_days(&mut self, link: &mut Link) -> Result<(), PostgresError> {
        // How far it got could not be stored.
        if self.cursor.is_none() || self.days.mode.refuses().is_some() {
            return Ok(());
        }
        self.forget_set_aside()?;
        while let Some((day, to)) = self.next_days()? {
            // Between two days it may have been emptied, or have become another.
            self.stand(link).await?;
            if self.cursor.is_none() {
                return Ok(());
            }
            if self.next_days()? != Some((day, to)) {
                continue;
            }
            if let Some(day) = day {
                self.closed_day(link, day).await?;
            } else {
                self.advance(link, to).await?;
                let cursor = self.advanced(to);
                let mut batch = Batch::new();
                if let Some(cursor) = cursor {
                    batch.put_export_cursor(&cursor);
                }
                self.write(batch)?;
                self.cursor = cursor;
            }
            self.tell_days()?;
        }
        Ok(())
    }

    /// Forgets rows of days that are no longer kept: they cannot be exported any more.
    fn forget_set_aside(&self) -> Result<(), PostgresError> {
        let kept_from = self.days.horizons.day(Daily::History);
        let aside = self.days.reader.with(|tables| tables.set_aside(None))?;
        let mut batch = Batch::new();
        for row in aside.iter().filter(|row| row.day.days() < kept_from) {
            batch.delete_aside(row.day, &row.counter);
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.write(batch)
    }

    /// The next day that is closed and not there; none, and up to where, when there is no record of
    /// the days that are left.
    fn next_days(&self) -> Result<Option<(Option<Day>, Day)>, PostgresError> {
        let through = self.cursor.and_then(|cursor| cursor.through);
        let Days {
            reader, horizons, ..
        } = &self.days;
        let Some(closed) = reader.with(Tables::closed_through)? else {
            return Ok(None);
        };
        Ok(match through {
            Some(through) if through >= closed => None,
            Some(through) => Some((Some(through.next()), closed)),
            None => {
                let first = kept_range::<ReadError>(reader, horizons, &mut |_, _| Ok(()))?
                    .map(|(first, _)| first);
                Some((first.filter(|&first| first <= closed), closed))
            }
        })
    }

    async fn closed_day(&mut self, link: &mut Link, day: Day) -> Result<(), PostgresError> {
        let guard = Guard {
            day,
            epoch: self.days.table.epoch(),
            replace: false,
        };
        let mut work = DayWork::new(&self.days, guard, None, Progress::default())?;
        while work.step(&self.days, link).await? {
            if self.values_are_due() {
                self.values(link).await?;
            }
        }
        self.advance(link, day).await?;
        let cursor = self.advanced(day);
        let written = work.finish(&self.days, cursor)?;
        self.cursor = cursor;
        if written.rows() > 0 {
            // Were it empty now, somebody would have emptied it.
            self.refilled = written.written + written.unchanged == 0;
            tracing::info!(%day, written = written.written, unchanged = written.unchanged, set_aside = written.set_aside, users = written.users, "the day is exported");
        }
        Ok(())
    }

    /// Says in the database that everything up to that day is there.
    async fn advance(&self, link: &mut Link, through: Day) -> Result<(), PostgresError> {
        begin(link, Turn::Days, self.days.table.epoch()).await?;
        put_through(link, through).await?;
        link.commit().await
    }

    fn advanced(&self, through: Day) -> Option<ExportCursor> {
        self.cursor.map(|cursor| ExportCursor {
            through: Some(through),
            ..cursor
        })
    }

    /// Tells how many days wait, and how many rows are set aside.
    fn tell_days(&mut self) -> Result<(), PostgresError> {
        let reader = &self.days.reader;
        let (closed, stored, aside) = reader.with(|tables| {
            let aside = tables.set_aside(None)?.len() as u64;
            Ok((tables.closed_through()?, tables.export_cursor()?, aside))
        })?;
        let from = match self.cursor.or(stored).and_then(|cursor| cursor.through) {
            Some(through) => Some(through.next()),
            None => self.oldest(closed)?,
        };
        let waiting = from.zip(closed).map_or(0, |(from, closed)| {
            i64::from(closed.days()) - i64::from(from.days()) + 1
        });
        self.status.days_wait(u64::try_from(waiting).unwrap_or(0));
        self.status.rows_are_set_aside(aside);
        Ok(())
    }

    /// The oldest day that is kept. Looking for it takes a while: once for each day that is closed.
    fn oldest(&mut self, closed: Option<Day>) -> Result<Option<Day>, PostgresError> {
        if let Some((as_of, first)) = self.oldest
            && Some(as_of) == closed
        {
            return Ok(Some(first));
        }
        let Days {
            reader, horizons, ..
        } = &self.days;
        let first =
            kept_range::<ReadError>(reader, horizons, &mut |_, _| Ok(()))?.map(|(first, _)| first);
        self.oldest = closed.zip(first);
        Ok(first)
    }

    fn write(&self, batch: Batch) -> Result<(), PostgresError> {
        let chore = Chore {
            batch,
            horizons: Vec::new(),
        };
        let written = self.days.intake.carry_out(chore);
        written.map_err(PostgresError::Write)
    }
}

impl Worker for Exporter {
    async fn run(&mut self, mut ended: oneshot::Receiver<()>) {
        let mut wait = FIRST_WAIT;
        loop {
            // What is cut off here is done again: nothing rests on it.
            let round = tokio::select! {
                _ = &mut ended => break,
                round = self.round() => round,
            };
            let pause = match round {
                Ok(()) => {
                    if self.status.is_up() {
                        tracing::info!("the export to PostgreSQL goes on");
                    }
                    wait = FIRST_WAIT;
                    self.days.options.interval
                }
                Err(error) => {
                    self.link = None;
                    let text = error.to_string();
                    if self.status.is_down(&text) {
                        tracing::warn!(
                            error = text,
                            "the export to PostgreSQL is held up; it tries again"
                        );
                    }
                    let pause = wait;
                    wait = (wait * 2).min(LONGEST_WAIT);
                    pause
                }
            };
            tokio::select! {
                _ = &mut ended => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        if let Some(link) = self.link.take() {
            link.close().await;
        }
    }

    fn is_down(&mut self, error: &str) {
        self.status.is_down(error);
    }
}
