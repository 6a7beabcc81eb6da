//! What the writer does by itself about once a second, in groups of its own: bring the counters of
//! the configuration in, record expiries, forget names, delete the users of ended generations.

use crate::counter::{CounterName, Definition, Existence, Generation};
use crate::current_day::Look;
use crate::storage::{Batch, Cursor, ReadError, Tables};

use super::fold::Fold;
use super::group::{Lookups, Stop};
use super::ledger::Index;
use super::run::Writer;

/// How often it is due, in milliseconds of the boot clock.
const EVERY_MS: i64 = 1000;

/// At most so many counters are expired, and so many forgotten, in one group.
const AT_ONCE: usize = 10_000;

/// At most so many users are deleted in one group, so that no client waits long behind it.
const USERS_AT_ONCE: usize = 1000;

/// When upkeep is due, and what it remembers from one time to the next.
pub(super) struct Upkeep {
    next_ms: i64,
    /// A group must be committed even if nothing changed.
    pub(super) group_due: bool,
    /// Where the deletion of users goes on: what lies before is deleted.
    pub(super) prune_from: Option<(Generation, Cursor)>,
    /// Whether this instance of several has said what its configuration says of counters: from then on the configuration
    /// of one that was started later holds.
    pub(super) has_defined: bool,
}

impl Upkeep {
    pub(super) fn new(boot_ms: i64) -> Self {
        Self {
            next_ms: boot_ms + EVERY_MS,
            group_due: false,
            prune_from: None,
            has_defined: false,
        }
    }

    /// Whether upkeep is due now. If so, it is next due a second later.
    pub(super) fn is_due(&mut self, boot_ms: i64) -> bool {
        let due = boot_ms >= self.next_ms;
        if due {
            self.next_ms = boot_ms + EVERY_MS;
        }
        due
    }

    /// Works out what time and the configuration ask for.
    pub(super) fn work_out<L: Lookups>(
        &self,
        fold: &mut Fold<'_, L>,
        configured: &[(CounterName, Definition)],
    ) -> Result<(), ReadError> {
        for (name, definition) in configured {
            if wants_definition(fold, name, definition, self.has_defined) {
                let (name, definition) = (name.clone(), definition.clone());
                let put = fold.put_definition(name, definition, false, &Writer::own_request());
                if let Err(Stop::Unreadable(error)) = put {
                    return Err(error);
                }
            }
        }
        let now = fold.group.now;
        let over = fold
            .ledger
            .expiries
            .range(..=(now, Index::MAX))
            .take(AT_ONCE);
        let over: Vec<Index> = over.map(|&(_, index)| index).collect();
        for index in over {
            if let Err(Stop::Unreadable(error)) = fold.record_expiry(index) {
                return Err(error);
            }
        }
        fold.follow_seats();
        if let Err(Stop::Unreadable(error)) = fold.slide_all() {
            return Err(error);
        }
        let went_before = now.saturating_sub(fold.rules.gone_for_ms);
        let ledger = &*fold.ledger;
        let forgotten = ledger.gone.range(..=(went_before, Index::MAX)).copied();
        let forgotten = forgotten.filter(|&(_, i)| ledger.entry(i).is_some_and(|e| !e.configured));
        let forgotten: Vec<_> = forgotten.take(AT_ONCE).collect();
        for place in forgotten {
            fold.ledger.gone.remove(&place);
            fold.group.forgotten.push(place.1);
        }
        Ok(())
    }

    /// Puts the deletion of some users of an ended `never` generation into the batch; returns whether they
    /// were the last.
    pub(super) fn prune(
        &mut self,
        tables: &Tables,
        generation: Generation,
        batch: &mut Batch,
    ) -> Result<bool, ReadError> {
        // The scan starts where the last one ended, past what was just deleted.
        let resumed = self.prune_from.take_if(|(of, _)| *of == generation);
        let from = resumed.as_ref().map(|(_, from)| from);
        let (users, next) = match tables.users(None, generation, from, USERS_AT_ONCE) {
            // The users stay; nobody looks them up any more.
            Err(error) if error.is_rot() => return Ok(true),
            users => users?,
        };
        for user in &users {
            batch.delete_user(None, generation, user);
        }
        self.prune_from = next.map(|next| (generation, next));
        Ok(self.prune_from.is_none())
    }
}

impl Writer {
    /// Deletes some users of a generation that ended; returns whether there may be more.
    pub(super) fn prune_users(&mut self, look: Look) -> bool {
        if self.links.mode.refuses().is_some() {
            return false;
        }
        let (Some(store), Some(&generation)) =
            (&self.handle.store, self.books.ledger.ended.first())
        else {
            return false;
        };
        self.books.batch.clear();
        match self
            .progress
            .upkeep
            .prune(store.tables(), generation, &mut self.books.batch)
        {
            Ok(true) => {
                self.books.ledger.ended.remove(&generation);
                self.books.batch.delete_ended(generation);
            }
            Ok(false) => {}
            Err(error) => {
                self.fail(&error, None);
                return false;
            }
        }
        let group = self.new_group(look);
        if let Err(behind) = self.write_batch(group) {
            self.take_back(&behind, look);
            // It was not deleted.
            self.books.ledger.ended.insert(generation);
        }
        self.handle.store.is_some()
    }
}

/// Whether a counter of the configuration has to be started or changed; once that was said, only whether it is missing.
fn wants_definition<L: Lookups>(
    fold: &Fold<'_, L>,
    name: &CounterName,
    definition: &Definition,
    has_defined: bool,
) -> bool {
    let Some(entry) = fold.ledger.named(name) else {
        return true;
    };
    if has_defined {
        return entry.is_absent();
    }
    let over = definition.expired_at(fold.group.now);
    match entry.state.existence {
        Existence::Absent => true,
        // A counter whose time is over is not changed any more; its end is recorded.
        Existence::Live if over && entry.state.definition.expired_at(fold.group.now) => false,
        Existence::Live => *entry.state.definition != *definition,
        // Once its time is over, it stays gone for as long as the configuration names it.
        Existence::Gone(_) => !over,
        Existence::Corrupt => false,
    }
}
