//! What the database says of itself: which one it is, how far it has got, and which store wrote it.

use chrono::NaiveDate;

use super::PostgresError;
use super::columns::{date, day, number};
use super::connect::Link;
use crate::calendar::Day;

/// What is written under which advisory lock: two that write the same wait for each other, so that
/// what a cut connection left behind is over before it is written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Current values.
    Values,
    /// Closed days.
    Days,
}

impl Turn {
    /// The first number is `coun` in ASCII.
    const fn lock(self) -> &'static str {
        match self {
            Self::Values => "SELECT pg_advisory_xact_lock(1668248942, 1)",
            Self::Days => "SELECT pg_advisory_xact_lock(1668248942, 2)",
        }
    }
}

/// What the database says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// Which database it is.
    pub(super) identity: u128,
    /// The last day that is there whole.
    pub(super) through: Option<Day>,
    /// Whether there is any current value.
    pub(super) has_values: bool,
    /// Whether there is any closed day.
    pub(super) has_days: bool,
}

/// Asks, and says that a store of this epoch writes from now on.
pub(super) async fn look(link: &mut Link, epoch: u64) -> Result<Standing, PostgresError> {
    const ASK: &str = "
        SELECT identity::text, epoch, exported_through,
          EXISTS (SELECT FROM counters), EXISTS (SELECT FROM counter_history)
        FROM counterd_database";
    link.begin("").await?;
    let mut asked = 0;
    let (identity, theirs, through, has_values, has_days) = loop {
        let ask = sqlx::query_as::<_, (String, i64, Option<NaiveDate>, bool, bool)>(ASK);
        if let Some(row) = link.first(ask).await? {
            break row;
        }
        asked += 1;
        if asked > 1 {
            return Err(PostgresError::Schema(
                "counterd_database is empty".to_owned(),
            ));
        }
        // Emptied by somebody: another database from now on.
        let begin =
            sqlx::query("INSERT INTO counterd_database DEFAULT VALUES ON CONFLICT DO NOTHING");
        link.execute(begin).await?;
    };
    let theirs = u64::try_from(theirs).unwrap_or(0);
    if theirs > epoch {
        return Err(PostgresError::LaterEpoch {
            ours: epoch,
            theirs,
        });
    }
    if theirs < epoch {
        let ours = sqlx::query(
            // Rows of an earlier history are not this one's until they are written again.
            "UPDATE counterd_database SET epoch = $1, values_as_of = NULL WHERE epoch < $1",
        );
        let ours = ours.bind(number(epoch));
        link.execute(ours).await?;
    }
    link.commit().await?;
    let identity = u128::from_str_radix(&identity.replace('-', ""), 16)
        .map_err(|_| PostgresError::Schema("the identity of the database".to_owned()))?;
    Ok(Standing {
        identity,
        through: through.map(day),
        has_values,
        has_days,
    })
}

/// Begins a transaction in which rows are written by a store of this epoch.
pub(super) async fn begin(link: &mut Link, turn: Turn, epoch: u64) -> Result<(), PostgresError> {
    // What is checked at the end would blame a row after all of them were taken.
    let lock = turn.lock();
    link.begin(&format!("SET CONSTRAINTS ALL IMMEDIATE; {lock}"))
        .await?;
    // Shared: whoever writes a later epoch into it waits for us, and we see it after.
    let theirs = sqlx::query_as("SELECT epoch FROM counterd_database FOR SHARE");
    let Some((theirs,)) = link.first::<(i64,)>(theirs).await? else {
        return Err(PostgresError::Lost("the database was emptied".to_owned()));
    };
    let theirs = u64::try_from(theirs).unwrap_or(0);
    if theirs > epoch {
        return Err(PostgresError::LaterEpoch {
            ours: epoch,
            theirs,
        });
    }
    Ok(())
}

/// Says that everything up to that day is there.
pub(super) async fn put_through(link: &mut Link, through: Day) -> Result<(), PostgresError> {
    let put = sqlx::query("UPDATE counterd_database SET exported_through = $1");
    link.execute(put.bind(date(through))).await
}
