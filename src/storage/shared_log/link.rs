//! A connection to the Redis that holds the log: one call at a time, each within a limit of time.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use redis::{
    Cmd, Connection, ConnectionLike, ErrorKind, FromRedisValue, ParsingError, RedisError,
    ServerErrorKind, Value,
};
use sha1_smol::Sha1;

use super::address::LogAddress;
use super::reaction::{Reaction, judge, said};
use crate::storage::shared_log_error::SharedLogError;

/// How long to wait between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// A script, by its text and the digest that Redis knows it by.
pub(super) struct Script {
    text: &'static str,
    digest: String,
}

impl Script {
    pub(super) fn new(text: &'static str) -> Self {
        Self {
            text,
            digest: Sha1::from(text).digest().to_string(),
        }
    }

    /// Begins a call with these keys.
    pub(super) fn call(&self, keys: &[String]) -> Cmd {
        let mut call = redis::cmd("EVALSHA");
        call.arg(&self.digest).arg(keys.len()).arg(keys);
        call
    }
}

/// The answer of `WAIT` and `WAITAOF`.
struct Acks(Vec<u32>);

impl FromRedisValue for Acks {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        match value {
            Value::Int(_) => u32::from_redis_value(value).map(|count| Self(vec![count])),
            several => Vec::from_redis_value(several).map(Self),
        }
    }
}

/// A connection, opened when it is needed. Every call is given the instant by which it has to be over.
pub(super) struct Link {
    address: LogAddress,
    connection: Option<Connection>,
}

impl Link {
    pub(super) fn new(address: LogAddress) -> Self {
        Self {
            address,
            connection: None,
        }
    }

    /// Returns by when what begins now has to be over, however many calls it takes.
    pub(super) fn limit(&self) -> Instant {
        Instant::now() + self.address.timeout
    }

    /// Sends a call once and returns its answer.
    pub(super) fn ask<T: FromRedisValue>(
        &mut self,
        limit: Instant,
        call: &Cmd,
    ) -> Result<T, SharedLogError> {
        self.try_once(limit, call)
            .map_err(|failed| self.unknown(&failed))
    }

    /// Sends a call of a script once, and loads the script where Redis does not have it.
    pub(super) fn call<T: FromRedisValue>(
        &mut self,
        limit: Instant,
        script: &Script,
        call: &Cmd,
    ) -> Result<T, SharedLogError> {
        self.load_and_try(limit, script, call)
            .map_err(|failed| self.unknown(&failed))
    }

