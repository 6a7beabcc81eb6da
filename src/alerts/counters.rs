//! The counters that are watched: which ones, and what their rules say.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::board::{AlertBoard, Explained};
use super::counter_watch::{COUNTER_RULES, CounterWatch, LookContext, SeenCounter};
use super::course::minute_of;
use super::expected::SameMinutes;
use super::past::StoredPast;
use super::phase::{LookedAt, Verdict};
use super::rule::AlertRules;
use crate::counter::{CounterName, CounterPattern, Lapsing, Millis, Moment, Reset};
use crate::metrics::AlertRule;
use crate::seeded::bug;
use crate::writer::{Reading, Running};

/// How often it is chosen which counters are watched, in milliseconds.
const CHOSEN_EVERY_MS: Millis = 10_000;

/// Of so many counters the earlier days are read at one look.
const READ_AT_ONCE: usize = 4;

/// Most events that are shown.
const MOST_EVENTS: usize = 100;

/// The counters that are watched.
#[derive(Default)]
pub struct WatchedCounters {
    watched: BTreeMap<CounterName, CounterWatch>,
    chosen_at: Option<Millis>,
    same: Option<SameMinutes>,
    events: VecDeque<Explained>,
    told_too_many: bool,
    /// Whether there were no data at the last look.
    paused: bool,
}

/// What the rules about one counter say.
pub type CounterVerdicts = (CounterName, Vec<(AlertRule, Verdict)>);

impl WatchedCounters {
    /// Returns how many are watched.
    pub fn count(&self) -> usize {
        self.watched.len()
    }

    /// Whether this counter is watched.
    pub fn has(&self, counter: &CounterName) -> bool {
        self.watched.contains_key(counter)
    }

    /// Returns what explained falls and rises lately, newest first.
    pub fn events(&self) -> Vec<Explained> {
        self.events.iter().cloned().collect()
    }

    /// Notes that there are no data now: writes are refused, or the clock is not believed.
    pub fn pause(&mut self) {
        self.paused = true;
    }

    /// Forgets what it knows of counters: another store is open. What explained falls before stays.
    pub fn begin_anew(&mut self) {
        self.watched.clear();
        self.chosen_at = None;
    }

    /// Chooses anew which counters are watched, if that is due: those of the configuration, then those that
    /// rules name, then those whose names begin as rules say, up to `most`.
    pub fn choose(&mut self, running: &Running, rules: &AlertRules, most: usize) {
        let boot_ms = running.day.boot_ms();
        let is_due = |at: Millis| boot_ms.saturating_sub(at) >= CHOSEN_EVERY_MS;
        if !self.chosen_at.is_none_or(is_due) {
            return;
        }
        self.chosen_at = Some(boot_ms);
        let mut choice = Choice::of(most);
        running.configured.iter().for_each(|name| choice.add(name));
        let mut prefixes = Vec::new();
        for pattern in rules.named() {
            match pattern {
                CounterPattern::Name(name) => choice.add(name),
                CounterPattern::Prefix(prefix) => prefixes.push(prefix),
            }
        }
        for prefix in prefixes {
            // All of them are counted once, for the line of the log.
            let listed = if self.told_too_many { most } else { usize::MAX };
            let (found, _) = running.table.list(prefix, None, listed);
            found.iter().for_each(|reading| choice.add(&reading.name));
        }
        let Choice {
            chosen, left_out, ..
        } = choice;
        if !left_out.is_empty() && !std::mem::replace(&mut self.told_too_many, true) {
            tracing::warn!(
                left_out = left_out.len(),
                "more counters than alerts.max_counters have rules; the others are not watched"
            );
        }
        self.watched.retain(|name, _| chosen.contains(name));
        for name in chosen {
            self.watched
                .entry(name.clone())
                .or_insert_with(|| CounterWatch::new(name));
        }
    }

