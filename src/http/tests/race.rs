//! Requests that arrive at the very moment a connection ends: each is answered, or certainly not
//! counted. The clients send again what was not answered, as HTTP libraries do on kept connections, so
//! that a request that was counted without an answer would be counted twice.

use std::net::SocketAddr;

use super::random::{Dice, rounds, seed};
use super::*;

/// Calls of all races of an ordinary run; `script/soak race` asks for more.
const CALLS: u64 = 6_000;

const CLIENTS: u64 = 12;

/// Longest rest of a client between two requests, and between two halves of one.
const LONGEST_REST_US: u64 = 4_000;

/// How many calls a race with this share of all has.
fn calls(percent: u64) -> u64 {
    rounds(CALLS) * percent / 100
}

/// What the clients of a race saw.
#[derive(Debug, Default)]
struct Seen {
    /// The `current_value` of each call that was answered 200.
    values: Vec<i64>,
    /// Tries that ended without a byte of an answer.
    unanswered: u64,
    /// Tries that were refused: 408 and 503.
    refused: u64,
}

impl Seen {
    fn of_all(clients: impl IntoIterator<Item = Seen>) -> Seen {
        clients.into_iter().fold(Seen::default(), |mut all, seen| {
            all.values.extend(seen.values);
            all.unanswered += seen.unanswered;
            all.refused += seen.refused;
            all
        })
    }

    /// The counter holds what was answered, and nothing else: the calls took 1, 2, 3 … each once.
    #[track_caller]
    fn are_all_that_counted(mut self, bench: &Bench) {
        self.values.sort_unstable();
        let value = bench.running.table.read("raced").map_or(0, |c| c.value);
        let counted: Vec<i64> = (1..=value).collect();
        let (calls, tries) = (self.values.len(), self.unanswered + self.refused);
        println!(
            "{calls} calls answered, counter at {value}; {} tries without an answer and {} refused",
            self.unanswered, self.refused
        );
        assert!(self.values == counted, "{calls} calls, {tries} more tries");
    }
}

/// One client with a kept connection.
struct Client {
    address: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
    dice: Dice,
    seen: Seen,
}

/// What came of one try.
enum Try {
    Answered,
    Again,
    /// Nobody listens any longer.
    Over,
}

impl Client {
    fn new(address: SocketAddr, seed: u64) -> Self {
        Self {
            address,
            connection: None,
            dice: Dice(seed),
            seen: Seen::default(),
        }
    }

    fn rest(&mut self) {
        let rest = Duration::from_micros(self.dice.below(LONGEST_REST_US));
        // polls: a client that rests for about as long as the server lets it
        std::thread::sleep(rest);
    }

    /// Makes so many calls, each until it is answered. Gives what was seen when nobody listens.
    fn make(mut self, calls: u64) -> Seen {
        for _ in 0..calls {
            loop {
                match self.try_once() {
                    Try::Answered => break,
                    Try::Again => {}
                    Try::Over => return self.seen,
                }
            }
        }
        self.seen
    }

    /// One or two requests at once, whole or in halves, on the connection that is kept.
    fn try_once(&mut self) -> Try {
        if self.dice.below(16) == 0 {
            self.connection = None;
        }
        self.rest();
        let Some(mut connection) = self.connection.take().or_else(|| self.connect()) else {
            return Try::Over;
        };
        let one = request("POST /api/v1/counter/raced/increment", "", "{}");
        let (text, expected) = match self.dice.below(8) {
            0 => (one.repeat(2), 2),
            _ => (one, 1),
        };
        let cut = match self.dice.below(3) {
            0 => self.dice.below(text.len() as u64) as usize,
            _ => text.len(),
        };
        let (first, second) = text.split_at(cut);
        // An answer may wait all the same where the rest could no longer be sent.
        if connection.get_mut().write_all(first.as_bytes()).is_ok() && !second.is_empty() {
            self.rest();
            let _ = connection.get_mut().write_all(second.as_bytes());
        }
        let mut outcome = Try::Again;
        for _ in 0..expected {
            match receive(&mut connection) {
                None => {
                    self.seen.unanswered += 1;
                    return outcome;
                }
                Some(reply) if reply.status == 200 => {
                    let value = reply.json()["current_value"].as_i64().unwrap();
                    self.seen.values.push(value);
                    outcome = Try::Answered;
                    if reply.head.contains("connection: close\r\n") {
                        return outcome;
                    }
                }
                Some(reply) => {
                    assert!(matches!(reply.status, 408 | 503), "{}", reply.body);
                    self.seen.refused += 1;
                    return outcome;
                }
            }
        }
        self.connection = Some(connection);
        outcome
    }

    fn connect(&self) -> Option<BufReader<TcpStream>> {
        let stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Some(BufReader::new(stream))
    }
}

/// Lets clients make that many calls in all, while `meanwhile` runs.
fn race(address: SocketAddr, seed: u64, calls: u64, meanwhile: impl FnOnce()) -> Seen {
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| Client::new(address, seed.wrapping_add(number << 32)))
            .map(|client| scope.spawn(move || client.make(calls.div_ceil(CLIENTS))))
            .collect();
        meanwhile();
        Seen::of_all(clients.into_iter().map(|client| client.join().unwrap()))
    })
}

/// Every limit of time is so short that it ends as often as not while a request arrives.
fn shortest_times(options: &mut HttpOptions) {
    let shortest = Duration::from_millis(1);
    options.limits.idle_timeout = shortest;
    options.limits.header_timeout = shortest;
    options.limits.body_timeout = shortest;
}

#[test]
fn a_request_that_meets_a_limit_of_time_is_answered_or_not_counted() {
    let seed = seed("limits of time");
    let bench = Bench::with(shortest_times);
    let seen = race(bench.http().addr(), seed, calls(70), || {});
    assert!(
        seen.unanswered > 0 && seen.refused > 0,
        "nothing was raced: {seen:?}"
    );
    seen.are_all_that_counted(&bench);
    bench.end();
}

#[test]
fn a_request_that_meets_the_limit_of_connections_is_answered_or_not_counted() {
    let seed = seed("limit of connections");
    let bench = Bench::with(|options| {
        shortest_times(options);
        options.limits.max_connections = CLIENTS as usize / 2;
    });
    let seen = race(bench.http().addr(), seed, calls(15), || {});
    seen.are_all_that_counted(&bench);
    bench.end();
}

#[test]
fn a_request_that_meets_the_end_of_the_server_is_answered_or_not_counted() {
    const CALLS_A_ROUND: u64 = 100;
    let seed = seed("ends");
    let mut dice = Dice(seed);
    for round in 0..calls(15) / CALLS_A_ROUND {
        let mut bench = Bench::new();
        let http = bench.http.take().unwrap();
        let pause = Duration::from_micros(dice.below(20_000));
        let address = http.addr();
        let seen = race(address, seed.wrapping_add(round), u64::MAX / 2, || {
            // polls: the server ends while the clients are somewhere in their calls
            std::thread::sleep(pause);
            http.begin_drain();
            if round % 2 == 0 {
                until("it does not end", || http.is_drained());
            } else {
                // As when server.drain_timeout is over.
                bench.running.stop();
            }
            drop(http);
        });
        seen.are_all_that_counted(&bench);
        bench.end();
    }
}
