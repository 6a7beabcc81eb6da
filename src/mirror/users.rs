//! User ids of the current day, for `redis.users`: a set for each daily counter of users.
//!
//! The store has no list of the newest users, so the ids of a day are read in pages, again and again while the
//! counter moves. A set is complete some rounds after its counter comes to rest.

use std::collections::BTreeMap;

use crate::calendar::Day;
use crate::counter::{CounterName, Existence, Generation, Kind, Reset, Revision};
use crate::storage::{Cursor, Reader};
use crate::writer::{Reading, Table};

/// Ids in one call.
pub(super) const USERS_IN_A_CALL: usize = 2_000;

/// Ids read in one round, over all counters.
const USERS_IN_A_ROUND: usize = 20_000;

/// How far the users of each counter were read.
#[derive(Default)]
pub(super) struct Users {
    /// The day of these users; `None` before the first reading.
    day: Option<Day>,
    of: BTreeMap<CounterName, Sweep>,
}

struct Sweep {
    generation: Generation,
    /// Where the reading goes on; `None` at the first user.
    next: Option<Cursor>,
    /// The counter's revision when this sweep began.
    began: Revision,
    /// Redis has all users up to this revision.
    complete: Revision,
}

/// Some users of a counter.
pub(super) struct UsersPage {
    pub(super) name: CounterName,
    pub(super) generation: Generation,
    pub(super) users: Vec<Vec<u8>>,
    next: Option<Cursor>,
}

impl Users {
    /// Begins with the first users of all counters again.
    pub(super) fn forget(&mut self) {
        self.of.clear();
    }

    /// Reads what this round sends: one page for each counter whose set may lack users.
    pub(super) fn pages(&mut self, table: &Table, reader: &Reader, today: Day) -> Vec<UsersPage> {
        let names = table.names_where(|reading| has_users(reading, today));
        if self.day.replace(today) != Some(today) {
            self.forget();
        }
        let mut room = USERS_IN_A_ROUND;
        let mut pages = Vec::new();
        for name in names {
            let Some(reading) = table.read(name.as_str()) else {
                continue;
            };
            let begun = || Sweep {
                generation: reading.generation,
                next: None,
                began: reading.revision,
                complete: 0,
            };
            let sweep = self.of.entry(name.clone()).or_insert_with(begun);
            if sweep.generation != reading.generation {
                *sweep = begun();
            }
            if sweep.complete >= reading.revision || room == 0 {
                continue;
            }
            if sweep.next.is_none() {
                sweep.began = reading.revision;
            }
            let (generation, from) = (sweep.generation, sweep.next.as_ref());
            let read = reader.with(|tables| tables.users(Some(today), generation, from, room));
            // While the store is being reopened nothing can be read: the next round goes on.
            if let Ok((users, next)) = read {
                room -= users.len().min(room);
                pages.push(UsersPage {
                    name,
                    generation,
                    users,
                    next,
                });
            }
        }
        pages
    }

    /// Notes that Redis has the users of that page.
    pub(super) fn are_there(&mut self, page: &UsersPage) {
        if let Some(sweep) = self.of.get_mut(&page.name) {
            sweep.next.clone_from(&page.next);
            if page.next.is_none() {
                sweep.complete = sweep.began;
            }
        }
    }
}

fn has_users(reading: &Reading, today: Day) -> bool {
    reading.definition.kind == Kind::Unique
        && reading.definition.reset == Reset::Daily
        && reading.existence == Existence::Live
        && reading.period == Some(today)
}
