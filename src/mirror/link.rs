//! A connection to Redis, with a limit on every wait.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, Pipeline, RedisError, ServerErrorKind};

use super::script::{self, Keys, evalsha};
use super::{MirrorError, MirrorOptions, RedisUrl};
use crate::background::runtime;
use crate::storage::{CopyConflict, CopyContents, CopyMark, CopyOwner, Lineage};

/// A connection, and the longest wait for an answer.
pub(super) struct Wire {
    connection: MultiplexedConnection,
    timeout: Duration,
    url: RedisUrl,
}

/// A connection, and the digests of the scripts that write.
pub(super) struct ScriptLink {
    wire: Wire,
    whose: String,
    claim: String,
    write: String,
    users: String,
    forget: String,
}

/// Which sequence of calls the marker tells of, and how far it is.
pub(super) struct Marker {
    pub(super) id: String,
    pub(super) sequence: u64,
}

/// Whose the keys were at one moment.
struct KeysSeen {
    owner: CopyOwner,
    /// The epoch in the marker; 0 where there is none.
    epoch: u64,
    /// Lineage and epoch of the marker as they stand there.
    marker: [Vec<u8>; 2],
}

/// What a call wrote, and what it found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CallDone {
    /// How many counters, or users, it wrote.
    pub(super) written: u64,
    /// The highest later epoch that it found; 0 where it found none.
    pub(super) later_epoch: u64,
    /// The highest revision of this epoch that the store has not come to; 0 where it found none.
    pub(super) ahead: u64,
}

/// What became of a call that writes.
pub(super) enum CallOutcome {
    Done(CallDone),
    /// The marker is no longer ours, and nothing was written. The id in it.
    Lost(String),
}

impl Wire {
    /// Connects.
    pub(super) async fn open(options: &MirrorOptions) -> Result<Self, MirrorError> {
        let url = &options.url;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(options.timeout))
            .set_response_timeout(Some(options.timeout));
        let connecting = url
            .client
            .get_multiplexed_async_connection_with_config(&config);
        let connection = match tokio::time::timeout(options.timeout, connecting).await {
            Err(_) => return Err(MirrorError::Late(options.timeout)),
            Ok(Err(error)) if error.is_timeout() => return Err(MirrorError::Late(options.timeout)),
            Ok(Err(error)) if error.kind() == ErrorKind::AuthenticationFailed => {
                return Err(MirrorError::Refused(url.told(&error)));
            }
            Ok(Err(error)) => return Err(MirrorError::Connect(url.told(&error))),
            Ok(Ok(connection)) => connection,
        };
        Ok(Self {
            connection,
            timeout: options.timeout,
            url: url.clone(),
        })
    }

    pub(super) async fn load(&mut self, script: &str) -> Result<String, MirrorError> {
        self.ask(redis::cmd("SCRIPT").arg("LOAD").arg(script)).await
    }

    pub(super) async fn ask<T: redis::FromRedisValue>(
        &mut self,
        command: &Cmd,
    ) -> Result<T, MirrorError> {
        let asked = command.query_async(&mut self.connection);
        match tokio::time::timeout(self.timeout, asked).await {
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
            // Redis has just started and reads what it had saved.
            ErrorKind::Server(ServerErrorKind::BusyLoading) => MirrorError::Lost(text),
            ErrorKind::Server(ServerErrorKind::NoScript) => MirrorError::NoScript,
            ErrorKind::Server(_) | ErrorKind::Extension => MirrorError::Refused(text),
            _ => MirrorError::Lost(text),
        }
    }
}

impl ScriptLink {
    /// Connects and loads the scripts.
    pub(super) async fn open(options: &MirrorOptions) -> Result<Self, MirrorError> {
        let mut wire = Wire::open(options).await?;
        Ok(Self {
            whose: wire.load(script::WHOSE).await?,
            claim: wire.load(script::CLAIM).await?,
            write: wire.load(&script::write()).await?,
            users: wire.load(script::USERS).await?,
            forget: wire.load(script::FORGET).await?,
            wire,
        })
    }

