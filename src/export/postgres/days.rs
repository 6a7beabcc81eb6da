//! Writes closed days in steps of one transaction each, and sets rows aside that the database refuses.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::PostgresError;
use super::columns::{halves, number};
use super::connect::Link;
use super::context::ExportContext;
use super::day::{self, DayRow, Fate, Guard, RowUsers, UsersPlace};
use super::schema::open;
use super::standing::{DAYS_LOCK, begin};
use super::users::{self, Crowd, ExportProgress};
use crate::background::runtime;
use crate::calendar::Day;
use crate::counter::{CounterName, Kind, Reset};
use crate::export::{Row, RowPages, Selection};
use crate::lifecycle::kept_days;
use crate::storage::expiry::Daily;
use crate::storage::{Aside, Batch, ExportCursor, Reader, Tables};

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

    fn add(&mut self, more: Self) {
        self.written += more.written;
        self.unchanged += more.unchanged;
        self.set_aside += more.set_aside;
        self.users += more.users;
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
    ) -> Result<DaysWritten, PostgresError> {
        let Some((first, last)) = kept_days(&self.running.reader, &self.running.horizons)? else {
            return Ok(DaysWritten::default());
        };
        let selection = Selection {
            from: selection.from.max(first),
            to: selection.to.min(last),
            ..selection.clone()
        };
        let total = self.size(&selection)?;
        let runtime = runtime()?;
        let progress = ExportProgress::default();
        let done = runtime.block_on(async {
            let mut work = std::pin::pin!(self.export_all(&selection, replace, &progress));
            loop {
                tokio::select! {
                    done = &mut work => return done,
                    () = tokio::time::sleep(TELL_EVERY) => {
                        tell(progress.get().min(total), total)?;
                    }
                }
            }
        });
        // A look-up of a name that hangs is not waited for.
        runtime.shutdown_background();
        done
    }

    async fn export_all(
        &self,
        selection: &Selection,
        replace: bool,
        progress: &ExportProgress,
    ) -> Result<DaysWritten, PostgresError> {
        let mut link = open(&self.options).await?;
        let epoch = self.running.epoch();
        let stored = self.running.reader.with(Tables::export_cursor)?;
        self.claim(&mut link, stored).await?;
        let mut total = DaysWritten::default();
        let mut day = selection.from;
        while day <= selection.to {
            let guard = Guard {
                day,
                epoch,
                replace,
            };
            let counter = selection.counter.clone();
            let mut work = DayWork::new(self, guard, counter, progress.clone())?;
            while work.step(&mut link).await? {}
            total.add(work.finish(None)?);
            day = day.next();
        }
        link.close().await;
        Ok(total)
    }

    /// Returns how many rows and users there are to compare.
    fn size(&self, selection: &Selection) -> Result<u64, PostgresError> {
        let mut pages = RowPages::new(selection.clone());
        let mut size = 0;
        while let Some(rows) = pages.next(&self.running)? {
            for row in rows {
                let users = match (self.place(&row), &row.past.content) {
                    (UsersPlace::Inline | UsersPlace::Table, Some(content)) => content.record.last,
                    _ => 0,
                };
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
            (Kind::Gauge | Kind::Sum, _) => UsersPlace::NoUsers,
            (Kind::Unique, Reset::Never) => UsersPlace::OfNoDay,
            (Kind::Unique, Reset::Daily) if !self.options.export_users => UsersPlace::NotExported,
            (Kind::Unique, Reset::Daily) if self.users_are_gone(row.past.day) => {
                UsersPlace::NotKept
            }
            (Kind::Unique, Reset::Daily) => UsersPlace::Table,
        }
    }

    fn users_are_gone(&self, day: Day) -> bool {
        day.days() < self.running.horizons.day(Daily::Dedup)
    }
}

/// A day on its way into the database.
pub(super) struct DayWork<'a> {
    context: &'a ExportContext,
    guard: Guard,
    pages: RowPages,
    /// Rows with users, which are written one by one.
    waiting: VecDeque<Row>,
    /// Rows of the day that were set aside before.
    aside_before: BTreeSet<CounterName>,
    /// Rows that are set aside now.
    aside: Vec<Aside>,
    /// Rows that were set aside before and are not any more.
    taken: Vec<CounterName>,
    written: DaysWritten,
    progress: ExportProgress,
}

/// What became of a row; `Err` where the database refused it.
type RowFate = (CounterName, Result<Fate, PostgresError>);

impl<'a> DayWork<'a> {
    /// Prepares a day, or one counter of it.
    pub(super) fn new(
        context: &'a ExportContext,
        guard: Guard,
        counter: Option<CounterName>,
        progress: ExportProgress,
    ) -> Result<Self, PostgresError> {
        let reader = &context.running.reader;
        let before = reader.with(|tables| tables.set_aside(Some(guard.day)))?;
        Ok(Self {
            context,
            pages: RowPages::new(Selection {
                from: guard.day,
                to: guard.day,
                counter,
                include_open: false,
            }),
            guard,
            waiting: VecDeque::new(),
            aside_before: before.into_iter().map(|aside| aside.counter).collect(),
            aside: Vec::new(),
            taken: Vec::new(),
            written: DaysWritten::default(),
            progress,
        })
    }

