//! The column families: one for each kind of record.
//!
//! Kept out: their options (`schema`), and the layout of keys and values (`keys`, `value`).

use serde::{Deserialize, Serialize};

/// A column family: one kind of record.
///
/// `windows` holds nothing yet. It is made with the store all the same, so that a later version fills
/// it without another family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Versions, epoch, zone, last revision, highest day, store time, horizons.
    Meta,
    /// Definitions of live and gone counters.
    Definitions,
    /// The counters' values: the one family with a merge operator.
    Counters,
    /// Day records, a partition for each local day.
    Days,
    /// The user ids that `unique` counters have counted, day first.
    Dedup,
    /// Outcomes of requests with an idempotency key, by bucket of store time.
    Idempotency,
    /// Closed days, by counter.
    History,
    /// The minutes of a day.
    Samples,
    /// Counters over a moving window.
    Windows,
}

impl Family {
    /// All of them, in the order in which they were created.
    pub const ALL: [Self; 9] = [
        Self::Meta,
        Self::Definitions,
        Self::Counters,
        Self::Days,
        Self::Dedup,
        Self::Idempotency,
        Self::History,
        Self::Samples,
        Self::Windows,
    ];

    /// Returns RocksDB's name of the family.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Definitions => "definitions",
            Self::Counters => "counters",
            Self::Days => "days",
            Self::Dedup => "dedup",
            Self::Idempotency => "idempotency",
            Self::History => "history",
            Self::Samples => "samples",
            Self::Windows => "windows",
        }
    }

    /// Whether the keys begin with the day or bucket in which a record ends, so that whole files
    /// of them can be dropped.
    pub const fn is_partitioned(self) -> bool {
        match self {
            Self::Days | Self::Dedup | Self::Idempotency | Self::Samples => true,
            Self::Meta | Self::Definitions | Self::Counters | Self::History | Self::Windows => {
                false
            }
        }
    }

    /// Returns the position in [`Family::ALL`].
    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_keep_their_names_and_order() {
        let names = Family::ALL.map(Family::name);
        let expected = [
            "meta",
            "definitions",
            "counters",
            "days",
            "dedup",
            "idempotency",
            "history",
            "samples",
            "windows",
        ];
        assert_eq!(names, expected);
        for (at, family) in Family::ALL.into_iter().enumerate() {
            assert_eq!(family.index(), at);
        }
    }
}
