//! The instant at which counters are asked, in each of the times that they go by.

use super::Millis;
use crate::calendar::LocalDay;

/// The instant at which a counter is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The current day. Look it up after the values, so that no value is of a later day.
    pub today: LocalDay,
    /// The time by which counters end; `None` while the clock cannot be trusted: then time ends nothing.
    pub now: Option<Millis>,
    /// The time that windows have slid to: the latest that was ever trusted.
    pub latest: Millis,
    /// Time during which the store was open, summed over its life, in milliseconds: leases run in it.
    pub store_ms: Millis,
}
