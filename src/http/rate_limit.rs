//! Limits of rates: how often an address and a user may ask, and how often an address may guess a token.
//!
//! Everything is kept in a table of fixed size. When that is full of busy keys, those who come new share one wider
//! bucket for each limit: they are neither all let in nor all shut out, and those who are known keep their own.
//!
//! Kept out: what a client is told (`refusal`), and when a request is judged (`call`).

mod client;
mod gcra;
mod rate;
mod refusal;
mod table;

use std::net::IpAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use arc_swap::{ArcSwap, Guard};
use http::HeaderMap;
use ipnet::IpNet;
use parking_lot::Mutex;

use crate::counter::UserId;
use crate::metrics::{RateLimit, RateMetrics};
use crate::seeded::bug;
use client::contains;
use gcra::{Ask, Gcra};
use table::{Key, Table};

pub use client::{ClientSource, network};
pub use rate::Rate;
pub(super) use refusal::Refused;

/// How much wider than one bucket is that of all in a /48 of IPv6, and that of those who find no slot.
const WIDER: u64 = 16;

/// Networks whose wrong tokens are remembered.
const GUESSERS: usize = 8192;

/// How long no key may have lacked a slot before the log tells of it anew, in nanoseconds.
const QUIET: u64 = 60_000_000_000;

/// The limits of rates, and who a client is; may be changed while the server runs, but for `max_keys`.
#[derive(Clone, Debug)]
pub struct RateLimits {
    /// How often an address may ask: reads and writes each. `None` does not limit it.
    pub per_ip: Option<Rate>,
    /// How often a user may be counted. `None` does not limit it.
    pub per_user: Option<Rate>,
    /// Operations that a whole bucket of those two holds; `None` for the number in the rate.
    pub burst: Option<u32>,
    /// How often an address may send a token that nobody knows. `None` does not limit it.
    pub wrong_admin_tokens: Option<Rate>,
    /// Addresses and users that are remembered; that much memory is taken when a limit is first on.
    pub max_keys: usize,
    /// Networks whose addresses `per_ip` does not limit.
    pub exempt: Vec<IpNet>,
    /// Who a client is.
    pub clients: ClientSource,
}

/// What is in force of [`RateLimits`].
struct Rules {
    limits: [Option<Rule>; RateLimit::COUNT],
    exempt: Vec<IpNet>,
    clients: ClientSource,
}

/// One limit.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rule {
    limit: RateLimit,
    rate: Rate,
    burst: u32,
    gcra: Gcra,
    /// That of the bucket which those share who find no slot.
    shared: Gcra,
}

/// Out of which bucket something was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Payer {
    /// That of the key.
    Own,
    /// That of those who find no slot.
    Shared,
}

/// The limits of all runtimes together. Times are nanoseconds of boot time.
pub(super) struct RateLimiter {
    /// Whether any request is limited, or its client not always the peer.
    is_on: AtomicBool,
    rules: ArcSwap<Rules>,
    max_keys: usize,
    table: OnceLock<Table>,
    guesses: Table,
    /// The instant until which some address may have a bucket of guesses that is not whole; 0 while nobody guesses.
    guessed_until: AtomicU64,
    /// For each limit the bucket of those who find no slot.
    overflow: [Mutex<u64>; RateLimit::COUNT],
    overflowed_at: AtomicU64,
    metrics: RateMetrics,
}

impl Rule {
    fn new(limit: RateLimit, rate: Option<Rate>, burst: Option<u32>) -> Option<Self> {
        let rate = rate?;
        let burst = burst.unwrap_or(rate.count());
        let gcra = Gcra::new(rate, burst);
        Some(Self {
            limit,
            rate,
            burst,
            gcra,
            shared: gcra.wider(WIDER),
        })
    }

    /// Returns the limit of a /48 of IPv6.
    fn wider(self) -> Self {
        let gcra = self.gcra.wider(WIDER);
        Self { gcra, ..self }
    }
}

impl Rules {
    fn new(limits: &RateLimits) -> Self {
        let rule = |limit| match limit {
            RateLimit::IpReads | RateLimit::IpWrites => {
                Rule::new(limit, limits.per_ip, limits.burst)
            }
            RateLimit::User => Rule::new(limit, limits.per_user, limits.burst),
            RateLimit::WrongTokens => Rule::new(limit, limits.wrong_admin_tokens, None),
        };
        Self {
            limits: RateLimit::ALL.map(rule),
            exempt: limits.exempt.clone(),
            clients: limits.clients.clone(),
        }
    }

