//! What readers see: the last published values, in memory. Readers take no lock that the writer
//! holds and never wait for a sync.
//!
//! Each counter has a cell with its two latest versions, each marked with the commit group that
//! published it. A reader first notes the last group published whole, then takes from each cell the
//! version that was in force then; so several counters are read as of one commit. A cell that was
//! overtaken by two groups in the meantime makes the reader start over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use papaya::HashMap;

use crate::calendar::{Calendar, Day};
use crate::counter::{
    CounterName, Definition, Existence, Generation, Leaving, Millis, Moment, Revision, Seen, Stored,
};

/// A serial number of commit groups within one run of the server.
pub(super) type GroupNumber = u64;

/// A counter as of one commit group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Its name.
    pub name: CounterName,
    /// Its definition.
    pub definition: Arc<Definition>,
    /// Whether it is there.
    pub existence: Existence,
    /// The value stored; for a daily counter it holds in [`Reading::period`] only.
    pub value: i64,
    /// What leaves it by time alone; `None` for a counter without a window.
    pub leaving: Option<Arc<Leaving>>,
    /// The local day that the value belongs to; `None` for a counter that never resets.
    pub period: Option<Day>,
    /// Its generation.
    pub generation: Generation,
    /// The revision of its last change.
    pub revision: Revision,
    /// The epoch of that revision.
    pub epoch: u64,
    /// When it last changed (or was created).
    pub changed_at: Millis,
}

impl Reading {
    /// Gives what the counter says at `moment`, which is taken after the reading; `None` where its record
    /// cannot be read.
    pub fn seen(&self, moment: &Moment, calendar: &Calendar) -> Option<Seen> {
        self.stored().seen(moment, calendar)
    }

    /// Returns until when that holds if nothing but time changes it; `None` where time changes nothing.
    pub fn until(&self, moment: &Moment) -> Option<Millis> {
        self.stored().until(moment)
    }

    /// Whether time alone has changed what the counter says since its revision.
    pub fn is_changed_by_time(&self, moment: &Moment) -> bool {
        self.stored().is_changed_by_time(moment)
    }

    fn stored(&self) -> Stored<'_> {
        Stored {
            existence: self.existence,
            reset: self.definition.reset,
            value: self.value,
            leaving: self.leaving.as_deref(),
            period: self.period,
            revision: self.revision,
            epoch: self.epoch,
            changed_at: self.changed_at,
            expires_at: self.definition.expires_at,
        }
    }

    /// Whether a copy elsewhere may lack this reading, if it has everything up to a revision, as of a day;
    /// false for a counter that cannot be read.
    pub fn is_news(&self, there: Option<(Revision, Day)>, today: Day) -> bool {
        let day_ended = |as_of| as_of < today && self.stored().turns_at_midnight();
        let later =
            there.is_none_or(|(revision, as_of)| self.revision > revision || day_ended(as_of));
        later && self.existence != Existence::Corrupt
    }
}

/// One counter's cell.
pub(super) struct Cell {
    current: ArcSwap<Version>,
    previous: ArcSwapOption<Version>,
}

struct Version {
    group: GroupNumber,
    reading: Reading,
}

/// All counters, as readers see them.
#[derive(Default)]
pub struct Table {
    cells: HashMap<CounterName, Arc<Cell>>,
    /// The last group that was published whole.
    published: AtomicU64,
    /// Changes whenever a name comes or goes.
    names_changed: AtomicU64,
    /// The names in order, as of some value of `names_changed`.
    names: ArcSwapOption<(u64, Box<[CounterName]>)>,
    /// Revision of the last published change.
    revision: AtomicU64,
    /// The store's epoch.
    epoch: AtomicU64,
}

impl Table {
    /// Reads one counter; `None` for a name that nobody defined or wrote.
    pub fn read(&self, name: &str) -> Option<Reading> {
        let cells = self.cells.pin();
        self.consistent(|group| match cells.get(name) {
            Some(cell) => cell.as_of(group, Reading::clone),
            None => Ok(None),
        })
    }

