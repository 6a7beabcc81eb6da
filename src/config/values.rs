//! From what was written to a checked value, and back to text.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use super::keys::Shape;
use crate::calendar::{Calendar, DayStart};

/// What was written, before anything is known about the key. No `Debug`: it may be a secret.
pub(super) enum Raw {
    /// Out of the environment or a flag: text that stands for any type.
    Untyped(String),
    /// A string of the file.
    Text(String),
    /// An integer of the file; `None` beyond the range of an i64.
    Integer(Option<i64>),
    /// A boolean of the file.
    Bool(bool),
    /// An array of strings of the file.
    List(Vec<String>),
    /// Anything else that TOML has, by the name of its type.
    Other(&'static str),
}

/// A value that was checked against its key's shape.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Address(SocketAddr),
    Switch(bool),
    Number(u64),
    Auto,
    Span(Duration),
    Word(&'static str),
    Prefix(String),
    Path(PathBuf),
    None,
    Zone(String),
    TimeOfDay(DayStart),
    Origins(Vec<String>),
    Secret(SecretString),
}

/// Reads what was written for a key of that shape; the error says what is wanted. Of a secret it
/// never says what was found.
pub(super) fn read(shape: Shape, raw: Raw) -> Result<Value, String> {
    match shape {
        Shape::Count(min, max) => read_count(raw, min, max),
        Shape::Switch => read_switch(raw),
        Shape::Origins => read_origins(raw),
        Shape::Secret => read_secret(raw),
        Shape::Size(min, max) => read_size(raw, min, max),
        Shape::SizeOrAuto(min, max) => match &raw {
            Raw::Text(text) | Raw::Untyped(text) if text == "auto" => Ok(Value::Auto),
            _ => read_size(raw, min, max).map_err(|error| format!("{error}, or \"auto\"")),
        },
        Shape::Address
        | Shape::Span(..)
        | Shape::Word(_)
        | Shape::Path
        | Shape::PathOrNone
        | Shape::KeyPrefix
        | Shape::Zone
        | Shape::TimeOfDay => match raw {
            Raw::Text(text) | Raw::Untyped(text) => read_text(shape, &text),
            other => Err(format!("want {}, found {}", wanted(shape), kind_of(&other))),
        },
    }
}

fn read_text(shape: Shape, text: &str) -> Result<Value, String> {
    let refused = || Err(format!("want {}, found {text:?}", wanted(shape)));
    match shape {
        Shape::Address => text
            .parse()
            .map_or_else(|_| refused(), |a| Ok(Value::Address(a))),
        Shape::Span(min, max) => match humantime::parse_duration(text) {
            Ok(span) if (min..=max).contains(&span) => Ok(Value::Span(span)),
            Ok(_) | Err(_) => refused(),
        },
        Shape::Word(words) => words
            .iter()
            .find(|word| **word == text)
            .map_or_else(refused, |word| Ok(Value::Word(word))),
        Shape::PathOrNone if text.is_empty() => Ok(Value::None),
        Shape::Path if text.is_empty() => refused(),
        Shape::Path | Shape::PathOrNone => Ok(Value::Path(PathBuf::from(text))),
        Shape::KeyPrefix => {
            let fits = text.len() <= 100 && text.bytes().all(|byte| byte.is_ascii_graphic());
            if fits {
                Ok(Value::Prefix(text.to_owned()))
            } else {
                refused()
            }
        }
        Shape::Zone => match Calendar::new(text, DayStart::default()) {
            Ok(calendar) => Ok(Value::Zone(calendar.zone_name().to_owned())),
            Err(error) => Err(format!("{text:?}: {error}")),
        },
        Shape::TimeOfDay => text
            .parse()
            .map_or_else(|_| refused(), |start| Ok(Value::TimeOfDay(start))),
        Shape::Switch
        | Shape::Count(..)
        | Shape::Size(..)
        | Shape::SizeOrAuto(..)
        | Shape::Origins
        | Shape::Secret => refused(),
    }
}

fn read_switch(raw: Raw) -> Result<Value, String> {
    match raw {
        Raw::Bool(on) => Ok(Value::Switch(on)),
        Raw::Untyped(text) => match text.as_str() {
            "true" => Ok(Value::Switch(true)),
            "false" => Ok(Value::Switch(false)),
            _ => Err(format!("want {}, found {text:?}", wanted(Shape::Switch))),
        },
        other => Err(format!(
            "want {}, found {}",
            wanted(Shape::Switch),
            kind_of(&other)
        )),
    }
}

fn read_count(raw: Raw, min: u64, max: u64) -> Result<Value, String> {
    let wanted = wanted(Shape::Count(min, max));
    let (number, found) = match raw {
        Raw::Integer(Some(number)) => (u64::try_from(number).ok(), number.to_string()),
        Raw::Untyped(text) => (text.parse().ok(), format!("{text:?}")),
        other => return Err(format!("want {wanted}, found {}", kind_of(&other))),
    };
    match number {
        Some(number) if (min..=max).contains(&number) => Ok(Value::Number(number)),
        Some(_) | None => Err(format!("want {wanted}, found {found}")),
    }
}

fn read_size(raw: Raw, min: u64, max: u64) -> Result<Value, String> {
    let wanted = wanted(Shape::Size(min, max));
    let (bytes, found) = match raw {
        Raw::Integer(Some(number)) => (u64::try_from(number).ok(), number.to_string()),
        Raw::Text(text) | Raw::Untyped(text) => (
            text.parse::<bytesize::ByteSize>().ok().map(|size| size.0),
            format!("{text:?}"),
        ),
        other => return Err(format!("want {wanted}, found {}", kind_of(&other))),
    };
    match bytes {
        Some(bytes) if (min..=max).contains(&bytes) => Ok(Value::Number(bytes)),
        Some(_) | None => Err(format!("want {wanted}, found {found}")),
    }
}

fn read_origins(raw: Raw) -> Result<Value, String> {
    let items = match raw {
        Raw::List(items) => items,
        Raw::Untyped(text) => text
            .split(',')
            .map(|item| item.trim().to_owned())
            .filter(|item| !item.is_empty())
            .collect(),
        other => {
            return Err(format!(
                "want {}, found {}",
                wanted(Shape::Origins),
                kind_of(&other)
            ));
        }
    };
    match items.iter().find(|item| !is_origin(item)) {
        Some(bad) => Err(format!("want {}, found {bad:?}", wanted(Shape::Origins))),
        None => Ok(Value::Origins(items)),
    }
}

/// As a browser writes an `Origin` header, which is compared byte for byte.
fn is_origin(text: &str) -> bool {
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| {
        !host.is_empty()
            && host.len() <= 300
            && host
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-:[]_".contains(&b))
    })
}

