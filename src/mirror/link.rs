//! A connection to Redis, with a limit on every wait.

use std::future::Future;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult,
    Script, ScriptInvocation, ServerErrorKind,
};

use super::script::{self, Keys};
use super::{MirrorError, MirrorOptions, RedisUrl};
use crate::background::runtime;
use crate::storage::{CopyConflict, CopyContents, CopyMark, CopyOwner, Lineage};

/// A connection, the longest wait for an answer, and the names of our keys.
pub(super) struct Wire {
    connection: MultiplexedConnection,
    timeout: Duration,
    url: RedisUrl,
    pub(super) keys: Keys,
}

/// A connection, and the digests of the scripts whose calls are sent together.
pub(super) struct ScriptLink {
    pub(super) wire: Wire,
    pub(super) write: String,
    pub(super) users: String,
    pub(super) forget: String,
}

/// Whose the keys were at one moment.
struct KeysSeen {
    owner: CopyOwner,
    /// The epoch in the marker; 0 where there is none.
    epoch: u64,
    /// Lineage and epoch of the marker as they stand there.
    marker: [Vec<u8>; 2],
}

/// What calls wrote, and what they found.
#[derive(Default)]
pub(super) struct CallsDone {
    /// How many counters, or users, they wrote.
    pub(super) written: u64,
    /// The highest later epoch that they found; 0 where they found none.
    pub(super) later_epoch: u64,
    /// The highest revision of this epoch that the store has not come to; 0 where they found none.
    pub(super) ahead: u64,
}

/// Why calls that write were not all carried out.
pub(super) enum CallFault {
    /// The marker is no longer ours: Redis lost what was written, or another mirror took over. The id that is in the
    /// marker now.
    Lost(String),
    Failed(MirrorError),
}

impl<E: Into<MirrorError>> From<E> for CallFault {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Wire {
    /// Connects.
    pub(super) async fn open(options: &MirrorOptions) -> Result<Self, MirrorError> {
        let (url, timeout) = (&options.url, options.timeout);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(timeout))
            .set_response_timeout(Some(timeout));
        let connecting = url
            .client
            .get_multiplexed_async_connection_with_config(&config);
        match tokio::time::timeout(timeout, connecting).await {
            Ok(Ok(connection)) => Ok(Self {
                connection,
                timeout,
                url: url.clone(),
                keys: Keys::new(&options.prefix),
            }),
            Ok(Err(error)) if error.kind() == ErrorKind::AuthenticationFailed => {
                Err(MirrorError::Refused(url.told(&error)))
            }
            Ok(Err(error)) if !error.is_timeout() => Err(MirrorError::Connect(url.told(&error))),
            Ok(Err(_)) | Err(_) => Err(MirrorError::Late(timeout)),
        }
    }

    pub(super) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, MirrorError> {
        let connection = &mut self.connection.clone();
        self.in_time(command.query_async(connection)).await
    }

    /// Calls a script, which is loaded first if Redis does not have it.
    pub(super) async fn call<T: FromRedisValue>(
        &self,
        call: &ScriptInvocation<'_>,
    ) -> Result<T, MirrorError> {
        let connection = &mut self.connection.clone();
        self.in_time(call.invoke_async(connection)).await
    }

    /// Loads a script and returns its digest.
    async fn load(&self, script: &str) -> Result<String, MirrorError> {
        self.ask(redis::cmd("SCRIPT").arg("LOAD").arg(script)).await
    }

    async fn in_time<T>(
        &self,
        answer: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, MirrorError> {
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(answer) => answer.map_err(|error| self.error(&error)),
            Err(_) => Err(MirrorError::Late(self.timeout)),
        }
    }

    fn error(&self, error: &RedisError) -> MirrorError {
        let text = self.url.told(error);
        if error.is_timeout() {
            return MirrorError::Late(self.timeout);
        }
        match error.kind() {
            // Redis has just started: it reads what it had saved, or has no scripts.
            ErrorKind::Server(ServerErrorKind::BusyLoading | ServerErrorKind::NoScript) => {
                MirrorError::Lost(text)
            }
            ErrorKind::Server(_) | ErrorKind::Extension => MirrorError::Refused(text),
            _ => MirrorError::Lost(text),
        }
    }

    /// Finds out whose the keys are.
    async fn whose(&self, lineage: &Lineage) -> Result<KeysSeen, MirrorError> {
        let script = Script::new(script::WHOSE);
        let mut call = script.key(&self.keys.ours());
        let answer: Vec<Vec<u8>> = self.call(call.arg(self.keys.counters())).await?;
        let mut answer = answer.into_iter();
        let mut next = || answer.next().unwrap_or_default();
        let (lineage_seen, epoch_seen, names) = (next(), next(), next());
        let epoch = number(&epoch_seen).unwrap_or(0);
        let mark = CopyMark {
            // Others may have written anything there.
            lineage: text(&lineage_seen).and_then(|id| id.parse().ok()),
            epoch,
            is_empty: number(&names) == Some(0),
        };
        let owner = lineage.owner_by_mark(&mark);
        let by_epochs = || lineage.owner_by_epochs(answer.filter_map(|epoch| number(&epoch)));
        Ok(KeysSeen {
            owner: owner.unwrap_or_else(by_epochs),
            epoch,
            marker: [lineage_seen, epoch_seen],
        })
    }
}

impl ScriptLink {
    /// Connects and loads the scripts.
    pub(super) async fn open(options: &MirrorOptions) -> Result<Self, MirrorError> {
        let wire = Wire::open(options).await?;
        Ok(Self {
            write: wire.load(&script::write()).await?,
            users: wire.load(script::USERS).await?,
            forget: wire.load(script::FORGET).await?,
            wire,
        })
    }

