//! Counters: their definitions, their values, and the generations whose users are to be deleted.

use std::ops::ControlFlow;

use crate::counter::{CounterName, Definition, Generation, Gone};
use crate::storage::Family;
use crate::storage::batch::Batch;
use crate::storage::error::ReadError;
use crate::storage::keys;
use crate::storage::merge::{CounterValue, Operand, Record};
use crate::storage::rot::Gap;
use crate::storage::tables::{Reader, Tables};
use crate::storage::value::{self, Undecodable};

/// A definition, and how its counter went if it is gone.
pub type Defined = (Definition, Option<Gone>);

/// A record of a counter that a test damages.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damaged {
    /// Its definition.
    Definition,
    /// Its value.
    Value,
    /// A change of its value.
    Operand,
    /// A change of its definition, which nothing may add: a broken invariant.
    StrayOperand,
}

/// Keys in `meta` of generations whose users are to be deleted: this, then the generation.
const ENDED_PREFIX: &[u8] = b"ended|";
const ENDED_END: &[u8] = b"ended}";

fn ended(generation: Generation) -> Vec<u8> {
    [ENDED_PREFIX, &generation.to_be_bytes()].concat()
}

/// Reads the counter that a key names; logs a key that cannot be read, and returns `None`.
fn named(family: Family, key: &[u8]) -> Option<CounterName> {
    let name = keys::counter_name(key);
    if name.is_none() {
        tracing::error!(family = family.as_str(), "a key cannot be read; it is kept");
    }
    name
}

impl Batch {
    /// Puts the definition of a counter, and how it went if it is gone.
    pub(crate) fn put_definition(
        &mut self,
        name: &CounterName,
        definition: &Definition,
        gone: Option<&Gone>,
    ) {
        let record = value::encode_counter(definition, gone);
        self.put_record(Family::Definitions, &keys::counter(name), record);
    }

    /// Puts the whole value of a counter.
    pub fn put_value(&mut self, name: &CounterName, value: &CounterValue) {
        self.put(Family::Counters, &keys::counter(name), &value.encode());
    }

    /// Adds a change to the value of a counter.
    pub fn change_value(&mut self, name: &CounterName, change: &Operand) {
        self.merge(Family::Counters, &keys::counter(name), &change.encode());
    }

    /// Deletes the definition and the value of a counter.
    pub(crate) fn forget_counter(&mut self, name: &CounterName) {
        let key = keys::counter(name);
        self.delete(Family::Definitions, &key);
        self.delete(Family::Counters, &key);
    }

    /// Notes that the users of an ended generation are to be deleted.
    pub(crate) fn put_ended(&mut self, generation: Generation) {
        self.put(Family::Meta, &ended(generation), &[]);
    }

    /// Takes the note of [`Batch::put_ended`] out.
    pub(crate) fn delete_ended(&mut self, generation: Generation) {
        self.delete(Family::Meta, &ended(generation));
    }

    /// Puts any bytes in place of a record, as damage would.
    #[doc(hidden)]
    pub fn damage(&mut self, what: Damaged, name: &CounterName, bytes: &[u8]) {
        let key = keys::counter(name);
        match what {
            Damaged::Definition => self.put(Family::Definitions, &key, bytes),
            Damaged::Value => self.put(Family::Counters, &key, bytes),
            Damaged::Operand => self.merge(Family::Counters, &key, bytes),
            Damaged::StrayOperand => self.merge(Family::Definitions, &key, bytes),
        }
    }
}

impl Tables {
    /// Calls `visit` with every counter's definition. A key that cannot be read is logged.
    ///
    /// # Errors
    /// When RocksDB cannot read on.
    pub fn definitions(
        &self,
        mut visit: impl FnMut(CounterName, Result<Defined, Undecodable>),
    ) -> Result<(), ReadError> {
        // Not past rotten blocks: a counter whose definition is left out would be created anew.
        self.scan(Family::Definitions, &[], None, |key, bytes| {
            if let Some(name) = named(Family::Definitions, key) {
                visit(name, value::decode_counter(bytes));
            }
            ControlFlow::Continue(())
        })
    }

    /// Calls `visit` with every counter's value; one that lies in a rotten block is quarantined, and
    /// has no bytes. A key that cannot be read is logged.
    ///
    /// # Errors
    /// When RocksDB cannot read on.
    pub fn values(&self, mut visit: impl FnMut(CounterName, Record)) -> Result<(), ReadError> {
        let gaps = self.scan_past_rot(Family::Counters, &[], None, |key, bytes| {
            if let Some(name) = named(Family::Counters, key) {
                visit(name, Record::decode(bytes));
            }
            ControlFlow::Continue(())
        })?;
        self.unread(Family::Counters, &gaps, keys::counter, |name, bytes| {
            let lost = Record::Quarantined(Vec::new());
            visit(name, bytes.map_or(lost, |bytes| Record::decode(&bytes)));
        })
    }

