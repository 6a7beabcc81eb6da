//! What is remembered of one counter that is watched, and what its rules say at a look.

use std::sync::Arc;

use super::board::Explained;
use super::course::{Course, MINUTE_MS, Minute, MinuteValue, minute_of};
use super::expected::{Compared, DAYS_BACK, Expected, REACH, SameMinutes};
use super::judge::{self, Activity, RecentValues};
use super::known::{ExplainedBy, KnownChange, KnownChanges};
use super::past::CounterPast;
use super::phase::{LookedAt, Verdict};
use super::rule::{AlertRules, RuleSettings};
use crate::calendar::Day;
use crate::counter::{CounterName, Definition, Generation, Kind, Millis, Revision, Seconds};
use crate::metrics::AlertRule;

/// How many of its own minutes are remembered.
const OWN_MINUTES: usize = 140;

/// How long before it ends a course of earlier days is read anew, in minutes.
const READ_AHEAD: Minute = 20;

/// How many minutes of earlier days are read beyond the ones wanted now.
const READ_BEYOND: Minute = 60;

/// For how long what counterd did is remembered, in milliseconds: 22 days.
const KNOWN_MS: Millis = 22 * 24 * 3_600_000;

/// After an absence of more minutes than this, nothing is judged for as long as [`READY_MS`].
const ABSENT: Minute = 5;
const READY_MS: Millis = 10 * MINUTE_MS;

/// The minutes before a counter fell silent by which its usual activity is known.
const BUSY: Minute = 60;

/// The rules about a counter.
pub const COUNTER_RULES: [AlertRule; 5] = [
    AlertRule::Drop,
    AlertRule::DropHard,
    AlertRule::Rise,
    AlertRule::Flat,
    AlertRule::AtBound,
];

/// What a counter says at a look.
#[derive(Clone, Debug)]
pub struct SeenCounter {
    /// Its value.
    pub value: i64,
    /// Whether it counts; otherwise it is deleted, or has expired.
    pub live: bool,
    /// The local day that the value belongs to.
    pub period: Option<Day>,
    /// When that day began; the minimum for a counter that never resets.
    pub period_start: Millis,
    /// The day that is counted now.
    pub today: Day,
    /// The revision of its last change.
    pub revision: Revision,
    /// When it last changed.
    pub changed_at: Millis,
    /// Its generation.
    pub generation: Generation,
    /// Whether its leases settle.
    pub settling: bool,
    /// Its definition.
    pub definition: Arc<Definition>,
    /// Whether a silence speaks of it.
    pub silenced: bool,
}

/// What was seen at the last look.
#[derive(Clone, Debug)]
struct Last {
    seen: SeenCounter,
    minute: Minute,
    /// The revision at the end of the minute before.
    minute_revision: Revision,
}

/// One counter that is watched.
pub struct CounterWatch {
    name: CounterName,
    own: Course,
    /// The courses of earlier days, in the order of [`DAYS_BACK`]; `None` before they are read.
    past: Option<[Course; DAYS_BACK.len()]>,
    recent: RecentValues,
    known: Option<KnownChanges>,
    /// Of which day how many events are known.
    events: (Day, u32),
    last: Option<Last>,
    /// Nothing is judged before this instant.
    ready_at: Millis,
    /// Since when it has not changed, in the time of alerts, as far as that is known.
    quiet_since: Millis,
    /// By how much longer it may have been quiet before this server began.
    quiet_before: Millis,
    /// When it was last looked at, in the time of alerts.
    looked_at: Option<Millis>,
    /// Its leases settle until then, in the time of alerts: nobody could renew them while writes were refused.
    settles_at: Millis,
    /// What is expected in which minute.
    expected: Option<(Minute, Option<Expected>)>,
    usual: Option<(Minute, Option<i64>)>,
    /// The reason that was told last of those that last for a while.
    told: Option<ExplainedBy>,
}

/// What a look at a counter came to.
#[derive(Default)]
pub struct Judged {
    /// What each of its rules says.
    pub verdicts: Vec<(AlertRule, Verdict)>,
    /// What explains a fall or a rise.
    pub explained: Vec<Explained>,
}

