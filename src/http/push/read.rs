//! What was read of the counters that are watched, from the store or from a copy.

use super::position::Position;
use crate::counter::{CounterName, Millis};
use crate::engine::{Engine, Value, WatchMark, WatchedValue, WatchedValues};
use crate::seeded::bug;

/// What was read of some counters.
pub(super) enum Read {
    Store(WatchMark, WatchedValues),
    /// From a copy; `None` while no copy can be asked.
    Copy(WatchMark, Option<Vec<Option<Value>>>),
}

impl Read {
    /// Reads counters.
    pub(super) async fn from(engine: &Engine, names: &[CounterName]) -> Self {
        let mark = engine.watch_mark();
        if let Some(values) = engine.watch(names) {
            return Self::Store(mark, values);
        }
        // Apart, so that the futures of sessions stay small.
        let read = Box::pin(engine.read(names)).await;
        Self::Copy(mark, read.ok().map(|(found, _)| found))
    }

    /// Whether neither the store nor a copy could be asked.
    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Self::Copy(_, None))
    }

    /// When time alone changes any of it.
    pub(super) fn until(&self) -> Option<Millis> {
        match self {
            Self::Store(_, values) => values.until,
            Self::Copy(..) => None,
        }
    }

    pub(super) fn mark(&self) -> &WatchMark {
        match self {
            Self::Store(mark, _) | Self::Copy(mark, _) => mark,
        }
    }

    /// How far whoever has all of this has everything; `None` for a copy.
    pub(super) fn position(&self) -> Option<Position> {
        match self {
            Self::Store(mark, _) => mark.epoch.map(|epoch| Position {
                epoch,
                revision: mark.revision,
            }),
            Self::Copy(..) => None,
        }
    }

    /// The values in order, and whether each is a copy's.
    pub(super) fn values(&self) -> Box<dyn Iterator<Item = (Option<&Value>, bool)> + '_> {
        match self {
            Self::Store(_, values) => {
                let found = values.found.iter();
                Box::new(found.map(|one| (one.as_ref().map(|one| &one.value), false)))
            }
            Self::Copy(_, Some(found)) => Box::new(found.iter().map(|one| (one.as_ref(), true))),
            Self::Copy(_, None) => Box::new(std::iter::repeat((None, true))),
        }
    }

    /// Whether a client may lack this who has everything up to `since`. What has no revision of its own is told
    /// again.
    pub(super) fn is_news(&self, place: usize, since: Position) -> bool {
        let Self::Store(_, values) = self else {
            return true;
        };
        let Some(Some(WatchedValue { value, by_time })) = values.found.get(place) else {
            return true;
        };
        let known = since.revision + u64::from(bug("resume_misses_the_next"));
        let is_newer = |revision| revision > known;
        let by_time = *by_time && !bug("resume_skips_equal");
        by_time || value.seen.is_none_or(|seen| is_newer(seen.revision))
    }
}
