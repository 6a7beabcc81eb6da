//! What a group of another instance changed, by the kinds of its records.

use crate::counter::{CounterName, Generation};
use crate::storage::batch::{Batch, Change};
use crate::storage::{Family, StoreState, keys};

/// One change in a group of another instance.
#[derive(Debug, PartialEq, Eq)]
pub enum FollowedChange<'a> {
    /// Definition, value or day record of a counter.
    Counter(CounterName),
    /// The value of a counter at the end of a minute was noted: that before the group.
    Sample(CounterName),
    /// A user was counted, by the key on disk.
    User(&'a [u8]),
    /// An answer is kept, by the key on disk.
    Request(&'a [u8]),
    /// Days were worked through: closed, exported or let go.
    Days,
    /// A user's seat is another one (`Some`) or is gone (`None`), by the key on disk.
    Seat(Generation, &'a [u8], Option<&'a [u8]>),
}

impl Batch {
    /// Lists what a reader's or the writer's memory has to learn of this group.
    pub fn told(&self) -> impl Iterator<Item = FollowedChange<'_>> {
        self.changes().filter_map(|(family, key, change)| {
            let value = match change {
                Change::Put(value) => Some(value),
                Change::Merge(_) | Change::Delete => None,
            };
            match family {
                Family::Definitions | Family::Counters => {
                    keys::counter_name(key).map(FollowedChange::Counter)
                }
                Family::Days => keys::day_entry(key).map(|(name, _)| FollowedChange::Counter(name)),
                Family::Dedup => value.map(|_| FollowedChange::User(key)),
                Family::Idempotency => value.map(|_| FollowedChange::Request(key)),
                Family::Windows if keys::is_seat(key) => Some(FollowedChange::Seat(
                    keys::windows_generation(key)?,
                    key,
                    value,
                )),
                Family::Samples => keys::sampled_counter(key).map(FollowedChange::Sample),
                Family::History => Some(FollowedChange::Days),
                Family::Meta => Batch::is_of_days(key).then_some(FollowedChange::Days),
                Family::Windows => None,
            }
        })
    }

    /// Returns where the store stands with this group; `None` when it does not say.
    pub fn state(&self) -> Option<StoreState> {
        self.changes()
            .find_map(|(family, key, change)| match change {
                Change::Put(value) if family == Family::Meta && key == StoreState::KEY => {
                    StoreState::decode(value).ok()
                }
                Change::Put(_) | Change::Merge(_) | Change::Delete => None,
            })
    }
}
