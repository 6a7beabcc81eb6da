//! Power cuts: on a small ext4 of the test's own the shutdown ioctl throws away everything that was not
//! synced. What was acknowledged before the cut, or told to those who watch, is there afterwards; what was
//! answered or told during it proves nothing and is taken for unknown.
//!
//! The control turns fdatasync into nothing and must lose data, else the test would show nothing.

use serde_json::json;

use crate::checker::{Answer, History, Moment};
use crate::harness::{Dice, Server, Setup, SmallDisk, Tracer, can_trace, rounds, seed, skipped};
use crate::traffic::{self, Control, Mix};

/// Groups of more than 64 KiB in the log, so that records of several blocks are torn.
fn mix(seed: u64) -> Mix {
    Mix {
        connections: 32,
        seed,
        users: 20_000,
        big_batches: 25,
        watchers: 4,
        daily: false,
    }
}

/// From just before the power went until the server was dead.
#[derive(Clone, Copy)]
struct Cut {
    begun: Moment,
    ended: Moment,
}

/// Throws away the power, then kills the server, which would not end by itself.
fn cut_power(disk: &mut SmallDisk, server: Server, control: &Control) -> Cut {
    let begun = control.now();
    control.switch_power();
    disk.cut_power();
    server.kill9();
    control.switch_power();
    let ended = control.now();
    disk.unmount().unwrap();
    disk.mount().unwrap();
    Cut { begun, ended }
}

/// What was answered during a cut is unknown, and what was read during it is not looked at.
fn forget_answers_during(history: &mut History, cuts: &[Cut]) {
    let during = |begun: Moment, ended: Moment| {
        cuts.iter()
            .any(|cut| begun < cut.ended && ended > cut.begun)
    };
    for one in history
        .intents
        .iter_mut()
        .flat_map(|intent| &mut intent.tries)
    {
        if matches!(one.answer, Answer::Counted(_)) && during(one.begun, one.ended) {
            one.answer = Answer::Unknown;
        }
    }
    history
        .readings
        .retain(|reading| !during(reading.begun, reading.ended));
}

#[test]
fn power_cuts_lose_nothing_that_was_acknowledged() {
    let what = "power_cuts_lose_nothing_that_was_acknowledged";
    lose_nothing(what, rounds(2), None);
}

/// Most of the time something is written and not yet synced: whoever reads or watches must not see it.
#[test]
fn power_cuts_amid_slow_syncs_take_nothing_back_that_was_shown() {
    let what = "power_cuts_amid_slow_syncs_take_nothing_back_that_was_shown";
    if let Err(reason) = can_trace() {
        return skipped(what, &reason);
    }
    let slow_sync = [
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "--trace=fdatasync",
        "--inject=fdatasync:delay_enter=30ms",
    ];
    lose_nothing(what, rounds(1), Some(slow_sync.map(str::to_owned).to_vec()));
}

/// Cuts the power under load again and again, with a tracer on each server if there are arguments for it.
fn lose_nothing(what: &str, rounds: u32, traced: Option<Vec<String>>) {
    let seed = seed(what);
    let mut dice = Dice::new(seed);
    let mut disk = match SmallDisk::new(300) {
        Ok(disk) => disk,
        Err(reason) => return skipped(what, &reason),
    };
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path())
        .data_dir(&disk.path().join("data"))
        .set("push.interval", "10ms");
    let server = setup.start();
    traffic::define(&mut server.admin());
    let control = Control::new();
    let mut cuts = Vec::new();
    let (mut history, server) = traffic::during(setup.address(), mix(seed), &control, || {
        let mut server = server;
        for round in 1..=rounds {
            let (least, most) = if traced.is_some() {
                (200, 2000)
            } else {
                (2000, 30_000)
            };
            let tracer = traced.as_ref().map(|with| Tracer::attach(&server, with));
            control.wait_for(least + dice.below(most));
            cuts.push(cut_power(&mut disk, server, &control));
            drop(tracer);
            println!(
                "power cut {round} after {} operations",
                control.acknowledged()
            );
            server = setup.start();
        }
        control.wait_for(2000);
        server
    });
    forget_answers_during(&mut history, &cuts);
    assert!(history.streams.iter().all(|stream| stream.quiet.len() == 1));
    traffic::verify(&mut server.client(), &control, history);
    server.stop();
}

#[test]
fn the_control_without_sync_does_lose_data_in_a_power_cut() {
    let what = "the_control_without_sync_does_lose_data_in_a_power_cut";
    let mut disk = match SmallDisk::new(300) {
        Ok(disk) => disk,
        Err(reason) => return skipped(what, &reason),
    };
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path()).data_dir(&disk.path().join("data"));
    if let Err(reason) = can_trace() {
        return skipped(what, &reason);
    }
    let server = setup.start();
    traffic::define(&mut server.admin());
    let without_sync = [
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "--trace=fdatasync",
        "--inject=fdatasync:retval=0",
    ];
    let tracer = Tracer::attach(&server, &without_sync.map(str::to_owned));
    let control = Control::new();
    // Who watches would wait in vain for what was lost.
    let mix = Mix {
        watchers: 0,
        ..mix(3)
    };
    let (mut history, (cut, server)) = traffic::during(setup.address(), mix, &control, || {
        control.wait_for(20_000);
        let cut = cut_power(&mut disk, server, &control);
        drop(tracer);
        (cut, setup.start())
    });
    forget_answers_during(&mut history, &[cut]);
    let violations = traffic::violations(&mut server.client(), &history);
    println!(
        "{} violations, such as {:?}",
        violations.len(),
        violations.first()
    );
    assert!(
        !violations.is_empty(),
        "nothing was lost without fdatasync: the cut is not one"
    );
}

/// What can be shown without a power cut: each answer to a change leaves after an fdatasync of the log
/// that ended after the request came.
#[test]
fn every_acknowledgement_follows_a_sync_of_its_own() {
    let what = "every_acknowledgement_follows_a_sync_of_its_own";
    if let Err(reason) = can_trace() {
        return skipped(what, &reason);
    }
    const REQUESTS: usize = 50;
    let home = tempfile::tempdir().unwrap();
    let server = Setup::new(home.path()).start();
    let mut client = server.client();
    let path = "/api/v1/counter/traced/increment";
    client.post(path, &json!({})).ok();
    let report = tempfile::NamedTempFile::new().unwrap();
    let trace = [
        "-f",
        "-qq",
        "-y",
        "-s",
        "64",
        "--trace=fdatasync,sendto,sendmsg,write,writev",
        "-o",
    ];
    let mut arguments = trace.map(str::to_owned).to_vec();
    arguments.push(report.path().to_str().unwrap().to_owned());
    let tracer = Tracer::attach(&server, &arguments);
    for _ in 0..REQUESTS {
        client.post(path, &json!({})).ok();
    }
    // Ends with the server, so that the report is whole.
    server.stop();
    drop(tracer);
    let report = std::fs::read_to_string(report.path()).unwrap();
    let (mut answers, mut synced, mut under_way) = (0, false, false);
    for line in report.lines() {
        if line.contains("fdatasync(") && line.contains(".log>") {
            under_way = line.ends_with("<unfinished ...>");
            synced |= !under_way && line.ends_with("= 0");
        } else if line.contains("fdatasync resumed>") && under_way {
            under_way = false;
            synced |= line.ends_with("= 0");
        } else if line.contains("HTTP/1.1 200 OK") {
            answers += 1;
            assert!(synced, "answer {answers} without a sync before it: {line}");
            synced = false;
        }
    }
    assert_eq!(answers, REQUESTS, "answers in the trace");
}
