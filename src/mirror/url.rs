//! The URL of a Redis, parsed once.

use std::fmt;

use redis::{Client, RedisError};

use crate::masking::{Secrets, UNKNOWN_PARAMETER};

/// Where a Redis is, and the password to it. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct RedisUrl {
    pub(super) client: Client,
    secrets: Secrets,
}

impl RedisUrl {
    /// Parses a URL.
    ///
    /// # Errors
    /// Why it cannot be used, without any secret of it.
    pub fn parse(url: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = url
            .split_once("://")
            .filter(|(scheme, _)| ["redis", "rediss", "unix"].contains(scheme))
        else {
            return Err("it must begin with redis://, rediss:// (TLS) or unix://".to_owned());
        };
        if rest.contains('#') {
            let text = "it has a part after a `#`, which is not taken; in a password that is %23";
            return Err(text.to_owned());
        }
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut place = place.to_owned();
        let mut left = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (scheme, name) {
                ("unix", "db" | "user" | "pass" | "protocol") | (_, "protocol") => left.push(pair),
                // The driver takes it from the path only.
                (_, "db") => place = with_database(&place, value)?,
                _ => return Err(unknown_parameter(name)),
            }
        }
        let url = match left[..] {
            [] => format!("{scheme}://{place}"),
            _ => format!("{scheme}://{place}?{}", left.join("&")),
        };
        let mut secrets = Secrets::default();
        secrets.add(url.as_str());
        let client =
            Client::open(url.as_str()).map_err(|error| secrets.hide(&error.to_string()))?;
        let settings = client.get_connection_info().redis_settings();
        if settings.db() < 0 {
            return Err("the number of its database is negative".to_owned());
        }
        secrets.add(settings.password().unwrap_or_default());
        Ok(Self { client, secrets })
    }

    /// Returns the driver's words without any secret of the URL.
    pub(super) fn told(&self, error: &RedisError) -> String {
        self.secrets.hide(&error.to_string())
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisUrl(hidden)")
    }
}

/// Puts the database that the parameter `db` names into the path.
fn with_database(place: &str, database: &str) -> Result<String, String> {
    let (address, path) = place.split_once('/').unwrap_or((place, ""));
    if database.is_empty() || !database.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("its parameter db is not the number of a database".to_owned());
    }
    if !path.is_empty() && path != database {
        return Err("it names two databases: one after the `/`, one as db".to_owned());
    }
    Ok(format!("{address}/{database}"))
}

fn unknown_parameter(name: &str) -> String {
    // Only parameters that other programs take are named: anything else may be the rest of a password.
    const OTHERS: [&str; 12] = [
        "decode_responses",
        "family",
        "health_check_interval",
        "max_connections",
        "pass",
        "password",
        "pool_size",
        "socket_timeout",
        "ssl_cert_reqs",
        "timeout",
        "user",
        "username",
    ];
    if OTHERS.contains(&name) {
        format!(
            "its parameter {name} is not taken: leave it out; user and password stand before the `@`"
        )
    } else {
        UNKNOWN_PARAMETER.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(url: &str) -> Result<i64, String> {
        let parsed = RedisUrl::parse(url)?;
        Ok(parsed.client.get_connection_info().redis_settings().db())
    }

    #[test]
    fn the_database_is_the_one_that_the_url_names() {
        for (url, number) in [
            ("redis://h", 0),
            ("redis://h:6379/", 0),
            ("redis://:secret@h:6379/2", 2),
            ("redis://h:6379?db=1", 1),
            ("rediss://h/3?db=3", 3),
            ("unix:///run/redis.sock?db=4&user=u&pass=secret", 4),
            ("redis://h/5?protocol=resp3", 5),
        ] {
            assert_eq!(database(url), Ok(number), "{url}");
        }
    }

    #[test]
    fn what_a_url_asks_for_in_vain_is_refused_and_no_secret_is_shown() {
        for (url, told) in [
            ("mysql://u:hunter2@h", "redis://"),
            ("redis://u:hunter2@h/1?db=2", "two databases"),
            ("redis://u:hunter2@h?db=hunter2", "number"),
            ("redis://u:hunter2@h/-1", "negative"),
            ("redis://u:hunter2@h/hunter2", "database number"),
            ("redis://u:hunter2@h?timeout=hunter2", "timeout"),
            ("redis://h?password=hunter2", "password"),
            ("redis://h?hunter2=1", "unknown parameter"),
            ("rediss://u:hunter2@h#insecure", "`#`"),
            ("redis://u:a#hunter2@h", "`#`"),
            (
                "unix:///run/redis.sock?database=hunter2",
                "unknown parameter",
            ),
        ] {
            let error = database(url).unwrap_err();
            assert!(error.contains(told), "{url}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
