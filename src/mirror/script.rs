//! The scripts that run within Redis, and the names of keys.
//!
//! Redis runs one call at a time, whole or not at all. Each call names its mirror and its place in that mirror's
//! sequence. If the marker differs, because Redis lost something, was restored, or another mirror took over, the
//! call writes nothing.

use redis::Cmd;

use crate::calendar::Day;
use crate::counter::{CounterName, Millis};
use crate::seeded::bug;

use super::entry::{MirrorEntry, Said};
use super::users::UsersPage;

/// Tells whose the keys are.
pub(super) const WHOSE: &str = include_str!("whose.lua");

/// Claims the marker for a new sequence.
pub(super) const CLAIM: &str = include_str!("claim.lua");

/// Writes a key and takes it back.
pub(super) const CHECK: &str = include_str!("check.lua");

/// Gives the keys of another store to this one.
pub(super) const ADOPT: &str = include_str!("adopt.lua");

/// Writes counters, and how far the mirror is.
const WRITE: &str = include_str!("write.lua");

/// Adds users of a day.
pub(super) const USERS: &str = include_str!("users.lua");

/// Takes names out that no counter can have.
pub(super) const FORGET: &str = include_str!("forget.lua");

/// Reads counters.
pub(super) const READ: &str = include_str!("read.lua");

/// Reads names.
pub(super) const NAMES: &str = include_str!("names.lua");

/// Returns the script that writes.
pub(super) fn write() -> String {
    if bug("mirror_increments") {
        WRITE.replace("'SET'", "'INCRBY'")
    } else {
        WRITE.to_owned()
    }
}

/// The names of keys under a prefix. No two counters share a key, since names of counters neither end in `:meta`
/// nor contain `:users:`.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    /// The marker: which mirror writes here, and how far it is.
    pub(super) fn marker(&self) -> String {
        format!("{}counterd:mirror", self.prefix)
    }

    /// The list of the counters that are here.
    pub(super) fn names(&self) -> String {
        format!("{}counterd:names", self.prefix)
    }

    /// The key that `counterd check` writes for a moment, to see whether Redis takes writes.
    pub(super) fn check(&self) -> String {
        format!("{}counterd:check", self.prefix)
    }

    /// What the key of every counter begins with.
    pub(super) fn counters(&self) -> String {
        format!("{}counter:", self.prefix)
    }

    pub(super) fn value(&self, name: &str) -> String {
        format!("{}counter:{name}", self.prefix)
    }

    pub(super) fn users(&self, name: &str, day: Day) -> String {
        format!("{}counter:{name}:users:{day}", self.prefix)
    }

    pub(super) fn meta(&self, name: &str) -> String {
        format!("{}counter:{name}:meta", self.prefix)
    }
}

/// The place of a call in a mirror's sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CallPlace {
    /// The id of the sequence.
    pub(super) id: String,
    /// The number of the call before it.
    pub(super) before: u64,
    /// Its own number; the same as before when the call changes nothing.
    pub(super) number: u64,
    /// The store's epoch.
    pub(super) epoch: u64,
    /// The revision that the store has come to.
    pub(super) latest: u64,
}

/// What is complete once a call is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Complete {
    pub(super) revision: u64,
    /// As of when; `None` keeps what was told before.
    pub(super) as_of: Option<String>,
}

/// The largest number that scripts can hold.
pub(super) const LARGEST: u64 = 9_007_199_254_740_991;

/// Begins a call of a script: its keys, before any argument.
pub(super) fn evalsha(sha: &str, keys: &[String]) -> Cmd {
    let mut command = redis::cmd("EVALSHA");
    command.arg(sha).arg(keys.len()).arg(keys);
    command
}

/// Begins a call of the sequence: its keys and its place.
fn in_sequence(sha: &str, keys: &[String], place: &CallPlace) -> Cmd {
    let mut command = evalsha(sha, keys);
    command.arg(&place.id).arg(place.before).arg(place.number);
    command
}

/// One call of the script that writes.
pub(super) fn call(
    sha: &str,
    keys: &Keys,
    place: &CallPlace,
    complete: Option<&Complete>,
    entries: &[MirrorEntry],
) -> Cmd {
    let of_entries = entries
        .iter()
        .flat_map(|entry| [keys.value(&entry.name), keys.meta(&entry.name)]);
    let all: Vec<String> = [keys.marker(), keys.names()]
        .into_iter()
        .chain(of_entries)
        .collect();
    let mut command = in_sequence(sha, &all, place);
    command.arg(place.epoch).arg(place.latest);
    match complete {
        Some(Complete { revision, as_of }) => {
            command.arg(*revision).arg(as_of.as_deref().unwrap_or(""))
        }
        None => command.arg("").arg(""),
    };
    for entry in entries {
        let MirrorEntry {
            name,
            value,
            revision,
            period,
            last_updated,
            kind,
            expires_at,
        } = entry;
        command.arg(name.as_str());
        match value {
            Said::Value(value) => command.arg(*value),
            Said::Gone => command.arg(""),
            Said::Unknown => command.arg("?"),
        };
        command
            .arg(*revision)
            .arg(period)
            .arg(last_updated)
            .arg(*kind)
            .arg(expires_at);
    }
    command
}

/// One call of the script that reads.
pub(super) fn read(sha: &str, keys: &Keys, names: &[CounterName]) -> Cmd {
    let of_names = names
        .iter()
        .flat_map(|name| [keys.value(name.as_str()), keys.meta(name.as_str())]);
    let all: Vec<String> = std::iter::once(keys.marker()).chain(of_names).collect();
    evalsha(sha, &all)
}

/// One call of the script that reads names: those between two bounds.
pub(super) fn names(sha: &str, keys: &Keys, from: &str, to: &str, limit: usize) -> Cmd {
    let mut command = evalsha(sha, &[keys.marker(), keys.names()]);
    command.arg(from).arg(to).arg(limit);
    command
}

/// One call of the script that takes names out that no counter can have.
pub(super) fn forget(sha: &str, keys: &Keys, place: &CallPlace, names: &[Vec<u8>]) -> Cmd {
    let mut command = in_sequence(sha, &[keys.marker(), keys.names()], place);
    command.arg(names);
    command
}

/// One call of the script that adds users: some of those of the page.
pub(super) fn add_users(
    sha: &str,
    keys: &Keys,
    place: &CallPlace,
    page: &UsersPage,
    users: &[Vec<u8>],
    expires_at: Millis,
) -> Cmd {
    let name = page.name.as_str();
    let all = [keys.marker(), keys.meta(name), keys.users(name, page.day)];
    let mut command = in_sequence(sha, &all, place);
    command.arg(format!("{}:{}", place.epoch, page.generation));
    command.arg(expires_at).arg(users);
    command
}