    fn rule(&self, limit: RateLimit) -> Option<Rule> {
        self.limits.get(limit as usize).copied().flatten()
    }

    /// Whether anything is limited that needs the large table.
    fn needs_table(&self) -> bool {
        let limits = [RateLimit::IpReads, RateLimit::IpWrites, RateLimit::User];
        limits.iter().any(|limit| self.rule(*limit).is_some())
    }
}

impl RateLimiter {
    pub(super) fn new(limits: &RateLimits, metrics: RateMetrics) -> Self {
        let limiter = Self {
            is_on: AtomicBool::new(false),
            rules: ArcSwap::from_pointee(Rules::new(limits)),
            max_keys: limits.max_keys,
            table: OnceLock::new(),
            guesses: Table::new(GUESSERS),
            guessed_until: AtomicU64::new(0),
            overflow: Default::default(),
            overflowed_at: AtomicU64::new(0),
            metrics,
        };
        limiter.set(limits);
        limiter
    }

    /// Changes the limits. Buckets stay as full as they are.
    pub(super) fn set(&self, limits: &RateLimits) {
        let rules = Rules::new(limits);
        if rules.needs_table() {
            self.table.get_or_init(|| Table::new(self.max_keys));
        }
        let is_on = rules.needs_table() || !rules.clients.trusted.is_empty();
        self.rules.store(rules.into());
        self.is_on.store(is_on, Relaxed);
    }

    /// Returns the rules; `None` while no request is limited and each client is the peer.
    fn rules(&self) -> Option<Guard<std::sync::Arc<Rules>>> {
        self.is_on.load(Relaxed).then(|| self.rules.load())
    }

