//! The load that the exact-accounting checker judges: clients that count on all kinds of counters,
//! singly and in batches, with and without keys, and write down each try and each answer.
//!
//! A client with a key tries again until it knows; one without never does. While the server is away
//! they wait for it. Others watch what is counted meanwhile (`watching`). Kept out: what happens to the server, which is
//! each test's own matter.

mod afterwards;
mod wire;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub use self::afterwards::{ask_again, verify, violations};
pub use self::wire::{parts, request};
use crate::checker::{Answer, History, Intent, Moment, Reading, Step, Try};
use crate::harness::{Client, Dice, PATIENCE, at_once, eventually};
use crate::watching;

/// Moved up and down, below 0 too.
pub const GAUGE: &str = "t.gauge";
/// Only goes up.
pub const SUM: &str = "t.sum";
/// Counts users.
pub const USERS: &str = "t.users";
/// Counts users seen within an hour, longer than any run: each once, though each second is another grain.
pub const WINDOW: &str = "t.window";
/// Leases that outlast any run.
pub const HERE: &str = "t.here";
/// Moved together with [`TWIN_B`], by batches only.
pub const TWIN_A: &str = "t.twin-a";
/// Moved together with [`TWIN_A`].
pub const TWIN_B: &str = "t.twin-b";
/// Counts what happens in a day.
const DAILY: &str = "t.daily";
/// Counts the users of a day.
const DAILY_USERS: &str = "t.daily-users";
/// All that every load counts on.
pub const ALL: [&str; 7] = [GAUGE, SUM, USERS, WINDOW, HERE, TWIN_A, TWIN_B];
/// Those that count users.
const OF_USERS: [&str; 3] = [USERS, WINDOW, HERE];

/// How the clients and the test that runs them speak.
pub struct Control {
    begun: Instant,
    /// How long each client rests between two intents.
    rest: Duration,
    stop: AtomicBool,
    acknowledged: AtomicU64,
    refused: AtomicU64,
    stale: AtomicU64,
    /// How often the power went or came back: odd while it is off.
    power: AtomicU64,
}

impl Control {
    pub fn new() -> Self {
        Self::with_rest(Duration::ZERO)
    }

    /// Clients that do not do all they can, but rest so long between two intents.
    pub fn with_rest(rest: Duration) -> Self {
        Self {
            begun: Instant::now(),
            rest,
            stop: AtomicBool::new(false),
            acknowledged: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            stale: AtomicU64::new(0),
            power: AtomicU64::new(0),
        }
    }

    pub fn now(&self) -> Moment {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap()
    }

    /// No new intents; those that are under way are brought to their end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    pub fn is_over(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Says that the power goes now, or is back: what streams say in between proves nothing.
    pub fn switch_power(&self) {
        self.power.fetch_add(1, Ordering::SeqCst);
    }

    /// How often the power went or came back.
    pub fn power(&self) -> u64 {
        self.power.load(Ordering::SeqCst)
    }

    /// Whether the power is off after it went and came back so often.
    pub fn is_power_off(power: u64) -> bool {
        power % 2 == 1
    }

    /// So many more operations were acknowledged.
    pub fn count(&self, operations: u64) {
        self.acknowledged.fetch_add(operations, Ordering::SeqCst);
    }

    /// Operations acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// Waits until so many more operations are acknowledged.
    pub fn wait_for(&self, more: u64) {
        let goal = self.acknowledged() + more;
        eventually("operations are acknowledged", PATIENCE, || {
            (self.acknowledged() >= goal).then_some(())
        });
    }

    /// Waits until so many more reads say that they are stale.
    pub fn wait_stale(&self, more: u64) {
        let goal = self.stale.load(Ordering::SeqCst) + more;
        let stale = || self.stale.load(Ordering::SeqCst) >= goal;
        eventually("reads are stale", PATIENCE, || stale().then_some(()));
    }

    /// Waits until so many more tries are refused.
    pub fn wait_refused(&self, more: u64) {
        let goal = self.refused.load(Ordering::SeqCst) + more;
        let refused = || self.refused.load(Ordering::SeqCst) >= goal;
        eventually("writes are refused", PATIENCE, || refused().then_some(()));
    }
}

/// What the clients do, in parts of the whole.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    pub connections: usize,
    pub seed: u64,
    /// How many different users there are.
    pub users: u64,
    /// Of a hundred intents so many are batches of many new users: groups of more than 64 KiB.
    pub big_batches: u64,
    /// How many streams watch all of it, by server-sent events and WebSockets in turn.
    pub watchers: usize,
    /// Whether they count on the counters of [`define_daily`] too.
    pub daily: bool,
}

