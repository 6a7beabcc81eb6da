//! What the database says of itself: which one it is, how far it has got, and whose it is.

use chrono::NaiveDate;

use super::columns::{date, day, number};
use super::connect::Link;
use super::day::LONG_PATIENCE;
use super::schema::{SchemaState, open, schema};
use super::{PostgresError, PostgresOptions};
use crate::background::runtime;
use crate::calendar::Day;
use crate::storage::{CopyContents, Lineage, LineageId, OtherStore, Owner};

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
pub(super) struct ClaimedDatabase {
    /// Which database it is.
    pub(super) identity: u128,
    /// The last day that is there whole.
    pub(super) through: Option<Day>,
    /// Whether there is any current value.
    pub(super) has_values: bool,
    /// Whether there is any closed day.
    pub(super) has_days: bool,
}

/// What the one row of `counterd_database` says.
struct DatabaseRow {
    identity: u128,
    epoch: u64,
    through: Option<Day>,
    has_values: bool,
    has_days: bool,
    lineage: Option<LineageId>,
}

/// Asks; `None` where the row is gone. The column that this version added is read so that an earlier
/// schema does too.
async fn ask(link: &mut Link) -> Result<Option<DatabaseRow>, PostgresError> {
    const ASK: &str = "
        SELECT identity::text, epoch, exported_through,
          EXISTS (SELECT FROM counters), EXISTS (SELECT FROM counter_history), to_jsonb(d) ->> 'lineage'
        FROM counterd_database d";
    type Row = (String, i64, Option<NaiveDate>, bool, bool, Option<String>);
    let Some(row) = link.first(sqlx::query_as::<_, Row>(ASK)).await? else {
        return Ok(None);
    };
    let (identity, epoch, through, has_values, has_days, lineage) = row;
    let identity = u128::from_str_radix(&identity.replace('-', ""), 16)
        .map_err(|_| PostgresError::Schema("the identity of the database".to_owned()))?;
    Ok(Some(DatabaseRow {
        identity,
        epoch: u64::try_from(epoch).unwrap_or(0),
        through: through.map(day),
        has_values,
        has_days,
        lineage: lineage.and_then(|lineage| lineage.parse().ok()),
    }))
}

/// Whose the rows are. `known` is the database that the store itself remembers having written to.
async fn owner(
    link: &mut Link,
    told: &DatabaseRow,
    lineage: &Lineage,
    known: Option<u128>,
) -> Result<Owner, PostgresError> {
    // Rows whose guards are there tell of which epoch they are.
    const EPOCHS: &str = "
        SELECT EXISTS (SELECT FROM counterd_counters WHERE epoch = ANY($1))
            OR EXISTS (SELECT FROM counterd_days WHERE epoch = ANY($1)),
          GREATEST((SELECT max(epoch) FROM counterd_counters), (SELECT max(epoch) FROM counterd_days))";
    if let Some(theirs) = told.lineage {
        return Ok(if theirs == lineage.id {
            Owner::Ours
        } else {
            Owner::Other(OtherStore::Known(theirs))
        });
    }
    if !told.has_values && !told.has_days {
        return Ok(Owner::Nobody);
    }
    if known == Some(told.identity) || lineage.has(told.epoch) {
        return Ok(Owner::Ours);
    }
    if told.epoch > 0 {
        return Ok(Owner::Other(OtherStore::OfEpoch(told.epoch)));
    }
    let epochs: Vec<i64> = lineage.epochs().iter().copied().map(number).collect();
    let asked = sqlx::query_as::<_, (bool, Option<i64>)>(EPOCHS).bind(epochs);
    let (ours, highest) = link.one(asked).await?;
    let highest = highest.and_then(|epoch| u64::try_from(epoch).ok());
    Ok(match highest {
        _ if ours => Owner::Ours,
        Some(epoch) => Owner::Other(OtherStore::OfEpoch(epoch)),
        None => Owner::Nobody,
    })
}

/// Finds out which database it is, and that its rows are this store's or nobody's; says in it that a
/// store of this lineage and epoch writes from now on.
pub(super) async fn claim(
    link: &mut Link,
    epoch: u64,
    lineage: &Lineage,
    known: Option<u128>,
) -> Result<ClaimedDatabase, PostgresError> {
    // Rows of an earlier history are not this one's until they are written again.
    const OURS: &str = "
        UPDATE counterd_database SET lineage = $2::uuid, epoch = $1,
          values_as_of = CASE WHEN epoch = $1 THEN values_as_of END
        WHERE epoch <= $1 AND (lineage IS NULL OR lineage = $2::uuid)";
    link.lineage = None;
    link.begin("").await?;
    let told = match ask(link).await? {
        Some(told) => told,
        None => {
            // Emptied by somebody: another database from now on.
            let begin =
                sqlx::query("INSERT INTO counterd_database DEFAULT VALUES ON CONFLICT DO NOTHING");
            link.execute(begin).await?;
            let empty = || PostgresError::Schema("counterd_database is empty".to_owned());
            ask(link).await?.ok_or_else(empty)?
        }
    };
    if let Owner::Other(theirs) = owner(link, &told, lineage, known).await? {
        let ours = lineage.id;
        return Err(PostgresError::OtherStore { ours, theirs });
    }
    if told.epoch > epoch {
        return Err(PostgresError::LaterEpoch {
            ours: epoch,
            theirs: told.epoch,
        });
    }
    if told.epoch < epoch || told.lineage.is_none() {
        let ours = sqlx::query(OURS).bind(number(epoch));
        link.execute(ours.bind(lineage.id.to_string())).await?;
    }
    link.commit().await?;
    // Whoever wrote itself in at the same moment is found by the first transaction.
    link.lineage = Some(lineage.id);
    Ok(ClaimedDatabase {
        identity: told.identity,
        through: told.through,
        has_values: told.has_values,
        has_days: told.has_days,
    })
}

