//! Two stores and one directory of backups: neither deletes what is the other's, nor gets it unasked.

use super::*;
use crate::storage::backup::manifest::hex;
use crate::storage::backup::origin::StoreOrigin;
use crate::storage::lineage::Lineage;
use crate::storage::paths::Paths;

/// Two stores that back up to the same directory.
fn two() -> [(Home, Store); 2] {
    let (first, mut store) = Home::new();
    put(&mut store, 1, 1000);
    let (mut second, mut other) = Home::born(NOW_MS - 1);
    put(&mut other, 2, 1000);
    second.backups.clone_from(&first.backups);
    [(first, store), (second, other)]
}

fn wanted(home: &Home) -> BackupOptions {
    BackupOptions {
        dir: home.backups.clone(),
        keep: None,
        verify: false,
        another_store: false,
    }
}

fn make_as(home: &Home, wanted: &BackupOptions) -> Result<Made, BackupError> {
    let options = options(&home.data);
    make(&home.reader, &options, wanted, NOW_MS + 5, &mut |_| Ok(()))
}

fn restore_as(home: &Home, data: &Path, change: fn(&mut Restore)) -> Result<Restored, BackupError> {
    let mut wanted = Restore {
        dir: home.backups.clone(),
        backup: None,
        replace: true,
        another_store: false,
    };
    change(&mut wanted);
    restore(data, &wanted, NOW_MS + 9, &mut |_| Ok(()))
}

fn ids(home: &Home) -> Vec<u32> {
    let listed = list(&home.backups).unwrap();
    listed.iter().map(|listed| listed.id).collect()
}

/// The lineage of the store in a data directory, as the next opening finds it.
fn lineage_of(data: &Path) -> Lineage {
    let store = open(data).unwrap();
    store.tables().lineage().unwrap().unwrap()
}

#[test]
fn a_backup_beside_another_stores_is_refused_and_neither_counts_nor_deletes_it() {
    let [(first, _store), (second, _other)] = two();
    let theirs = first.back_up();
    let before = tree(&first.backups);
    let refused = make_as(&second, &wanted(&second)).unwrap_err();
    let text = refused.to_string();
    let id = |manifest: &Manifest| manifest.lineage.as_ref().unwrap().id.to_string();
    for part in [
        id(&theirs),
        "backup 1 of 2".to_owned(),
        format!("epoch {}", theirs.epoch),
        "--another-store".to_owned(),
    ] {
        assert!(text.contains(&part), "{part}: {text}");
    }
    assert!(
        tree(&first.backups) == before,
        "a refused backup left something"
    );
    let deliberately = BackupOptions {
        keep: Some(1),
        another_store: true,
        ..wanted(&second)
    };
    for (number, removed) in [(2, vec![]), (3, vec![2])] {
        let made = make_as(&second, &deliberately).unwrap();
        assert_eq!((made.manifest.backup, made.removed), (number, removed));
        assert!(text.contains(&id(&made.manifest)), "{text}");
    }
    // Nor does the first one, which kept its own.
    let refused = make_as(&first, &wanted(&first)).unwrap_err();
    assert!(
        refused.to_string().contains("is in use for another store"),
        "{refused}"
    );
    let deliberately = BackupOptions {
        dir: first.backups.clone(),
        ..deliberately
    };
    assert_eq!(make_as(&first, &deliberately).unwrap().removed, [1]);
    assert_eq!(ids(&first), [3, 4]);
    for (number, found) in [(3, 2), (4, 1)] {
        let to = first.data.with_file_name(format!("from-{number}"));
        let wanted = Restore {
            dir: first.backups.clone(),
            backup: Some(number),
            replace: false,
            another_store: false,
        };
        restore(&to, &wanted, NOW_MS, &mut |_| Ok(())).unwrap();
        assert_eq!(numbers(&open(&to).unwrap()), [found]);
    }
}

