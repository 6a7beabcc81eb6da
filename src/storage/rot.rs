//! Tables that the disk no longer gives back as they were written, and reading past them.
//!
//! Whatever reads a table and finds a block rotten notes the table here: it is told in the log once, in
//! `/readyz?verbose` and in the metrics, and RocksDB no longer compacts the family by itself, because a
//! compaction that meets the block ends all writes. A table that is gone (dropped with its day, or set
//! aside) is forgotten, and its family is compacted again.
//!
//! Kept out: what is served in place of what cannot be read. Each reader decides that.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;

use parking_lot::Mutex;
use rocksdb::{LiveFile, WriteBatch, WriteOptions};

use super::error::{ReadError, is_rot, table_in};
use super::family::Family;
use super::keys;
use super::tables::{Records, Tables};
use crate::calendar::Day;

/// A table that cannot be read whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RottenTable {
    /// The family it belongs to.
    pub family: Family,
    /// Its file in `store/db`; empty when RocksDB did not say which one it is.
    pub file: String,
    /// Its first and last key; `None` when it is not known.
    range: Option<(Vec<u8>, Vec<u8>)>,
    /// What RocksDB said.
    pub detail: String,
}

impl RottenTable {
    /// Says which keys the table spans, without a user id or a client's key.
    pub fn span(&self) -> String {
        match &self.range {
            Some((first, last)) => {
                let [first, last] = [first, last].map(|key| shown(self.family, key));
                format!("{first} to {last}")
            }
            None => "unknown".to_owned(),
        }
    }
}

impl fmt::Display for RottenTable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = match self.file.as_str() {
            "" => "a table",
            file => file,
        };
        let (family, span, detail) = (self.family.as_str(), self.span(), &self.detail);
        write!(out, "{file} (family {family}, keys {span}): {detail}")
    }
}

/// Shows what may be shown of a key: the day or bucket it begins with, or the counter's name.
fn shown(family: Family, key: &[u8]) -> String {
    let day = |day| match day {
        keys::NEVER => Some("no day".to_owned()),
        day => Some(Day::from_days(day).ok()?.to_string()),
    };
    let shown = match family {
        Family::Days | Family::Dedup | Family::Samples => keys::leading_day(key).and_then(day),
        Family::Idempotency => keys::leading_bucket(key).map(|bucket| format!("bucket {bucket}")),
        Family::History => keys::history_entry(key).map(|(name, day)| format!("{name} {day}")),
        Family::Counters | Family::Definitions => {
            keys::counter_name(key).map(|name| name.to_string())
        }
        Family::Meta | Family::Windows => Some(String::from_utf8_lossy(key).into_owned()),
    };
    shown.unwrap_or_else(|| "?".to_owned())
}

/// How often a range of keys is halved in search of what can be read between two rotten blocks.
const HALVINGS: u32 = 10;

/// Makes a key about halfway between two; `None` where there is none.
fn middle(from: &[u8], to: &[u8]) -> Option<Vec<u8>> {
    let alike = from.iter().zip(to).take_while(|(a, b)| a == b).count();
    let number = |key: &[u8]| {
        let mut bytes = [0; 8];
        let rest = key.get(alike..).unwrap_or_default();
        bytes
            .iter_mut()
            .zip(rest)
            .for_each(|(to, &from)| *to = from);
        u64::from_be_bytes(bytes)
    };
    let (low, high) = (number(from), number(to));
    let between = low + high.saturating_sub(low) / 2;
    let prefix = to.get(..alike).unwrap_or_default();
    (between > low).then(|| [prefix, &between.to_be_bytes()[..]].concat())
}

/// Keys that may be there and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The first of them, at the least.
    pub from: Vec<u8>,
    /// The first key behind them; `None` when nothing behind them could be read.
    pub to: Option<Vec<u8>>,
}

impl Gap {
    /// Whether a key from `from` on and before `to` may lie in it.
    pub fn meets(&self, from: &[u8], to: &[u8]) -> bool {
        self.from.as_slice() < to && self.to.as_ref().is_none_or(|end| end.as_slice() > from)
    }

    /// Whether `key` may lie in it.
    pub fn holds(&self, key: &[u8]) -> bool {
        key >= self.from.as_slice() && self.to.as_ref().is_none_or(|to| key < to.as_slice())
    }
}

/// The rotten tables of a store, for as long as the process lives: a store that is opened again is
/// opened knowing them.
#[derive(Debug, Default)]
pub struct Rot(Mutex<Vec<RottenTable>>);