/// Begins a transaction in which rows are written by a store of this epoch.
pub(super) async fn begin(link: &mut Link, turn: Turn, epoch: u64) -> Result<(), PostgresError> {
    // What is checked at the end would blame a row after all of them were taken.
    let lock = turn.lock();
    link.begin(&format!("SET CONSTRAINTS ALL IMMEDIATE; {lock}"))
        .await?;
    let lineage = link.lineage;
    // Shared: whoever writes a later epoch or another lineage into it waits for us, and we see it after.
    let theirs = sqlx::query_as::<_, (i64, Option<String>)>(
        "SELECT epoch, lineage::text FROM counterd_database FOR SHARE",
    );
    let Some((theirs, owner)) = link.first(theirs).await? else {
        return Err(PostgresError::Lost("the database was emptied".to_owned()));
    };
    let owner: Option<LineageId> = owner.and_then(|owner| owner.parse().ok());
    match (lineage, owner) {
        (Some(ours), Some(theirs)) if ours == theirs => {}
        (Some(ours), Some(theirs)) => {
            let theirs = OtherStore::Known(theirs);
            return Err(PostgresError::OtherStore { ours, theirs });
        }
        (_, None) | (None, _) => {
            let text = "it has become another database";
            return Err(PostgresError::Lost(text.to_owned()));
        }
    }
    let theirs = u64::try_from(theirs).unwrap_or(0);
    if theirs > epoch {
        return Err(PostgresError::LaterEpoch {
            ours: epoch,
            theirs,
        });
    }
    Ok(())
}

/// Looks whose the rows are and what there is of them, and changes nothing.
///
/// # Errors
/// When the database cannot be asked, or its schema is a later version's.
pub fn contents(
    options: &PostgresOptions,
    lineage: &Lineage,
    known: Option<u128>,
) -> Result<CopyContents, PostgresError> {
    const COUNT: &str = "
        SELECT (SELECT count(*) FROM counters), COALESCE((SELECT max(revision) FROM counterd_counters), 0),
          (SELECT max(date) FROM counter_history)";
    let mut contents = CopyContents {
        owner: Owner::Nobody,
        names: 0,
        revision: 0,
        through: None,
    };
    runtime()?.block_on(async {
        let mut link = Link::connect(options).await?;
        link.begin("").await?;
        if schema(&mut link).await? != SchemaState::Absent
            && let Some(told) = ask(&mut link).await?
        {
            contents.owner = owner(&mut link, &told, lineage, known).await?;
            let counted = sqlx::query_as::<_, (i64, i64, Option<NaiveDate>)>(COUNT);
            let (names, revision, through) = link.one(counted).await?;
            contents.names = u64::try_from(names).unwrap_or(0);
            contents.revision = u64::try_from(revision).unwrap_or(0);
            contents.through = through.map(day);
        }
        link.close().await;
        Ok(contents)
    })
}

/// Gives the rows to this store, whoever wrote them: its exporter then writes the current values anew,
/// and the days that are not there. Days that are there stay.
///
/// # Errors
/// When the database does not do it; it is as it was then.
pub fn adopt(options: &PostgresOptions, lineage: &Lineage) -> Result<(), PostgresError> {
    // Of the first state: whatever this store writes is later.
    const STATES: &str = "UPDATE counterd_counters SET epoch = 0, revision = 0, period = NULL";
    const OURS: &str = "
        UPDATE counterd_database
        SET lineage = $1::uuid, epoch = 0, exported_through = NULL, values_as_of = NULL";
    runtime()?.block_on(async {
        let mut link = open(options).await?;
        link.begin("").await?;
        link.be_patient(true).await?;
        // First the row that all others wait for.
        link.execute(sqlx::query(OURS).bind(lineage.id.to_string()))
            .await?;
        link.execute_within(LONG_PATIENCE, sqlx::query(STATES))
            .await?;
        link.commit().await?;
        link.close().await;
        Ok(())
    })
}

/// Says that everything up to that day is there.
pub(super) async fn put_through(link: &mut Link, through: Day) -> Result<(), PostgresError> {
    let put = sqlx::query("UPDATE counterd_database SET exported_through = $1");
    link.execute(put.bind(date(through))).await
}
