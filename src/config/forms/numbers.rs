//! Numbers, sizes and spans of time, each within limits.

use std::fmt;
use std::time::Duration;

use bytesize::ByteSize;

use super::{Described, Form, Raw, quoted, refused, text};
use crate::counter::Seconds;

/// A whole number. Limits are inclusive.
pub(in crate::config) struct Count(pub(in crate::config) i64, pub(in crate::config) i64);

impl Described for Count {
    fn wanted(&self) -> String {
        format!("a whole number from {} to {}", self.0, self.1)
    }
}

impl<T: TryFrom<i64> + fmt::Display> Form<T> for Count {
    fn read(&self, raw: Raw) -> Result<T, String> {
        let number = match &raw {
            Raw::Integer(number) => *number,
            Raw::Untyped(text) => text.parse().ok(),
            _ => None,
        };
        within(number, self.0, self.1).map_or_else(|| refused(self, raw.found()), Ok)
    }

    fn show(&self, value: &T) -> String {
        value.to_string()
    }
}

fn within<N: PartialOrd, T: TryFrom<N>>(number: Option<N>, min: N, max: N) -> Option<T> {
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
        let (least, most) = (in_bytes(self.0), in_bytes(self.1));
        format!("a size such as \"64MiB\", from {least} to {most}")
    }
}

impl<T: TryFrom<u64> + TryInto<u64> + Copy> Form<T> for Size {
    fn read(&self, raw: Raw) -> Result<T, String> {
        let bytes = self.bytes(&raw);
        bytes.map_or_else(|| refused(self, raw.found()), Ok)
    }

    fn show(&self, value: &T) -> String {
        quoted(&in_bytes((*value).try_into().unwrap_or(u64::MAX)))
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
        let bytes = match &raw {
            Raw::Text(text) | Raw::Untyped(text) if text == "auto" => Some(None),
            raw => self.0.bytes(raw).map(Some),
        };
        bytes.map_or_else(|| refused(self, raw.found()), Ok)
    }

    fn show(&self, value: &Option<u64>) -> String {
        quoted(&value.map_or_else(|| "auto".to_owned(), in_bytes))
    }
}

/// A span of time, with a unit. Limits are inclusive.
pub(in crate::config) struct Span(
    pub(in crate::config) Duration,
    pub(in crate::config) Duration,
);

impl Described for Span {
    fn wanted(&self) -> String {
        let (least, most) = (in_time(self.0), in_time(self.1));
        format!("a duration such as \"30s\" or \"48h\", from {least} to {most}")
    }
}

impl Form<Duration> for Span {
    fn read(&self, raw: Raw) -> Result<Duration, String> {
        let text = text(self, &raw)?;
        let span = humantime::parse_duration(text).ok();
        let span = span.filter(|span| (self.0..=self.1).contains(span));
        span.map_or_else(|| refused(self, format!("{text:?}")), Ok)
    }

    fn show(&self, value: &Duration) -> String {
        quoted(&in_time(*value))
    }
}

/// A length of time in whole seconds, which need not be there.
pub(in crate::config) struct WholeSeconds;

impl Described for WholeSeconds {
    fn wanted(&self) -> String {
        "whole seconds such as \"90s\" or \"1h\"".to_owned()
    }
}

impl Form<Option<Seconds>> for WholeSeconds {
    fn read(&self, raw: Raw) -> Result<Option<Seconds>, String> {
        let text = text(self, &raw)?;
        let length = Seconds::parse(text);
        length.map_or_else(
            || refused(self, format!("{text:?}")),
            |length| Ok(Some(length)),
        )
    }

    fn show(&self, value: &Option<Seconds>) -> String {
        value.map_or_else(String::new, |length| quoted(&length))
    }
}

/// Units, the largest first, each with the least number of them that is written in it.
type Units = [(u128, u128, &'static str)];

/// The units of bytes. Powers of ten keep their own.
const BYTES: &Units = &[
    (1 << 40, 1, "TiB"),
    (1_000_000_000_000, 1, "TB"),
    (1 << 30, 1, "GiB"),
    (1_000_000_000, 1, "GB"),
    (1 << 20, 1, "MiB"),
    (1_000_000, 1, "MB"),
    (1 << 10, 1, "KiB"),
    (1_000, 1, "kB"),
    (1, 0, "B"),
];

/// The units of time, in nanoseconds.
const TIMES: &Units = &[
    (86_400_000_000_000, 3, "d"),
    (3_600_000_000_000, 1, "h"),
    (60_000_000_000, 1, "m"),
    (1_000_000_000, 1, "s"),
    (1_000_000, 1, "ms"),
    (1_000, 1, "us"),
    (1, 1, "ns"),
    (1, 0, "s"),
];

/// Writes a number in the largest unit that divides it: it reads back as the same number.
fn in_units(number: u128, units: &Units) -> String {
    let fits = |(unit, least, _): &&(u128, u128, &str)| {
        number >= unit * least && number.is_multiple_of(*unit)
    };
    let found = units.iter().find(fits);
    found.map_or_else(String::new, |(unit, _, name)| {
        format!("{}{name}", number / unit)
    })
}

fn in_bytes(bytes: u64) -> String {
    in_units(bytes.into(), BYTES)
}

fn in_time(time: Duration) -> String {
    in_units(time.as_nanos(), TIMES)
}
