//! Writes current values, as readers see them, into the table `counters`.
//!
//! A row is written when its counter changed, or its day ended, since it was written last. The database itself says what
//! was written: each row has the (epoch, revision, period) of its value beside it, and only a later value replaces it.
//!
//! Kept out: when a value that was refused is tried again (`refused`).

use std::time::Instant;

use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Postgres, SqlSafeStr};

use super::Result;
use super::columns::{column, date, halves, number, timestamp, unsigned};
use super::connect::Link;
use super::refused::RefusedValues;
use super::standing::{ExportContext, VALUES_LOCK, begin};
use crate::counter::{CounterName, Existence, Seen};
use crate::rounds::RoundStatus;
use crate::seeded::bug;
use crate::storage::CopyConflict;
use crate::writer::{Reading, Round, Running, Through};

/// Rows in one statement.
const ROWS_AT_ONCE: usize = 2000;

/// Writes rows. Known rows are updated and only new ones inserted: an upsert would take a number of the column `id` each
/// time. A row stays as it is when it holds a value as late. A row that is later than the store itself was written by a
/// copy of the store that is further on.
const WRITE: &str = "
WITH new AS (
  SELECT * FROM UNNEST($1::text[], $2::bigint[], $3::timestamp[], $4::bigint[], $5::date[], $7::text[],
    $8::boolean[], $9::timestamp[])
    AS n(name, value, at, revision, period, kind, gone, expires_at)
), old AS (
  SELECT n.*, c.id, g.counter_name AS guard, g.epoch,
    g.counter_name IS NULL
      OR (g.epoch, g.revision, COALESCE(g.period, '-infinity'))
       < ($6, n.revision, COALESCE(n.period, '-infinity')) AS later,
    g.epoch = $6 AND g.revision > $10 AS ahead,
    (g.epoch, g.revision, COALESCE(g.period, '-infinity'))
      = ($6, n.revision, COALESCE(n.period, '-infinity')) AS same,
    g.kind IS NULL OR g.gone <> n.gone OR g.unreadable OR g.expires_at IS DISTINCT FROM n.expires_at AS told_anew,
    (g.epoch, g.revision) = ($6, n.revision) AND n.gone AND NOT g.gone AS ends
  FROM new n
  LEFT JOIN counters c ON c.name = n.name
  LEFT JOIN counterd_counters g ON g.counter_name = n.name
), updated AS (
  UPDATE counters c SET current_value = o.value, updated_at = o.at
  FROM old o WHERE c.id = o.id AND o.later RETURNING 1
), inserted AS (
  INSERT INTO counters (name, current_value, created_at, updated_at)
  SELECT o.name, o.value, now() AT TIME ZONE 'UTC', o.at
  FROM old o WHERE o.id IS NULL AND (o.later OR o.same) ORDER BY o.name RETURNING 1
), moved AS (
  UPDATE counterd_counters g
  SET epoch = $6, revision = o.revision, period = CASE WHEN o.ends THEN GREATEST(g.period, o.period) ELSE o.period END,
    kind = o.kind, gone = o.gone, expires_at = o.expires_at, unreadable = FALSE
  FROM old o WHERE g.counter_name = o.guard AND (o.later OR o.same AND o.told_anew OR o.ends)
), begun AS (
  INSERT INTO counterd_counters (counter_name, epoch, revision, period, kind, gone, expires_at)
  SELECT o.name, $6, o.revision, o.period, o.kind, o.gone, o.expires_at FROM old o WHERE o.guard IS NULL
)
SELECT (SELECT count(*) FROM updated) + (SELECT count(*) FROM inserted),
  COALESCE((SELECT max(o.epoch) FROM old o WHERE o.epoch > $6), 0),
  COALESCE((SELECT max(g.revision) FROM old o JOIN counterd_counters g ON g.counter_name = o.guard WHERE o.ahead), 0)";

/// Says when the database last had everything, for those who read it in place of the store.
const AS_OF: &str = "UPDATE counterd_database SET values_as_of = $1 WHERE epoch = $2";

/// Marks the rows of counters that cannot be read, and no others: what they say may be wrong.
const UNREADABLE: &str = "
UPDATE counterd_counters SET unreadable = NOT unreadable WHERE unreadable <> (counter_name = ANY($1))";

