//! The exact-accounting checker: acknowledged ⊆ counted ⊆ attempted, and every answer in its place.
//!
//! Clients record every intent with each of its tries and answers, and what they read; afterwards
//! [`History::check`] compares that with the final values. It knows no server and no model: what it
//! claims follows from the answers alone. Clients that are told of changes write down each word too:
//! what is claimed of those is in `streams`.
//!
//! What a try may have done: an answer 2xx counted, once for all tries under one key; a refusal did
//! nothing in this try; `outcome_unknown` and a lost answer may have counted, once. Revisions give
//! the order in which the answers must fit together.
//!
//! Kept out: midnights (each period of a daily counter is an account of its own), definitions and
//! administrative calls: histories are of increments, decrements and batches, from a known state.

mod streams;
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

pub use streams::{Complete, Quiet, Stream, Word};

/// A moment of the run, in any unit that all clients share.
pub type Moment = u64;

/// One step: what a client wanted of one counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub counter: String,
    /// Signed.
    pub delta: i64,
    /// Set for a `unique` counter; its `delta` is 1.
    pub user: Option<String>,
}

/// What one step was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    pub current_value: i64,
    pub counted: bool,
    pub revision: u64,
    pub period: Option<String>,
}

/// What one try was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 2xx, with one part for each step.
    Counted(Vec<Done>),
    /// Anything that promises that this try did nothing, with its code.
    Refused(String),
    /// `outcome_unknown`, or no answer.
    Unknown,
}

#[derive(Clone, Debug)]
pub struct Try {
    pub begun: Moment,
    pub ended: Moment,
    pub answer: Answer,
}

/// What one client wanted: one step, or a batch of several. More than one try needs a key.
#[derive(Clone, Debug)]
pub struct Intent {
    pub steps: Vec<Step>,
    /// The idempotency key that all tries carry.
    pub key: Option<String>,
    pub tries: Vec<Try>,
}

/// One value that was read.
#[derive(Clone, Debug)]
pub struct Reading {
    pub counter: String,
    pub begun: Moment,
    pub ended: Moment,
    pub value: i64,
    pub revision: u64,
    pub period: Option<String>,
}

/// All that was done and seen.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub intents: Vec<Intent>,
    pub readings: Vec<Reading>,
    pub streams: Vec<Stream>,
}

impl History {
    /// Takes what others did and saw of the same counters.
    pub fn extend(&mut self, other: Self) {
        let Self {
            intents,
            readings,
            streams,
        } = other;
        self.intents.extend(intents);
        self.readings.extend(readings);
        self.streams.extend(streams);
    }

    /// The periods that answers named.
    pub fn periods(&self) -> impl Iterator<Item = &str> {
        let parts = self.intents.iter().filter_map(Intent::acknowledged);
        parts.flatten().filter_map(|done| done.period.as_deref())
    }
}

/// An account: a counter, and the period for a daily one.
pub type Account = (String, Option<String>);

/// Why a history cannot be that of an exact counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Tries without a key after one that may have counted.
    BlindRetry,
    /// An answer that has not one part for each step.
    WrongParts,
    /// Two answers to one intent differ.
    AnswersDiffer { first: Vec<Done>, second: Vec<Done> },
    /// Two counted steps have one revision.
    RevisionTwice(u64),
    /// In the order of revisions, a value does not follow from the one before.
    Chain {
        account: Account,
        revision: u64,
        expected: i64,
        found: i64,
    },
    /// Something that ended before another began has the later revision.
    Order { account: Account, revision: u64 },
    /// The final value is not what was acknowledged and some of what is unknown.
    Final {
        account: Account,
        acknowledged: i64,
        found: i64,
    },
    /// A user was counted twice in one period.
    UserTwice { account: Account, user: String },
    /// A user was said to be counted already, and nobody can have counted it.
    NeverCounted { account: Account, user: String },
    /// A value was read that is older than what was acknowledged or read before.
    StaleRead {
        account: Account,
        read: u64,
        before: u64,
    },
    /// A value was read that its revision never had.
    WrongRead {
        account: Account,
        revision: u64,
        read: i64,
        answered: i64,
    },
    /// One revision of a counter was said to have two values.
    TwoValues {
        counter: String,
        revision: u64,
        values: (i64, i64),
    },
    /// A stream said an older revision of a counter after a newer one.
    WentBack {
        stream: usize,
        counter: String,
        revision: u64,
        before: u64,
    },
    /// A stream said that its client has everything up to a revision, and it lacks a change below it.
    Skipped {
        stream: usize,
        counter: String,
        revision: u64,
        had: u64,
        complete: u64,
    },
    /// While nothing changed, what a stream had said (revision and value) was not what was read.
    LastWord {
        stream: usize,
        counter: String,
        told: Option<(u64, i64)>,
        read: (u64, i64),
    },
    /// No final value was given for an account that was counted in.
    Missing(Account),
}

impl Intent {
    /// One without a key that was answered at its only try.
    pub fn counted(steps: Vec<Step>, begun: Moment, ended: Moment, done: Vec<Done>) -> Self {
        let answer = Answer::Counted(done);
        Self {
            steps,
            key: None,
            tries: vec![Try {
                begun,
                ended,
                answer,
            }],
        }
    }

