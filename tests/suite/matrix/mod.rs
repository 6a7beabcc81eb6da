//! The matrix of faults, with real parts: PostgreSQL, Redis and the disk, each failing in every way, before
//! the start and under load. Nothing acknowledged is lost or doubled, no wrong value is read, what still
//! works goes on, and when the fault is mended everything is as before, by itself.
//!
//! The ordinary run has six telling cells and judges what is counted; `script/soak matrix` has all of
//! them, and judges the times too.

mod cell;
mod copies;
mod faulty_disk;
mod load;
mod parts;
mod run;
mod soak;

use std::time::Duration;

use crate::harness::{PATIENCE, Setup, SmallDisk, eventually, seed, skipped};
use crate::traffic::{self, Control, Mix};

use cell::{Cell, Disk, Fault, Remote, When};
use run::{Effort, run};

fn mix(test: &str) -> Mix {
    Mix {
        connections: 6,
        seed: seed(test),
        users: 5_000,
        big_batches: 1,
        watchers: 2,
        daily: false,
    }
}

/// One cell as the ordinary suite has it.
fn holds(test: &str, fault: Fault, when: When) {
    let effort = Effort {
        mix: mix(test),
        rest: Duration::ZERO,
        lasts: Duration::ZERO,
        rate: None,
    };
    match run(Cell { fault, when }, effort) {
        Ok(row) => {
            println!("{row:?}");
            assert_eq!(row.violations, Vec::<String>::new());
        }
        Err(reason) => skipped(test, &reason),
    }
}

#[test]
fn a_data_directory_that_is_renamed_away_under_load_is_noticed_and_taken_back() {
    let test = "a_data_directory_that_is_renamed_away_under_load_is_noticed_and_taken_back";
    holds(test, Fault::Disk(Disk::Renamed), When::UnderLoad);
}

#[test]
fn a_postgres_that_is_stopped_under_load_stops_nothing() {
    let test = "a_postgres_that_is_stopped_under_load_stops_nothing";
    holds(test, Fault::Postgres(Remote::Stopped), When::UnderLoad);
}

#[test]
fn a_redis_that_comes_back_empty_under_load_is_filled_again() {
    let test = "a_redis_that_comes_back_empty_under_load_is_filled_again";
    holds(test, Fault::Redis(Remote::Emptied), When::UnderLoad);
}

#[test]
fn a_disk_that_is_full_under_load_refuses_writes_and_takes_them_again() {
    let test = "a_disk_that_is_full_under_load_refuses_writes_and_takes_them_again";
    holds(test, Fault::Disk(Disk::Full), When::UnderLoad);
}

#[test]
fn a_disk_that_is_read_only_at_the_start_leaves_reads_of_a_copy() {
    let test = "a_disk_that_is_read_only_at_the_start_leaves_reads_of_a_copy";
    holds(test, Fault::Disk(Disk::ReadOnly), When::BeforeStart);
}

#[test]
fn a_redis_that_is_slow_at_the_start_holds_nothing_up() {
    let test = "a_redis_that_is_slow_at_the_start_holds_nothing_up";
    holds(test, Fault::Redis(Remote::Slow), When::BeforeStart);
}

/// No cell, as nothing brings it back: what is left of the store must not keep the process.
#[test]
fn a_disk_that_is_gone_for_good_leaves_reads_and_an_orderly_end() {
    let test = "a_disk_that_is_gone_for_good_leaves_reads_and_an_orderly_end";
    let disk = match SmallDisk::new(200) {
        Ok(disk) => disk,
        Err(reason) => return skipped(test, &reason),
    };
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path()).data_dir(&disk.path().join("data"));
    let server = setup.start();
    traffic::define(&mut server.admin());
    let control = Control::new();
    traffic::during(setup.address(), mix(test), &control, || {
        control.wait_for(500);
        disk.cut_power();
        control.wait_refused(50);
        eventually("it tried to open the store", PATIENCE, || {
            let output = server.output();
            output.contains("cannot be opened yet").then_some(())
        });
        server.client().value(traffic::SUM);
        assert_eq!(server.client().get("/readyz").status, 200);
    });
    server.stop();
}