/// Marks counters as gone that the store does not know any more.
const GONE: &str =
    "UPDATE counterd_counters SET gone = TRUE WHERE counter_name = ANY($1) AND NOT gone";

/// A counter, and what it says at the moment of the round.
type ValueRow = (Reading, Seen);

/// What is known of the current values in the database.
pub(super) struct CurrentValues {
    context: ExportContext,
    /// The epoch and the values that the database has, except refused ones.
    there: Option<(u64, Through)>,
    refused: RefusedValues,
    /// When the last round began; `None` before the first.
    begun: Option<Instant>,
}

impl CurrentValues {
    /// Begins without knowing what the database has.
    pub(super) fn new(context: ExportContext) -> Self {
        Self {
            there: None,
            refused: RefusedValues::new(context.options.interval),
            begun: None,
            context,
        }
    }

    /// Forgets what the database has: everything is compared again.
    pub(super) fn forget(&mut self) {
        self.there = None;
    }

    /// Returns whether the next round is due.
    pub(super) fn are_due(&self) -> bool {
        let interval = self.context.options.interval;
        self.begun.is_none_or(|begun| begun.elapsed() >= interval)
    }

    /// Writes what changed since the last round.
    pub(super) async fn export(&mut self, link: &mut Link, status: &RoundStatus) -> Result<()> {
        let begun = *self.begun.insert(Instant::now());
        let Running { table, day, .. } = self.context.running.clone();
        let epoch = table.epoch();
        // Taken out of its place: after a round that is cut off, everything is compared again.
        let there = self.there.take().filter(|(known, _)| *known == epoch);
        let there = there.map(|(_, through)| through);
        // Before anything is read: the next round finds what changes meanwhile.
        let round = Round::begin(&table, &day, there.as_ref());
        self.write_refused(link, &round).await?;
        let through = match there {
            Some(there) if there.has(&round) => there,
            there => {
                let (mut names, through) = table.news(there.as_ref(), &round);
                names.retain(|name| !self.refused.waits(name));
                for names in names.chunks(ROWS_AT_ONCE) {
                    let rows = self.rows(&table.read_many(names), &round);
                    self.write(link, rows).await?;
                }
                let told = there.as_ref().map(Through::unreadable);
                if told != Some(through.unreadable()) {
                    let names = through.unreadable().iter().map(CounterName::as_str);
                    let put = sqlx::query(UNREADABLE).bind(names.collect::<Vec<_>>());
                    self.put(link, put).await?;
                }
                if there.is_none() {
                    self.put_gone(link).await?;
                }
                through
            }
        };
        self.there = Some((epoch, through));
        let refused = self.refused.told();
        // A row that was refused is of an earlier time, so the time that the database tells stays.
        if refused.is_none()
            && let Some(as_of) = round.as_of
        {
            let put = sqlx::query(AS_OF).bind(timestamp(as_of));
            self.put(link, put.bind(number(epoch))).await?;
        }
        status.is_there(round.revision, begun, refused);
        Ok(())
    }

    /// Writes again what was refused and is due: the database may take it by now.
    async fn write_refused(&mut self, link: &mut Link, round: &Round) -> Result<()> {
        let due = self.refused.begin();
        for names in due.chunks(ROWS_AT_ONCE) {
            if self.refused.is_exhausted() {
                break;
            }
            let readings = self.context.running.table.read_many(names);
            let rows = self.rows(&readings, round);
            self.write(link, rows).await?;
            let pairs = || names.iter().zip(&readings);
            let forgotten = pairs().filter(|(_, reading)| reading.is_none());
            let forgotten: Vec<&str> = forgotten.map(|(name, _)| name.as_str()).collect();
            if !forgotten.is_empty() {
                // The last row of these was refused, and no other row of them follows.
                let gone = sqlx::query(GONE).bind(forgotten);
                self.put(link, gone).await?;
            }
            for (name, reading) in pairs() {
                let corrupt = |reading: &Reading| reading.existence == Existence::Corrupt;
                if reading.as_ref().is_none_or(corrupt) {
                    self.refused.remove(name);
                }
            }
        }
        Ok(())
    }

