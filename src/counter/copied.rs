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

/// What a copy has of the counters asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopiedValues {
    /// When the copy last had everything; `None` where it does not say, and while it is being filled.
    pub as_of: Option<Millis>,
    /// The values, in the order asked; `None` for a counter that the copy lacks, or that cannot be read there.
    pub values: Vec<Option<CopiedValue>>,
}

/// A page of a copy's list of counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopiedPage {
    /// When the copy last had everything, as in [`CopiedValues`].
    pub as_of: Option<Millis>,
    /// The values, in the order of names. Counters that cannot be read are left out.
    pub values: Vec<CopiedValue>,
    /// The name after which there are more counters; `None` on the last page.
    pub next: Option<String>,
}

impl CopiedValue {
    /// Returns its place in the order of all states: of two, the greater is the later.
    pub fn place(&self) -> (u64, Revision, Option<Day>) {
        (self.epoch, self.revision, self.period)
    }

    /// Returns what a store would hold of the counter, if it held what the copy tells.
    pub fn stored(&self) -> Stored<'_> {
        Stored {
            existence: Existence::Live,
            reset: self.reset(),
            value: self.value,
            leaving: None,
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
