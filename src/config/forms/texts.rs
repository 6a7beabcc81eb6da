//! Addresses, paths, zones, names, lists and secrets: what is written as text; and switches.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use super::{Described, Form, Raw, items, quoted, refused, text};
use crate::calendar::{Calendar, DayStart};
use crate::counter::{CounterName, CounterPattern};

/// What is written as text.
pub(in crate::config) struct Text<T> {
    pub(super) wanted: &'static str,
    /// `Err` may say more than that it is not what is wanted.
    pub(super) parse: fn(&str) -> Result<T, Option<String>>,
    pub(super) show: fn(&T) -> String,
}

impl<T> Described for Text<T> {
    fn wanted(&self) -> String {
        self.wanted.to_owned()
    }
}

impl<T> Form<T> for Text<T> {
    fn read(&self, raw: Raw) -> Result<T, String> {
        let text = text(self, &raw)?;
        (self.parse)(text).or_else(|error| match error {
            Some(error) => Err(format!("{text:?}: {error}")),
            None => refused(self, format!("{text:?}")),
        })
    }

    fn show(&self, value: &T) -> String {
        (self.show)(value)
    }
}

/// An IP address and a port.
pub(in crate::config) const ADDRESS: Text<SocketAddr> = Text {
    wanted: "an IP address and a port, such as \"127.0.0.1:8080\" or \"[::]:8080\"",
    parse: |text| text.parse().map_err(|_| None),
    show: quoted,
};

/// A path; may not be empty.
pub(in crate::config) const FILE_PATH: Text<PathBuf> = Text {
    wanted: "a path",
    parse: |text| (!text.is_empty()).then(|| PathBuf::from(text)).ok_or(None),
    show: |path| quoted(&path.display()),
};

/// A path, or empty for none.
pub(in crate::config) const PATH_OR_NONE: Text<Option<PathBuf>> = Text {
    wanted: "a path, or \"\" for none",
    parse: |text| Ok((!text.is_empty()).then(|| PathBuf::from(text))),
    show: |path| quoted(&path.as_deref().unwrap_or(Path::new("")).display()),
};

/// A short word; may be empty.
pub(in crate::config) const VISIBLE: Text<String> = Text {
    wanted: "up to 100 visible ASCII characters",
    parse: |text| is_visible(text).then(|| text.to_owned()).ok_or(None),
    show: quoted,
};

/// What keys in Redis begin with; may be empty. A brace would end the hash tag of a shared log's keys, or begin another.
pub(in crate::config) const KEY_PREFIX: Text<String> = Text {
    wanted: "up to 100 visible ASCII characters without { and }",
    parse: |text| {
        let fits = is_visible(text) && !text.contains(['{', '}']);
        fits.then(|| text.to_owned()).ok_or(None)
    },
    show: quoted,
};

fn is_visible(text: &str) -> bool {
    text.len() <= 100 && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// An address of pages for people; may be empty.
pub(in crate::config) const ADDRESS_OF_PAGES: Text<String> = Text {
    wanted: "an address that begins with http:// or https://, or \"\" for none",
    parse: |text| {
        let url = url::Url::parse(text);
        let fits = url.is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        (text.is_empty() || fits && text.len() <= 300)
            .then(|| text.to_owned())
            .ok_or(None)
    },
    show: quoted,
};

/// Names of counters, and beginnings of names with a `*`.
pub(in crate::config) const PATTERNS: Patterns = Patterns;

/// The form of [`PATTERNS`].
pub(in crate::config) struct Patterns;

impl Described for Patterns {
    fn wanted(&self) -> String {
        "a list of counters' names, or beginnings of names with a *, such as \"event:*\"".to_owned()
    }
}

impl Form<Vec<CounterPattern>> for Patterns {
    fn read(&self, raw: Raw) -> Result<Vec<CounterPattern>, String> {
        let items = items(self, raw)?;
        let read = |item: &String| CounterPattern::parse(item).map_err(|_| item.clone());
        let read: Result<Vec<_>, String> = items.iter().map(read).collect();
        read.or_else(|bad| refused(self, format!("{bad:?}")))
    }

    fn show(&self, value: &Vec<CounterPattern>) -> String {
        let items: Vec<String> = value.iter().map(quoted).collect();
        format!("[{}]", items.join(", "))
    }
}

/// `HH:MM`.
pub(in crate::config) const TIME_OF_DAY: Text<DayStart> = Text {
    wanted: "a time of day as HH:MM, from \"00:00\" to \"23:59\"",
    parse: |text| text.parse().map_err(|_| None),
    show: quoted,
};

/// An IANA time zone name; by default the machine's.
pub(in crate::config) const ZONE: Text<String> = Text {
    wanted: "an IANA time zone such as \"Europe/Berlin\"",
    parse: |text| match Calendar::new(text, DayStart::default()) {
        Ok(calendar) => Ok(calendar.zone_name().to_owned()),
        Err(error) => Err(Some(error.to_string())),
    },
    show: quoted,
};

/// The name of a counter.
pub(in crate::config) const NAME: Text<CounterName> = Text {
    wanted: "a string",
    parse: |text| CounterName::parse(text).map_err(|error| Some(error.to_string())),
    show: quoted,
};

/// Any text, or none.
pub(in crate::config) const ANY_TEXT: Text<Option<String>> = Text {
    wanted: "a string",
    parse: |text| Ok(Some(text.to_owned())),
    show: |text| text.as_ref().map_or_else(String::new, quoted),
};

/// `true` or `false`.
pub(in crate::config) struct Switch;

impl Described for Switch {
    fn wanted(&self) -> String {
        "true or false".to_owned()
    }
}

impl Form<bool> for Switch {
    fn read(&self, raw: Raw) -> Result<bool, String> {
        let on = match &raw {
            Raw::Bool(on) => Some(*on),
            Raw::Untyped(text) => text.parse().ok(),
            _ => None,
        };
        on.map_or_else(|| refused(self, raw.found()), Ok)
    }

    fn show(&self, value: &bool) -> String {
        value.to_string()
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
        let items = items(self, raw)?;
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

/// One secret.
pub(in crate::config) const SECRET_TEXT: Url<SecretString> =
    Url(|text| Ok(SecretString::from(text)));

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

/// An instant with its offset from UTC, or none; kept as milliseconds since 1970.
pub(in crate::config) struct Instant;

impl Described for Instant {
    fn wanted(&self) -> String {
        "an instant such as \"2026-12-24T18:00:00Z\"".to_owned()
    }
}

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