impl Rot {
    /// Whether a table of `family` is rotten.
    pub fn holds(&self, family: Family) -> bool {
        self.0.lock().iter().any(|table| table.family == family)
    }

    /// Returns the rotten tables that are known.
    pub fn tables(&self) -> Vec<RottenTable> {
        self.0.lock().clone()
    }

    /// Returns the first and the last key of each rotten table of `family` that ends at `key` or behind it, as
    /// far as they are known.
    fn ranges_from(&self, family: Family, key: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let of_family = self
            .tables()
            .into_iter()
            .filter(|table| table.family == family);
        let ranges = of_family.filter_map(|table| table.range);
        ranges.filter(|(_, last)| last.as_slice() >= key).collect()
    }

    /// Returns the first key of the rotten table of `family` that `key` lies in or before; `None` when
    /// that is not known.
    pub(super) fn begin_of(&self, family: Family, key: &[u8]) -> Option<Vec<u8>> {
        let reached = self.ranges_from(family, key).into_iter();
        reached.map(|(first, _)| first).min()
    }

    /// Adds a table, and returns whether it was not known. A table of unknown name is one for each family.
    fn add(&self, table: RottenTable) -> bool {
        let mut known = self.0.lock();
        let is_same = |one: &RottenTable| one.family == table.family && one.file == table.file;
        if known.iter().any(is_same) {
            return false;
        }
        tracing::error!(
            family = table.family.as_str(),
            file = table.file,
            keys = table.span(),
            error = table.detail,
            "a table of the store cannot be read: `counterd check --deep` says more"
        );
        known.push(table);
        true
    }

    /// Forgets tables that are gone, and returns the families that have none left.
    fn keep(&self, is_there: impl Fn(&str) -> bool) -> BTreeSet<Family> {
        let mut known = self.0.lock();
        let families = |known: &[RottenTable]| -> BTreeSet<Family> {
            known.iter().map(|table| table.family).collect()
        };
        let before = families(&known);
        known.retain(|table| table.file.is_empty() || is_there(&table.file));
        &before - &families(&known)
    }
}

fn is_named(live: &LiveFile, file: &str) -> bool {
    live.name.trim_start_matches('/') == file
}

impl Tables {
    /// Turns what RocksDB said into a [`ReadError`]; a rotten table of `family` is noted.
    pub(super) fn failed(&self, family: Family, error: rocksdb::Error) -> ReadError {
        self.note(Some(family), &error);
        error.into()
    }

    /// Notes the table that `error` speaks of, if it speaks of one that is rotten; `family` is the one
    /// that was read.
    pub(super) fn note(&self, family: Option<Family>, error: &rocksdb::Error) {
        if !is_rot(error) {
            return;
        }
        let detail = AsRef::<str>::as_ref(error).to_owned();
        let file = table_in(&detail).and_then(Path::file_name);
        let file = file.map_or(String::new(), |file| file.to_string_lossy().into_owned());
        let live = self.db.live_files().unwrap_or_default();
        let found = live.into_iter().find(|live| is_named(live, &file));
        let named = found.as_ref();
        let named = named.and_then(|live| Family::of_word(&live.column_family_name));
        let Some(family) = named.or(family) else {
            return;
        };
        let range = found.and_then(|live| Some((live.start_key?, live.end_key?)));
        let table = RottenTable {
            family,
            file,
            range,
            detail,
        };
        if self.rot.add(table) && self.is_writable {
            self.compact_by_itself(family, false);
        }
    }

    /// Says what RocksDB gives as the reason for a failure in the background. A rotten table that
    /// ended a compaction is noted.
    pub(super) fn background_failure(&self) -> String {
        // A write of nothing, which does not go to the log, is refused with the error that ended writes.
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        match self.db.write_opt(WriteBatch::default(), &options) {
            Ok(()) => "RocksDB does not say why".to_owned(),
            Err(error) => {
                self.note(None, &error);
                error.into_string()
            }
        }
    }

    /// Forgets rotten tables that are gone, and lets their families be compacted again.
    pub(super) fn forget_rotten(&self) {
        if self.rot.tables().is_empty() {
            return;
        }
        let Ok(live) = self.db.live_files() else {
            return;
        };
        let is_there = |file: &str| live.iter().any(|one| is_named(one, file));
        for family in self.rot.keep(is_there) {
            tracing::warn!(
                family = family.as_str(),
                "the rotten tables of the family are gone; it is compacted again"
            );
            self.compact_by_itself(family, true);
        }
    }

