//! The log that several instances share, in Redis. An instance makes a group durable by appending it, on condition that
//! nothing was appended since the position that the group was judged by; so every rule of counting is the writer's, and
//! Redis knows none. The store on disk is then a view of this log, made anew at each start.
//!
//! - `keys`: the names in Redis, and where a record lies.
//! - `entry`: the bytes of a group.
//! - `address`, `ack`: where the log is, and who must have a group before it is acknowledged.
//! - `history`, `log_mark`: which log it is, and whether it still holds what was acknowledged; what of that is kept on disk.
//! - `recovery`: the way past a loss.
//! - `records`: reading the records; `relocation`: moving them in from a store on disk, and out to one.
//! - `lease`: who closes days and exports; `pulse`: who is up.
//! - `told`: what a group of another instance changed.
//! - `reaction`: what an error of Redis says of the call that it answers; `rights`: whether its user may call all of it.
//! - `link`: the connection; `nodes`: which node has the log; `elsewhere`: whether a node has keys of it to which nobody is sent; `follower`: the thread that reads what others append; `confirmed`: when all of it was known.
//!
//! A group is sent again until an answer comes, under one number of this instance: Redis knows the last one of each and
//! answers what became of it, so a lost answer counts nothing twice.

mod ack;
mod address;
mod confirmed;
mod elsewhere;
mod entry;
mod follower;
mod history;
mod keys;
mod lease;
mod link;
mod log_mark;
mod nodes;
mod pulse;
mod reaction;
mod records;
mod recovery;
mod relocation;
mod rights;
mod told;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Cmd, Value};

use self::ack::Durability;
pub use self::address::{Ack, LogAddress, OnLoss, RedisNodes};
pub use self::confirmed::Confirmed;
pub use self::follower::Wake;
use self::follower::{Follower, Place};
use self::keys::CellKeys;
pub use self::lease::Chores;
use self::lease::Lease;
use self::link::{Link, Script};
use self::log_mark::{LogMark, LogPlace};
use self::pulse::Pulse;
pub use self::pulse::RedisTime;
pub use self::recovery::LogRecovery;
pub(super) use self::relocation::LogRelocation;
pub use self::told::FollowedChange;
use super::Family;
use super::batch::{Batch, Change};
use super::held::HeldDir;
use super::lineage::{Lineage, random_id};
use super::lock::DataDirLock;
use super::shared_log_error::SharedLogError;
use crate::invariant::Broken;

/// About so many entries are kept for instances that are behind; one that is further behind loads anew.
const KEPT_ENTRIES: u64 = 100_000;

/// Half of the bytes or so that they may take at most: their size is looked at whenever so many more were appended.
const KEPT_BYTES: u64 = 512 << 20;

/// Entries that are read at once when the view is made. Each may be some hundred kilobytes.
const ENTRIES_PAGE: usize = 100;

/// An entry as Redis gives it: its id, and fields with values.
type RawEntry = (String, Vec<Vec<u8>>);

/// Entries as Redis gives them.
type RawEntries = Vec<RawEntry>;

/// Records as Redis gives them: key and value.
type RawRecords = Vec<(Vec<u8>, Vec<u8>)>;

/// One group in the log.
pub(super) struct Entry {
    /// Its number: the first is 1.
    pub(super) position: u64,
    /// The name of the group before it; where it is the first, what the log began with.
    before: String,
    /// Its own.
    name: String,
    /// Up to where its instance knew the log to be acknowledged.
    acknowledged: u64,
    /// Its changes.
    pub(super) batch: Batch,
}

impl Entry {
    /// Returns the number of an entry, and the instance that appended it, without a look at its changes.
    fn label((id, fields): &RawEntry) -> (Option<u64>, Option<&[u8]>) {
        let position = id.strip_suffix("-0").and_then(|id| id.parse().ok());
        // Its name is that of its instance, and a number.
        let instance = match &fields[..] {
            [_, _, _, name, ..] => name.split(|&byte| byte == b' ').next(),
            _ => None,
        };
        (position, instance)
    }

