//! One rotten byte in a table: what lies outside its block is served, writes go on, and the table is named.

use super::*;

const RECORDS: u32 = 2000;

/// What a test does with a store: its directory, the handle, the reader that outlives it.
struct Bench {
    dir: TempDir,
    store: Option<Store>,
    reader: Reader,
}

fn key(number: u32) -> Vec<u8> {
    [&number.to_be_bytes()[..], b"key"].concat()
}

/// Bytes that do not compress, other ones for each number.
fn noise(number: u32) -> Vec<u8> {
    let hashes = (0..13).map(|at| xxh3_128(&[number, at].map(u32::to_be_bytes).concat()));
    hashes.flat_map(u128::to_be_bytes).collect()
}

/// A closed store with one table of `family` that holds the records, a byte in the middle of it flipped.
/// Gives the table's file.
fn rotten(family: Family) -> (TempDir, PathBuf) {
    let (dir, file) = sound(family);
    flip(&file, length(&file) / 2);
    (dir, file)
}

/// The same with nothing flipped.
fn sound(family: Family) -> (TempDir, PathBuf) {
    let (dir, mut store) = new_store();
    for numbers in (0..RECORDS).collect::<Vec<_>>().chunks(500) {
        let mut batch = Batch::new();
        for &number in numbers {
            batch.put(family, &key(number), &noise(number));
            if family == Family::Counters {
                // The names by which values are looked for.
                batch.put(Family::Definitions, &key(number), &[]);
            }
        }
        store.commit(&batch).unwrap();
    }
    store.flush().unwrap();
    let live = store.tables().db.live_files().unwrap();
    let table = live
        .iter()
        .filter(|live| live.column_family_name == family.as_str())
        .max_by_key(|live| live.num_entries)
        .unwrap();
    let file = db_dir(dir.path()).join(table.name.trim_start_matches('/'));
    store.close().unwrap();
    (dir, file)
}

fn flip(file: &Path, at: u64) {
    let mut byte = [0];
    fs::File::open(file)
        .unwrap()
        .read_exact_at(&mut byte, at)
        .unwrap();
    overwrite(file, at, &[byte[0] ^ 1]);
}

impl Bench {
    fn open(dir: TempDir) -> Result<Self, OpenError> {
        let reader = Reader::default();
        let lock = DataDirLock::take(dir.path())?;
        let store = Store::open(&lock, &options(dir.path()), &reader, Some(NOW_MS))?;
        Ok(Self {
            dir,
            store: Some(store),
            reader,
        })
    }

    fn store(&mut self) -> &mut Store {
        self.store.as_mut().unwrap()
    }

    /// As the writer does after a failure.
    fn reopen(&mut self) {
        let store = self.store.take().unwrap();
        let expectation = Expectation {
            published_sequence: store.sequence(),
            unknown_count: None,
            epoch: store.epoch(),
        };
        drop(store);
        let lock = DataDirLock::take(self.dir.path()).unwrap();
        let options = options(self.dir.path());
        let (store, landed) = Store::reopen(&lock, &options, &self.reader, &expectation).unwrap();
        assert_eq!(landed, Landed::Absent);
        self.store = Some(store);
    }

    /// Writes and flushes so often that RocksDB wants to compact the family; gives the failure that it
    /// then meets, if it does.
    fn bring_on_a_compaction(&mut self, family: Family) -> Result<(), CommitError> {
        for round in 0..6 {
            let mut batch = Batch::new();
            for number in (0..RECORDS).step_by(100) {
                batch.put(family, &key(number), &noise(number + round));
            }
            self.store().commit(&batch)?;
            self.store().flush()?;
        }
        // What it gives is told by the tick too.
        let waiting = rocksdb::WaitForCompactOptions::default();
        let _ = self.store().tables().db.wait_for_compact(&waiting);
        self.store().tick().map(|_| ())
    }
}

/// Claims that the table is known, and gives what is told of it.
fn told(reader: &Reader, family: Family, file: &Path) -> String {
    let tables = reader.rot.tables();
    let [table] = &tables[..] else {
        panic!("{tables:?}")
    };
    assert_eq!(table.family, family);
    assert_eq!(file.file_name().unwrap().to_str().unwrap(), table.file);
    table.to_string()
}

