//! Addresses, paths, zones, names, lists and secrets: what is written as text; and switches.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use super::{Described, Form, Raw, described, parsed, quoted, refused, text};
use crate::calendar::{Calendar, DayStart};
use crate::counter::CounterName;

described! {
    Address: "an IP address and a port, such as \"127.0.0.1:8080\" or \"[::]:8080\"";
    Switch: "true or false";
    FilePath: "a path";
    PathOrNone: "a path, or \"\" for none";
    KeyPrefix: "up to 100 visible ASCII characters";
    Zone: "an IANA time zone such as \"Europe/Berlin\"";
    TimeOfDay: "a time of day as HH:MM, from \"00:00\" to \"23:59\"";
    Name: "a string";
    Text: "a string";
    Instant: "an instant such as \"2026-12-24T18:00:00Z\"";
}

/// An IP address and a port.
pub(in crate::config) struct Address;

impl Form<SocketAddr> for Address {
    fn read(&self, raw: Raw) -> Result<SocketAddr, String> {
        parsed(self, &raw, |text| text.parse().ok())
    }

    fn show(&self, value: &SocketAddr) -> String {
        quoted(value)
    }
}

/// `true` or `false`.
pub(in crate::config) struct Switch;

impl Form<bool> for Switch {
    fn read(&self, raw: Raw) -> Result<bool, String> {
        match raw {
            Raw::Bool(on) => Ok(on),
            Raw::Untyped(text) if text == "true" => Ok(true),
            Raw::Untyped(text) if text == "false" => Ok(false),
            other => refused(self, other.found()),
        }
    }

    fn show(&self, value: &bool) -> String {
        value.to_string()
    }
}

/// A path; may not be empty.
pub(in crate::config) struct FilePath;

impl Form<PathBuf> for FilePath {
    fn read(&self, raw: Raw) -> Result<PathBuf, String> {
        parsed(self, &raw, |text| {
            (!text.is_empty()).then(|| PathBuf::from(text))
        })
    }

    fn show(&self, value: &PathBuf) -> String {
        quoted(&value.display())
    }
}

/// A path, or empty for none.
pub(in crate::config) struct PathOrNone;

impl Form<Option<PathBuf>> for PathOrNone {
    fn read(&self, raw: Raw) -> Result<Option<PathBuf>, String> {
        let text = text(self, &raw)?;
        Ok((!text.is_empty()).then(|| PathBuf::from(text)))
    }

    fn show(&self, value: &Option<PathBuf>) -> String {
        quoted(&value.as_deref().unwrap_or(Path::new("")).display())
    }
}

/// What keys elsewhere begin with; may be empty.
pub(in crate::config) struct KeyPrefix;

impl Form<String> for KeyPrefix {
    fn read(&self, raw: Raw) -> Result<String, String> {
        parsed(self, &raw, |text| {
            let fits = text.len() <= 100 && text.bytes().all(|byte| byte.is_ascii_graphic());
            fits.then(|| text.to_owned())
        })
    }

    fn show(&self, value: &String) -> String {
        quoted(value)
    }
}

/// An IANA time zone name; by default the machine's.
pub(in crate::config) struct Zone;

impl Form<String> for Zone {
    fn read(&self, raw: Raw) -> Result<String, String> {
        let text = text(self, &raw)?;
        let calendar = Calendar::new(text, DayStart::default());
        let calendar = calendar.map_err(|error| format!("{text:?}: {error}"))?;
        Ok(calendar.zone_name().to_owned())
    }

    fn show(&self, value: &String) -> String {
        quoted(value)
    }
}

/// `HH:MM`.
pub(in crate::config) struct TimeOfDay;

impl Form<DayStart> for TimeOfDay {
    fn read(&self, raw: Raw) -> Result<DayStart, String> {
        parsed(self, &raw, |text| text.parse().ok())
    }

    fn show(&self, value: &DayStart) -> String {
        quoted(value)
    }
}

/// A list of texts that each fit; in a flag or a variable with commas between them.
pub(in crate::config) struct List {
    pub(in crate::config) wanted: &'static str,
    pub(in crate::config) fits: fn(&str) -> bool,
    /// One that fits.
    pub(in crate::config) example: &'static str,
}

impl Described for List {
    fn wanted(&self) -> String {
        format!("a list of {}, such as {:?}", self.wanted, self.example)
    }
}

impl Form<Vec<String>> for List {
    fn read(&self, raw: Raw) -> Result<Vec<String>, String> {
        let items = match raw {
            Raw::List(items) => items,
            Raw::Untyped(text) => text
                .split(',')
                .map(|item| item.trim().to_owned())
                .filter(|item| !item.is_empty())
                .collect(),
            other => return refused(self, other.found()),
        };
        match items.iter().find(|item| !(self.fits)(item)) {
            Some(bad) => refused(self, format!("{bad:?}")),
            None => Ok(items),
        }
    }

