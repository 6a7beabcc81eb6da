//! Current values: what readers see, into the table `counters`.
//!
//! A row is written when its counter changed, or its day ended, since it was written last. What was
//! written is told by the database itself: each row has the (epoch, revision, period) of its value
//! beside it, and only a later one replaces it.
//!
//! Kept out: when a value that was refused is tried again (`refused`).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chrono::{NaiveDate, NaiveDateTime};
use sqlx::{AssertSqlSafe, SqlSafeStr};

use super::PostgresError;
use super::columns::{date, number, timestamp};
use super::connect::Link;
use super::refused::Refused;
use super::standing::{Turn, begin};
use super::status::ExportStatus;
use crate::counter::{CounterName, Existence, Millis, Seen};
use crate::current_day::CurrentDay;
use crate::seeded::bug;
use crate::writer::{Reading, Round, Table, Through};

/// Rows in one statement.
const ROWS_AT_ONCE: usize = 2000;

/// Known rows are updated and only new ones inserted: an upsert would take a number of the column
/// `id` each time. A row is left alone when what it holds is as late; one that is later than the store
/// itself was written by a copy of it that is further on.
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

/// Rows of one statement, column by column.
#[derive(Clone, Debug, Default)]
struct Rows {
    names: Vec<CounterName>,
    values: Vec<i64>,
    at: Vec<NaiveDateTime>,
    revisions: Vec<i64>,
    periods: Vec<Option<NaiveDate>>,
    kinds: Vec<&'static str>,
    gone: Vec<bool>,
    expires_at: Vec<Option<NaiveDateTime>>,
    /// The last revision of the store.
    latest: i64,
}

/// The state of the database, as far as it is known.
pub(super) struct Values {
    /// The epoch and the values that the database has, except refused ones.
    there: Option<(u64, Through)>,
    refused: Refused,
}

