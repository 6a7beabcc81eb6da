//! What those who watch counters ask, several times a second: whether anything moved, and what is said then.

use super::{Cause, Engine, Value};
use crate::calendar::Day;
use crate::counter::{CounterName, Millis, Moment, Revision};
use crate::writer::{ModeState, Reading};

/// By what a watcher knows that it has to look again. Taken before the values: they then have every change up to
/// its revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchMark {
    /// The store's epoch; `None` without a store.
    pub epoch: Option<u64>,
    /// The revision of the last published change; 0 without a store.
    pub revision: Revision,
    /// Why writes are refused; `None` while they are served.
    pub cause: Option<Cause>,
    /// The day that is counted now.
    pub today: Day,
    /// Whether the wall clock is trusted.
    pub clock_holds: bool,
}

/// What a watcher sees of a counter.
#[derive(Clone, Debug)]
pub struct WatchedValue {
    /// The counter, also when it is over.
    pub value: Value,
    /// Time alone has changed what it says since its revision.
    pub by_time: bool,
}

/// What a watcher sees.
#[derive(Clone, Debug)]
pub struct WatchedValues {
    /// The counters in the order asked; `None` for a name that nobody knows.
    pub found: Vec<Option<WatchedValue>>,
    /// When time alone changes any of it, in milliseconds since 1970 UTC; `None` where it changes nothing.
    pub until: Option<Millis>,
}

impl Engine {
    /// Returns by what a watcher knows whether it has to look again. It costs some loads and a look at the clock.
    pub fn watch_mark(&self) -> WatchMark {
        let has_store = self.copies().is_none();
        let table = &self.running.table;
        let look = self.running.day.look();
        WatchMark {
            epoch: has_store.then(|| table.epoch()),
            revision: if has_store { table.revision() } else { 0 },
            cause: match self.running.mode.state() {
                ModeState::Normal => None,
                ModeState::ReadOnly { cause, .. } => Some(cause),
            },
            today: look.day,
            clock_holds: !look.clock_fault,
        }
    }

    /// Reads counters of the store, as of one commit and one day; `None` while there is no store.
    pub fn watch(&self, names: &[CounterName]) -> Option<WatchedValues> {
        if self.copies().is_some() {
            return None;
        }
        let readings = self.running.table.read_many(names);
        let moment = self.moment();
        let untils = readings.iter().flatten();
        let until = untils.filter_map(|reading| reading.until(&moment)).min();
        let found = readings.into_iter();
        let found = found.map(|reading| Some(self.watched(reading?, &moment)));
        Some(WatchedValues {
            found: found.collect(),
            until,
        })
    }

    fn watched(&self, reading: Reading, moment: &Moment) -> WatchedValue {
        WatchedValue {
            by_time: reading.is_changed_by_time(moment),
            value: self.value(reading, moment),
        }
    }

    /// Returns milliseconds since the machine started: for spans that no clock change may shorten.
    pub fn boot_ms(&self) -> Millis {
        self.running.day.boot_ms()
    }
}
