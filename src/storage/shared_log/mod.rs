//! The log that several instances share, in Redis. An instance makes a group durable by appending it, on condition that
//! nothing was appended since the position that the group was judged by; so every rule of counting is the writer's, and
//! Redis knows none. The store on disk is then a view of this log, made anew at each start.
//!
//! - `keys`: the names in Redis, and where a record lies.
//! - `entry`: the bytes of a group.
//! - `address`, `ack`: where the log is, and who must have a group before it is acknowledged.
//! - `lease`: who closes days and exports.
//! - `told`: what a group of another instance changed.
//! - `link`: the connection; `follower`: the thread that reads what others append.
//!
//! A group is sent again until an answer comes, under one number of this instance: Redis knows the last one of each and
//! answers what became of it, so a lost answer counts nothing twice.

mod ack;
mod address;
mod entry;
mod follower;
mod keys;
mod lease;
mod link;
mod told;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use redis::{Cmd, Value};

use self::ack::Durability;
pub use self::address::{Ack, LogAddress};
use self::follower::Follower;
pub use self::follower::Wake;
use self::keys::CellKeys;
use self::lease::Lease;
use self::link::{Link, Script};
pub use self::told::FollowedChange;
use super::Family;
use super::batch::{Batch, Change};
use super::lineage::{Lineage, random_id};
use super::schema::{FORMAT_VERSION, MERGE_VERSION};
use super::shared_log_error::SharedLogError;
use crate::invariant::Broken;

/// About so many entries are kept for instances that are behind; one that is further behind loads anew.
const KEPT_ENTRIES: u64 = 100_000;

/// Records that are read at once when the view is made.
const PAGE: usize = 1000;

/// Entries as Redis gives them: their id, and fields with values.
type RawEntries = Vec<(String, Vec<Vec<u8>>)>;

/// Records as Redis gives them: key and value.
type RawRecords = Vec<(Vec<u8>, Vec<u8>)>;

/// One group in the log.
pub(super) struct Entry {
    /// Its number: the first is 1.
    pub(super) position: u64,
    /// Its changes.
    pub(super) batch: Batch,
}

impl Entry {
    fn read((id, fields): (String, Vec<Vec<u8>>)) -> Result<Self, SharedLogError> {
        let position = id.strip_suffix("-0").and_then(|id| id.parse().ok());
        let (Some(position), [_, bytes]) = (position, &fields[..]) else {
            return Err(SharedLogError::Unreadable("an entry of the log"));
        };
        let batch = entry::decode(bytes)?;
        Ok(Self { position, batch })
    }
}

/// What became of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Appended {
    /// It is in the log.
    Yes,
    /// Others appended before: it is not, and what they appended is to be taken in first.
    Behind,
}

/// One cell's log, as one instance has it.
pub struct SharedLog {
    link: Link,
    keys: CellKeys,
    append: Script,
    confirm: Script,
    /// Names this instance in Redis, from its start to its end.
    instance: String,
    /// The number of its last group.
    sequence: u64,
    /// A group of which no answer came.
    pending: Option<Cmd>,
    epoch: u64,
    /// Up to where the view has the log.
    position: u64,
    /// Up to where all disks and replicas that are waited for certainly have it.
    durable: u64,
    /// What others appended, as far as an answer told it.
    since: VecDeque<Entry>,
    wake: Wake,
    /// Whether this instance does the chores.
    does_chores: Arc<AtomicBool>,
    /// What is waited for before a group is acknowledged; `None` before the first look.
    durability: Option<Durability>,
    follower: Option<Follower>,
}

impl SharedLog {
    /// Connects, and makes the cell where there is none, with an epoch that begins at `now_ms`.
    ///
    /// # Errors
    /// When Redis cannot be asked, or the cell is of another version.
    pub fn open(
        address: LogAddress,
        now_ms: i64,
        wake: Wake,
        does_chores: Arc<AtomicBool>,
    ) -> Result<Self, SharedLogError> {
        let mut log = Self {
            keys: CellKeys::new(&address.prefix, 0),
            link: Link::new(address),
            append: Script::new(include_str!("append.lua")),
            confirm: Script::new(include_str!("confirm.lua")),
            instance: format!("{:032x}", random_id()),
            sequence: 0,
            pending: None,
            epoch: u64::try_from(now_ms).unwrap_or(0),
            position: 0,
            durable: 0,
            since: VecDeque::new(),
            wake,
            does_chores,
            durability: None,
            follower: None,
        };
        log.create()?;
        let cell = log.cell()?.ok_or(SharedLogError::Unreadable("the cell"))?;
        (log.epoch, log.position) = cell;
        Ok(log)
    }

