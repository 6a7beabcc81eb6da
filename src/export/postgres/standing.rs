//! Finds out which database it is, how far it has got, and whose it is, and claims it for this store.

use std::sync::Arc;

use chrono::NaiveDate;

use super::columns::{day, number, unsigned};
use super::connect::Link;
use super::schema::{SchemaState, open, schema};
use super::{PostgresError, PostgresOptions, Result};
use crate::background::runtime;
use crate::calendar::Day;
use crate::metrics::Metrics;
use crate::storage::{
    Batch, CopyConflict, CopyContents, CopyMark, CopyOwner, ExportCursor, Lineage, LineageId,
    OtherStore,
};
use crate::writer::{PreparedBatch, Running};

/// The lock of transactions that write current values. Two of them wait for each other, so that one that a cut
/// connection left behind is over before its rows are written again. The first number is `coun` in ASCII.
pub(super) const VALUES_LOCK: &str = "SELECT pg_advisory_xact_lock(1668248942, 1)";

/// The lock of transactions that write closed days.
pub(super) const DAYS_LOCK: &str = "SELECT pg_advisory_xact_lock(1668248942, 2)";

/// The one row of `counterd_database`, and whether other tables hold anything.
pub(super) struct DatabaseRow {
    /// Which database it is.
    pub(super) identity: u128,
    /// The last day that is there whole.
    pub(super) through: Option<Day>,
    /// Whether there is any current value.
    pub(super) has_values: bool,
    /// Whether there is any closed day.
    pub(super) has_days: bool,
    /// What it says of the store that writes there.
    pub(super) mark: CopyMark,
}

/// What the export needs of a running writer.
#[derive(Clone)]
pub struct ExportContext {
    pub(super) running: Running,
    pub(super) metrics: Arc<Metrics>,
    pub(super) options: PostgresOptions,
}

impl ExportContext {
    /// Takes its share of a running writer.
    pub fn new(running: &Running, metrics: Arc<Metrics>, options: PostgresOptions) -> Self {
        Self {
            running: running.clone(),
            metrics,
            options,
        }
    }

    /// Claims the database: checks that its rows are this store's or nobody's, and writes there that a store of this
    /// lineage and epoch writes from now on. `known` is how far the export was when the store last wrote there.
    pub(super) async fn claim(
        &self,
        link: &mut Link,
        known: Option<ExportCursor>,
    ) -> Result<DatabaseRow> {
        // Rows of an earlier history are not this one's until they are written again.
        const OURS: &str = "
            UPDATE counterd_database SET lineage = $2::uuid, epoch = $1,
              values_as_of = CASE WHEN epoch = $1 THEN values_as_of END
            WHERE epoch <= $1 AND (lineage IS NULL OR lineage = $2::uuid)";
        let (epoch, lineage) = (self.running.epoch(), self.running.reader.lineage()?);
        link.lineage = None;
        link.begin("").await?;
        let row = match ask(link).await? {
            Some(row) => row,
            None => {
                // Somebody emptied it: it is another database from now on.
                let begin = "INSERT INTO counterd_database DEFAULT VALUES ON CONFLICT DO NOTHING";
                link.run(begin).await?;
                let empty = || PostgresError::Schema("counterd_database is empty".to_owned());
                ask(link).await?.ok_or_else(empty)?
            }
        };
        let database = known.map(|known| known.database);
        let owner = owner(link, &row, &lineage, database).await?;
        owner.is_not_of_another(lineage.id)?;
        CopyConflict::no_later(epoch, row.mark.epoch)?;
        if row.mark.epoch < epoch || row.mark.lineage.is_none() {
            let ours = sqlx::query(OURS).bind(number(epoch));
            link.execute(ours.bind(lineage.id.to_string())).await?;
        }
        link.commit().await?;
        // If another store claimed it at the same moment, the first transaction finds that.
        link.lineage = Some(lineage.id);
        Ok(row)
    }

    /// Has the writer write the batch into the store; an empty one is not written, nor one that was prepared before other
    /// instances worked through days: `as_of` is what they had done then.
    pub(super) fn write(&self, batch: Batch, as_of: u64) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let written = self.running.intake.carry_out(PreparedBatch {
            batch,
            horizons: Vec::new(),
            as_of: Some(as_of),
        });
        written.map_err(PostgresError::Write)
    }
}

/// Reads the row; `None` where it is gone. An earlier schema has no column `lineage`.
async fn ask(link: &mut Link) -> Result<Option<DatabaseRow>> {
    const ASK: &str = "
        SELECT identity::text, epoch, exported_through,
          EXISTS (SELECT FROM counters), EXISTS (SELECT FROM counter_history), to_jsonb(d) ->> 'lineage'
        FROM counterd_database d";
    type Row = (String, i64, Option<NaiveDate>, bool, bool, Option<String>);
    let Some(row) = link.all(sqlx::query_as::<_, Row>(ASK)).await?.pop() else {
        return Ok(None);
    };
    let (identity, epoch, through, has_values, has_days, lineage) = row;
    let identity = u128::from_str_radix(&identity.replace('-', ""), 16)
        .map_err(|_| PostgresError::Schema("the identity of the database".to_owned()))?;
    Ok(Some(DatabaseRow {
        identity,
        through: through.map(day),
        has_values,
        has_days,
        mark: CopyMark {
            lineage: lineage.and_then(|lineage| lineage.parse().ok()),
            epoch: unsigned(epoch),
            is_empty: !has_values && !has_days,
        },
    }))
}