    /// Returns the place behind an entry.
    fn end(raw: &RawEntry) -> Option<LogPlace> {
        let (position, _) = Self::label(raw);
        let tail = String::from_utf8(raw.1.get(3)?.clone()).ok()?;
        position.map(|position| LogPlace { position, tail })
    }

    fn read(raw: RawEntry) -> Result<Self, SharedLogError> {
        let (position, _) = Self::label(&raw);
        let unreadable = || SharedLogError::Unreadable("an entry of the log");
        let (Some(position), [_, before, _, name, _, acknowledged, _, bytes]) =
            (position, &raw.1[..])
        else {
            return Err(unreadable());
        };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| unreadable());
        Ok(Self {
            position,
            before: text(before)?,
            name: text(name)?,
            acknowledged: text(acknowledged)?.parse().map_err(|_| unreadable())?,
            batch: entry::decode(bytes)?,
        })
    }
}

/// What became of a group.
#[derive(Debug)]
pub(super) enum Appended {
    /// It is in the log.
    Yes,
    /// Others appended before: it is not, and what they appended is to be taken in first.
    Behind,
    /// Redis refused: it is not, and the view still has all that is.
    Refused(SharedLogError),
}

/// One cell's log, as one instance has it.
pub struct SharedLog {
    link: Link,
    keys: CellKeys,
    append: Script,
    confirm: Script,
    /// Names this instance in Redis, from its start to its end, or until Redis has forgotten it.
    instance: String,
    /// The number of its last group.
    sequence: u64,
    /// A group of which no answer came.
    pending: Option<Cmd>,
    lineage: Lineage,
    /// Which log of that store it is: 0, or that of the relocation that made it.
    log_id: u128,
    /// Up to where the view has the log.
    at: LogPlace,
    /// Up to where all disks and replicas that are waited for certainly have it.
    acknowledged: LogPlace,
    /// The places after that, as far as the view has them.
    followed: VecDeque<LogPlace>,
    /// The last group that this instance acknowledged, or the one before it in this data directory.
    own: Option<LogPlace>,
    /// What is on disk of all this.
    recorded: Option<LogMark>,
    /// What others appended, as far as an answer told it.
    since: VecDeque<Entry>,
    wake: Wake,
    chores: Chores,
    /// When this instance last knew all of the log.
    confirmed: Arc<Confirmed>,
    /// What is waited for before a group is acknowledged; `None` before the first look.
    durability: Option<Durability>,
    /// What time it was in Redis at the last look.
    time: Option<RedisTime>,
    follower: Option<Follower>,
}

impl SharedLog {
    /// Connects, and makes the cell where there is none, with an epoch that begins at `new_at_ms`; with `None` there must be
    /// one. A data directory that followed the log before never has it made: what is gone then is lost.
    ///
    /// # Errors
    /// When Redis cannot be asked, or the cell is not there or of another version.
    pub fn open(
        address: LogAddress,
        lock: &DataDirLock,
        new_at_ms: Option<i64>,
        wake: Wake,
        chores: Chores,
        confirmed: Arc<Confirmed>,
    ) -> Result<Self, SharedLogError> {
        let mark = LogMark::read(&HeldDir::open(lock.data_dir())?, &address.prefix)?;
        let mut log = Self::new(address, wake, chores, confirmed);
        let limit = log.link.limit();
        match (mark, new_at_ms) {
            (Some(mark), _) => log.take_over(mark),
            (None, new_at_ms) => {
                let mut state = log.state(limit)?;
                if state.is_none() {
                    elsewhere::check(&mut log.link, limit, &log.keys.cell())?;
                    if let Some(now_ms) = new_at_ms {
                        log.create(limit, now_ms)?;
                        state = log.state(limit)?;
                    }
                }
                let Some(state) = state else {
                    return Err(SharedLogError::Gone(log.keys.cell()));
                };
                log.log_id = state.log_id;
                log.lineage = log.lineage_there(limit)?;
            }
        }
        Ok(log)
    }