    /// Makes the rows of what was read, without the counters that cannot be read: of them nothing is told. The moment
    /// is looked up here, after the reading.
    fn rows(&self, readings: &[Option<Reading>], round: &Round) -> Vec<ValueRow> {
        let day = &self.context.running.day;
        let moment = round.moment(day);
        let row = |read: &Reading| Some((read.clone(), read.seen(&moment, day.calendar())?));
        readings.iter().flatten().filter_map(row).collect()
    }

    /// Writes the rows; those that the database refuses wait for another round.
    async fn write(&mut self, link: &mut Link, rows: Vec<ValueRow>) -> Result<()> {
        let mut parts = vec![rows];
        while let Some(rows) = parts.pop() {
            if rows.is_empty() {
                continue;
            }
            match self.transaction(link, &rows).await {
                Ok(written) => {
                    self.context.metrics.export.values.inc_by(written);
                    for (read, _) in &rows {
                        self.refused.remove(&read.name);
                    }
                }
                Err(error) if error.is_of_the_row() => {
                    link.run("ROLLBACK").await?;
                    let exhausted = self.refused.is_exhausted();
                    self.refused.met(&error);
                    match halves(rows) {
                        Ok(halves) if exhausted => {
                            for (read, _) in halves.iter().flatten() {
                                self.refused.put_off(&read.name);
                            }
                        }
                        Ok([first, second]) => parts.extend([second, first]),
                        Err(single) => {
                            self.context.metrics.export.values_refused.inc();
                            if let Some((read, _)) = single {
                                self.refused.refuse(&read.name, &error);
                            }
                        }
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn transaction(&self, link: &mut Link, rows: &[ValueRow]) -> Result<u64> {
        let table = &self.context.running.table;
        let (epoch, latest) = (table.epoch(), table.revision());
        begin(link, VALUES_LOCK, epoch).await?;
        let statement = if bug("export_takes_back") {
            AssertSqlSafe(WRITE.replace(" < (", " <> (")).into_sql_str()
        } else {
            WRITE.into_sql_str()
        };
        let write = sqlx::query_as::<_, (i64, i64, i64)>(statement)
            .bind(column(rows, |(read, _)| read.name.as_str()))
            .bind(column(rows, |(_, seen)| seen.value))
            .bind(column(rows, |(_, seen)| timestamp(seen.last_updated)))
            .bind(column(rows, |(_, seen)| number(seen.revision)))
            .bind(column(rows, |(_, seen)| seen.period.map(date)))
            .bind(number(epoch))
            .bind(column(rows, |(read, _)| read.definition.kind.as_str()))
            .bind(column(rows, |(_, seen)| seen.over.is_some()))
            .bind(column(rows, |(read, _)| {
                read.definition.expires_at.map(timestamp)
            }))
            .bind(number(latest));
        let (written, later, ahead) = link.one(write).await?;
        CopyConflict::no_later(epoch, unsigned(later))?;
        if ahead > 0 {
            let (ours, theirs) = (latest, unsigned(ahead));
            return Err(CopyConflict::Ahead { ours, theirs }.into());
        }
        link.commit().await?;
        Ok(unsigned(written))
    }

    /// Runs one statement on the current values in a transaction of its own.
    async fn put(&self, link: &mut Link, put: Query<'_, Postgres, PgArguments>) -> Result<()> {
        begin(link, VALUES_LOCK, self.context.running.epoch()).await?;
        link.execute(put).await?;
        link.commit().await
    }

    /// Marks the counters as gone that the store does not know: those of a history that was given up, and those that
    /// were forgotten while nothing was exported.
    async fn put_gone(&self, link: &mut Link) -> Result<()> {
        const THERE: &str = "SELECT counter_name FROM counterd_counters WHERE NOT gone";
        let table = &self.context.running.table;
        begin(link, VALUES_LOCK, table.epoch()).await?;
        let there = link.all::<(String,)>(sqlx::query_as(THERE)).await?;
        let mut gone: Vec<String> = there.into_iter().map(|(name,)| name).collect();
        gone.retain(|name| table.read(name).is_none());
        for names in gone.chunks(ROWS_AT_ONCE) {
            link.execute(sqlx::query(GONE).bind(names)).await?;
        }
        link.commit().await
    }
}
