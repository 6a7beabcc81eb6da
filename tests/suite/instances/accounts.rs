//! What three instances count together while they and Redis are killed, stopped and cut off: exact, by all that all of their
//! clients were told.

use std::mem;
use std::time::Duration;

use serde_json::Value;

use super::{instance, writes_again};
use crate::harness::{
    Dice, PATIENCE, REDIS_PASSWORD, Redis, Server, Setup, SlowProxy, eventually, rounds, seed,
    skipped,
};
use crate::traffic::{self, Control, Mix};

/// A primary and its replica, behind an address that always leads to the primary.
struct Pair {
    primary: Redis,
    replica: Redis,
    way: SlowProxy,
}

impl Pair {
    fn new(test: &str) -> Option<Self> {
        let arguments = ["--appendonly", "yes", "--appendfsync", "always"];
        let arguments = [&arguments[..], &["--masterauth", REDIS_PASSWORD]].concat();
        let arguments = [&arguments[..], &["--repl-diskless-sync-delay", "0"]].concat();
        let start = || Redis::with(&arguments);
        let both = start().and_then(|primary| Ok((primary, start()?)));
        let (primary, replica) = both.map_err(|reason| skipped(test, &reason)).ok()?;
        let way = SlowProxy::before(primary.port());
        let pair = Self {
            primary,
            replica,
            way,
        };
        pair.follows();
        Some(pair)
    }

    /// Has the replica follow the primary, and waits until it has all of it.
    fn follows(&self) {
        let port = self.primary.port();
        self.replica
            .say::<()>(&format!("REPLICAOF 127.0.0.1 {port}"));
        eventually("the replica follows", PATIENCE, || {
            let info: String = self.primary.say("INFO replication");
            info.contains("state=online").then_some(())
        });
    }

    /// The primary dies, its replica takes its place, and it comes back as the replica.
    fn fail_over(&mut self) {
        self.primary.kill();
        self.replica.say::<()>("REPLICAOF NO ONE");
        self.way.leads_to(self.replica.port());
        mem::swap(&mut self.primary, &mut self.replica);
        self.replica.start();
        self.follows();
    }
}

fn counters(server: &Server) -> Option<Value> {
    let names = traffic::ALL.join(",");
    let path = format!("/api/v1/counters?names={names}");
    let answer = server.client().request("GET", &path, &[], b"").ok()?;
    let mut counters = answer.json()["counters"].take();
    for counter in counters.as_array_mut()? {
        // Each instance takes a step of time for itself.
        counter
            .as_object_mut()?
            .retain(|field, _| field == "name" || field == "value" || field == "revision");
    }
    Some(counters)
}

#[test]
fn three_instances_are_exact_while_they_and_redis_are_killed_and_stopped() {
    let test = "three_instances_are_exact_while_they_and_redis_are_killed_and_stopped";
    let Some(mut redis) = Pair::new(test) else {
        return;
    };
    let seed = seed("instances");
    let mut dice = Dice::new(seed);
    let homes: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let url = redis.primary.url_through(redis.way.port());
    let setups: Vec<Setup> = homes
        .iter()
        .map(|home| {
            instance(home, &redis.primary)
                .set("redis.url", &url)
                .set("redis.ack", "replicas")
        })
        .collect();
    let mut servers: Vec<Option<Server>> = setups.iter().map(|setup| Some(setup.start())).collect();
    traffic::define(&mut servers[0].as_ref().unwrap().admin());
    let control = Control::with_rest(Duration::from_millis(2));
    let mix = |instance: u64| Mix {
        connections: 8,
        seed: seed ^ instance,
        users: 5000,
        big_batches: 1,
        watchers: 0,
    };
    let addresses: Vec<_> = setups.iter().map(Setup::address).collect();
    let (mut history, (second, (third, ()))) =
        traffic::during(addresses[0], mix(1), &control, || {
            traffic::during(addresses[1], mix(2), &control, || {
                traffic::during(addresses[2], mix(3), &control, || {
                    for round in 1..=rounds(5) {
                        control.wait_for(500 + dice.below(2000));
                        let one = usize::try_from(dice.below(3)).unwrap();
                        let fault = dice.below(6);
                        println!("round {round}: fault {fault}, instance {one}");
                        let server = servers[one].as_ref().unwrap();
                        match fault {
                            0 => {}
                            1 => {
                                server.signal(libc::SIGSTOP);
                                // The others go on meanwhile.
                                control.wait_for(200 + dice.below(2000));
                                server.signal(libc::SIGCONT);
                            }
                            2 => redis.fail_over(),
                            3 => {
                                redis.primary.pause();
                                control.wait_refused(1 + dice.below(200));
                                redis.primary.resume();
                            }
                            4 => {
                                redis.primary.say::<()>("SCRIPT FLUSH");
                                redis
                                    .primary
                                    .say::<u64>("CLIENT KILL TYPE normal SKIPME yes");
                            }
                            _ => redis.fail_over(),
                        }
                        if [0, 5].contains(&fault) {
                            servers[one].take().unwrap().kill9();
                            servers[one] = Some(setups[one].start());
                        }
                    }
                    control.wait_for(1000);
                })
            })
        });
    history.extend(second);
    history.extend(third);
    // What one instance counted, another says a moment later.
    for reading in &mut history.readings {
        reading.begun = 0;
    }
    let servers: Vec<Server> = servers.into_iter().flatten().collect();
    servers.iter().for_each(writes_again);
    eventually("all of them say the same", PATIENCE, || {
        let said: Option<Vec<Value>> = servers.iter().map(counters).collect();
        said?.windows(2).all(|two| two[0] == two[1]).then_some(())
    });
    println!(
        "{} operations, {} intents",
        control.acknowledged(),
        history.intents.len()
    );
    for server in &servers {
        traffic::verify(&mut server.client(), &control, history.clone());
        assert!(!server.output().contains("Redis lost some"));
    }
}
