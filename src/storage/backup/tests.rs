//! What a backup promises: one state of a store that is written to, nothing half made, no byte that
//! can change unseen, and a way back as a new epoch.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use xxhash_rust::xxh3::xxh3_128;

use super::*;
use crate::storage::pace::Watch;
use crate::storage::tests::{NOW_MS, numbers, open, options, overwrite, put, tree};
use crate::storage::{Batch, DataDirLock, Family, Reader, Store};

mod hostile;
mod stores;

struct Home {
    _dir: tempfile::TempDir,
    /// The epoch at which the store is born.
    born: i64,
    data: PathBuf,
    backups: PathBuf,
    reader: Reader,
}

impl Home {
    fn new() -> (Self, Store) {
        Self::born(NOW_MS)
    }

    fn born(at: i64) -> (Self, Store) {
        let dir = tempfile::tempdir().unwrap();
        let home = Self {
            data: dir.path().join("data"),
            backups: dir.path().join("backups"),
            reader: Reader::default(),
            _dir: dir,
            born: at,
        };
        let store = home.open();
        (home, store)
    }

    fn open(&self) -> Store {
        let lock = DataDirLock::take(&self.data).unwrap();
        let options = options(&self.data);
        Store::open(&lock, &options, &self.reader, Some(self.born)).unwrap()
    }

    fn back_up_with(&self, keep: Option<u32>, watch: Watch<'_>) -> Result<Made, BackupError> {
        let wanted = BackupOptions {
            dir: self.backups.clone(),
            keep,
            verify: true,
            another_store: false,
        };
        make(
            &self.reader,
            &options(&self.data),
            &wanted,
            NOW_MS + 5,
            watch,
        )
    }

    fn back_up(&self) -> Manifest {
        self.back_up_with(None, &mut |_| Ok(())).unwrap().manifest
    }

    fn restore_to(&self, data: &Path, replace: bool) -> Result<Restored, BackupError> {
        let wanted = Restore {
            dir: self.backups.clone(),
            backup: None,
            replace,
            another_store: false,
        };
        restore(data, &wanted, NOW_MS + 9, &mut |_| Ok(()))
    }

    fn elsewhere(&self) -> PathBuf {
        self.data.with_file_name("elsewhere")
    }
}

/// Every file below a directory.
fn everything(dir: &Path) -> Vec<PathBuf> {
    let all = tree(dir).into_iter();
    all.filter_map(|(path, file)| file.map(|_| path)).collect()
}

#[test]
fn a_backup_of_a_store_that_is_written_to_is_one_state_of_it() {
    let (home, mut store) = Home::new();
    for number in 0..50 {
        put(&mut store, number, 20_000);
    }
    let (committed, over) = (AtomicU32::new(50), AtomicBool::new(false));
    let (low, high) = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 50;
            while !over.load(Ordering::SeqCst) {
                put(&mut store, number, 20_000);
                number += 1;
                committed.store(number, Ordering::SeqCst);
            }
            drop(store);
        });
        let mut low = 0;
        for _ in 0..4 {
            low = committed.load(Ordering::SeqCst);
            home.back_up();
        }
        let high = committed.load(Ordering::SeqCst) + 1;
        over.store(true, Ordering::SeqCst);
        (low, high)
    });
    let restored = home.restore_to(&home.elsewhere(), false).unwrap();
    assert_eq!(restored.manifest.backup, 4);
    assert_eq!(restored.kept, None);
    let store = open(&home.elsewhere()).unwrap();
    let found = numbers(&store);
    let count = u32::try_from(found.len()).unwrap();
    assert_eq!(
        found,
        (0..count).collect::<Vec<_>>(),
        "groups are whole and in order"
    );
    assert!((low..=high).contains(&count), "{low} {count} {high}");
    assert_eq!(restored.manifest.rows["days"], u64::from(count));
    assert_eq!(store.epoch(), restored.epoch);
    assert_eq!(restored.epoch, (NOW_MS + 9) as u64);
}

