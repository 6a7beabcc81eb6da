//! Compaction on request drops what lies below a horizon, at once, and nothing else.

use super::*;
use crate::calendar::Day;
use crate::counter::CounterName;
use crate::storage::compact::{compact, compact_range, expired_bytes};
use crate::storage::expiry::{Daily, Horizons};
use crate::storage::keys;

const FIRST: i32 = 20_000;
const HORIZON: i32 = 20_006;
const LAST: i32 = 20_009;

struct House {
    _dir: TempDir,
    store: Store,
    horizons: Arc<Horizons>,
    reader: Reader,
}

/// A store with ten days in every family whose records expire.
fn ten_days() -> House {
    let dir = tempfile::tempdir().unwrap();
    let reader = Reader::default();
    let horizons = Arc::clone(&reader.horizons);
    let lock = DataDirLock::take(dir.path()).unwrap();
    let store = Store::open(&lock, &options(dir.path()), &reader, Some(NOW_MS)).unwrap();
    let mut house = House {
        _dir: dir,
        store,
        horizons,
        reader,
    };
    for day in FIRST..=LAST {
        let mut batch = Batch::new();
        // The first record of every table of history is one that stays.
        let first = CounterName::parse("a").unwrap();
        let last = Day::from_days(LAST).unwrap();
        batch.put(Family::History, &keys::history(&first, last), &[1]);
        for number in 0..2000_u32 {
            let noise = xxh3_128(&[day.to_be_bytes(), number.to_be_bytes()].concat());
            let day = Day::from_days(day).unwrap();
            let name = CounterName::parse(&format!("c{number}")).unwrap();
            let mut key = Vec::new();
            keys::dedup_into(&mut key, day.days(), 1, format!("{noise:032x}").as_bytes());
            batch.put(Family::Dedup, &key, &[]);
            batch.put(
                Family::History,
                &keys::history(&name, day),
                &noise.to_be_bytes(),
            );
            batch.put(
                Family::Samples,
                &keys::sample(day, &name, 1),
                &noise.to_be_bytes(),
            );
            batch.put(
                Family::Days,
                &keys::day_record(day, &name),
                &noise.to_be_bytes(),
            );
            let bucket = u32::try_from(day.days()).unwrap();
            keys::idempotency_into(&mut key, bucket, &format!("{noise:032x}"));
            batch.put(Family::Idempotency, &key, &noise.to_be_bytes());
        }
        house.store.commit(&batch).unwrap();
        house.store.flush().unwrap();
    }
    house
}

fn days_in(store: &Store, family: Family) -> Vec<i32> {
    let mut days = Vec::new();
    let visit = |key: &[u8], _: &[u8]| {
        days.push(match family {
            Family::History => keys::unsortable(*key.last_chunk().unwrap()),
            Family::Idempotency => i32::try_from(keys::leading_bucket(key).unwrap()).unwrap(),
            _ => keys::leading_day(key).unwrap(),
        });
        ControlFlow::Continue(())
    };
    store.tables().scan(family, &[], None, visit).unwrap();
    days.sort_unstable();
    days.dedup();
    days
}

const FAMILIES: [Family; 5] = [
    Family::Days,
    Family::Dedup,
    Family::Samples,
    Family::History,
    Family::Idempotency,
];

#[test]
fn what_expired_goes_at_once_up_to_the_horizon_and_not_a_day_further() {
    let house = ten_days();
    let all: Vec<i32> = (FIRST..=LAST).collect();
    let nothing = compact(&house.reader, &mut |_| Ok(())).unwrap();
    for (one, family) in nothing.iter().zip(FAMILIES) {
        assert_eq!(one.family, family);
        assert_eq!(
            days_in(&house.store, family),
            all,
            "before a horizon nothing goes"
        );
    }
    for daily in Daily::ALL {
        house.horizons.publish(daily, HORIZON);
    }
    house
        .horizons
        .publish_idempotency(u32::try_from(HORIZON).unwrap());
    for family in FAMILIES {
        let waiting = expired_bytes(house.store.tables(), &house.horizons, family);
        match family {
            Family::History => assert_eq!(waiting, None),
            _ => assert!(waiting > Some(10_000), "{family:?}: {waiting:?}"),
        }
    }
    let mut told = Vec::new();
    let freed = compact(&house.reader, &mut |step| {
        told.push(step);
        Ok(())
    });
    for one in freed.unwrap() {
        let left: Vec<i32> = (HORIZON..=LAST).collect();
        assert_eq!(days_in(&house.store, one.family), left, "{:?}", one.family);
        assert!(one.after * 2 < one.before, "{one:?}");
        let waiting = expired_bytes(house.store.tables(), &house.horizons, one.family);
        assert!(waiting.unwrap_or(0) < 1000, "{:?}: {waiting:?}", one.family);
    }
    assert!(!told.is_empty());
}

#[test]
fn a_compaction_that_nobody_wants_any_more_ends_and_loses_nothing() {
    let house = ten_days();
    for daily in Daily::ALL {
        house.horizons.publish(daily, HORIZON);
    }
    let ended = compact(&house.reader, &mut |_| Err(std::io::Error::other("enough")));
    assert!(ended.is_err());
    for family in FAMILIES {
        let found = days_in(&house.store, family);
        assert!(
            found.ends_with(&[HORIZON, HORIZON + 1, HORIZON + 2, LAST]),
            "{found:?}"
        );
    }
}

#[test]
fn blocks_of_tables_that_are_gone_leave_the_cache() {
    let (_dir, mut store) = new_store();
    let mut sizes = Vec::new();
    for _ in 0..6 {
        for number in 0..500 {
            put(&mut store, number, 4096);
        }
        store.flush().unwrap();
        compact_range(store.tables(), Family::Definitions, &[], &[0xff; 4]).unwrap();
        for number in 0..500_u32 {
            let key = number.to_be_bytes();
            assert!(
                store
                    .tables()
                    .get(Family::Definitions, &key)
                    .unwrap()
                    .is_some()
            );
        }
        sizes.push(store.tables().cache_bytes());
    }
    // Each round reads 2 MB of blocks.
    let (first, last) = (sizes[0], sizes[5]);
    assert!(first > 2 * MIB, "{sizes:?}");
    assert!(last < first + MIB, "{sizes:?}");
}
