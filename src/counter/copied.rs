//! A counter's value as a copy elsewhere has it: the mirror in Redis, the rows in PostgreSQL.

use super::{CounterName, Existence, Kind, Millis, Reset, Revision, Stored};
use crate::calendar::Day;

/// A value that may be out of date. What a copy says of itself is not trusted further than its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopiedValue {
    /// The counter's name.
    pub name: CounterName,
    /// Its value.
    pub value: i64,
    /// Its kind, where the copy knows it.
    pub kind: Option<Kind>,
    /// The local day that the value belongs to; `None` for a counter that never resets.
    pub period: Option<Day>,
    /// The revision of the counter's last change.
    pub revision: Revision,
    /// The epoch of that revision.
    pub epoch: u64,
    /// When the value came to be.
    pub last_updated: Millis,
    /// From this instant on the counter is gone; `None` where it does not expire, or the copy does not say.
    pub expires_at: Option<Millis>,
    /// The counter had this value then; it may have changed since.
    pub as_of: Millis,
}

impl CopiedValue {
    /// Returns its place in the order of all states: of two, the greater is the later.
    pub fn place(&self) -> (u64, Revision, Option<Day>) {
        (self.epoch, self.revision, self.period)
    }

    /// Returns what a store would hold of the counter, if it held what the copy tells.
    pub fn stored(&self) -> Stored {
        Stored {
            existence: Existence::Live,
            reset: self.reset(),
            value: self.value,
            period: self.period,
            revision: self.revision,
            epoch: self.epoch,
            changed_at: self.last_updated,
            expires_at: self.expires_at,
        }
    }

    /// Returns when the counter starts over.
    pub fn reset(&self) -> Reset {
        match self.period {
            None => Reset::Never,
            Some(_) => Reset::Daily,
        }
    }
}
