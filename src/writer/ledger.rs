//! The writer's own account of every counter: what is on disk, plus the group being worked out.
//!
//! Readers never see it. When a write fails it is ahead of the disk, and is loaded anew.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::calendar::{Calendar, Day};
use crate::counter::{
    CounterName, DayRecord, Definition, Existence, Generation, Grain, Kind, Leaving, Millis,
    Moment, Reset, Revision, Seen, Stored, TimeLine,
};
use crate::invariant::Broken;
use crate::seeded::bug;
use crate::storage::{
    CounterValue, DayPart, Defined, LeavingAt, ReadError, Record, StoreState, Tables, Undecodable,
};

use super::table::Reading;

/// Where a counter stands in the ledger.
pub(super) type Index = u32;

/// All counters.
#[derive(Default)]
pub(super) struct Ledger {
    by_name: HashMap<CounterName, Index>,
    entries: Vec<LedgerEntry>,
    free: Vec<Index>,
    /// Counters that count against `counters.max`.
    pub(super) live: u64,
    /// Counters that cannot be read.
    pub(super) corrupt: u64,
    /// The revision of the last change.
    pub(super) revision: Revision,
    /// Live counters by the instant at which their time is over.
    pub(super) expiries: BTreeSet<(Millis, Index)>,
    /// Gone counters by the instant at which they went.
    pub(super) gone: BTreeSet<(Millis, Index)>,
    /// Counters from which something may leave by time alone.
    pub(super) lapsing: BTreeSet<Index>,
    /// Generations of `never` counters that ended: their users are to be deleted.
    pub(super) ended: BTreeSet<Generation>,
}

/// One counter.
pub(super) struct LedgerEntry {
    pub(super) name: CounterName,
    /// Whether the configuration defines it.
    pub(super) configured: bool,
    /// The group that last touched it.
    pub(super) touched: u64,
    /// The revision of its last sample in `series`; `None` while `series` does not follow it.
    pub(super) sampled: Option<Revision>,
    /// The batch that last noted it to take itself back.
    pub(super) noted_for_undo: u64,
    pub(super) state: EntryState,
}

/// What a refused batch takes back as a whole.
#[derive(Clone)]
pub(super) struct EntryState {
    pub(super) existence: Existence,
    pub(super) definition: Arc<Definition>,
    pub(super) value: i64,
    pub(super) period: Option<Day>,
    pub(super) generation: Generation,
    pub(super) revision: Revision,
    pub(super) changed_at: Millis,
    /// What leaves it by time alone; `None` for a counter from which nothing does.
    pub(super) leaving: Option<Box<Leaving>>,
    /// The grains whose amounts the group changed.
    pub(super) grains: Vec<Grain>,
    /// The record of the last day in which it changed.
    pub(super) day: Option<(Day, DayRecord)>,
    /// What the group adds to the value on disk.
    pub(super) delta: i64,
    /// Operands merged since the whole value was put.
    pub(super) merges: u16,
    /// Changed by the group.
    pub(super) dirty: bool,
    /// The next write puts the whole value.
    pub(super) whole: bool,
    /// The group changes the definition or how it went.
    pub(super) redefined: bool,
}

impl EntryState {
    pub(super) fn absent() -> Self {
        Self {
            existence: Existence::Absent,
            definition: Arc::default(),
            value: 0,
            period: None,
            generation: 0,
            revision: 0,
            changed_at: 0,
            leaving: None,
            grains: Vec::new(),
            day: None,
            delta: 0,
            merges: 0,
            dirty: false,
            whole: true,
            redefined: false,
        }
    }

    /// Gives what it says at `moment`; `None` for one that cannot be read, or is not there.
    #[inline]
    pub(super) fn seen(&self, moment: &Moment, calendar: &Calendar) -> Option<Seen> {
        self.stored().seen(moment, calendar)
    }

    /// Returns what decides what the counter says. The epoch is left at 0: it is the same for all of the
    /// ledger, and the writer does not ask for it.
    #[inline]
    pub(super) fn stored(&self) -> Stored<'_> {
        Stored {
            existence: self.existence,
            reset: self.definition.reset,
            value: self.value,
            leaving: self.leaving.as_deref(),
            period: self.period,
            revision: self.revision,
            epoch: 0,
            changed_at: self.changed_at,
            expires_at: self.definition.expires_at,
        }
    }

    /// Whether its users are kept apart from any day.
    pub(super) fn keeps_users_for_good(&self) -> bool {
        let Definition {
            kind,
            reset,
            window,
            ..
        } = &*self.definition;
        *kind == Kind::Unique && *reset == Reset::Never && window.is_none()
    }

    pub(super) fn stored_value(&self) -> CounterValue {
        CounterValue {
            value: self.value,
            period: self.period,
            generation: self.generation,
            revision: self.revision,
            changed_at: self.changed_at,
        }
    }
}

