//! What the store promises, each promise with the damage or failure that would break it.
//!
//! A crashed store is made by copying the directory of a live one, which is what a kill leaves.

mod compacting;
mod damage;
mod hazard;
mod life;
mod recovering;
mod reopening;
mod rotting;
mod upgrade;

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use xxhash_rust::xxh3::xxh3_128;

use super::error::OpenCause;
use super::*;

pub const NOW_MS: i64 = 1_795_000_000_000;
pub const MIB: u64 = 1024 * 1024;

pub fn options(data_dir: &Path) -> StorageOptions {
    StorageOptions {
        data_dir: data_dir.to_owned(),
        memory: 32 * MIB,
        reserve: Some(MIB),
        shared: None,
    }
}

pub fn open(data_dir: &Path) -> Result<Store, OpenError> {
    let lock = DataDirLock::take(data_dir)?;
    Store::open(&lock, &options(data_dir), &Reader::default(), Some(NOW_MS))
}

pub fn new_store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    (dir, store)
}

/// Commits one group that puts `number` under itself, with a value of `length` bytes.
pub fn put(store: &mut Store, number: u32, length: usize) {
    let mut batch = Batch::new();
    batch.put(
        Family::Definitions,
        &number.to_be_bytes(),
        &vec![number as u8; length],
    );
    batch.put(Family::Days, &number.to_be_bytes(), &number.to_be_bytes());
    store.commit(&batch).unwrap();
}

/// The numbers that [`put`] left in the store.
pub fn numbers(store: &Store) -> Vec<u32> {
    let mut found = Vec::new();
    store
        .tables()
        .scan(Family::Definitions, &[], None, |key, value| {
            let number = u32::from_be_bytes(key.try_into().unwrap());
            assert!(value.iter().all(|byte| *byte == number as u8));
            assert_eq!(
                *store.tables().get(Family::Days, key).unwrap().unwrap(),
                *key
            );
            found.push(number);
            ControlFlow::Continue(())
        })
        .unwrap();
    found
}

/// Claims that the store is refused for damage, in words that say so, and that not a byte of the
/// directory changed; gives the words.
pub fn refused(data_dir: &Path) -> String {
    let before = tree(data_dir);
    let Err(error) = open(data_dir) else {
        panic!("it opened")
    };
    assert_eq!(tree(data_dir), before, "something on disk changed: {error}");
    assert_eq!(error.cause, OpenCause::Damage, "{error}");
    let text = error.to_string();
    assert!(text.contains("nothing was changed"), "{text}");
    assert!(text.contains(data_dir.to_str().unwrap()), "{text}");
    text
}

/// Writes `bytes` over a file from `at` on.
pub fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    fs::OpenOptions::new()
        .write(true)
        .open(path)
        .unwrap()
        .write_all_at(bytes, at)
        .unwrap();
}

/// Cuts a file to `length`.
pub fn cut(path: &Path, length: u64) {
    fs::OpenOptions::new()
        .write(true)
        .open(path)
        .unwrap()
        .set_len(length)
        .unwrap();
}

pub fn db_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("store/db")
}

pub fn length(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

/// A copy of the data directory as it is now: what a kill would leave.
pub fn crashed(data_dir: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_tree(data_dir, copy.path());
    copy
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Every file below `dir` with length and content hash, every directory as `None`.
pub fn tree(dir: &Path) -> BTreeMap<PathBuf, Option<(u64, u128)>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tree(&path));
            found.insert(path, None);
        } else {
            let bytes = fs::read(&path).unwrap();
            found.insert(path, Some((bytes.len() as u64, xxh3_128(&bytes))));
        }
    }
    found
}
