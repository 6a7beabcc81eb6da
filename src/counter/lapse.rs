//! What lets time alone change a value: a window slides, leases end.

use std::fmt;
use std::time::Duration;

use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Millis, Moment};
use crate::seeded::bug;

/// The shortest and the longest window: a minute and 31 days.
const WINDOWS: (Seconds, Seconds) = (Seconds(60), Seconds(31 * 86_400));

/// The shortest and the longest time that a lease lasts: 5 seconds and an hour.
const TTLS: (Seconds, Seconds) = (Seconds(5), Seconds(3600));

/// A window has about so many grains where nobody says how long a grain is.
const USUAL_GRAINS: u32 = 60;

/// The longest that anything counts, in grains.
pub(super) const MAX_GRAINS: u32 = 10_080;

/// A lease lasts for so many grains at most.
const LEASE_GRAINS: u32 = 600;

/// A length of time in whole seconds, written as `"90s"` or `"1h"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seconds(pub u32);

impl Seconds {
    /// Reads such a text; `None` for what is no length in whole seconds, or longer than 136 years.
    pub fn parse(text: &str) -> Option<Self> {
        let length = humantime::parse_duration(text).ok()?;
        let whole = length.subsec_nanos() == 0;
        u32::try_from(length.as_secs())
            .ok()
            .filter(|_| whole)
            .map(Self)
    }

    /// Returns it in milliseconds.
    pub fn millis(self) -> Millis {
        Millis::from(self.0) * 1000
    }
}

impl fmt::Display for Seconds {
    /// Writes it in the largest unit that divides it: `60s` is `1m`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(86_400, "d"), (3600, "h"), (60, "m")];
        let fits = |(unit, _): &&(u32, &str)| self.0 > 0 && self.0.is_multiple_of(*unit);
        let (unit, name) = units.iter().find(fits).copied().unwrap_or((1, "s"));
        write!(f, "{}{name}", self.0 / unit)
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        let text = String::deserialize(json)?;
        let wanted = "whole seconds such as \"90s\" or \"1h\"";
        Self::parse(&text).ok_or_else(|| Error::invalid_value(Unexpected::Other("text"), &wanted))
    }
}

impl From<Seconds> for Duration {
    fn from(seconds: Seconds) -> Self {
        Self::from_secs(seconds.0.into())
    }
}

/// In which time something counts for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeLine {
    /// Wall time, which never goes back and passes while counterd is off: windows.
    Wall,
    /// Store time, which stands while counterd is off: leases.
    Store,
}

/// How what is counted leaves again by time alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lapse {
    /// In which time.
    pub runs_in: TimeLine,
    /// For how long something counts: the window, or how long a lease lasts.
    pub span: Seconds,
    /// Time is cut into pieces of this length.
    pub grain: Seconds,
}

/// Why a definition cannot lapse as it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LapseFault {
    /// A window of a counter that cannot have one.
    #[error("a window is for `unique` and `sum` with `reset` = `never`")]
    NoWindow,
    /// Shorter or longer than a window may be.
    #[error("a window is 1m to 31d long")]
    WindowLength,
    /// A grain without a window.
    #[error("`grain` is for a counter with a `window`")]
    NoGrain,
    /// A grain of no length, or one that does not fit into the window.
    #[error("the window must be a multiple of its grain, which is at least 1s")]
    Grain,
    /// Too many grains.
    #[error("a window has at most 10,080 grains: give a longer `grain`")]
    TooManyGrains,
    /// Leases of a counter that has none.
    #[error("`ttl` is for `presence`")]
    NoLeases,
    /// No length for leases, or one that is shorter or longer than allowed.
    #[error("`presence` needs a `ttl` of 5s to 1h, such as \"90s\"")]
    Ttl,
    /// Leases that start over each day.
    #[error("`presence` has `reset` = `never`")]
    DailyLeases,
}

impl Lapse {
    /// Makes the one of a window; the grain is filled in where none is given.
    ///
    /// # Errors
    /// When the window or its grain are not allowed, or do not fit.
    pub fn of_window(span: Seconds, grain: Option<Seconds>) -> Result<Self, LapseFault> {
        Ok(Self {
            runs_in: TimeLine::Wall,
            span,
            grain: grain_of(span, grain)?,
        })
    }

    /// Makes the one of leases that last so long.
    ///
    /// # Errors
    /// When that is not allowed.
    pub fn of_leases(ttl: Seconds) -> Result<Self, LapseFault> {
        if ttl < TTLS.0 || ttl > TTLS.1 {
            return Err(LapseFault::Ttl);
        }
        Ok(Self {
            runs_in: TimeLine::Store,
            span: ttl,
            // Whole grains: a lease lasts no less than its ttl.
            grain: Seconds(ttl.0.div_ceil(LEASE_GRAINS).max(1)),
        })
    }

    /// Returns the length of a grain in milliseconds.
    pub fn grain_ms(self) -> Millis {
        self.grain.millis()
    }