    /// Reads as of the last published group, and again where it was overtaken.
    fn consistent<T>(&self, read: impl Fn(GroupNumber) -> Result<T, Overtaken>) -> T {
        loop {
            if let Ok(read) = read(self.published.load(Ordering::Acquire)) {
                return read;
            }
        }
    }

    /// Reads several counters as of one commit, in the order asked; `None` for unknown names.
    pub fn read_many(&self, names: &[CounterName]) -> Vec<Option<Reading>> {
        let cells = self.cells.pin();
        self.consistent(|group| {
            let readings = names.iter().map(|name| match cells.get(name) {
                Some(cell) => cell.as_of(group, Reading::clone),
                None => Ok(None),
            });
            readings.collect()
        })
    }

    /// Lists up to `limit` counters after `cursor` whose names begin with `prefix`, in the order of names,
    /// gone ones too; returns also whether there are more.
    pub fn list(&self, prefix: &str, cursor: Option<&str>, limit: usize) -> (Vec<Reading>, bool) {
        let names = self.sorted_names();
        let names = &names.1;
        let from = match cursor {
            Some(cursor) if cursor >= prefix => {
                names.partition_point(|name| name.as_str() <= cursor)
            }
            Some(_) | None => names.partition_point(|name| name.as_str() < prefix),
        };
        let mut matching = names
            .iter()
            .skip(from)
            .take_while(|name| name.as_str().starts_with(prefix))
            .cloned();
        let page: Vec<CounterName> = matching.by_ref().take(limit).collect();
        let more = matching.next().is_some();
        (self.read_many(&page).into_iter().flatten().collect(), more)
    }

    /// Lists all names in order, those of gone counters too.
    pub fn names(&self) -> Vec<CounterName> {
        self.sorted_names().1.to_vec()
    }

    /// Lists the names of the counters for which `chosen` is true, in no order, gone ones too. Other
    /// counters are not copied, so looking for few among many is cheap.
    pub fn names_where(&self, chosen: impl Fn(&Reading) -> bool) -> Vec<CounterName> {
        let cells = self.cells.pin();
        let matches = |cell: &Cell| self.consistent(|group| cell.as_of(group, &chosen));
        let matching = cells.iter().filter(|(_, cell)| matches(cell) == Some(true));
        matching.map(|(name, _)| name.clone()).collect()
    }

    /// Returns the revision of the last published change.
    pub fn revision(&self) -> Revision {
        self.revision.load(Ordering::Acquire)
    }

    /// Returns the store's epoch: which history the values are of.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Returns the last group that was published.
    pub(super) fn last_group(&self) -> GroupNumber {
        self.published.load(Ordering::Acquire)
    }

    /// Returns how many names there are, gone ones too.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether there is no name.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Sorting 100,000 names takes some 10 ms, so it is done once for each set of names.
    fn sorted_names(&self) -> Arc<(u64, Box<[CounterName]>)> {
        let changed = self.names_changed.load(Ordering::Acquire);
        if let Some(names) = self.names.load_full()
            && names.0 == changed
        {
            return names;
        }
        let mut names: Vec<CounterName> = self.cells.pin().keys().cloned().collect();
        names.sort_unstable();
        let names = Arc::new((changed, names.into_boxed_slice()));
        self.names.store(Some(Arc::clone(&names)));
        names
    }

    /// Puts a counter's new version beside the one before; seen once the group is published.
    pub(super) fn stage(&self, group: GroupNumber, reading: Reading) {
        let cells = self.cells.pin();
        match cells.get(&reading.name) {
            Some(cell) => cell.put(Version { group, reading }),
            None => {
                let name = reading.name.clone();
                cells.insert(name, Arc::new(Cell::new(Version { group, reading })));
                self.names_changed.fetch_add(1, Ordering::AcqRel);
            }
        }
    }

    /// Makes everything staged for `group` visible at once.
    pub(super) fn publish(&self, group: GroupNumber, revision: Revision) {
        self.published.store(group, Ordering::Release);
        // Stored last: a reader of the revision then finds all changes up to it in the counters.
        self.revision.store(revision, Ordering::Release);
    }

    pub(super) fn set_epoch(&self, epoch: u64) {
        self.epoch.store(epoch, Ordering::Release);
    }

