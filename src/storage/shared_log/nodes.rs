//! Which node has the log. Several may be listed: those of a Redis Cluster, or a primary and its replicas. Redis tells which
//! it is, by what it answers to a question about the cell: a node of a Cluster that does not have it names the one that has.
//!
//! Kept out: slots. All keys of the log are in one, and whoever is asked knows whose that is.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use redis::{Client, Connection, ConnectionAddr, ErrorKind, RedisError, ServerErrorKind, Value};

use super::address::RedisNodes;
use super::reaction::is_forbidden;

/// A node gets at most one part in so many of the time that is left, while others may be asked after it.
const SHARES: u32 = 3;

/// How long a node may take to say whether it is a primary, where one was found already.
const AFTER_FOUND: Duration = Duration::from_millis(500);

/// Most nodes of a Cluster that are remembered.
const MOST_LEARNED: usize = 100;

/// A connection, and where it leads.
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) node: ConnectionAddr,
    /// Tells it from all others of its link.
    pub(super) number: u64,
}

/// The nodes that may be asked.
pub(super) struct Nodes {
    listed: RedisNodes,
    /// Where to ask first: the one that had the log last, or is told to have it.
    first: Option<ConnectionAddr>,
    /// The other nodes of the Cluster, as one of them told.
    learned: Vec<ConnectionAddr>,
    /// Whether it is a Cluster; `None` where that is not known.
    is_cluster: Option<bool>,
    /// How many connections were opened.
    opened: u64,
}

/// Who has the log, as a node says.
enum Owner {
    Itself,
    Other(ConnectionAddr),
}

impl Nodes {
    /// Takes those that are listed.
    pub(super) fn new(listed: RedisNodes) -> Self {
        Self {
            listed,
            first: None,
            learned: Vec::new(),
            is_cluster: None,
            opened: 0,
        }
    }

    /// Whether another one may have the log than the one that was asked.
    pub(super) fn are_several(&self) -> bool {
        !self.listed.others.is_empty() || self.is_cluster()
    }

    /// Whether it is a Cluster, as far as a node was asked.
    pub(super) fn is_cluster(&self) -> bool {
        self.is_cluster == Some(true)
    }

    /// Has that one be asked first, as another one told.
    pub(super) fn prefer(&mut self, node: ConnectionAddr) {
        self.is_cluster = Some(true);
        self.first = Some(node);
    }

    /// Connects to the primary that has a key.
    ///
    /// # Errors
    /// What the one said that could be asked, or why none could be.
    pub(super) fn find(&mut self, key: &str, limit: Instant) -> Result<Opened, RedisError> {
        let mut waiting: VecDeque<_> = self.first.take().into_iter().collect();
        waiting.extend(self.listed.all().map(address));
        waiting.extend(self.learned.iter().cloned());
        let mut asked: Vec<ConnectionAddr> = Vec::new();
        let mut found: Option<Opened> = None;
        let mut failed: Option<RedisError> = None;
        while let Some(node) = waiting.pop_front() {
            if asked.contains(&node) {
                continue;
            }
            asked.push(node.clone());
            waiting.retain(|other| *other != node);
            let parts = u32::try_from(waiting.len() + 1).unwrap_or(SHARES);
            let Ok(left) = left(limit) else { break };
            let share = match found {
                // It is only asked whether it takes itself for a primary as well.
                Some(_) => (left / 2).min(AFTER_FOUND),
                None => left / parts.min(SHARES),
            };
            match self.ask(&node, key, Instant::now() + share) {
                Ok((opened, Owner::Itself)) => {
                    if let Some(other) = &found {
                        return Err(two_primaries(&other.node, &opened.node));
                    }
                    let is_certain = self.is_cluster() || waiting.is_empty();
                    found = Some(opened);
                    if is_certain {
                        break;
                    }
                }
                Ok((_, Owner::Other(other))) => waiting.push_front(other),
                Err(error) => failed = Some(the_clearer(failed, error)),
            }
        }
        let Some(found) = found else {
            let late = || io::Error::from(io::ErrorKind::TimedOut).into();
            return Err(failed.unwrap_or_else(late));
        };
        self.first = self.is_cluster().then(|| found.node.clone());
        Ok(found)
    }

