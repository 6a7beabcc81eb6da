//! How often something may be done, as people write it: `100/s`, `600/m`, `5/h`.

use std::fmt;
use std::str::FromStr;

/// How often something may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: u32,
    per: Span,
}

/// The span of time after the slash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Span {
    Second,
    Minute,
    Hour,
}

impl Rate {
    /// Largest number before the slash, and largest burst.
    pub const MAX: u32 = 1_000_000;

    /// The number before the slash.
    pub(super) fn count(self) -> u32 {
        self.count
    }

    /// The span after the slash, in seconds.
    pub(super) fn seconds(self) -> u32 {
        match self.per {
            Span::Second => 1,
            Span::Minute => 60,
            Span::Hour => 3600,
        }
    }
}

impl FromStr for Rate {
    type Err = ();

    /// Reads a rate. `Err` when it is not a number from 1 to [`Rate::MAX`], a slash and `s`, `m` or `h`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (count, per) = text.split_once('/').ok_or(())?;
        let per = match per {
            "s" => Span::Second,
            "m" => Span::Minute,
            "h" => Span::Hour,
            _ => return Err(()),
        };
        let is_plain = count.bytes().all(|byte| byte.is_ascii_digit());
        let count = count.parse().ok().filter(|_| is_plain).ok_or(())?;
        match count {
            1..=Self::MAX => Ok(Self { count, per }),
            _ => Err(()),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = match self.per {
            Span::Second => 's',
            Span::Minute => 'm',
            Span::Hour => 'h',
        };
        write!(f, "{}/{per}", self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_a_slash_and_a_span() {
        for (text, count, seconds) in [
            ("1/s", 1, 1),
            ("600/m", 600, 60),
            ("1000000/h", 1_000_000, 3600),
        ] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!((rate.count(), rate.seconds()), (count, seconds));
            assert_eq!(rate.to_string(), text);
        }
        for bad in [
            "",
            "/",
            "1",
            "1/",
            "/s",
            "0/s",
            "+1/s",
            "-1/s",
            "1 /s",
            "1/S",
            "1/d",
            "1/s/s",
            "1000001/s",
            "4294967297/s",
            "1.5/s",
            "1/10s",
        ] {
            assert_eq!(bad.parse::<Rate>(), Err(()), "{bad}");
        }
    }
}
