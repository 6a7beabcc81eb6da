//! The rules on a real store and a clock that stands still: what fires when, and when it has ended.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::course::{MINUTE_MS, Minute, minute_of};
use super::expected::DAYS_BACK;
use super::*;
use crate::calendar::{Calendar, Day};
use crate::clock::{Clock, ManualClock};
use crate::counter::{
    Action, Adjustment, CounterPattern, Definition, Kind, Millis, Operation, RequestId, Reset,
    Seconds, UserId,
};
use crate::metrics::{Metrics, Shard};
use crate::storage::{Batch, StorageOptions};
use crate::writer::{Command, PreparedBatch, Request, Running, WriterOptions};

mod examples;
mod scenarios;
mod season;
mod server;

/// 2026-11-24T12:00:00Z, a Tuesday.
const NOON: Millis = 1_795_521_600_000;
const HOUR: Minute = 60;

fn name(text: &str) -> CounterName {
    CounterName::parse(text).unwrap()
}

fn entry(rule: AlertRule, counters: &[&str], change: impl FnOnce(&mut RuleSettings)) -> RuleEntry {
    let mut settings = RuleSettings::usual(rule);
    change(&mut settings);
    let counters = counters.iter();
    RuleEntry {
        rule,
        counters: counters
            .map(|text| CounterPattern::parse(text).unwrap())
            .collect(),
        settings,
    }
}

/// Only these rules are judged.
fn only(rules: &[AlertRule]) -> AlertRules {
    let off = AlertRule::ALL.into_iter();
    let off = off.filter(|rule| !rules.contains(rule));
    AlertRules::new(
        off.map(|rule| entry(rule, &[], |settings| settings.enabled = false))
            .collect(),
    )
}

/// These entries, and no rule beside them.
fn changed(mut entries: Vec<RuleEntry>) -> AlertRules {
    let off = AlertRule::ALL.map(|rule| entry(rule, &[], |settings| settings.enabled = false));
    entries.extend(off);
    AlertRules::new(entries)
}

/// A server with its watch, whose seconds a test lets pass.
struct Stage {
    running: Running,
    clock: Arc<ManualClock>,
    metrics: Arc<Metrics>,
    shard: Shard,
    watch: AlertWatch,
    board: Arc<AlertBoard>,
    options: AlertOptions,
    zone: &'static str,
    /// The second that has passed since the begin.
    second: i64,
    /// What fired and ended: the second, the alert, and which.
    turns: Vec<String>,
    dir: tempfile::TempDir,
}

fn writer_options(
    dir: &Path,
    clock: &Arc<ManualClock>,
    zone: &str,
    metrics: &Arc<Metrics>,
) -> WriterOptions {
    let sum = Definition {
        kind: Kind::Sum,
        reset: Reset::Daily,
        ..Definition::default()
    };
    let presence = Definition {
        kind: Kind::Presence,
        ttl: Some(Seconds(60)),
        ..Definition::default()
    };
    let configured = [
        ("games", sum),
        ("here", presence.complete().unwrap()),
        ("online", Definition::default()),
    ];
    WriterOptions {
        configured: configured.map(|(text, of)| (name(text), of)).to_vec(),
        min_free: Some(1 << 20),
        metrics: Arc::clone(metrics),
        ..WriterOptions::new(
            StorageOptions::small(dir),
            Arc::clone(clock) as Arc<dyn Clock>,
            Calendar::new(zone, "00:00".parse().unwrap()).unwrap(),
        )
    }
}

impl Stage {
    fn new(rules: AlertRules) -> Self {
        Self::at(rules, NOON, "UTC")
    }

    fn at(rules: AlertRules, wall_ms: Millis, zone: &'static str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(wall_ms));
        let metrics = Arc::new(Metrics::new());
        let options = writer_options(dir.path(), &clock, zone, &metrics);
        let running = Running::start(options).unwrap();
        let options = AlertOptions {
            rules,
            max_counters: 100,
            ..AlertOptions::default()
        };
        let board = AlertBoard::new();
        let copies = WatchedCopies::default();
        let watch = AlertWatch::new(&running, &metrics, options.clone(), copies, &board);
        Self {
            shard: metrics.shard(),
            running,
            clock,
            metrics,
            watch,
            board,
            options,
            zone,
            second: 0,
            turns: Vec::new(),
            dir,
        }
    }

    fn now(&self) -> Minute {
        minute_of(self.clock.wall_ms())
    }

    /// Writes the minutes of a counter as if it had had these values.
    fn past(&self, counter: &str, minutes: Range<Minute>, value: impl Fn(Minute) -> Option<i64>) {
        let counter = name(counter);
        let day_of = |minute: Minute| self.running.day.calendar().day_of(minute * MINUTE_MS);
        let mut batch = Batch::new();
        for minute in minutes {
            let day: Day = day_of(minute);
            let at = u32::try_from(minute).unwrap();
            batch.put_uptime_minute(day, at);
            if let Some(value) = value(minute) {
                batch.put_sample(day, &counter, at, Some(value));
            }
        }
        let horizons = Vec::new();
        let prepared = PreparedBatch {
            batch,
            horizons,
            as_of: None,
        };
        self.running.intake.carry_out(prepared).unwrap();
    }

