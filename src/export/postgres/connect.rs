//! A connection, with a limit on everything it may take, and the schema it finds.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::future::Future;
use std::str::FromStr;
use std::time::Duration;

use secrecy::ExposeSecret;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqlSafeStr};

use super::{PostgresError, PostgresOptions};
use crate::background::runtime;
use crate::masking::masked;

/// Longest wait for a connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// How much later than the server this side gives a statement up: the server's reason says more.
const GRACE: Duration = Duration::from_secs(5);

/// Which parameters a URL may have; the driver would log others, with their values.
const PARAMETERS: [&str; 19] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
    "options[search_path]",
];

/// The table in which the applied migrations stand.
const MIGRATIONS_TABLE: &str = "counterd_migrations";

/// A connection to a database with our schema.
pub(super) struct Link {
    connection: PgConnection,
    timeout: Duration,
}

/// What a database holds of our schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// None of it: the first connection makes it.
    Absent,
    /// An older version: the next start brings it up to date.
    Older,
    /// An older version, of tables that are another role's: only a start as that role brings it up to
    /// date.
    OlderNotOwned,
    /// This version's.
    Current,
}

impl Link {
    /// Connects and brings the schema up to date.
    pub(super) async fn open(options: &PostgresOptions) -> Result<Self, PostgresError> {
        let mut link = Self::connect(options).await?;
        match link.schema().await? {
            Schema::Current => {}
            Schema::Absent | Schema::Older => link.migrate().await?,
            Schema::OlderNotOwned => {
                return Err(PostgresError::Schema(
                    "it is an older one, and this role does not own it; start the server once with the URL of the role that does"
                        .to_owned(),
                ));
            }
        }
        Ok(link)
    }

    pub(super) async fn connect(options: &PostgresOptions) -> Result<Self, PostgresError> {
        let url = options.url.expose_secret();
        let connect = parse(url)?.disable_statement_logging();
        let patience = CONNECT_PATIENCE.min(options.timeout);
        let connecting = PgConnection::connect_with(&connect);
        let connection = match tokio::time::timeout(patience, connecting).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => {
                return Err(PostgresError::Connect(without_secret(&plain(&error), url)));
            }
            Err(_) => return Err(PostgresError::Late(patience)),
        };
        let mut link = Self {
            connection,
            timeout: options.timeout,
        };
        let timeout = options.timeout.as_millis();
        let idle = (options.timeout + 2 * GRACE).as_millis();
        // Whatever the server's or the role's defaults are. Times are written as UTC.
        link.run(&format!(
            "SET statement_timeout = {timeout}; SET lock_timeout = {timeout}; \
             SET idle_in_transaction_session_timeout = {idle}; \
             SET timezone = 'UTC'; SET client_min_messages = warning"
        ))
        .await?;
        Ok(link)
    }

    /// Runs statements of ours that hold no data.
    pub(super) async fn run(&mut self, sql: &str) -> Result<(), PostgresError> {
        let statements = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        let (connection, limit) = self.parts();
        within(limit, statements.execute(connection)).await?;
        Ok(())
    }

    /// Lets statements take as long as they need, or not any more, until the end of the transaction.
    pub(super) async fn be_patient(&mut self, patient: bool) -> Result<(), PostgresError> {
        let timeout = if patient { 0 } else { self.timeout.as_millis() };
        self.run(&format!("SET LOCAL statement_timeout = {timeout}"))
            .await
    }

    /// The connection for one statement, and how long that may take.
    pub(super) fn parts(&mut self) -> (&mut PgConnection, Duration) {
        (&mut self.connection, self.timeout + GRACE)
    }

    /// Ends the connection in good manners, as far as that takes no time.
    pub(super) async fn close(self) {
        // Without it the server notices by itself.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.connection.close()).await;
    }

    /// What there is of the schema; an error when it is a later version's or was changed.
    async fn schema(&mut self) -> Result<Schema, PostgresError> {
        let (connection, limit) = self.parts();
        let there = sqlx::query_scalar::<_, bool>("SELECT to_regclass($1) IS NOT NULL")
            .bind(MIGRATIONS_TABLE);
        if !within(limit, there.fetch_one(&mut *connection)).await? {
            return Ok(Schema::Absent);
        }
        let applied = sqlx::query_as::<_, (i64, Vec<u8>)>(
            "SELECT version, checksum FROM counterd_migrations WHERE success",
        );
        let applied = within(limit, applied.fetch_all(connection)).await?;
        let mut applied: BTreeMap<i64, Vec<u8>> = applied.into_iter().collect();
        let mut missing = false;
        for ours in migrator().iter() {
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
            None if missing && self.may_change().await? => Ok(Schema::Older),
            None if missing => Ok(Schema::OlderNotOwned),
            None => Ok(Schema::Current),
        }
    }

    /// Whether this role may change the tables that there are, and make others beside them.
    async fn may_change(&mut self) -> Result<bool, PostgresError> {
        const MAY: &str = "
            SELECT COALESCE(bool_and(pg_has_role(relowner, 'USAGE')
              AND has_schema_privilege(relnamespace, 'CREATE')), FALSE)
            FROM pg_class WHERE oid IN (to_regclass('counters'), to_regclass('counter_history'),
              to_regclass('counterd_counters'), to_regclass('counterd_database'),
              to_regclass('counterd_days'), to_regclass($1))";
        let (connection, limit) = self.parts();
        let may = sqlx::query_scalar::<_, bool>(MAY).bind(MIGRATIONS_TABLE);
        within(limit, may.fetch_one(connection)).await
    }

    /// Applies what is missing. Others that start at the same moment wait at an advisory lock.
    async fn migrate(&mut self) -> Result<(), PostgresError> {
        let (connection, limit) = self.parts();
        let migrator = migrator();
        let migrating = migrator.run_direct(None, connection, false);
        match tokio::time::timeout(limit, migrating).await {
            Ok(Ok(())) => {
                tracing::info!("the schema in PostgreSQL is up to date");
                Ok(())
            }
            Ok(Err(error)) => Err(PostgresError::Schema(error.to_string())),
            Err(_) => Err(PostgresError::Late(limit)),
        }
    }
}