    /// What it was answered, if it ever was.
    pub fn acknowledged(&self) -> Option<&Vec<Done>> {
        self.tries.iter().find_map(|one| match &one.answer {
            Answer::Counted(parts) => Some(parts),
            Answer::Refused(_) | Answer::Unknown => None,
        })
    }

    /// Whether it may have counted without an answer that says so.
    pub fn uncertain(&self) -> bool {
        self.acknowledged().is_none() && self.tries.iter().any(|one| one.answer == Answer::Unknown)
    }

    fn begun(&self) -> Moment {
        self.tries
            .iter()
            .map(|one| one.begun)
            .min()
            .unwrap_or(Moment::MIN)
    }

    /// When its first acknowledgement was there.
    fn acknowledged_at(&self) -> Moment {
        let ends = self
            .tries
            .iter()
            .filter(|one| matches!(one.answer, Answer::Counted(_)));
        ends.map(|one| one.ended).min().unwrap_or(Moment::MAX)
    }
}

/// One acknowledged step.
struct Acknowledged<'a> {
    step: &'a Step,
    done: &'a Done,
    begun: Moment,
    ended: Moment,
}

impl History {
    /// Everything that is wrong, with `finals` as the values at the end. An account that is not in
    /// `finals` must not have been counted in.
    pub fn check(&self, finals: &BTreeMap<Account, i64>) -> Vec<Violation> {
        let mut found = Vec::new();
        self.check_answers(&mut found);
        if !found.is_empty() {
            // What follows takes each answer for the one of its intent.
            return found;
        }
        let mut accounts: BTreeMap<Account, Vec<Acknowledged<'_>>> = BTreeMap::new();
        let mut revisions = HashSet::new();
        for intent in &self.intents {
            let parts = intent.acknowledged().map_or(&[][..], Vec::as_slice);
            for (step, done) in intent.steps.iter().zip(parts) {
                if done.counted && !revisions.insert(done.revision) {
                    found.push(Violation::RevisionTwice(done.revision));
                }
                let account = (step.counter.clone(), done.period.clone());
                let (begun, ended) = (intent.begun(), intent.acknowledged_at());
                accounts.entry(account).or_default().push(Acknowledged {
                    step,
                    done,
                    begun,
                    ended,
                });
            }
        }
        for account in finals.keys() {
            accounts.entry(account.clone()).or_default();
        }
        for (account, steps) in &mut accounts {
            // Duplicates carry the revision of the change that they found.
            steps.sort_by_key(|one| (one.done.revision, !one.done.counted));
            self.check_chain(account, steps, &mut found);
            check_order(account, steps, &mut found);
            self.check_users(account, steps, &mut found);
            self.check_final(account, steps, finals, &mut found);
            self.check_readings(account, steps, &mut found);
        }
        self.check_streams(&mut found);
        found
    }

    fn check_answers(&self, found: &mut Vec<Violation>) {
        for intent in &self.intents {
            if intent.key.is_none() && intent.tries.len() > 1 {
                let before = &intent.tries[..intent.tries.len() - 1];
                if !before
                    .iter()
                    .all(|one| matches!(one.answer, Answer::Refused(_)))
                {
                    found.push(Violation::BlindRetry);
                }
            }
            let mut first: Option<&Vec<Done>> = None;
            for one in &intent.tries {
                let Answer::Counted(parts) = &one.answer else {
                    continue;
                };
                if parts.len() != intent.steps.len() {
                    found.push(Violation::WrongParts);
                } else if let Some(first) = first.filter(|&first| first != parts) {
                    found.push(Violation::AnswersDiffer {
                        first: first.clone(),
                        second: parts.clone(),
                    });
                }
                first = first.or(Some(parts));
            }
        }
    }

    /// The steps that may have counted in `counter` without an answer.
    fn uncertain<'a>(&'a self, counter: &'a str) -> impl Iterator<Item = &'a Step> {
        let intents = self.intents.iter().filter(|intent| intent.uncertain());
        intents
            .flat_map(|intent| &intent.steps)
            .filter(move |step| step.counter == counter)
    }