    /// Judges the rules about all counters that are watched.
    pub fn look(
        &mut self,
        running: &Running,
        rules: &AlertRules,
        board: &AlertBoard,
        now: LookedAt,
    ) -> Vec<CounterVerdicts> {
        let calendar = running.day.calendar();
        let minute = minute_of(now.wall_ms);
        if self.same.as_ref().is_none_or(|same| same.now() != minute) {
            self.same = Some(SameMinutes::at(calendar, minute));
        }
        let Some(same) = &self.same else {
            return Vec::new();
        };
        let past = StoredPast {
            reader: &running.reader,
            calendar,
        };
        let names: Vec<CounterName> = self.watched.keys().cloned().collect();
        let readings = running.table.read_many(&names);
        let moment = running.day.moment();
        let mut may_read = READ_AT_ONCE;
        let resumes = std::mem::take(&mut self.paused);
        let mut parted = false;
        let mut all = Vec::with_capacity(names.len());
        for ((name, watch), reading) in self.watched.iter_mut().zip(readings) {
            let Some(reading) = reading else {
                // Nobody defined or wrote it, or it is forgotten.
                let clear = COUNTER_RULES.map(|rule| (rule, Verdict::Clear));
                all.push((name.clone(), clear.to_vec()));
                continue;
            };
            let reads = may_read > 0 && watch.wants_past(same);
            may_read -= usize::from(reads);
            let context = LookContext {
                now,
                same,
                rules,
                past: &past,
                may_read: reads,
                resumes,
            };
            if bug("reset_hides_others") && parted {
                watch.forget_recent();
            }
            let silenced = board.is_silenced(name, now.wall_ms);
            let seen = seen(&reading, &moment, running, silenced);
            let judged = watch.look(seen, &context);
            parted |= !judged.explained.is_empty();
            for event in judged.explained {
                tracing::info!(
                    counter = event.counter,
                    reason = event.reason,
                    before = event.before,
                    after = event.after,
                    "a change of a counter has a known reason: it is no alert"
                );
                self.events.push_front(event);
                self.events.truncate(MOST_EVENTS);
            }
            all.push((name.clone(), judged.verdicts));
        }
        all
    }
}

/// Which counters are watched, and which would be if more could.
struct Choice {
    most: usize,
    chosen: BTreeSet<CounterName>,
    left_out: BTreeSet<CounterName>,
}

impl Choice {
    fn of(most: usize) -> Self {
        Self {
            most,
            chosen: BTreeSet::new(),
            left_out: BTreeSet::new(),
        }
    }

    /// Adds a counter that has rules; it may have been added before.
    fn add(&mut self, name: &CounterName) {
        if self.chosen.len() < self.most {
            self.chosen.insert(name.clone());
        } else if !self.chosen.contains(name) {
            self.left_out.insert(name.clone());
        }
    }
}

/// Says what a counter says; `None` where its record cannot be read.
fn seen(
    reading: &Reading,
    moment: &Moment,
    running: &Running,
    silenced: bool,
) -> Option<SeenCounter> {
    let seen = reading.seen(moment, running.day.calendar())?;
    let settling = matches!(seen.lapsing, Some(Lapsing::Leases { settling: true, .. }));
    Some(SeenCounter {
        value: seen.value,
        live: seen.over.is_none(),
        period: seen.period,
        period_start: match reading.definition.reset {
            Reset::Never => Millis::MIN,
            Reset::Daily => moment.today.start,
        },
        today: moment.today.day,
        revision: reading.revision,
        changed_at: reading.changed_at,
        generation: reading.generation,
        settling,
        definition: std::sync::Arc::clone(&reading.definition),
        silenced,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_that_is_left_out_is_counted_once() {
        let mut choice = Choice::of(2);
        for text in ["a", "b", "a", "c", "d", "c", "b"] {
            choice.add(&CounterName::parse(text).unwrap());
        }
        assert_eq!((choice.chosen.len(), choice.left_out.len()), (2, 2));
    }
}