    /// Begins a sequence of that id, unless the keys are another store's or of a later epoch.
    pub(super) async fn claim(
        &self,
        id: &str,
        epoch: u64,
        lineage: &Lineage,
    ) -> Result<(), MirrorError> {
        let seen = self.wire.whose(lineage).await?;
        seen.owner.is_not_of_another(lineage.id)?;
        CopyConflict::no_later(epoch, seen.epoch)?;
        let script = Script::new(script::CLAIM);
        let mut call = script.key(&self.wire.keys.ours());
        call.arg(&seen.marker).arg(id).arg(epoch);
        let claimed: u8 = self.wire.call(call.arg(lineage.id.to_string())).await?;
        if claimed == 0 {
            return Err(MirrorError::Rival);
        }
        Ok(())
    }

    /// Reads which sequence of calls the marker tells of, and how far it is; `None` where there is no marker, and
    /// where it is not one of a mirror.
    pub(super) async fn marker(&self) -> Result<Option<(String, u64)>, MirrorError> {
        let [marker, _] = self.wire.keys.ours();
        let mut command = redis::cmd("HMGET");
        command.arg(marker).arg("id").arg("sequence");
        let (id, sequence): (Option<Vec<u8>>, Option<Vec<u8>>) = self.wire.ask(&command).await?;
        let id = id.and_then(|id| String::from_utf8(id).ok());
        Ok(id.zip(sequence.and_then(|sequence| number(&sequence))))
    }

    /// Sends calls together.
    pub(super) async fn send(&self, calls: &Pipeline) -> Result<CallsDone, CallFault> {
        let connection = &mut self.wire.connection.clone();
        let answers: Vec<(String, Vec<u8>, u64, u64)> =
            self.wire.in_time(calls.query_async(connection)).await?;
        let mut done = CallsDone::default();
        for (verdict, detail, later_epoch, ahead) in answers {
            // Others may have written any bytes there.
            let detail = String::from_utf8_lossy(&detail);
            if verdict != "ok" {
                return Err(CallFault::Lost(detail.into_owned()));
            }
            done.written += detail.parse::<u64>().unwrap_or(0);
            done.later_epoch = done.later_epoch.max(later_epoch);
            done.ahead = done.ahead.max(ahead);
        }
        Ok(done)
    }

    /// Reads a page of the names; returns the cursor of the next page, which is 0 after the last, and the names.
    pub(super) async fn names(&self, cursor: u64) -> Result<(u64, Vec<Vec<u8>>), MirrorError> {
        let [_, names] = self.wire.keys.ours();
        let mut command = redis::cmd("ZSCAN");
        command.arg(names).arg(cursor).arg("COUNT").arg(1000);
        // Each name comes with its score.
        let (next, pairs): (u64, Vec<(Vec<u8>, f64)>) = self.wire.ask(&command).await?;
        Ok((next, pairs.into_iter().map(|(name, _)| name).collect()))
    }
}

/// Finds out whose the keys are and what they hold. Changes nothing.
///
/// # Errors
/// When Redis cannot be asked.
pub fn contents(options: &MirrorOptions, lineage: &Lineage) -> Result<CopyContents, MirrorError> {
    runtime()?.block_on(async {
        let wire = Wire::open(options).await?;
        let [marker, names] = wire.keys.ours();
        let owner = wire.whose(lineage).await?.owner;
        let names = wire.ask(redis::cmd("ZCARD").arg(names)).await;
        let revision: Result<Option<u64>, _> = wire
            .ask(redis::cmd("HGET").arg(marker).arg("revision"))
            .await;
        Ok(CopyContents {
            owner,
            // Keys of another type hold nothing.
            names: names.unwrap_or(0),
            revision: revision.ok().flatten().unwrap_or(0),
            through: None,
        })
    })
}

/// Gives the keys to this store, whoever wrote them: its mirror then writes all of them anew.
///
/// # Errors
/// When Redis does not do it.
pub fn adopt(options: &MirrorOptions, lineage: &Lineage) -> Result<(), MirrorError> {
    runtime()?.block_on(async {
        let wire = Wire::open(options).await?;
        let script = Script::new(script::ADOPT);
        let mut call = script.key(&wire.keys.ours());
        call.arg(lineage.id.to_string()).arg(wire.keys.counters());
        wire.call::<String>(&call).await.map(drop)
    })
}

/// Connects, loads the scripts, and writes a key that it takes back. With `epoch`, that of the store, it also
/// checks that Redis has not come further.
///
/// # Errors
/// When there is no connection, or the user may not do what the mirror does, or Redis takes no writes.
pub fn check(options: &MirrorOptions, epoch: Option<u64>) -> Result<(), MirrorError> {
    runtime()?.block_on(async {
        let wire = ScriptLink::open(options).await?.wire;
        let script = Script::new(script::CHECK);
        let mut call = script.key(wire.keys.check());
        let theirs: Option<Vec<u8>> = match wire.call(call.key(&wire.keys.ours())).await {
            // The mirror writes over a key of another type.
            Err(MirrorError::Refused(text)) if text.contains("WRONGTYPE") => None,
            answer => answer?,
        };
        if let (Some(ours), Some(theirs)) = (epoch, theirs.and_then(|theirs| number(&theirs))) {
            CopyConflict::no_later(ours, theirs)?;
        }
        Ok(())
    })
}

/// Reads text that others may have written; `None` where it is not UTF-8.
pub(super) fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// Reads a whole number; `None` for any other text, and for numbers that a script cannot hold.
fn number(bytes: &[u8]) -> Option<u64> {
    let number = text(bytes)?.parse().ok()?;
    (number <= script::LARGEST).then_some(number)
}
