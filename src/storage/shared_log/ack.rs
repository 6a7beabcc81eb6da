//! When a group in the log may be acknowledged: once the primary has it on disk, and so many replicas have it.

use std::collections::HashMap;
use std::time::{Duration, Instant};
use std::{fmt, mem};

use redis::{Cmd, ConnectionAddr, FromRedisValue};

use super::address::{Ack, LogAddress};
use super::link::{Link, Script};
use super::nodes::beside;
use crate::storage::shared_log_error::SharedLogError;

/// How long a replica may take to tell its settings.
const ASKS_REPLICA: Duration = Duration::from_millis(500);

/// What Redis is asked for after each group, and what it has to answer.
#[derive(Debug)]
pub(super) struct Durability {
    /// Which node it was asked of; `None` where that cannot be known.
    node: Option<ConnectionAddr>,
    /// Whether that is one of a Cluster.
    is_cluster: bool,
    replicas: u32,
    /// Whether Redis tells when a group is on disk (7.2 and later), also on that of a replica. Each syncs before it answers, as
    /// its settings were found to say.
    tells_of_disks: bool,
}

impl Durability {
    /// Looks at the primary that answered the last call: its version, its settings, its replicas.
    ///
    /// # Errors
    /// When it would lose what is acknowledged, with the setting that has to be another.
    pub(super) fn look(link: &mut Link, limit: Instant) -> Result<Self, SharedLogError> {
        let LogAddress {
            ack, min_replicas, ..
        } = *link.address();
        let info: String = link.ask_there(limit, &redis::cmd("INFO"))?;
        let field = |name: &str| {
            let mut lines = info.lines().filter_map(|line| line.split_once(':'));
            lines.find_map(|(key, value)| (key == name).then_some(value.trim()))
        };
        if field("role") != Some("master") {
            let found = field("role").unwrap_or_default();
            return Err(unsafe_setting(
                "its role",
                found,
                "master: redis.url must name the primary",
            ));
        }
        // Valkey tells the Redis that it is like as its version.
        let version = field("valkey_version").or_else(|| field("redis_version"));
        let tells_of_disks = version.is_some_and(|version| at_least(version, 7, 2));
        for (name, wanted) in [
            ("appendonly", "yes"),
            // With another one some tell of groups as synced that are not: the first Redis 7.4, and Valkey.
            ("appendfsync", "always"),
            ("maxmemory-policy", "noeviction"),
        ] {
            let mut call = redis::cmd("CONFIG");
            // Where settings cannot be read, as with those who rent theirs, nobody is judged by them.
            let found = link.ask_if_allowed::<Vec<String>>(limit, call.arg("GET").arg(name))?;
            if let Some([_, found]) = found.as_deref()
                && found != wanted
            {
                return Err(unsafe_setting(name, found, wanted));
            }
        }
        // One that still takes in the whole acknowledges nothing.
        let lines = info.lines();
        let replicas: Vec<_> = lines
            .filter(|line| line.starts_with("slave") && line.contains("state=online"))
            .collect();
        let connected = u32::try_from(replicas.len()).unwrap_or(u32::MAX);
        if ack == Ack::Replicas && connected < min_replicas {
            return Err(SharedLogError::Replicas {
                connected,
                wanted: min_replicas,
            });
        }
        if ack == Ack::Replicas && tells_of_disks {
            for replica in replicas {
                check_replica(link, limit, replica)?;
            }
        }
        Ok(Self {
            node: link.node().cloned(),
            is_cluster: field("redis_mode") == Some("cluster")
                || field("server_mode") == Some("cluster"),
            replicas: if ack == Ack::Replicas { connected } else { 0 },
            tells_of_disks,
        })
    }