impl LedgerEntry {
    /// Returns what readers see of it, in the history of that epoch.
    pub(super) fn reading(&self, epoch: u64) -> Reading {
        let state = &self.state;
        Reading {
            name: self.name.clone(),
            definition: Arc::clone(&state.definition),
            existence: state.existence,
            value: state.value,
            leaving: state
                .leaving
                .as_deref()
                .map(|leaving| Arc::new(leaving.clone())),
            period: state.period,
            generation: state.generation,
            revision: state.revision,
            epoch,
            changed_at: state.changed_at,
        }
    }
}

impl Ledger {
    /// Loads every counter, with the records of the store's highest day unless that is over: a record that
    /// is not needed any more and cannot be read refuses nothing.
    pub(super) fn load(
        tables: &Tables,
        stored: Option<&StoreState>,
        moment: &Moment,
        slid_to: Millis,
    ) -> Result<Self, ReadError> {
        let mut ledger = Self {
            revision: stored.map_or(0, |s| s.revision),
            ..Self::default()
        };
        tables.definitions(|name, defined| {
            let index = ledger.add(name);
            if let Some(entry) = ledger.entries.get_mut(index as usize) {
                entry.load_definition(defined);
            }
        })?;
        tables.values(|name, value| {
            let index = ledger.add(name);
            if let Some(entry) = ledger.entries.get_mut(index as usize) {
                entry.load_value(value);
            }
        })?;
        let highest = stored.map(|state| state.highest_day);
        if let Some(day) = highest.filter(|&day| day >= moment.today.day) {
            ledger.load_day(tables, day)?;
        }
        ledger.load_leaving(tables, moment, slid_to)?;
        ledger.ended.extend(tables.ended_generations()?);
        ledger.settle();
        Ok(ledger)
    }

    fn load_day(&mut self, tables: &Tables, day: Day) -> Result<(), ReadError> {
        tables.day_parts(day..=day, |_, name, part| {
            if let DayPart::Record(record) = part
                && let Some(index) = self.find(&name)
                && let Some(entry) = self.entries.get_mut(index as usize)
            {
                match record {
                    Ok(record) => entry.state.day = Some((day, record)),
                    Err(_) => {
                        tracing::error!(counter = %entry.name, %day, "the day record cannot be read: `counterd repair`");
                        entry.state.existence = Existence::Corrupt;
                    }
                }
            }
        })
    }

    /// Reads what leaves the counters that lapse: their grains, not their users.
    fn load_leaving(
        &mut self,
        tables: &Tables,
        moment: &Moment,
        slid_to: Millis,
    ) -> Result<(), ReadError> {
        for (index, entry) in (0..).zip(&mut self.entries) {
            if entry.load_leaving(tables, moment, slid_to)? {
                self.lapsing.insert(index);
            }
        }
        Ok(())
    }

    /// Reads one counter anew, of which another instance may have changed anything, or this one what it takes back;
    /// `published` returns what readers saw of it last. Returns its place; it is absent there when there is no such
    /// counter.
    pub(super) fn read_anew(
        &mut self,
        tables: &Tables,
        name: &CounterName,
        (moment, slid_to): (&Moment, Millis),
        published: impl FnOnce() -> Option<Reading>,
    ) -> Result<Index, ReadError> {
        let index = self.add(name.clone());
        self.unsettle(index);
        let Some(entry) = self.entries.get_mut(index as usize) else {
            return Ok(index);
        };
        entry.state = EntryState::absent();
        if let Some(defined) = tables.defined(name)? {
            entry.load_definition(defined);
        }
        if let Some(value) = tables.value(name)? {
            entry.load_value(value);
        }
        let day = moment.today.day;
        match tables.day_record(day, name)? {
            Some(Ok(record)) => entry.state.day = Some((day, record)),
            Some(Err(_)) => entry.state.existence = Existence::Corrupt,
            None => {}
        }
        let lapses = entry.load_leaving(tables, moment, slid_to)?;
        let generation = entry.state.generation;
        if let Some(leaving) = &mut entry.state.leaving {
            // Of leases that another instance gave nothing is uncertain.
            let known = published().filter(|known| known.generation == generation);
            let known = known.and_then(|known| known.leaving);
            leaving.settles_at = known.map_or(Millis::MIN, |known| known.settles_at);
        }
        if lapses {
            self.lapsing.insert(index);
        }
        self.settle_one(index);
        Ok(index)
    }

