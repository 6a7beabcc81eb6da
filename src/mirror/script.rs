//! The scripts that run within Redis, and the names of keys.
//!
//! Redis runs one call at a time, whole or not at all. Each call that writes names its mirror and its place in that
//! mirror's sequence. If the marker differs, because Redis lost something, was restored, or another mirror took over,
//! the call writes nothing.

use crate::calendar::Day;
use crate::seeded::bug;

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

/// Removes names that no counter can have.
pub(super) const FORGET: &str = include_str!("forget.lua");

/// Reads counters.
pub(super) const READ: &str = include_str!("read.lua");

/// Reads names.
pub(super) const NAMES: &str = include_str!("names.lua");

/// The largest number that scripts can hold.
pub(super) const LARGEST: u64 = 9_007_199_254_740_991;

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
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    /// Returns the key of the marker, which says which mirror writes here and how far it is, and that of the list of the
    /// counters that are here.
    pub(super) fn ours(&self) -> [String; 2] {
        ["mirror", "names"].map(|key| format!("{}counterd:{key}", self.prefix))
    }

    /// Returns the key that `counterd check` writes for a moment, to see whether Redis takes writes.
    pub(super) fn check(&self) -> String {
        format!("{}counterd:check", self.prefix)
    }

    /// Returns what the key of every counter begins with.
    pub(super) fn counters(&self) -> String {
        format!("{}counter:", self.prefix)
    }

    /// Returns the two keys of a counter: its value and its meta.
    pub(super) fn of(&self, name: &str) -> [String; 2] {
        let value = format!("{}counter:{name}", self.prefix);
        let meta = format!("{value}:meta");
        [value, meta]
    }

    /// Returns the key of the set of a day's users.
    pub(super) fn users(&self, name: &str, day: Day) -> String {
        format!("{}counter:{name}:users:{day}", self.prefix)
    }
}
