//! A connection to the Redis that holds the log: one call at a time, each within a limit of time.

use std::time::{Duration, Instant};

use redis::{
    Cmd, Connection, ConnectionLike, ErrorKind, FromRedisValue, RedisError, ServerErrorKind,
};
use sha1_smol::Sha1;

use crate::masking::SecretUrl;
use crate::storage::shared_log_error::SharedLogError;

/// How long to wait between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// Where the log is, and how long it may take.
#[derive(Clone, Debug)]
pub struct LogAddress {
    /// The Redis.
    pub url: SecretUrl<redis::Client>,
    /// What every key begins with.
    pub prefix: String,
    /// How long an answer may take, over all tries.
    pub timeout: Duration,
}

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

    /// Sends a call of a script, and again for as long as no answer comes, on new connections: only for one that does
    /// nothing when it is done for the second time. Loads the script where Redis does not have it.
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
            let error = match self.try_once(call) {
                Ok(answer) => return Ok(answer),
                Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                    let mut load = redis::cmd("SCRIPT");
                    match self.try_once::<()>(load.arg("LOAD").arg(script.text)) {
                        Ok(()) => continue,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            if !may_pass(&error) || Instant::now() >= end {
                return Err(self.failed(&error));
            }
            std::thread::sleep(PAUSE);
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
        if answer.is_err() && !connection.is_open()
            || answer
                .as_ref()
                .is_err_and(|error| !matches!(error.kind(), ErrorKind::Server(_)))
        {
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
