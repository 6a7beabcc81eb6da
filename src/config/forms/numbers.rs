//! Numbers, sizes and spans of time, each within limits.

use std::fmt;
use std::time::Duration;

use super::{Described, Form, Raw, described, quoted, refused, text};
use crate::config::MinFree;
use crate::config::mistakes::{Report, SettingSource};

described! {
    Integer: "a whole number from -9223372036854775808 to 9223372036854775807", "-5";
}

/// A whole number. Limits are inclusive.
pub(in crate::config) struct Count(pub(in crate::config) u64, pub(in crate::config) u64);

impl Described for Count {
    fn wanted(&self) -> String {
        format!("a whole number from {} to {}", self.0, self.1)
    }

    fn limits(&self) -> Vec<String> {
        vec![format!("{} to {}", self.0, self.1)]
    }

    #[cfg(test)]
    fn example(&self) -> String {
        (self.0 + 1).to_string()
    }
}

impl<T: TryFrom<u64> + fmt::Display> Form<T> for Count {
    fn read(&self, raw: Raw) -> Result<T, String> {
        let number = match &raw {
            Raw::Integer(Some(number)) => u64::try_from(*number).ok(),
            Raw::Untyped(text) => text.parse().ok(),
            _ => None,
        };
        within(number, self.0, self.1).map_or_else(|| refused(self, raw.found()), Ok)
    }

    fn show(&self, value: &T) -> String {
        value.to_string()
    }
}

fn within<T: TryFrom<u64>>(number: Option<u64>, min: u64, max: u64) -> Option<T> {
    let number = number.filter(|number| (min..=max).contains(number))?;
    T::try_from(number).ok()
}

/// A whole number; by default one for each of the machine's cores.
pub(in crate::config) struct Cores(pub(in crate::config) Count);

impl Described for Cores {
    fn wanted(&self) -> String {
        self.0.wanted()
    }

    fn limits(&self) -> Vec<String> {
        self.0.limits()
    }

    #[cfg(test)]
    fn example(&self) -> String {
        self.0.example()
    }
}

impl Form<usize> for Cores {
    fn read(&self, raw: Raw) -> Result<usize, String> {
        self.0.read(raw)
    }

    fn show(&self, value: &usize) -> String {
        self.0.show(value)
    }

    fn unwritten(&self, _tz: Option<&str>, _report: &mut Report) -> Option<(usize, SettingSource)> {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(256));
        Some((
            cores,
            SettingSource::Machine("the machine's cores".to_owned()),
        ))
    }
}

/// A number of bytes, with a unit. Limits are inclusive.
pub(in crate::config) struct Size(pub(in crate::config) u64, pub(in crate::config) u64);

impl Size {
    fn bytes(&self, raw: &Raw) -> Result<u64, String> {
        let (bytes, found) = match raw {
            Raw::Integer(Some(number)) => (u64::try_from(*number).ok(), number.to_string()),
            Raw::Text(text) | Raw::Untyped(text) => (
                text.parse::<bytesize::ByteSize>().ok().map(|size| size.0),
                format!("{text:?}"),
            ),
            other => (None, other.found()),
        };
        within(bytes, self.0, self.1).map_or_else(|| refused(self, found), Ok)
    }
}

impl Described for Size {
    fn wanted(&self) -> String {
        format!(
            "a size such as \"64MiB\", from {} to {}",
            Bytes(self.0),
            Bytes(self.1)
        )
    }

    fn limits(&self) -> Vec<String> {
        vec![format!("{} to {}", Bytes(self.0), Bytes(self.1))]
    }

    #[cfg(test)]
    fn example(&self) -> String {
        Bytes(self.0 * 32).to_string()
    }
}

impl<T: TryFrom<u64> + TryInto<u64> + Copy> Form<T> for Size {
    fn read(&self, raw: Raw) -> Result<T, String> {
        let bytes = self.bytes(&raw)?;
        T::try_from(bytes).or_else(|_| refused(self, bytes))
    }

    fn show(&self, value: &T) -> String {
        quoted(&Bytes((*value).try_into().unwrap_or(u64::MAX)))
    }
}

