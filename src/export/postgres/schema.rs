//! The schema: which version is there, how it is made, and whether its tables take writes.

use std::collections::BTreeMap;

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType};

use super::columns::unsigned;
use super::connect::Link;
use super::{PostgresError, PostgresOptions, Result};
use crate::background::runtime;
use crate::storage::CopyConflict;

/// The version of our schema in a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaState {
    /// There is none: the first connection makes it.
    Absent,
    /// An older version: the next start brings it up to date.
    Older,
    /// An older version, whose tables belong to another role: a start as that role brings it up to date.
    OlderNotOwned,
    /// The version of this program.
    Current,
}

/// The text of a file in `migrations/`.
macro_rules! file {
    ($name:literal) => {
        include_str!(concat!("../../../migrations/", $name, ".sql"))
    };
}

/// The files of `migrations/`, each with its number and name.
const MIGRATIONS: [(i64, &str, &str); 6] = [
    (1, "tables", file!("0001_tables")),
    (2, "reports", file!("0002_reports")),
    (3, "fallback", file!("0003_fallback")),
    (4, "known", file!("0004_known")),
    (6, "summary", file!("0006_summary")),
    (7, "lineage", file!("0007_lineage")),
];

/// Servers that make the schema at the same moment wait for each other.
const LOCK: &str = "SELECT pg_advisory_xact_lock(1668248942, 3)";

/// Creates the list of applied migrations. The driver's own name for it could be another program's.
const MIGRATIONS_TABLE: &str = "
CREATE TABLE IF NOT EXISTS counterd_migrations (
  version BIGINT PRIMARY KEY, description TEXT NOT NULL, installed_on TIMESTAMPTZ NOT NULL DEFAULT now(),
  success BOOLEAN NOT NULL, checksum BYTEA NOT NULL, execution_time BIGINT NOT NULL)";

/// Every kind of write that the export does. Only the first changes a row, and it is rolled back.
const TRY: &str = "
UPDATE counterd_database SET epoch = epoch;
INSERT INTO counters (name, current_value, created_at, updated_at) SELECT '', 0, now(), now() WHERE FALSE;
UPDATE counters SET current_value = 0, updated_at = now() WHERE FALSE;
INSERT INTO counterd_counters (counter_name, epoch, revision) SELECT '', 0, 0 WHERE FALSE;
UPDATE counterd_counters SET gone = TRUE WHERE FALSE;
INSERT INTO counter_history (counter_name, date, final_value) SELECT '', now(), 0 WHERE FALSE;
UPDATE counter_history SET final_value = 0 WHERE FALSE;
INSERT INTO counterd_days (counter_name, date, epoch) SELECT '', now(), 0 WHERE FALSE;
UPDATE counterd_days SET epoch = 0 WHERE FALSE;
INSERT INTO counter_history_users (counter_name, date, user_id) SELECT '', now(), '' WHERE FALSE;
DELETE FROM counter_history_users WHERE FALSE";

/// Connects and brings the schema up to date.
pub(super) async fn open(options: &PostgresOptions) -> Result<Link> {
    let mut link = Link::connect(options).await?;
    link.begin("").await?;
    let schema = schema(&mut link).await?;
    let done = match schema {
        SchemaState::Current => None,
        SchemaState::Absent => Some("the schema in PostgreSQL was made"),
        SchemaState::Older => Some("the schema in PostgreSQL was brought up to date"),
        SchemaState::OlderNotOwned => {
            return Err(PostgresError::Schema(
                "it is an older one, and this role does not own it; start the server once with the URL of the role that does"
                    .to_owned(),
            ));
        }
    };
    if done.is_some() {
        migrate(&mut link).await?;
    }
    link.commit().await?;
    if let Some(done) = done {
        tracing::info!("{done}");
    }
    Ok(link)
}

/// Connects, does what the export would do, and rolls it back. With `epoch`, that of the store, it also checks that
/// the database has not come further.
///
/// # Errors
/// When there is no connection, the schema is another one, or something could not be written.
pub fn check(options: &PostgresOptions, epoch: Option<u64>) -> Result<SchemaState> {
    runtime()?.block_on(async {
        let mut link = Link::connect(options).await?;
        link.begin("").await?;
        let found = schema(&mut link).await?;
        if found != SchemaState::OlderNotOwned {
            if found != SchemaState::Current {
                migrate(&mut link).await?;
            }
            try_writes(&mut link, epoch).await?;
        }
        link.run("ROLLBACK").await?;
        link.close().await;
        Ok(found)
    })
}

