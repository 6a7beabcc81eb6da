#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::access_log::file;
use crate::metrics::Metrics;

/// The day that lies `days` after 2026-11-24.
fn day(days: i32) -> Day {
    Day::from_days(20_781 + days).unwrap()
}

fn options(dir: &Path) -> FileOptions {
    FileOptions {
        dir: dir.to_owned(),
        max_file_size: 1_000_000,
        max_files: 100,
    }
}

fn rotating(options: FileOptions) -> RotatingFile {
    RotatingFile::new(options, Box::new(file::open), Metrics::new().log)
}

fn files(dir: &Path) -> BTreeMap<String, String> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read_to_string(entry.path()).unwrap())
        })
        .collect()
}

fn names(dir: &Path) -> Vec<String> {
    files(dir).into_keys().collect()
}

#[test]
fn each_day_has_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = rotating(options(dir.path()));
    log.write_lines(day(0), b"one\n").unwrap();
    log.write_lines(day(0), b"two\n").unwrap();
    log.write_lines(day(1), b"three\n").unwrap();
    log.write_lines(day(7), b"four\n").unwrap();

    let expected = [
        ("counterd-2026-11-24.log", "one\ntwo\n"),
        ("counterd-2026-11-25.log", "three\n"),
        ("counterd-2026-12-01.log", "four\n"),
    ];
    let expected = expected.map(|(name, text)| (name.to_owned(), text.to_owned()));
    assert_eq!(files(dir.path()), BTreeMap::from(expected));
}

#[test]
fn a_full_file_is_followed_by_the_next_number_and_no_line_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = rotating(FileOptions {
        max_file_size: 100,
        ..options(dir.path())
    });
    let mut sent = String::new();
    for batch in 0..50 {
        let lines: String = (0..=batch % 7)
            .map(|line| format!("{batch}/{line} {}\n", "x".repeat(batch % 20)))
            .collect();
        log.write_lines(day(0), lines.as_bytes()).unwrap();
        sent.push_str(&lines);
    }

    let mut of_number = BTreeMap::new();
    for (name, text) in files(dir.path()) {
        assert!(text.len() <= 100 && text.ends_with('\n'), "{name}: {text}");
        of_number.insert(Place::of(&name).unwrap().number, text);
    }
    assert!(of_number.len() > 20);
    assert_eq!(
        *of_number.last_key_value().unwrap().0,
        of_number.len() as u32 - 1
    );
    assert_eq!(of_number.into_values().collect::<String>(), sent);
}

#[test]
fn a_line_longer_than_a_file_stands_alone_in_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = rotating(FileOptions {
        max_file_size: 10,
        ..options(dir.path())
    });
    let long = format!("{}\n", "x".repeat(50));
    log.write_lines(day(0), format!("a\n{long}b\n").as_bytes())
        .unwrap();
    let texts: Vec<String> = files(dir.path()).into_values().collect();
    assert_eq!(texts, ["a\n", &long, "b\n"]);
}

#[test]
fn the_newest_files_are_kept_and_others_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let foreign = [
        "counterd-2026-11-01.log.gz",
        "counterd-2026-11-01.log.01",
        "counterd-2026-11-1.log",
        "counterd-x.log",
        "other.log",
    ];
    for name in foreign {
        fs::write(dir.path().join(name), "").unwrap();
    }
    let mut log = rotating(FileOptions {
        max_file_size: 4,
        max_files: 3,
        ..options(dir.path())
    });
    log.write_lines(day(-1), b"old\n").unwrap();
    for _ in 0..12 {
        log.write_lines(day(0), b"new\n").unwrap();
    }

    let mut expected: Vec<String> = foreign.map(str::to_owned).to_vec();
    expected.extend([9, 10, 11].map(|number| format!("counterd-2026-11-24.log.{number}")));
    expected.sort();
    assert_eq!(names(dir.path()), expected);
}

#[test]
fn with_the_clock_set_back_the_file_in_use_is_not_the_one_removed() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = rotating(FileOptions {
        max_files: 2,
        ..options(dir.path())
    });
    log.write_lines(day(0), b"a\n").unwrap();
    log.write_lines(day(1), b"b\n").unwrap();
    log.write_lines(day(-9), b"c\n").unwrap();
    log.write_lines(day(-9), b"d\n").unwrap();
    let files = files(dir.path());
    assert_eq!(files.len(), 2);
    assert_eq!(files["counterd-2026-11-15.log"], "c\nd\n");
}

#[test]
fn a_restart_goes_on_in_the_newest_file_of_the_day_and_ends_a_torn_line() {
    let dir = tempfile::tempdir().unwrap();
    let small = FileOptions {
        max_file_size: 20,
        ..options(dir.path())
    };
    fs::write(dir.path().join("counterd-2026-11-24.log"), "first\n").unwrap();
    fs::write(dir.path().join("counterd-2026-11-24.log.2"), "second\ntor").unwrap();
    rotating(small.clone())
        .write_lines(day(0), b"third\n")
        .unwrap();
    rotating(small).write_lines(day(0), b"fourth\n").unwrap();

    let files = files(dir.path());
    assert_eq!(files["counterd-2026-11-24.log"], "first\n");
    assert_eq!(files["counterd-2026-11-24.log.2"], "second\ntor\nthird\n");
    assert_eq!(files["counterd-2026-11-24.log.3"], "fourth\n");
}