    /// Returns how many grains lie ahead at most: what is counted now leaves within so many.
    pub fn ahead(self) -> u32 {
        match self.runs_in {
            TimeLine::Wall => self.span.0 / self.grain.0.max(1),
            // The same for every ttl that has this grain, so that a ttl may change.
            TimeLine::Store => LEASE_GRAINS + 1,
        }
    }

    /// Returns its time at a moment.
    #[inline]
    pub fn time(self, moment: &Moment) -> Millis {
        match self.runs_in {
            TimeLine::Wall => moment.latest,
            TimeLine::Store => moment.store_ms,
        }
    }

    /// Returns at which instant of its time leaves what is counted at `now`: with the grain that far ahead in
    /// which the window has slid past it, or at the end of the grain in which the lease ends.
    pub fn until(self, now: Millis) -> Millis {
        let (grain_ms, span_ms) = (self.grain_ms(), self.span.millis());
        let begun = match self.runs_in {
            TimeLine::Wall => now.div_euclid(grain_ms).saturating_mul(grain_ms),
            TimeLine::Store => now.saturating_add(grain_ms - 1),
        };
        // Planted: it leaves a grain too early.
        let early = if bug("grain_off_by_one") { grain_ms } else { 0 };
        let until = begun.saturating_add(span_ms).saturating_sub(early);
        until.div_euclid(grain_ms).saturating_mul(grain_ms)
    }
}

fn grain_of(span: Seconds, given: Option<Seconds>) -> Result<Seconds, LapseFault> {
    if span < WINDOWS.0 || span > WINDOWS.1 {
        return Err(LapseFault::WindowLength);
    }
    let fits = |grain: &u32| *grain > 0 && span.0.is_multiple_of(*grain);
    let grain = match given {
        Some(Seconds(grain)) => Some(grain).filter(fits).ok_or(LapseFault::Grain)?,
        // The longest of at most a sixtieth that fits.
        None => (1..=span.0 / USUAL_GRAINS).rev().find(fits).unwrap_or(1),
    };
    if span.0 / grain > MAX_GRAINS {
        return Err(LapseFault::TooManyGrains);
    }
    Ok(Seconds(grain))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(span: u32, grain: Option<u32>) -> Result<(u32, u32), LapseFault> {
        let lapse = Lapse::of_window(Seconds(span), grain.map(Seconds))?;
        Ok((lapse.grain.0, lapse.ahead()))
    }

    #[test]
    fn a_grain_fits_into_its_window() {
        assert_eq!(window(3600, None), Ok((60, 60)));
        assert_eq!(window(60, None), Ok((1, 60)));
        assert_eq!(window(100, None), Ok((1, 100)));
        assert_eq!(window(150, None), Ok((2, 75)));
        assert_eq!(window(31 * 86_400, None), Ok((44_640, 60)));
        assert_eq!(window(3600, Some(3600)), Ok((3600, 1)));
        assert_eq!(window(3600, Some(7)), Err(LapseFault::Grain));
        assert_eq!(window(3600, Some(0)), Err(LapseFault::Grain));
        assert_eq!(window(3600, Some(7200)), Err(LapseFault::Grain));
        assert_eq!(window(59, None), Err(LapseFault::WindowLength));
        assert_eq!(window(31 * 86_400 + 1, None), Err(LapseFault::WindowLength));
        assert_eq!(window(86_400, Some(1)), Err(LapseFault::TooManyGrains));
        // A prime number of seconds has no other grain than one second.
        assert_eq!(window(10_099, None), Err(LapseFault::TooManyGrains));
    }

    #[test]
    fn nothing_leaves_too_early_or_a_grain_too_late() {
        let window = |now| {
            Lapse {
                runs_in: TimeLine::Wall,
                span: Seconds(60),
                grain: Seconds(10),
            }
            .until(now)
        };
        assert_eq!([0, 9999, 10_000].map(window), [60_000, 60_000, 70_000]);
        let lease = |now| {
            Lapse {
                runs_in: TimeLine::Store,
                span: Seconds(60),
                grain: Seconds(1),
            }
            .until(now)
        };
        assert_eq!(
            [0, 1, 1000, 1001].map(lease),
            [60_000, 61_000, 61_000, 62_000]
        );
        // A ttl that is no multiple of its grain.
        let odd = Lapse {
            runs_in: TimeLine::Store,
            span: Seconds(601),
            grain: Seconds(2),
        };
        assert_eq!(
            [0, 1, 1000, 1001].map(|now| odd.until(now)),
            [602_000, 602_000, 602_000, 604_000]
        );
    }

    #[test]
    fn lengths_read_back_as_they_are_written() {
        for (seconds, text) in [
            (1, "1s"),
            (59, "59s"),
            (60, "1m"),
            (90, "90s"),
            (3600, "1h"),
            (86_400, "1d"),
        ] {
            assert_eq!(Seconds(seconds).to_string(), text);
            assert_eq!(Seconds::parse(text), Some(Seconds(seconds)));
        }
        assert_eq!(Seconds::parse("1m 30s"), Some(Seconds(90)));
        for wrong in ["", "1", "1500ms", "-1s", "200y"] {
            assert_eq!(Seconds::parse(wrong), None, "{wrong}");
        }
    }
}
