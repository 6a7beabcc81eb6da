//! The ordinary life of a store: made, written, read, closed or killed, opened again.

use std::sync::mpsc;
use std::thread;

use super::*;
use crate::calendar::Day;
use crate::storage::expiry::Daily;
use crate::storage::reserve::Reserve;
use crate::storage::{files, keys, merge};

#[test]
fn what_was_committed_is_there_after_a_close_and_after_a_kill() {
    let (dir, mut store) = new_store();
    assert_eq!(store.epoch(), NOW_MS as u64);
    for number in 0..10 {
        put(&mut store, number, 100);
    }
    let sequence = store.sequence();
    let killed = crashed(dir.path());
    store.close().unwrap();
    for data_dir in [dir.path(), killed.path()] {
        let store = open(data_dir).unwrap();
        assert_eq!(store.epoch(), NOW_MS as u64);
        assert_eq!(store.sequence(), sequence);
        assert_eq!(numbers(&store), (0..10).collect::<Vec<_>>());
    }
}

#[test]
fn a_kill_at_any_step_of_the_first_start_costs_nothing() {
    let (dir, store) = new_store();
    drop(store);
    // As killed while it was built: any part of the tree may be missing.
    fs::rename(dir.path().join("store"), dir.path().join("store.new")).unwrap();
    fs::remove_file(dir.path().join("store.new/ACKED")).unwrap();
    fs::remove_file(dir.path().join("store.new/db/CURRENT")).unwrap();
    let mut store = open(dir.path()).unwrap();
    assert!(numbers(&store).is_empty());
    put(&mut store, 1, 10);
    drop(store);
    // As killed before an older leftover was deleted.
    fs::create_dir(dir.path().join("store.new")).unwrap();
    fs::write(dir.path().join("store.new/part"), "x").unwrap();
    assert_eq!(numbers(&open(dir.path()).unwrap()), [1]);
    assert!(!dir.path().join("store.new").exists());
}

#[test]
fn a_kill_while_opening_after_a_kill_costs_nothing() {
    let (dir, mut store) = new_store();
    for number in 0..10 {
        put(&mut store, number, 1000);
    }
    let killed = crashed(dir.path());
    drop(store);
    // Opened, so that the log is in tables and the manifest is a new one, but ACKED not yet
    // written.
    let acked = fs::read(killed.path().join("store/ACKED")).unwrap();
    let opened = open(killed.path()).unwrap();
    let again = crashed(killed.path());
    drop(opened);
    fs::write(again.path().join("store/ACKED"), acked).unwrap();
    assert_eq!(
        numbers(&open(again.path()).unwrap()),
        (0..10).collect::<Vec<_>>()
    );
}

#[test]
fn a_second_process_is_told_who_holds_the_directory() {
    let (dir, _store) = new_store();
    let error = open(dir.path()).err().expect("it opened twice");
    assert_eq!(error.cause, OpenCause::Locked);
    assert!(error.to_string().contains("in use by another process"));
}

#[test]
fn merged_operands_fold_across_commits_flushes_and_restarts() {
    let (dir, mut store) = new_store();
    let key = b"\x01a";
    let start = merge::CounterValue {
        value: 10,
        period: None,
        generation: 1,
        revision: 1,
        changed_at: 5,
    };
    let mut batch = Batch::new();
    batch.put(Family::Counters, key, &start.encode());
    store.commit(&batch).unwrap();
    for revision in 2..=50 {
        batch.clear();
        let operand = merge::Operand {
            delta: 2,
            revision,
            changed_at: 5,
        };
        batch.merge(Family::Counters, key, &operand.encode());
        store.commit(&batch).unwrap();
        if revision % 20 == 0 {
            store.flush().unwrap();
        }
    }
    let killed = crashed(dir.path());
    let store = open(killed.path()).unwrap();
    let stored = store.tables().get(Family::Counters, key).unwrap().unwrap();
    let expected = merge::CounterValue {
        value: 108,
        revision: 50,
        ..start
    };
    assert_eq!(
        merge::Record::decode(&stored),
        merge::Record::Value(expected)
    );
}

