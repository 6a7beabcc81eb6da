//! Writes rows of one closed day into `counter_history`, each exactly once. A row is guarded by the epoch that
//! wrote it.

use chrono::NaiveDate;
use serde::Serialize;

use super::PostgresError;
use super::columns::{date, number, unsigned};
use super::connect::Link;
use super::users::Crowd;
use crate::calendar::Day;
use crate::counter::CounterName;
use crate::lifecycle::DayView;

/// Where the users of a day are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UsersPlace {
    /// The counter counts no users.
    NoUsers,
    /// In the row.
    Inline,
    /// In `counter_history_users`.
    Table,
    /// `postgres.export_users` is off.
    NotExported,
    /// The store does not have them any more.
    NotKept,
    /// The counter never resets, so its users belong to no day.
    OfNoDay,
    /// The database refuses some of them, so none of them is there.
    Refused,
}

impl UsersPlace {
    /// The word in `metadata`; `None` for a counter without users.
    const fn as_str(self) -> Option<&'static str> {
        match self {
            Self::NoUsers => None,
            Self::Inline => Some("inline"),
            Self::Table => Some("table"),
            Self::NotExported => Some("not exported"),
            Self::NotKept => Some("no longer kept"),
            Self::OfNoDay => Some("none of a day"),
            Self::Refused => Some("refused"),
        }
    }
}

/// A row to be written.
pub(super) struct DayRow {
    pub(super) name: CounterName,
    pub(super) final_value: i64,
    pub(super) metadata: String,
    pub(super) place: UsersPlace,
}

#[derive(Serialize)]
struct Metadata {
    #[serde(flatten)]
    day: DayView,
    #[serde(skip_serializing_if = "Option::is_none")]
    users: Option<&'static str>,
}

impl DayRow {
    pub(super) fn new(
        name: CounterName,
        final_value: i64,
        day: DayView,
        place: UsersPlace,
    ) -> Result<Self, serde_json::Error> {
        let users = place.as_str();
        Ok(Self {
            name,
            final_value,
            metadata: serde_json::to_string(&Metadata { day, users })?,
            place,
        })
    }
}

/// The outcome of writing a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The row was new, or was made equal.
    Written,
    /// The same row was there already.
    Unchanged,
    /// Another row is there, which this epoch wrote; `None` when counterd did not write it.
    OfAnother(Option<i64>),
}

/// The day, the epoch and the rule that all rows of a statement share.
pub(super) struct Guard {
    pub(super) day: Day,
    pub(super) epoch: u64,
    /// Whether rows of another epoch are replaced.
    pub(super) replace: bool,
}

/// The columns of the rows: $1 name, $2 final value, $3 metadata, $4 whether the store no longer has the users.
/// For all rows: $5 date, $6 epoch, $7 replace, $8 users in the row, $9 digest of the users in the table, $10
/// whether those were just copied.
///
/// Users that the store no longer has stay in the database, if their row is of the same epoch or has the same final
/// value.
const WRITE: &str = "
WITH new AS (
  SELECT n.name, n.final_value, n.metadata::jsonb AS metadata, n.not_kept
  FROM UNNEST($1::text[], $2::bigint[], $3::text[], $4::boolean[])
    AS n(name, final_value, metadata, not_kept)
), old AS (
  SELECT n.*, h.id, g.epoch, COALESCE(n.not_kept AND (g.epoch = $6 OR h.final_value = n.final_value), FALSE) AS keeps,
    h.metadata -> 'users' AS users_before,
    h.id IS NOT NULL AND h.final_value = n.final_value AND NOT $10 AND CASE
      WHEN n.not_kept
        THEN h.metadata - 'users' IS NOT DISTINCT FROM n.metadata - 'users'
      ELSE h.metadata IS NOT DISTINCT FROM n.metadata
        AND h.unique_users IS NOT DISTINCT FROM $8::text[]
        AND g.users_digest IS NOT DISTINCT FROM $9
    END AS same
  FROM new n
  LEFT JOIN counter_history h ON h.counter_name = n.name AND h.date = $5
  LEFT JOIN counterd_days g ON g.counter_name = n.name AND g.date = $5
), judged AS (
  SELECT o.*, o.id IS NOT NULL AND NOT o.same AND NOT $7 AND o.epoch IS DISTINCT FROM $6 AS anothers
  FROM old o
), updated AS (
  UPDATE counter_history h SET final_value = o.final_value,
    unique_users = CASE WHEN o.keeps THEN h.unique_users ELSE $8::text[] END,
    metadata = CASE WHEN o.keeps AND o.users_before IS NOT NULL
      THEN o.metadata || jsonb_build_object('users', o.users_before) ELSE o.metadata END
  FROM judged o WHERE h.id = o.id AND NOT o.same AND NOT o.anothers
), inserted AS (
  INSERT INTO counter_history (counter_name, date, final_value, unique_users, metadata, created_at)
  SELECT o.name, $5, o.final_value, $8::text[], o.metadata, now() AT TIME ZONE 'UTC'
  FROM judged o WHERE o.id IS NULL ORDER BY o.name
), guarded AS (
  INSERT INTO counterd_days AS g (counter_name, date, epoch, users_digest)
  SELECT o.name, $5, $6, $9 FROM judged o WHERE NOT o.anothers AND (NOT o.same OR $7)
  ON CONFLICT (counter_name, date) DO UPDATE SET epoch = EXCLUDED.epoch, users_digest =
    CASE WHEN (SELECT bool_or(o.keeps) FROM judged o WHERE o.name = g.counter_name)
      THEN g.users_digest ELSE EXCLUDED.users_digest END
)
SELECT o.name, o.same, o.anothers, o.epoch, o.keeps FROM judged o";

