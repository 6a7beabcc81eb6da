//! `counterd recover`: past a damaged log, at the last consistent point, as a new epoch; what
//! cannot be recovered is left as it was.

use super::damage::{damages, one_log, two_logs};
use super::*;
use crate::calendar::Day;
use crate::storage::files;
use crate::storage::recover::{RecoverError, RecoverReport, recover};
use crate::storage::value::StoreState;

fn run(data_dir: &Path) -> Result<RecoverReport, RecoverError> {
    let lock = DataDirLock::take(data_dir).unwrap();
    recover(&lock, &options(data_dir), NOW_MS, false)
}

/// Claims that the store was recovered as a new epoch, opens by the ordinary way and takes writes;
/// gives the report and the numbers it holds.
fn recovered(data_dir: &Path) -> (RecoverReport, Vec<u32>) {
    let damaged = tree(&data_dir.join("store"));
    let report = run(data_dir).unwrap();
    println!("{report}\n");
    assert_eq!(
        tree(&report.kept).len(),
        damaged.len(),
        "the damaged store is kept"
    );
    let mut store = open(data_dir).unwrap();
    assert_eq!(store.epoch(), report.epoch);
    assert!(Some(report.epoch) > report.old_epoch);
    let found = numbers(&store);
    let kept = report.after.keys.get(&Family::Definitions).copied();
    assert_eq!(kept.unwrap_or(0), found.len() as u64);
    put(&mut store, 1000, 10);
    let image = crashed(data_dir);
    drop(store);
    assert!(numbers(&open(image.path()).unwrap()).contains(&1000));
    (report, found)
}

#[test]
fn a_damaged_log_is_given_up_from_its_damage_on() {
    let killed = one_log(true);
    for (what, damage) in damages(killed.ends[5]) {
        let image = killed.image();
        damage(&killed.log(0, &image));
        println!("{what}:");
        let (report, found) = recovered(image.path());
        let expected = match what {
            "removed" | "emptied" | "zeroed" | "flipped at the start" => 0,
            "cut by a byte" => 11,
            _ => 6,
        };
        assert_eq!(found, (0..expected).collect::<Vec<_>>(), "{what}");
        assert_eq!(
            report.given_up(),
            Some(2 * (12 - u64::from(expected))),
            "{what}"
        );
        assert!(!report.left_out);
    }
}

#[test]
fn a_damaged_older_log_gives_up_the_newer_too() {
    let killed = two_logs();
    for (what, damage) in damages(3 * (MIB + 130)) {
        let image = killed.image();
        damage(&killed.log(0, &image));
        println!("{what}:");
        let (report, found) = recovered(image.path());
        assert_eq!(
            found,
            (0..found.len() as u32).collect::<Vec<_>>(),
            "{what}: one point in time"
        );
        assert_eq!(
            report.given_up(),
            Some(2 * (12 - found.len() as u64)),
            "{what}"
        );
    }
}

#[test]
fn a_missing_or_damaged_acked_gives_up_nothing_that_is_there() {
    let killed = one_log(true);
    let damages: [fn(&Path); 2] = [
        |path| fs::remove_file(path).unwrap(),
        |path| overwrite(path, 0, &[7; 8192]),
    ];
    for damage in damages {
        let image = killed.image();
        damage(&image.path().join("store/ACKED"));
        let (report, found) = recovered(image.path());
        assert_eq!(found, (0..12).collect::<Vec<_>>());
        assert_eq!((report.acknowledged, report.given_up()), (None, None));
        assert_eq!(report.before.unwrap().keys, report.after.keys);
        assert_eq!(
            report.epoch,
            NOW_MS as u64 + 1,
            "the clock did not move on, the epoch does"
        );
    }
}

