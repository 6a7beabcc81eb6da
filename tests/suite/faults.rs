//! Writes and syncs that fail with EIO, one at a time, and a disk that fills: what was acknowledged
//! is counted, what is unknown at most once; service comes back by itself once the fault is gone; a
//! kill -9 afterwards finds everything.
//!
//! The faults are strace's. It counts the calls of each thread by themselves, so one run can fail the
//! n-th write of the thread that opens, of the writer and of a flush.

use std::path::{Path, PathBuf};

use crate::harness::{
    Dice, PATIENCE, Setup, SmallDisk, Tracer, can_trace, eventually, rounds, seed, skipped,
    store_files,
};
use crate::traffic::{self, Control, Mix};

const MIX: Mix = Mix {
    connections: 16,
    seed: 10,
    users: 20_000,
    big_batches: 10,
    watchers: 2,
    daily: false,
};

/// Which calls fail, on which files, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) calls: &'static str,
    pub(crate) files: &'static [&'static str],
    /// The how-manieth call of each thread.
    pub(crate) nth: u32,
}

const WRITES: &str = "write,pwrite64,writev,pwritev";
pub(crate) const SYNCS: &str = "fdatasync,fsync,sync_file_range";
const ALL: &[&str] = &["log", "sst", "MANIFEST", "ACKED", "dbtmp", "dir"];

impl Fault {
    /// What strace is told, to write its report there.
    pub(crate) fn arguments(&self, data: &Path, report: &Path) -> Vec<String> {
        let Self { calls, files, nth } = self;
        let mut arguments: Vec<String> = ["-f", "-qq", "--seccomp-bpf", "-o"]
            .map(str::to_owned)
            .into();
        arguments.push(report.to_str().unwrap().to_owned());
        arguments.push(format!("--trace={calls}"));
        arguments.push(format!("--inject={calls}:error=EIO:when={nth}"));
        for file in store_files(data, files) {
            arguments.push(format!("--trace-path={}", file.display()));
        }
        arguments
    }
}

/// A home on a small disk, so that the log of the store is short and flushes are many; on an ordinary
/// one where mounting is refused.
struct Home {
    disk: Result<SmallDisk, tempfile::TempDir>,
}

impl Home {
    fn new() -> Self {
        Self {
            disk: SmallDisk::new(400).map_err(|_| tempfile::tempdir().unwrap()),
        }
    }

    fn path(&self) -> PathBuf {
        match &self.disk {
            Ok(disk) => disk.path(),
            Err(directory) => directory.path().to_owned(),
        }
    }
}

/// One fault while serving: attached to a running server under load. Gives how many calls failed.
fn fault_under_load(fault: Fault) -> usize {
    let home = Home::new();
    let setup = Setup::new(&home.path()).set("push.interval", "10ms");
    let report = tempfile::NamedTempFile::new().unwrap();
    let server = setup.start();
    traffic::define(&mut server.admin());
    let control = Control::new();
    let (history, ()) = traffic::during(setup.address(), MIX, &control, || {
        control.wait_for(200);
        let tracer = Tracer::attach(&server, &fault.arguments(setup.data(), report.path()));
        // Until it happened; far enough for several flushes, if it does not.
        let enough = control.acknowledged() + 150_000;
        eventually("the fault happens", 2 * PATIENCE, || {
            (injected(report.path()) > 0 || control.acknowledged() > enough).then_some(())
        });
        control.wait_for(2000);
        drop(tracer);
        control.wait_for(1000);
    });
    traffic::verify(&mut server.client(), &control, history.clone());
    server.kill9();
    let server = setup.start();
    traffic::verify(&mut server.client(), &control, history);
    server.stop();
    injected(report.path())
}

/// One fault from the first call on: while opening a store that a kill left, or making a new one,
/// then in serving and in closing. A start may fail for it; the next one does not.
fn fault_from_the_start(fault: Fault) -> usize {
    let home = Home::new();
    let setup = Setup::new(&home.path());
    let report = tempfile::NamedTempFile::new().unwrap();
    let control = Control::new();
    let mut history = crate::checker::History::default();
    let load = |setup: &Setup, more: u64, seed: u64| {
        let mix = Mix {
            seed,
            big_batches: 2,
            ..MIX
        };
        traffic::during(setup.address(), mix, &control, || control.wait_for(more)).0
    };
    let counts_already = fault.nth.is_multiple_of(2);
    if counts_already {
        let server = setup.start();
        traffic::define(&mut server.admin());
        history = load(&setup, 500, 1);
        server.kill9();
    }
    let mut wrapper = vec!["strace".to_owned(), "-D".to_owned()];
    wrapper.extend(fault.arguments(setup.data(), report.path()));
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let mut server = setup.clone().under(&wrapper).spawn();
    let failed = eventually("it serves or ends", PATIENCE, || {
        if let Some(status) = server.try_exit() {
            return Some(Some(status));
        }
        let ready = server.client().request("GET", "/readyz", &[], b"");
        ready.is_ok_and(|ready| ready.status == 200).then_some(None)
    });
    if let Some(status) = failed {
        assert_eq!(status.code(), Some(1), "{}", server.output());
    } else {
        // Under the fault it may answer outcome_unknown or read_only for a while.
        eventually("it takes writes", PATIENCE, || {
            (server.client().get("/readyz?writes").status == 200).then_some(())
        });
        if counts_already {
            let seen = load(&setup, 500, 2);
            history.extend(seen);
        }
        server.signal(libc::SIGTERM);
        server.wait_exit(PATIENCE);
    }
    drop(server);
    let server = setup.start();
    if counts_already {
        traffic::verify(&mut server.client(), &control, history);
    } else {
        traffic::define(&mut server.admin());
    }
    server.stop();
    injected(report.path())
}