    /// Returns who sent a request through proxies that are trusted; `None` when that is the peer.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        let rules = self.rules()?;
        let client = rules.clients.client(peer, headers);
        (client != peer.to_canonical()).then_some(client)
    }

    /// Takes so many operations out of the address's bucket, of which `paid` were taken before.
    ///
    /// # Errors
    /// When there are not enough in it.
    pub(super) fn take_of_address(
        &self,
        limit: RateLimit,
        address: IpAddr,
        operations: u64,
        paid: u64,
        now: impl FnOnce() -> u64,
    ) -> Result<(), Refused> {
        let (Some(rules), Some(table)) = (self.rules(), self.table.get()) else {
            return Ok(());
        };
        let Some(rule) = rules.rule(limit) else {
            return Ok(());
        };
        if contains(&rules.exempt, address) {
            return Ok(());
        }
        let ask = Ask { operations, paid };
        self.take_of_networks(table, rule, address, ask, now())
    }

    /// Takes it out of the bucket of the address, or of its /64 and its /48. Where neither of the two has a slot, it
    /// is taken once out of the bucket of those who find none.
    fn take_of_networks(
        &self,
        table: &Table,
        rule: Rule,
        address: IpAddr,
        ask: Ask,
        now: u64,
    ) -> Result<(), Refused> {
        let (narrow, wide) = keys(table, rule.limit, address);
        let payer = self.take(table, rule, narrow, ask, now)?;
        let Some(wide) = wide else {
            return Ok(());
        };
        let taken = match payer {
            Payer::Own => self.take(table, rule.wider(), wide, ask, now).map(drop),
            Payer::Shared => {
                let judged = judge_own(table, rule.wider(), wide, ask, now, keep);
                judged.unwrap_or(Ok(()))
            }
        };
        if taken.is_err() {
            self.give_back(table, rule, (narrow, payer), ask, now);
        }
        taken
    }

    /// Takes one operation out of the user's bucket.
    ///
    /// # Errors
    /// When there is none in it.
    pub(super) fn take_of_user(
        &self,
        user: &UserId,
        now: impl FnOnce() -> u64,
    ) -> Result<(), Refused> {
        match self.user_rule() {
            Some((rule, table)) => {
                let key = user_key(table, user);
                let taken = self.take(table, rule, key, Ask::of(1), now());
                taken.map(drop)
            }
            None => Ok(()),
        }
    }

    /// Takes out of each user's bucket as many operations as are the user's. `None` is an operation without a user.
    ///
    /// # Errors
    /// When one of them has not enough, with the places of the operations of all those. Nothing is taken then.
    pub(super) fn take_of_users<'u>(
        &self,
        users: impl Iterator<Item = Option<&'u UserId>>,
        now: impl FnOnce() -> u64,
    ) -> Result<(), (Refused, Vec<usize>)> {
        let Some((rule, table)) = self.user_rule() else {
            return Ok(());
        };
        let key = |(place, user): (usize, Option<&UserId>)| Some((user_key(table, user?), place));
        let mut operations: Vec<(Key, usize)> = users.enumerate().filter_map(key).collect();
        operations.sort_unstable();
        let now = now();
        let (mut worst, mut places) = (None::<Refused>, Vec::new());
        let mut taken = Vec::new();
        for of_user in operations.chunk_by(|one, other| one.0 == other.0) {
            let Some((key, _)) = of_user.first() else {
                continue;
            };
            let ask = Ask::of(of_user.len() as u64);
            match self.take(table, rule, *key, ask, now) {
                Ok(payer) => taken.push(((*key, payer), ask)),
                Err(refused) => {
                    places.extend(of_user.iter().map(|(_, place)| *place));
                    let longer = worst.filter(|worst| worst.wait >= refused.wait);
                    worst = longer.or(Some(refused));
                }
            }
        }
        let Some(refused) = worst else {
            return Ok(());
        };
        for (from, ask) in taken {
            self.give_back(table, rule, from, ask, now);
        }
        places.sort_unstable();
        Err((refused, places))
    }

    /// Returns the limit of users, and where their buckets are; `None` when they are not limited.
    fn user_rule(&self) -> Option<(Rule, &Table)> {
        let rule = self.rules()?.rule(RateLimit::User)?;
        Some((rule, self.table.get()?))
    }

    /// Whether the tokens of a request of this address, which are so many, may be compared with an administrator's.
    ///
    /// # Errors
    /// When the address has guessed too often.
    pub(super) fn may_guess(
        &self,
        address: IpAddr,
        tokens: impl FnOnce() -> u64,
        now: impl FnOnce() -> u64,
    ) -> Result<(), Refused> {
        let until = self.guessed_until.load(Relaxed);
        if until == 0 {
            return Ok(());
        }
        let now = now();
        if now >= until {
            // Whoever guessed meanwhile set a later one, which stays.
            let _ = self
                .guessed_until
                .compare_exchange(until, 0, Relaxed, Relaxed);
            return Ok(());
        }
        let Some(rule) = self.rules.load().rule(RateLimit::WrongTokens) else {
            return Ok(());
        };
        let (narrow, wide) = keys(&self.guesses, rule.limit, address);
        let ask = Ask::of(tokens());
        let look = |key, rule| {
            let leave = |_: &mut u64, _| ();
            let judged = self.judge(&self.guesses, rule, key, ask, now, leave);
            judged.map(drop)
        };
        look(narrow, rule)?;
        wide.map_or(Ok(()), |wide| look(wide, rule.wider()))
    }

    /// Notes tokens of one request that nobody knows.
    ///
    /// # Errors
    /// When the address has guessed too often.
    pub(super) fn note_guesses(
        &self,
        address: IpAddr,
        tokens: u64,
        now: u64,
    ) -> Result<(), Refused> {
        let Some(rule) = self.rules.load().rule(RateLimit::WrongTokens) else {
            return Ok(());
        };
        let wide = rule.wider().gcra.whole_by(now, tokens);
        let whole = rule.gcra.whole_by(now, tokens).max(wide);
        self.guessed_until.fetch_max(whole, Relaxed);
        self.take_of_networks(&self.guesses, rule, address, Ask::of(tokens), now)
    }

    /// Counts a refusal that a client is told.
    pub(super) fn count(&self, refused: &Refused) {
        if let Some(counter) = self.metrics.refused.get(refused.rule.limit as usize) {
            counter.inc();
        }
    }

    /// Tells the metrics how full the table is.
    pub(super) fn measure(&self, now: u64) {
        let busy = self.table.get().map_or(0, |table| table.busy(now));
        let slots = self.table.get().map_or(0, Table::slots);
        self.metrics
            .keys
            .set(i64::try_from(busy).unwrap_or(i64::MAX));
        self.metrics
            .slots
            .set(i64::try_from(slots).unwrap_or(i64::MAX));
    }

    fn take(
        &self,
        table: &Table,
        rule: Rule,
        key: Key,
        ask: Ask,
        now: u64,
    ) -> Result<Payer, Refused> {
        self.judge(table, rule, key, ask, now, keep)
    }

    /// Puts what was taken back into the bucket that it was taken out of.
    fn give_back(&self, table: &Table, rule: Rule, from: (Key, Payer), ask: Ask, now: u64) {
        let taken = ask.operations.saturating_sub(ask.paid);
        let back = |gcra: Gcra, whole_at: &mut u64| *whole_at = gcra.give_back(*whole_at, taken);
        match (from, self.overflow.get(rule.limit as usize)) {
            ((key, Payer::Own), _) => {
                table.update(key, now, |whole_at| back(rule.gcra, whole_at));
            }
            ((_, Payer::Shared), Some(shared)) => back(rule.shared, &mut shared.lock()),
            ((_, Payer::Shared), None) => {}
        }
    }

    /// Judges by the key's bucket, or by that of those who find no slot. `keep` is told the instant at which that
    /// bucket will be whole when what is asked is taken.
    fn judge(
        &self,
        table: &Table,
        rule: Rule,
        key: Key,
        ask: Ask,
        now: u64,
        keep: impl Fn(&mut u64, u64),
    ) -> Result<Payer, Refused> {
        if let Some(judged) = judge_own(table, rule, key, ask, now, &keep) {
            return judged.map(|()| Payer::Own);
        }
        self.note_overflow(table, rule.limit, now);
        if bug("limiter_admits_when_full") {
            return Ok(Payer::Shared);
        }
        if let Some(shared) = self.overflow.get(rule.limit as usize) {
            judge_bucket(rule, rule.shared, &mut shared.lock(), ask, now, keep)?;
        }
        Ok(Payer::Shared)
    }

    fn note_overflow(&self, table: &Table, limit: RateLimit, now: u64) {
        self.metrics.overflows.inc();
        let before = self.overflowed_at.swap(now, Relaxed);
        if before == 0 || now.saturating_sub(before) >= QUIET {
            tracing::warn!(
                limit = limit.as_str(),
                places = table.slots(),
                "the table of limits is full: those who come new share one limit"
            );
        }
    }
}