    /// Finds out whose the keys are.
    async fn whose(&mut self, keys: &Keys, lineage: &Lineage) -> Result<KeysSeen, MirrorError> {
        let mut command = evalsha(&self.whose, &[keys.marker(), keys.names()]);
        let answer: Vec<Vec<u8>> = self.wire.ask(command.arg(keys.counters())).await?;
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

    /// Begins a sequence of that id, unless the keys are another store's or of a later epoch.
    pub(super) async fn claim(
        &mut self,
        keys: &Keys,
        id: &str,
        epoch: u64,
        lineage: &Lineage,
    ) -> Result<(), MirrorError> {
        let seen = self.whose(keys, lineage).await?;
        seen.owner.is_not_of_another(lineage.id)?;
        CopyConflict::no_later(epoch, seen.epoch)?;
        let mut command = evalsha(&self.claim, &[keys.marker(), keys.names()]);
        for seen in seen.marker {
            command.arg(seen);
        }
        command.arg(id).arg(epoch).arg(lineage.id.to_string());
        match self.wire.ask::<u8>(&command).await? {
            0 => Err(MirrorError::Rival),
            _ => Ok(()),
        }
    }

    /// Reads the marker; `None` where there is none, and where it is not one of a mirror.
    pub(super) async fn marker(&mut self, keys: &Keys) -> Result<Option<Marker>, MirrorError> {
        let mut command = redis::cmd("HMGET");
        command.arg(keys.marker()).arg("id").arg("sequence");
        let (id, sequence): (Option<Vec<u8>>, Option<Vec<u8>>) = self.wire.ask(&command).await?;
        let id = id.and_then(|id| String::from_utf8(id).ok());
        let sequence = sequence.and_then(|sequence| number(&sequence));
        Ok(id
            .zip(sequence)
            .map(|(id, sequence)| Marker { id, sequence }))
    }

    /// The digest of the script that writes.
    pub(super) fn sha(&self) -> &str {
        &self.write
    }

    /// The digest of the script that adds users.
    pub(super) fn users_sha(&self) -> &str {
        &self.users
    }

    /// The digest of the script that takes names out.
    pub(super) fn forget_sha(&self) -> &str {
        &self.forget
    }

    /// Sends calls together and returns what became of each.
    pub(super) async fn write(&mut self, calls: &[Cmd]) -> Result<Vec<CallOutcome>, MirrorError> {
        let mut pipeline = Pipeline::with_capacity(calls.len());
        for call in calls {
            pipeline.add_command(call.clone());
        }
        let wire = &mut self.wire;
        let asked = pipeline.query_async::<Vec<(String, Vec<u8>, u64, u64)>>(&mut wire.connection);
        let answers = match tokio::time::timeout(wire.timeout, asked).await {
            Ok(answers) => answers.map_err(|error| wire.error(&error))?,
            Err(_) => return Err(MirrorError::Late(wire.timeout)),
        };
        Ok(answers
            .into_iter()
            .map(|(verdict, detail, later_epoch, ahead)| {
                // Others may have written any bytes there.
                let detail = String::from_utf8_lossy(&detail);
                match verdict.as_str() {
                    "ok" => CallOutcome::Done(CallDone {
                        written: detail.parse().unwrap_or(0),
                        later_epoch,
                        ahead,
                    }),
                    _ => CallOutcome::Lost(detail.into_owned()),
                }
            })
            .collect())
    }

    /// Reads a page of the names; returns the cursor of the next page, which is 0 after the last, and the names.
    pub(super) async fn names(
        &mut self,
        keys: &Keys,
        cursor: u64,
    ) -> Result<(u64, Vec<Vec<u8>>), MirrorError> {
        let mut command = redis::cmd("ZSCAN");
        command.arg(keys.names()).arg(cursor);
        // Each name comes with its score.
        let (next, pairs): (u64, Vec<(Vec<u8>, f64)>) =
            self.wire.ask(command.arg("COUNT").arg(1000)).await?;
        Ok((next, pairs.into_iter().map(|(name, _)| name).collect()))
    }
}

/// Finds out whose the keys are and what they hold. Changes nothing.
///
/// # Errors
/// When Redis cannot be asked.
pub fn contents(options: &MirrorOptions, lineage: &Lineage) -> Result<CopyContents, MirrorError> {
    let keys = Keys::new(&options.prefix);
    runtime()?.block_on(async {
        let mut link = ScriptLink::open(options).await?;
        let seen = link.whose(&keys, lineage).await?;
        let mut count = redis::cmd("ZCARD");
        let names = link.wire.ask(count.arg(keys.names())).await;
        let mut marker = redis::cmd("HGET");
        let marker = marker.arg(keys.marker()).arg("revision");
        let revision: Result<Option<u64>, _> = link.wire.ask(marker).await;
        Ok(CopyContents {
            owner: seen.owner,
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
    let keys = Keys::new(&options.prefix);
    runtime()?.block_on(async {
        let mut wire = Wire::open(options).await?;
        let adopt = wire.load(script::ADOPT).await?;
        let mut command = evalsha(&adopt, &[keys.marker(), keys.names()]);
        command.arg(lineage.id.to_string()).arg(keys.counters());
        wire.ask::<String>(&command).await.map(drop)
    })
}

/// Connects, loads the scripts, and writes a key that it takes back. With `epoch`, that of the store, it also
/// checks that Redis has not come further.
///
/// # Errors
/// When there is no connection, or the user may not do what the mirror does, or Redis takes no writes.
pub fn check(options: &MirrorOptions, epoch: Option<u64>) -> Result<(), MirrorError> {
    runtime()?.block_on(async {
        let wire = &mut ScriptLink::open(options).await?.wire;
        let keys = Keys::new(&options.prefix);
        let check = wire.load(script::CHECK).await?;
        let command = evalsha(&check, &[keys.check(), keys.marker(), keys.names()]);
        let theirs: Option<Vec<u8>> = match wire.ask(&command).await {
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
