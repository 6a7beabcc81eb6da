//! The limiter against a model that is another formulation of the same rule, and under addresses that change
//! with each request.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;
use crate::http::tests::random::{Dice, rounds, seed};
use crate::http::tests::unlimited;
use crate::metrics::Metrics;

const SECOND: u64 = 1_000_000_000;

fn limits(per_ip: &str, burst: Option<u32>, max_keys: usize) -> RateLimits {
    RateLimits {
        per_ip: Some(per_ip.parse().unwrap()),
        burst,
        max_keys,
        ..unlimited()
    }
}

fn limiter(limits: &RateLimits) -> (RateLimiter, Metrics) {
    let metrics = Metrics::new();
    (RateLimiter::new(limits, metrics.rate.clone()), metrics)
}

/// Judges a write of that address with so many operations.
fn judge(limiter: &RateLimiter, address: u32, operations: u64, now: u64) -> Result<(), Refused> {
    let address = IpAddr::V4(Ipv4Addr::from_bits(address));
    limiter.take_of_address(RateLimit::IpWrites, address, operations, 0, || now)
}

/// Whether a write of that address with so many operations is let in.
fn lets_in(limiter: &RateLimiter, address: u32, operations: u64, now: u64) -> bool {
    judge(limiter, address, operations, now).is_ok()
}

/// A bucket that leaks: what is in it drips out by one each `interval`. A request is let in if its operations, or a
/// whole burst if they are more, fit on top of what is there; all of them are poured in then.
#[derive(Clone, Copy)]
struct Leaking {
    interval: u64,
    burst: u64,
    /// How much is in it, in nanoseconds of dripping, at `seen`.
    level: u64,
    seen: u64,
}

impl Leaking {
    fn pour(&mut self, operations: u64, now: u64) -> bool {
        self.level = self.level.saturating_sub(now - self.seen);
        self.seen = now;
        let fits =
            self.level + operations.min(self.burst) * self.interval <= self.burst * self.interval;
        if fits {
            self.level += operations * self.interval;
        }
        fits
    }

    /// Whether a refusal tells the truth: the same request fits after the wait and not before, and so many
    /// operations are left.
    fn agrees(mut self, refused: &Refused, operations: u64, now: u64) -> bool {
        let mut early = self;
        let room = (self.burst * self.interval).saturating_sub(self.level);
        refused.left == room / self.interval
            && !early.pour(operations, now + refused.wait - 1)
            && self.pour(operations, now + refused.wait)
    }
}

/// Lets random arrivals of many addresses come, and compares each judgement with the model's.
fn compare(seed: u64, arrivals: u64) {
    let mut dice = Dice(seed);
    for (rate, burst) in [
        ("100/s", None),
        ("7/s", Some(3)),
        ("600/m", Some(1)),
        ("10/m", Some(1000)),
        ("1/h", None),
        ("1000000/s", Some(50)),
    ] {
        let parsed: Rate = rate.parse().unwrap();
        let span = u64::from(parsed.seconds()) * SECOND;
        let interval = span.div_ceil(parsed.count().into());
        let depth = u64::from(burst.unwrap_or(parsed.count()));
        let (limiter, _metrics) = limiter(&limits(rate, burst, 4096));
        let mut model: HashMap<u32, Leaking> = HashMap::new();
        let (mut now, mut let_in) = (dice.below(SECOND), 0);
        for arrival in 0..arrivals / 6 {
            // About as many come as are let in, with spells without any, and whole rushes at one instant.
            now += match dice.below(100) {
                0 => dice.below(interval * depth * 2),
                1..50 => 0,
                _ => dice.below(interval / 4 + 2),
            };
            let address = u32::try_from(dice.below(50)).unwrap();
            let operations = match dice.below(20) {
                0 => 1 + dice.below(1000),
                1..5 => 1 + dice.below(10),
                _ => 1,
            };
            let bucket = model.entry(address).or_insert(Leaking {
                interval,
                burst: depth,
                level: 0,
                seen: 0,
            });
            let wanted = bucket.pour(operations, now);
            let got = judge(&limiter, address, operations, now);
            assert_eq!(got.is_ok(), wanted, "{rate}, arrival {arrival}");
            let_in += u64::from(wanted);
            if let Err(refused) = got {
                let agrees = bucket.agrees(&refused, operations, now);
                assert!(agrees, "{rate}, arrival {arrival}: {refused:?}");
            }
        }
        assert!(let_in > 0 && let_in < arrivals / 6, "{rate}: {let_in}");
    }
}

