//! Reading values and days back, for a server that has no store to read.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::value::RawValue;

use super::columns::date;
use super::connect::Link;
use super::{PostgresError, PostgresOptions, Result};
use crate::calendar::Day;
use crate::counter::{CopiedPage, CopiedValue, CopiedValues, CounterName, Kind, Millis};

/// The columns of a value: times in milliseconds since 1970, days counted from then. An infinite time is NULL, an
/// infinite day is a number that no calendar of ours has. Columns that a later schema added are read through
/// `to_jsonb`, so that an earlier schema, which lacks them, can be read too.
const COLUMNS: &str = "
SELECT c.name, c.current_value,
  CASE WHEN isfinite(c.updated_at) THEN floor(extract(epoch FROM c.updated_at) * 1000)::bigint END,
  g.epoch, g.revision,
  CASE WHEN isfinite(g.period) THEN (g.period - DATE '1970-01-01')::bigint
    WHEN g.period IS NOT NULL THEN 9223372036854775807 END,
  to_jsonb(g) ->> 'kind',
  CASE WHEN isfinite((to_jsonb(g) ->> 'expires_at')::timestamp)
    THEN floor(extract(epoch FROM (to_jsonb(g) ->> 'expires_at')::timestamp) * 1000)::bigint END
FROM ";

/// Leaves out counters that are gone or that the store cannot read; and, once everything of the latest history is
/// there, those of an earlier one.
const KNOWN: &str = "
NOT COALESCE((to_jsonb(g) ->> 'gone')::boolean, FALSE)
AND NOT COALESCE((to_jsonb(g) ->> 'unreadable')::boolean, FALSE)
AND (g.epoch = d.epoch OR to_jsonb(d) ->> 'values_as_of' IS NULL)";

/// Selects the names asked for.
const VALUES: &str = "
UNNEST($1::text[]) n(name) JOIN counters c ON c.name = n.name
  JOIN counterd_counters g ON g.counter_name = n.name COLLATE \"C\" CROSS JOIN counterd_database d
WHERE ";

/// Selects a page by a walk along the index of `counterd_counters`, which is in the order of bytes. Names that no
/// counter can have are left out: in a database without an encoding they may be any bytes.
const PAGE: &str = "
counterd_counters g JOIN counters c ON c.name = g.counter_name COLLATE \"default\"
  CROSS JOIN counterd_database d
WHERE g.counter_name >= $1 AND g.counter_name > $2 AND g.counter_name < $1 || chr(127)
  AND g.counter_name ~ '^[a-z0-9_.:-]+$' AND ";

/// Makes the transaction read-only, and leaves only index walks to the planner: for tables that were never analyzed it
/// would join and sort all rows to answer a page of a few.
const MANNERS: &str = "
SET TRANSACTION READ ONLY; SET LOCAL enable_sort = off; SET LOCAL enable_incremental_sort = off;
SET LOCAL enable_bitmapscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off;
SET LOCAL enable_material = off; SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL jit = off";

/// The most days in one answer.
const MAX_DAYS: i64 = 4000;

/// Reads rows on one connection, which is opened when it is needed.
pub struct PostgresReader {
    options: PostgresOptions,
    link: Option<Link>,
}

type Row = (
    String,
    Option<i64>,
    Option<i64>,
    i64,
    i64,
    Option<i64>,
    Option<String>,
    Option<i64>,
);

impl PostgresReader {
    /// Prepares questions to that database. Each may take `timeout`, connecting too.
    pub fn new(options: PostgresOptions, timeout: Duration) -> Self {
        Self {
            options: PostgresOptions { timeout, ..options },
            link: None,
        }
    }

    /// Closes the connection until the next question.
    pub async fn rest(&mut self) {
        if let Some(link) = self.link.take() {
            link.close().await;
        }
    }

    /// Reads counters, in the order asked.
    ///
    /// # Errors
    /// When the database cannot be asked in time.
    pub async fn values(&mut self, names: &[CounterName]) -> Result<CopiedValues> {
        let wanted: Vec<&str> = names.iter().map(CounterName::as_str).collect();
        let (as_of, rows) = self
            .ask(async |link| {
                let as_of = as_of(link).await?;
                let ask = format!("{COLUMNS}{VALUES}{KNOWN}");
                let ask = sqlx::query_as::<_, Row>(sqlx::AssertSqlSafe(ask)).bind(&wanted);
                Ok((as_of, link.all(ask).await?))
            })
            .await?;
        let found = rows.into_iter().filter_map(|row| copied(row, as_of));
        let mut found: HashMap<CounterName, CopiedValue> =
            found.map(|value| (value.name.clone(), value)).collect();
        let values = names.iter().map(|name| found.remove(name)).collect();
        Ok(CopiedValues { as_of, values })
    }

