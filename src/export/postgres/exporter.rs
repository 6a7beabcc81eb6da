//! The rounds of the export: each brings the database up to date.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::columns::date;
use super::connect::Link;
use super::days::DayWork;
use super::schema::open;
use super::standing::{DAYS_LOCK, ExportContext, begin};
use super::values::CurrentValues;
use super::{PostgresError, PostgresOptions, Result};
use crate::calendar::Day;
use crate::lifecycle::kept_days;
use crate::metrics::Metrics;
use crate::rounds::{RoundStatus, RoundWork, Rounds};
use crate::storage::expiry::Daily;
use crate::storage::{Batch, ExportCursor, Tables};
use crate::writer::Running;

/// Brings the database up to date every `postgres.interval`.
pub type Exporter = Rounds<ExportWork>;

/// What the rounds of the export work with, and what they know of the database.
pub struct ExportWork {
    context: ExportContext,
    link: Option<Link>,
    values: CurrentValues,
    /// How far closed days are; `None` before the database was asked.
    cursor: Option<ExportCursor>,
    /// What other instances had done when this round began.
    as_of: u64,
    /// Whether an emptied database was filled again and nothing came of it.
    refilled: bool,
    /// The last closed day, and the oldest one that was kept then: the last one itself where there was no record.
    oldest: Option<(Day, Option<Day>)>,
}

impl Rounds<ExportWork> {
    /// Prepares the export of a writer's counters.
    ///
    /// # Errors
    /// When there are no resources for a runtime.
    pub fn new(
        running: &Running,
        metrics: &Arc<Metrics>,
        options: PostgresOptions,
    ) -> io::Result<Self> {
        let context = ExportContext::new(running, Arc::clone(metrics), options);
        let work = ExportWork {
            values: CurrentValues::new(context.clone()),
            context,
            link: None,
            cursor: None,
            as_of: 0,
            refilled: false,
            oldest: None,
        };
        Self::of(work, &metrics.export.round, &running.day)
    }
}

impl RoundWork for ExportWork {
    type Error = PostgresError;
    const THREAD: &'static str = "exporter";
    const HELD_UP: &'static str = "the export to PostgreSQL is held up; it tries again";
    const GOES_ON: &'static str = "the export to PostgreSQL goes on";

    async fn round(&mut self, status: &RoundStatus) -> Result<()> {
        let as_of = self.context.running.done_elsewhere();
        if as_of != self.as_of {
            // Another instance may have exported since: the store knows how far.
            self.cursor = None;
            self.as_of = as_of;
        }
        self.tell_days()?;
        // Taken out of its place: after a round that is cut off, the state of the connection is unknown.
        let mut link = match self.link.take() {
            Some(link) => link,
            None => {
                // Whatever happened to the database meanwhile: everything is compared again.
                self.values.forget();
                self.cursor = None;
                open(&self.context.options).await?
            }
        };
        self.claim(&mut link).await?;
        self.values.export(&mut link, status).await?;
        self.closed_days(&mut link, status).await?;
        self.link = Some(link);
        Ok(())
    }

    fn pause(&self, _: Duration) -> Duration {
        self.context.options.interval
    }

    async fn finish(&mut self, _: &RoundStatus) {
        if let Some(link) = self.link.take() {
            link.close().await;
        }
    }
}

