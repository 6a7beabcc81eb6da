//! Names that strangers choose, checked once at the edge: counters, users, requests.

use std::fmt;
use std::sync::Arc;

/// A counter's name: `^[a-z0-9][a-z0-9_.:-]{0,99}$`, not ending in `:meta`, not containing
/// `:users:`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CounterName(Arc<str>);

/// A text is not a counter's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a counter name is 1 to 100 characters of a-z, 0-9, '_', '.', ':', '-', starting with a letter or digit, \
     not ending in ':meta' and not containing ':users:'"
)]
pub struct NameFault;

impl CounterName {
    /// Longest name, in bytes.
    pub const MAX_LEN: usize = 100;

    /// Checks `text` against the rule above.
    pub fn parse(text: &str) -> Result<Self, NameFault> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_allowed = |byte| is_plain(byte) || matches!(byte, b'_' | b'.' | b':' | b'-');
        let fits = text.len() <= Self::MAX_LEN
            && text.bytes().next().is_some_and(is_plain)
            && text.bytes().all(is_allowed);
        // Those are keys of the Redis layout.
        if !fits || text.ends_with(":meta") || text.contains(":users:") {
            return Err(NameFault);
        }
        Ok(Self(Arc::from(text)))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for CounterName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CounterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CounterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Makes a type of a text of 1 to 128 bytes of UTF-8 without control characters, compared byte for byte. `Debug`
/// hides it.
macro_rules! hidden_id {
    ($(#[$meta:meta])+ $name:ident) => {
        $(#[$meta])+
        #[derive(Clone, PartialEq, Eq, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// Longest id, in bytes.
            pub const MAX_LEN: usize = 128;

            /// Checks `text` against the rule above.
            ///
            /// # Errors
            /// When it is longer, empty, or has control characters.
            pub fn parse(text: &str) -> Result<Self, IdFault> {
                let fits = !text.is_empty() && text.len() <= Self::MAX_LEN;
                if !fits || text.chars().any(char::is_control) {
                    return Err(IdFault);
                }
                Ok(Self(text.into()))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(hidden)"))
            }
        }
    };
}

hidden_id! {
    /// Who is counted by a `unique` or `presence` counter: 1 to 128 bytes of UTF-8 without control characters,
    /// compared byte for byte. Personal data: never logged, never a label; `Debug` hides it.
    UserId
}

hidden_id! {
    /// Which log-in of a user a heartbeat speaks for; the same rule as that of [`UserId`].
    SessionId
}

/// A text is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id is 1 to 128 bytes of UTF-8 without control characters")]
pub struct IdFault;

/// What names one request in logs, errors and events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestId {
    /// Made here; shown as 16 hex digits.
    Made(u64),
    /// Taken from the client's `X-Request-Id`: 1 to 128 printable ASCII characters.
    Given(Arc<str>),
}

impl RequestId {
    /// Longest id taken from a client, in bytes.
    pub const MAX_LEN: usize = 128;

    /// Takes a client's id when it is 1 to 128 printable ASCII characters without spaces.
    pub fn given(text: &[u8]) -> Option<Self> {
        let fits = !text.is_empty() && text.len() <= Self::MAX_LEN;
        if !fits || !text.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        std::str::from_utf8(text)
            .ok()
            .map(|text| Self::Given(text.into()))
    }

    /// Appends the id as [`fmt::Display`] shows it, faster: for the answer and the log line of each request.
    pub fn push(&self, out: &mut Vec<u8>) {
        match self {
            Self::Made(number) => {
                out.extend_from_slice(&hex_digits((number >> 32) as u32));
                out.extend_from_slice(&hex_digits(*number as u32));
            }
            Self::Given(text) => out.extend_from_slice(text.as_bytes()),
        }
    }
}

/// Returns the 8 hex digits of a number. All are made at once: each half byte is spread into a byte of its own, and
/// those above 9, which 6 more lifts above 15, become letters.
fn hex_digits(number: u32) -> [u8; 8] {
    let mut halves = u64::from(number);
    halves = (halves | halves << 16) & 0x0000_ffff_0000_ffff;
    halves = (halves | halves << 8) & 0x00ff_00ff_00ff_00ff;
    halves = (halves | halves << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = (halves + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    let digits = halves + 0x3030_3030_3030_3030 + letters * u64::from(b'a' - 10 - b'0');
    digits.to_be_bytes()
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Made(number) => write!(f, "{number:016x}"),
            Self::Given(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rule() {
        let longest = "a".repeat(100);
        for good in [
            "a",
            "0",
            "online_players",
            "event.2026:x-y",
            longest.as_str(),
            "a:metal",
            "users:",
        ] {
            assert!(CounterName::parse(good).is_ok(), "{good}");
        }
        let too_long = "a".repeat(101);
        for bad in [
            "",
            "_a",
            ".a",
            "A",
            "aB",
            "a b",
            "a/b",
            "ä",
            "a\n",
            too_long.as_str(),
        ] {
            assert_eq!(CounterName::parse(bad), Err(NameFault), "{bad:?}");
        }
        for reserved in ["a:meta", "a:users:2026", "a:users:"] {
            assert_eq!(CounterName::parse(reserved), Err(NameFault), "{reserved}");
        }
    }

    #[test]
    fn user_ids_follow_the_rule_and_hide() {
        assert!(UserId::parse("ü 1").is_ok());
        assert!(UserId::parse(&"x".repeat(128)).is_ok());
        for bad in ["", "a\0", "a\u{7f}", "a\u{85}", "a\n", &"x".repeat(129)] {
            assert_eq!(UserId::parse(bad), Err(IdFault), "{bad:?}");
        }
        assert!(!format!("{:?}", UserId::parse("alice").unwrap()).contains("alice"));
    }

    #[test]
    fn request_ids_are_taken_or_shown_as_hex() {
        assert_eq!(RequestId::Made(255).to_string(), "00000000000000ff");
        assert_eq!(RequestId::given(b"a-1").unwrap().to_string(), "a-1");
        assert_eq!(RequestId::given(b""), None);
        assert_eq!(RequestId::given(b"a b"), None);
        assert_eq!(RequestId::given(&[b'a'; 129]), None);
    }
}