#[test]
fn lookups_find_what_is_there_in_memtable_and_tables() {
    let (_dir, mut store) = new_store();
    let day = Day::from_days(20_781).unwrap().days();
    let key = |user: u32| {
        let mut key = Vec::new();
        keys::dedup_into(&mut key, day, 3, format!("user-{user:05}").as_bytes());
        key
    };
    let mut batch = Batch::new();
    for user in (0..2000).step_by(2) {
        batch.put(Family::Dedup, &key(user), &[]);
    }
    store.commit(&batch).unwrap();
    for flushed in [false, true] {
        if flushed {
            store.flush().unwrap();
        }
        for user in 0..2000 {
            let found = store.tables().get(Family::Dedup, &key(user)).unwrap();
            assert_eq!(found.is_some(), user % 2 == 0, "{user}");
        }
    }
    let (start, end) = (key(10), key(14));
    let mut range = Vec::new();
    store
        .tables()
        .scan(Family::Dedup, &start, Some(&end), |key, _| {
            range.push(key.to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(range, [key(10), key(12)]);
}

#[test]
fn a_tick_asks_for_one_group_after_a_new_log_and_is_then_quiet() {
    let (dir, mut store) = new_store();
    assert!(!store.tick().unwrap());
    put(&mut store, 1, 10);
    assert!(!store.tick().unwrap());
    store.flush().unwrap();
    assert!(store.tick().unwrap());
    put(&mut store, 2, 10);
    assert!(!store.tick().unwrap());
    let quiet = fs::read(dir.path().join("store/ACKED")).unwrap();
    store.tick().unwrap();
    assert_eq!(
        fs::read(dir.path().join("store/ACKED")).unwrap(),
        quiet,
        "an idle store is not written to"
    );
}

#[test]
fn whole_files_below_a_horizon_go_and_the_rest_stays() {
    let (_dir, mut store) = new_store();
    let mut key = Vec::new();
    for bucket in 0..6 {
        let mut batch = Batch::new();
        keys::idempotency_into(&mut key, bucket, "k");
        batch.put(Family::Idempotency, &key, &[7; 1000]);
        store.commit(&batch).unwrap();
        store.flush().unwrap();
    }
    let tables = store.tables();
    let handle = tables.handle(Family::Idempotency).unwrap();
    // One file a bucket, out of level 0, which is never dropped from.
    for bucket in 0..6_u32 {
        let (from, to) = (bucket.to_be_bytes(), (bucket + 1).to_be_bytes());
        tables
            .db
            .compact_range_cf(handle, Some(&from[..]), Some(&to[..]));
    }
    let end = 4_u32.to_be_bytes();
    store.drop_whole_files(Family::Idempotency, &end).unwrap();
    let mut left = Vec::new();
    store
        .tables()
        .scan(Family::Idempotency, &[], None, |key, _| {
            left.push(keys::leading_bucket(key).unwrap());
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(left.ends_with(&[4, 5]), "{left:?}");
    assert!(left.len() < 6, "nothing was dropped: {left:?}");
    let sequence = store.sequence();
    store.drop_whole_files(Family::Counters, &[0xff]).unwrap();
    put(&mut store, 1, 10);
    assert_eq!(store.sequence(), sequence + 2);
}

#[test]
fn compaction_drops_below_the_horizon_and_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let lock = DataDirLock::take(dir.path()).unwrap();
    let reader = Reader::default();
    let mut store = Store::open(&lock, &options(dir.path()), &reader, Some(NOW_MS)).unwrap();
    let mut key = Vec::new();
    let mut batch = Batch::new();
    for bucket in 0..6 {
        keys::idempotency_into(&mut key, bucket, "k");
        batch.put(Family::Idempotency, &key, b"v");
    }
    store.commit(&batch).unwrap();
    let count = |store: &Store| {
        let tables = store.tables();
        let handle = tables.handle(Family::Idempotency).unwrap();
        tables.flush().unwrap();
        tables
            .db
            .compact_range_cf(handle, None::<&[u8]>, None::<&[u8]>);
        let mut count = 0;
        tables
            .scan(Family::Idempotency, &[], None, |_, _| {
                count += 1;
                ControlFlow::Continue(())
            })
            .unwrap();
        count
    };
    assert_eq!(count(&store), 6);
    reader.horizons.publish_idempotency(4);
    // A table that was compacted once is not compacted again for nothing.
    batch.clear();
    batch.put(Family::Idempotency, &key, b"v");
    store.commit(&batch).unwrap();
    assert_eq!(count(&store), 2);
}

#[test]
fn readers_do_not_hold_a_store_open_and_survive_its_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let reader = Reader::default();
    let open = || {
        let lock = DataDirLock::take(dir.path()).unwrap();
        Store::open(&lock, &options(dir.path()), &reader, Some(NOW_MS)).unwrap()
    };
    let sequence = |reader: &Reader| reader.with(|tables| Ok(tables.sequence()));
    assert!(matches!(sequence(&reader), Err(ReadError::Closed)));
    let mut store = open();
    put(&mut store, 1, 10);
    assert_eq!(sequence(&reader).unwrap(), store.sequence());
    // A read in progress delays the close; the store opens again right after.
    let (reading, started) = mpsc::channel();
    let (finish, finished) = mpsc::channel();
    let other = reader.clone();
    let thread = thread::spawn(move || {
        other.with(|tables| {
            reading.send(()).unwrap();
            finished.recv().unwrap();
            Ok(tables.sequence())
        })
    });
    started.recv().unwrap();
    finish.send(()).unwrap();
    drop(store);
    assert!(matches!(sequence(&reader), Err(ReadError::Closed)));
    let store = open();
    assert_eq!(thread.join().unwrap().unwrap(), store.sequence());
    assert_eq!(sequence(&reader).unwrap(), store.sequence());
}

#[test]
fn the_logs_stay_within_their_limit() {
    let (dir, mut store) = new_store();
    for number in 0..40 {
        put(&mut store, number, MIB as usize / 2);
        let logs = files::wals(&db_dir(dir.path())).unwrap();
        let bytes: u64 = logs.iter().map(|log| log.size).sum();
        // The limit is looked at before a write, and a flush of the log before it may still run.
        assert!(bytes <= 2 * 4 * MIB + MIB, "{bytes} bytes of log");
    }
}

#[test]
fn a_commit_waits_for_flushes_that_do_not_keep_up() {
    let (_dir, mut store) = new_store();
    let mut batch = Batch::new();
    // Two memtables of one MiB: the third group must wait for a flush of the first.
    while store.waits == 0 {
        batch.clear();
        let group = store.sequence().to_be_bytes();
        batch.put(Family::Meta, &group, &vec![7; MIB as usize]);
        store.commit(&batch).unwrap();
        assert!(store.sequence() < 1000, "no commit ever waited");
    }
    assert!(!store.poisoned);
    let last = (store.sequence() - 1).to_be_bytes();
    assert!(store.tables().get(Family::Meta, &last).unwrap().is_some());
}

#[test]
fn a_reserve_is_left_alone_while_there_is_room() {
    let (dir, store) = new_store();
    drop(store);
    let reserve = Reserve::new(dir.path(), Some(MIB)).unwrap();
    reserve.make().unwrap();
    open(dir.path()).unwrap();
    assert!(reserve.is_whole());
}

#[test]
#[should_panic(expected = "where the stored horizon is None")]
fn no_files_are_dropped_above_a_stored_horizon() {
    let (_dir, mut store) = new_store();
    let _ = store.drop_days(Daily::Days, Day::MIN);
}
