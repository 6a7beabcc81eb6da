//! Whether the disk will soon be full, by how its free space fell in the last hours.

use std::collections::VecDeque;

use super::expected::float;
use super::phase::Verdict;
use super::rule::RuleSettings;
use crate::counter::Millis;

/// How often the free space is noted, in milliseconds.
pub const NOTED_EVERY_MS: Millis = 60_000;

/// Most notes that are kept: six hours.
const MOST: usize = 360;

/// So many notes are wanted before anything is said: an hour.
const LEAST: usize = 60;

/// The free space in the last hours, by the boot clock.
#[derive(Debug, Default)]
pub struct DiskCourse {
    /// When, and how many bytes were free.
    notes: VecDeque<(Millis, u64)>,
}

impl DiskCourse {
    /// Whether the free space is to be noted again.
    pub fn is_due(&self, boot_ms: Millis) -> bool {
        let last = self.notes.back();
        last.is_none_or(|(at, _)| boot_ms.saturating_sub(*at) >= NOTED_EVERY_MS)
    }

    /// Notes how many bytes are free.
    pub fn note(&mut self, boot_ms: Millis, free: u64) {
        self.notes.push_back((boot_ms, free));
        while self.notes.len() > MOST {
            self.notes.pop_front();
        }
    }

    /// Judges whether the free space falls below `min_free` bytes within the span of the rule, if it goes on
    /// falling as in the last hours. Both halves of these hours must have it fall: what a compaction takes and
    /// gives back says nothing.
    pub fn judge(&self, min_free: u64, settings: &RuleSettings) -> Verdict {
        if self.notes.len() < LEAST {
            return Verdict::Unknown;
        }
        let notes: Vec<(f64, f64)> = self
            .notes
            .iter()
            .map(|(at, free)| (float(*at) / 1000.0, bytes(*free)))
            .collect();
        let (first, second) = notes.split_at(notes.len() / 2);
        let falls = [first, second, &notes].map(slope);
        let Some(&(_, free)) = notes.last() else {
            return Verdict::Unknown;
        };
        let [_, _, rate] = falls;
        if falls.iter().any(|rate| *rate >= 0.0) {
            return Verdict::Clear;
        }
        let left = (free - bytes(min_free)).max(0.0);
        let seconds = left / -rate;
        if seconds * 1000.0 > float(settings.within_ms) {
            return Verdict::Clear;
        }
        let hours = seconds / 3600.0;
        let mib = |bytes: f64| bytes / f64::from(1 << 20);
        let why = format!(
            "{:.0} MiB are free and fall by {:.1} MiB an hour: writes are refused in {hours:.1} h, below {:.0} MiB",
            mib(free),
            mib(-rate) * 3600.0,
            mib(bytes(min_free))
        );
        let whole = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let last = self.notes.back().map_or(0, |(_, free)| *free);
        Verdict::holds(whole(last), Some(whole(min_free)), why)
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "a forecast need not be exact to the last byte"
)]
fn bytes(of: u64) -> f64 {
    of as f64
}

/// The slope of the straight line nearest to these points (least squares).
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = bytes(points.len() as u64).max(1.0);
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (at, value) = (mean(|point| point.0), mean(|point| point.1));
    let mut up = 0.0;
    let mut square = 0.0;
    for point in points {
        up += (point.0 - at) * (point.1 - value);
        square += (point.0 - at) * (point.0 - at);
    }
    if square > 0.0 { up / square } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::AlertRule;

    const MIB: u64 = 1 << 20;

    fn judged(minutes: i64, free: impl Fn(i64) -> u64) -> Verdict {
        let mut course = DiskCourse::default();
        for minute in 0..minutes {
            let at = minute * NOTED_EVERY_MS;
            assert!(course.is_due(at) && !course.is_due(at - 1) || minute == 0);
            course.note(at, free(minute));
        }
        course.judge(1000 * MIB, &RuleSettings::usual(AlertRule::Disk))
    }

    fn falls(minute: i64, a_minute: u64) -> u64 {
        100_000 * MIB - minute as u64 * a_minute * MIB
    }

    #[test]
    fn it_is_told_a_day_before() {
        assert_eq!(judged(59, |at| falls(at, 100)), Verdict::Unknown);
        // 99,000 MiB last for 1,650 minutes at 60 a minute, and for 990 at 100.
        assert_eq!(judged(60, |at| falls(at, 60)), Verdict::Clear);
        assert!(matches!(judged(60, |at| falls(at, 100)), Verdict::Holds(_)));
        assert_eq!(judged(600, |_| 2000 * MIB), Verdict::Clear);
    }

    #[test]
    fn what_comes_back_is_no_forecast() {
        // A compaction takes 20 GiB within half an hour and gives them back.
        let sawtooth = |minute: i64| 60_000 * MIB - (minute % 60).min(30) as u64 * 700 * MIB;
        for minutes in [60, 61, 150, 600] {
            assert_eq!(judged(minutes, sawtooth), Verdict::Clear, "{minutes}");
        }
    }
}
