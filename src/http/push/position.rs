//! How far a client has everything: an epoch and a revision.

use super::super::json::push_number;

/// The client has every change of its counters up to this revision, of this epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) struct Position {
    pub(in crate::http) epoch: u64,
    pub(in crate::http) revision: u64,
}

impl Position {
    /// Reads `<epoch>.<revision>`; `None` for any other text.
    pub(in crate::http) fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| {
            let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|_| is_plain)
        };
        let (epoch, revision) = text.split_once('.')?;
        Some(Self {
            epoch: number(epoch)?,
            revision: number(revision)?,
        })
    }

    /// Appends `<epoch>.<revision>`.
    pub(super) fn push(self, out: &mut Vec<u8>) {
        push_number(out, self.epoch);
        out.push(b'.');
        push_number(out, self.revision);
    }
}

/// What an event says of its client's position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventId {
    /// Nothing: it is what it was.
    Kept,
    At(Position),
    /// That there is none any more. A copy may say older values than those that the client had, so whoever comes
    /// back to the store after it has to be told everything.
    Forgotten,
}

impl From<Option<Position>> for EventId {
    fn from(position: Option<Position>) -> Self {
        position.map_or(Self::Kept, Self::At)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_is_written() {
        for (epoch, revision) in [(0, 0), (1_795_521_600_000, 42), (u64::MAX, u64::MAX)] {
            let position = Position { epoch, revision };
            let mut text = Vec::new();
            position.push(&mut text);
            let text = String::from_utf8(text).unwrap();
            assert_eq!(Position::parse(&text), Some(position));
        }
        for bad in [
            "", ".", "1", "1.", ".1", "1.2.3", "+1.2", "1.-2", "1.2 ", "a.b",
        ] {
            assert_eq!(Position::parse(bad), None, "{bad}");
        }
        assert_eq!(Position::parse("1.18446744073709551616"), None);
    }
}