    fn new(address: LogAddress, wake: Wake, chores: Chores, confirmed: Arc<Confirmed>) -> Self {
        let keys = CellKeys::new(&address.prefix, 0);
        Self {
            link: Link::new(address, keys.cell()),
            keys,
            append: Script::new(include_str!("append.lua")),
            confirm: Script::new(include_str!("confirm.lua")),
            instance: format!("{:032x}", random_id()),
            sequence: 0,
            pending: None,
            lineage: Lineage::born(0),
            log_id: 0,
            at: LogPlace::default(),
            acknowledged: LogPlace::default(),
            followed: VecDeque::new(),
            own: None,
            recorded: None,
            since: VecDeque::new(),
            wake,
            chores,
            confirmed,
            durability: None,
            time: None,
            follower: None,
        }
    }

    /// Takes over what the data directory says.
    fn take_over(&mut self, mark: LogMark) {
        self.lineage = mark.lineage.clone();
        self.log_id = mark.log_id();
        self.at = mark.acknowledged.clone();
        self.acknowledged = mark.acknowledged.clone();
        self.own = mark.own();
        self.recorded = Some(mark);
    }

    /// Returns whether the instance of this data directory has followed a shared log.
    pub fn was_followed_in(data_dir: &Path) -> bool {
        LogMark::is_in(data_dir)
    }

    /// Returns whether another instance is up, or was a moment ago, before this one follows the log.
    ///
    /// # Errors
    /// When Redis cannot be asked.
    pub fn is_any_up(&mut self) -> Result<bool, SharedLogError> {
        pulse::is_any_up(&mut self.link, &self.keys.up())
    }

    /// Returns which history the log is on: milliseconds since 1970 at its start.
    pub(super) fn epoch(&self) -> u64 {
        self.lineage.epoch()
    }

    /// Finds out what became of a group of which no answer came, and where the log ends, within one limit of time. The view
    /// is then read anew.
    ///
    /// # Errors
    /// When Redis cannot be asked, and when the log is not the one that was followed.
    pub(super) fn resume(&mut self) -> Result<(), SharedLogError> {
        self.follower = None;
        self.link.look_anew();
        let limit = self.link.limit();
        let mut durability = self.look_at_redis(limit)?;
        self.time = Some(pulse::time(&mut self.link, limit)?);
        if let Some(call) = &self.pending {
            // Whatever it answers: the view is made of what the log says then.
            let _: Value = durability.insist(&mut self.link, limit, &self.append, call)?;
            self.pending = None;
        }
        durability.tell_news(self.durability.as_ref());
        self.durability = Some(durability);
        self.since.clear();
        let end = match self.check(limit) {
            Err(SharedLogError::Lost { found, had }) => self.after_loss(limit, found, had)?,
            end => end?,
        };
        self.followed.clear();
        self.at = end;
        Ok(())
    }

    /// Looks at the settings of Redis, and at the rights of its user.
    ///
    /// # Errors
    /// When it would lose what is acknowledged, a right is missing, or Redis cannot be asked.
    fn look_at_redis(&mut self, limit: Instant) -> Result<Durability, SharedLogError> {
        let durability = Durability::look(&mut self.link, limit)?;
        let keys = [
            self.keys.cell(),
            self.keys.log(),
            self.keys.instances(),
            self.keys.hashes(),
            self.keys.lease(),
            self.keys.hash(Family::Counters, &[]),
            self.keys.up(),
        ];
        rights::check(&mut self.link, limit, &keys)?;
        Ok(durability)
    }