/// As [`Size`], or `auto`.
pub(in crate::config) struct SizeOrAuto(pub(in crate::config) Size);

impl Described for SizeOrAuto {
    fn wanted(&self) -> String {
        self.0.wanted()
    }

    fn limits(&self) -> Vec<String> {
        self.0.limits()
    }

    #[cfg(test)]
    fn example(&self) -> String {
        self.0.example()
    }
}

impl Form<MinFree> for SizeOrAuto {
    fn read(&self, raw: Raw) -> Result<MinFree, String> {
        match &raw {
            Raw::Text(text) | Raw::Untyped(text) if text == "auto" => Ok(MinFree::Auto),
            raw => match self.0.bytes(raw) {
                Ok(bytes) => Ok(MinFree::Bytes(bytes)),
                Err(error) => Err(format!("{error}, or \"auto\"")),
            },
        }
    }

    fn show(&self, value: &MinFree) -> String {
        match value {
            MinFree::Auto => quoted("auto"),
            MinFree::Bytes(bytes) => quoted(&Bytes(*bytes)),
        }
    }
}

/// A span of time, with a unit. Limits are inclusive.
pub(in crate::config) struct Span(
    pub(in crate::config) Duration,
    pub(in crate::config) Duration,
);

impl Described for Span {
    fn wanted(&self) -> String {
        format!(
            "a duration such as \"30s\" or \"48h\", from {} to {}",
            Time(self.0),
            Time(self.1)
        )
    }

    fn limits(&self) -> Vec<String> {
        vec![format!("{} to {}", Time(self.0), Time(self.1))]
    }

    #[cfg(test)]
    fn example(&self) -> String {
        Time(self.0).to_string()
    }
}

impl Form<Duration> for Span {
    fn read(&self, raw: Raw) -> Result<Duration, String> {
        let text = text(self, raw)?;
        match humantime::parse_duration(&text) {
            Ok(span) if (self.0..=self.1).contains(&span) => Ok(span),
            Ok(_) | Err(_) => refused(self, format!("{text:?}")),
        }
    }

    fn show(&self, value: &Duration) -> String {
        quoted(&Time(*value))
    }
}

/// Any whole number.
pub(in crate::config) struct Integer;

impl Form<i64> for Integer {
    fn read(&self, raw: Raw) -> Result<i64, String> {
        match &raw {
            Raw::Integer(Some(number)) => Ok(*number),
            Raw::Untyped(text) => text.parse().or_else(|_| refused(self, raw.found())),
            raw => refused(self, raw.found()),
        }
    }

    fn show(&self, value: &i64) -> String {
        value.to_string()
    }
}

/// A number of bytes in the largest unit that divides it: reads back as the same number. Powers of
/// ten keep their own units.
pub(in crate::config) struct Bytes(pub(in crate::config) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units: [(u64, &str); 8] = [
            (1 << 40, "TiB"),
            (1_000_000_000_000, "TB"),
            (1 << 30, "GiB"),
            (1_000_000_000, "GB"),
            (1 << 20, "MiB"),
            (1_000_000, "MB"),
            (1 << 10, "KiB"),
            (1_000, "kB"),
        ];
        for (unit, name) in units {
            if self.0 > 0 && self.0.is_multiple_of(unit) {
                return write!(f, "{}{name}", self.0 / unit);
            }
        }
        write!(f, "{}B", self.0)
    }
}

/// A duration in the largest unit that divides it, days from three on: reads back as the same
/// duration.
pub(in crate::config) struct Time(pub(in crate::config) Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        if nanos == 0 {
            return write!(f, "0s");
        }
        let units = [
            (86_400_000_000_000, 3, "d"),
            (3_600_000_000_000, 1, "h"),
            (60_000_000_000, 1, "m"),
            (1_000_000_000, 1, "s"),
            (1_000_000, 1, "ms"),
            (1_000, 1, "us"),
        ];
        for (unit, least, name) in units {
            if nanos >= unit * least && nanos.is_multiple_of(unit) {
                return write!(f, "{}{name}", nanos / unit);
            }
        }
        write!(f, "{nanos}ns")
    }
}