impl ExportWork {
    /// Claims the database and finds out how far it has got.
    async fn claim(&mut self, link: &mut Link) -> Result<()> {
        let stored = self.context.running.reader.with(Tables::export_cursor)?;
        let known = self.cursor.or(stored);
        let claimed = self.context.claim(link, known).await?;
        if !claimed.has_values {
            self.values.forget();
        }
        let same = known.filter(|known| known.database == claimed.identity);
        let mut through = same.and_then(|known| known.through);
        // A database that was restored from its backup is behind.
        through = through.min(claimed.through);
        if claimed.has_days {
            self.refilled = false;
        } else if let Some(done) = through
            && !self.refilled
        {
            // The table is rightly empty where there was no day to export.
            let kept = kept_days(&self.context.running.reader)?;
            if kept.is_some_and(|(first, _)| first <= done) {
                through = None;
            }
            self.refilled = true;
        }
        let cursor = ExportCursor {
            database: claimed.identity,
            through,
        };
        if known != Some(cursor) {
            if !self.context.running.works() {
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
            self.context.write(batch, self.as_of)?;
            self.values.forget();
        }
        self.cursor = Some(cursor);
        Ok(())
    }

    async fn closed_days(&mut self, link: &mut Link, status: &RoundStatus) -> Result<()> {
        // Without a cursor, the store did not take how far the export got.
        if self.cursor.is_none() || !self.context.running.works() {
            return Ok(());
        }
        self.forget_set_aside()?;
        while let Some((first, closed)) = self.missing_days()? {
            let day = first.unwrap_or(closed);
            // Since the last day the database may have been emptied, or have become another one.
            self.claim(link).await?;
            if self.cursor.is_none() {
                return Ok(());
            }
            let missing = self.missing_days()?;
            if missing.is_some_and(|(first, closed)| first.unwrap_or(closed) == day) {
                self.closed_day(link, day, status).await?;
                self.tell_days()?;
            }
        }
        Ok(())
    }

    /// Forgets the rows set aside whose days are no longer kept: they cannot be exported any more.
    fn forget_set_aside(&self) -> Result<()> {
        let running = &self.context.running;
        let kept_from = running.reader.horizons.day(Daily::History);
        let aside = running.reader.with(|tables| tables.set_aside())?;
        let mut batch = Batch::new();
        for row in aside.iter().filter(|row| row.day.days() < kept_from) {
            batch.delete_aside(row.day, &row.counter);
        }
        self.context.write(batch, self.as_of)
    }

    async fn closed_day(&mut self, link: &mut Link, day: Day, status: &RoundStatus) -> Result<()> {
        let context = self.context.clone();
        let progress = AtomicU64::new(0);
        let mut work = DayWork::new(&context, self.as_of, day, None, &progress)?;
        while work.step(link).await? {
            // Current values do not wait for a long day.
            if self.values.are_due() {
                self.values.export(link, status).await?;
            }
        }
        let put = sqlx::query("UPDATE counterd_database SET exported_through = $1");
        begin(link, DAYS_LOCK, work.guard.epoch).await?;
        link.execute(put.bind(date(day))).await?;
        link.commit().await?;
        let through = Some(day);
        let cursor = self.cursor.map(|cursor| ExportCursor { through, ..cursor });
        let written = work.finish(cursor)?;
        self.cursor = cursor;
        if written.rows() > 0 {
            // Were it empty now, somebody would have emptied it.
            self.refilled = written.written + written.unchanged == 0;
            tracing::info!(%day, written = written.written, unchanged = written.unchanged, set_aside = written.set_aside, users = written.users, "the day is exported");
        }
        Ok(())
    }

    /// Tells the metrics how many days wait, and how many rows are set aside.
    fn tell_days(&mut self) -> Result<()> {
        let missing = self.missing_days()?;
        let aside = self
            .context
            .running
            .reader
            .with(|tables| tables.set_aside())?;
        let metrics = &self.context.metrics.export;
        let days = missing.and_then(|(first, closed)| Some(closed.days() - first?.days() + 1));
        metrics.days_waiting.set(days.map_or(0, i64::from));
        let aside = i64::try_from(aside.len()).unwrap_or(i64::MAX);
        metrics.set_aside.set(aside);
        Ok(())
    }

    /// Returns the first and the last closed day that the database lacks; `None` when it has every closed day. The
    /// first is `None` where no closed day has a record: then the database has all of them with the last one.
    fn missing_days(&mut self) -> Result<Option<(Option<Day>, Day)>> {
        let running = &self.context.running;
        let Some(closed) = running.reader.with(Tables::closed_through)? else {
            return Ok(None);
        };
        let stored = running.reader.with(Tables::export_cursor)?;
        let through = self.cursor.or(stored).and_then(|cursor| cursor.through);
        let first = match (through, self.oldest) {
            (Some(through), _) => Some(through.next()),
            (None, Some((as_of, oldest))) if as_of == closed => oldest,
            (None, _) => {
                // The search takes a while, so there is one for each closed day.
                let kept = kept_days(&running.reader)?;
                let oldest = kept
                    .map(|(first, _)| first)
                    .filter(|first| *first <= closed);
                self.oldest = Some((closed, oldest));
                oldest
            }
        };
        let lacks = first.is_none_or(|first| first <= closed);
        Ok(lacks.then_some((first, closed)))
    }
}