#[test]
fn a_restore_of_another_stores_backup_is_refused_until_it_is_meant() {
    let [(first, store), (second, other)] = two();
    first.back_up();
    let epoch_before = other.epoch();
    drop((store, other));
    let before = everything(&second.data);
    let refused = restore_as(&second, &second.data, |_| ()).unwrap_err();
    assert_eq!(
        everything(&second.data),
        before,
        "a refused restore left something"
    );
    let text = refused.to_string();
    assert!(
        text.contains("there is no backup of this store here"),
        "{text}"
    );
    assert!(
        text.contains(&lineage_of(&second.data).id.to_string()),
        "{text}"
    );
    assert!(
        text.contains(&lineage_of(&first.data).id.to_string()),
        "{text}"
    );
    assert!(text.contains("--another-store"), "{text}");
    assert_eq!(numbers(&open(&second.data).unwrap()), [2]);
    let restored = restore_as(&second, &second.data, |wanted| wanted.another_store = true).unwrap();
    assert!(restored.epoch > epoch_before);
    let lineage = lineage_of(&second.data);
    assert_eq!(lineage.id, lineage_of(&first.data).id);
    assert!(
        !lineage.has(epoch_before),
        "the store that went was another: its copies are not this one's"
    );
    assert_eq!(numbers(&open(&second.data).unwrap()), [1]);
}

#[test]
fn where_no_store_is_left_somebody_says_whose_backup_is_meant() {
    let [(first, _store), (second, _other)] = two();
    first.back_up();
    let to = first.elsewhere();
    restore_as(&first, &to, |_| ()).unwrap();
    fs::remove_dir_all(&to).unwrap();
    let deliberately = BackupOptions {
        another_store: true,
        ..wanted(&second)
    };
    make_as(&second, &deliberately).unwrap();
    let refused = restore_as(&first, &to, |_| ()).unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("several stores"), "{text}");
    assert!(
        text.contains("backup 1 of") && text.contains("backup 2 of"),
        "{text}"
    );
    assert!(!to.join("store").exists());
    restore_as(&first, &to, |wanted| wanted.backup = Some(1)).unwrap();
    assert_eq!(numbers(&open(&to).unwrap()), [1]);
    // With that store there, the newest backup is known not to be its.
    let text = restore_as(&first, &to, |_| ()).unwrap_err().to_string();
    assert!(text.contains("--backup 1"), "{text}");
}

#[test]
fn a_store_that_cannot_be_read_is_known_by_its_epoch() {
    let [(first, store), (second, other)] = two();
    first.back_up();
    drop((store, other));
    for home in [&first, &second] {
        fs::remove_file(home.data.join("store/db/CURRENT")).unwrap();
    }
    let refused = restore_as(&second, &second.data, |_| ()).unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("the store that is there is"), "{text}");
    restore_as(&first, &first.data, |_| ()).unwrap();
    assert_eq!(numbers(&open(&first.data).unwrap()), [1]);
    // Of a store of which nothing can be read nothing is known; it is kept all the same.
    fs::remove_file(second.data.join("store/ACKED")).unwrap();
    let restored = restore_as(&second, &second.data, |_| ()).unwrap();
    assert!(restored.kept.unwrap().join("db").exists());
}

/// Makes a backup look as one of layout 1, which said nothing of its store.
fn make_older(home: &Home, id: u32) {
    let path = home.backups.join(format!("backup-{id}.json"));
    let manifest = Manifest::decode(&fs::read(&path).unwrap(), &path).unwrap();
    let mut value = serde_json::to_value(&manifest).unwrap();
    let fields = value.as_object_mut().unwrap();
    fields.remove("lineage");
    fields.insert("layout".to_owned(), 1.into());
    let text = serde_json::to_string_pretty(&value).unwrap();
    let body = text.strip_suffix("\n}").unwrap();
    let hash = hex(xxh3_128(body.as_bytes()));
    fs::write(path, format!("{body},\n  \"xxh3_128\": \"{hash}\"\n}}\n")).unwrap();
}

#[test]
fn a_backup_without_a_lineage_belongs_to_the_store_that_had_its_epoch() {
    let [(first, store), (second, _other)] = two();
    first.back_up();
    make_older(&first, 1);
    let refused = make_as(&second, &wanted(&second)).unwrap_err();
    assert!(
        refused.to_string().contains("its id is not known"),
        "{refused}"
    );
    drop(store);
    let born = lineage_of(&first.data);
    let restored = restore_as(&first, &first.data, |_| ()).unwrap();
    let lineage = lineage_of(&first.data);
    assert_eq!(lineage.id, born.id);
    assert_eq!(lineage.epochs, [born.epochs[0], restored.epoch]);
    let _store = first.open();
    let made = first.back_up_with(Some(1), &mut |_| Ok(())).unwrap();
    assert_eq!((made.manifest.backup, made.removed), (2, vec![1]));
}

