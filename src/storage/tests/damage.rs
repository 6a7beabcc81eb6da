//! What would lose acknowledged writes is refused, in words that name the file, with nothing
//! changed on disk.

use super::*;
use crate::storage::acked::{self, Acked, Mark};
use crate::storage::files;

const GROUPS: u32 = 12;

/// A store that was killed, with its logs.
pub struct Killed {
    pub dir: TempDir,
    /// The live logs, oldest first.
    pub logs: Vec<PathBuf>,
    /// How long the newest log was after each commit to it.
    pub ends: Vec<u64>,
}

impl Killed {
    pub fn image(&self) -> TempDir {
        crashed(self.dir.path())
    }

    pub fn log(&self, at: usize, image: &TempDir) -> PathBuf {
        db_dir(image.path()).join(self.logs[at].file_name().unwrap())
    }
}

/// Killed with one live log. With `ticked`, sizes were recorded after the last commit.
pub fn one_log(ticked: bool) -> Killed {
    let (dir, mut store) = new_store();
    let mut ends = Vec::new();
    for number in 0..GROUPS {
        put(&mut store, number, 500);
        ends.push(files::live(&db_dir(dir.path())).unwrap().wal.size);
    }
    if ticked {
        store.tick().unwrap();
    }
    killed(dir, store, ends)
}

/// Killed with two live logs, the flush between them not done.
pub fn two_logs() -> Killed {
    let (dir, mut store) = new_store();
    store.tables().db.cancel_all_background_work(true);
    let mut ends = Vec::new();
    for number in 0..GROUPS {
        put(
            &mut store,
            number,
            if number < 5 { MIB as usize } else { 500 },
        );
        ends.push(files::live(&db_dir(dir.path())).unwrap().wal.size);
    }
    ends.drain(..5);
    let killed = killed(dir, store, ends);
    assert_eq!(killed.logs.len(), 2, "the flush did not happen");
    killed
}

fn killed(dir: TempDir, store: Store, ends: Vec<u64>) -> Killed {
    let image = crashed(dir.path());
    drop(store);
    let logs = files::wals(&db_dir(image.path())).unwrap();
    let logs = logs
        .iter()
        .map(|log| files::wal_path(&db_dir(image.path()), log.number))
        .collect();
    let killed = Killed {
        dir: image,
        logs,
        ends,
    };
    let sound = killed.image();
    assert_eq!(
        numbers(&open(sound.path()).unwrap()),
        (0..GROUPS).collect::<Vec<_>>()
    );
    killed
}

/// Does something to a file.
type Damage = Box<dyn Fn(&Path)>;

/// Ways of damaging a log below what was acknowledged; `end` is where a record in it ends.
pub fn damages(end: u64) -> Vec<(&'static str, Damage)> {
    vec![
        ("removed", Box::new(|log| fs::remove_file(log).unwrap())),
        ("emptied", Box::new(|log| cut(log, 0))),
        (
            "cut at a record boundary",
            Box::new(move |log| cut(log, end)),
        ),
        ("cut in a record", Box::new(move |log| cut(log, end + 11))),
        ("cut by a byte", Box::new(|log| cut(log, length(log) - 1))),
        (
            "zero-tailed at a boundary",
            Box::new(move |log| zero_from(log, end)),
        ),
        (
            "zero-tailed in a record",
            Box::new(move |log| zero_from(log, end + 11)),
        ),
        ("zeroed", Box::new(|log| zero_from(log, 0))),
        (
            "flipped in a record",
            Box::new(move |log| flip(log, end + 40)),
        ),
        (
            "flipped in a record's head",
            Box::new(move |log| flip(log, end + 2)),
        ),
        ("flipped at the start", Box::new(|log| flip(log, 9))),
    ]
}

fn zero_from(log: &Path, at: u64) {
    overwrite(log, at, &vec![0; (length(log) - at) as usize]);
}

fn flip(log: &Path, at: u64) {
    let mut bytes = fs::read(log).unwrap();
    bytes[at as usize] ^= 0x10;
    fs::write(log, bytes).unwrap();
}

#[test]
fn a_damaged_log_below_what_was_acknowledged_is_refused() {
    for ticked in [false, true] {
        let killed = one_log(ticked);
        for (what, damage) in damages(killed.ends[5]) {
            let image = killed.image();
            damage(&killed.log(0, &image));
            let text = refused(image.path());
            println!("ticked {ticked}, {what}: {text}");
            assert!(text.contains("000012.log"), "names the file: {text}");
            assert!(text.contains("counterd recover"), "{text}");
        }
    }
}

