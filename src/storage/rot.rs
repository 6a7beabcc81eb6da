//! Tables that the disk no longer gives back as they were written, and reading past them.
//!
//! Whatever reads a table and finds a block rotten notes the table here: it is told in the log once, in
//! `/readyz?verbose` and in the metrics, and RocksDB no longer compacts the family by itself, because a
//! compaction that meets the block ends all writes. A table that is gone (dropped with its day, or set
//! aside) is forgotten, and its family is compacted again.
//!
//! Kept out: what is served in place of what cannot be read. Each reader decides that.

use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};

use parking_lot::Mutex;
use rocksdb::{DB, DBRawIteratorWithThreadMode, ReadOptions, WriteBatch, WriteOptions};

use super::error::{ReadError, is_rot};
use super::family::Family;
use super::keys;
use super::tables::Tables;
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
    /// Which keys the table spans, in words that hold no user id and no client's key.
    pub fn span(&self) -> String {
        match &self.range {
            Some((first, last)) => {
                format!(
                    "{} to {}",
                    shown(self.family, first),
                    shown(self.family, last)
                )
            }
            None => "unknown".to_owned(),
        }
    }
}

impl fmt::Display for RottenTable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = if self.file.is_empty() {
            "a table"
        } else {
            &self.file
        };
        let (family, span) = (self.family.name(), self.span());
        write!(
            out,
            "{file} (family {family}, keys {span}): {}",
            self.detail
        )
    }
}

/// What of a key may be shown: the day or bucket it begins with, or the counter's name.
fn shown(family: Family, key: &[u8]) -> String {
    let day = || {
        let day = keys::leading_day(key)?;
        if day == keys::NEVER {
            return Some("no day".to_owned());
        }
        Day::from_days(day).ok().map(|day| day.to_string())
    };
    let name = |name: Option<String>| name.unwrap_or_else(|| "?".to_owned());
    match family {
        Family::Days | Family::Dedup | Family::Samples => name(day()),
        Family::Idempotency => {
            name(keys::leading_bucket(key).map(|bucket| format!("bucket {bucket}")))
        }
        Family::History => {
            name(keys::history_entry(key).map(|(name, day)| format!("{name} {day}")))
        }
        Family::Counters | Family::Definitions => {
            name(keys::counter_name(key).map(|name| name.to_string()))
        }
        Family::Meta | Family::Windows => String::from_utf8_lossy(key).into_owned(),
    }
}

/// How often a range of keys is halved in search of what can be read between two rotten blocks.
const HALVINGS: u32 = 10;

/// A key about halfway between two; `None` where there is none.
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
    /// Whether `key` may lie in it.
    pub fn holds(&self, key: &[u8]) -> bool {
        key >= self.from.as_slice() && self.to.as_ref().is_none_or(|to| key < to.as_slice())
    }
}

/// The rotten tables of a store, for as long as the process lives: a store that is opened again is
/// opened knowing them.
#[derive(Debug, Default)]
pub struct Rot {
    known: Mutex<Vec<RottenTable>>,
    /// A bit for each family that has one.
    families: AtomicU16,
}

impl Rot {
    /// Whether a table of `family` is rotten.
    pub fn holds(&self, family: Family) -> bool {
        self.families.load(Ordering::Acquire) & (1 << family.index()) != 0
    }

    /// The rotten tables that are known.
    pub fn tables(&self) -> Vec<RottenTable> {
        self.known.lock().clone()
    }

    /// The first key of the rotten table of `family` that `key` lies in or before; `None` when that is
    /// not known.
    pub(super) fn begin_of(&self, family: Family, key: &[u8]) -> Option<Vec<u8>> {
        let known = self.known.lock();
        let tables = known.iter().filter(|table| table.family == family);
        let ranges = tables.filter_map(|table| table.range.as_ref());
        let reached = ranges.filter(|(_, last)| last.as_slice() >= key);
        reached.map(|(first, _)| first.clone()).min()
    }

    /// Adds a table; says whether it was not known. A table of unknown name is one for each family.
    fn add(&self, table: RottenTable) -> bool {
        let mut known = self.known.lock();
        let is_new = !known
            .iter()
            .any(|one| one.family == table.family && one.file == table.file);
        if is_new {
            tracing::error!(
                family = table.family.name(),
                file = table.file,
                keys = table.span(),
                error = table.detail,
                "a table of the store cannot be read: `counterd check --deep` says more"
            );
            known.push(table);
            self.mark(&known);
        }
        is_new
    }

    /// Forgets tables that are gone; gives the families that have none left.
    fn keep(&self, is_there: impl Fn(&str) -> bool) -> Vec<Family> {
        let mut known = self.known.lock();
        let before = known.clone();
        known.retain(|table| table.file.is_empty() || is_there(&table.file));
        self.mark(&known);
        let mut healed = Vec::new();
        for table in before {
            let family = table.family;
            if !known.iter().any(|left| left.family == family) && !healed.contains(&family) {
                healed.push(family);
            }
        }
        healed
    }