/// What all counters are judged by at a look.
pub struct LookContext<'a> {
    /// The instant.
    pub now: LookedAt,
    /// The local minutes of earlier days.
    pub same: &'a SameMinutes,
    /// The rules.
    pub rules: &'a AlertRules,
    /// The past of counters.
    pub past: &'a dyn CounterPast,
    /// Whether courses of earlier days may be read at this look.
    pub may_read: bool,
    /// Whether there were no data at the looks before.
    pub resumes: bool,
}

impl CounterWatch {
    /// Begins to watch a counter.
    pub fn new(name: CounterName) -> Self {
        Self {
            name,
            own: Course::default(),
            past: None,
            recent: RecentValues::default(),
            known: None,
            events: (Day::MIN, 0),
            last: None,
            ready_at: Millis::MIN,
            quiet_since: Millis::MIN,
            quiet_before: 0,
            looked_at: None,
            settles_at: Millis::MIN,
            expected: None,
            usual: None,
            told: None,
        }
    }

    /// Whether courses of earlier days are to be read for that minute.
    pub fn wants_past(&self, same: &SameMinutes) -> bool {
        let Some(past) = &self.past else { return true };
        past.iter().enumerate().any(|(place, course)| {
            let (range, center) = (course.range(), same.center(place));
            center - REACH.0 < range.start || center + READ_AHEAD > range.end
        })
    }

    /// Forgets what it compares hard drops with.
    pub fn forget_recent(&mut self) {
        self.recent.clear();
    }

    /// Judges all rules about the counter, of which `seen` is `None` where it cannot be read.
    pub fn look(&mut self, seen: Option<SeenCounter>, context: &LookContext<'_>) -> Judged {
        let mut judged = Judged::default();
        let Some(mut seen) = seen.filter(|seen| self.begin(seen, context)) else {
            judged.verdicts = COUNTER_RULES.map(|rule| (rule, Verdict::Unknown)).to_vec();
            return judged;
        };
        if context.resumes {
            self.resume(&seen, context.now.store_ms);
        }
        self.looked_at = Some(context.now.store_ms);
        seen.settling |= context.now.store_ms < self.settles_at;
        if context.may_read && self.wants_past(context.same) {
            self.read_past(&seen, context);
        }
        self.end_minute(context);
        self.learn(&seen, context, &mut judged);
        let within = self.hard_settings(context).within_ms;
        if seen.settling {
            // Values from before say nothing.
            self.ready_at = self.ready_at.max(context.now.wall_ms);
        }
        if excuse(&seen).is_some() || context.now.wall_ms < self.ready_at {
            // Nor does the last of them: the fall may come as this ends.
            self.recent.clear();
        } else {
            self.recent.push(context.now.store_ms, seen.value, within);
        }
        judged.verdicts = COUNTER_RULES
            .map(|rule| (rule, self.verdict(rule, &seen, context)))
            .to_vec();
        self.explain(&seen, context, &mut judged);
        let minute = minute_of(context.now.wall_ms);
        let minute_revision = match &self.last {
            Some(last) if last.minute == minute => last.minute_revision,
            Some(last) => last.seen.revision,
            None => seen.revision,
        };
        self.last = Some(Last {
            seen,
            minute,
            minute_revision,
        });
        judged
    }

    /// Goes on after a time in which writes were refused: no change could come, and no lease be renewed.
    fn resume(&mut self, seen: &SeenCounter, now: Millis) {
        let Some(looked_at) = self.looked_at else {
            return;
        };
        let away = now.saturating_sub(looked_at).max(0);
        self.quiet_since = self.quiet_since.saturating_add(away);
        if seen.definition.kind == Kind::Presence {
            let ttl = seen.definition.ttl.map_or(0, Seconds::millis);
            self.settles_at = now.saturating_add(ttl);
        }
    }

    fn hard_settings(&self, context: &LookContext<'_>) -> RuleSettings {
        let rule = AlertRule::DropHard;
        let found = context.rules.of(rule, Some(&self.name));
        found.unwrap_or_else(|| RuleSettings::usual(rule))
    }

