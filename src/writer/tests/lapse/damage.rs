//! Windows and leases after damage: what `recover` makes of them, and a seat that cannot be read.

use std::fs;
use std::os::unix::fs::FileExt as _;

use super::super::edges::edit;
use super::*;
use crate::counter::Seat;
use crate::storage::recover::{RecoverReport, recover};
use crate::storage::{DataDirLock, Family, RottenTable, read_through};

fn flip(file: &Path, at: u64) {
    let mut options = fs::File::options();
    let file = options.read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

/// Makes a block rotten in each table of a family, in a store that nobody has open, and recovers it.
fn recovered(dir: &Path, clock: &Arc<ManualClock>, family: Family) -> RecoverReport {
    let lock = DataDirLock::take(dir).unwrap();
    let storage = options(dir, clock).storage;
    let mut rotten = 0;
    for entry in fs::read_dir(dir.join("store/db")).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_none_or(|end| end != "sst") {
            continue;
        }
        let length = fs::metadata(&file).unwrap().len();
        // The second is in the first block of any table.
        for at in [length / 4, 60] {
            flip(&file, at);
            let found = read_through(&lock, &storage).unwrap_or_default();
            let ours = |table: &RottenTable| table.family == family && file.ends_with(&table.file);
            if found.iter().any(ours) {
                rotten += 1;
                break;
            }
            flip(&file, at);
        }
    }
    let report = recover(&lock, &storage, clock.wall_ms(), false).unwrap();
    println!("{report}");
    assert_eq!((report.aside.len(), rotten > 0), (rotten, true));
    report
}

#[test]
fn without_its_last_record_of_state_a_recovered_store_has_no_leases_and_gives_no_generation_again()
{
    let bench = Bench::new();
    bench.define("here", presence(90)).unwrap();
    applied(&bench, beat(1, 1));
    let rounds = windowed(Kind::Sum, 3600, 60);
    bench.define("rounds", rounds).unwrap();
    applied(&bench, increment("rounds", 5, None));
    let revision = bench.running.table.revision();
    let (dir, clock) = bench.stop();
    let lock = DataDirLock::take(dir.path()).unwrap();
    edit(dir.path(), &lock, |_, batch| {
        // Seats whose counters are in no other record, as a lost table would leave them.
        for generation in revision + 1..revision + 10 {
            let seat = Seat {
                until: NOON + HOUR,
                weight: 1,
                session: None,
            };
            batch.put_seat(generation, TimeLine::Wall, "u1", Some(&seat));
        }
    });
    drop(lock);
    recovered(dir.path(), &clock, Family::Meta);

    let bench = Bench::start(dir, clock, |_| {});
    assert_eq!((bench.value("rounds"), leases(&bench)), (5, (0, 0, false)));
    assert_eq!(applied(&bench, beat(1, 2)).effect, Effect::Counted);
    assert_eq!(leases(&bench), (2, 1, false));
    let fresh = windowed(Kind::Unique, 3600, 60);
    bench.define("fresh", fresh).unwrap();
    let bench = bench.restart();
    let seen = of_user("fresh", Action::Increment, 1, 1, 0);
    assert_eq!(applied(&bench, seen).applied, 1);
    assert_eq!((bench.value("fresh"), leases(&bench)), (1, (2, 1, true)));
}