    /// Calls `visit` for each defined counter whose record, of the key that `key` makes, lies in a gap
    /// and may be there: with the bytes when it can be read by itself, and with `Err` else.
    pub(in crate::storage) fn unread(
        &self,
        family: Family,
        gaps: &[Gap],
        key: impl Fn(&CounterName) -> Vec<u8>,
        mut visit: impl FnMut(CounterName, Result<Vec<u8>, Undecodable>),
    ) -> Result<(), ReadError> {
        if gaps.is_empty() {
            return Ok(());
        }
        let mut names = Vec::new();
        self.definitions(|name, _| names.push(name))?;
        for name in names {
            if let Some(bytes) = self.in_a_gap(family, gaps, &key(&name))? {
                visit(name, bytes);
            }
        }
        Ok(())
    }

    /// Reads a record that a gap left out: `None` when no gap did, or there is none; `Err` when it cannot be
    /// read.
    pub(super) fn in_a_gap(
        &self,
        family: Family,
        gaps: &[Gap],
        key: &[u8],
    ) -> Result<Option<Result<Vec<u8>, Undecodable>>, ReadError> {
        if !gaps.iter().any(|gap| gap.holds(key)) {
            return Ok(None);
        }
        match self.get(family, key) {
            Err(error) if error.is_rot() => Ok(Some(Err(Undecodable))),
            found => Ok(found?.map(|bytes| Ok(bytes.to_vec()))),
        }
    }

    /// Returns the definition of a counter and how it went; `None` when there is none.
    ///
    /// # Errors
    /// When RocksDB cannot read it.
    pub(crate) fn defined(
        &self,
        name: &CounterName,
    ) -> Result<Option<Result<Defined, Undecodable>>, ReadError> {
        let bytes = self.get(Family::Definitions, &keys::counter(name))?;
        Ok(bytes.map(|bytes| value::decode_counter(&bytes)))
    }

    /// Returns the value of a counter; `None` when there is none.
    ///
    /// # Errors
    /// When RocksDB cannot read it.
    pub(crate) fn value(&self, name: &CounterName) -> Result<Option<Record>, ReadError> {
        let bytes = self.get(Family::Counters, &keys::counter(name))?;
        Ok(bytes.map(|bytes| Record::decode(&bytes)))
    }

    /// Returns the definition of a counter; `None` when there is none, or it cannot be read.
    pub(super) fn definition(&self, name: &CounterName) -> Result<Option<Definition>, ReadError> {
        let bytes = self.get(Family::Definitions, &keys::counter(name))?;
        let read = bytes.and_then(|bytes| value::decode_counter(&bytes).ok());
        Ok(read.map(|(definition, _)| definition))
    }

    /// Returns the first counter after `after` (of all, for `None`) that has a definition.
    pub(crate) fn next_defined(
        &self,
        after: Option<&CounterName>,
    ) -> Result<Option<CounterName>, ReadError> {
        self.first_name(Family::Definitions, after, keys::counter_name)
    }

    /// Returns the first name that `name` reads from a key above all keys of `after`. Where keys before
    /// it cannot be read, any defined counter may have records there.
    pub(super) fn first_name(
        &self,
        family: Family,
        after: Option<&CounterName>,
        name: impl Fn(&[u8]) -> Option<CounterName>,
    ) -> Result<Option<CounterName>, ReadError> {
        // Above the counter's own key, and above that of each of its days.
        let above = |name| [&keys::counter(name)[..], &[u8::MAX; 5]].concat();
        let mut found = None;
        let gaps = self.scan_past_rot(
            family,
            &after.map_or_else(Vec::new, above),
            None,
            |key, _| {
                found = name(key);
                if found.is_some() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            },
        )?;
        if gaps.is_empty() || family == Family::Definitions {
            return Ok(found);
        }
        let defined = self.next_defined(after)?;
        Ok(found.into_iter().chain(defined).min_by_key(keys::counter))
    }

    /// Returns the bytes of a counter's definition and of its value, for a person to look at.
    pub(crate) fn bytes_of(&self, name: &CounterName) -> Result<[Option<Vec<u8>>; 2], ReadError> {
        let key = keys::counter(name);
        let [definition, value] =
            [Family::Definitions, Family::Counters].map(|family| self.get(family, &key));
        Ok([definition?, value?].map(|bytes| bytes.map(|bytes| bytes.to_vec())))
    }

    /// Returns the generations whose users are to be deleted.
    pub(crate) fn ended_generations(&self) -> Result<Vec<Generation>, ReadError> {
        let mut found = Vec::new();
        self.scan(Family::Meta, ENDED_PREFIX, Some(ENDED_END), |key, _| {
            let number = key.strip_prefix(ENDED_PREFIX).map(<[u8; 8]>::try_from);
            found.extend(number.and_then(Result::ok).map(Generation::from_be_bytes));
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }
}

impl Reader {
    /// Calls `visit` with every counter's definition, and `between` as [`Reader::count`] does.
    pub(crate) fn each_definition<E: From<ReadError>>(
        &self,
        mut visit: impl FnMut(Result<Defined, Undecodable>),
        between: &mut dyn FnMut(u64, u64) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut visit = |_: &[u8], bytes: &[u8]| visit(value::decode_counter(bytes));
        self.each(Family::Definitions, &mut visit, between)
    }
}
