//! The URL of a database, parsed once.

use std::time::Duration;

use percent_encoding::percent_decode_str;
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;
use url::Url;

use crate::masking::{SecretUrl, Secrets, unknown_parameter};

/// Where a database is, with the password to it, and how long a connection may take, where the URL says so.
pub type PostgresUrl = SecretUrl<(PgConnectOptions, Option<Duration>)>;

impl PostgresUrl {
    /// Parses a URL.
    ///
    /// # Errors
    /// Why it cannot be used, without any secret of it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err("it must begin with postgres:// or postgresql://".to_owned());
        }
        let authority = text.split("://").nth(1).unwrap_or_default();
        let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
        let hosts = authority.rsplit('@').next().unwrap_or_default();
        if hosts.contains(',') {
            return Err("it names several hosts; name the one that takes writes".to_owned());
        }
        let mut url = Url::parse(text)
            .map_err(|error| format!("{error}; want postgres://USER:PASSWORD@HOST:PORT/NAME"))?;
        let query = url.query().unwrap_or_default();
        let mut secrets = Secrets::default();
        secrets.add(text);
        let as_parameter = query.split('&').filter_map(|p| p.strip_prefix("password="));
        for password in as_parameter.chain(url.password()) {
            secrets.add(password);
            secrets.add(percent_decode_str(password).decode_utf8_lossy());
        }
        let mut connect_timeout = None;
        let mut left = Vec::new();
        for (name, value) in url.query_pairs() {
            if name == "connect_timeout" {
                connect_timeout = timeout(&value)?;
            } else if is_of_the_driver(&name) {
                left.push((name.into_owned(), value.into_owned()));
            } else if !is_without_effect(&name, &value)? {
                return Err(unknown_parameter(text, &name));
            }
        }
        url.query_pairs_mut().clear().extend_pairs(left);
        let options = PgConnectOptions::from_url(&url)
            .map_err(|error| secrets.hide(&plain(&error)))?
            // Poolers refuse this parameter, and no column of ours has fractions.
            .extra_float_digits(None)
            .disable_statement_logging();
        let target = (options, connect_timeout);
        Ok(Self { target, secrets })
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

/// Returns whether the driver takes the parameter. It would log others with their values.
fn is_of_the_driver(name: &str) -> bool {
    match name {
        "application_name" | "dbname" | "host" | "hostaddr" | "options" | "password" | "port"
        | "ssl-ca" | "ssl-cert" | "ssl-key" | "ssl-mode" | "ssl-root-cert" | "sslcert"
        | "sslkey" | "sslmode" | "sslrootcert" | "user" => true,
        "statement-cache-capacity" => true,
        _ => name.starts_with("options[") && name.ends_with(']'),
    }
}

/// Returns whether a parameter asks only for what counterd does anyway; `Err` says why what it asks for cannot be had.
fn is_without_effect(name: &str, value: &str) -> Result<bool, String> {
    match (name, value) {
        ("channel_binding" | "gssencmode", "disable" | "prefer") => Ok(true),
        ("target_session_attrs", "any" | "read-write" | "primary") => Ok(true),
        ("channel_binding" | "gssencmode", _) => Err(format!(
            "it asks for {name}, which counterd does not have: leave that out, and use sslmode=verify-full, which tells a false server too"
        )),
        ("target_session_attrs", _) => Err(
            "its target_session_attrs asks for a server that may be read-only, and counterd writes: use read-write, or leave it out"
                .to_owned(),
        ),
        _ => Ok(false),
    }
}

/// Returns the driver's words without the values of a row.
pub(super) fn plain(error: &sqlx::Error) -> String {
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
            "postgres://counterd:1?hunter2#7@db/x",
            "postgres://counterd:1?a=b&hunter2=7@db/x",
            "postgres://db/x?hunter2",
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
            assert_eq!(format!("{parsed:?}"), "SecretUrl(hidden)");
        }
    }

    #[test]
    fn several_hosts_are_told_as_such() {
        for url in ["postgres://u:p@a:5432,b:5432/d", "postgres://a,b/d"] {
            let error = PostgresUrl::parse(url).unwrap_err();
            assert!(error.contains("several hosts"), "{error}");
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
        assert_eq!(parsed.target.1, Some(Duration::from_secs(3)));
        assert_eq!(parsed.target.0.get_application_name(), Some("x"));
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