/// Finds out whose the rows are. `known` is the database that the store itself remembers having written to.
async fn owner(
    link: &mut Link,
    row: &DatabaseRow,
    lineage: &Lineage,
    known: Option<u128>,
) -> Result<CopyOwner> {
    const EPOCHS: &str =
        "SELECT epoch FROM counterd_counters UNION SELECT epoch FROM counterd_days ORDER BY 1";
    let mark = &row.mark;
    if mark.lineage.is_none() && !mark.is_empty && known == Some(row.identity) {
        return Ok(CopyOwner::Ours);
    }
    if let Some(owner) = lineage.owner_by_mark(mark) {
        return Ok(owner);
    }
    let epochs = link.all::<(i64,)>(sqlx::query_as(EPOCHS)).await?;
    let epochs = epochs.into_iter().map(|(epoch,)| unsigned(epoch));
    Ok(lineage.owner_by_epochs(epochs))
}

/// Begins a transaction in which a store of this epoch writes rows.
pub(super) async fn begin(link: &mut Link, lock: &str, epoch: u64) -> Result<()> {
    // A constraint that is checked at the end would refuse a row after all of them were taken.
    link.begin(&format!("SET CONSTRAINTS ALL IMMEDIATE; {lock}"))
        .await?;
    // Shared: who writes a later epoch or another lineage waits for us; then we see that.
    let theirs = sqlx::query_as::<_, (i64, Option<String>)>(
        "SELECT epoch, lineage::text FROM counterd_database FOR SHARE",
    );
    let Some((theirs, owner)) = link.all(theirs).await?.pop() else {
        return Err(PostgresError::Lost("the database was emptied".to_owned()));
    };
    let owner = owner.and_then(|owner| owner.parse::<LineageId>().ok());
    let Some((ours, owner)) = link.lineage.zip(owner) else {
        let text = "it has become another database".to_owned();
        return Err(PostgresError::Lost(text));
    };
    if ours != owner {
        CopyOwner::Other(OtherStore::Known(owner)).is_not_of_another(ours)?;
    }
    Ok(CopyConflict::no_later(epoch, unsigned(theirs))?)
}

/// Finds out whose the rows are and what there is of them. Changes nothing.
///
/// # Errors
/// When the database cannot be asked, or its schema is a later version's.
pub fn contents(
    options: &PostgresOptions,
    lineage: &Lineage,
    known: Option<u128>,
) -> Result<CopyContents> {
    const COUNT: &str = "
        SELECT (SELECT count(*) FROM counters), COALESCE((SELECT max(revision) FROM counterd_counters), 0),
          (SELECT max(date) FROM counter_history)";
    runtime()?.block_on(async {
        let mut link = Link::connect(options).await?;
        link.begin("").await?;
        let row = if schema(&mut link).await? == SchemaState::Absent {
            None
        } else {
            ask(&mut link).await?
        };
        let (owner, (names, revision, through)) = match row {
            Some(row) => {
                let owner = owner(&mut link, &row, lineage, known).await?;
                (owner, link.one(sqlx::query_as(COUNT)).await?)
            }
            None => (CopyOwner::Nobody, (0, 0, None::<NaiveDate>)),
        };
        link.close().await;
        Ok(CopyContents {
            owner,
            names: unsigned(names),
            revision: unsigned(revision),
            through: through.map(day),
        })
    })
}

/// Gives the rows to this store, whoever wrote them: its exporter then writes the current values anew,
/// and the days that are not there. Days that are there stay.
///
/// # Errors
/// When the database does not do it; it is as it was then.
pub fn adopt(options: &PostgresOptions, lineage: &Lineage) -> Result<()> {
    // The first state of all: whatever this store writes is later.
    const STATES: &str = "UPDATE counterd_counters SET epoch = 0, revision = 0, period = NULL";
    const OURS: &str = "
        UPDATE counterd_database
        SET lineage = $1::uuid, epoch = 0, exported_through = NULL, values_as_of = NULL";
    runtime()?.block_on(async {
        let mut link = open(options).await?;
        link.begin("").await?;
        // First the row that all others wait for.
        link.execute(sqlx::query(OURS).bind(lineage.id.to_string()))
            .await?;
        link.be_patient(true).await?;
        link.execute(sqlx::query(STATES)).await?;
        link.commit().await?;
        link.close().await;
        Ok(())
    })
}