#[test]
fn tables_past_the_damage_make_it_leave_out_records() {
    let (dir, mut store) = new_store();
    for number in 0..6 {
        put(&mut store, number, 100);
    }
    let tables = store.tables();
    tables
        .db
        .flush_cf(tables.handle(Family::Days).unwrap())
        .unwrap();
    put(&mut store, 6, 100);
    let image = crashed(dir.path());
    let old = files::wals(&db_dir(image.path())).unwrap()[0];
    let log = files::wal_path(&db_dir(image.path()), old.number);
    overwrite(&log, old.size / 2, &[0xff; 64]);
    println!("{}", refused(image.path()));
    let report = run(image.path()).unwrap();
    println!("{report}");
    assert!(report.left_out);
    assert_eq!(report.given_up(), None);
    let store = open(image.path()).unwrap();
    let has = |number: u32| {
        store
            .tables()
            .get(Family::Definitions, &number.to_be_bytes())
            .unwrap()
            .is_some()
    };
    assert!(
        has(0) && has(6) && !(has(2) && has(3)),
        "what is whole is kept"
    );
}

#[test]
fn the_new_epoch_starts_above_every_revision_and_generation() {
    let (dir, mut store) = new_store();
    let day = Day::from_days(20_781).unwrap();
    let state = StoreState {
        revision: 40,
        highest_day: day,
        store_time: 7,
        wall_ms: 8,
    };
    let mut batch = Batch::new();
    let mut key = Vec::new();
    keys::dedup_into(&mut key, day.days() + 1, 55, b"user");
    batch.put(Family::Dedup, &key, b"");
    batch.put(Family::Meta, StoreState::KEY, &state.encode());
    store.commit(&batch).unwrap();
    let image = crashed(dir.path());
    fs::remove_file(image.path().join("store/ACKED")).unwrap();
    let report = run(image.path()).unwrap();
    assert_eq!(report.after.revision, 55);
    let store = open(image.path()).unwrap();
    let stored = store
        .tables()
        .get(Family::Meta, StoreState::KEY)
        .unwrap()
        .unwrap();
    assert_eq!(
        StoreState::decode(&stored),
        Ok(StoreState {
            revision: 55,
            ..state
        })
    );
}

#[test]
fn a_sound_store_is_left_alone_unless_told() {
    let killed = one_log(false);
    let image = killed.image();
    let before = tree(image.path());
    let error = run(image.path()).unwrap_err();
    assert!(error.to_string().contains("is sound"), "{error}");
    assert_eq!(tree(image.path()), before);
    let lock = DataDirLock::take(image.path()).unwrap();
    let report = recover(&lock, &options(image.path()), NOW_MS + 5, true).unwrap();
    assert_eq!((report.refusal, report.epoch), (None, NOW_MS as u64 + 5));
}

#[test]
fn a_missing_table_or_manifest_is_not_recovered_and_nothing_changes() {
    let (dir, mut store) = new_store();
    for number in 0..12 {
        put(&mut store, number, 500);
    }
    store.flush().unwrap();
    put(&mut store, 12, 500);
    let names: Vec<_> = tree(&db_dir(dir.path()))
        .into_keys()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .filter(|name| name.ends_with(".sst") || name.starts_with("MANIFEST") || name == "CURRENT")
        .collect();
    assert!(names.len() >= 5, "{names:?}");
    for name in names {
        let image = crashed(dir.path());
        fs::remove_file(db_dir(image.path()).join(&name)).unwrap();
        let before = tree(image.path());
        let error = run(image.path()).unwrap_err();
        println!("{name}: {error}");
        assert!(
            error.to_string().contains("damaged beyond its log"),
            "{name}: {error}"
        );
        assert!(error.to_string().contains("restore a backup"));
        assert_eq!(tree(image.path()), before, "{name}");
    }
}

#[test]
fn a_directory_without_a_store_but_with_remains_does_not_start_empty() {
    let killed = one_log(false);
    let image = killed.image();
    fs::rename(
        image.path().join("store"),
        image.path().join("store.before-5"),
    )
    .unwrap();
    let text = refused(image.path());
    println!("{text}");
    assert!(text.contains("store.before-5"), "{text}");
    let error = run(image.path()).unwrap_err();
    assert!(
        error.to_string().contains("there is no store in"),
        "{error}"
    );
}
