//! Writes closed days in steps of one transaction each, and sets rows aside that the database refuses.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::columns::{halves, number};
use super::connect::Link;
use super::day::{self, DayRow, Fate, Guard, RowUsers, UsersPlace};
use super::schema::open;
use super::standing::{DAYS_LOCK, ExportContext, begin};
use super::users::{self, Crowd};
use super::{PostgresError, Result};
use crate::background::runtime;
use crate::calendar::Day;
use crate::counter::{CounterName, Kind, Reset};
use crate::export::{Row, RowPages, Selection};
use crate::lifecycle::kept_days;
use crate::storage::expiry::Daily;
use crate::storage::{Aside, Batch, ExportCursor, Tables};

/// The most rows that are remembered as set aside. Further ones are only logged and counted.
const MOST_ASIDE: u64 = 10_000;

/// How often a command hears of the progress, and may break off the work.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// What became of rows of closed days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaysWritten {
    /// Rows that were new, or were made equal to the store's.
    pub written: u64,
    /// Rows that were there already.
    pub unchanged: u64,
    /// Rows that were set aside.
    pub set_aside: u64,
    /// Users that were written with them.
    pub users: u64,
}

impl DaysWritten {
    /// Returns the number of rows that were compared.
    pub fn rows(&self) -> u64 {
        self.written + self.unchanged + self.set_aside
    }
}

impl ExportContext {
    /// Writes the closed days of a selection. With `replace`, it writes over rows that another epoch wrote. `tell`
    /// is told now and then how many rows and users were compared, and how many there are; its error ends the
    /// work at once.
    ///
    /// # Errors
    /// When the database or the store fails, or `tell` does. What was written stays; the next call does the rest.
    pub fn export(
        &self,
        selection: &Selection,
        replace: bool,
        tell: &mut dyn FnMut(u64, u64) -> std::io::Result<()>,
    ) -> Result<DaysWritten> {
        let Some((first, last)) = kept_days(&self.running.reader)? else {
            return Ok(DaysWritten::default());
        };
        let selection = Selection {
            from: selection.from.max(first),
            to: selection.to.min(last),
            ..selection.clone()
        };
        let total = self.size(&selection)?;
        let as_of = self.running.done_elsewhere();
        let progress = AtomicU64::new(0);
        let work = async {
            let mut link = open(&self.options).await?;
            let stored = self.running.reader.with(Tables::export_cursor)?;
            self.claim(&mut link, stored).await?;
            let mut written = DaysWritten::default();
            let mut day = selection.from;
            while day <= selection.to {
                let counter = selection.counter.clone();
                let mut work = DayWork::new(self, as_of, day, counter, &progress)?;
                work.guard.replace = replace;
                work.written = written;
                while work.step(&mut link).await? {}
                written = work.finish(None)?;
                day = day.next();
            }
            link.close().await;
            Ok::<_, PostgresError>(written)
        };
        let runtime = runtime()?;
        let done = runtime.block_on(async {
            let mut work = std::pin::pin!(work);
            loop {
                tokio::select! {
                    done = &mut work => return done,
                    () = tokio::time::sleep(TELL_EVERY) => {
                        tell(progress.load(Ordering::Relaxed).min(total), total)?;
                    }
                }
            }
        });
        // A look-up of a name that hangs is not waited for.
        runtime.shutdown_background();
        done
    }

    /// Returns how many rows and users there are to compare.
    fn size(&self, selection: &Selection) -> Result<u64> {
        let mut pages = RowPages::new(selection.clone());
        let mut size = 0;
        while let Some(rows) = pages.next(&self.running)? {
            for row in rows {
                let has_users = self.place(&row) == UsersPlace::Table;
                let content = row.past.content.filter(|_| has_users);
                let users = content.map_or(0, |content| content.record.last);
                size += 1 + u64::try_from(users).unwrap_or(0);
            }
        }
        Ok(size)
    }

    /// Returns where the users of a row go, as far as that is known before they are counted.
    fn place(&self, row: &Row) -> UsersPlace {
        let Some(content) = &row.past.content else {
            return UsersPlace::NoUsers;
        };
        match (content.kind, content.reset) {
            (Kind::Gauge | Kind::Sum | Kind::Presence, _) => UsersPlace::NoUsers,
            (Kind::Unique, Reset::Never) => UsersPlace::OfNoDay,
            (Kind::Unique, Reset::Daily) if !self.options.export_users => UsersPlace::NotExported,
            (Kind::Unique, Reset::Daily) if self.users_are_gone(row.past.day) => {
                UsersPlace::NotKept
            }
            (Kind::Unique, Reset::Daily) => UsersPlace::Table,
        }
    }

    fn users_are_gone(&self, day: Day) -> bool {
        day.days() < self.running.reader.horizons.day(Daily::Dedup)
    }
}

