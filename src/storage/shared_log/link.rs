//! The connection to the Redis that holds the log: one call at a time, each within a limit of time. Where the log is at
//! another node by now, the call goes there: nothing of it was done before.

use std::thread;
use std::time::{Duration, Instant};

use redis::{
    Cmd, ConnectionAddr, ConnectionLike, ErrorKind, FromRedisValue, ParsingError, RedisError,
    ServerErrorKind, Value,
};
use sha1_smol::Sha1;

use super::address::LogAddress;
use super::nodes::{Nodes, Opened, check_role, set_limit, target};
use super::reaction::{Reaction, is_forbidden, judge, said};
use crate::storage::shared_log_error::SharedLogError;

/// How long to wait between two tries; and where each of them asks several nodes.
const PAUSE: Duration = Duration::from_millis(20);
const PAUSE_OF_SEVERAL: Duration = Duration::from_millis(100);

/// How often a call is sent on to another node, at most.
const MOST_MOVES: u32 = 5;

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

/// Which of two nodes is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// The one that has the log.
    Main,
    /// The one that takes the log over, and has some of its keys already.
    Aside,
}

/// A connection, opened when it is needed. Every call is given the instant by which it has to be over.
pub(super) struct Link {
    address: LogAddress,
    /// The key of the cell: who has it, has the log.
    cell: String,
    nodes: Nodes,
    main: Option<Opened>,
    aside: Option<Opened>,
    /// Where the last call was answered.
    last: At,
}

impl Link {
    pub(super) fn new(address: LogAddress, cell: String) -> Self {
        Self {
            nodes: Nodes::new(address.url.target.clone()),
            address,
            cell,
            main: None,
            aside: None,
            last: At::Main,
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
            let goes_on = match reaction {
                Reaction::Again | Reaction::Unanswered => true,
                Reaction::Elsewhere => self.nodes.are_several(),
                Reaction::Refused | Reaction::Unknown => false,
            };
            let pause = self.pause();
            if goes_on && Instant::now() + pause < limit {
                // Nobody says when Redis is there again, and the caller has nothing else to do before it is.
                thread::sleep(pause);
                continue;
            }
            if may_be_done {
                return Err(self.unknown(&failed));
            }
            let said = self.told(&failed);
            return Err(SharedLogError::RedisRefused { said, remedy });
        }
    }

    /// Asks the node that answered the last call, whatever keys it has: only for calls without a key.
    pub(super) fn ask_there<T: FromRedisValue>(
        &mut self,
        limit: Instant,
        call: &Cmd,
    ) -> Result<T, SharedLogError> {
        self.try_there(limit, call)
            .map_err(|failed| self.unknown(&failed))
    }

    /// The same for a call that may not be for this user or not for this Redis: `None` where Redis says so.
    pub(super) fn ask_if_allowed<T: FromRedisValue>(
        &mut self,
        limit: Instant,
        call: &Cmd,
    ) -> Result<Option<T>, SharedLogError> {
        match self.try_there(limit, call) {
            Ok(answer) => Ok(Some(answer)),
            Err(failed) if is_forbidden(&failed.error) => Ok(None),
            Err(failed) => Err(self.unknown(&failed)),
        }
    }

    /// Asks a node about itself, on a connection of its own.
    pub(super) fn ask_at<T: FromRedisValue>(
        &mut self,
        node: &ConnectionAddr,
        limit: Instant,
        call: &Cmd,
    ) -> Result<T, SharedLogError> {
        let opened = self.nodes.connect(node, limit);
        let answer = opened.map_err(FailedTry::unsent).and_then(|mut opened| {
            call.query(&mut opened.connection)
                .map_err(FailedTry::unsent)
        });
        answer.map_err(|failed| self.unknown(&failed))
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
        if self.there().is_none() {
            return Ok(None);
        }
        match self.try_at::<Acks>(self.last, limit, wait) {
            Ok(Acks(acks)) => Ok(Some(acks)),
            Err(failed) => match judge(&failed.error, failed.is_sent).0 {
                Reaction::Again | Reaction::Elsewhere | Reaction::Unanswered => Ok(None),
                Reaction::Refused | Reaction::Unknown => Err(self.unknown(&failed)),
            },
        }
    }

    /// Checks that the connection still leads to a primary; a new one is checked when it is opened.
    pub(super) fn check_role(&mut self, limit: Instant) -> Result<(), SharedLogError> {
        let Some(main) = &mut self.main else {
            return Ok(());
        };
        let connection = &mut main.connection;
        let checked = set_limit(connection, limit).and_then(|()| check_role(connection));
        checked.map_err(|error| {
            self.main = None;
            self.unknown(&FailedTry::unsent(error))
        })
    }

    /// Has the node that has the log be looked for anew: the one that was known may be a replica by now, which answers all
    /// calls without a key.
    pub(super) fn look_anew(&mut self) {
        self.main = None;
        self.aside = None;
    }

