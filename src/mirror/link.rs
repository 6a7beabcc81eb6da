//! A connection to Redis, with a limit on every wait, and calls of the scripts that run within it.
//!
//! Redis runs one call at a time, whole or not at all. Each call that writes names its mirror and its place in that
//! mirror's sequence. If the marker differs, because Redis lost something, was restored, or another mirror took over,
//! the call writes nothing.

use std::future::Future;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult,
    Script, ScriptInvocation, ServerErrorKind,
};

use super::entry::MirrorEntry;
use super::{MirrorError, MirrorOptions, RedisUrl, Result};
use crate::background::runtime;
use crate::calendar::Day;
use crate::seeded::bug;
use crate::storage::{CopyConflict, CopyContents, CopyMark, CopyOwner, Lineage};

/// The largest number that scripts can hold.
const LARGEST: u64 = 9_007_199_254_740_991;

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
    pub(super) refresh: String,
    pub(super) users: String,
    pub(super) forget: String,
}

/// The prefix of all keys. No two counters share a key, since names of counters neither end in `:meta` nor contain
/// `:users:`.
pub(super) struct Keys(pub(super) String);

impl Keys {
    /// Returns the key of the marker, which says which mirror writes here and how far it is, and that of the list of the
    /// counters that are here.
    pub(super) fn ours(&self) -> [String; 2] {
        ["mirror", "names"].map(|key| format!("{}counterd:{key}", self.0))
    }

    /// Returns the key that `counterd check` writes for a moment, to see whether Redis takes writes.
    pub(super) fn check(&self) -> String {
        format!("{}counterd:check", self.0)
    }

    /// Returns what the key of every counter begins with.
    pub(super) fn counters(&self) -> String {
        format!("{}counter:", self.0)
    }

    /// Returns the two keys of a counter: its value and its meta.
    pub(super) fn of(&self, name: &str) -> [String; 2] {
        let value = format!("{}counter:{name}", self.0);
        let meta = format!("{value}:meta");
        [value, meta]
    }

    /// Returns our keys and those of these counters, in the order that scripts want.
    pub(super) fn with(&self, entries: &[MirrorEntry]) -> Vec<String> {
        let of_entries = entries.iter().flat_map(|entry| self.of(&entry.name));
        self.ours().into_iter().chain(of_entries).collect()
    }

    /// Returns the key of the set of a day's users.
    pub(super) fn users(&self, name: &str, day: Day) -> String {
        format!("{}counter:{name}:users:{day}", self.0)
    }
}

impl Wire {
    /// Connects.
    pub(super) async fn open(options: &MirrorOptions) -> Result<Self> {
        let (url, timeout) = (&options.url, options.timeout);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(timeout))
            .set_response_timeout(Some(timeout));
        let client = &url.target.first;
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        match tokio::time::timeout(timeout, connecting).await {
            Ok(Ok(connection)) => Ok(Self {
                connection,
                timeout,
                url: url.clone(),
                keys: Keys(options.prefix.clone()),
            }),
            Ok(Err(error)) if error.kind() == ErrorKind::AuthenticationFailed => {
                Err(MirrorError::Refused(url.told(error)))
            }
            Ok(Err(error)) if !error.is_timeout() => Err(MirrorError::Connect(url.told(error))),
            Ok(Err(_)) | Err(_) => Err(MirrorError::Late(timeout)),
        }
    }

    pub(super) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T> {
        let connection = &mut self.connection.clone();
        self.in_time(command.query_async(connection)).await
    }

    /// Calls a script, which is loaded first if Redis does not have it.
    pub(super) async fn call<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Result<T> {
        let connection = &mut self.connection.clone();
        self.in_time(call.invoke_async(connection)).await
    }

    /// Loads a script and returns its digest.
    async fn load(&self, script: &str) -> Result<String> {
        self.ask(redis::cmd("SCRIPT").arg("LOAD").arg(script)).await
    }

    async fn in_time<T>(&self, answer: impl Future<Output = RedisResult<T>>) -> Result<T> {
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

    /// Finds out whose the keys are; returns also lineage and epoch of the marker as they stand there.
    async fn whose(&self, lineage: &Lineage) -> Result<(CopyOwner, [Vec<u8>; 2])> {
        let script = Script::new(include_str!("whose.lua"));
        let mut call = script.key(&self.keys.ours());
        let answer: Vec<Vec<u8>> = self.call(call.arg(self.keys.counters())).await?;
        let mut answer = answer.into_iter();
        let mut next = || answer.next().unwrap_or_default();
        let (marker, names) = ([next(), next()], next());
        let [lineage_seen, epoch_seen] = &marker;
        let mark = CopyMark {
            // Others may have written anything there.
            lineage: text(lineage_seen).and_then(|id| id.parse().ok()),
            epoch: number(epoch_seen).unwrap_or(0),
            is_empty: number(&names) == Some(0),
        };
        let owner = lineage.owner_by_mark(&mark);
        let by_epochs = || lineage.owner_by_epochs(answer.filter_map(|epoch| number(&epoch)));
        Ok((owner.unwrap_or_else(by_epochs), marker))
    }
}