    /// The same on earlier days, by their places: the minutes around the one that has the same local time as now, as
    /// `value` says for how far they are from that.
    fn earlier(&self, counter: &str, places: &[usize], value: impl Fn(Minute) -> Option<i64>) {
        for place in places {
            let calendar = self.running.day.calendar();
            let wall_ms = self.clock.wall_ms();
            let same = calendar.same_time_before(wall_ms, DAYS_BACK[*place]);
            let center = minute_of(same);
            let minutes = center - 3 * HOUR..center + 6 * HOUR;
            self.past(counter, minutes, |minute| value(minute - center));
        }
    }

    /// The last hours of `online`, and the same hours of three weeks, had these values all the time.
    fn usual(&self, weeks: i64, own: i64) {
        self.earlier("online", &[0, 1, 2], |_| Some(weeks));
        self.own("online", own);
    }

    /// The last hours of a counter had that value, which it has now too.
    fn own(&self, counter: &str, value: i64) {
        let now = self.now();
        self.past(counter, now - 3 * HOUR..now, |_| Some(value));
        self.set(counter, value);
    }

    fn ask(&self, command: Command) {
        let request = Request {
            command,
            key: None,
            request_id: RequestId::Made(1),
        };
        self.running.intake.call(request).unwrap();
    }

    fn value(&self, counter: &str) -> i64 {
        let reading = self.running.table.read(counter).unwrap();
        let day = &self.running.day;
        reading.seen(&day.moment(), day.calendar()).unwrap().value
    }

    fn apply(&self, counter: &str, action: Action, amount: i64, user: Option<&str>) {
        self.ask(Command::Apply(Operation {
            counter: name(counter),
            action,
            amount,
            user_id: user.map(|user| UserId::parse(user).unwrap()),
            session: None,
        }));
    }

    /// Counts a gauge or sum up or down to a value.
    fn set(&self, counter: &str, value: i64) {
        let known = self.running.table.read(counter).is_some();
        let by = value - if known { self.value(counter) } else { 0 };
        match by {
            0 => {}
            1.. => self.apply(counter, Action::Increment, by, None),
            _ => self.apply(counter, Action::Decrement, -by, None),
        }
    }

    fn adjust(&self, counter: &str, adjustment: Adjustment) {
        self.ask(Command::Adjust {
            counter: name(counter),
            adjustment,
            reason: "a test".into(),
        });
    }

    fn define(&self, counter: &str, definition: Definition) {
        self.ask(Command::Define {
            counter: name(counter),
            definition: Box::new(definition),
        });
    }

    fn reset(&self, counter: &str) {
        let counter = name(counter);
        self.ask(Command::Reset { counter });
    }

    fn silence(&self, counters: &str, until: i64) {
        let now = self.clock.wall_ms();
        let wanted = SilenceWanted {
            counters: vec![counters.to_owned()],
            until: Some(now + (until - self.second) * 1000),
            reason: Some("a test".to_owned()),
        };
        let silenced = self.board.silence(&self.running, wanted, now);
        silenced.unwrap().unwrap();
    }

    /// Lets seconds pass up to that one, with a look in each, and what is done before it.
    fn until_with(&mut self, second: i64, mut each: impl FnMut(&Self, i64)) {
        while self.second < second {
            self.clock.advance(1000);
            self.second += 1;
            each(self, self.second);
            for Turned { key, turn, .. } in self.watch.look() {
                let counter = key.counter.map_or(String::new(), |name| format!(" {name}"));
                let word = match turn {
                    Turn::Fired => "fires",
                    Turn::Resolved => "ends",
                    Turn::Pends | Turn::Passed | Turn::Recovers | Turn::Relapsed => continue,
                };
                let rule = key.rule.as_str();
                self.turns
                    .push(format!("{} {rule}{counter} {word}", self.second));
            }
            // While writes are refused nothing is stored.
            let _ = self.watch.save();
        }
    }

    fn until(&mut self, second: i64) {
        self.until_with(second, |_, _| {});
    }

    /// Stops the server, lets time pass without it, and starts it again.
    fn restart(&mut self, off_ms: Millis) {
        self.running.stop();
        self.clock.advance(off_ms);
        let options = writer_options(self.dir.path(), &self.clock, self.zone, &self.metrics);
        self.running = Running::start(options).unwrap();
        self.board = AlertBoard::new();
        self.watch = AlertWatch::new(
            &self.running,
            &self.metrics,
            self.options.clone(),
            WatchedCopies::default(),
            &self.board,
        );
    }

    #[track_caller]
    fn claim(self, scenario: &str, wanted: &[&str]) {
        assert_eq!(self.turns, wanted, "{scenario}");
        self.running.stop();
    }
}