    /// Returns how long to wait before a call that failed is tried again.
    pub(super) fn pause(&self) -> Duration {
        match self.nodes.are_several() {
            true => PAUSE_OF_SEVERAL,
            false => PAUSE,
        }
    }

    /// Returns where it leads.
    pub(super) fn address(&self) -> &LogAddress {
        &self.address
    }

    /// Whether it is a Cluster, as far as one was asked.
    pub(super) fn is_cluster(&self) -> bool {
        self.nodes.is_cluster()
    }

    /// Returns the node that answered the last call; `None` where its connection broke since.
    pub(super) fn node(&self) -> Option<&ConnectionAddr> {
        self.there().map(|opened| &opened.node)
    }

    /// Returns the number of the connection on which the last call was answered; `None` where it broke since.
    pub(super) fn connection(&self) -> Option<u64> {
        self.there().map(|opened| opened.number)
    }

    fn there(&self) -> Option<&Opened> {
        match self.last {
            At::Main => self.main.as_ref(),
            At::Aside => self.aside.as_ref(),
        }
    }

    fn try_there<T: FromRedisValue>(&mut self, limit: Instant, call: &Cmd) -> Result<T, FailedTry> {
        match self.there() {
            Some(_) => self.try_at(self.last, limit, call),
            None => self.try_once(limit, call),
        }
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
                load.arg("LOAD").arg(script.text);
                // There, and the call itself is not sent before.
                let loaded = self.try_at::<String>(self.last, limit, &load);
                loaded.map_err(|failed| FailedTry {
                    is_sent: false,
                    ..failed
                })?;
                self.try_once(limit, call)
            }
            answer => answer,
        }
    }

    /// Sends a call to the node that has the log, and on to those that it names.
    fn try_once<T: FromRedisValue>(&mut self, limit: Instant, call: &Cmd) -> Result<T, FailedTry> {
        let mut moves = 0;
        loop {
            let mut answer = self.try_at(At::Main, limit, call);
            if let Err(failed) = &answer
                && let Some(node) = self.target(failed, ServerErrorKind::Ask)
            {
                answer = self.try_aside(node, limit, call);
            }
            let Err(failed) = answer else { return answer };
            let (reaction, _) = judge(&failed.error, failed.is_sent);
            if reaction != Reaction::Elsewhere || !failed.is_sent || moves == MOST_MOVES {
                return Err(failed);
            }
            if let Some(node) = self.target(&failed, ServerErrorKind::Moved) {
                self.nodes.prefer(node);
            }
            if !self.nodes.are_several() {
                return Err(failed);
            }
            self.main = None;
            moves += 1;
        }
    }

    /// Returns the node that an answer names, where it is a redirection of that kind.
    fn target(&self, failed: &FailedTry, kind: ServerErrorKind) -> Option<ConnectionAddr> {
        let is_one = failed.error.kind() == ErrorKind::Server(kind);
        self.node()
            .filter(|_| is_one)
            .and_then(|by| target(&failed.error, by))
    }

    /// Sends a call to a node that takes the log over: it is asked for this one call only.
    fn try_aside<T: FromRedisValue>(
        &mut self,
        node: ConnectionAddr,
        limit: Instant,
        call: &Cmd,
    ) -> Result<T, FailedTry> {
        if self.aside.as_ref().is_none_or(|aside| aside.node != node) {
            let opened = self.nodes.connect(&node, limit);
            self.aside = Some(opened.map_err(FailedTry::unsent)?);
        }
        let asking = self.try_at::<Value>(At::Aside, limit, &redis::cmd("ASKING"));
        asking.map_err(|failed| FailedTry {
            is_sent: false,
            ..failed
        })?;
        self.try_at(At::Aside, limit, call)
    }

    fn try_at<T: FromRedisValue>(
        &mut self,
        at: At,
        limit: Instant,
        call: &Cmd,
    ) -> Result<T, FailedTry> {
        let slot = match at {
            At::Main => &mut self.main,
            At::Aside => &mut self.aside,
        };
        let connection = match slot {
            Some(opened) => &mut opened.connection,
            None => {
                let opened = self.nodes.find(&self.cell, limit);
                &mut slot.insert(opened.map_err(FailedTry::unsent)?).connection
            }
        };
        set_limit(connection, limit).map_err(FailedTry::unsent)?;
        let answer = call.query(connection);
        self.last = at;
        // What is still to come on a connection that failed would be taken for the next answer, and a server that is read-only
        // or lacks its cluster is the wrong one.
        let is_kept = match &answer {
            Ok(_) => true,
            Err(error) => {
                let is_wrong = |kind| {
                    use ServerErrorKind::{ClusterDown, MasterDown, ReadOnly};
                    matches!(kind, ClusterDown | MasterDown | ReadOnly)
                };
                matches!(error.kind(), ErrorKind::Server(kind) if !is_wrong(kind))
                    && connection.is_open()
            }
        };
        if !is_kept {
            *slot = None;
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
    fn unsent(error: RedisError) -> Self {
        let is_sent = false;
        Self { error, is_sent }
    }

    fn lacks_script(&self) -> bool {
        self.error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
    }
}
