//! How many connections there may be, and who is refused.
//!
//! The last places are kept: whoever comes when only they are free is let in, and may ask for a probe or
//! administer, but for nothing else until an idle connection was closed for it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

/// Of all places this share is kept,
const KEPT_SHARE: usize = 8;
/// and at most so many.
const KEPT_MOST: usize = 32;

/// Refusals are told at most so often.
const TOLD_EVERY_MS: u64 = 60_000;

/// The places of one server.
pub(super) struct Places {
    all: AtomicUsize,
    open: AtomicUsize,
    /// Connections on kept places.
    guests: AtomicUsize,
    begun: Instant,
    /// Refused since that was told, and when, in milliseconds since `begun`; 0 for never.
    refused: AtomicU64,
    told_at_ms: AtomicU64,
}

/// What a new connection gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// One like any other.
    Ordinary,
    /// One of those that are kept.
    Kept,
}

impl Places {
    pub(super) fn new(all: usize) -> Self {
        Self {
            all: AtomicUsize::new(all),
            open: AtomicUsize::new(0),
            guests: AtomicUsize::new(0),
            begun: Instant::now(),
            refused: AtomicU64::new(0),
            told_at_ms: AtomicU64::new(0),
        }
    }

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

    /// Takes a place; `None` when there is none. Kept places are there also where more connections are open than
    /// there are places any more.
    pub(super) fn take(&self) -> Option<Place> {
        let place = if self.open() < self.ordinary() {
            Place::Ordinary
        } else if self.guests.load(Ordering::Relaxed) < self.kept() {
            self.guests.fetch_add(1, Ordering::Relaxed);
            Place::Kept
        } else {
            return None;
        };
        self.open.fetch_add(1, Ordering::Relaxed);
        Some(place)
    }

    pub(super) fn give_back(&self, place: Place) {
        if place == Place::Kept {
            self.leave_kept();
        }
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// A connection on a kept place has an ordinary one from now on.
    pub(super) fn leave_kept(&self) {
        self.guests.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether nobody has to sit on a kept place.
    pub(super) fn has_room(&self) -> bool {
        self.open() <= self.ordinary()
    }

    /// Notes a refusal. Tells of them once a minute.
    pub(super) fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let now = self.begun.elapsed().as_millis();
        let now = u64::try_from(now).unwrap_or(u64::MAX).max(1);
        let told = self.told_at_ms.load(Ordering::Relaxed);
        if told != 0 && now - told.min(now) < TOLD_EVERY_MS {
            return;
        }
        let is_ours = self
            .told_at_ms
            .compare_exchange(told, now, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok();
        if is_ours {
            let refused = self.refused.swap(0, Ordering::Relaxed);
            tracing::warn!(
                refused,
                connections = self.open(),
                max_connections = self.all(),
                "connections are refused: there are as many as server.max_connections allows"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_places_are_kept() {
        for (all, ordinary) in [(1, 1), (7, 7), (8, 7), (80, 70), (10_000, 9968)] {
            let places = Places::new(all);
            let taken: Vec<_> = std::iter::from_fn(|| places.take()).collect();
            let of_kind = |kind| taken.iter().filter(|place| **place == kind).count();
            assert_eq!(of_kind(Place::Ordinary), ordinary);
            assert_eq!(of_kind(Place::Kept), all - ordinary);
            for _ in 0..all - ordinary {
                assert!(!places.has_room());
                places.give_back(Place::Kept);
            }
            assert!(places.has_room());
        }
    }

    #[test]
    fn with_fewer_places_than_connections_the_kept_ones_are_there() {
        let places = Places::new(80);
        let open = std::iter::from_fn(|| places.take()).take(70).count();
        assert_eq!(open, 70);
        places.resize(40);
        for _ in 0..3 {
            let taken: Vec<_> = std::iter::from_fn(|| places.take()).collect();
            assert_eq!(taken, [Place::Kept; 5]);
            for place in taken {
                places.give_back(place);
            }
        }
        for _ in 0..35 {
            assert!(!places.has_room());
            places.give_back(Place::Ordinary);
        }
        assert!(places.has_room());
        assert_eq!(places.take(), Some(Place::Kept));
    }
}
