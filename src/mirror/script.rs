//! What runs within Redis, one script call at a time and whole or not at all: the comparison and the
//! write. And the names of keys.
//!
//! Each call names the mirror that it is from and its place in that mirror's sequence. Where the marker
//! says otherwise, because Redis lost something, was restored, or another mirror took over, nothing of
//! the call is written.

use crate::calendar::Day;
use crate::counter::{CounterName, Millis};
use crate::seeded::bug;

use super::entry::{MirrorEntry, Said};
use super::users::UsersPage;

/// Takes the marker over for a new sequence.
pub(super) const CLAIM: &str = include_str!("claim.lua");

/// Writes a key and takes it back.
pub(super) const CHECK: &str = include_str!("check.lua");

/// Gives the keys of another store to this one.
pub(super) const ADOPT: &str = include_str!("adopt.lua");

/// Writes counters, and how far the mirror is.
const WRITE: &str = include_str!("write.lua");

/// Adds users of a day.
pub(super) const USERS: &str = include_str!("users.lua");

/// Takes out of the names what is no counter's.
pub(super) const FORGET: &str = include_str!("forget.lua");

/// Reads counters.
pub(super) const READ: &str = include_str!("read.lua");

/// Reads names.
pub(super) const NAMES: &str = include_str!("names.lua");

/// The script that writes.
pub(super) fn write() -> String {
    if bug("mirror_increments") {
        WRITE.replace("'SET'", "'INCRBY'")
    } else {
        WRITE.to_owned()
    }
}

/// The names of keys under a prefix. None of a counter's equals another counter's: names neither end in
/// `:meta` nor contain `:users:`.
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

    /// Which mirror writes here, and how far it is.
    pub(super) fn marker(&self) -> String {
        format!("{}counterd:mirror", self.prefix)
    }

    /// The names of the counters that are here.
    pub(super) fn names(&self) -> String {
        format!("{}counterd:names", self.prefix)
    }

    /// A key for a moment, by which `counterd check` sees whether writes are taken.
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
    /// Of the mirror's present sequence.
    pub(super) id: String,
    /// The number of the call before it.
    pub(super) before: u64,
    /// Its own; the same when it changes nothing.
    pub(super) number: u64,
    /// The store's.
    pub(super) epoch: u64,
    /// What the store has come to.
    pub(super) latest: u64,
}

/// What is complete once a call is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Complete {
    pub(super) revision: u64,
    /// As of when; none while that is not to be told, and what was told stays.
    pub(super) as_of: Option<String>,
}

/// One call of the script that writes.
pub(super) fn call(
    sha: &str,
    keys: &Keys,
    place: &CallPlace,
    complete: Option<&Complete>,
    entries: &[MirrorEntry],
) -> redis::Cmd {
    let mut command = redis::cmd("EVALSHA");
    command.arg(sha).arg(2 + 2 * entries.len());
    command.arg(keys.marker()).arg(keys.names());
    for entry in entries {
        command
            .arg(keys.value(&entry.name))
            .arg(keys.meta(&entry.name));
    }
    command.arg(&place.id).arg(place.before).arg(place.number);
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
pub(super) fn read(sha: &str, keys: &Keys, names: &[CounterName]) -> redis::Cmd {
    let mut command = redis::cmd("EVALSHA");
    command.arg(sha).arg(1 + 2 * names.len()).arg(keys.marker());
    for name in names {
        let name = name.as_str();
        command.arg(keys.value(name)).arg(keys.meta(name));
    }
    command
}

/// One call of the script that reads names: those between two bounds.
pub(super) fn names(sha: &str, keys: &Keys, from: &str, to: &str, limit: usize) -> redis::Cmd {
    let mut command = redis::cmd("EVALSHA");
    command.arg(sha).arg(2);
    command.arg(keys.marker()).arg(keys.names());
    command.arg(from).arg(to).arg(limit);
    command
}

/// One call of the script that takes out what is no counter's name.
pub(super) fn forget(sha: &str, keys: &Keys, place: &CallPlace, names: &[Vec<u8>]) -> redis::Cmd {
    let mut command = redis::cmd("EVALSHA");
    command.arg(sha).arg(2);
    command.arg(keys.marker()).arg(keys.names());
    command.arg(&place.id).arg(place.before).arg(place.number);
    for name in names {
        command.arg(name.as_slice());
    }
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
) -> redis::Cmd {
    let name = page.name.as_str();
    let mut command = redis::cmd("EVALSHA");
    command.arg(sha).arg(3);
    command.arg(keys.marker()).arg(keys.meta(name));
    command.arg(keys.users(name, page.day));
    command.arg(&place.id).arg(place.before).arg(place.number);
    command.arg(format!("{}:{}", place.epoch, page.generation));
    command.arg(expires_at);
    for user in users {
        command.arg(user.as_slice());
    }
    command
}
