//! Three instances are started again one after another while clients count: who is refused counts at the next one.

use std::time::Duration;

use super::{log, patient, writes_again};
use crate::harness::{Server, Setup, rounds, seed};
use crate::traffic::{self, Control, Mix};

/// The first try, and those at both other instances: one of them is up.
const TRIES: usize = 3;

/// `script/soak upgrade` has the instances be of an earlier program at first, and of today's once they are started again.
#[test]
fn instances_that_are_started_again_one_by_one_refuse_nothing_that_the_next_one_does_not_take() {
    let test = "instances_that_are_started_again_one_by_one_refuse_nothing_that_the_next_one_does_not_take";
    let earlier = std::env::var("COUNTERD_EARLIER_PROGRAM").ok();
    let Some(redis) = log(test) else { return };
    let homes: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let setups: Vec<Setup> = homes.iter().map(|home| patient(home, &redis)).collect();
    let start = |setup: &Setup| match &earlier {
        None => setup.start(),
        // The shell gets the program of today first, and runs the earlier one in its place.
        Some(earlier) => {
            let runs = format!("shift; exec '{earlier}' \"$@\"");
            setup.clone().under(&["sh", "-c", &runs, "sh"]).start()
        }
    };
    let mut servers: Vec<Server> = setups.iter().map(start).collect();
    traffic::define(&mut servers[0].admin());
    servers.iter().for_each(writes_again);
    let addresses: Vec<_> = setups.iter().map(Setup::address).collect();
    let control = Control::with_rest(Duration::from_millis(2));
    let mix = Mix {
        connections: 9,
        seed: seed("rolling"),
        users: 2000,
        big_batches: 1,
        watchers: 0,
        daily: false,
    };
    let (mut history, ()) = traffic::at_several(&addresses, mix, &control, || {
        for _ in 0..rounds(2) {
            for (setup, server) in setups.iter().zip(&mut servers) {
                control.wait_for(300);
                server.signal(libc::SIGTERM);
                server.wait_exit(2 * crate::harness::PATIENCE);
                // The others count on alone.
                control.wait_for(300);
                *server = setup.start();
                writes_again(server);
            }
        }
        control.wait_for(300);
    });
    // What one instance counted, another says a moment later.
    for reading in &mut history.readings {
        reading.begun = 0;
    }
    let tries = history.intents.iter().map(|intent| intent.tries.len());
    let most = tries.max().unwrap();
    let refused = history.intents.iter().filter(|one| one.tries.len() > 1);
    let healed = refused
        .clone()
        .map(|one| one.tries[one.tries.len() - 1].ended - one.tries[0].ended);
    println!(
        "{} operations, {} refused, {most} tries and {} ms until the next at most",
        control.acknowledged(),
        refused.count(),
        healed.max().unwrap_or(0) / 1_000_000
    );
    assert!(most > 1, "nothing was refused");
    for intent in &history.intents {
        assert!(intent.tries.len() <= TRIES, "{intent:?}");
    }
    for server in &servers {
        traffic::verify(&mut server.client(), &control, history.clone());
    }
}
