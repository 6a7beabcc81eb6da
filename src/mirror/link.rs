//! A connection to Redis, with a limit on everything it may take.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, Pipeline, RedisError, ServerErrorKind};

use super::script::{self, Keys};
use super::{MirrorError, MirrorOptions, RedisUrl};
use crate::background::runtime;
use crate::storage::{CopyContents, Lineage, OtherStore, Owner};

/// A connection, and how long it is waited for.
pub(super) struct Wire {
    connection: MultiplexedConnection,
    timeout: Duration,
    url: RedisUrl,
}

/// A connection on which the scripts that write are loaded.
pub(super) struct Link {
    wire: Wire,
    claim: String,
    write: String,
    users: String,
    forget: String,
}

/// What the marker says.
pub(super) struct Marker {
    pub(super) id: String,
    pub(super) sequence: u64,
}

/// What a call wrote and met.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CallDone {
    /// Counters, or users.
    pub(super) written: u64,
    /// The highest later epoch; 0 for none.
    pub(super) later_epoch: u64,
    /// The highest revision of this epoch that the store has not come to; 0 for none.
    pub(super) ahead: u64,
}

/// What became of a call that writes.
pub(super) enum CallOutcome {
    /// What was written and met.
    Done(CallDone),
    /// The marker is not ours any more: nothing was written. Its id.
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
            // It has begun, and reads what it saved.
            ErrorKind::Server(ServerErrorKind::BusyLoading) => MirrorError::Lost(text),
            ErrorKind::Server(ServerErrorKind::NoScript) => MirrorError::NoScript,
            ErrorKind::Server(_) | ErrorKind::Extension => MirrorError::Refused(text),
            _ => MirrorError::Lost(text),
        }
    }
}

impl Link {
    /// Connects and loads the scripts.
    pub(super) async fn open(options: &MirrorOptions) -> Result<Self, MirrorError> {
        let mut wire = Wire::open(options).await?;
        Ok(Self {
            claim: wire.load(script::CLAIM).await?,
            write: wire.load(&script::write()).await?,
            users: wire.load(script::USERS).await?,
            forget: wire.load(script::FORGET).await?,
            wire,
        })
    }

    /// Begins a sequence of that id; with an empty one it only looks whether it could. Says whether the
    /// keys were this store's before. It is an error where they are another store's, or of a later epoch.
    pub(super) async fn claim(
        &mut self,
        keys: &Keys,
        id: &str,
        epoch: u64,
        lineage: &Lineage,
    ) -> Result<bool, MirrorError> {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.claim).arg(2);
        command.arg(keys.marker()).arg(keys.names());
        command.arg(id).arg(epoch).arg(lineage.id.to_string());
        command.arg(keys.counters()).arg(lineage.epochs());
        let (verdict, detail): (String, String) = self.wire.ask(&command).await?;
        let of_epoch = || detail.parse().unwrap_or(u64::MAX);
        match verdict.as_str() {
            "later" => Err(MirrorError::LaterEpoch {
                ours: epoch,
                theirs: of_epoch(),
            }),
            "other" => Err(MirrorError::OtherStore {
                ours: lineage.id,
                theirs: match detail.parse() {
                    Ok(id) => OtherStore::Known(id),
                    Err(()) => OtherStore::OfEpoch(of_epoch()),
                },
            }),
            _ => Ok(detail == "ours"),
        }
    }

    /// What the marker says; none when there is none.
    pub(super) async fn marker(&mut self, keys: &Keys) -> Result<Option<Marker>, MirrorError> {
        let mut command = redis::cmd("HMGET");
        command.arg(keys.marker()).arg("id").arg("sequence");
        let (id, sequence): (Option<Vec<u8>>, Option<Vec<u8>>) = self.wire.ask(&command).await?;
        // What others wrote into it is none.
        let text = |bytes: Option<Vec<u8>>| bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        let sequence = text(sequence).and_then(|sequence| sequence.parse().ok());
        Ok(text(id)
            .zip(sequence)
            .map(|(id, sequence)| Marker { id, sequence }))
    }

    /// The script that writes, as it is called.
    pub(super) fn sha(&self) -> &str {
        &self.write
    }

    /// The script that adds users, as it is called.
    pub(super) fn users_sha(&self) -> &str {
        &self.users
    }

    /// The script that takes names out, as it is called.
    pub(super) fn forget_sha(&self) -> &str {
        &self.forget
    }

    /// Sends calls of the scripts that write at once, and says what became of each.
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
                // An id that others wrote may be any bytes.
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

    /// A page of the names that are there, and the cursor of the next; 0 after the last.
    pub(super) async fn names(
        &mut self,
        keys: &Keys,
        cursor: u64,
    ) -> Result<(u64, Vec<Vec<u8>>), MirrorError> {
        let mut command = redis::cmd("ZSCAN");
        command.arg(keys.names()).arg(cursor);
        // Each name with its score.
        let (next, pairs): (u64, Vec<(Vec<u8>, f64)>) =
            self.wire.ask(command.arg("COUNT").arg(1000)).await?;
        Ok((next, pairs.into_iter().map(|(name, _)| name).collect()))
    }
}