#[test]
fn a_file_deleted_under_way_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = rotating(options(dir.path()));
    log.write_lines(day(0), b"lost\n").unwrap();
    fs::remove_file(dir.path().join("counterd-2026-11-24.log")).unwrap();
    log.write_lines(day(0), b"kept\n").unwrap();
    assert_eq!(files(dir.path())["counterd-2026-11-24.log"], "kept\n");
}

#[test]
fn a_file_that_cannot_be_opened_loses_lines_until_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("counterd-2026-11-24.log");
    // Links are not followed: whoever made them decides where they lead.
    symlink("/dev/full", &path).unwrap();
    let mut log = rotating(options(dir.path()));
    for _ in 0..3 {
        let lost = log.write_lines(day(0), b"one\ntwo\n").unwrap_err();
        let refused = lost.error.raw_os_error();
        assert_eq!(refused, Some(rustix::io::Errno::LOOP.raw_os_error()));
        assert_eq!(lost.kept, 0);
    }
    fs::remove_file(&path).unwrap();
    log.write_lines(day(0), b"three\n").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
}

#[test]
fn a_directory_that_is_gone_or_in_the_way_is_made_when_it_can_be() {
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().join("deep/logs");
    let mut log = rotating(options(&logs));
    log.write_lines(day(0), b"one\n").unwrap();
    fs::remove_dir_all(&logs).unwrap();
    fs::write(&logs, "a file").unwrap();
    assert_eq!(log.write_lines(day(0), b"two\n").unwrap_err().kept, 0);
    fs::remove_file(&logs).unwrap();
    log.write_lines(day(0), b"three\n").unwrap();
    assert_eq!(files(&logs)["counterd-2026-11-24.log"], "three\n");
}

/// A real file on a disk with `room` bytes left; it can be cut or not.
struct Filling {
    file: std::fs::File,
    room: Arc<AtomicUsize>,
    can_cut: bool,
}

impl Write for Filling {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(self.room.load(Ordering::Relaxed));
        if n == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.room.fetch_sub(n, Ordering::Relaxed);
        self.file.write(&bytes[..n])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl LogFile for Filling {
    fn cut(&self, size: u64) -> io::Result<()> {
        if self.can_cut {
            self.file.set_len(size)
        } else {
            Err(io::ErrorKind::Other.into())
        }
    }

    fn is_deleted(&self) -> bool {
        false
    }
}

fn filling(options: FileOptions, room: &Arc<AtomicUsize>, can_cut: bool) -> RotatingFile {
    let room = Arc::clone(room);
    let open = move |path: &Path| {
        let opened = file::open(path)?;
        let file = Filling {
            file: fs::OpenOptions::new().append(true).open(path)?,
            room: Arc::clone(&room),
            can_cut,
        };
        Ok(Opened {
            file: Box::new(file),
            ..opened
        })
    };
    RotatingFile::new(options, Box::new(open), Metrics::new().log)
}

#[test]
fn a_disk_that_fills_within_a_line_keeps_the_whole_ones() {
    for room in 0..13 {
        let dir = tempfile::tempdir().unwrap();
        let left = Arc::new(AtomicUsize::new(room));
        let mut log = filling(options(dir.path()), &left, true);
        let lost = log.write_lines(day(0), b"one\ntwo\nfour\n").unwrap_err();
        assert_eq!(
            lost.kept,
            [0, 4, 8][[room >= 4, room >= 8].iter().filter(|b| **b).count()]
        );
        left.store(1_000, Ordering::Relaxed);
        log.write_lines(day(0), b"five\n").unwrap();
        let expected = format!("{}five\n", &"one\ntwo\nfour\n"[..lost.kept]);
        assert_eq!(files(dir.path())["counterd-2026-11-24.log"], expected);
    }
}

#[test]
fn where_a_torn_line_cannot_be_cut_it_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let left = Arc::new(AtomicUsize::new(6));
    let mut log = filling(options(dir.path()), &left, false);
    assert_eq!(log.write_lines(day(0), b"one\ntwo\n").unwrap_err().kept, 4);
    left.store(1_000, Ordering::Relaxed);
    log.write_lines(day(0), b"three\n").unwrap();
    assert_eq!(
        files(dir.path())["counterd-2026-11-24.log"],
        "one\ntw\nthree\n"
    );
}

#[test]
fn what_went_into_the_file_before_counts_as_kept() {
    let dir = tempfile::tempdir().unwrap();
    let left = Arc::new(AtomicUsize::new(14));
    let small = FileOptions {
        max_file_size: 8,
        ..options(dir.path())
    };
    let mut log = filling(small, &left, true);
    let lost = log
        .write_lines(day(0), b"one\ntwo\nsix\nten\n")
        .unwrap_err();
    assert_eq!(lost.kept, 12);
    let files = files(dir.path());
    assert_eq!(files["counterd-2026-11-24.log"], "one\ntwo\n");
    assert_eq!(files["counterd-2026-11-24.log.1"], "six\n");
}
