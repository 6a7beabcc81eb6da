//! The URL of a database, parsed once.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;

use crate::masking::{Secrets, UNKNOWN_PARAMETER};

/// Parameters that the driver takes. It would log others with their values.
const DRIVERS: [&str; 19] = [
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

/// Parameters that other programs take and counterd does not: an error may name them.
const OTHERS: [&str; 26] = [
    "client_encoding",
    "connection_limit",
    "fallback_application_name",
    "gsslib",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "load_balance_hosts",
    "passfile",
    "pgbouncer",
    "pool_timeout",
    "replication",
    "require_auth",
    "requirepeer",
    "schema",
    "service",
    "sslcompression",
    "sslcrl",
    "sslnegotiation",
    "sslpassword",
    "sslsni",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "tcp_user_timeout",
];

/// Where a database is, and the password to it. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct PostgresUrl {
    pub(super) options: PgConnectOptions,
    /// How long a connection may take, where the URL says so.
    pub(super) connect_timeout: Option<Duration>,
    secrets: Secrets,
}

impl PostgresUrl {
    /// Parses a URL.
    ///
    /// # Errors
    /// Why it cannot be used, without any secret of it.
    pub fn parse(url: &str) -> Result<Self, String> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let Some((_, place)) = base
            .split_once("://")
            .filter(|(scheme, _)| ["postgres", "postgresql"].contains(scheme))
        else {
            return Err("it must begin with postgres:// or postgresql://".to_owned());
        };
        let authority = place.split(['/', '#']).next().unwrap_or_default();
        let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        if hosts.contains(',') {
            return Err("it names several hosts; name the one that takes writes".to_owned());
        }
        let mut secrets = Secrets::default();
        add_password(&mut secrets, user.split_once(':').unwrap_or_default().1);
        let mut connect_timeout = None;
        let mut left = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = name.replace("%5B", "[").replace("%5D", "]");
            if name == "connect_timeout" {
                connect_timeout = timeout(value)?;
                continue;
            }
            if name == "password" {
                add_password(&mut secrets, value.split('#').next().unwrap_or_default());
            }
            if !is_without_effect(&name, value)? {
                left.push(pair);
            }
        }
        let url = match left[..] {
            [] => base.to_owned(),
            _ => format!("{base}?{}", left.join("&")),
        };
        secrets.add(url.as_str());
        let options = PgConnectOptions::from_str(&url)
            .map_err(|error| secrets.hide(&plain(&error)))?
            // Poolers refuse this parameter, and no column of ours has fractions.
            .extra_float_digits(None)
            .disable_statement_logging();
        Ok(Self {
            options,
            connect_timeout,
            secrets,
        })
    }

    /// Returns an error of the driver in plain words, without any secret of the URL.
    pub(super) fn told(&self, error: &sqlx::Error) -> String {
        self.secrets.hide(&plain(error))
    }
}

/// Adds a password as it is written, and decoded.
fn add_password(secrets: &mut Secrets, password: &str) {
    secrets.add(password);
    secrets.add(percent_decode_str(password).decode_utf8_lossy());
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PostgresUrl(hidden)")
    }
}

/// Reads `connect_timeout`: whole seconds, and 0 for no limit of its own.
fn timeout(value: &str) -> Result<Option<Duration>, String> {
    match value.parse::<u32>() {
        Ok(0) => Ok(None),
        Ok(seconds) => Ok(Some(Duration::from_secs(u64::from(seconds)))),
        Err(_) => Err("its connect_timeout must be a whole number of seconds".to_owned()),
    }
}

/// Returns whether a parameter asks only for what counterd does anyway. `Err` says why it cannot be had.
fn is_without_effect(name: &str, value: &str) -> Result<bool, String> {
    match (name, value) {
        ("channel_binding" | "gssencmode", "disable" | "prefer") => Ok(true),
        ("target_session_attrs", "any" | "read-write" | "primary") => Ok(true),
        ("channel_binding", _) => Err(
            "it asks for channel_binding, which counterd does not have: leave that out, and use sslmode=verify-full, which tells a false server too"
                .to_owned(),
        ),
        ("gssencmode", _) => Err(
            "it asks for gssencmode, which counterd does not have: leave that out, and use sslmode=verify-full"
                .to_owned(),
        ),
        ("target_session_attrs", _) => Err(
            "its target_session_attrs asks for a server that may be read-only, and counterd writes: use read-write, or leave it out"
                .to_owned(),
        ),
        _ if DRIVERS.contains(&name) || name.starts_with("options[") && name.ends_with(']') => {
            Ok(false)
        }
        _ if OTHERS.contains(&name) => Err(format!(
            "its parameter {name} is not known to counterd: leave it out"
        )),
        _ => Err(UNKNOWN_PARAMETER.to_owned()),
    }
}

/// Returns the driver's words without the values of a row.
fn plain(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::Configuration(error) => error.to_string(),
        other => other.to_string(),
    }
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
            "postgres://counterd:hunter2@db/x?channel_binding=hunter2",
            "postgres://counterd:hunter2@db/x?connect_timeout=hunter2",
            "postgres://counterd:hunter2@db,db2/x",
            "mysql://counterd:hunter2@db/x",
            "postgres://counterd:hunter2@db:port/x",
        ];
        for url in cases {
            let error = PostgresUrl::parse(url).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
        for url in [
            "postgres://u:p%40ss-word@h/d",
            "postgres://u@h/d?password=p%40ss-word&connect_timeout=3",
        ] {
            let parsed = PostgresUrl::parse(url).unwrap();
            let told = parsed.secrets.hide("no p%40ss-word, no p@ss-word");
            assert_eq!(told, "no (secret), no (secret)");
            assert_eq!(format!("{parsed:?}"), "PostgresUrl(hidden)");
        }
    }

    #[test]
    fn the_usual_urls_are_taken() {
        for url in [
            "postgres://u:p@db.example.net:5433/counterd?sslmode=verify-full&sslrootcert=/etc/ca.pem",
            "postgresql:///counterd?host=/run/postgresql&user=u",
            "postgres://u@h/d?options[search_path]=counting",
            "postgres://u@h/d?sslmode=require&channel_binding=prefer&gssencmode=disable",
            "postgres://u@h/d?target_session_attrs=read-write",
        ] {
            let parsed = PostgresUrl::parse(url);
            assert!(parsed.is_ok(), "{url}: {parsed:?}");
        }
        let url = "postgres://u@h/d?connect_timeout=3&application_name=x";
        let parsed = PostgresUrl::parse(url).unwrap();
        assert_eq!(parsed.connect_timeout, Some(Duration::from_secs(3)));
        assert_eq!(parsed.options.get_application_name(), Some("x"));
    }

    #[test]
    fn a_parameter_that_cannot_be_had_is_named() {
        for (parameter, named) in [
            ("channel_binding=require", "channel_binding"),
            ("gssencmode=require", "gssencmode"),
            ("target_session_attrs=standby", "target_session_attrs"),
            ("connect_timeout=soon", "connect_timeout"),
            ("pgbouncer=true", "pgbouncer"),
        ] {
            let error = PostgresUrl::parse(&format!("postgres://u@h/d?{parameter}"));
            let error = error.unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }
}
