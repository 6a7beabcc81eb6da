//! Current values, from the store or from a copy.

use std::sync::Arc;

use super::{Engine, NoCopy};
use crate::counter::{CounterName, Definition, Kind, Millis, Moment, Reset, Seen};
use crate::fallback::{PageFound, StaleValue};
use crate::writer::Reading;

/// What is known of a counter.
#[derive(Clone, Debug)]
pub struct Value {
    /// Its name.
    pub name: CounterName,
    /// Its kind; `None` where a copy does not know it.
    pub kind: Option<Kind>,
    /// When it starts over.
    pub reset: Reset,
    /// Its definition; `None` from a copy.
    pub definition: Option<Arc<Definition>>,
    /// What it says; `None` where its record cannot be read.
    pub seen: Option<Seen>,
    /// Where that comes from.
    pub origin: ReadFrom,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// The store: it is up to date.
    Store,
    /// A copy, which had it then; `memory` while a shared log is away.
    Copy {
        /// Which copy.
        source: &'static str,
        /// When.
        as_of: Millis,
    },
}

/// A page of the list, without the counters that are over.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The counters, in the order of names.
    pub found: Vec<Value>,
    /// The cursor of the next page; `None` on the last.
    pub next: Option<String>,
    /// Whether they are from a copy.
    pub stale: bool,
}

impl Engine {
    /// Reads one counter from memory; `Err` while there is no store.
    pub async fn read_one(&self, name: &CounterName) -> Result<(Option<Value>, bool), NoCopy> {
        if self.copies().is_some() {
            // Apart, so that the future of a read from memory stays small.
            let (found, stale) = Box::pin(self.read(std::slice::from_ref(name))).await?;
            return Ok((found.into_iter().next().flatten(), stale));
        }
        let reading = self.running.table.read(name.as_str());
        // The moment is taken after the values: no value's period is after a day seen later.
        let moment = self.moment();
        let stale = self.running.stale_since().is_some();
        Ok((reading.map(|reading| self.value(reading, &moment)), stale))
    }

    /// Reads counters, as of one commit and one day, in the order asked; returns also whether they are from a
    /// copy. `None` for a name that nobody knows in the store, or that the copy lacks. Counters of the store that
    /// are over are among them.
    ///
    /// # Errors
    /// When there is no store and no copy can be asked.
    pub async fn read(&self, names: &[CounterName]) -> Result<(Vec<Option<Value>>, bool), NoCopy> {
        if let Some(fallback) = self.copies() {
            let found = Box::pin(fallback.values(names)).await?.into_iter();
            return Ok((found.map(|value| self.copied(&*value?)).collect(), true));
        }
        Ok((self.values(names), self.running.stale_since().is_some()))
    }

    /// Reads counters as `read` does, but from the store alone; `None` while there is no store.
    pub fn read_store(&self, names: &[CounterName]) -> Option<Vec<Option<Value>>> {
        self.copies().is_none().then(|| self.values(names))
    }

    /// Returns the names that the store knows, of counters that are gone too.
    pub fn names(&self) -> Vec<CounterName> {
        self.running.table.names()
    }

    fn values(&self, names: &[CounterName]) -> Vec<Option<Value>> {
        let readings = self.running.table.read_many(names);
        let moment = self.moment();
        let value = |reading: Option<Reading>| reading.map(|found| self.value(found, &moment));
        readings.into_iter().map(value).collect()
    }

    /// Lists up to `limit` counters after `cursor` whose names begin with `prefix`.
    ///
    /// # Errors
    /// When there is no store and no copy can be asked.
    pub async fn list(
        &self,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page, NoCopy> {
        if let Some(fallback) = self.copies() {
            // No name begins with another text, so no copy is asked.
            let PageFound { values, next } = if could_be(prefix) && cursor.is_none_or(could_be) {
                Box::pin(fallback.page(prefix, cursor, limit)).await?
            } else {
                PageFound::default()
            };
            let values = values.into_iter();
            return Ok(Page {
                found: values.filter_map(|value| self.copied(&value)).collect(),
                next,
                stale: true,
            });
        }
        Ok(self.list_store(prefix, cursor, limit))
    }

    /// Lists counters of the store. It skips those that are gone, so that a page is full unless it is the last.
    pub(super) fn list_store(&self, prefix: &str, cursor: Option<&str>, limit: usize) -> Page {
        let mut cursor = cursor.map(str::to_owned);
        let mut page = Page {
            stale: self.running.stale_since().is_some(),
            ..Page::default()
        };
        loop {
            let left = limit.saturating_sub(page.found.len());
            let (readings, more) = self.running.table.list(prefix, cursor.as_deref(), left);
            let moment = self.moment();
            cursor = readings.last().map(|reading| reading.name.to_string());
            let values = readings.into_iter();
            let values = values.map(|reading| self.value(reading, &moment));
            page.found
                .extend(values.filter(|value| value.seen.is_none_or(|seen| seen.over.is_none())));
            if !more || cursor.is_none() {
                return page;
            }
            if page.found.len() >= limit {
                page.next = cursor;
                return page;
            }
        }
    }

    pub(super) fn value(&self, reading: Reading, moment: &Moment) -> Value {
        Value {
            kind: Some(reading.definition.kind),
            reset: reading.definition.reset,
            seen: reading.seen(moment, self.calendar()),
            origin: match self.running.stale_since() {
                None => ReadFrom::Store,
                Some(as_of) => ReadFrom::Copy {
                    source: "memory",
                    as_of,
                },
            },
            definition: Some(reading.definition),
            name: reading.name,
        }
    }

    /// Returns what a counter says by a copy: in the period of the copied value, which may be over. `None` when
    /// the counter has expired by now.
    fn copied(&self, value: &StaleValue) -> Option<Value> {
        let StaleValue { copied, source } = value;
        let mut moment = self.moment();
        if let Some(period) = copied.period {
            moment.today = self.running.day.local_day(period);
        }
        let seen = copied.stored().seen(&moment, self.calendar());
        Some(Value {
            name: copied.name.clone(),
            kind: copied.kind,
            reset: copied.reset(),
            definition: None,
            seen: Some(seen.filter(|seen| seen.over.is_none())?),
            origin: ReadFrom::Copy {
                source: source.as_str(),
                // A copy may say what it likes; it has not seen the future.
                as_of: copied.as_of.min(self.now()),
            },
        })
    }
}

/// Whether a counter's name may begin with this text.
fn could_be(text: &str) -> bool {
    let of_names =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.:-".contains(&byte);
    text.len() <= CounterName::MAX_LEN && text.bytes().all(of_names)
}
