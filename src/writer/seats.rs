//! The seats of users in windows and of leases: in memory for the recent, else on disk.

use std::collections::HashMap;

use crate::counter::{Generation, Lapse, Millis, Moment, Seat};
use crate::storage::{Cursor, LookedUp, ReadError, SeatKey, SeatRecord, Tables, Undecodable};

use super::filter::Filter;
use super::group::Sight;
use super::recent::Recent;

/// The seats of all counters.
pub(super) struct Seats {
    /// Seats as they are on disk; nothing under a key for one who has none.
    recent: Recent,
    known: HashMap<Generation, Known>,
    key: SeatKey,
    record: SeatRecord,
}

/// Who certainly has no seat in one counter. It ages: otherwise it would fill up with those who have left.
struct Known {
    /// Everyone who was seen since [`Known::began`].
    newer: Filter,
    /// Everyone who was seen before.
    older: Option<Filter>,
    began: Millis,
    /// No seat counts for longer.
    span_ms: Millis,
}

impl Known {
    fn new(newer: Filter, lapse: Lapse, now: Millis) -> Self {
        Self {
            newer,
            older: None,
            began: now,
            span_ms: Millis::from(lapse.ahead()) * lapse.grain_ms(),
        }
    }

    /// Forgets those who were seen so long ago that they all have left, once they are all the older ones.
    fn age(&mut self, generation: Generation, now: Millis) {
        if now.saturating_sub(self.began) >= self.span_ms && !self.newer.is_filling() {
            let empty = Filter::new(LookedUp::Seats(generation), None);
            self.older = Some(std::mem::replace(&mut self.newer, empty));
            self.began = now;
        }
    }

    fn denies(&self, key: &[u8]) -> bool {
        self.newer.denies(key) && self.older.as_ref().is_none_or(|older| older.denies(key))
    }
}

impl Seats {
    /// Keeps at most `recent` seats in memory.
    pub(super) fn new(recent: usize) -> Self {
        Self {
            recent: Recent::new(recent),
            known: HashMap::new(),
            key: SeatKey::default(),
            record: SeatRecord::default(),
        }
    }

    /// Forgets everything: the reopened store may hold anything.
    pub(super) fn clear(&mut self) {
        self.recent.clear();
        self.known.clear();
    }

    /// Follows the seats of these generations, and of no others, as of a moment.
    pub(super) fn follow(
        &mut self,
        counters: impl Iterator<Item = (Generation, Lapse)>,
        moment: &Moment,
    ) {
        let mut before = std::mem::take(&mut self.known);
        for (generation, lapse) in counters {
            let now = lapse.time(moment);
            let known = before.remove(&generation).map(|mut known| {
                known.age(generation, now);
                known
            });
            let known = known.unwrap_or_else(|| {
                let start = Cursor::seats_of(generation);
                Known::new(
                    Filter::new(LookedUp::Seats(generation), Some(start)),
                    lapse,
                    now,
                )
            });
            self.known.insert(generation, known);
        }
    }

    /// Reads some more users from disk; returns whether there are still more.
    pub(super) fn fill(&mut self, tables: &Tables, limit: usize) -> Result<bool, ReadError> {
        let filters = self.known.values_mut();
        let mut filling = filters
            .flat_map(|known| [Some(&mut known.newer), known.older.as_mut()])
            .flatten()
            .filter(|filter| filter.is_filling());
        if let Some(filter) = filling.next() {
            filter.fill(tables, limit)?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Notes a user's seat as is now on disk.
    pub(super) fn saw(&mut self, sight: Sight) {
        let key = self
            .key
            .set(sight.generation, sight.user.as_str())
            .as_bytes();
        if let (Some(known), Some(_)) = (self.known.get_mut(&sight.generation), &sight.seat) {
            known.newer.insert_once(key);
        }
        let seat = sight.seat.as_ref();
        let record = seat.map(|seat| self.record.set(sight.time_line, seat).as_bytes());
        self.recent.insert(key, record.unwrap_or_default());
    }

    /// Notes a seat that another instance gave, or took (`None`), by the key on disk.
    pub(super) fn saw_elsewhere(
        &mut self,
        generation: Generation,
        key: &[u8],
        record: Option<&[u8]>,
    ) {
        if let (Some(known), Some(_)) = (self.known.get_mut(&generation), record) {
            known.newer.insert_once(key);
        }
        self.recent.insert(key, record.unwrap_or_default());
    }

    /// Returns a user's seat, which may be over; `None` for one who has none.
    pub(super) fn seat(
        &mut self,
        tables: &Tables,
        generation: Generation,
        user: &str,
    ) -> Result<Result<Option<Seat>, Undecodable>, ReadError> {
        let key = self.key.set(generation, user);
        // Before the filters: who has a seat mostly comes again.
        if let Some(seat) = self.recent.get(key.as_bytes()) {
            let seat = (!seat.is_empty()).then_some(seat);
            return Ok(seat.map(SeatRecord::decode).transpose());
        }
        let known = self.known.get(&generation);
        if known.is_some_and(|known| known.denies(key.as_bytes())) {
            return Ok(Ok(None));
        }
        let record = tables.seat(key)?;
        let record = record.as_deref();
        let seat = record.map(SeatRecord::decode).transpose();
        match seat {
            Ok(_) => self
                .recent
                .insert(key.as_bytes(), record.unwrap_or_default()),
            Err(Undecodable) => {
                tracing::error!("where a user stands in a window or by a lease cannot be read");
            }
        }
        Ok(seat)
    }
}
