//! A connection to the Redis that holds the log: one call at a time, each within a limit of time.

use std::thread;
use std::time::{Duration, Instant};

use redis::{
    Cmd, Connection, ConnectionLike, ErrorKind, FromRedisValue, ParsingError, RedisError,
    ServerErrorKind, Value,
};
use sha1_smol::Sha1;

use super::address::LogAddress;
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

/// A connection, opened when it is needed.
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

    /// Sends a call once and returns its answer.
    pub(super) fn ask<T: FromRedisValue>(&mut self, call: &Cmd) -> Result<T, SharedLogError> {
        self.try_once(call).map_err(|error| self.failed(&error))
    }

    /// Sends a call of a script once, and loads the script where Redis does not have it.
    pub(super) fn call<T: FromRedisValue>(
        &mut self,
        script: &Script,
        call: &Cmd,
    ) -> Result<T, SharedLogError> {
        self.load_and_try(script, call)
            .map_err(|error| self.failed(&error))
    }

    /// Sends a call of a script, and again for as long as no answer comes, on new connections: only for one that does
    /// nothing when it is done for the second time.
    ///
    /// # Errors
    /// When no answer came in time, and when Redis refuses.
    pub(super) fn insist<T: FromRedisValue>(
        &mut self,
        script: &Script,
        call: &Cmd,
    ) -> Result<T, SharedLogError> {
        let end = Instant::now() + self.address.timeout;
        loop {
            match self.load_and_try(script, call) {
                Ok(answer) => return Ok(answer),
                // Nobody says when Redis is there again, and the caller has nothing else to do before it is.
                Err(error) if may_pass(&error) && Instant::now() < end => thread::sleep(PAUSE),
                Err(error) => return Err(self.failed(&error)),
            }
        }
    }

    /// Sends a wait for disks and replicas on the connection of the last call; `None` when it broke since, so that nobody
    /// knows what to wait for.
    ///
    /// # Errors
    /// When Redis refuses.
    pub(super) fn wait(&mut self, wait: &Cmd) -> Result<Option<Vec<u32>>, SharedLogError> {
        match self.try_once::<Acks>(wait) {
            Ok(Acks(acks)) => Ok(Some(acks)),
            Err(error) if may_pass(&error) => Ok(None),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Returns where it leads.
    pub(super) fn address(&self) -> &LogAddress {
        &self.address
    }

    fn load_and_try<T: FromRedisValue>(
        &mut self,
        script: &Script,
        call: &Cmd,
    ) -> Result<T, RedisError> {
        match self.try_once(call) {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                let mut load = redis::cmd("SCRIPT");
                self.try_once::<String>(load.arg("LOAD").arg(script.text))?;
                self.try_once(call)
            }
            answer => answer,
        }
    }

    fn try_once<T: FromRedisValue>(&mut self, call: &Cmd) -> Result<T, RedisError> {
        let timeout = self.address.timeout;
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => {
                let opened = self
                    .address
                    .url
                    .target
                    .get_connection_with_timeout(timeout)?;
                opened.set_read_timeout(Some(timeout))?;
                opened.set_write_timeout(Some(timeout))?;
                self.connection.insert(opened)
            }
        };
        let answer = call.query(connection);
        // What is still to come on a connection that failed would be taken for the next answer.
        let is_answered = match &answer {
            Ok(_) => true,
            Err(error) => matches!(error.kind(), ErrorKind::Server(_)) && connection.is_open(),
        };
        if !is_answered {
            self.connection = None;
        }
        answer
    }

    fn failed(&self, error: &RedisError) -> SharedLogError {
        SharedLogError::Redis(self.address.url.told(error))
    }
}

/// Whether the same call may succeed a moment later.
fn may_pass(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(kind) => matches!(
            kind,
            ServerErrorKind::BusyLoading
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::TryAgain
                | ServerErrorKind::NoScript
        ),
        ErrorKind::Io => true,
        _ => error.is_timeout() || error.is_connection_dropped(),
    }
}