    /// Reads what is to be known before the first look; returns whether it is known.
    fn begin(&mut self, seen: &SeenCounter, context: &LookContext<'_>) -> bool {
        if self.known.is_some() {
            return true;
        }
        let now = context.now;
        let minute = minute_of(now.wall_ms);
        let from = now.wall_ms.saturating_sub(KNOWN_MS);
        let own = minute - OWN_MINUTES as Minute..minute;
        let (Some(known), Some(own), Some(events)) = (
            context.past.known(&self.name, from, seen.today),
            context.past.course(&self.name, seen.definition.reset, own),
            context.past.events(&self.name, seen.today),
        ) else {
            return false;
        };
        let range = own.range();
        let last_up = range
            .clone()
            .rev()
            .find(|minute| own.at(*minute).value.is_some());
        let was_away = match last_up {
            Some(last) => minute - last > ABSENT,
            // It is new, or the server was away for longer than is looked back on.
            None => match context.past.was_up_before(range.start) {
                Some(was_up) => was_up,
                None => return false,
            },
        };
        if was_away {
            self.ready_at = now.wall_ms.saturating_add(READY_MS);
        }
        // The minutes at hand stand in for what was not seen of the last ones.
        let within = self.hard_settings(context).within_ms;
        let parted = known.parted_at(now.wall_ms).max(seen.period_start);
        if !was_away {
            for minute in range {
                let ended = (minute + 1).saturating_mul(MINUTE_MS);
                let ago = now.wall_ms.saturating_sub(ended).max(0);
                if let Some(value) = own.at(minute).value
                    && minute.saturating_mul(MINUTE_MS) >= parted
                    && ago <= within
                {
                    let at = now.store_ms.saturating_sub(ago);
                    self.recent.push(at, value, within);
                }
            }
        }
        // The minutes in which the server was up tell for how long it has been quiet; not to the second.
        let quiet_for = now.wall_ms.saturating_sub(seen.changed_at).max(0);
        let after = minute_of(seen.changed_at) + 1;
        let quiet_minutes = own.values(after.max(own.range().start)..minute).count();
        let quiet_ms = i64::try_from(quiet_minutes).map_or(0, |minutes| minutes * MINUTE_MS);
        self.quiet_since = now.store_ms.saturating_sub(quiet_ms);
        self.quiet_before = quiet_for.saturating_sub(quiet_ms).max(0);
        self.own = own;
        self.known = Some(known);
        self.events = (seen.today, events);
        true
    }

    fn read_past(&mut self, seen: &SeenCounter, context: &LookContext<'_>) {
        let read = |place: usize| {
            let center = context.same.center(place);
            let minutes = center - REACH.0..center + REACH.1 + READ_BEYOND;
            let reset = seen.definition.reset;
            context.past.course(&self.name, reset, minutes)
        };
        if let (Some(a), Some(b), Some(c), Some(d)) = (read(0), read(1), read(2), read(3)) {
            self.past = Some([a, b, c, d]);
        }
    }

    /// Notes the minute that ended, with what was seen last in it.
    fn end_minute(&mut self, context: &LookContext<'_>) {
        let minute = minute_of(context.now.wall_ms);
        let Some(last) = self.last.as_ref().filter(|last| last.minute != minute) else {
            return;
        };
        let value = last.seen.live.then_some(last.seen.value);
        let changed = last.seen.revision != last.minute_revision;
        let ended = MinuteValue { value, changed };
        self.own.push(last.minute, ended, OWN_MINUTES);
    }

    /// Learns what counterd did to the counter since the last look.
    fn learn(&mut self, seen: &SeenCounter, context: &LookContext<'_>, judged: &mut Judged) {
        let now = context.now;
        let Some(last) = self.last.clone() else {
            return;
        };
        let mut learned = Vec::new();
        if last.seen.revision != seen.revision {
            self.quiet_since = now.store_ms;
            self.quiet_before = 0;
            let goes_on = last.seen.generation == seen.generation;
            if goes_on && last.seen.definition != seen.definition {
                let by = ExplainedBy::Redefinition;
                learned.push(change(now, by, &last.seen, seen));
            }
        }
        if last.seen.period != seen.period && last.seen.live && seen.live {
            // It parts nothing that is remembered: minutes of another day are not compared with.
            self.recent.clear();
            let turned = change(now, ExplainedBy::DayBoundary, &last.seen, seen);
            self.tell(&turned, context, judged);
        }
        if last.seen.revision != seen.revision || last.seen.today != seen.today {
            self.learn_events(seen, &last, context, &mut learned);
        }
        if seen.generation != last.seen.generation || seen.live != last.seen.live {
            self.recent.clear();
        }
        for change in learned {
            if change.parts() {
                self.recent.clear();
            }
            self.tell(&change, context, judged);
            if let Some(known) = &mut self.known {
                known.0.push(change);
                known.forget_before(now.wall_ms.saturating_sub(KNOWN_MS));
            }
            self.expected = None;
        }
    }

