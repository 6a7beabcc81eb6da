//! What three instances count together while they and Redis are killed, stopped and cut off: exact, by all that all of their
//! clients were told.

use std::collections::BTreeSet;
use std::mem;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use super::{instance, program, writes_again};
use crate::harness::{
    Client, Dice, PATIENCE, REDIS_PASSWORD, Redis, Server, Setup, SlowProxy, eventually, rounds,
    seed, skipped,
};
use crate::midnight::ShiftedClock;
use crate::traffic::{self, Control, Mix};

/// 2026-11-25T00:00:00Z.
const MIDNIGHT: i64 = 1_795_564_800_000;

/// The fault of a round in which the primary dies and its replica takes its place.
pub const FAIL_OVER: u64 = 2;

/// A primary and its replica, behind an address that always leads to the primary.
struct Pair {
    primary: Redis,
    replica: Redis,
    way: SlowProxy,
}

impl Pair {
    fn new(test: &str, environment: &[(&str, String)]) -> Option<Self> {
        let arguments = ["--appendonly", "yes", "--appendfsync", "always"];
        let arguments = [&arguments[..], &["--masterauth", REDIS_PASSWORD]].concat();
        let arguments = [&arguments[..], &["--repl-diskless-sync-delay", "0"]].concat();
        let start = || Redis::in_environment(&program()?, environment, &arguments);
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

/// Counts on `t.reset` and resets it, alone, wherever it is let, until the run is over: it knows each answer.
fn count_and_reset(addresses: &[SocketAddr], control: &Control, mut dice: Dice) {
    let client = |address| Client::new(address).admin();
    let mut clients: Vec<Client> = addresses.iter().copied().map(client).collect();
    let mut value = 0;
    for number in 0.. {
        if control.is_over() {
            return;
        }
        let resets = value > 0 && dice.below(20) == 0;
        let call = if resets { "reset" } else { "increment" };
        let (path, key) = (
            format!("/api/v1/counter/t.reset/{call}"),
            format!("reset-{number}"),
        );
        let said = eventually("it is counted or reset", 2 * PATIENCE, || {
            clients.rotate_left(1);
            let answer = clients[0].request("POST", &path, &[("idempotency-key", &key)], b"{}");
            answer.ok().filter(|answer| answer.status != 503)
        });
        value = if resets { 0 } else { value + 1 };
        assert_eq!(said.ok()["current_value"], value, "{call} {number}");
    }
}

/// Three instances count and are read; `fault` says what happens in each round, of which there are `rounds`. In the middle
/// of them it becomes midnight.
pub fn account(test: &str, seed: u64, rounds: u32, mut fault: impl FnMut(&mut Dice) -> u64 + Send) {
    if module_path!().contains("valkey") {
        return skipped(
            test,
            "a replica of this Valkey tells nothing of what it has under a clock that is moved",
        );
    }
    let homes: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let Some(clock) = ShiftedClock::in_home(test, homes[0].path()) else {
        return;
    };
    clock.set(MIDNIGHT - 10 * 60_000);
    let Some(mut redis) = Pair::new(test, clock.environment()) else {
        return;
    };
    let mut dice = Dice::new(seed);
    let url = redis.primary.url_through(redis.way.port());
    let setups: Vec<Setup> = homes
        .iter()
        .map(|home| {
            let setup = instance(home, &redis.primary)
                .set("redis.url", &url)
                .set("redis.ack", "replicas");
            clock.given_to(setup)
        })
        .collect();
    let mut servers: Vec<Option<Server>> = setups.iter().map(|setup| Some(setup.start())).collect();
    traffic::define(&mut servers[0].as_ref().unwrap().admin());
    traffic::define_daily(&mut servers[0].as_ref().unwrap().admin());
    let control = Control::with_rest(Duration::from_millis(2));
    let mix = |instance: u64| Mix {
        connections: 8,
        seed: seed ^ instance,
        users: 5000,
        big_batches: 1,
        watchers: 0,
        daily: true,
    };
    let addresses: Vec<_> = setups.iter().map(Setup::address).collect();
    let fail = || {
        for round in 1..=rounds {
            control.wait_for(500 + dice.below(2000));
            if round == rounds / 2 + 1 {
                clock.set(MIDNIGHT - 300);
            }
            let one = usize::try_from(dice.below(3)).unwrap();
            let fault = fault(&mut dice);
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
    };
    let (mut history, (second, (third, ()))) = std::thread::scope(|scope| {
        let resets = Dice::new(seed ^ 4);
        scope.spawn(|| count_and_reset(&addresses, &control, resets));
        traffic::during(addresses[0], mix(1), &control, || {
            traffic::during(addresses[1], mix(2), &control, || {
                traffic::during(addresses[2], mix(3), &control, fail)
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
    let days: BTreeSet<&str> = history.periods().collect();
    println!(
        "{} operations, {} intents, days {days:?}",
        control.acknowledged(),
        history.intents.len()
    );
    assert_eq!(days.len(), 2, "it became midnight");
    for server in &servers {
        traffic::verify(&mut server.client(), &control, history.clone());
        assert!(!server.output().contains("Redis lost some"));
    }
}

#[test]
fn three_instances_are_exact_while_they_and_redis_are_killed_and_stopped() {
    let test = "three_instances_are_exact_while_they_and_redis_are_killed_and_stopped";
    account(test, seed("instances"), rounds(5), |dice| dice.below(6));
}
