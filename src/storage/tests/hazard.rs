//! The one loss that neither the sequence number nor RocksDB's own checks see, and what closes it.
//!
//! A flush that covered the last acknowledgement, the new log still empty, and then the old log's
//! tail is lost: the manifest alone gives the acknowledged sequence number. It takes families that
//! are flushed apart, which the options avoid; here it is forced.

use super::*;
use crate::storage::files;

/// A store whose family `days`, last in each group, is flushed up to the last commit and whose
/// family `definitions` is only in the old log.
fn flushed_apart() -> (TempDir, Store, PathBuf) {
    let (dir, mut store) = new_store();
    for number in 0..6 {
        put(&mut store, number, 100);
    }
    store.tick().unwrap();
    let tables = store.tables();
    tables
        .db
        .flush_cf(tables.handle(Family::Days).unwrap())
        .unwrap();
    let logs = files::wals(&db_dir(dir.path())).unwrap();
    assert_eq!((logs.len(), logs[1].size), (2, 0), "a new log, still empty");
    let old = files::wal_path(&db_dir(dir.path()), logs[0].number);
    (dir, store, old)
}

fn lose_tail(image: &Path, old: &Path) {
    let log = db_dir(image).join(old.file_name().unwrap());
    let half = length(&log) / 2;
    overwrite(&log, half, &vec![0; (length(&log) - half) as usize]);
}

#[test]
fn without_a_group_in_the_new_log_the_loss_goes_unseen() {
    let (dir, _store, old) = flushed_apart();
    let image = crashed(dir.path());
    lose_tail(image.path(), &old);
    let store = open(image.path()).unwrap();
    assert!(
        store
            .tables()
            .get(Family::Days, &5_u32.to_be_bytes())
            .unwrap()
            .is_some()
    );
    assert!(
        store
            .tables()
            .get(Family::Definitions, &5_u32.to_be_bytes())
            .unwrap()
            .is_none()
    );
}

#[test]
fn the_group_that_tick_asks_for_makes_the_loss_seen() {
    let (dir, mut store, old) = flushed_apart();
    assert!(store.tick().unwrap());
    put(&mut store, 6, 100);
    assert!(!store.tick().unwrap());
    let image = crashed(dir.path());
    lose_tail(image.path(), &old);
    println!("{}", refused(image.path()));
}

#[test]
fn a_flush_of_everything_needs_no_old_log() {
    let (dir, mut store) = new_store();
    for number in 0..6 {
        put(&mut store, number, 100);
    }
    let old = crashed(dir.path());
    store.flush().unwrap();
    let image = crashed(dir.path());
    for log in files::wals(&db_dir(old.path())).unwrap() {
        let name = files::wal_path(Path::new(""), log.number);
        fs::copy(
            db_dir(old.path()).join(&name),
            db_dir(image.path()).join(&name),
        )
        .unwrap();
        lose_tail(image.path(), &name);
    }
    assert_eq!(
        numbers(&open(image.path()).unwrap()),
        (0..6).collect::<Vec<_>>()
    );
}