#[test]
fn recovery_disables_the_counters_of_a_rotten_block_of_windows_until_they_are_repaired() {
    let bench = Bench::new();
    bench
        .define("rounds", windowed(Kind::Sum, 3600, 60))
        .unwrap();
    bench
        .define("hour", windowed(Kind::Unique, 3600, 60))
        .unwrap();
    bench.define("here", presence(90)).unwrap();
    applied(&bench, increment("rounds", 5, None));
    applied(&bench, beat(1, 7));
    let seen = |who| of_user("hour", Action::Increment, 1, who, 0);
    for first in [0, 1000, 2000, 3000] {
        let users: Vec<_> = (first..first + 1000).map(seen).collect();
        bench.ask(Command::Batch(users.into()), None).unwrap();
    }
    let (dir, clock) = bench.stop();
    let report = recovered(dir.path(), &clock, Family::Windows);
    assert_eq!(report.lost, [name("hour")]);

    let bench = Bench::start(dir, clock, |_| {}).restart();
    let corrupt = Err(Failure::Refused(Refusal::Corrupt));
    for who in 0..3 {
        assert_eq!(bench.ask(Command::Apply(seen(who)), None), corrupt);
    }
    let reading = bench.running.table.read("hour").unwrap();
    assert_eq!(reading.existence, Existence::Corrupt);
    assert_eq!((bench.value("rounds"), leases(&bench)), (5, (7, 1, true)));
    assert_eq!(applied(&bench, beat(1, 9)).effect, Effect::Renewed);
    let up = applied(&bench, increment("rounds", 2, None));
    assert_eq!((up.current_value, leases(&bench).0), (7, 9));

    bench.repair("hour", 0).unwrap();
    assert_eq!(applied(&bench, seen(1)).applied, 1);
    let bench = bench.restart();
    assert_eq!((bench.value("hour"), bench.value("rounds")), (1, 7));
    assert_eq!(applied(&bench, seen(1)).effect, Effect::Duplicate);
}

#[test]
fn a_seat_that_cannot_be_read_refuses_its_user_and_nothing_else() {
    let bench = Bench::new();
    bench.define("here", presence(90)).unwrap();
    for who in [1, 2] {
        applied(&bench, beat(who, 3));
    }
    let generation = bench.running.table.read("here").unwrap().generation;
    let (dir, clock) = bench.stop();
    let lock = DataDirLock::take(dir.path()).unwrap();
    edit(dir.path(), &lock, |_, batch| {
        batch.damage_seat(generation, "u1", b"no seat");
        let later_than_any = Seat {
            until: HOUR,
            weight: 1,
            session: None,
        };
        batch.put_seat(generation, TimeLine::Store, "u3", Some(&later_than_any));
    });
    drop(lock);
    let bench = Bench::start(dir, clock, |_| {});
    let unreadable = Err(Failure::Refused(Refusal::UnreadableUser));
    for action in [Action::Heartbeat, Action::Leave] {
        let of_it = of_user("here", action, 1, 1, 0);
        assert_eq!(bench.ask(Command::Apply(of_it), None), unreadable);
    }
    assert_eq!(applied(&bench, beat(2, 5)).effect, Effect::Renewed);
    assert_eq!(applied(&bench, beat(3, 1)).effect, Effect::Counted);
    assert_eq!(leases(&bench), (9, 3, true));
    // Its lease ends by itself, as the others.
    bench.clock.advance(90_000);
    assert_eq!(leases(&bench), (0, 0, false));
}

#[test]
fn a_lease_of_weight_0_is_renewed_at_the_bound_of_its_counter() {
    let bench = Bench::new();
    let bounded = Definition {
        max: 10,
        on_bound: OnBound::Clamp,
        ..presence(90)
    };
    bench.define("here", bounded).unwrap();
    applied(&bench, beat(1, 0));
    bench.clock.advance(60_000);
    applied(&bench, beat(2, 10));
    let renewed = applied(&bench, beat(1, 4));
    let lease = LeaseChange {
        change: 0,
        expires_at: Some(NOON + 150_000),
    };
    assert_eq!(renewed.effect, Effect::Renewed);
    assert_eq!(renewed.lease, Some(Box::new(lease)));
    // Who has no lease gets none.
    assert_eq!(applied(&bench, beat(3, 4)).effect, Effect::Clamped);
    bench.clock.advance(89_999);
    assert_eq!(leases(&bench), (10, 2, false));
    bench.clock.advance(1);
    assert_eq!(leases(&bench), (0, 0, false));
}
