//! The one rule for what a counter says at an instant. Readers, the writer, the copies and the answers
//! that stand in for the store all use it; nothing else decides it.
//!
//! Kept out: clocks. Whoever asks passes the instant in.

use super::{Gone, Lapsing, Leaving, Millis, Moment, Reset, Revision};
use crate::calendar::{Calendar, Day};

/// Whether a counter is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existence {
    /// It is not there: its creation was taken back, or is not done yet. Readers never meet it.
    Absent,
    /// It counts, unless its time is over.
    Live,
    /// It went, and that is recorded.
    Gone(Gone),
    /// Its record cannot be read.
    Corrupt,
}

/// What is stored of a counter, as far as it decides what the counter says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored<'a> {
    /// Whether it is there.
    pub existence: Existence,
    /// When it starts over.
    pub reset: Reset,
    /// The value as of its last change; that of a daily counter holds in [`Stored::period`] only.
    pub value: i64,
    /// What leaves it by time alone; `None` for a counter from which nothing does.
    pub leaving: Option<&'a Leaving>,
    /// The local day that the value belongs to; `None` for a counter that never resets.
    pub period: Option<Day>,
    /// The revision of its last change.
    pub revision: Revision,
    /// The epoch of that revision.
    pub epoch: u64,
    /// When it last changed, or was created.
    pub changed_at: Millis,
    /// From this instant on it is gone.
    pub expires_at: Option<Millis>,
}

/// What a counter says at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its value; of a counter that is over, the last one.
    pub value: i64,
    /// The local day that the value belongs to; `None` for a counter that never resets.
    pub period: Option<Day>,
    /// The revision of its last change.
    pub revision: Revision,
    /// The epoch of that revision.
    pub epoch: u64,
    /// The latest of creation, last change and start of the period; of a counter that is over, its end.
    pub last_updated: Millis,
    /// How it went, if it is over: recorded, or by time alone.
    pub over: Option<Gone>,
    /// Of what a window or leases are made; `None` for other counters, and for one that is over.
    pub lapsing: Option<Lapsing>,
}

impl Stored<'_> {
    /// Says what the counter says at `moment`; `None` where its record cannot be read
    /// or there is none.
    // Inlined for counters that neither end nor lapse, which are nearly all: each operation asks.
    #[inline(always)]
    pub fn seen(&self, moment: &Moment, calendar: &Calendar) -> Option<Seen> {
        match self.existence {
            Existence::Absent | Existence::Corrupt => None,
            Existence::Gone(gone) => Some(self.after(gone, self.period)),
            Existence::Live if self.expires_at.is_some() || self.leaving.is_some() => {
                Some(self.seen_by_time(moment, calendar))
            }
            Existence::Live => Some(self.going_on(moment, self.value_on(moment.today.day), None)),
        }
    }

    /// Says what one says that may have ended, or from which something leaves by time alone.
    #[inline(never)]
    fn seen_by_time(&self, moment: &Moment, calendar: &Calendar) -> Seen {
        match self.expires_at.zip(moment.now) {
            Some((end, now)) if end <= now => self.ended(end, moment, now, calendar),
            Some(_) | None => {
                let lapsing = self.leaving.map(|leaving| leaving.lapsing(moment));
                self.going_on(moment, self.value_at(moment), lapsing)
            }
        }
    }

    #[inline(always)]
    fn going_on(&self, moment: &Moment, value: i64, lapsing: Option<Lapsing>) -> Seen {
        let today = &moment.today;
        let day = self.reset.period_on(today.day);
        let start = day.map_or(Millis::MIN, |_| today.start);
        Seen {
            value,
            period: day,
            revision: self.revision,
            epoch: self.epoch,
            last_updated: self.changed_at.max(start),
            over: None,
            lapsing,
        }
    }

    /// Returns until when that holds if nothing but time changes it; `None` where time changes nothing.
    pub fn until(&self, moment: &Moment) -> Option<Millis> {
        let Some(now) = moment.now else {
            // Store time goes on under a clock that nobody can tell an instant by: it is to be asked again at once.
            let leases = self.leaving.filter(|leaving| leaving.leases.is_some());
            let next = leases.and_then(|leaving| leaving.until(moment, Millis::MIN));
            return next.map(|_| Millis::MIN);
        };
        if self.existence != Existence::Live || self.expires_at.is_some_and(|end| end <= now) {
            return None;
        }
        let midnight = self.turns_at_midnight().then_some(moment.today.end);
        let lapses = self.leaving.and_then(|leaving| leaving.until(moment, now));
        let ends = [midnight.flatten(), lapses, self.expires_at];
        ends.into_iter().flatten().min()
    }

    #[inline]
    fn value_at(&self, moment: &Moment) -> i64 {
        match self.leaving {
            Some(leaving) => leaving.total_at(moment),
            None => self.value_on(moment.today.day),
        }
    }

    /// Whether time alone has changed what the counter says since its last change; no revision tells of that.
    pub fn is_changed_by_time(&self, moment: &Moment) -> bool {
        let has_ended = self
            .expires_at
            .zip(moment.now)
            .is_some_and(|(end, now)| end <= now);
        let has_lapsed = self
            .leaving
            .is_some_and(|leaving| leaving.has_moved(moment) || leaving.has_settled(moment));
        let has_turned = self.turns_at_midnight() && self.period != Some(moment.today.day);
        self.existence == Existence::Live && (has_ended || has_turned || has_lapsed)
    }

    /// Gives the value in `day`: 0 for a daily counter that has not changed in it.
    pub fn value_on(&self, day: Day) -> i64 {
        match self.reset {
            Reset::Daily if self.period != Some(day) => 0,
            Reset::Daily | Reset::Never => self.value,
        }
    }

    /// Whether a midnight changes what the counter says.
    pub fn turns_at_midnight(&self) -> bool {
        self.existence == Existence::Live && self.reset == Reset::Daily
    }

    /// Its time was over at `at`, and nobody has recorded that yet. A value of a later day than that was
    /// counted before `at` all the same: the clock had been set back.
    fn ended(&self, at: Millis, moment: &Moment, now: Millis, calendar: &Calendar) -> Seen {
        let last_day = self.reset.period_on(calendar.day_of(at));
        let last_day = last_day.max(self.period);
        let gone = Gone {
            expired: true,
            final_value: match (self.leaving, last_day) {
                (Some(leaving), _) => {
                    let since = now.saturating_sub(at);
                    leaving.total_by(leaving.lapse.time(moment).saturating_sub(since))
                }
                (None, Some(day)) => self.value_on(day),
                (None, None) => self.value,
            },
            at,
        };
        self.after(gone, last_day)
    }

    fn after(&self, gone: Gone, period: Option<Day>) -> Seen {
        Seen {
            value: gone.final_value,
            period,
            revision: self.revision,
            epoch: self.epoch,
            last_updated: gone.at,
            over: Some(gone),
            lapsing: None,
        }
    }
}

#[cfg(test)]
mod tests;
