//! The course of a counter's value, minute by minute: what seasonal rules compare.

use std::ops::Range;

use crate::counter::Millis;

/// Milliseconds of a minute.
pub const MINUTE_MS: Millis = 60_000;

/// A minute: how many have passed since 1970.
pub type Minute = i64;

/// Returns the minute that an instant lies in.
pub fn minute_of(at: Millis) -> Minute {
    at.div_euclid(MINUTE_MS)
}

/// What is known of a counter's minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MinuteValue {
    /// The value at its end; `None` where the server was away, or the counter was not there.
    pub value: Option<i64>,
    /// Whether the counter changed in it.
    pub changed: bool,
}

/// The minutes of a counter from one on, without a hole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Course {
    first: Minute,
    minutes: Vec<MinuteValue>,
}

impl Course {
    /// Makes a course that begins with that minute.
    pub fn new(first: Minute, minutes: Vec<MinuteValue>) -> Self {
        Self { first, minutes }
    }

    /// Returns the minutes that it has.
    pub fn range(&self) -> Range<Minute> {
        let length = i64::try_from(self.minutes.len()).unwrap_or(i64::MAX);
        self.first..self.first.saturating_add(length)
    }

    /// Returns a minute; without a value where the course does not reach.
    pub fn at(&self, minute: Minute) -> MinuteValue {
        let place = usize::try_from(minute.saturating_sub(self.first)).ok();
        let found = place.and_then(|place| self.minutes.get(place));
        found.copied().unwrap_or_default()
    }

    /// Adds a minute that ended. Minutes between the last and this one have no values; a clock that was set back
    /// writes over what it has. At most `most` minutes are kept.
    pub fn push(&mut self, minute: Minute, value: MinuteValue, most: usize) {
        let next = self.range().end;
        let ahead = minute.saturating_sub(next);
        if self.minutes.is_empty() || ahead.unsigned_abs() > most as u64 {
            *self = Self::new(minute, vec![value]);
            return;
        }
        for _ in 0..ahead {
            self.minutes.push(MinuteValue::default());
        }
        if ahead < 0 {
            let kept = usize::try_from(minute.saturating_sub(self.first)).unwrap_or(0);
            self.minutes.truncate(kept);
            if self.minutes.is_empty() {
                self.first = minute;
            }
        }
        self.minutes.push(value);
        let over = self.minutes.len().saturating_sub(most);
        self.minutes.drain(..over);
        self.first = self.first.saturating_add(i64::try_from(over).unwrap_or(0));
    }

    /// Returns the values of some minutes, without those that have none.
    pub fn values(&self, minutes: Range<Minute>) -> impl Iterator<Item = i64> + '_ {
        minutes.filter_map(|minute| self.at(minute).value)
    }

    /// Returns in which share of these minutes the counter changed, in percent; `None` where fewer than half are known.
    pub fn busy_percent(&self, minutes: Range<Minute>) -> Option<i64> {
        let all = usize::try_from(minutes.end - minutes.start).unwrap_or(0);
        let (known, changed) = self.activity(minutes);
        let enough = known > 0 && known.saturating_mul(2) >= all;
        let share = i64::try_from(changed.saturating_mul(100) / known.max(1));
        share.ok().filter(|_| enough)
    }

    /// Returns how many of these minutes have values, and in how many of those the counter changed.
    fn activity(&self, minutes: Range<Minute>) -> (usize, usize) {
        let known = minutes.map(|minute| self.at(minute));
        known
            .filter(|minute| minute.value.is_some())
            .fold((0, 0), |(known, changed), minute| {
                (known + 1, changed + usize::from(minute.changed))
            })
    }
}

/// Returns the mean of values; `None` where there are fewer than `least`.
#[allow(
    clippy::cast_precision_loss,
    reason = "a mean of values beyond 2^53 need not be exact to the last digit"
)]
pub fn mean(values: impl Iterator<Item = i64>, least: usize) -> Option<f64> {
    let (count, sum) = values.fold((0_usize, 0.0), |(count, sum), value| {
        (count + 1, sum + value as f64)
    });
    (count >= least.max(1)).then(|| sum / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(value: i64) -> MinuteValue {
        MinuteValue {
            value: Some(value),
            changed: true,
        }
    }

    #[test]
    fn a_course_has_no_hole_and_a_bound() {
        let mut course = Course::default();
        for minute in [10, 11, 14] {
            course.push(minute, value(minute), 6);
        }
        assert_eq!(course.range(), 10..15);
        assert_eq!(course.values(0..100).collect::<Vec<_>>(), [10, 11, 14]);
        course.push(16, value(16), 6);
        assert_eq!(course.range(), 11..17);
        assert_eq!(course.activity(11..17), (3, 3));
        // The clock was set back by two minutes.
        course.push(14, value(40), 6);
        assert_eq!(course.range(), 11..15);
        assert_eq!(course.values(0..100).collect::<Vec<_>>(), [11, 40]);
        course.push(3, value(3), 6);
        assert_eq!(course.range(), 3..4);
        course.push(300, value(300), 6);
        assert_eq!(course.range(), 300..301);
    }

    #[test]
    fn a_mean_wants_enough_values() {
        assert_eq!(mean([1, 2].into_iter(), 2), Some(1.5));
        assert_eq!(mean([1, 2].into_iter(), 3), None);
        assert_eq!(mean(std::iter::empty(), 0), None);
    }
}
