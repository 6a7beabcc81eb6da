//! The URL of a database, read once and for all.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;

use crate::masking::masked;

/// Which parameters are left to the driver, which would log others with their values.
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

/// Parameters that others know and counterd does not: an error may name them.
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

/// Where a database is and how to get in. Shows nothing of it.
#[derive(Clone)]
pub struct PostgresUrl {
    pub(super) options: PgConnectOptions,
    /// How long a connection may take, where the URL says so.
    pub(super) connect_timeout: Option<Duration>,
    secrets: Vec<SecretString>,
}

impl PostgresUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// When it cannot be used: why, without any secret of it.
    pub fn parse(url: &str) -> Result<Self, String> {
        let Some((_, rest)) = url
            .split_once("://")
            .filter(|(scheme, _)| ["postgres", "postgresql"].contains(scheme))
        else {
            return Err("it must begin with postgres:// or postgresql://".to_owned());
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let hosts = authority.rsplit_once('@').map_or(authority, |(_, at)| at);
        if hosts.contains(',') {
            return Err("it names several hosts; name the one that takes writes".to_owned());
        }
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let mut connect_timeout = None;
        let mut rest = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = name.replace("%5B", "[").replace("%5D", "]");
            if name == "connect_timeout" {
                connect_timeout = timeout(value)?;
            } else if !is_without_effect(&name, value)? {
                rest.push(pair);
            }
        }
        let url = &match rest[..] {
            [] => base.to_owned(),
            _ => format!("{base}?{}", rest.join("&")),
        };
        let secrets = secrets(url);
        let options = PgConnectOptions::from_str(url)
            .map_err(|error| without(&secrets, &plain(&error)))?
            // Poolers refuse this parameter, and no column of ours has fractions.
            .extra_float_digits(None)
            .disable_statement_logging();
        Ok(Self {
            options,
            connect_timeout,
            secrets,
        })
    }

    /// An error of the driver in plain words, without any secret of the URL.
    pub(super) fn told(&self, error: &sqlx::Error) -> String {
        without(&self.secrets, &plain(error))
    }
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
        // What stands there may be the rest of a password.
        _ => Err(
            "it has an unknown parameter after the `?`; those of a password are written in percent encoding"
                .to_owned(),
        ),
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

/// Returns the secrets of a URL: all of it, and its passwords, as written and decoded.
fn secrets(url: &str) -> Vec<SecretString> {
    let after = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = after.split(['/', '?', '#']).next().unwrap_or_default();
    let in_authority = authority
        .rsplit_once('@')
        .and_then(|(user, _)| user.split_once(':'))
        .map(|(_, password)| password);
    let in_query = url
        .split_once("password=")
        .map(|(_, rest)| rest.split(['&', '#']).next().unwrap_or_default());
    let passwords = [in_authority, in_query].into_iter().flatten();
    let forms = passwords.flat_map(|password| [password.to_owned(), decoded(password)]);
    std::iter::once(url.to_owned())
        .chain(forms)
        .map(SecretString::from)
        .collect()
}

/// Removes the secrets from a text.
fn without(secrets: &[SecretString], text: &str) -> String {
    secrets.iter().fold(text.to_owned(), |text, secret| {
        masked(&text, secret.expose_secret(), "(secret)")
    })
}

/// Undoes percent encoding; what is not encoded stays.
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
        let url = "postgres://u:p%40ss@h/d";
        assert_eq!(
            without(&secrets(url), "no p%40ss, no p@ss"),
            "no (secret), no (secret)"
        );
        let parsed = PostgresUrl::parse(url).unwrap();
        assert_eq!(format!("{parsed:?}"), "PostgresUrl(hidden)");
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
