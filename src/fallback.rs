//! What is served while there is no store: values from the mirror in Redis, else from PostgreSQL, and closed days
//! from PostgreSQL. All of it may be out of date, and is marked so.
//!
//! One thread asks the copies. For values, it asks one question at a time: names that readers ask for meanwhile go
//! into the next question, so no name is asked for twice at once, however many readers there are. A cached answer is
//! served for `degraded.cache_for`; after that it is kept for the time when no copy answers. A copy that failed is
//! tried in the background until it answers again: no question waits for it, and an outage of the store does not
//! overload the copies.
//!
//! Kept out: how copies are read (`mirror`, `export`), when the store is tried again (`serve`), and what answers look
//! like (`http`). Only `engine` asks here.

mod ask;
mod copies;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

pub use ask::{Fallback, FallbackThread};
pub use copies::{Against, against_a_new_store};

use crate::calendar::Day;
use crate::counter::{CopiedValue, CounterName, Millis, instant};
use crate::export::postgres::PostgresOptions;
use crate::mirror::MirrorOptions;

/// The most names that are cached, those that no copy has among them; some 20 MB.
const MOST_REMEMBERED: usize = 100_000;

/// The most questions for values that wait; a further one is refused.
const VALUES_WAITING: usize = 16_384;

/// The most questions for lists and days that wait; a further one is refused.
const LISTS_WAITING: usize = 64;

/// Which copies are asked, and how long.
#[derive(Clone, Debug, Default)]
pub struct FallbackOptions {
    /// The mirror; `None` where there is none.
    pub redis: Option<MirrorOptions>,
    /// The database; `None` where there is none.
    pub postgres: Option<PostgresOptions>,
    /// How long a copy may take to answer, connecting too.
    pub timeout: Duration,
    /// How long a cached answer is served.
    pub cache_for: Duration,
}

words! {
    /// Which copy a value is from.
    CopySource {
        /// The mirror in Redis.
        Redis = "redis",
        /// The rows in PostgreSQL.
        Postgres = "postgres",
    }
}

/// A value, and which copy has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleValue {
    /// The value.
    pub copied: CopiedValue,
    /// Which copy has it.
    pub source: CopySource,
}

/// What a copy knows of a counter; `None` where the copy lacks it.
pub type Found = Option<Arc<StaleValue>>;

/// No copy can be asked, or too many questions wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither Redis nor PostgreSQL can be asked for values now")]
pub struct NoCopy;

/// The copy that answered last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CopyStanding {
    /// Which copy it is.
    pub source: CopySource,
    /// When it last had everything; `None` where it does not say.
    #[serde(with = "instant")]
    pub as_of: Option<Millis>,
}

/// Where an answer goes.
type Answer<T> = oneshot::Sender<Result<T, NoCopy>>;

/// Values that somebody waits for.
struct ValuesQuestion {
    names: Vec<CounterName>,
    answer: Answer<Vec<Found>>,
}

/// What else may be asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum ListWanted {
    /// A page of the list of counters.
    Page {
        prefix: String,
        cursor: Option<String>,
        limit: usize,
    },
    /// The closed days of a counter.
    Days {
        name: CounterName,
        from: Day,
        to: Day,
    },
}

/// The answer to a [`ListWanted`].
#[derive(Clone)]
enum Listed {
    Page(PageFound),
    Days(Vec<Box<RawValue>>),
}

/// A list that somebody waits for.
type ListQuestion = (ListWanted, Answer<Listed>);

/// What a copy has of a page of the list.
#[derive(Clone, Debug, Default)]
pub struct PageFound {
    /// The counters, in the order of names.
    pub values: Vec<Arc<StaleValue>>,
    /// The cursor of the next page; `None` on the last.
    pub next: Option<String>,
}

/// What was answered, and when.
#[derive(Default)]
struct Cache {
    /// How long an answer is served.
    cache_for: Duration,
    values: HashMap<CounterName, CacheEntry>,
    /// When a copy was last asked, and which one answered.
    standing: Option<(Instant, Result<CopyStanding, NoCopy>)>,
}

struct CacheEntry {
    /// When a copy was last asked for this counter; `None` for an entry that has expired.
    asked: Option<Instant>,
    found: Found,
}

impl Cache {
    /// Returns the cached entry of that name, of any age.
    fn known(&self, name: &CounterName) -> Option<Found> {
        self.values.get(name).map(|entry| entry.found.clone())
    }

    /// Returns the cached entry of that name, if it may still be served.
    fn fresh(&self, name: &CounterName) -> Option<Found> {
        let asked = self.values.get(name)?.asked?;
        self.known(name).filter(|_| self.is_fresh(asked))
    }

    fn is_fresh(&self, asked: Instant) -> bool {
        asked.elapsed() <= self.cache_for
    }

    /// Caches what a copy said, unless the cached entry is of a later state of the counter: a copy that is
    /// behind takes nothing back. Returns what is cached then. Without `asked`, an entry stays as old as it is, and
    /// a new one has expired, so that a direct read still asks a copy.
    fn remember(&mut self, name: &CounterName, found: Found, asked: Option<Instant>) -> Found {
        if let Some(entry) = self.values.get_mut(name) {
            entry.asked = asked.or(entry.asked);
            let both = entry.found.as_ref().zip(found.as_ref());
            let goes_back =
                both.is_some_and(|(before, found)| before.copied.place() > found.copied.place());
            if !goes_back {
                entry.found = found;
            }
            return entry.found.clone();
        }
        if self.values.len() >= MOST_REMEMBERED {
            // Names that no counter has come from clients that guess.
            self.values.retain(|_, entry| entry.found.is_some());
        }
        if self.values.len() < MOST_REMEMBERED {
            let found = found.clone();
            self.values
                .insert(name.clone(), CacheEntry { asked, found });
        }
        found
    }
}