    /// Learns of events of today that were not known.
    fn learn_events(
        &mut self,
        seen: &SeenCounter,
        last: &Last,
        context: &LookContext<'_>,
        learned: &mut Vec<KnownChange>,
    ) {
        let Some(events) = context.past.events(&self.name, seen.today) else {
            return;
        };
        let (day, before) = self.events;
        // A day that has ended may have more events too: those of its last second.
        let of_ended = if day == seen.today {
            Some(0)
        } else {
            context.past.events(&self.name, day)
        };
        let Some(of_ended) = of_ended else { return };
        self.events = (seen.today, events);
        if events.saturating_add(of_ended) <= before {
            return;
        }
        let from = context.now.wall_ms.saturating_sub(MINUTE_MS);
        let listed = context.past.known(&self.name, from, seen.today);
        let listed = listed.unwrap_or_default().0;
        let is_known = |change: &KnownChange| {
            self.known
                .as_ref()
                .is_some_and(|known| known.0.contains(change))
        };
        let fresh: Vec<KnownChange> = listed
            .into_iter()
            .filter(|change| !is_known(change))
            .collect();
        let is_creation = seen.generation != last.seen.generation && !last.seen.live;
        if fresh.is_empty() && !is_creation {
            let by = ExplainedBy::Unlisted;
            learned.push(change(context.now, by, &last.seen, seen));
        }
        learned.extend(fresh);
    }

    /// Tells of a change that is large enough to be an alert otherwise.
    fn tell(&self, change: &KnownChange, context: &LookContext<'_>, judged: &mut Judged) {
        let least = self.hard_settings(context).least.max(1).unsigned_abs();
        if change.before.abs_diff(change.after) >= least {
            judged.explained.push(Explained {
                at: change.at,
                counter: self.name.to_string(),
                reason: change.by.as_str(),
                before: change.before,
                after: change.after,
            });
        }
    }

    fn verdict(
        &mut self,
        rule: AlertRule,
        seen: &SeenCounter,
        context: &LookContext<'_>,
    ) -> Verdict {
        let Some(settings) = context.rules.of(rule, Some(&self.name)) else {
            return Verdict::Clear;
        };
        match excuse(seen) {
            // What is here will be known once all had the chance to say so.
            Some(ExplainedBy::Settling) => Verdict::Unknown,
            Some(_) => Verdict::Clear,
            None => self.plain_verdict(rule, seen, context, &settings),
        }
    }

    /// What the rule says, whatever excuses the counter for a while.
    fn plain_verdict(
        &mut self,
        rule: AlertRule,
        seen: &SeenCounter,
        context: &LookContext<'_>,
        settings: &RuleSettings,
    ) -> Verdict {
        match rule {
            AlertRule::AtBound => judge::at_bound(seen.value, &seen.definition),
            _ if context.now.wall_ms < self.ready_at => Verdict::Unknown,
            AlertRule::Drop => judge::drop(seen.value, self.expected(seen, context), settings),
            AlertRule::Rise => judge::rise(seen.value, self.expected(seen, context), settings),
            AlertRule::DropHard => judge::drop_hard(seen.value, self.recent.highest(), settings),
            AlertRule::Flat => {
                let quiet_ms = context.now.store_ms.saturating_sub(self.quiet_since);
                let usual = (quiet_ms >= settings.within_ms)
                    .then(|| self.usual_activity(settings.within_ms, quiet_ms, context));
                let activity = Activity {
                    quiet_ms,
                    at_most_ms: quiet_ms.saturating_add(self.quiet_before),
                    usual: usual.flatten(),
                };
                judge::flat(seen.value, activity, settings)
            }
            AlertRule::Refusals
            | AlertRule::OutcomeUnknown
            | AlertRule::ReadOnly
            | AlertRule::ExportLag
            | AlertRule::MirrorLag
            | AlertRule::Clock
            | AlertRule::Disk
            | AlertRule::CloseLate => Verdict::Clear,
        }
    }

