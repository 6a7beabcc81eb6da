//! The comparison of what a stopped writer left on disk with what the model has.

use std::collections::{BTreeMap, BTreeSet};

use counterd::calendar::Day;
use counterd::counter::Event;
use counterd::storage::{
    CounterValue, DataDirLock, DayPart, Family, Kept, ReadError, Reader, Record, RequestKey, Store,
    Tables,
};

use super::naive;
use super::pair::{Pair, differs};

impl Pair {
    /// Stops the writer and compares what it left on disk, or has of a shared log.
    pub fn stop(&mut self) -> Result<(), String> {
        let running = self.running.take();
        if let (Some(running), Some(_)) = (&running, &self.log) {
            let compared = |tables: &Tables| Ok(self.compare_stored(tables, &running.reader));
            running.reader.with(compared).unwrap()?;
        }
        if let Some(running) = running {
            running.stop();
        }
        if self.log.is_some() {
            return Ok(());
        }
        let lock = DataDirLock::take(self.dir.path()).map_err(|error| error.to_string())?;
        let reader = Reader::default();
        let store = Store::open(&lock, &self.storage(), &reader, Some(1));
        let store = store.map_err(|error| error.to_string())?;
        self.compare_stored(store.tables(), &reader)
    }

    fn compare_stored(&self, tables: &Tables, reader: &Reader) -> Result<(), String> {
        let model = &self.model;

        let state = tables.stored_state().unwrap().unwrap().unwrap();
        differs(
            "stored revision and day",
            &(state.revision, state.highest_day),
            &(model.revision, model.today()),
        )?;

        let mut found = BTreeMap::new();
        let visit = |name, defined: Result<_, _>| {
            found.insert(name, defined.unwrap());
        };
        tables.definitions(visit).unwrap();
        let of = |counter: &naive::Counter| (counter.definition.clone(), counter.gone);
        let expected = model
            .counters
            .iter()
            .map(|(name, counter)| (name.clone(), of(counter)))
            .collect();
        differs("stored definitions", &found, &expected)?;

        let mut found = BTreeMap::new();
        let visit = |name, value| {
            found.insert(name, value);
        };
        tables.values(visit).unwrap();
        let of = |counter: &naive::Counter| {
            let &naive::Counter {
                value,
                period,
                generation,
                revision,
                changed_at,
                ..
            } = counter;
            Record::Value(CounterValue {
                value,
                period,
                generation,
                revision,
                changed_at,
            })
        };
        let expected = model
            .counters
            .iter()
            .map(|(name, counter)| (name.clone(), of(counter)))
            .collect();
        differs("stored values", &found, &expected)?;

        self.compare_days(tables)?;
        self.compare_users(tables, reader)?;
        self.compare_keys(tables)
    }

    fn compare_days(&self, tables: &Tables) -> Result<(), String> {
        let (mut records, mut events) = (BTreeMap::new(), BTreeMap::<_, Vec<Event>>::new());
        let mut indices = Ok(());
        let visit = |day, name, part| match part {
            DayPart::Record(record) => {
                records.insert((day, name), record.unwrap());
            }
            DayPart::Event(index, event) => {
                let of_day = events.entry((day, name)).or_default();
                let found = differs("an event's index", &usize::from(index), &of_day.len());
                indices = std::mem::replace(&mut indices, Ok(())).and(found);
                of_day.push(event.unwrap());
            }
        };
        let days = Day::MIN..=Day::MAX;
        tables.day_parts(days, visit).unwrap();
        indices?;
        let expected = self
            .model
            .days
            .iter()
            .map(|(key, (record, _))| (key.clone(), *record))
            .collect();
        differs("stored day records", &records, &expected)?;
        let days = self
            .model
            .days
            .iter()
            .filter(|(_, (_, events))| !events.is_empty());
        let expected = days
            .map(|(key, (_, events))| (key.clone(), events.clone()))
            .collect();
        differs("stored events", &events, &expected)
    }

    fn compare_users(&self, tables: &Tables, reader: &Reader) -> Result<(), String> {
        let mut expected = BTreeMap::<_, BTreeSet<Vec<u8>>>::new();
        for (period, generation, user) in &self.model.users {
            let users = expected.entry((*period, *generation)).or_default();
            users.insert(user.as_bytes().to_vec());
        }
        let mut known = 0;
        for ((period, generation), expected) in expected {
            let (found, _) = tables.users(period, generation, None, usize::MAX).unwrap();
            known += found.len() as u64;
            let found = found.into_iter().collect();
            // Users of a `never` generation that ended are deleted at leisure.
            let lives = |counter: &naive::Counter| {
                counter.gone.is_none() && counter.generation == generation
            };
            if period.is_some() || self.model.counters.values().any(lives) {
                differs("stored users", &found, &expected)?;
            } else if !found.is_subset(&expected) {
                return Err(format!(
                    "users of generation {generation} that nobody counted"
                ));
            }
        }
        let all = reader.count(Family::Dedup, &mut |_, _| Ok::<_, ReadError>(()));
        differs("how many users are stored", &all.unwrap(), &known)
    }

    fn compare_keys(&self, tables: &Tables) -> Result<(), String> {
        let mut key = RequestKey::default();
        for (client_key, (fingerprint, outcome, bucket)) in &self.model.kept {
            if self.model.bucket() - bucket > 1 {
                continue;
            }
            let key = key.set(u32::try_from(*bucket).unwrap(), client_key);
            let kept = tables.kept(key).unwrap();
            let expected = Kept {
                fingerprint: *fingerprint,
                outcome: outcome.clone(),
            };
            differs("stored key", &kept, &Some(Ok(expected)))?;
        }
        Ok(())
    }
}
