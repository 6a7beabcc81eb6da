//! The comparison of what a stopped writer left on disk with what the model has.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use counterd::calendar::Day;
use counterd::counter::Event;
use counterd::storage::merge::{CounterValue, Record};
use counterd::storage::{DataDirLock, Family, Reader, Store, keys, value};

use super::naive;
use super::pair::{Pair, differs};

impl Pair {
    /// Stops the writer and compares what it left on disk.
    pub fn stop(&mut self) -> Result<(), String> {
        if let Some(running) = self.running.take() {
            running.stop();
        }
        let lock = DataDirLock::take(self.dir.path()).map_err(|error| error.to_string())?;
        let store = Store::open(
            &lock,
            &self.storage(),
            &Arc::default(),
            &Reader::default(),
            1,
        );
        let store = store.map_err(|error| error.to_string())?;
        let model = &self.model;

        let state = value::State::decode(&stored(&store, Family::Meta)[value::State::KEY]).unwrap();
        differs(
            "stored revision and day",
            &(state.revision, state.highest_day),
            &(model.revision, model.today()),
        )?;

        let mut found = BTreeMap::new();
        for (key, bytes) in stored(&store, Family::Definitions) {
            found.insert(
                keys::counter_name(&key).unwrap(),
                value::decode_counter(&bytes).unwrap(),
            );
        }
        let of = |counter: &naive::Counter| (counter.definition.clone(), counter.gone);
        let expected = model
            .counters
            .iter()
            .map(|(name, counter)| (name.clone(), of(counter)))
            .collect();
        differs("stored definitions", &found, &expected)?;

        let mut found = BTreeMap::new();
        for (key, bytes) in stored(&store, Family::Counters) {
            found.insert(keys::counter_name(&key).unwrap(), Record::decode(&bytes));
        }
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

        self.compare_days(&store)?;
        self.compare_users_and_keys(&store)
    }

    fn compare_days(&self, store: &Store) -> Result<(), String> {
        let (mut records, mut events) = (BTreeMap::new(), BTreeMap::<_, Vec<Event>>::new());
        for (key, bytes) in stored(store, Family::Days) {
            let day = Day::from_days(keys::leading_day(&key).unwrap()).unwrap();
            match keys::day_entry(&key).unwrap() {
                (name, None) => {
                    records.insert((day, name), value::decode_day_record(&bytes).unwrap().0);
                }
                (name, Some(index)) => {
                    let of_day = events.entry((day, name)).or_default();
                    differs("an event's index", &usize::from(index), &of_day.len())?;
                    of_day.push(value::decode_event(&bytes).unwrap());
                }
            }
        }
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

    fn compare_users_and_keys(&self, store: &Store) -> Result<(), String> {
        let found = stored(store, Family::Dedup);
        let mut expected = BTreeSet::new();
        let mut key = Vec::new();
        for (period, generation, user) in &self.model.users {
            keys::dedup_into(
                &mut key,
                period.map_or(keys::NEVER, Day::days),
                *generation,
                user,
            );
            expected.insert(key.clone());
            // Users of a `never` generation that ended are deleted at leisure.
            let lives = |counter: &naive::Counter| {
                counter.gone.is_none() && counter.generation == *generation
            };
            let needed = period.is_some() || self.model.counters.values().any(lives);
            if needed && !found.contains_key(&key) {
                return Err(format!(
                    "user {user} of {period:?}, generation {generation} is not stored"
                ));
            }
        }
        if let Some(key) = found.keys().find(|key| !expected.contains(*key)) {
            return Err(format!("a user is stored whom nobody counted: {key:?}"));
        }
        let found = stored(store, Family::Idempotency);
        for (client_key, (fingerprint, outcome, bucket)) in &self.model.kept {
            if self.model.bucket() - bucket > 1 {
                continue;
            }
            keys::idempotency_into(&mut key, u32::try_from(*bucket).unwrap(), client_key);
            let kept = found
                .get(&key)
                .map(|bytes| value::decode_kept(bytes).unwrap());
            let expected = value::Kept {
                fingerprint: *fingerprint,
                outcome: outcome.clone(),
            };
            differs("stored key", &kept, &Some(expected))?;
        }
        Ok(())
    }
}

fn stored(store: &Store, family: Family) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut records = BTreeMap::new();
    let visit = |key: &[u8], bytes: &[u8]| {
        records.insert(key.to_vec(), bytes.to_vec());
        ControlFlow::Continue(())
    };
    store.tables().scan(family, &[], None, visit).unwrap();
    records
}