    /// Marks the counters that the configuration names. One that cannot be read is what the
    /// configuration says, once it is repaired.
    pub(super) fn configure(&mut self, configured: &[(CounterName, Definition)]) {
        for (name, definition) in configured {
            let index = self.add(name.clone());
            if let Some(entry) = self.entry_mut(index) {
                entry.configured = true;
                if entry.state.existence == Existence::Corrupt {
                    entry.state.definition = Arc::new(definition.clone());
                }
            }
        }
    }

    /// Derives what is not stored: the counts, and the sets of ends and of gone counters.
    fn settle(&mut self) {
        for index in self.indices() {
            self.settle_one(index);
        }
    }

    fn settle_one(&mut self, index: Index) {
        let Some(entry) = self.entries.get_mut(index as usize) else {
            return;
        };
        match entry.state.existence {
            Existence::Live if entry.state.revision == 0 => {
                // A definition and its first value are always written together.
                tracing::error!(counter = %entry.name, "the value is missing: `counterd repair`");
                entry.state.existence = Existence::Corrupt;
                self.live += 1;
                self.corrupt += 1;
            }
            Existence::Live => {
                self.live += 1;
                self.expiries
                    .extend(entry.state.definition.expires_at.map(|at| (at, index)));
            }
            Existence::Gone(gone) => {
                self.gone.insert((gone.at, index));
            }
            Existence::Corrupt => {
                self.live += 1;
                self.corrupt += 1;
            }
            Existence::Absent => {}
        }
    }

    /// Takes back what [`Ledger::settle_one`] derived of a counter.
    fn unsettle(&mut self, index: Index) {
        let Some(entry) = self.entries.get(index as usize) else {
            return;
        };
        match entry.state.existence {
            Existence::Live => {
                self.live = self.live.saturating_sub(1);
                if let Some(at) = entry.state.definition.expires_at {
                    self.expiries.remove(&(at, index));
                }
            }
            Existence::Gone(gone) => {
                self.gone.remove(&(gone.at, index));
            }
            Existence::Corrupt => {
                self.live = self.live.saturating_sub(1);
                self.corrupt = self.corrupt.saturating_sub(1);
            }
            Existence::Absent => {}
        }
        self.lapsing.remove(&index);
    }

    /// Returns the place of a name, whether its counter counts or not; `None` for an unknown name.
    #[inline]
    pub(super) fn find(&self, name: &CounterName) -> Option<Index> {
        self.by_name.get(name).copied()
    }

    /// Returns the counter of a name, whether it counts or not; `None` for an unknown name.
    pub(super) fn named(&self, name: &CounterName) -> Option<&LedgerEntry> {
        self.entry(self.find(name)?)
    }

    pub(super) fn entry(&self, index: Index) -> Option<&LedgerEntry> {
        self.entries.get(index as usize)
    }

    pub(super) fn entry_mut(&mut self, index: Index) -> Option<&mut LedgerEntry> {
        self.entries.get_mut(index as usize)
    }

    /// Returns the counter at a place that the ledger gave out; `Err` where there is no such place.
    pub(super) fn at(&self, index: Index) -> Result<&LedgerEntry, Broken> {
        let entry = self.entry(index);
        entry.ok_or_else(|| Broken::found(format_args!("the ledger has no place {index}")))
    }

    /// Returns the counter at a place, to be changed; `Err` where there is no such place.
    pub(super) fn at_mut(&mut self, index: Index) -> Result<&mut LedgerEntry, Broken> {
        let entry = self.entries.get_mut(index as usize);
        entry.ok_or_else(|| Broken::found(format_args!("the ledger has no place {index}")))
    }

    /// Returns the place of a name, and makes one for a new name.
    pub(super) fn add(&mut self, name: CounterName) -> Index {
        if let Some(index) = self.find(&name) {
            return index;
        }
        let entry = LedgerEntry {
            name: name.clone(),
            configured: false,
            touched: 0,
            sampled: None,
            noted_for_undo: 0,
            state: EntryState::absent(),
        };
        let index = match self.free.pop() {
            Some(index) => {
                if let Some(place) = self.entries.get_mut(index as usize) {
                    *place = entry;
                }
                index
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as Index
            }
        };
        self.by_name.insert(name, index);
        index
    }

    /// Takes a name out. The group must no longer refer to its place.
    pub(super) fn remove(&mut self, index: Index) {
        if let Some(entry) = self.entries.get_mut(index as usize)
            && self.by_name.get(&entry.name) == Some(&index)
        {
            self.by_name.remove(&entry.name);
            self.lapsing.remove(&index);
            entry.state = EntryState::absent();
            self.free.push(index);
        }
    }