    /// Sends a call of a script until it is answered, and returns the answer only once what it did is durable: only for a
    /// call that does nothing when it is done for the second time. Where another node answers than the one that was looked
    /// at, that one is looked at before it is believed.
    ///
    /// # Errors
    /// When no answer came in time or it is not durable by then, and when Redis refuses: [`SharedLogError::RedisRefused`] where
    /// nothing was done.
    pub(super) fn insist<T: FromRedisValue>(
        &mut self,
        link: &mut Link,
        limit: Instant,
        script: &Script,
        call: &Cmd,
    ) -> Result<T, SharedLogError> {
        let mut is_done = false;
        'sent: loop {
            let answer = match link.insist(limit, script, call) {
                // Only this repetition is.
                Err(SharedLogError::RedisRefused { said, .. }) if is_done => {
                    return Err(SharedLogError::Redis(said));
                }
                answer => answer?,
            };
            is_done = true;
            if link.node() != self.node.as_ref() {
                let before = mem::replace(self, Self::look(link, limit)?);
                self.tell_news(Some(&before));
                // Sent again: a wait has to be on the connection of the call, which may be another one by now.
                continue;
            }
            for mut wait in self.waits() {
                let acks = link.wait(limit, wait.arg(most_of(limit)))?;
                match &acks {
                    Some(acks) if self.is_reached(acks) => {}
                    // The call is sent again: a connection waits for what was written on it.
                    None if Instant::now() < limit => continue 'sent,
                    Some(_) | None => {
                        let within = link.address().timeout;
                        let found = self.found(acks.as_deref());
                        return Err(SharedLogError::NotDurable { within, found });
                    }
                }
            }
            return Ok(answer);
        }
    }

    /// Says in the log which node it is, where that is news.
    pub(super) fn tell_news(&self, before: Option<&Self>) {
        let before = before.and_then(|before| before.node.as_ref());
        if let Some(node) = self.node.as_ref().filter(|node| before != Some(node)) {
            let is_cluster = self.is_cluster;
            tracing::info!(%node, is_cluster, "the shared log is at this node");
        }
    }

    /// Returns the calls that wait one after the other until a group is durable, each without its time. A replica tells what it
    /// has synced when it is asked, and else once a second. It is asked once by each wait, and one that is asked as the group
    /// comes has not synced it yet: so the first wait is for the group to be there.
    fn waits(&self) -> impl Iterator<Item = Cmd> {
        let there = (self.replicas > 0).then(|| {
            let mut call = redis::cmd("WAIT");
            call.arg(self.replicas);
            call
        });
        let on_disk = self.tells_of_disks.then(|| {
            let mut call = redis::cmd("WAITAOF");
            call.arg(1).arg(self.replicas);
            call
        });
        there.into_iter().chain(on_disk)
    }

    /// Says what a wait that was not reached found, and the likely cause.
    fn found(&self, acks: Option<&[u32]>) -> String {
        let wanted = self.replicas;
        match acks {
            Some([0, _]) => {
                "the primary has not synced it: its disk is slow, or appendonly is off".to_owned()
            }
            Some([_, replicas]) => format!(
                "{replicas} of {wanted} replicas have synced it; each needs `appendonly yes` and `appendfsync always` as well"
            ),
            Some([replicas]) => {
                format!("{replicas} of {wanted} replicas have it: one is gone or far behind")
            }
            _ => "Redis did not say who has it".to_owned(),
        }
    }

    /// Whether that is what was waited for: replicas, or the primary's disk and those of replicas.
    fn is_reached(&self, answer: &[u32]) -> bool {
        match answer {
            [replicas] => *replicas >= self.replicas,
            [local, replicas] => *local >= 1 && *replicas >= self.replicas,
            _ => false,
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(node) = &self.node {
            let kind = if self.is_cluster { " of a Cluster" } else { "" };
            write!(out, "it is at {node}{kind}; ")?;
        }
        match self.replicas {
            0 => out.write_str("a group is acknowledged once the primary has it on disk"),
            1 => out.write_str("a group is acknowledged once the primary and a replica have it"),
            replicas => write!(
                out,
                "a group is acknowledged once the primary and {replicas} replicas have it"
            ),
        }
    }
}