#[test]
fn a_damaged_newer_log_is_refused() {
    let killed = two_logs();
    for (what, damage) in damages(killed.ends[3]) {
        let image = killed.image();
        damage(&killed.log(1, &image));
        let text = refused(image.path());
        println!("{what}: {text}");
        assert!(text.contains("counterd recover"), "{text}");
    }
}

#[test]
fn a_damaged_older_log_is_refused_though_the_newer_is_whole() {
    let killed = two_logs();
    let one_record = MIB + 130;
    for (what, damage) in damages(3 * one_record) {
        let image = killed.image();
        damage(&killed.log(0, &image));
        let text = refused(image.path());
        println!("{what}: {text}");
        assert!(text.contains("000012.log"), "names the file: {text}");
        assert!(text.contains("counterd recover"), "{text}");
    }
}

#[test]
pub fn two_logs_emptied_or_removed_are_refused() {
    let killed = two_logs();
    for damage in [
        |log: &Path| cut(log, 0),
        |log: &Path| fs::remove_file(log).unwrap(),
    ] {
        let image = killed.image();
        damage(&killed.log(0, &image));
        damage(&killed.log(1, &image));
        let text = refused(image.path());
        println!("{text}");
        assert!(text.contains("000012.log"), "names the file: {text}");
    }
}

#[test]
fn a_torn_tail_above_what_was_acknowledged_opens_without_a_flag() {
    let (dir, mut store) = new_store();
    for number in 0..GROUPS {
        put(&mut store, number, 500);
    }
    store.tick().unwrap();
    let acked = fs::read(dir.path().join("store/ACKED")).unwrap();
    let end = files::live(&db_dir(dir.path())).unwrap().wal.size;
    // One group of 400 KB: a dozen blocks of the log.
    put(&mut store, GROUPS, 400_000);
    let image = crashed(dir.path());
    fs::write(image.path().join("store/ACKED"), acked).unwrap();
    let log = files::live(&db_dir(image.path())).unwrap().wal;
    let bytes = log.size - end;
    let path = |image: &TempDir| files::wal_path(&db_dir(image.path()), log.number);
    let mut torn: Vec<Damage> = Vec::new();
    for part in 1..20 {
        let at = end + bytes * part / 20;
        torn.push(Box::new(move |log| cut(log, at)));
        torn.push(Box::new(move |log| zero_from(log, at)));
        torn.push(Box::new(move |log| overwrite(log, at, &[0; 4096])));
    }
    torn.push(Box::new(move |log| cut(log, end + 1)));
    torn.push(Box::new(move |log| flip(log, end + 1)));
    for tear in torn {
        let image = crashed(image.path());
        tear(&path(&image));
        assert_eq!(
            numbers(&open(image.path()).unwrap()),
            (0..GROUPS).collect::<Vec<_>>()
        );
    }
    // What is whole was not acknowledged, yet may stay.
    assert_eq!(
        numbers(&open(image.path()).unwrap()),
        (0..=GROUPS).collect::<Vec<_>>()
    );
}

#[test]
fn a_missing_or_short_table_is_refused() {
    let (dir, mut store) = new_store();
    for number in 0..GROUPS {
        put(&mut store, number, 500);
    }
    store.flush().unwrap();
    put(&mut store, GROUPS, 500);
    let tables: Vec<_> = tree(&db_dir(dir.path()))
        .into_keys()
        .filter(|path| path.extension().is_some_and(|extension| extension == "sst"))
        .map(|path| path.file_name().unwrap().to_owned())
        .collect();
    assert!(tables.len() >= 3, "{tables:?}");
    for table in &tables {
        for damage in [
            |path: &Path| fs::remove_file(path).unwrap(),
            |path: &Path| cut(path, 100),
        ] {
            let image = crashed(dir.path());
            damage(&db_dir(image.path()).join(table));
            let text = refused(image.path());
            println!("{text}");
            assert!(
                text.contains(table.to_str().unwrap()),
                "names the file: {text}"
            );
            assert!(
                !text.contains("counterd recover"),
                "recovery cannot help: {text}"
            );
        }
    }
}

