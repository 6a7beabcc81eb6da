//! What streams of changes said, beside what was answered and read.
//!
//! Each word of a stream is a reading: what it says held at some moment between the one at which its connection was
//! asked for and the one at which the word was there. It cannot be claimed to be younger, for an update may wait in
//! the server and in the kernel. So what was answered before the connection was asked for is in its words, and what a
//! word says no later reading denies. The rest follows from revisions alone, without any time.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::{Answer, Done, History, Reading, Violation};

/// What a stream said of one counter.
#[derive(Clone, Debug)]
pub struct Word {
    /// From when the connection was asked for until the word was there.
    pub reading: Reading,
    pub epoch: u64,
    /// A copy says so, which may be older than what the store said.
    pub stale: bool,
}

/// A client was told that it has everything up to a revision.
#[derive(Clone, Debug)]
pub struct Complete {
    /// How many words it had then.
    pub words: usize,
    pub revision: u64,
}

/// The client had everything, and nothing changed.
#[derive(Clone, Debug)]
pub struct Quiet {
    /// It had the words before these; these came while nothing changed.
    pub words: Range<usize>,
    /// What readers were told.
    pub read: Vec<Reading>,
}

/// What one client was told, over all its connections.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    pub words: Vec<Word>,
    pub complete: Vec<Complete>,
    pub quiet: Vec<Quiet>,
    /// The `id` of its last event, which it names when it comes back.
    pub position: Option<String>,
}

impl Stream {
    /// The last word of a counter among the first `words`.
    pub fn last(&self, counter: &str, words: usize) -> Option<&Word> {
        let mut words = self.words[..words].iter().rev();
        words.find(|word| word.reading.counter == counter)
    }

    /// Forgets what was said, but not how far: what comes next is judged by itself.
    pub fn forget_words(&mut self) {
        let position = self.position.take();
        *self = Self {
            position,
            ..Self::default()
        };
    }
}

impl History {
    /// What streams said, as readings.
    pub(super) fn words(&self) -> impl Iterator<Item = &Reading> {
        let words = self.streams.iter().flat_map(|stream| &stream.words);
        words.map(|word| &word.reading)
    }

    /// Everything that is wrong with what streams said.
    pub(super) fn check_streams(&self, found: &mut Vec<Violation>) {
        let said = self.check_revisions(found);
        for (number, stream) in self.streams.iter().enumerate() {
            check_order(number, stream, found);
            check_complete(number, stream, &said, found);
            check_quiet(number, stream, found);
        }
    }

    /// A revision belongs to one counter, and says one value in each period, whoever was told. Gives the revisions of each
    /// counter, in order.
    fn check_revisions(&self, found: &mut Vec<Violation>) -> BTreeMap<&str, Vec<u64>> {
        let answers = self.intents.iter().flat_map(|intent| {
            let answers = intent.tries.iter().filter_map(|one| match &one.answer {
                Answer::Counted(parts) => Some(parts),
                Answer::Refused(_) | Answer::Unknown => None,
            });
            answers.flat_map(|parts| intent.steps.iter().zip(parts))
        });
        let answers = answers.map(|(step, done)| {
            let Done {
                current_value: value,
                revision,
                period,
                counted: _,
            } = done;
            (step.counter.as_str(), *revision, period.as_deref(), *value)
        });
        let told = self.readings.iter().chain(self.words()).map(|reading| {
            let Reading {
                counter,
                value,
                revision,
                period,
                begun: _,
                ended: _,
            } = reading;
            (counter.as_str(), *revision, period.as_deref(), *value)
        });
        let mut owners: HashMap<u64, &str> = HashMap::new();
        let mut values: HashMap<(u64, Option<&str>), i64> = HashMap::new();
        for (counter, revision, period, value) in answers.chain(told) {
            if revision == 0 {
                // Nothing has changed it yet.
                continue;
            }
            if *owners.entry(revision).or_insert(counter) != counter {
                let twice = Violation::RevisionTwice(revision);
                if !found.contains(&twice) {
                    found.push(twice);
                }
                continue;
            }
            let first = *values.entry((revision, period)).or_insert(value);
            if first != value {
                found.push(Violation::TwoValues {
                    counter: counter.to_owned(),
                    revision,
                    values: (first, value),
                });
            }
        }
        let mut revisions: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for (revision, counter) in owners {
            revisions.entry(counter).or_default().push(revision);
        }
        revisions.values_mut().for_each(|all| all.sort_unstable());
        revisions
    }
}

/// Within an epoch no counter goes back on a stream.
fn check_order(number: usize, stream: &Stream, found: &mut Vec<Violation>) {
    let mut last: HashMap<(&str, u64), u64> = HashMap::new();
    for word in stream.words.iter().filter(|word| !word.stale) {
        let Reading {
            counter, revision, ..
        } = &word.reading;
        let before = last.entry((counter, word.epoch)).or_insert(0);
        if *revision < *before {
            found.push(Violation::WentBack {
                stream: number,
                counter: counter.clone(),
                revision: *revision,
                before: *before,
            });
        }
        *before = (*before).max(*revision);
    }
}

/// Who was told that it has everything up to a revision has it.
fn check_complete(
    number: usize,
    stream: &Stream,
    said: &BTreeMap<&str, Vec<u64>>,
    found: &mut Vec<Violation>,
) {
    let mut has: HashMap<&str, u64> = HashMap::new();
    let mut words = stream.words.iter();
    let mut taken = 0;
    for complete in &stream.complete {
        for word in words.by_ref().take(complete.words - taken) {
            has.insert(&word.reading.counter, word.reading.revision);
        }
        taken = complete.words;
        for (&counter, revisions) in said {
            let until = revisions.partition_point(|one| *one <= complete.revision);
            let newest = until.checked_sub(1).map_or(0, |at| revisions[at]);
            let had = has.get(counter).copied().unwrap_or(0);
            if had < newest {
                found.push(Violation::Skipped {
                    stream: number,
                    counter: counter.to_owned(),
                    revision: newest,
                    had,
                    complete: complete.revision,
                });
            }
        }
    }
}

/// The last word is what was read, and nothing else came.
fn check_quiet(number: usize, stream: &Stream, found: &mut Vec<Violation>) {
    let says = |one: &Reading| (one.revision, one.value, one.period.clone());
    for Quiet { words, read } in &stream.quiet {
        for read in read {
            let last = stream.last(&read.counter, words.start);
            let later = stream.words[words.clone()].iter();
            let later = later.filter(|word| word.reading.counter == read.counter);
            for word in std::iter::once(last).chain(later.map(Some)) {
                let told = word.map(|word| says(&word.reading));
                if told.as_ref() != Some(&says(read)) {
                    found.push(Violation::LastWord {
                        stream: number,
                        counter: read.counter.clone(),
                        told: told.map(|(revision, value, _)| (revision, value)),
                        read: (read.revision, read.value),
                    });
                }
            }
        }
    }
}