#[test]
fn the_next_backup_writes_only_what_is_new() {
    let (home, mut store) = Home::new();
    let mut noise = Vec::new();
    for number in 0..20_000_u32 {
        noise.extend_from_slice(&xxh3_128(&number.to_be_bytes()).to_be_bytes());
    }
    let mut batch = Batch::new();
    batch.put(Family::Samples, b"noise", &noise);
    store.commit(&batch).unwrap();
    let first = home.back_up();
    put(&mut store, 100, 1000);
    let second = home.back_up();
    assert!(first.new_bytes == first.bytes(), "{first:?}");
    assert!(second.bytes() > first.bytes(), "{second:?}");
    assert!(second.new_bytes * 4 < second.bytes(), "{second:?}");
    drop(store);
    home.restore_to(&home.elsewhere(), false).unwrap();
    assert!(numbers(&open(&home.elsewhere()).unwrap()).contains(&100));
}

#[test]
fn a_flipped_byte_anywhere_is_found_and_nothing_is_changed() {
    let (home, mut store) = Home::new();
    for number in 0..20 {
        put(&mut store, number, 3000);
    }
    home.back_up();
    drop(store);
    let files = everything(&home.backups);
    assert!(files.len() > 4, "{files:?}");
    let before = tree(&home.data);
    for path in files {
        let bytes = fs::read(&path).unwrap();
        if bytes.is_empty() {
            continue;
        }
        let all = path.extension().is_some_and(|end| end == "json");
        let step = if all { 1 } else { bytes.len().div_ceil(7) };
        let places = (0..bytes.len()).step_by(step).chain([bytes.len() - 1]);
        for at in places {
            overwrite(&path, at as u64, &[bytes[at] ^ 0x10]);
            let error = home.restore_to(&home.data, true).unwrap_err();
            assert!(
                matches!(error, BackupError::Damaged { .. }),
                "{path:?} {at}: {error}"
            );
            assert!(error.to_string().contains("nothing was changed"), "{error}");
            overwrite(&path, at as u64, &bytes[at..=at]);
        }
        fs::rename(&path, path.with_extension("away")).unwrap();
        let error = home.restore_to(&home.data, true).unwrap_err();
        assert!(
            matches!(error, BackupError::Damaged { .. })
                || error.to_string().contains("holds no backup"),
            "{path:?}: {error}"
        );
        fs::rename(path.with_extension("away"), &path).unwrap();
    }
    assert!(
        tree(&home.data) == before,
        "a refused restore changed something"
    );
    home.restore_to(&home.data, true).unwrap();
}

#[test]
fn a_damaged_file_that_the_next_backup_shares_is_found_by_its_verification() {
    let (home, mut store) = Home::new();
    for number in 0..20 {
        put(&mut store, number, 30_000);
    }
    home.back_up();
    let tables = everything(&home.backups.join("files"));
    let table = tables
        .iter()
        .filter(|path| path.to_string_lossy().contains(".sst."))
        .max_by_key(|path| path.metadata().unwrap().len())
        .unwrap();
    overwrite(table, 1000, b"#");
    let error = home.back_up_with(None, &mut |_| Ok(())).unwrap_err();
    assert!(
        error.to_string().contains(table.to_str().unwrap()),
        "{error}"
    );
    fs::remove_file(table).unwrap();
    assert_eq!(home.back_up().backup, 2, "what failed is no backup");
    drop(store);
    home.restore_to(&home.elsewhere(), false).unwrap();
}