    fn compact_by_itself(&self, family: Family, wanted: bool) {
        let disabled = if wanted { "false" } else { "true" };
        let set = self.handle(family).map(|handle| {
            self.db
                .set_options_cf(handle, &[("disable_auto_compactions", disabled)])
        });
        if let Ok(Err(error)) = set {
            tracing::warn!(family = family.as_str(), %error, "RocksDB did not take whether to compact the family");
        }
    }

    /// Reads every record of every family that can be read.
    pub(super) fn scan_all(
        &self,
        mut visit: impl FnMut(Family, &[u8], &[u8]),
    ) -> Result<(), ReadError> {
        for family in Family::ALL {
            self.scan_past_rot(family, &[], None, |key, value| {
                visit(family, key, value);
                ControlFlow::Continue(())
            })?;
        }
        Ok(())
    }

    /// Reads as `Tables::scan` does, and goes on behind what is rotten. Returns what was left out.
    ///
    /// # Errors
    /// When RocksDB cannot read for another reason.
    pub fn scan_past_rot(
        &self,
        family: Family,
        start: &[u8],
        end: Option<&[u8]>,
        mut visit: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<Vec<Gap>, ReadError> {
        let mut gaps = Vec::new();
        let mut from = start.to_vec();
        let mut last = Vec::new();
        // Tables tried in vain, since the last key that was read.
        let mut in_vain = 0;
        loop {
            last.clear();
            let scanned = self.scan(family, &from, end, |key, value| {
                last.clear();
                last.extend_from_slice(key);
                visit(key, value)
            });
            match scanned {
                Ok(()) => return Ok(gaps),
                Err(error) if !error.is_rot() => return Err(error),
                Err(_) => {}
            }
            if last.is_empty() {
                in_vain += usize::from(!gaps.is_empty());
            } else {
                in_vain = 0;
                last.push(0);
                from.clone_from(&last);
            }
            let to = self.readable_behind(family, &from, in_vain)?;
            let to = to.filter(|to| end.is_none_or(|end| to.as_slice() < end));
            gaps.push(Gap {
                from: from.clone(),
                to: to.clone(),
            });
            match to {
                Some(to) => from = to,
                None => return Ok(gaps),
            }
        }
    }

    /// Finds the first key at or above `from` that can be read, as can the rest of its table behind it; `None`
    /// when there is none. The first `in_vain` of the rotten tables there were tried before.
    fn readable_behind(
        &self,
        family: Family,
        from: &[u8],
        in_vain: usize,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        let ranges = self.rot.ranges_from(family, from);
        let ends: BTreeSet<Vec<u8>> = ranges.into_iter().map(|(_, last)| last).collect();
        for last in ends.into_iter().skip(in_vain) {
            let mut records = self.records(family, None)?;
            // Backwards from the end of the table to the block that cannot be read.
            records.seek_for_prev(&last);
            if let Some(first) = self.first_readable(family, records, from, None) {
                let before = self.readable_between(family, from, &first, HALVINGS)?;
                return Ok(Some(before.unwrap_or(first)));
            }
            // Its end cannot be read either: on behind the table.
            let mut records = self.records(family, None)?;
            records.seek([last.as_slice(), &[0]].concat());
            if records.status().is_ok() {
                return Ok(records.key().map(<[u8]>::to_vec));
            }
        }
        Ok(None)
    }

    /// Looks for a key of `from..to` that can be read, by halving; `None` when it finds none.
    fn readable_between(
        &self,
        family: Family,
        from: &[u8],
        to: &[u8],
        halvings: u32,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(middle) = middle(from, to).filter(|_| halvings > 0) else {
            return Ok(None);
        };
        let mut records = self.records(family, None)?;
        records.seek(&middle);
        let first = self.first_readable(family, records, from, Some(to));
        let left = first.as_deref().unwrap_or(&middle);
        if let Some(before) = self.readable_between(family, from, left, halvings - 1)? {
            return Ok(Some(before));
        }
        match first {
            Some(first) => Ok(Some(first)),
            None => self.readable_between(family, &middle, to, halvings - 1),
        }
    }

    /// Walks backwards as long as records of `from..to` can be read, and returns the key of the last of them;
    /// `None` when not even the first can be read. The block that ends the walk may be another table's.
    fn first_readable(
        &self,
        family: Family,
        mut records: Records<'_>,
        from: &[u8],
        to: Option<&[u8]>,
    ) -> Option<Vec<u8>> {
        let mut first = None;
        while let Some(key) = records.key()
            && key >= from
            && to.is_none_or(|to| key < to)
        {
            first = Some(key.to_vec());
            records.prev();
        }
        if let Err(error) = records.status() {
            self.note(Some(family), &error);
        }
        first
    }
}
