//! After a failed write: the handle takes no more, and a reopened store must hold what was
//! published, or that and the whole group in flight.

use rocksdb::WriteOptions;

use super::*;
use crate::storage::acked::Acked;
use crate::storage::store::to_rocksdb;

fn group(number: u32) -> Batch {
    let mut batch = Batch::new();
    batch.put(Family::Definitions, &number.to_be_bytes(), &[]);
    batch.put(Family::Days, &number.to_be_bytes(), &number.to_be_bytes());
    batch
}

/// Writes past `ACKED`, as a commit does that fails after its write.
fn write_unrecorded(store: &Store, batch: &Batch) {
    let mut synced = WriteOptions::default();
    synced.set_sync(true);
    let batch = to_rocksdb(store.tables(), batch).unwrap();
    store.tables().db.write_opt(batch, &synced).unwrap();
}

fn reopen(data_dir: &Path, expectation: Expectation) -> Result<(Store, Landed), OpenError> {
    let lock = DataDirLock::take_existing(data_dir)?;
    let reader = Reader::default();
    Store::reopen(&lock, &options(data_dir), &reader, &expectation)
}

/// A store that published two groups, and what a third one's commit failure leaves to expect.
fn failed() -> (TempDir, Store, Expectation) {
    let (dir, mut store) = new_store();
    put(&mut store, 0, 10);
    put(&mut store, 1, 10);
    let expectation = Expectation {
        published_sequence: store.sequence(),
        unknown_count: Some(group(2).count()),
        epoch: store.epoch(),
    };
    (dir, store, expectation)
}

#[test]
fn a_group_that_is_not_in_the_store_is_absent() {
    let (dir, store, expectation) = failed();
    drop(store);
    let (mut store, landed) = reopen(dir.path(), expectation).unwrap();
    assert_eq!(landed, Landed::Absent);
    assert_eq!(store.sequence(), expectation.published_sequence);
    put(&mut store, 3, 10);
    assert_eq!(numbers(&store), [0, 1, 3]);
}

#[test]
fn a_group_that_is_in_the_store_is_present() {
    let (dir, store, expectation) = failed();
    write_unrecorded(&store, &group(2));
    drop(store);
    let (mut store, landed) = reopen(dir.path(), expectation).unwrap();
    assert_eq!(landed, Landed::Present);
    assert_eq!(store.sequence(), expectation.published_sequence + 2);
    put(&mut store, 3, 10);
    assert_eq!(numbers(&store), [0, 1, 2, 3]);
}

#[test]
fn anything_else_is_refused_with_nothing_changed() {
    let (dir, store, expectation) = failed();
    write_unrecorded(&store, &group(2));
    drop(store);
    let wrong = [
        Expectation {
            unknown_count: None,
            ..expectation
        },
        Expectation {
            unknown_count: Some(3),
            ..expectation
        },
        Expectation {
            published_sequence: expectation.published_sequence - 1,
            ..expectation
        },
        Expectation {
            published_sequence: u64::MAX,
            ..expectation
        },
        Expectation {
            epoch: expectation.epoch + 1,
            ..expectation
        },
    ];
    let before = tree(dir.path());
    for expectation in wrong {
        let error = reopen(dir.path(), expectation)
            .err()
            .expect("it was accepted");
        assert!(error.to_string().contains(": reopened at "), "{error}");
        assert_eq!(tree(dir.path()), before, "{error}");
    }
}

#[test]
fn a_store_of_a_greater_epoch_is_judged_by_its_own_record() {
    let (dir, store, expectation) = failed();
    drop(store);
    let earlier = Expectation {
        epoch: expectation.epoch - 1,
        published_sequence: 77,
        ..expectation
    };
    let (store, landed) = reopen(dir.path(), earlier).unwrap();
    assert_eq!(landed, Landed::NewEpoch);
    assert_eq!(numbers(&store), [0, 1]);
}

#[test]
fn a_store_that_is_gone_is_not_made_anew() {
    let (dir, store, expectation) = failed();
    drop(store);
    fs::remove_dir_all(dir.path().join("store")).unwrap();
    let error = reopen(dir.path(), expectation).err().expect("it opened");
    assert!(
        error.to_string().contains("is missing (the store"),
        "{error}"
    );
    assert!(!dir.path().join("store").exists());
}

#[test]
fn after_a_failure_nothing_more_is_written() {
    let (dir, mut store, _) = failed();
    let sequence = store.sequence();
    // Something else writes, so that the next commit's sequence number is off.
    write_unrecorded(&store, &group(2));
    let error = store.commit(&group(3)).unwrap_err();
    assert!(matches!(error, CommitError::Sequence { .. }), "{error}");
    assert!(store.poisoned);
    assert_eq!(store.sequence(), sequence, "not acknowledged");
    let written = store.tables().sequence();
    let outcomes = [
        store.commit(&group(4)).map(|_| ()),
        store.tick().map(|_| ()),
        store.flush(),
        store.drop_whole_files(Family::Days, &[1]),
    ];
    for outcome in outcomes {
        assert!(matches!(outcome, Err(CommitError::Poisoned)), "{outcome:?}");
    }
    assert_eq!(store.tables().sequence(), written);
    assert!(matches!(store.close(), Err(CommitError::Poisoned)));
    assert_eq!(
        numbers(&open(dir.path()).unwrap()),
        [0, 1, 2, 3],
        "what was not acknowledged may be there"
    );
}

#[test]
fn a_group_whose_record_fails_is_not_acknowledged() {
    let (dir, mut store, expectation) = failed();
    store.acked = Acked::resume(Path::new("/dev/full"), store.acked.mark()).unwrap();
    let error = store.commit(&group(2)).unwrap_err();
    assert!(matches!(error, CommitError::Acked(_)), "{error}");
    assert_eq!(store.sequence(), expectation.published_sequence);
    drop(store);
    let (_, landed) = reopen(dir.path(), expectation).unwrap();
    assert_eq!(landed, Landed::Present);
}

#[test]
fn a_directory_that_is_moved_away_takes_no_more_and_is_verified_when_it_is_back() {
    let (dir, mut store) = new_store();
    let away = dir.path().with_extension("away");
    put(&mut store, 0, 10);
    store.tick().unwrap();
    fs::rename(dir.path(), &away).unwrap();
    // It is written to where it is now, and so is not lost.
    put(&mut store, 1, 10);
    let expectation = Expectation {
        published_sequence: store.sequence(),
        unknown_count: None,
        epoch: store.epoch(),
    };
    let error = store.tick().unwrap_err();
    assert!(matches!(error, CommitError::Moved { .. }), "{error}");
    assert!(store.poisoned);
    drop(store);
    reopen(dir.path(), expectation).err().unwrap();
    assert!(!dir.path().exists(), "nothing is made in its place");
    fs::rename(&away, dir.path()).unwrap();
    let (mut store, landed) = reopen(dir.path(), expectation).unwrap();
    assert_eq!(landed, Landed::Absent);
    put(&mut store, 2, 10);
    store.tick().unwrap();
    assert_eq!(numbers(&store), [0, 1, 2]);
}

#[test]
fn a_store_in_whose_place_another_is_takes_no_more() {
    let (dir, mut store) = new_store();
    put(&mut store, 0, 10);
    let (ours, copy) = (dir.path().join("store"), dir.path().join("copy"));
    copy_tree(&ours, &copy);
    fs::rename(&ours, dir.path().join("before")).unwrap();
    fs::rename(&copy, &ours).unwrap();
    let error = store.tick().unwrap_err();
    assert!(matches!(error, CommitError::Moved { path } if path == ours));
}