impl Values {
    /// Nothing is known; a round begins every `interval`.
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            there: None,
            refused: Refused::new(interval),
        }
    }

    /// Forgets what is there: everything is compared again.
    pub(super) fn forget(&mut self) {
        self.there = None;
    }

    /// Writes what changed since the last time.
    pub(super) async fn export(
        &mut self,
        link: &mut Link,
        table: &Table,
        day: &CurrentDay,
        status: &ExportStatus,
    ) -> Result<(), PostgresError> {
        let begun = Instant::now();
        let epoch = table.epoch();
        // Out of its place while it works: what is cut off is compared again.
        let there = self.there.take().filter(|(known, _)| *known == epoch);
        let there = there.map(|(_, through)| through);
        // Before anything is read: what changes meanwhile is found the next time.
        let round = Round::begin(table, day, there.as_ref());
        self.write_refused(link, epoch, table, day, &round, status)
            .await?;
        let through = match there {
            Some(there) if there.has(&round) => there,
            there => {
                let (mut names, through) = table.news(there.as_ref(), &round);
                names.retain(|name| !self.refused.waits(name));
                for names in names.chunks(ROWS_AT_ONCE) {
                    let rows = Rows::read(&table.read_many(names), table, day, &round);
                    self.write(link, epoch, rows, status).await?;
                }
                let told = there.as_ref().map(Through::unreadable);
                if told != Some(through.unreadable()) {
                    put_unreadable(link, epoch, through.unreadable()).await?;
                }
                if there.is_none() {
                    put_gone(link, epoch, table).await?;
                }
                through
            }
        };
        self.there = Some((epoch, through));
        let refused = self.refused.told();
        // A row that was refused is of an earlier time: what was said before stays, of then it has
        // everything.
        if refused.is_none()
            && let Some(as_of) = round.as_of
        {
            put_as_of(link, epoch, as_of).await?;
        }
        status.values_are_there(round.revision, begun, refused);
        Ok(())
    }

    /// Writes again what was refused and is due: it may be taken by now.
    async fn write_refused(
        &mut self,
        link: &mut Link,
        epoch: u64,
        table: &Table,
        day: &CurrentDay,
        round: &Round,
        status: &ExportStatus,
    ) -> Result<(), PostgresError> {
        let due = self.refused.begin();
        for names in due.chunks(ROWS_AT_ONCE) {
            if self.refused.is_exhausted() {
                break;
            }
            let readings = table.read_many(names);
            let rows = Rows::read(&readings, table, day, round);
            self.write(link, epoch, rows, status).await?;
            let pairs = || names.iter().zip(&readings);
            let forgotten = pairs().filter(|(_, reading)| reading.is_none());
            let forgotten: Vec<&str> = forgotten.map(|(name, _)| name.as_str()).collect();
            if !forgotten.is_empty() {
                // Its last row was refused, and there is no other to come.
                put_forgotten(link, epoch, &forgotten).await?;
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

    /// Writes the rows; those that the database refuses are left out and told of.
    async fn write(
        &mut self,
        link: &mut Link,
        epoch: u64,
        rows: Rows,
        status: &ExportStatus,
    ) -> Result<(), PostgresError> {
        let mut parts = vec![rows];
        while let Some(rows) = parts.pop() {
            if rows.names.is_empty() {
                continue;
            }
            match transaction(link, epoch, &rows).await {
                Ok(written) => {
                    status.metrics().values.inc_by(written);
                    rows.names.iter().for_each(|name| self.refused.remove(name));
                }
                Err(error) if error.is_of_the_row() => {
                    link.run("ROLLBACK").await?;
                    let exhausted = self.refused.is_exhausted();
                    self.refused.met(&error);
                    match rows.halves() {
                        Ok(halves) if exhausted => {
                            for name in halves.0.names.iter().chain(&halves.1.names) {
                                self.refused.put_off(name);
                            }
                        }
                        Ok((first, second)) => parts.extend([second, first]),
                        Err(single) => {
                            status.metrics().values_refused.inc();
                            for name in &single.names {
                                self.refused.refuse(name, &error);
                            }
                        }
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Rows {
    /// The rows of what was read. The moment and the revision are looked up here, after that.
    fn read(readings: &[Option<Reading>], table: &Table, day: &CurrentDay, round: &Round) -> Self {
        let moment = round.moment(day);
        let mut rows = Self {
            latest: number(table.revision()),
            ..Self::default()
        };
        for reading in readings.iter().flatten() {
            // A counter that cannot be read is not told.
            if let Some(seen) = reading.seen(&moment, day.calendar()) {
                rows.push(reading, &seen);
            }
        }
        rows
    }

    fn push(&mut self, reading: &Reading, seen: &Seen) {
        self.names.push(reading.name.clone());
        self.values.push(seen.value);
        self.at.push(timestamp(seen.last_updated));
        self.revisions.push(number(seen.revision));
        self.periods.push(seen.period.map(date));
        self.kinds.push(reading.definition.kind.as_str());
        self.gone.push(seen.over.is_some());
        self.expires_at
            .push(reading.definition.expires_at.map(timestamp));
    }

    /// The rows in two parts; a single one as it is.
    fn halves(mut self) -> Result<(Self, Self), Box<Self>> {
        let half = self.names.len() / 2;
        if half == 0 {
            return Err(Box::new(self));
        }
        let second = Self {
            names: self.names.split_off(half),
            values: self.values.split_off(half),
            at: self.at.split_off(half),
            revisions: self.revisions.split_off(half),
            periods: self.periods.split_off(half),
            kinds: self.kinds.split_off(half),
            gone: self.gone.split_off(half),
            expires_at: self.expires_at.split_off(half),
            latest: self.latest,
        };
        Ok((self, second))
    }
}

async fn transaction(link: &mut Link, epoch: u64, rows: &Rows) -> Result<u64, PostgresError> {
    begin(link, Turn::Values, epoch).await?;
    let statement = if bug("export_takes_back") {
        AssertSqlSafe(WRITE.replace(" < (", " <> (")).into_sql_str()
    } else {
        WRITE.into_sql_str()
    };
    let names: Vec<&str> = rows.names.iter().map(CounterName::as_str).collect();
    let write = sqlx::query_as::<_, (i64, i64, i64)>(statement)
        .bind(&names)
        .bind(&rows.values)
        .bind(&rows.at)
        .bind(&rows.revisions)
        .bind(&rows.periods)
        .bind(number(epoch))
        .bind(&rows.kinds)
        .bind(&rows.gone)
        .bind(&rows.expires_at)
        .bind(rows.latest);
    let (written, theirs, ahead) = link.one(write).await?;
    if theirs > 0 {
        return Err(PostgresError::LaterEpoch {
            ours: epoch,
            theirs: u64::try_from(theirs).unwrap_or(u64::MAX),
        });
    }
    if ahead > 0 {
        return Err(PostgresError::Ahead {
            ours: u64::try_from(rows.latest).unwrap_or(0),
            theirs: u64::try_from(ahead).unwrap_or(u64::MAX),
        });
    }
    link.commit().await?;
    Ok(u64::try_from(written).unwrap_or(0))
}

/// Marks the rows of counters that cannot be read, and those alone: what they say is not known to be so.
async fn put_unreadable(
    link: &mut Link,
    epoch: u64,
    unreadable: &BTreeSet<CounterName>,
) -> Result<(), PostgresError> {
    const PUT: &str = "
        UPDATE counterd_counters SET unreadable = NOT unreadable
        WHERE unreadable <> (counter_name = ANY($1))";
    begin(link, Turn::Values, epoch).await?;
    let names: Vec<&str> = unreadable.iter().map(CounterName::as_str).collect();
    link.execute(sqlx::query(PUT).bind(&names)).await?;
    link.commit().await
}

/// Marks counters as gone that the store does not know any more.
const GONE: &str =
    "UPDATE counterd_counters SET gone = TRUE WHERE counter_name = ANY($1) AND NOT gone";

/// Marks as gone counters that were forgotten before their last row was taken.
async fn put_forgotten(link: &mut Link, epoch: u64, names: &[&str]) -> Result<(), PostgresError> {
    begin(link, Turn::Values, epoch).await?;
    link.execute(sqlx::query(GONE).bind(names)).await?;
    link.commit().await
}

/// Marks as gone what nobody knows any more: of a history that was given up, or forgotten while nothing
/// was exported.
async fn put_gone(link: &mut Link, epoch: u64, table: &Table) -> Result<(), PostgresError> {
    const THERE: &str = "SELECT counter_name FROM counterd_counters WHERE NOT gone";
    begin(link, Turn::Values, epoch).await?;
    let there = link.all::<(String,)>(sqlx::query_as(THERE)).await?;
    let mut gone: Vec<String> = there.into_iter().map(|(name,)| name).collect();
    gone.retain(|name| table.read(name).is_none());
    for names in gone.chunks(ROWS_AT_ONCE) {
        link.execute(sqlx::query(GONE).bind(names)).await?;
    }
    link.commit().await
}

/// Says as of when the values are there, for who reads them in place of the store.
async fn put_as_of(link: &mut Link, epoch: u64, at: Millis) -> Result<(), PostgresError> {
    begin(link, Turn::Values, epoch).await?;
    let put = sqlx::query("UPDATE counterd_database SET values_as_of = $1 WHERE epoch = $2");
    let put = put.bind(timestamp(at)).bind(number(epoch));
    link.execute(put).await?;
    link.commit().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_lose_no_row() {
        let rows = Rows {
            names: ["a", "b", "c"]
                .map(|name| CounterName::parse(name).unwrap())
                .into(),
            values: vec![1, 2, 3],
            at: vec![NaiveDateTime::default(); 3],
            revisions: vec![1, 2, 3],
            periods: vec![None; 3],
            kinds: vec!["sum"; 3],
            gone: vec![false; 3],
            expires_at: vec![None; 3],
            latest: 9,
        };
        let (first, second) = rows.halves().unwrap();
        assert_eq!((first.names.len(), second.names.len()), (1, 2));
        assert_eq!((first.values, second.values), (vec![1], vec![2, 3]));
    }
}