/// A day on its way into the database.
pub(super) struct DayWork<'a> {
    context: &'a ExportContext,
    /// What other instances had done when it was prepared.
    as_of: u64,
    pub(super) guard: Guard,
    pages: RowPages,
    /// Rows with users, which are written one by one.
    waiting: VecDeque<Row>,
    /// Rows of the day that were set aside before.
    aside_before: BTreeSet<CounterName>,
    /// How many further rows may be remembered as set aside.
    room: u64,
    /// What the store remembers once the day is done: rows that are set aside now, and those that no longer are.
    batch: Batch,
    written: DaysWritten,
    /// How many rows and users were compared so far.
    progress: &'a AtomicU64,
}

/// What became of a row; `Err` where the database refused it.
type RowFate = (CounterName, Result<Fate>);

impl<'a> DayWork<'a> {
    /// Prepares a day, or one counter of it.
    pub(super) fn new(
        context: &'a ExportContext,
        as_of: u64,
        day: Day,
        counter: Option<CounterName>,
        progress: &'a AtomicU64,
    ) -> Result<Self> {
        let running = &context.running;
        let before = running.reader.with(|tables| tables.set_aside())?;
        let room = MOST_ASIDE.saturating_sub(before.len() as u64);
        let of_the_day = before.into_iter().filter(|aside| aside.day == day);
        Ok(Self {
            context,
            as_of,
            pages: RowPages::new(Selection {
                from: day,
                to: day,
                counter,
                include_open: false,
            }),
            guard: Guard {
                day,
                epoch: running.epoch(),
                replace: false,
            },
            waiting: VecDeque::new(),
            aside_before: of_the_day.map(|aside| aside.counter).collect(),
            room,
            batch: Batch::new(),
            written: DaysWritten::default(),
            progress,
        })
    }

    /// Does the next transaction; returns whether there was one to do.
    pub(super) async fn step(&mut self, link: &mut Link) -> Result<bool> {
        if let Some(row) = self.waiting.front().cloned() {
            self.with_users(link, &row).await?;
            self.waiting.pop_front();
            return Ok(true);
        }
        let Some(page) = self.pages.next(&self.context.running)? else {
            return Ok(false);
        };
        self.compared(page.len());
        let mut rows = Vec::new();
        for row in page {
            match self.context.place(&row) {
                // The number of users decides between the two, once they are counted.
                UsersPlace::Inline | UsersPlace::Table => self.waiting.push_back(row),
                place => rows.extend(self.prepared(&row, place)),
            }
        }
        for (name, fate) in self.rows(link, rows).await? {
            self.judge(name, fate, 0);
        }
        Ok(true)
    }

    /// Makes the row that the database takes; `None` where it has to be set aside.
    fn prepared(&mut self, row: &Row, place: UsersPlace) -> Option<DayRow> {
        DayRow::new(row, place)
            .map_err(|reason| self.set_aside(row.name.clone(), reason))
            .ok()
    }

    /// Writes rows without users in one transaction. A statement that is refused is done again in halves, down to
    /// the row that causes it.
    async fn rows(&self, link: &mut Link, rows: Vec<DayRow>) -> Result<Vec<RowFate>> {
        let mut fates = Vec::new();
        if rows.is_empty() {
            return Ok(fates);
        }
        begin(link, DAYS_LOCK, self.guard.epoch).await?;
        let mut parts = vec![rows];
        while let Some(rows) = parts.pop() {
            link.run("SAVEPOINT part").await?;
            match day::write(link, &self.guard, &rows, RowUsers::Nowhere).await {
                Ok(done) => {
                    link.run("RELEASE SAVEPOINT part").await?;
                    fates.extend(done.into_iter().map(|(name, fate)| (name, Ok(fate))));
                }
                Err(error) if error.is_of_the_row() => {
                    link.run("ROLLBACK TO SAVEPOINT part").await?;
                    match halves(rows) {
                        Ok([first, second]) => parts.extend([second, first]),
                        Err(single) => fates.extend(single.map(|row| (row.name, Err(error)))),
                    }
                }
                Err(error) => return Err(error),
            }
        }
        link.commit().await?;
        Ok(fates)
    }

    /// Writes one row with its users, in a transaction of its own.
    async fn with_users(&mut self, link: &mut Link, row: &Row) -> Result<()> {
        let context = self.context;
        let inline = self.inline(row).await?;
        let (place, known) = match inline {
            Some(_) => (UsersPlace::Inline, None),
            None => (UsersPlace::Table, self.known(link, row).await?),
        };
        let Some(prepared) = self.prepared(row, place) else {
            return Ok(());
        };
        begin(link, DAYS_LOCK, self.guard.epoch).await?;
        let done = match inline {
            Some(users) => {
                let fate = self.write(link, &prepared, RowUsers::Inline(&users)).await;
                self.compared(users.len());
                fate.map(|fate| (fate, users.len() as u64))
            }
            None => self.table(link, row, &prepared, known).await,
        };
        let (place, why) = match done {
            Err(error) if !error.is_of_the_row() => return Err(error),
            // The horizon may have passed the day while its users were read.
            _ if context.users_are_gone(self.guard.day) => (UsersPlace::NotKept, None),
            Ok((fate, users)) => {
                link.commit().await?;
                self.judge(row.name.clone(), Ok(fate), users);
                return Ok(());
            }
            // A user id may be the cause, such as one that the encoding of the database does not have. The number of
            // the day is written all the same.
            Err(error) => (UsersPlace::Refused, Some(error)),
        };
        link.run("ROLLBACK").await?;
        let rows = self.prepared(row, place).into_iter().collect();
        for (name, fate) in self.rows(link, rows).await? {
            match (fate, &why) {
                (Ok(Fate::Written | Fate::Unchanged), Some(error)) => {
                    let reason =
                        format!("the number is written, but without the user ids: {error}");
                    self.set_aside(name, reason);
                }
                (fate, _) => self.judge(name, fate, 0),
            }
        }
        Ok(())
    }