/// Keeps what was taken.
fn keep(whole_at: &mut u64, then: u64) {
    *whole_at = then;
}

/// Judges by a bucket that is whole at `whole_at`; see [`RateLimiter::judge`].
fn judge_bucket(
    rule: Rule,
    gcra: Gcra,
    whole_at: &mut u64,
    ask: Ask,
    now: u64,
    keep: impl Fn(&mut u64, u64),
) -> Result<(), Refused> {
    let then = gcra.take(*whole_at, now, ask).map_err(|wait| Refused {
        rule,
        operations: ask.operations,
        wait,
        left: gcra.left(*whole_at, now),
    })?;
    keep(whole_at, then);
    Ok(())
}

/// Judges by the key's own bucket; `None` when it finds no slot.
fn judge_own(
    table: &Table,
    rule: Rule,
    key: Key,
    ask: Ask,
    now: u64,
    keep: impl Fn(&mut u64, u64),
) -> Option<Result<(), Refused>> {
    let judge = |whole_at: &mut u64| judge_bucket(rule, rule.gcra, whole_at, ask, now, keep);
    table.update(key, now, judge)
}

/// What a key is of: which limit, and whether of the wider network.
fn kind(limit: RateLimit, wide: bool) -> u8 {
    limit as u8 * 2 + u8::from(wide)
}

fn user_key(table: &Table, user: &UserId) -> Key {
    table.key(kind(RateLimit::User, false), user.as_str().as_bytes())
}

/// Returns the keys of an address: of IPv6 that of its /64, for a /64 is what one customer has at least, and that
/// of its /48.
fn keys(table: &Table, limit: RateLimit, address: IpAddr) -> (Key, Option<Key>) {
    let key = |wide, network: &[u8]| table.key(kind(limit, wide), network);
    match address {
        IpAddr::V4(address) => (key(false, &address.octets()), None),
        IpAddr::V6(address) => {
            let [a, b, c, d, e, f, g, h, ..] = address.octets();
            let wide = key(true, &[a, b, c, d, e, f]);
            (key(false, &[a, b, c, d, e, f, g, h]), Some(wide))
        }
    }
}

#[cfg(test)]
mod tests;