async fn try_writes(link: &mut Link, epoch: Option<u64>) -> Result<()> {
    const SEQUENCES: &str = "
        SELECT has_sequence_privilege(pg_get_serial_sequence('counters', 'id'), 'USAGE')
          AND has_sequence_privilege(pg_get_serial_sequence('counter_history', 'id'), 'USAGE')";
    let theirs = sqlx::query_as("SELECT COALESCE(max(epoch), 0) FROM counterd_database");
    let (theirs,): (i64,) = link.one(theirs).await?;
    let theirs = unsigned(theirs);
    if let Some(ours) = epoch {
        CopyConflict::no_later(ours, theirs)?;
    }
    link.run(TRY).await?;
    match link.one(sqlx::query_as(SEQUENCES)).await? {
        (Some(false),) => Err(PostgresError::Schema(
            "this role may not use the sequences of the columns `id`: GRANT USAGE ON SEQUENCE counters_id_seq, counter_history_id_seq"
                .to_owned(),
        )),
        (Some(true) | None,) => Ok(()),
    }
}

/// Returns the version of the schema.
///
/// # Errors
/// When a later version made it, or a migration differs from ours.
pub(super) async fn schema(link: &mut Link) -> Result<SchemaState> {
    let mut applied = applied(link).await?;
    if applied.is_empty() {
        return Ok(SchemaState::Absent);
    }
    let mut missing = false;
    for ours in migrations() {
        match applied.remove(&ours.version) {
            None => missing = true,
            Some(checksum) if checksum == *ours.checksum => {}
            Some(_) => {
                return Err(PostgresError::Schema(format!(
                    "migration {} was another one when it was applied",
                    ours.version
                )));
            }
        }
    }
    match applied.keys().next_back() {
        Some(later) => Err(PostgresError::Schema(format!(
            "it was made by a later version of counterd (migration {later}); upgrade this one"
        ))),
        None if missing && may_change(link).await? => Ok(SchemaState::Older),
        None if missing => Ok(SchemaState::OlderNotOwned),
        None => Ok(SchemaState::Current),
    }
}

/// Reads which migrations were applied, each with the checksum that it had then.
async fn applied(link: &mut Link) -> Result<BTreeMap<i64, Vec<u8>>> {
    const THERE: &str = "SELECT to_regclass('counterd_migrations') IS NOT NULL";
    const APPLIED: &str = "SELECT version, checksum FROM counterd_migrations WHERE success";
    let (there,): (bool,) = link.one(sqlx::query_as(THERE)).await?;
    if !there {
        return Ok(BTreeMap::new());
    }
    let applied = link.all(sqlx::query_as(APPLIED)).await?;
    Ok(applied.into_iter().collect())
}

/// Returns whether this role may change the existing tables and create others beside them.
async fn may_change(link: &mut Link) -> Result<bool> {
    const MAY: &str = "
        SELECT COALESCE(bool_and(pg_has_role(relowner, 'USAGE')
          AND has_schema_privilege(relnamespace, 'CREATE')), FALSE)
        FROM pg_class WHERE oid IN (to_regclass('counters'), to_regclass('counter_history'),
          to_regclass('counterd_counters'), to_regclass('counterd_database'),
          to_regclass('counterd_days'), to_regclass('counter_daily_summary'),
          to_regclass('counterd_migrations'))";
    let (may,): (bool,) = link.one(sqlx::query_as(MAY)).await?;
    Ok(may)
}

/// Applies the migrations that are missing, within the transaction: all of them or none.
async fn migrate(link: &mut Link) -> Result<()> {
    const APPLY: &str = "
        INSERT INTO counterd_migrations (version, description, success, checksum, execution_time)
        VALUES ($1, $2, TRUE, $3, 0)";
    link.run(LOCK).await?;
    link.run(MIGRATIONS_TABLE).await?;
    // Another server may have been faster.
    let applied = applied(link).await?;
    for migration in migrations().filter(|ours| !applied.contains_key(&ours.version)) {
        link.run(migration.sql.as_str()).await.map_err(|error| match error {
            PostgresError::Refused { code, message } if code == "42P07" => {
                PostgresError::Schema(format!(
                    "{message}, and counterd did not make it; give counterd a database of its own, or a schema with options[search_path]"
                ))
            }
            other => other,
        })?;
        let apply = sqlx::query(APPLY)
            .bind(migration.version)
            .bind(migration.description.into_owned())
            .bind(migration.checksum.to_vec());
        link.execute(apply).await?;
    }
    Ok(())
}

fn migrations() -> impl Iterator<Item = Migration> {
    MIGRATIONS.into_iter().map(|(version, name, sql)| {
        let kind = MigrationType::Simple;
        Migration::new(version, name.into(), kind, sql.into_sql_str(), false)
    })
}