    /// Makes the cell where there is none.
    fn create(&mut self) -> Result<(), SharedLogError> {
        let mut batch = Batch::new();
        Lineage::born(self.epoch).put(&mut batch);
        let script = Script::new(include_str!("create.lua"));
        let meta = self.keys.hash(Family::Meta, &[]);
        let mut call = script.call(&[self.keys.cell(), self.keys.hashes(), meta]);
        call.arg(FORMAT_VERSION).arg(MERGE_VERSION).arg(self.epoch);
        for (_, key, change) in batch.changes() {
            if let Change::Put(value) = change {
                call.arg(key).arg(value);
            }
        }
        self.link.insist(&script, &call)
    }

    /// Returns the epoch of the cell and the end of its log; `None` where there is no cell.
    fn cell(&mut self) -> Result<Option<(u64, u64)>, SharedLogError> {
        let mut call = redis::cmd("HMGET");
        call.arg(self.keys.cell()).arg("format").arg("merge");
        let said: Vec<Option<String>> = self.link.ask(call.arg("epoch").arg("position"))?;
        let Some([format, merge, epoch, position]) = whole(&said) else {
            return Ok(None);
        };
        if (format, merge) != (&*FORMAT_VERSION.to_string(), &*MERGE_VERSION.to_string()) {
            let found = format!("{format} with merge operator {merge}");
            return Err(SharedLogError::Format(found));
        }
        let number = |text: &str| {
            text.parse()
                .map_err(|_| SharedLogError::Unreadable("the cell"))
        };
        Ok(Some((number(epoch)?, number(position)?)))
    }

    /// Returns where the log ends.
    ///
    /// # Errors
    /// When that is not the log that was followed, or less of it.
    fn end(&mut self) -> Result<u64, SharedLogError> {
        let (expected, had) = (self.epoch, self.position);
        match self.cell()? {
            Some((epoch, _)) if epoch != expected => Err(SharedLogError::Epoch {
                found: epoch.to_string(),
                expected,
            }),
            Some((_, found)) if found < had => Err(SharedLogError::Lost { found, had }),
            Some((_, found)) => Ok(found),
            None => Err(SharedLogError::Lost { found: 0, had }),
        }
    }

    /// Returns which history the log is on: milliseconds since 1970 at its start.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Finds out what became of a group of which no answer came, and where the log ends. The view is then read anew.
    ///
    /// # Errors
    /// When Redis cannot be asked, and when the log is not the one that was followed.
    pub(super) fn resume(&mut self) -> Result<(), SharedLogError> {
        self.follower = None;
        let durability = Durability::look(&mut self.link)?;
        if let Some(call) = &self.pending {
            // Whatever it answers: the view is made of what the log says then.
            let _: Value = durability.insist(&mut self.link, &self.append, call)?;
            self.pending = None;
        }
        self.durability = Some(durability);
        self.since.clear();
        self.position = self.end()?;
        self.durable = 0;
        Ok(())
    }

