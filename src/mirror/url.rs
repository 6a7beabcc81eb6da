//! The URL of a Redis, parsed once.

use redis::Client;
use url::Url;

use crate::masking::{SecretUrl, Secrets, unknown_parameter};
use crate::storage::RedisNodes;

/// Where a Redis is, with the password to it.
pub type RedisUrl = SecretUrl<RedisNodes>;

impl RedisUrl {
    /// Parses a URL.
    ///
    /// # Errors
    /// Why it cannot be used, without any secret of it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let scheme = text.split_once("://").unwrap_or_default().0;
        if !["redis", "rediss", "unix"].contains(&scheme) {
            return Err("it must begin with redis://, rediss:// (TLS) or unix://".to_owned());
        }
        if text.contains('#') {
            let text = "it has a part after a `#`, which is not taken; in a password that is %23";
            return Err(text.to_owned());
        }
        let mut secrets = Secrets::default();
        secrets.add(text);
        let mut nodes = Vec::new();
        for text in each_node(scheme, text) {
            nodes.push(node(scheme, &text, &mut secrets)?);
        }
        let mut nodes = nodes.into_iter();
        let first = nodes.next().ok_or("it names no host")?;
        let others = nodes.collect();
        let target = RedisNodes { first, others };
        Ok(Self { target, secrets })
    }
}

/// Returns a URL for each node that a URL lists.
fn each_node(scheme: &str, text: &str) -> Vec<String> {
    let after = text.get(scheme.len() + 3..).unwrap_or_default();
    let (place, rest) = after.split_at(after.find(['/', '?']).unwrap_or(after.len()));
    let (user, hosts) = match place.rsplit_once('@') {
        Some((user, hosts)) => (format!("{user}@"), hosts),
        None => (String::new(), place),
    };
    if scheme == "unix" {
        return vec![text.to_owned()];
    }
    let hosts = hosts.split(',');
    hosts
        .map(|host| format!("{scheme}://{user}{host}{rest}"))
        .collect()
}

/// Parses the URL of one node.
fn node(scheme: &str, text: &str, secrets: &mut Secrets) -> Result<Client, String> {
    let mut url = Url::parse(text)
        .map_err(|error| format!("{error}; want redis://USER:PASSWORD@HOST:PORT/DATABASE"))?;
    let mut database = None;
    for (name, value) in url.query_pairs() {
        match (scheme, &*name) {
            ("unix", "db" | "user" | "pass" | "protocol") | (_, "protocol") => {}
            (_, "db") => database = Some(value.into_owned()),
            _ => return Err(unknown_parameter(text, &name)),
        }
    }
    if let Some(database) = database {
        // The driver takes it from the path only.
        put_database(&mut url, &database)?;
    }
    secrets.add(text);
    secrets.add(url.as_str());
    let client = Client::open(url).map_err(|error| secrets.hide(&error.to_string()))?;
    let settings = client.get_connection_info().redis_settings();
    if settings.db() < 0 {
        return Err("the number of its database is negative".to_owned());
    }
    secrets.add(settings.password().unwrap_or_default());
    Ok(client)
}

/// Puts the database that the parameter `db` names into the path.
fn put_database(url: &mut Url, database: &str) -> Result<(), String> {
    if database.is_empty() || !database.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("its parameter db is not the number of a database".to_owned());
    }
    let path = url.path().trim_start_matches('/');
    if !path.is_empty() && path != database {
        return Err("it names two databases: one after the `/`, one as db".to_owned());
    }
    url.set_path(database);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(url: &str) -> Result<i64, String> {
        let parsed = RedisUrl::parse(url)?;
        let first = parsed.target.first.get_connection_info();
        Ok(first.redis_settings().db())
    }

    #[test]
    fn each_node_that_is_listed_has_the_user_the_password_and_the_database_of_all() {
        for (url, nodes) in [
            ("redis://u:p@h1:6380,h2/0", &["h1:6380", "h2:6379"][..]),
            (
                "rediss://u:p@h1,[::1]:7,h3:8?db=0",
                &["h1:6379", "::1:7", "h3:8"],
            ),
            ("redis://u:p,q@h1/0", &["h1:6379"]),
        ] {
            let target = RedisUrl::parse(url).unwrap().target;
            let clients = std::iter::once(&target.first).chain(&target.others);
            let infos: Vec<_> = clients.map(Client::get_connection_info).collect();
            let found: Vec<_> = infos.iter().map(|info| info.addr().to_string()).collect();
            assert_eq!(found, nodes, "{url}");
            for info in infos {
                let settings = info.redis_settings();
                let is_tls = matches!(info.addr(), redis::ConnectionAddr::TcpTls { .. });
                assert_eq!(is_tls, url.starts_with("rediss"), "{url}");
                assert_eq!(
                    (settings.username(), settings.db()),
                    (Some("u"), 0),
                    "{url}"
                );
                assert!(settings.password().unwrap().starts_with('p'), "{url}");
            }
        }
        for url in ["redis://u:hunter2@h1,,h2", "redis://u:hunter2@h1,"] {
            let error = database(url).unwrap_err();
            assert!(
                error.contains("host") && !error.contains("hunter2"),
                "{error}"
            );
        }
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
            ("redis://u:a?hunter2=1@h", "port"),
            ("redis://h?x=1&password=a&hunter2=1", "unknown parameter"),
            ("redis://h?hunter2@x", "unknown parameter"),
            ("rediss://u:hunter2@h#insecure", "`#`"),
            ("redis://u:a#hunter2@h", "`#`"),
            ("unix:///run/redis.sock?database=hunter2", "database"),
        ] {
            let error = database(url).unwrap_err();
            assert!(error.contains(told), "{url}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