#[test]
fn all_but_the_block_is_read_in_every_family_and_the_table_is_named() {
    for family in Family::ALL {
        let (dir, file) = rotten(family);
        // A start that cannot do without the block is refused; there the block is read as by `recover`.
        let reader = Reader::default();
        let schema = schema::Schema::new(MIB, MIB, &reader);
        let tables = Tables::open(&db_dir(dir.path()), &schema, schema::DbAccess::Read).unwrap();
        let before = tree(dir.path());
        let mut found = Vec::new();
        let gaps = tables
            .scan_past_rot(family, &[], None, |key, _| {
                found.push(key.to_vec());
                ControlFlow::Continue(())
            })
            .unwrap();
        let [gap] = &gaps[..] else { panic!("{gaps:?}") };
        let lost: Vec<u32> = (0..RECORDS)
            .filter(|&number| !found.contains(&key(number)))
            .collect();
        // A block has 4 KiB, or 16 KiB in history, and a record about 220 bytes.
        assert!((1..100).contains(&lost.len()), "{family:?}: {lost:?}");
        assert!(lost.iter().all(|&number| gap.holds(&key(number))));
        assert!(!found.iter().any(|key| gap.holds(key)));
        let said = told(&reader, family, &file);
        assert!(
            said.contains(family.as_str()) && said.contains("checksum"),
            "{said}"
        );
        drop(tables);
        assert_eq!(tree(dir.path()), before, "reading changes nothing");
    }
}

#[test]
fn a_compaction_that_meets_it_stops_writes_once_and_never_again() {
    for family in Family::ALL {
        if matches!(
            family,
            Family::Meta | Family::Definitions | Family::Counters
        ) {
            continue;
        }
        let (dir, file) = rotten(family);
        let mut bench = Bench::open(dir).unwrap();
        let error = bench.bring_on_a_compaction(family).unwrap_err().to_string();
        println!("{family:?}: {error}");
        told(&bench.reader, family, &file);
        bench.reopen();
        bench.bring_on_a_compaction(family).unwrap();
        assert!(bench.reader.rot.holds(family));
    }
}

#[test]
fn a_compaction_that_meets_it_while_the_store_is_open_ends_writes_only_where_all_is_needed() {
    for family in [Family::Counters, Family::Definitions] {
        let (dir, file) = sound(family);
        let mut bench = Bench::open(dir).unwrap();
        flip(&file, length(&file) / 2);
        let error = bench.bring_on_a_compaction(family).unwrap_err();
        println!("{family:?}: {error}");
        told(&bench.reader, family, &file);
        bench.reopen();
        let read = bench.store().tables().definitions(|_, _| {});
        if family == Family::Definitions {
            // So the writer does not go on.
            assert!(read.unwrap_err().is_rot());
        } else {
            bench.bring_on_a_compaction(family).unwrap();
        }
    }
}

#[test]
fn a_table_that_a_read_found_rotten_is_not_compacted_any_more() {
    let (dir, file) = rotten(Family::History);
    let mut bench = Bench::open(dir).unwrap();
    let read = bench
        .store()
        .tables()
        .scan(Family::History, &[], None, |_, _| ControlFlow::Continue(()));
    assert!(read.unwrap_err().is_rot());
    told(&bench.reader, Family::History, &file);
    bench.bring_on_a_compaction(Family::History).unwrap();
}

#[test]
fn a_start_that_needs_the_block_is_refused_with_nothing_changed_and_the_check_finds_it_too() {
    for family in [Family::Counters, Family::Definitions, Family::Meta] {
        let (dir, file) = rotten(family);
        let before = tree(dir.path());
        let refused = open(dir.path()).err();
        let refused = refused.unwrap_or_else(|| panic!("{family:?} opened"));
        assert_eq!(refused.cause, OpenCause::Damage);
        let said = refused.to_string();
        assert!(
            said.contains(file.file_name().unwrap().to_str().unwrap()),
            "{said}"
        );
        assert_eq!(tree(dir.path()), before, "{said}");
        let lock = DataDirLock::take(dir.path()).unwrap();
        let checked = look(&lock, &options(dir.path()), |_| ())
            .unwrap_err()
            .to_string();
        assert_eq!(checked, said);
    }
}