/// The files of `migrations/`, within the binary. Without the driver's macros: those would have all
/// that builds RocksDB built anew.
fn migrator() -> Migrator {
    let files = [
        (
            1,
            "tables",
            include_str!("../../../migrations/0001_tables.sql"),
        ),
        (
            2,
            "reports",
            include_str!("../../../migrations/0002_reports.sql"),
        ),
        (
            3,
            "fallback",
            include_str!("../../../migrations/0003_fallback.sql"),
        ),
        (
            4,
            "known",
            include_str!("../../../migrations/0004_known.sql"),
        ),
    ];
    let migrations = files.map(|(version, name, sql)| {
        let kind = MigrationType::Simple;
        Migration::new(
            version,
            Cow::Borrowed(name),
            kind,
            sql.into_sql_str(),
            false,
        )
    });
    let mut migrator = Migrator::with_migrations(migrations.to_vec());
    // Another program in the same database may have the default one.
    migrator.dangerous_set_table_name(MIGRATIONS_TABLE);
    migrator
}

/// Connects and looks at the schema, changing nothing.
///
/// # Errors
/// When there is no connection, or the schema is another one.
pub fn check(options: &PostgresOptions) -> Result<Schema, PostgresError> {
    let runtime = runtime()?;
    runtime.block_on(async {
        let mut link = Link::connect(options).await?;
        let schema = link.schema().await;
        link.close().await;
        schema
    })
}

/// Waits for an answer no longer than `limit`. After an error of this kind the connection is in an
/// unknown state and must be given up.
pub(super) async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, PostgresError> {
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(PostgresError::Late(limit)),
    }
}

fn parse(url: &str) -> Result<PgConnectOptions, PostgresError> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        let text = "it begins with postgres:// or postgresql://";
        return Err(PostgresError::Url(text.to_owned()));
    }
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let query = query.split_once('#').map_or(query, |(query, _)| query);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, _) = pair.split_once('=').unwrap_or((pair, ""));
        let name = name.replace("%5B", "[").replace("%5D", "]");
        let known = PARAMETERS.contains(&name.as_str())
            || name.starts_with("options[") && name.ends_with(']');
        if !known {
            // A name alone: what stands there may be the rest of a password.
            let text = "it has an unknown parameter after the `?`; those of a password are written in percent encoding";
            return Err(PostgresError::Url(text.to_owned()));
        }
    }
    PgConnectOptions::from_str(url)
        .map_err(|error| PostgresError::Url(without_secret(&plain(&error), url)))
}

/// The driver's words without the values of a row.
fn plain(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::Configuration(error) => error.to_string(),
        other => other.to_string(),
    }
}

/// The text without the password that stands in `url`, as it stands there or decoded.
fn without_secret(text: &str, url: &str) -> String {
    let after = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = after.split(['/', '?', '#']).next().unwrap_or_default();
    let in_authority = authority
        .rsplit_once('@')
        .and_then(|(user, _)| user.split_once(':'))
        .map(|(_, password)| password);
    let in_query = url
        .split_once("password=")
        .map(|(_, rest)| rest.split(['&', '#']).next().unwrap_or_default());
    let mut text = text.replace(url, "(the URL)");
    for password in [in_authority, in_query].into_iter().flatten() {
        for form in [password.to_owned(), decoded(password)] {
            text = masked(&text, &form, "(the password)");
        }
    }
    text
}

/// Percent encoding undone; what is none stays.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let pair = after
            .get(..2)
            .and_then(|pair| std::str::from_utf8(pair).ok());
        let code = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match (first, code) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_error_of_a_url_shows_the_password() {
        let cases = [
            "postgres://counterd:hunter2@db/x?sslmode=hunter2",
            "postgres://counterd:hunter2@db:hunter2/x",
            "postgres://counterd:hunter2@db/x?passwort=hunter2",
            "mysql://counterd:hunter2@db/x",
            "postgres://counterd:hunter2@db:port/x",
        ];
        for url in cases {
            let error = parse(url).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert_eq!(
            without_secret("no p%40ss, no p@ss", "postgres://u:p%40ss@h/d"),
            "no (the password), no (the password)"
        );
    }

    #[test]
    fn the_usual_urls_are_taken() {
        for url in [
            "postgres://u:p@db.example.net:5433/counterd?sslmode=verify-full&sslrootcert=/etc/ca.pem",
            "postgresql:///counterd?host=/run/postgresql&user=u",
            "postgres://u@h/d?options[search_path]=counting",
        ] {
            assert!(parse(url).is_ok(), "{url}");
        }
    }
}