    fn show(&self, value: &Vec<String>) -> String {
        let items: Vec<String> = value.iter().map(|item| quoted(item.as_str())).collect();
        format!("[{}]", items.join(", "))
    }
}

/// Returns whether it is written as a browser writes an `Origin` header, which is compared byte for
/// byte.
pub(in crate::config) fn is_origin(text: &str) -> bool {
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| is_of_hosts(host, b".-:[]_"))
}

/// Returns whether it is a host name in lower case without its port.
pub(in crate::config) fn is_host(text: &str) -> bool {
    is_of_hosts(text, b".-_")
}

fn is_of_hosts(text: &str, marks: &[u8]) -> bool {
    let fits =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || marks.contains(&byte);
    (1..=300).contains(&text.len()) && text.bytes().all(fits)
}

const SECRET: &str = "a string of 1 to 512 visible ASCII characters without spaces";

/// Reads what nobody may see; `None` for what cannot be one.
fn secret(raw: Raw) -> Option<SecretString> {
    let (Raw::Text(text) | Raw::Untyped(text)) = raw else {
        return None;
    };
    let fits = (1..=512).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    fits.then(|| SecretString::from(text))
}

/// The URL of a copy, which may hold a password, as this function reads it.
pub(in crate::config) struct Url<T>(pub(in crate::config) fn(&str) -> Result<T, String>);

impl<T> Described for Url<T> {
    fn wanted(&self) -> String {
        SECRET.to_owned()
    }

    fn is_secret(&self) -> bool {
        true
    }
}

impl<T> Form<Option<T>> for Url<T> {
    fn read(&self, raw: Raw) -> Result<Option<T>, String> {
        let url = secret(raw).ok_or_else(|| format!("want {SECRET}"))?;
        (self.0)(url.expose_secret()).map(Some)
    }

    fn show(&self, value: &Option<T>) -> String {
        let shown = value.as_ref().map_or("(not set)", |_| "(set)");
        shown.to_owned()
    }
}

/// One or several secrets: a string or a list in the file; in a variable or in a file of their own with
/// spaces or line ends between them.
pub(in crate::config) struct Tokens;

impl Described for Tokens {
    fn wanted(&self) -> String {
        "strings of 1 to 512 visible ASCII characters without spaces".to_owned()
    }

    fn is_secret(&self) -> bool {
        true
    }
}

impl Form<Vec<SecretString>> for Tokens {
    fn read(&self, raw: Raw) -> Result<Vec<SecretString>, String> {
        let texts = match raw {
            Raw::Text(text) => vec![text],
            Raw::List(texts) => texts,
            Raw::Untyped(text) => text.split_whitespace().map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        let secrets = texts.into_iter().map(|text| secret(Raw::Text(text)));
        let secrets: Option<Vec<SecretString>> = secrets.collect();
        // An empty list would leave open what somebody meant to guard.
        match secrets.filter(|secrets| !secrets.is_empty()) {
            Some(secrets) => Ok(secrets),
            None => Err(format!("want {}", self.wanted())),
        }
    }

    fn show(&self, value: &Vec<SecretString>) -> String {
        match value.len() {
            0 => "(not set)".to_owned(),
            1 => "(set)".to_owned(),
            several => format!("({several} set)"),
        }
    }
}

/// The name of a counter.
pub(in crate::config) struct Name;

impl Form<CounterName> for Name {
    fn read(&self, raw: Raw) -> Result<CounterName, String> {
        let text = text(self, &raw)?;
        CounterName::parse(text).map_err(|error| format!("{text:?}: {error}"))
    }

    fn show(&self, value: &CounterName) -> String {
        quoted(value)
    }
}

/// Any text, or none.
pub(in crate::config) struct Text;

impl Form<Option<String>> for Text {
    fn read(&self, raw: Raw) -> Result<Option<String>, String> {
        Ok(Some(text(self, &raw)?.to_owned()))
    }

    fn show(&self, value: &Option<String>) -> String {
        value.as_deref().map_or_else(String::new, quoted)
    }
}

/// An instant with its offset from UTC, or none; kept as milliseconds since 1970.
pub(in crate::config) struct Instant;

impl Form<Option<i64>> for Instant {
    fn read(&self, raw: Raw) -> Result<Option<i64>, String> {
        let text = match &raw {
            Raw::Text(text) | Raw::Untyped(text) | Raw::Moment(text) => text.as_str(),
            _ => "",
        };
        match text.parse::<jiff::Timestamp>() {
            Ok(at) => Ok(Some(at.as_millisecond())),
            Err(_) => Err(format!("want {}", self.wanted())),
        }
    }

    fn show(&self, value: &Option<i64>) -> String {
        let at = value.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        at.map_or_else(String::new, |at| quoted(&at))
    }
}