    /// Connects to a node, and asks it who has a key.
    fn ask(
        &mut self,
        node: &ConnectionAddr,
        key: &str,
        limit: Instant,
    ) -> Result<(Opened, Owner), RedisError> {
        let mut opened = self.connect(node, limit)?;
        let connection = &mut opened.connection;
        let owner = match redis::cmd("EXISTS").arg(key).query::<u64>(connection) {
            Ok(_) => Owner::Itself,
            Err(error) => match (error.kind(), target(&error, node)) {
                (ErrorKind::Server(ServerErrorKind::Moved), Some(other)) => Owner::Other(other),
                // It has the slot, and is giving it away.
                (ErrorKind::Server(ServerErrorKind::Ask), _) => Owner::Itself,
                (ErrorKind::Server(kind), _) if tells_nothing(kind) => return Err(error),
                _ if error.code().is_none() => return Err(error),
                // Who may not ask that is told so by the look at its rights.
                _ => Owner::Itself,
            },
        };
        if let Owner::Itself = owner {
            check_role(connection)?;
        } else {
            self.is_cluster = Some(true);
        }
        if self.is_cluster != Some(false) {
            self.learn(&mut opened)?;
        }
        Ok((opened, owner))
    }

    /// Connects to a node, for calls that each have to be over by then.
    pub(super) fn connect(
        &mut self,
        node: &ConnectionAddr,
        limit: Instant,
    ) -> Result<Opened, RedisError> {
        // A node that another one named is reached as those that are listed.
        let info = self.listed.first.get_connection_info().clone();
        let client = Client::open(info.set_addr(node.clone()))?;
        let connection = client.get_connection_with_timeout(left(limit)?)?;
        set_limit(&connection, limit)?;
        self.opened += 1;
        Ok(Opened {
            connection,
            node: node.clone(),
            number: self.opened,
        })
    }

    /// Learns which nodes a Cluster has.
    fn learn(&mut self, of: &mut Opened) -> Result<(), RedisError> {
        let slots = redis::cmd("CLUSTER").arg("SLOTS").query(&mut of.connection);
        let slots: Vec<Vec<Value>> = match slots {
            Ok(slots) => slots,
            Err(error) if !is_forbidden(&error) => return Err(error),
            // It is none, or does not tell.
            Err(_) => {
                self.is_cluster.get_or_insert(false);
                return Ok(());
            }
        };
        self.is_cluster = Some(true);
        // Of each range of slots: the first, the last, and nodes, each with host and port.
        let nodes = slots
            .into_iter()
            .flat_map(|range| range.into_iter().skip(2));
        let mut learned = Vec::new();
        for node in nodes {
            let Ok(parts) = redis::from_redis_value::<Vec<Value>>(node) else {
                continue;
            };
            let mut parts = parts.into_iter();
            let host = parts
                .next()
                .and_then(|host| redis::from_redis_value(host).ok());
            let port = parts
                .next()
                .and_then(|port| redis::from_redis_value(port).ok());
            let Some(port) = port else { continue };
            let node = beside(&of.node, host.unwrap_or_default(), port);
            if learned.len() < MOST_LEARNED && !learned.contains(&node) {
                learned.push(node);
            }
        }
        self.learned = learned;
        Ok(())
    }
}

/// Returns the node that a redirection of the node `by` names.
pub(super) fn target(error: &RedisError, by: &ConnectionAddr) -> Option<ConnectionAddr> {
    let (told, _) = error.redirect_node()?;
    let (host, port) = told.rsplit_once(':')?;
    Some(beside(by, host.to_owned(), port.parse().ok()?))
}

/// Returns the address of a node that another one names: without a host it is at the same one.
pub(super) fn beside(by: &ConnectionAddr, host: String, port: u16) -> ConnectionAddr {
    let is_named = !host.is_empty() && host != "?";
    match by.clone() {
        ConnectionAddr::TcpTls {
            host: same,
            insecure,
            tls_params,
            ..
        } => ConnectionAddr::TcpTls {
            host: if is_named { host } else { same },
            port,
            insecure,
            tls_params,
        },
        ConnectionAddr::Tcp(same, _) => {
            ConnectionAddr::Tcp(if is_named { host } else { same }, port)
        }
        _ => ConnectionAddr::Tcp(host, port),
    }
}