fn read_secret(raw: Raw) -> Result<Value, String> {
    match raw {
        Raw::Text(text) | Raw::Untyped(text) => secret(text).map(Value::Secret),
        Raw::Integer(_) | Raw::Bool(_) | Raw::List(_) | Raw::Other(_) => {
            Err(format!("want {}", wanted(Shape::Secret)))
        }
    }
}

/// Checks a token, wherever it was found.
pub(super) fn secret(text: String) -> Result<SecretString, String> {
    let fits = (1..=512).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    if fits {
        Ok(SecretString::from(text))
    } else {
        Err(format!("want {}", wanted(Shape::Secret)))
    }
}

fn kind_of(raw: &Raw) -> String {
    match raw {
        Raw::Untyped(text) => format!("{text:?}"),
        Raw::Text(_) => "a string".to_owned(),
        Raw::Integer(Some(number)) => number.to_string(),
        Raw::Integer(None) => "a number that is too large".to_owned(),
        Raw::Bool(on) => on.to_string(),
        Raw::List(_) => "a list".to_owned(),
        Raw::Other(name) => format!("a {name}"),
    }
}

/// What a key of that shape takes, for people: "a number from 1 to 256".
pub(super) fn wanted(shape: Shape) -> String {
    match shape {
        Shape::Address => {
            "an IP address and a port, such as \"127.0.0.1:8080\" or \"[::]:8080\"".to_owned()
        }
        Shape::Switch => "true or false".to_owned(),
        Shape::Count(min, max) => format!("a whole number from {min} to {max}"),
        Shape::Size(min, max) | Shape::SizeOrAuto(min, max) => format!(
            "a size such as \"64MiB\", from {} to {}",
            Bytes(min),
            Bytes(max)
        ),
        Shape::Span(min, max) => format!(
            "a duration such as \"30s\" or \"48h\", from {} to {}",
            Span(min),
            Span(max)
        ),
        Shape::Word(words) => {
            let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
            format!("one of {}", words.join(", "))
        }
        Shape::Path => "a path".to_owned(),
        Shape::PathOrNone => "a path, or \"\" for none".to_owned(),
        Shape::KeyPrefix => "up to 100 visible ASCII characters".to_owned(),
        Shape::Zone => "an IANA time zone such as \"Europe/Berlin\"".to_owned(),
        Shape::TimeOfDay => "a time of day as HH:MM, from \"00:00\" to \"23:59\"".to_owned(),
        Shape::Origins => {
            "a list of origins as browsers write them, such as \"https://example.com\"".to_owned()
        }
        Shape::Secret => "a string of 1 to 512 visible ASCII characters without spaces".to_owned(),
    }
}

/// A number of bytes in the largest unit that divides it: reads back as the same number.
pub(super) struct Bytes(pub(super) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        for (shift, unit) in units {
            if self.0 > 0 && self.0.is_multiple_of(1u64 << shift) {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}B", self.0)
    }
}

/// A duration in the largest unit that divides it, days from three on: reads back as the same
/// duration.
pub(super) struct Span(pub(super) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
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
