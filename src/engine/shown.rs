//! Which counters `/metrics` shows: all of the configuration, and up to a number of others.

use std::collections::HashSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::{Engine, Value};
use crate::counter::CounterName;
use crate::metrics::CounterValues;

/// How many names are looked through for each page for such that are not shown yet. A page is made where requests are
/// served: with many names that are gone, it takes several pages until a free place is taken.
const LOOKED_THROUGH: usize = 500;

/// The counters outside the configuration that are shown. Its clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct ShownCounters(Arc<Places>);

#[derive(Debug, Default)]
struct Places {
    taken: ArcSwap<Vec<CounterName>>,
    /// Behind which name to look on for others; from the first on where there is none. Who holds it may change `taken`.
    /// Nobody waits for it.
    looked_to: Mutex<Option<CounterName>>,
}

impl Engine {
    /// Returns what the counters of the configuration say now, and up to `max` others; `None` while there is no store.
    /// Those that are gone or cannot be read are left out.
    ///
    /// A counter that was shown is shown until it is gone, so that a new name takes the place of no other; free places
    /// go to the first names in their order. With `max` 0 nobody's place changes.
    pub fn shown_values(&self, max: usize, live: u64) -> Option<CounterValues> {
        let mut shown = self.counting(self.configured())?;
        if max > 0 {
            let places = &self.shown.0;
            let looked_to = places.looked_to.try_lock();
            let taken = places.taken.load();
            let mut others = self.counting(taken.get(..max).unwrap_or(&taken))?;
            if let Some(mut looked_to) = looked_to {
                self.fill(&mut others, max, &mut looked_to);
                let names = others.iter().map(|(name, _)| name.clone());
                places.taken.store(Arc::new(names.collect()));
            }
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

    /// Adds counters that are not there yet, in the order of names, until there are `max` or enough names were looked
    /// through for once.
    fn fill(
        &self,
        others: &mut Vec<(CounterName, i64)>,
        max: usize,
        looked_to: &mut Option<CounterName>,
    ) {
        if others.len() >= max {
            *looked_to = None;
            return;
        }
        let known = others.iter().map(|(name, _)| name);
        let known: HashSet<CounterName> = known.chain(self.configured()).cloned().collect();
        let from = looked_to.as_ref().map(CounterName::as_str);
        let (readings, more) = self.running.table.list("", from, LOOKED_THROUGH);
        let last = readings.last().map(|reading| reading.name.clone());
        *looked_to = last.filter(|_| more);
        let moment = self.moment();
        let values = readings.into_iter();
        let new = values.filter_map(|reading| counted(self.value(reading, &moment)));
        let new = new.filter(|(name, _)| !known.contains(name));
        others.extend(new.take(max - others.len()));
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