fn address(client: &Client) -> ConnectionAddr {
    client.get_connection_info().addr().clone()
}

/// Whether a node that says so cannot tell who has a key: another one may.
fn tells_nothing(kind: ServerErrorKind) -> bool {
    use ServerErrorKind::{BusyLoading, ClusterDown, MasterDown};
    matches!(kind, BusyLoading | ClusterDown | MasterDown)
}

/// Returns the error that says more: the later one, but what Redis said before what the network did.
fn the_clearer(before: Option<RedisError>, error: RedisError) -> RedisError {
    match before {
        Some(before) if before.code().is_some() && error.code().is_none() => before,
        Some(_) | None => error,
    }
}

fn two_primaries(one: &ConnectionAddr, other: &ConnectionAddr) -> RedisError {
    let told = format!("{one} and {other} both are primaries, and only one can have the log");
    redis::make_extension_error("PRIMARIES".to_owned(), Some(told))
}

/// Checks that a connection leads to a primary: a replica answers reads, however far it is behind.
pub(super) fn check_role(connection: &mut Connection) -> Result<(), RedisError> {
    let role: Vec<Value> = match redis::cmd("ROLE").query(connection) {
        Ok(role) => role,
        // Who may not ask, as with those who rent theirs, has to believe.
        Err(error) if is_forbidden(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    let role = role.into_iter().next().unwrap_or(Value::Nil);
    let role: String = redis::from_redis_value(role)?;
    if role == "master" {
        return Ok(());
    }
    let told = format!("its role is {role}");
    Err(redis::make_extension_error(
        "READONLY".to_owned(),
        Some(told),
    ))
}

pub(super) fn set_limit(connection: &Connection, limit: Instant) -> Result<(), RedisError> {
    let left = left(limit)?;
    connection.set_read_timeout(Some(left))?;
    connection.set_write_timeout(Some(left))
}

/// Returns how long it is until then.
fn left(limit: Instant) -> Result<Duration, RedisError> {
    let left = limit.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::Error::from(io::ErrorKind::TimedOut).into());
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(told: &str) -> RedisError {
        let kind = ErrorKind::Server(ServerErrorKind::Moved);
        RedisError::from((kind, "moved", format!("3999 {told}")))
    }

    #[test]
    fn a_redirection_names_a_node_that_is_reached_as_the_one_that_named_it() {
        let plain = ConnectionAddr::Tcp("h1".to_owned(), 6379);
        for (told, node) in [
            ("10.0.0.2:6380", "10.0.0.2:6380"),
            ("fd00::2:6380", "fd00::2:6380"),
            (":6380", "h1:6380"),
            ("?:6380", "h1:6380"),
        ] {
            let found = target(&moved(told), &plain).unwrap();
            assert_eq!(found.to_string(), node, "{told}");
        }
        for told in ["", "10.0.0.2", "10.0.0.2:none"] {
            assert!(target(&moved(told), &plain).is_none(), "{told}");
        }
        let client = Client::open("rediss://h1:6379").unwrap();
        let found = target(&moved("h2:6380"), &address(&client)).unwrap();
        let ConnectionAddr::TcpTls { host, insecure, .. } = found else {
            panic!("{found}: without TLS");
        };
        assert_eq!((&*host, insecure), ("h2", false));
    }

    #[test]
    fn what_redis_said_is_told_rather_than_that_another_node_is_away() {
        let away = || RedisError::from(io::Error::from(io::ErrorKind::ConnectionRefused));
        let said = || redis::make_extension_error("CLUSTERDOWN".to_owned(), None);
        for (before, after) in [(away(), said()), (said(), away())] {
            let told = the_clearer(Some(before), after);
            assert_eq!(told.code(), Some("CLUSTERDOWN"));
        }
    }
}