#[test]
fn an_old_backup_of_a_store_that_has_an_id_by_now_keeps_that_id() {
    let (home, mut store) = Home::new();
    put(&mut store, 1, 10);
    home.back_up();
    let born = store.tables().lineage().unwrap().unwrap();
    make_older(&home, 1);
    // Nothing else is there that knows the id: it is that of the tables in the backup.
    let elsewhere = home.data.with_file_name("elsewhere");
    let restored = restore_as(&home, &elsewhere, |_| ()).unwrap();
    let lineage = lineage_of(&elsewhere);
    assert_eq!(lineage.id, born.id);
    assert_eq!(lineage.epochs, [born.epochs[0], restored.epoch]);
}

#[test]
fn an_old_backup_is_of_the_store_that_had_its_epoch() {
    let (home, mut store) = Home::new();
    put(&mut store, 1, 10);
    home.back_up();
    // As an earlier version left them: neither the store nor its backup has an id.
    let epoch = store.epoch();
    drop(store);
    let paths = Paths::new(&home.data);
    let later = Lineage::of_older(&paths, epoch + 7);
    let origin = StoreOrigin::from(Lineage::with_id(later.id, [epoch, epoch + 7]));
    make_older(&home, 1);
    let older = list(&home.backups).unwrap().remove(0).manifest.unwrap();
    assert!(origin.is(&StoreOrigin::of(&older)) && StoreOrigin::of(&older).is(&origin));
    assert!(!StoreOrigin::from(later).is(&StoreOrigin::of(&older)));
}

#[test]
fn a_strange_number_makes_no_backup_overwrite_another() {
    let (home, mut store) = Home::new();
    put(&mut store, 1, 10);
    fs::create_dir_all(&home.backups).unwrap();
    let stray = home.backups.join("backup-4294967295.json");
    fs::write(&stray, "mine").unwrap();
    fs::write(home.backups.join("backup-2.json"), "{}").unwrap();
    let made: Vec<u32> = (0..3).map(|_| home.back_up().backup).collect();
    assert_eq!(made, [1, 3, 4]);
    assert_eq!(fs::read(&stray).unwrap(), b"mine");
    // One that has the last number and is whole leaves none.
    let last = home.back_up().backup;
    let from = home.backups.join(format!("backup-{last}.json"));
    let manifest = Manifest::decode(&fs::read(&from).unwrap(), &from).unwrap();
    let manifest = Manifest {
        backup: u32::MAX,
        ..manifest
    };
    fs::write(&stray, manifest.encode().unwrap()).unwrap();
    let refused = home.back_up_with(None, &mut |_| Ok(())).unwrap_err();
    assert!(
        refused.to_string().starts_with("no number is left"),
        "{refused}"
    );
    assert!(
        refused.to_string().contains(stray.to_str().unwrap()),
        "{refused}"
    );
    // Only the names that we write are ours.
    fs::remove_file(&stray).unwrap();
    fs::write(home.backups.join("backup-007.json"), "{}").unwrap();
    assert_eq!(home.back_up().backup, last + 1);
    // A backup that this version cannot read is a backup all the same.
    let newer = Manifest {
        layout: 99,
        backup: 50,
        ..Manifest::decode(&fs::read(&from).unwrap(), &from).unwrap()
    };
    fs::write(home.backups.join("backup-50.json"), newer.encode().unwrap()).unwrap();
    assert_eq!(home.back_up().backup, 51);
}

#[test]
fn a_directory_that_is_for_something_else_stays_as_it_is() {
    let (home, _store) = Home::new();
    fs::create_dir_all(&home.backups).unwrap();
    for name in ["bin", "etc", "home", "thesis.odt"] {
        fs::write(home.backups.join(name), "x").unwrap();
    }
    let before = tree(&home.backups);
    let refused = home.back_up_with(None, &mut |_| Ok(())).unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("bin, etc, home and 1 more"), "{text}");
    assert!(
        tree(&home.backups) == before,
        "a refused backup left something"
    );
    for name in ["bin", "etc", "home", "thesis.odt"] {
        fs::remove_file(home.backups.join(name)).unwrap();
    }
    // A disk of its own, and what a backup left that was cut off.
    fs::create_dir(home.backups.join("lost+found")).unwrap();
    fs::create_dir(home.backups.join("verify.tmp")).unwrap();
    fs::write(home.backups.join("backup-1.json.tmp"), "{").unwrap();
    home.back_up();
    // From then on it is a directory of backups, whatever else is put there.
    fs::write(home.backups.join("README"), "x").unwrap();
    assert_eq!(home.back_up().backup, 2);
}