/// Checks the settings of a replica, by the line of its primary about it. One that cannot be asked from here is not judged.
fn check_replica(link: &mut Link, limit: Instant, line: &str) -> Result<(), SharedLogError> {
    let (_, fields) = line.split_once(':').unwrap_or_default();
    let field = |name: &str| {
        // The address may have colons.
        let mut fields = fields.split(',');
        fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
    };
    let (host, port) = (
        field("ip"),
        field("port").and_then(|port| port.parse().ok()),
    );
    let (Some(by), Some(host), Some(port)) = (link.node(), host, port) else {
        return Ok(());
    };
    let replica = beside(by, host.to_owned(), port);
    let limit = limit.min(Instant::now() + ASKS_REPLICA);
    let wanted = [("appendonly", "yes"), ("appendfsync", "always")];
    let mut call = redis::cmd("CONFIG");
    call.arg("GET").arg(&wanted.map(|(name, _)| name));
    let found: HashMap<String, String> = link.ask_at(&replica, limit, &call).unwrap_or_default();
    for (name, wanted) in wanted {
        if let Some(found) = found.get(name).filter(|found| *found != wanted) {
            let name = format!("{name} of its replica {replica}");
            return Err(unsafe_setting(&name, found, wanted));
        }
    }
    Ok(())
}

/// Returns most of the time until then in milliseconds, so that the answer to a wait comes within it.
fn most_of(limit: Instant) -> u64 {
    let left = limit.saturating_duration_since(Instant::now());
    let millis = u64::try_from(left.mul_f64(0.9).as_millis()).unwrap_or(u64::MAX);
    // Redis takes 0 for without an end.
    millis.max(1)
}

fn unsafe_setting(name: &str, found: &str, wanted: &'static str) -> SharedLogError {
    SharedLogError::Setting {
        name: name.to_owned(),
        found: found.to_owned(),
        wanted,
    }
}

/// Whether a version such as `7.0.15` is that one or a later one.
fn at_least(version: &str, major: u32, minor: u32) -> bool {
    let mut numbers = version.split('.').map_while(|number| number.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_compared_by_its_numbers() {
        for (version, is) in [
            ("7.2", true),
            ("7.10.1", true),
            ("8.0", true),
            ("7.0.15", false),
            ("", false),
        ] {
            assert_eq!(at_least(version, 7, 2), is, "{version}");
        }
    }

    #[test]
    fn a_group_is_durable_only_where_all_have_it_that_were_waited_for() {
        let told = Durability {
            node: None,
            is_cluster: false,
            replicas: 2,
            tells_of_disks: true,
        };
        assert!(told.is_reached(&[1, 2]));
        assert!(!told.is_reached(&[0, 2]) && !told.is_reached(&[1, 1]) && !told.is_reached(&[1]));
        let synced = Durability {
            node: None,
            is_cluster: false,
            replicas: 1,
            tells_of_disks: false,
        };
        assert!(synced.is_reached(&[1]) && !synced.is_reached(&[0]) && !synced.is_reached(&[]));
        let on_one = "1 of 2 replicas have synced it; each needs `appendonly yes`";
        for (durability, acks, want) in [
            (&told, &[0, 2][..], "the primary has not synced it"),
            (&told, &[1, 1][..], on_one),
            (&synced, &[0][..], "0 of 1 replicas have it"),
        ] {
            let found = durability.found(Some(acks));
            assert!(found.contains(want), "{found}");
        }
        let words = |durability: &Durability| -> Vec<_> {
            let waits = durability.waits();
            waits.map(|wait| wait.get_packed_command()).collect()
        };
        // One that asks the replicas before they have it would wait a second.
        let [first, second] = &words(&told)[..] else {
            panic!("{:?}", words(&told));
        };
        assert!(first.ends_with(b"$4\r\nWAIT\r\n$1\r\n2\r\n"));
        assert!(second.ends_with(b"$7\r\nWAITAOF\r\n$1\r\n1\r\n$1\r\n2\r\n"));
        assert_eq!(words(&synced).len(), 1);
        let alone = Durability {
            node: None,
            is_cluster: false,
            replicas: 0,
            tells_of_disks: false,
        };
        assert!(words(&alone).is_empty());
    }
}
