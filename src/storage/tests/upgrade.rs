//! A store of an earlier format is raised when it is opened for writing, whenever that is cut off.

use super::*;
use crate::storage::acked::{self, Acked, Mark};
use crate::storage::schema::{FORMAT_VERSION, META_VERSIONS, OLDEST_FORMAT};

fn acked_format(data_dir: &Path) -> u32 {
    let acked = acked::read(&data_dir.join("store/ACKED")).unwrap();
    acked.unwrap().format
}

/// A store that was killed, of one format by its own record and of another by `ACKED`.
fn of_formats(store_format: u32, acked_format: u32) -> TempDir {
    let (dir, mut store) = new_store();
    put(&mut store, 1, 10);
    let mut batch = Batch::new();
    let versions = [store_format.to_be_bytes(), 1_u32.to_be_bytes()].concat();
    batch.put(Family::Meta, META_VERSIONS, &versions);
    store.commit(&batch).unwrap();
    let image = crashed(dir.path());
    let path = image.path().join("store/ACKED");
    let mark = Mark {
        format: acked_format,
        ..acked::read(&path).unwrap().unwrap()
    };
    Acked::resume(&path, mark).unwrap().write(mark).unwrap();
    image
}

#[test]
fn an_earlier_format_is_raised_in_the_store_and_in_acked() {
    let both = (OLDEST_FORMAT, OLDEST_FORMAT);
    // The second is what a kill between the two leaves.
    for (in_store, in_acked) in [both, (FORMAT_VERSION, OLDEST_FORMAT)] {
        let image = of_formats(in_store, in_acked);
        let mut store = open(image.path()).unwrap();
        assert_eq!(store.tables().versions().unwrap(), (FORMAT_VERSION, 1));
        assert_eq!(acked_format(image.path()), FORMAT_VERSION);
        assert_eq!(numbers(&store), [1]);
        put(&mut store, 2, 10);
        let again = crashed(image.path());
        assert_eq!(numbers(&open(again.path()).unwrap()), [1, 2]);
    }
}

#[test]
fn looking_at_a_store_of_an_earlier_format_raises_nothing() {
    let image = of_formats(OLDEST_FORMAT, OLDEST_FORMAT);
    let before = tree(image.path());
    let lock = DataDirLock::take(image.path()).unwrap();
    look(&lock, &options(image.path()), |_| ()).unwrap();
    assert_eq!(tree(image.path()), before);
    assert_eq!(acked_format(image.path()), OLDEST_FORMAT);
}

#[test]
fn a_format_before_the_earliest_or_after_ours_is_refused_by_name() {
    for format in [OLDEST_FORMAT - 1, FORMAT_VERSION + 1] {
        for image in [
            of_formats(format, OLDEST_FORMAT),
            of_formats(OLDEST_FORMAT, format),
        ] {
            let before = tree(image.path());
            let error = open(image.path()).err().expect("it opened");
            assert_eq!(tree(image.path()), before);
            assert_eq!(error.cause, OpenCause::Unsupported);
            let named = format!("format version {format}, this counterd knows {FORMAT_VERSION}");
            assert!(error.to_string().contains(&named), "{error}");
        }
    }
}