    /// Lists the places of all counters, also of gone ones.
    pub(super) fn indices(&self) -> impl Iterator<Item = Index> + use<> {
        0..self.entries.len() as Index
    }

    /// Lists all counters but absent ones.
    pub(super) fn iter(&self) -> impl Iterator<Item = &LedgerEntry> {
        self.entries
            .iter()
            .filter(|entry| entry.state.existence != Existence::Absent)
    }
}

impl LedgerEntry {
    /// Whether there is no such counter.
    pub(super) fn is_absent(&self) -> bool {
        self.state.existence == Existence::Absent
    }

    fn load_definition(&mut self, defined: Result<Defined, Undecodable>) {
        match defined {
            Ok((definition, gone)) => {
                self.state.definition = Arc::new(definition);
                self.state.existence = gone.map_or(Existence::Live, Existence::Gone);
            }
            Err(_) => {
                tracing::error!(counter = %self.name, "the definition cannot be read: `counterd repair`");
                self.state.existence = Existence::Corrupt;
            }
        }
    }

    /// Reads what leaves it: its grains, not its users. Returns whether it lapses.
    fn load_leaving(
        &mut self,
        tables: &Tables,
        moment: &Moment,
        slid_to: Millis,
    ) -> Result<bool, ReadError> {
        let Some(lapse) = self.state.definition.lapse() else {
            return Ok(false);
        };
        if self.state.existence != Existence::Live {
            return Ok(false);
        }
        let now = lapse.time(moment);
        let end = self.state.definition.expires_at;
        let from = match lapse.runs_in {
            TimeLine::Wall => wall_from(moment, slid_to, end),
            TimeLine::Store => now,
        };
        let mut leaving = Leaving::new(lapse, from);
        let mut sound = true;
        let read = tables.leaving(self.state.generation, |record| match record {
            // What has left by then is not added.
            Ok(LeavingAt {
                until,
                amount,
                leases,
            }) => {
                let mut grain = leaving.amounts.grain_of(until);
                if bug("ended_lease_is_back") {
                    grain = grain.max(leaving.amounts.now() + 1);
                }
                let _ = leaving.add(grain, amount, leases);
            }
            Err(_) => sound = false,
        });
        match read {
            Err(error) if error.is_rot() => sound = false,
            read => read?,
        }
        if !sound {
            tracing::error!(counter = %self.name, "what is in its window cannot be read: `counterd repair`");
            self.state.existence = Existence::Corrupt;
            return Ok(false);
        }
        let leases = leaving.leases.as_ref();
        if leases.is_some_and(|leases| leases.total() > 0) {
            leaving.settles_at = now.saturating_add(lapse.span.millis());
        }
        self.state.leaving = Some(Box::new(leaving));
        Ok(true)
    }

    fn load_value(&mut self, record: Record) {
        let state = &mut self.state;
        match record {
            Record::Value(stored) => {
                state.value = stored.value;
                state.period = stored.period;
                state.generation = stored.generation;
                state.revision = stored.revision;
                state.changed_at = stored.changed_at;
                // How many operands are on disk is not known, so the next write puts the whole value.
                state.whole = true;
            }
            Record::Quarantined(kept) => {
                tracing::error!(counter = %self.name, bytes = kept.len(), "the value cannot be read: `counterd repair`");
                state.existence = Existence::Corrupt;
            }
        }
        if state.existence == Existence::Absent {
            tracing::error!(counter = %self.name, "the definition is missing: `counterd repair`");
            state.existence = Existence::Corrupt;
        }
    }
}

/// Returns the instant as of which a window is read at a start; what had left by then is not read. `slid_to` is
/// what windows had slid to when the store was closed, and `end` when the counter's time is over.
fn wall_from(moment: &Moment, slid_to: Millis, end: Option<Millis>) -> Millis {
    let now = moment.latest;
    // The day begins with the value at its midnight. Where nobody knows until when it was counted, something may
    // leave later than a window after that.
    let midnight = Some(moment.today.start).filter(|_| slid_to > Millis::MIN);
    // One whose time is over, and nobody recorded it yet, says what was in it then.
    let from = midnight.into_iter().chain(end).fold(now, Millis::min);
    from.max(slid_to.min(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "the ledger has no place 7")]
    fn a_place_that_the_ledger_did_not_give_out_is_a_broken_invariant() {
        let _ = Ledger::default().at(7);
    }
}