fn injected(report: &Path) -> usize {
    std::fs::read_to_string(report)
        .unwrap()
        .matches("(INJECTED)")
        .count()
}

fn run(what: &str, faults: Vec<Fault>, one: fn(Fault) -> usize) {
    if let Err(reason) = can_trace() {
        return skipped(what, &reason);
    }
    let mut reached = 0;
    for fault in &faults {
        let failed = one(*fault);
        println!(
            "{} of {:?}, number {}: {failed} failed",
            fault.calls, fault.files, fault.nth
        );
        reached += usize::from(failed > 0);
    }
    // A number beyond what a run does shows nothing; most must be reached.
    assert!(
        reached * 3 >= faults.len() * 2,
        "only {reached} of {} faults happened",
        faults.len()
    );
}

/// The numbers to fail: up to COUNTERD_SOAK_ROUNDS and `most`, else the few of an ordinary run.
fn numbers(ordinary: &[u32], most: u32) -> Vec<u32> {
    match rounds(0) {
        0 => ordinary.to_vec(),
        asked => (1..=asked.min(most)).collect(),
    }
}

fn each(
    calls: &'static str,
    files: &'static [&'static str],
    numbers: Vec<u32>,
) -> impl Iterator<Item = Fault> {
    numbers
        .into_iter()
        .map(move |nth| Fault { calls, files, nth })
}

#[test]
fn eio_of_a_write_under_load_loses_and_doubles_nothing() {
    let mut faults: Vec<Fault> = each(WRITES, &["log"], numbers(&[2], 15)).collect();
    faults.extend(each(WRITES, &["ACKED"], numbers(&[1], 10)));
    faults.extend(each(WRITES, &["MANIFEST"], numbers(&[1], 10)));
    faults.extend(each(WRITES, &["sst"], numbers(&[1], 15)));
    run(
        "eio_of_a_write_under_load_loses_and_doubles_nothing",
        faults,
        fault_under_load,
    );
}

#[test]
fn eio_of_a_sync_under_load_loses_and_doubles_nothing() {
    let mut faults: Vec<Fault> = each(SYNCS, &["log"], numbers(&[3], 15)).collect();
    faults.extend(each(SYNCS, &["ACKED"], numbers(&[1], 3)));
    faults.extend(each(SYNCS, &["MANIFEST"], numbers(&[1], 5)));
    faults.extend(each(SYNCS, &["sst"], numbers(&[1], 7)));
    run(
        "eio_of_a_sync_under_load_loses_and_doubles_nothing",
        faults,
        fault_under_load,
    );
}

#[test]
fn eio_while_opening_leaves_a_store_that_opens() {
    let mut faults: Vec<Fault> = each(WRITES, ALL, numbers(&[9, 14], 50)).collect();
    faults.extend(each(SYNCS, ALL, numbers(&[3, 6], 30)));
    run(
        "eio_while_opening_leaves_a_store_that_opens",
        faults,
        fault_from_the_start,
    );
}

#[test]
fn a_full_disk_refuses_writes_and_comes_back_by_itself() {
    let seed = seed("full disk");
    let mut dice = Dice::new(seed);
    let disk = match SmallDisk::new(200) {
        Ok(disk) => disk,
        Err(reason) => {
            return skipped(
                "a_full_disk_refuses_writes_and_comes_back_by_itself",
                &reason,
            );
        }
    };
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path())
        .set("push.interval", "10ms")
        .data_dir(&disk.path().join("data"))
        .set("storage.min_free", "8MiB");
    let server = setup.start();
    traffic::define(&mut server.admin());
    let control = Control::new();
    let mix = Mix { seed, ..MIX };
    let (history, ()) = traffic::during(setup.address(), mix, &control, || {
        for _ in 0..rounds(2).min(10) {
            control.wait_for(500 + dice.below(5000));
            disk.fill(0);
            control.wait_refused(50);
            // Reads go on.
            server.client().get("/api/v1/counter/t.sum").ok();
            assert_eq!(server.client().get("/readyz").status, 200);
            disk.empty();
            control.wait_for(500);
        }
    });
    traffic::verify(&mut server.client(), &control, history.clone());
    // A start on a full disk, after a crash, frees the reserve for it.
    disk.fill(0);
    server.kill9();
    let server = setup.start();
    server.client().get("/api/v1/counter/t.sum").ok();
    assert_eq!(server.client().get("/readyz?writes").status, 503);
    disk.empty();
    eventually("it takes writes", PATIENCE, || {
        (server.client().get("/readyz?writes").status == 200).then_some(())
    });
    traffic::verify(&mut server.client(), &control, history);
    server.stop();
}