    /// Calls `visit` with all records, in batches, as of one position, and begins to follow behind it.
    ///
    /// # Errors
    /// When Redis cannot be asked, or holds something else; what `visit` returns.
    pub(super) fn load<E: From<SharedLogError>>(
        &mut self,
        mut visit: impl FnMut(&Batch) -> Result<(), E>,
    ) -> Result<(), E> {
        self.each_page(|family, records| {
            let mut batch = Batch::new();
            for (key, value) in records {
                batch.put(family, key, value);
            }
            visit(&batch)
        })?;
        let asked_ms = self.confirmed.now_ms();
        let state = self.state(self.link.limit())?;
        let state = state.filter(|state| state.epoch == self.epoch());
        let end = state.ok_or(SharedLogError::Diverged)?.end;
        // A record may have been read as of any of these.
        while self.at.position < end.position {
            let mut call = redis::cmd("XRANGE");
            call.arg(self.keys.log())
                .arg(format!("({}-0", self.at.position));
            call.arg("+").arg("COUNT").arg(ENTRIES_PAGE);
            let entries: RawEntries = self.link.ask(self.link.limit(), &call)?;
            if entries.is_empty() {
                return Err(self.trimmed().into());
            }
            for entry in entries {
                let entry = Entry::read(entry)?;
                self.follows(&entry)?;
                visit(&entry.batch)?;
                self.took(&entry);
            }
        }
        let lease = Lease::new(
            self.keys.lease(),
            self.instance.clone(),
            self.chores.clone(),
        );
        let pulse = Pulse::new(
            [self.keys.up(), self.keys.instances()],
            self.instance.clone(),
        );
        let place = Place {
            cell: self.keys.cell(),
            log: self.keys.log(),
            epoch: self.epoch(),
            at: self.at.clone(),
            asked_ms,
        };
        let address = self.link.address().clone();
        let (confirmed, wake) = (Arc::clone(&self.confirmed), self.wake.clone());
        let follower = Follower::start(address, place, (lease, pulse), confirmed, wake);
        self.follower = Some(follower.map_err(SharedLogError::from)?);
        Ok(())
    }

    /// Appends a group, if nothing was appended since what the view has.
    ///
    /// # Errors
    /// When no answer came in time: the group may be in the log or not, and [`SharedLog::resume`] tells.
    pub(super) fn append(&mut self, batch: &Batch) -> Result<Appended, SharedLogError> {
        self.sequence += 1;
        let call = self.call(batch)?;
        let durability = looked_at(&mut self.durability)?;
        let limit = self.link.limit();
        let answer = durability.insist(&mut self.link, limit, &self.append, &call);
        let answer: Vec<Value> = match answer {
            Ok(answer) => answer,
            Err(error @ SharedLogError::RedisRefused { .. }) => {
                return Ok(Appended::Refused(error));
            }
            Err(error) => {
                self.pending = Some(call);
                return Err(error);
            }
        };
        let word: String = part(&answer, 0)?;
        match &*word {
            "appended" => {
                let name = format!("{} {}", self.instance, self.sequence);
                self.at = LogPlace {
                    position: part(&answer, 1)?,
                    tail: name,
                };
                self.own = Some(self.at.clone());
                self.note_acknowledged();
                Ok(Appended::Yes)
            }
            "behind" => {
                let found: u64 = part(&answer, 1)?;
                let entries: RawEntries = part(&answer, 3)?;
                if found <= self.at.position {
                    return Err(SharedLogError::Diverged);
                }
                if entries.is_empty() {
                    return Err(self.trimmed());
                }
                let entries: Result<Vec<_>, _> = entries.into_iter().map(Entry::read).collect();
                self.since.extend(entries?);
                Ok(Appended::Behind)
            }
            // Nobody knows any more what became of its last group before: the view is read anew.
            "forgotten" => {
                (self.instance, self.sequence) = (format!("{:032x}", random_id()), 0);
                Err(SharedLogError::Diverged)
            }
            // Another epoch, or a loss that another instance noticed: [`SharedLog::check`] tells.
            _ => Err(SharedLogError::Diverged),
        }
    }

    fn call(&self, batch: &Batch) -> Result<Cmd, SharedLogError> {
        let entry = entry::encode(batch)?;
        let mut keys = vec![
            self.keys.cell(),
            self.keys.log(),
            self.keys.instances(),
            self.keys.hashes(),
        ];
        let ours = keys.len();
        let mut changes = Vec::with_capacity(batch.count() as usize);
        for (family, key, change) in batch.changes() {
            let hash = self.keys.hash(family, key);
            let known = keys.iter().skip(ours).position(|known| *known == hash);
            let at = known.unwrap_or_else(|| {
                keys.push(hash);
                keys.len() - ours - 1
            });
            changes.push((at as i64 + 1, key, change));
        }
        let mut call = self.append.call(&keys);
        call.arg(self.epoch())
            .arg(self.at.position)
            .arg(&self.at.tail);
        call.arg(&self.instance).arg(self.sequence).arg(entry);
        call.arg(KEPT_ENTRIES).arg(KEPT_BYTES);
        call.arg(self.acknowledged.position)
            .arg(u8::from(self.is_known()));
        for (at, key, change) in changes {
            match change {
                Change::Put(value) => call.arg(at).arg(key).arg(value),
                Change::Delete => call.arg(-at).arg(key),
                // None is encoded.
                Change::Merge(_) => &mut call,
            };
        }
        Ok(call)
    }

