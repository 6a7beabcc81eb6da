//! Checks of what must always hold, in every build.
//!
//! The storage and the writer call [`invariant!`] where a wrong state would make counts wrong. A check
//! that fails is a fault of this program, never of a client or a disk: it is logged, and its error goes
//! the way of a failed write. So the store takes no more writes, the requests under way are refused, and
//! the store is opened and verified anew. Under test it panics at once.
//!
//! Kept out: what clients, disks and other processes can cause. That has errors of its own.

use std::fmt;
use std::panic::Location;

/// An invariant that did not hold.
#[derive(Debug, Clone, thiserror::Error)]
#[error("an invariant of counterd is broken, please report it: {what} ({place})")]
pub struct Broken {
    what: String,
    place: &'static Location<'static>,
}

impl Broken {
    /// Logs the broken invariant; panics under test.
    #[track_caller]
    pub fn found(what: fmt::Arguments<'_>) -> Self {
        let broken = Self {
            what: what.to_string(),
            place: Location::caller(),
        };
        tracing::error!(invariant = %broken.what, place = %broken.place, "an invariant is broken");
        #[allow(clippy::panic, reason = "a test must not go on after it")]
        if cfg!(any(test, feature = "mutants")) {
            panic!("{broken}");
        }
        broken
    }
}

/// Is `Ok(())` when the condition holds, and else `Err` with a [`Broken`] that tells what is wrong. `?` follows
/// it, in a function whose error can be made from `Broken`.
macro_rules! invariant {
    ($holds:expr, $($what:tt)+) => {
        if $holds {
            Ok(())
        } else {
            Err($crate::invariant::Broken::found(format_args!($($what)+)))
        }
    };
}

pub(crate) use invariant;

#[cfg(test)]
mod tests {
    use super::Broken;

    fn judged(value: u32) -> Result<(), Broken> {
        invariant!(value < 10, "the value is {value}, which is not below 10")
    }

    #[test]
    fn what_holds_costs_nothing_and_says_nothing() {
        assert!(judged(9).is_ok());
    }

    #[test]
    #[should_panic(expected = "the value is 10, which is not below 10")]
    fn what_does_not_hold_ends_a_test() {
        let _ = judged(10);
    }
}