    fn mark(&self, known: &[RottenTable]) {
        let bits = known
            .iter()
            .fold(0, |bits, table| bits | 1 << table.family.index());
        self.families.store(bits, Ordering::Release);
    }
}

/// The table's file name within what RocksDB said.
fn file_in(text: &str) -> Option<&str> {
    text.split_whitespace()
        .map(|word| word.trim_end_matches([':', '.', ',']))
        .find(|word| word.ends_with(".sst"))
        .and_then(|path| Path::new(path).file_name()?.to_str())
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
        let file = file_in(&detail).unwrap_or_default().to_owned();
        let live = self.db().live_files().unwrap_or_default();
        let found = live
            .into_iter()
            .find(|live| live.name.trim_start_matches('/') == file);
        let named = found.as_ref().and_then(|live| {
            let of = |family: &Family| family.name() == live.column_family_name;
            Family::ALL.into_iter().find(of)
        });
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
        if self.rot().add(table) && self.is_writable() {
            self.compact_by_itself(family, false);
        }
    }

    /// Says what RocksDB gives as the reason for a failure in the background. A rotten table that
    /// ended a compaction is noted.
    pub(super) fn background_failure(&self) -> String {
        // A write of nothing, which does not go to the log, is refused with the error that ended writes.
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        match self.db().write_opt(WriteBatch::default(), &options) {
            Ok(()) => "RocksDB does not say why".to_owned(),
            Err(error) => {
                self.note(None, &error);
                error.into_string()
            }
        }
    }

    /// Forgets rotten tables that are gone, and lets their families be compacted again.
    pub(super) fn forget_rotten(&self) {
        if !Family::ALL
            .into_iter()
            .any(|family| self.rot().holds(family))
        {
            return;
        }
        let Ok(live) = self.db().live_files() else {
            return;
        };
        let is_there = |file: &str| {
            live.iter()
                .any(|one| one.name.trim_start_matches('/') == file)
        };
        for family in self.rot().keep(is_there) {
            tracing::warn!(
                family = family.name(),
                "the rotten tables of the family are gone; it is compacted again"
            );
            self.compact_by_itself(family, true);
        }
    }

    fn compact_by_itself(&self, family: Family, wanted: bool) {
        let disabled = if wanted { "false" } else { "true" };
        let set = self.handle(family).map(|handle| {
            self.db()
                .set_options_cf(handle, &[("disable_auto_compactions", disabled)])
        });
        if let Ok(Err(error)) = set {
            tracing::warn!(family = family.name(), %error, "RocksDB did not take whether to compact the family");
        }
    }

    /// Reads as `Tables::scan` does, and goes on behind what is rotten. Gives what was left out.
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

    /// The first key at or above `from` from which on the rest of its table can be read; `None` when
    /// there is none. The first `in_vain` of the rotten tables there were tried before.
    fn readable_behind(
        &self,
        family: Family,
        from: &[u8],
        in_vain: usize,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        let mut ends: Vec<Vec<u8>> = self
            .rot()
            .tables()
            .into_iter()
            .filter(|table| table.family == family)
            .filter_map(|table| Some(table.range?.1))
            .filter(|last| last.as_slice() >= from)
            .collect();
        ends.sort_unstable();
        ends.dedup();
        for last in ends.into_iter().skip(in_vain) {
            let mut records = self.records(family)?;
            // Backwards from the end of the table to the block that cannot be read.
            records.seek_for_prev(&last);
            let mut first = None;
            while let Some(key) = records.key().filter(|&key| key >= from) {
                first = Some(key.to_vec());
                records.prev();
            }
            if let Some(first) = first {
                // It may have stopped at the block of another table that lies over this one.
                if let Err(error) = records.status() {
                    self.note(Some(family), &error);
                }
                let before = self.readable_between(family, from, &first, HALVINGS)?;
                return Ok(Some(before.unwrap_or(first)));
            }
            // Its end cannot be read either: on behind the table.
            let mut records = self.records(family)?;
            records.seek([last.as_slice(), &[0]].concat());
            if records.status().is_ok() {
                return Ok(records.key().map(<[u8]>::to_vec));
            }
        }
        Ok(None)
    }

    /// A key of `from..to` from which on something can be read, the first that halving finds; `None` when it
    /// finds none.
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
        let mut records = self.records(family)?;
        records.seek(&middle);
        let mut first = None;
        while let Some(key) = records.key().filter(|&key| key >= from && key < to) {
            first = Some(key.to_vec());
            records.prev();
        }
        if let Err(error) = records.status() {
            self.note(Some(family), &error);
        }
        let left = first.as_deref().unwrap_or(&middle);
        if let Some(before) = self.readable_between(family, from, left, halvings - 1)? {
            return Ok(Some(before));
        }
        match first {
            Some(first) => Ok(Some(first)),
            None => self.readable_between(family, &middle, to, halvings - 1),
        }
    }

    fn records(&self, family: Family) -> Result<DBRawIteratorWithThreadMode<'_, DB>, ReadError> {
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        options.set_verify_checksums(true);
        Ok(self.db().raw_iterator_cf_opt(self.handle(family)?, options))
    }
}