impl ScriptLink {
    /// Connects and loads the scripts.
    pub(super) async fn open(options: &MirrorOptions) -> Result<Self> {
        let wire = Wire::open(options).await?;
        let script = |text: &str| [include_str!("marker.lua"), text].concat();
        let sets = |text: &str| match bug("mirror_increments") {
            true => script(&text.replace("'SET'", "'INCRBY'")),
            false => script(text),
        };
        Ok(Self {
            write: wire.load(&sets(include_str!("write.lua"))).await?,
            refresh: wire.load(&sets(include_str!("refresh.lua"))).await?,
            users: wire.load(&script(include_str!("users.lua"))).await?,
            forget: wire.load(&script(include_str!("forget.lua"))).await?,
            wire,
        })
    }

    /// Begins a sequence of that id, unless the keys are another store's or of a later epoch.
    pub(super) async fn claim(&self, id: &str, epoch: u64, lineage: &Lineage) -> Result<()> {
        let (owner, marker) = self.wire.whose(lineage).await?;
        owner.is_not_of_another(lineage.id)?;
        let [_, theirs] = &marker;
        CopyConflict::no_later(epoch, number(theirs).unwrap_or(0))?;
        let script = Script::new(include_str!("claim.lua"));
        let mut call = script.key(&self.wire.keys.ours());
        call.arg(&marker).arg(id).arg(epoch);
        let claimed: u8 = self.wire.call(call.arg(lineage.id.to_string())).await?;
        if claimed == 0 {
            return Err(MirrorError::Rival);
        }
        Ok(())
    }

    /// Reads which sequence of calls the marker tells of, and how far it is; `None` where there is no marker, and
    /// where it is not one of a mirror.
    pub(super) async fn marker(&self) -> Result<Option<(String, u64)>> {
        let [marker, _] = self.wire.keys.ours();
        let mut command = redis::cmd("HMGET");
        command.arg(marker).arg("id").arg("sequence");
        let (id, sequence): (Option<Vec<u8>>, Option<Vec<u8>>) = self.wire.ask(&command).await?;
        let id = id.and_then(|id| String::from_utf8(id).ok());
        Ok(id.zip(sequence.and_then(|sequence| number(&sequence))))
    }

    /// Sends calls together. Each answers its verdict, with a detail; the highest later epoch that it found; and the
    /// highest revision of this epoch that the store has not come to.
    pub(super) async fn send(&self, calls: &Pipeline) -> Result<Vec<(String, Vec<u8>, u64, u64)>> {
        let connection = &mut self.wire.connection.clone();
        self.wire.in_time(calls.query_async(connection)).await
    }

    /// Reads a page of the names; returns the cursor of the next page, which is 0 after the last, and the names.
    pub(super) async fn names(&self, cursor: u64) -> Result<(u64, Vec<Vec<u8>>)> {
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
pub fn contents(options: &MirrorOptions, lineage: &Lineage) -> Result<CopyContents> {
    runtime()?.block_on(async {
        let wire = Wire::open(options).await?;
        let [marker, names] = wire.keys.ours();
        let (owner, _) = wire.whose(lineage).await?;
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
pub fn adopt(options: &MirrorOptions, lineage: &Lineage) -> Result<()> {
    runtime()?.block_on(async {
        let wire = Wire::open(options).await?;
        let script = Script::new(include_str!("adopt.lua"));
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
pub fn check(options: &MirrorOptions, epoch: Option<u64>) -> Result<()> {
    runtime()?.block_on(async {
        let wire = ScriptLink::open(options).await?.wire;
        let script = Script::new(include_str!("check.lua"));
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
    (number <= LARGEST).then_some(number)
}