    /// Calls `visit` with all records, in batches, as of one position, and begins to follow behind it.
    ///
    /// # Errors
    /// When Redis cannot be asked, or holds something else; what `visit` returns.
    pub(super) fn load<E: From<SharedLogError>>(
        &mut self,
        mut visit: impl FnMut(&Batch) -> Result<(), E>,
    ) -> Result<(), E> {
        let hashes: Vec<String> = self
            .link
            .ask(redis::cmd("SMEMBERS").arg(self.keys.hashes()))?;
        for hash in &hashes {
            let family = self.keys.family(hash);
            let family = family.ok_or(SharedLogError::Unreadable("the name of a hash"))?;
            let mut cursor = 0u64;
            loop {
                let mut call = redis::cmd("HSCAN");
                call.arg(hash).arg(cursor).arg("COUNT").arg(PAGE);
                let (next, records): (u64, RawRecords) = self.link.ask(&call)?;
                let mut batch = Batch::new();
                for (key, value) in &records {
                    batch.put(family, key, value);
                }
                visit(&batch)?;
                cursor = next;
                if cursor == 0 {
                    break;
                }
            }
        }
        let end = self.end()?;
        // A record may have been read as of any of these.
        while self.position < end {
            let mut call = redis::cmd("XRANGE");
            call.arg(self.keys.log())
                .arg(format!("({}-0", self.position));
            let entries: RawEntries = self.link.ask(call.arg("+").arg("COUNT").arg(PAGE))?;
            if entries.is_empty() {
                return Err(SharedLogError::Trimmed { had: self.position }.into());
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
            Arc::clone(&self.does_chores),
        );
        let (address, key) = (self.link.address().clone(), self.keys.log());
        let wake = self.wake.clone();
        let follower = Follower::start(address, key, self.position, lease, wake);
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
        let durability = looked_at(&self.durability)?;
        let answer = durability.insist(&mut self.link, &self.append, &call);
        let answer: Vec<Value> = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.pending = Some(call);
                return Err(error);
            }
        };
        let word: String = part(&answer, 0)?;
        match &*word {
            "appended" => {
                let position: u64 = part(&answer, 1)?;
                self.position = position;
                self.durable = position;
                Ok(Appended::Yes)
            }
            "behind" => {
                let found: u64 = part(&answer, 1)?;
                let entries: RawEntries = part(&answer, 2)?;
                let had = self.position;
                if found < had {
                    return Err(SharedLogError::Lost { found, had });
                }
                if entries.is_empty() {
                    return Err(SharedLogError::Trimmed { had });
                }
                let entries: Result<Vec<_>, _> = entries.into_iter().map(Entry::read).collect();
                self.since.extend(entries?);
                Ok(Appended::Behind)
            }
            _ => Err(SharedLogError::Epoch {
                found: part(&answer, 1)?,
                expected: self.epoch,
            }),
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
        call.arg(self.epoch).arg(self.position).arg(&self.instance);
        call.arg(self.sequence).arg(entry).arg(KEPT_ENTRIES);
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
            if entry.position <= self.position {
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
        let position = self.position;
        if position <= self.durable {
            return Ok(());
        }
        let mut call = self.confirm.call(&[self.keys.instances()]);
        call.arg(position);
        let durability = looked_at(&self.durability)?;
        let _: u8 = durability.insist(&mut self.link, &self.confirm, &call)?;
        self.durable = position;
        Ok(())
    }

    /// Returns how long ago the log was last seen to be followed to its end.
    pub(super) fn followed_for(&self) -> Duration {
        let follower = self.follower.as_ref();
        follower.map_or(Duration::ZERO, Follower::followed_for)
    }

    /// Checks that the log was read not long ago.
    ///
    /// # Errors
    /// When that is longer ago than `redis.max_lag`: others may have counted what nobody knows here.
    pub(super) fn check_lag(&self) -> Result<(), SharedLogError> {
        let lag = self.followed_for();
        if lag > self.link.address().max_lag {
            return Err(SharedLogError::Late(lag));
        }
        Ok(())
    }

    fn follows(&self, entry: &Entry) -> Result<(), SharedLogError> {
        if entry.position == self.position + 1 {
            return Ok(());
        }
        Err(SharedLogError::Trimmed { had: self.position })
    }

    /// Notes that the view has everything up to that entry.
    pub(super) fn took(&mut self, entry: &Entry) {
        self.position = entry.position;
    }
}

/// Returns all four fields; `None` where one is missing.
fn whole(fields: &[Option<String>]) -> Option<[&str; 4]> {
    match fields {
        [Some(one), Some(two), Some(three), Some(four)] => Some([one, two, three, four]),
        _ => None,
    }
}

/// Reads a part of an answer.
fn part<T: redis::FromRedisValue>(answer: &[Value], at: usize) -> Result<T, SharedLogError> {
    let value = answer.get(at).cloned().unwrap_or(Value::Nil);
    redis::from_redis_value(value).map_err(|_| SharedLogError::Unreadable("an answer"))
}

/// Returns what a look at Redis said; every use of the log comes after [`SharedLog::resume`].
fn looked_at(durability: &Option<Durability>) -> Result<&Durability, Broken> {
    let looked = durability.as_ref();
    looked
        .ok_or_else(|| Broken::found(format_args!("a shared log is used before it was looked at")))
}
