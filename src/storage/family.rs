//! The column families: one for each kind of record.
//!
//! Kept out: their options (`schema`), and the layout of keys and values (`keys`, `value`).

words! {
    /// A column family: one kind of record. Its word is RocksDB's name of it.
    ///
    /// `windows` holds nothing yet. It is made with the store all the same, so that a later version fills
    /// it without another family.
    #[derive(PartialOrd, Ord)]
    Family {
        /// Versions, epoch, zone, last revision, highest day, store time, horizons.
        Meta = "meta",
        /// Definitions of live and gone counters.
        Definitions = "definitions",
        /// The counters' values: the one family with a merge operator.
        Counters = "counters",
        /// Day records, a partition for each local day.
        Days = "days",
        /// The user ids that `unique` counters have counted, day first.
        Dedup = "dedup",
        /// Outcomes of requests with an idempotency key, by bucket of store time.
        Idempotency = "idempotency",
        /// Closed days, by counter.
        History = "history",
        /// The minutes of a day.
        Samples = "samples",
        /// Counters over a moving window.
        Windows = "windows",
    }
}

impl Family {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_keep_their_names_and_order() {
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
        assert_eq!(Family::WORDS, expected);
        for (at, family) in Family::ALL.iter().enumerate() {
            assert_eq!(*family as usize, at);
        }
    }
}