    /// Takes out every name that is not to be kept.
    pub(super) fn retain(&self, keep: impl Fn(&CounterName) -> bool) {
        self.cells.pin().retain(|name, _| keep(name));
        self.names_changed.fetch_add(1, Ordering::AcqRel);
    }

    /// Takes a forgotten name out.
    pub(super) fn forget(&self, name: &CounterName) {
        if self.cells.pin().remove(name).is_some() {
            self.names_changed.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// Two groups were published while a reader looked for an older one.
struct Overtaken;

impl Cell {
    fn new(version: Version) -> Self {
        Self {
            current: ArcSwap::from_pointee(version),
            previous: ArcSwapOption::empty(),
        }
    }

    /// `previous` first: a reader that finds `current` too new must find the one before it there.
    fn put(&self, version: Version) {
        self.previous.store(Some(self.current.load_full()));
        self.current.store(Arc::new(version));
    }

    /// Reads the version that was in force once `group` was published; `None` where there was none yet.
    fn as_of<T>(
        &self,
        group: GroupNumber,
        read: impl Fn(&Reading) -> T,
    ) -> Result<Option<T>, Overtaken> {
        let current = self.current.load();
        if current.group <= group {
            return Ok(Some(read(&current.reading)));
        }
        match self.previous.load().as_ref() {
            // The group that is being published created it, so it is not there yet.
            None => Ok(None),
            Some(previous) if previous.group <= group => Ok(Some(read(&previous.reading))),
            Some(_) => Err(Overtaken),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    fn reading(name: &str, value: i64) -> Reading {
        Reading {
            name: CounterName::parse(name).unwrap(),
            definition: Arc::default(),
            existence: Existence::Live,
            value,
            leaving: None,
            period: None,
            generation: 1,
            revision: 1,
            epoch: 1,
            changed_at: 0,
        }
    }

    #[test]
    fn what_is_staged_is_not_seen_before_it_is_published() {
        let table = Table::default();
        table.stage(1, reading("a", 1));
        assert_eq!(table.read("a"), None);
        table.publish(1, 1);
        table.stage(2, reading("a", 2));
        assert_eq!(table.read("a").unwrap().value, 1);
        table.publish(2, 2);
        assert_eq!(table.read("a").unwrap().value, 2);
    }

    #[test]
    fn counters_moved_together_are_never_read_apart() {
        let table = Arc::new(Table::default());
        let names = ["a", "b", "c"].map(|name| CounterName::parse(name).unwrap());
        let done = Arc::new(AtomicBool::new(false));
        let reader = {
            let (table, names, done) = (Arc::clone(&table), names.clone(), Arc::clone(&done));
            std::thread::spawn(move || {
                let mut seen = 0;
                while !done.load(Ordering::Relaxed) {
                    let values: Vec<_> = table
                        .read_many(&names)
                        .into_iter()
                        .map(|r| r.map(|r| r.value))
                        .collect();
                    assert!(
                        values.windows(2).all(|pair| pair[0] == pair[1]),
                        "{values:?}"
                    );
                    seen += 1;
                }
                seen
            })
        };
        for group in 1..200_000 {
            for name in &names {
                table.stage(group, reading(name.as_str(), i64::try_from(group).unwrap()));
            }
            table.publish(group, group);
        }
        done.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 0);
    }

    #[test]
    fn a_list_is_in_order_and_in_pages() {
        let table = Table::default();
        for name in ["b1", "a", "b2", "b3", "c"] {
            table.stage(1, reading(name, 0));
        }
        table.publish(1, 1);
        let page = |cursor, limit| {
            let (readings, more) = table.list("b", cursor, limit);
            (
                readings
                    .iter()
                    .map(|r| r.name.to_string())
                    .collect::<Vec<_>>(),
                more,
            )
        };
        assert_eq!(
            page(None, 2),
            (vec!["b1".to_owned(), "b2".to_owned()], true)
        );
        assert_eq!(page(Some("b2"), 2), (vec!["b3".to_owned()], false));
        table.forget(&CounterName::parse("b3").unwrap());
        assert_eq!(page(Some("b2"), 2), (vec![], false));
    }
}
