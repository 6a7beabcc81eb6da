//! Writes rows of one closed day into `counter_history`, each exactly once. The epoch that wrote a row guards it: a
//! store of another epoch does not overwrite it by itself.

use serde::Serialize;

use super::Result;
use super::columns::{column, date, number, unsigned};
use super::connect::Link;
use crate::calendar::Day;
use crate::counter::CounterName;
use crate::export::Row;
use crate::lifecycle::PastDay;

/// Where the users of a day are, in the words of `metadata`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum UsersPlace {
    /// The counter counts no users.
    NoUsers,
    /// In the row.
    Inline,
    /// In `counter_history_users`.
    Table,
    /// `postgres.export_users` is off.
    #[serde(rename = "not exported")]
    NotExported,
    /// The store does not have them any more.
    #[serde(rename = "no longer kept")]
    NotKept,
    /// The counter never resets, so its users belong to no day.
    #[serde(rename = "none of a day")]
    OfNoDay,
    /// The database refuses some of them, so none of them is there.
    Refused,
}

/// A row to be written.
pub(super) struct DayRow {
    pub(super) name: CounterName,
    final_value: i64,
    metadata: String,
    place: UsersPlace,
}

#[derive(Serialize)]
struct Metadata<'a> {
    #[serde(flatten)]
    day: &'a PastDay,
    #[serde(skip_serializing_if = "Option::is_none")]
    users: Option<UsersPlace>,
}

impl DayRow {
    /// Makes the row; `Err` says why it has to be set aside.
    pub(super) fn new(row: &Row, place: UsersPlace) -> Result<Self, String> {
        let content = row.past.content.as_ref();
        let content = content.ok_or("the record in the store cannot be read")?;
        let metadata = Metadata {
            day: &row.past,
            users: (place != UsersPlace::NoUsers).then_some(place),
        };
        Ok(Self {
            name: row.name.clone(),
            final_value: content.record.last,
            metadata: serde_json::to_string(&metadata).map_err(|error| error.to_string())?,
            place,
        })
    }
}

/// The users of a statement's rows.
pub(super) enum RowUsers<'a> {
    /// The statement writes none.
    Nowhere,
    /// They go into the row, which is the only one.
    Inline(&'a [String]),
    /// They are in the table; the row is the only one.
    Table {
        digest: [u8; 16],
        /// Whether they were just copied there.
        copied: bool,
    },
}

/// The outcome of writing a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The row was new, or was made equal.
    Written,
    /// The same row was there already.
    Unchanged,
    /// Another row is there: the epoch that wrote it; `None` when counterd did not write it.
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

/// Writes rows, and deletes the users of a row from the table where they do not belong there any more.
pub(super) async fn write(
    link: &mut Link,
    guard: &Guard,
    rows: &[DayRow],
    users: RowUsers<'_>,
) -> Result<Vec<(CounterName, Fate)>> {
    let (inline, digest, copied) = match users {
        RowUsers::Nowhere => (None, None, false),
        RowUsers::Inline(ids) => (Some(ids), None, false),
        RowUsers::Table { digest, copied } => (None, Some(digest.to_vec()), copied),
    };
    let write = sqlx::query_as::<_, (String, bool, bool, Option<i64>, bool)>(WRITE)
        .bind(column(rows, |row| row.name.as_str()))
        .bind(column(rows, |row| row.final_value))
        .bind(column(rows, |row| row.metadata.as_str()))
        .bind(column(rows, |row| row.place == UsersPlace::NotKept))
        .bind(date(guard.day))
        .bind(number(guard.epoch))
        .bind(guard.replace)
        .bind(inline)
        .bind(digest)
        .bind(copied);
    let (mut fates, mut leave) = (Vec::new(), Vec::new());
    for (name, same, anothers, epoch, keeps) in link.all(write).await? {
        let Some(row) = rows.iter().find(|row| row.name.as_str() == name) else {
            continue;
        };
        let fate = match (same, anothers) {
            (true, _) => Fate::Unchanged,
            (false, true) => Fate::OfAnother(epoch),
            (false, false) => Fate::Written,
        };
        let has_none_there = !matches!(row.place, UsersPlace::NoUsers | UsersPlace::Table);
        if fate == Fate::Written && has_none_there && !keeps {
            // Users that an earlier export put into the table.
            leave.push(row.name.as_str());
        }
        fates.push((row.name.clone(), fate));
    }
    if !leave.is_empty() {
        clear_users(link, guard.day, &leave).await?;
    }
    Ok(fates)
}

/// The database's state of a row whose users are in the table.
pub(super) struct There {
    pub(super) epoch: Option<i64>,
    pub(super) digest: Option<Vec<u8>>,
    pub(super) users: u64,
}

/// Reads the database's state of a row whose users are in the table; `None` where there is no row.
pub(super) async fn there(link: &mut Link, day: Day, name: &CounterName) -> Result<Option<There>> {
    const ASK: &str = "
        SELECT g.epoch, g.users_digest,
          (SELECT count(*) FROM counter_history_users u WHERE u.counter_name = $1 AND u.date = $2)
        FROM counter_history h
        LEFT JOIN counterd_days g ON g.counter_name = $1 AND g.date = $2
        WHERE h.counter_name = $1 AND h.date = $2";
    let ask = sqlx::query_as::<_, (Option<i64>, Option<Vec<u8>>, i64)>(ASK);
    let ask = ask.bind(name.as_str()).bind(date(day));
    let there = |(epoch, digest, users)| There {
        epoch,
        digest,
        users: unsigned(users),
    };
    Ok(link.all(ask).await?.pop().map(there))
}

/// Deletes the users of these counters from the table.
pub(super) async fn clear_users(link: &mut Link, day: Day, names: &[&str]) -> Result<()> {
    // Many millions of rows may take longer than a statement should.
    link.be_patient(true).await?;
    let clear =
        sqlx::query("DELETE FROM counter_history_users WHERE date = $1 AND counter_name = ANY($2)");
    let cleared = link.execute(clear.bind(date(day)).bind(names)).await;
    // Also where it was refused: the transaction may go on without this part.
    let put_back = link.be_patient(false).await;
    cleared.and(put_back)
}