    /// Tells once of an excuse without which a rule would hold.
    fn explain(&mut self, seen: &SeenCounter, context: &LookContext<'_>, judged: &mut Judged) {
        let Some(by) = excuse(seen).filter(|_| seen.live) else {
            self.told = None;
            return;
        };
        if self.told == Some(by) {
            return;
        }
        for rule in [AlertRule::Drop, AlertRule::DropHard, AlertRule::Rise] {
            let Some(settings) = context.rules.of(rule, Some(&self.name)) else {
                continue;
            };
            let plain = self.plain_verdict(rule, seen, context, &settings);
            if let Verdict::Holds(evidence) = plain {
                self.told = Some(by);
                judged.explained.push(Explained {
                    at: context.now.wall_ms,
                    counter: self.name.to_string(),
                    reason: by.as_str(),
                    before: evidence.expected.unwrap_or(seen.value),
                    after: seen.value,
                });
                return;
            }
        }
    }

    /// What is expected in the minute under way; worked out once for each minute.
    fn expected(&mut self, seen: &SeenCounter, context: &LookContext<'_>) -> Option<Expected> {
        let minute = context.same.now();
        if let Some((of, expected)) = self.expected
            && of == minute
        {
            return expected;
        }
        let past = self.past.as_ref()?;
        let compared = Compared {
            own: &self.own,
            past,
            known: self.known.as_ref()?,
            reset: seen.definition.reset,
            period_start: seen.period_start,
            not_before: self.ready_at,
        };
        let expected = compared.expected(context.same);
        self.expected = Some((minute, expected));
        expected
    }

    /// In which share of the minutes of such a span the counter changed in the three weeks before, else yesterday,
    /// else in the hour before it fell silent; in percent.
    fn usual_activity(
        &mut self,
        within_ms: Millis,
        quiet_ms: Millis,
        context: &LookContext<'_>,
    ) -> Option<i64> {
        let minute = context.same.now();
        if let Some((of, usual)) = self.usual
            && of == minute
        {
            return usual;
        }
        let span = within_ms.div_euclid(MINUTE_MS).clamp(1, REACH.0);
        let past = self.past.as_ref()?;
        let of_day = |place: usize| {
            let center = context.same.center(place);
            past.get(place)?.busy_percent(center - span..center)
        };
        let weeks = match [of_day(0), of_day(1), of_day(2)] {
            [Some(a), Some(b), Some(c)] => {
                let mut weeks = [a, b, c];
                weeks.sort_unstable();
                let [_, middle, _] = weeks;
                Some(middle)
            }
            _ => None,
        };
        let before = || {
            let end = minute - quiet_ms.div_euclid(MINUTE_MS);
            self.own.busy_percent(end - BUSY..end)
        };
        let usual = weeks.or_else(|| of_day(3)).or_else(before);
        self.usual = Some((minute, usual));
        usual
    }
}

/// Returns why no rule holds of a counter now.
fn excuse(seen: &SeenCounter) -> Option<ExplainedBy> {
    if !seen.live {
        Some(ExplainedBy::Delete)
    } else if seen.silenced {
        Some(ExplainedBy::Silence)
    } else {
        seen.settling.then_some(ExplainedBy::Settling)
    }
}

fn change(
    now: LookedAt,
    by: ExplainedBy,
    before: &SeenCounter,
    after: &SeenCounter,
) -> KnownChange {
    KnownChange {
        at: now.wall_ms,
        by,
        before: before.value,
        after: after.value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::course::MinuteValue;

    /// The figure of docs/alerts.md, which speaks of about 30 KB.
    #[test]
    fn a_counter_takes_thirty_kilobytes_at_most() {
        let of_a_day = usize::try_from(REACH.0 + REACH.1 + READ_BEYOND).unwrap();
        let minutes = OWN_MINUTES + DAYS_BACK.len() * of_a_day;
        let bytes = minutes * size_of::<MinuteValue>() + size_of::<CounterWatch>();
        assert!((20_000..30_000).contains(&bytes), "{bytes}");
    }
}