    /// Does the next transaction; returns whether there was one to do.
    pub(super) async fn step(&mut self, link: &mut Link) -> Result<bool, PostgresError> {
        if let Some(row) = self.waiting.front().cloned() {
            self.with_users(link, &row).await?;
            self.waiting.pop_front();
            return Ok(true);
        }
        let Some(page) = self.pages.next(&self.context.running)? else {
            return Ok(false);
        };
        self.progress.add(page.len());
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
    async fn rows(
        &self,
        link: &mut Link,
        rows: Vec<DayRow>,
    ) -> Result<Vec<RowFate>, PostgresError> {
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
    async fn with_users(&mut self, link: &mut Link, row: &Row) -> Result<(), PostgresError> {
        let context = self.context;
        let most = context.options.unique_users_inline;
        let inline = in_a_row(row, &context.running.reader, most).await?;
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
                self.progress.add(users.len());
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
    async fn write(
        &self,
        link: &mut Link,
        row: &DayRow,
        users: RowUsers<'_>,
    ) -> Result<Fate, PostgresError> {
        let rows = std::slice::from_ref(row);
        let fates = day::write(link, &self.guard, rows, users).await?;
        let no_answer = || PostgresError::Lost("a row without an answer".to_owned());
        let (_, fate) = fates.into_iter().next().ok_or_else(no_answer)?;
        Ok(fate)
    }

    /// Counts the users in the store; `None` where the database has no row to compare them with.
    async fn known(&self, link: &mut Link, row: &Row) -> Result<Option<Crowd>, PostgresError> {
        link.begin("").await?;
        let there = day::there(link, self.guard.day, &row.name).await?;
        link.commit().await?;
        let reader = &self.context.running.reader;
        match row.users().filter(|_| there.row) {
            Some(users) => Ok(Some(users::counted(users, reader, &self.progress).await?)),
            None => Ok(None),
        }
    }

    /// Writes the row with its users in the table, within the transaction.
    async fn table(
        &self,
        link: &mut Link,
        source: &Row,
        row: &DayRow,
        known: Option<Crowd>,
    ) -> Result<(Fate, u64), PostgresError> {
        let Guard {
            day,
            epoch,
            replace,
        } = self.guard;
        let there = day::there(link, day, &source.name).await?;
        let digest = known.filter(|known| there.row && there.users == known.count);
        let digest = digest.map(|known| known.digest());
        if let Some(digest) = digest.filter(|digest| there.digest.as_deref() == Some(&digest[..])) {
            let copied = false;
            let users = RowUsers::Table { digest, copied };
            return Ok((self.write(link, row, users).await?, 0));
        }
        if there.row && there.epoch != Some(number(epoch)) && !replace {
            return Ok((Fate::OfAnother(there.epoch), 0));
        }
        let Some(users) = source.users() else {
            return Ok((Fate::Unchanged, 0));
        };
        day::clear_users(link, day, &[source.name.as_str()]).await?;
        let reader = &self.context.running.reader;
        let crowd = users::copy(link, &source.name, day, users, reader, &self.progress).await?;
        let users = RowUsers::Table {
            digest: crowd.digest(),
            copied: true,
        };
        Ok((self.write(link, row, users).await?, crowd.count))
    }

    fn judge(&mut self, name: CounterName, fate: Result<Fate, PostgresError>, users: u64) {
        let reason = match fate {
            Ok(fate @ (Fate::Written | Fate::Unchanged)) => {
                if fate == Fate::Written {
                    self.written.written += 1;
                    self.written.users += users;
                } else {
                    self.written.unchanged += 1;
                }
                if self.aside_before.remove(&name) {
                    self.taken.push(name);
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
        if (self.aside.len() as u64) < MOST_ASIDE {
            self.aside.push(Aside {
                day,
                counter,
                reason,
            });
        }
    }

    /// Stores what was set aside, and with it how far the export is.
    pub(super) fn finish(self, cursor: Option<ExportCursor>) -> Result<DaysWritten, PostgresError> {
        let mut batch = Batch::new();
        for name in &self.taken {
            batch.delete_aside(self.guard.day, name);
        }
        if !self.aside.is_empty() {
            let reader = &self.context.running.reader;
            let known = reader.with(|tables| tables.set_aside(None))?.len() as u64;
            let room = MOST_ASIDE.saturating_sub(known);
            for (number, aside) in (0..).zip(&self.aside) {
                if number < room || self.aside_before.contains(&aside.counter) {
                    batch.put_aside(aside);
                }
            }
        }
        if let Some(cursor) = cursor {
            batch.put_export_cursor(&cursor);
        }
        let metrics = &self.context.metrics.export;
        metrics.days.inc_by(self.written.written);
        metrics.users.inc_by(self.written.users);
        self.context.write(batch)?;
        Ok(self.written)
    }
}

/// Reads the users of a row; `None` where there are more than fit into the row.
async fn in_a_row(
    row: &Row,
    reader: &Reader,
    most: u64,
) -> Result<Option<Vec<String>>, PostgresError> {
    let mut all = Vec::new();
    let Some(mut users) = row.users() else {
        return Ok(Some(all));
    };
    while let Some(page) = users.next(reader)? {
        if all.len() as u64 + page.len() as u64 > most {
            return Ok(None);
        }
        all.extend(page);
        tokio::task::yield_now().await;
    }
    Ok(Some(all))
}