#[test]
fn recover_sets_a_rotten_table_aside_and_says_what_it_cost() {
    for family in [Family::History, Family::Dedup, Family::Counters] {
        let (dir, file) = rotten(family);
        let lock = DataDirLock::take(dir.path()).unwrap();
        let report = recover::recover(&lock, &options(dir.path()), NOW_MS, false).unwrap();
        println!("{report}");
        let [aside] = &report.aside[..] else {
            panic!("{:?}", report.aside)
        };
        assert_eq!(aside.file, file.file_name().unwrap().to_str().unwrap());
        let kept = report.after.keys[&family];
        assert!((1900..2000).contains(&kept), "{family:?}: {kept}");
        drop(lock);
        let mut store = open(dir.path()).unwrap();
        let mut found = 0;
        store
            .tables()
            .scan(family, &[], None, |_, _| {
                found += 1;
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(found, kept);
        put(&mut store, 7, 10);
    }
}

/// Another table of `family` beside the one of [`rotten`], with every second number: its range lies over
/// that of the first. A byte in its middle is flipped too. Gives both files.
fn overlapping(family: Family) -> (TempDir, [PathBuf; 2]) {
    let (dir, first) = rotten(family);
    let mut store = open(dir.path()).unwrap();
    let mut batch = Batch::new();
    for number in (0..RECORDS).step_by(2) {
        batch.put(family, &key(number), &noise(number + RECORDS));
    }
    store.commit(&batch).unwrap();
    store.flush().unwrap();
    let live = store.tables().db.live_files().unwrap();
    let second = live
        .iter()
        .filter(|live| live.column_family_name == family.as_str())
        .map(|live| db_dir(dir.path()).join(live.name.trim_start_matches('/')))
        .find(|file| *file != first)
        .unwrap();
    store.close().unwrap();
    // Elsewhere than in the first, so that two blocks lie apart.
    flip(&second, length(&second) / 4);
    (dir, [first, second])
}

#[test]
fn of_two_rotten_tables_that_overlap_only_the_two_blocks_are_left_out() {
    let (dir, files) = overlapping(Family::History);
    let reader = Reader::default();
    let schema = schema::Schema::new(MIB, MIB, &reader);
    let tables = Tables::open(&db_dir(dir.path()), &schema, schema::DbAccess::Read).unwrap();
    let mut found = Vec::new();
    let gaps = tables
        .scan_past_rot(Family::History, &[], None, |key, _| {
            found.push(key.to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
    println!("{gaps:?}");
    assert!(found.is_sorted_by(|a, b| a < b), "none twice");
    let lost: Vec<u32> = (0..RECORDS)
        .filter(|&number| !found.contains(&key(number)))
        .collect();
    // A block has 16 KiB, about 80 records; the second table has but every second number.
    assert!((1..400).contains(&lost.len()), "{}: {gaps:?}", lost.len());
    let in_a_gap = |key: &[u8]| gaps.iter().any(|gap| gap.holds(key));
    assert!(lost.iter().all(|&number| in_a_gap(&key(number))));
    let mut named: Vec<_> = reader
        .rot
        .tables()
        .into_iter()
        .map(|table| table.file)
        .collect();
    named.sort_unstable();
    let mut files = files.map(|file| file.file_name().unwrap().to_str().unwrap().to_owned());
    files.sort_unstable();
    assert_eq!(named, files);
}

#[test]
fn once_the_rotten_table_is_gone_its_family_is_compacted_again() {
    let (dir, _) = sound(Family::Days);
    let mut bench = Bench::open(dir).unwrap();
    // Whole tables are dropped from the levels below the first.
    let tables = bench.store().tables();
    let handle = tables.handle(Family::Days).unwrap();
    tables
        .db
        .compact_range_cf(handle, None::<&[u8]>, None::<&[u8]>);
    let live = tables.db.live_files().unwrap();
    let of_days = |live: &&rocksdb::LiveFile| live.column_family_name == Family::Days.as_str();
    let [table] = &live.iter().filter(of_days).collect::<Vec<_>>()[..] else {
        panic!("{} tables", live.len())
    };
    let file = db_dir(bench.dir.path()).join(table.name.trim_start_matches('/'));
    bench.reopen();
    flip(&file, length(&file) / 2);
    let read = bench
        .store()
        .tables()
        .scan(Family::Days, &[], None, |_, _| ControlFlow::Continue(()));
    assert!(read.unwrap_err().is_rot());
    told(&bench.reader, Family::Days, &file);
    bench
        .store()
        .drop_whole_files(Family::Days, &RECORDS.to_be_bytes())
        .unwrap();
    bench.store().tick().unwrap();
    assert!(
        !bench.reader.rot.holds(Family::Days),
        "it is gone with its days"
    );
    bench.bring_on_a_compaction(Family::Days).unwrap();
    let at_the_top = rocksdb::properties::num_files_at_level(0);
    let left = bench.store().tables().property(Family::Days, at_the_top);
    assert!(left < 4, "{left} tables wait to be compacted");
}
