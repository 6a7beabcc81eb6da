//! How far a copy of the table elsewhere has come, and what it may lack: for the mirror and the export.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use super::Table;
use crate::calendar::Day;
use crate::counter::{CounterName, Existence, Millis, Moment, Revision};
use crate::current_day::CurrentDay;

/// A round of a copier, as of its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    /// Everything up to this revision is read in it.
    pub revision: Revision,
    /// The current day.
    pub day: Day,
    /// The time by which counters are over; that of the last round while the clock cannot be trusted.
    pub now: Millis,
    /// The copy has everything as of then, once the round is done; `None` while the clock cannot be trusted.
    pub as_of: Option<Millis>,
}

/// What a copy has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Through {
    /// Everything of this round.
    round: Round,
    /// No counter's time is over between these two: the latest end up to then, and the earliest after.
    ended: Millis,
    ends: Millis,
    /// Counters that cannot be read.
    unreadable: BTreeSet<CounterName>,
}

impl Round {
    /// Begins a round, before anything is read of the table.
    pub fn begin(table: &Table, day: &CurrentDay, there: Option<&Through>) -> Self {
        let look = day.look();
        let as_of = (!look.clock_fault).then_some(look.wall_ms);
        Self {
            // Read after the time, so that it covers everything published up to that time.
            revision: table.revision(),
            day: look.day,
            now: as_of.unwrap_or_else(|| there.map_or(Millis::MIN, |there| there.round.now)),
            as_of,
        }
    }

    /// Returns the moment that the copy shows: the current day, looked up after the counters were read, and
    /// the time of the round.
    pub fn moment(&self, day: &CurrentDay) -> Moment {
        Moment {
            now: Some(self.now),
            ..day.moment()
        }
    }
}

impl Through {
    /// Whether the copy has everything of that round already.
    pub fn has(&self, round: &Round) -> bool {
        (self.round.revision, self.round.day) == (round.revision, round.day)
            && self.ended <= round.now
            && round.now < self.ends
    }

    /// Returns the counters that cannot be read.
    pub fn unreadable(&self) -> &BTreeSet<CounterName> {
        &self.unreadable
    }
}

impl Table {
    /// Lists the counters of which a copy may lack something, in no order (all of them for `None`, when
    /// there is no copy yet); returns also what the copy has once it has these.
    pub fn news(&self, there: Option<&Through>, round: &Round) -> (Vec<CounterName>, Through) {
        let known = there.map(|there| (there.round.revision, there.round.day));
        let (ended, ends) = (Cell::new(Millis::MIN), Cell::new(Millis::MAX));
        let unreadable = RefCell::new(BTreeSet::new());
        let names = self.names_where(|reading| match reading.existence {
            Existence::Corrupt => {
                unreadable.borrow_mut().insert(reading.name.clone());
                there.is_none_or(|there| !there.unreadable.contains(&reading.name))
            }
            Existence::Live => {
                let end = reading.definition.expires_at;
                match end {
                    Some(end) if end <= round.now => ended.set(ended.get().max(end)),
                    Some(end) => ends.set(ends.get().min(end)),
                    None => {}
                }
                let over = |now| end.is_some_and(|end| end <= now);
                let turned = there.is_some_and(|there| over(there.round.now) != over(round.now));
                turned || reading.is_news(known, round.day)
            }
            Existence::Gone(_) => reading.is_news(known, round.day),
            Existence::Absent => false,
        });
        let through = Through {
            round: *round,
            ended: ended.get(),
            ends: ends.get(),
            unreadable: unreadable.into_inner(),
        };
        (names, through)
    }
}
