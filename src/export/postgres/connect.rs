//! A connection, with a limit on every wait.
//!
//! Every statement runs within a transaction, all settings belong to the transaction, and no statement keeps a
//! name in the server. So a pooler may give out sessions or transactions.

use std::future::Future;
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::query::{Query, QueryAs};
use sqlx::{AssertSqlSafe, Connection, FromRow, Postgres};

use super::url::plain;
use super::{PostgresError, PostgresOptions, Result};
use crate::storage::LineageId;

/// The longest wait for a connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// How much longer than the server this side waits for a statement: the server's error says more.
const GRACE: Duration = Duration::from_secs(5);

/// How long a statement over a whole table may take.
const LONG_PATIENCE: Duration = Duration::from_secs(3600);

/// A connection to a database.
pub(super) struct Link {
    connection: PgConnection,
    timeout: Duration,
    /// Whether a statement may take [`LONG_PATIENCE`].
    is_patient: bool,
    /// The store that writes on it; `None` until the database was asked whose it is.
    pub(super) lineage: Option<LineageId>,
}

impl Link {
    /// Connects.
    pub(super) async fn connect(options: &PostgresOptions) -> Result<Self> {
        let (target, patience) = &options.url.target;
        let patience = patience.unwrap_or(CONNECT_PATIENCE);
        let patience = patience.min(options.timeout);
        let connecting = PgConnection::connect_with(target);
        match tokio::time::timeout(patience, connecting).await {
            Ok(Ok(connection)) => Ok(Self {
                connection,
                timeout: options.timeout,
                is_patient: false,
                lineage: None,
            }),
            Ok(Err(error)) => Err(PostgresError::Connect(options.url.told(plain(&error)))),
            Err(_) => Err(PostgresError::Late(patience)),
        }
    }

    /// Begins a transaction with further settings.
    pub(super) async fn begin(&mut self, settings: &str) -> Result<()> {
        self.is_patient = false;
        let timeout = self.timeout.as_millis();
        let idle = (self.timeout + 2 * GRACE).as_millis();
        // The defaults of the server or the role may be others. Times are written as UTC.
        self.run(&format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = {timeout}; \
             SET LOCAL lock_timeout = {timeout}; \
             SET LOCAL idle_in_transaction_session_timeout = {idle}; \
             SET LOCAL timezone = 'UTC'; SET LOCAL client_min_messages = warning; {settings}"
        ))
        .await
    }

    /// Commits the transaction.
    pub(super) async fn commit(&mut self) -> Result<()> {
        self.run("COMMIT").await
    }

    /// Runs statements that hold no data.
    pub(super) async fn run(&mut self, sql: &str) -> Result<()> {
        let statements = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        // Such a statement is never the long one.
        let limit = self.timeout + GRACE;
        within(limit, statements.execute(&mut self.connection)).await?;
        Ok(())
    }

    /// Runs a statement with data.
    pub(super) async fn execute(&mut self, query: Query<'_, Postgres, PgArguments>) -> Result<()> {
        let (limit, query) = (self.limit(), query.persistent(false));
        within(limit, query.execute(&mut self.connection)).await?;
        Ok(())
    }

    /// Returns all rows.
    pub(super) async fn all<T: for<'r> FromRow<'r, PgRow> + Send + Unpin>(
        &mut self,
        query: QueryAs<'_, Postgres, T, PgArguments>,
    ) -> Result<Vec<T>> {
        let (limit, query) = (self.limit(), query.persistent(false));
        within(limit, query.fetch_all(&mut self.connection)).await
    }

    /// Returns the only row.
    pub(super) async fn one<T: for<'r> FromRow<'r, PgRow> + Send + Unpin>(
        &mut self,
        query: QueryAs<'_, Postgres, T, PgArguments>,
    ) -> Result<T> {
        let no_row = || PostgresError::Lost("an answer without a row".to_owned());
        self.all(query).await?.pop().ok_or_else(no_row)
    }

    /// Lifts the limit on statements, or puts it back, until the end of the transaction.
    pub(super) async fn be_patient(&mut self, patient: bool) -> Result<()> {
        self.is_patient = patient;
        let timeout = if patient { 0 } else { self.timeout.as_millis() };
        self.run(&format!("SET LOCAL statement_timeout = {timeout}"))
            .await
    }

    /// Returns the connection for a COPY, and how long one step of it may take.
    pub(super) fn parts(&mut self) -> (&mut PgConnection, Duration) {
        (&mut self.connection, self.timeout + GRACE)
    }

    /// Takes leave of the server and closes the connection; waits for that a second at most.
    pub(super) async fn close(self) {
        // Without leave, the server notices by itself.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.connection.close()).await;
    }

    fn limit(&self) -> Duration {
        if self.is_patient {
            LONG_PATIENCE
        } else {
            self.timeout + GRACE
        }
    }
}

/// Waits for an answer, at most `limit`. After [`PostgresError::Late`] the state of the connection is unknown, and it
/// must be given up.
pub(super) async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T> {
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(PostgresError::Late(limit)),
    }
}
