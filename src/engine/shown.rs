//! Which counters `/metrics` shows: all of the configuration, and up to a number of others.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Engine, Value};
use crate::counter::CounterName;
use crate::metrics::CounterValues;

/// How many counters are looked through at once for such that are not shown yet.
const PAGE: usize = 1000;

/// The counters outside the configuration that are shown. Its clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct ShownCounters(Arc<Mutex<Vec<CounterName>>>);

impl Engine {
    /// Returns what the counters of the configuration say now, and up to `max` others; `None` while there is no store.
    /// Those that are gone or cannot be read are left out.
    ///
    /// A counter that was shown is shown until it is gone, so that a new name takes the place of no other; free places
    /// go to the first names in their order. With `max` 0 nobody's place changes.
    pub fn shown_values(&self, max: usize, live: u64) -> Option<CounterValues> {
        let configured = self.configured();
        let mut shown = self.counting(configured)?;
        if max > 0 {
            let mut places = self.shown.0.lock();
            places.truncate(max);
            let mut others = self.counting(&places)?;
            self.fill(&mut others, max);
            *places = others.iter().map(|(name, _)| name.clone()).collect();
            shown.append(&mut others);
        }
        Some(CounterValues {
            left_out: live.saturating_sub(shown.len() as u64),
            shown: shown
                .into_iter()
                .map(|(name, value)| (name.to_string(), value))
                .collect(),
        })
    }

    /// Adds counters that are not there yet, in the order of names, until there are `max`.
    fn fill(&self, others: &mut Vec<(CounterName, i64)>, max: usize) {
        if others.len() >= max {
            return;
        }
        let known: HashSet<CounterName> = others
            .iter()
            .map(|(name, _)| name)
            .chain(self.configured())
            .cloned()
            .collect();
        let mut cursor = None;
        while others.len() < max {
            let page = self.list_store("", cursor.as_deref(), PAGE);
            let new = page.found.into_iter().filter_map(counted);
            let new = new.filter(|(name, _)| !known.contains(name));
            others.extend(new.take(max - others.len()));
            cursor = page.next;
            if cursor.is_none() {
                return;
            }
        }
    }

    /// Returns what those of the counters say that say something; `None` while there is no store.
    fn counting(&self, names: &[CounterName]) -> Option<Vec<(CounterName, i64)>> {
        let values = self.read_store(names)?.into_iter().flatten();
        Some(values.filter_map(counted).collect())
    }
}

/// Returns what a counter says; `None` of one that is gone or cannot be read.
fn counted(value: Value) -> Option<(CounterName, i64)> {
    let seen = value.seen.filter(|seen| seen.over.is_none())?;
    Some((value.name, seen.value))
}