#[test]
fn a_million_judgements_equal_those_of_a_leaking_bucket() {
    let seed = seed("arrivals");
    for round in 0..rounds(1) {
        compare(seed.wrapping_add(round), 1_000_000);
    }
}

/// Bytes of memory that the process has.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// Lets rotating addresses come, each once, and between them an address that asks exactly as often as it may.
fn rotate(addresses: u32, each_second: u64, busy: std::ops::Range<i64>) {
    let (limiter, metrics) = limiter(&limits("100/s", None, 262_144));
    let honest = 7;
    let (mut refused, mut due) = (0, 0);
    let before = resident();
    for number in 0..addresses {
        let now = SECOND + u64::from(number) * SECOND / each_second;
        lets_in(&limiter, 0x0b00_0000 + number, 1, now);
        if now >= due {
            due = now + SECOND / 100;
            refused += u64::from(!lets_in(&limiter, honest, 1, now));
        }
    }
    let grown = resident().saturating_sub(before);
    limiter.measure(SECOND + u64::from(addresses) * SECOND / each_second);
    let keys = metrics.rate.keys.get();
    println!("{addresses} addresses, {each_second} a second: {grown} bytes more; {keys} keys");
    assert_eq!((refused, metrics.rate.overflows.get()), (0, 0));
    assert!(busy.contains(&keys), "{keys}");
    let is_alone = ["NEXTEST", "COUNTERD_SOAK_ROUNDS"].map(std::env::var_os);
    if is_alone == [None, None] {
        println!("SKIPPED rates: other tests share the process, so its memory tells nothing");
    } else {
        assert!(grown < 1 << 20, "{grown} bytes more");
    }
}

#[test]
fn while_addresses_rotate_an_honest_one_keeps_its_full_rate_and_memory_is_flat() {
    let addresses = 300_000 * u32::try_from(rounds(1)).unwrap();
    // Those of the last 10 ms are busy, give or take those of the sample.
    rotate(addresses, 100_000, 500..2000);
    rotate(addresses, 1_000_000, 5_000..20_000);
}

#[test]
fn when_the_table_is_full_newcomers_share_one_limit_and_the_known_keep_theirs() {
    let (limiter, metrics) = limiter(&limits("10/h", None, 1024));
    let known = 1;
    assert!(lets_in(&limiter, known, 1, SECOND));
    // Each stays busy for six minutes: the table fills, and then the bucket that the newcomers share.
    let newcomers = (1000..9000).filter(|address| lets_in(&limiter, *address, 1, SECOND));
    let let_in = u64::try_from(newcomers.count()).unwrap();
    let found_no_slot = metrics.rate.overflows.get();
    let found_a_slot = 8000 - found_no_slot;
    assert!((900..1024).contains(&found_a_slot), "{found_a_slot}");
    // Neither open nor shut: sixteen times what one address has.
    assert_eq!(let_in, found_a_slot + 160);
    assert!(!lets_in(&limiter, 9999, 1, SECOND));
    let later = SECOND + 3600 * SECOND / 160;
    assert!(lets_in(&limiter, 9999, 1, later));
    assert!(!lets_in(&limiter, 9998, 1, later));
    // Who had a slot has the rest of its own limit.
    let own = (0..20).filter(|_| lets_in(&limiter, known, 1, SECOND));
    assert_eq!(own.count(), 9);
    // With time the slots come free, and newcomers have limits of their own again.
    let much_later = SECOND + 7200 * SECOND;
    let before = metrics.rate.overflows.get();
    assert!((20_000..20_500).all(|address| lets_in(&limiter, address, 10, much_later)));
    assert_eq!(metrics.rate.overflows.get(), before);
}

