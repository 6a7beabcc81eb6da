//! Numbers, sizes and spans of time, each within limits.

use std::fmt;
use std::time::Duration;

use bytesize::ByteSize;

use super::{Described, Form, Raw, described, parsed, quoted, refused};

described! {
    Integer: "a whole number from -9223372036854775808 to 9223372036854775807";
}

/// A whole number. Limits are inclusive.
pub(in crate::config) struct Count(pub(in crate::config) u64, pub(in crate::config) u64);

impl Described for Count {
    fn wanted(&self) -> String {
        format!("a whole number from {} to {}", self.0, self.1)
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

/// A number of bytes, with a unit. Limits are inclusive.
pub(in crate::config) struct Size(pub(in crate::config) u64, pub(in crate::config) u64);

impl Size {
    fn bytes<T: TryFrom<u64>>(&self, raw: &Raw) -> Option<T> {
        let bytes = match raw {
            Raw::Integer(Some(number)) => u64::try_from(*number).ok(),
            Raw::Text(text) | Raw::Untyped(text) => text.parse().ok().map(|size: ByteSize| size.0),
            _ => None,
        };
        within(bytes, self.0, self.1)
    }
}

impl Described for Size {
    fn wanted(&self) -> String {
        let (least, most) = (Bytes(self.0), Bytes(self.1));
        format!("a size such as \"64MiB\", from {least} to {most}")
    }
}

impl<T: TryFrom<u64> + TryInto<u64> + Copy> Form<T> for Size {
    fn read(&self, raw: Raw) -> Result<T, String> {
        let bytes = self.bytes(&raw);
        bytes.map_or_else(|| refused(self, raw.found()), Ok)
    }

    fn show(&self, value: &T) -> String {
        quoted(&Bytes((*value).try_into().unwrap_or(u64::MAX)))
    }
}

/// A [`Size`], or `auto`, which is `None`.
pub(in crate::config) struct SizeOrAuto(pub(in crate::config) Size);

impl Described for SizeOrAuto {
    fn wanted(&self) -> String {
        format!("{}, or \"auto\"", self.0.wanted())
    }
}

impl Form<Option<u64>> for SizeOrAuto {
    fn read(&self, raw: Raw) -> Result<Option<u64>, String> {
        if let Raw::Text(text) | Raw::Untyped(text) = &raw
            && text == "auto"
        {
            return Ok(None);
        }
        let bytes = self.0.bytes(&raw).map(Some);
        bytes.map_or_else(|| refused(self, raw.found()), Ok)
    }

    fn show(&self, value: &Option<u64>) -> String {
        value.map_or_else(|| quoted("auto"), |bytes| quoted(&Bytes(bytes)))
    }
}

/// A span of time, with a unit. Limits are inclusive.
pub(in crate::config) struct Span(
    pub(in crate::config) Duration,
    pub(in crate::config) Duration,
);

impl Described for Span {
    fn wanted(&self) -> String {
        let (least, most) = (Time(self.0), Time(self.1));
        format!("a duration such as \"30s\" or \"48h\", from {least} to {most}")
    }
}

impl Form<Duration> for Span {
    fn read(&self, raw: Raw) -> Result<Duration, String> {
        parsed(self, &raw, |text| {
            let span = humantime::parse_duration(text).ok();
            span.filter(|span| (self.0..=self.1).contains(span))
        })
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
struct Bytes(u64);

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
struct Time(Duration);

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