    /// In the order of revisions each value is the one before plus the step, and where it is not,
    /// steps of unknown outcome make up the difference: each at most once in the whole chain.
    fn check_chain(
        &self,
        account: &Account,
        steps: &[Acknowledged<'_>],
        found: &mut Vec<Violation>,
    ) {
        let uncertain: Vec<&Step> = self.uncertain(&account.0).collect();
        let (ups, downs): (Vec<i64>, Vec<i64>) = uncertain
            .iter()
            .map(|step| step.delta)
            .partition(|delta| *delta > 0);
        let (mut up_left, mut down_left) = (ups.iter().sum::<i64>(), downs.iter().sum::<i64>());
        let mut value = 0;
        for one in steps {
            let expected = if one.done.counted {
                value + one.step.delta
            } else {
                value
            };
            let gap = one.done.current_value - expected;
            // With both directions unknown, a small gap can hide a large up and a large down; the
            // bound by what is left is what can be said for certain.
            let explained = if downs.is_empty() || ups.is_empty() {
                (down_left..=up_left).contains(&gap)
            } else {
                gap.abs() <= up_left - down_left
            };
            if !explained || gap != 0 && uncertain.is_empty() {
                found.push(Violation::Chain {
                    account: account.clone(),
                    revision: one.done.revision,
                    expected,
                    found: one.done.current_value,
                });
            } else if downs.is_empty() {
                up_left -= gap;
            } else if ups.is_empty() {
                down_left -= gap;
            }
            value = one.done.current_value;
        }
    }

    fn check_users(
        &self,
        account: &Account,
        steps: &[Acknowledged<'_>],
        found: &mut Vec<Violation>,
    ) {
        let mut counted: HashMap<&str, Moment> = HashMap::new();
        for one in steps.iter().filter(|one| one.done.counted) {
            let Some(user) = &one.step.user else { continue };
            if counted.insert(user, one.begun).is_some() {
                found.push(Violation::UserTwice {
                    account: account.clone(),
                    user: user.clone(),
                });
            }
        }
        let maybe: HashSet<&str> = self
            .uncertain(&account.0)
            .filter_map(|step| step.user.as_deref())
            .collect();
        for one in steps.iter().filter(|one| !one.done.counted) {
            let Some(user) = &one.step.user else { continue };
            let by_then = counted
                .get(user.as_str())
                .is_some_and(|begun| *begun <= one.ended);
            if !by_then && !maybe.contains(user.as_str()) {
                found.push(Violation::NeverCounted {
                    account: account.clone(),
                    user: user.clone(),
                });
            }
        }
    }

    fn check_final(
        &self,
        account: &Account,
        steps: &[Acknowledged<'_>],
        finals: &BTreeMap<Account, i64>,
        found: &mut Vec<Violation>,
    ) {
        let Some(&value) = finals.get(account) else {
            found.push(Violation::Missing(account.clone()));
            return;
        };
        let known: HashSet<&str> = steps
            .iter()
            .filter_map(|one| one.step.user.as_deref())
            .collect();
        // A user that was ever answered, also as a duplicate, is counted exactly once.
        let of_users = i64::try_from(known.len()).unwrap();
        let plain = steps
            .iter()
            .filter(|one| one.step.user.is_none() && one.done.counted);
        let acknowledged = of_users + plain.map(|one| one.step.delta).sum::<i64>();
        let mut reachable = BTreeSet::from([0]);
        let mut new_users = HashSet::new();
        for step in self.uncertain(&account.0) {
            let again = match step.user.as_deref() {
                Some(user) => known.contains(user) || !new_users.insert(user),
                None => false,
            };
            if !again {
                let more: Vec<i64> = reachable.iter().map(|sum| sum + step.delta).collect();
                reachable.extend(more);
            }
        }
        if !reachable.contains(&(value - acknowledged)) {
            found.push(Violation::Final {
                account: account.clone(),
                acknowledged,
                found: value,
            });
        }
    }

    fn check_readings(
        &self,
        account: &Account,
        steps: &[Acknowledged<'_>],
        found: &mut Vec<Violation>,
    ) {
        let of_account = |one: &&Reading| one.counter == account.0 && one.period == account.1;
        let readings = self.readings.iter().chain(self.words());
        let readings: Vec<&Reading> = readings.filter(of_account).collect();
        let answered: HashMap<u64, i64> = steps
            .iter()
            .map(|one| (one.done.revision, one.done.current_value))
            .collect();
        // What was known, and since when.
        let mut known: Vec<(Moment, u64)> = steps
            .iter()
            .map(|one| (one.ended, one.done.revision))
            .collect();
        known.extend(readings.iter().map(|one| (one.ended, one.revision)));
        known.sort_unstable();
        let mut highest = 0;
        for entry in &mut known {
            highest = highest.max(entry.1);
            entry.1 = highest;
        }
        for reading in readings {
            let earlier = known.partition_point(|(ended, _)| *ended < reading.begun);
            let before = earlier.checked_sub(1).map_or(0, |at| known[at].1);
            if reading.revision < before {
                let (account, read) = (account.clone(), reading.revision);
                found.push(Violation::StaleRead {
                    account,
                    read,
                    before,
                });
            }
            if let Some(&value) = answered
                .get(&reading.revision)
                .filter(|&&value| value != reading.value)
            {
                found.push(Violation::WrongRead {
                    account: account.clone(),
                    revision: reading.revision,
                    read: reading.value,
                    answered: value,
                });
            }
        }
    }
}

/// What ended before another began has the lower revision.
fn check_order(account: &Account, steps: &[Acknowledged<'_>], found: &mut Vec<Violation>) {
    let mut latest_begin = Moment::MIN;
    for one in steps.iter().filter(|one| one.done.counted) {
        if one.ended < latest_begin {
            found.push(Violation::Order {
                account: account.clone(),
                revision: one.done.revision,
            });
        }
        latest_begin = latest_begin.max(one.begun);
    }
}