/// Looks whose the keys are and what they hold, and changes none.
///
/// # Errors
/// When Redis cannot be asked.
pub fn contents(
    options: &MirrorOptions,
    lineage: &Lineage,
    epoch: u64,
) -> Result<CopyContents, MirrorError> {
    let keys = Keys::new(&options.prefix);
    runtime()?.block_on(async {
        let mut link = Link::open(options).await?;
        let owner = match link.claim(&keys, "", epoch, lineage).await {
            Ok(true) | Err(MirrorError::LaterEpoch { .. }) => Owner::Ours,
            Ok(false) => Owner::Nobody,
            Err(MirrorError::OtherStore { theirs, .. }) => Owner::Other(theirs),
            Err(error) => return Err(error),
        };
        let mut count = redis::cmd("ZCARD");
        let names = link.wire.ask(count.arg(keys.names())).await;
        let mut marker = redis::cmd("HGET");
        let marker = marker.arg(keys.marker()).arg("revision");
        let revision: Result<Option<u64>, _> = link.wire.ask(marker).await;
        Ok(CopyContents {
            owner,
            // Keys of another type hold none.
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
        let mut command = redis::cmd("EVALSHA");
        command.arg(adopt).arg(2);
        command.arg(keys.marker()).arg(keys.names());
        command.arg(lineage.id.to_string()).arg(keys.counters());
        wire.ask::<String>(&command).await.map(drop)
    })
}

/// Connects, loads the scripts, and writes a key that it takes back. With `epoch`, that of the store, it also
/// says whether Redis has come further.
///
/// # Errors
/// When there is no connection, or the user may not do what the mirror does, or Redis takes no writes.
pub fn check(options: &MirrorOptions, epoch: Option<u64>) -> Result<(), MirrorError> {
    runtime()?.block_on(async {
        let wire = &mut Link::open(options).await?.wire;
        let keys = Keys::new(&options.prefix);
        let check = wire.load(script::CHECK).await?;
        let mut command = redis::cmd("EVALSHA");
        command.arg(check).arg(3);
        command
            .arg(keys.check())
            .arg(keys.marker())
            .arg(keys.names());
        let theirs: Option<Vec<u8>> = match wire.ask(&command).await {
            // A key of another type is written over by the mirror.
            Err(MirrorError::Refused(text)) if text.contains("WRONGTYPE") => None,
            answer => answer?,
        };
        let theirs = theirs.and_then(|bytes| String::from_utf8(bytes).ok()?.parse::<u64>().ok());
        match (epoch, theirs) {
            (Some(ours), Some(theirs)) if ours < theirs => {
                Err(MirrorError::LaterEpoch { ours, theirs })
            }
            _ => Ok(()),
        }
    })
}
