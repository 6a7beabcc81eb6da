//! The ordinary life of a store: made, written, closed or killed, opened again.

use super::*;

#[test]
fn what_was_committed_is_there_after_a_close_and_after_a_kill() {
    let (dir, mut store) = new_store();
    assert!(store.was_created());
    assert_eq!(store.epoch(), NOW_MS as u64);
    for number in 0..10 {
        put(&mut store, number, 100);
    }
    let sequence = store.sequence();
    let killed = crashed(dir.path());
    store.close().unwrap();
    for data_dir in [dir.path(), killed.path()] {
        let store = open(data_dir).unwrap();
        assert!(!store.was_created());
        assert_eq!(store.epoch(), NOW_MS as u64);
        assert_eq!(store.sequence(), sequence);
        assert_eq!(numbers(&store), (0..10).collect::<Vec<_>>());
    }
}