/// Defines the counters of the load.
pub fn define(admin: &mut Client) {
    let far = 1_000_000_000_000_i64;
    for name in [GAUGE, TWIN_A, TWIN_B] {
        admin.define(name, &json!({"kind": "gauge", "min": -far, "max": far}));
    }
    admin.define(SUM, &json!({"kind": "sum"}));
    admin.define(USERS, &json!({"kind": "unique"}));
    admin.define(
        WINDOW,
        &json!({"kind": "unique", "window": "1h", "grain": "1s"}),
    );
    admin.define(HERE, &json!({"kind": "presence", "ttl": "1h"}));
    watching::define(admin);
}

/// Defines the counters that begin anew each day.
pub fn define_daily(admin: &mut Client) {
    admin.define(DAILY, &json!({"kind": "sum", "reset": "daily"}));
    admin.define(DAILY_USERS, &json!({"kind": "unique", "reset": "daily"}));
}

/// Runs the clients while `during` runs, then gives what they and those who watched wrote down, and what it gave.
pub fn during<T>(
    address: SocketAddr,
    mix: Mix,
    control: &Control,
    during: impl FnOnce() -> T,
) -> (History, T) {
    at_several(&[address], mix, control, during)
}

/// The same at several servers: each next try of a client is at another one. Watched is the first.
pub fn at_several<T>(
    addresses: &[SocketAddr],
    mix: Mix,
    control: &Control,
    during: impl FnOnce() -> T,
) -> (History, T) {
    /// Also when a claim fails, so that the failure is seen and not waited on.
    struct StopsClients<'a>(&'a Control);
    impl Drop for StopsClients<'_> {
        fn drop(&mut self) {
            self.0.stop.store(true, Ordering::SeqCst);
        }
    }
    control.stop.store(false, Ordering::SeqCst);
    let (watched, (mut history, given)) =
        watching::during(addresses[0], mix.watchers, control, || {
            std::thread::scope(|scope| {
                let load = scope.spawn(move || run(addresses, mix, control));
                let stops = StopsClients(control);
                let given = during();
                drop(stops);
                (load.join().unwrap(), given)
            })
        });
    history.extend(watched);
    (history, given)
}

/// Runs the clients until [`Control::stop`].
fn run(addresses: &[SocketAddr], mix: Mix, control: &Control) -> History {
    let histories = at_once(mix.connections, |number| {
        let mut one = Counting {
            client: client(addresses[number % addresses.len()]),
            addresses,
            at: number % addresses.len(),
            dice: Dice::new(mix.seed ^ (number as u64).wrapping_mul(0x5851_F42D_4C95_7F2D)),
            number,
            mix,
            control,
            history: History::default(),
        };
        while !control.is_over() {
            one.turn();
            std::thread::park_timeout(control.rest);
        }
        one.history
    });
    let mut whole = History::default();
    histories.into_iter().for_each(|one| whole.extend(one));
    whole
}

fn client(address: SocketAddr) -> Client {
    Client::new(address).with_timeout(Duration::from_secs(20))
}

struct Counting<'a> {
    client: Client,
    addresses: &'a [SocketAddr],
    at: usize,
    dice: Dice,
    number: usize,
    mix: Mix,
    control: &'a Control,
    history: History,
}