/// Writes rows whose users are not in the table of users. `users` go into the row, which must be the only one.
pub(super) async fn write(
    link: &mut Link,
    guard: &Guard,
    rows: &[DayRow],
    users: Option<&[String]>,
) -> Result<Vec<(CounterName, Fate)>, PostgresError> {
    let written = statement(link, guard, rows, users, None, false).await?;
    // Users that an earlier export put into the table.
    let leave: Vec<&str> = rows
        .iter()
        .filter(|row| row.place != UsersPlace::NoUsers)
        .filter(|row| {
            written
                .iter()
                .any(|(name, fate, keeps)| *name == row.name && *fate == Fate::Written && !keeps)
        })
        .map(|row| row.name.as_str())
        .collect();
    if !leave.is_empty() {
        clear_users(link, guard.day, &leave).await?;
    }
    let fates = written.into_iter().map(|(name, fate, _)| (name, fate));
    Ok(fates.collect())
}

/// Writes the row whose users are in the table, with that digest.
pub(super) async fn write_with_crowd(
    link: &mut Link,
    guard: &Guard,
    row: &DayRow,
    crowd: &Crowd,
    copied: bool,
) -> Result<Fate, PostgresError> {
    let rows = std::slice::from_ref(row);
    let written = statement(link, guard, rows, None, Some(crowd.digest), copied).await?;
    let fate = written.into_iter().next().map(|(_, fate, _)| fate);
    fate.ok_or_else(|| PostgresError::Lost("a row without an answer".to_owned()))
}

async fn statement(
    link: &mut Link,
    guard: &Guard,
    rows: &[DayRow],
    users: Option<&[String]>,
    digest: Option<[u8; 16]>,
    copied: bool,
) -> Result<Vec<(CounterName, Fate, bool)>, PostgresError> {
    let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    let values: Vec<i64> = rows.iter().map(|row| row.final_value).collect();
    let metadata: Vec<&str> = rows.iter().map(|row| row.metadata.as_str()).collect();
    let not_kept: Vec<bool> = rows
        .iter()
        .map(|row| row.place == UsersPlace::NotKept)
        .collect();
    let write = sqlx::query_as::<_, (String, bool, bool, Option<i64>, bool)>(WRITE)
        .bind(names)
        .bind(values)
        .bind(metadata)
        .bind(not_kept)
        .bind(date(guard.day))
        .bind(number(guard.epoch))
        .bind(guard.replace)
        .bind(users)
        .bind(digest.map(|digest| digest.to_vec()))
        .bind(copied);
    let judged = link.all(write).await?;
    let fates = judged
        .into_iter()
        .filter_map(|(name, same, anothers, epoch, keeps)| {
            let fate = match (same, anothers) {
                (true, _) => Fate::Unchanged,
                (false, true) => Fate::OfAnother(epoch),
                (false, false) => Fate::Written,
            };
            Some((CounterName::parse(&name).ok()?, fate, keeps))
        });
    Ok(fates.collect())
}

/// The database's state of a row whose users are in the table.
pub(super) struct There {
    /// Whether the row exists.
    pub(super) row: bool,
    pub(super) epoch: Option<i64>,
    pub(super) digest: Option<Vec<u8>>,
    pub(super) users: u64,
}

/// Reads the database's state of a row whose users are in the table.
pub(super) async fn there(
    link: &mut Link,
    day: Day,
    name: &CounterName,
) -> Result<There, PostgresError> {
    const ASK: &str = "
        SELECT h.id IS NOT NULL, g.epoch, g.users_digest,
          (SELECT count(*) FROM counter_history_users u WHERE u.counter_name = $1 AND u.date = $2)
        FROM (SELECT) AS one
        LEFT JOIN counter_history h ON h.counter_name = $1 AND h.date = $2
        LEFT JOIN counterd_days g ON g.counter_name = $1 AND g.date = $2";
    let ask = sqlx::query_as::<_, (bool, Option<i64>, Option<Vec<u8>>, i64)>(ASK)
        .bind(name.as_str())
        .bind::<NaiveDate>(date(day));
    let (row, epoch, digest, users) = link.one(ask).await?;
    Ok(There {
        row,
        epoch,
        digest,
        users: unsigned(users),
    })
}

/// How long a statement over a whole table may take.
pub(super) const LONG_PATIENCE: std::time::Duration = std::time::Duration::from_secs(3600);

/// Deletes the users of these counters from the table.
pub(super) async fn clear_users(
    link: &mut Link,
    day: Day,
    names: &[&str],
) -> Result<(), PostgresError> {
    // Many millions of rows may take longer than a statement should.
    link.be_patient(true).await?;
    let clear =
        sqlx::query("DELETE FROM counter_history_users WHERE date = $1 AND counter_name = ANY($2)");
    let clear = clear.bind(date(day)).bind(names);
    link.execute_within(LONG_PATIENCE, clear).await?;
    link.be_patient(false).await
}
