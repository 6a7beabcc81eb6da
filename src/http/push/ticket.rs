//! Tickets: a browser that cannot send a header with a stream shows one in its place. Each is good for one
//! connection, and for a moment.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;

use crate::counter::Millis;

/// For how long a ticket is good, in milliseconds of the boot clock.
pub(in crate::http) const TICKET_FOR: Millis = 30_000;

/// Random bytes of a ticket.
const TICKET_BYTES: usize = 24;

/// The tickets that were given and not used, with the time at which each ends.
pub(in crate::http) struct Tickets {
    most: usize,
    given: Mutex<HashMap<[u8; TICKET_BYTES], Millis>>,
}

impl Tickets {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            given: Mutex::default(),
        }
    }

    /// Makes a ticket; `None` while there are too many that nobody used, or without randomness.
    pub(in crate::http) fn give(&self, now: Millis) -> Option<String> {
        let mut ticket = [0; TICKET_BYTES];
        getrandom::fill(&mut ticket).ok()?;
        let mut given = self.given.lock();
        if given.len() >= self.most {
            given.retain(|_, end| *end > now);
        }
        if given.len() >= self.most {
            return None;
        }
        given.insert(ticket, now.saturating_add(TICKET_FOR));
        Some(URL_SAFE_NO_PAD.encode(ticket))
    }

    /// Uses a ticket up; returns whether it was good.
    pub(in crate::http) fn take(&self, text: &str, now: Millis) -> bool {
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(text) else {
            return false;
        };
        let Ok(ticket) = <[u8; TICKET_BYTES]>::try_from(bytes) else {
            return false;
        };
        self.given
            .lock()
            .remove(&ticket)
            .is_some_and(|end| end > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_good_once_and_for_a_moment() {
        let tickets = Tickets::new(2);
        let one = tickets.give(1000).unwrap();
        let other = tickets.give(1000).unwrap();
        assert_ne!(one, other);
        // There are no more until some have ended.
        assert_eq!(tickets.give(1000), None);
        assert!(tickets.take(&one, 1000 + TICKET_FOR - 1));
        assert!(!tickets.take(&one, 1000));
        assert!(!tickets.take(&other, 1000 + TICKET_FOR));
        for bad in ["", "x", "!!!!", &"A".repeat(32), &"A".repeat(4000)] {
            assert!(!tickets.take(bad, 1000), "{bad}");
        }
        assert!(tickets.give(1000).is_some());
    }
}
