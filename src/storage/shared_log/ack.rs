//! When a group in the log may be acknowledged: once the primary has it on disk, and so many replicas have it.

use std::time::{Duration, Instant};
use std::{fmt, mem};

use redis::{Cmd, ConnectionAddr, FromRedisValue};

use super::address::{Ack, LogAddress};
use super::link::{Link, Script};
use crate::storage::shared_log_error::SharedLogError;

/// What Redis is asked for after each group, and what it has to answer.
#[derive(Debug)]
pub(super) struct Durability {
    /// Which node it was asked of; `None` where that cannot be known.
    node: Option<ConnectionAddr>,
    /// Whether that is one of a Cluster.
    is_cluster: bool,
    replicas: u32,
    /// Whether Redis tells when a group is on disk (7.2 and later). An earlier one syncs before it answers, as its settings
    /// were found to say.
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
            ("appendfsync", if tells_of_disks { "" } else { "always" }),
            ("maxmemory-policy", "noeviction"),
        ] {
            let mut call = redis::cmd("CONFIG");
            // Where settings cannot be read, as with those who rent theirs, nobody is judged by them.
            let found = link.ask_if_allowed::<Vec<String>>(limit, call.arg("GET").arg(name))?;
            if let Some([_, found]) = found.as_deref()
                && !wanted.is_empty()
                && found != wanted
            {
                return Err(unsafe_setting(name, found, wanted));
            }
        }
        // One that still takes in the whole acknowledges nothing.
        let lines = info.lines();
        let replicas =
            lines.filter(|line| line.starts_with("slave") && line.contains("state=online"));
        let connected = u32::try_from(replicas.count()).unwrap_or(u32::MAX);
        if ack == Ack::Replicas && connected < min_replicas {
            return Err(SharedLogError::Replicas {
                connected,
                wanted: min_replicas,
            });
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
        loop {
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
            let Some(wait) = self.wait(limit.saturating_duration_since(Instant::now())) else {
                return Ok(answer);
            };
            let acks = link.wait(limit, &wait)?;
            match &acks {
                Some(acks) if self.is_reached(acks) => return Ok(answer),
                // The call is sent again: a connection waits for what was written on it.
                None if Instant::now() < limit => {}
                Some(_) | None => {
                    let within = link.address().timeout;
                    let found = self.found(acks.as_deref());
                    return Err(SharedLogError::NotDurable { within, found });
                }
            }
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

    /// Returns the call that waits until a group is durable, for most of the time that is left, so that its answer comes
    /// within it; `None` where nothing is to be waited for.
    fn wait(&self, left: Duration) -> Option<Cmd> {
        let millis = u64::try_from(left.mul_f64(0.9).as_millis()).unwrap_or(u64::MAX);
        // Redis takes 0 for without an end.
        let millis = millis.max(1);
        let mut call;
        if self.tells_of_disks {
            call = redis::cmd("WAITAOF");
            call.arg(1).arg(self.replicas).arg(millis);
        } else if self.replicas > 0 {
            call = redis::cmd("WAIT");
            call.arg(self.replicas).arg(millis);
        } else {
            return None;
        }
        Some(call)
    }

    /// Says what a wait that was not reached found, and the likely cause.
    fn found(&self, acks: Option<&[u32]>) -> String {
        let wanted = self.replicas;
        match (self.tells_of_disks, acks) {
            (true, Some([0, _])) => {
                "the primary has not synced it: its disk is slow, or appendonly is off".to_owned()
            }
            (true, Some([_, replicas])) => format!(
                "{replicas} of {wanted} replicas have synced it; each needs `appendonly yes` as well, and must not be far behind"
            ),
            (_, Some([replicas])) => {
                format!("{replicas} of {wanted} replicas have it: one is gone or far behind")
            }
            (_, _) => "Redis did not say who has it".to_owned(),
        }
    }

    /// Whether that is what was waited for.
    fn is_reached(&self, answer: &[u32]) -> bool {
        match (self.tells_of_disks, answer) {
            (true, [local, replicas]) => *local >= 1 && *replicas >= self.replicas,
            (false, [replicas]) => *replicas >= self.replicas,
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
        assert!(!told.is_reached(&[0, 2]) && !told.is_reached(&[1, 1]) && !told.is_reached(&[2]));
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
        assert!(synced.wait(Duration::from_secs(1)).is_some());
        let alone = Durability {
            node: None,
            is_cluster: false,
            replicas: 0,
            tells_of_disks: false,
        };
        assert!(alone.wait(Duration::from_secs(1)).is_none());
    }
}