    /// Whether Redis has the number of a group of this instance.
    fn is_known(&self) -> bool {
        let own = self.own.as_ref();
        own.is_some_and(|own| own.tail.starts_with(&self.instance))
    }

    /// Returns the next entry that the view lacks; `None` when it has all that is known here.
    ///
    /// # Errors
    /// When it cannot be read, and when entries before it are gone.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, SharedLogError> {
        loop {
            let entry = match (self.since.pop_front(), &self.follower) {
                (Some(entry), _) => entry,
                (None, Some(follower)) => match follower.next() {
                    Some(entry) => entry?,
                    None => return Ok(None),
                },
                (None, None) => return Ok(None),
            };
            // Our own, and those that came both ways.
            if entry.position <= self.at.position {
                continue;
            }
            self.follows(&entry)?;
            return Ok(Some(entry));
        }
    }

    /// Waits until all that the view has is durable: an answer may rest on a group of another instance that is not yet.
    ///
    /// # Errors
    /// When that is not so in time.
    pub(super) fn confirm(&mut self) -> Result<(), SharedLogError> {
        if self.at == self.acknowledged {
            return Ok(());
        }
        let mut call =
            self.confirm
                .call(&[self.keys.instances(), self.keys.cell(), self.keys.log()]);
        call.arg(self.at.position);
        let durability = looked_at(&mut self.durability)?;
        let limit = self.link.limit();
        let _: u8 = durability.insist(&mut self.link, limit, &self.confirm, &call)?;
        self.note_acknowledged();
        Ok(())
    }

    /// Returns what time it was in Redis when that was last asked.
    pub(super) fn time(&self) -> Option<RedisTime> {
        self.follower
            .as_ref()
            .and_then(Follower::time)
            .or(self.time)
    }

    /// Returns how long ago this instance last knew all of the log, where that is too long.
    pub(super) fn late(&self) -> Option<Duration> {
        self.confirmed.late()
    }

    /// Whether it is not known yet what became of a group.
    pub fn is_unanswered(&self) -> bool {
        self.pending.is_some()
    }

    /// Follows no longer, until the view is made anew: the thread ends by itself.
    pub(super) fn stop_following(&mut self) {
        self.follower = None;
    }

    /// Ends the thread that follows, which gives the chores back.
    pub(super) fn close(mut self) {
        if let Some(follower) = self.follower.take() {
            follower.end();
        }
    }

    fn follows(&self, entry: &Entry) -> Result<(), SharedLogError> {
        if entry.position != self.at.position + 1 {
            return Err(self.trimmed());
        }
        if entry.before != self.at.tail {
            return Err(SharedLogError::Diverged);
        }
        Ok(())
    }

    fn trimmed(&self) -> SharedLogError {
        SharedLogError::Trimmed {
            had: self.at.position,
        }
    }
}

/// Reads a part of an answer.
fn part<T: redis::FromRedisValue>(answer: &[Value], at: usize) -> Result<T, SharedLogError> {
    let value = answer.get(at).cloned().unwrap_or(Value::Nil);
    redis::from_redis_value(value).map_err(|_| SharedLogError::Unreadable("an answer"))
}

/// Returns what a look at Redis said; every use of the log comes after [`SharedLog::resume`].
fn looked_at(durability: &mut Option<Durability>) -> Result<&mut Durability, Broken> {
    let looked = durability.as_mut();
    looked
        .ok_or_else(|| Broken::found(format_args!("a shared log is used before it was looked at")))
}