#[test]
fn a_backup_that_was_cut_off_leaves_none_and_no_remains() {
    let (home, mut store) = Home::new();
    for number in 0..30 {
        put(&mut store, number, 30_000);
    }
    home.back_up();
    let ids = || -> Vec<u32> {
        let listed = list(&home.backups).unwrap();
        listed.iter().map(|listed| listed.id).collect()
    };
    assert_eq!(ids(), [1]);
    put(&mut store, 500, 30_000);
    let steps = [
        "records read",
        "bytes backed up",
        "bytes verified",
        "records verified",
    ];
    for step in steps {
        let cut = home.back_up_with(Some(1), &mut |at| {
            let enough = io::Error::other("enough");
            if at.what == step { Err(enough) } else { Ok(()) }
        });
        assert!(matches!(cut, Err(BackupError::Ended(_))), "{step}: {cut:?}");
        assert_eq!(ids(), [1], "the old one stays, and there is no new one");
        assert!(!home.data.join("checkpoint").exists());
    }
    // As if killed in the middle: remains of every kind.
    fs::create_dir_all(home.backups.join("verify.tmp")).unwrap();
    fs::write(home.backups.join("files/000099.sst.tmp"), "x").unwrap();
    fs::create_dir(home.data.join("checkpoint.tmp")).unwrap();
    let made = home.back_up_with(Some(1), &mut |_| Ok(())).unwrap();
    assert_eq!((made.manifest.backup, made.removed), (2, vec![1]));
    assert_eq!(ids(), [2]);
    let wanted: Vec<_> = made
        .manifest
        .files
        .iter()
        .map(|file| file.pool_name())
        .collect();
    let there: Vec<_> = fs::read_dir(home.backups.join("files"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(there.len(), wanted.len(), "{there:?}");
    assert!(
        !home.backups.join("verify.tmp").exists() && !home.data.join("checkpoint.tmp").exists()
    );
    drop(store);
    fs::create_dir(home.data.join("checkpoint")).unwrap();
    drop(home.open());
    assert!(
        !home.data.join("checkpoint").exists(),
        "a start clears it away"
    );
}

#[test]
fn a_restored_store_is_of_a_greater_epoch_than_any_before() {
    let (home, mut store) = Home::new();
    put(&mut store, 1, 10);
    home.back_up();
    put(&mut store, 2, 10);
    drop(store);
    let refused = home.restore_to(&home.data, false).unwrap_err();
    assert!(
        refused.to_string().contains("there is a store in"),
        "{refused}"
    );
    assert!(numbers(&open(&home.data).unwrap()).contains(&2));
    let first = home.restore_to(&home.data, true).unwrap();
    assert_eq!(first.epoch, (NOW_MS + 9) as u64);
    // Two restores in one millisecond, and one with the clock set back.
    let second = home.restore_to(&home.data, true).unwrap();
    assert_eq!(second.epoch, first.epoch + 1);
    fs::remove_dir_all(home.data.join("store")).unwrap();
    let third = home.restore_to(&home.data, true).unwrap();
    assert_eq!((third.epoch, third.kept), (first.epoch + 2, None));
    let kept = [first.kept.unwrap(), second.kept.unwrap()];
    for kept in &kept {
        assert!(kept.join("ACKED").exists(), "{}", kept.display());
    }
    assert_eq!(numbers(&open(&home.data).unwrap()), [1]);
}

#[test]
fn a_backup_is_not_made_where_it_would_be_lost_nor_two_at_once() {
    let (home, _store) = Home::new();
    let mut inside = Vec::new();
    for dir in [
        home.data.join("backups"),
        home.data.clone(),
        home.data.join("../data/x/y"),
    ] {
        let wanted = BackupOptions {
            dir,
            keep: None,
            verify: true,
            another_store: false,
        };
        let made = make(
            &home.reader,
            &options(&home.data),
            &wanted,
            NOW_MS,
            &mut |_| Ok(()),
        );
        inside.push(
            made.is_err_and(|error| error.to_string().contains("lies in the data directory")),
        );
    }
    assert_eq!(inside, [true; 3]);
    assert!(!home.data.join("backups").exists());
    let (held, _) = pool::Pool::for_writing(&home.backups).unwrap();
    let second = home.back_up_with(None, &mut |_| Ok(()));
    let is_busy = |refused: String| refused.contains("another backup or restore is at work");
    assert!(is_busy(second.unwrap_err().to_string()));
    let restored = home.restore_to(&home.elsewhere(), false);
    assert!(is_busy(restored.unwrap_err().to_string()));
    drop(held);
    home.back_up();
}

#[test]
fn files_of_others_stay_where_backups_are_made() {
    let (home, mut store) = Home::new();
    put(&mut store, 1, 1000);
    let others = home.backups.join("files");
    fs::create_dir_all(&others).unwrap();
    for name in [
        "thesis.odt",
        "thesis.odt.tmp",
        "2026CURRENT.tmp",
        "notes",
        "a.0123",
    ] {
        fs::write(others.join(name), b"x").unwrap();
    }
    let spare = format!("000009.sst.{}", "0".repeat(32));
    fs::write(others.join(&spare), b"x").unwrap();
    home.back_up();
    for name in ["thesis.odt", "thesis.odt.tmp", "notes", "a.0123"] {
        assert!(others.join(name).exists(), "{name} is gone");
    }
    assert!(!others.join(&spare).exists(), "what no backup needs goes");
}
