//! How many connections there may be, and who is refused.
//!
//! The last places are kept for probes and administrators. A client that comes when only they are free is
//! let in, but everything else is refused to it until an idle connection was closed for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// One place in this many is kept,
const KEPT_SHARE: usize = 8;
/// and at most this many places.
const KEPT_MOST: usize = 32;

/// How long the log is silent about refusals after it told of some.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// The places of one server; none before [`Places::resize`].
#[derive(Default)]
pub(super) struct Places {
    all: AtomicUsize,
    open: AtomicUsize,
    /// Connections on kept places.
    guests: AtomicUsize,
    refused: Mutex<Refused>,
}

#[derive(Default)]
struct Refused {
    /// How many, since that was told.
    untold: u64,
    told_at: Option<Instant>,
}

/// A connection's place; it is given back when this is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    is_kept: AtomicBool,
}

impl Places {
    /// How many there are.
    pub(super) fn all(&self) -> usize {
        self.all.load(Ordering::Relaxed)
    }

    /// Changes how many there are; nobody who has one loses it.
    pub(super) fn resize(&self, all: usize) {
        self.all.store(all, Ordering::Relaxed);
    }

    fn kept(&self) -> usize {
        (self.all() / KEPT_SHARE).min(KEPT_MOST)
    }

    /// How many are not kept.
    fn ordinary(&self) -> usize {
        self.all() - self.kept()
    }

    /// Connections open now.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Takes a place; `None` when there is none. After the places became fewer than the connections, the kept ones
    /// are still there.
    pub(super) fn take(self: &Arc<Self>) -> Option<Place> {
        let is_kept = self.open() >= self.ordinary();
        if is_kept {
            if self.guests.load(Ordering::Relaxed) >= self.kept() {
                return None;
            }
            self.guests.fetch_add(1, Ordering::Relaxed);
        }
        self.open.fetch_add(1, Ordering::Relaxed);
        Some(Place {
            places: Arc::clone(self),
            is_kept: AtomicBool::new(is_kept),
        })
    }

    /// Whether no connection needs a kept place.
    fn has_room(&self) -> bool {
        self.open() <= self.ordinary()
    }

    /// Notes a refusal. The log tells of them once a minute.
    pub(super) fn refuse(&self) {
        let mut refused = self.refused.lock();
        refused.untold += 1;
        if refused.told_at.is_none_or(|at| at.elapsed() >= TOLD_EVERY) {
            refused.told_at = Some(Instant::now());
            tracing::warn!(
                refused = std::mem::take(&mut refused.untold),
                connections = self.open(),
                max_connections = self.all(),
                "connections are refused: there are as many as server.max_connections allows"
            );
        }
    }
}

impl Place {
    /// Whether it is a kept place. Once there is room again it becomes an ordinary one.
    pub(super) fn is_kept(&self) -> bool {
        let is_kept = self.is_kept.load(Ordering::Relaxed);
        if is_kept && self.places.has_room() {
            self.is_kept.store(false, Ordering::Relaxed);
            self.places.guests.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        is_kept
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if *self.is_kept.get_mut() {
            self.places.guests.fetch_sub(1, Ordering::Relaxed);
        }
        self.places.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(all: usize) -> Arc<Places> {
        let places = Arc::new(Places::default());
        places.resize(all);
        places
    }

    fn take_all(places: &Arc<Places>) -> Vec<Place> {
        std::iter::from_fn(|| places.take()).collect()
    }

    #[test]
    fn the_last_places_are_kept() {
        for (all, ordinary) in [(1, 1), (7, 7), (8, 7), (80, 70), (10_000, 9968)] {
            let places = of(all);
            let mut taken = take_all(&places);
            assert_eq!(taken.len(), all);
            let kept = taken.split_off(ordinary);
            assert!(!taken.iter().any(Place::is_kept));
            for place in kept {
                assert!(place.is_kept() && !places.has_room());
                drop(place);
            }
            assert!(places.has_room());
        }
    }

    #[test]
    fn with_fewer_places_than_connections_the_kept_ones_are_there() {
        let places = of(80);
        let mut open: Vec<Place> = std::iter::from_fn(|| places.take()).take(70).collect();
        assert_eq!(open.len(), 70);
        places.resize(40);
        for _ in 0..3 {
            let taken = take_all(&places);
            assert_eq!(taken.len(), 5);
            assert!(taken.iter().all(Place::is_kept));
        }
        for _ in 0..35 {
            assert!(!places.has_room());
            open.pop();
        }
        assert!(places.has_room());
        assert!(places.take().unwrap().is_kept.load(Ordering::Relaxed));
    }

    #[test]
    fn a_kept_place_is_one_like_any_other_once_there_is_room() {
        let places = of(8);
        let mut taken = take_all(&places);
        let last = taken.pop().unwrap();
        assert!(last.is_kept());
        taken.pop();
        assert!(!last.is_kept());
        assert_eq!(places.guests.load(Ordering::Relaxed), 0);
        drop((taken, last));
        assert_eq!(places.open(), 0);
    }
}