#[test]
fn a_newcomer_of_ipv6_pays_the_shared_limit_once_and_a_refusal_costs_it_nothing() {
    let (limiter, metrics) = limiter(&limits("1/h", Some(10), 1024));
    let take = |address: u128, operations| {
        let address = IpAddr::V6(Ipv6Addr::from_bits(address));
        limiter.take_of_address(RateLimit::IpWrites, address, operations, 0, || SECOND)
    };
    let newcomer = |number: u32| (0x2001_0db8_u128 << 96) | (u128::from(number) << 80);
    // One /48 has a slot, and 5 of its 160 left.
    let known = |net: u128| (0x2001_0db9_u128 << 96) | (net << 64);
    for net in 0..15 {
        take(known(net), 10).unwrap();
    }
    take(known(15), 5).unwrap();
    assert_eq!(metrics.rate.overflows.get(), 0);
    for number in 0..20_000 {
        lets_in(&limiter, number, 1, SECOND);
    }
    *limiter.overflow[RateLimit::IpWrites as usize].lock() = 0;
    // It has too little left, and what its /64 without a slot took meanwhile is given back.
    assert!(take(known(99), 10).is_err());
    assert_eq!(
        *limiter.overflow[RateLimit::IpWrites as usize].lock(),
        SECOND
    );
    let let_in = (0..400).filter(|number| take(newcomer(*number), 1).is_ok());
    assert_eq!(let_in.count(), 160);
}

#[test]
fn guesses_have_a_table_of_their_own() {
    let guesses = RateLimits {
        wrong_admin_tokens: Some("1/h".parse().unwrap()),
        ..limits("1/s", None, 1024)
    };
    let (limiter, metrics) = limiter(&guesses);
    let guess = |number: u32| {
        let address = IpAddr::V4(Ipv4Addr::from_bits(number));
        limiter.note_guesses(address, 1, SECOND)
    };
    assert!((0..6000).all(|number| guess(number).is_ok()));
    assert_eq!(metrics.rate.overflows.get(), 0);
    let let_in = 6000
        + (6000..20_000)
            .filter(|number| guess(*number).is_ok())
            .count();
    // Those who find no place share sixteen.
    assert!((7400..=8192 + 16).contains(&let_in), "{let_in}");
    assert!(lets_in(&limiter, 7, 1, SECOND));
}

#[test]
fn threads_that_take_from_one_address_take_no_more_than_there_is() {
    let (limiter, _metrics) = limiter(&limits("1000/h", None, 1024));
    let let_in: usize = std::thread::scope(|scope| {
        let take = || {
            (0..1000)
                .filter(|_| lets_in(&limiter, 7, 1, SECOND))
                .count()
        };
        let threads = [(); 4].map(|()| scope.spawn(take));
        threads.map(|thread| thread.join().unwrap()).iter().sum()
    });
    assert_eq!(let_in, 1000);
}

#[test]
fn without_limits_nothing_is_allocated_and_nobody_is_refused() {
    let off = RateLimits {
        max_keys: 1 << 20,
        ..unlimited()
    };
    let (limiter, _metrics) = limiter(&off);
    assert!((0..1000).all(|_| lets_in(&limiter, 7, 1, SECOND)));
    assert!(limiter.table.get().is_none());
    limiter.set(&limits("1/s", None, 1 << 20));
    assert!(lets_in(&limiter, 7, 1, SECOND) && !lets_in(&limiter, 7, 1, SECOND));
}