    /// Sends a call of a script, and again for as long as no answer comes, on new connections: only for one that does
    /// nothing when it is done for the second time.
    ///
    /// # Errors
    /// When no answer came in time, and when Redis refuses: [`SharedLogError::RedisRefused`] where no try of this call can have
    /// done anything.
    pub(super) fn insist<T: FromRedisValue>(
        &mut self,
        limit: Instant,
        script: &Script,
        call: &Cmd,
    ) -> Result<T, SharedLogError> {
        let mut may_be_done = false;
        loop {
            let failed = match self.load_and_try(limit, script, call) {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            let (reaction, remedy) = judge(&failed.error, failed.is_sent);
            may_be_done |= matches!(reaction, Reaction::Unanswered | Reaction::Unknown);
            let goes_on = matches!(reaction, Reaction::Again | Reaction::Unanswered);
            if goes_on && Instant::now() + PAUSE < limit {
                // Nobody says when Redis is there again, and the caller has nothing else to do before it is.
                thread::sleep(PAUSE);
                continue;
            }
            if may_be_done {
                return Err(self.unknown(&failed));
            }
            let said = self.told(&failed);
            return Err(SharedLogError::RedisRefused { said, remedy });
        }
    }

    /// Sends a wait for disks and replicas on the connection of the last call; `None` when it broke since, so that nobody
    /// knows what to wait for.
    ///
    /// # Errors
    /// When Redis refuses.
    pub(super) fn wait(
        &mut self,
        limit: Instant,
        wait: &Cmd,
    ) -> Result<Option<Vec<u32>>, SharedLogError> {
        match self.try_once::<Acks>(limit, wait) {
            Ok(Acks(acks)) => Ok(Some(acks)),
            Err(failed) => match judge(&failed.error, failed.is_sent).0 {
                Reaction::Again | Reaction::Unanswered => Ok(None),
                Reaction::Refused | Reaction::Unknown => Err(self.unknown(&failed)),
            },
        }
    }

    /// Checks that the connection still leads to a primary; a new one is checked when it is opened.
    pub(super) fn check_role(&mut self, limit: Instant) -> Result<(), SharedLogError> {
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        let checked = set_limit(connection, limit).and_then(|()| check_role(connection));
        checked.map_err(|error| {
            self.connection = None;
            let is_sent = false;
            self.unknown(&FailedTry { error, is_sent })
        })
    }

    /// Returns where it leads.
    pub(super) fn address(&self) -> &LogAddress {
        &self.address
    }

    fn load_and_try<T: FromRedisValue>(
        &mut self,
        limit: Instant,
        script: &Script,
        call: &Cmd,
    ) -> Result<T, FailedTry> {
        match self.try_once(limit, call) {
            Err(failed) if failed.lacks_script() => {
                let mut load = redis::cmd("SCRIPT");
                let loaded = self.try_once::<String>(limit, load.arg("LOAD").arg(script.text));
                // The call itself is not sent before.
                loaded.map_err(|failed| FailedTry {
                    is_sent: false,
                    ..failed
                })?;
                self.try_once(limit, call)
            }
            answer => answer,
        }
    }

    fn try_once<T: FromRedisValue>(&mut self, limit: Instant, call: &Cmd) -> Result<T, FailedTry> {
        let unsent = |error| FailedTry {
            error,
            is_sent: false,
        };
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => {
                let opened = open(&self.address, limit).map_err(unsent)?;
                self.connection.insert(opened)
            }
        };
        set_limit(connection, limit).map_err(unsent)?;
        let answer = call.query(connection);
        // What is still to come on a connection that failed would be taken for the next answer, and a server that became
        // read-only is the wrong one.
        let is_kept = match &answer {
            Ok(_) => true,
            Err(error) => {
                let is_right = |kind| kind != ServerErrorKind::ReadOnly;
                matches!(error.kind(), ErrorKind::Server(kind) if is_right(kind))
                    && connection.is_open()
            }
        };
        if !is_kept {
            self.connection = None;
        }
        answer.map_err(|error| FailedTry {
            error,
            is_sent: true,
        })
    }

    fn unknown(&self, failed: &FailedTry) -> SharedLogError {
        SharedLogError::Redis(self.told(failed))
    }

    fn told(&self, failed: &FailedTry) -> String {
        self.address.url.told(said(&failed.error))
    }
}

/// Why a try failed.
struct FailedTry {
    error: RedisError,
    /// Whether the call may have been sent.
    is_sent: bool,
}

impl FailedTry {
    fn lacks_script(&self) -> bool {
        self.error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
    }
}

fn open(address: &LogAddress, limit: Instant) -> Result<Connection, RedisError> {
    let client = &address.url.target;
    let mut opened = client.get_connection_with_timeout(left(limit)?)?;
    set_limit(&opened, limit)?;
    check_role(&mut opened)?;
    Ok(opened)
}

/// Checks that a connection leads to a primary: a replica answers reads, however far it is behind.
fn check_role(connection: &mut Connection) -> Result<(), RedisError> {
    let role: Vec<Value> = match redis::cmd("ROLE").query(connection) {
        Ok(role) => role,
        // Who may not ask, as with those who rent theirs, has to believe.
        Err(error) if error.code().is_some() => return Ok(()),
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

fn set_limit(connection: &Connection, limit: Instant) -> Result<(), RedisError> {
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