impl Counting<'_> {
    fn turn(&mut self) {
        let roll = self.dice.below(100);
        let amount = 1 + i64::try_from(self.dice.below(3)).unwrap();
        let steps = if roll < self.mix.big_batches {
            self.many_new_users()
        } else {
            match self.dice.below(if self.mix.daily { 13 } else { 10 }) {
                0 | 1 => vec![step(SUM, amount)],
                2 | 3 => vec![step(GAUGE, amount)],
                4 => vec![step(GAUGE, -amount)],
                5 | 6 => vec![self.someone()],
                7 => {
                    let delta = if self.dice.below(2) == 0 {
                        amount
                    } else {
                        -amount
                    };
                    vec![step(TWIN_A, delta), step(TWIN_B, delta)]
                }
                8 => vec![
                    step(SUM, 1),
                    self.someone(),
                    step(GAUGE, -1),
                    self.someone(),
                    step(SUM, 2),
                ],
                9 => return self.read(),
                10 => vec![step(DAILY, amount)],
                11 => vec![self.one_of(DAILY_USERS)],
                _ => vec![
                    step(DAILY, 1),
                    self.one_of(DAILY_USERS),
                    step(DAILY, amount),
                ],
            }
        };
        let keyed = self.dice.below(2) == 0;
        let key = keyed.then(|| {
            format!(
                "{:x}-{}-{}",
                self.mix.seed,
                self.number,
                self.history.intents.len()
            )
        });
        self.pursue(Intent {
            steps,
            key,
            tries: Vec::new(),
        });
    }

    fn someone(&mut self) -> Step {
        let user = self.dice.below(self.mix.users);
        let counter = OF_USERS[usize::try_from(self.dice.below(3)).unwrap()];
        Self::of_user(counter, user)
    }

    fn one_of(&mut self, counter: &str) -> Step {
        let user = self.dice.below(self.mix.users);
        Self::of_user(counter, user)
    }

    fn of_user(counter: &str, user: u64) -> Step {
        let user = Some(format!("user-{user}"));
        Step {
            user,
            ..step(counter, 1)
        }
    }

    fn many_new_users(&mut self) -> Vec<Step> {
        let mut one = || {
            let user = format!(
                "{:016x}-{:016x}-{:-<80}",
                self.dice.next(),
                self.dice.next(),
                self.number
            );
            let user = Some(user);
            Step {
                user,
                ..step(USERS, 1)
            }
        };
        (0..200).map(|_| one()).collect()
    }

    /// With a key until the outcome is known; without one until it was sent.
    fn pursue(&mut self, mut intent: Intent) {
        let key = intent.key.clone();
        let (path, body) = request(&intent.steps);
        let given_up = Instant::now() + 2 * PATIENCE;
        loop {
            if self.client.connect().is_err() {
                self.control.refused.fetch_add(1, Ordering::SeqCst);
                // Nothing was sent. Once the run is over the server may stay away.
                if self.control.is_over() {
                    break;
                }
                assert!(Instant::now() < given_up, "the server stays away");
                wait_a_little();
                self.goes_elsewhere();
                continue;
            }
            let one = self.attempt(&path, key.as_deref(), &body);
            let (done, unknown) = (
                matches!(one.answer, Answer::Counted(_)),
                one.answer == Answer::Unknown,
            );
            intent.tries.push(one);
            if done {
                self.control.count(intent.steps.len() as u64);
                break;
            }
            self.control.refused.fetch_add(1, Ordering::SeqCst);
            if key.is_none() && unknown || self.control.is_over() {
                break;
            }
            assert!(
                Instant::now() < given_up,
                "still no outcome: {:?}",
                intent.tries.last()
            );
            wait_a_little();
            self.goes_elsewhere();
            // What is refused is tried again until it is not: reads go on meanwhile.
            if self.dice.below(4) == 0 {
                self.read();
            }
        }
        if !intent.tries.is_empty() {
            self.history.intents.push(intent);
        }
    }

    /// Takes the next of several servers.
    fn goes_elsewhere(&mut self) {
        self.at = (self.at + 1) % self.addresses.len();
        if self.addresses[self.at] != self.client.address() {
            self.client = client(self.addresses[self.at]);
        }
    }

    fn attempt(&mut self, path: &str, key: Option<&str>, body: &Value) -> Try {
        let begun = self.control.now();
        let headers: Vec<(&str, &str)> = key
            .map(|key| ("idempotency-key", key))
            .into_iter()
            .collect();
        let answer = self
            .client
            .request("POST", path, &headers, body.to_string().as_bytes());
        let ended = self.control.now();
        let answer = match answer {
            Err(_) => Answer::Unknown,
            Ok(response) if response.status == 200 => Answer::Counted(parts(&response.json())),
            Ok(response) => match response.code() {
                code if code == "outcome_unknown" => Answer::Unknown,
                code => {
                    // What a failing or ending server says; anything else is a mistake of the load.
                    let expected = [
                        "read_only",
                        "overloaded",
                        "closing",
                        "shutting_down",
                        "starting",
                    ];
                    assert!(expected.contains(&code.as_str()), "{}", response.text());
                    Answer::Refused(code)
                }
            },
        };
        Try {
            begun,
            ended,
            answer,
        }
    }

    fn read(&mut self) {
        let begun = self.control.now();
        let names = ALL.join(",");
        let Ok(response) =
            self.client
                .request("GET", &format!("/api/v1/counters?names={names}"), &[], b"")
        else {
            return wait_a_little();
        };
        if response.status == 503 {
            return wait_a_little();
        }
        let ended = self.control.now();
        let body = response.ok();
        let stale = body["stale"] == true;
        if stale {
            self.control.stale.fetch_add(1, Ordering::SeqCst);
        }
        let counters = body["counters"].as_array().unwrap();
        let value_of = |name: &str| {
            counters
                .iter()
                .find(|one| one["name"] == name)
                .map(|one| &one["value"])
        };
        assert_eq!(
            value_of(TWIN_A),
            value_of(TWIN_B),
            "counters moved together were read apart"
        );
        for one in counters {
            self.history.readings.push(Reading {
                counter: one["name"].as_str().unwrap().to_owned(),
                // What says that it is old may be as old as it likes.
                begun: if stale { 0 } else { begun },
                ended,
                value: one["value"].as_i64().unwrap(),
                revision: one["revision"].as_u64().unwrap(),
                period: one["period"].as_str().map(str::to_owned),
            });
        }
    }
}

/// Rests before the next try.
pub fn wait_a_little() {
    // polls: the server is away or refuses for now
    std::thread::sleep(Duration::from_millis(3));
}

pub fn step(counter: &str, delta: i64) -> Step {
    Step {
        counter: counter.to_owned(),
        delta,
        user: None,
    }
}