    /// Reads up to `limit` counters after `cursor` that begin with `prefix`, in the order of names.
    ///
    /// # Errors
    /// When the database cannot be asked in time.
    pub async fn page(
        &mut self,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<CopiedPage> {
        // One row more shows whether there is another page.
        let rows_wanted = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
        let (as_of, mut rows) = self
            .ask(async |link| {
                let as_of = as_of(link).await?;
                let ask = format!("{COLUMNS}{PAGE}{KNOWN} ORDER BY g.counter_name LIMIT $3");
                let ask = sqlx::query_as::<_, Row>(sqlx::AssertSqlSafe(ask));
                let ask = ask.bind(prefix).bind(cursor.unwrap_or(""));
                Ok((as_of, link.all(ask.bind(rows_wanted)).await?))
            })
            .await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        // The next page begins after the last row, whether or not that could be read.
        let next = rows.last().filter(|_| more).map(|row| row.0.clone());
        let values = rows.into_iter().filter_map(|row| copied(row, as_of));
        Ok(CopiedPage {
            as_of,
            values: values.collect(),
            next,
        })
    }

    /// Reads closed days of a counter, newest first, each as a JSON object: the day record, or what else the row
    /// says.
    ///
    /// # Errors
    /// When the database cannot be asked in time.
    pub async fn days(
        &mut self,
        name: &CounterName,
        from: Day,
        to: Day,
    ) -> Result<Vec<Box<RawValue>>> {
        const DAYS: &str = "
            SELECT (CASE WHEN jsonb_typeof(metadata) = 'object' THEN metadata - 'users' ELSE
              jsonb_build_object('date', date, 'closed', TRUE, 'final_value', final_value) END)::text
            FROM counter_history
            WHERE counter_name = $1 AND date BETWEEN $2 AND $3 ORDER BY date DESC LIMIT $4";
        let rows = self.ask(async |link| {
            let ask = sqlx::query_as::<_, (String,)>(DAYS);
            let ask = ask.bind(name.as_str()).bind(date(from)).bind(date(to));
            link.all(ask.bind(MAX_DAYS)).await
        });
        let days = rows.await?.into_iter();
        Ok(days
            .filter_map(|(day,)| RawValue::from_string(day).ok())
            .collect())
    }

    /// Returns whether a store has ever written to this database.
    ///
    /// # Errors
    /// When the database cannot be asked in time.
    pub async fn is_written(&mut self) -> Result<bool> {
        self.ask(async |link| {
            let there = "SELECT to_regclass('counterd_database') IS NOT NULL";
            let (there,): (bool,) = link.one(sqlx::query_as(there)).await?;
            if !there {
                return Ok(false);
            }
            let written = "SELECT EXISTS (SELECT FROM counterd_database WHERE epoch > 0)";
            let (written,): (bool,) = link.one(sqlx::query_as(written)).await?;
            Ok(written)
        })
        .await
    }

    /// Asks on the open connection, or on a new one, within the time that both may take.
    async fn ask<T>(&mut self, question: impl AsyncFnOnce(&mut Link) -> Result<T>) -> Result<T> {
        // Taken out of its place: after a question that is cut off, the state of the connection is unknown.
        let link = self.link.take();
        let limit = self.options.timeout;
        let answered = tokio::time::timeout(limit, async {
            let mut link = match link {
                Some(link) => link,
                None => Link::connect(&self.options).await?,
            };
            link.begin(MANNERS).await?;
            let answer = question(&mut link).await?;
            link.commit().await?;
            Ok((answer, link))
        });
        let (answer, link) = answered.await.unwrap_or(Err(PostgresError::Late(limit)))?;
        self.link = Some(link);
        Ok(answer)
    }
}

/// Reads when the rows last had everything. This must be asked before any row is read.
async fn as_of(link: &mut Link) -> Result<Option<Millis>> {
    const AS_OF: &str = "
        SELECT CASE WHEN isfinite(at) THEN floor(extract(epoch FROM at) * 1000)::bigint END
        FROM (SELECT (to_jsonb(d) ->> 'values_as_of')::timestamp AS at FROM counterd_database d) d";
    let as_of = sqlx::query_as::<_, (Option<i64>,)>(AS_OF);
    let as_of = link.all(as_of).await?.pop();
    Ok(as_of.and_then(|(at,)| at).filter(is_of_a_calendar))
}

/// Returns whether a time lies within the years of our calendar, in every zone.
fn is_of_a_calendar(at: &Millis) -> bool {
    let day_of = at.div_euclid(24 * 60 * 60 * 1000);
    (i64::from(Day::MIN.days()) + 1..i64::from(Day::MAX.days())).contains(&day_of)
}

/// Converts a number of days since 1970; `None` outside our calendar.
fn day_of(days: i64) -> Option<Day> {
    Day::from_days(i32::try_from(days).ok()?).ok()
}

/// Converts a row; `None` when one of its columns holds a value that no counter has.
fn copied(row: Row, as_of: Option<Millis>) -> Option<CopiedValue> {
    let (name, value, updated_at, epoch, revision, period, kind, expires_at) = row;
    let last_updated = updated_at.filter(is_of_a_calendar)?;
    let period = period.map(|days| day_of(days).ok_or(()));
    let period = period.transpose().ok()?;
    Some(CopiedValue {
        name: CounterName::parse(&name).ok()?,
        value: value?,
        kind: kind.as_deref().and_then(Kind::of_word),
        period,
        revision: u64::try_from(revision).ok()?,
        epoch: u64::try_from(epoch).ok()?,
        last_updated,
        expires_at,
        as_of: as_of.unwrap_or(last_updated).max(last_updated),
    })
}
