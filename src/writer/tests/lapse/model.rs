//! What windows and leases must say: a list of everything that happened, counted anew at each question.

use crate::calendar::Day;
use crate::counter::{DayRecord, Definition, Kind, Lapse, TimeLine};

/// What happened.
#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    Added(i64),
    Seen {
        user: u64,
        weight: i64,
        session: u64,
    },
    Left(u64),
}

/// Something that happened to a counter, and until which grain it counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Happened {
    pub(super) what: What,
    pub(super) until: i64,
}

/// A counter, and everything that happened in this life of it.
pub(super) struct Model {
    pub(super) name: &'static str,
    pub(super) definition: Definition,
    pub(super) lapse: Lapse,
    pub(super) all: Vec<Happened>,
    /// The grain in which the writer last looked what has left.
    pub(super) slid_to: i64,
    pub(super) day: Option<(Day, Totals)>,
}

/// What a day record says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Totals {
    pub(super) opening: i64,
    pub(super) last: i64,
    pub(super) peak: i64,
    pub(super) low: i64,
    pub(super) increments: u128,
    pub(super) decrements: u128,
    pub(super) operations: u64,
    pub(super) expired: u64,
}

impl Totals {
    pub(super) fn begin(opening: i64) -> Self {
        Self {
            opening,
            last: opening,
            peak: opening,
            low: opening,
            increments: 0,
            decrements: 0,
            operations: 0,
            expired: 0,
        }
    }

    pub(super) fn of(record: &DayRecord) -> Self {
        Self {
            opening: record.opening,
            last: record.last,
            peak: record.peak.value,
            low: record.low.value,
            increments: record.increments,
            decrements: record.decrements,
            operations: record.operations,
            expired: record.expired,
        }
    }

    pub(super) fn reach(&mut self, value: i64) {
        self.last = value;
        self.peak = self.peak.max(value);
        self.low = self.low.min(value);
    }
}

/// Where a user stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stands {
    pub(super) weight: i64,
    pub(super) session: u64,
    pub(super) until: i64,
}

pub(super) const USERS: u64 = 12;
pub(super) const SESSIONS: u64 = 3;

impl Model {
    pub(super) fn new(name: &'static str, definition: Definition) -> Self {
        let definition = definition.complete().unwrap();
        let lapse = definition.lapse().unwrap();
        Self {
            name,
            definition,
            lapse,
            all: Vec::new(),
            slid_to: i64::MIN,
            day: None,
        }
    }

    /// The writer looks at the counter at an instant of its time, as it does before each change. Without one
    /// it notes what has left, if anything has.
    pub(super) fn slide(&mut self, time: i64, today: Day, changes: bool) {
        let now = self.grain(time);
        let ((before, leases), (value, left)) = (self.value(self.slid_to), self.value(now));
        let moved = before != value || leases != left;
        if !moved && !changes {
            return;
        }
        // A window at the midnight between; leases as they were last known.
        let midnight = self.grain(i64::from(today.days()) * 86_400_000);
        let opening = match self.lapse.runs_in {
            TimeLine::Wall => self.value(midnight.max(self.slid_to)).0,
            TimeLine::Store => before,
        };
        self.slid_to = now;
        let day = self.day.take().filter(|(day, _)| *day == today);
        let (_, mut totals) = day.unwrap_or((today, Totals::begin(opening)));
        if moved {
            totals.reach(value);
        }
        if self.definition.kind == Kind::Presence {
            totals.expired += u64::try_from(leases - left).unwrap();
        }
        self.day = Some((today, totals));
        self.all.retain(|happened| happened.until > now);
    }

    /// In which grain leaves what is counted at an instant: the value counts the grain under way and those before it;
    /// a lease ends no sooner than its ttl. It asks nothing of the code that it judges.
    pub(super) fn leaves(&self, time: i64) -> i64 {
        let span_ms = 1000 * i64::from(self.lapse.span.0);
        let grain_ms = 1000 * i64::from(self.lapse.grain.0);
        match self.lapse.runs_in {
            TimeLine::Wall => self.grain(time) + span_ms / grain_ms,
            TimeLine::Store => (time + span_ms + grain_ms - 1).div_euclid(grain_ms),
        }
    }

    pub(super) fn totals(&mut self) -> &mut Totals {
        &mut self.day.as_mut().unwrap().1
    }

    pub(super) fn grain(&self, at: i64) -> i64 {
        at.div_euclid(self.lapse.grain_ms())
    }

    /// Where a user stands in a grain: as the last that happened to it left it, unless that is over.
    pub(super) fn stands(&self, user: u64, now: i64) -> Option<Stands> {
        let last = self
            .all
            .iter()
            .rev()
            .find_map(|happened| match happened.what {
                What::Seen {
                    user: who,
                    weight,
                    session,
                } if who == user => Some(Some(Stands {
                    weight,
                    session,
                    until: happened.until,
                })),
                What::Left(who) if who == user => Some(None),
                _ => None,
            });
        last.flatten().filter(|stands| stands.until > now)
    }

    pub(super) fn added(&self, now: i64) -> i64 {
        let amounts = self.all.iter().map(|happened| match happened.what {
            What::Added(amount) if happened.until > now => amount,
            _ => 0,
        });
        amounts.sum()
    }

    /// The value in a grain, and how many users it is of.
    pub(super) fn value(&self, now: i64) -> (i64, i64) {
        let users: Vec<_> = (0..USERS)
            .filter_map(|user| self.stands(user, now))
            .collect();
        let weights: i64 = users.iter().map(|stands| stands.weight).sum();
        (self.added(now) + weights, users.len() as i64)
    }
}