#[test]
fn a_manifest_that_is_gone_or_rolled_back_is_refused() {
    let (dir, mut store) = new_store();
    put(&mut store, 0, 500);
    let earlier = crashed(dir.path());
    store.close().unwrap();
    let mut store = open(dir.path()).unwrap();
    put(&mut store, 1, 500);
    store.flush().unwrap();
    store.tick().unwrap();
    put(&mut store, 2, 500);
    let earlier_manifest = files::current_manifest(&db_dir(earlier.path()))
        .unwrap()
        .unwrap();
    let manifest = files::current_manifest(&db_dir(dir.path()))
        .unwrap()
        .unwrap();
    assert!(earlier_manifest < manifest);
    let name = format!("MANIFEST-{manifest:06}");

    let rolled_back = |image: &Path| {
        for file in [
            "CURRENT".to_owned(),
            format!("MANIFEST-{earlier_manifest:06}"),
        ] {
            let from = db_dir(earlier.path()).join(&file);
            fs::copy(from, db_dir(image).join(&file)).unwrap();
        }
    };
    type Damage<'a> = Box<dyn Fn(&Path) + 'a>;
    let damages: Vec<(&str, Damage)> = vec![
        (
            "CURRENT",
            Box::new(|image| fs::remove_file(db_dir(image).join("CURRENT")).unwrap()),
        ),
        (
            "CURRENT",
            Box::new(|image| cut(&db_dir(image).join("CURRENT"), 0)),
        ),
        (
            "CURRENT",
            Box::new(|image| fs::write(db_dir(image).join("CURRENT"), "x").unwrap()),
        ),
        (
            &name,
            Box::new(|image| fs::remove_file(db_dir(image).join(&name)).unwrap()),
        ),
        (
            &name,
            Box::new(|image| cut(&db_dir(image).join(&name), 700)),
        ),
        (&name, Box::new(|image| cut(&db_dir(image).join(&name), 0))),
        ("MANIFEST-", Box::new(rolled_back)),
        (
            "CURRENT",
            Box::new(|image| {
                fs::remove_dir_all(db_dir(image)).unwrap();
                fs::create_dir(db_dir(image)).unwrap();
            }),
        ),
    ];
    for (file, damage) in damages {
        let image = crashed(dir.path());
        damage(image.path());
        let text = refused(image.path());
        println!("{text}");
        assert!(text.contains(file), "names the file: {text}");
    }
}

#[test]
fn acked_that_is_missing_or_damaged_is_refused_and_one_slot_is_enough() {
    let killed = one_log(true);
    let acked = |image: &TempDir| image.path().join("store/ACKED");
    let damages: [fn(&Path); 4] = [
        |path| fs::remove_file(path).unwrap(),
        |path| cut(path, 0),
        |path| overwrite(path, 0, &[7; 8192]),
        |path| {
            flip(path, 20);
            flip(path, 4096 + 20);
        },
    ];
    for damage in damages {
        let image = killed.image();
        damage(&acked(&image));
        let text = refused(image.path());
        println!("{text}");
        assert!(
            text.contains("ACKED") && text.contains("counterd recover"),
            "{text}"
        );
    }
    for slot in [0, 4096] {
        let image = killed.image();
        flip(&acked(&image), slot + 20);
        assert_eq!(
            numbers(&open(image.path()).unwrap()),
            (0..GROUPS).collect::<Vec<_>>()
        );
    }
}

#[test]
fn an_unknown_version_or_another_epoch_is_refused() {
    let killed = one_log(true);
    let rewrite = |change: fn(Mark) -> Mark| {
        let image = killed.image();
        let path = image.path().join("store/ACKED");
        let mark = acked::read(&path).unwrap().unwrap();
        let mut acked = Acked::resume(&path, mark).unwrap();
        acked.write(change(mark)).unwrap();
        image
    };
    for (what, image) in [
        (
            "format version 7",
            rewrite(|mark| Mark { format: 7, ..mark }),
        ),
        (
            "merge operator version 9",
            rewrite(|mark| Mark { merge: 9, ..mark }),
        ),
    ] {
        let before = tree(image.path());
        let error = open(image.path()).err().expect("it opened");
        assert_eq!(tree(image.path()), before);
        assert_eq!(error.cause, OpenCause::Unsupported);
        let text = error.to_string();
        println!("{text}");
        assert!(text.contains(what) && text.contains("ACKED"), "{text}");
    }
    let image = rewrite(|mark| Mark {
        epoch: mark.epoch + 1,
        ..mark
    });
    let text = refused(image.path());
    println!("{text}");
    assert!(text.contains("epoch"), "{text}");
}