    /// Writes one row within the transaction.
    async fn write(&self, link: &mut Link, row: &DayRow, users: RowUsers<'_>) -> Result<Fate> {
        let rows = std::slice::from_ref(row);
        let fates = day::write(link, &self.guard, rows, users).await?;
        let no_answer = || PostgresError::Lost("a row without an answer".to_owned());
        let (_, fate) = fates.into_iter().next().ok_or_else(no_answer)?;
        Ok(fate)
    }

    /// Reads the users of a row; `None` where there are more than fit into the row.
    async fn inline(&self, row: &Row) -> Result<Option<Vec<String>>> {
        let mut all = Vec::new();
        let Some(mut users) = row.users() else {
            return Ok(Some(all));
        };
        while let Some(page) = users.next(&self.context.running.reader)? {
            all.extend(page);
            if all.len() as u64 > self.context.options.unique_users_inline {
                return Ok(None);
            }
            tokio::task::yield_now().await;
        }
        Ok(Some(all))
    }

    /// Counts the users in the store; `None` where the database has no row to compare them with.
    async fn known(&self, link: &mut Link, row: &Row) -> Result<Option<Crowd>> {
        link.begin("").await?;
        let there = day::there(link, self.guard.day, &row.name).await?;
        link.commit().await?;
        let reader = &self.context.running.reader;
        if there.is_none() {
            return Ok(None);
        }
        users::counted(row, reader, self.progress).await.map(Some)
    }

    /// Writes the row with its users in the table, within the transaction.
    async fn table(
        &self,
        link: &mut Link,
        source: &Row,
        row: &DayRow,
        known: Option<Crowd>,
    ) -> Result<(Fate, u64)> {
        let guard = &self.guard;
        if let Some(there) = day::there(link, guard.day, &source.name).await? {
            let known = known.filter(|known| there.users == known.count);
            let digest = known.map(|known| known.digest());
            let same = digest.filter(|digest| there.digest.as_deref() == Some(&digest[..]));
            if let Some(digest) = same {
                let copied = false;
                let users = RowUsers::Table { digest, copied };
                return Ok((self.write(link, row, users).await?, 0));
            }
            if there.epoch != Some(number(guard.epoch)) && !guard.replace {
                return Ok((Fate::OfAnother(there.epoch), 0));
            }
        }
        day::clear_users(link, guard.day, &[source.name.as_str()]).await?;
        let reader = &self.context.running.reader;
        let crowd = users::copy(link, source, reader, self.progress).await?;
        let users = RowUsers::Table {
            digest: crowd.digest(),
            copied: true,
        };
        Ok((self.write(link, row, users).await?, crowd.count))
    }

    fn compared(&self, more: usize) {
        self.progress.fetch_add(more as u64, Ordering::Relaxed);
    }

    fn judge(&mut self, name: CounterName, fate: Result<Fate>, users: u64) {
        let reason = match fate {
            Ok(fate @ (Fate::Written | Fate::Unchanged)) => {
                if fate == Fate::Written {
                    self.written.written += 1;
                    self.written.users += users;
                    let metrics = &self.context.metrics.export;
                    metrics.days.inc();
                    metrics.users.inc_by(users);
                } else {
                    self.written.unchanged += 1;
                }
                if self.aside_before.contains(&name) {
                    self.batch.delete_aside(self.guard.day, &name);
                }
                return;
            }
            Ok(Fate::OfAnother(Some(epoch))) => format!(
                "there is another row, written under epoch {epoch} (this store's is {}); `counterd export --replace` overwrites it",
                self.guard.epoch
            ),
            Ok(Fate::OfAnother(None)) => {
                "there is another row, not written by counterd; `counterd export --replace` overwrites it".to_owned()
            }
            Err(error) => error.to_string(),
        };
        self.set_aside(name, reason);
    }

    fn set_aside(&mut self, counter: CounterName, reason: String) {
        let day = self.guard.day;
        self.written.set_aside += 1;
        tracing::error!(%day, %counter, reason, "a row of a closed day is set aside");
        let is_known = self.aside_before.contains(&counter);
        if is_known || self.room > 0 {
            self.room -= u64::from(!is_known);
            self.batch.put_aside(&Aside {
                day,
                counter,
                reason,
            });
        }
    }

    /// Stores what was set aside, and with it how far the export is.
    pub(super) fn finish(mut self, cursor: Option<ExportCursor>) -> Result<DaysWritten> {
        if let Some(cursor) = cursor {
            self.batch.put_export_cursor(&cursor);
        }
        self.context.write(self.batch, self.as_of)?;
        Ok(self.written)
    }
}
